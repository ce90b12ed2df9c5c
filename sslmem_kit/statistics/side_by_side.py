"""Studies side by side (Table 11 and its like): SSLMem and probe accuracy of each, where they compare.

A score compares with another only where samples, views, their number, the protocol and the normalization are the same (trap 13 of the
paper's map): the alignment of one encoder is another number under other views. Studies that trained with different views have to be scored by
one ``scoring.common_policy`` too; then that is what is compared.

A study's score is the paper's: the mean over candidates of the difference by its range, in each seed; mean and standard deviation over seeds.
"""

from __future__ import annotations

import itertools
import json
from collections.abc import Sequence
from typing import Any

import numpy as np
import scipy  # scipy.stats comes on first use: it takes half a second
import xarray as xr

from sslmem_kit.errors import UserError, join_names
from sslmem_kit.names import ALIGNMENT, BOUND, BOUNDS, ENCODER, PARTITION_CODE, SAMPLE, SEED
from sslmem_kit.scores import by_seed, of_scores, score
from sslmem_kit.statistics.t_tests import holm
from sslmem_kit.statistics.trajectory import mean_over_seeds

STUDY, PAIR_OF_STUDIES = "study", "difference"
COMMON = "common"
"""Group of the alignments by ``scoring.common_policy``."""
LEVEL = 0.05
LOWER, HIGHER, UNDECIDED = "lower", "higher", "undecided"
SCORE, ACCURACY = SSLMEM_AND_ACCURACY = ("sslmem", "accuracy")


def studies_side_by_side(trees: Sequence[xr.DataTree], *, protocol: str = "paper", probe: str = "linear") -> xr.Dataset:
    """SSLMem and probe accuracy of several studies, with errors over seeds, and what differs.

    Parameters
    ----------
    trees
        Complete results stores of two or more studies of the same samples.
    protocol
        ``paper``, ``released`` or ``corrected``.
    probe
        Whose accuracy on the studies' own data counts.

    Returns
    -------
    On ``study``, in the order that is given: ``sslmem`` and ``accuracy`` (of f), each with ``..._sd`` over seeds and ``..._interval`` (95 %,
    Student's t over seeds, for these samples) on ``bound`` too, and ``seeds``; as coordinates ``method``, ``backbone`` and ``epochs``. On
    ``difference``, each pair of studies, ``first`` minus ``second``: of both measures ``..._difference``, its ``..._difference_interval``,
    ``..._p`` (Welch's over seeds), ``..._p_holm`` over all of these, and the decision ``..._is``: ``higher``, ``lower`` or ``undecided``. The
    attrs hold ``protocol``, ``probe``, ``views`` (their number), ``policy`` and ``n_candidates``.

    Raises
    ------
    UserError
        Fewer than two studies; two that were made from other data or partitions, or scored by other views.

    References
    ----------
    The paper's Table 11; Welch, Biometrika 34 (1947); Holm, Scandinavian Journal of Statistics 6 (1979).
    """
    specs = [json.loads(tree.attrs["spec"]) for tree in trees]
    names = [str(spec.get("name", place)) for place, spec in enumerate(specs)]
    _check_samples(trees, specs, names)
    tables, policy = _tables(trees, specs, names)
    rows = [_of_study(table, tree, name, protocol, probe) for table, tree, name in zip(tables, trees, names, strict=True)]
    found: dict[str, Any] = {"seeds": (STUDY, [len(row[SCORE]) for row in rows])}
    for measure in SSLMEM_AND_ACCURACY:
        means = np.array([mean_over_seeds(row[measure]) for row in rows])
        found[measure] = (STUDY, means[:, 0])
        found[f"{measure}_sd"] = (STUDY, [row[measure].std(ddof=1) if len(row[measure]) > 1 else np.nan for row in rows])
        found[f"{measure}_interval"] = ((STUDY, BOUND), means[:, 1:])
    return xr.Dataset(
        found | _differences(rows, names),
        {
            STUDY: names,
            "method": (STUDY, [str(spec["objective"]["method"]) for spec in specs]),
            "backbone": (STUDY, [str(spec["encoder"]["backbone"]) for spec in specs]),
            "epochs": (STUDY, [int(spec["training"]["epochs"]) for spec in specs]),
            BOUND: list(BOUNDS),
        },
        {
            "protocol": protocol,
            "probe": probe,
            "views": int(specs[0]["scoring"]["views"]),
            "policy": policy,
            "n_candidates": int((trees[0].to_dataset()["partition"].values == PARTITION_CODE["candidate"]).sum()),
        },
    )


def _check_samples(trees: Sequence[xr.DataTree], specs: Sequence[dict[str, Any]], names: Sequence[str]) -> None:
    """Refuse studies whose samples, partition or number of views are not the same."""
    if len(trees) < 2:
        raise UserError(f"studies: {len(trees)} cannot stand side by side, give two or more")
    twice = next((name for name in names if names.count(name) > 1), None)
    if twice:
        raise UserError(f"studies: two are called {twice!r}; give each once, under a name of its own")
    for tree, spec, name in zip(trees, specs, names, strict=True):
        if "objective" not in spec:
            raise UserError(f"studies: {name} is an audit of encoders that were trained elsewhere; give studies of `sslmem run`")
        if tree.attrs.get("data_fingerprint") != trees[0].attrs.get("data_fingerprint"):
            raise UserError(f"data: {names[0]} and {name} were made from other data; compare studies of the same")
        own, first = ({key: one[key].values for key in (SAMPLE, "partition")} for one in (tree.to_dataset(), trees[0].to_dataset()))
        if not all(np.array_equal(own[key], first[key]) for key in own):
            raise UserError(
                f"partition: {names[0]} and {name} have other samples in their partitions; give both one partition and seed"
            )
        numbers = spec["scoring"]["views"], specs[0]["scoring"]["views"]
        if numbers[0] != numbers[1]:
            raise UserError(f"scoring.views: {names[0]} has {numbers[1]} and {name} {numbers[0]}; score both by the same number")


def _tables(trees: Sequence[xr.DataTree], specs: Sequence[dict[str, Any]], names: Sequence[str]) -> tuple[list[xr.Dataset], str]:
    """Return the results of each study with the alignments of one policy, and its name: the studies' own, else the common one."""
    own = [spec["scoring"]["policy"] or spec["training"]["policy"] for spec in specs]
    if all(policy["steps"] == own[0]["steps"] for policy in own):
        return [tree.to_dataset() for tree in trees], str(own[0].get("name", ""))
    common = [spec["scoring"].get("common_policy") for spec in specs]
    other = next((place for place, policy in enumerate(own) if policy["steps"] != own[0]["steps"]), 0)
    wanted = next((policy for policy in common if policy is not None), None)
    for place, policy in enumerate(common):
        # A study whose own views are the common ones has been scored by them.
        scored_by = policy["steps"] if policy is not None else own[place]["steps"]
        if wanted is None or scored_by != wanted["steps"]:
            sides = " and ".join(f"{names[side]} is scored by {own[side].get('name')!r}" for side in (0, other))
            raise UserError(
                f"scoring.policy: {sides}, and alignments under other views do not compare; run them with one scoring.common_policy "
                f"({names[place]} has not the same)"
            )
    assert wanted is not None  # or the first study was refused
    tables = []
    for tree, policy in zip(trees, own, strict=True):
        root = tree.to_dataset()
        if policy["steps"] != wanted["steps"]:
            root = root.assign({ALIGNMENT: root[ALIGNMENT].copy(data=tree[COMMON].to_dataset()[ALIGNMENT].data)})
        tables.append(root)
    return tables, str(wanted.get("name", ""))


def _of_study(table: xr.Dataset, tree: xr.DataTree, name: str, protocol: str, probe: str) -> dict[str, np.ndarray]:
    """Return SSLMem of the candidates and the accuracy of f, by seed."""
    scores = score(of_scores(table), protocol=protocol)
    differences = by_seed(scores)
    if not differences.sizes[SEED]:
        raise UserError(f"training.seeds: {name} has no whole pairs of f and g; complete it with sslmem run")
    chosen = (scores["partition"].values == PARTITION_CODE["candidate"]) & np.isfinite(differences.values).all(axis=1)
    seeds, ranges = differences[SEED].values, np.array(scores.attrs.get("ranges", 1.0))
    accuracy = tree["downstream"].to_dataset()["accuracy"].isel(task=0)
    if probe not in accuracy["probe"].values.tolist():
        raise UserError(
            f"probe: there is none named {probe!r}, {name} has {join_names([str(one) for one in accuracy['probe'].values])}"
        )
    family, seed, design = (table[key].values if key in table.coords else None for key in ("family", SEED, "design"))
    own = np.ones(table.sizes[ENCODER], bool) if design is None else design == "pair"
    values = accuracy.sel({"probe": probe, ENCODER: table[ENCODER].values}).values.astype(float)
    return {
        SCORE: (differences.values[chosen] / ranges).mean(axis=0),
        ACCURACY: np.array([values[own & (family == "f") & (seed == one)].mean() for one in seeds]),
    }


def _differences(rows: Sequence[dict[str, np.ndarray]], names: Sequence[str]) -> dict[str, Any]:
    """Return the differences of all pairs of studies, by Welch's t over seeds."""
    pairs = list(itertools.combinations(range(len(rows)), 2))
    columns: dict[str, Any] = {
        "first": (PAIR_OF_STUDIES, [names[first] for first, _ in pairs]),
        "second": (PAIR_OF_STUDIES, [names[second] for _, second in pairs]),
    }
    tested = {
        measure: [_welch(rows[first][measure], rows[second][measure]) for first, second in pairs] for measure in SSLMEM_AND_ACCURACY
    }
    adjusted = holm(np.array([p for found in tested.values() for *_, p in found])).reshape(2, -1)
    for (measure, found), p_holm in zip(tested.items(), adjusted, strict=True):
        columns[f"{measure}_difference"] = (PAIR_OF_STUDIES, [value for value, *_ in found])
        columns[f"{measure}_difference_interval"] = ((PAIR_OF_STUDIES, BOUND), [ends for _, ends, _ in found])
        columns[f"{measure}_p"], columns[f"{measure}_p_holm"] = (PAIR_OF_STUDIES, [p for *_, p in found]), (PAIR_OF_STUDIES, p_holm)
        decided = [
            UNDECIDED if not p < LEVEL else HIGHER if value > 0 else LOWER for (value, *_), p in zip(found, p_holm, strict=True)
        ]
        columns[f"{measure}_is"] = (PAIR_OF_STUDIES, decided)
    return columns


def _welch(first: np.ndarray, second: np.ndarray) -> tuple[float, tuple[float, float], float]:
    """Return the difference of two means over seeds, its interval and the p of none; NaN with one seed."""
    value = float(first.mean() - second.mean())
    if min(len(first), len(second)) < 2 or not (np.ptp(first) or np.ptp(second)):
        return value, (np.nan, np.nan), np.nan
    test = scipy.stats.ttest_ind(first, second, equal_var=False)
    ends = test.confidence_interval(0.95)
    return value, (float(ends.low), float(ends.high)), float(test.pvalue)
