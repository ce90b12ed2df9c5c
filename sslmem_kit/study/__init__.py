"""The study: its spec and its directory."""

from __future__ import annotations

from importlib import import_module
from typing import Any

__all__ = ["Study", "StudySpec", "bundled_specs", "create_or_resume", "load_spec", "open_study"]

_HOMES = {
    **dict.fromkeys(("Study", "create_or_resume", "open_study"), "sslmem_kit.study.folder"),
    **dict.fromkeys(("StudySpec", "bundled_specs", "load_spec"), "sslmem_kit.study.spec"),
}


def __getattr__(name: str) -> Any:
    # On first use: who only wants a spec does not wait for xarray.
    if name not in _HOMES:
        raise AttributeError(f"module {__name__!r} has no attribute {name!r}")
    return getattr(import_module(_HOMES[name]), name)
