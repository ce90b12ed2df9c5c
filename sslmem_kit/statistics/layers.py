"""Scores layer by layer: where in an encoder it is memorized.

All is computed from ``/layers`` of a study with ``scoring.layers``. Distances of different layers differ in size for
reasons that have nothing to do with memorization, so that means do not compare between layers. Two numbers without unit do:

``effect``           Cohen's d of candidates against shared samples. Its unit is the spread of scores, most of which is the noise of training:
                     it grows with the number of pairs of encoders (0.50, 0.69, 0.83 with 1, 2, 3), and is smaller where a layer is noisier.
``relative_effect``  (mean of candidates - mean of shared) / mean distance of shared samples at the layer: by what share of its distance a
                     sample is closer for having been trained on. No noise is in its unit; it is the same with any number of pairs.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy import special

from sslmem_kit.errors import UserError
from sslmem_kit.names import (
    ALIGNMENT,
    BOUND,
    BOUNDS,
    ENCODER,
    FAMILIES,
    GROUP,
    LAYER,
    PARTITION,
    PARTITION_CODE,
    PARTITIONS,
    SAMPLE,
    SEED,
    SSLMEM,
)
from sslmem_kit.scores import scored_positions, whole_seeds
from sslmem_kit.statistics.clusters import clustered_mean, units_by_partition
from sslmem_kit.statistics.summary import by_partition
from sslmem_kit.statistics.t_tests import TABLE_2, partition_tests, welch_degrees
from sslmem_kit.store import LAYERS


def layer_scores(tree: xr.DataTree) -> xr.Dataset:
    """Score of every sample at every layer: mean alignment over encoders of family g minus over family f.

    Parameters
    ----------
    tree
        A complete results store with ``/layers``.

    Returns
    -------
    ``sslmem`` on (``sample``, ``layer``) with ``partition`` and ``label``; the last layer, the full representation, has the raw difference of
    protocol ``corrected``. Encoders are those that scores rest on (:func:`sslmem_kit.scores.of_scores`); ``n_f`` and ``n_g`` in the attrs are
    their numbers.
    ``distance`` on ``layer``: mean over shared samples and these encoders; ``relative_effects`` on (``seed``, ``layer``): that of each pair of
    encoders, see the head of this module; ``seed`` has those that have an encoder of each family.

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
    chosen = scored_positions(tree)
    values = group[ALIGNMENT].transpose(SAMPLE, ENCODER, LAYER).isel({ENCODER: chosen}).values
    family = tree["family"].values.astype(object)[chosen]
    f, g = (values[:, family == name] for name in FAMILIES)
    if not f.shape[1] or not g.shape[1]:
        raise UserError(f"family: both f and g are needed, there are {f.shape[1]} encoders of f and {g.shape[1]} of g")
    coords = {name: tree[name].variable for name in (SAMPLE, "label", "partition", GROUP) if name in tree.coords}
    codes, seeds = np.asarray(tree["partition"]), np.asarray(tree["seed"])[chosen]
    of_f, of_g, _ = whole_seeds(family, seeds)
    candidate, shared = (codes == PARTITION_CODE[name] for name in ("candidate", "shared"))
    with np.errstate(invalid="ignore", divide="ignore"):  # a partition without samples
        distance = _mean_of(values, shared)
        contrast = (_mean_of(values, candidate) - distance) / distance.mean(axis=0)
    scores = xr.Dataset(
        {
            SSLMEM: ((SAMPLE, LAYER), g.mean(axis=1, dtype=float) - f.mean(axis=1, dtype=float)),
            "distance": (LAYER, distance.mean(axis=0)),
            "relative_effects": ((SEED, LAYER), contrast[of_g] - contrast[of_f]),
        },
        coords={**coords, LAYER: group[LAYER].values.astype(object), SEED: seeds[of_f]},
    )
    return scores.assign_attrs(protocol="corrected", normalized_by_range="false", n_f=f.shape[1], n_g=g.shape[1])


def _mean_of(values: np.ndarray, members: np.ndarray) -> np.ndarray:
    """Mean over some samples, (sample, encoder, layer) -> (encoder, layer); NaN of none."""
    if not members.any():
        return np.full(values.shape[1:], np.nan)
    return values[members].mean(axis=0, dtype=float)


def layer_table(scores: xr.Dataset) -> xr.Dataset:
    """Means of each layer, and two effects, which compare between layers.

    Parameters
    ----------
    scores
        Of :func:`layer_scores`.

    Returns
    -------
    On (``layer``, ``partition``), layers in forward order, the partitions that have samples: ``mean``, ``sd`` and ``n``, with the 95 %
    ``interval`` of the mean (Student's) on ``bound`` too. On ``layer``, NaN where candidates or shared have no samples:

    - ``effect``, Cohen's d of candidates against shared samples, with its 95 % ``effect_interval`` on ``bound`` too (:func:`cohens_d`): as the
      intervals of means it is over samples, given the encoders;
    - ``relative_effect``, with its 95 % ``relative_effect_interval`` (Student's) over seeds, given the samples: NaN with one pair of encoders,
      of which nothing is known over seeds.

    The scalar ``n_seeds`` counts the pairs of encoders of the latter.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> table = layer_table(layer_scores(_example.tree()))
    >>> table["mean"].sel(partition="candidate", layer=["block", "head"]).round(1).values
    array([0.1, 0.2])
    >>> low, high = table["effect_interval"].sel(layer="head").values
    >>> bool(0 < low < table["effect"].sel(layer="head") < high)
    True
    >>> table["relative_effect"].sel(layer="head").round(2).item()
    0.48
    """
    names = scores[LAYER].values.astype(object)
    groups = [by_partition(scores.sel({LAYER: name})) for name in names]
    parts = [part for part in PARTITIONS if len(groups[0][part])] if groups else []
    units = [units_by_partition(scores.sel({LAYER: name})) for name in names]
    means = [
        [_mean(group[part], None if unit is None else unit[part]) for part in parts]
        for group, unit in zip(groups, units, strict=True)
    ]
    effects = [
        cohens_d(group["candidate"], group["shared"], groups=None if unit is None else (unit["candidate"], unit["shared"]))
        for group, unit in zip(groups, units, strict=True)
    ]
    relative = scores["relative_effects"].transpose(LAYER, SEED).values
    over_seeds = [
        _mean(row)[::2] if len(row) else (_unpaired(group, distance), (np.nan, np.nan))
        for row, group, distance in zip(relative, groups, scores["distance"].values.tolist(), strict=True)
    ]
    by_part = (LAYER, PARTITION)
    return xr.Dataset(
        {
            "mean": (by_part, [[mean for mean, *_ in row] for row in means]),
            "sd": (by_part, [[sd for _, sd, *_ in row] for row in means]),
            "n": (by_part, [[len(group[part]) for part in parts] for group in groups]),
            "interval": ((*by_part, BOUND), np.reshape([[ends for *_, ends in row] for row in means], (len(means), len(parts), 2))),
            "effect": (LAYER, [d for d, _ in effects]),
            "effect_interval": ((LAYER, BOUND), [ends for _, ends in effects]),
            "relative_effect": (LAYER, [mean for mean, _ in over_seeds]),
            "relative_effect_interval": ((LAYER, BOUND), [ends for _, ends in over_seeds]),
            "n_seeds": relative.shape[1],
        },
        {LAYER: names, PARTITION: parts, BOUND: list(BOUNDS)},
    )


def cohens_d(
    first: np.ndarray, second: np.ndarray, *, groups: tuple[np.ndarray, np.ndarray] | None = None
) -> tuple[float, tuple[float, float]]:
    """Cohen's d of two groups that may spread differently, ``(mean1 - mean2) / s`` with the pooled ``s``, and its 95 % interval.

    Parameters
    ----------
    first, second
        Scores, (sample,).
    groups
        Group of each of both, where samples have groups, which are the unit of the interval then.

    Returns
    -------
    d and the ends of its interval; NaN with fewer than 2 samples (of the interval: groups) on a side, or where nothing varies.

    Notes
    -----
    ``s**2 = ((n1 - 1) s1**2 + (n2 - 1) s2**2) / (n1 + n2 - 2)``. The interval is by the delta method, which needs neither equal spreads nor
    normal values: a value x of the first group moves d by ``(x - mean1) / s - d (n1 - 1) / (n1 + n2 - 2) ((x - mean1)**2 - s1**2) / (2 s**2)``
    over n1 (of the second the first term changes its sign), and the variance of d is that of these moves in the first group over n1 plus
    that in the second over n2. Student's t with Welch's degrees of freedom. For normal values it is ``(s1**2 / n1 + s2**2 / n2) / s**2 + d**2
    ((n1 - 1) s1**4 + (n2 - 1) s2**4) / (2 (n1 + n2 - 2)**2 s**4)``; with equal spreads Hedges and Olkin's 1 / n1 + 1 / n2 + d**2 / (2 (n1 +
    n2)), which covers 89 % where the smaller group spreads 1.31 times as much. See Bonett, Psychological Methods 13 (2008).

    Examples
    --------
    >>> d, (low, high) = cohens_d(np.array([4.0, 5, 6]), np.array([1.0, 2, 3]))
    >>> float(d), bool(0 < low < d < high)
    (3.0, True)
    """
    if min(len(first), len(second)) < 2:
        return np.nan, (np.nan, np.nan)
    sides = [np.asarray(values, float) for values in (first, second)]
    degrees = np.array([len(values) - 1 for values in sides])
    variances = np.array([values.var(ddof=1) for values in sides])
    pooled = (degrees @ variances) / degrees.sum()
    if not pooled > 0:
        return np.nan, (np.nan, np.nan)
    d = (sides[0].mean() - sides[1].mean()) / np.sqrt(pooled)
    parts, units = [], []
    for place, (values, sign, variance, own) in enumerate(zip(sides, (1, -1), variances, degrees, strict=True)):
        apart = values - values.mean()
        moves = sign * apart / np.sqrt(pooled) - d * own / degrees.sum() * (apart**2 - variance) / (2 * pooled)
        mean = clustered_mean(moves, np.arange(len(moves)) if groups is None else groups[place])
        parts.append(mean["standard_error"].item() ** 2)
        units.append(mean["n_groups"].item() - 1)
    welch = welch_degrees(parts, [max(own, 1) for own in units])
    reach = np.sqrt(sum(parts)) * special.stdtrit(welch, 0.975)
    return float(d), (float(d - reach), float(d + reach))


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


def _unpaired(group: dict[str, np.ndarray], distance: float) -> float:
    """Relative effect of encoders that are no pairs, of which nothing is known over seeds."""
    if not len(group["candidate"]) or not len(group["shared"]):
        return np.nan
    return float((group["candidate"].mean() - group["shared"].mean()) / distance)


def _mean(values: np.ndarray, groups: np.ndarray | None = None) -> tuple[float, float, tuple[float, float]]:
    """Mean, standard deviation, and Student's 95 % interval of the mean, over groups where there are some."""
    found = clustered_mean(values, np.arange(len(values)) if groups is None else groups)
    sd = float(values.std(ddof=1)) if len(values) > 1 else np.nan
    return float(found["mean"]), sd, (float(found["low"]), float(found["high"]))
