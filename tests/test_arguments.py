"""What Tab offers, and whole one-line helps."""

from __future__ import annotations

from pathlib import Path

import pytest
from click.shell_completion import ShellComplete
from click.testing import CliRunner

from sslmem_kit import arguments as completion
from sslmem_kit.cli import app
from sslmem_kit.scores import PROTOCOLS
from sslmem_kit.scores.estimators import DESIGN_OF
from tests.test_imports import HEAVY, imported


def offered(*words: str, typed: str = "") -> list[tuple[str, str]]:
    completions = ShellComplete(app, {}, "sslmem", "_SSLMEM_COMPLETE").get_completions(list(words), typed)
    return [(item.type, item.value) for item in completions]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    for name in ("papermill_runs/first", "papermill_runs/second", "deep/third"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "study.yaml").touch()
    (tmp_path / "papermill_runs/empty").mkdir()
    monkeypatch.chdir(tmp_path)
    return tmp_path


@pytest.mark.parametrize(
    ("words", "typed", "wanted"),
    [
        (["report", "s", "--protocol"], "", ["paper", "released", "corrected"]),
        (["export", "s", "--protocol"], "re", ["released"]),
        (["export", "s", "--estimator"], "", ["pairs", "subsets", "leave_one_out", "adjusted", "groups"]),
        (["report"], "fi", ["first"]),
        (["validate"], "papermill_runs/", ["papermill_runs/first", "papermill_runs/second"]),
        (["export"], "deep/", ["deep/third"]),
        (["app", "first"], "sec", ["second"]),
        (["run"], "digits", ["digits", "digits-mae"]),
        (["plan"], "paper/imagenet-vic", ["paper/imagenet-vicreg-resnet50"]),
        (["studies", "--show"], "ground", ["ground_truth"]),
        (["plan", "digits", "--precision-from"], "fi", ["first"]),
        (["render", "first"], "t", ["tab02_tests", "tab13_agreement"]),
        (["render", "first", "tab02_tests"], "t", ["tab13_agreement"]),
    ],
)
def test_names_complete(words: list[str], typed: str, wanted: list[str], here: Path) -> None:
    assert sorted(offered(*words, typed=typed)) == sorted(("plain", name) for name in wanted)


def test_where_no_name_fits_paths_complete(here: Path) -> None:
    assert offered("report", typed="elsew") == [("dir", "elsew")]
    assert offered("run", typed="mine") == [("file", "mine")]


def test_what_is_offered_is_what_is_taken() -> None:
    assert set(completion.PROTOCOLS) == set(PROTOCOLS)
    assert set(completion.ESTIMATORS) == {*DESIGN_OF, "adjusted", "groups"}


@pytest.mark.parametrize("line", ["sslmem report ", "sslmem run ", "sslmem render digits ", "sslmem export digits --protocol "])
def test_completion_of_arguments_is_light(line: str) -> None:
    code = f"""
import os
os.environ |= {{"_SSLMEM_COMPLETE": "bash_complete", "COMP_WORDS": {line!r}, "COMP_CWORD": str(len({line!r}.split()))}}
from sslmem_kit.cli import main
try:
    main([])
except SystemExit:
    pass
"""
    assert imported(code, *HEAVY) == []


def test_one_line_helps_are_whole() -> None:
    for command in ([], ["app-user"]):
        told = CliRunner().invoke(app, [*command, "--help"]).output
        assert "Commands:" in told
        assert "..." not in told.split("Commands:")[1]
