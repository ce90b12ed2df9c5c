"""Replicates of a score: one a seed of trainings, from what was measured of each encoder.

Signs are those of :func:`sslmem_kit.scores.family_contrast`: of pairs the contrast of f with g for every sample, so that independents,
which g saw, come out negative; of random subsets encoders that were trained on a sample against those that were not.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from sslmem_kit.names import ENCODER, PAIR, SAMPLE, SEED, SUBSET, TRAINED_ON
from sslmem_kit.scores.selection import designs


def contrast_by_seed(values: xr.DataArray, results: xr.DataTree, *, sign: float = 1.0) -> xr.DataArray:
    """Mean of family f minus mean of family g in each seed that has both.

    Parameters
    ----------
    values
        (sample, encoder), NaN of encoders that were not measured.
    results
        Results of the study: ``family``, ``seed`` and ``design`` on ``encoder``.
    sign
        -1 where less means memorized.

    Returns
    -------
    (sample, seed), seeds ascending.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> tree = xr.DataTree(_example.results())
    >>> measured = tree["alignment"].mean("augmentation")
    >>> contrast_by_seed(measured, tree, sign=-1).sizes
    Frozen({'sample': 40, 'seed': 3})
    """
    root, pair = results.to_dataset(), designs(results) == PAIR
    family, seed = root["family"].values, root[SEED].values
    table = values.transpose(SAMPLE, ENCODER).values
    measured = np.isfinite(table).any(axis=0)
    seeds = [
        each for each in np.unique(seed[pair]) if all((measured & pair & (seed == each) & (family == name)).any() for name in "fg")
    ]
    found = np.empty((len(table), len(seeds)))
    for place, each in enumerate(seeds):
        f, g = (table[:, measured & pair & (seed == each) & (family == name)].mean(axis=1) for name in "fg")
        found[:, place] = sign * (f - g)
    return xr.DataArray(found, {SAMPLE: root[SAMPLE].values, SEED: seeds}, (SAMPLE, SEED))


def of_f_by_seed(values: xr.DataArray, results: xr.DataTree, *, sign: float = 1.0) -> xr.DataArray:
    """Mean of family f in each seed: what one encoder alone says. Arguments and result are those of :func:`contrast_by_seed`.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> tree = xr.DataTree(_example.results())
    >>> of_f_by_seed(tree["alignment"].mean("augmentation"), tree).sizes
    Frozen({'sample': 40, 'seed': 3})
    """
    root, pair = results.to_dataset(), designs(results) == PAIR
    table, seed = values.transpose(SAMPLE, ENCODER).values, root[SEED].values
    chosen = pair & (root["family"].values == "f") & np.isfinite(table).any(axis=0)
    seeds = np.unique(seed[chosen])
    found = (
        np.stack([sign * table[:, chosen & (seed == each)].mean(axis=1) for each in seeds], axis=1)
        if len(seeds)
        else np.empty((len(table), 0))
    )
    return xr.DataArray(found, {SAMPLE: root[SAMPLE].values, SEED: seeds}, (SAMPLE, SEED))


def in_out_by_seed(values: xr.DataArray, results: xr.DataTree, *, sign: float = 1.0) -> xr.DataArray:
    """Mean over subset encoders that were trained on a sample minus mean over those that were not, in each seed of subsets.

    Arguments and result are those of :func:`contrast_by_seed`; NaN where a seed has encoders of one kind alone.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> tree = xr.DataTree(_example.design())
    >>> in_out_by_seed(tree["alignment"].mean("augmentation"), tree).sizes["seed"]
    2
    """
    root = results.to_dataset()
    table, seed = values.transpose(SAMPLE, ENCODER).values, root[SEED].values
    trained = root[TRAINED_ON].transpose(SAMPLE, ENCODER).values.astype(bool)
    chosen = (designs(results) == SUBSET) & np.isfinite(table).any(axis=0)
    seeds = np.unique(seed[chosen])
    found = np.empty((len(table), len(seeds)))
    for place, each in enumerate(seeds):
        own = chosen & (seed == each)
        part, inside = table[:, own], trained[:, own]
        counts = inside.sum(axis=1), (~inside).sum(axis=1)
        means = [
            np.where(kind, part, 0).sum(axis=1) / np.where(count, count, np.nan)
            for kind, count in zip((inside, ~inside), counts, strict=True)
        ]
        found[:, place] = sign * (means[0] - means[1])
    return xr.DataArray(found, {SAMPLE: root[SAMPLE].values, SEED: seeds}, (SAMPLE, SEED))
