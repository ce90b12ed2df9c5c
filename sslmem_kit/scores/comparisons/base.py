"""What a comparison is, and its score and error from replicates."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Literal

import numpy as np
import xarray as xr

from sslmem_kit.names import SAMPLE, SEED

Measured = Literal["f", "pairs", "all"]
"""Encoders that are measured: those of family f, of pairs of f and g, or all that the study has."""

Reduce = Callable[[xr.Dataset | None, xr.DataTree], xr.Dataset]
"""``reduce(raw, results)``: columns (sample, seed) from what was measured, on ``sample`` and ``encoder`` (None where nothing is), and the
results of the study."""

BY_SEED = "_by_seed"
ERROR = "_error"


@dataclass(frozen=True)
class Comparison:
    """A score beside SSLMem.

    Attributes
    ----------
    name, title
        Key, and name in reports.
    source
        Reference.
    definition
        What it measures, in a sentence.
    columns
        Labels of the scores that it has, by the names of their columns.
    reduce
        Function from what was measured to replicates.
    measured
        Encoders that are measured; None: it follows from what every store holds.
    problem
        ``problem(results)``: why the study has no such score, with the remedy; empty where it has.
    by_spec
        True: the problem follows from the spec alone, in the attributes of results, so that a study is refused before it is trained.
    """

    name: str
    title: str
    source: str
    definition: str
    columns: Mapping[str, str]
    reduce: Reduce
    measured: Measured | None = None
    problem: Callable[[xr.DataTree], str] = lambda results: ""
    by_spec: bool = False


def summarized(replicates: xr.Dataset, *, labels: Mapping[str, str] | None = None) -> xr.Dataset:
    """Score and standard error of every column, beside its replicates.

    Parameters
    ----------
    replicates
        Columns (sample, seed), NaN where a sample has none.
    labels
        Labels of the columns that have no ``long_name`` of their own; by default their names.

    Returns
    -------
    For each column ``NAME(sample)``, the mean over the seeds that have it; ``NAME_error(sample)``, its standard error over seeds, NaN with
    fewer than two; ``NAME_by_seed(sample, seed)``.

    Examples
    --------
    >>> found = summarized(xr.Dataset({"score": (("sample", "seed"), [[1.0, 3.0], [2.0, np.nan]])}, {"seed": [0, 1]}))
    >>> found["score"].values, found["score_error"].values
    (array([2., 2.]), array([ 1., nan]))
    """
    found = {}
    for name, each in replicates.data_vars.items():
        values = each.transpose(SAMPLE, SEED).values.astype(np.float64)
        known = np.isfinite(values)
        count = known.sum(axis=1)
        mean = np.where(known, values, 0).sum(axis=1) / np.where(count, count, np.nan)
        squares = (np.where(known, values - mean[:, None], 0) ** 2).sum(axis=1)
        error = np.sqrt(squares / np.where(count > 1, (count - 1) * count, np.nan))
        attrs = {"long_name": (labels or {}).get(str(name), str(name)), **each.attrs}
        found[name] = (SAMPLE, mean, attrs)
        found[f"{name}{ERROR}"] = (SAMPLE, error, {"long_name": f"standard error over seeds of {attrs['long_name']}"})
        found[f"{name}{BY_SEED}"] = ((SAMPLE, SEED), values, {"long_name": f"{attrs['long_name']} in each seed", "replicates": 1})
    return xr.Dataset(found, {SEED: replicates[SEED].values}, attrs=replicates.attrs)
