"""Progress as plain lines, for logs and notebooks that run in batch."""

from __future__ import annotations

from typing import TextIO

from sslmem_kit.events import Completed, DetailsAdded, Event, Message, Planned, Warned
from sslmem_kit.run.progress.state import DETAILS, RunProgress, epochs_text, loss_text

LINE_SECONDS = 15
"""Seconds between lines about the progress of the run, at least."""

NAMED = 4
"""Number of encoders at work that are named in a line."""


class Lines:
    """Lines for the start, for the end and for every warning, and now and then one about the progress of all encoders."""

    def __init__(self, stream: TextIO, state: RunProgress | None = None) -> None:
        self.stream, self.state = stream, state or RunProgress()
        self.last = self.state.clock()

    def __call__(self, event: Event) -> None:
        state = self.state
        state.update(event)
        match event:
            case Warned():
                self._write(f"WARNING: {state.warnings[-1]}")
            case Message():
                self._write(event.text)
            case Planned():
                self._say(self._planned())
            case DetailsAdded():
                if event.done in (0, event.total) or self._is_due():
                    self._say(f"{DETAILS}, {event.done} of {event.total}")
            case _:
                ended = isinstance(event, Completed) and len(state.having("done")) == len(state.encoders)
                if ended or self._is_due():
                    self._say(self._standing())

    def _planned(self) -> str:
        """Return what the run will do."""
        state, number = self.state, len(self.state.encoders)
        if not number:
            return state.counts
        work = f"train and score, {state.epochs} epochs each" if state.epochs else f"score, {state.blocks} blocks of samples each"
        return f"{number} encoder{'s' * (number > 1)} to {work}"

    def _standing(self) -> str:
        """Return the progress of all encoders."""
        state, working = self.state, self.state.at_work
        parts = [state.counts] if not working else [f"{len(state.having('done'))} of {len(state.encoders)} encoders done"]
        for encoder in working[:NAMED]:
            if encoder.state == "scoring":
                parts.append(f"{encoder.name} scored {encoder.scored} of {state.blocks} blocks")
            else:
                parts.append(f"{encoder.name} epoch {epochs_text(encoder.epoch)} of {state.epochs}, loss {loss_text(encoder.loss)}")
        if len(working) > NAMED:
            parts.append(f"{len(working) - NAMED} more at work")
        if state.total_rate:
            parts.append(f"{state.total_rate} images/s")
        if working and state.ends is not None:
            parts.append(f"about {state.left(state.ends)} left")
        return "; ".join(parts)

    def _is_due(self) -> bool:
        return self.state.clock() - self.last >= LINE_SECONDS

    def _say(self, text: str) -> None:
        self.last = self.state.clock()
        self._write(text)

    def _write(self, text: str) -> None:
        print(f"[{self.state.elapsed():6.1f} s] {text}", file=self.stream, flush=True)
