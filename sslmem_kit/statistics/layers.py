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
from sslmem_kit.names import ALIGNMENT, ENCODER, FAMILIES, LAYER, SAMPLE, SSLMEM
from sslmem_kit.scores import pair_positions
from sslmem_kit.statistics.summary import by_partition
from sslmem_kit.statistics.t_tests import TABLE_2, partition_tests
from sslmem_kit.store import LAYERS

NORMAL_975 = 1.959964


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
