"""Signing in and out: cookies, the form for a name and a password, and the way to an OAuth provider and back."""

from __future__ import annotations

import functools
import math
import secrets
from typing import Any
from urllib.parse import quote

import panel as pn
from panel.auth import AUTH_PROVIDERS
from tornado.ioloop import IOLoop
from tornado.web import HTTPError, RequestHandler

from sslmem_kit.explorer.serving.access import Gate
from sslmem_kit.explorer.serving.brake import TooManyError

_KNOWN_DAYS = 30
"""Days for which a browser that signed in is distinguished from others at the same address."""

_LONGEST_NEXT = 16_384


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


class Login(_Cookies):
    """The form for a name and a password."""

    def get(self) -> None:
        self._form(self.get_query_argument("next", "/")[:_LONGEST_NEXT])

    async def post(self) -> None:
        gate = self.application.gate
        name, password = self.get_body_argument("name", "")[:65], self.get_body_argument("password", "", strip=False)
        wanted, place = self.get_body_argument("next", "/")[:_LONGEST_NEXT], self._place(name)
        try:
            async with gate.brake.attempt(name, place):
                stream = self.request.connection.stream
                if stream is None or stream.closed():
                    return
                right = await IOLoop.current().run_in_executor(self.application.workers, gate.users.verify, name, password)
        except TooManyError as error:
            self.set_status(429)
            self.set_header("Retry-After", str(math.ceil(error.wait)))
            self._form(wanted, name, f"Too many attempts at once; try again in {math.ceil(error.wait)} s.")
            return
        if not right:
            self.set_status(401)
            self._form(wanted, name, "Name or password is wrong.")
            return
        gate.brake.worked(name, place)
        self.set_signed_cookie("user", name, expires_days=gate.session_seconds / 86400)
        self.set_signed_cookie("known", f"{secrets.token_hex(8)} {name}", expires_days=_KNOWN_DAYS)
        self.redirect(f".{page_of(wanted)}")

    def _place(self, name: str) -> str:
        """Return where an attempt comes from: a browser that has signed in with this name before, else an address."""
        known = self.get_signed_cookie("known", max_age_days=_KNOWN_DAYS, min_version=2) or b""
        number, _, whose = known.decode("utf-8", "replace").partition(" ")
        return f"browser {number}" if whose == name and number else self.request.client

    def _form(self, wanted: str, name: str = "", wrong: str = "") -> None:
        self.render(
            "login.html", title=self.application.title, next_page=page_of(wanted), name=name, wrong=wrong, notice="", form=True
        )


class Logout(_Cookies):
    def get(self) -> None:
        self.application.gate.end(self.request)
        self.application.sweep()
        self.clear_cookie("user")
        self.render("login.html", title=self.application.title, wrong="", notice="You are signed out.", form=False)


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


def login_of(gate: Gate) -> type[RequestHandler]:
    """Return the handler that answers ``/login``."""
    if gate.guard.kind == "users":
        return Login
    pn.config.oauth_provider = gate.guard.provider
    pn.config.oauth_expiry = gate.session_seconds / 86400
    return _to_provider(gate.guard.provider)


@functools.cache
def _to_provider(provider: str) -> type[RequestHandler]:
    return type("OAuthLogin", (_OAuth, AUTH_PROVIDERS[provider]), {})


def page_of(wanted: str) -> str:
    """Return the explorer's page with the query of an address, whatever else that address says: never another server."""
    query = wanted.partition("?")[2].partition("#")[0]
    return f"/?{quote(query, safe='=&%+,;:@/?~.-_')}" if query else "/"
