"""Privacy audit: no score of single samples, but a statement on encoders, which :mod:`sslmem_kit.statistics.privacy` makes on reading."""

from __future__ import annotations

import json

import numpy as np
import xarray as xr

from sslmem_kit.names import SAMPLE, SEED
from sslmem_kit.scores.comparisons.base import Comparison


def coin_problem(results: xr.Dataset | xr.DataTree) -> str:
    """Return why the encoders of a study cannot be audited, with the remedy; empty where they can.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> coin_problem(_example.results()).partition(",")[0]
    'partition.coin: a split of fixed size is no independent coins'
    """
    spec = json.loads(results.attrs.get("spec", "{}"))
    if spec.get("partition", {}).get("coin"):
        return ""
    return (
        "partition.coin: a split of fixed size is no independent coins, on which the bound rests; train a study with "
        "partition: {coin: true}"
    )


def reduce(raw: xr.Dataset | None, results: xr.DataTree) -> xr.Dataset:
    """No columns: epsilon is of an encoder.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> len(reduce(None, xr.DataTree(_example.results())).data_vars)
    0
    """
    return xr.Dataset(coords={SAMPLE: results[SAMPLE].values, SEED: np.empty(0, int)})


PRIVACY = Comparison(
    name="privacy",
    title="Differential privacy",
    source="Steinke, Nasr and Jagielski 2023 (arXiv 2305.08846); Mahloujifar, Melis and Chaudhuri 2025 (arXiv 2410.22235)",
    definition="lower bound on epsilon of one encoder, from guesses of the coins that chose its candidates, beside what DP-SGD claims",
    columns={},
    reduce=reduce,
    problem=coin_problem,
    by_spec=True,
)
