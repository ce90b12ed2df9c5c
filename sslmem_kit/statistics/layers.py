"""Scores layer by layer: where in an encoder it is memorized.

All is computed from ``/layers`` of a study with ``scoring.layers``. Distances of different layers differ in size for
reasons that have nothing to do with memorization: between layers compare ``effect``, a number without unit, not the means.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy import special

from sslmem_kit.errors import UserError
from sslmem_kit.names import ALIGNMENT, ALTERNATIVE, BOUND, BOUNDS, ENCODER, FAMILIES, LAYER, PARTITION, PARTITIONS, SAMPLE, SSLMEM
from sslmem_kit.scores import pair_positions
from sslmem_kit.statistics.summary import by_partition
from sslmem_kit.statistics.t_tests import TABLE_2, partition_tests
from sslmem_kit.store import LAYERS

NORMAL_975 = 1.959964
"""Quantile of the normal distribution that a 95 % interval reaches to."""


def layer_scores(tree: xr.DataTree) -> xr.Dataset:
    """Score of every sample at every layer: mean alignment over encoders of family g minus over family f.

    Parameters
    ----------
    tree
        A complete results store with ``/layers``.

    Returns
    -------
    ``sslmem`` on (``sample``, ``layer``) with ``partition`` and ``label``; the last layer, the full representation, has the raw difference of
    protocol ``corrected``. Only encoders that are pairs of f and g count; ``n_f`` and ``n_g`` in the attrs are their numbers.

    Raises
    ------
    UserError
        The study was scored without layers, or one family has no encoder.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> scores = layer_scores(_example.tree())
    >>> dict(scores["sslmem"].sizes)
    {'sample': 40, 'layer': 3}
    """
    if LAYERS not in tree.children:
        raise UserError("scoring.layers: this study was scored without layers; set it to 'auto' in the spec of a new study")
    group = tree[LAYERS].to_dataset()
    chosen = pair_positions(tree)
    values = group[ALIGNMENT].transpose(SAMPLE, ENCODER, LAYER).isel({ENCODER: chosen}).values
    family = tree["family"].values.astype(object)[chosen]
    f, g = (values[:, family == name] for name in FAMILIES)
    if not f.shape[1] or not g.shape[1]:
        raise UserError(f"family: both f and g are needed, there are {f.shape[1]} encoders of f and {g.shape[1]} of g")
    coords = {name: tree[name].variable for name in (SAMPLE, "label", "partition")}
    scores = xr.Dataset(
        {SSLMEM: ((SAMPLE, LAYER), g.mean(axis=1, dtype=float) - f.mean(axis=1, dtype=float))},
        coords={**coords, LAYER: group[LAYER].values.astype(object)},
    )
    return scores.assign_attrs(protocol="corrected", normalized_by_range="false", n_f=f.shape[1], n_g=g.shape[1])


def layer_table(scores: xr.Dataset) -> xr.Dataset:
    """Means of each layer, and the effect, which alone compares between layers.

    Parameters
    ----------
    scores
        ``sslmem`` on (``sample``, ``layer``), of :func:`layer_scores`.

    Returns
    -------
    On (``layer``, ``partition``), layers in forward order, the partitions that have samples: ``mean``, ``sd`` and ``n``, with the 95 %
    ``interval`` of the mean (Student's) on ``bound`` too. On ``layer``: ``effect``, Cohen's d of candidates against shared samples, NaN
    where one has no samples, with its 95 % ``effect_interval`` on ``bound`` too: ``d +- 1.96 sqrt(1 / n1 + 1 / n2 + d**2 / (2 (n1 +
    n2)))``. Intervals are over samples, given the encoders.

    References
    ----------
    Hedges and Olkin, Statistical methods for meta-analysis (1985), for the interval of d.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> table = layer_table(layer_scores(_example.tree()))
    >>> table["mean"].sel(partition="candidate", layer=["block", "head"]).round(1).values
    array([0.1, 0.2])
    >>> low, high = table["effect_interval"].sel(layer="head").values
    >>> bool(0 < low < table["effect"].sel(layer="head") < high)
    True
    """
    names = scores[LAYER].values.astype(object)
    groups = [by_partition(scores.sel({LAYER: name})) for name in names]
    parts = [part for part in PARTITIONS if len(groups[0][part])] if groups else []
    means = [[_mean(group[part]) for part in parts] for group in groups]
    effects, intervals = [], []
    for test in (partition_tests(scores.sel({LAYER: name}), ("C>S",)) for name in names):
        d, error = np.nan, np.nan
        if test.sizes[ALTERNATIVE]:
            d, sizes = test["cohens_d"].item(), (test["n_first"].item(), test["n_second"].item())
            error = np.sqrt(sum(1 / max(size, 1) for size in sizes) + d**2 / (2 * sum(sizes)))
        effects.append(d)
        intervals.append((d - NORMAL_975 * error, d + NORMAL_975 * error))
    by_part = (LAYER, PARTITION)
    return xr.Dataset(
        {
            "mean": (by_part, [[mean for mean, *_ in row] for row in means]),
            "sd": (by_part, [[sd for _, sd, *_ in row] for row in means]),
            "n": (by_part, [[len(group[part]) for part in parts] for group in groups]),
            "interval": ((*by_part, BOUND), np.reshape([[ends for *_, ends in row] for row in means], (len(means), len(parts), 2))),
            "effect": (LAYER, effects),
            "effect_interval": ((LAYER, BOUND), intervals),
        },
        {LAYER: names, PARTITION: parts, BOUND: list(BOUNDS)},
    )


def layer_tests(scores: xr.Dataset) -> xr.Dataset:
    """Tests of Table 2 at each layer.

    Parameters
    ----------
    scores
        ``sslmem`` on (``sample``, ``layer``), of :func:`layer_scores`.

    Returns
    -------
    Variables of :func:`sslmem_kit.statistics.partition_tests` on (``layer``, ``alternative``). Tests are over samples, given the encoders.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> tests = layer_tests(layer_scores(_example.tree()))
    >>> (tests["p"].sel(alternative="C>S") < 0.001).to_series().to_dict()
    {'stem': False, 'block': True, 'head': True}
    """
    found = [partition_tests(scores.sel({LAYER: name}, drop=True), TABLE_2) for name in scores[LAYER].values]
    return xr.concat(found, xr.DataArray(scores[LAYER].values.astype(object), dims=LAYER, name=LAYER))


def _mean(values: np.ndarray) -> tuple[float, float, tuple[float, float]]:
    """Mean, standard deviation, and Student's 95 % interval of the mean."""
    n, mean = len(values), float(values.mean())
    sd = float(values.std(ddof=1)) if n > 1 else np.nan
    reach = sd / np.sqrt(n) * special.stdtrit(max(n - 1, 1), 0.975)
    return mean, sd, (mean - reach, mean + reach)
