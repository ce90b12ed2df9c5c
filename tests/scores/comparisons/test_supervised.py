"""Supervised memorization against the authors' formulas, plainly written, and what a study needs for it."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from sslmem_kit.names import ENCODER, SAMPLE
from sslmem_kit.scores import _example
from sslmem_kit.scores.comparisons.supervised import COLUMNS, problem, reduce


def measured(seed: int, results: xr.DataTree) -> xr.Dataset:
    """Random probabilities and correctness of all samples under all encoders."""
    shape = results.sizes[SAMPLE], results.sizes[ENCODER]
    rng = np.random.Generator(np.random.Philox(seed))
    names = {"probability": rng.random(shape), "correct": (rng.random(shape) < 0.7) + 0.0}
    return xr.Dataset({name: ((SAMPLE, ENCODER), values) for name, values in names.items()})


@settings(max_examples=10, deadline=None)
@given(seed=st.integers(0, 2**32 - 1))
def test_columns_are_differences_of_means(seed: int) -> None:
    tree = xr.DataTree(_example.design())
    raw, root = measured(seed, tree), tree.to_dataset()
    found = reduce(raw, tree)
    assert list(found.data_vars) == list(COLUMNS)
    family, seeds, design = (root[name].values for name in ("family", "seed", "design"))
    for place, each in enumerate(found["seed"].values):
        f, g = (np.flatnonzero((design == "pair") & (seeds == each) & (family == name))[0] for name in "fg")
        for name, of in (("supervised", "probability"), ("supervised_correct", "correct")):
            np.testing.assert_allclose(found[name].values[:, place], raw[of].values[:, f] - raw[of].values[:, g])
    subsets = np.flatnonzero(design == "subset")
    trained, correct = root["trained_on"].values[:, subsets], raw["correct"].values[:, subsets]
    with np.errstate(invalid="ignore"):  # Feldman and Zhang's estimator over all encoders; NaN of what none was trained on
        plain = (correct * trained).sum(1) / trained.sum(1) - (correct * ~trained).sum(1) / (~trained).sum(1)
    over_seeds = found["supervised_subsets"].sel(seed=np.unique(seeds[subsets])).mean("seed").values
    np.testing.assert_allclose(over_seeds, plain)
    assert np.isnan(over_seeds).any()


def test_the_sign_is_that_of_sslmem() -> None:
    """What is classified well where trained on, and only there, is memorized: candidates by f, independent samples by g."""
    tree = xr.DataTree(_example.results())
    values = tree["trained_on"].astype(float)
    score = reduce(xr.Dataset({"probability": values, "correct": values}), tree)["supervised"].mean("seed")
    assert score.values.tolist() == np.array([0.0, 1.0, -1.0, 0.0])[tree["partition"].values].tolist()
    assert list(reduce(xr.Dataset({"probability": values, "correct": values}), tree)) == ["supervised", "supervised_correct"]


@pytest.mark.parametrize(("method", "has"), [("supervised", True), ("simclr", False), ("mae", False)])
def test_other_methods_have_no_classifier(method: str, has: bool) -> None:
    results = xr.DataTree(xr.Dataset(attrs={"spec": json.dumps({"objective": {"method": method}})}))
    assert (problem(results) == "") == has
    assert (
        has
        or problem(results)
        == f"objective.method {method!r} has no classifier; compare it on a study of objective.method supervised"
    )


def test_an_audit_has_no_classifier() -> None:
    assert "objective.method None has no classifier" in problem(xr.DataTree(xr.Dataset(attrs={"spec": '{"encoders": []}'})))
