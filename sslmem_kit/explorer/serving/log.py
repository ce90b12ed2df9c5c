"""The log of a server: a line has its time, is short, and does not repeat itself without end.

What strangers send ends in a log, so a line escapes control characters, holds no secret, and of one kind only the first few in a minute are
written; how many more there were is logged when the minute is over.
"""

from __future__ import annotations

import logging
import re
import sys
import time
import traceback
from collections.abc import Callable
from typing import Any, TextIO

PER_KIND, PER_MINUTE = 10, 120
"""Lines in a minute: of one kind, and of all together."""

LONGEST, LONGEST_TRACE = 400, 3000
"""Characters of a line, and of the end of a traceback."""

_WINDOW = 60.0
_SECRET = re.compile(
    r"""(?i)((?:code|state|token|access_token|id_token|refresh_token|bokeh-token|client_secret|secret|password|passwd|_xsrf|cookie"""
    r"""|set-cookie|authorization|user-\d+|hash|salt)["']?\s*[=:]\s*)(?:bearer\s+|basic\s+)?("[^"]*"|'[^']*'|[^\s&,;'")}]+)"""
)
_SIGNED = re.compile(r"2\|1:\d+\|[^\s'\"]+|eyJ[\w-]{20,}[\w.-]*")
"""Tornado's signed cookies, and tokens of sessions and of OAuth."""


def safe(text: str, longest: int = LONGEST) -> str:
    """Return text of strangers for one line: short, without secrets, control characters escaped."""
    text = _SIGNED.sub("...", _SECRET.sub(r"\1...", text[: 4 * longest]))
    text = "".join(letter if letter.isprintable() else ascii(letter)[1:-1] for letter in text)
    return text if len(text) <= longest else text[:longest] + f"... ({len(text) - longest:,} more characters)"


class Lines(logging.Handler):
    """Handler that writes records to a stream (standard error where none is given), within the bounds of this module."""

    def __init__(self, stream: TextIO | None = None, clock: Callable[[], float] = time.monotonic) -> None:
        super().__init__(logging.WARNING)
        self._stream, self._clock = stream, clock
        self._started, self._written, self._kinds, self._held = clock(), 0, {}, 0

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, or count it."""
        try:
            self.turn()
            kind = (record.name, record.levelno, str(record.msg)[:80])
            if kind not in self._kinds and len(self._kinds) >= PER_MINUTE:
                kind = ("", record.levelno, "messages of other kinds")
            count = self._kinds[kind] = self._kinds.get(kind, 0) + 1
            if count > PER_KIND or self._written >= PER_MINUTE:
                self._held += 1
                return
            self._written += 1
            self._write(f"{_now()} {record.levelname.lower()} {safe(_message(record))}{_trace(record) if count == 1 else ''}")
        except Exception:
            self.handleError(record)

    def turn(self) -> None:
        """Write how many lines were held back, once their minute is over; a server calls this regularly."""
        if self._clock() - self._started < _WINDOW:
            return
        if self._held:
            many = sorted(((count - PER_KIND, kind) for kind, count in self._kinds.items() if count > PER_KIND), reverse=True)
            examples = "; ".join(f"{count:,} more of {safe(kind[2], 80)!r}" for count, kind in many[:5])
            self._write(f"{_now()} warning {self._held:,} more lines in the last minute{': ' if examples else ''}{examples}")
        self._started, self._written, self._kinds, self._held = self._clock(), 0, {}, 0

    def handleError(self, record: logging.LogRecord) -> None:
        """Do nothing: a log that cannot be written must not end what is logged."""

    def _write(self, line: str) -> None:
        stream = self._stream or sys.stderr
        stream.write(line + "\n")
        stream.flush()


def keep(handler: logging.Handler | None = None) -> None:
    """Send all that this process logs or warns of through :class:`Lines`, in place of what libraries set up."""
    root = logging.getLogger()
    for logger in (root, *(logging.getLogger(name) for name in list(root.manager.loggerDict))):
        for old in [one for one in logger.handlers if not isinstance(one, logging.NullHandler)]:
            logger.removeHandler(old)
        logger.propagate = True
    logging.captureWarnings(True)
    root.addHandler(handler or Lines())


def _now() -> str:
    return time.strftime("%Y-%m-%d %H:%M:%S")


def _message(record: logging.LogRecord) -> str:
    try:
        return record.getMessage()
    except Exception:  # arguments that do not fit, or whose repr fails
        return str(record.msg)


def _trace(record: logging.LogRecord) -> str:
    raised: Any = record.exc_info
    if not raised or raised is True or raised[1] is None:
        return ""
    text = "".join(traceback.format_exception(raised[1], limit=-12))[-LONGEST_TRACE:]
    return "".join("\n    " + safe(line, 300) for line in text.splitlines()[-40:])
