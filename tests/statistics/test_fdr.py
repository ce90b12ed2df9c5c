"""p- and q-values against counting and scipy; rates that hold on simulated studies whose truth is known."""

from __future__ import annotations

import json
import sys
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from scipy import stats

from sslmem_kit.cli import main
from sslmem_kit.errors import UserError
from sslmem_kit.names import PARTITION_CODE, PARTITIONS
from sslmem_kit.report.build import build_report
from sslmem_kit.report.export import export
from sslmem_kit.report.text import as_text
from sslmem_kit.scores import score
from sslmem_kit.statistics.fdr import TESTED, fdr_summary, p_values, q_values, with_significance
from sslmem_kit.study import Study
from tests.support import ROOT
from tests.support.fake_study import make_study


@pytest.fixture(scope="module")
def simulate():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        from calibration import simulate

        yield simulate
        sys.modules.pop("calibration")


def table(**partitions: np.ndarray) -> xr.Dataset:
    """Scores by partition."""
    values = np.concatenate(list(partitions.values()))
    codes = np.repeat([PARTITION_CODE[name] for name in partitions], [len(part) for part in partitions.values()])
    return xr.Dataset({"sslmem": ("sample", values), "difference": ("sample", values)}, {"partition": ("sample", codes)})


def made(*, candidates: int = 40, null: int = 300) -> xr.Dataset:
    """A third of the candidates, and mirrored of the independents, far above the null; and an offset."""
    rng = np.random.default_rng(1)
    lifted = np.where(np.arange(candidates) % 3 == 0, 3.0, 0.0)
    own = rng.normal(0.5, 1, (2, candidates)) + np.stack([lifted, -lifted])
    return table(shared=rng.normal(0.5, 1, null), candidate=own[0], independent=own[1], extra=rng.normal(0.5, 1.1, null // 4))


def test_a_p_value_is_the_share_of_the_null_at_or_above_with_the_sample_itself():
    rng = np.random.default_rng(0)
    values, null = rng.integers(0, 20, 50).astype(float), rng.integers(0, 20, 80).astype(float)  # many ties
    expected = [(1 + sum(other >= value for other in null)) / 81 for value in values]
    np.testing.assert_allclose(p_values(values, null), expected)
    assert p_values(np.array([1e9]), null) == pytest.approx(1 / 81)
    assert p_values(np.array([-1e9]), null) == 1
    assert np.isnan(p_values(np.array([np.nan]), null)).all()
    assert np.isnan(p_values(values, null[:0])).all()


@pytest.mark.parametrize("n", [1, 2, 30])
def test_q_values_are_those_of_scipy(n):
    p = np.random.default_rng(n).uniform(0, 1, n) ** 3
    np.testing.assert_allclose(q_values(p), stats.false_discovery_control(p, method="bh"), atol=1e-11)
    with_gaps = np.insert(p, n // 2, np.nan)
    np.testing.assert_array_equal(np.delete(q_values(with_gaps), n // 2), q_values(p))
    assert np.isnan(q_values(with_gaps)[n // 2])
    assert not len(q_values(p[:0]))


def test_each_partition_is_tested_against_its_own_tail_of_shared_and_extra():
    scores = made()
    found = with_significance(scores)
    groups = {name: scores["sslmem"].values[scores["partition"].values == PARTITION_CODE[name]] for name in PARTITIONS}
    null = [*groups["shared"], *groups["extra"]]
    p, q, codes = found["p_value"].values, found["q_value"].values, found["partition"].values
    above = [(1 + sum(other >= value for other in null)) / (1 + len(null)) for value in groups["candidate"]]
    below = [(1 + sum(other <= value for other in null)) / (1 + len(null)) for value in groups["independent"]]
    for name, expected in (("candidate", above), ("independent", below)):
        members = codes == PARTITION_CODE[name]
        np.testing.assert_allclose(p[members], expected)
        np.testing.assert_allclose(q[members], stats.false_discovery_control(expected))
    untested = (codes == PARTITION_CODE["shared"]) | (codes == PARTITION_CODE["extra"])
    assert np.isnan(p[untested]).all()
    assert np.isnan(q[untested]).all()


def test_an_offset_and_a_unit_change_nothing_and_swapped_families_swap_the_lists():
    scores = made()
    one, other = with_significance(scores), with_significance(scores.assign(difference=scores["difference"] * 0.01 + 7))
    np.testing.assert_allclose(one["q_value"], other["q_value"])
    codes = scores["partition"].values
    swapped_codes = np.array([0, 2, 1, 3])[codes]
    swapped = with_significance(scores.assign(difference=-scores["difference"]).assign_coords(partition=("sample", swapped_codes)))
    np.testing.assert_allclose(one["p_value"], swapped["p_value"])
    np.testing.assert_allclose(one["q_value"], swapped["q_value"])


@pytest.mark.parametrize("fdr", [0.02, 0.05, 0.3])
def test_the_list_is_the_step_up_and_its_threshold_makes_the_same_list(fdr):
    scores = made()
    found, counted = with_significance(scores), fdr_summary(scores, fdr)
    assert (counted.attrs["fdr"], counted["n_null"]) == (fdr, 375)
    for name, sign in (("candidate", 1), ("independent", -1)):
        members = scores["partition"].values == PARTITION_CODE[name]
        p, values = np.sort(found["p_value"].values[members]), scores["sslmem"].values[members]
        passing = [k for k in range(1, len(p) + 1) if p[k - 1] <= k * fdr / len(p)]
        row = counted.sel(partition=name)
        assert row["memorized"] == max(passing) > 0
        assert row["share"] == row["memorized"] / row["n"] == row["memorized"] / 40
        assert (sign * values >= sign * float(row["threshold"])).sum() == row["memorized"]
        low, high = row["null_proportion_interval"].values
        assert low < row["null_proportion"] <= high <= 1
        assert low < 2 / 3 < high, "two thirds are not"
        assert row["null_proportion"] == pytest.approx(2 * (p > 0.5).mean())


def test_a_small_null_says_what_it_cannot_tell():
    far = np.array([5.0, 6.0, 7.0])
    row = fdr_summary(table(shared=np.zeros(18), candidate=far, independent=-far), 0.05).sel(partition="candidate")
    assert row["memorized"] == 0
    assert np.isnan(row["fewest"])
    assert np.isnan(row["threshold"])
    assert (row["null_for_any"], row["null_for_one"]) == (19, 59)
    row = fdr_summary(table(shared=np.zeros(19), candidate=far, independent=-far), 0.05).sel(partition="candidate")
    assert (row["memorized"], row["fewest"]) == (3, 3), "all at once, or none"
    lone = np.array([0.0, 0.0, 7.0])
    assert (
        fdr_summary(table(shared=np.zeros(58), candidate=lone, independent=lone), 0.05).sel(partition="candidate")["memorized"] == 0
    )
    row = fdr_summary(table(shared=np.zeros(59), candidate=lone, independent=lone), 0.05).sel(partition="candidate")
    assert (row["memorized"], row["fewest"]) == (1, 1)


def test_without_a_null_or_without_candidates_nothing_is_found():
    row = fdr_summary(table(candidate=np.ones(3), independent=np.ones(3)), 0.1).sel(partition="candidate")
    assert row["memorized"] == 0
    assert np.isnan(row["null_proportion"])
    found = fdr_summary(table(shared=np.zeros(30), independent=np.ones(3)), 0.1)
    assert (found["n"].sel(partition="candidate"), found["memorized"].sel(partition="candidate")) == (0, 0)
    assert np.isnan(found["share"].sel(partition="candidate"))


@pytest.mark.parametrize("fdr", [0, 1, 1.5, -0.1, float("nan")])
def test_a_rate_lies_between_0_and_1(fdr):
    with pytest.raises(UserError, match="--fdr"):
        fdr_summary(made(), fdr)


def test_p_values_are_uniform_where_nothing_is_memorized(simulate):
    p, rejected = [], 0
    for seed in range(60):
        found = with_significance(score(simulate(seed, 0.0, samples=550)[0]))
        codes = found["partition"].values
        for name, sign in TESTED.items():
            members = codes == PARTITION_CODE[name]
            p.append(found["p_value"].values[members][0])  # of one sample each: those of a study share their null
            null = sign * found["difference"].values[(codes == 0) | (codes == 3)]
            rejected += stats.ks_2samp(sign * found["difference"].values[members], null).pvalue <= 0.05
    assert stats.kstest(p, "uniform").pvalue > 0.05
    assert stats.binom.cdf(120 - rejected, 120, 0.95) > 0.01


def test_realised_rates_are_at_most_nominal_and_what_is_memorized_is_found(simulate):
    for fdr in (0.1, 0.2):
        false, power = [], []
        for seed in range(40):
            root, memorized = simulate(seed, 0.4, samples=550)
            found = with_significance(score(root))
            candidates = found["partition"].values == PARTITION_CODE["candidate"]
            listed, truly = found["q_value"].values[candidates] <= fdr, memorized[candidates]
            false.append((listed & ~truly).sum() / max(1, listed.sum()))
            power.append((listed & truly).sum() / truly.sum())
        assert np.mean(false) - 2 * stats.sem(false) < fdr * 0.6, "the rate is that of the not memorized ones, three fifths"
        assert np.mean(false) + 2 * stats.sem(false) > fdr * 0.2, "or the list is shorter than it could be"
        assert np.mean(power) > 0.2


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return make_study(tmp_path_factory.mktemp("discovery") / "faint", effect=0.02)


def test_the_scores_of_a_study_and_their_exports_have_them(study: Study, tmp_path: Path) -> None:
    scores = study.scores("paper")
    expected = with_significance(score(study.results, protocol="paper"))
    np.testing.assert_array_equal(scores["q_value"], expected["q_value"])
    frame = pd.read_csv(export(study, tmp_path / "scores.csv", protocol="paper"))
    np.testing.assert_allclose(frame["p_value"], scores["p_value"])
    np.testing.assert_allclose(frame["q_value"], scores["q_value"])
    assert frame["q_value"].notna().tolist() == frame["partition"].isin(["candidate", "independent"]).tolist()


def test_the_report_counts_them(study: Study, capsys: pytest.CaptureFixture) -> None:
    assert main(["report", str(study.path), "--fdr", "0.1", "--json"]) == 0
    report = json.loads(capsys.readouterr().out, parse_constant=lambda name: pytest.fail(f"{name} is not JSON"))
    q, codes = study.scores()["q_value"].values, study.scores()["partition"].values
    for name in TESTED:
        row = report["discoveries"][name]
        assert row["memorized"] == (q[codes == PARTITION_CODE[name]] <= 0.1).sum() > 0
    text = as_text(report)
    assert f"candidate    {report['discoveries']['candidate']['memorized']} of {report['discoveries']['candidate']['n']}" in text
    assert f"sslmem >= {report['discoveries']['candidate']['threshold']:+.4g}" in text
    assert "discoveries" not in build_report(study)
    assert "that takes 9,999 null samples" in as_text(build_report(study, fdr=0.0001))


@pytest.mark.parametrize("rate", ["0", "1", "1.5", "-1", "nan", "often"])
def test_the_command_refuses_what_is_no_rate(rate: str, study: Study, capsys: pytest.CaptureFixture) -> None:
    assert main(["report", str(study.path), "--fdr", rate]) == 2
    told = capsys.readouterr().err
    assert "--fdr" in told
    assert len(told.splitlines()) == 1
