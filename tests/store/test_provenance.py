"""Processors and rules of training: what a store records of them, and what is said where they differ or were wrong."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from sslmem_kit import store
from sslmem_kit.errors import UserError
from sslmem_kit.report.build import build_report
from sslmem_kit.report.text import as_text
from sslmem_kit.run.removal import study_samples
from sslmem_kit.run.study import run_study
from sslmem_kit.store.provenance import RULES, of_training, training_caveats
from sslmem_kit.study import Study
from tests.support.fake_study import make_study


def attrs_of(training: dict[str, object], **others: str) -> dict[str, str]:
    return {"spec": json.dumps({"training": training}), **others}


def test_a_report_warns_of_encoders_of_different_processors(tmp_path: Path) -> None:
    study = make_study(tmp_path / "two", samples=90, seeds=2, views=2)
    ids = [plan.id for plan in study.spec.encoders]
    configs = {name: {"machine": "P" if name == ids[0] else "Q", "rules": RULES} for name in ids}
    store.set_attributes(study.results_path, of_training(configs))
    store.finish(study.results_path)
    report = build_report(Study(study.path))
    (sentence,) = [warning for warning in report["warnings"] if "processors" in warning]
    assert f"{ids[0]} on P; {', '.join(ids[1:])} on Q" in sentence
    assert sentence in as_text(report)
    store.set_attributes(study.results_path, of_training({name: {"machine": "P", "rules": RULES} for name in ids}))
    store.finish(study.results_path)
    assert not any("processors" in warning for warning in build_report(Study(study.path))["warnings"])


@pytest.mark.parametrize(
    ("training", "said"),
    [
        ({"optimizer": "lars", "weight_decay": 0.0}, "was plain SGD, not LARS"),
        ({"optimizer": "lars", "weight_decay": 1e-6}, None),
        ({"optimizer": "adamw", "weight_decay": 0.0}, None),
        ({"privacy": {"epsilon": 8}}, "promises nothing to who reads study.yaml"),
        ({"privacy": None}, None),
    ],
)
def test_an_old_study_says_which_rule_it_used_and_a_new_one_nothing(training: dict[str, object], said: str | None) -> None:
    sentences = training_caveats(attrs_of(training))
    assert [said in sentence for sentence in sentences] == ([True] if said else [])
    assert training_caveats(attrs_of(training, rules=json.dumps(RULES))) == []


def test_one_encoder_of_an_old_rule_is_enough() -> None:
    mixed = of_training({"f-0": {"rules": RULES}, "g-0": {}})
    assert training_caveats(attrs_of({"privacy": {"epsilon": 8}}, **mixed))
    assert json.loads(mixed["trained_on_machines"]) == {}


def test_a_study_begun_by_the_old_lars_is_not_continued_by_the_new(tmp_path: Path) -> None:
    training = {"optimizer": "lars", "weight_decay": 0.0}
    study = make_study(tmp_path / "old", samples=90, seeds=1, views=2)
    spec = study.spec.model_copy(update={"training": study.spec.training.model_copy(update=training)})
    study.spec_path.unlink()
    study.spec_path.write_text(json.dumps(spec.as_dict()))
    fingerprint = study_samples(spec).dataset.fingerprint
    attrs = {"spec": json.dumps(spec.as_dict()), "spec_hash": spec.hash, "data_fingerprint": fingerprint}
    store.set_attributes(study.results_path, attrs)
    store.take_back(study.results_path, encoder=0, block=None)
    with pytest.raises(UserError, match=r"training\.optimizer: this study was started by an earlier version"):
        run_study(spec, study.path, scheduler="serial", device="cpu")
