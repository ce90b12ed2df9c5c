"""State of a run, from its events: progress of each encoder, and when it and the whole run will be done."""

from __future__ import annotations

import heapq
import math
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Literal

from sslmem_kit.events import Completed, DetailsAdded, Event, Message, Planned, Scored, Trained, Warned

DETAILS = "views and neighbours"
"""Name of the data that are added when every encoder is complete."""


@dataclass
class Encoder:
    """Progress of one encoder."""

    name: str
    state: Literal["waiting", "training", "scoring", "done"] = "waiting"
    epoch: float = 0.0
    """Epochs done; fractional inside an epoch."""
    loss: float = math.nan
    images_per_second: float = 0.0
    scored: int = 0
    """Number of sample blocks scored."""
    started: tuple[float, float] | None = None
    """Time and epoch of the first event: an encoder that resumes from a checkpoint has done its first epochs in an earlier run."""
    pace: float | None = None
    """Seconds per epoch, measured since then."""
    ends: float | None = None
    """Expected end of its training, by the state's clock."""

    def update(self, now: float, event: Trained, epochs: int) -> None:
        """Update the progress by an event of its training, which takes ``epochs`` in all."""
        self.state, self.epoch = "training", event.epochs
        self.loss, self.images_per_second = event.loss, event.images_per_second
        self.started = self.started or (now, event.epochs)
        if event.epochs > self.started[1]:
            self.pace = (now - self.started[0]) / (event.epochs - self.started[1])
            self.ends = now + self.pace * (epochs - event.epochs)


@dataclass
class RunProgress:
    """State of a run; :meth:`update` takes the events (:mod:`sslmem_kit.events`)."""

    clock: Callable[[], float] = time.monotonic
    planned: bool = False
    epochs: int = 0
    """Epochs of a training; 0 where encoders come trained."""
    blocks: int = 0
    encoders: dict[str, Encoder] = field(default_factory=dict)
    details: tuple[int, int] | None = None
    """Numbers of tasks done and in all that follow when every encoder is complete."""
    messages: list[str] = field(default_factory=list)
    """Texts of the messages of the run."""
    warnings: list[str] = field(default_factory=list)
    ends: float | None = None
    """Expected end of the training of all encoders."""
    workers: int = 0
    """Largest number of encoders that have been at work at once."""

    def __post_init__(self) -> None:
        self.started = self.clock()

    def update(self, event: Event) -> None:
        """Update the state by an event."""
        now = self.clock()
        match event:
            case Planned():
                self.epochs, self.blocks = event.epochs, event.blocks
                self.encoders = {name: Encoder(name) for name in event.encoders}
                self.planned = True
            case Trained():
                self.encoders[event.encoder].update(now, event, self.epochs)
                self._estimate(now)
            case Scored():
                encoder = self.encoders[event.encoder]
                encoder.state, encoder.ends = "scoring", None
                encoder.scored += 1
            case Completed():
                encoder = self.encoders[event.encoder]
                encoder.state, encoder.ends, encoder.epoch = "done", None, self.epochs
                self._estimate(now)
            case DetailsAdded():
                self.details = event.done, event.total
            case Message():
                self.messages.append(event.text)
            case Warned():
                self.warnings.append(f"{event.subject}: {event.text}")

    def having(self, *states: str) -> list[Encoder]:
        """Return the encoders in one of these states."""
        return [encoder for encoder in self.encoders.values() if encoder.state in states]

    @property
    def at_work(self) -> list[Encoder]:
        """The encoders that are trained or scored now."""
        return self.having("training", "scoring")

    @property
    def share(self) -> float:
        """Share of all epochs that are done; of all blocks where encoders are only scored."""
        if not self.epochs:
            blocks = self.blocks * len(self.encoders)
            return sum(encoder.scored for encoder in self.encoders.values()) / blocks if blocks else 1.0
        total = self.epochs * len(self.encoders)
        return sum(encoder.epoch for encoder in self.encoders.values()) / total if total else 1.0

    @property
    def counts(self) -> str:
        """Numbers of encoders that are done, at work and waiting, as text."""
        done, all_ = len(self.having("done")), len(self.encoders)
        if not all_:
            return "every encoder is complete" if self.planned else "preparing"
        if done == all_:
            return f"{all_} of {all_} encoders {'trained and scored' if self.epochs else 'scored'}"
        working, waiting = len(self.at_work), [encoder.name for encoder in self.having("waiting")]
        text = f"{done} of {all_} encoders done, {working} at work"
        return (
            f"{text}, {len(waiting)} waiting ({', '.join(waiting[:3])}{', ...' if len(waiting) > 3 else ''})" if waiting else text
        )

    @property
    def total_rate(self) -> str:
        """Images per second of all encoders that train, as text; empty where none does."""
        training = self.having("training")
        return rate_text(sum(encoder.images_per_second for encoder in training)) if training else ""

    def elapsed(self) -> float:
        """Return the seconds since the start."""
        return self.clock() - self.started

    def left(self, ends: float | None) -> str:
        """Return the time from now to ``ends`` as text; empty while it is unknown."""
        return "" if ends is None else duration(max(0.0, ends - self.clock()))

    def _estimate(self, now: float) -> None:
        """Estimate the end of all trainings: by the own pace of encoders at work, by the mean pace of those that wait for a worker."""
        self.workers = max(self.workers, len(self.at_work))
        paces = [encoder.pace for encoder in self.encoders.values() if encoder.pace]
        if not paces:
            return
        mean = sum(paces) / len(paces)
        free = [(encoder.pace or mean) * (self.epochs - encoder.epoch) for encoder in self.at_work]
        free += [0.0] * (self.workers - len(free))
        heapq.heapify(free)
        for _ in self.having("waiting"):
            heapq.heapreplace(free, free[0] + mean * self.epochs)
        self.ends = now + max(free)


def duration(seconds: float) -> str:
    """Return a duration as ``0:07``, ``12:34``, ``5:06:07`` or ``3 d 4 h``."""
    minutes, second = divmod(round(seconds), 60)
    hours, minute = divmod(minutes, 60)
    if hours >= 48:
        return f"{hours // 24} d {hours % 24} h"
    return f"{hours}:{minute:02}:{second:02}" if hours else f"{minute}:{second:02}"


def position_text(encoder: Encoder, epochs: int) -> str:
    """Return epochs done and in all as text; empty where encoders come trained."""
    return f"{epochs_text(encoder.epoch)}/{epochs}" if epochs else ""


def epochs_text(epoch: float) -> str:
    """Return epochs done as text, with a decimal inside an epoch; rounded down, so never one that is not reached yet."""
    tenths = math.floor(epoch * 10 + 1e-6)
    return str(tenths // 10) if epoch == int(epoch) else f"{tenths / 10:.1f}"


def loss_text(loss: float) -> str:
    """Return a loss with four digits, so that columns keep their width."""
    return f"{loss:#.4g}" if math.isfinite(loss) else str(loss)


def rate_text(images_per_second: float) -> str:
    """Return images per second as text."""
    return f"{images_per_second:,.0f}" if images_per_second >= 10 else f"{images_per_second:.1f}"
