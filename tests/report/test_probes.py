"""Accuracies of probes with their intervals, and what stores of earlier versions do not know."""

from __future__ import annotations

import json
import math
from pathlib import Path

import numpy as np
import pytest

from sslmem_kit.report.build import build_report
from sslmem_kit.report.probes import wilson
from sslmem_kit.report.text import as_text
from sslmem_kit.spec.loading import parse_spec
from sslmem_kit.store import integrity, write
from sslmem_kit.study import Study
from tests.support.fake_study import make_study


@pytest.mark.parametrize(("right", "n"), [(0, 20), (17, 20), (20, 20), (305, 359)])
def test_wilsons_interval_by_its_formula(right: int, n: int) -> None:
    z, p = 1.959964, right / n
    middle, half = (p + z**2 / (2 * n)) / (1 + z**2 / n), z / (1 + z**2 / n) * math.sqrt(p * (1 - p) / n + z**2 / (4 * n**2))
    assert wilson(np.float32(p), n) == pytest.approx([max(0, middle - half), min(1, middle + half)], abs=1e-6)


def test_the_interval_covers() -> None:
    right = np.random.default_rng(0).binomial(359, 0.93, 2000)
    bounds = np.array([wilson(count / 359, 359) for count in right])
    assert 0.93 < np.mean((bounds[:, 0] < 0.93) & (bounds[:, 1] > 0.93)) < 0.97


def test_a_report_has_them_and_says_over_what(tmp_path: Path) -> None:
    study = make_study(tmp_path / "new", samples=90, seeds=1, views=2)
    for encoder in range(2):
        write.write_evaluation(study.results_path, encoder=encoder, rows={"downstream/n_test": np.array([200.0])})
    integrity.renew(study.results_path)
    write.finish(study.results_path)
    report = build_report(Study(study.path))
    (task,) = report["downstream"]
    assert report["downstream_n"] == {task: 200.0}
    assert report["downstream_interval"][task]["linear"]["f-0"] == pytest.approx(wilson(0.85, 200))
    assert report["linear_probe"] == {"method": "logistic", "C": 0.1}
    (line,) = [line for line in as_text(report).splitlines() if line.startswith("linear probe")]
    assert line.startswith("linear probe (logistic regression, l2 penalty with C = 0.1): f-0 85.0% [79.4, 89.3], g-0")
    assert line.endswith("95 % over 200 test samples, of these encoders")


def test_accuracies_by_class_are_those_of_the_confusion(tmp_path: Path) -> None:
    study = make_study(tmp_path / "new", samples=90, seeds=1, views=2)
    tested = dict(zip("0123456789", (20, 0, 31, 7, 12, 9, 40, 13, 22, 16), strict=True))
    draws = np.random.default_rng(0)
    counts = np.array(  # (encoder, probe, class, predicted)
        [[[draws.multinomial(n, [0.1] * 10) for n in tested.values()] for _ in range(3)] for _ in range(2)], np.float32
    )
    for encoder in range(2):
        rows = {"downstream/n_test": np.array([170.0]), "downstream/confusion": counts[encoder][None]}
        write.write_evaluation(study.results_path, encoder=encoder, rows=rows)
    integrity.renew(study.results_path)
    write.finish(study.results_path)
    report = build_report(Study(study.path))
    (task,) = report["downstream"]
    assert report["downstream_by_class_n"] == {task: tested}
    for number, (name, n) in enumerate(tested.items()):
        for place, probe in enumerate(("linear", "knn", "centroid")):
            found = report["downstream_by_class"][task][probe]["g-0"][name]
            interval = report["downstream_by_class_interval"][task][probe]["g-0"][name]
            share = counts[1, place, number, number] / n if n else None
            assert (found, interval) == ((pytest.approx(share), pytest.approx(wilson(share, n))) if n else (None, [None, None]))
    (line,) = [line for line in as_text(report).splitlines() if " lowest of " in line]
    means = {name: counts[:, 0, number, number].mean() / n for number, (name, n) in enumerate(tested.items()) if n}
    first, second, third = sorted(means, key=lambda name: means[name])[:3]
    assert f"linear probe on {task}, the 3 lowest of 9 classes: {first} {means[first]:.1%} [" in line
    assert line.index(f" {first} ") < line.index(f" {second} ") < line.index(f" {third} ")


def test_an_older_store_has_no_number_and_no_interval(tmp_path: Path) -> None:
    study = make_study(tmp_path / "old", samples=90, seeds=1, views=2)
    report = build_report(study)
    (task,) = report["downstream"]
    assert report["downstream_n"] == {task: None}
    assert report["downstream_interval"][task]["knn"]["f-0"] == [None, None]
    assert "their number of test samples is not recorded" in as_text(report)
    read = {"splits": {"train": 60, "test": 30}, "held_out": ["test"]}
    write.set_attributes(study.results_path, {"data": json.dumps(json.loads(study.tree.attrs.get("data", "{}")) | read)})
    write.finish(study.results_path)
    report = build_report(Study(study.path))
    assert report["downstream_n"] == {task: 30.0}
    assert report["downstream_interval"][task]["knn"]["f-0"] == pytest.approx(wilson(0.85, 30))


def test_a_spec_without_a_penalty_means_what_it_meant() -> None:
    specs = [
        parse_spec({"name": "x", "data": {"name": "digits"}, "downstream": {"linear": linear}}, where="x").resolved(Path())
        for linear in ({"method": "logistic"}, {"method": "logistic", "C": 0.1}, {"method": "logistic", "C": 1.0})
    ]
    assert specs[0].downstream.linear.C == 0.1
    assert specs[0].hash == specs[1].hash != specs[2].hash
