"""The exceptions of the toolkit's public edge."""

from __future__ import annotations

import difflib
from collections.abc import Iterable, Sequence

FEW = 6
"""Names that a sentence lists, at most."""

NEAR_LENGTH = 200
"""Characters of a name that are compared with others."""


class UserError(ValueError):
    """A mistake in what the user gave: a field, a path, a name.

    The message is one sentence that names the field (or file), the value that was got and what is allowed. The command line prints
    it without a traceback and ends with exit status 2.
    """


class NotThere(UserError):
    """Data whose files are not on this disk."""


class Failure(RuntimeError):
    """Something that is nobody's mistake in what they typed: a worker was killed, a notebook's cell failed.

    The command line prints the message without a traceback and ends with exit status 1.
    """


def few(names: Sequence[str]) -> str:
    """Names for a sentence: all, or the first ones and how many more there are."""
    more = f" and {len(names) - FEW:,} more" if len(names) > FEW else ""
    return ", ".join(names[:FEW]) + more


def near(name: object, names: Iterable[object]) -> str:
    """What may have been meant, to be added to a sentence: ``, did you mean 'x'?``; empty where no name is close."""
    lower = {str(other).lower(): other for other in reversed([*names])}
    found = difflib.get_close_matches(str(name).lower()[:NEAR_LENGTH], lower, n=2, cutoff=0.6)
    return f", did you mean {' or '.join(repr(lower[other]) for other in found)}?" if found else ""


def short(value: object) -> str:
    """A value as a sentence quotes it: 80 characters at most."""
    try:
        text = repr(value)
    except (ValueError, RecursionError):  # more digits, or deeper, than Python writes
        text = f"a {type(value).__name__}"
    return text if len(text) <= 80 else text[:77] + "..."


def _one_line(error: BaseException) -> str:
    return " ".join(f"{type(error).__name__}: {error}".split())[:160]
