"""Influence of training samples on test samples, by the subset-ensemble estimator of Feldman and Zhang (NeurIPS 2020, eq. 2).

``infl(i, j)`` is the probability that test sample j is classified correctly by an encoder that was trained on i, minus that by one that was
not; positive: i helps with j. Both are means over encoders on random subsets. The whole matrix is never in memory: it streams by in blocks of
test samples, of which the training samples of highest influence remain.

The highest of many noisy numbers is high by chance. So the same is counted again after the encoders of each seed have exchanged their
subsets at random: there nothing can have an influence on anything, and all else is as it was.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from sslmem_kit.errors import UserError
from sslmem_kit.statistics.agreement import highest

TEST_SAMPLE, RANK = "test_sample", "rank"
THRESHOLD = 0.15
"""Influence above which a pair is counted; Feldman and Zhang's."""
ROUNDING = 1e-9
"""Difference of two influences that rounding can make."""
BLOCK_BYTES = 2**25
"""Bytes of one matrix of a block of test samples by all training samples; some five are in memory at a time."""


def influence(
    correct: xr.DataArray,
    trained_on: xr.DataArray,
    *,
    top: int = 10,
    threshold: float = THRESHOLD,
    exchanges: int = 19,
    seed: int = 0,
) -> xr.Dataset:
    """Estimate the influence of each training sample on each test sample, and keep the highest.

    Parameters
    ----------
    correct
        Whether each encoder classifies each test sample correctly, or how probable it finds its class, (test_sample, encoder); with ``seed`` on
        ``encoder`` where encoders of one seed have complementary subsets.
    trained_on
        Whether each encoder was trained on each sample, (sample, encoder) bool, the same encoders.
    top
        Number of training samples that are kept for each test sample.
    threshold
        Influence above which pairs are counted.
    exchanges, seed
        Number of random exchanges of subsets, each of which takes as long as the estimate, and their seed.

    Returns
    -------
    On (``test_sample``, ``rank``), highest first: ``influence``, its ``standard_error``, and ``influential``, the id of the training sample. On
    ``test_sample``: ``above``, the number of training samples above the threshold, and means over exchanges of that number and of the highest
    influence, ``above_by_chance`` and ``highest_by_chance``. ``p``: of the highest influence of all, against those of the exchanges; at least
    1 / (1 + exchanges). The attrs hold ``threshold``, ``encoders``, ``samples`` (only those that some encoders were trained on and some not
    have an influence), ``replicates`` and ``errors``: ``over seeds`` where every seed has encoders of both kinds for every sample, ``over
    encoders`` else, which takes encoders as independent.

    Raises
    ------
    UserError
        No sample that some encoders were trained on and some not.

    Notes
    -----
    Of the kept, ``influence`` is too high on average, for they were chosen by it: compare with ``highest_by_chance``. Errors over two or three
    seeds are rough; they are 0 where the seeds happen to agree.

    Examples
    --------
    Test sample 1 is classified correctly by the encoders that were trained on sample 2, and by no other:

    >>> trained = np.array([[1, 0, 1, 0, 1, 0], [0, 1, 1, 0, 0, 1], [1, 1, 0, 0, 1, 0]], bool)
    >>> correct = xr.DataArray([[1, 1, 1, 1, 1, 1], [1, 1, 0, 0, 1, 0]], dims=("test_sample", "encoder"))
    >>> found = influence(correct, xr.DataArray(trained, dims=("sample", "encoder")), top=1)
    >>> found["influence"].values[:, 0], found["influential"].values[1]
    (array([0., 1.]), array([2]))
    """
    right = correct.transpose(TEST_SAMPLE, "encoder").values.astype(np.float64)
    trained = trained_on.transpose("sample", "encoder").values.astype(bool)
    ids = trained_on["sample"].values if "sample" in trained_on.coords else np.arange(len(trained))
    kept = np.flatnonzero(trained.any(axis=1) & ~trained.all(axis=1))
    if not len(kept):
        raise UserError(
            "design.subsets: influence needs samples that some encoders were trained on and some not, this study has none; give it "
            "design.subsets"
        )
    # Samples that the same encoders were trained on have the same influences: each set of encoders is computed once.
    patterns, of_sample, counts = np.unique(trained[kept], axis=0, return_inverse=True, return_counts=True)
    groups = _replicates(patterns, correct["seed"].values if "seed" in correct.coords else None)
    rng = np.random.Generator(np.random.Philox(seed))
    others = [_exchange(groups, rng) for _ in range(exchanges)]
    weights = [(group, *_shares(patterns[:, group])) for group in groups]
    ranks, tests = min(top, len(kept)), len(right)
    columns = {name: np.empty((tests, ranks)) for name in ("influence", "standard_error")}
    influential = np.empty((tests, ranks), ids.dtype)
    above, by_chance = np.empty(tests, int), np.full((2, exchanges, tests), np.nan)
    step = max(1, BLOCK_BYTES // (8 * len(patterns)))
    for start in range(0, tests, step):
        part = slice(start, start + step)
        found, error = _block(right[part], weights)
        order = np.stack([highest(row[of_sample], ranks) for row in found])
        columns["influence"][part] = np.take_along_axis(found, of_sample[order], 1)
        columns["standard_error"][part] = np.take_along_axis(error, of_sample[order], 1)
        influential[part] = ids[kept][order]
        above[part] = (found > threshold) @ counts
        for place, exchanged in enumerate(others):
            null = _block(right[part][:, exchanged], weights)[0]
            by_chance[:, place, part] = (null > threshold) @ counts, null.max(axis=1)
    at_least = (by_chance[1].max(axis=1, initial=-np.inf) >= columns["influence"].max(initial=-np.inf) - ROUNDING).sum()
    coords = {TEST_SAMPLE: correct[TEST_SAMPLE].values} if TEST_SAMPLE in correct.coords else {}
    return xr.Dataset(
        {
            **{name: ((TEST_SAMPLE, RANK), values) for name, values in columns.items()},
            "influential": ((TEST_SAMPLE, RANK), influential),
            "above": (TEST_SAMPLE, above),
            "above_by_chance": (TEST_SAMPLE, _mean(by_chance[0])),
            "highest_by_chance": (TEST_SAMPLE, _mean(by_chance[1])),
            "p": (1 + at_least) / (1 + exchanges) if exchanges else np.nan,
        },
        {**coords, RANK: np.arange(1, ranks + 1)},
        {
            "threshold": threshold,
            "encoders": right.shape[1],
            "samples": len(kept),
            "replicates": len(groups) if len(groups) > 1 else right.shape[1],
            "errors": "over seeds" if len(groups) > 1 else "over encoders",
        },
    )


def _replicates(trained: np.ndarray, seed: np.ndarray | None) -> list[np.ndarray]:
    """Return the encoders of each seed, where every seed has encoders that were trained on each sample and others that were not; else all."""
    seeds = [] if seed is None else [np.flatnonzero(seed == one) for one in np.unique(seed)]
    whole = len(seeds) > 1 and all((trained[:, group].any(axis=1) & ~trained[:, group].all(axis=1)).all() for group in seeds)
    return seeds if whole else [np.arange(trained.shape[1])]


def _mean(values: np.ndarray) -> np.ndarray:
    return values.mean(axis=0) if len(values) else np.full(values.shape[1], np.nan)


def _exchange(groups: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    """Return encoders in a random order within their groups."""
    order = np.arange(sum(map(len, groups)))
    for group in groups:
        order[group] = rng.permutation(group)
    return order


def _shares(trained: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the weights of encoders in the mean over those trained on a sample and over the others, (encoder, sample) each."""
    return tuple((side / side.sum(axis=1, keepdims=True)).T for side in (trained, ~trained))


def _block(right: np.ndarray, weights: list[tuple[np.ndarray, np.ndarray, np.ndarray]]) -> tuple[np.ndarray, np.ndarray]:
    """Return influence and its standard error, (test, sample) each."""
    if len(weights) > 1:
        total = squares = 0.0
        for group, inside, outside in weights:
            difference = right[:, group] @ (inside - outside)
            total, squares = total + difference, squares + difference**2
        n = len(weights)
        variance = np.maximum(squares - total**2 / n, 0) / (n - 1) / n
        return np.asarray(total / n), np.sqrt(variance)
    ((group, inside, outside),) = weights
    found = variance = 0.0
    for share, sign in ((inside, 1), (outside, -1)):
        mean, square, n = right[:, group] @ share, right[:, group] ** 2 @ share, (share > 0).sum(axis=0)
        with np.errstate(invalid="ignore", divide="ignore"):  # one encoder of a kind has no spread
            variance = variance + np.where(n > 1, np.maximum(square - mean**2, 0) / (n - 1), np.nan)
        found = found + sign * mean
    return found, np.sqrt(variance)
