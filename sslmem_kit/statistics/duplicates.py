"""Near-duplicates of a study's samples, and what they do to its scores.

A candidate that has a twin in shared is close to what family g was trained on too: it scores near zero, memorized or not.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from sslmem_kit.names import GROUP, PARTITION, PARTITION_CODE, SAMPLE, SSLMEM
from sslmem_kit.store.schema import DUPLICATES

SEEN_BY_THE_OTHER = {"candidate": ("shared", "independent"), "independent": ("shared", "candidate")}
"""Partitions of twins that hide what is memorized of a sample, by its own: the family that did not see it has seen them."""
LISTED = 10
"""Samples that a summary lists."""


def hiding_twins(tree: xr.DataTree, partition: str) -> np.ndarray:
    """Number of twins that hide what is memorized of each sample of a partition, (sample,); 0 of all other samples.

    Parameters
    ----------
    tree
        Results store with ``/duplicates``.
    partition
        ``candidate`` or ``independent``.
    """
    twins = tree[DUPLICATES].to_dataset()["twins"].sel({PARTITION: list(SEEN_BY_THE_OTHER[partition])}).sum(PARTITION).values
    return np.where(tree.to_dataset()[PARTITION].values == PARTITION_CODE[partition], twins, 0)


def kept_whole(twins: np.ndarray, groups: np.ndarray | None) -> bool:
    """Return whether the groups of a study keep twins together: no twins are in two groups.

    Parameters
    ----------
    twins
        Group of near-duplicates of each sample, (sample,).
    groups
        Group of each sample that the study keeps whole, (sample,); None: it keeps none.

    Examples
    --------
    >>> kept_whole(np.array([0, 0, 2]), np.array([5, 5, 5])), kept_whole(np.array([0, 0, 2]), np.array([5, 6, 6]))
    (True, False)
    """
    return groups is not None and len(np.unique(np.stack([twins, groups]), axis=1).T) == len(np.unique(twins))


def twin_summary(tree: xr.DataTree, scores: xr.Dataset) -> xr.Dataset | None:
    """Summarize near-duplicates, and compare the scores of samples whose memorization they hide with the others; None where nobody looked.

    Parameters
    ----------
    tree
        Results store.
    scores
        ``sslmem(sample)`` of :func:`sslmem_kit.scores.score`.

    Returns
    -------
    ``samples`` with a twin among the samples in partitions, ``of`` them,
    in ``groups``, found as ``pairs``, of which ``exact`` copies; ``threshold`` of the distance and the share
    ``views_kept`` of weak views that it finds again. On ``partition`` (candidate, independent): ``hidden`` samples, ``n`` of all,
    ``mean_hidden`` and ``mean_others`` of ``sslmem``. On ``listed``, at most ten of them: ``sample``, ``own`` partition, ``sslmem``, and
    ``twins`` (listed, among). The attribute ``kept_whole`` says whether the study's groups keep twins together,
    ``grouped`` whether it has any.
    """
    if DUPLICATES not in tree.children:
        return None
    group, values = tree[DUPLICATES].to_dataset(), scores[SSLMEM].values
    counts = group["twins"].values
    hidden = {partition: hiding_twins(tree, partition) > 0 for partition in SEEN_BY_THE_OTHER}
    codes = tree.to_dataset()[PARTITION].values
    own = {partition: codes == PARTITION_CODE[partition] for partition in hidden}
    chosen = np.concatenate([np.flatnonzero(where) for where in hidden.values()])[:LISTED]
    names = list(PARTITION_CODE)
    has_twin = counts.sum(axis=1) > 0
    return xr.Dataset(
        {
            "samples": int(has_twin.sum()),
            "of": len(codes),
            "groups": len(np.unique(group["twin_group"].values[has_twin])),
            "pairs": group.sizes["pair"],
            "exact": int(np.sum(group["by"].values & 1)),
            "threshold": group.attrs["threshold"],
            "views_kept": group.attrs["views_kept"],
            "hidden": (PARTITION, [int(where.sum()) for where in hidden.values()]),
            "n": (PARTITION, [int(where.sum()) for where in own.values()]),
            "mean_hidden": (PARTITION, [_mean(values[where]) for where in hidden.values()]),
            "mean_others": (PARTITION, [_mean(values[own[name] & ~where]) for name, where in hidden.items()]),
            SAMPLE: ("listed", np.asarray(tree[SAMPLE])[chosen]),
            "own": ("listed", np.array([names[code] for code in codes[chosen]], str)),
            SSLMEM: ("listed", values[chosen]),
            "twins": (("listed", "among"), counts[chosen]),
        },
        {PARTITION: list(hidden), "among": [str(name) for name in group[PARTITION].values]},
        {
            "kept_whole": kept_whole(group["twin_group"].values, tree.coords[GROUP].values if GROUP in tree.coords else None),
            "grouped": GROUP in tree.coords,
        },
    )


def _mean(values: np.ndarray) -> float:
    return float(values.mean()) if len(values) else np.nan


def crossing_twins(tree: xr.DataTree, *, share: float = 0.01) -> str | None:
    """Sentence on near-duplicates that hide the memorization of more than a ``share`` of a partition; None where there are fewer.

    Parameters
    ----------
    tree
        Results store; one without ``/duplicates`` has no sentence.
    """
    if DUPLICATES not in tree.children or PARTITION not in tree.variables:
        return None
    parts = []
    for partition, others in SEEN_BY_THE_OTHER.items():
        count, total = (
            int((hiding_twins(tree, partition) > 0).sum()),
            int((tree.to_dataset()[PARTITION] == PARTITION_CODE[partition]).sum()),
        )
        if count > share * total:
            parts.append(f"{count:,} of {total:,} {partition} have a near-duplicate in {' or '.join(others)}")
    if not parts:
        return None
    return (
        f"near-duplicates stand on both sides of the partition ({'; '.join(parts)}): these score near zero whether they are memorized or not "
        "(data.groups: near_duplicates keeps them together)"
    )
