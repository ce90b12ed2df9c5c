"""Messages about wrong fields of a spec: one sentence out of pydantic's report."""

from __future__ import annotations

import re
from typing import Any, get_args

from pydantic import ValidationError

from sslmem_kit.errors import near, short
from sslmem_kit.spec.downstream import LogisticProbeSpec, SGDProbeSpec
from sslmem_kit.spec.objective import METHODS
from sslmem_kit.spec.partition import REMOVAL_TAGS
from sslmem_kit.spec.places import bundled_specs as bundled_specs
from sslmem_kit.spec.section import Section
from sslmem_kit.spec.study import StudySpec

_TAGS: dict[Any, type[Section]] = {**METHODS, **REMOVAL_TAGS, "logistic": LogisticProbeSpec, "sgd": SGDProbeSpec}
"""Tags that pydantic puts into the location of an error to say which kind of a section was tried."""

_KINDS = {"objective": tuple(METHODS), "linear": ("logistic", "sgd")}
"""Sections of several kinds, and these."""


def first_error(error: ValidationError, *, root: type[Section] = StudySpec) -> str:
    """Return one sentence out of pydantic's report on a ``root``: the field, what is wrong, the value that was got."""
    errors = error.errors(include_url=False)
    # A wrong type of section (a list where a mapping is due) is more telling than the fields then missing below it, and a field that is not
    # known than the one it was meant for.
    first = min(errors, key=lambda item: (len(item["loc"]), item["type"] == "missing"))
    field = ".".join(str(part) for part in first["loc"] if part not in _TAGS or first["type"] == "union_tag_invalid")
    message = first["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:] if not message[:2].isupper() else message
    if first["type"] == "union_tag_invalid":
        key = first["ctx"]["discriminator"].strip("'")
        tag, allowed = first["ctx"]["tag"], first["ctx"]["expected_tags"]
        field, message = f"{field}.{key}", f"{tag!r} is not known, allowed are {allowed}{near(str(tag), _quoted(allowed))}"
    elif first["type"] == "union_tag_not_found":
        key, kinds = first["ctx"]["discriminator"].strip("'"), _KINDS.get(str(first["loc"][-1]), ())
        field, message = f"{field}.{key}", f"field required, allowed are {', '.join(repr(kind) for kind in kinds)}"
    elif first["type"] == "extra_forbidden":
        parent = _section_at(first["loc"][:-1], root)
        message = "unknown field" + (f", the fields here are {', '.join(parent)}" if parent else "")
        message += near(str(first["loc"][-1]), parent)
    elif first["type"] == "value_error" and field and message.startswith(field):
        field = ""  # it names the field, and says what was got
    elif first["type"] == "value_error" and isinstance(first["input"], dict) and _section_at(first["loc"], root):
        pass  # a validator of a whole section, whose message names the fields and their values
    elif first["type"] != "missing":
        message += f", got {short(first['input'])}"
        if first["type"] == "literal_error" and isinstance(first["input"], str):
            message += near(first["input"], _quoted(first["ctx"]["expected"]))
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return (f"{field}: " if field else "") + message + more


def _quoted(allowed: str) -> list[str]:
    """Return the names in pydantic's list of what is allowed."""
    return re.findall(r"'([^']+)'", allowed)


def _section_at(location: tuple[int | str, ...], root: type[Section]) -> tuple[str, ...]:
    """Return the field names of the section at a location below ``root``, () where they are not known."""
    section: Any = root
    for part in location:
        if part in _TAGS:
            section = _TAGS[part]
        elif isinstance(part, int):  # an element of a list
            section = next(iter(get_args(section)), None)
        else:
            field = getattr(_one_section(section), "model_fields", {}).get(part)
            section = field.annotation if field else None
    return tuple(getattr(_one_section(section), "model_fields", ()))


def _one_section(annotation: Any) -> Any:
    """Return the section of a field that may be left out: ``Section | None`` is that section."""
    kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
    return kinds[0] if len(kinds) == 1 else annotation
