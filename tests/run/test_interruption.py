"""Signals at any moment: one sentence and no traceback, no process that goes on, no folder that stays."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path

import nbformat
import pytest
import yaml

from sslmem_kit.cli import main
from sslmem_kit.report import notebooks
from sslmem_kit.run.interruption import interruptible
from sslmem_kit.run.plan import plan
from sslmem_kit.run.schedulers import pool as scheduling
from sslmem_kit.run.schedulers.pool import WorkerDied
from sslmem_kit.run.study import run_study
from sslmem_kit.spec.loading import load_spec
from tests.support.fake_study import make_study

HINT = "run the same command again to resume"
RENDER = """
import sys
from pathlib import Path
from sslmem_kit.cli import main
from sslmem_kit.report import notebook_catalog
notebook_catalog.FOLDERS = (Path(sys.argv[1]),)
sys.exit(main(["render", sys.argv[2]]))
"""
SECONDS = 90


def wait_for(condition: Callable[[], object], process: subprocess.Popen | None = None, seconds: float = SECONDS) -> bool:
    end = time.monotonic() + seconds
    while time.monotonic() < end and not condition() and (process is None or process.poll() is None):
        time.sleep(0.05)
    return bool(condition())


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except OSError:
        return False


def children(pid: int) -> list[int]:
    """All processes below one."""
    found = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            if int(stat.read_text().rpartition(")")[2].split()[1]) == pid:
                found += [int(stat.parent.name), *children(int(stat.parent.name))]
        except OSError:
            continue
    return found


@pytest.mark.parametrize("name", ["SIGTERM", "SIGHUP", "SIGINT"])
def test_a_signal_is_a_sentence(
    name: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def struck(*_: object, **__: object) -> None:
        try:
            os.kill(os.getpid(), getattr(signal, name))
            time.sleep(10)
        finally:
            if name != "SIGINT":
                os.kill(os.getpid(), getattr(signal, name))  # a second one does not disturb the ending

    monkeypatch.setattr("sslmem_kit.run.study.run_study", struck)
    monkeypatch.setattr("sslmem_kit.run.plan.plan", struck)
    monkeypatch.setattr("sslmem_kit.report.notebooks.render", struck)
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # `nohup pytest` ignores it
    before = [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)]
    signal.signal(signal.SIGINT, signal.default_int_handler)
    by = "" if name == "SIGINT" else f" by {name}"
    for command in (["run", "digits", "--out", str(tmp_path)], ["plan", "digits"], ["render", str(tmp_path)]):
        assert main(command) == 1
        assert capsys.readouterr().err.strip().splitlines()[-1] == f"sslmem: interrupted{by}; {HINT} where it stopped"
    assert [signal.getsignal(number) for number in (signal.SIGTERM, signal.SIGHUP)] == before


UNAWAITED = """
import sslmem_kit.run.study
from sslmem_kit.cli import entry
async def write(): ...
def struck(*_, **__):
    kept.append(write())
    raise KeyboardInterrupt
kept, sslmem_kit.run.study.run_study = [], struck
entry()
"""


def test_nothing_is_said_after_the_sentence(tmp_path: Path) -> None:
    """Of coroutines that the interruption left unawaited, Python tells when it ends."""
    done = subprocess.run(
        [sys.executable, "-c", UNAWAITED, "run", "digits", "--out", str(tmp_path)], capture_output=True, text=True, timeout=SECONDS
    )
    assert done.returncode == 1
    assert done.stderr.splitlines()[-1] == f"sslmem: interrupted; {HINT} where it stopped"


def test_children_that_the_signal_reaches_first_are_not_blamed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    def struck(*_: object, **__: object) -> None:
        try:
            os.kill(os.getpid(), signal.SIGTERM)
            time.sleep(10)
        finally:
            raise WorkerDied("most often because memory ran out")

    monkeypatch.setattr("sslmem_kit.run.study.run_study", struck)
    assert main(["run", "digits", "--out", str(tmp_path)]) == 1
    assert "interrupted by SIGTERM" in capsys.readouterr().err


def test_nohup_holds(monkeypatch: pytest.MonkeyPatch) -> None:
    before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
    try:
        with interruptible() as came:
            os.kill(os.getpid(), signal.SIGHUP)
        assert not came
        assert signal.getsignal(signal.SIGHUP) == signal.SIG_IGN
    finally:
        signal.signal(signal.SIGHUP, before)


def die(*_: object) -> None:
    os._exit(1)


@pytest.mark.parametrize("command", ["run", "plan"])
def test_a_worker_that_is_gone_before_its_first_task(command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """It was BrokenProcessPool, and a traceback."""
    monkeypatch.setattr(scheduling, "_start_worker", die)
    loaded = load_spec("digits")
    with pytest.raises(WorkerDied, match=f"a worker process was killed, .*{HINT}"):
        run_study(loaded, tmp_path / "out") if command == "run" else plan(loaded)
    assert not (tmp_path / "out").exists()


@pytest.fixture
def rendering(tmp_path: Path) -> Callable[[], tuple[subprocess.Popen, list[int]]]:
    """Starts a rendering whose notebook waits: its process, and those of notebook and kernel."""
    study, folder, said = make_study(tmp_path / "study", samples=60), tmp_path / "own", tmp_path / "pid"
    folder.mkdir()
    cells = [f'study = "{study.path}"', f"import os, time\nopen('{said}', 'w').write(str(os.getpid()))\ntime.sleep(600)"]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source) for source in cells])
    notebook.cells[0].metadata["tags"] = ["parameters"]
    nbformat.write(notebook, folder / "slow.ipynb")
    (tmp_path / "tmp").mkdir()

    def start() -> tuple[subprocess.Popen, list[int]]:
        process = subprocess.Popen(
            [sys.executable, "-c", RENDER, str(folder), str(study.path)],
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
            env={**os.environ, "TMPDIR": str(tmp_path / "tmp")},
            preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
        )
        assert wait_for(lambda: said.exists() and said.read_text(), process)
        below = children(process.pid)
        assert int(said.read_text()) in below
        assert len(below) == 2
        return process, below

    return start


@pytest.mark.parametrize("name", ["SIGKILL", "SIGTERM", pytest.param("SIGINT", marks=pytest.mark.slow)])
def test_a_rendering_leaves_nothing(name: str, rendering: Callable, tmp_path: Path) -> None:
    """Notebook and kernel went on, and the temporary folder stayed."""
    process, below = rendering()
    process.send_signal(getattr(signal, name))
    _, said = process.communicate(timeout=SECONDS)
    assert wait_for(lambda: not any(map(is_running, below)), seconds=20)
    assert wait_for(lambda: not list((tmp_path / "tmp").glob("sslmem-render-*")), seconds=20)
    assert not list((tmp_path / "study" / "notebooks").iterdir())
    assert "Traceback" not in said
    if name == "SIGKILL":
        assert process.returncode == -signal.SIGKILL
    else:
        assert process.returncode == 1
        assert HINT in said.splitlines()[-1]


@pytest.mark.slow
def test_a_notebook_that_is_killed_takes_its_kernel_along(rendering: Callable, tmp_path: Path) -> None:
    process, below = rendering()
    os.kill(below[0], signal.SIGKILL)
    _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    assert said.splitlines()[-1] == "sslmem: notebook slow: could not be executed, exit status -9"
    assert wait_for(lambda: not any(map(is_running, below)), seconds=20)
    assert not list((tmp_path / "tmp").glob("sslmem-render-*"))


def test_folders_of_renderings_that_were_killed_with_all_their_processes(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(notebooks.tempfile, "tempdir", str(tmp_path))
    dead, new, old, other = (tmp_path / name for name in ("sslmem-render-a", "sslmem-render-b", "sslmem-render-c", "another"))
    for folder in (dead, new, old, other):
        folder.mkdir()
    for lock in ("sslmem-render-a.lock", "sslmem-render-d.lock"):
        (tmp_path / lock).touch()
    os.utime(old, (0, 0))
    with notebooks._scratch_folder() as live:
        notebooks._sweep_scratch()
        assert sorted(tmp_path.iterdir()) == sorted([live, live.with_suffix(".lock"), new, other])
    assert sorted(tmp_path.iterdir()) == sorted([new, other])


def command_line(command: str, tmp_path: Path) -> list[str]:
    spec = yaml.safe_load(load_spec("digits").model_dump_json())
    spec["training"] |= {"epochs": 100_000, "warmup_epochs": 1}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    more = ["--out", str(tmp_path / "out")] if command == "run" else []
    return [sys.executable, "-m", "sslmem_kit", command, str(tmp_path / "spec.yaml"), *more]


@pytest.mark.parametrize(
    ("command", "name", "whole_group"),
    [
        ("run", "SIGTERM", True),
        pytest.param("run", "SIGHUP", True, marks=pytest.mark.slow),
        pytest.param("run", "SIGTERM", False, marks=pytest.mark.slow),
        pytest.param("plan", "SIGTERM", True, marks=pytest.mark.slow),
        pytest.param("plan", "SIGHUP", False, marks=pytest.mark.slow),
    ],
)
def test_workers_end_with_the_sentence(command: str, name: str, whole_group: bool, tmp_path: Path) -> None:
    process = subprocess.Popen(
        command_line(command, tmp_path), stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True
    )
    reached = tmp_path / "out" / "results.zarr"
    assert wait_for(lambda: reached.exists() if command == "run" else len(children(process.pid)) > 1, process)
    below = children(process.pid)
    (os.killpg if whole_group else os.kill)(process.pid, getattr(signal, name))
    _, said = process.communicate(timeout=SECONDS)
    assert process.returncode == 1
    assert "Traceback" not in said
    assert said.splitlines()[-1] == f"sslmem: interrupted by {name}; {HINT} where it stopped"
    assert wait_for(lambda: not any(map(is_running, below)), seconds=20)
