"""SIGTERM and SIGHUP as interruptions of the same kind as Ctrl-C: what was started is ended in order, and a message says how to resume."""

from __future__ import annotations

import signal
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

SIGNALS = ("SIGTERM", "SIGHUP")
"""Signals of a scheduler or service that ends a job, and of a terminal that is closed."""


class Interrupted(KeyboardInterrupt):
    """A signal has asked this process to end; its name is the argument."""


@contextmanager
def interruptible() -> Iterator[list[str]]:
    """Raise :class:`Interrupted` at the first signal of ``SIGNALS`` in the block, ignore further ones, and list the name of the first.

    A signal that is ignored (``nohup``) or has a handler already stays as it is, and so do all outside the main thread.
    """
    came: list[str] = []
    before: dict[int, Any] = {}

    def end(number: int, frame: object) -> None:
        for other in before:
            signal.signal(other, signal.SIG_IGN)
        came.append(signal.Signals(number).name)
        raise Interrupted(came[0])

    if threading.current_thread() is threading.main_thread():
        numbers = [getattr(signal, name) for name in SIGNALS if hasattr(signal, name)]
        before = {number: signal.SIG_DFL for number in numbers if signal.getsignal(number) == signal.SIG_DFL}
        for number in before:
            signal.signal(number, end)
    try:
        yield came
    finally:
        for number, handler in before.items():
            signal.signal(number, handler)
