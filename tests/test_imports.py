"""What is imported when: help is answered without the scientific packages, and reading a study without torch."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path

import pytest

from sslmem_kit.cli import app
from tests.support import ROOT
from tests.support.fake_study import make_study

HEAVY = ("numpy", "pandas", "xarray", "zarr", "torch", "torchvision", "timm", "matplotlib", "holoviews", "scipy", "pydantic")


def imported(code: str, *names: str) -> list[str]:
    """Which of the packages a fresh interpreter has imported after running ``code``."""
    ask = f"{code}\nimport sys\nprint('imported:', *[name for name in {names!r} if name in sys.modules])"
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    told = subprocess.run([sys.executable, "-c", ask], env=environment, capture_output=True, text=True, check=True).stdout
    return told.splitlines()[-1].removeprefix("imported:").split()


def test_the_probe_sees_an_import() -> None:
    assert imported("import json", "json", "torch") == ["json"]


def test_the_package_is_light() -> None:
    assert imported("import sslmem_kit; dir(sslmem_kit); sslmem_kit.__version__", *HEAVY) == []


def test_help_of_every_command_is_light() -> None:
    commands = [[], *([name] for name in app.commands), *(["app-user", name] for name in app.commands["app-user"].commands)]
    assert len(commands) >= 9
    code = f"from sslmem_kit.cli import main\nfor command in {commands!r}:\n    assert main([*command, '--help']) == 0"
    assert imported(code, *HEAVY) == []


def test_completion_is_light() -> None:
    code = """
import os, sys
os.environ |= {"_SSLMEM_COMPLETE": "bash_complete", "COMP_WORDS": "sslmem re", "COMP_CWORD": "1"}
from sslmem_kit.cli import main
try:
    main([])
except SystemExit:
    pass
"""
    assert imported(code, *HEAVY) == []


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_study(tmp_path_factory.mktemp("imports") / "tiny", samples=60, seeds=1, views=2).path


def test_a_study_is_read_without_torch(study: Path, tmp_path: Path) -> None:
    code = f"""
import sslmem_kit
from sslmem_kit.cli import main
assert sslmem_kit.open_study({str(study)!r}).scores()["sslmem"].size == 56
assert main(["report", {str(study)!r}]) == 0
assert main(["export", {str(study)!r}, "--to", {str(tmp_path / "s.csv")!r}]) == 0
assert main(["validate", {str(study)!r}]) == 2
import sslmem_kit.run, sslmem_kit.report.notebooks
"""
    assert imported(code, "torch", "torchvision", "timm", "lightly", "xarray") == ["xarray"]


def test_public_names_are_there_and_unknown_ones_are_not() -> None:
    import sslmem_kit

    assert all(getattr(sslmem_kit, name) is not None for name in sslmem_kit.__all__)
    assert dir(sslmem_kit) == sorted(sslmem_kit.__all__)
    with pytest.raises(AttributeError, match="openstudy"):
        _ = sslmem_kit.openstudy
