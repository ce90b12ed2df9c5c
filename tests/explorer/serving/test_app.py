"""What can be reached of a served page, from where, and what is refused."""

from __future__ import annotations

import asyncio
import contextlib
import http.client
import json
import secrets
import socket
import time
from urllib.parse import urljoin

import pytest
from tornado.httpclient import HTTPClientError
from tornado.websocket import WebSocketClosedError

from sslmem_kit.explorer.serving.access import hosts
from sslmem_kit.explorer.serving.app import MAX_QUERY
from sslmem_kit.explorer.serving.messages import MAX_MESSAGE
from tests.support.servers import OWN_NAME, Answer, Process, Served, connected, eventually, token_of

PAGE_PATHS = ["/", "/?study=a", "/autoload.js?bokeh-autoload-element=x", "/metadata", "/index", "/index.html", "/thumbnails/3.png",
              "/download/scores.csv", "/images/0", "/components/panel/x/y/z", "/rest/session_info", "/liveness", "/admin",
              "/study.yaml"]  # fmt: skip


@pytest.mark.parametrize("path", PAGE_PATHS)
def test_strangers_are_sent_to_the_login_and_get_nothing_else(servers: dict[str, Served], path: str) -> None:
    server = servers["users"]
    answer = server.ask(path)
    assert answer.status == 302
    assert urljoin(server.url + path[1:], answer.headers["Location"]).startswith(f"{server.url}login?next=%2F")
    assert answer.text == "Sign in first.\n"


def test_a_stranger_gets_no_websocket_and_leaves_no_session(served: Process) -> None:
    server = served.servers["users"]
    page = served.servers["open"].ask()
    assert eventually(lambda: served.counts()["users"] == [0, 0])
    assert server.upgrade(token_of(page)).status == 403
    assert server.upgrade(Origin=server.url.rstrip("/")).status == 403
    assert served.counts()["users"] == [0, 0]


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
    asyncio.run(talk("{}", "{}", json.dumps("x" * 100_000)))
    asyncio.run(talk(header, "{}", unknown))
    asyncio.run(talk("x" * (MAX_MESSAGE + 1_000)))
    assert server.ask().status == 200


async def document(server: Served, page: Answer) -> str:
    """What the websocket tells of a page."""
    async with connected(server, page) as tab:
        for fragment in ('{"msgid": "1", "msgtype": "PULL-DOC-REQ"}', "{}", "{}"):
            await tab.socket.write_message(fragment)
        while "PULL-DOC-REPLY" not in await asyncio.wait_for(tab.messages.get(), 10):
            pass
        return str([await asyncio.wait_for(tab.messages.get(), 10) for _ in range(2)])


def test_a_session_that_is_made_anew_has_its_styles_from_here(servers: dict[str, Served]) -> None:
    """Where a websocket comes after the session was given up, its page has no HTML in which Panel points stylesheets to the server."""
    server = servers["open"]
    page = server.ask()
    time.sleep(3)  # sessions that nobody uses are given up after 1.5 s, looked for each 0.5 s
    told = asyncio.run(document(server, page))
    assert "static/extensions/panel" in told
    assert "cdn.holoviz.org" not in told


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


def test_a_page_whose_memory_was_given_back_is_made_again_when_its_tab_returns(served: Process) -> None:
    server = served.servers["header"]
    page = server.ask(X_User="ann")
    assert eventually(lambda: served.counts()["header"] == [0, 0])

    async def talk() -> str:
        async with connected(server, page, X_User="ann") as tab:
            for fragment in ('{"msgid": "1", "msgtype": "PULL-DOC-REQ"}', "{}", "{}"):
                await tab.socket.write_message(fragment)
            return str([await asyncio.wait_for(tab.messages.get(), 10) for _ in range(5)])

    assert "The page" in asyncio.run(talk())


def test_no_more_pages_are_opened_than_there_is_memory_for(served: Process) -> None:
    server = served.servers["few"]
    pages = [server.ask() for _ in range(5)]
    assert [page.status for page in pages] == [200] * 3 + [503] * 2
    assert pages[-1].text == "Too many pages are open; try again in a minute.\n"
    assert int(pages[-1].headers["Retry-After"]) > 0

    async def talk() -> None:
        async with contextlib.AsyncExitStack() as stack:
            for page in pages[:3]:
                await stack.enter_async_context(connected(server, page))
            assert (server.upgrade(token_of(pages[0])).status, server.ask().status) == (403, 503)

    asyncio.run(talk())
    assert eventually(lambda: server.ask().status == 200)


def test_the_server_process_has_no_torch(served: Process) -> None:
    assert served.counts()["torch"] is False


def test_names_that_an_address_implies() -> None:
    assert hosts("127.0.0.1", 5006) == {"127.0.0.1:5006", "localhost:5006", "[::1]:5006"}
    assert hosts("192.0.2.7", 5006) == {"192.0.2.7:5006"}
    assert hosts("192.0.2.7", 80) == {"192.0.2.7"}
    assert {"127.0.0.1:1", f"{socket.gethostname().lower()}:1"} <= hosts("0.0.0.0", 1)


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
