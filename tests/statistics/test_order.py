"""The order of samples: subset encoders where a study has them; pairs say that theirs is not to be relied on."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest

from sslmem_kit.cli import main
from sslmem_kit.names import PARTITION_CODE
from sslmem_kit.report.export import score_table
from sslmem_kit.run.removal import _candidates
from sslmem_kit.scores import _example, estimate
from sslmem_kit.spec.partition import RemovalSpec
from sslmem_kit.statistics import order, order_caveat, rank_scores
from sslmem_kit.statistics.variance_components import CrossedScores
from sslmem_kit.study import Study
from tests.support.fake_study import give_to_design, make_study


@pytest.fixture
def study(tmp_path: Path) -> Study:
    """With pairs of two seeds, and four encoders on subsets of two more."""
    study = make_study(tmp_path / "subsets", samples=240, seeds=4, views=3)
    give_to_design(study, "subset", seeds=[2, 3])
    return Study(study.path)


def test_subsets_order_where_there_are_any(study: Study) -> None:
    scores = study.scores()
    expected = estimate(study.results, "adjusted")
    np.testing.assert_allclose(scores["rank_score"].sel(sample=expected["sample"]), expected["sslmem"])
    known = np.isfinite(scores["rank_score"].values)
    assert known.sum() == expected.sizes["sample"]
    ranked = scores.isel(sample=known).sortby("rank")
    assert (np.diff(ranked["rank_score"]) <= 0).all()
    assert ranked["rank"].values.tolist() == list(range(1, known.sum() + 1))
    assert scores.attrs["rank_estimator"] == "adjusted"
    assert "rank_score" not in study.scores(encoders=["f-0", "g-0"])


def test_export_removal_and_report_take_that_order(study: Study, capsys: pytest.CaptureFixture) -> None:
    table = score_table(study).set_index("sample")
    scores = study.scores()
    np.testing.assert_allclose(table["rank_score"], scores["rank_score"])
    spec = RemovalSpec.model_construct(study=str(study.path), protocol="corrected", highest=2)
    dataset = type("Dataset", (), {"name": "", "fingerprint": study.tree.attrs.get("data_fingerprint", "")})()
    ids, values = _candidates(spec, dataset, "partition.remove.study")
    chosen = scores.isel(sample=scores["partition"].values == PARTITION_CODE["candidate"])
    np.testing.assert_allclose(values, chosen["rank_score"].sel(sample=ids))
    assert main(["report", str(study.path), "--json"]) == 0
    found = json.loads(capsys.readouterr().out)["order"]
    assert found["estimator"] == "adjusted"
    assert found["caveat"] is None


def test_pairs_alone_say_that_their_order_is_not_to_be_relied_on(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    study = Study(make_study(tmp_path / "pairs", samples=240, seeds=3, views=3).path)
    assert "rank_score" not in study.scores()
    assert main(["report", str(study.path)]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if "which single sample" in line]
    found = rank_scores(study.results)
    assert f"reliability {found['reliability'].item():.2f}" in line
    assert "pairs alone" in line
    assert line.endswith(order_caveat(found))


def test_one_pair_has_no_known_reliability() -> None:
    results = _example.results()
    found = rank_scores(results.isel(encoder=results["seed"].values == 0))
    assert np.isnan(found["reliability"])
    assert "reliability unknown" in order_caveat(found)


def test_reliability_is_the_share_that_is_not_error() -> None:
    """That of the parts of the error, as the section on reliability has it."""
    results = _example.results()
    found = rank_scores(results)
    candidates = found["sslmem"].values
    assert candidates.var(ddof=1) > 0
    expected = CrossedScores.of(results).parts()
    assert found["reliability"].item() == pytest.approx(float(expected.reliability(3, 4)))
    low, high = found["reliability_interval"].values
    assert low <= found["reliability"].item() <= high


def test_of_many_samples_some_are_resampled_and_the_interval_is_that_of_all(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    results = make_study(tmp_path / "many", samples=6000, effect=0.03).results
    whole = order.order_of_pairs(results)
    monkeypatch.setattr(order, "MOST_RESAMPLED", 250)
    some = order.order_of_pairs(results)
    assert some["reliability"].item() == whole["reliability"].item()
    width, scaled = (float(found["reliability_interval"].diff("bound").item()) for found in (whole, some))
    assert scaled == pytest.approx(width, rel=0.3)
    assert some["reliability_interval"][0] < some["reliability"] < some["reliability_interval"][1]
