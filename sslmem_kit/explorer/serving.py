"""Serving the explorer to browsers: what can be reached, by whom, and for how long.

Every request passes :meth:`Explorer.find_handler`, which knows these addresses and answers 404 to all others:

==================  ==============================================================================================
``/``               the page, a session of its own for each tab
``/ws``             its websocket, over which everything of a study travels: scores, images, downloads
``/login``          the form, or the way to the OAuth provider; ``/logout`` ends a sign-in here, not only in the browser
``/static/``        JavaScript and styles of Bokeh and Panel, the same for everybody, open to all; ``/favicon.ico`` too
==================  ==============================================================================================

Panel's other addresses (``/components/``, which imports the module an address names, ``/autoload.js``, ``/metadata``, ``/rest``) are not
served. Nothing that a browser sends names a file, a module or a notebook. Beside who asks, the server looks at what for: the ``Host`` must
be one it goes by (against DNS rebinding), a websocket or a form must come from a page of its own, a session's token must be one it signed.
All is forgotten when the process ends: the secret that signs cookies is made anew, so a restart signs everybody out.
"""

from __future__ import annotations

import asyncio
import errno
import functools
import ipaddress
import logging
import math
import os
import re
import secrets
import signal
import socket
import sys
import time
from collections.abc import Callable, Iterable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal
from urllib.parse import quote, unquote

import panel as pn
from bokeh.core.validation import silence
from bokeh.core.validation.warnings import EMPTY_LAYOUT
from bokeh.server.tornado import BokehTornado
from bokeh.settings import settings
from bokeh.util.token import check_token_signature, get_token_payload
from panel.auth import AUTH_PROVIDERS
from panel.io.application import build_applications
from panel.io.logging import panel_log_handler
from panel.io.resources import DIST_DIR
from panel.io.server import DocHandler, WSHandler
from tornado.httpserver import HTTPServer
from tornado.httputil import HTTPServerRequest
from tornado.ioloop import IOLoop, PeriodicCallback
from tornado.web import HTTPError, OutputTransform, RequestHandler, decode_signed_value

from sslmem_kit.errors import UserError
from sslmem_kit.explorer.credentials import RateLimiter, Users

_log = logging.getLogger(__name__)

PROVIDERS = ("auth0", "azure", "azurev2", "bitbucket", "generic", "github", "gitlab", "google", "okta")
"""OAuth providers of Panel that sign in on a page of their own."""

MAX_QUERY = 16 * 1024
MAX_SESSIONS = 100
"""Open tabs, each with a document in memory."""

UNUSED_SECONDS, SWEEP_SECONDS = 15, 5
"""How long a closed tab's memory is kept, and how often sessions and sign-ins are looked through."""

_POLICY = (
    "default-src 'self'; script-src 'self' 'unsafe-inline' 'unsafe-eval' blob:; style-src 'self' 'unsafe-inline'; img-src 'self' data: blob:; "
    "font-src 'self' data:; connect-src 'self' blob: data:; "
    "worker-src 'self' blob:; object-src 'none'; base-uri 'none'; form-action 'self'; frame-ancestors 'self'"
)
_STATIC = re.compile(r"/static/(?!.*\.\.)[\w@^+./-]+")
_HOST = re.compile(r"(\[[0-9a-f:]+\]|[a-z0-9]([a-z0-9.-]*[a-z0-9])?)(:\d{1,5})?")


@dataclass(frozen=True)
class Guard:
    """Who may look: everybody on this machine (open), a users file, accounts of an OAuth provider, or whom a proxy names in a header."""

    kind: Literal["open", "users", "oauth", "header"] = "open"
    users: Path | None = None
    provider: str = ""
    allowed: frozenset[str] = frozenset()
    header: str = ""

    @classmethod
    def chosen(cls, users: Path | None, provider: str | None, allowed: Iterable[str], header: str | None) -> Guard:
        """The guard that options of the command line ask for.

        Raises
        ------
        UserError
            More than one way was chosen, or one of them is incomplete.
        """
        allowed = frozenset(name.casefold() for name in allowed)
        if sum(option is not None for option in (users, provider, header)) > 1:
            raise UserError("--users, --oauth and --behind-proxy: choose one of them")
        if allowed and provider is None:
            raise UserError("--allow-user: it belongs to --oauth")
        if users is not None:
            return cls("users", users=users)
        if provider is not None:
            if provider not in PROVIDERS:
                raise UserError(f"--oauth: {provider!r} is not known; use one of {', '.join(PROVIDERS)}")
            if not allowed:
                raise UserError("--oauth: name at least one account with --allow-user, or anybody with an account there could look")
            missing = [name for name in ("PANEL_OAUTH_KEY", "PANEL_OAUTH_SECRET") if not os.environ.get(name)]
            if missing:
                raise UserError(f"--oauth: set {' and '.join(missing)} in the environment, as given by the provider")
            return cls("oauth", provider=provider, allowed=allowed)
        if header is not None:
            if not re.fullmatch(r"[A-Za-z0-9-]{1,64}", header):
                raise UserError(f"--behind-proxy: {header!r} is no header's name; letters, digits and - are allowed")
            return cls("header", header=header)
        return cls()


class Gate:
    """Tells of a request whose it is. A sign-in ends by time, by signing out, and when its user is removed or given a new password."""

    def __init__(self, guard: Guard, session_seconds: float) -> None:
        self.guard = guard
        self.session_seconds = session_seconds
        self.secret = secrets.token_urlsafe(48)
        self.cookie = ""
        self.users = Users(guard.users) if guard.users else None
        self.names, self.addresses = RateLimiter(free=5), RateLimiter(free=20)
        self._ended: dict[str, float] = {}

    def user(self, request: HTTPServerRequest) -> str | None:
        """Name of who asks, empty where nobody needs one, None where it is nobody who may look."""
        if self.guard.kind == "open":
            return ""
        if self.guard.kind == "header":
            values = request.headers.get_list(self.guard.header)
            return values[0].strip() or None if len(values) == 1 else None
        value = self._value(request)
        signed = decode_signed_value(self.secret, "user", value, max_age_days=self.session_seconds / 86400, min_version=2)
        if signed is None or value in self._ended:
            return None
        name = signed.decode("utf-8", "replace")
        if self.users is None:
            return name if name.casefold() in self.guard.allowed else None
        known = self.users.current().get(name)
        return name if known and known.since <= int(value.split("|")[2].split(":")[1]) else None

    def end(self, request: HTTPServerRequest) -> None:
        """Let the sign-in of a request count no longer."""
        now = time.time()
        self._ended = {value: until for value, until in self._ended.items() if until > now}
        if self.user(request) is not None:
            self._ended[self._value(request)] = now + self.session_seconds

    def _value(self, request: HTTPServerRequest) -> str:
        morsel = request.cookies.get(self.cookie)
        return morsel.value if morsel else ""


class _Headers(OutputTransform):
    """What every answer carries."""

    def __init__(self, request: HTTPServerRequest) -> None:
        self._keep = request.path.startswith("/static/") or request.path == "/favicon.ico"

    def transform_first_chunk(self, status_code: int, headers: Any, chunk: bytes, finishing: bool) -> tuple[int, Any, bytes]:
        headers["Content-Security-Policy"] = _POLICY
        headers["X-Content-Type-Options"] = "nosniff"
        headers["X-Frame-Options"] = "SAMEORIGIN"
        headers["Referrer-Policy"] = "same-origin"  # with "no-referrer" browsers send our own form's Origin as null
        headers["Cross-Origin-Resource-Policy"] = "same-origin"
        headers.pop("Server", None)
        if not self._keep:
            headers["Cache-Control"] = "no-store"
        return status_code, headers, chunk


class _Refused(RequestHandler):
    """An answer in one sentence."""

    def initialize(self, status: int, sentence: str, **headers: str) -> None:
        self._answer = status, sentence, headers

    def check_xsrf_cookie(self) -> None:
        """Nothing is done here that a token would protect."""

    def prepare(self) -> None:
        status, sentence, headers = self._answer
        self.set_status(status)
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        for name, value in headers.items():
            self.set_header(name.replace("_", "-"), value)
        self.finish(sentence + "\n")


class _Cookies(RequestHandler):
    """Cookies that scripts and other sites do not get, named by port: browsers do not keep those of two ports apart."""

    def get_cookie(self, name: str, default: str | None = None) -> str | None:
        return super().get_cookie(f"{name}-{self.application.port}", default)

    def set_cookie(self, name: str, value: str | bytes, **options: Any) -> None:
        secure = self.request.protocol == "https" or self.request.headers.get("Origin", "").startswith("https:")
        super().set_cookie(
            f"{name}-{self.application.port}", value, **{**options, "httponly": True, "samesite": "Lax", "secure": secure}
        )

    def write_error(self, status_code: int, **kwargs: Any) -> None:
        self.set_header("Content-Type", "text/plain; charset=utf-8")
        self.finish(f"{status_code}: the sign-in did not work; start again at /\n")


class _Login(_Cookies):
    """The form for a name and a password."""

    def get(self) -> None:
        self._form(self.get_query_argument("next", "/"))

    async def post(self) -> None:
        gate = self.application.gate
        name, password = self.get_body_argument("name", "")[:65], self.get_body_argument("password", "", strip=False)
        wanted, address = self.get_body_argument("next", "/"), self.request.remote_ip
        wait = max(gate.names.wait(name), gate.addresses.wait(address))
        if wait > 0:
            self.set_status(429)
            self.set_header("Retry-After", str(math.ceil(wait)))
            self._form(wanted, name, f"Too many attempts; try again in {math.ceil(wait)} s.")
            return
        gate.names.failed(name)
        gate.addresses.failed(address)
        if not await IOLoop.current().run_in_executor(self.application.workers, gate.users.verify, name, password):
            self.set_status(401)
            self._form(wanted, name, "Name or password is wrong.")
            return
        gate.names.forget(name)
        gate.addresses.take_back(address)  # not forgotten, or one account of one's own would allow guessing at others
        self.set_signed_cookie("user", name, expires_days=gate.session_seconds / 86400)
        self.redirect(_page(wanted))

    def _form(self, wanted: str, name: str = "", wrong: str = "") -> None:
        self.render("login.html", title=self.application.title, next_page=_page(wanted), name=name, wrong=wrong, told="", form=True)


class _Logout(_Cookies):
    def get(self) -> None:
        self.application.gate.end(self.request)
        self.application.sweep()
        self.clear_cookie("user")
        self.render("login.html", title=self.application.title, wrong="", told="You are signed out.", form=False)


class _OAuth(_Cookies):
    """Panel's way to a provider, for accounts on the list only; of the provider's tokens none is kept."""

    def set_cookie(self, name: str, value: str | bytes, **options: Any) -> None:
        if name not in ("access_token", "id_token", "refresh_token", "oauth_expiry"):
            super().set_cookie(name, value, **options)

    async def get_authenticated_user(self, *args: Any, **kwargs: Any) -> str | None:
        user = await super().get_authenticated_user(*args, **kwargs)
        if user is not None and str(user).casefold() not in self.application.gate.guard.allowed:
            self.clear_cookie("user")
            raise HTTPError(403)
        return user


class _Socket(WSHandler):
    """A tab's connection; :meth:`Explorer.sweep` closes it when its sign-in has ended."""

    def check_origin(self, origin: str) -> bool:
        """The explorer has looked at it already."""
        return True

    def open(self, *args: Any, **kwargs: Any) -> Any:
        self.opened = time.monotonic()
        self.application.sockets.add(self)
        return super().open(*args, **kwargs)

    def on_close(self) -> None:
        self.application.sockets.discard(self)
        super().on_close()


class Explorer(BokehTornado):
    """The web application: a page, its guard and the names it goes by. Listens once made; :func:`run` answers."""

    def __init__(
        self, make_page: Callable[[], Any], gate: Gate, *, address: str, port: int, origins: Iterable[str], title: str
    ) -> None:
        further = _checked_origins(origins)
        listening = _listen(address, port)
        self.gate, self.title = gate, title
        self.port = listening.getsockname()[1]
        self.hosts = hosts(address, self.port) | further
        self.url = f"http://{'[' + address + ']' if ':' in address else address}:{self.port}/"
        self.sockets: set[_Socket] = set()
        self.workers = ThreadPoolExecutor(2, thread_name_prefix="password")
        gate.cookie = f"user-{self.port}"
        settings.resources = "server"
        silence(EMPTY_LAYOUT, True)
        panel_log_handler.setStream(sys.stderr)  # Panel writes its log among a program's output
        super().__init__(
            build_applications({"/": lambda: _made(make_page)}, title={"/": title}),
            secret_key=secrets.token_bytes(32),
            sign_sessions=True,
            include_headers=[],
            include_cookies=[],
            keep_alive_milliseconds=0,
            check_unused_sessions_milliseconds=int(SWEEP_SECONDS * 1000),
            unused_session_lifetime_milliseconds=int(UNUSED_SECONDS * 1000),
            websocket_max_message_size_bytes=20_000_000,
            websocket_ping_interval=25,
            websocket_ping_timeout=20,
            use_index=False,
            ico_path=str(DIST_DIR / "images" / "favicon.ico"),
            cookie_secret=gate.secret,
            xsrf_cookies=True,
            template_path=str(Path(__file__).parent),
            transforms=[_Headers],
        )
        self.http = HTTPServer(
            self, max_body_size=65_536, max_header_size=65_536, max_buffer_size=2**25, idle_connection_timeout=120
        )
        self.http.add_socket(listening)

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        """The only way in: who asks, from where, for what."""
        request.user_name = None
        refuse = functools.partial(self._refuse, request)
        if request.headers.get("Host", "").lower() not in self.hosts:
            return refuse(403, "The explorer does not go by this name; it is told others with --origin.")
        if len(request.query) > MAX_QUERY:
            return refuse(414, "This address is too long; start again at /")
        origin = request.headers.get("Origin")
        if origin is not None and (request.path == "/ws" or request.method != "GET") and not self._own(origin):
            return refuse(403, "This request comes from a page of another server.")
        if _STATIC.fullmatch(unquote(request.path)) or request.path == "/favicon.ico":
            return super().find_handler(request, **kwargs)
        if self.gate.guard.kind in ("users", "oauth") and request.path in ("/login", "/logout"):
            handler = _Logout if request.path == "/logout" else self._login
            return self.get_handler_delegate(request, handler)
        request.user_name = self.gate.user(request)
        if request.user_name is None:
            return self._refuse_stranger(request)
        return self._handler_of_known(request)

    def sweep(self) -> None:
        """Close the connections whose sign-in has ended."""
        now = time.monotonic()
        for tab in list(self.sockets):
            late = self.gate.guard.kind != "open" and now - tab.opened > self.gate.session_seconds
            if late or self.gate.user(tab.request) is None:
                tab.close(4401, "signed out")

    @functools.cached_property
    def _login(self) -> type[RequestHandler]:
        if self.gate.guard.kind == "users":
            return _Login
        pn.config.oauth_provider = self.gate.guard.provider
        pn.config.oauth_expiry = self.gate.session_seconds / 86400
        return type("OAuthLogin", (_OAuth, AUTH_PROVIDERS[self.gate.guard.provider]), {})

    def _refuse(self, request: HTTPServerRequest, status: int, sentence: str, **headers: str) -> Any:
        return self.get_handler_delegate(request, _Refused, {"status": status, "sentence": sentence, **headers})

    def _refuse_stranger(self, request: HTTPServerRequest) -> Any:
        if self.gate.guard.kind == "header":
            return self._refuse(request, 401, "The proxy in front of the explorer has to say who asks.")
        if request.path == "/ws" or request.method != "GET":
            return self._refuse(request, 403, "Sign in first.")
        wanted = quote(_page(request.uri if request.path == "/" else "/"), safe="")
        return self._refuse(request, 302, "Sign in first.", Location=f"/login?next={wanted}")

    def _handler_of_known(self, request: HTTPServerRequest) -> Any:
        context = self.applications["/"]
        route = {"application_context": context, "bokeh_websocket_path": "/ws"}
        full = max(len(self.sockets), len(list(context.sessions))) >= MAX_SESSIONS
        if request.path == "/ws":
            if len(self.sockets) >= MAX_SESSIONS or not self._signed_token(request):
                return self._refuse(request, 403, "This session has ended; load the page again.")
            return self.get_handler_delegate(request, _Socket, route)
        if request.path != "/":
            return self._refuse(request, 404, "There is nothing here; the explorer is at /")
        if "Bokeh-Session-Id" in request.headers or {"bokeh-session-id", "bokeh-token"} & request.arguments.keys():
            return self._refuse(request, 400, "Sessions are made here, not named by who asks.")
        if full:
            return self._refuse(request, 503, "Too many pages are open; try again in a minute.", Retry_After="60")
        return self.get_handler_delegate(request, DocHandler, route)

    def _own(self, origin: str) -> bool:
        scheme, _, host = origin.lower().partition("://")
        return scheme in ("http", "https") and host in self.hosts

    def _signed_token(self, request: HTTPServerRequest) -> bool:
        """Whether the websocket's token is one that a page of ours carried; Bokeh would raise on others only once connected."""
        try:
            token = request.headers["Sec-WebSocket-Protocol"].split(",")[1].strip()
            return check_token_signature(token, self.secret_key, True) and get_token_payload(token)["session_expiry"] > time.time()
        except Exception:  # anything may come from outside, and Bokeh's decoders raise all kinds
            return False


def user_name() -> str | None:
    """Name of whoever is signed in to the page being made or served; None where nobody has to."""
    context = pn.state.curdoc.session_context if pn.state.curdoc else None
    return (getattr(context.request, "user_name", None) or None) if context else None


def serve(
    make_page: Callable[[], Any],
    guard: Guard,
    *,
    address: str = "127.0.0.1",
    port: int = 5006,
    origins: Iterable[str] = (),
    session_hours: float = 12,
    title: str = "explorer",
    on_ready: Callable[[str], Any] = lambda url: None,
) -> None:
    """Serve a page until Ctrl-C or SIGTERM.

    Parameters
    ----------
    make_page
        Makes the page of one tab; called for each.
    port
        0 takes any free one.
    origins
        Further names, ``HOST`` or ``HOST:PORT``, under which browsers reach this server.
    session_hours
        How long a sign-in holds.
    on_ready
        Called with the page's address once it can be reached.

    Raises
    ------
    UserError
        The address or port cannot be listened on, the guard's file cannot be used, or there is no guard where one is needed.
    """

    async def main() -> None:
        explorer = build(make_page, guard, address=address, port=port, origins=origins, session_hours=session_hours, title=title)
        await run(explorer, on_ready)

    asyncio.run(main())


def build(make_page: Callable[[], Any], guard: Guard, *, address: str = "127.0.0.1", port: int = 5006, origins: Iterable[str] = (),
          session_hours: float = 12, title: str = "explorer") -> Explorer:  # fmt: skip
    """What :func:`serve` runs, listening but not yet answering. To be called in a running event loop."""
    if not address:
        raise UserError("--address: it is empty; give an address of this machine, or 0.0.0.0 for all of them")
    if guard.kind == "open" and not _loopback(address):
        raise UserError(
            f"--address: {address} can be reached from other machines, so say who may look: --users FILE (made by "
            "`sslmem app-user add`), --oauth PROVIDER, or --behind-proxy HEADER"
        )
    return Explorer(make_page, Gate(guard, session_hours * 3600), address=address, port=port, origins=origins, title=title)


async def run(explorer: Explorer, on_ready: Callable[[str], Any] = lambda url: None) -> None:
    """Answer until Ctrl-C or SIGTERM."""
    loop, ended = asyncio.get_running_loop(), asyncio.Event()
    for number in (signal.SIGINT, signal.SIGTERM):
        loop.add_signal_handler(number, ended.set)
    explorer.initialize(IOLoop.current())
    explorer.start()
    sweeping = PeriodicCallback(explorer.sweep, SWEEP_SECONDS * 1000)
    sweeping.start()
    on_ready(explorer.url)
    await ended.wait()
    sweeping.stop()
    explorer.http.stop()
    for tab in list(explorer.sockets):
        tab.close(1001, "the server has ended")
    explorer.stop()
    await explorer.http.close_all_connections()


def hosts(address: str, port: int) -> frozenset[str]:
    """Names, as in a ``Host`` header, by which browsers may call a server that listens there."""
    names = {f"[{address}]" if ":" in address else address.lower()}
    if _loopback(address) or _everywhere(address):
        names |= {"127.0.0.1", "localhost", "[::1]"}
    if _everywhere(address):
        names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
    return frozenset({f"{name}:{port}" for name in names} | (names if port == 80 else set()))


def _checked_origins(origins: Iterable[str]) -> frozenset[str]:
    for origin in origins:
        if not _HOST.fullmatch(origin.lower()):
            raise UserError(f"--origin: {origin!r} is no HOST or HOST:PORT")
    return frozenset(origin.lower() for origin in origins)


def _made(make_page: Callable[[], Any]) -> Any:
    """The page, or a sentence in its place: Panel would show browsers the traceback, with paths of this machine."""
    try:
        return make_page()
    except Exception:
        _log.exception("the page could not be made")
        return pn.pane.Str("The page could not be made. The server's log tells why.")


def _page(wanted: str) -> str:
    """The explorer's page with the query of an address, whatever else that address says: never another server."""
    query = wanted.partition("?")[2].partition("#")[0]
    return f"/?{quote(query, safe='=&%+,;:@/?~.-_')}" if query else "/"


def _loopback(address: str) -> bool:
    try:
        return all(ipaddress.ip_address(found[4][0]).is_loopback for found in socket.getaddrinfo(address, None))
    except OSError:
        return False


def _everywhere(address: str) -> bool:
    return address in ("0.0.0.0", "::")


def _listen(address: str, port: int) -> socket.socket:
    try:
        listening = socket.create_server((address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET, backlog=128)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"--port: {port} is in use on {address}; choose another one, or 0 for any that is free") from None
        if error.errno == errno.EACCES:
            raise UserError(f"--port: {port} needs rights that you do not have; choose one above 1023, or 0") from None
        raise UserError(
            f"--address: {address!r} cannot be listened on ({error.strerror}); give an address of this machine"
        ) from None
    listening.setblocking(False)
    return listening
