"""The served explorer for tests in a browser: a server in a process of its own, pages that tell of their errors, and what stands on them."""

from __future__ import annotations

import contextlib
import io
import os
import re
import signal
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

import numpy as np
from PIL import Image

from tests.support import ROOT

HARMLESS = ("GPU stall", "GL Driver Message", "Automatic fallback to software WebGL")
"""In warnings that Chromium gives about drawing without a graphics card."""
FIGURE = 'Bokeh.index.query_one((view) => view.model.type === "Figure" && view.parent.model.type.includes("ReactiveESM"))'
"""The scatter's, in JavaScript."""
STATUS = ".sm-status p.status"
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
        assert wrong == [], wrong
    finally:
        context.close()


def visit(page: Any, url: str) -> None:
    """Go to an address of the explorer and wait until it is there."""
    page.goto(url)
    page.wait_for_selector(STATUS)


def status(page: Any) -> str:
    """The line that says how much is shown, above the threshold, and selected."""
    return page.locator(STATUS).inner_text()


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


def places(page: Any, points: Any) -> list[tuple[float, float]]:
    """Where points of the scatter, (x, y) in units of its axes, are in the window."""
    found = page.evaluate(
        """(points) => {
          const figure = FIGURE;
          const { left, top } = figure.canvas_view.el.getBoundingClientRect(), { x_scale, y_scale } = figure.frame;
          return points.map(([x, y]) => [left + x_scale.compute(x), top + y_scale.compute(y)]);
        }""".replace("FIGURE", FIGURE),
        [[float(x), float(y)] for x, y in points],
    )
    return [tuple(place) for place in found]


def drag(page: Any, corners: list[tuple[float, float]]) -> None:
    """Press the mouse at the first corner, go along the others, and let go at the last."""
    page.mouse.move(*corners[0])
    page.mouse.down()
    for corner in corners[1:]:
        page.mouse.move(*corner, steps=8)
    page.mouse.up()


def picture(page: Any) -> Any:
    """What the window shows, (y, x, channel) uint8."""
    return np.asarray(Image.open(io.BytesIO(page.screenshot())).convert("RGB"))


def focused(page: Any) -> dict[str, Any]:
    """What has the focus: its tag, name, width of the outline, and the part of the page that it is in."""
    return page.evaluate(
        """() => {
          let element = document.activeElement;
          while (element?.shadowRoot?.activeElement) element = element.shadowRoot.activeElement;
          const style = getComputedStyle(element);
          let part = "";
          for (let up = element; up && !part; up = up.parentElement ?? up.getRootNode().host)
            for (const name of ["sm-filters", "stage", "gallery", "detail", "threshold", "shares"])
              if (up.classList?.contains(name)) part = part || name;
          return { tag: element.tagName.toLowerCase(), text: (element.getAttribute("aria-label") ?? element.textContent).trim(), part,
                   outline: style.outlineStyle === "none" ? 0 : parseFloat(style.outlineWidth), shadow: style.boxShadow };
        }"""
    )


def texts(page: Any) -> list[dict[str, Any]]:
    """Every text that can be seen: its size, and the contrast of its colour to what is behind it."""
    return page.evaluate(
        """() => {
          const found = [], probe = document.createElement("canvas").getContext("2d", { willReadFrequently: true });
          const rgba = (colour) => {
            probe.clearRect(0, 0, 1, 1); probe.fillStyle = colour; probe.fillRect(0, 0, 1, 1);
            return [...probe.getImageData(0, 0, 1, 1).data];
          };
          const light = ([r, g, b]) => {
            const [x, y, z] = [r, g, b].map((v) => (v /= 255) <= 0.04045 ? v / 12.92 : ((v + 0.055) / 1.055) ** 2.4);
            return 0.2126 * x + 0.7152 * y + 0.0722 * z;
          };
          const above = (element) => element.assignedSlot ?? element.parentElement ?? element.getRootNode().host ?? null;
          const behind = (element) => {
            for (let up = element; up; up = above(up)) {
              const colour = rgba(getComputedStyle(up).backgroundColor);
              if (colour[3] > 250) return colour;
            }
            return [255, 255, 255, 255];
          };
          const faded = (element) => {
            for (let up = element; up; up = above(up))
              if (Number(getComputedStyle(up).opacity) < 1 || up.getAttribute?.("aria-disabled") === "true") return true;
            return false;
          };
          const walk = (root) => {
            for (const element of root.querySelectorAll("*")) {
              if (element.shadowRoot) walk(element.shadowRoot);
              const own = element.tagName === "SELECT" ? element.selectedOptions[0]?.textContent : element.tagName === "INPUT"
                ? (["text", "number"].includes(element.type) ? element.value : "")
                : [...element.childNodes].filter((node) => node.nodeType === 3).map((node) => node.textContent).join("").trim();
              if (!own || ["STYLE", "SCRIPT", "OPTION", "TITLE"].includes(element.tagName)) continue;
              if (!element.checkVisibility({ visibilityProperty: true })) continue;
              const box = element.getBoundingClientRect(), style = getComputedStyle(element);
              if (box.width < 2 || box.height < 2 || faded(element)) continue;
              const ink = element instanceof SVGElement ? style.fill : style.color;
              const [a, b] = [light(rgba(ink)), light(behind(element))].sort((p, q) => q - p);
              found.push({ text: own.slice(0, 60), tag: element.tagName.toLowerCase(), contrast: (a + 0.05) / (b + 0.05),
                           size: parseFloat(style.fontSize), right: box.right, left: box.left });
            }
          };
          walk(document.body);
          return found;
        }"""
    )
