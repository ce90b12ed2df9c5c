"""Commands that are printed at the end work as they are printed."""

from __future__ import annotations

import os
import shlex
import sys
from pathlib import Path

import pytest

from sslmem_kit.run.commands import _open_next


def program(folder: Path, name: str) -> Path:
    folder.mkdir(parents=True, exist_ok=True)
    path = folder / name
    path.write_text("#!/bin/sh\n")
    path.chmod(0o755)
    return path


def told(capsys: pytest.CaptureFixture[str], study: str, **options: Path) -> list[str]:
    _open_next(Path(study), "report", "app", **options)
    first, *lines = capsys.readouterr().out.splitlines()
    assert first == "open next:"
    return [line.strip() for line in lines]


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))
    return tmp_path


def test_as_it_was_started(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    program(here / ".venv" / "bin", "sslmem")
    monkeypatch.setattr(sys, "argv", [".venv/bin/sslmem", "run"])
    assert told(capsys, "out") == [".venv/bin/sslmem report out", ".venv/bin/sslmem app out"]
    program(here / "bin", "sslmem")  # another one is found by name
    assert told(capsys, "my out")[0] == ".venv/bin/sslmem report 'my out'"
    monkeypatch.setattr(sys, "argv", ["/x/sslmem_kit/__main__.py"])
    assert told(capsys, "out")[0] == f"{shlex.quote(sys.executable)} -m sslmem_kit report out"


def test_by_its_name_where_that_is_found(here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    path = program(here / "bin", "sslmem")
    monkeypatch.setattr(sys, "argv", [os.fspath(path)])
    assert told(capsys, "out") == ["sslmem report out", "sslmem app out"]


def test_notebooks_are_named_where_they_are(
    here: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    program(here / ".venv" / "bin", "sslmem")
    program(here / ".venv" / "bin", "jupyter")
    monkeypatch.setattr(sys, "argv", [".venv/bin/sslmem", "demo"])
    page = Path("out/notebooks/00_quickstart.html")
    assert told(capsys, "out", page=page)[0] == f"{page}  in a browser"
    assert not [line for line in told(capsys, "out", page=page) if "jupyter" in line]
    (here / "notebooks").mkdir()
    (here / "notebooks" / "00_quickstart.ipynb").touch()
    assert ".venv/bin/jupyter lab notebooks/" in told(capsys, "out", page=page)
