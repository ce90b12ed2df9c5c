"""Events: what a run reports while it is at work, one type an event.

A run is given a function that takes them, ``on_event``; :func:`sslmem_kit.run.progress.shown` has one that shows them.

>>> def on_event(event: Event) -> None:
...     if isinstance(event, Trained):
...         print(f"{event.encoder}: epoch {event.epochs:g}, loss {event.loss:.3f}")
>>> on_event(Trained("f-0", epochs=2.5, loss=0.75, images_per_second=1200.0))
f-0: epoch 2.5, loss 0.750
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass


@dataclass(frozen=True)
class Event:
    """Something that a run reports."""


@dataclass(frozen=True)
class Message(Event):
    """A sentence that a person may want to know: what was read, by how many threads it is worked on."""

    text: str


@dataclass(frozen=True)
class Warned(Event):
    """A sentence that a person should know."""

    subject: str
    """The study, encoder or rank that it is about."""
    text: str


@dataclass(frozen=True)
class Planned(Event):
    """The work that is still to be done."""

    encoders: tuple[str, ...]
    """Ids; of encoders that are trained at once the first one."""
    epochs: int
    """Length of a training; 0 where encoders come trained."""
    blocks: int
    """Sample blocks that each encoder scores."""


@dataclass(frozen=True)
class Trained(Event):
    """Progress of a training, about once per second and after each epoch."""

    encoder: str
    epochs: float
    """Epochs done; fractional within one."""
    loss: float
    """Mean over the epoch so far."""
    images_per_second: float


@dataclass(frozen=True)
class Scored(Event):
    """A sample block that an encoder has scored."""

    encoder: str
    block: int


@dataclass(frozen=True)
class Completed(Event):
    """An encoder that is trained, scored and evaluated."""

    encoder: str


@dataclass(frozen=True)
class DetailsAdded(Event):
    """Number of tasks done of those that follow when every encoder is complete."""

    done: int
    total: int


OnEvent = Callable[[Event], None]
"""A function that takes the events of a run; an exception that it raises ends the run."""


def ignore(event: Event) -> None:
    """Do nothing with an event."""
