"""The state of an explorer session as a link carries it: one query parameter per field, fields at their defaults omitted.

A link names things (study, class, encoder seeds, sample ids), never positions, so that it survives a restart and a study to which
samples or encoders were added. What a link names and a study no longer has is left out, with a note. A link that cannot be read at
all gives the default view, with a note.
"""

from __future__ import annotations

import base64
import binascii
import json
import math
import zlib
from typing import Annotated, Any, Literal
from urllib.parse import parse_qsl, urlencode

import numpy as np
from pydantic import Field, ValidationError, field_validator

from sslmem_kit.spec.section import Section

LONGEST_QUERY = 16_000
"""Largest number of characters of a query that is read."""
LONGEST_IDS = 6_000
"""Largest number of characters of ids in a link; a larger selection is carried by the outline that made it."""
MOST_IDS = 50_000
"""Largest number of ids that are packed: of more, only very regular ones would be short enough, and trying takes half a second."""
VERSION = 1

Text = Annotated[str, Field(max_length=1000)]


class State(Section):
    """Everything that a link restores. Empty tuples stand for all."""

    study: Text = ""
    protocol: Text = "corrected"
    method: tuple[Text, ...] = ()
    backbone: tuple[Text, ...] = ()
    seed: tuple[int, ...] = ()
    classes: tuple[Text, ...] = ()
    partition: tuple[Text, ...] = ("candidate",)
    x: Text = "alignment_f"
    y: Text = "alignment_g"
    colour: Text = "sslmem"
    threshold: float | None = None
    """Threshold in the unit ``threshold_by``; None: the 90 % quantile of the candidates."""
    threshold_by: Literal["value", "quantile", "fdr"] = "value"
    ids: Annotated[str, Field(max_length=LONGEST_IDS)] = ""
    """Selected samples, packed by :func:`pack_ids`."""
    outline: Annotated[tuple[tuple[float, float], ...], Field(max_length=400)] = ()
    """Corners of the outline round the selected points, in units of the axes, where the ids would be too many."""
    sort: Text = ""
    """Quantity that the gallery is ordered by; empty: what orders the samples of a study best."""
    ascending: bool = False
    sample: int | None = None
    """Id of the sample whose detail is open."""
    tab: Text = "explore"
    left: Text = ""
    right: Text = ""
    """Sides of the comparison, as :mod:`sslmem_kit.explorer.comparison.sides` names them."""
    v: int = VERSION

    @field_validator("threshold")
    @classmethod
    def _finite(cls, value: float | None) -> float | None:
        if value is not None and not math.isfinite(value):
            raise ValueError("a finite number is needed")
        return value


def to_query(state: State) -> str:
    """Return the part of a link after ``?``."""
    default = State()
    fields = {name: value for name, value in state.model_dump().items() if value != getattr(default, name) or name == "v"}
    return urlencode({name: value if isinstance(value, str) else json.dumps(value) for name, value in fields.items()})


def from_query(query: str) -> tuple[State, str]:
    """Return the state of a link, and a note: empty, or the reason why this is the default view instead."""
    query = query.removeprefix("?")
    if len(query) > LONGEST_QUERY:
        return State(), f"The link was longer than {LONGEST_QUERY:,} characters and was not read: this is the default view."
    try:
        pairs = parse_qsl(query, keep_blank_values=True, strict_parsing=bool(query), max_num_fields=100)
        fields: dict[str, Any] = {}
        for name, value in pairs:
            field = State.model_fields.get(name)
            if field is not None:  # what other programs add to links (utm_source ...) is no reason to refuse one
                fields[name] = value if field.annotation in (str, Text) or isinstance(field.default, str) else json.loads(value)
        state = State.model_validate(fields)
    except (ValueError, ValidationError, RecursionError) as error:
        where = str(error.errors()[0]["loc"][0]) if isinstance(error, ValidationError) and error.errors()[0]["loc"] else "it"
        name = "a field of it" if where == "it" else f"its field {where!r}"
        return State(), f"The link could not be read ({name} is not valid): this is the default view."
    if state.v > VERSION:
        return State(), "The link was made by a newer version of sslmem_kit: this is the default view."
    return state, ""


def pack_ids(ids: np.ndarray) -> str:
    """Pack ascending ids into text that is short where they lie close; empty for none, and where it would be too long."""
    if not 0 < len(ids) <= MOST_IDS:
        return ""
    ids = np.unique(np.asarray(ids, np.int64))
    packed = zlib.compress(np.diff(ids, prepend=0).astype("<i8").tobytes(), 9)
    text = base64.urlsafe_b64encode(packed).decode().rstrip("=")
    return text if len(text) <= LONGEST_IDS else ""


def unpack_ids(text: str) -> np.ndarray:
    """Return the ids that :func:`pack_ids` packed, (sample,) int64.

    Raises
    ------
    ValueError
        The text is not of that form, or unpacks to more than a million ids.
    """
    if not text:
        return np.empty(0, np.int64)
    try:
        packed = base64.urlsafe_b64decode(text + "=" * (-len(text) % 4))
        opened = zlib.decompressobj()
        content = opened.decompress(packed, 8_000_000)  # a few bytes may unpack to gigabytes
        if opened.unconsumed_tail or not opened.eof or len(content) % 8:
            raise ValueError("ids: damaged or too many")
    except (binascii.Error, zlib.error) as error:
        raise ValueError(f"ids: damaged ({error})") from None
    return np.cumsum(np.frombuffer(content, "<i8"))
