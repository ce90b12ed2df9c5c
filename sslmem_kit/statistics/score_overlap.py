"""Overlap of the highest samples of several scores, with what unrelated orders have (the paper's figure 8).

Two unrelated orders of n samples share X of their k highest, X hypergeometric: k drawn of n of which k count; its mean is k² / n.
"""

from __future__ import annotations

import itertools
from collections.abc import Mapping

import numpy as np
import scipy  # scipy.stats comes on first use
import xarray as xr

from sslmem_kit.names import SAMPLE
from sslmem_kit.statistics.agreement import top_overlap

SIZES = (10, 20, 50, 100, 200)


def score_overlap(scores: Mapping[str, xr.DataArray], sizes: tuple[int, ...] = SIZES) -> xr.Dataset:
    """Overlap at k of each score with each other one.

    Parameters
    ----------
    scores
        Each on ``sample`` alone, higher = more memorized, NaN where a sample has none; matched by id. Orders are over samples that both have.
    sizes
        Values of k, ascending.

    Returns
    -------
    On (``score``, ``other``, ``k``), NaN on the diagonal and where k exceeds the samples: ``share`` of the k highest that are common,
    ``chance`` (k / n), ``chance_low`` and ``chance_high``, ends of the share that unrelated orders have in 95 % of cases, and ``p``, the
    chance of at least as many, one-sided. On (``score``, ``other``): ``n``.

    Examples
    --------
    >>> first, second = (xr.DataArray(np.arange(100.0), dims="sample", coords={"sample": np.arange(100)}) for _ in "ab")
    >>> found = score_overlap({"a": first, "b": -second}, (10, 60)).sel(score="a", other="b")
    >>> found["share"].round(2).values, found["chance_high"].round(2).values
    (array([0.  , 0.33]), array([0.3 , 0.68]))
    """
    names, shape = list(scores), (len(scores), len(scores), len(sizes))
    found = {name: np.full(shape, np.nan) for name in ("share", "chance", "chance_low", "chance_high", "p")}
    counts = np.zeros(shape[:2], int)
    finite = {name: array.reset_coords(drop=True).dropna(SAMPLE) for name, array in scores.items()}
    for (i, first), (j, second) in itertools.combinations(enumerate(names), 2):
        one, other = xr.align(finite[first], finite[second], join="inner")
        n = one.sizes[SAMPLE]
        counts[i, j] = counts[j, i] = n
        overlap = top_overlap(one.values.astype(float), other.values.astype(float), tuple(sizes))
        k, common = overlap["k"].values, overlap["common"].values
        if not len(k):
            continue
        p = scipy.stats.hypergeom.sf(common - 1, n, k, k)
        columns = (overlap["share"].values, overlap["chance"].values, *overlap["chance_band"].values.T, p)
        for name, values in zip(found, columns, strict=True):
            found[name][i, j, : len(k)] = found[name][j, i, : len(k)] = values
    return xr.Dataset(
        {**{name: (("score", "other", "k"), values) for name, values in found.items()}, "n": (("score", "other"), counts)},
        {"score": names, "other": names, "k": list(sizes)},
    )
