"""The group as the unit: samples alone have the tests of samples, and twins do not make them surer."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from sslmem_kit.statistics.clusters import clustered_mean, clustered_one_sample_test, clustered_two_sample_test
from sslmem_kit.statistics.groups import influence_by_size
from sslmem_kit.statistics.summary import partition_summary
from sslmem_kit.statistics.t_tests import one_sample_test, partition_tests, two_sample_test
from tests.scores.test_groups import MEMORIZED, subsets


@pytest.mark.parametrize("alternative", ["greater", "less", "two-sided"])
def test_samples_alone_have_the_tests_of_samples(alternative: str) -> None:
    rng = np.random.default_rng(0)
    one, other = rng.normal(0.3, 1, 23), rng.normal(0, 2, 31)
    groups = rng.permutation(54)
    found = clustered_one_sample_test(one, groups[:23], alternative=alternative)
    expected = one_sample_test(one, alternative=alternative)
    assert [float(found[name]) for name in "tp"] == pytest.approx([float(expected[name]) for name in "tp"])
    found = clustered_two_sample_test(one, other, groups[:23], groups[23:], alternative=alternative)
    expected = two_sample_test(one, other, alternative=alternative)
    assert [float(found[name]) for name in ("t", "p", "n", "n_first")] == pytest.approx(
        [float(expected[name]) for name in ("t", "p", "n", "n_first")]
    )
    mean = clustered_mean(one, groups[:23])
    low, high = stats.t.interval(0.95, 22, one.mean(), stats.sem(one))
    assert [float(mean[name]) for name in ("low", "high", "n_effective")] == pytest.approx([low, high, 23])


def test_copies_change_nothing() -> None:
    rng = np.random.default_rng(1)
    one, other = rng.normal(0, 1, 12), rng.normal(0, 1, 15)
    copied = [np.repeat(values, 5) for values in (one, other, np.arange(12), np.arange(12, 27))]
    found = clustered_two_sample_test(*copied, alternative="greater")
    expected = two_sample_test(one, other, alternative="greater")
    assert float(found["t"]) == pytest.approx(float(expected["t"]))
    assert float(found["p"]) == pytest.approx(float(expected["p"]))
    assert float(clustered_mean(copied[0], copied[2])["n_effective"]) == pytest.approx(12, rel=0.1)


def test_the_interval_covers_where_members_go_together() -> None:
    """And that of samples does not."""
    rng, covered, naive = np.random.default_rng(2), 0, 0
    for _ in range(400):
        groups = np.repeat(np.arange(30), rng.integers(1, 9, 30))
        values = rng.normal(0, 1, 30)[groups] + rng.normal(0, 0.3, len(groups))
        found = clustered_mean(values, groups)
        covered += int(found["low"] <= 0 <= found["high"])
        naive += int(abs(values.mean()) <= stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    assert 0.90 <= covered / 400 <= 0.98
    assert naive / 400 < 0.8


def test_groups_on_both_sides_cancel_what_members_share() -> None:
    """Half of each group on either side: the test holds, and as if the sides were independent it hardly ever rejects."""
    rng, below, independent = np.random.default_rng(3), 0, 0
    groups = np.arange(40)
    for _ in range(400):
        shared = rng.normal(0, 1, 40)
        first, second = (shared + rng.normal(0, 0.5, 40) for _ in range(2))
        found = clustered_two_sample_test(first, second, groups, groups, alternative="two-sided")
        assert int(found["n_groups"]) == 40
        below += float(found["p"]) <= 0.05
        independent += stats.ttest_ind(first, second).pvalue <= 0.05
    assert 0.03 <= below / 400 <= 0.08
    assert independent / 400 < 0.01


def test_one_group_has_no_error() -> None:
    found = clustered_mean(np.array([1.0, 2.0]), np.array([3, 3]))
    assert float(found["mean"]) == 1.5
    assert np.isnan(found["standard_error"])
    assert np.isnan(clustered_one_sample_test(np.array([1.0, 2.0]), np.array([3, 3]), alternative="less")["p"])


def test_influence_by_size_is_the_planted_one() -> None:
    root, groups = subsets(whole=True)
    found = influence_by_size(root, groups)
    assert found["size"].values.tolist() == [2]
    low, high = found["interval"].values[0]
    assert low < MEMORIZED < high < low + 0.02
    apart = influence_by_size(root, groups, kinds=np.where(groups % 2, -1, groups % 4))
    assert apart["size"].values.tolist() == [0, 2]
    assert apart["groups"].values.sum() == 12


def test_a_study_with_groups_is_tested_by_groups() -> None:
    rng = np.random.default_rng(3)
    groups = np.repeat(np.arange(40), 6)
    codes = groups % 2
    values = rng.normal(0, 1, 40)[groups] + rng.normal(0, 0.2, 240)
    alone = xr.Dataset({"sslmem": ("sample", values)}, {"partition": ("sample", codes)})
    together = alone.assign_coords(group=("sample", groups))
    tests, expected = partition_tests(together, ("C>S", "S!=0")), partition_tests(alone, ("C>S", "S!=0"))
    assert (tests.attrs["unit"], expected.attrs["unit"]) == ("group", "sample")
    assert (abs(tests["t"]) < 0.6 * abs(expected["t"])).all()
    assert tests["cohens_d"].values == pytest.approx(expected["cohens_d"].values)
    widths = [float(partition_summary(scores)["interval"].sel(partition="shared").diff("bound")[0]) for scores in (together, alone)]
    assert widths[0] > 1.8 * widths[1]
    single = alone.assign_coords(group=("sample", np.arange(240)))
    xr.testing.assert_identical(partition_tests(single), partition_tests(alone))
    xr.testing.assert_identical(partition_summary(single), partition_summary(alone))


def test_no_test_that_knows_no_groups_is_printed_beside_those_that_do() -> None:
    coords = {"partition": ("sample", np.repeat([0, 1, 3], 20)), "group": ("sample", np.arange(60) // 2)}
    tests = partition_tests(xr.Dataset({"sslmem": ("sample", np.random.default_rng(0).normal(size=60))}, coords))
    assert np.isnan(tests["t_student"]).all()
    assert np.isnan(tests["p_student"]).all()
    assert np.isfinite(tests["p"]).all()
