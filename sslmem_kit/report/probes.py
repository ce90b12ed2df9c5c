"""Probes of a report: accuracies with their intervals over test samples."""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from scipy.stats import binomtest

from sslmem_kit.data.record import stored_record
from sslmem_kit.study import AuditStudy, Study

LOWEST = 3
"""Number of classes that a report names as those of lowest accuracy."""
PROBE = {"linear": "linear probe", "knn": "nearest neighbours", "centroid": "nearest centroid"}


def accuracies(study: Study | AuditStudy, encoders: Sequence[str]) -> dict[str, Any]:
    """Return the part of a report that is about probes; empty mappings for an audit, which has none.

    Parameters
    ----------
    study
        A study with results.
    encoders
        Ids of the encoders of pairs.

    Returns
    -------
    ``probe_accuracy`` (linear, on the study's own data) by encoder; ``downstream``, accuracies by task, probe and encoder, and
    ``downstream_interval``, their 95 % Wilson intervals, [NaN, NaN] where the number of test samples is not recorded (further tasks in stores
    of earlier versions); ``downstream_n``, test samples by task; ``downstream_by_class`` and ``downstream_by_class_interval``, the same by
    task, probe, encoder and class, of tasks whose confusion is stored, NaN of classes without test samples; ``downstream_by_class_n``, test
    samples by task and class; ``linear_probe``, the solver and its options.

    Examples
    --------
    >>> from sslmem_kit import open_study
    >>> found = accuracies(open_study("papermill_runs/digits"), ["f-0"])
    >>> [name for name in found if "class" not in name]
    ['probe_accuracy', 'downstream', 'downstream_interval', 'downstream_n', 'linear_probe']
    """
    if "downstream" not in study.tree.children:
        return {"probe_accuracy": {}, "downstream": {}}
    group = study.tree["downstream"].to_dataset().sel(encoder=list(encoders)).load()
    counted = "n_test" in group
    values: dict[str, dict[str, dict[str, float]]] = {}
    intervals: dict[str, dict[str, dict[str, list[float]]]] = {}
    n: dict[str, float] = {}
    for task in group["task"].values.astype(object):
        part = group.sel(task=task)
        counts = part["n_test"].values if counted else np.full(len(encoders), np.nan)
        if not values:  # the study's own data
            counts = np.where(np.isnan(counts), _held_out(study), counts)
        n[task] = float(counts[0])
        values[task], intervals[task] = {}, {}
        for probe in group["probe"].values.astype(object):
            found = part["accuracy"].sel(probe=probe).values
            values[task][probe] = dict(zip(encoders, found.tolist(), strict=True))
            intervals[task][probe] = {name: wilson(*pair) for name, *pair in zip(encoders, found, counts, strict=True)}
    assert isinstance(study, Study)  # an audit has no downstream tasks
    own = next(iter(values.values()))
    return {
        "probe_accuracy": own["linear"],
        "downstream": values,
        "downstream_interval": intervals,
        "downstream_n": n,
        **_by_class(group),
        "linear_probe": study.spec.downstream.linear.model_dump(mode="json"),
    }


def _by_class(group: xr.Dataset) -> dict[str, Any]:
    """Return the parts of a report by class, from the confusions."""
    found: dict[str, Any] = {"downstream_by_class": {}, "downstream_by_class_interval": {}, "downstream_by_class_n": {}}
    if "confusion" not in group:
        return found
    names = json.loads(group["confusion"].attrs["class_names"])
    counts = group["confusion"].transpose("encoder", "task", "probe", "class", "predicted").values
    right, n = np.diagonal(counts, axis1=-2, axis2=-1), counts.sum(axis=-1, where=np.isfinite(counts))
    with np.errstate(invalid="ignore", divide="ignore"):
        share = right / n
    axes = [group[name].values.astype(object) for name in ("encoder", "task", "probe")]
    for (number, task), (place, probe), (row, encoder) in itertools.product(*map(enumerate, (axes[1], axes[2], axes[0]))):
        if task in names and np.isfinite(right[row, number, place, 0]):
            each = [
                (name, *map(float, pair))
                for name, *pair in zip(names[task], share[row, number, place], n[row, number, place], strict=False)
            ]
            for part, value in {
                "downstream_by_class": {name: accuracy for name, accuracy, _ in each},
                "downstream_by_class_interval": {name: wilson(accuracy, count) for name, accuracy, count in each},
            }.items():
                found[part].setdefault(task, {}).setdefault(probe, {})[encoder] = value
            found["downstream_by_class_n"][task] = {name: count for name, _, count in each}
    return found


def _held_out(study: Study | AuditStudy) -> float:
    """Return the test samples of the study's own data by the record of what was read; NaN where there is none."""
    read = stored_record({str(name): value for name, value in study.tree.attrs.items()}, study.class_names)
    splits, names = read.get("splits") or {}, read.get("held_out") or []
    return float(sum(splits[name] for name in names)) if names and all(name in splits for name in names) else np.nan


def wilson(accuracy: float, n: float) -> list[float]:
    """Return the 95 % interval of an accuracy over ``n`` test samples (Wilson 1927); NaN where one of them is not known.

    Examples
    --------
    >>> [round(bound, 3) for bound in wilson(0.9, 100)], wilson(0.9, float("nan"))
    ([0.826, 0.945], [nan, nan])
    """
    if not (np.isfinite(accuracy) and n > 0):
        return [np.nan, np.nan]
    interval = binomtest(round(float(accuracy) * int(n)), int(n)).proportion_ci(method="wilson")
    return [float(interval.low), float(interval.high)]


def as_text(report: dict[str, Any]) -> list[str]:
    """Return lines for a person, from a report that holds :func:`accuracies`.

    Examples
    --------
    >>> report = {"downstream": {"digits": {"knn": {"f-0": 0.9}}}, "downstream_n": {"digits": 100.0}, "linear_probe": {"method": "logistic"}}
    >>> as_text(report | {"downstream_interval": {"digits": {"knn": {"f-0": [0.826, 0.945]}}}})
    ['nearest neighbours: f-0 90.0% [82.6, 94.5]; 95 % over 100 test samples, of these encoders']
    """
    lines = []
    for place, (task, probes) in enumerate(report["downstream"].items()):
        n = report["downstream_n"][task]
        over = (
            f"95 % over {int(n):,} test samples, of these encoders"
            if n and np.isfinite(n)
            else "their number of test samples is not recorded"
        )
        for probe, values in probes.items():
            intervals = report["downstream_interval"][task][probe]
            each = ", ".join(f"{name} {_percent(value, intervals[name])}" for name, value in values.items())
            solver = f" ({_solver(report['linear_probe'])})" if probe == "linear" else ""
            lines.append(f"{PROBE[probe]}{solver}{f' on {task}' if place else ''}: {each}; {over}")
        lines += _lowest(report, task)
    return lines


def _lowest(report: dict[str, Any], task: str) -> list[str]:
    """Return a line on the classes that the linear probe knows least, where there are more."""
    by_encoder = report.get("downstream_by_class", {}).get(task, {}).get("linear", {})
    n = report.get("downstream_by_class_n", {}).get(task, {})
    means = {name: float(np.mean([values[name] for values in by_encoder.values()])) for name, count in n.items() if count}
    if len(means) <= LOWEST:
        return []
    lowest = sorted(means, key=lambda name: means[name])[:LOWEST]
    each = ", ".join(f"{name} {_percent(means[name], wilson(means[name], n[name]))} of {int(n[name]):,}" for name in lowest)
    mean = f"mean of {len(by_encoder)} encoders; 95 % over test samples, for a class that was not chosen by its accuracy"
    return [f"linear probe on {task}, the {LOWEST} lowest of {len(means)} classes: {each}; {mean}"]


def _percent(value: float | None, interval: Sequence[float | None]) -> str:
    if value is None:
        return "-"
    low, high = (np.nan if bound is None else 100 * bound for bound in interval)
    return f"{value:.1%}" + (f" [{low:.1f}, {high:.1f}]" if np.isfinite(low) else "")


def _solver(linear: dict[str, Any]) -> str:
    if linear["method"] == "logistic":
        return f"logistic regression, l2 penalty with C = {linear['C']:g}"
    return f"mini-batches, {linear['optimizer']}, no penalty"
