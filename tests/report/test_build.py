"""The report: the keys of the contract, numbers from the scores, JSON that any reader takes."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from sslmem_kit import store
from sslmem_kit.cli import main
from sslmem_kit.errors import UserError
from sslmem_kit.names import PARTITIONS
from sslmem_kit.report.build import build_report
from sslmem_kit.report.text import as_text
from sslmem_kit.statistics import TABLE_2, TABLE_16
from sslmem_kit.statistics.numbers import number
from sslmem_kit.store import integrity
from sslmem_kit.study import Study
from tests.support.fake_study import add_group, give_to_design, make_study


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return make_study(tmp_path_factory.mktemp("report") / "tiny", samples=240, seeds=3, views=4)


def strict(text: str) -> dict:
    """JSON, in which NaN and infinity are errors."""

    def refuse(name: str) -> None:
        raise AssertionError(f"{name} is not JSON")

    return json.loads(text, parse_constant=refuse)


@pytest.mark.parametrize("protocol", ["paper", "released", "corrected"])
def test_the_command_prints_the_contracts_keys(protocol: str, study: Study, capsys: pytest.CaptureFixture) -> None:
    assert main(["report", str(study.path), "--protocol", protocol, "--json"]) == 0
    report = strict(capsys.readouterr().out)
    assert report["protocol"] == protocol
    for key in ("mean", "sd"):
        assert set(report[key]) == set(PARTITIONS)
        assert all(isinstance(value, float) for value in report[key].values())
    assert [test["alternative"] for test in report["tests"]] == [*TABLE_2, *TABLE_16]
    for test in report["tests"]:
        assert {"alternative", "t", "p", "cohens_d", "n"} <= set(test)
        assert 0 <= test["p"] <= 1
        assert isinstance(test["n"], int)
    assert report["encoders"] == ["f-0", "g-0", "f-1", "g-1", "f-2", "g-2"]
    assert set(report["probe_accuracy"]) == set(report["encoders"])
    assert report["probe_accuracy"]["f-0"] == pytest.approx(0.85)
    assert list(report["downstream"]) == ["digits"]
    assert set(report["downstream"]["digits"]) == {"linear", "knn", "centroid"}
    assert report["collapsed"] == {}
    assert report["seconds"] == 12.5
    assert report == build_report(Study(study.path), protocol=protocol)


@pytest.mark.parametrize("protocol", ["released", "corrected"])
def test_numbers_are_those_of_the_scores(protocol: str, study: Study) -> None:
    report, scores = build_report(study, protocol=protocol), study.scores(protocol)
    for code, name in enumerate(PARTITIONS):
        values = scores["sslmem"].values[scores["partition"].values == code].astype(np.float64)
        assert report["mean"][name] == pytest.approx(values.mean())
        assert report["sd"][name] == pytest.approx(values.std(ddof=1))
        assert report["n"][name] == len(values)
        assert report["interval"][name][0] <= report["mean"][name] <= report["interval"][name][1]
    assert report["range"] == scores.attrs.get("range")
    assert (report["range"] is None) == (protocol == "corrected")


def test_what_was_planted_is_reported(study: Study) -> None:
    report = build_report(study)
    assert report["mean"]["candidate"] == pytest.approx(0.1, abs=0.05)
    assert report["mean"]["independent"] == pytest.approx(-0.1, abs=0.05)
    assert abs(report["mean"]["shared"]) < 0.01
    assert {test["alternative"]: test["p"] for test in report["tests"]}["C>S"] < 1e-6


def test_a_study_too_small_for_errors_has_none_and_no_nan(tmp_path: Path) -> None:
    small = make_study(tmp_path / "small", samples=12, seeds=1, views=2)
    report = build_report(small)
    assert report["n"]["candidate"] == 1
    assert report["sd"]["candidate"] is None
    assert report["interval"]["candidate"] == [None, None]
    strict(json.dumps(report, allow_nan=False))
    assert "candidate" in as_text(report)


def test_the_text_holds_every_number_for_a_person(study: Study) -> None:
    report = build_report(study, protocol="paper")
    text = as_text(report)
    assert text.splitlines()[0].startswith(
        "study tiny: 6 encoders, protocol paper (sslmem = mean of 3 seeds of difference / range of the candidates"
    )
    for name in PARTITIONS:
        (line,) = [line for line in text.splitlines() if line.startswith(name)]
        assert number(report["mean"][name]) in line
    for test in report["tests"]:
        assert any(line.startswith(test["alternative"]) and f"{test['t']:+.2f}" in line for line in text.splitlines())
    assert "f-0 85.0%" in text
    assert "made in 12 s" in text


def test_estimators_need_a_truth(study: Study, capsys: pytest.CaptureFixture) -> None:
    assert main(["report", str(study.path), "--estimators"]) == 2
    told = capsys.readouterr()
    assert "'leave_one_out' has no encoders in this study, which has those of pairs; see design in its spec" in told.err
    assert not told.out


def test_all_options_together_are_json(study: Study, capsys: pytest.CaptureFixture) -> None:
    assert main(["report", str(study.path), "--fdr", "0.1", "--reliability", "--json"]) == 0
    report = strict(capsys.readouterr().out)
    assert {"discoveries", "reliability"} <= set(report)


@pytest.fixture
def designs(tmp_path: Path) -> Study:
    """With encoders of leave-one-out, numbers 4 to 7, and alignment by layer."""
    study = make_study(tmp_path / "designs", samples=240, seeds=4, views=3)
    give_to_design(study, "leave_one_out", seeds=[2, 3])
    n = Study(study.path).results.sizes["sample"]
    values = np.random.default_rng(0).random((n, 8, 2), dtype=np.float32)
    layers = xr.Dataset({"alignment": (("sample", "encoder", "layer"), values)}, {"layer": np.array(["1", "2"], object)})
    add_group(study, "layers", layers.chunk(sample=64, encoder=1))
    return study


@pytest.mark.parametrize(
    ("option", "chunk", "told"),
    [
        ("--estimators", "alignment/c/1/0/6", "alignment of f-3, block 1 (samples 64 to 127 of its "),
        ("--reliability", "alignment/c/1/0/2", "alignment of f-1, block 1 (samples 64 to 127 of its "),
        (
            "--reliability",
            "layers/alignment/c/1/2/0",
            "layers/alignment of f-1, block 1 (samples 64 to 127 of its ",
        ),
    ],
)
def test_lost_chunks_are_told(option: str, chunk: str, told: str, designs: Study, capsys: pytest.CaptureFixture) -> None:
    assert main(["report", str(designs.path), option]) == 0
    capsys.readouterr()
    (designs.results_path / chunk).unlink()
    assert main(["report", str(designs.path), option]) == 2
    output = capsys.readouterr()
    assert told in output.err
    assert len(output.err.splitlines()) == 1
    assert not output.out


@pytest.mark.parametrize(
    ("option", "chunk"),
    [
        ("--estimators", "alignment/c/1/0/6"),
        ("--reliability", "alignment/c/1/0/2"),
        ("--reliability", "layers/alignment/c/1/2/0"),
        ("--reliability", "downstream/accuracy/c/2/0/0"),
    ],
)
def test_damaged_chunks_are_told(option: str, chunk: str, designs: Study, capsys: pytest.CaptureFixture) -> None:
    (designs.results_path / chunk).write_bytes(b"damaged")
    assert main(["report", str(designs.path), option]) == 2
    output = capsys.readouterr()
    assert "7 bytes" in output.err
    assert len(output.err.splitlines()) == 1


@pytest.mark.parametrize(("mode", "read"), [("subset", Study.scores), ("one model", Study.alignments)])
def test_lost_chunks_of_an_audit_are_told(mode: str, read: Callable, designs: Study) -> None:
    store.set_attributes(designs.results_path, {"mode": mode})
    assert np.isfinite(read(Study(designs.path)).to_dataarray().astype(float)).all()
    (designs.results_path / "alignment/c/1/0/6").unlink()
    with pytest.raises(UserError, match=r"alignment of f-3, block 1 \(samples 64 to 127"):
        read(Study(designs.path))


def test_without_damage_other_designs_do_not_change_the_report(designs: Study) -> None:
    (designs.results_path / "layers/alignment/c/0/6/0").unlink()
    integrity.renew(designs.results_path)
    assert build_report(designs)["encoders"] == ["f-0", "g-0", "f-1", "g-1"]
