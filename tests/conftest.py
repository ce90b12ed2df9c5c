"""Tests that run side by side take one thread each. Where a reader alone is installed, what needs an extra is skipped and names it."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import pytest

from sslmem_kit.errors import EXTRAS

if "PYTEST_XDIST_WORKER" in os.environ:
    # Before torch is imported: threads of several processes that wait for each other on two cores double the time.
    os.environ.setdefault("OMP_NUM_THREADS", "1")

MISSING = [package for package in EXTRAS if find_spec(package) is None]
LEFT = (
    r"from sslmem_kit\.(encoders|training|measures|views|run\.(audit|calibration|worker|schedulers\.process_group)|data\.loader)\b"
)
"""Imports at the top of a test module that need the extra ``train``."""


def pytest_ignore_collect(collection_path: Path) -> bool | None:
    """Leave out test modules that import what is not installed."""
    if not MISSING or collection_path.suffix != ".py":
        return None
    text = collection_path.read_text(encoding="utf-8")
    needs = (
        rf"^(?:import|from) (?:{'|'.join(MISSING)})\b|^{LEFT}|^from tests\.(?:run|training|acceptance|encoders|measures|views)\b"
    )
    return True if re.search(needs, text, flags=re.MULTILINE) else None


def _skip_what_is_missing(outcome: Any) -> None:
    if outcome.excinfo is None:
        return
    error = outcome.excinfo[1]
    package = getattr(error, "name", None) if isinstance(error, ModuleNotFoundError) else None
    if package in MISSING or ("which is not installed: pip install" in str(error)):
        outcome.force_exception(pytest.skip.Exception(f"needs an extra: {error}"))


if MISSING:

    @pytest.hookimpl(hookwrapper=True)
    def pytest_pyfunc_call(pyfuncitem: Any) -> Iterator[None]:
        """Skip a test that comes upon a package that is not installed."""
        _skip_what_is_missing((yield))

    @pytest.hookimpl(hookwrapper=True)
    def pytest_fixture_setup(fixturedef: Any, request: Any) -> Iterator[None]:
        """Skip the tests of a fixture that comes upon a package that is not installed."""
        _skip_what_is_missing((yield))
