"""A client that breaks every rule, on loopback only, and one beside it that keeps them and is timed.

``python -m tests.support.abuse STUDY --seconds 600`` serves a study with ``sslmem app --users`` and tells, as JSON, the resident set of the
server before, at most and after, what its log weighs, and how long the well-behaved client waited. ``--calm`` leaves the abuse out.
``slowdown`` tells of the machine, median and 99th percentile: what else runs on it makes everything take so many times as long.
"""

from __future__ import annotations

import argparse
import asyncio
import base64
import contextlib
import gzip
import json
import os
import random
import re
import signal
import statistics
import struct
import subprocess
import sys
import tempfile
import threading
import time
from collections import Counter
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode, urlsplit

from tests.support import ROOT

PASSWORD = "correct horse"
SOURCES = [f"127.0.0.{number}" for number in range(2, 10)]
BOMB = base64.b64encode(gzip.compress(bytes(2**28), 9)).decode()
HEADER = json.dumps({"msgid": "1", "msgtype": "PATCH-DOC"})


class Wire:
    """A plain connection from one of the abuser's addresses, on which anything can be sent."""

    def __init__(self, port: int, source: str) -> None:
        self.port, self.source = port, source

    async def __aenter__(self) -> Wire:
        self.reader, self.writer = await asyncio.open_connection("127.0.0.1", self.port, local_addr=(self.source, 0), limit=2**24)
        return self

    async def __aexit__(self, *_: Any) -> None:
        self.writer.close()

    async def send(self, data: bytes) -> None:
        self.writer.write(data)
        await asyncio.wait_for(self.writer.drain(), 10)

    async def answer(self) -> bytes:
        return await asyncio.wait_for(self.reader.read(2**20), 30)

    async def request(self, path: str, *, method: str = "GET", host: str = "", cookie: str = "", body: bytes = b"") -> bytes:
        """A whole request and all of its answer."""
        head = f"{method} {path} HTTP/1.1\r\nHost: {host or f'127.0.0.1:{self.port}'}\r\nConnection: close\r\nCookie: {cookie}\r\n"
        if body:
            head += f"Content-Type: application/x-www-form-urlencoded\r\nContent-Length: {len(body)}\r\n"
        await self.send(head.encode() + b"\r\n" + body)
        return await asyncio.wait_for(self.reader.read(-1), 60)

    async def upgrade(self, token: str, cookie: str) -> bytes:
        """A websocket's handshake."""
        await self.send(
            (
                f"GET /ws HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\nCookie: {cookie}\r\n"
                f"Sec-WebSocket-Key: dGhlIHNhbXBsZSBub25jZQ==\r\nSec-WebSocket-Version: 13\r\n"
                f"Sec-WebSocket-Extensions: permessage-deflate\r\nSec-WebSocket-Protocol: bokeh, {token}\r\n\r\n"
            ).encode()
        )
        return await self.answer()

    async def frame(self, data: bytes | str, *, first: int | None = None, length: int | None = None) -> None:
        """A frame of a websocket, its first byte and its length true or not."""
        payload = data.encode() if isinstance(data, str) else data
        first = (0x81 if isinstance(data, str) else 0x82) if first is None else first
        await self.send(struct.pack("!BBQ", first, 0xFF, len(payload) if length is None else length) + bytes(4) + payload)


def change(new: Any, model: str = "p1", attr: str = "active") -> str:
    return json.dumps({"events": [{"kind": "ModelChanged", "model": {"id": model}, "attr": attr, "new": new}]})


def nested(depth: int) -> str:
    return '{"events": ' + "[" * depth + "]" * depth + "}"


def ways_of_frames(dice: random.Random) -> list[list[tuple[str | bytes, dict[str, int]]]]:
    """What is sent over a websocket, each a list of frames and of what is said of them."""
    return [
            [(HEADER, {}), ("{}", {}), (change({"type": "bytes", "data": BOMB}), {})],
            [(HEADER, {}), ("{}", {}), (change({"type": "ndarray", "array": {"type": "bytes", "data": BOMB}, "shape": [2**28],
                                               "dtype": "uint8", "order": "little"}), {})],
            [(HEADER, {}), ("{}", {}), (change(list(range(240_000))), {})],
            [(HEADER, {}), ("{}", {}), (change([[]] * 100_000), {})],
            [(HEADER, {}), ("{}", {}), (nested(100_000), {})],
            [(HEADER, {}), ("{}", {}), ("x" * 1_900_000, {})],
            [(HEADER, {}), ("{}", {}), ('{"doc": {}}', {})],
            [(json.dumps({"msgid": "1", "msgtype": "PUSH-DOC"}), {}), ("{}", {}), ('{"doc": {"roots": []}}', {})],
            [(json.dumps({"msgid": "1", "msgtype": "PATCH-DOC", "num_buffers": 8}), {}), ("{}", {}), (change(1), {}),
             *[('{"id": "b"}', {}), (bytes(499_000), {})] * 8],
            [("x" * 3_000_000, {})],
            [(b"x", {"length": 2**62})],
            [(b"x" * 100, {"length": 1_900_000})],
            [(gzip.compress(bytes(10**7)), {"first": 0xC1})],
            [("x", {"first": 0x01}), *[("x" * 1000, {"first": 0x00})] * 3000],
            [(b"p" * 125, {"first": 0x89, "length": 125})] * 500,
            [(b"\xff\xfe", {"first": 0x81})],
            [(bytes([dice.randrange(256) for _ in range(500)]), {"first": dice.randrange(256)}) for _ in range(20)],
            [(HEADER, {}), ("{}", {}), (change(1), {})] * 2000,
            [('{"msgid": "1", "msgtype": "PULL-DOC-REQ"}', {}), ("{}", {}), ("{}", {})] * 50,
            [(HEADER, {})],
        ]  # fmt: skip


class Abuse:
    """What a hostile client does, each of its ways a method; ``colleague`` is the cookie of an account of its own."""

    def __init__(self, port: int, colleague: str, seed: int = 0) -> None:
        self.port, self.cookie, self.dice, self.done = port, colleague, random.Random(seed), Counter()
        self._tokens: list[str] = []
        self._ways = ways_of_frames(self.dice)

    def wire(self) -> Wire:
        return Wire(self.port, self.dice.choice(SOURCES))

    async def token(self) -> str:
        """Of a page that was made for the colleague; one page serves many websockets."""
        if self._tokens and self.dice.random() < 0.8:
            return self.dice.choice(self._tokens)
        async with self.wire() as wire:
            found = re.search(r'"token":"([^"]+)"', (await wire.request("/", cookie=self.cookie)).decode("utf-8", "replace"))
        if found:
            self._tokens = [*self._tokens[-5:], found[1]]
        return found[1] if found else "x"

    async def half_open(self) -> None:
        """Hundreds of connections that say nothing, or half of a request, for a while."""
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(300):
                with contextlib.suppress(OSError):
                    wire = await stack.enter_async_context(self.wire())
                    await wire.send(self.dice.choice([b"", b"GET ", b"GET / HTTP/1.1\r\nHost: x\r\n", b"POST /login HTTP/1.1\r\n"]))
            await asyncio.sleep(5)

    async def slow(self) -> None:
        """One letter at a time: heads, bodies, handshakes."""
        start = self.dice.choice(
            [
                "GET / HTTP/1.1\r\nX: ",
                f"POST /login HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nContent-Length: 60000\r\n\r\n",
                "GET /ws HTTP/1.1\r\nUpgrade: websocket\r\nX: ",
            ]
        )
        async with self.wire() as wire:
            await wire.send(start.encode())
            for _ in range(60):
                await wire.send(b"x")
                await asyncio.sleep(0.5)

    async def hoard(self) -> None:
        """Connections that are kept after an answer, and answers that nobody reads."""
        async with contextlib.AsyncExitStack() as stack:
            for _ in range(50):
                with contextlib.suppress(OSError):
                    wire = await stack.enter_async_context(self.wire())
                    path = self.dice.choice(["/favicon.ico", "/static/extensions/panel/panel.min.js", "/static/js/bokeh.min.js"])
                    await wire.send(f"GET {path} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n\r\n".encode() * 5)
            await asyncio.sleep(5)

    async def pages(self) -> None:
        """Plain requests for the page, 150 at once."""

        async def one() -> None:
            async with self.wire() as wire:
                await wire.request("/", cookie=self.cookie)

        await asyncio.gather(*(one() for _ in range(150)), return_exceptions=True)

    async def passwords(self) -> None:
        """Wrong passwords of known and unknown names, many at once, also of the name of the one who is timed."""

        async def one() -> None:
            async with self.wire() as wire:
                shown = (await wire.request("/login")).decode("utf-8", "replace")
            found = re.search(r'name="_xsrf" value="([^"]+)"', shown)
            if found is None:
                return
            cookie = "; ".join(re.findall(r"(?i)set-cookie: ([^;]+)", shown))
            name = self.dice.choice(["ann", "nobody", f"n{self.dice.random()}", "x" * 5000])
            body = urlencode({"name": name, "password": self.dice.choice(["wrong horse", "y" * 50_000]), "_xsrf": found[1]})
            async with self.wire() as wire:
                await wire.request("/login", method="POST", cookie=cookie, body=body.encode())

        await asyncio.gather(*(one() for _ in range(20)), return_exceptions=True)

    async def odd_requests(self) -> None:
        """Wrong names, methods, lengths, heads and paths."""
        long = "x" * 70_000
        for data in (
            b"\x00" * 1000,
            b"GET / HTTP/1.1\r\nHost: evil.example\r\n\r\n",
            b"GET / HTTP/9.9\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: 99999999999\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: x\r\nContent-Length: -1\r\n\r\n",
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\nFFFFFFFFFF\r\n",
            b"POST / HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\nContent-Length: 5\r\n\r\n0\r\n\r\n",
            f"GET /{long} HTTP/1.1\r\nHost: x\r\n\r\n".encode(),
            f"GET /?{long} HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n\r\n".encode(),
            f"GET / HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nCookie: {long}\r\n\r\n".encode(),
            f"GET /%00%0d%0a\x1b[31m HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\n\r\n".encode(),
            f"GET /../../etc/passwd HTTP/1.1\r\nHost: 127.0.0.1:{self.port}\r\nCookie: {self.cookie}\r\n\r\n".encode(),
        ):
            with contextlib.suppress(OSError, TimeoutError, asyncio.IncompleteReadError):
                async with self.wire() as wire:
                    await wire.send(data)
                    await asyncio.wait_for(wire.reader.read(100), 1)

    async def frames(self) -> None:
        """Websockets: bombs, oversized and compressed frames, nonsense, floods, half of a message."""
        way = self.dice.choice(self._ways)
        async with self.wire() as wire:
            if b" 101 " not in await wire.upgrade(await self.token(), self.cookie):
                return
            await asyncio.sleep(0.5)
            for data, told in way:
                await wire.frame(data, **told)
            await asyncio.sleep(2)

    async def extremes(self) -> None:
        """Changes in a right form with wrong values, of every model of a page of its own."""
        extremes = [-1, 10**18, 1e308, "x" * 60_000, [], {}, None, [10**9] * 100, {"id": "p1"}, True]
        async with self.wire() as wire:
            if b" 101 " not in await wire.upgrade(await self.token(), self.cookie):
                return
            await asyncio.sleep(0.5)
            attributes = [
                "active",
                "value",
                "chosen",
                "moved",
                "search",
                "href",
                "start",
                "end",
                "clicks",
                "object",
                "children",
                "data",
            ]
            for _ in range(300):
                for part in (
                    HEADER,
                    "{}",
                    change(self.dice.choice(extremes), f"p{self.dice.randrange(1000, 9000)}", self.dice.choice(attributes)),
                ):
                    await wire.frame(part)
                await asyncio.sleep(0.02)

    async def go(self, seconds: float) -> None:
        """All of it, over and over, a few at a time."""
        end = time.monotonic() + seconds
        ways: list[Callable[[], Awaitable[None]]] = [
            self.half_open, self.slow, self.slow, self.hoard, self.pages, self.passwords, self.odd_requests, *[self.frames] * 4, self.extremes,
        ]  # fmt: skip

        async def again(way: Callable[[], Awaitable[None]]) -> None:
            while (left := end - time.monotonic()) > 0:
                try:
                    await asyncio.wait_for(way(), left + 1)
                    self.done[way.__name__] += 1
                except (OSError, TimeoutError, asyncio.IncompleteReadError):
                    self.done[f"{way.__name__}, cut off"] += 1
                await asyncio.sleep(0.3)

        await asyncio.gather(*(again(way) for way in ways))


async def well_behaved(url: str, cookie: str, seconds: float, ready: asyncio.Event) -> list[float]:
    """Seconds that each change of the filters took until all that it brings had come, a change every half second."""
    from tornado.httpclient import AsyncHTTPClient, HTTPRequest
    from tornado.websocket import websocket_connect

    from tests.support.bokeh_client import answer, ask, models_of

    answers, dice = [], random.Random(1)
    with contextlib.closing(AsyncHTTPClient(force_instance=True)) as client:
        page = await client.fetch(HTTPRequest(url, headers={"Cookie": cookie}, request_timeout=60))
    token = re.search(r'"token":"([^"]+)"', page.body.decode())[1]
    request = HTTPRequest(f"ws{url[4:]}ws", headers={"Cookie": cookie}, request_timeout=60)
    socket = await websocket_connect(request, subprotocols=["bokeh", token], max_message_size=2**28)
    try:
        await answer(socket, None)
        await ask(socket, "PULL-DOC-REQ", {})
        document = json.loads(await answer(socket, "1"))
        group = max(models_of(document, "CheckboxGroup"), key=lambda one: len(one["attributes"].get("labels", ())))
        classes = range(len(group["attributes"]["labels"]))
        ready.set()
        end = time.monotonic() + seconds
        while time.monotonic() < end:
            await asyncio.sleep(0.5)
            began, chosen = time.monotonic(), sorted(dice.sample(classes, min(2, len(classes))))
            await ask(socket, "PATCH-DOC", json.loads(change(chosen, group["id"])))
            await answer(socket, "1")
            answers.append(time.monotonic() - began)
        return answers
    finally:
        stream = socket.protocol.stream
        socket.close()
        stream.close()  # the loop ends before the close frame is answered, and the socket would be left to the collector


def sign_in(url: str, name: str) -> str:
    """The cookies of somebody who signs in, as a browser sends them back."""
    from tests.support.servers import Served

    answer = Served(url, "", "").sign_in(name, PASSWORD)
    if answer.status != 302:
        raise RuntimeError(f"{name} cannot sign in: {answer.status}")
    return answer.cookies()


def resident_mb(pid: int, what: str = "VmRSS") -> float:
    return int(re.search(rf"{what}:\s+(\d+)", Path(f"/proc/{pid}/status").read_text())[1]) * 1024 / 1e6


def processor_s(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")


class Probe(threading.Thread):
    """How much slower than alone anything runs on this machine: the time that a little work takes over the processor's time for it."""

    def __init__(self) -> None:
        super().__init__(daemon=True)
        self.slowdowns: list[float] = []
        self._ended = threading.Event()

    def run(self) -> None:
        while not self._ended.wait(1):
            began, used = time.monotonic(), time.thread_time()
            while time.thread_time() - used < 0.05:
                pass
            self.slowdowns.append((time.monotonic() - began) / 0.05)

    def end(self) -> list[float]:
        self._ended.set()
        self.join()
        return sorted(self.slowdowns) or [1.0]


def measure(study: Path, seconds: float, *, calm: bool = False, descriptors: int = 256) -> dict[str, Any]:
    """Serve a study, abuse it, and tell how it went."""
    from sslmem_kit.explorer.serving import add_user

    folder = Path(tempfile.mkdtemp())
    for name in ("ann", "eve"):
        add_user(folder / "users.json", name, PASSWORD)
    log = folder / "log"
    command = ["sh", "-c", f'ulimit -n {descriptors}; exec "$@"', "sh", sys.executable, "-c", "import sslmem_kit.cli as c; c.entry()", "app",
               str(study), "--port", "0", "--users", str(folder / "users.json")]  # fmt: skip
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONMALLOC": "malloc"}
    with log.open("w") as stderr:
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment)
    try:
        url = process.stdout.readline().removeprefix("explorer: ").strip()
        if not url:
            raise RuntimeError(log.read_text())
        ann, eve = sign_in(url, "ann"), sign_in(url, "eve")
        before = resident_mb(process.pid)

        abuser: subprocess.Popen | None = None

        async def beside() -> list[float]:
            nonlocal abuser
            ready = asyncio.Event()
            timed = asyncio.create_task(well_behaved(url, ann, seconds, ready))
            waiting = asyncio.create_task(ready.wait())
            await asyncio.wait([timed, waiting], return_when=asyncio.FIRST_COMPLETED)
            if not calm:  # in a process of its own, whose work does not count among the waits of the other
                arguments = ["--against", str(urlsplit(url).port), eve, str(seconds)]
                abuser = subprocess.Popen(
                    [sys.executable, "-m", "tests.support.abuse", *arguments], stdout=subprocess.PIPE, text=True, cwd=ROOT
                )
            waiting.cancel()
            return await timed

        probe = Probe()
        probe.start()
        used = processor_s(process.pid)
        answers = asyncio.run(beside())
        used, slowdowns = processor_s(process.pid) - used, probe.end()
        done = json.loads(abuser.communicate(timeout=60)[0]) if abuser else {}
        began = time.monotonic()
        sign_in(url, "ann")
        again = time.monotonic() - began
        time.sleep(min(45, 10 + seconds / 10))
        told = {
            "seconds": seconds, "n": len(answers), "median_s": round(statistics.median(answers), 3),
            "p99_s": round(sorted(answers)[int(0.99 * (len(answers) - 1))], 3), "slowest_s": round(max(answers), 3),
            "above_1_s": sum(answer > 1 for answer in answers),
            "slowdown": [round(slowdowns[len(slowdowns) // 2], 1), round(slowdowns[int(0.99 * (len(slowdowns) - 1))], 1)],
            "processor_s": round(used, 1), "before_mb": round(before), "peak_mb": round(resident_mb(process.pid, "VmHWM")),
            "after_mb": round(resident_mb(process.pid)),
            "log_bytes": log.stat().st_size, "sign_in_afterwards_s": round(again, 2), "done": done,
        }  # fmt: skip
        process.send_signal(signal.SIGTERM)
        told["exit_status"] = process.wait(30)
        told["log"] = log.read_text()
        return told
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


async def _abuse(port: str, cookie: str, seconds: str) -> None:
    abuse = Abuse(int(port), cookie)
    await abuse.go(max(float(seconds) - 3, 1))
    print(json.dumps(dict(sorted(abuse.done.items()))))


def main() -> None:
    """Measure and print JSON."""
    if sys.argv[1:2] == ["--against"]:
        asyncio.run(_abuse(*sys.argv[2:5]))
        return
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("study", type=Path)
    parser.add_argument("--seconds", type=float, default=20)
    parser.add_argument("--calm", action="store_true", help="the well-behaved client alone")
    parser.add_argument("--log", type=Path, help="keep the server's log here")
    chosen = parser.parse_args()
    told = measure(chosen.study, chosen.seconds, calm=chosen.calm)
    log = told.pop("log")
    if chosen.log:
        chosen.log.write_text(log)
    print(json.dumps(told, indent=2))


if __name__ == "__main__":
    main()
