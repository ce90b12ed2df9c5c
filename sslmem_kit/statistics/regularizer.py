"""Memorization and accuracy by the weight of the alignment regularizer (figure 4), over studies that differ in this weight alone.

The paper's claim: both fall as lambda rises. The study without a regularizer has lambda 0. All numbers are of the same samples, and of the
seeds that all studies have: encoders of one seed share initial weights, order and views, and are compared within it.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import xarray as xr
from scipy import special

from sslmem_kit.errors import UserError, join_names
from sslmem_kit.names import BOUND, BOUNDS, ENCODER, PARTITION_CODE
from sslmem_kit.scores import by_seed, of_scores, score
from sslmem_kit.scores.contrast import BY_ENCODER
from sslmem_kit.spec.moved import without_places
from sslmem_kit.spec.study import StudySpec
from sslmem_kit.statistics.extremes import by_halves
from sslmem_kit.statistics.removal import LEVEL, NOT_REPRODUCED, REPRODUCED, UNDECIDED
from sslmem_kit.statistics.t_tests import holm
from sslmem_kit.statistics.trajectory import TOP_SHARE, mean_over_seeds, without_offset

WEIGHT, CLAIM = "weight", "claim"
FALLS = {
    "effect": "memorization falls as lambda rises",
    "relative": "memorization falls as lambda rises, as a share of the mean distance",
    "accuracy": "probe accuracy falls as lambda rises",
}
"""Claims of figure 4, by variable."""


def weight_of(spec: dict[str, Any]) -> float:
    """Return the weight of the regularizer of a resolved study spec; 0 without one.

    Examples
    --------
    >>> weight_of({"objective": {"regularizer": {"weight": 0.2}}}), weight_of({"objective": {"regularizer": None}})
    (0.2, 0.0)
    """
    regularizer = spec["objective"].get("regularizer")
    return float(regularizer["weight"]) if regularizer else 0.0


def spec_of(tree: xr.DataTree) -> dict[str, Any]:
    """Return the resolved spec of a study by its results, every field present, but for where things lie.

    Raises
    ------
    UserError
        The results are of an audit.
    """
    loaded = json.loads(tree.attrs["spec"])
    if "objective" not in loaded:
        raise UserError(
            f"STUDY: {loaded.get('name', 'this')} is an audit of encoders that were trained elsewhere, a study is needed"
        )
    return without_places(StudySpec.model_validate(loaded).as_dict())


def other_difference(first: dict[str, Any], second: dict[str, Any]) -> str:
    """Return the first field but the regularizer's weight and the names in which two resolved specs differ; empty where there is none.

    Where a study has no regularizer its other fields do not count.

    Examples
    --------
    >>> spec = {"name": "a", "objective": {"method": "simclr", "regularizer": None}, "training": {"epochs": 5}}
    >>> other = {"name": "b", "objective": {"method": "simclr", "regularizer": {"weight": 0.1}}, "training": {"epochs": 5}}
    >>> other_difference(spec, other), other_difference(spec, {**other, "training": {"epochs": 6}})
    ('', 'training.epochs')
    """
    sides = []
    for spec, other in ((first, second), (second, first)):
        regularizer = spec["objective"].get("regularizer") or {}
        counts = regularizer and other["objective"].get("regularizer")
        rest = {name: value for name, value in regularizer.items() if name != WEIGHT} if counts else {}
        own = {name: section for name, section in spec.items() if name not in ("name", "description")}
        sides.append(_fields(own | {"objective": {**spec["objective"], "regularizer": rest}}))
    names = [*sides[0], *(name for name in sides[1] if name not in sides[0])]
    return next((name for name in names if name not in sides[0] or name not in sides[1] or sides[0][name] != sides[1][name]), "")


def _fields(value: Any, field: str = "") -> dict[str, Any]:
    """Return the values of a nested mapping by dotted name."""
    if not isinstance(value, dict) or not value:
        return {} if value == {} else {field: value}
    return {key: one for name, part in value.items() for key, one in _fields(part, f"{field}.{name}".lstrip(".")).items()}


def memorization_by_weight(trees: Sequence[xr.DataTree], *, probe: str = "linear") -> xr.Dataset:
    """Memorization, that of the top 10 %, and probe accuracy by the weight of the regularizer, with intervals over seeds.

    Parameters
    ----------
    trees
        Complete results stores of two or more studies that differ in ``objective.regularizer.weight`` alone, in any order.
    probe
        Whose accuracy on the studies' own data counts.

    Returns
    -------
    On ``weight``, ascending: ``effect``, the mean score of all candidates less the offset of each seed's trainings, ``(C-I)/2`` of the report;
    ``top_effect``, over the 10 % that score highest by one half of the seeds, under the other, both ways
    (:func:`sslmem_kit.statistics.extremes.by_halves`), and ``top_effect_naive``, over those of all seeds; ``alignment``, the mean distance of
    all samples' views, and ``relative``, ``effect`` by it: the regularizer enlarges distances, and with them their differences;
    ``accuracy``, mean over the encoders of f; 95 % intervals ``..._interval`` over seeds, on ``bound``. On ``claim``: ``slope`` on the weight
    by least squares within a seed, its ``slope_interval``, ``p`` (two-sided, Student's over seeds), ``p_holm`` over claims and the
    ``decision``. Scores are of protocol ``corrected``. The attrs have ``seeds``, ``n_candidates``, ``n_top``, ``studies`` and ``missing``.

    Raises
    ------
    UserError
        Fewer than two studies, two of one weight, studies that differ in something else or in their data, or that have no seed in common.
    """
    specs = [spec_of(tree) for tree in trees]
    order = _ordered(trees, specs)
    trees, specs = [trees[place] for place in order], [specs[place] for place in order]
    found = [_of_study(tree, probe) for tree in trees]
    common = [seed for seed in found[0][0]["seed"].values.tolist() if all(seed in one["seed"] for one, _ in found)]
    if not common:
        raise UserError(f"training.seeds: {_named(specs)} have no pair of encoders of one seed in common")
    rows, by_weight = [], {name: np.empty((len(trees), len(common))) for name in ("effect", "relative", "alignment", "accuracy")}
    for place, (differences, others) in enumerate(found):
        differences = differences.sel(seed=common)
        codes = differences["partition"].values
        candidates, independent = (differences.values[codes == PARTITION_CODE[name]] for name in ("candidate", "independent"))
        own = without_offset(candidates, independent)
        top = max(1, round(TOP_SHARE * len(own)))
        by_weight["effect"][place] = own.mean(axis=0)
        for name in ("alignment", "accuracy"):
            by_weight[name][place] = others[name].sel(seed=common).values
        best = np.argsort(-own.mean(axis=1), kind="stable")[:top]
        mean, ends = by_halves(own, top)
        rows.append((mean, ends, own[best].mean(), len(own), top))
    by_weight["relative"] = by_weight["effect"] / by_weight["alignment"]
    weights = [weight_of(spec) for spec in specs]
    means = {name: np.array([mean_over_seeds(row) for row in values]) for name, values in by_weight.items()}
    centred = np.array(weights) - np.mean(weights)
    tested = [_slope(centred @ by_weight[name] / (centred @ centred)) for name in FALLS]
    p_holm = holm(np.array([p for *_, p in tested]))
    return xr.Dataset(
        {
            **{name: (WEIGHT, values[:, 0]) for name, values in means.items()},
            **{f"{name}_interval": ((WEIGHT, BOUND), values[:, 1:]) for name, values in means.items()},
            "top_effect": (WEIGHT, [row[0] for row in rows]),
            "top_effect_interval": ((WEIGHT, BOUND), [row[1] for row in rows]),
            "top_effect_naive": (WEIGHT, [row[2] for row in rows]),
            "slope": (CLAIM, [mean for mean, *_ in tested]),
            "slope_interval": ((CLAIM, BOUND), [ends for _, ends, _ in tested]),
            "p": (CLAIM, [p for *_, p in tested]),
            "p_holm": (CLAIM, p_holm),
            "decision": (CLAIM, [_decision(slope, p) for (slope, *_), p in zip(tested, p_holm, strict=True)]),
        },
        {
            WEIGHT: weights,
            "study": (WEIGHT, [str(spec["name"]) for spec in specs]),
            CLAIM: list(FALLS),
            "in_words": (CLAIM, list(FALLS.values())),
            BOUND: list(BOUNDS),
        },
        {
            "protocol": "corrected",
            "probe": probe,
            "seeds": len(common),
            "n_candidates": rows[0][3],
            "n_top": rows[0][4],
            "missing": ""
            if len(common) > 1
            else "one seed: the top tenth cannot be chosen by one half of the encoders and measured by the other, and nothing has an interval "
            "over seeds: set training.seeds of the studies to 2 or more",
        },
    )


def _named(specs: Sequence[dict[str, Any]]) -> str:
    return join_names([str(spec["name"]) for spec in specs])


def _ordered(trees: Sequence[xr.DataTree], specs: Sequence[dict[str, Any]]) -> list[int]:
    """Return the positions of studies by ascending weight, once they are seen to differ in nothing else."""
    if len(specs) < 2:
        raise UserError("figure 4 is of two or more studies that differ in objective.regularizer.weight")
    for tree, spec in zip(trees[1:], specs[1:], strict=True):
        if field := other_difference(specs[0], spec):
            raise UserError(
                f"{field}: {specs[0]['name']} and {spec['name']} differ in it; figure 4 is of studies that differ in "
                "objective.regularizer.weight alone"
            )
        if tree.attrs["data_fingerprint"] != trees[0].attrs["data_fingerprint"]:
            raise UserError(f"data: {specs[0]['name']} and {spec['name']} were trained on other data, under the same name")
    order = sorted(range(len(specs)), key=lambda place: weight_of(specs[place]))
    for first, second in itertools.pairwise(order):
        if weight_of(specs[first]) == weight_of(specs[second]):
            pair = f"{specs[first]['name']} and {specs[second]['name']}"
            raise UserError(f"objective.regularizer.weight: {pair} both have {weight_of(specs[first])}; leave one out")
    return order


def _of_study(tree: xr.DataTree, probe: str) -> tuple[xr.DataArray, xr.Dataset]:
    """Return the differences of a study, (sample, seed); by seed the accuracy of its encoder of f, and the mean distance under f and g."""
    results = of_scores(tree.to_dataset())
    scores = score(results)
    differences = by_seed(scores)
    differences = differences[np.isfinite(differences.values).all(axis=1)]
    accuracy = tree["downstream"].to_dataset()["accuracy"].isel(task=0)
    if probe not in accuracy["probe"].values.tolist():
        known = join_names([str(name) for name in accuracy["probe"].values])
        raise UserError(f"probe: there is none named {probe!r}, these studies have {known}")
    accuracy = accuracy.sel({"probe": probe, ENCODER: results[ENCODER].values}).values.astype(float)
    family, seed, distance = (
        results["family"].values.astype(object),
        results["seed"].values,
        scores[BY_ENCODER].mean("sample").values,
    )
    seeds = differences["seed"].values
    by = {
        "accuracy": ("seed", [accuracy[(seed == one) & (family == "f")].mean() for one in seeds]),
        "alignment": ("seed", [distance[seed == one].mean() for one in seeds]),
    }
    return differences, xr.Dataset(by, {"seed": seeds})


def _slope(values: np.ndarray) -> tuple[float, tuple[float, float], float]:
    """Return the mean slope over seeds, its interval, and the p-value of none."""
    mean, low, high = mean_over_seeds(values)
    error = values.std(ddof=1) / np.sqrt(len(values)) if len(values) > 1 else np.nan
    p = float(2 * special.stdtr(len(values) - 1, -abs(mean) / error)) if error > 0 else np.nan
    return mean, (low, high), p


def _decision(slope: float, p: float) -> str:
    return UNDECIDED if not p < LEVEL else REPRODUCED if slope < 0 else NOT_REPRODUCED
