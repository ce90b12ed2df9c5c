"""Connections of a server: how many there may be, of whom, and for how long without a whole request.

Whoever opens connections and sends nothing, or one letter per second, holds a descriptor of the process. So there are fewer of them than
descriptors, one address has at most half, and where all places are taken the one goes that has been without a whole request for longest:
who asks something is answered before so many newer ones have come.
"""

from __future__ import annotations

import asyncio
import contextlib
import errno
import logging
import socket
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

from tornado.httpserver import HTTPServer

from sslmem_kit.explorer.serving.access import network_of

_log = logging.getLogger(__name__)

MOST, SPARE = 1_000, 96
"""Connections, and descriptors that are left for files."""

REQUEST_SECONDS, ANSWER_SECONDS = 20, 300
"""Seconds for which a connection may be without a whole head, or a whole body, and that an answer may take to be fetched."""

_BACK_OFF = 0.5
_AT_ONCE = 32
_EXHAUSTED = (errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM)


def raise_limit() -> int:
    """Let this process open as many files as it may, and return how many that is."""
    try:
        import resource
    except ImportError:  # Windows, where sockets are not counted among files
        return MOST + SPARE
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    wanted = 65_536 if hard == resource.RLIM_INFINITY else min(hard, 65_536)
    if soft != resource.RLIM_INFINITY and soft < wanted:
        with contextlib.suppress(OSError, ValueError):
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))
            soft = wanted
    return 65_536 if soft == resource.RLIM_INFINITY else soft


def most_connections(descriptors: int) -> int:
    """Return the number of connections that there may be with so many descriptors."""
    return max(8, min(MOST, descriptors - SPARE if descriptors >= 2 * SPARE else descriptors // 2))


@dataclass
class _Place:
    who: str
    since: float
    """Time at which it started to wait for a request, or to be answered."""
    asked: bool = False
    """True once a whole head has come that is not answered yet."""
    detached: bool = False
    """True once it has become a websocket."""


class Connections(HTTPServer):
    """Tornado's server with bounds on connections. Does not answer before :meth:`listen_on`."""

    def initialize(self, application: Any, *, most: int, one_has_all: Callable[[str], bool], **options: Any) -> None:  # type: ignore[override]
        super().initialize(
            application, idle_connection_timeout=REQUEST_SECONDS, body_timeout=REQUEST_SECONDS, max_header_size=65_536,
            max_body_size=65_536, **options,
        )  # fmt: skip
        self.most, self._one_has_all = most, one_has_all
        self._places: OrderedDict[Any, _Place] = OrderedDict()
        self._listening: socket.socket | None = None

    def listen_on(self, listening: socket.socket) -> None:
        """Start to take connections."""
        self._listening = listening
        asyncio.get_running_loop().add_reader(listening, self._accept)

    def stop(self) -> None:
        """Take no more connections."""
        if self._listening is not None:
            asyncio.get_running_loop().remove_reader(self._listening)
            self._listening.close()
            self._listening = None

    def asked(self, stream: Any) -> None:
        """Note that a whole head has come over a stream."""
        if place := self._places.get(stream):
            place.asked, place.since = True, time.monotonic()

    def sweep(self) -> None:
        """Forget what is closed, and close what takes too long to be fetched."""
        now = time.monotonic()
        for stream, place in list(self._places.items()):
            if stream.closed():
                del self._places[stream]
            elif place.asked and not place.detached and now - place.since > ANSWER_SECONDS:
                stream.close()

    def handle_stream(self, stream: Any, address: Any) -> None:
        """Tornado's way in, for a connection that was let in."""
        self._places[stream] = _Place(network_of(address[0]), time.monotonic())
        super().handle_stream(stream, address)

    def start_request(self, server_conn: Any, request_conn: Any) -> Any:
        """Tornado's start of a request: the connection waits for one."""
        if place := self._places.get(server_conn.stream):
            place.asked, place.since = False, time.monotonic()
            self._places.move_to_end(server_conn.stream)
        return super().start_request(server_conn, request_conn)

    def on_close(self, server_conn: Any) -> None:
        """Tornado's end of a connection as one of HTTP."""
        super().on_close(server_conn)
        if server_conn.stream.closed():
            self._places.pop(server_conn.stream, None)
        elif place := self._places.get(server_conn.stream):
            place.detached = place.asked = True

    def _accept(self) -> None:
        for _ in range(_AT_ONCE):
            if self._listening is None:
                return
            try:
                connection, address = self._listening.accept()
            except (BlockingIOError, InterruptedError):
                return
            except ConnectionError:
                continue
            except OSError as error:
                if error.errno not in _EXHAUSTED:
                    continue
                self._back_off(error)
                return
            if self._has_room(network_of(address[0])):
                self._handle_connection(connection, address)
            else:
                connection.close()

    def _back_off(self, error: OSError) -> None:
        """Leave the queue alone for a moment: it would be ready to be read again at once, and fail again."""
        _log.warning("no connection can be taken (%s); trying again in %s s", error.strerror, _BACK_OFF)
        for _ in range(8):
            self._close_oldest(None)
        loop, listening = asyncio.get_running_loop(), self._listening
        loop.remove_reader(listening)
        loop.call_later(_BACK_OFF, lambda: self._listening is listening and loop.add_reader(listening, self._accept))

    def _has_room(self, who: str) -> bool:
        if len(self._places) >= self.most // 2:
            self.sweep()
        mine = sum(place.who == who for place in self._places.values())
        if mine >= self.most // 2 and not self._one_has_all(who) and not self._close_oldest(who):
            _log.warning("a connection of %s is not taken: it has %d", who, mine)
            return False
        if len(self._places) >= self.most and not self._close_oldest(None):
            _log.warning("a connection is not taken: there are %d", len(self._places))
            return False
        return True

    def _close_oldest(self, who: str | None) -> bool:
        """Close the connection that has waited longest without a whole request."""
        for stream, place in self._places.items():
            if not place.asked and (who is None or place.who == who):
                del self._places[stream]
                stream.close()
                return True
        return False
