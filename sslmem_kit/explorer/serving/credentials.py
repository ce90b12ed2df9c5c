"""Users who may look: a file of salted password hashes, and the brake on guessing them.

The file is JSON of mode 0600, ``{"users": {name: {"scrypt": [n, r, p], "salt": hex, "hash": hex, "since": seconds}}}``. It holds no
password. It is read again whenever it has changed, so that removing a user, or giving them a new password, also ends what they had open:
a sign-in older than ``since`` no longer counts.
"""

from __future__ import annotations

import contextlib
import hashlib
import hmac
import json
import os
import re
import secrets
import stat
import time
from collections import OrderedDict
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

from sslmem_kit.errors import UserError
from sslmem_kit.store.files import sweep, write_atomically

try:
    import fcntl
except ImportError:  # Windows, where two that change a file at once are not kept apart
    fcntl = None

SHORTEST, LONGEST = 8, 1024
"""Characters of a password."""

_COST = (2**15, 8, 3)
"""Parameters n, r, p of scrypt: 32 MB and about 0.25 s for each guess (OWASP's figures)."""

_MEMORY = 64 * 2**20
_NAME = re.compile(r"[A-Za-z0-9][A-Za-z0-9._@-]{0,63}")


@dataclass(frozen=True)
class Password:
    """Salted hash of a password, and its cost."""

    cost: tuple[int, int, int]
    salt: bytes
    hash: bytes
    since: int
    """Time at which it was set, in seconds since 1970."""

    @classmethod
    def of(cls, password: str) -> Password:
        """Hash a password with a new salt."""
        salt = secrets.token_bytes(16)
        return cls(_COST, salt, _scrypt(password, salt, _COST), int(time.time()))

    def matches(self, password: str) -> bool:
        """Return whether this is the password; compared in constant time."""
        return hmac.compare_digest(_scrypt(password, self.salt, self.cost), self.hash)


_NOBODY = Password(_COST, bytes(16), bytes(64), 0)
"""Password that is checked in place of an unknown user's, so that the time taken does not reveal which names exist."""


def read_users(path: Path) -> dict[str, Password]:
    """Return the users of a file, by name.

    Raises
    ------
    UserError
        There is no such file, it cannot be read, others than its owner can write to it, or it is not a users file.
    """
    try:
        with open(path, encoding="utf-8") as handle:
            mode = os.fstat(handle.fileno()).st_mode
            content = json.load(handle)
    except (ValueError, RecursionError):
        raise _not_users(path) from None
    except OSError as error:
        raise UserError(
            f"users file {path}: {(error.strerror or 'cannot be read').lower()}; `sslmem app-user add` makes one"
        ) from None
    if mode & (stat.S_IWGRP | stat.S_IWOTH):
        raise UserError(f"users file {path}: mode {stat.S_IMODE(mode):04o} lets others write to it; make it 0600 (chmod 600)")
    try:
        return {check_name(name): _parsed(record) for name, record in content["users"].items()}
    except (KeyError, TypeError, ValueError, AttributeError):
        raise _not_users(path) from None


def check_name(name: str) -> str:
    """Return the name of a user as given; one that is not allowed raises :class:`~sslmem_kit.errors.UserError`."""
    if not _NAME.fullmatch(name):
        raise UserError(
            f"NAME: {name!r} is no user name; letters, digits and . _ - @ are allowed, at most 64, a letter or digit first"
        )
    return name


def add_user(path: Path, name: str, password: str) -> None:
    """Add a user to a file, which is made if it is not there, or give one who is in it a new password.

    Raises
    ------
    UserError
        The name or the password does not do, or the file is not a users file.
    """
    check_name(name)
    if not SHORTEST <= len(password) <= LONGEST:
        raise UserError(f"password: {len(password)} characters; {SHORTEST} to {LONGEST} are needed")
    added = Password.of(password)
    with _changing(path) as users:
        users[name] = added


def remove_user(path: Path, name: str) -> None:
    """Remove a user from a file; unknown names raise :class:`~sslmem_kit.errors.UserError`."""
    with _changing(path, missing_ok=False) as users:
        if users.pop(name, None) is None:
            raise UserError(f"NAME: {name!r} is not in {path}, which has {', '.join(sorted(users)) or 'nobody'}")


def doubts_about(path: Path) -> list[str]:
    """Return what about a users file lets others on this machine read or exchange it, a sentence each."""
    if os.name != "posix":
        return []  # there are no such modes
    status, folder, me = path.stat(), Path(os.path.realpath(path)).parent.stat(), os.geteuid()
    mode, doubts = stat.S_IMODE(status.st_mode), []
    if mode & (stat.S_IRGRP | stat.S_IROTH):
        doubts.append(f"mode {mode:04o} lets others read the hashes of passwords; make it 0600 (chmod 600)")
    if status.st_uid not in (me, 0):
        doubts.append(f"it belongs to another user (uid {status.st_uid}), who can change it; keep one of your own")
    if folder.st_mode & (stat.S_IWGRP | stat.S_IWOTH) and not folder.st_mode & stat.S_ISVTX:
        doubts.append(f"others can write to its folder (mode {stat.S_IMODE(folder.st_mode):04o}) and put another file in its place")
    return [f"users file {path}: {doubt}" for doubt in doubts]


class Users:
    """The users of a file as it stands now, for a server that runs for long."""

    def __init__(self, path: Path) -> None:
        self.path = path
        self._stamp = _stamp(path)
        self._users = read_users(path)
        if not self._users:
            raise UserError(f"users file {path}: nobody is in it; add somebody with `sslmem app-user add NAME --file {path}`")

    def current(self) -> dict[str, Password]:
        """Return the users by name. A file that has become unreadable lets nobody in."""
        stamp = _stamp(self.path)
        if stamp != self._stamp:
            try:
                self._users = read_users(self.path)
            except UserError:
                self._users = {}
            self._stamp = stamp
        return self._users

    def verify(self, name: str, password: str) -> bool:
        """Return whether somebody of that name has that password. Takes as long for an unknown name."""
        if len(password) > LONGEST:
            return False
        found = self.current().get(name)
        matches = (found or _NOBODY).matches(password)
        return matches and found is not None


class RateLimiter:
    """Delays after failures, by key: the first few are free, then the wait doubles from one second up to ``longest``.

    Failures are forgotten after a quarter of an hour without another. At most ``size`` keys are remembered, those of the latest failures.

    Parameters
    ----------
    free
        Failures without a wait.
    """

    FORGET = 900.0

    def __init__(self, free: int, *, longest: float, size: int = 10_000, clock: Callable[[], float] = time.monotonic) -> None:
        self._free, self._longest = free, longest
        self._size = size
        self._clock = clock
        self._failures: OrderedDict[str, tuple[int, float]] = OrderedDict()

    def wait(self, key: str) -> float:
        """Return the seconds until the next attempt is allowed; 0 for now."""
        count, last = self._failures.get(key, (0, 0.0))
        since = self._clock() - last
        if count < self._free or since > self.FORGET:
            return 0.0
        return max(0.0, min(2.0 ** min(count - self._free, 16), self._longest) - since)

    def failed(self, key: str) -> None:
        """Count an attempt. Counted before the password is looked at, many attempts at once gain nothing."""
        count, last = self._failures.pop(key, (0, 0.0))
        now = self._clock()
        self._failures[key] = (count + 1 if now - last <= self.FORGET else 1, now)
        if len(self._failures) > self._size:
            self._failures.popitem(last=False)

    def take_back(self, key: str) -> None:
        """Uncount an attempt that did not fail after all; earlier failures stay."""
        count, last = self._failures.get(key, (0, 0.0))
        if count > 1:
            self._failures[key] = (count - 1, last)
        else:
            self.forget(key)

    def forget(self, key: str) -> None:
        """Forget the failures of a key."""
        self._failures.pop(key, None)


def _scrypt(password: str, salt: bytes, cost: tuple[int, int, int]) -> bytes:
    n, r, p = cost
    return hashlib.scrypt(password.encode("utf-8", "surrogatepass"), salt=salt, n=n, r=r, p=p, maxmem=_MEMORY, dklen=64)


def _parsed(record: dict[str, Any]) -> Password:
    n, r, p = (int(number) for number in record["scrypt"])
    if not (n > 1 and n & (n - 1) == 0 and 128 * n * r <= _MEMORY // 2 and r >= 1 and 1 <= p <= 16):
        raise ValueError("a cost of scrypt that this machine should not be asked for")
    return Password((n, r, p), bytes.fromhex(record["salt"]), bytes.fromhex(record["hash"]), int(record["since"]))


def _not_users(path: Path) -> UserError:
    return UserError(f"users file {path}: it is not a file that `sslmem app-user add` made")


def _stamp(path: Path) -> tuple[int, ...]:
    """Return a stamp that changes when the file does."""
    try:
        status = path.stat()
    except OSError:
        return ()
    return status.st_ino, status.st_mtime_ns, status.st_size, status.st_mode


@contextlib.contextmanager
def _changing(path: Path, *, missing_ok: bool = True) -> Iterator[dict[str, Password]]:
    """The users of a file, written back on leaving; one writer at a time."""
    path = Path(os.path.realpath(path))
    if not path.parent.is_dir():
        raise UserError(f"--file: there is no folder {path.parent}")
    folder = os.open(path.parent, os.O_RDONLY) if fcntl else None
    try:
        if fcntl:
            fcntl.flock(folder, fcntl.LOCK_EX)
        users = {} if missing_ok and not path.exists() else read_users(path)
        yield users
        _write(path, users)
    finally:
        if folder is not None:
            os.close(folder)


def _write(path: Path, users: dict[str, Password]) -> None:
    """Write the file so that others can read it at no moment."""
    records = {
        name: {"scrypt": list(user.cost), "salt": user.salt.hex(), "hash": user.hash.hex(), "since": user.since}
        for name, user in sorted(users.items())
    }
    sweep(path.parent, f"{path.name}.")
    write_atomically(path, (json.dumps({"users": records}, indent=2) + "\n").encode(), mode=0o600)
