"""What a websocket takes, and that nothing is unpacked before it is looked at."""

from __future__ import annotations

import asyncio
import base64
import gzip
import json
import re
from pathlib import Path
from typing import Any

import pytest
from tornado.httpclient import HTTPRequest
from tornado.websocket import websocket_connect

from sslmem_kit.explorer.serving import messages
from sslmem_kit.explorer.serving.messages import Assembler, RefusedMessageError
from tests.support.servers import Process, Served, connected, token_of

HEADER = {"msgid": "1", "msgtype": "PATCH-DOC"}


def change(new: Any, **further: Any) -> dict[str, Any]:
    return {"events": [{"kind": "ModelChanged", "model": {"id": "p1"}, "attr": "active", "new": new, **further}]}


def told(event: dict[str, Any]) -> dict[str, Any]:
    return {"events": [{"kind": "MessageSent", "msg_type": "bokeh_event", "msg_data": event}]}


def assembled(content: Any, header: Any = HEADER, metadata: Any = None, *further: str | bytes) -> Any:
    taking, found = Assembler(), None
    for part in (header, metadata or {}, content, *further):
        found = taking.add(part if isinstance(part, str | bytes) else json.dumps(part))
    return found


CORNERS = {"type": "typed_array", "array": {"type": "bytes", "data": {"id": "b"}}, "order": "little", "dtype": "float64"}
LASSO = told({"type": "event", "name": "selectiongeometry", "values": {"type": "map", "entries": [["geometry", CORNERS]]}})


@pytest.mark.parametrize(
    "content",
    [
        change(list(range(100_000))),
        change("a class"),
        change({"type": "map", "entries": [["x", {"type": "number", "value": "nan"}]]}),
        told({"type": "event", "name": "document_ready", "values": {"type": "map"}}),
        told({"type": "event", "name": "data_event", "values": {"type": "map", "entries": [["model", {"id": "p1"}], ["data", 1]]}}),
    ],
)
def test_what_pages_send_is_taken(content: Any) -> None:
    assert assembled(content).content == content


def test_the_outline_of_a_lasso_is_taken_with_its_buffers() -> None:
    message = assembled(LASSO, {**HEADER, "num_buffers": 1}, {}, '{"id": "b"}', bytes(8 * 60_000))
    assert (message.content, [(name, len(payload)) for name, payload in message.buffers]) == (LASSO, [("b", 480_000)])


ZIPPED = base64.b64encode(gzip.compress(bytes(1_000_000))).decode()
DEEP: Any = []
for _ in range(100):
    DEEP = [DEEP]


@pytest.mark.parametrize(
    ("content", "header", "why"),
    [
        (change({"type": "bytes", "data": ZIPPED}), HEADER, "packed"),
        (change([[{"type": "bytes", "data": ZIPPED}]]), HEADER, "packed"),
        (change({"type": "map", "entries": [[{"type": "bytes", "data": ZIPPED}, 1]]}), HEADER, "packed"),
        (change({"type": "ndarray", "array": [1], "shape": [2**40], "dtype": "float64", "order": "little"}), HEADER, "packed"),
        (change({**CORNERS, "array": list(range(1000))}), HEADER, "array"),
        (change([CORNERS] * 9), {**HEADER, "num_buffers": 1}, "parts"),
        (change({"type": "object", "name": "Plot", "id": "p9"}), HEADER, "models"),
        (change(["x" * 70_000]), HEADER, "text"),
        (change({"x" * 70_000: 1}), HEADER, "name"),
        (change(list(range(260_000))), HEADER, "parts"),
        (change([[]] * 6_000), HEADER, "parts"),
        (change({str(number): 1 for number in range(6_000)}), HEADER, "parts"),
        (change(DEEP), HEADER, "deep"),
        (change(10**30), HEADER, "large"),
        ("[" * 100_000, HEADER, "JSON"),
        ('{"events": ' + "1" * 6_000 + "}", HEADER, "JSON"),
        ("[]", HEADER, "table"),
        ({"events": change(1)["events"] * 101}, HEADER, "many"),
        ({"events": []}, HEADER, "many"),
        ({"events": [1]}, HEADER, "form"),
        ({"events": [{"kind": ["x"]}]}, HEADER, "form"),
        ({"events": [{"kind": "RootAdded", "model": {"id": "p1"}}]}, HEADER, "form"),
        ({"events": [{"kind": "ColumnsStreamed", "model": {"id": "p1"}, "attr": "data", "data": {}}]}, HEADER, "form"),
        (change(1, setter=None), HEADER, "form"),
        (change(1, model="p1"), HEADER, "form"),
        ({"doc": {}}, {**HEADER, "msgtype": "PUSH-DOC"}, "kind"),
        (change(1), {**HEADER, "msgtype": ["x"]}, "kind"),
        (change(1), {**HEADER, "num_buffers": 1e9}, "header"),
        (change(1), {**HEADER, "num_buffers": 10**9}, "header"),
        (change(1), {**HEADER, "num_buffers": -1}, "header"),
        (change(1), {**HEADER, "x": "x" * 2_000}, "header"),
        (b"\x00", HEADER, "bytes"),
    ],
)
def test_what_they_do_not_send_is_refused_without_repeating_it(content: Any, header: Any, why: str) -> None:
    with pytest.raises(RefusedMessageError, match=why) as refused:
        assembled(content, header)
    assert len(str(refused.value)) < 80


@pytest.mark.parametrize(
    "buffers", [("{}",), ('{"id": ""}',), ("x" * 2_000,), ('{"id": "b"}', "text"), ('{"id": "b"}', bytes(600_000))]
)
def test_buffers_that_do_not_fit_are_refused(buffers: tuple[str | bytes, ...]) -> None:
    with pytest.raises(RefusedMessageError):
        assembled(LASSO, {**HEADER, "num_buffers": 1}, {}, *buffers)


def test_messages_and_bytes_are_counted_over_time() -> None:
    now = [0.0]
    taking = Assembler(lambda: now[0])
    parts = [json.dumps(part) for part in (HEADER, {}, change(1))]
    for _ in range(60 * 30):  # half a minute of the fastest pan
        now[0] += 1 / 60
        assert [taking.add(part) for part in parts][-1] is not None


def test_more_messages_than_the_fastest_pan_sends_are_refused() -> None:
    taking = Assembler(lambda: 0.0)
    parts = [json.dumps(part) for part in (HEADER, {}, change(1))]
    for number in range(messages.FRAGMENTS_AT_ONCE):
        taking.add(parts[number % 3])
    with pytest.raises(RefusedMessageError, match="too many"):
        taking.add(parts[messages.FRAGMENTS_AT_ONCE % 3])
    with pytest.raises(RefusedMessageError, match="too many"):
        Assembler(lambda: 0.0).add("x" * (messages.BYTES_AT_ONCE + 1))


def resident(pid: int) -> float:
    return int(re.search(r"VmHWM:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) / 1e3


async def closed_by(server: Served, *fragments: str | bytes) -> int:
    """The code with which the server ends a connection over which these were sent."""
    async with connected(server, server.ask()) as tab:
        for fragment in fragments:
            await tab.socket.write_message(fragment, binary=isinstance(fragment, bytes))
        return await tab.ended()


def test_a_bomb_of_a_megabyte_takes_no_memory(served: Process) -> None:
    """It unpacks to a gigabyte."""
    server = served.servers["open"]
    bomb = base64.b64encode(gzip.compress(bytes(2**30), 9)).decode()
    assert len(bomb) < 1_500_000
    before = resident(served.process.pid)
    content = json.dumps(change({"type": "bytes", "data": bomb}))
    assert asyncio.run(closed_by(server, json.dumps(HEADER), "{}", content)) == 1008
    assert resident(served.process.pid) - before < 60


def test_frames_are_not_compressed(servers: dict[str, Served]) -> None:
    """So no frame is larger than it says: what a client compresses nevertheless ends its connection."""
    server = servers["open"]

    async def talk() -> tuple[Any, Any]:
        request = HTTPRequest(server.url.replace("http", "ws") + "ws")
        socket = await websocket_connect(request, subprotocols=["bokeh", token_of(server.ask())], compression_options={})
        for _ in range(3):  # the greeting
            await asyncio.wait_for(socket.read_message(), 10)
        agreed, stream = socket.protocol._decompressor, socket.protocol.stream
        socket.protocol._write_frame(True, 0x1, gzip.compress(b"x" * 100), flags=0x40)
        answer = await asyncio.wait_for(socket.read_message(), 10)
        socket.close()
        stream.close()  # the loop ends before the close frame is answered
        return agreed, answer

    assert asyncio.run(talk()) == (None, None)


def test_an_answer_that_fails_names_no_file_of_the_server(servers: dict[str, Served]) -> None:
    server = servers["open"]

    async def talk() -> list[str]:
        async with connected(server, server.ask()) as tab:
            for part in (HEADER, {}, change(1)):
                await tab.socket.write_message(json.dumps(part))
            return [await asyncio.wait_for(tab.messages.get(), 10) for _ in range(5)]

    _, _, header, _, content = asyncio.run(talk())  # the first two are the rest of the greeting
    assert json.loads(header)["msgtype"] == "ERROR"
    assert json.loads(content)["text"] == "This could not be done. The server's log says why."
    assert json.loads(content).get("traceback") in (None, "None")
