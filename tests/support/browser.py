"""A real Chromium for the tests of the explorer, driven through Playwright; tests that need one skip with a reason where there is none."""

from __future__ import annotations

import contextlib
import importlib.util
import os
import shutil
import socket
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

FLAGS = (
    "--no-sandbox",
    "--disable-gpu",
    "--disable-quic",
    "--no-first-run",
    "--disable-background-networking",
    "--disable-component-update",
    "--disable-sync",
)


def chromium_path() -> str | None:
    """Of a Chromium on this machine: $SSLMEM_CHROMIUM, else the usual places."""
    named = os.environ.get("SSLMEM_CHROMIUM")
    usual = ["/usr/bin/chromium", *map(shutil.which, ("chromium", "chromium-browser", "google-chrome"))]
    return next((path for path in [named, *usual] if path and Path(path).is_file()), None)


def _missing() -> str:
    """Why no browser can be driven here; empty if one can."""
    if importlib.util.find_spec("playwright") is None:
        return "needs the package playwright"
    return "" if chromium_path() else "needs a Chromium; name one in SSLMEM_CHROMIUM"


needs_browser = pytest.mark.skipif(bool(_missing()), reason=_missing() or "there is a browser")
"""Mark of a test, or ``pytestmark`` of a file, that drives a browser."""


@contextlib.contextmanager
def open_browser() -> Iterator[Any]:
    """A headless Playwright browser, closed at the end."""
    from playwright.sync_api import sync_playwright

    with sync_playwright() as playwright:
        browser = playwright.chromium.launch(executable_path=chromium_path(), args=list(FLAGS))
        try:
            yield browser
        finally:
            browser.close()


def free_port() -> int:
    """A port of 127.0.0.1 that nothing listens on at the moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]
