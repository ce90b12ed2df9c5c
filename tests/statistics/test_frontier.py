"""The frontier's measures are those of a plain transcription, and decisions those of the truth that was put in."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from sslmem_kit.statistics.frontier import (
    costs,
    frontier_differences,
    frontier_means,
    frontier_measures,
    frontier_verdict,
)

ARMS = {"baseline": ("untreated", ""), "drop": ("memorized", "drop-random"), "drop-random": ("random", ""), "short": ("all", "")}


def results(
    memorized: dict[str, float], accuracy: dict[str, float], *, seeds: int = 3, scale: float = 1.0, noise: float = 1e-3
) -> xr.Dataset:
    """Distances .5, less by what is memorized where a sample was seen; those of ``short`` times ``scale``."""
    rng, codes = np.random.default_rng(1), np.repeat([0, 1, 2, 3], 30)
    alignment = 0.5 + rng.normal(0, 0.05, 120) + rng.normal(0, noise, (len(ARMS), 2, seeds, 120))
    for place, arm in enumerate(ARMS):
        own = memorized.get(arm, 0.1)
        for family, seen in enumerate(((0, 1), (0, 2))):
            # g of arms that treat f alone is that of the baseline.
            of = 0.1 if family and arm != "short" else own
            alignment[place, family][:, np.isin(codes, seen)] -= of
    alignment[[1, 2], 1] = alignment[0, 1]
    alignment[3] *= scale
    found = np.array([accuracy.get(arm, 0.9) for arm in ARMS])[:, None, None, None, None] + rng.normal(
        0, 1e-4, (len(ARMS), 2, seeds, 2, 1)
    )
    dims = ("arm", "family", "seed")
    kinds, controls = zip(*ARMS.values(), strict=True)
    return xr.Dataset(
        {
            "alignment": ((*dims, "sample"), alignment),
            "accuracy": ((*dims, "task", "probe"), found),
            "seconds": (dims, np.full((4, 2, seeds), 10.0)),
            "images_trained": (("arm", "family"), np.full((4, 2), 100)),
            "images_scored": (("arm", "family"), np.array([[0, 0], [7, 7], [0, 0], [0, 0]])),
        },
        {
            "arm": list(ARMS), "kind": ("arm", list(kinds)), "control": ("arm", list(controls)), "family": ["f", "g"], "seed": np.arange(seeds),
            "sample": np.arange(120), "partition": ("sample", codes), "task": ["own", "other"], "probe": ["linear"],
        },
        {"margin": 0.01, "name": "planted"},
    )  # fmt: skip


def test_measures_are_a_plain_transcription() -> None:
    table = results({"drop": 0.04}, {})
    found = frontier_measures(table)["value"]
    partition = table["partition"].values
    for arm in ARMS:
        for seed in range(3):
            f, g = (table["alignment"].sel(arm=arm, seed=seed, family=family).values for family in "fg")
            reference = table["alignment"].sel(arm="baseline", seed=seed, family="g").values
            here = found.sel(arm=arm, seed=seed)
            scores = reference - f
            assert here.sel(measure="memorization").item() == pytest.approx(
                scores[partition == 1].mean() - scores[partition == 3].mean()
            )
            own = g - f
            assert here.sel(measure="effect").item() == pytest.approx((own[partition == 1].mean() - own[partition == 2].mean()) / 2)
            pairs = f[partition == 1][:, None] < f[partition == 2][None]
            assert here.sel(measure="auc").item() == pytest.approx(pairs.mean())


def test_decisions_are_those_of_the_truth() -> None:
    differences = frontier_differences(
        frontier_measures(results({"drop": 0.04, "drop-random": 0.1, "short": 0.02}, {"short": 0.8}))
    )
    decided = differences["decision"]
    of = decided.sel(against="baseline")
    assert of.sel(measure="memorization").values.tolist() == ["", "lower", "undecided", "lower"]
    assert of.sel(measure="accuracy: own").values.tolist() == ["", "equal", "equal", "lower"]
    assert decided.sel(against="random", measure="memorization").values.tolist() == ["", "lower", "", ""]
    assert differences["difference"].sel(against="baseline", arm="drop", measure="memorization").item() == pytest.approx(
        -0.06, abs=1e-3
    )
    p, adjusted = (differences[name].sel(against="baseline", measure="memorization").values[1:] for name in ("p", "p_holm"))
    assert adjusted.max() == pytest.approx(min(1, max(p)))
    assert adjusted[p.argmin()] == pytest.approx(3 * p.min())
    verdict = frontier_verdict(differences)
    assert "2 (drop, short) memorize less" in verdict.sentence
    assert "1 (drop) of these" in verdict.sentence
    assert "1 (drop) of 1" in verdict.sentence


def test_seeds_that_would_decide_memorization_are_those_that_find_a_difference() -> None:
    """The margin of accuracies, 0.01, is not one of distances: equal ones need more seeds than are looked for, not two."""
    needed = frontier_differences(frontier_measures(results({}, {}, noise=0.05)))["seeds_needed"].sel(against="baseline")
    assert not (needed.sel(measure="memorization", arm=["drop", "drop-random", "short"]) < 5).any()
    assert (needed.sel(measure="accuracy: own").values[1:] < 5).all()


def test_scaled_distances_leave_the_auc_alone_and_not_the_difference() -> None:
    plain, scaled = (frontier_measures(results({}, {}, scale=scale))["value"].sel(arm="short") for scale in (1.0, 2.0))
    np.testing.assert_allclose(scaled.sel(measure="auc"), plain.sel(measure="auc"))
    # What is memorized of seen samples doubles; the offset of what nobody saw cancels.
    np.testing.assert_allclose(scaled.sel(measure="effect"), 2 * plain.sel(measure="effect"))


def test_one_seed_decides_nothing() -> None:
    measures = frontier_measures(results({"drop": 0.0}, {}, seeds=1))
    assert np.isnan(frontier_means(measures)["interval"]).all()
    decided = frontier_differences(measures)["decision"].sel(against="baseline").values[1:]
    assert set(decided.ravel().tolist()) == {"undecided"}


def test_choosing_by_memorization_costs_g_too() -> None:
    found = costs(results({}, {}))
    assert found["images"].values.tolist() == [100, 214, 100, 100]
    assert found["seconds"].values.tolist() == [10, 20, 10, 10]
