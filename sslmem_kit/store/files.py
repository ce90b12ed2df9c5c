"""Files that appear when they are whole and on disk, what a killed process leaves of them, and locks that end with their holder.

A file is written beside its place as ``NAME.<pid>.<token>.partial``, locked for as long as it is written: one that nobody has locked is a
leftover, whatever has become of its number since. Nothing is opened through a symbolic link.
"""

from __future__ import annotations

import contextlib
import errno
import glob
import json
import os
import re
import secrets
import shutil
import socket
import stat
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from sslmem_kit.errors import UserError

try:
    import fcntl
except ImportError:  # Windows
    fcntl = None
try:
    import msvcrt
except ImportError:
    msvcrt = None

_PARTIAL = re.compile(r".+\.(\d+)(\.[0-9a-f]{8})?\.partial")
"""Name of a partial file of this module; without a token, of earlier versions."""
_OLD_SECONDS = 86400
"""Age from which a file is a leftover where there are no locks."""
_NO_LOCKS = {errno.ENOLCK, errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EOPNOTSUPP}
"""Error numbers of file systems that cannot lock."""
_PLAIN = os.O_CLOEXEC | os.O_NOFOLLOW | os.O_NONBLOCK if os.name == "posix" else 0
"""Opened for what it is: neither through a link nor waiting for the other end of a pipe."""


@contextlib.contextmanager
def appearing(path: Path, mode: int = 0o666) -> Iterator[Path]:
    """Context of writing a file: yields the name to write it under, from which it moves to its own when it is whole and on disk.

    ``mode`` is that of the file from the start, less the umask's bits.
    """
    partial = path.with_name(f"{path.name}.{os.getpid()}.{secrets.token_hex(4)}.partial")
    handle = os.open(partial, os.O_RDWR | os.O_CREAT | os.O_EXCL | _PLAIN, mode)
    try:
        if fcntl is None:
            os.close(handle)  # Windows moves no file that is open
        else:
            with contextlib.suppress(OSError):
                fcntl.flock(handle, fcntl.LOCK_EX)
        yield partial
        to_disk(partial)
        os.replace(partial, path)
    except BaseException:
        partial.unlink(missing_ok=True)
        raise
    finally:
        if fcntl is not None:
            os.close(handle)
    to_disk(path.parent)


def write_atomically(path: Path, content: bytes, mode: int = 0o666) -> None:
    """Make a file appear under its name only when it is whole and on disk."""
    with appearing(path, mode) as partial:
        partial.write_bytes(content)


@contextlib.contextmanager
def folder_appearing(path: Path, partial: Path) -> Iterator[None]:
    """Context of building a folder under the name ``partial``, which moves to ``path`` when it is whole and on disk.

    One writer at a time: what another has left under the name is removed.
    """
    remove(partial)
    try:
        yield
        for folder, _, names in os.walk(partial):
            for name in names:
                to_disk(Path(folder) / name)
            to_disk(Path(folder))
        os.replace(partial, path)
    except BaseException:
        remove(partial)
        raise
    to_disk(path.parent)


def to_disk(path: Path) -> None:
    """Wait until what a file or folder holds is on disk."""
    if path.is_dir():
        if os.name == "posix":
            with contextlib.suppress(OSError):  # some file systems have no such thing of folders
                _synchronize(path, os.O_RDONLY)
    else:
        _synchronize(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)


def _synchronize(path: Path, flags: int) -> None:
    handle = os.open(path, flags)
    try:
        os.fsync(handle)
    finally:
        os.close(handle)


def remove(path: Path) -> None:
    """Remove a file, a link or a folder, if it is there and can be removed."""
    with contextlib.suppress(OSError):
        if path.is_dir() and not path.is_symlink():
            shutil.rmtree(path, ignore_errors=True)
        else:
            path.unlink(missing_ok=True)


def is_leftover(path: Path) -> bool:
    """Return whether a path has the name of a partial file that nobody writes any more."""
    written = _PARTIAL.fullmatch(path.name)
    if not written or path.is_dir():
        return path.is_symlink() and bool(written)
    try:
        handle = os.open(path, os.O_RDONLY | _PLAIN)
    except OSError as error:
        return error.errno in (errno.ELOOP, errno.EMLINK)  # a link, which no writer makes
    try:
        if fcntl is None:
            return time.time() - os.fstat(handle).st_mtime > _OLD_SECONDS
        fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
        return True
    except BlockingIOError:
        return False
    except OSError:
        return not _is_alive(int(written[1]))
    finally:
        os.close(handle)


def sweep(folder: Path, name: str = "") -> None:
    """Remove what killed processes have left in a folder, of one file or of all, as far as the folder may be written to."""
    with contextlib.suppress(OSError):
        for path in sorted(folder.glob(f"{glob.escape(name)}*.partial")):
            if is_leftover(path):
                remove(path)


@contextlib.contextmanager
def hold(path: Path) -> Iterator[None]:
    """Hold a lock for one process; it ends with the process, however that ends. What the file holds stays as it is.

    Where neither the system nor the file system knows locks, ``NAME.pid`` beside it names the holder.

    Raises
    ------
    BlockingIOError
        Another holds it.
    UserError
        What has the lock's name is not a plain file.
    """
    try:
        handle = os.open(path, os.O_RDWR | os.O_CREAT | _PLAIN, 0o666)
    except OSError as error:
        if error.errno in (errno.ELOOP, errno.EMLINK, errno.EISDIR, errno.ENXIO) or path.is_dir():
            raise UserError(f"{path}: {_kind(path)} stands where a plain file is needed; remove it") from None
        raise
    try:
        if not stat.S_ISREG(os.fstat(handle).st_mode):
            raise UserError(f"{path}: {_kind(path)} stands where a plain file is needed; remove it")
        if not _locked(handle):
            with _named_holder(path.with_name(f"{path.name}.pid")):
                yield
        else:
            yield
    finally:
        os.close(handle)


def _locked(handle: int) -> bool:
    """Lock an open file; False where that is not known here."""
    try:
        if fcntl is not None:
            fcntl.flock(handle, fcntl.LOCK_EX | fcntl.LOCK_NB)
            return True
    except OSError as error:
        if error.errno in _NO_LOCKS:
            return False
        raise
    if msvcrt is None:
        return False
    try:
        msvcrt.locking(handle, msvcrt.LK_NBLCK, 1)
    except OSError:
        raise BlockingIOError(errno.EAGAIN, "another process holds the lock") from None
    return True


@contextlib.contextmanager
def _named_holder(path: Path) -> Iterator[None]:
    own = _identity(os.getpid())
    while True:
        try:
            handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | _PLAIN, 0o666)
            break
        except FileExistsError:
            named = path.read_text(encoding="utf-8", errors="replace") if path.is_file() else ""
            match named.split():
                case [host, pid, _] if host != socket.gethostname() or (pid.isdigit() and _identity(int(pid)) == named):
                    raise BlockingIOError(errno.EAGAIN, f"{path} names its holder; delete it if that is not at work") from None
            path.unlink(missing_ok=True)
    try:
        os.write(handle, own.encode())
        os.close(handle)
        yield
    finally:
        path.unlink(missing_ok=True)


def _identity(pid: int) -> str:
    """Return machine, number and time of start of a process; empty if there is none."""
    if not _is_alive(pid):
        return ""
    try:
        started = Path(f"/proc/{pid}/stat").read_text(encoding="utf-8", errors="replace").rpartition(")")[2].split()[19]
    except OSError:
        started = "-"
    return f"{socket.gethostname()} {pid} {started}"


def _is_alive(pid: int) -> bool:
    if os.name != "posix" or pid <= 0:
        return pid > 0  # asking Windows would end the process
    try:
        os.kill(pid, 0)
    except OSError as error:
        return error.errno == errno.EPERM
    return True


def _kind(path: Path) -> str:
    if path.is_symlink():
        return "a symbolic link"
    return "a folder" if path.is_dir() else "something else"


def write_json(path: Path, content: Any) -> None:
    """Write indented JSON atomically."""
    write_atomically(path, (json.dumps(content, indent=2) + "\n").encode())


def read_beside(module: str, *names: str) -> str:
    """Return the text of files that lie beside a module, joined by newlines: its JavaScript, style sheets and HTML.

    Parameters
    ----------
    module
        ``__file__`` of the module.
    names
        Paths from the folder of the module.

    Examples
    --------
    >>> "def write_atomically" in read_beside(__file__, "files.py")
    True
    """
    return "\n".join((Path(module).parent / name).read_text(encoding="utf-8") for name in names)
