"""JSON schemas of the specs, by which editors complete fields, show what they mean and underline what would be refused.

They are generated from the models, short forms included, and kept in ``docs/schema/`` (of a wheel: ``sslmem_kit/_schema/``), which
``python -m sslmem_kit.spec.schema docs/schema`` writes. What relates several fields to each other is left to :func:`load_spec`.
"""

from __future__ import annotations

import json
import re
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from pydantic.json_schema import GenerateJsonSchema

from sslmem_kit.spec.audit import AuditSpec
from sslmem_kit.spec.frontier import FrontierSpec
from sslmem_kit.spec.moved import HashedSpec
from sslmem_kit.spec.places import SCHEMAS
from sslmem_kit.spec.removal_tree import RemovalTreeSpec
from sslmem_kit.spec.study import StudySpec

KINDS: dict[str, type[HashedSpec]] = {"study": StudySpec, "audit": AuditSpec, "removal": RemovalTreeSpec,
                                     "frontier": FrontierSpec}  # fmt: skip
"""Kinds of specs, and their models."""
_TITLES = {"study": "a study", "audit": "an audit", "removal": "a removal tree", "frontier": "a mitigation frontier"}
DIALECT = "http://json-schema.org/draft-07/schema#"
"""Draft 7, which the language servers for YAML know in full."""

_ROLE = re.compile(r":\w+:`~?([^`]+)`")


class _Generator(GenerateJsonSchema):
    """Generator that leaves out titles of fields, which repeat their names."""

    def field_title_should_be_set(self, schema: Any) -> bool:
        return False


def schema(kind: str) -> dict[str, Any]:
    """Return the JSON schema of a spec, in the dialect of draft 7.

    Parameters
    ----------
    kind
        A key of :data:`KINDS`.

    Examples
    --------
    >>> schema("study")["properties"]["seed"]["exclusiveMaximum"]
    2147483648
    >>> sorted(schema("study")["required"])
    ['data', 'name']
    """
    generated = KINDS[kind].model_json_schema(schema_generator=_Generator)
    definitions = generated.pop("$defs")
    for holder in [generated, *definitions.values()]:
        _in_draft_7(holder, definitions)
    title = {"$schema": DIALECT, "title": f"sslmem_kit: spec of {_TITLES[kind]}"}
    return {**title, **{key: value for key, value in generated.items() if key != "title"}, "$defs": definitions}


def as_json(kind: str) -> str:
    """Return the schema of a spec as the text of its file."""
    return json.dumps(schema(kind), indent=1, ensure_ascii=False) + "\n"


def editor_line(spec: HashedSpec, folders: Iterable[Path] = SCHEMAS) -> str:
    """Return the comment that names the schema of a spec to editors, for the top of a YAML file; empty where there is no schema.

    It names the file of the installed package: it can be read without a network, and is of the version that will read the spec. Elsewhere the
    comment has no meaning, and no harm.
    """
    name = next(kind for kind, model in KINDS.items() if isinstance(spec, model)) + ".json"
    path = next((folder / name for folder in folders if (folder / name).is_file()), None)
    return f"# yaml-language-server: $schema={path.absolute().as_uri()}\n" if path else ""


def _in_draft_7(part: Any, definitions: dict[str, Any]) -> None:
    """Change, in place, what pydantic writes in newer dialects, and what it leaves to the parser."""
    for child in part.values() if isinstance(part, dict) else part if isinstance(part, list) else ():
        _in_draft_7(child, definitions)
    if not isinstance(part, dict):
        return
    if isinstance(part.get("description"), str):
        part["description"] = _first_paragraph(part["description"])
    if isinstance(part.get("prefixItems"), list):  # a pair of equals
        part["items"] = part.pop("prefixItems")[0]
    if isinstance(part.get("discriminator"), dict):  # of OpenAPI; the field that says which is due, though it has a default
        for reference in part.pop("discriminator")["mapping"].values():
            definition = definitions[reference.removeprefix("#/$defs/")]
            tag = next(name for name, field in definition["properties"].items() if "const" in field)
            definition["required"] = sorted({tag, *definition.get("required", ())})


def _first_paragraph(text: str) -> str:
    return _ROLE.sub(r"`\1`", " ".join(text.split("\n\n")[0].split())).replace("``", "`")


def main(folder: str) -> None:
    """Write the schemas of all kinds into a folder, which is made if need be."""
    Path(folder).mkdir(parents=True, exist_ok=True)
    for kind in KINDS:
        (Path(folder) / f"{kind}.json").write_text(as_json(kind), encoding="utf-8")


if __name__ == "__main__":
    if len(sys.argv) != 2:
        sys.exit("the folder to write schemas into is needed, docs/schema")
    main(sys.argv[1])
