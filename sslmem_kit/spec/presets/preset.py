"""Presets: a study spec under a name, and what in the paper it is for."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any


@dataclass(frozen=True)
class Preset:
    """A study spec that ships with the package.

    Parameters
    ----------
    name
        ``paper/...`` or ``mini/...``; the study's own name has a ``-`` for the ``/``, because it names a folder.
    artifacts
        Tables and figures of the paper that the study serves.
    description
        What differs from the table's first row, and where the paper leaves a choice.
    sections
        The spec's sections, without ``name`` and ``description``.
    mini
        Of a ``paper/`` preset: the preset of the same shape that runs on a CPU.
    sslmem, accuracy
        The paper's own numbers for the row: mean score of the candidates, and linear probe accuracy in percent.
    """

    name: str
    artifacts: tuple[str, ...]
    description: str
    sections: dict[str, Any]
    mini: str | None = None
    sslmem: float | None = None
    accuracy: float | None = None

    @property
    def spec(self) -> dict[str, Any]:
        """The spec as a person would write it."""
        return {"name": self.name.replace("/", "-"), "description": self.description, **self.sections}


def merge(base: Mapping[str, Any], changes: Mapping[str, Any]) -> dict[str, Any]:
    """Return a copy of ``base`` with ``changes`` in it; mappings are merged, all else is replaced."""
    merged = dict(base)
    for key, value in changes.items():
        both = isinstance(value, Mapping) and isinstance(merged.get(key), Mapping)
        merged[key] = merge(merged[key], value) if both else value
    return merged
