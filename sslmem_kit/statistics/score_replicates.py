"""All scores of a study, each with a replicate a seed of trainings: what their agreement is computed from."""

from __future__ import annotations

import numpy as np
import xarray as xr

from sslmem_kit.names import PAIR, PARTITION, PARTITION_CODE, SAMPLE, SEED, SSLMEM, SUBSET
from sslmem_kit.scores.comparisons.base import BY_SEED
from sslmem_kit.scores.selection import designs
from sslmem_kit.statistics.effect import by_seed
from sslmem_kit.statistics.order import RANK_SCORE
from sslmem_kit.statistics.score_agreement import DESIGN
from sslmem_kit.store.comparisons import scores_of, stored_comparisons


def study_replicates(scores: xr.Dataset, tree: xr.DataTree, *, partition: str | None = "candidate") -> dict[str, xr.DataArray]:
    """Replicates of SSLMem and of every comparison of a study, on (``sample``, ``seed``), for :func:`score_agreement`.

    Parameters
    ----------
    scores
        Of :meth:`sslmem_kit.study.Study.scores`.
    tree
        Results of the study.
    partition
        Whose samples are kept; None: all. Over several partitions scores agree on who was trained on what.

    Returns
    -------
    By name: ``sslmem``, where pairs of f and g have seeds; ``rank_score``, where there is one, without seeds; every column of a comparison. The
    attribute ``design`` says what seeds number, ``pair`` or ``subset``, and ``long_name`` what the score is.

    Examples
    --------
    >>> from sslmem_kit.scores import _example, score
    >>> results = _example.results()
    >>> found = study_replicates(score(results), xr.DataTree(results))
    >>> list(found), dict(found["sslmem"].sizes)
    (['sslmem'], {'sample': 10, 'seed': 3})
    """
    found = {}
    own = by_seed(scores)
    if own.sizes[SEED]:
        found[SSLMEM] = own.assign_attrs({DESIGN: PAIR, "long_name": "SSLMem"})
    elif SSLMEM in scores:
        found[SSLMEM] = scores[SSLMEM].assign_attrs(long_name="SSLMem")
    if RANK_SCORE in scores:
        found[RANK_SCORE] = scores[RANK_SCORE].assign_attrs(long_name="SSLMem by encoders on subsets")
    pairs = _pair_seeds(tree)
    for _, group in sorted(stored_comparisons(tree).items()):  # a store has no order
        for column in sorted(scores_of(group)):
            array = group[f"{column}{BY_SEED}"]
            seeds = array[SEED].values if SEED in array.coords else np.arange(array.sizes[SEED])
            design = array.attrs.get(DESIGN, PAIR if np.isin(seeds, pairs).all() else SUBSET)
            long_name = group[column].attrs.get("long_name", column)
            found[column] = array.assign_coords({SEED: seeds, SAMPLE: tree[SAMPLE].values}).assign_attrs(
                {DESIGN: design, "long_name": long_name}
            )
    chosen = np.ones(scores.sizes[SAMPLE], bool)
    if partition is not None and PARTITION in scores.coords:
        chosen = scores[PARTITION].values == PARTITION_CODE[partition]
    ids = scores[SAMPLE].values[chosen]
    return {name: array.sel({SAMPLE: ids}).reset_coords(drop=True).load() for name, array in found.items()}


def mean_scores(replicates: dict[str, xr.DataArray]) -> dict[str, xr.DataArray]:
    """Return the mean over seeds of each score, (sample,), NaN where a sample has not all of them.

    Examples
    --------
    >>> mean_scores({"a": xr.DataArray([[1.0, 3.0]], dims=("sample", "seed"))})["a"].values
    array([2.])
    """
    return {name: array.mean(SEED, skipna=False) if SEED in array.dims else array for name, array in replicates.items()}


def _pair_seeds(tree: xr.DataTree) -> np.ndarray:
    root = tree.to_dataset()
    if SEED not in root.coords:
        return np.empty(0, int)
    return np.unique(root[SEED].values[designs(root) == PAIR])
