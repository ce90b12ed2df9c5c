"""Who may look, and under which names a server goes: everything that is decided of a request before it is answered."""

from __future__ import annotations

import ipaddress
import os
import re
import secrets
import socket
import time
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from typing import Literal

from tornado.httputil import HTTPServerRequest
from tornado.web import decode_signed_value

from sslmem_kit.errors import UserError
from sslmem_kit.serving.credentials import RateLimiter, Users

PROVIDERS = ("auth0", "azure", "azurev2", "bitbucket", "generic", "github", "gitlab", "google", "okta")
"""OAuth providers of Panel that sign in on a page of their own."""

_GENERIC = ("PANEL_OAUTH_AUTHORIZE_URL", "PANEL_OAUTH_TOKEN_URL")
"""Where a provider is that Panel does not know."""

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
            needed = ("PANEL_OAUTH_KEY", "PANEL_OAUTH_SECRET", *(_GENERIC if provider == "generic" else ()))
            missing = [name for name in needed if not os.environ.get(name)]
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


def hosts(address: str, port: int) -> frozenset[str]:
    """Names, as in a ``Host`` header, by which browsers may call a server that listens there."""
    names = {f"[{address}]" if ":" in address else address.lower()}
    if loopback(address) or _everywhere(address):
        names |= {"127.0.0.1", "localhost", "[::1]"}
    if _everywhere(address):
        names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
    return frozenset({f"{name}:{port}" for name in names} | (names if port == 80 else set()))


def checked_origins(origins: Iterable[str]) -> frozenset[str]:
    for origin in origins:
        if not _HOST.fullmatch(origin.lower()):
            raise UserError(f"--origin: {origin!r} is no HOST or HOST:PORT")
    return frozenset(origin.lower() for origin in origins)


def loopback(address: str) -> bool:
    try:
        return all(ipaddress.ip_address(found[4][0]).is_loopback for found in socket.getaddrinfo(address, None))
    except OSError:
        return False


def _everywhere(address: str) -> bool:
    return address in ("0.0.0.0", "::")
