"""Measure what self-supervised encoders memorize.

>>> import sslmem_kit
>>> study = sslmem_kit.open_study("papermill_runs/digits")  # doctest: +SKIP
>>> study.scores(protocol="corrected")["sslmem"]  # doctest: +SKIP
"""

from importlib import import_module
from typing import Any

__version__ = "0.1.0"
__all__ = [
    "Study",
    "UserError",
    "explore",
    "family_contrast",
    "leave_out",
    "load_spec",
    "monitor",
    "open_study",
    "pick_class",
    "pick_threshold",
    "run_study",
    "score",
    "score_encoders",
]

_HOME = {
    "Study": "sslmem_kit.study",
    "open_study": "sslmem_kit.study",
    "load_spec": "sslmem_kit.spec",
    "UserError": "sslmem_kit.errors",
    "explore": "sslmem_kit.explorer.page",
    "family_contrast": "sslmem_kit.scores",
    "leave_out": "sslmem_kit.scores",
    "monitor": "sslmem_kit.explorer.notebook.monitor",
    "pick_class": "sslmem_kit.explorer.notebook.pickers",
    "pick_threshold": "sslmem_kit.explorer.notebook.pickers",
    "run_study": "sslmem_kit.run.study:run",  # the module is called run
    "score": "sslmem_kit.scores",
    "score_encoders": "sslmem_kit.run.audit.in_memory",
}


def __getattr__(name: str) -> Any:
    # Public names are looked up on first use: the command line's help must not wait for xarray.
    if name not in _HOME:
        raise AttributeError(f"module 'sslmem_kit' has no attribute {name!r}")
    module, _, own_name = _HOME[name].partition(":")
    return getattr(import_module(module), own_name or name)


def __dir__() -> list[str]:
    return sorted(__all__)
