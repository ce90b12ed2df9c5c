"""Accuracy of encoders on the samples that they are most confident of, and by how much that of one family is higher."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import scipy  # scipy.stats comes on first use: it takes half a second, and the explorer opens without it
import xarray as xr

from sslmem_kit.names import BOUND, BOUNDS
from sslmem_kit.scores.intervals import CONFIDENCE

FRACTIONS = (1.0, 0.5, 0.2, 0.1, 0.05)
"""Shares of the samples that are the most confident."""
WINDOW = 0.05
"""Share of the samples on each side of the least confident of those, that says how accurate encoders are there."""


def by_confidence(
    named: Mapping[str, np.ndarray], confidence: Mapping[str, np.ndarray], fractions: tuple[float, ...] = FRACTIONS
) -> xr.Dataset:
    """Accuracy of f and of g on the samples that each is most confident of, and by how much f's is higher.

    Parameters
    ----------
    named, confidence
        Of ``f`` and of ``g``, (sample, seed) each; rows with NaN are left out. Each encoder ranks the samples by its own confidence.
    fractions
        Shares of the samples that count.

    Returns
    -------
    On ``fraction``: ``accuracy_f``, ``accuracy_g`` and ``gap``, means over seeds; ``interval_samples`` of the gap (over samples, given these
    encoders) and ``interval_seeds``, on ``bound``; the scalars ``n`` and ``seeds``. Of samples as confident as the last one all count, with
    the weight that makes up the fraction: the mean over all orders of ties.

    Notes
    -----
    The error over samples is that of the influence of each sample, in which the accuracy at the edge is that of the samples around it.

    Examples
    --------
    >>> named = {"f": np.array([[1], [1], [0], [0]]), "g": np.array([[0], [1], [0], [0]])}
    >>> sure = np.array([[0.9], [0.5], [0.5], [0.1]])
    >>> by_confidence(named, {"f": sure, "g": sure}, (1.0, 0.5, 0.25))["accuracy_f"].values
    array([0.5 , 0.75, 1.  ])
    """
    known = np.logical_and.reduce([np.isfinite(part).all(axis=1) for part in (*named.values(), *confidence.values())])
    n, seeds = int(known.sum()), named["f"].shape[1]
    accuracy, influence = {}, {}
    for family in ("f", "g"):
        right, sure = named[family][known].astype(float), confidence[family][known]
        pairs = [[_most_confident(right[:, s], sure[:, s], part) for s in range(seeds)] for part in fractions]
        accuracy[family] = np.array([[value for value, _ in row] for row in pairs]).reshape(len(fractions), seeds)
        influence[family] = np.array([np.mean([one for _, one in row], axis=0) for row in pairs]).reshape(len(fractions), n)
    gap = accuracy["f"] - accuracy["g"]
    unknown = np.full(len(fractions), np.nan)
    error = (influence["f"] - influence["g"]).std(axis=1, ddof=1) / np.sqrt(n) if n > 1 else unknown
    over_seeds = gap.std(axis=1, ddof=1) / np.sqrt(seeds) if seeds > 1 else unknown
    mean, bounds = gap.mean(axis=1), np.array([-1, 1])
    tails = [scipy.stats.t.ppf(0.5 + CONFIDENCE / 2, max(count - 1, 1)) for count in (n, seeds)]
    dims = ("fraction", BOUND)
    return xr.Dataset(
        {
            "accuracy_f": ("fraction", accuracy["f"].mean(axis=1)),
            "accuracy_g": ("fraction", accuracy["g"].mean(axis=1)),
            "gap": ("fraction", mean),
            "interval_samples": (dims, mean[:, None] + tails[0] * error[:, None] * bounds),
            "interval_seeds": (dims, mean[:, None] + tails[1] * over_seeds[:, None] * bounds),
            "n": n,
            "seeds": seeds,
        },
        {"fraction": list(fractions), BOUND: list(BOUNDS)},
    )


def _most_confident(right: np.ndarray, sure: np.ndarray, fraction: float) -> tuple[float, np.ndarray]:
    """Accuracy on the most confident fraction, and the influence of each sample on it."""
    n = len(right)
    if not n:
        return np.nan, np.empty(0)
    wanted = max(1.0, fraction * n)
    edge = np.sort(sure)[n - int(np.ceil(wanted))]
    above, tied = sure > edge, sure == edge
    weight = above + tied * (wanted - above.sum()) / tied.sum()
    value = float(weight @ right / wanted)
    if wanted >= n:
        return value, right - value
    order = np.argsort(sure, kind="stable")
    near = order[max(0, int(n - wanted - WINDOW * n)) : int(n - wanted + WINDOW * n) + 1]
    at_edge = right[tied].mean() if tied.sum() > len(near) else right[near].mean()
    return value, weight * (right - at_edge) * n / wanted + at_edge - value
