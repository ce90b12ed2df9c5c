"""The web application: one page, its websocket and its files, each behind the gate."""

from __future__ import annotations

import contextlib
import functools
import logging
import os
import re
import secrets
import sys
import threading
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote
from weakref import WeakKeyDictionary

import panel as pn
from bokeh.application.handlers.handler import Handler
from bokeh.core.validation import silence
from bokeh.core.validation.warnings import EMPTY_LAYOUT
from bokeh.server.tornado import BokehTornado
from bokeh.settings import settings
from bokeh.util.token import check_token_signature, get_session_id, get_token_payload
from panel.io.application import build_applications
from panel.io.location import Location
from panel.io.resources import DIST_DIR, LOCAL_DIST, patch_model_css
from panel.io.server import DocHandler
from panel.io.state import set_curdoc
from panel.util import edit_readonly
from tornado.httputil import HTTPServerRequest
from tornado.web import RequestHandler

from sslmem_kit.errors import UserError
from sslmem_kit.explorer.serving.access import Gate, checked_origins, plain_host, with_port
from sslmem_kit.explorer.serving.login import Logout, login_of, page_of
from sslmem_kit.explorer.serving.memory_release import Memory
from sslmem_kit.explorer.serving.messages import MAX_MESSAGE
from sslmem_kit.explorer.serving.responses import Headers, Refused
from sslmem_kit.explorer.serving.sockets import Pace, Socket
from sslmem_kit.explorer.serving.turns import Turns

_log = logging.getLogger(__name__)

MAX_QUERY = 16 * 1024
MAX_SESSIONS = 100
"""Open tabs, each with a document in memory."""

MAX_OF_ONE = 50
"""Open tabs of one person, and pages that one person may wait for."""

MAX_WAITING = 48
"""Pages that may wait to be made; each takes 0.5 s or more."""

UNUSED_SECONDS, SWEEP_SECONDS = 15, 5
"""Seconds for which a closed tab's memory is kept, and between two checks of sessions and sign-ins."""

_STATIC = re.compile(r"/static/(?!.*\.\.)[\w@^+./-]+")


class _Page(DocHandler):
    """The page, or where too many are asked for at once, a sentence."""

    async def get(self, *args: Any, **kwargs: Any) -> None:
        if self.application.turns.full(self.request.who):
            self.set_status(503)
            self.set_header("Retry-After", "10")
            self.set_header("Content-Type", "text/plain; charset=utf-8")
            self.finish("Too many pages are being made; try again in a moment.\n")
            return
        await super().get(*args, **kwargs)


class _Early(Handler):
    """Handler that makes the page of a session when its turn has come, in steps: in between, open pages are answered."""

    def __init__(self, make_page: Callable[[], Any], turns: Turns, pace: Pace) -> None:
        super().__init__()
        self._make_page, self._turns, self._pace = make_page, turns, pace

    async def on_session_created(self, session_context: Any) -> None:
        request = session_context.request
        stream = request.connection.stream  # None where a websocket has taken it over
        async with self._turns.turn(request.who, lambda: stream is not None and stream.closed()) as mine:
            if not mine:
                return
            document = session_context._document
            await self._pace.quiet()
            with set_curdoc(document):
                pn.state._locations[document] = _location_of(request)
                page = _made(self._make_page)
            _MADE[document] = page
            await self._pace.quiet()

    def modify_document(self, doc: Any) -> None:
        """Point the stylesheets of the page, which another handler made, to this server.

        Panel does so with the HTML of a page alone: a session that a websocket makes anew, where the first was given up, has none.
        """
        place = f"{pn.state.rel_path}/{LOCAL_DIST}" if pn.state.rel_path else LOCAL_DIST
        for root in doc.roots:
            patch_model_css(root, dist_url=place)


def _location_of(request: Any) -> Location:
    """Return the location of a page; Panel's own reading of an address fails at IPv6 and at another question mark in it."""
    name, _, port = request.host.rpartition(":") if re.search(r":\d+$", request.host) else (request.host, "", "")
    location, query = Location(), request.uri.partition("?")[2]
    with edit_readonly(location):
        location.param.update(
            href=f"{request.protocol}://{request.host}{request.uri}", protocol=f"{request.protocol}:", hostname=name, port=port,
            pathname=request.path, search=f"?{query}" if query else "",
        )  # fmt: skip
    return location


_MADE: WeakKeyDictionary[Any, Any] = WeakKeyDictionary()
"""Pages by document, between the steps of making them."""


def _early_page() -> Any:
    """Return the page that was made; where nobody waits for it any more, an empty one."""
    return _MADE.pop(pn.state.curdoc, None) or pn.pane.Str("")


class Application(BokehTornado):
    """A page, its gate and the names it goes by, for a port that something else listens on."""

    most_sessions = MAX_SESSIONS

    def __init__(self, make_page: Callable[[], Any], gate: Gate, *, names: frozenset[str], port: int, title: str) -> None:
        self.gate, self.hosts, self.port, self.title = gate, names, port, title
        self.sockets: set[Socket] = set()
        self.workers = ThreadPoolExecutor(1 if (os.cpu_count() or 1) < 4 else 2, "password", _step_back)
        self.turns, self.pace = Turns(MAX_WAITING, MAX_WAITING // 4), Pace()
        self.asked: Callable[[Any], None] = lambda stream: None
        self._memory = Memory()
        gate.cookie = f"user-{port}"
        settings.resources = "server"
        silence(EMPTY_LAYOUT, True)
        applications = build_applications({"/": _early_page}, title={"/": title})
        applications["/"].add(_Early(make_page, self.turns, self.pace))
        super().__init__(
            applications,
            secret_key=secrets.token_bytes(32),
            sign_sessions=True,
            include_headers=[],
            include_cookies=[],
            keep_alive_milliseconds=0,
            check_unused_sessions_milliseconds=int(SWEEP_SECONDS * 1000),
            unused_session_lifetime_milliseconds=int(UNUSED_SECONDS * 1000),
            websocket_max_message_size_bytes=MAX_MESSAGE,
            websocket_ping_interval=25,
            websocket_ping_timeout=20,
            use_index=False,
            ico_path=str(DIST_DIR / "images" / "favicon.ico"),
            cookie_secret=gate.secret,
            xsrf_cookies=True,
            template_path=str(Path(__file__).parent),
            transforms=[Headers],
        )

    def find_handler(self, request: HTTPServerRequest, **kwargs: Any) -> Any:
        """Return the handler of a request, or a refusal, by who asks, from where, and for what; there is no other way in."""
        self.asked(request.connection.stream)
        request.user_name = None
        request.client = self.gate.client(request)
        request.who = request.client
        refuse = functools.partial(self._refuse, request)
        host = request.headers.get("Host", "")
        if not self._goes_by(host, request):
            return refuse(403, _unknown_name(host))
        if len(request.query) > MAX_QUERY:
            return refuse(414, "This address is too long; start again at /")
        origin = request.headers.get("Origin")
        if origin is not None and (request.path == "/ws" or request.method != "GET") and not self._own(origin, request):
            return refuse(403, "This request comes from a page of another server.")
        if _STATIC.fullmatch(unquote(request.path)) or request.path == "/favicon.ico":
            return super().find_handler(request, **kwargs)
        if self.gate.guard.kind in ("users", "oauth") and request.path in ("/login", "/logout"):
            handler = Logout if request.path == "/logout" else login_of(self.gate)
            return self.get_handler_delegate(request, handler)
        request.user_name = self.gate.user(request)
        if request.user_name is None:
            return self._refuse_stranger(request)
        request.who = request.user_name or request.client
        return self._handler_of_known(request)

    def log_request(self, handler: RequestHandler) -> None:
        """Refusals only, without the query: it may carry an OAuth provider's code, and be long."""
        request, status = handler.request, handler.get_status()
        if status >= 400:
            _log.warning("%d %s %s (%s)", status, request.method[:20], ascii(request.path[:100]), getattr(request, "client", ""))

    def sweep(self) -> None:
        """Close the connections whose sign-in has ended, and give back the memory of those who have left."""
        now = time.monotonic()
        for tab in list(self.sockets):
            late = self.gate.guard.kind != "open" and now - tab.opened > self.gate.session_seconds
            if late or self.gate.user(tab.request) is None:
                tab.close(4401, "signed out")
        present = {tab.who for tab in self.sockets}
        self.pace.forget(present)
        self.turns.forget(present)
        self._memory.look({session.id for session in self.applications["/"].sessions})

    def _refuse(self, request: HTTPServerRequest, status: int, sentence: str, **headers: str) -> Any:
        return self.get_handler_delegate(request, Refused, {"status": status, "sentence": sentence, **headers})

    def _refuse_stranger(self, request: HTTPServerRequest) -> Any:
        if self.gate.guard.kind == "header":
            return self._refuse(request, 401, "The proxy in front of the explorer has to say who asks.")
        if request.path == "/ws" or request.method != "GET":
            return self._refuse(request, 403, "Sign in first.")
        wanted = quote(page_of(request.uri if request.path == "/" else "/"), safe="")
        # Relative, so that it also leads there below a path of a proxy's.
        up = "../" * (request.path.count("/") - 1)
        return self._refuse(request, 302, "Sign in first.", Location=f"{up}login?next={wanted}")

    def _handler_of_known(self, request: HTTPServerRequest) -> Any:
        context = self.applications["/"]
        route = {"application_context": context, "bokeh_websocket_path": "/ws"}
        sessions = {session.id for session in context.sessions}
        full = max(len(self.sockets), len(sessions)) >= self.most_sessions
        if request.path == "/ws":
            session = self._signed_session(request)
            if (
                session is None
                or len(self.sockets) >= self.most_sessions
                or (session not in sessions and self.turns.full(request.who))
            ):
                return self._refuse(request, 403, "This session has ended; load the page again.")
            if sum(tab.who == request.who for tab in self.sockets) >= MAX_OF_ONE:
                return self._refuse(request, 403, "You have too many pages open; close some.")
            return self.get_handler_delegate(request, Socket, route)
        if request.path != "/":
            return self._refuse(request, 404, "There is nothing here; the explorer is at /")
        if "Bokeh-Session-Id" in request.headers or {"bokeh-session-id", "bokeh-token"} & request.arguments.keys():
            return self._refuse(request, 400, "Sessions are made here, not named by who asks.")
        if full:
            return self._refuse(request, 503, "Too many pages are open; try again in a minute.", Retry_After="60")
        return self.get_handler_delegate(request, _Page, route)

    def _goes_by(self, host: str, request: HTTPServerRequest) -> bool:
        """Return whether browsers may call this server so: by a name it was given, or by the very address that they have reached it at."""
        host = plain_host(host)
        if host in self.hosts:
            return True
        connected = request.connection.stream.socket
        return connected is not None and host == plain_host(with_port(connected.getsockname()[0], self.port))

    def _own(self, origin: str, request: HTTPServerRequest) -> bool:
        scheme, _, host = origin.lower().partition("://")
        return scheme in ("http", "https") and self._goes_by(host, request)

    def _signed_session(self, request: HTTPServerRequest) -> str | None:
        """Return the session of the websocket's token, if a page of ours carried it; Bokeh raises on others only once connected."""
        try:
            token = request.headers["Sec-WebSocket-Protocol"].split(",")[1].strip()
            valid = check_token_signature(token, self.secret_key, True) and get_token_payload(token)["session_expiry"] > time.time()
            return str(get_session_id(token)) if valid else None
        except Exception:  # anything may come from outside, and Bokeh's decoders raise all kinds
            return None


def user_name() -> str | None:
    """Name of whoever is signed in to the page being made or served; None where nobody has to."""
    context = pn.state.curdoc.session_context if pn.state.curdoc else None
    return (getattr(context.request, "user_name", None) or None) if context else None


def _step_back() -> None:
    """Lower the priority of the thread that hashes passwords; on Linux threads have a niceness of their own."""
    if sys.platform == "linux":
        with contextlib.suppress(OSError):
            os.setpriority(os.PRIO_PROCESS, threading.get_native_id(), 19)


def _unknown_name(host: str) -> str:
    """Return why a name is refused; the remedy is for whoever started the server, and named only where it would work."""
    try:
        (name,) = checked_origins([host])
    except UserError:
        return "The explorer does not go by this name."
    return f"The explorer does not go by the name {name}; if that is where it is meant to be reached, start it with --origin {name}"


def _made(make_page: Callable[[], Any]) -> Any:
    """Return the page, or a sentence in its place: Panel would show browsers the traceback, with paths of this machine."""
    try:
        return make_page()
    except Exception:
        _log.exception("the page could not be made")
        return pn.pane.Str("The page could not be made. The server's log says why.")
