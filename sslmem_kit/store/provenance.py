"""Machine that the numbers of a store were computed on, which their last bits depend on.

A sum over threads is added up in an order that depends on their number, and training carries such a difference on: two trainings that
are equal in everything but the threads are as far apart, in the end, as two that differ in the noise of one step.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

BITS = "equal numbers, to the last bit, need equal threads, processor and torch"


def computed_on(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """Return what the last bits of a store's numbers depend on: ``device``, ``processor``, ``threads`` and ``torch``; None for what is
    missing from an older store.

    Parameters
    ----------
    attrs
        Attributes of the root of a results store.
    """
    try:
        versions = json.loads(attrs.get("versions", "{}"))
    except (TypeError, ValueError):
        versions = {}
    torch = versions.get("torch") if isinstance(versions, dict) else None
    return {**{name: attrs.get(name) for name in ("device", "processor", "threads")}, "torch": torch}


def in_words(machine: Mapping[str, Any]) -> str:
    """Return the result of :func:`computed_on` as a phrase: ``cpu (AMD EPYC), 1 thread a training, torch 2.14.0``."""
    place = f"{machine['device']}" + (f" ({machine['processor']})" if machine["processor"] else "")
    threads = machine["threads"]
    parts = [
        place,
        f"{threads} thread{'s' * (threads != 1)} a training" if threads else "",
        machine["torch"] and f"torch {machine['torch']}",
    ]
    return ", ".join(part for part in parts if part)


def difference(left: Mapping[str, Any], right: Mapping[str, Any]) -> str:
    """Return in which entries of :func:`computed_on` two studies are known to differ, as a sentence; empty where in none."""
    names = [name for name in left if None not in (left[name], right[name]) and left[name] != right[name]]
    if not names:
        return ""
    parts = [f"{name} {left[name]} on the left and {right[name]} on the right" for name in names]
    return f"Computed with {', '.join(parts)}: on their own these move single scores."
