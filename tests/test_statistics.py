"""Tests and intervals against scipy and by hand; planted effects are found and named."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from sslmem_kit.statistics import (
    TABLE_2,
    TABLE_16,
    bootstrap_interval,
    by_partition,
    one_sample_test,
    partition_summary,
    partition_tests,
    rank_agreement,
    two_sample_test,
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
        assert np.isnan([found["t"], found["p"], found["cohens_d"]]).all()
    assert np.isnan(bootstrap_interval(FIRST[:n])).all()


def test_planted_effects_give_the_alternatives_of_the_tables():
    rows = {row["alternative"]: row for row in partition_tests(scores(shared=0.02, candidate=0.2, independent=-0.2, extra=0.1))}
    assert tuple(rows) == TABLE_2 + TABLE_16 == ("C>S", "C>E", "S>I", "E>I", "C>0", "I<0", "S!=0", "E>0")
    assert all(rows[name]["p"] < 1e-3 for name in ("C>S", "C>E", "S>I", "E>I", "C>0", "I<0", "E>0"))
    assert rows["I<0"]["t"] < 0 < rows["C>0"]["t"]
    assert {row["test"] for row in rows.values()} == {"welch", "student"}
    assert rows["C>S"]["n"] == 100
    assert rows["S!=0"]["n"] == 50


def test_the_wrong_direction_is_not_significant():
    rows = {row["alternative"]: row for row in partition_tests(scores(shared=0.2, candidate=-0.2, independent=0.4, extra=-0.1))}
    assert all(row["p"] > 0.99 for name, row in rows.items() if name not in ("S!=0", "C>E"))
    assert rows["S!=0"]["p"] < 1e-3


def test_each_test_takes_the_partitions_that_it_names():
    given = scores(shared=0.0, candidate=0.1, independent=-0.1, extra=0.05)
    groups = by_partition(given)
    row = next(row for row in partition_tests(given) if row["alternative"] == "E>I")
    expected = stats.ttest_ind(groups["extra"], groups["independent"], equal_var=False, alternative="greater")
    student = stats.ttest_ind(groups["extra"], groups["independent"], alternative="greater")
    assert (row["t"], row["p"]) == (pytest.approx(expected.statistic), pytest.approx(expected.pvalue))
    assert (row["t_student"], row["p_student"]) == (pytest.approx(student.statistic), pytest.approx(student.pvalue))
    assert all(values.dtype == np.float64 for values in groups.values())


def test_a_partition_without_samples_leaves_its_tests_out():
    given = scores(candidate=0.1, independent=-0.1)
    assert [row["alternative"] for row in partition_tests(given)] == ["C>0", "I<0"]
    assert list(partition_summary(given)) == ["candidate", "independent"]


def test_the_summary_by_hand():
    given = scores(shared=0.0, candidate=0.2)
    found = partition_summary(given)["candidate"]
    values = given["sslmem"].values[50:].astype(np.float64)
    assert (found["mean"], found["sd"], found["n"]) == (pytest.approx(values.mean()), pytest.approx(values.std(ddof=1)), 50)
    assert found["interval"][0] < found["mean"] < found["interval"][1]


def test_the_interval_is_reproducible_and_of_about_the_width_of_the_normal_one():
    values = np.random.default_rng(2).normal(3, 2, 400)
    low, high = bootstrap_interval(values, seed=1)
    assert (low, high) == bootstrap_interval(values, seed=1) != bootstrap_interval(values, seed=2)
    assert high - low == pytest.approx(2 * 1.96 * values.std(ddof=1) / 20, rel=0.1)
    assert bootstrap_interval(values, confidence=0.5)[1] - bootstrap_interval(values, confidence=0.5)[0] < 0.5 * (high - low)


def test_the_interval_covers_the_mean_as_often_as_it_says():
    rng = np.random.default_rng(3)
    intervals = [bootstrap_interval(rng.exponential(1, 60), resamples=200, seed=trial) for trial in range(200)]
    assert 0.86 <= np.mean([low <= 1 <= high for low, high in intervals]) <= 0.99


def test_rank_agreement_by_hand():
    # One of six pairs in the other order.
    found = rank_agreement(np.array([1, 2, 3, 4]), np.array([10, 20, 40, 30]))
    assert found["tau"] == pytest.approx((5 - 1) / 6)
    assert found["n"] == 4
    assert rank_agreement(FIRST, -FIRST)["tau"] == pytest.approx(-1)
    # Ties: tau-b by scipy's definition, (concordant - discordant) / sqrt of the untied pairs of either.
    assert rank_agreement(np.array([1, 1, 2]), np.array([1, 2, 3]))["tau"] == pytest.approx(2 / np.sqrt(2 * 3))
