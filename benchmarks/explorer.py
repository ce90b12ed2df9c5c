"""How fast the explorer answers, and what it weighs: `python benchmarks/explorer.py --json`.

Made-up studies of 50,000 samples (three pairs of encoders) and 1,281,167 (one pair) are written once into ``--data``. For each,
`sslmem app` runs as a process of its own and Chromium opens it.

first paint   from the request of the page to the scatter drawn, median over fresh browser profiles. ``start`` is reported beside it: from the
              start of the command to its first answer.
interaction   from a click on a class, or a key on the threshold's slider, to the last frame drawn because of it, all parts of the page
              together, median; everything that arrives until 300 ms pass without a message counts.
memory        the largest resident set of the app process at the large size, after all of this.
sessions      (``--sessions N``) N clients on one process, each of which acts about every two seconds: median and slowest answer, errors, and
              the resident set before, with all and after they left, twice.
"""

from __future__ import annotations

import argparse
import asyncio
import contextlib
import json
import random
import re
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from large_study import IMAGENET, make_large_study

from tests.support.bokeh_client import answer, ask, models_of
from tests.support.browser import open_browser

PAINTS, ACTIONS = 3, 8
QUIET_MS = 300

_WATCH = """
(() => {
  window.lastMessage = 0; window.lastFrame = 0;
  const Socket = window.WebSocket;
  window.WebSocket = class extends Socket {
    constructor(...args) {
      super(...args);
      this.addEventListener("message", () => { window.lastMessage = performance.now(); window.drawn(); });
    }
  };
  // A message may be drawn one frame after it came.
  window.drawn = () => requestAnimationFrame(() => requestAnimationFrame(() => { window.lastFrame = performance.now(); }));
  document.addEventListener("click", () => { window.acted = performance.now(); window.drawn(); }, true);
  document.addEventListener("keydown", () => { window.acted = performance.now(); window.drawn(); }, true);
})();
"""
_SETTLED = """(quiet) => window.Bokeh && Bokeh.documents.length && Bokeh.documents[0].is_idle
    && performance.now() - Math.max(window.lastMessage, window.lastFrame, window.acted || 0) > quiet"""


@contextlib.contextmanager
def app(*studies: Path) -> Iterator[tuple[str, int, float]]:
    """A running `sslmem app`: its address, its process id, and the seconds until it answered."""
    begun = time.monotonic()
    command = [sys.executable, "-m", "sslmem_kit", "app", *map(str, studies), "--port", "0"]
    process = subprocess.Popen(command, cwd=ROOT, stdout=subprocess.PIPE, text=True)
    try:
        line = process.stdout.readline()
        if "http" not in line:
            raise SystemExit(f"sslmem app did not start: {line}")
        yield "http" + line.partition("http")[2].strip(), process.pid, time.monotonic() - begun
    finally:
        process.terminate()
        process.wait(30)


def resident_mb(pid: int, *, peak: bool = False) -> float:
    """Resident set of a process, in MB (1e6 bytes)."""
    wanted = "VmHWM:" if peak else "VmRSS:"
    lines = Path(f"/proc/{pid}/status").read_text().splitlines()
    return next(int(line.split()[1]) * 1024 / 1e6 for line in lines if line.startswith(wanted))


def measure_browser(study: Path) -> dict[str, Any]:
    """First paint, interactions and memory of one study."""
    paints: list[float] = []
    actions: dict[str, list[float]] = {"class": [], "threshold": []}
    with app(study) as (url, pid, start), open_browser() as browser:
        for number in range(PAINTS):
            context = browser.new_context(viewport={"width": 1280, "height": 900})
            page = context.new_page()
            page.add_init_script(_WATCH)
            page.goto(url, wait_until="commit")
            page.wait_for_selector("p.status:has-text('samples shown')", timeout=60_000)
            page.wait_for_function(_SETTLED, arg=QUIET_MS, timeout=60_000)
            paints.append(page.evaluate("window.lastFrame / 1000"))
            _assert_drawn(page)
            if number == PAINTS - 1:
                _act(page, actions)
                page.screenshot(path=str(study.parent / f"{study.name}.png"))
            context.close()
        torch = "libtorch" in Path(f"/proc/{pid}/maps").read_text()
        return {
            "start_s": start,
            "first_paint_s": paints,
            "class_ms": actions["class"],
            "threshold_ms": actions["threshold"],
            "memory_mb": resident_mb(pid, peak=True),
            "imports_torch": torch,
        }


def _assert_drawn(page: Any) -> None:
    """The scatter must have colours, not only be there."""
    from PIL import Image

    with tempfile.NamedTemporaryFile(suffix=".png") as file:
        page.locator(".bk-Figure").first.screenshot(path=file.name)
        colours = Image.open(file.name).convert("RGB").getcolors(1 << 24)
    if colours is None or len(colours) < 100:
        raise SystemExit(f"the scatter is empty: {len(colours or ())} colours")


def _act(page: Any, actions: dict[str, list[float]]) -> None:
    boxes = page.locator(".sm-filters input[type=checkbox]")
    everything = [boxes.nth(i) for i in range(4)]
    for box in everything:  # all partitions, so that every sample is shown
        if not box.is_checked():
            box.click()
            page.wait_for_function(_SETTLED, arg=QUIET_MS, timeout=60_000)
    for number in range(ACTIONS):
        # The first class on, then off: a tenth or a thousandth of the samples, then all of them.
        actions["class"].append(_timed(page, lambda: boxes.nth(4).click()))
        handle = page.locator("input[type=range]").first
        handle.focus()
        actions["threshold"].append(_timed(page, lambda key=("ArrowLeft", "ArrowRight")[number % 2]: page.keyboard.press(key)))


def _timed(page: Any, act: Callable[[], Any]) -> float:
    page.wait_for_timeout(700)  # the address follows the view after half a second: that is no part of the next answer
    page.wait_for_function(_SETTLED, arg=QUIET_MS, timeout=60_000)
    before = page.evaluate("window.lastMessage")
    act()
    page.wait_for_function("(before) => window.lastMessage > before", arg=before, timeout=60_000)
    page.wait_for_function(_SETTLED, arg=QUIET_MS, timeout=60_000)
    return page.evaluate("window.lastFrame - window.acted")


def measure_sessions(study: Path, count: int, *, seconds: float = 20.0) -> dict[str, Any]:
    """Sessions at once on one process, in two waves."""
    told: dict[str, Any] = {"clients": count, "answers_ms": [], "pages_s": [], "errors": 0, "with_all_mb": [], "after_mb": []}

    async def wave(url: str, pid: int, first: int, many: int, seconds: float) -> None:
        found = await asyncio.gather(
            *(_client(url, seconds, first + number, pid) for number in range(many)), return_exceptions=True
        )
        for one in found:
            if isinstance(one, BaseException):
                told["errors"] += 1
                print(f"a session failed: {one!r}", file=sys.stderr)
            elif many == count:
                told["pages_s"].append(one[0])
                told["answers_ms"] += one[1]
        told["with_all_mb"].append(max((one[2] for one in found if not isinstance(one, BaseException)), default=0.0))

    with app(study) as (url, pid, _):
        asyncio.run(wave(url, pid, 0, 1, 3.0))
        told["with_all_mb"].clear()
        time.sleep(45)
        told["before_mb"] = resident_mb(pid)
        for number in range(2):
            asyncio.run(wave(url, pid, 1 + number * count, count, seconds))
            time.sleep(45)
            told["after_mb"].append(resident_mb(pid))
        return told


async def _client(url: str, seconds: float, seed: int, pid: int) -> tuple[float, list[float], float]:
    """A colleague without a browser, who chooses classes: seconds until the page is there, milliseconds of each answer, memory then."""
    from tornado.httpclient import AsyncHTTPClient, HTTPRequest
    from tornado.websocket import websocket_connect

    dice, answers, begun = random.Random(seed), [], time.monotonic()
    patience = {"connect_timeout": 120, "request_timeout": 120}
    fetched = await AsyncHTTPClient(force_instance=True).fetch(HTTPRequest(url, **patience))
    # As a browser: first the page, whose token opens the websocket; the server takes no other.
    token = re.search(r'"token":"([^"]+)"', fetched.body.decode())[1]
    request = HTTPRequest(f"ws{url[4:]}ws", **patience)
    socket = await websocket_connect(request, subprotocols=["bokeh", token], max_message_size=2**28)
    try:
        await answer(socket, None)
        await ask(socket, "PULL-DOC-REQ", {})
        document = await answer(socket, "1")
        page, end = time.monotonic() - begun, time.monotonic() + seconds
        group = max(models_of(json.loads(document), "CheckboxGroup"), key=lambda group: len(group["attributes"].get("labels", ())))
        classes = range(len(group["attributes"]["labels"]))
        while time.monotonic() < end:
            await asyncio.sleep(dice.uniform(1, 3))
            begun, chosen = time.monotonic(), sorted(dice.sample(classes, 2))
            change = {"kind": "ModelChanged", "model": {"id": group["id"]}, "attr": "active", "new": chosen}
            await ask(socket, "PATCH-DOC", {"events": [change]})
            await answer(socket, "1")  # comes after all that the change brought
            answers.append((time.monotonic() - begun) * 1000)
        return page, answers, resident_mb(pid)
    finally:
        socket.close()


def main() -> None:
    """Measure, and print a table or JSON."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument(
        "--data", type=Path, default=Path(tempfile.gettempdir()) / "sslmem_kit_explorer", help="where the studies are kept"
    )
    parser.add_argument("--sessions", type=int, default=0, help="also measure so many sessions at once on the study of 50,000")
    parser.add_argument("--only", choices=["50k", "1281k"], help="one size")
    chosen = parser.parse_args()
    chosen.data.mkdir(parents=True, exist_ok=True)
    told: dict[str, Any] = {}
    for name, samples, seeds in (("50k", 50_000, 3), ("1281k", IMAGENET, 1)):
        if chosen.only in (None, name):
            study = make_large_study(chosen.data / name, samples, seeds).path
            found = measure_browser(study)
            told |= {
                f"first_paint_{name}_s": round(statistics.median(found["first_paint_s"]), 3),
                f"interaction_{name}_ms": round(statistics.median(found["class_ms"] + found["threshold_ms"]), 1),
                f"memory_{name}_mb": round(found["memory_mb"], 1),
                f"start_{name}_s": round(found["start_s"], 3),
                f"detail_{name}": found,
            }
            if chosen.sessions and name == "50k":
                found = measure_sessions(study, chosen.sessions)
                answers = found.pop("answers_ms")
                told["sessions"] = {**found, "n": len(answers), "median_ms": statistics.median(answers), "slowest_ms": max(answers)}
    if chosen.json:
        print(json.dumps(told, indent=2))
        return
    for name, value in told.items():
        print(f"{name:<24}{value}")


if __name__ == "__main__":
    main()
