"""Python as people run it: scripts without a main guard, standard input, paths as text, notebooks in a folder of their own."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

import sslmem_kit
from sslmem_kit.errors import UserError
from sslmem_kit.spec.places import find_study, known_studies
from sslmem_kit.study import Study
from tests.support import ROOT
from tests.support.fake_study import make_study

WITHOUT_GUARD = """
import os, sys
from sslmem_kit.run.schedulers.pool import Spawning
print("begun in", __name__)
context = Spawning()
queue = context.Queue()
process = context.Process(target=queue.put, args=(41 + 1,))
process.start()
print("worker says", queue.get(timeout=60))
process.join()
print("ended with", process.exitcode)
"""
SAID = "begun in __main__\nworker says 42\nended with 0\n"


def python(*arguments: str, given: str = "", folder: Path) -> subprocess.CompletedProcess:
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    return subprocess.run(
        [sys.executable, *arguments], input=given, env=environment, cwd=folder, capture_output=True, text=True, timeout=120
    )


@pytest.mark.parametrize("way", ["a script", "a module", "standard input", "an argument"])
def test_workers_start_from_a_script_without_a_main_guard(way: str, tmp_path: Path) -> None:
    (tmp_path / "script.py").write_text(WITHOUT_GUARD)
    arguments = {
        "a script": ["script.py"],
        "a module": ["-m", "script"],
        "standard input": ["-"],
        "an argument": ["-c", WITHOUT_GUARD],
    }
    told = python(*arguments[way], given=WITHOUT_GUARD if way == "standard input" else "", folder=tmp_path)
    assert (told.stdout, told.stderr, told.returncode) == (SAID, "", 0)


def test_paths_may_be_text(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sslmem_kit.report.export import export
    from sslmem_kit.report.validate import problems
    from sslmem_kit.run.progress.tensorboard import logged
    from sslmem_kit.spec.audit import load_audit

    monkeypatch.chdir(tmp_path)
    study = make_study(tmp_path / "tiny", samples=60, seeds=1, views=2)
    assert sslmem_kit.Study("tiny").scores()["sslmem"].size == 56
    assert sslmem_kit.open_study("tiny").path == tmp_path / "tiny"
    assert sslmem_kit.load_spec("tiny/study.yaml", remove="gone.npz").partition.remove == str(tmp_path / "gone.npz")
    assert export(study, "scores.csv").is_file()
    assert isinstance(list(problems("tiny")), list)
    with pytest.raises(UserError, match="another spec"):
        sslmem_kit.run_study(sslmem_kit.load_spec("digits"), "tiny")
    with pytest.raises(UserError, match="another spec"):
        sslmem_kit.run_study("digits", "tiny")
    with pytest.raises(UserError, match="no file 'digit'"):
        sslmem_kit.run_study("digit", "tiny")
    with pytest.raises(UserError, match="not there"):
        load_audit("audit.yaml")
    with logged("tiny", print):
        pass


@pytest.fixture
def runs(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder with two studies in papermill_runs/ and an empty notebooks/, which is the working directory."""
    for name in ("digits", "paper-mae"):
        (tmp_path / "papermill_runs" / name).mkdir(parents=True)
        (tmp_path / "papermill_runs" / name / "study.yaml").write_text("")
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    return tmp_path / "papermill_runs"


@pytest.mark.parametrize("given", ["papermill_runs/digits", "digits", "../papermill_runs/digits"])
def test_a_study_is_found_from_a_folder_of_notebooks(runs: Path, given: str) -> None:
    assert find_study(given).resolve() == (runs / "digits").resolve()


def test_a_study_is_found_by_the_name_of_its_spec(runs: Path) -> None:
    assert find_study("paper/mae").resolve() == (runs / "paper-mae").resolve()


def test_what_is_here_comes_first(runs: Path) -> None:
    (runs.parent / "notebooks" / "digits").mkdir()
    (runs.parent / "notebooks" / "digits" / "study.yaml").write_text("")
    assert find_study("digits") == Path("digits")
    assert known_studies() == ["../papermill_runs/digits", "../papermill_runs/paper-mae", "digits"]


@pytest.mark.parametrize(
    ("given", "says"),
    [
        ("digit", ["no folder 'digit'", "did you mean 'digits'?", "../papermill_runs/paper-mae"]),
        ("papermill_runs/digist", ["did you mean 'digits'?"]),
        ("nothing/like/it", ["no folder 'nothing/like/it'", "studies here are ../papermill_runs/digits, "]),
        (".", ["not a study directory"]),
    ],
)
def test_an_unknown_study_says_what_there_is(runs: Path, given: str, says: list[str]) -> None:
    with pytest.raises(UserError) as refused:
        sslmem_kit.open_study(given)
    assert all(part in str(refused.value) for part in says), refused.value


def test_the_explorer_finds_a_study_from_the_folder_of_notebooks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sslmem_kit.explorer.study_cache import Library

    make_study(tmp_path / "papermill_runs" / "tiny", samples=60, seeds=1, views=2)
    (tmp_path / "notebooks").mkdir()
    monkeypatch.chdir(tmp_path / "notebooks")
    assert Library(["papermill_runs/tiny"]).keys == Library(["tiny"]).keys == ("tiny",)


def test_a_study_that_is_given_as_a_path_object(tmp_path: Path) -> None:
    assert Study(tmp_path).path == Study(str(tmp_path)).path == tmp_path
