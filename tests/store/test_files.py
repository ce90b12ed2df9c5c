"""Files that appear whole, leftovers of killed processes, and locks: with those of the system, of Windows, and with none."""

from __future__ import annotations

import builtins
import errno
import importlib
import os
import signal
import subprocess
import sys
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from types import ModuleType

import pytest

from sslmem_kit import store
from sslmem_kit.cli import main
from sslmem_kit.data.samples import load_samples
from sslmem_kit.errors import UserError
from sslmem_kit.run.study import run_study
from sslmem_kit.spec.loading import load_spec
from sslmem_kit.store import files
from sslmem_kit.store.directory import StudyBusy, check_directory, create_or_resume
from sslmem_kit.study import Study
from tests.support.fake_study import make_study

SPEC = load_spec("digits")

WRITING = """
import sys, time
from pathlib import Path
from sslmem_kit.store.files import appearing
with appearing(Path(sys.argv[1])) as partial:
    print("writing", flush=True)
    time.sleep(60)
"""
HOLDING = """
import sys, time
from pathlib import Path
from sslmem_kit import store
from sslmem_kit.store import files
if len(sys.argv) > 2:
    files.fcntl = None
with files.hold(Path(sys.argv[1])):
    print("holding", flush=True)
    time.sleep(60)
"""


@pytest.fixture
def started() -> Iterator[Callable[..., subprocess.Popen]]:
    """Starts a script that has said something when it is returned."""
    running = []

    def start(script: str, *arguments: object) -> subprocess.Popen:
        running.append(
            subprocess.Popen([sys.executable, "-c", script, *map(str, arguments)], stdout=subprocess.PIPE, stderr=subprocess.PIPE)
        )
        running[-1].stdout.readline()
        return running[-1]

    yield start
    for process in running:
        process.kill()
        process.communicate()


def without_locks(monkeypatch: pytest.MonkeyPatch, how: str) -> ModuleType | None:
    """As where there is no ``fcntl`` (``none``, ``windows``), or where the file system cannot lock (``nfs``)."""
    if how == "nfs":

        def refuse(handle: int, operation: int) -> None:
            raise OSError(errno.ENOLCK, os.strerror(errno.ENOLCK))

        monkeypatch.setattr(files.fcntl, "flock", refuse)
    elif how in ("none", "windows"):
        monkeypatch.setattr(files, "fcntl", None)
    if how == "windows":
        held: set[int] = set()

        def locking(handle: int, mode: int, count: int) -> None:
            number = os.fstat(handle).st_ino
            if number in held:
                raise OSError(errno.EACCES, "taken")
            held.add(number)

        fake = ModuleType("msvcrt")
        fake.LK_NBLCK, fake.locking = 2, locking
        monkeypatch.setattr(files, "msvcrt", fake)


@pytest.mark.parametrize("missing", ["fcntl", "msvcrt"])
def test_the_modules_of_one_system_are_not_needed(missing: str, monkeypatch: pytest.MonkeyPatch) -> None:
    real = builtins.__import__

    def without(name: str, *rest: object, **more: object) -> ModuleType:
        if name == missing:
            raise ImportError(name)
        return real(name, *rest, **more)

    monkeypatch.setattr(builtins, "__import__", without)
    try:
        assert getattr(importlib.reload(files), missing) is None
    finally:
        monkeypatch.undo()
        importlib.reload(files)


@pytest.mark.parametrize("how", ["flock", "nfs", "none", "windows"])
def test_a_lock_is_for_one(how: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_locks(monkeypatch, how)
    lock = tmp_path / ".lock"
    lock.write_text("kept")
    with files.hold(lock), pytest.raises(BlockingIOError), files.hold(lock):
        pass
    if how != "windows":  # the fake there knows no end
        with files.hold(lock):
            pass
    assert lock.read_text() == "kept"
    assert [path.name for path in tmp_path.iterdir()] == [".lock"]


@pytest.mark.parametrize("how", ["flock", "none"])
def test_a_lock_ends_with_its_holder(how: str, tmp_path: Path, started: Callable, monkeypatch: pytest.MonkeyPatch) -> None:
    without_locks(monkeypatch, how)
    lock = tmp_path / ".lock"
    process = started(HOLDING, lock, *(["none"] if how == "none" else []))
    with pytest.raises(BlockingIOError), files.hold(lock):
        pass
    process.kill()
    process.wait()
    with files.hold(lock):
        pass


def test_the_name_of_a_holder_that_is_another_by_now_does_not_count(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    without_locks(monkeypatch, "none")
    lock, named = tmp_path / ".lock", tmp_path / ".lock.pid"
    host = files._identity(os.getpid()).split()[0]
    named.write_text(f"{host} {os.getpid()} 1")  # this number, of a process that began at another time: a reboot
    with files.hold(lock):
        assert named.read_text() == files._identity(os.getpid())
    for content in ("", "garbage", f"{host} x 1"):
        named.write_text(content)
        with files.hold(lock):
            pass
    named.write_text(f"another-machine {os.getpid()} 1")
    with pytest.raises(BlockingIOError, match=r"lock\.pid names its holder; delete it"), files.hold(lock):
        pass


@pytest.mark.parametrize("kind", ["link", "dangling link", "folder", "fifo"])
def test_a_lock_is_a_plain_file(kind: str, tmp_path: Path) -> None:
    """A link's target was emptied."""
    target, study = tmp_path / "thesis.tex", make_study(tmp_path / "study", samples=60)
    if kind != "dangling link":
        target.write_text("years of work")
    (study.path / ".lock").unlink(missing_ok=True)
    match kind:
        case "folder":
            (study.path / ".lock").mkdir()
        case "fifo":
            os.mkfifo(study.path / ".lock")
        case _:
            (study.path / ".lock").symlink_to(target)
    with pytest.raises(UserError, match=r"\.lock: .* stands where a plain file is needed; remove it"), study.lock():
        pass
    assert target.exists() == (kind != "dangling link")
    assert kind == "dangling link" or target.read_text() == "years of work"


def test_a_second_writer_is_told(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", samples=60)
    with study.lock(), pytest.raises(StudyBusy, match="another `sslmem run` is at work on this study"), study.lock():
        pass


def test_nothing_is_written_through_a_link(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Neither under the name that is written to first, were it known, nor under the last one."""
    target = tmp_path / "precious"
    target.write_text("kept")
    monkeypatch.setattr(files.secrets, "token_hex", lambda count: "0" * 8)
    (tmp_path / f"figure.png.{os.getpid()}.00000000.partial").symlink_to(target)
    with pytest.raises(FileExistsError):
        files.write_atomically(tmp_path / "figure.png", b"new")
    monkeypatch.undo()
    (tmp_path / "figure.png").symlink_to(target)
    files.write_atomically(tmp_path / "figure.png", b"new")
    assert target.read_text() == "kept"
    assert (tmp_path / "figure.png").read_bytes() == b"new"
    assert not (tmp_path / "figure.png").is_symlink()


@pytest.mark.parametrize("name", ["a.pt.{pid}.partial", "a.pt.{pid}.0123abcd.partial"])
def test_leftovers_are_what_nobody_writes(name: str, tmp_path: Path, started: Callable) -> None:
    """The number of the process is not asked: after a restart of the machine it may be anybody's, this test's for one."""
    leftover = tmp_path / name.format(pid=os.getpid())
    leftover.write_bytes(b"half")
    kept = [tmp_path / "weights.partial", tmp_path / "mine.12.partial.bak", tmp_path / ".12.partial"]
    for path in kept:
        path.write_bytes(b"")
    (tmp_path / "folder.12.partial").mkdir()
    process = started(WRITING, tmp_path / "weights")
    (live,) = tmp_path.glob("weights.*.partial")
    files.sweep(tmp_path)
    assert live.exists()
    assert not leftover.exists()
    assert all(path.exists() for path in [*kept, tmp_path / "folder.12.partial"])
    process.send_signal(signal.SIGKILL)
    process.wait()
    files.sweep(tmp_path)
    assert not live.exists()


def test_leftovers_without_locks(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    gone = subprocess.Popen([sys.executable, "-c", ""])
    gone.wait()
    dead, alive = (tmp_path / f"a.{pid}.partial" for pid in (gone.pid, os.getpid()))
    for path in (dead, alive):
        path.write_bytes(b"")
    with monkeypatch.context() as patch:
        without_locks(patch, "nfs")
        files.sweep(tmp_path)
        assert alive.exists()
        assert not dead.exists()
    without_locks(monkeypatch, "none")
    files.sweep(tmp_path)
    assert alive.exists()
    os.utime(alive, (time.time() - 2 * files._OLD_SECONDS,) * 2)
    files.sweep(tmp_path)
    assert not alive.exists()


@pytest.mark.parametrize("left", [["study.yaml.12.partial"], ["study.yaml.12.0123abcd.partial", ".lock"], [".lock", ".lock.pid"]])
def test_a_directory_of_leftovers_is_empty(left: list[str], tmp_path: Path) -> None:
    """It was refused for ever."""
    out = tmp_path / "out"
    out.mkdir()
    for name in left:
        (out / name).write_text("name: half")
    study = create_or_resume(out, SPEC)
    (out / ".lock.pid").unlink(missing_ok=True)
    with study.lock():
        assert sorted(path.name for path in out.iterdir()) == [".lock", "study.yaml"]


@pytest.mark.parametrize("other", ["notes.12.partial", "study.yaml.partial.txt", "encoders"])
def test_a_directory_of_something_else_is_not(other: str, tmp_path: Path) -> None:
    (tmp_path / other).write_text("")
    with pytest.raises(UserError, match=r"not empty and holds no study\.yaml"):
        check_directory(tmp_path, SPEC)


def test_the_next_writer_cleans_a_study(tmp_path: Path, started: Callable) -> None:
    study = make_study(tmp_path / "study", samples=60)
    before = sorted(study.path.rglob("*"))
    left = ["study.yaml.7.partial", "encoders/f-0/weights.safetensors.7.partial", "encoders/f-0/resume/state.pt.7.partial",
            "figures/a.png.7.partial", "notebooks/a.ipynb.7.partial", "results.zarr/zarr.0123456789abcdef0123456789abcdef.partial",
            "results.zarr/alignment/c/0/0/0.0123456789abcdef0123456789abcdef.partial", "results.zarr.views.partial/zarr.json",
            "results.zarr.partial/zarr.json"]  # fmt: skip
    for name in left:
        (study.path / name).parent.mkdir(parents=True, exist_ok=True)
        (study.path / name).write_bytes(b"half")
    started(WRITING, study.figures / "b.png")
    with study.lock():
        there = {path for path in study.path.rglob("*") if path.is_file()} - set(before)
    assert [path.name.split(".")[0] for path in there if path.name != ".lock"] == ["b"]
    assert not list(study.path.glob("results.zarr*.partial"))


def test_a_complete_study_is_cleaned_too(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study", samples=60)
    store.set_attributes(study.results_path, {"data_fingerprint": load_samples(study.spec).dataset.fingerprint})
    store.finish(study.results_path)
    (study.path / "study.yaml.9.partial").write_text("")
    run_study(study.spec, study.path)
    assert not list(study.path.rglob("*.partial"))


def test_an_export_leaves_and_follows_nothing(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = make_study(tmp_path / "study", samples=60)
    target = tmp_path / "precious"
    (tmp_path / "scores.csv").symlink_to(target)  # goes nowhere
    (tmp_path / "scores.csv.7.partial").write_text("half")
    assert main(["export", str(study.path), "--to", str(tmp_path / "scores.csv")]) == 0
    assert not target.exists()
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scores.csv", "study"]
    capsys.readouterr()


def test_a_study_that_cannot_be_written_is_not_swept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    study: Study = make_study(tmp_path / "study", samples=60)
    (study.path / "study.yaml.7.partial").write_text("half")

    def refuse(path: Path, missing_ok: bool = False) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(Path, "unlink", refuse)
    study.sweep_files()
    monkeypatch.undo()
    assert (study.path / "study.yaml.7.partial").exists()
