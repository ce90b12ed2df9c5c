"""Sides of a comparison: the score of a study over all its encoders, over one seed's or one method's, or one encoder's alignment.

A link names a side by fields in the form of a query: ``study=digits``, ``study=digits&seed=1``, ``study=digits&encoder=f-0``,
``study=digits&method=simclr&backbone=resnet18``. Only sides that a study offers are read; a link to any other raises an error.
"""

from __future__ import annotations

from dataclasses import asdict, dataclass, replace
from typing import Any
from urllib.parse import parse_qsl, urlencode

import numpy as np

from sslmem_kit import scores, store
from sslmem_kit.errors import UserError
from sslmem_kit.explorer.study_cache import Library, OpenStudy
from sslmem_kit.names import ALIGNMENT, ENCODER, FAMILIES, SSLMEM

FIELDS = ("study", "seed", "method", "backbone", "encoder")


@dataclass(frozen=True)
class Side:
    """One side of a comparison; with ``encoder`` an alignment, else a score."""

    study: str
    seed: int | None = None
    method: str | None = None
    backbone: str | None = None
    encoder: str | None = None

    def __str__(self) -> str:
        return urlencode({name: value for name, value in asdict(self).items() if value is not None})

    @property
    def is_score(self) -> bool:
        """True for a score, False for the alignment of a single encoder."""
        return self.encoder is None

    @property
    def part(self) -> str:
        """Name of the side within its study."""
        if self.encoder is not None:
            return f"alignment under {self.encoder}"
        if self.seed is not None:
            return f"score, seed {self.seed}"
        return f"score, {self.method} with {self.backbone}" if self.method is not None else "score, all encoders"

    @property
    def label(self) -> str:
        """Name of the study and of the side."""
        return f"{self.study}: {self.part}"

    def values(self, opened: OpenStudy, protocol: str) -> np.ndarray:
        """Return the score or mean alignment of every sample of its study, (sample,) float32.

        Raises
        ------
        UserError
            The protocol or a damaged store does not allow it.
        """
        if self.encoder is not None:
            return _alignment(opened, protocol, self.encoder)
        wanted = {name: [value] for name in ("seed", "method", "backbone") if (value := getattr(self, name)) is not None}
        return opened.scores(protocol, opened.encoders(**wanted))[SSLMEM].values


def offered(opened: OpenStudy) -> list[Side]:
    """Return the sides that a study has, the widest first; none without scores."""
    if opened.tree is None:
        return []
    whole = Side(opened.key)
    seeds, kinds = _families(opened, "seed"), _families(opened, "method", "backbone")
    parts = [
        *(replace(whole, seed=seed) for (seed,), both in seeds.items() if both and len(seeds) > 1),
        *(
            replace(whole, method=method, backbone=backbone)
            for (method, backbone), both in kinds.items()
            if both and len(kinds) > 1
        ),
    ]
    return [whole, *parts, *(replace(whole, encoder=encoder) for encoder in opened.encoders())]


def parse(text: str, library: Library) -> Side:
    """Return the side that a link names.

    Raises
    ------
    UserError
        The text is not of the form, or no study here offers the side.
    """
    try:
        pairs = parse_qsl(text, strict_parsing=True, keep_blank_values=True, max_num_fields=len(FIELDS))
        fields = dict(pairs)
        if len(fields) < len(pairs) or not {"study"} <= set(fields) <= set(FIELDS):
            raise ValueError
        side = Side(**{name: int(value) if name == "seed" else value for name, value in fields.items()})
        if str(side.seed) != fields.get("seed", "None"):  # int() also reads " 1" and "1_0"
            raise ValueError
    except ValueError:
        raise UserError(
            f"side {text[:80]!r}: a study and a seed, a method with a backbone, or an encoder of it are needed"
        ) from None
    if side.study not in library.keys:
        raise UserError(f"There is no study {side.study!r} here to compare")
    opened = library.open(side.study)
    # For a study without scores, whoever wants its values raises the error.
    if opened.tree is not None and side not in offered(opened):
        raise UserError(f"The study {side.study!r} has no {side.part} to compare")
    return side


def default_sides(opened: OpenStudy, library: Library) -> tuple[Side, Side]:
    """Return a study and the next one of the same data; else its first two seeds; else its first encoders of f and of g."""
    whole = Side(opened.key)
    if opened.tree is None:
        return whole, whole
    at = library.keys.index(opened.key)
    for key in (*library.keys[at + 1 :], *library.keys[:at]):
        other = library.open(key)
        if other.tree is not None and opened.fingerprint and other.fingerprint == opened.fingerprint:
            return whole, Side(key)
    seeds = [side for side in offered(opened) if side.seed is not None]
    if len(seeds) > 1:
        return seeds[0], seeds[1]
    names = opened.encoders()
    families = opened.tree["family"].sel({ENCODER: list(names)}).values.tolist()
    f, g = (replace(whole, encoder=names[families.index(family)]) for family in FAMILIES)
    return f, g


def _families(opened: OpenStudy, *names: str) -> dict[tuple[Any, ...], bool]:
    """Return values of coordinates of the encoders, in order, and whether there are encoders of both families with them."""
    encoders = list(opened.encoders())
    columns = [opened.tree[name].sel({ENCODER: encoders}).values.tolist() for name in ("family", *names)]
    families: dict[tuple[Any, ...], set[str]] = {}
    for family, *values in zip(*columns, strict=True):
        families.setdefault(tuple(values), set()).add(family)
    return {values: families[values] >= set(FAMILIES) for values in sorted(families)}


def _alignment(opened: OpenStudy, protocol: str, encoder: str) -> np.ndarray:
    """Return the mean alignment under one encoder over the pairs of views that a protocol compares, (sample,) float32."""

    def make() -> np.ndarray:
        with store.reading(opened.study.results_path):
            pairs = scores.select_protocol(opened.tree[ALIGNMENT].sel({ENCODER: encoder}), protocol)
            mean = scores.mean_over_pairs(pairs.load())
        store.check_whole(opened.study.results_path, mean)
        return mean.values.astype(np.float32)

    return opened.cache.get((opened.key, opened.stamp, "alignment", protocol, encoder), make)
