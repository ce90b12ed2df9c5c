"""Access control: who may look, by which names a server is called; everything that is decided of a request before it is answered."""

from __future__ import annotations

import contextlib
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

from sslmem_kit.errors import UserError, near
from sslmem_kit.explorer.serving.brake import Brake
from sslmem_kit.explorer.serving.credentials import Users

PROVIDERS = ("auth0", "azure", "azurev2", "bitbucket", "generic", "github", "gitlab", "google", "okta")
"""OAuth providers of Panel that sign in on a page of their own."""

_GENERIC = ("PANEL_OAUTH_AUTHORIZE_URL", "PANEL_OAUTH_TOKEN_URL")
"""Environment variables with the addresses of a provider that Panel does not know."""

_HOST = re.compile(r"(\[[0-9a-f:.]+\]|[a-z0-9]([a-z0-9._-]{0,251}[a-z0-9])?)(:\d{1,5})?")
_PARTS = re.compile(r"(?P<name>\[[^\[\]]*\]|[^:\[\]/@\s]+)(:(?P<port>\d{1,5}))?")

Network = ipaddress.IPv4Network | ipaddress.IPv6Network


@dataclass(frozen=True)
class Guard:
    """Choice of who may look: all on this machine (open), a users file, accounts of an OAuth provider, or whom a proxy names in a header."""

    kind: Literal["open", "users", "oauth", "header"] = "open"
    users: Path | None = None
    provider: str = ""
    allowed: frozenset[str] = frozenset()
    header: str = ""

    @classmethod
    def chosen(cls, users: Path | None, provider: str | None, allowed: Iterable[str], header: str | None) -> Guard:
        """Return the guard that options of the command line ask for.

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
                raise UserError(f"--oauth: {provider!r} is not known; use one of {', '.join(PROVIDERS)}{near(provider, PROVIDERS)}")
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
    """Decision whose a request is. A sign-in ends by time, by signing out, and when its user is removed or given a new password."""

    def __init__(self, guard: Guard, session_seconds: float, proxies: tuple[Network, ...] = ()) -> None:
        self.guard, self.proxies = guard, proxies
        self.session_seconds = session_seconds
        self.secret = secrets.token_urlsafe(48)
        self.cookie = ""
        self.users = Users(guard.users) if guard.users else None
        self.brake = Brake()
        self._ended: dict[str, float] = {}

    def user(self, request: HTTPServerRequest) -> str | None:
        """Return the user name of a request, empty where nobody needs one, None where it is nobody who may look."""
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

    def client(self, request: HTTPServerRequest) -> str:
        """Return the address that a request comes from, behind proxies that are believed."""
        forwarded = ",".join(request.headers.get_list("X-Forwarded-For"))
        return client_of(request.remote_ip or "", forwarded, self.proxies)

    def many_come_from(self, peer: str) -> bool:
        """Return whether an address is a proxy's, whose connections are many people's."""
        return self.guard.kind == "header" or believed(peer, self.proxies)

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
    """Return the names, as :func:`plain_host` gives them, by which browsers may call a server that listens there."""
    names = {address.lower()}
    if loopback(address) or _everywhere(address):
        names |= {"127.0.0.1", "localhost", "::1"}
    if _everywhere(address):
        names |= {socket.gethostname().lower(), socket.getfqdn().lower()}
    return frozenset(plain_host(with_port(name, port)) for name in names) - {""}


def plain_host(host: str) -> str:
    """Return a ``Host`` as it is compared: lower case, without the dot of a full name, an IPv6 zone, and a default port."""
    found = _PARTS.fullmatch(host.lower())
    if found is None:
        return ""
    name, port = found["name"], int(found["port"] or 0)
    if name.startswith("["):
        name = f"[{name[1:-1].partition('%')[0]}]"
    return f"{name.removesuffix('.')}:{port}" if port not in (0, 80, 443) else name.removesuffix(".")


def with_port(name: str, port: int) -> str:
    """Return a name or an address as it stands in addresses of pages."""
    return f"[{name.partition('%')[0]}]:{port}" if ":" in name else f"{name}:{port}"


def checked_origins(origins: Iterable[str]) -> frozenset[str]:
    """Return the names of a server that somebody gives.

    Raises
    ------
    UserError
        One is no ``HOST`` or ``HOST:PORT``.
    """
    return frozenset(_checked_origin(origin) for origin in origins)


def _checked_origin(origin: str) -> str:
    host = origin
    if not origin.isascii():
        try:  # as browsers send it
            name, colon, port = origin.partition(":")
            host = name.encode("idna").decode() + colon + port
        except UnicodeError:
            host = ""
    plain = plain_host(host)
    if not _HOST.fullmatch(plain):
        raise UserError(f"--origin: {origin!r} is no HOST or HOST:PORT")
    return plain


def checked_proxies(proxies: Iterable[str]) -> tuple[Network, ...]:
    """Return the addresses of proxies in front that are believed.

    Raises
    ------
    UserError
        One is no address and no network.
    """
    found = []
    for proxy in proxies:
        try:
            found.append(ipaddress.ip_network(proxy, strict=False))
        except ValueError:
            raise UserError(f"--trust-proxy: {proxy!r} is no ADDRESS or ADDRESS/BITS") from None
    return tuple(found)


def client_of(peer: str, forwarded: str, trusted: tuple[Network, ...]) -> str:
    """Return the client's address behind proxies that are believed: the last one in X-Forwarded-For that is no such proxy.

    What stands before that one came from whoever asked, and may be made up.
    """
    asker = peer
    for entry in reversed(forwarded[:2000].split(",")):
        if not believed(asker, trusted):
            break
        try:
            asker = str(ipaddress.ip_address(entry.strip().strip("[]")))
        except ValueError:
            break
    return network_of(asker)


def network_of(address: str) -> str:
    """Return what an address is counted as: itself, or for IPv6, where one person has many, its first 64 bits."""
    try:
        found = ipaddress.ip_address(address.partition("%")[0])
    except ValueError:
        return address
    if found.version == 6:
        return str(found.ipv4_mapped or ipaddress.ip_network((found, 64), strict=False))
    return str(found)


def believed(peer: str, trusted: tuple[Network, ...]) -> bool:
    """Return whether an address is one of these proxies."""
    try:
        found = ipaddress.ip_address(peer.partition("%")[0])
    except ValueError:
        return False
    found = getattr(found, "ipv4_mapped", None) or found
    return any(found in network for network in trusted)


def reachable(address: str) -> str:
    """Return a name by which others open a server at an address; for all addresses, this machine's name or first address."""
    if not _everywhere(address):
        return address
    for name in (socket.getfqdn(), socket.gethostname()):
        try:
            found = {entry[4][0] for entry in socket.getaddrinfo(name, None)}
        except OSError:
            continue
        if any(not ipaddress.ip_address(one.partition("%")[0]).is_loopback for one in found):
            return name.lower()
    with contextlib.suppress(OSError), socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as probe:
        probe.connect(("192.0.2.1", 9))  # sends nothing: it only asks which address would be used
        return str(probe.getsockname()[0])
    return "127.0.0.1"


def loopback(address: str) -> bool:
    """Return whether only this machine reaches an address."""
    try:
        return all(ipaddress.ip_address(found[4][0]).is_loopback for found in socket.getaddrinfo(address, None))
    except (OSError, ValueError):
        return False


def _everywhere(address: str) -> bool:
    return address in ("0.0.0.0", "::")
