"""The websocket of a tab: what comes over it is looked at first, and one person's messages do not hold up another's."""

from __future__ import annotations

import asyncio
import logging
import time
from typing import Any

from bokeh.core.serialization import Buffer
from bokeh.io import doc as bokeh_doc
from bokeh.protocol.messages.patch_doc import patch_doc
from bokeh.protocol.messages.pull_doc_req import pull_doc_req
from bokeh.server.session import ServerSession
from panel.io.server import WSHandler

from sslmem_kit.explorer.serving.messages import Allowance, Assembler, Message, RefusedMessageError

_log = logging.getLogger(__name__)

LIGHT_PER_SECOND, LIGHT_AT_ONCE = 5, 40
"""Messages of one person that are answered at once; of further ones, one at a time of all people's."""

QUIET_SECONDS, MOST_QUIET_SECONDS = 0.1, 1.0
"""After a message, what it set off runs in callbacks of its own; pages are made meanwhile only after so long."""

MOST_PULLS = 5
"""Times that one websocket may ask for the whole document; a page asks once."""

_FAILED = "This could not be done. The server's log says why."
_POLICY_VIOLATION = 1008


class Pace:
    """Pace at which messages are answered, by person."""

    def __init__(self) -> None:
        self._light: dict[str, Allowance] = {}
        self._lane = asyncio.Lock()
        self._under_way, self._last = 0, 0.0

    async def quiet(self) -> None:
        """Wait until no message is being answered and none was lately, within limits: other work is long and must also be done."""
        until = time.monotonic() + MOST_QUIET_SECONDS
        await asyncio.sleep(0.02)
        while (now := time.monotonic()) < until and (self._under_way or now - self._last < QUIET_SECONDS):
            await asyncio.sleep(0.02)

    async def answer(self, who: str, answering: Any) -> Any:
        """Await an answer, in the slow lane where a person sends many."""
        if not self._light_enough(who):
            return await self._answer_in_lane(answering)
        self._under_way += 1
        try:
            return await answering
        finally:
            self._under_way -= 1
            self._last = time.monotonic()

    def _light_enough(self, who: str) -> bool:
        return self._light.setdefault(who, Allowance(LIGHT_PER_SECOND, LIGHT_AT_ONCE)).take(1)

    async def _answer_in_lane(self, answering: Any) -> Any:
        async with self._lane:
            started = time.monotonic()
            answer = await answering
            await asyncio.sleep(0.02)  # what the message set off runs in callbacks of its own
            await asyncio.sleep(min(time.monotonic() - started, 1.0))
            return answer

    def forget(self, present: set[str]) -> None:
        """Keep the allowances of these people only."""
        self._light = {who: allowance for who, allowance in self._light.items() if who in present}


class Socket(WSHandler):
    """A tab's connection; the application's sweep closes it when its sign-in has ended."""

    who = ""

    def check_origin(self, origin: str) -> bool:
        """Return True: the application has checked it already."""
        return True

    def open(self, *args: Any, **kwargs: Any) -> Any:
        self.opened, self._assembler, self._pulls = time.monotonic(), Assembler(), 0
        self.who = self.request.who
        self.application.sockets.add(self)
        return super().open(*args, **kwargs)

    async def _async_open(self, token: str) -> None:
        try:
            await super()._async_open(token)
        except Exception as error:  # the token or the session has ended meanwhile, or the tab has
            _log.warning("a websocket could not be opened: %s", type(error).__name__)
            self.close(_POLICY_VIOLATION, "load the page again")

    def on_close(self) -> None:
        self.application.sockets.discard(self)
        super().on_close()

    async def on_message(self, fragment: str | bytes) -> None:
        """Take a fragment; anything that no page of ours sends ends the connection."""
        try:
            if self.connection is None:
                raise RefusedMessageError("a message before the greeting")
            message = self._assembler.add(fragment)
            if message is None:
                return
            self._pulls += message.header["msgtype"] == "PULL-DOC-REQ"
            if self._pulls > MOST_PULLS:
                raise RefusedMessageError("the document was asked for too often")
        except RefusedMessageError as error:
            _log.warning("a websocket of %s is closed: %s", self.who, error)
            self.close(_POLICY_VIOLATION, "this message is not taken")
            return
        await self.application.pace.answer(self.who, self._answer(message))

    async def _answer(self, message: Message) -> None:
        """Send Bokeh's answer; where it fails, a sentence without what the exception says: that may name files of this machine."""
        connection = self.connection
        if connection is None or connection._session is None:
            return
        if message.header["msgtype"] == "PULL-DOC-REQ":
            asked = pull_doc_req(message.header, {}, message.content)
            handle = ServerSession.pull
        else:
            asked = _Patch(message.header, {}, message.content)
            asked._buffers.extend(Buffer(name, payload) for name, payload in message.buffers)
            handle = ServerSession.patch
        answer = None
        try:
            answer = await handle(asked, connection)
            if answer is None:  # the session has ended
                return
        except Exception as error:
            _log.warning("a message could not be answered: %s", type(error).__name__, exc_info=error)
        # Made out here, or Bokeh would send the traceback along.
        await self.send_message(answer or connection.error(asked, _FAILED))


class _Patch(patch_doc):
    """A change of a document after which Bokeh knows again which document is the current one, also where the change failed."""

    def apply_to_document(self, doc: Any, setter: Any = None) -> None:
        depth = len(bokeh_doc._PATCHED_CURDOCS)
        try:
            super().apply_to_document(doc, setter)
        except BaseException:
            del bokeh_doc._PATCHED_CURDOCS[depth:]
            raise
