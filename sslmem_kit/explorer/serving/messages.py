"""Messages that a browser may send over its websocket, checked before Bokeh unpacks anything of them.

Bokeh's deserializer trusts its client: it unzips what is packed, builds arrays of any declared shape, creates models of any class it
knows, and replaces whole documents. A page of ours changes properties of models that it was sent and sends events: numbers, texts and
references, as JSON in three fragments. Only the outline of a lasso follows as bytes, the corners' coordinates, each in a buffer of its own.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from typing import Any, NamedTuple

MAX_MESSAGE = 2_000_000
"""Bytes that a browser may send at once: a box around 100,000 points sends their numbers, 0.7 MB."""

MAX_HEADER, MAX_TEXT = 1_000, 65_536
"""Characters of a message's head, and of one text in it."""

MAX_EVENTS, MAX_DEPTH, MAX_VALUES, MAX_ENTRIES = 100, 16, 250_000, 5_000
"""Bounds of a message: changes and events, nesting, values, and entries of tables or models, which cost more than numbers in a list."""

MAX_BUFFERS, MAX_BUFFER = 8, 500_000
"""Buffers of one message, and bytes of each: four coordinates of 60,000 corners."""

FRAGMENTS_PER_SECOND, FRAGMENTS_AT_ONCE = 400, 2_000
BYTES_PER_SECOND, BYTES_AT_ONCE = 1_000_000, 8_000_000
"""Rates of one websocket, on average and in a burst; a pan or a zoom sends some 60 messages of three fragments per second."""

_KINDS = {"ModelChanged": {"kind", "model", "attr", "new"}, "MessageSent": {"kind", "msg_type", "msg_data"}}
_BUFFERED = {"type", "array", "order", "dtype"}


class RefusedMessageError(Exception):
    """Reason for which a message is not taken, in a few words that hold nothing of it."""


class Allowance:
    """A bucket that fills at a rate; :meth:`take` returns whether there was enough in it."""

    def __init__(self, rate: float, most: float, clock: Callable[[], float] = time.monotonic) -> None:
        self._rate, self._most, self._clock = rate, most, clock
        self._left, self._at = most, clock()

    def take(self, amount: float) -> bool:
        """Take out so much; False where that is more than there is."""
        now = self._clock()
        self._left = min(self._most, self._left + (now - self._at) * self._rate)
        self._at = now
        if amount > self._left:
            return False
        self._left -= amount
        return True

    def full(self) -> bool:
        """Return whether nothing has been taken out for long."""
        return self._left + (self._clock() - self._at) * self._rate >= self._most


class Message(NamedTuple):
    """A message that is whole and within the bounds."""

    header: dict[str, Any]
    content: dict[str, Any]
    buffers: list[tuple[str, bytes]]


class Assembler:
    """Assembly of messages from their fragments, within the bounds of this module."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._heads: list[str] = []
        self._message: Message | None = None
        self._buffer = ""
        self._count = Allowance(FRAGMENTS_PER_SECOND, FRAGMENTS_AT_ONCE, clock)
        self._bytes = Allowance(BYTES_PER_SECOND, BYTES_AT_ONCE, clock)

    def add(self, fragment: str | bytes) -> Message | None:
        """Return the message that a fragment completes; None while it is not complete.

        Raises
        ------
        RefusedMessageError
            It breaks a bound, or is no message that a page of ours sends.
        """
        if not self._count.take(1) or not self._bytes.take(len(fragment)):
            raise RefusedMessageError("too many messages")
        if self._message is not None and self._buffer:
            return self._add_buffer(self._message, fragment)
        if not isinstance(fragment, str):
            raise RefusedMessageError("bytes that nothing announced")
        if (self._message is not None or len(self._heads) < 2) and len(fragment) > MAX_HEADER:
            raise RefusedMessageError("a header is too long")
        if self._message is not None:
            self._buffer = _parsed(fragment).get("id", "")
            if not isinstance(self._buffer, str) or not self._buffer:
                raise RefusedMessageError("a buffer has no name")
            return None
        self._heads.append(fragment)
        if len(self._heads) < 3:
            return None
        header, metadata, content = (_parsed(text) for text in self._heads)
        self._heads.clear()
        _check_header(header)
        if metadata:
            raise RefusedMessageError("metadata are not taken")
        check_content(header["msgtype"], content)
        message = Message(header, content, [])
        if not header.get("num_buffers", 0):
            return message
        self._message = message
        return None

    def _add_buffer(self, message: Message, fragment: str | bytes) -> Message | None:
        if not isinstance(fragment, bytes) or len(fragment) > MAX_BUFFER:
            raise RefusedMessageError("a buffer is too long")
        message.buffers.append((self._buffer, fragment))
        self._buffer = ""
        if len(message.buffers) < message.header["num_buffers"]:
            return None
        self._message = None
        return message


def check_content(kind: str, content: dict[str, Any]) -> None:
    """Raise :class:`RefusedMessageError` where the content of a message is more than a page of ours sends."""
    if kind == "PULL-DOC-REQ":
        if content:
            raise RefusedMessageError("a question for the document has no content")
        return
    events = content.get("events")
    if set(content) != {"events"} or not isinstance(events, list) or not 0 < len(events) <= MAX_EVENTS:
        raise RefusedMessageError("changes have no such form, or are too many")
    for event in events:
        allowed = _KINDS.get(event.get("kind")) if isinstance(event, dict) and isinstance(event.get("kind"), str) else None
        if allowed is None or not set(event) <= allowed:
            raise RefusedMessageError("a change has no such form")
        if event["kind"] == "ModelChanged" and not (_is_reference(event.get("model")) and isinstance(event.get("attr"), str)):
            raise RefusedMessageError("a change has no such form")
        if event["kind"] == "MessageSent" and event.get("msg_type") != "bokeh_event":
            raise RefusedMessageError("a message has no such form")
    _measure(events)


def _measure(events: list[Any]) -> None:
    """Walk through all that would be unpacked, without recursion."""
    values = entries = packed = 0
    level: list[Any] = [events]
    for _ in range(MAX_DEPTH):
        inner: list[Any] = []
        for branch in level:
            values += len(branch)
            if isinstance(branch, dict):
                entries += len(branch)
                packed += _packed(branch)
                if any(len(key) > MAX_HEADER for key in branch):
                    raise RefusedMessageError("a name is too long")
                branch = branch.values()
            for value in branch:
                if isinstance(value, str):
                    if len(value) > MAX_TEXT:
                        raise RefusedMessageError("a text is too long")
                elif isinstance(value, dict | list):
                    entries += 1
                    inner.append(value)
                elif isinstance(value, int) and value.bit_length() > 64:
                    raise RefusedMessageError("a number is too large")
        if packed > MAX_BUFFERS or values > MAX_VALUES or entries > MAX_ENTRIES:
            raise RefusedMessageError("a message has too many parts")
        if not inner:
            return
        level = inner
    raise RefusedMessageError("a message is nested too deeply")


def _packed(branch: dict[str, Any]) -> int:
    """Return 1 for bytes that come in a buffer, 0 for what is no bytes; refuse all that would be unpacked, or made."""
    kind = branch.get("type")
    if kind == "bytes":
        if set(branch) != {"type", "data"} or not _is_reference(branch["data"]):
            raise RefusedMessageError("packed values are not taken")
        return 1
    if kind == "typed_array" and not (
        set(branch) == _BUFFERED and isinstance(branch["array"], dict) and branch["array"].get("type") == "bytes"
    ):
        raise RefusedMessageError("an array has no such form")
    if kind == "ndarray":
        raise RefusedMessageError("packed values are not taken")
    if kind == "object":
        raise RefusedMessageError("models are made here, not by who looks")
    return 0


def _check_header(header: dict[str, Any]) -> None:
    if header.get("msgtype") not in ("PULL-DOC-REQ", "PATCH-DOC"):
        raise RefusedMessageError("a message is of no known kind")
    buffers = header.get("num_buffers", 0)
    if not isinstance(header.get("msgid"), str) or type(buffers) is not int or not 0 <= buffers <= MAX_BUFFERS:
        raise RefusedMessageError("a header has no such form")


def _is_reference(model: Any) -> bool:
    return isinstance(model, dict) and set(model) == {"id"} and isinstance(model["id"], str)


def _parsed(text: str) -> dict[str, Any]:
    try:
        found = json.loads(text)
    except (ValueError, RecursionError):
        raise RefusedMessageError("a fragment is no JSON") from None
    if not isinstance(found, dict):
        raise RefusedMessageError("a fragment is no table")
    return found
