"""Pages of every field of a spec, from its JSON schema: a table a section, under the field that the section is met in first."""

from __future__ import annotations

import json
import re
from pathlib import Path
from typing import Any

SCHEMAS = Path(__file__).parents[1] / "schema"


def fields_page(kind: str) -> str:
    """Return the page of the spec of a ``study`` or an ``audit``."""
    schema = json.loads((SCHEMAS / f"{kind}.json").read_text(encoding="utf-8"))
    what = "a study" if kind == "study" else "an audit"
    parts = [
        f"# Fields of {what}\n\n{schema['description']} An unknown key is refused. `sslmem studies --schema {kind}` prints the JSON "
        f"schema that this page is made of.",
        _table(schema),
    ]
    labels = {}
    for name, place in _places(schema).items():
        definition = schema["$defs"][name]
        whole = next((form for form in definition.get("anyOf", ()) if "properties" in form), definition)
        short = [_kind(form) for form in definition.get("anyOf", ()) if form is not whole]
        key, value = next(((key, field["const"]) for key, field in whole["properties"].items() if "const" in field), ("", ""))
        labels[name] = value or place
        heading = f"{place}, {key}: {value}" if key else place
        parts += [f"## {heading} {{ #{name.lower()} }}", definition.get("description", "")]
        parts += [f"Short: {'; or '.join(short)}."] if short else []
        parts.append(_table(whole))
    return re.sub(r"\[(\w+)\](?=\(#)", lambda link: f"[{labels[link[1]]}]", "\n\n".join(parts)) + "\n"


def _places(schema: dict[str, Any]) -> dict[str, str]:
    """All sections, each with the field in which it is met first from the top, in that order."""
    found: dict[str, str] = {}

    def walk(part: Any, place: str) -> None:
        if isinstance(part, list):
            for child in part:
                walk(child, place)
        elif isinstance(part, dict):
            name = part.get("$ref", "").rpartition("/")[2]
            if name and name not in found:
                found[name] = place
                walk(schema["$defs"][name], place)
            for key, child in part.items():
                if key == "properties":
                    for field, what in child.items():
                        walk(what, f"{place}.{field}".lstrip("."))
                elif key != "$defs":
                    walk(child, place)

    walk(schema, "")
    return found


def _table(section: dict[str, Any]) -> str:
    required = section.get("required", ())
    rows = [
        f"| `{name}` | {_kind(field)} | {'required' if name in required else _default(field)} | {field['description'].replace('|', '&#124;')} |"
        for name, field in section["properties"].items()
    ]
    return "| field | value | default | meaning |\n|---|---|---|---|\n" + "\n".join(rows)


def _default(field: dict[str, Any]) -> str:
    value = field.get("default")
    return "see there" if isinstance(value, dict) and value else f"`{json.dumps(value)}`"


def _kind(field: dict[str, Any]) -> str:
    """What a field may be, in words, with links to the sections."""
    if "$ref" in field:
        name = field["$ref"].rpartition("/")[2]
        return f"[{name}](#{name.lower()})"
    if "const" in field:
        return f"`{field['const']}`"
    if "enum" in field:
        return ", ".join(f"`{value}`" for value in field["enum"])
    for key in ("anyOf", "oneOf"):
        if key in field:
            return " or ".join(dict.fromkeys(_kind(form) for form in field[key]))
    if field.get("type") == "array":
        pair = f"{field['minItems']}: " if field.get("minItems") and field.get("minItems") == field.get("maxItems") else ""
        return f"list of {pair}" + (_kind(field["items"]) if "items" in field else "values")
    if field.get("type") in ("integer", "number"):
        return {"integer": "whole number", "number": "number"}[field["type"]] + _bounds(field)
    words = {"boolean": "`true`, `false`", "null": "`null`", "object": "mapping"}
    return words.get(field.get("type", ""), "text" if "type" in field or "pattern" in field else "any value")


def _bounds(field: dict[str, Any]) -> str:
    words = {"minimum": "at least", "exclusiveMinimum": "above", "maximum": "at most", "exclusiveMaximum": "below"}
    return "".join(f", {word} {field[key]:,}" for key, word in words.items() if key in field)
