"""TensorBoard's files, read back with TensorBoard."""

from __future__ import annotations

import csv
import importlib
import subprocess
import sys
import threading
from pathlib import Path
from typing import Any

import pytest

from sslmem_kit.errors import UserError
from sslmem_kit.events import Completed, Planned, Trained, ignore
from sslmem_kit.run.progress.tensorboard import logged
from sslmem_kit.store.files import write_atomically

COLUMNS = ("epoch", "loss", "learning_rate", "seconds", "probe_accuracy", "mean_alignment")

pytest.importorskip("tensorboard", reason="needs the package tensorboard")
reading = importlib.import_module("tensorboard.backend.event_processing.event_accumulator")


def row(epoch: int, *, run: int = 0) -> dict:
    """A row of the history; every second epoch is recorded. ``run`` tells the same epoch of two runs apart."""
    recorded = {"probe_accuracy": 0.5 + epoch / 100, "mean_alignment": 1 / epoch} if epoch % 2 == 0 else {}
    return {"epoch": epoch, "loss": 10.0 * run + 1 / epoch, "learning_rate": 0.5, **recorded, "seconds": 2.0 * epoch}


def write_history(study: Path, encoder: str, rows: list[dict]) -> Path:
    path = study / "encoders" / encoder / "history.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    with open(path.with_suffix(".new"), "w", newline="") as file:
        writer = csv.DictWriter(file, COLUMNS)
        writer.writeheader()
        writer.writerows(rows)
    write_atomically(path, path.with_suffix(".new").read_bytes())
    return path


def reader(study: Path, encoder: str = "f0") -> Any:
    return reading.EventAccumulator(str(study / "encoders" / encoder / "tensorboard"))


def points(read: Any, tag: str) -> list[tuple[int, float]]:
    return [(point.step, pytest.approx(point.value)) for point in read.Reload().Scalars(tag)]


@pytest.fixture(autouse=True)
def seconds(monkeypatch: pytest.MonkeyPatch) -> None:
    """A clock that goes on a second whenever it is read: event files are named by the second, in which a test is over."""
    time = importlib.import_module("tensorboard.summary.writer.event_file_writer").time
    began, calls = time.time(), iter(range(10**9))
    monkeypatch.setattr(time, "time", lambda: began + next(calls))


def test_every_column_by_epoch(tmp_path: Path) -> None:
    heard = []
    with logged(tmp_path, heard.append) as on_event:
        on_event(Planned(("f0",), 6, 1))
        for epoch in range(1, 7):
            # The file is written about once a second, in which there may be several epochs; after the last epoch always.
            if epoch % 3 == 0 or epoch == 1:
                write_history(tmp_path, "f0", [row(each) for each in range(1, epoch + 1)])
            on_event(Trained("f0", epoch, 5.0, 100.0))
    assert len(heard) == 7
    read = reader(tmp_path)
    assert points(read, "loss") == [(epoch, 1 / epoch) for epoch in range(1, 7)]
    assert points(read, "probe_accuracy") == [(epoch, 0.5 + epoch / 100) for epoch in (2, 4, 6)]
    assert set(read.Tags()["scalars"]) == set(COLUMNS) - {"epoch"}


def test_a_resume_neither_loses_nor_doubles_epochs(tmp_path: Path) -> None:
    """Killed after epoch 8, in the middle of writing a point; training goes on from the checkpoint of epoch 5."""
    write_history(tmp_path, "f0", [row(epoch) for epoch in range(1, 9)])
    with logged(tmp_path, ignore) as on_event:
        on_event(Trained("f0", 8, 5.0, 100.0))
    (file,) = (tmp_path / "encoders/f0/tensorboard").iterdir()
    file.write_bytes(file.read_bytes()[:-7])
    watching = reader(tmp_path)
    assert len(points(watching, "loss")) == 7
    with logged(tmp_path, ignore) as on_event:
        on_event(Trained("f0", 5.5, 5.0, 100.0))
        for epoch in range(6, 10):
            write_history(tmp_path, "f0", [row(each, run=each > 5) for each in range(1, epoch + 1)])
            on_event(Trained("f0", epoch, 5.0, 100.0))
    expected = [(epoch, 1 / epoch) for epoch in range(1, 6)] + [(epoch, 10 + 1 / epoch) for epoch in range(6, 10)]
    for read in (watching, reader(tmp_path)):
        assert points(read, "loss") == expected
        assert points(read, "mean_alignment") == [(epoch, 1 / epoch) for epoch in (2, 4, 6, 8)]
    times = [point.wall_time for point in watching.Scalars("loss")]
    assert times[5] - times[0] == pytest.approx(10.0), "two seconds an epoch, as the history says"


def test_what_was_trained_before_is_written_too(tmp_path: Path) -> None:
    for encoder in ("f0", "g0"):
        write_history(tmp_path, encoder, [row(epoch) for epoch in range(1, 4)])
    for _ in range(2):
        with logged(tmp_path, ignore) as on_event:
            on_event(Planned((), 3, 1))
        for encoder in ("f0", "g0"):
            assert points(reader(tmp_path, encoder), "loss") == [(epoch, 1 / epoch) for epoch in range(1, 4)]
            assert len(list((tmp_path / "encoders" / encoder / "tensorboard").iterdir())) == 1, "only once"


def test_encoders_that_are_trained_together_are_all_written(tmp_path: Path) -> None:
    """Only the first one is told of, and the histories are written when the group is trained."""
    with logged(tmp_path, ignore) as on_event:
        on_event(Planned(("s0",), 3, 1))
        on_event(Trained("s0", 3, 5.0, 100.0))
        for encoder in ("s0", "s1", "s2"):
            write_history(tmp_path, encoder, [row(epoch) for epoch in range(1, 4)])
        on_event(Completed("s0"))
    for encoder in ("s0", "s1", "s2"):
        assert points(reader(tmp_path, encoder), "loss") == [(epoch, 1 / epoch) for epoch in range(1, 4)]


def test_a_file_is_open_only_while_its_encoder_is_at_work(tmp_path: Path) -> None:
    for number in range(5):
        write_history(tmp_path, f"f{number}", [row(1)])
    threads = threading.active_count()
    with logged(tmp_path, ignore) as on_event:
        on_event(Planned(("g0",), 1, 1))
        assert threading.active_count() == threads
        write_history(tmp_path, "g0", [row(1)])
        on_event(Trained("g0", 1, 5.0, 100.0))
        assert threading.active_count() == threads + 1
        on_event(Completed("g0"))
        assert threading.active_count() == threads


def test_points_that_a_killed_run_had_not_written_are_written_later(tmp_path: Path) -> None:
    write_history(tmp_path, "f0", [row(epoch) for epoch in range(1, 4)])
    with logged(tmp_path, ignore) as on_event:
        on_event(Trained("f0", 3, 5.0, 100.0))
    write_history(tmp_path, "f0", [row(epoch) for epoch in range(1, 6)])
    with logged(tmp_path, ignore) as on_event:
        on_event(Planned(("g0",), 5, 1))
    assert len(points(reader(tmp_path), "loss")) == 5
    # It had been trained, not scored.
    write_history(tmp_path, "f0", [row(epoch) for epoch in range(1, 7)])
    with logged(tmp_path, ignore) as on_event:
        on_event(Completed("f0"))
    assert len(points(reader(tmp_path), "loss")) == 6


def test_a_run_that_is_refused_writes_nothing(tmp_path: Path) -> None:
    write_history(tmp_path, "f0", [row(1)])
    with pytest.raises(UserError, match="another spec"), logged(tmp_path, ignore):
        raise UserError("another spec")
    assert not (tmp_path / "encoders/f0/tensorboard").exists()


def test_a_missing_package_is_named_first(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sslmem_kit.errors.find_spec", lambda name: None)
    missing = pytest.raises(UserError, match=r"this needs tensorboard, which is not installed.*sslmem_kit\[tensorboard\]")
    with missing, logged(tmp_path, ignore):
        pytest.fail("the run began")


def test_no_torch_is_imported(tmp_path: Path) -> None:
    write_history(tmp_path, "f0", [row(1)])
    code = (
        "import sys, pathlib; from sslmem_kit.events import Trained; from sslmem_kit.run.progress.tensorboard import logged\n"
        "assert 'tensorboard' not in sys.modules\n"
        "with logged(pathlib.Path(sys.argv[1]), print) as on_event: on_event(Trained('f0', 1, 5.0, 100.0))\n"
        "assert 'tensorboard' in sys.modules and not {'torch', 'tensorflow'} & set(sys.modules)"
    )
    subprocess.run([sys.executable, "-W", "error", "-c", code, str(tmp_path)], check=True, stdout=subprocess.DEVNULL)
    assert len(points(reader(tmp_path), "loss")) == 1
