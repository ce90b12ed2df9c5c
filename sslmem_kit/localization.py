"""Where it is memorized: scores layer by layer, and whether units respond most to what their encoder has seen.

Everything here is read from ``/layers`` and ``/units`` of a study with ``scoring.layers``. Distances of different layers differ in size for
reasons that have nothing to do with memorization: between layers compare ``effect``, a number without unit, not the means.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from scipy import special

from sslmem_kit.errors import UserError
from sslmem_kit.names import ALIGNMENT, ENCODER, FAMILIES, LAYER, PARTITION_CODE, SAMPLE, SSLMEM, UNIT
from sslmem_kit.scores import pair_positions
from sslmem_kit.statistics import TABLE_2, by_partition, partition_tests
from sslmem_kit.store import LAYERS, UNITS

NORMAL_975 = 1.959964
PERMUTATIONS = 2000
SLICE_BYTES = 2**26
"""Of permutations that are drawn at once."""
QUANTILES = (0.05, 0.25, 0.5, 0.75, 0.95)

EVERY = "all layers"
"""Name of the row that takes all layers together."""


def layer_scores(tree: xr.DataTree) -> xr.Dataset:
    """Score of every sample at every layer: mean alignment over encoders of family g minus over family f, over all pairs of views.

    Parameters
    ----------
    tree
        A complete results store with ``/layers``.

    Returns
    -------
    ``sslmem(sample, layer)`` with ``partition`` and ``label``; the last layer, the whole output, has the raw difference of protocol
    ``corrected``. Of encoders those that are pairs of f and g count.

    Raises
    ------
    UserError
        The study was scored without layers, or one family has no encoder.
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


def layer_table(scores: xr.Dataset) -> list[dict[str, Any]]:
    """Means and tests of each layer.

    Parameters
    ----------
    scores
        Of :func:`layer_scores`.

    Returns
    -------
    One mapping a layer, in forward order: ``layer``; ``partitions``, of each that has samples ``mean``, ``sd``, ``n`` and the 95 %
    ``interval`` of the mean (Student's); ``tests``, those of Table 2; ``effect``, Cohen's d of candidates against shared samples, and its
    95 % ``effect_interval`` (large-sample, Hedges and Olkin 1985). Intervals and tests are over samples, given the encoders.
    """
    rows = []
    for name in scores[LAYER].values:
        one = scores.sel({LAYER: name})
        tests = partition_tests(one, TABLE_2)
        partitions = {part: _mean(values) for part, values in by_partition(one).items() if len(values)}
        row = {"layer": str(name), "partitions": partitions, "tests": tests}
        main = next((test for test in tests if test["alternative"] == "C>S"), None)
        d, error = np.nan, np.nan
        if main:
            d, sizes = main["cohens_d"], (main["n_first"], main["n_second"])
            error = np.sqrt(sum(1 / max(size, 1) for size in sizes) + d**2 / (2 * sum(sizes)))
        rows.append({**row, "effect": d, "effect_interval": (d - NORMAL_975 * error, d + NORMAL_975 * error)})
    return rows


def _mean(values: np.ndarray) -> dict[str, Any]:
    n, mean = len(values), float(values.mean())
    sd = float(values.std(ddof=1)) if n > 1 else np.nan
    reach = sd / np.sqrt(n) * special.stdtrit(max(n - 1, 1), 0.975)
    return {"mean": mean, "sd": sd, "n": n, "interval": (mean - reach, mean + reach)}


def unit_table(tree: xr.DataTree) -> list[dict[str, Any]]:
    """UnitMem of each layer, over the units of all encoders of pairs.

    Returns
    -------
    One mapping a layer: ``layer``, ``n_units`` (of one encoder), ``mean`` and ``quantiles`` (5, 25, 50, 75 and 95 %) of ``unit_mem``, and
    ``standard_error``, the root mean square of the errors over views of single units.
    """
    units = _units(tree)
    layers, rows = units[LAYER].values.astype(object), []
    for name in dict.fromkeys(layers):
        one = units.isel({UNIT: layers == name})
        values, errors = one["unit_mem"].values.astype(np.float64), one["standard_error"].values.astype(np.float64)
        rows.append(
            {
                "layer": str(name),
                "n_units": one.sizes[UNIT],
                "mean": float(values.mean()),
                "quantiles": tuple(np.quantile(values, QUANTILES).tolist()),
                "standard_error": float(np.sqrt((errors**2).mean())),
            }
        )
    return rows


def strongest_seen(tree: xr.DataTree, *, seed: int = 0) -> list[dict[str, Any]]:
    """Whether units respond most to samples that their encoder was trained on.

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
    One mapping a layer, the first for all together: ``layer``, ``n_units`` that count, ``n_samples`` that these respond to, ``share``,
    ``null_mean`` and ``null_interval`` (95 %), and the one-sided ``p``. NaN where no unit counts.

    Notes
    -----
    Which samples are candidates and which independent was drawn at random. The null draws it again, within each class and for all encoders
    at once, while the units keep their strongest samples: that many units share one is thereby allowed for.
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
        null = (1 + _redrawn(is_candidate, labels, weights, np.random.Generator(np.random.Philox(seed))) / n) / 2
    low, high = np.quantile(null, (0.025, 0.975), axis=0)
    p = (1 + (null >= share - 1e-6).sum(axis=0)) / (1 + PERMUTATIONS)
    return [
        {
            "layer": str(name),
            "n_units": int(n[column]),
            "n_samples": len(np.unique(where[column])),
            "share": float(share[column]),
            "null_mean": float(null[:, column].mean()),
            "null_interval": (float(low[column]), float(high[column])),
            "p": float(p[column]) if n[column] else np.nan,
        }
        for column, name in enumerate(names)
    ]


def localized(tree: xr.DataTree) -> dict[str, Any]:
    """What the report holds of a study with layers: ``layers``, ``units`` and ``strongest_seen``; empty of another."""
    if LAYERS not in tree.children:
        return {}
    told: dict[str, Any] = {"layers": layer_table(layer_scores(tree))}
    return {**told, "units": unit_table(tree), "strongest_seen": strongest_seen(tree)} if UNITS in tree.children else told


def as_text(told: dict[str, Any]) -> list[str]:
    """Lines of a report for a person, of :func:`localized`."""
    unit_mem = {row["layer"]: row["quantiles"][2] for row in told.get("units", ())}
    lines = [f"{'layer':<24} {'candidate':>10} {'shared':>9} {'d (C>S)':>8} {'95 % interval':>17} {'p (C>S)':>9} {'UnitMem':>8}"]
    for row in told["layers"]:
        means = [row["partitions"].get(name, {}).get("mean") for name in ("candidate", "shared")]
        candidate, shared = ("-" if mean is None else f"{mean:+.4f}" for mean in means)
        d, p = row["effect"], next((test["p"] for test in row["tests"] if test["alternative"] == "C>S"), None)
        low, high = row["effect_interval"]
        effect = ("-", "-") if d is None or not np.isfinite(d) else (f"{d:+.2f}", f"[{low:+.2f}, {high:+.2f}]")
        tested = "-" if p is None else f"{p:.2g}"
        median = f"{unit_mem[row['layer']]:.2f}" if row["layer"] in unit_mem else "-"
        lines.append(f"{row['layer']:<24} {candidate:>10} {shared:>9} {effect[0]:>8} {effect[1]:>17} {tested:>9} {median:>8}")
    for row in told.get("strongest_seen", ())[:1]:
        if row["n_units"]:
            low, high = row["null_interval"]
            lines.append(
                f"strongest sample of a unit seen in training: {row['share']:.1%} of {row['n_units']:,} units, "
                f"chance {row['null_mean']:.1%} [{low:.1%}, {high:.1%}], p {row['p']:.2g}"
            )
    return lines


def _redrawn(is_candidate: np.ndarray, labels: np.ndarray, weights: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Sums of weights over samples, plus for candidates and minus for independent ones, which are drawn again within each class.

    (sample,), (sample,), (sample, layer) -> (permutation, layer)
    """
    at_once = max(1, SLICE_BYTES // max(1, 4 * len(labels)))
    sums = []
    for start in range(0, PERMUTATIONS, at_once):
        drawn = np.empty((min(at_once, PERMUTATIONS - start), len(labels)), np.float32)
        for label in np.unique(labels):
            members = np.flatnonzero(labels == label)
            signs = np.where(is_candidate[members], 1, -1).astype(np.float32)
            drawn[:, members] = rng.permuted(np.broadcast_to(signs, (len(drawn), len(members))), axis=1)
        sums.append(drawn @ weights)
    return np.concatenate(sums)


def _units(tree: xr.DataTree) -> xr.Dataset:
    """``/units`` of the encoders of pairs, in memory."""
    if UNITS not in tree.children:
        raise UserError("scoring.layers: this study was scored without layers, nothing is known of its units")
    return tree[UNITS].to_dataset().isel({ENCODER: pair_positions(tree)}).load()
