"""The served explorer from outside: plain HTTP, websockets and a real browser against a real server in another process.

The page is a trivial one; what is tested is who reaches it. ``SERVERS`` are five servers of one process, one for each guard and one
whose sign-ins last two seconds.
"""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import os
import re
import secrets
import signal
import socket
import subprocess
import sys
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from types import ModuleType
from typing import Any, NamedTuple
from urllib.parse import urlencode, urlsplit

import pytest
from browser import free_port, needs_browser, open_browser
from tornado.httpclient import HTTPClientError, HTTPRequest
from tornado.web import create_signed_value
from tornado.websocket import WebSocketClosedError, websocket_connect

from sslmem_kit.cli import main
from sslmem_kit.errors import UserError
from sslmem_kit.explorer.credentials import add_user, remove_user
from sslmem_kit.explorer.serving import MAX_QUERY, Guard, _page, hosts

ROOT = Path(__file__).parents[2]
PASSWORD = "correct horse"
OWN_NAME = "explorer.example.org"
OAUTH_SECRET = "oauth-secret-of-the-app"

SERVERS = """
import asyncio, io, json, signal, sys, time
from pathlib import Path
import panel as pn
from tornado.web import create_signed_value
from sslmem_kit.explorer import credentials, serving

credentials._NOBODY = credentials.Password((2, 1, 1), bytes(16), bytes(64), 0)
serving.SWEEP_SECONDS, serving.UNUSED_SECONDS = 0.5, 1.5
users = Path(sys.argv[1])

class Own(pn.custom.JSComponent):
    _esm = "export function render() { const p = document.createElement('p'); p.textContent = 'own script'; return p }"

def page():
    if pn.state.session_args.get("break"):
        raise RuntimeError("a secret of the server's")
    button = pn.widgets.Button(name="clicked 0")
    button.on_click(lambda event: setattr(button, "name", f"clicked {button.clicks}"))
    download = pn.widgets.FileDownload(callback=lambda: io.StringIO("a,b"), filename="scores.csv")
    return pn.Column(pn.pane.Markdown("# The page"), f"for {serving.user_name() or 'anybody'}", button, download, Own())

async def main():
    guards = {
        "open": (serving.Guard(), 12),
        "users": (serving.Guard.chosen(users, None, [], None), 12),
        "brief": (serving.Guard.chosen(users, None, [], None), 2 / 3600),
        "oauth": (serving.Guard.chosen(None, "github", ["Ann"], None), 12),
        "header": (serving.Guard.chosen(None, None, [], "X-User"), 12),
    }
    told, running = {}, []
    for name, (guard, hours) in guards.items():
        explorer = serving.build(page, guard, port=0, session_hours=hours, title="T <b>", origins=["explorer.example.org"])
        told[name] = {"url": explorer.url, "cookie": explorer.gate.cookie, "secret": explorer.gate.secret}
        running.append(serving.run(explorer))
        explorers[name] = explorer
    def show():
        told = {name: [len(list(e.applications["/"].sessions)), len(e.sockets)] for name, e in explorers.items()}
        print(json.dumps({**told, "torch": "torch" in sys.modules}), flush=True)
    asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, show)
    print(json.dumps(told), flush=True)
    await asyncio.gather(*running)

explorers = {}
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
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=30)
        connection.putrequest(method, path, skip_host="Host" in headers)
        data = (body or "").encode()
        if body is not None:
            headers = {"Content-Type": "application/x-www-form-urlencoded", "Content-Length": str(len(data)), **headers}
        for name, value in headers.items():
            connection.putheader(name.replace("_", "-"), value)
        connection.endheaders(data or None)
        answer = connection.getresponse()
        try:
            return Answer(answer.status, answer.headers, answer.read().decode("utf-8", "replace"))
        finally:
            connection.close()

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


@pytest.fixture(scope="module")
def users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("users") / "users.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sslmem_kit.explorer.credentials._COST", (2, 1, 1))
        for name in ("ann", "bob", "cat", "dan"):
            add_user(path, name, PASSWORD)
    return path


@pytest.fixture(scope="module")
def served(users: Path) -> Iterator[Process]:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PANEL_OAUTH_KEY": "oauth-key", "PANEL_OAUTH_SECRET": OAUTH_SECRET}
    errors = users.parent / "stderr"
    with errors.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVERS, str(users)], stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment
        )
        line = process.stdout.readline()
        assert line, errors.read_text()
        yield Process(process, {name: Served(**told) for name, told in json.loads(line).items()})
        process.kill()
        process.wait()
        process.stdout.close()
    assert OAUTH_SECRET not in errors.read_text()
    assert PASSWORD not in errors.read_text()


@pytest.fixture(scope="module")
def servers(served: Process) -> dict[str, Served]:
    return served.servers


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


PAGE_PATHS = ["/", "/?study=a", "/autoload.js?bokeh-autoload-element=x", "/metadata", "/index", "/index.html", "/thumbnails/3.png",
              "/download/scores.csv", "/images/0", "/components/panel/x/y/z", "/rest/session_info", "/liveness", "/admin",
              "/study.yaml"]  # fmt: skip


@pytest.mark.parametrize("path", PAGE_PATHS)
def test_strangers_are_sent_to_the_login_and_get_nothing_else(servers: dict[str, Served], path: str) -> None:
    answer = servers["users"].ask(path)
    assert answer.status == 302
    assert answer.headers["Location"].startswith("/login?next=%2F")
    assert answer.text == "Sign in first.\n"


def test_a_stranger_gets_no_websocket_and_leaves_no_session(served: Process) -> None:
    server = served.servers["users"]
    page = served.servers["open"].ask()
    assert server.upgrade(token_of(page)).status == 403
    assert server.upgrade(Origin=server.url.rstrip("/")).status == 403
    assert served.counts()["users"] == [0, 0]


def test_a_user_signs_in_and_sees_the_page_and_its_websocket(servers: dict[str, Served]) -> None:
    server = servers["users"]
    answer = server.sign_in(wanted="/?study=a&x=%3Cb%3E")
    assert (answer.status, answer.headers["Location"]) == (302, "/?study=a&x=%3Cb%3E")
    set_cookie = next(value for value in answer.headers.get_all("Set-Cookie") if value.startswith(f"{server.cookie}="))
    assert {"HttpOnly", "SameSite=Lax"} <= {part.strip() for part in set_cookie.split(";")}
    page = server.ask(Cookie=answer.cookies())
    assert page.status == 200
    assert page.headers["Cache-Control"] == "no-store"

    async def talk() -> None:
        async with connected(server, page, Cookie=answer.cookies()):
            pass

    asyncio.run(talk())


def test_the_page_does_not_hold_the_cookie_that_scripts_may_not_read(servers: dict[str, Served]) -> None:
    from bokeh.util.token import get_token_payload

    cookie = servers["users"].signed()
    payload = get_token_payload(token_of(servers["users"].ask(Cookie=cookie, Authorization="secret")))
    assert (payload["cookies"], payload["headers"]) == ({}, {"Cookie": ""} if payload["headers"] else {})


@pytest.mark.parametrize(
    ("name", "password"), [("ann", "wrong horse"), ("nobody", PASSWORD), ("", ""), ("<b>x", PASSWORD), ("ann", "x" * 5000)]
)
def test_wrong_credentials(servers: dict[str, Served], name: str, password: str) -> None:
    answer = servers["brief"].sign_in(name, password)
    assert answer.status == 401
    assert "Name or password is wrong." in answer.text
    assert servers["brief"].cookie not in answer.cookies()
    assert "<b>" not in answer.text


def test_guessing_is_braked_for_a_name_even_with_the_right_password(servers: dict[str, Served]) -> None:
    server = servers["users"]
    assert [server.sign_in("dan", "wrong horse").status for _ in range(6)] == [401] * 5 + [429]
    answer = server.sign_in("dan", PASSWORD)
    assert answer.status == 429
    assert 1 <= int(answer.headers["Retry-After"]) <= 2
    assert server.sign_in("bob").status == 302
    assert eventually(lambda: server.sign_in("dan").status == 302, 4)


def test_a_form_without_its_token_or_from_another_site_signs_nobody_in(servers: dict[str, Served]) -> None:
    server = servers["users"]
    for answer in (server.sign_in(form=False), server.sign_in(Origin="http://evil.example"), server.sign_in(Origin="null")):
        assert answer.status == 403
        assert server.cookie not in answer.cookies()
    answer = server.sign_in(Origin=f"https://{OWN_NAME}")
    assert answer.status == 302
    assert "Secure" in answer.headers.get_all("Set-Cookie")[-1]


def test_cookies_forged_expired_or_of_another_server_do_not_count(servers: dict[str, Served]) -> None:
    server = servers["users"]
    good = server.signed()
    assert server.ask(Cookie=good).status == 200
    assert server.ask(Cookie=server.signed(age=-3600)).status == 200
    forged = {
        "altered": good[:-1] + ("0" if good[-1] != "0" else "1"),
        "another user's": good.replace("YW5u", "Ym9i"),
        "another secret": server.signed(secret=secrets.token_urlsafe(48)),
        "no secret": f"{server.cookie}=ann",
        "of an unknown user": server.signed("eve"),
        "expired": server.signed(age=12 * 3600 + 2),
        "from before the user": server.signed(age=3600),
        "of another server": f"{server.cookie}={servers['brief'].signed().partition('=')[2]}",
        "of another port": servers["brief"].signed(),
        "garbage": f"{server.cookie}=2|1:0|x:||\xff",
        "huge": f"{server.cookie}={'2|' * 20_000}",
    }
    for what, cookie in forged.items():
        answer = server.ask(Cookie=cookie)
        assert answer.status == 302, what
        assert server.upgrade(Cookie=cookie).status == 403, what


def test_a_sign_in_expires_and_takes_its_open_connection_along(served: Process) -> None:
    server = served.servers["brief"]

    async def talk() -> tuple[str, float]:
        cookie = server.sign_in().cookies()
        began = time.monotonic()
        async with connected(server, server.ask(Cookie=cookie), Cookie=cookie) as tab:
            assert await tab.ended() == 4401
        return cookie, time.monotonic() - began

    cookie, lasted = asyncio.run(talk())
    assert 0.9 < lasted < 5
    assert server.ask(Cookie=cookie).status == 302


def test_many_sign_ins_from_one_address_are_not_braked_and_many_failures_are(servers: dict[str, Served]) -> None:
    server = servers["brief"]
    assert {server.sign_in("bob").status for _ in range(25)} == {302}
    assert [server.sign_in(f"guess{number}").status for number in range(22)][-1] == 429
    assert server.sign_in("bob").status == 429


def test_signing_out_ends_the_sign_in_on_the_server_too(servers: dict[str, Served]) -> None:
    server = servers["users"]

    async def talk() -> str:
        mine, other = server.sign_in("bob").cookies(), server.sign_in("ann").cookies()
        async with (
            connected(server, server.ask(Cookie=mine), Cookie=mine) as tab,
            connected(server, server.ask(Cookie=other), Cookie=other) as other_tab,
        ):
            answer = await asyncio.to_thread(server.ask, "/logout", Cookie=mine)
            assert answer.status == 200
            assert "You are signed out." in answer.text
            await tab.ended()
            assert not other_tab.closed.is_set()
            assert server.ask(Cookie=other).status == 200
        return mine

    assert server.ask(Cookie=asyncio.run(talk())).status == 302


def test_a_removed_user_is_out_at_once(servers: dict[str, Served], users: Path) -> None:
    cookie = servers["users"].sign_in("cat").cookies()
    assert servers["users"].ask(Cookie=cookie).status == 200
    remove_user(users, "cat")
    assert servers["users"].ask(Cookie=cookie).status == 302


@pytest.mark.parametrize(
    "wanted",
    ["//evil.example", "https://evil.example/", "/\\evil.example", "javascript:alert(1)", "/\t/evil", "\r\nX: y", "?x=1#//evil"],
)
def test_a_sign_in_leads_to_the_page_and_nowhere_else(servers: dict[str, Served], wanted: str) -> None:
    answer = servers["users"].sign_in(wanted=wanted)
    assert answer.status == 302
    assert re.fullmatch(r"/(\?x=1)?", answer.headers["Location"])
    shown = servers["users"].ask("/login?" + urlencode({"next": wanted + '"><script>'}))
    assert "<script>" not in shown.text


def test_next_keeps_a_query_and_drops_all_else() -> None:
    assert _page("http://evil.example/x?a=1&b=%C3%A9#frag") == "/?a=1&b=%C3%A9"
    assert _page("/?a=\r\nSet-Cookie: x") == "/?a=%0D%0ASet-Cookie:%20x"


FOREIGN = [
    "http://evil.example",
    "null",
    "https://127.0.0.1.evil.example",
    "http://localhost",
    "http://localhost:1",
    "file://",
    "",
    "*",
]


@pytest.mark.parametrize("origin", FOREIGN)
@pytest.mark.parametrize("name", ["open", "users", "header"])
def test_a_websocket_from_a_page_of_another_server_is_refused(servers: dict[str, Served], name: str, origin: str) -> None:
    server = servers[name]
    who = {"Cookie": server.signed(), "X_User": "ann"}
    assert server.upgrade(token_of(server.ask(**who)), Origin=origin, **who).status == 403


@pytest.mark.parametrize(
    "origin", ["http://localhost:{port}", "http://127.0.0.1:{port}", f"https://{OWN_NAME}", f"HTTPS://{OWN_NAME.upper()}"]
)
def test_a_websocket_from_an_own_page_is_accepted(servers: dict[str, Served], origin: str) -> None:
    server = servers["open"]
    answer = server.upgrade(token_of(server.ask()), Origin=origin.format(port=server.port))
    assert answer.status == 101


@pytest.mark.parametrize(
    "host", ["evil.example", "evil.example:{port}", "127.0.0.1", "127.0.0.1:1", "", "localhost:{port}.evil.example"]
)
@pytest.mark.parametrize("name", ["open", "users", "header", "oauth"])
def test_another_host_name_is_refused(servers: dict[str, Served], name: str, host: str) -> None:
    """Against DNS rebinding: a page of another site whose name was made to point here."""
    server = servers[name]
    answer = server.ask(Host=host.format(port=server.port), Cookie=server.signed(), X_User="ann")
    assert answer.status == 403
    assert "The page" not in answer.text


def test_an_own_host_name_is_not(servers: dict[str, Served]) -> None:
    assert servers["open"].ask(Host=OWN_NAME).status == 200
    assert servers["open"].ask(Host=f"localhost:{servers['open'].port}").status == 200


UPS = ["..", "%2e%2e", "%2E%2e", "..%2f..", "..%5c..", "%252e%252e", "..\\..", "....//", "..;"]
DOORS = ["/", "/static/", "/static/js/", "/static/extensions/", "/static/extensions/panel/", "/static/extensions/panel/bundled/",
         "/components/", "/components/sslmem_kit.cli/app/_js/", "/static//"]  # fmt: skip
GOALS = ["etc/passwd", "pyproject.toml", "package.json", "server/server.py", "__init__.py"]


@pytest.mark.parametrize("name", ["open", "users"])
def test_no_path_leads_out(servers: dict[str, Served], name: str) -> None:
    server = servers[name]
    who = {"Cookie": server.signed()}
    for door in DOORS:
        for up in UPS:
            for goal in GOALS:
                for depth in (1, 6):
                    path = door + f"{up}/" * depth + goal
                    answer = server.ask(path, **who)
                    assert answer.status in (403, 404), path
                    assert answer.text in ("There is nothing here; the explorer is at /\n",) or "404: Not Found" in answer.text, (
                        path
                    )


@pytest.mark.parametrize("path", [*PAGE_PATHS[2:], "//", "/./", "http://127.0.0.1/", "*", "/%00", "/ws/", "/static", "/static/",
                                  "/components/os/path/_js/x", "/components/antigravity/x/_js/x", "/login/x"])  # fmt: skip
def test_there_is_nothing_but_the_page(servers: dict[str, Served], path: str) -> None:
    server = servers["users"]
    answer = server.ask(path, Cookie=server.signed())
    assert answer.status in (403, 404)
    assert "Traceback" not in answer.text


@pytest.mark.parametrize("method", ["POST", "PUT", "DELETE", "PATCH", "OPTIONS", "HEAD", "TRACE", "PROPFIND"])
def test_the_page_can_only_be_got(servers: dict[str, Served], method: str) -> None:
    for server in (servers["open"], servers["users"]):
        answer = server.ask(method=method, body="x=1", Cookie=server.signed())
        assert answer.status in (403, 405)


def test_a_session_cannot_be_named_from_outside(servers: dict[str, Served]) -> None:
    """Or somebody could look at, and act in, the session of another."""
    server = servers["open"]
    page = server.ask()
    assert server.ask("/?bokeh-session-id=abc").status == 400
    assert server.ask(f"/?bokeh-token={token_of(page)}").status == 400
    assert server.ask(Bokeh_Session_Id="abc").status == 400


def test_tokens_that_the_server_did_not_sign_open_nothing(served: Process) -> None:
    from bokeh.util.token import generate_jwt_token, generate_session_id

    server = served.servers["open"]
    forged = generate_jwt_token(generate_session_id(secret_key=b"guess", signed=True), secret_key=b"guess", signed=True)
    unsigned = generate_jwt_token("abc", signed=False)
    other = token_of(served.servers["users"].ask(Cookie=served.servers["users"].signed()))
    for token in (forged, unsigned, other, "", "x", "x.y", "e30.e30", "a" * 20_000):
        assert server.upgrade(token).status == 403


@pytest.mark.parametrize("length", [MAX_QUERY - 2, MAX_QUERY + 1, 60_000, 70_000, 1_000_000])
def test_an_oversized_query_is_refused_and_harms_nothing(servers: dict[str, Served], length: int) -> None:
    server = servers["open"]
    query = secrets.token_hex(length)[: length - 2]
    try:
        status = server.ask(f"/?q={query}").status
    except (ConnectionError, http.client.HTTPException):
        status = 431  # the connection was cut while the headers were still being sent
    assert status == (200 if length <= MAX_QUERY else 414) if length < 64_000 else status in (400, 414, 431)
    assert server.ask().status == 200


def test_the_longest_query_still_gets_a_websocket(servers: dict[str, Served]) -> None:
    page = servers["open"].ask(f"/?q={secrets.token_hex(MAX_QUERY // 2 - 4)}")

    async def talk() -> None:
        async with connected(servers["open"], page):
            pass

    asyncio.run(talk())


@pytest.mark.parametrize(
    "query", ["?%ff=%fe", "?a=%00", "?" + "&" * 5000, "?" + "a=1&" * 3000, "?q=<script>alert(1)</script>", "?;=&&=;"]
)
def test_odd_queries_are_survived(servers: dict[str, Served], query: str) -> None:
    answer = servers["open"].ask("/" + query)
    assert answer.status in (200, 400)
    assert "<script>alert(1)" not in answer.text


def test_nonsense_over_the_websocket_ends_that_connection_only(served: Process) -> None:
    server = served.servers["open"]

    async def talk(*nonsense: str | bytes) -> None:
        async with connected(server, server.ask()) as tab:
            with contextlib.suppress(WebSocketClosedError):
                for fragment in nonsense:
                    await tab.socket.write_message(fragment, binary=isinstance(fragment, bytes))

    header = json.dumps({"msgid": "1", "msgtype": "PATCH-DOC"})
    unknown = json.dumps({"events": [{"kind": "ModelChanged", "model": {"id": "p0"}, "attr": "x", "new": 1}]})
    asyncio.run(talk("{"))
    asyncio.run(talk(b"\x00\xff"))
    asyncio.run(talk(header, "{}", unknown))
    asyncio.run(talk("x" * 21_000_000))
    assert server.ask().status == 200


async def document(server: Served, page: Answer) -> str:
    """What the websocket tells of a page."""
    async with connected(server, page) as tab:
        for fragment in ('{"msgid": "1", "msgtype": "PULL-DOC-REQ"}', "{}", "{}"):
            await tab.socket.write_message(fragment)
        while "PULL-DOC-REPLY" not in await asyncio.wait_for(tab.messages.get(), 10):
            pass
        return str([await asyncio.wait_for(tab.messages.get(), 10) for _ in range(2)])


def test_an_error_in_the_page_tells_nothing(servers: dict[str, Served]) -> None:
    """Panel alone would show the traceback."""
    server = servers["open"]
    assert "The page" in asyncio.run(document(server, server.ask()))
    page = server.ask("/?break=1")
    told = page.text + asyncio.run(document(server, page))
    assert "The page could not be made." in told
    assert "Traceback" not in told
    assert "secret" not in told


def test_every_answer_carries_the_headers(servers: dict[str, Served]) -> None:
    for path, keep in [
        ("/", False),
        ("/login", False),
        ("/nothing", False),
        ("/static/js/bokeh.min.js", True),
        ("/static/../x", False),
    ]:
        for name in ("open", "users"):
            headers = servers[name].ask(path, Cookie=servers[name].signed()).headers
            assert "frame-ancestors 'self'" in headers["Content-Security-Policy"]
            assert (headers["X-Content-Type-Options"], headers["X-Frame-Options"]) == ("nosniff", "SAMEORIGIN")
            assert headers["Referrer-Policy"] == "same-origin"
            assert "Server" not in headers
            assert (headers.get("Cache-Control") == "no-store") is not keep or path == "/static/../x"


def test_a_closed_tab_gives_its_memory_back(served: Process) -> None:
    server = served.servers["header"]

    async def talk() -> None:
        async with connected(server, server.ask(X_User="ann"), X_User="ann"):
            await asyncio.sleep(1.5)
            assert served.counts()["header"] == [1, 1]

    assert eventually(lambda: served.counts()["header"] == [0, 0])
    asyncio.run(talk())
    assert eventually(lambda: served.counts()["header"] == [0, 0])


def test_a_proxy_has_to_say_who_asks(servers: dict[str, Served]) -> None:
    server = servers["header"]
    assert server.ask().status == 401
    assert server.ask(X_User="  ").status == 401
    assert server.ask("/login").status == 401
    page = server.ask(X_User="ann")
    assert page.status == 200
    assert server.upgrade(token_of(page)).status == 401
    assert server.upgrade(token_of(page), X_User="ann").status == 101


def test_a_header_that_a_client_slipped_past_the_proxy_counts_for_nothing(servers: dict[str, Served]) -> None:
    with socket.create_connection(("127.0.0.1", servers["header"].port), timeout=10) as raw:
        raw.sendall(f"GET / HTTP/1.1\r\nHost: {OWN_NAME}\r\nX-User: eve\r\nX-User: ann\r\n\r\n".encode())
        assert raw.recv(64).startswith(b"HTTP/1.1 401")


def test_oauth_leads_to_the_provider_and_back_only_with_its_own_state(servers: dict[str, Served]) -> None:
    server = servers["oauth"]
    assert server.ask().headers["Location"] == "/login?next=%2F"
    away = server.ask("/login?next=%2F%3Fa%3D1")
    assert away.status == 302
    assert away.headers["Location"].startswith("https://github.com/login/oauth/authorize?")
    assert "client_id=oauth-key" in away.headers["Location"]
    assert OAUTH_SECRET not in away.headers["Location"]
    assert all("HttpOnly" in value and "SameSite=Lax" in value for value in away.headers.get_all("Set-Cookie"))
    state = re.search(r"[?&]state=([^&]+)", away.headers["Location"])[1]
    for query, cookie in [
        ("code=x&state=wrong", away.cookies()),
        (f"code=x&state={state}", ""),
        ("code=x", away.cookies()),
        ("error=x", ""),
    ]:
        answer = server.ask(f"/login?{query}", Cookie=cookie)
        assert answer.status == 401, query
        assert server.cookie not in answer.cookies()
        assert "http" not in answer.text
    for wanted in ("//evil.example", "https://evil.example", "/\\evil.example"):
        assert server.ask("/login?" + urlencode({"next": wanted})).status == 400


def test_oauth_lets_in_who_is_on_the_list(servers: dict[str, Served]) -> None:
    server = servers["oauth"]
    assert server.ask(Cookie=server.signed("aNN")).status == 200
    assert server.ask(Cookie=server.signed("eve")).status == 302
    assert server.upgrade(Cookie=server.signed("eve")).status == 403


def test_the_server_process_has_no_torch(served: Process) -> None:
    assert served.counts()["torch"] is False


def test_names_that_an_address_implies() -> None:
    assert hosts("127.0.0.1", 5006) == {"127.0.0.1:5006", "localhost:5006", "[::1]:5006"}
    assert hosts("192.0.2.7", 5006) == {"192.0.2.7:5006"}
    assert hosts("192.0.2.7", 80) == {"192.0.2.7:80", "192.0.2.7"}
    assert {"127.0.0.1:1", f"{socket.gethostname().lower()}:1"} <= hosts("0.0.0.0", 1)


def test_guards_that_are_incomplete_or_two_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PANEL_OAUTH_KEY", "k")
    monkeypatch.delenv("PANEL_OAUTH_SECRET", raising=False)
    for options, told in [
        ((Path("u"), "github", ["a"], None), "choose one"),
        ((None, None, ["a"], None), "belongs to --oauth"),
        ((None, "nowhere", ["a"], None), "use one of"),
        ((None, "github", [], None), "--allow-user"),
        ((None, "github", ["a"], None), "set PANEL_OAUTH_SECRET in"),
        ((None, None, [], "X User"), "no header's name"),
    ]:
        with pytest.raises(UserError, match=told):
            Guard.chosen(*options)


@pytest.fixture
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page itself is beside the point, and slow to import."""
    for name, attribute in [("page", "make_page"), ("library", "Library")]:
        module = ModuleType(f"sslmem_kit.explorer.{name}")
        setattr(module, attribute, lambda _: None)
        monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> str:
    from fake_study import make_study

    return str(make_study(tmp_path_factory.mktemp("serving") / "tiny", samples=60, seeds=1, views=2).path)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--address", "0.0.0.0"], "--users FILE"),
        (["--address", "::"], "--behind-proxy HEADER"),
        (["--address", "192.0.2.7"], "--oauth PROVIDER"),
        (["--address", ""], "--address"),
        (["--address", "192.0.2.7", "--behind-proxy", "X-User"], "an address of this machine"),
        (["--users", "nowhere.json"], "nowhere.json"),
        (["--origin", "*"], "--origin"),
        (["--origin", "https://a.example"], "--origin"),
        (["--origin", "a.example:b"], "--origin"),
        (["--origin", ""], "--origin"),
        (["--port", "70000"], "70000"),
        (["--session-hours", "0"], "session-hours"),
    ],
)
@pytest.mark.usefixtures("no_page")
def test_what_cannot_be_served_ends_with_one_sentence(
    options: list[str], told: str, capsys: pytest.CaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["app", "study", *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert told in captured.err
    assert len(captured.err.splitlines()) == 1


@pytest.mark.usefixtures("no_page")
def test_a_port_in_use_is_told(servers: dict[str, Served], capsys: pytest.CaptureFixture) -> None:
    assert main(["app", "study", "--port", str(servers["open"].port)]) == 2
    assert "--port" in capsys.readouterr().err


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_the_command_tells_its_address_first_ends_quietly_and_imports_no_torch(study: str, ending: signal.Signals) -> None:
    port = free_port()
    code = f"""
import sys
from sslmem_kit.cli import main
status = main(["app", {study!r}, "--port", "{port}"])
sys.exit("torch is imported" if "torch" in sys.modules else status)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert process.stdout.readline() == f"explorer: http://127.0.0.1:{port}/\n"
        assert Served(f"http://127.0.0.1:{port}/", "", "").ask().status == 200
        process.send_signal(ending)
        out, err = process.communicate(timeout=30)
        assert (process.returncode, out, err) == (0, "", "")
    finally:
        process.kill()
        process.communicate()


@needs_browser
def test_a_person_signs_in_on_a_phone_uses_the_page_and_signs_out(servers: dict[str, Served]) -> None:
    server = servers["users"]
    foreign, failed, complaints = [], [], []
    with open_browser() as browser:
        page = browser.new_page(viewport={"width": 390, "height": 800}, color_scheme="dark")
        page.on("request", lambda request: request.url.startswith((server.url, "data:", "blob:")) or foreign.append(request.url))
        page.on("response", lambda response: response.status >= 400 and failed.append((response.status, response.url)))
        page.on("console", lambda message: message.type == "error" and complaints.append(message.text))
        page.goto(f"{server.url}?study=a")
        assert page.title() == "T <b>: sign in"
        assert page.evaluate("document.documentElement.scrollWidth") <= 390
        page.get_by_label("Name").fill("ann")
        page.get_by_label("Password").fill("wrong horse")
        page.get_by_role("button", name="Sign in").click()
        page.get_by_role("alert").wait_for()
        assert failed == [(401, f"{server.url}login")]
        failed.clear()
        complaints.clear()
        page.get_by_label("Password").fill(PASSWORD)
        page.keyboard.press("Enter")
        page.get_by_role("heading", name="The page").wait_for()
        assert page.url == f"{server.url}?study=a"
        page.get_by_text("for ann").wait_for()
        page.get_by_text("own script").wait_for()
        page.get_by_role("button", name="clicked 0").click()
        page.get_by_role("button", name="clicked 1").wait_for()
        with page.expect_download() as download:
            page.get_by_text("Download scores.csv").click()
            # the widget asks for the file first, and hands it out once it is there
        assert Path(download.value.path()).read_text() == "a,b"
        assert page.evaluate("document.cookie") == ""
        page.goto(f"{server.url}logout")
        page.get_by_role("link", name="Sign in again").click()
        page.get_by_label("Name").wait_for()
    assert (foreign, failed, complaints) == ([], [], [])


def test_a_client_without_an_origin_is_not_a_page_of_another_server(servers: dict[str, Served]) -> None:
    """Scripts of a user's own send none; browsers always do."""
    assert servers["open"].upgrade(token_of(servers["open"].ask())).status == 101


def test_tornado_agrees_that_a_foreign_handshake_fails(servers: dict[str, Served]) -> None:
    server = servers["open"]

    async def talk() -> None:
        async with connected(server, server.ask(), Origin="http://evil.example"):
            pass

    with pytest.raises(HTTPClientError, match="403"):
        asyncio.run(talk())
