"""Held-out test split of data that comes without one."""

import numpy as np

from sslmem_kit.data.groups import units


def stratified_test_split(
    ids: np.ndarray, labels: np.ndarray, fraction: float, *, seed: int, groups: np.ndarray | None = None
) -> np.ndarray:
    """Hold out a share of every class.

    Of a class of n samples, floor or ceiling of ``fraction * n`` are held out (by largest remainder, so that all classes together
    give ``fraction`` of the data, rounded), and never all n. The choice depends on a key of (seed, id) alone: leaving out a
    sample moves only the borders of the classes.

    Parameters
    ----------
    ids, labels
        int64 (n,); sample ids are not negative.
    fraction
        At least 0, below 1.
    seed
        Not negative.
    groups
        Group of each sample, int64 (n,): the position of its first member. A group is held out whole, in the place of its first member, where
        it fits into what is still to be held out of its most frequent class. None: each sample is alone.

    Returns
    -------
    bool (n,)
        True in the test split.

    Examples
    --------
    >>> stratified_test_split(np.arange(10), np.repeat([0, 1], 5), 0.4, seed=0).reshape(2, 5).sum(axis=1)
    array([2, 2])
    """
    if groups is not None:
        unit, size, labels = units(groups, labels)
        ids = ids[np.unique(unit, return_index=True)[1]]
        return _held_out(ids, labels, size, fraction, seed)[unit]
    return _held_out(ids, labels, np.ones(len(ids), np.int64), fraction, seed)


def _held_out(ids: np.ndarray, labels: np.ndarray, sizes: np.ndarray, fraction: float, seed: int) -> np.ndarray:
    """Return which units are held out, of as many samples each as ``sizes`` says."""
    classes, place = np.unique(labels, return_inverse=True)
    counts = np.bincount(place, weights=sizes).astype(np.int64)
    # rounded, or 0.1 * 30 = 3.0000000000000004 would count as a remainder
    exact = np.round(fraction * counts, 9)
    held_out = np.floor(exact).astype(int)
    remainder = exact - held_out
    open_classes = np.flatnonzero((remainder > 0) & (held_out + 1 < counts))
    extra = max(0, int(np.floor(exact.sum() + 0.5)) - int(held_out.sum()))
    held_out[open_classes[np.argsort(-remainder[open_classes], kind="stable")][:extra]] += 1

    # sampled for every id up to the largest, so that the key of an id does not depend on which others are there
    keys = np.random.default_rng([seed, 0x7E57]).random(int(ids.max()) + 1)[ids] if len(ids) else np.empty(0)
    is_test = np.zeros(len(ids), dtype=bool)
    for label, count in zip(classes, held_out, strict=True):
        members = np.flatnonzero(labels == label)
        order = members[np.argsort(keys[members], kind="stable")]
        if sizes[order].max(initial=1) == 1:
            is_test[order[:count]] = True
            continue
        left = count
        for member in order:
            if sizes[member] <= left:
                is_test[member] = True
                left -= sizes[member]
    return is_test
