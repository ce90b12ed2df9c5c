"""Dense tasks compared over seeds: trained encoders against initial weights, f against g."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import scipy
import xarray as xr

from sslmem_kit.names import BOUND, BOUNDS
from sslmem_kit.statistics.removal import PROBE, TASK
from sslmem_kit.statistics.t_tests import holm

CONTRAST, METRIC = "contrast", "metric"
ALPHA = 0.05


def arm(run: dict[str, Any]) -> str:
    """Return what a run was: its start, of trained weights with the family.

    Examples
    --------
    >>> arm({"family": "g", "start": "trained"}), arm({"family": None, "start": "random_frozen"})
    ('g trained', 'random_frozen')
    """
    return f"{run['family']} {run['start']}" if run["family"] else str(run["start"])


def measures_by_seed(runs: Sequence[dict[str, Any]]) -> dict[str, pd.DataFrame]:
    """Return the measures of each arm, (seed, metric)."""
    found: dict[str, dict[int, dict[str, float]]] = {}
    for run in runs:
        values = {name: measure["value"] for name, measure in run["measures"].items()}
        found.setdefault(arm(run), {})[int(run["seed"])] = values
    return {name: pd.DataFrame.from_dict(seeds, orient="index").sort_index() for name, seeds in found.items()}


def compare_starts(runs: Sequence[dict[str, Any]]) -> xr.Dataset:
    """Return the mean differences between arms over seeds, paired by seed.

    Parameters
    ----------
    runs
        ``runs`` of a dense task's results.

    Returns
    -------
    On (``contrast``, ``metric``): ``difference``, ``p`` of the paired t-test, two-sided, and ``p_holm`` over the contrasts of a metric;
    ``interval`` (95 %, Student's t over seeds) with ``bound``; ``seeds`` on ``contrast``. With one seed interval and p are NaN. The contrasts
    are each trained arm against each arm of initial weights, then g against f of each start.

    Examples
    --------
    >>> def run(start, family, seed, value):
    ...     return {"start": start, "family": family, "seed": seed, "measures": {"rmse": {"value": value}}}
    >>> runs = [run("trained", "f", seed, 1.0 + seed / 10) for seed in (0, 1, 2)] + [run("random", None, seed, 3.0) for seed in (0, 1, 2)]
    >>> found = compare_starts(runs)
    >>> found["contrast"].item(), found["difference"].round(2).item(), found["interval"].round(2).values.ravel().tolist()
    ('f trained - random', -1.9, [-2.15, -1.65])
    """
    values = measures_by_seed(runs)
    metrics = list(next(iter(values.values())).columns)
    pairs = [(one, other) for one in values if " " in one for other in values if " " not in other]
    pairs += [(one, f"f {one[2:]}") for one in values if one.startswith("g ") and f"f {one[2:]}" in values]
    rows = [_paired(values[one], values[other]) for one, other in pairs]
    p = np.array([row[2] for row in rows]).reshape(len(rows), len(metrics))
    return xr.Dataset(
        {
            "difference": ((CONTRAST, METRIC), np.array([row[0] for row in rows]).reshape(p.shape)),
            "interval": ((CONTRAST, METRIC, BOUND), np.array([row[1] for row in rows]).reshape(*p.shape, 2)),
            "p": ((CONTRAST, METRIC), p),
            "p_holm": ((CONTRAST, METRIC), np.stack([holm(column) for column in p.T], axis=1) if len(rows) else p),
            "seeds": (CONTRAST, np.array([row[3] for row in rows], int)),
        },
        {CONTRAST: [f"{one} - {other}" for one, other in pairs], METRIC: metrics, BOUND: list(BOUNDS)},
    )


def _paired(one: pd.DataFrame, other: pd.DataFrame) -> tuple[np.ndarray, np.ndarray, np.ndarray, int]:
    """Return difference, interval (metric, 2) and p of each metric, and the number of seeds that both have."""
    seeds = one.index.intersection(other.index)
    differences = (one.loc[seeds] - other.loc[seeds]).to_numpy(float)
    n = len(differences)
    mean = differences.mean(axis=0) if n else np.full(one.shape[1], np.nan)
    if n < 2:
        return mean, np.full((len(mean), 2), np.nan), np.full(len(mean), np.nan), n
    error = differences.std(axis=0, ddof=1) / np.sqrt(n)
    reach = scipy.stats.t.ppf(1 - ALPHA / 2, n - 1) * error
    with np.errstate(divide="ignore", invalid="ignore"):
        p = 2 * scipy.stats.t.sf(np.abs(mean / error), n - 1)
    return mean, np.stack([mean - reach, mean + reach], axis=1), p, n


def caveats_of_runs(results: dict[str, Any]) -> list[str]:
    """Return sentences on what is known to limit or to spoil the results of a dense task.

    Examples
    --------
    >>> run = {"family": "f", "start": "trained", "encoder": "f-0", "seed": 0, "measures": {"rmse": {"value": 2.0}}, "constant": {"rmse": 1.9}}
    >>> caveats_of_runs({"task": {"task": "depth"}, "data": {}, "runs": [run]})[0]
    'f-0 trained is no better than the prediction that needs no image (rmse 2 against 1.9): nothing was learned'
    """
    found = []
    metric, sign = ("mean_iou", 1) if results["task"]["task"] == "segmentation" else ("rmse", -1)
    for run in results["runs"]:
        value, without = run["measures"][metric]["value"], run["constant"][metric]
        if not sign * value > sign * without:
            found.append(
                f"{run['encoder']} {run['start']} is no better than the prediction that needs no image ({metric} {value:.3g} against "
                f"{without:.3g}): nothing was learned"
            )
    seeds = len({run["seed"] for run in results["runs"]})
    if seeds < 3:
        found.append(f"{seeds} seed{'s' if seeds > 1 else ''}: no conclusion over trainings can be drawn from fewer than three")
    if results["data"].get("pixels_left_out"):
        found.append(f"{results['data']['pixels_left_out']:,} pixels without a depth are left out of loss and measures")
    if results["data"].get("absent_from_test"):
        found.append(f"{len(results['data']['absent_from_test'])} classes have no test pixel and are not in mean_iou")
    return found


def dense_table(results: xr.Dataset, dense: dict[str, Any]) -> xr.Dataset:
    """Table of a removal tree's encoders after a dense task, as :func:`removal_differences` takes it.

    Parameters
    ----------
    results
        Of the tree.
    dense
        Results of the task on the tree.

    Returns
    -------
    ``accuracy``, with the task as ``task`` and its measures as ``probe``; NaN where an encoder was not fine-tuned. Of the error in depth it is
    the negative, so that more is better throughout.
    """
    # Its own encoders lie in folders named by their hashes, the study's in ones named by their ids, as the table's cells are.
    own = {Path(run["folder"]).name: run["measures"] for run in dense["runs"] if run["start"] == "trained"}
    names = list(dense["runs"][0]["measures"])
    values = np.full((*results["encoder"].shape, 1, len(names)), np.nan)
    for place, cell in np.ndenumerate(results["encoder"].values):
        if (key := str(cell).rpartition("/")[2]) in own:
            values[(*place, 0)] = [own[key][name]["value"] * (-1 if name == "rmse" else 1) for name in names]
    kept = results.drop_dims([TASK, PROBE])
    return kept.assign(accuracy=((*results["encoder"].dims, TASK, PROBE), values)).assign_coords(
        {TASK: [dense["task"]["name"]], PROBE: [f"-{name}" if name == "rmse" else name for name in names]}
    )
