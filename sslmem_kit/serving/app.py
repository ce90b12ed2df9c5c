"""The web application: one page, its websocket and its files, each behind the gate."""

from __future__ import annotations

import functools
import logging
import re
import secrets
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path
from typing import Any
from urllib.parse import quote, unquote

import panel as pn
from bokeh.core.validation import silence
from bokeh.core.validation.warnings import EMPTY_LAYOUT
from bokeh.server.tornado import BokehTornado
from bokeh.settings import settings
from bokeh.util.token import check_token_signature, get_token_payload
from panel.io.application import build_applications
from panel.io.logging import panel_log_handler
from panel.io.resources import DIST_DIR
from panel.io.server import DocHandler, WSHandler
from tornado.httputil import HTTPServerRequest
from tornado.web import RequestHandler

from sslmem_kit.serving.answers import Headers, Refused
from sslmem_kit.serving.gate import Gate
from sslmem_kit.serving.memory import Memory
from sslmem_kit.serving.signing_in import Logout, login_of, page_of

_log = logging.getLogger(__name__)

MAX_QUERY = 16 * 1024
MAX_SESSIONS = 100
"""Open tabs, each with a document in memory."""

MAX_MESSAGE = 4_000_000
"""Bytes that a browser may send at once: a box around 100,000 points sends their numbers, 0.7 MB."""

UNUSED_SECONDS, SWEEP_SECONDS = 15, 5
"""How long a closed tab's memory is kept, and how often sessions and sign-ins are looked through."""

_STATIC = re.compile(r"/static/(?!.*\.\.)[\w@^+./-]+")


class _Socket(WSHandler):
    """A tab's connection; :meth:`Application.sweep` closes it when its sign-in has ended."""

    def check_origin(self, origin: str) -> bool:
        """The application has looked at it already."""
        return True

    def open(self, *args: Any, **kwargs: Any) -> Any:
        self.opened = time.monotonic()
        self.application.sockets.add(self)
        return super().open(*args, **kwargs)

    def on_close(self) -> None:
        self.application.sockets.discard(self)
        super().on_close()


class Application(BokehTornado):
    """A page, its gate and the names it goes by, for a port that something else listens on."""

    most_sessions = MAX_SESSIONS

    def __init__(self, make_page: Callable[[], Any], gate: Gate, *, names: frozenset[str], port: int, title: str) -> None:
        self.gate, self.hosts, self.port, self.title = gate, names, port, title
        self.sockets: set[_Socket] = set()
        self.workers = ThreadPoolExecutor(2, thread_name_prefix="password")
        self._memory = Memory()
        gate.cookie = f"user-{port}"
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
            handler = Logout if request.path == "/logout" else login_of(self.gate)
            return self.get_handler_delegate(request, handler)
        request.user_name = self.gate.user(request)
        if request.user_name is None:
            return self._refuse_stranger(request)
        return self._handler_of_known(request)

    def log_request(self, handler: RequestHandler) -> None:
        """Refusals only, without the query: it may carry an OAuth provider's code, and be long."""
        request, status = handler.request, handler.get_status()
        if status >= 400:
            _log.warning("%d %s %s (%s)", status, request.method, ascii(request.path[:100]), request.remote_ip)

    def sweep(self) -> None:
        """Close the connections whose sign-in has ended, and give back the memory of those who have left."""
        now = time.monotonic()
        for tab in list(self.sockets):
            late = self.gate.guard.kind != "open" and now - tab.opened > self.gate.session_seconds
            if late or self.gate.user(tab.request) is None:
                tab.close(4401, "signed out")
        self._memory.look({session.id for session in self.applications["/"].sessions})

    def _refuse(self, request: HTTPServerRequest, status: int, sentence: str, **headers: str) -> Any:
        return self.get_handler_delegate(request, Refused, {"status": status, "sentence": sentence, **headers})

    def _refuse_stranger(self, request: HTTPServerRequest) -> Any:
        if self.gate.guard.kind == "header":
            return self._refuse(request, 401, "The proxy in front of the explorer has to say who asks.")
        if request.path == "/ws" or request.method != "GET":
            return self._refuse(request, 403, "Sign in first.")
        wanted = quote(page_of(request.uri if request.path == "/" else "/"), safe="")
        return self._refuse(request, 302, "Sign in first.", Location=f"/login?next={wanted}")

    def _handler_of_known(self, request: HTTPServerRequest) -> Any:
        context = self.applications["/"]
        route = {"application_context": context, "bokeh_websocket_path": "/ws"}
        full = max(len(self.sockets), len(list(context.sessions))) >= self.most_sessions
        if request.path == "/ws":
            if len(self.sockets) >= self.most_sessions or not self._signed_token(request):
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


class _Short(logging.Filter):
    """Bokeh logs the whole of a message that it does not understand, whoever sent it, and each tab that is closed during an answer."""

    def filter(self, record: logging.LogRecord) -> bool:
        record.msg, record.args = record.getMessage()[:300], ()
        return record.levelno != logging.WARNING


logging.getLogger("bokeh.server.views.ws").addFilter(_Short())


def _made(make_page: Callable[[], Any]) -> Any:
    """The page, or a sentence in its place: Panel would show browsers the traceback, with paths of this machine."""
    try:
        return make_page()
    except Exception:
        _log.exception("the page could not be made")
        return pn.pane.Str("The page could not be made. The server's log tells why.")
