"""UnitMem by layer, and whether units respond most to samples that their encoder was trained on."""

from __future__ import annotations

import numpy as np
import xarray as xr

from sslmem_kit.errors import UserError
from sslmem_kit.names import BOUND, BOUNDS, ENCODER, LAYER, PARTITION_CODE, QUANTILE, SAMPLE, UNIT
from sslmem_kit.scores import pair_positions
from sslmem_kit.store import UNITS
from sslmem_kit.store.schema import OLD_UNIT_RULE

PERMUTATIONS = 2000

SLICE_BYTES = 2**26
"""Size of the permutations that are made at once."""

QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

EVERY = "all layers"
"""Name of the row that takes all layers together."""


def unit_table(tree: xr.DataTree) -> xr.Dataset:
    """UnitMem of each layer, over the units of all encoders of pairs.

    Parameters
    ----------
    tree
        A complete results store with ``/units``.

    Returns
    -------
    On ``layer``: ``n_units`` (of one encoder), ``mean`` of ``unit_mem``, and ``standard_error``, the root mean square of the errors over views
    of single units; ``null``, the mean of what samples that are chosen at random give, NaN in stores of earlier versions; on (``layer``,
    ``quantile``): ``unit_mem`` at 5, 25, 50, 75 and 95 %. The attribute ``rule`` says how the strongest sample was chosen.

    Raises
    ------
    UserError
        The study was scored without layers.

    References
    ----------
    Wang et al., Localizing memorization in SSL vision encoders, NeurIPS 2024, for UnitMem.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> table = unit_table(_example.tree())
    >>> table["n_units"].to_series().to_dict()
    {'stem': 6, 'block': 6}
    >>> table["unit_mem"].sel(layer="stem", quantile=0.5).round(1).item()
    0.5
    """
    units = _units(tree)
    layers = units[LAYER].values.astype(object)
    names = list(dict.fromkeys(layers))
    parts = [units.isel({UNIT: layers == name}) for name in names]
    values = [part["unit_mem"].values.astype(np.float64) for part in parts]
    errors = [part["standard_error"].values.astype(np.float64) for part in parts]
    nulls = [part["null"].values.astype(np.float64).mean() if "null" in part else np.nan for part in parts]
    return xr.Dataset(
        {
            "n_units": (LAYER, [part.sizes[UNIT] for part in parts]),
            "mean": (LAYER, [one.mean() for one in values]),
            "unit_mem": ((LAYER, QUANTILE), [np.quantile(one, QUANTILES) for one in values]),
            "standard_error": (LAYER, [np.sqrt((one**2).mean()) for one in errors]),
            "null": (LAYER, nulls),
        },
        {LAYER: np.array(names, object), QUANTILE: list(QUANTILES)},
        {"rule": units.attrs.get("rule", OLD_UNIT_RULE)},
    )


def strongest_seen(tree: xr.DataTree, *, seed: int = 0) -> xr.Dataset:
    """Share of units that respond most to a sample that their encoder was trained on, against random partitions.

    Of the units whose strongest sample is a candidate or an independent one, the share whose encoder was trained on it: a candidate for
    family f, an independent one for g.

    Parameters
    ----------
    tree
        A complete results store with ``/units``.
    seed
        Of the permutations.

    Returns
    -------
    On ``layer``, the first for all together: ``n_units`` that count, ``n_samples`` that these respond to, ``share``, ``null_mean``, and the
    one-sided ``p``; ``null_interval`` (95 %) on (``layer``, ``bound``). NaN where no unit counts.

    Raises
    ------
    UserError
        The study was scored without layers.

    Notes
    -----
    Which samples are candidates and which independent was chosen at random. The null permutes it, within each class and for all encoders
    at once, while the units keep their strongest samples: that many units share one is thereby allowed for.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> seen = strongest_seen(_example.tree())
    >>> seen["share"].round(2).to_series().to_dict()
    {'all layers': 0.75, 'stem': 0.5, 'block': 1.0}
    >>> (seen["p"] < 0.01).values
    array([ True, False,  True])
    """
    units = _units(tree)
    codes, ids = tree["partition"].values, tree[SAMPLE].values
    pool = np.flatnonzero(np.isin(codes, [PARTITION_CODE["candidate"], PARTITION_CODE["independent"]]))
    is_candidate, labels = codes[pool] == PARTITION_CODE["candidate"], tree["label"].values[pool]
    sign = np.where(tree["family"].values.astype(object)[pair_positions(tree)] == "f", 1, -1)[:, None]
    strongest, layers = units["strongest"].values, units[LAYER].values.astype(object)
    place = np.searchsorted(ids[pool], strongest).clip(max=max(len(pool) - 1, 0))
    counts = ids[pool][place] == strongest if len(pool) else np.zeros(strongest.shape, bool)
    names = (EVERY, *dict.fromkeys(layers))
    weights, where = np.zeros((len(pool), len(names)), np.float32), []
    for column, name in enumerate(names):
        chosen = counts & ((layers == name) | (name == EVERY))
        where.append(place[chosen])
        # What a sample adds to "seen" minus "not seen" when it is a candidate; the opposite when it is independent.
        weights[:, column] = np.bincount(place[chosen], np.broadcast_to(sign, chosen.shape)[chosen], minlength=len(pool))
    n = np.array([len(places) for places in where])
    with np.errstate(invalid="ignore"):  # NaN where no unit counts
        share = (1 + np.where(is_candidate, 1, -1) @ weights / n) / 2
        null = (1 + _permuted(is_candidate, labels, weights, np.random.Generator(np.random.Philox(seed))) / n) / 2
    low, high = np.quantile(null, (0.025, 0.975), axis=0)
    p = (1 + (null >= share - 1e-6).sum(axis=0)) / (1 + PERMUTATIONS)
    return xr.Dataset(
        {
            "n_units": (LAYER, n),
            "n_samples": (LAYER, [len(np.unique(places)) for places in where]),
            "share": (LAYER, share),
            "null_mean": (LAYER, [column.mean() for column in null.T]),
            "null_interval": ((LAYER, BOUND), np.stack([low, high], axis=1)),
            "p": (LAYER, np.where(n > 0, p, np.nan)),
        },
        {LAYER: np.array(names, object), BOUND: list(BOUNDS)},
    )


def _permuted(is_candidate: np.ndarray, labels: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sums of weights over samples, plus for candidates and minus for independent ones, which are permuted within each class.

    (sample,), (sample,), (sample, layer) -> (permutation, layer)
    """
    at_once = max(1, SLICE_BYTES // max(1, 4 * len(labels)))
    sums = []
    for start in range(0, PERMUTATIONS, at_once):
        permuted = np.empty((min(at_once, PERMUTATIONS - start), len(labels)), np.float32)
        for label in np.unique(labels):
            members = np.flatnonzero(labels == label)
            signs = np.where(is_candidate[members], 1, -1).astype(np.float32)
            permuted[:, members] = rng.permuted(np.broadcast_to(signs, (len(permuted), len(members))), axis=1)
        sums.append(permuted @ weights)
    return np.concatenate(sums)


def _units(tree: xr.DataTree) -> xr.Dataset:
    """``/units`` of the encoders of pairs, in memory."""
    if UNITS not in tree.children:
        raise UserError("scoring.layers: this study was scored without layers, nothing is known of its units")
    return tree[UNITS].to_dataset().isel({ENCODER: pair_positions(tree)}).load()
