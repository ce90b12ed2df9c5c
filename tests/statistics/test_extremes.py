"""The highest of noisy scores: their mean is biased, that of shrunken and of cross-fitted ones is not."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

from sslmem_kit.explorer.quantities import SCORES
from sslmem_kit.figures import gallery
from sslmem_kit.report.export import export
from sslmem_kit.statistics.extremes import by_halves, cross_fitted
from sslmem_kit.statistics.variance_components import CrossedScores
from tests.statistics.test_reliability import TRUE, made
from tests.support.fake_study import make_study

SAMPLES, SEEDS, VIEWS, TOP = 150, 3, 4, 8


def simulated(seed: int) -> tuple[CrossedScores, np.ndarray]:
    """Crossed scores of 150 samples, and their true scores: noise of seeds and of views, and offsets that all samples share."""
    rng = np.random.default_rng(seed)
    true = 1 + rng.normal(size=(SAMPLES, 1, 1))
    noise = [("seeds", (SAMPLES, 1, SEEDS)), ("views", (SAMPLES, VIEWS, 1)), ("interaction", (SAMPLES, VIEWS, SEEDS))]
    values = true + sum(np.sqrt(TRUE[name]) * rng.normal(size=shape) for name, shape in noise)
    return CrossedScores(values, np.zeros(VIEWS, int), np.arange(1, VIEWS + 1), "released"), true[:, 0, 0]


def test_the_naive_mean_of_the_highest_is_biased_and_shrunken_and_cross_fitted_are_not() -> None:
    """Eight chosen by two pairs averaged 73 where a third pair gave them 38."""
    naive, shrunken, crossed, measured, end = [], [], [], [], []
    for seed in range(300):
        table, true = simulated(seed)
        found = cross_fitted(table, TOP)
        scores = table.scores()
        top = np.argsort(-scores)[:TOP]
        factor = float(table.parts().reliability(SEEDS, VIEWS))
        naive.append(found["naive"].values[0] - true[top].mean())
        shrunken.append((scores.mean() + factor * (scores - scores.mean()))[top].mean() - true[top].mean())
        # What cross-fitting estimates: the true mean of sets that two seeds and half of the views choose.
        ways = []
        for seed_left in range(SEEDS):
            for views in ([1, 3], [2, 4]):
                chosen = table.only(seeds=[one for one in range(SEEDS) if one != seed_left], views=views).scores()
                ways.append(true[np.argsort(-chosen)[:TOP]].mean())
        crossed.append(found["cross_fitted"].values[0] - np.mean(ways))
        measured.append(scores.mean() - true.mean())
        end.append(found["cross_fitted_interval"].values[0])
    assert np.mean(naive) > 1
    assert np.mean(shrunken) == pytest.approx(np.mean(measured), abs=4 * stats.sem(shrunken))
    assert np.mean(crossed) == pytest.approx(0, abs=4 * stats.sem(crossed))
    assert stats.sem(crossed) < 0.05
    assert np.isfinite(end).all()


def test_the_scores_of_a_study_their_exports_and_the_explorer_have_them(tmp_path: Path) -> None:
    study = make_study(tmp_path / "three", samples=300, seeds=3, views=4, effect=0.02)
    scores = study.scores()
    for code, name in ((1, "candidate"), (2, "independent")):
        members = scores["partition"].values == code
        table = CrossedScores.of(study.results, "corrected", name)
        factor = table.parts().reliability(3, 4)
        assert scores.attrs[f"reliability_{name}"] == pytest.approx(factor)
        difference = scores["difference"].values[members]
        mean = difference.mean()
        np.testing.assert_allclose(scores["shrunken"].values[members], mean + factor * (difference - mean), atol=1e-6)
    assert np.isnan(scores["shrunken"].values[np.isin(scores["partition"].values, [0, 3])]).all()
    frame = pd.read_csv(export(study, tmp_path / "scores.csv"))
    np.testing.assert_allclose(frame["shrunken"], scores["shrunken"])
    assert "shrunken" in SCORES
    one = make_study(tmp_path / "one", samples=120, seeds=1, views=2).scores()
    assert np.isnan(one["shrunken"]).all()
    assert "reliability_candidate" not in one.attrs


def test_one_seed_has_no_cross_fitted_mean_and_few_views_are_said() -> None:
    table = CrossedScores.of(made(seeds=1), "released")
    found = cross_fitted(table, 5)
    assert np.isfinite(found["naive"]).all()
    assert np.isnan(found["cross_fitted"]).all()
    assert cross_fitted(CrossedScores.of(made(views=1), "released"), 5).attrs["views"] == "the same"
    assert cross_fitted(CrossedScores.of(made(), "released"), 5).attrs["views"] == "others"


def test_the_gallery_says_both_means(tmp_path: Path) -> None:
    study = make_study(tmp_path / "shown", samples=300, seeds=3, views=4, effect=0.02)
    scores, thumbnails = study.scores(), study.tree["images/thumbnail"]
    found = cross_fitted(CrossedScores.of(study.results), 4)
    _, captions, headings, _ = gallery.plot(scores, thumbnails, count=4, extremes=found)
    texts = headings.dimension_values("text").tolist()
    assert f"mean {found['naive'].values[0]:+.4f}" in texts[0]
    assert f"did not choose them {found['cross_fitted'].values[1]:+.4f}" in texts[1]
    assert "→" in captions.dimension_values("text")[0]
    equal = scores.assign(sslmem=xr.zeros_like(scores["sslmem"]))
    assert "All scores are equal" in gallery.plot(equal, thumbnails, count=4).opts.get("plot").kwargs["title"]


@pytest.mark.parametrize("seeds", [2, 3, 6])
@pytest.mark.parametrize("signal", [0.0, 0.5])
def test_intervals_of_chosen_means_hold_what_they_estimate(seeds: int, signal: float) -> None:
    """Of samples that are noise, and of some that are not: 95 % intervals hold the mean over studies, those by the spread over seeds do not."""
    rng = np.random.default_rng(seeds)
    true = signal * rng.normal(size=(200, 1))
    found, crossed, naive = [], [], []
    for _ in range(300):
        values = true + rng.normal(size=(200, seeds))
        found.append(by_halves(values, 20))
        table = CrossedScores(values[:, None], np.zeros(1, int), np.ones(1, int), "released")
        one = cross_fitted(table, 20).isel(end=0)
        crossed.append((one["cross_fitted"].item(), one["cross_fitted_interval"].values))
        naive.append(one["naive"].item())
    for ways in (found, crossed):
        means, ends = np.array([mean for mean, _ in ways]), np.array([ends for _, ends in ways])
        if not signal:
            assert abs(means.mean()) < 4 * stats.sem(means)
        assert np.mean((ends[:, 0] <= means.mean()) & (means.mean() <= ends[:, 1])) > 0.92
        reach = np.abs(ends[:, 1] - means)
        assert np.median(reach) < 4 * stats.t.ppf(0.975, seeds - 1) * means.std()
    if not signal:
        assert np.min(naive) > 0
