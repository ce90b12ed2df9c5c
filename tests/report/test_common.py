"""The second scoring: the alignments of the common policy, in the store, in scores and in the report, and damage to them."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr

from sslmem_kit import store
from sslmem_kit.data.loader import ImageLoader
from sslmem_kit.data.samples import load_samples
from sslmem_kit.encoders.backbone import build_encoder
from sslmem_kit.encoders.weights import load_weights
from sslmem_kit.errors import UserError
from sslmem_kit.measures.evaluation import score_samples
from sslmem_kit.report.build import build_report
from sslmem_kit.report.text import as_text
from sslmem_kit.report.validate import problems
from sslmem_kit.run.study import run_study
from sslmem_kit.spec.loading import parse_spec
from sslmem_kit.spec.study import StudySpec
from sslmem_kit.study import Study
from tests.training.test_loop import METHODS


def make_spec(policy: Any, common: Any, seed: int = 0) -> StudySpec:
    return parse_spec(
        {
            "name": "tiny",
            "seed": seed,
            "data": {"name": "digits"},
            "partition": {"shared": 60, "candidate": 20, "independent": 20, "extra": 20},
            **METHODS["simclr"],
            "training": {"seeds": 1, "epochs": 1, "warmup_epochs": 0, "batch_size": 16, "record_every": 0, "policy": "crop"},
            "scoring": {"views": 2, "block": 40, "policy": policy, "common_policy": common},
        },
        where="test",
    ).resolved(Path())


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return run_study(make_spec("crop", "noise"), tmp_path_factory.mktemp("common") / "study", scheduler="serial", device="cpu")


def test_the_same_encoders_are_scored_by_both_policies(study: Study) -> None:
    samples = load_samples(study.spec)
    ids, loader = samples.dataset.ids[samples.scored], ImageLoader(samples.dataset, "cpu")
    mean, std = samples.channel_statistics
    encoder = build_encoder(study.spec.encoder, samples.dataset.image_shape, mean=mean, std=std)
    load_weights(encoder, study.encoder("f-0") / "weights.safetensors", device="cpu")
    stored = study.tree["common/alignment"]
    for policy, values in (("crop", study.results["alignment"]), ("noise", stored)):
        alone = make_spec(policy, None)
        expected = score_samples(alone, encoder.eval(), ids, loader)
        np.testing.assert_allclose(values.sel(encoder="f-0").values, expected, rtol=1e-4, atol=1e-6)
    assert stored.dims == study.results["alignment"].dims
    assert study.tree["common"].attrs["policy"] == "noise"
    assert list(problems(study.path)) == []


def test_its_scores_are_those_of_the_second_alignments(study: Study) -> None:
    f, g = (study.tree["common/alignment"].sel(encoder=f"{family}-0").values.astype(float) for family in "fg")
    views = np.asarray(study.results["view_a"] > 0)
    scores = study.common_scores("released")
    np.testing.assert_allclose(scores["difference"], (g - f)[:, ~views].mean(axis=1), rtol=1e-5, atol=1e-7)
    assert abs(study.scores("released")["difference"] - scores["difference"]).max() > 1e-4


def test_a_report_has_both_and_names_them(study: Study) -> None:
    report = json.loads(json.dumps(build_report(study)))
    common = report["common"]
    assert (common["policy"], common["own_policy"], common["same"]) == ("noise", "crop", False)
    expected = study.common_scores()
    of_candidates = expected["sslmem"].values[expected["partition"].values == 1]
    assert common["mean"]["candidate"] == pytest.approx(of_candidates.mean())
    assert common["n"]["candidate"] == 20
    assert common["tests"][0]["alternative"] == "C>S"
    text = as_text(report)
    assert "own policy crop; below: by the common policy noise" in text
    assert text.count("candidate ") >= 2


def test_the_same_policy_is_not_scored_twice(tmp_path: Path) -> None:
    spec = make_spec("noise", "noise")
    assert spec.second_policy is None
    study = run_study(spec, tmp_path / "same", scheduler="serial", device="cpu")
    assert "common" not in study.tree.children
    xr.testing.assert_identical(study.common_scores(), study.scores())
    assert "which is this study's own" in as_text(build_report(study))


def test_without_one_nothing_is_said(tmp_path: Path) -> None:
    spec = make_spec("crop", None)
    assert "common_policy" not in spec._counting["scoring"]
    study = run_study(spec, tmp_path / "alone", scheduler="serial", device="cpu")
    assert "common" not in build_report(study)
    with pytest.raises(UserError, match="scored by its own policy alone"):
        study.common_scores()


def test_a_lost_chunk_is_found_and_made_again(study: Study) -> None:
    """The last of the module: it damages the study."""
    before = study.tree["common/alignment"].values.copy()
    (study.results_path / "common" / "alignment" / "c" / "1" / "0" / "1").unlink()
    with pytest.raises(UserError, match="common/alignment of g-0, block 1"):
        build_report(Study(study.path))
    again = run_study(study.spec, study.path, scheduler="serial", device="cpu")
    np.testing.assert_array_equal(again.tree["common/alignment"].values, before)
    assert store.missing(again.tree) == ""
