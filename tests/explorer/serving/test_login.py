"""Who is let in, for how long: users, OAuth accounts, and whom a proxy names."""

from __future__ import annotations

import asyncio
import re
import secrets
import socket
import time
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from urllib.parse import urlencode, urljoin

import pytest

from sslmem_kit.errors import UserError
from sslmem_kit.explorer.serving import Guard, remove_user
from sslmem_kit.explorer.serving.login import page_of
from tests.support.browser import needs_browser, open_browser
from tests.support.servers import OAUTH_SECRET, OWN_NAME, PASSWORD, Process, Served, connected, token_of


def test_a_user_signs_in_and_sees_the_page_and_its_websocket(servers: dict[str, Served]) -> None:
    server = servers["users"]
    answer = server.sign_in(wanted="/?study=a&x=%3Cb%3E")
    assert (answer.status, answer.headers["Location"]) == (302, "./?study=a&x=%3Cb%3E")
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


def test_guessing_is_slowed_down_and_nobody_is_locked_out(servers: dict[str, Served]) -> None:
    server = servers["users"]
    known = server.sign_in("dan").cookies()
    assert [server.sign_in("dan", "wrong horse").status for _ in range(6)] == [401] * 6
    began = time.monotonic()
    assert server.sign_in("dan").status == 302
    assert 0.7 < time.monotonic() - began < 10
    assert [server.sign_in("dan", "wrong horse").status for _ in range(5)] == [401] * 5
    for name, sent in (
        ("bob", ""),
        ("dan", known),
    ):  # somebody else from there, and the same one in a browser that was there before
        began = time.monotonic()
        shown = server.ask("/login")
        fields = {
            "name": name,
            "password": PASSWORD,
            "next": "/",
            "_xsrf": re.search(r'name="_xsrf" value="([^"]+)"', shown.text)[1],
        }
        answer = server.ask("/login", method="POST", body=urlencode(fields), Cookie=f"{shown.cookies()}; {sent}")
        assert (answer.status, time.monotonic() - began < 10) == (302, True)


def test_attempts_at_once_gain_nothing(servers: dict[str, Served]) -> None:
    with ThreadPoolExecutor(10) as pool:
        answers = list(pool.map(lambda _: servers["users"].sign_in("nobody", "wrong horse"), range(10)))
    statuses = [answer.status for answer in answers]
    assert set(statuses) == {401, 429}
    assert all(int(answer.headers["Retry-After"]) >= 1 for answer in answers if answer.status == 429)


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
    began = time.monotonic()
    assert {server.sign_in("bob").status for _ in range(25)} == {302}
    lasted = time.monotonic() - began
    assert {server.sign_in(f"guess{number}").status for number in range(22)} == {401}
    began = time.monotonic()
    assert server.sign_in("bob").status == 302
    assert time.monotonic() - began > max(0.7, 1.5 * lasted / 25)


def test_below_a_path_of_a_proxy_the_form_leads_to_itself_and_back(servers: dict[str, Served]) -> None:
    """As with jupyter-server-proxy, which takes the path away and passes on the rest."""
    server, below = servers["users"], "http://hub.example/user/ann/proxy/5006/"
    assert urljoin(below, server.ask("/?a=1").headers["Location"]) == f"{below}login?next=%2F%3Fa%3D1"
    assert urljoin(f"{below}a/b/c", server.ask("/a/b/c").headers["Location"]) == f"{below}login?next=%2F"
    page = server.ask("/login")
    assert urljoin(f"{below}login", re.search(r'action="([^"]+)"', page.text)[1]) == f"{below}login"
    assert urljoin(f"{below}login", server.sign_in(wanted="/?a=1").headers["Location"]) == f"{below}?a=1"
    assert urljoin(f"{below}logout", re.search(r'href="([^"]+)"', server.ask("/logout").text)[1]) == f"{below}login"


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
    assert re.fullmatch(r"\./(\?x=1)?", answer.headers["Location"])
    shown = servers["users"].ask("/login?" + urlencode({"next": wanted + '"><script>'}))
    assert "<script>" not in shown.text


def test_next_keeps_a_query_and_drops_all_else() -> None:
    assert page_of("http://evil.example/x?a=1&b=%C3%A9#frag") == "/?a=1&b=%C3%A9"
    assert page_of("/?a=\r\nSet-Cookie: x") == "/?a=%0D%0ASet-Cookie:%20x"


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
    for sent, status in [("X-User: eve\r\nX-User: ann", 401), ("X-User: eve\r\nx-user: eve", 401), ("X-User: \r\nX-User: ann", 401),
                         ("x-uSER: ann", 200)]:  # fmt: skip
        with socket.create_connection(("127.0.0.1", servers["header"].port), timeout=10) as raw:
            raw.sendall(f"GET / HTTP/1.1\r\nHost: {OWN_NAME}\r\n{sent}\r\n\r\n".encode())
            assert raw.recv(64).startswith(f"HTTP/1.1 {status}".encode()), sent


def test_oauth_leads_to_the_provider_and_back_only_with_its_own_state(servers: dict[str, Served]) -> None:
    server = servers["oauth"]
    assert server.ask().headers["Location"] == "login?next=%2F"
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


def test_an_oauth_account_comes_in_only_if_it_is_on_the_list(servers: dict[str, Served]) -> None:
    server = servers["generic"]
    for account, status in [("ann", 302), ("Ann", 302), ("eve", 403), ("ann@evil.example", 403)]:
        away = server.ask("/login?next=%2F%3Fa%3D1")
        state = re.search(r"[?&]state=([^&]+)", away.headers["Location"])[1]
        answer = server.ask(f"/login?code={account}&state={state}", Cookie=away.cookies())
        assert answer.status == status, account
        assert "token" not in answer.cookies()
        if status == 302:
            assert answer.headers["Location"] == "/?a=1"
            assert server.ask(Cookie=answer.cookies()).status == 200
        else:
            assert answer.text == "403: the sign-in did not work; start again at /\n"
            assert server.ask(Cookie=answer.cookies()).status == 302


def test_oauth_lets_in_who_is_on_the_list(servers: dict[str, Served]) -> None:
    server = servers["oauth"]
    assert server.ask(Cookie=server.signed("aNN")).status == 200
    assert server.ask(Cookie=server.signed("eve")).status == 302
    assert server.upgrade(Cookie=server.signed("eve")).status == 403


def test_guards_that_are_incomplete_or_two_are_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("PANEL_OAUTH_KEY", "k")
    monkeypatch.delenv("PANEL_OAUTH_SECRET", raising=False)
    for options, told in [
        ((Path("u"), "github", ["a"], None), "choose one"),
        ((None, None, ["a"], None), "belongs to --oauth"),
        ((None, "nowhere", ["a"], None), "use one of"),
        ((None, "github", [], None), "--allow-user"),
        ((None, "github", ["a"], None), "set PANEL_OAUTH_SECRET in"),
        ((None, "generic", ["a"], None), "set PANEL_OAUTH_SECRET and PANEL_OAUTH_AUTHORIZE_URL and PANEL_OAUTH_TOKEN_URL in"),
        ((None, None, [], "X User"), "no header's name"),
    ]:
        with pytest.raises(UserError, match=told):
            Guard.chosen(*options)


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
