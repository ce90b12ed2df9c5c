"""Effects of membership, and the verdict: by hand, free of offsets, and as often wrong as they say where nothing is memorized."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from benchmarks import coverage
from sslmem_kit.names import PARTITION_CODE, PARTITIONS
from sslmem_kit.scores import score
from sslmem_kit.statistics import effects, fdr_summary, partition_summary, partition_tests, rank_scores, seed_summary, verdict


@pytest.fixture(scope="module")
def root() -> xr.Dataset:
    return coverage.study(0, 0.5, samples=440)[0]


def of_partitions(values: np.ndarray, codes: np.ndarray) -> dict[str, np.ndarray]:
    return {name: values[codes == PARTITION_CODE[name]] for name in PARTITIONS}


@pytest.mark.parametrize("protocol", ["paper", "released", "corrected"])
def test_effects_are_the_mean_over_seeds_with_students_interval(root, protocol):
    found = effects(score(root, protocol=protocol))
    singles = []
    for seed in range(3):
        one = score(root, protocol=protocol, encoders=[f"f-{seed}", f"g-{seed}"])
        singles.append({name: v.mean() for name, v in of_partitions(one["sslmem"].values, one["partition"].values).items()})
    expected = {
        "(C-I)/2": [(one["candidate"] - one["independent"]) / 2 for one in singles],
        "C-S": [one["candidate"] - one["shared"] for one in singles],
    }
    for name, values in expected.items():
        row = found.sel(effect=name)
        assert row["value"] == pytest.approx(np.mean(values))
        assert row["sd"] == pytest.approx(np.std(values, ddof=1))
        reach = stats.t(2).ppf(0.975) * stats.sem(values)
        np.testing.assert_allclose(row["interval"], [np.mean(values) - reach, np.mean(values) + reach])
        assert (str(row["over"].item()), int(row["seeds"])) == ("seeds", 3)
    means = seed_summary(score(root, protocol=protocol))
    assert means["mean"].sel(partition="extra") == pytest.approx(np.mean([one["extra"] for one in singles]))
    assert means["sd"].sel(partition="extra") == pytest.approx(np.std([one["extra"] for one in singles], ddof=1))


def test_the_mean_and_standard_deviation_over_seeds_is_the_paper_s_form(root):
    found = score(root, protocol="paper")
    assert seed_summary(found)["mean"].sel(partition="candidate") == pytest.approx(
        found["sslmem"].values[found["partition"].values == 1].mean()
    )


def test_an_offset_of_trainings_is_in_the_means_and_in_no_effect_and_no_test(root):
    moved = root.copy()
    moved["alignment"] = root["alignment"] + xr.DataArray(np.array([0.0, 0.1, 0.0, -0.05, 0.0, 0.3]), dims="encoder")
    one, other = score(root), score(moved)
    xr.testing.assert_allclose(effects(one), effects(other))
    assert float(seed_summary(other)["mean"].sel(partition="shared")) > 0.1
    here, there = partition_tests(one), partition_tests(other)
    for name in ("t", "p", "cohens_d"):
        np.testing.assert_allclose(here[name], there[name], rtol=1e-6, atol=1e-12)
    assert (np.abs(there["t_zero"].sel(alternative="S!=0")) > 10).item()


def test_encoders_that_are_no_pairs_are_compared_as_welch_does(root):
    alone = score(root.assign_coords(seed=("encoder", np.arange(6))))
    row = effects(alone).sel(effect="(C-I)/2")
    groups = of_partitions(alone["alignment_by_encoder"].values, alone["partition"].values)
    of_encoders = (groups["candidate"].mean(axis=0) - groups["independent"].mean(axis=0)) / 2
    expected = stats.ttest_ind(of_encoders[1::2], of_encoders[::2], equal_var=False).confidence_interval()
    np.testing.assert_allclose(row["interval"], [expected.low, expected.high])
    assert str(row["over"].item()) == "encoders"
    assert seed_summary(alone)["seeds"] == 0


def test_one_training_has_an_interval_over_samples_and_says_so(root):
    single = score(root, encoders=["f-1", "g-1"])
    row = effects(single).sel(effect="C-S")
    groups = of_partitions(single["sslmem"].values, single["partition"].values)
    expected = stats.ttest_ind(groups["candidate"], groups["shared"], equal_var=False).confidence_interval()
    np.testing.assert_allclose(row["interval"], [expected.low, expected.high])
    assert str(row["over"].item()) == "samples"
    said = verdict(effects(single))
    assert "of one training, others are not known" in said.sentence
    assert any("one seed" in sentence for sentence in said.cannot)


def test_a_partition_that_is_missing_has_no_effect(root):
    found = effects(score(root.isel(sample=np.flatnonzero(root["partition"].values != PARTITION_CODE["independent"]))))
    assert np.isnan(found["value"].sel(effect="(C-I)/2"))
    assert np.isfinite(found["value"].sel(effect="C-S"))
    assert verdict(found).sentence.startswith("memorized")


def test_the_verdict_says_what_it_rests_on(root):
    order = rank_scores(root)
    said = verdict(effects(score(root)), order)
    assert said.sentence.startswith("memorized: training on a sample lowers its alignment by 0.0")
    assert "over 3 trainings" in said.sentence
    assert "over samples, given these encoders)" in said.sentence
    known = f"reliability {float(order['reliability']):.2f}"
    assert any(sentence.startswith("which single sample is memorized more") and known in sentence for sentence in said.cannot)
    assert verdict(effects(score(root)), order, meaningless="f-0 has collapsed").sentence == "no verdict: f-0 has collapsed"
    reliable = order.assign(reliability=0.9, reliability_interval=("bound", [0.85, 0.95])).assign_attrs(estimator="adjusted")
    assert any(sentence.startswith("the order of single samples") for sentence in verdict(effects(score(root)), reliable).can)
    nothing = verdict(effects(score(coverage.study(3, 0, samples=440)[0])))
    assert nothing.sentence.startswith("no memorization found")


def test_a_verdict_needs_a_test_and_names_its_unit_and_direction(root):
    """What an unknown p, a protocol that divides by a range, and f and g confused read as."""
    one_group = np.where(root["partition"].values == PARTITION_CODE["candidate"], 0, np.arange(root.sizes["sample"]) + 1)
    for results in (root, root.isel(encoder=[0, 1])):
        untested = verdict(effects(score(results.assign_coords(group=("sample", one_group)))))
        assert untested.sentence.startswith("no verdict: training on a sample lowers its alignment by 0.0")
        assert "cannot be tested" in untested.sentence
    assert " of the candidates' range, over" in verdict(effects(score(root, protocol="paper"))).sentence
    swapped = root.assign_coords(family=("encoder", np.where(root["family"].values == "f", "g", "f")))
    assert verdict(effects(score(swapped))).sentence.startswith(
        "the other way round: training on a sample raises its alignment by 0.0"
    )
    small = root.assign(alignment=root["alignment"] * 1e-4)
    assert "by +0.0000" not in verdict(effects(score(small))).sentence
    assert "alignment by 1.9e-06, over 3 trainings between +1.5e-06 and +2.4e-06" in verdict(effects(score(small))).sentence


def test_a_sample_without_a_score_changes_nothing_for_the_others(root):
    """Means, tests, effects, errors, reliability and lists of the rest are as if it was not there."""
    lost = int(np.flatnonzero(root["partition"].values == PARTITION_CODE["candidate"])[0])
    holed, without = root.copy(deep=True), root.isel(sample=np.arange(root.sizes["sample"]) != lost)
    holed["alignment"].values[lost] = np.nan
    with pytest.warns(UserWarning, match="1 of"):
        found = score(holed)
    expected = score(without)
    for function in (effects, partition_tests, partition_summary, seed_summary):
        xr.testing.assert_allclose(function(found), function(expected))
    rest = found.isel(sample=np.arange(root.sizes["sample"]) != lost)
    for name in ("low", "high", "standard_error", "z"):
        np.testing.assert_allclose(rest[name], expected[name])
    ranked = rank_scores(holed)
    assert float(ranked["reliability"]) == pytest.approx(float(rank_scores(without)["reliability"]))
    assert ranked.attrs["reliability_n"] == int(expected["partition"].isin(PARTITION_CODE["candidate"]).sum())
    whole, holed_list = fdr_summary(expected, 0.1), fdr_summary(found, 0.1)
    np.testing.assert_array_equal(holed_list["n"], whole["n"])
    np.testing.assert_array_equal(holed_list["memorized"], whole["memorized"])


def test_nothing_is_memorized_as_often_as_five_percent_say():
    """Every printed test, with an offset as measured; the paper's tests against zero fail, which is why they are marked."""
    below, zero = [], []
    for seed in range(60):
        found = score(coverage.study(seed, 0, samples=440)[0])
        tests = partition_tests(found)
        below.append([*(tests["p"].values <= 0.05), *(effects(found)["p"].values <= 0.05)])
        zero.append(tests["p_zero"].sel(alternative="S!=0").item() <= 0.05)
    assert np.max(np.mean(below, axis=0)) <= stats.binom(60, 0.05).ppf(0.9999) / 60
    assert np.mean(below) == pytest.approx(0.05, abs=0.03)
    assert np.mean(zero) > 0.4
