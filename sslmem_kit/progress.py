"""Progress of a run on standard error: bars in a terminal, plain lines elsewhere."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from typing import Any

LINE_SECONDS = 15
"""Plain lines about epochs come at most this often."""

DETAILS = "views and neighbours"
"""What is gathered when every encoder is complete."""


@contextmanager
def shown() -> Iterator[Callable[..., None]]:
    """A listener for :func:`sslmem_kit.run.run` that shows what it hears."""
    if not sys.stderr.isatty():
        yield _Lines()
        return
    from rich.console import Console
    from rich.progress import BarColumn, MofNCompleteColumn, Progress, TextColumn, TimeElapsedColumn, TimeRemainingColumn

    columns = (TextColumn("{task.description:<10}"), BarColumn(), MofNCompleteColumn(), TextColumn("{task.fields[note]:<24}"))
    with Progress(*columns, TimeElapsedColumn(), TimeRemainingColumn(), console=Console(stderr=True)) as bars:
        yield _Bars(bars)


class _Bars:
    """One bar an encoder."""

    def __init__(self, bars: Any) -> None:
        self.bars = bars
        self.tasks: dict[str, Any] = {}

    def __call__(self, event: str, *details: Any) -> None:
        if event == "planned":
            encoders, epochs, _ = details
            self.tasks = {name: self.bars.add_task(name, total=epochs, note="waiting", start=False) for name in encoders}
            return
        if event == "detailed":
            done, total = details
            if DETAILS not in self.tasks:
                self.tasks[DETAILS] = self.bars.add_task("details", total=total, note=DETAILS)
            self.bars.update(self.tasks[DETAILS], completed=done)
            return
        task = self.tasks[details[0]]
        if event == "trained":
            self.bars.start_task(task)
            self.bars.update(task, completed=details[1], note=f"epoch, loss {details[2]:.3f}")
        elif event == "scored":
            self.bars.update(task, note=f"scored block {details[1] + 1}")
        elif event == "completed":
            self.bars.update(task, completed=self.bars.tasks[task].total, note="trained and scored")


class _Lines:
    """A line for what begins and ends, and now and then one for an epoch."""

    def __init__(self) -> None:
        self.started = self.last = time.monotonic()
        self.total = self.completed = self.epochs = 0

    def __call__(self, event: str, *details: Any) -> None:
        if event == "planned":
            encoders, self.epochs, _ = details
            self.total = len(encoders)
            self._say(
                f"{self.total} encoders to train and score, {self.epochs} epochs each" if encoders else "every encoder is complete"
            )
        elif event == "trained" and time.monotonic() - self.last > LINE_SECONDS:
            self._say(f"{details[0]}: epoch {details[1]} of {self.epochs}, loss {details[2]:.3f}")
        elif event == "completed":
            self.completed += 1
            self._say(f"{details[0]}: trained and scored ({self.completed} of {self.total})")
        elif event == "detailed" and (not details[0] or time.monotonic() - self.last > LINE_SECONDS):
            self._say(f"{DETAILS} ({details[0]} of {details[1]})")

    def _say(self, text: str) -> None:
        self.last = time.monotonic()
        print(f"[{self.last - self.started:6.1f} s] {text}", file=sys.stderr, flush=True)
