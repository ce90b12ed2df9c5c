"""What chosen samples are worth: their mean score, which the choice itself inflates, and what encoders that did not choose them give.

See :mod:`sslmem_kit.statistics.extremes`.
"""

from __future__ import annotations

from dataclasses import replace

import numpy as np
import xarray as xr

from sslmem_kit.explorer.session import Session
from sslmem_kit.names import ALIGNMENT, PARTITION_CODE, SSLMEM
from sslmem_kit.statistics.extremes import SHRUNK, SHRUNKEN, cross_fitted, in_words
from sslmem_kit.statistics.order import RANK_SCORE
from sslmem_kit.study import READ_AT_A_GLANCE


def caption(session: Session, positions: np.ndarray) -> str:
    """Sentence on the mean of chosen samples, empty where the choice says nothing: of no sample, or of all that are shown.

    Where they are the highest or lowest of the shown candidates (without candidates, of the independent samples), it gives the
    cross-fitted mean; of other choices, and of studies that are too large for a glance, the mean of ``shrunken``.

    Parameters
    ----------
    positions
        Of the samples, ascending.
    """
    opened, scores = session.opened, session.scores
    for name in SHRUNK:
        among = session.shown[opened.partitions[session.shown] == PARTITION_CODE[name]]
        chosen = positions[opened.partitions[positions] == PARTITION_CODE[name]]
        if len(chosen):
            break
    else:
        return ""
    is_chosen = np.isin(among, chosen, assume_unique=True)
    if is_chosen.all() and is_chosen.sum() == len(chosen):
        return ""
    among_them = " among them" if len(chosen) < len(positions) else ""
    samples = f"{'the' if among_them else 'these'} {len(chosen):,} {name} samples" if len(chosen) > 1 else f"the {name} sample"
    head = f"Mean difference of {samples}{among_them}:"
    end = _end(scores[SSLMEM].values[among], is_chosen) if is_chosen.sum() == len(chosen) else ""
    if end and opened.tree[ALIGNMENT].size <= READ_AT_A_GLANCE:
        table = opened.crossed(session.protocol, session.encoders, name)
        members = np.flatnonzero(opened.partitions == PARTITION_CODE[name])
        found = cross_fitted(replace(table, differences=table.differences[np.searchsorted(members, among)]), len(chosen))
        views = ", and other views" if found.attrs["views"] == "others" else ""
        seeds = f" over {found['seeds'].item()} seeds{views}" if found["seeds"] > 1 else ""
        return f"{head} {in_words(found.sel(end=end))}{seeds}{_by_others(scores, chosen)}."
    naive, expected = (float(scores[column].values[chosen].astype(float).mean()) for column in ("difference", SHRUNKEN))
    if not np.isfinite(expected):
        return f"{head} {naive:+.4f}; with one seed, or so few samples, nobody can tell how much of it is chance."
    return f"{head} {naive:+.4f}; other encoders are expected to give them {expected:+.4f}{_by_others(scores, chosen)}."


def _by_others(scores: xr.Dataset, chosen: np.ndarray) -> str:
    """Return what encoders that are no pairs say of chosen samples, where a study has them."""
    values = scores[RANK_SCORE].values[chosen].astype(float) if RANK_SCORE in scores else np.empty(0)
    if not np.isfinite(values).any():
        return ""
    return f"; by {scores.attrs['rank_encoders']} encoders trained for an order {np.nanmean(values):+.4f}"


def _end(values: np.ndarray, chosen: np.ndarray) -> str:
    """Return which end of the values the chosen ones are: ``highest``, ``lowest`` or, where they are neither, an empty string."""
    inside, outside = values[chosen], values[~chosen]
    if inside.min() >= outside.max():
        return "highest"
    return "lowest" if inside.max() <= outside.min() else ""
