"""Supervised memorization (Feldman 2020): ``m(x) = Pr[f(x) = y] - Pr[g(x) = y]``, positive where the sample is memorized.

Three estimates of it, from what :mod:`sslmem_kit.measures.comparisons.supervised` measures:

====================== ============================================================ ===================================================
column                 difference of                                                encoders
====================== ============================================================ ===================================================
supervised             softmax probabilities of the own class, the paper's form     f and g of a seed
supervised_correct     correctness, Feldman's own form                              f and g of a seed
supervised_subsets     mean correctness, trained on the sample or not               random subsets (Feldman and Zhang 2020, eq. 1)
====================== ============================================================ ===================================================
"""

from __future__ import annotations

import json

import xarray as xr

from sslmem_kit.names import PAIR, SUBSET
from sslmem_kit.scores.comparisons.base import Comparison
from sslmem_kit.scores.comparisons.replicates import contrast_by_seed, in_out_by_seed
from sslmem_kit.scores.selection import designs

COLUMNS = {
    "supervised": "supervised memorization: softmax of f minus g",
    "supervised_correct": "supervised memorization: correctness of f minus g",
    "supervised_subsets": "supervised memorization: correctness in minus out (Feldman and Zhang)",
}
"""Labels of the columns; a study has those of the designs of its encoders."""


def reduce(raw: xr.Dataset | None, results: xr.DataTree) -> xr.Dataset:
    """Replicates of supervised memorization, one a seed of pairs or of subsets.

    Parameters
    ----------
    raw
        ``probability`` and ``correct`` on ``sample`` and ``encoder``.
    results
        Results of the study.

    Returns
    -------
    ``supervised`` and ``supervised_correct`` where the study has pairs, ``supervised_subsets`` where it has encoders on random subsets, each
    (sample, seed), NaN where a seed does not have it.

    References
    ----------
    Feldman, STOC 2020; Feldman and Zhang, NeurIPS 2020.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> tree = xr.DataTree(_example.design())
    >>> values = tree["trained_on"].astype(float)  # classified correctly where trained on, and nowhere else
    >>> found = reduce(xr.Dataset({"probability": values, "correct": values}), tree)
    >>> {name: column.isel(sample=1).values.tolist() for name, column in found.items()}
    {'supervised': [1.0, 1.0, 1.0], 'supervised_correct': [1.0, 1.0, 1.0], 'supervised_subsets': [1.0, 1.0, nan]}
    """
    if raw is None:
        raise ValueError("supervised memorization is reduced from what was measured")
    there = set(designs(results).tolist())
    found: dict[str, xr.DataArray] = {}
    if PAIR in there:
        found["supervised"] = contrast_by_seed(raw["probability"], results)
        found["supervised_correct"] = contrast_by_seed(raw["correct"], results)
    if SUBSET in there:
        found["supervised_subsets"] = in_out_by_seed(raw["correct"], results)
    columns = [column.rename(name).assign_attrs(higher="more memorized") for name, column in found.items()]
    return xr.merge(columns, join="outer", compat="override", combine_attrs="drop")


def problem(results: xr.DataTree) -> str:
    """Return why a study has no supervised memorization, with the remedy; empty where it has.

    Examples
    --------
    >>> problem(xr.DataTree(xr.Dataset(attrs={"spec": '{"objective": {"method": "simclr"}}'})))
    "objective.method 'simclr' has no classifier; compare it on a study of objective.method supervised"
    """
    method = json.loads(results.attrs.get("spec", "{}")).get("objective", {}).get("method")
    if method == "supervised":
        return ""
    return f"objective.method {method!r} has no classifier; compare it on a study of objective.method supervised"


SUPERVISED = Comparison(
    name="supervised",
    title="Supervised memorization",
    source="Feldman, STOC 2020; Feldman and Zhang, NeurIPS 2020",
    definition="how much more probable the own class is under encoders that were trained on the sample than under those that were not",
    columns=COLUMNS,
    reduce=reduce,
    measured="all",
    problem=problem,
    by_spec=True,
)
"""Row of the registry."""
