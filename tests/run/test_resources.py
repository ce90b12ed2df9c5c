"""The machine: threads are asked for, kept, recorded and reported, with a note on what the last bits depend on."""

from __future__ import annotations

import json
import os

import pytest
import yaml

from sslmem_kit import store
from sslmem_kit.cli import main
from sslmem_kit.data.datasets import image_files
from sslmem_kit.errors import UserError
from sslmem_kit.explorer.comparison.comparison import Comparison
from sslmem_kit.explorer.session import Session
from sslmem_kit.explorer.study_cache import Library
from sslmem_kit.run import resources
from sslmem_kit.run.resources import share_cores
from sslmem_kit.store.provenance import RULES, computed_on, difference, in_words
from tests.support.fake_study import make_study, workers_in_this_process

SPEC = {
    "name": "threads",
    "data": {"name": "digits"},
    "partition": {"shared": 48, "candidate": 16, "independent": 16, "extra": 16},
    "encoder": {"backbone": "resnet18", "stem": "stock", "options": {"layers": [1, 1, 0, 0], "channels": [8, 8, 8, 8]}},
    "objective": {"method": "simclr", "hidden_dim": 8, "projection_dim": 8},
    "training": {"seeds": 1, "epochs": 1, "warmup_epochs": 0, "batch_size": 16, "record_every": 0},
    "scoring": {"views": 1},
}


@pytest.fixture(autouse=True)
def four_cores(monkeypatch):
    monkeypatch.setattr(resources, "cores", lambda: 4)
    for name in ("OMP_NUM_THREADS", "TORCHELASTIC_RUN_ID"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize(
    ("workers", "told", "environment", "threads", "reason"),
    [
        (2, {}, {}, 2, "4 cores, shared out"),
        (3, {}, {}, 1, "4 cores, shared out"),
        (8, {}, {}, 1, "4 cores, shared out"),
        (2, {"recorded": 3}, {"OMP_NUM_THREADS": "7"}, 3, "this study was started"),
        (2, {"recorded": 3, "threads": 3}, {}, 3, "--threads"),
        (2, {"threads": 5}, {"OMP_NUM_THREADS": "7"}, 5, "--threads"),
        (2, {}, {"OMP_NUM_THREADS": "7"}, 7, "OMP_NUM_THREADS"),
        (2, {}, {"OMP_NUM_THREADS": "6,2"}, 6, "OMP_NUM_THREADS"),
        (2, {}, {"OMP_NUM_THREADS": "1", "TORCHELASTIC_RUN_ID": "x"}, 2, "4 cores, shared out"),
        *((2, {}, {"OMP_NUM_THREADS": bad}, 2, "4 cores, shared out") for bad in ("", "0", "-1", "many", "1e3", "9" * 40)),
    ],
)
def test_threads_come_from_the_first_who_says(workers, told, environment, threads, reason, monkeypatch):
    for name, value in environment.items():
        monkeypatch.setenv(name, value)
    share = share_cores(workers, **told)
    assert share[:2] == (workers, threads)
    assert reason in share.reason
    assert f"{threads} thread" in str(share)


@pytest.mark.parametrize("threads", [0, -1, 5000, True, 1.5, "2"])
def test_numbers_of_threads_that_are_none_are_refused(threads):
    with pytest.raises(UserError, match="--threads: a number from 1 to 1024"):
        share_cores(1, threads=threads)


@pytest.mark.parametrize(("cores", "words"), [(1, "1 core, shared out"), (2, "2 cores, shared out")])
def test_a_share_reads_well(cores, words, monkeypatch):
    monkeypatch.setattr(resources, "cores", lambda: cores)
    text = str(share_cores(cores))
    assert text.startswith("1 worker of 1 thread (" if cores == 1 else "2 workers of 1 thread each (")
    assert words in text


def test_a_run_tells_and_records_its_threads_and_a_study_keeps_them(tmp_path, capsys):
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(SPEC), encoding="utf-8")
    out = tmp_path / "study"
    command = ["run", str(tmp_path / "spec.yaml"), "--out", str(out)]
    with workers_in_this_process():
        assert main([*command, "--workers", "1", "--threads", "1"]) == 0
        assert "1 worker of 1 thread (by --threads); equal numbers" in capsys.readouterr().err
        attrs = store.attributes(out / "results.zarr")
        assert (attrs["threads"], attrs["processor"]) == (1, resources.processor())
        config = json.loads((out / "encoders" / "f-0" / "config.json").read_text(encoding="utf-8"))
        assert config["threads"] == 1
        assert config["machine"].startswith(resources.processor())
        assert json.loads(attrs["trained_on_machines"]) == {config["machine"]: ["f-0", "g-0"]}
        assert json.loads(attrs["rules"]) == config["rules"] == RULES
        assert config["machine"] == f"{attrs['processor']}; {attrs['arithmetic']}"
        assert "torch with" in attrs["arithmetic"]
        assert main([*command, "--threads", "2"]) == 2
        assert "this study was started with 1 of each worker" in capsys.readouterr().err
        assert main([*command, "--workers", "1"]) == 0
    capsys.readouterr()
    assert main(["report", str(out), "--json"]) == 0
    told = json.loads(capsys.readouterr().out)["computed_on"]
    assert told.items() >= {"device": "cpu", "threads": 1, "processor": resources.processor()}.items()
    assert told["torch"]
    assert main(["report", str(out)]) == 0
    assert "1 thread a training, torch" in capsys.readouterr().out


def test_stores_that_know_less_say_less():
    assert in_words(computed_on({"device": "cpu", "versions": "{}"})) == "cpu"
    assert computed_on({"versions": "not json"}) == {
        "device": None,
        "processor": None,
        "threads": None,
        "torch": None,
        "arithmetic": None,
    }
    assert difference(computed_on({"device": "cpu"}), computed_on({"device": "cpu", "threads": 2})) == ""


def test_a_comparison_says_in_what_two_studies_were_computed_differently(tmp_path):
    for name, threads in (("one", 1), ("two", 2)):
        study = make_study(tmp_path / name, samples=120)
        store.set_attributes(study.results_path, {"threads": threads, "processor": "P", "data_fingerprint": "same"})
        store.finish(study.results_path)
    session = Session(Library([tmp_path / "one", tmp_path / "two"]))
    session.tab = "compare"
    told = Comparison(session).menus.data["remarks"]
    assert "Computed with threads 1 on the left and 2 on the right" in told
    assert "processor" not in told


def test_cores_are_those_of_this_process(monkeypatch):
    monkeypatch.undo()
    assert image_files.cores() == len(os.sched_getaffinity(0))
    monkeypatch.delattr(os, "sched_getaffinity")
    assert image_files.cores() == os.cpu_count()
