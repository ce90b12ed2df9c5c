"""Effect of membership: what training on a sample does to its alignment, with the offset of the trainings taken out.

Two encoders differ by an amount that is common to all samples, whatever they were trained on. It is in the mean score of every partition, and
tests of a mean against zero find it. Differences of partitions cancel it: candidates against independent samples, which f and g memorize in
mirror image, use all samples whose membership differs; candidates against shared ones say the same of half of them.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from scipy import special

from sslmem_kit.names import BOUND, BOUNDS, GROUP, PARTITION, PARTITION_CODE, PARTITIONS
from sslmem_kit.scores import by_seed
from sslmem_kit.scores.contrast import BY_ENCODER
from sslmem_kit.scores.intervals import CONFIDENCE
from sslmem_kit.statistics.clusters import clustered_two_sample_test, scored, units_by_partition
from sslmem_kit.statistics.summary import by_partition
from sslmem_kit.statistics.t_tests import two_sample_test, welch_degrees

EFFECT = "effect"
"""Dimension of effects."""
EFFECTS = {"(C-I)/2": {"candidate": 0.5, "independent": -0.5}, "C-S": {"candidate": 1.0, "shared": -1.0}}
"""Effects, with the weights of the partitions' means."""
OVER = {
    "seeds": "trainings (seeds), for these samples",
    "encoders": "trainings (encoders that are no pairs), for these samples",
    "samples": "samples, given these encoders",
}
"""What an interval is over, in words."""
UNITS = {"sample": "samples", GROUP: "groups of samples"}
"""Units of tests, in words."""


def effects(scores: xr.Dataset) -> xr.Dataset:
    """Effects of membership, with intervals over trainings.

    Parameters
    ----------
    scores
        Of :func:`sslmem_kit.scores.score`: ``sslmem(sample)`` with ``partition``, and ``alignment_by_encoder(sample, encoder)``.

    Returns
    -------
    On ``effect``, in units of ``sslmem``, NaN where a partition has no samples:

    - ``value``; ``interval`` (95 %, Student's t), on ``bound`` too; ``over``, what it is over: ``seeds`` where at least two have encoders of
      both families, else ``encoders`` (Welch's) where there are two of each family, else ``samples``, given the encoders;
    - ``sd`` over seeds and ``seeds``, their number, NaN and 0 where there are no pairs;
    - ``t`` and ``p`` of Welch's one-sided test over samples (over groups, where samples have them), given these encoders, that candidates
      score higher; ``cohens_d``; ``n``, samples of both partitions.

    - ``unit`` of that test, ``sample`` or ``group``.

    The attrs hold the ``protocol``.

    References
    ----------
    Welch, Biometrika 34 (1947).

    Examples
    --------
    >>> from sslmem_kit.scores import _example, score
    >>> found = effects(score(_example.results()))
    >>> found["value"].round(2).to_series().to_dict(), found["over"].values.tolist()[0]
    ({'(C-I)/2': 0.19, 'C-S': 0.18}, 'seeds')
    """
    groups, units, of_trainings = by_partition(scores), units_by_partition(scores), training_means(scores)
    rows = []
    for weights in EFFECTS.values():
        first, second = (groups[name] for name in weights)
        value = sum(weight * groups[name].mean() for name, weight in weights.items()) if len(first) and len(second) else np.nan
        error, degrees, over, sd, seeds = _over_trainings(of_trainings, weights)
        test = two_sample_test(first, second, alternative="greater")
        if units is not None or over == "samples":
            of_units = (
                [np.arange(len(first)), len(first) + np.arange(len(second))] if units is None else [units[name] for name in weights]
            )
            clustered = clustered_two_sample_test(first, second, *of_units, alternative="greater")
            if units is not None:
                test = test.assign(clustered[["t", "p"]])
            if over == "samples":  # both partitions have the same weight but for its sign
                error, degrees = (clustered[name].item() for name in ("standard_error", "degrees"))
                error *= next(iter(weights.values()))
        reach = error * special.stdtrit(degrees, 0.5 + CONFIDENCE / 2)
        tested = (test[name].item() for name in ("t", "p", "cohens_d", "n"))
        rows.append((value, (value - reach, value + reach), over, sd, seeds, *tested))
    names = ("value", "interval", "over", "sd", "seeds", "t", "p", "cohens_d", "n")
    return xr.Dataset(
        {
            name: ((EFFECT, BOUND) if name == "interval" else EFFECT, list(column))
            for name, column in zip(names, zip(*rows, strict=True), strict=True)
        },
        {EFFECT: list(EFFECTS), BOUND: list(BOUNDS)},
        {"protocol": scores.attrs.get("protocol", "")},
    ).assign(unit=(EFFECT, ["sample" if units is None else GROUP] * len(EFFECTS)))


def by_name(found: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Effects as a mapping of numbers and strings by name, as in the report's JSON.

    Parameters
    ----------
    found
        Of :func:`effects`.

    Examples
    --------
    >>> from sslmem_kit.scores import _example, score
    >>> row = by_name(effects(score(_example.results())))["C-S"]
    >>> round(row["value"], 2), row["over"], row["seeds"], len(row["interval"])
    (0.18, 'seeds', 3, 2)
    """
    return {
        str(name): {str(key): column.sel({EFFECT: name}).values.tolist() for key, column in found.data_vars.items()}
        for name in found[EFFECT].values
    }


def seed_summary(scores: xr.Dataset) -> xr.Dataset:
    """Mean score of each partition over seeds, the form in which the paper gives its numbers.

    Parameters
    ----------
    scores
        As in :func:`effects`.

    Returns
    -------
    ``mean`` and ``sd`` over seeds of the partition's mean, on ``partition``, and the 95 % ``interval`` (Student's t) of the mean, on ``bound``
    too, over trainings for these samples; ``seeds`` counts them. NaN with one seed, and 0 seeds where encoders are no pairs. These means
    contain the offset of the trainings.

    Examples
    --------
    >>> from sslmem_kit.scores import _example, score
    >>> found = seed_summary(score(_example.results()))
    >>> found["mean"].sel(partition="candidate").round(2).item(), found["seeds"].item()
    (0.19, 3)
    """
    trainings = training_means(scores)
    names = [name for name, values in by_partition(scores).items() if len(values)]
    values = trainings.sel({PARTITION: names}).values if "seed" in trainings.dims else np.empty((len(names), 0))
    seeds = values.shape[1]
    mean = values.mean(axis=1) if seeds else np.full(len(names), np.nan)
    sd = values.std(axis=1, ddof=1) if seeds > 1 else np.full(len(names), np.nan)
    reach = sd / np.sqrt(max(seeds, 1)) * special.stdtrit(max(seeds - 1, 1), 0.5 + CONFIDENCE / 2)
    return xr.Dataset(
        {
            "mean": (PARTITION, mean),
            "sd": (PARTITION, sd),
            "interval": ((PARTITION, BOUND), np.stack([mean - reach, mean + reach], axis=1)),
            "seeds": seeds,
        },
        {PARTITION: names, BOUND: list(BOUNDS)},
    )


def training_means(scores: xr.Dataset) -> xr.DataArray:
    """Mean of each partition under each training, in units of ``sslmem``.

    Parameters
    ----------
    scores
        As in :func:`effects`.

    Returns
    -------
    (partition, seed): the mean score of one seed; where encoders are no pairs (partition, encoder): the mean alignment under each, with
    ``family``. NaN of partitions without samples.

    Examples
    --------
    >>> from sslmem_kit.scores import _example, score
    >>> training_means(score(_example.results())).sel(partition="candidate").round(2).values
    array([0.18, 0.18, 0.2 ])
    """
    values = by_seed(scores)
    if values.sizes["seed"]:
        values = values / np.array(scores.attrs.get("ranges", 1.0))
    else:
        values = scores[BY_ENCODER] / scores.attrs.get("range", 1.0)
    codes = np.where(scored(scores), scores["partition"].values, -1)
    means = [
        values.values[codes == code].mean(axis=0) if (codes == code).any() else np.full(values.shape[1], np.nan)
        for code in (PARTITION_CODE[name] for name in PARTITIONS)
    ]
    dim = values.dims[1]
    coords = {name: coord for name, coord in values.coords.items() if coord.dims == (dim,)}
    return xr.DataArray(np.array(means), {PARTITION: list(PARTITIONS), **coords}, (PARTITION, dim))


def _over_trainings(trainings: xr.DataArray, weights: dict[str, float]) -> tuple[float, float, str, float, int]:
    """Error of an effect over trainings, its degrees of freedom, what it is over, standard deviation over seeds, and their number."""
    of_each = xr.dot(trainings.sel({PARTITION: list(weights)}), xr.DataArray(list(weights.values()), dims=PARTITION), dim=PARTITION)
    if "seed" in trainings.dims:
        seeds = trainings.sizes["seed"]
        if seeds < 2:
            return np.nan, 1, "samples", np.nan, seeds
        sd = float(of_each.std(ddof=1))
        return sd / np.sqrt(seeds), seeds - 1, "seeds", sd, seeds
    sides = [of_each.values[trainings["family"].values == family] for family in ("f", "g")]
    if min(map(len, sides)) < 2:
        return np.nan, 1, "samples", np.nan, 0
    parts = [side.var(ddof=1) / len(side) for side in sides]
    return float(np.sqrt(sum(parts))), welch_degrees(parts, [len(side) - 1 for side in sides]), "encoders", np.nan, 0
