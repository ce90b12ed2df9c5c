"""Modules and functions that only some systems have are not needed to import the package and to read a study."""

from __future__ import annotations

import os
import subprocess
import sys
import tomllib
from importlib.metadata import version
from pathlib import Path

import click
import pytest
from packaging.requirements import Requirement

from sslmem_kit.cli import main
from tests.support import ROOT
from tests.support.fake_study import make_study

WITHOUT_POSIX = """
import os, signal, sys
# What the packages underneath take is theirs; they are imported before.
import numpy, pandas, xarray, zarr, dask, scipy, scipy.stats, pydantic, yaml, click, PIL.Image, tornado.web, bokeh.server.server, panel
import holoviews, matplotlib.pyplot, multiprocessing.context, subprocess, tempfile, concurrent.futures, jupytext, nbconvert, papermill
import torch, torchvision, timm, lightly.loss, opacus, safetensors.torch, sklearn.linear_model, rich.progress, ipywidgets, h5netcdf
for name in ("fcntl", "resource", "pwd", "grp", "termios", "tty", "pty", "syslog", "posix_ipc"):
    sys.modules[name] = None
GONE = {
    os: "fork forkpty getuid geteuid getgid getegid getppid setsid killpg mkfifo mknod chown fchown lchown fchmod chroot nice "
    "sched_getaffinity sched_setaffinity statvfs fstatvfs sysconf uname getloadavg wait3 wait4 WIFEXITED posix_spawn register_at_fork",
    signal: "SIGHUP SIGKILL SIGQUIT SIGUSR1 SIGUSR2 SIGALRM SIGPIPE SIGCHLD SIGTSTP pthread_sigmask setitimer alarm pause sigwait",
}
os.getppid_kept = os.getppid  # Windows has this one
for module, names in GONE.items():
    for name in names.split():
        if hasattr(module, name):
            delattr(module, name)
os.getppid = os.getppid_kept
"""

IMPORT_ALL = """
import importlib, pkgutil
import sslmem_kit
names = [module.name for module in pkgutil.walk_packages(sslmem_kit.__path__, "sslmem_kit.") if not module.name.endswith("__main__")]
for name in names:
    importlib.import_module(name)
print(len(names), "modules")
"""


def in_a_new_process(code: str, folder: Path) -> str:
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "PYTHONWARNINGS": "ignore"}
    told = subprocess.run([sys.executable, "-c", code], env=environment, cwd=folder, capture_output=True, text=True, timeout=300)
    assert told.returncode == 0, told.stderr[-3000:]
    return told.stdout


def test_a_study_is_read_without_posix(tmp_path: Path) -> None:
    make_study(tmp_path / "tiny", samples=60, seeds=1, views=2)
    (tmp_path / "photos").mkdir()
    code = f"""{WITHOUT_POSIX}{IMPORT_ALL}
import numpy as np
from PIL import Image
from sslmem_kit.cli import main
from sslmem_kit.data import load
from sslmem_kit.spec.data import DataSpec
from sslmem_kit.explorer.study_cache import Library
from sslmem_kit.data.datasets.image_files import cores
assert cores() >= 1
assert main(["report", "tiny"]) == 0
assert main(["export", "tiny", "--to", "tiny.csv"]) == 0
assert main(["validate", "tiny"]) in (0, 2)
assert Library(["tiny"]).keys == ("tiny",)
for number in range(8):
    folder = os.path.join("photos", "ab"[number % 2])
    os.makedirs(folder, exist_ok=True)
    Image.fromarray(np.full((8, 8), 30 * number, np.uint8)).save(os.path.join(folder, f"{{number}}.png"))
assert len(load(DataSpec(name="folder:photos"))) == 8
with sslmem_kit.open_study("tiny").lock():
    pass
print("all read")
"""
    said = in_a_new_process(code, tmp_path)
    assert said.endswith("all read\n")
    assert int(said.split(" modules")[0].split()[-1]) > 100


def test_the_test_takes_away_what_it_says(tmp_path: Path) -> None:
    code = (
        f"{WITHOUT_POSIX}\ntry:\n    import fcntl\nexcept ImportError:\n    print('gone')\nprint(hasattr(os, 'sched_getaffinity'))"
    )
    assert in_a_new_process(code, tmp_path) == "gone\nFalse\n"


def test_the_lowest_click_has_what_is_used() -> None:
    """8.1 has no NoArgsIsHelpError, which made every usage error a traceback."""
    project = tomllib.loads((ROOT / "pyproject.toml").read_text())["project"]
    click_wanted = next(wanted for wanted in map(Requirement, project["dependencies"]) if wanted.name == "click")
    assert not click_wanted.specifier.contains("8.1.8")
    assert click_wanted.specifier.contains("8.2.0")
    assert click_wanted.specifier.contains(version("click"))
    assert issubclass(click.exceptions.NoArgsIsHelpError, click.UsageError)


@pytest.mark.parametrize(
    "arguments", [[], ["app-user"], ["repot"], ["report"], ["report", "x", "--protocl", "paper"], ["run", "a", "b"]]
)
def test_a_usage_error_is_no_traceback(arguments: list[str], capsys: pytest.CaptureFixture) -> None:
    assert main(arguments) == 2
    said = capsys.readouterr()
    assert "Traceback" not in said.err
    assert said.err.startswith("sslmem: ") != (not arguments or arguments == ["app-user"])
