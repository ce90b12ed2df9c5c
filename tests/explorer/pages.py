"""The served explorer for tests in a browser: a server in a process of its own, pages that tell of their errors, and what stands on them."""

from __future__ import annotations

import contextlib
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

ROOT = Path(__file__).parents[2]
HARMLESS = ("GPU stall", "GL Driver Message", "Automatic fallback to software WebGL")
"""In warnings that Chromium gives about drawing without a graphics card."""
PATIENCE_MS = 20_000


@contextlib.contextmanager
def running_app(*studies: Path | str, port: int = 0) -> Iterator[str]:
    """``sslmem app`` on these studies; the address of its page."""
    command = [sys.executable, "-m", "sslmem_kit", "app", *map(str, studies), "--port", str(port)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment)
    try:
        line = process.stdout.readline()
        if not line.startswith("explorer: "):
            raise RuntimeError(f"the explorer did not start: {line!r}, exit status {process.wait(10)}")
        yield line.removeprefix("explorer: ").strip()
    finally:
        process.send_signal(signal.SIGTERM)
        process.wait(20)
        process.stdout.close()


@contextlib.contextmanager
def new_page(browser: Any, *, width: int = 1280, height: int = 1000, scheme: str = "light") -> Iterator[Any]:
    """A page of a fresh profile; at its end, that nothing went wrong on it and that no other host was asked."""
    context = browser.new_context(viewport={"width": width, "height": height}, color_scheme=scheme, accept_downloads=True)
    context.set_default_timeout(PATIENCE_MS)
    page, wrong = context.new_page(), []

    def said(message: Any) -> None:
        if message.type in ("error", "warning") and not any(words in message.text for words in HARMLESS):
            wrong.append(f"console {message.type}: {message.text[:500]}")

    def asked(request: Any) -> None:
        if not request.url.startswith(("data:", "blob:")) and urlsplit(request.url).hostname != "127.0.0.1":
            wrong.append(f"outside: {request.url}")

    page.on("console", said)
    page.on("pageerror", lambda error: wrong.append(f"page error: {error}"))
    page.on("request", asked)
    page.on("response", lambda response: wrong.append(f"{response.status}: {response.url}") if response.status >= 400 else None)
    try:
        yield page
        assert wrong == []
    finally:
        context.close()


def visit(page: Any, url: str) -> None:
    """Go to an address of the explorer and wait until it is there."""
    page.goto(url)
    page.wait_for_selector("p.status")


def status(page: Any) -> str:
    """The line that says how much is shown, above the threshold, and selected."""
    return page.locator("p.status").inner_text()


def counts(page: Any) -> dict[str, float]:
    """The numbers of the status line: ``shown``, ``of``, ``above``, ``limit``, ``selected``."""
    pattern = r"([\d,]+) of ([\d,]+) samples shown, ([\d,]+) above the threshold of (\S+), ([\d,]+) selected"
    shown, of, above, limit, selected = re.search(pattern, status(page)).groups()
    numbers = {"shown": shown, "of": of, "above": above, "selected": selected}
    return {**{name: int(text.replace(",", "")) for name, text in numbers.items()}, "limit": float(limit)}


def wait_for(page: Any, true: Callable[[], Any], timeout_ms: int = PATIENCE_MS) -> Any:
    """What a condition of this side gives once it is true."""
    for _ in range(timeout_ms // 50):
        if found := true():
            return found
        page.wait_for_timeout(50)
    raise AssertionError(f"did not come true within {timeout_ms / 1000:g} s; the page says: {status(page)}")


def wait_for_counts(page: Any, **wanted: float) -> None:
    """Wait until the status line has these numbers."""
    try:
        wait_for(page, lambda: {name: counts(page)[name] for name in wanted} == wanted)
    except AssertionError:
        raise AssertionError(f"wanted {wanted}, the page says: {status(page)}") from None
