"""Real servers in another process, one for each guard, and what talks to them: plain HTTP and websockets.

The page is a trivial one; what is tested is who reaches it.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import re
import signal
import subprocess
import time
from collections.abc import AsyncIterator
from http.server import BaseHTTPRequestHandler
from typing import Any, NamedTuple
from urllib.parse import parse_qs, urlencode, urlsplit

from tornado.httpclient import HTTPRequest
from tornado.web import create_signed_value
from tornado.websocket import websocket_connect

PASSWORD = "correct horse"
OWN_NAME = "explorer.example.org"
OAUTH_SECRET = "oauth-secret-of-the-app"

SERVERS = """
import asyncio, io, json, signal, sys, time
from pathlib import Path
import panel as pn
from tornado.web import create_signed_value
from sslmem_kit.explorer.serving import app, credentials, user_name
from sslmem_kit.explorer.serving.access import Guard
from sslmem_kit.explorer.serving.log import keep
from sslmem_kit.explorer.serving.server import Server

credentials._NOBODY = credentials.Password((2, 1, 1), bytes(16), bytes(64), 0)
app.SWEEP_SECONDS, app.UNUSED_SECONDS = 0.5, 1.5
users = Path(sys.argv[1])

class Own(pn.custom.JSComponent):
    _esm = "export function render() { const p = document.createElement('p'); p.textContent = 'own script'; return p }"

def page():
    if pn.state.session_args.get("break"):
        raise RuntimeError("a secret of the server's")
    button = pn.widgets.Button(name="clicked 0")
    button.on_click(lambda event: setattr(button, "name", f"clicked {button.clicks}"))
    download = pn.widgets.FileDownload(callback=lambda: io.StringIO("a,b"), filename="scores.csv")
    return pn.Column(pn.pane.Markdown("# The page"), f"for {user_name() or 'anybody'}", button, download, Own())

async def main():
    guards = {
        "open": (Guard(), 12),
        "users": (Guard.chosen(users, None, [], None), 12),
        "brief": (Guard.chosen(users, None, [], None), 2 / 3600),
        "oauth": (Guard.chosen(None, "github", ["Ann"], None), 12),
        "generic": (Guard.chosen(None, "generic", ["Ann"], None), 12),
        "header": (Guard.chosen(None, None, [], "X-User"), 12),
        "few": (Guard(), 12),
    }
    told, running = {}, []
    for name, (guard, hours) in guards.items():
        server = Server(page, guard, port=0, session_hours=hours, title="T <b>", origins=["explorer.example.org"])
        applications[name] = one = server.application
        told[name] = {"url": server.url, "cookie": one.gate.cookie, "secret": one.gate.secret}
        running.append(server.run())
    keep()
    applications["few"].most_sessions = 3
    def show():
        told = {name: [len(list(e.applications["/"].sessions)), len(e.sockets)] for name, e in applications.items()}
        print(json.dumps({**told, "torch": "torch" in sys.modules}), flush=True)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, show)
    print(json.dumps(told), flush=True)
    await asyncio.gather(*running)

applications = {}
asyncio.run(main())
"""


class Answer(NamedTuple):
    status: int
    headers: http.client.HTTPMessage
    text: str

    def cookies(self) -> str:
        """As a browser would send them back."""
        return "; ".join(value.split(";")[0] for value in self.headers.get_all("Set-Cookie") or [])


class Served(NamedTuple):
    url: str
    cookie: str
    secret: str

    @property
    def port(self) -> int:
        return urlsplit(self.url).port

    def ask(self, path: str = "/", *, method: str = "GET", body: str | None = None, **headers: str) -> Answer:
        """One request, the path sent as it is."""
        data = (body or "").encode()
        if body is not None:
            headers = {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": str(len(data)), **headers}
        with contextlib.closing(http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)) as connection:
            connection.putrequest(method, path, skip_host="Host" in headers)
            for name, value in headers.items():
                connection.putheader(name.replace("_", "-"), value)
            connection.endheaders(data or None)
            answer = connection.getresponse()
            return Answer(answer.status, answer.headers, answer.read().decode("utf-8", "replace"))

    def upgrade(self, token: str = "x", **headers: str) -> Answer:
        """A websocket's handshake."""
        wanted = {"Upgrade": "websocket", "Connection": "Upgrade", "Sec_WebSocket_Key": "dGhlIHNhbXBsZSBub25jZQ==",
                  "Sec_WebSocket_Version": "13", "Sec_WebSocket_Protocol": f"bokeh, {token}"}  # fmt: skip
        return self.ask("/ws", **wanted, **headers)

    def sign_in(
        self, name: str = "ann", password: str = PASSWORD, *, wanted: str = "/", form: bool = True, **headers: str
    ) -> Answer:
        """Through the form, as a browser does it."""
        shown = self.ask("/login")
        fields = {"name": name, "password": password, "next": wanted}
        if form:
            fields["_xsrf"] = re.search(r'name="_xsrf" value="([^"]+)"', shown.text)[1]
        return self.ask("/login", method="POST", body=urlencode(fields), Cookie=shown.cookies(), **headers)

    def signed(self, name: str = "ann", *, age: float = 0, secret: str | None = None) -> str:
        """A cookie as this server would sign it, made here."""
        value = create_signed_value(secret or self.secret, "user", name, clock=lambda: time.time() - age)
        return f"{self.cookie}={value.decode()}"


class Process(NamedTuple):
    process: subprocess.Popen
    servers: dict[str, Served]

    def counts(self) -> dict[str, Any]:
        """Of each server: sessions in memory, open connections."""
        self.process.send_signal(signal.SIGUSR1)
        return json.loads(self.process.stdout.readline())


class Provider(BaseHTTPRequestHandler):
    """An OAuth provider at which everybody is who the code says."""

    def do_POST(self) -> None:
        """A token."""
        body = parse_qs(self.rfile.read(int(self.headers["Content-Length"])).decode())
        assert body["client_secret"] == [OAUTH_SECRET]
        self._tell({"access_token": body["code"][0], "token_type": "bearer"})

    def do_GET(self) -> None:
        """The account of a token."""
        self._tell({"email": self.headers["Authorization"].removeprefix("Bearer ")})

    def _tell(self, content: dict[str, str]) -> None:
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(content).encode())

    def log_message(self, *_: Any) -> None:
        """Nothing is printed."""


def token_of(page: Answer) -> str:
    return re.search(r'"token":"([^"]+)"', page.text)[1]


class Connected(NamedTuple):
    socket: Any
    messages: asyncio.Queue
    closed: asyncio.Event

    def received(self, message: str | bytes | None) -> None:
        if message is None:
            self.closed.set()
        self.messages.put_nowait(message)

    async def ended(self) -> int:
        """Wait until it is closed."""
        await asyncio.wait_for(self.closed.wait(), 10)
        return self.socket.close_code


@contextlib.asynccontextmanager
async def connected(server: Served, page: Answer, **headers: str) -> AsyncIterator[Connected]:
    """The websocket of a page, greeted by the server."""
    wanted = {"Origin": server.url.rstrip("/"), **{name.replace("_", "-"): value for name, value in headers.items()}}
    request = HTTPRequest(server.url.replace("http", "ws") + "ws", headers=wanted)
    one = Connected(None, asyncio.Queue(), asyncio.Event())
    one = one._replace(socket=await websocket_connect(request, None, None, one.received, subprotocols=["bokeh", token_of(page)]))
    try:
        assert json.loads(await asyncio.wait_for(one.messages.get(), 10))["msgtype"] == "ACK"
        yield one
    finally:
        one.socket.close()
        await one.ended()


def eventually(holds: Any, seconds: float = 10) -> bool:
    until = time.monotonic() + seconds
    while not holds():
        if time.monotonic() > until:
            return False
        time.sleep(0.1)
    return True
