"""Means of what leaving out whole groups does, by size of group, with intervals over trainings."""

from __future__ import annotations

import numpy as np
import scipy  # scipy.stats comes on first use
import xarray as xr

from sslmem_kit.names import BOUND, BOUNDS
from sslmem_kit.scores.groups import CUT, group_influence, influence_by_cut

SIZE = "size"
"""Dimension of the sizes of groups."""


def influence_by_size(
    results: xr.Dataset, groups: np.ndarray | None = None, *, kinds: np.ndarray | None = None, protocol: str = "corrected"
) -> xr.Dataset:
    """Mean influence of groups of each size on their members, with an interval over the random cuts, which are trained apart.

    Parameters
    ----------
    results
        Root of a results store with subset encoders.
    groups
        Group of each sample, (sample,); None: those that the study keeps.
    kinds
        A number of each sample by which means are taken in place of the size of its group, (sample,); negative: in none.
    protocol
        ``paper``, ``released`` or ``corrected``.

    Returns
    -------
    On ``size``: ``influence`` (mean over groups of the means over their members), ``interval`` (95 %, Student's t over cuts, given these
    samples),
    ``samples``, ``groups`` and ``cuts``.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> design = _example.design()
    >>> found = influence_by_size(design, design["sample"].values)
    >>> found["size"].values, found["samples"].values, found["cuts"].values
    (array([1]), array([20]), array([2]))
    """
    members = group_influence(results, groups, protocol=protocol)
    cuts = influence_by_cut(results, groups, protocol=protocol).values
    kind = members["group_size"].values
    if kinds is not None:
        kind = np.asarray(kinds)[np.searchsorted(results["sample"].values, members["sample"].values)]
    sizes = np.unique(kind[kind >= 0])
    rows = [_mean_over_cuts(cuts[kind == size], members["group"].values[kind == size]) for size in sizes]
    return xr.Dataset(
        {
            "influence": (SIZE, [row[0] for row in rows]),
            "interval": ((SIZE, BOUND), np.array([row[1:3] for row in rows]).reshape(-1, 2)),
            "samples": (SIZE, [int((kind == size).sum()) for size in sizes]),
            "groups": (SIZE, [len(np.unique(members["group"].values[kind == size])) for size in sizes]),
            "cuts": (SIZE, [row[3] for row in rows]),
        },
        {SIZE: sizes, BOUND: list(BOUNDS)},
        {"protocol": protocol, "over": f"{CUT}s, given these samples"},
    )


def _mean_over_cuts(cuts: np.ndarray, groups: np.ndarray) -> tuple[float, float, float, int]:
    """Return the mean over groups of (sample, cut) influences, its interval over cuts, and the number of cuts that have any."""
    _, unit, size = np.unique(groups, return_inverse=True, return_counts=True)
    weight = 1 / size[unit]
    known = np.isfinite(cuts)
    with np.errstate(invalid="ignore", divide="ignore"):
        each = (np.where(known, cuts, 0) * weight[:, None]).sum(axis=0) / (known * weight[:, None]).sum(axis=0)
    each = each[np.isfinite(each)]
    if len(each) < 2:
        return (float(each.mean()) if len(each) else np.nan, np.nan, np.nan, len(each))
    reach = scipy.stats.t.ppf(0.975, len(each) - 1) * each.std(ddof=1) / np.sqrt(len(each))
    return float(each.mean()), float(each.mean() - reach), float(each.mean() + reach), len(each)
