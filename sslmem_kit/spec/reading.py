"""Reading of text files that strangers wrote: YAML and JSON, as plain values, in bounded time and memory, or one sentence why not.

YAML is read without what would be read in two ways: octal numbers (``010``), sexagesimal ones (``12:30``), keys such as ``on`` that stand
for true, keys given twice. Dates are text, and ``1e-3`` is a number.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import yaml

from sslmem_kit.errors import UserError, short

MOST_BYTES = 2_000_000
"""Largest size in bytes of a file that a person wrote; a study spec has some thousand."""
MOST_VALUES = 1_000_000
"""Values that a file stands for once its aliases are replaced by what they name."""
DEEPEST = 40
"""Mappings and lists within each other."""
LARGEST = 2**64
"""Whole numbers are below; Python itself cannot write ones of more than 4,300 digits."""

_TIMESTAMP, _FLOAT = "tag:yaml.org,2002:timestamp", "tag:yaml.org,2002:float"
_EXPONENT = re.compile(r"[-+]?[0-9][0-9_]*(\.[0-9_]*)?[eE][-+]?[0-9]+")
_BASE_60 = re.compile(r"[-+]?[0-9][0-9_]*(:[0-5]?[0-9])+(\.[0-9_]*)?")
_OCTAL = re.compile(r"[-+]?0[0-9_]+")


def _resolvers(of: type[Any]) -> dict[str, list[tuple[str, Any]]]:
    """Return the types of plain words: those of a loader or dumper without dates, with numbers such as 1e-3."""
    kept = {first: [pair for pair in pairs if pair[0] != _TIMESTAMP] for first, pairs in of.yaml_implicit_resolvers.items()}
    for first in "-+0123456789":
        kept[first] = [*kept.get(first, []), (_FLOAT, re.compile(f"^(?:{_EXPONENT.pattern})$"))]
    return kept


class _Loader(yaml.SafeLoader):
    """Loader that refuses what would be read in two ways, and what would take long."""

    yaml_implicit_resolvers = _resolvers(yaml.SafeLoader)

    def __init__(self, text: str) -> None:
        super().__init__(text)
        self.depth, self.values = 0, 0
        self.sizes: dict[int, int] = {}

    def compose_node(self, parent: Any, index: Any) -> Any:
        mark = self.peek_event().start_mark
        self.depth += 1
        if self.depth > DEEPEST:
            raise _problem(f"more than {DEEPEST} mappings and lists within each other", mark)
        node = super().compose_node(parent, index)
        self.depth -= 1
        # An alias returns the node that it names: its size is known unless that node is still being composed.
        if id(node) not in self.sizes:
            if isinstance(node, yaml.CollectionNode) and node.end_mark is None:
                raise _problem("an alias within what it names", mark)
            parts = [part for item in node.value for part in (item if isinstance(item, tuple) else (item,))]
            self.sizes[id(node)] = 1 + (sum(self.sizes[id(part)] for part in parts) if not isinstance(node.value, str) else 0)
        if self.sizes[id(node)] > MOST_VALUES:
            raise _problem(f"its aliases stand for more than {MOST_VALUES:,} values", mark)
        return node

    def construct_object(self, node: yaml.Node, deep: bool = False) -> Any:
        try:
            value = super().construct_object(node, deep=deep)
        except (ValueError, LookupError, AttributeError, TypeError, OverflowError):
            kind = node.tag.rpartition(":")[2]
            raise _problem(f"{short(node.value)} cannot be read as {kind}", node.start_mark) from None
        if isinstance(node, yaml.ScalarNode) and type(value) in (int, float):
            _check_number(node, value)
        return value

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise _problem(f"{short(key.value)} is given twice", key.start_mark)
            seen.add(key.value)
            if key.tag.endswith(":bool"):
                raise _problem(f"the key {key.value} would be read as true or false, write it in quotes", key.start_mark)
        return super().construct_mapping(node, deep)


class _Dumper(yaml.SafeDumper):
    """Dumper that writes in quotes what :class:`_Loader` would not read as text."""

    yaml_implicit_resolvers = _resolvers(yaml.SafeDumper)

    def ignore_aliases(self, data: Any) -> bool:
        return True


def _problem(problem: str, mark: Any) -> yaml.MarkedYAMLError:
    return yaml.constructor.ConstructorError(problem=problem, problem_mark=mark)


def _check_number(node: yaml.ScalarNode, value: float) -> None:
    text, implicit = node.value, node.style is None
    if type(value) is int and abs(value) >= LARGEST:
        raise _problem(f"a whole number of {len(text):,} characters is too large", node.start_mark)
    if implicit and _BASE_60.fullmatch(text):
        raise _problem(
            f"{short(text)} would be read as {value}, a number to the base 60; write it so, or in quotes", node.start_mark
        )
    if implicit and type(value) is int and _OCTAL.fullmatch(text):
        decimal = text.replace("_", "").lstrip("+-0") or "0"
        raise _problem(f"{text} would be read as {value}, an octal number; write {decimal}, or in quotes", node.start_mark)


def read_yaml(path: Path) -> dict[str, Any]:
    """Return the mapping in a YAML file.

    Raises
    ------
    UserError
        It cannot be read, is not YAML, not a mapping, or could be read in two ways.
    """
    text = _text(path, "a study spec is YAML")
    try:
        loaded = yaml.load(text, Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        why = getattr(error, "problem", None) or getattr(error, "reason", None) or "cannot be parsed"
        raise UserError(f"{path}: this is not valid YAML{line} ({' '.join(why.split())[:200]})") from None
    if not isinstance(loaded, dict):
        got = "an empty file" if loaded is None else type(loaded).__name__
        raise UserError(f"{path}: a study spec is a mapping of fields, got {got}")
    return loaded


def write_yaml(content: Mapping[str, Any]) -> str:
    """Return a mapping of plain values as YAML that :func:`read_yaml` reads as the same."""
    return yaml.dump(content, Dumper=_Dumper, sort_keys=False, allow_unicode=True, width=120)


def read_json(path: Path) -> dict[str, Any]:
    """Return the mapping in a JSON file.

    Raises
    ------
    UserError
        It cannot be read, is not JSON, or not a mapping.
    """
    text = _text(path, "JSON is needed")
    try:
        loaded = json.loads(text)
    except json.JSONDecodeError as error:
        raise UserError(f"{path}: this is not valid JSON at line {error.lineno} ({error.msg})") from None
    except RecursionError:
        raise UserError(f"{path}: this is not read, its lists and mappings are too deep within each other") from None
    except ValueError:  # more digits than Python converts
        raise UserError(f"{path}: this is not read, a number in it is too large") from None
    if not isinstance(loaded, dict):
        raise UserError(f"{path}: a mapping is needed, got {type(loaded).__name__}")
    return loaded


def _text(path: Path, needed: str) -> str:
    try:
        if path.exists() and not path.is_file():  # a pipe or a device would be read for ever
            raise UserError(f"{path}: this is not a file, {needed}")
        with open(path, "rb") as handle:
            content = handle.read(MOST_BYTES + 1)
        if len(content) > MOST_BYTES:
            raise UserError(f"{path}: this has more than {MOST_BYTES / 1e6:.0f} MB and is not read, {needed}")
        return content.decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError(f"{path}: this is not a text file in UTF-8, {needed}") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
