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
import contextlib
import json
import random
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks"), str(ROOT / "tests" / "explorer")]

from browser import open_browser  # noqa: E402
from large_study import IMAGENET, make_large_study  # noqa: E402

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
        handle = page.locator(".noUi-handle").first
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
    with app(study) as (url, pid, _):
        _client(url, 1.0, 0)
        time.sleep(30)
        told: dict[str, Any] = {
            "clients": count,
            "before_mb": resident_mb(pid),
            "answers_ms": [],
            "errors": 0,
            "with_all_mb": [],
            "after_mb": [],
        }
        for wave in range(2):
            with ThreadPoolExecutor(count) as pool:
                futures = [pool.submit(_client, url, seconds, wave * count + number) for number in range(count)]
                time.sleep(seconds)
                told["with_all_mb"].append(resident_mb(pid))
                for future in futures:
                    try:
                        told["answers_ms"] += future.result()
                    except Exception as error:
                        told["errors"] += 1
                        print(f"a session failed: {error!r}", file=sys.stderr)
            time.sleep(40)
            told["after_mb"].append(resident_mb(pid))
        return told


def _client(url: str, seconds: float, seed: int) -> list[float]:
    """A colleague without a browser, who filters and moves the threshold: milliseconds of each answer."""
    from bokeh.client import pull_session
    from bokeh.models import CheckboxGroup

    dice, answers = random.Random(seed), []
    session = pull_session(url=url, arguments={})
    try:
        groups = sorted(session.document.select({"type": CheckboxGroup}), key=lambda group: -len(group.labels))
        classes, end = groups[0], time.monotonic() + seconds
        while time.monotonic() < end:
            time.sleep(dice.uniform(1, 3))
            begun = time.monotonic()
            classes.active = sorted(dice.sample(range(len(classes.labels)), 2))
            session.force_roundtrip()  # answered in order: what the change brought has arrived before
            answers.append((time.monotonic() - begun) * 1000)
    finally:
        session.close()
    return answers


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
