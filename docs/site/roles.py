"""Extension of griffe, by which pages show docstrings as they are meant.

Roles of Sphinx, ``:func:`` and the like, become links to what they name; what has no entry on a page, being private or of another package,
becomes code. Where "Returns" holds plain text, that is taken for the description, not for a type.
"""

from __future__ import annotations

import re
from collections.abc import Iterator
from functools import partial
from textwrap import indent
from typing import Any

import griffe

ROLE = re.compile(r":(?:func|class|meth|mod|data|attr|exc):`(?P<short>~?)(?P<name>[^`]+)`")
RETURNS = re.compile(r"^(?P<head>(?:Returns|Yields)\n-+\n)(?P<text>(?:.|\n)*?)(?=\n\n[A-Z][\w ]*\n---|\Z)", re.MULTILINE)
LITERAL_BLOCK = re.compile(r"(?<=\S)::(?=\n\n? +\S)")


class Roles(griffe.Extension):
    """Rewrites the docstrings of a package once all of it is loaded."""

    def on_package(self, *, pkg: griffe.Module, **_: Any) -> None:
        for thing in _all(pkg):
            if thing.docstring:
                text = LITERAL_BLOCK.sub(":", ROLE.sub(partial(_link, thing), thing.docstring.value))
                thing.docstring.value = RETURNS.sub(partial(_described, thing), text)


def _all(thing: griffe.Object) -> Iterator[griffe.Object]:
    yield thing
    for member in thing.members.values():
        if not member.is_alias:
            yield from _all(member)


def _link(holder: griffe.Object, role: re.Match[str]) -> str:
    """The link to what a role in a docstring names; only public things have an entry on a page."""
    path = _path(holder, role["name"])
    shown = role["name"].rpartition(".")[2] if role["short"] else role["name"]
    public = path and not any(part.startswith("_") for part in path.split("."))
    return f"[`{shown}`][{path}]" if public else f"`{shown}`"


def _described(holder: griffe.Object, section: re.Match[str]) -> str:
    """A section "Returns" whose text is a description; unchanged where its first line is a type, with the description indented below."""
    if re.match(r"\S+\Z|.*\n ", section["text"]):
        return section[0]
    kind = holder.returns if isinstance(holder, griffe.Function) and holder.returns else "value"
    return f"{section['head']}{kind}\n{indent(section['text'], ' ' * 4)}"


def _path(holder: griffe.Object, name: str) -> str | None:
    """The full path of a name that is looked for in a thing, in what holds it, and from the top; None where it is not found."""
    top = holder.package
    if name.startswith(f"{top.path}."):
        return _final(top, name.removeprefix(f"{top.path}."))
    here: griffe.Object | None = holder
    while here is not None:
        if found := _final(here, name):
            return found
        here = here.parent
    return None


def _final(holder: griffe.Object, name: str) -> str | None:
    try:
        found = holder[name]
        return (found.final_target if found.is_alias else found).path
    except (KeyError, griffe.AliasResolutionError, griffe.CyclicAliasError):
        return None
