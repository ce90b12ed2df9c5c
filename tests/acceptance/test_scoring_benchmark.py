"""The functions of benchmarks/scoring.py, at the size of a toy."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
import pytest

import sslmem_kit
from sslmem_kit.spec.loading import load_spec
from tests.support import ROOT
from tests.support.fake_study import make_study


@pytest.fixture(scope="module")
def scoring():
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(ROOT / "benchmarks")
        import scoring

        patch.setitem(scoring.MODELS, "toy", {"backbone": "vit_tiny_patch16_224", "options": {"patch_size": 8, "depth": 2}})
        yield scoring
        sys.modules.pop("scoring")


def test_arms_give_the_same_scores_and_ratios(scoring) -> None:
    found = scoring.measure("toy", rounds=2, samples=10, released_samples=2, trained=64, epochs=1)
    times = {name: np.array(values) for name, values in found["rounds_milliseconds_a_sample"].items()}
    assert found["vs_released"] == pytest.approx(np.median(times["released"] / times["ours"]), abs=0.01)
    assert found["vs_bare_forward"] == pytest.approx(np.median(times["bare"] / times["ours"]), abs=0.01)
    assert found["vs_released_bf16"] == pytest.approx(np.median(times["released"] / times["bf16"]), abs=0.01)
    assert found["largest_difference"] < 1e-6
    assert 0.8 < found["bf16_rank_correlation"] <= 1
    assert (found["n"], found["n_released"]) == (10, 6)  # one turn to warm up


def test_scores_that_differ_are_told(scoring, monkeypatch: pytest.MonkeyPatch) -> None:
    ours = scoring.Arms.scores
    monkeypatch.setattr(scoring.Arms, "scores", lambda *wanted: ours(*wanted) + 1e-3)
    with pytest.raises(SystemExit, match="scores of the released protocol differ"):
        scoring.measure("toy", rounds=1, samples=4, released_samples=2, trained=64, epochs=1)


def test_signal_to_noise_is_that_of_each_pair(scoring, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    made = make_study(tmp_path / "made")
    results = made.results
    alignment = results["alignment"].values
    view_a, view_b, family, seed, partition = (results[name].values for name in ("view_a", "view_b", "family", "seed", "partition"))
    expected = []
    for pair in np.unique(seed):
        mean = {name: alignment[:, view_a == 0][..., (seed == pair) & (family == name)].mean(axis=(1, 2)) for name in "fg"}
        difference = mean["g"] - mean["f"]
        shared, candidates = difference[partition == 0], difference[partition == 1]
        expected.append((candidates.mean() - shared.mean()) / shared.std(ddof=1))
    views = int(view_b.max())
    np.testing.assert_allclose(scoring.signal_to_noise(results, "released", views), expected, rtol=1e-5)
    assert not np.allclose(scoring.signal_to_noise(results, "released", views - 1), expected)

    asked = []

    def run(spec, out, **options):
        asked.append((spec.training.coupled, spec.training.seeds, spec.scoring.views))
        return made

    monkeypatch.setattr(sslmem_kit, "run_study", run, raising=False)
    told = scoring.compare_protocols(len(expected), spec=load_spec("digits"))
    assert asked == [(True, len(expected), 9), (False, len(expected), 5)]
    ours = scoring.signal_to_noise(results, "corrected", 9)
    assert told["snr_vs_released"] == pytest.approx(ours.mean() / np.mean(expected), abs=2e-3)
    assert told["snr_forwards_a_sample"] == {"ours": 20, "ours_5_views": 12, "released": 20}
