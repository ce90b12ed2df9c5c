"""Paths as people give them: ``~`` stands for the home folder, and what is relative is seen from the folder where it was given."""

from __future__ import annotations

import errno
import os
import tarfile
import zipfile
from pathlib import Path

from sslmem_kit.errors import UserError

try:
    import resource
except ImportError:  # on Windows
    resource = None

FILES = 4096
"""Open files that suffice for whatever is done here."""


def expanded(path: Path | str) -> Path:
    """Return the path with ``~`` and ``~user`` filled in.

    Raises
    ------
    UserError
        The home folder is not known.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError:
        raise UserError(
            f"{path}: this home folder is not known, neither by HOME nor by the list of users; write the path out, or set HOME"
        ) from None


def absolute(path: Path | str) -> Path:
    """Return the path from the root on, so that it stays right when the working directory changes; links in it are kept.

    Raises
    ------
    UserError
        The home folder that it starts with is not known; the working directory that it is seen from was deleted.
    """
    try:
        return expanded(path).absolute()
    except FileNotFoundError:
        raise UserError(f"{path}: it is seen from the working directory, which was deleted; change to one that is there") from None


def give_home() -> None:
    """Name a home folder that is not there where nobody knows one: Bokeh asks for it when it is imported, and only reads."""
    try:
        Path.home()
    except RuntimeError:
        os.environ["HOME"] = "/nonexistent"


def remedy(error: OSError) -> str:
    """Return what to do about an error of the environment of a process, not of a file; empty for any other."""
    if error.errno in (errno.EMFILE, errno.ENFILE):
        return no_more_files()
    try:
        os.getcwd()
    except FileNotFoundError:
        return "the working directory was deleted; change to one that is there"
    return ""


def no_more_files() -> str:
    """Return the message that a process, or one that it has started, has as many files and connections open as it may."""
    limit = f", the limit is {resource.getrlimit(resource.RLIMIT_NOFILE)[0]}" if resource else ""
    return f"no more files can be opened{limit}; allow more (`ulimit -n 4096`), or take fewer --jobs or --workers"


def allow_files() -> None:
    """Allow this process, and those that it starts, as many open files as it may allow itself, up to :data:`FILES`."""
    if resource:
        soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
        wanted = FILES if hard == resource.RLIM_INFINITY else min(FILES, hard)
        if soft != resource.RLIM_INFINITY and soft < wanted:
            resource.setrlimit(resource.RLIMIT_NOFILE, (wanted, hard))


def packed(path: Path) -> str:
    """Return what to do with a file that a study, or its results, is packed in; empty for any other file."""
    try:
        if zipfile.is_zipfile(path):
            return f"{path} is a zip file, which is not read from: unpack it (`unzip`) and name the folder that holds study.yaml"
        if tarfile.is_tarfile(path):
            return f"{path} is a tar file, which is not read from: unpack it (`tar -xf`) and name the folder that holds study.yaml"
    except OSError:
        pass
    return ""
