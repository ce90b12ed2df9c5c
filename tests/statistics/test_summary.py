"""Tests and intervals against scipy and by hand; planted effects are found and named."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from sslmem_kit.statistics import (
    TABLE_2,
    TABLE_16,
    bootstrap_mean_interval,
    by_partition,
    highest,
    one_sample_test,
    partition_summary,
    partition_tests,
    rank_agreement,
    share_above,
    summary,
    top_overlap,
    two_sample_test,
    wilson_interval,
)

RNG = np.random.default_rng(0)
FIRST, SECOND = RNG.normal(0.3, 1, 40), RNG.normal(0, 2, 25)
SIDES = ("greater", "less", "two-sided")


def scores(**means: float) -> xr.Dataset:
    """Fifty scores a partition around the given means."""
    rng = np.random.default_rng(1)
    codes = np.repeat([{"shared": 0, "candidate": 1, "independent": 2, "extra": 3}[name] for name in means], 50)
    values = np.concatenate([rng.normal(mean, 0.1, 50) for mean in means.values()])
    return xr.Dataset({"sslmem": ("sample", values.astype(np.float32))}, coords={"partition": ("sample", codes)})


@pytest.mark.parametrize("equal_variances", [False, True])
@pytest.mark.parametrize("alternative", SIDES)
def test_two_samples_as_scipy(alternative, equal_variances):
    found = two_sample_test(FIRST, SECOND, alternative=alternative, equal_variances=equal_variances)
    spread = (FIRST.var(ddof=1), SECOND.var(ddof=1))
    if equal_variances:
        pooled = (39 * spread[0] + 24 * spread[1]) / 63
        error, degrees = np.sqrt(pooled * (1 / 40 + 1 / 25)), 63
    else:
        parts = (spread[0] / 40, spread[1] / 25)
        error, degrees = np.sqrt(sum(parts)), sum(parts) ** 2 / (parts[0] ** 2 / 39 + parts[1] ** 2 / 24)
    t = (FIRST.mean() - SECOND.mean()) / error
    p = {"greater": stats.t.sf(t, degrees), "less": stats.t.cdf(t, degrees), "two-sided": 2 * stats.t.sf(abs(t), degrees)}[
        alternative
    ]
    assert found["t"] == pytest.approx(t)
    assert found["p"] == pytest.approx(p)
    assert (found["n"], found["n_first"], found["n_second"]) == (65, 40, 25)


@pytest.mark.parametrize("alternative", SIDES)
def test_one_sample_as_scipy(alternative):
    found = one_sample_test(FIRST, alternative=alternative)
    expected = stats.ttest_1samp(FIRST, 0, alternative=alternative)
    assert (found["t"], found["p"]) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue))
    assert found["cohens_d"] == pytest.approx(found["t"] / np.sqrt(40))
    assert found["n"] == 40


def test_cohens_d_by_hand():
    # Means 2 and 5, both variances 1: three pooled standard deviations below.
    assert two_sample_test(np.array([1.0, 2, 3]), np.array([4.0, 5, 6]), alternative="less")["cohens_d"] == pytest.approx(-3)
    # Sums of squares 2 and 8 over 2 + 2 degrees of freedom.
    assert two_sample_test(np.array([1.0, 2, 3]), np.array([0.0, 2, 4]), alternative="less")["cohens_d"] == 0
    unequal = two_sample_test(np.array([1.0, 2, 3]), np.array([2.0, 4, 6]), alternative="less")
    assert unequal["cohens_d"] == pytest.approx(-2 / np.sqrt(10 / 4))


@pytest.mark.parametrize("n", [0, 1])
def test_too_few_samples_are_nan_and_not_a_warning(n):
    for found in (two_sample_test(FIRST[:n], SECOND, alternative="greater"), one_sample_test(FIRST[:n], alternative="less")):
        assert np.isnan(found[["t", "p", "cohens_d"]].to_array()).all()
    assert np.isnan(bootstrap_mean_interval(FIRST[:n])).all()


def test_planted_effects_give_the_alternatives_of_the_tables():
    tests = partition_tests(scores(shared=0.02, candidate=0.2, independent=-0.2, extra=0.1))
    rows = {name: tests.sel(alternative=name) for name in tests["alternative"].values}
    assert tuple(rows) == TABLE_2 + TABLE_16 == ("C>S", "C>E", "S>I", "E>I", "C>0", "I<0", "S!=0", "E>0")
    assert all(rows[name]["p"] < 1e-3 for name in rows)
    assert rows["I<0"]["t"] < 0 < rows["C>0"]["t"]
    assert rows["C>S"]["n"] == 100
    assert [str(rows[name]["against"].item()) for name in TABLE_16] == ["shared and extra", "shared and extra", "extra", "shared"]
    assert rows["C>0"]["n"] == 150


def test_table_16_is_against_the_null_with_the_paper_s_test_against_zero_beside():
    given = scores(shared=0.02, candidate=0.2, independent=-0.2, extra=0.1)
    groups, row = by_partition(given), partition_tests(given).sel(alternative="C>0")
    null = np.concatenate([groups["shared"], groups["extra"]])
    expected = stats.ttest_ind(groups["candidate"], null, equal_var=False, alternative="greater")
    assert (row["t"], row["p"]) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue))
    zero = stats.ttest_1samp(groups["candidate"], 0, alternative="greater")
    assert (row["t_zero"], row["p_zero"]) == (pytest.approx(zero.statistic), pytest.approx(zero.pvalue))
    assert np.isnan(partition_tests(given)["t_zero"].sel(alternative="C>S"))


def test_the_wrong_direction_is_not_significant():
    tests = partition_tests(scores(shared=0.2, candidate=-0.2, independent=0.4, extra=-0.1))
    rows = {name: tests.sel(alternative=name) for name in tests["alternative"].values}
    assert all(row["p"] > 0.99 for name, row in rows.items() if name not in ("S!=0", "C>E"))
    assert rows["S!=0"]["p"] < 1e-3


def test_each_test_takes_the_partitions_that_it_names():
    given = scores(shared=0.0, candidate=0.1, independent=-0.1, extra=0.05)
    groups = by_partition(given)
    row = partition_tests(given).sel(alternative="E>I")
    expected = stats.ttest_ind(groups["extra"], groups["independent"], equal_var=False, alternative="greater")
    student = stats.ttest_ind(groups["extra"], groups["independent"], alternative="greater")
    assert (row["t"], row["p"]) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue))
    assert (row["t_student"], row["p_student"]) == (pytest.approx(student.statistic), pytest.approx(student.pvalue))
    assert all(values.dtype == np.float64 for values in groups.values())


def test_a_partition_without_samples_leaves_its_tests_out():
    given = scores(candidate=0.1, independent=-0.1)
    assert partition_tests(given)["alternative"].values.tolist() == []
    assert partition_tests(scores(candidate=0.1, extra=0.0))["alternative"].values.tolist() == ["C>E", "C>0"]
    assert partition_summary(given)["partition"].values.tolist() == ["candidate", "independent"]


def test_the_summary_by_hand():
    given = scores(shared=0.0, candidate=0.2)
    found = partition_summary(given).sel(partition="candidate")
    values = given["sslmem"].values[50:].astype(np.float64)
    assert (found["mean"], found["sd"], found["n"]) == (pytest.approx(values.mean()), pytest.approx(values.std(ddof=1)), 50)
    assert found["interval"].sel(bound="low") < found["mean"] < found["interval"].sel(bound="high")


def test_the_interval_is_reproducible_and_of_about_the_width_of_the_normal_one():
    values = np.random.default_rng(2).normal(3, 2, 400)
    low, high = bootstrap_mean_interval(values, seed=1)
    assert (low, high) == bootstrap_mean_interval(values, seed=1) != bootstrap_mean_interval(values, seed=2)
    assert high - low == pytest.approx(2 * 1.96 * values.std(ddof=1) / 20, rel=0.1)
    assert bootstrap_mean_interval(values, confidence=0.5)[1] - bootstrap_mean_interval(values, confidence=0.5)[0] < 0.5 * (
        high - low
    )


def test_the_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(3)
    intervals = [bootstrap_mean_interval(rng.exponential(1, 60), resamples=200, seed=trial) for trial in range(200)]
    assert 0.86 <= np.mean([low <= 1 <= high for low, high in intervals]) <= 0.99


@pytest.mark.parametrize("n", [5, 10, 20, 29])
@pytest.mark.parametrize(("kind", "least"), [("normal", 0.93), ("heavy", 0.93), ("skewed", 0.86)])
def test_the_interval_of_few_values_covers_too(n: int, kind: str, least: float) -> None:
    """The percentile bootstrap covered 79 to 92 %; of exponential values Student's still covers but 88 to 93 %."""
    rng = np.random.default_rng([n, len(kind)])
    shape = (2000, n)
    draw = {"normal": rng.normal(size=shape), "heavy": rng.standard_t(4, shape), "skewed": rng.exponential(1, shape) - 1}[kind]
    covered = np.mean([low <= 0 <= high for low, high in map(bootstrap_mean_interval, draw)])
    assert least <= covered <= 0.97


def of(found: xr.Dataset, statistic: str) -> float:
    return found["value"].sel(statistic=statistic).item()


def ends(found: xr.Dataset, statistic: str) -> tuple[float, float]:
    return tuple(found["interval"].sel(statistic=statistic).values.tolist())


def test_rank_agreement_by_hand():
    # One of six pairs in the other order.
    found = rank_agreement(np.array([1, 2, 3, 4]), np.array([10, 20, 40, 30]))
    assert of(found, "tau") == pytest.approx((5 - 1) / 6)
    assert found["n"] == 4
    assert of(rank_agreement(FIRST, -FIRST), "tau") == pytest.approx(-1)
    # Ties: tau-b by scipy's definition, (concordant - discordant) / sqrt of the untied pairs of either.
    assert of(rank_agreement(np.array([1, 1, 2]), np.array([1, 2, 3])), "tau") == pytest.approx(2 / np.sqrt(2 * 3))


def correlated(n: int, rng: np.random.Generator, correlation: float = 0.5) -> tuple[np.ndarray, np.ndarray]:
    """Normal pairs; their tau is 2 / pi * arcsin(correlation), their rho 6 / pi * arcsin(correlation / 2)."""
    first = rng.normal(size=n)
    return first, correlation * first + np.sqrt(1 - correlation**2) * rng.normal(size=n)


def test_rank_agreement_as_scipy():
    first, second = correlated(200, np.random.default_rng(4))
    second = np.round(second, 1)  # ties
    found = rank_agreement(first, second)
    tau, rho = stats.kendalltau(first, second), stats.spearmanr(first, second)
    assert (of(found, "tau"), found["p"]) == (pytest.approx(tau.statistic), pytest.approx(tau.pvalue))
    assert of(found, "rho") == pytest.approx(rho.statistic)
    for name in ("tau", "rho"):
        low, high = ends(found, name)
        assert low < of(found, name) < high
        # Symmetric where Fisher's transformation says so.
        assert np.arctanh([low, high]).mean() == pytest.approx(np.arctanh(of(found, name)))
    wider, narrow = ends(rank_agreement(first, second, confidence=0.99), "tau"), ends(found, "tau")
    assert wider[0] < narrow[0] < narrow[1] < wider[1]


def test_the_intervals_of_rank_agreement_cover_as_often_as_they_say():
    rng = np.random.default_rng(5)
    true = {"tau": 2 / np.pi * np.arcsin(0.5), "rho": 6 / np.pi * np.arcsin(0.25)}
    found = [rank_agreement(*correlated(60, rng)) for _ in range(400)]
    for name, value in true.items():
        covered = [low <= value <= high for low, high in (ends(row, name) for row in found)]
        assert 0.92 <= np.mean(covered) <= 0.98


def test_the_interval_of_many_values_is_that_of_the_bootstrap(monkeypatch):
    values = np.random.default_rng(0).exponential(1, summary.NORMAL_ABOVE + 1)
    normal = bootstrap_mean_interval(values)
    monkeypatch.setattr(summary, "NORMAL_ABOVE", len(values))
    drawn = bootstrap_mean_interval(values)
    error = values.std() / np.sqrt(len(values))
    assert drawn != normal
    np.testing.assert_allclose(normal, drawn, atol=0.2 * error)  # three standard errors of an end by 2,000 resamples


def test_the_intervals_of_rank_agreement_are_about_those_of_a_bootstrap():
    first, second = correlated(150, np.random.default_rng(6), 0.4)
    rng = np.random.default_rng(7)
    draws = [rank_agreement(first[chosen], second[chosen]) for chosen in rng.integers(0, 150, (400, 150))]
    found = rank_agreement(first, second)
    for name in ("tau", "rho"):
        low, high = np.quantile([of(row, name) for row in draws], [0.025, 0.975])
        assert ends(found, name) == (pytest.approx(low, abs=0.05), pytest.approx(high, abs=0.05))


def test_rank_agreement_at_its_ends_and_with_too_few():
    same, opposite = rank_agreement(FIRST, FIRST), rank_agreement(FIRST, -FIRST)
    assert [*same["value"].values, *opposite["value"].values] == [1, 1, -1, -1]
    assert np.isnan([same["interval"], opposite["interval"]]).all()
    for first, second in [(FIRST[:0], FIRST[:0]), (FIRST[:1], FIRST[:1]), (FIRST, np.ones(40))]:
        found = rank_agreement(first, second)
        assert np.isnan([*found["value"].values, found["p"].item(), *found["interval"].values.flat]).all()
        assert found["n"] == len(first)
    assert np.isnan(rank_agreement(FIRST[:4], np.array([1.0, 3, 2, 5]))["interval"]).all()


def test_the_highest_are_those_of_a_full_sort():
    values = np.random.default_rng(8).integers(0, 30, 200).astype(float)
    for k in (0, 1, 7, 199, 200, 500):
        assert highest(values, k).tolist() == np.argsort(-values, kind="stable")[:k].tolist()
    assert highest(values[:0], 3).tolist() == []


def test_the_overlap_of_the_tops_by_hand():
    first = np.arange(100.0)
    second = np.where(first >= 95, first, -first)  # the five highest stay; then come 0, 1, 2 ...
    found = top_overlap(first, second, (5, 10, 100, 200))
    assert found["k"].values.tolist() == [5, 10, 100]
    assert found["common"].values.tolist() == [5, 5, 100]
    assert found["share"].values.tolist() == [1.0, 0.5, 1.0]
    assert found["chance"].values.tolist() == [0.05, 0.1, 1.0]
    assert top_overlap(first, -first)["common"].values.tolist() == [0, 0, 0, 100]
    assert top_overlap(first[:60], first[:60])["k"].values.tolist() == [10, 20, 50]
    assert top_overlap(first[:3], first[:3]).sizes["k"] == 0
    assert top_overlap(first[:0], first[:0]).sizes["k"] == 0
    expected = [stats.hypergeom(100, k, k).ppf([0.025, 0.975]) / k for k in (5, 10, 100)]
    np.testing.assert_allclose(found["chance_band"].values, expected)
    low, high = wilson_interval(found["common"].values, found["k"].values)
    np.testing.assert_allclose(found["share_interval"].values, np.stack([low, high], axis=1))


def test_chance_is_what_unrelated_orders_have_on_average():
    rng = np.random.default_rng(9)
    found = [top_overlap(rng.normal(size=100), rng.normal(size=100), (20,)) for _ in range(300)]
    assert np.mean([one["share"].item() for one in found]) == pytest.approx(found[0]["chance"].item(), abs=0.02)


def test_the_share_above_by_a_loop():
    values = np.random.default_rng(4).normal(size=200).astype(np.float32)
    thresholds = np.concatenate([values[:20].astype(float), [-10, 10, 0.1, -np.inf, np.inf]])
    found = share_above(values, thresholds)
    np.testing.assert_allclose(found, [(values > np.float32(threshold)).mean() for threshold in thresholds])
    assert share_above(np.array([1.0, 1.0, 2.0]), np.array([1.0]))[0] == pytest.approx(1 / 3)
    assert np.isnan(share_above(values[:0], thresholds)).all()


@pytest.mark.parametrize("confidence", [0.95, 0.5])
def test_wilson_intervals_as_scipy(confidence):
    pairs = [(0, 1), (1, 1), (0, 50), (50, 50), (3, 10), (499, 1000), (12, 100_000)]
    low, high = wilson_interval(*np.transpose(pairs), confidence=confidence)
    expected = [stats.binomtest(*pair).proportion_ci(confidence, method="wilson") for pair in pairs]
    np.testing.assert_allclose(low, [one.low for one in expected], atol=1e-12)
    np.testing.assert_allclose(high, [one.high for one in expected], atol=1e-12)
    assert np.isnan(wilson_interval(0, 0)).all()
