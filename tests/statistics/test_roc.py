"""ROC, AUC and their intervals: scikit-learn and SciPy as oracles, then coverage by simulation."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats
from sklearn.metrics import roc_auc_score, roc_curve

from sslmem_kit.statistics.roc import GRID, auc, needed_others, placements, roc

scores = st.lists(st.integers(-5, 5).map(float), min_size=2, max_size=60).map(np.array)


@given(scores, scores)
@settings(deadline=None, max_examples=100)
def test_auc_is_that_of_scikit_learn_and_of_mann_whitney_with_ties(members, others):
    found = auc(members, others)["auc"].item()
    truth = np.concatenate([np.ones(len(members)), np.zeros(len(others))])
    assert found == pytest.approx(roc_auc_score(truth, np.concatenate([members, others])), abs=1e-12)
    u = stats.mannwhitneyu(members, others, alternative="two-sided", method="asymptotic").statistic
    assert found == pytest.approx(u / len(members) / len(others), abs=1e-12)
    for part in placements(members, others):
        assert part.mean() == pytest.approx(found, abs=1e-12)


@given(st.integers(0, 10**6), st.integers(5, 80), st.integers(5, 80))
@settings(deadline=None, max_examples=50)
def test_p_is_that_of_brunner_and_munzel(seed, n, m):
    random = np.random.default_rng(seed)
    members, others = random.normal(0.3, 1, n).round(1), random.normal(0, 2, m).round(1)
    found = auc(members, others)
    if 0 < found["auc"] < 1:
        assert found["p"].item() == pytest.approx(stats.brunnermunzel(members, others).pvalue, rel=1e-6, abs=1e-12)


@given(scores, scores)
@settings(deadline=None, max_examples=100)
def test_true_positive_rates_are_those_of_scikit_learn(members, others):
    truth = np.concatenate([np.ones(len(members)), np.zeros(len(others))])
    fpr, expected, _ = roc_curve(truth, np.concatenate([members, others]), drop_intermediate=False)
    found = roc(members, others)
    for rate, value in zip(GRID, found["tpr"].values, strict=True):
        if np.isfinite(value):
            assert value == pytest.approx(expected[fpr <= rate + 1e-9].max())
        else:
            assert rate * len(others) < 1
    low, high = found["interval"].values.T
    known = np.isfinite(found["tpr"].values)
    tpr = found["tpr"].values[known]
    assert (low[known] <= tpr + 1e-12).all()
    assert (tpr <= high[known] + 1e-12).all()
    assert (np.diff([low, high], axis=1) >= -1e-12).all()


def test_delong_error_is_that_of_a_bootstrap():
    random = np.random.default_rng(0)
    members, others = random.normal(1, 1, 150), random.normal(0, 1, 220)
    resampled = [auc(random.choice(members, 150), random.choice(others, 220))["auc"].item() for _ in range(1500)]
    assert auc(members, others)["standard_error"].item() == pytest.approx(np.std(resampled), rel=0.08)


def test_intervals_of_auc_cover_the_truth():
    """Nominal 95 %: at .5, in the middle and high, with ties and unequal numbers."""
    random, shares = np.random.default_rng(1), {}
    for shift, n, m, digits in [(0, 30, 30, 6), (0, 135, 135, 6), (0, 15, 200, 0), (1, 40, 40, 6), (2, 60, 25, 1)]:
        truth = stats.norm.cdf(shift / np.sqrt(2))
        if digits < 2:
            big = random.normal(0, 1, (2, 400_000))
            truth = auc((big[0] + shift).round(digits), big[1].round(digits))["auc"].item()
        covered = 0
        for _ in range(400):
            low, high = auc(random.normal(shift, 1, n).round(digits), random.normal(0, 1, m).round(digits))["interval"].values
            covered += low <= truth <= high
        shares[shift, n, m, digits] = covered / 400
    assert min(shares.values()) > 0.92, shares


def test_seeds_that_differ_widen_the_interval():
    random = np.random.default_rng(2)
    covered = [0, 0]
    for _ in range(300):
        shift = random.normal(0, 0.4, 4)[:, None]  # of each training, on members alone; AUC is .5 on average
        members, others = random.normal(0, 1, (4, 200)) + shift, random.normal(0, 1, (4, 200))
        for number, found in enumerate((auc(members, others), auc(members[:1], others[:1]))):
            low, high = found["interval"].values
            covered[number] += low <= 0.5 <= high
    assert covered[0] / 300 > 0.92
    assert covered[1] / 300 < 0.8  # one seed's interval is over samples alone


@pytest.mark.parametrize(("n", "m"), [(100, 100), (1000, 500), (50, 3000)])
def test_intervals_of_rates_cover_the_truth(n, m):
    random, rates = np.random.default_rng(3), (0.01, 0.05, 0.3, 0.9)
    truth = stats.norm.sf(stats.norm.isf(rates) - 1)
    covered = np.zeros(len(rates))
    for _ in range(200):
        low, high = roc(random.normal(1, 1, n), random.normal(0, 1, m), rates=rates)["interval"].values.T
        covered += (low <= truth) & (truth <= high)
    assert covered.min() / 200 >= 0.95


def test_too_few_others_show_nothing_at_a_tenth_of_a_percent():
    for n, shown in ((needed_others(0.001) - 1, False), (needed_others(0.001), True)):
        low = roc(np.full(500, 2.0), np.linspace(0, 1, n), rates=(0.001,))["interval"].values[0, 0]
        assert (low > 0) == shown
    assert np.isnan(roc(np.ones(10), np.zeros(999), rates=(0.001,))["tpr"].item())


def test_perfect_separation_has_an_interval_and_few_samples_none():
    found = auc(np.arange(10.0) + 20, np.arange(30.0) - 30)
    assert found["auc"].item() == 1
    np.testing.assert_allclose(found["interval"].values, [0.025**0.1, 1])
    assert np.isnan(auc(np.ones(1), np.zeros(5))["auc"].item())
    missing = auc(np.array([1.0, np.nan, 2.0]), np.array([0.0, 1.5, np.inf]))
    assert (missing["n_members"].item(), missing["n_others"].item()) == (2, 2)
