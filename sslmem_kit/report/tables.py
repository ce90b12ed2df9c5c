"""Labelled results as the mappings and lists that a report's JSON is made of."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr

from sslmem_kit.names import ALTERNATIVE, BOUND, ENCODER, ESTIMATOR, FILE, LAYER, PARTITION, QUANTILE, STATISTIC


def plain(array: xr.DataArray) -> Any:
    """Python number, text or (nested) list of an array; the two ends of an interval are a tuple.

    Examples
    --------
    >>> plain(xr.DataArray(0.5)), plain(xr.DataArray([1.0, 2.0], dims="bound")), plain(xr.DataArray(["f", "g"], dims="family"))
    (0.5, (1.0, 2.0), ['f', 'g'])
    """
    if array.dims == (BOUND,):
        return tuple(array.values.tolist())
    return array.values.tolist()


def whole(array: xr.DataArray) -> int | None:
    """Whole number that was stored as a float; None where it is infinite or NaN.

    Examples
    --------
    >>> whole(xr.DataArray(3.0)), whole(xr.DataArray(np.inf))
    (3, None)
    """
    return int(array) if math.isfinite(float(array)) else None


def row(table: xr.Dataset) -> dict[str, Any]:
    """Mapping of a dataset's variables in their order, with :func:`plain` values.

    Examples
    --------
    >>> row(xr.Dataset({"share": 0.5, "share_interval": ("bound", [0.4, 0.6])}))
    {'share': 0.5, 'share_interval': (0.4, 0.6)}
    """
    return {str(name): plain(array) for name, array in table.data_vars.items()}


def rows(table: xr.Dataset, dim: str) -> list[dict[str, Any]]:
    """Mapping of each position along a dimension: its coordinate, then the variables that have the dimension.

    Examples
    --------
    >>> rows(xr.Dataset({"share": ("k", [0.5, 0.25]), "n": 9}, {"k": [10, 20]}), "k")
    [{'k': 10, 'share': 0.5}, {'k': 20, 'share': 0.25}]
    """
    chosen = table[[name for name, array in table.data_vars.items() if dim in array.dims]]
    return [{dim: plain(chosen[dim][place]), **row(chosen.isel({dim: place}))} for place in range(table.sizes[dim])]


def summary_mapping(summary: xr.Dataset) -> dict[str, dict[str, Any]]:
    """:func:`sslmem_kit.statistics.partition_summary` as the report has it: ``mean``, ``sd``, ``n`` and ``interval``, each by partition.

    Examples
    --------
    >>> from sslmem_kit import statistics
    >>> scores = xr.Dataset({"sslmem": ("sample", [0.1, 0.3])}, {"partition": ("sample", [1, 1])})
    >>> summary_mapping(statistics.partition_summary(scores))["n"]
    {'candidate': 2}
    """
    names = summary[PARTITION].values.tolist()
    return {key: {name: plain(summary[key].sel({PARTITION: name})) for name in names} for key in ("mean", "sd", "n", "interval")}


def alternative_rows(tests: xr.Dataset) -> list[dict[str, Any]]:
    """:func:`sslmem_kit.statistics.partition_tests` as the report has it: tests against zero have neither parts of n nor Student's beside
    them.

    Examples
    --------
    >>> from sslmem_kit import statistics
    >>> scores = xr.Dataset({"sslmem": ("sample", [-1.0, 1.0])}, {"partition": ("sample", [0, 0])})
    >>> alternative_rows(statistics.partition_tests(scores))
    [{'alternative': 'S!=0', 'test': 'student', 't': 0.0, 'p': 1.0, 'cohens_d': 0.0, 'n': 2}]
    """
    listed = rows(tests, ALTERNATIVE)
    for test in listed:
        if test["test"] == "student":
            for name in ("n_first", "n_second", "t_student", "p_student"):
                del test[name]
    return listed


def layer_rows(table: xr.Dataset, tests: xr.Dataset) -> list[dict[str, Any]]:
    """:func:`sslmem_kit.statistics.layer_table` and :func:`~sslmem_kit.statistics.layer_tests` as the report has them.

    Examples
    --------
    >>> from sslmem_kit import statistics
    >>> from sslmem_kit.scores import _example
    >>> scores = statistics.layer_scores(_example.tree())
    >>> [list(row) for row in layer_rows(statistics.layer_table(scores), statistics.layer_tests(scores))][0]
    ['layer', 'partitions', 'tests', 'effect', 'effect_interval']
    """
    found = []
    for place, name in enumerate(table[LAYER].values.tolist()):
        one = table.isel({LAYER: place})
        by_part = {part.pop(PARTITION): part for part in rows(one, PARTITION)}
        effect = {key: plain(one[key]) for key in ("effect", "effect_interval")}
        found.append({LAYER: name, "partitions": by_part, "tests": alternative_rows(tests.isel({LAYER: place})), **effect})
    return found


def unit_rows(table: xr.Dataset) -> list[dict[str, Any]]:
    """:func:`sslmem_kit.statistics.unit_table` as the report has it, ``quantiles`` as a list.

    Examples
    --------
    >>> from sslmem_kit import statistics
    >>> from sslmem_kit.scores import _example
    >>> [(row["layer"], len(row["quantiles"])) for row in unit_rows(statistics.unit_table(_example.tree()))]
    [('stem', 5), ('block', 5)]
    """
    return rows(table.rename(unit_mem="quantiles").drop_vars(QUANTILE), LAYER)


def discovery_mapping(found: xr.Dataset) -> dict[str, Any]:
    """:func:`sslmem_kit.statistics.fdr_summary` as the report has it, by partition; the share of the null is ``not_memorized``.

    Examples
    --------
    >>> from sslmem_kit import statistics
    >>> from sslmem_kit.scores import _example, score
    >>> found = discovery_mapping(statistics.fdr_summary(score(_example.results()), 0.1))
    >>> found["n_null"], found["candidate"]["samples"][:3]
    (20, [13, 29, 25])
    """
    mapping: dict[str, Any] = {"fdr": found.attrs["fdr"], "n_null": plain(found["n_null"])}
    for name in found[PARTITION].values.tolist():
        one = found.sel({PARTITION: name})
        members = np.flatnonzero(found["listed_in"].values == name)
        listed = found["discovered"][members]
        proportion = {name.replace("null_proportion", "not_memorized"): plain(one[name]) for name in _PROPORTION}
        mapping[name] = {
            **{key: plain(one[key]) for key in ("n", "memorized")},
            "samples": plain(listed),
            **({"files": list(map(str, listed[FILE].values))} if FILE in listed.coords else {}),
            **{key: plain(one[key]) for key in ("share", "threshold")},
            "fewest": whole(one["fewest"]),
            **{key: plain(one[key]) for key in ("null_for_one", "null_for_any")},
            **proportion,
        }
    return mapping


_PROPORTION = ("null_proportion", "null_proportion_interval")


def required_rows(required: xr.Dataset) -> list[dict[str, Any]]:
    """:func:`sslmem_kit.statistics.required_seeds` as the report has it: whole numbers, None where no number of seeds suffices.

    Examples
    --------
    >>> from sslmem_kit import statistics
    >>> parts = statistics.VarianceComponents(score=1.0, seeds=1.0, views=0.5, interaction=2.0, offset=0.0)
    >>> required_rows(statistics.required_seeds(parts, views=(2,), reliability=0.8))
    [{'views': 2, 'seeds': None, 'encoders': None, 'forward_passes': None}]
    """
    return [
        {"views": int(views), **{name: whole(required[name].sel(views=views)) for name in ("seeds", "encoders", "forward_passes")}}
        for views in required["views"].values
    ]


def reliability_mapping(found: xr.Dataset) -> dict[str, Any]:
    """:func:`sslmem_kit.statistics.assess` as the report has it; the variance of the interaction is ``both``.

    Examples
    --------
    >>> from sslmem_kit import statistics
    >>> from sslmem_kit.scores import _example
    >>> list(reliability_mapping(statistics.assess(_example.results()))["parts"])
    ['score', 'seeds', 'views', 'both', 'offset']
    """
    attrs = found.attrs
    halves = {}
    for over in ("seeds", "views"):
        one = found.sel(over=over)
        halves[over] = {"splits": plain(one["splits"])}
        for name in found[STATISTIC].values.tolist():
            for key, variable in ((name, "split_half"), (f"full_{name}", "full")):
                halves[over][key] = _with_interval(one.sel({STATISTIC: name}), variable)
    parts = {name.replace("interaction", "both"): plain(found["variance"].sel(part=name)) for name in found["part"].values.tolist()}
    return {
        **{name: attrs[name] for name in ("protocol", "partition", "n", "seeds", "views")},
        "split_half": halves,
        "parts": parts,
        **_forecast_mapping(found),
    }


def forecast_mapping(found: xr.Dataset) -> dict[str, Any]:
    """:func:`sslmem_kit.statistics.forecast` as ``sslmem plan --json`` has it.

    Examples
    --------
    >>> from sslmem_kit import statistics
    >>> from sslmem_kit.scores import _example
    >>> list(forecast_mapping(statistics.forecast(_example.results(), seeds=4, views=4)))
    ['seeds', 'views', 'reliability', 'standard_error', 'target', 'required', 'unknown']
    """
    return {**{name: found.attrs[name] for name in ("seeds", "views")}, **_forecast_mapping(found)}


def _forecast_mapping(found: xr.Dataset) -> dict[str, Any]:
    return {
        "reliability": _with_interval(found, "reliability"),
        "standard_error": plain(found["standard_error"]),
        "target": found.attrs["target"],
        "required": required_rows(found),
        "unknown": found.attrs["unknown"],
    }


def _with_interval(table: xr.Dataset, name: str) -> dict[str, Any]:
    return {"value": plain(table[name]), "interval": plain(table[f"{name}_interval"])}


def estimator_mapping(compared: xr.Dataset) -> dict[str, Any]:
    """:func:`sslmem_kit.statistics.compare_estimators` as the report has it: ``truth`` and a row for each estimator and number of seeds.

    Examples
    --------
    >>> from sslmem_kit import statistics
    >>> from sslmem_kit.scores import _example
    >>> found = estimator_mapping(statistics.compare_estimators(_example.design(), epochs=10))
    >>> [(row["estimator"], row["seeds"]) for row in found["estimators"]]
    [('pairs', 1), ('pairs', 2), ('pairs', 3), ('subsets', 1), ('subsets', 2)]
    """
    truth = {str(name).removeprefix("truth_"): plain(array) for name, array in compared.data_vars.items() if not array.dims}
    truth["ceiling"] = truth.pop("attenuation_limit")
    by_seeds = compared[[name for name, array in compared.data_vars.items() if array.dims]]
    found = [
        {ESTIMATOR: name, **counted}
        for name in compared[ESTIMATOR].values.tolist()
        for counted in rows(by_seeds.sel({ESTIMATOR: name}), "seeds")
        if counted["repetitions"]
    ]
    return {"truth": truth, "estimators": found}


def alignment_mapping(summary: xr.Dataset) -> dict[str, dict[str, Any]]:
    """:func:`sslmem_kit.scores.audit.alignment_summary` as the report of an audit of one model has it, by encoder.

    Examples
    --------
    >>> from sslmem_kit.scores import _example, audit
    >>> found = alignment_mapping(audit.alignment_summary(audit.alignment_table(_example.results())))
    >>> list(found["f-0"])
    ['mean', 'sd', 'n', 'median', 'quantiles_5_95', 'smallest', 'largest']
    """
    found = {}
    for each in rows(summary, ENCODER):
        name, (low, median, high) = each.pop(ENCODER), each.pop("quantiles")
        ends = {key: each.pop(key) for key in ("smallest", "largest")}
        found[name] = {**each, "n": plain(summary["n"]), "median": median, "quantiles_5_95": [low, high], **ends}
    return found


def pair_mapping(correlations: xr.DataArray) -> dict[str, float]:
    """:func:`sslmem_kit.scores.audit.encoder_rank_correlations` as the report has it: ``a, b`` for each two encoders.

    Examples
    --------
    >>> pair_mapping(xr.DataArray([[1.0, 0.5], [0.5, 1.0]], {"encoder": ["f-0", "g-0"]}, ("encoder", "other")))
    {'f-0, g-0': 0.5}
    """
    names = correlations[ENCODER].values.tolist()
    return {
        f"{one}, {other}": float(correlations[first, second])
        for first, one in enumerate(names)
        for second, other in enumerate(names)
        if first < second
    }
