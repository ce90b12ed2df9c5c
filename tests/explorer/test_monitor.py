"""The monitor: states read from made-up directories, and the widget by its traits, without a browser."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import time
import xml.etree.ElementTree as ET
from pathlib import Path

import pytest
import yaml

from sslmem_kit.errors import UserError
from sslmem_kit.explorer.notebook.monitor import EncoderProgress, loss_curves, monitor, newest_change, read_progress, seconds_left
from sslmem_kit.spec.audit import parse_audit
from sslmem_kit.store import write
from sslmem_kit.store.directory import as_yaml
from sslmem_kit.study import Study
from tests.support import ROOT
from tests.support.fake_study import make_study

HEAD = "epoch,loss,learning_rate,seconds,probe_accuracy,mean_alignment\n"
ROWS = ("1,4.5,0.001,0.5,,\n", "2,3.25,0.001,1.0,0.5,0.25\n", "3,2.125,0.001,1.5,,\n")


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> dict[str, Path]:
    folder = tmp_path_factory.mktemp("monitor")
    return {
        "half": make_study(folder / "half", samples=100, seeds=2, views=1, complete=False).path,
        "whole": make_study(folder / "whole", samples=60, seeds=1, views=1).path,
    }


@pytest.fixture
def half(made: dict[str, Path], tmp_path: Path) -> Study:
    """Encoder f-0 is done, g-0, f-1 and g-1 lack everything."""
    return Study(Path(shutil.copytree(made["half"], tmp_path / "half")))


def write_history(study: Study, encoder: str, *rows: str) -> Path:
    path = study.encoder(encoder) / "history.csv"
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(HEAD + "".join(rows))
    return path


def wait_for(condition, seconds: float = 10) -> None:
    deadline = time.monotonic() + seconds
    while not condition():
        assert time.monotonic() < deadline, "waited in vain"
        time.sleep(0.02)


def told(widget) -> str:
    return widget._repr_mimebundle_()["text/html"]


def test_states_follow_the_files(half: Study) -> None:
    write_history(half, "g-0", *ROWS)
    half.encoder("f-1").mkdir(parents=True)
    done, training, begun, waiting = read_progress(half.path)
    assert (done.encoder, done.state, done.epoch, done.scored, done.blocks) == ("f-0", "done", 6, 2, 2)
    assert training == EncoderProgress("g-0", "g", "training", 3, 6, (4.5, 3.25, 2.125), 1.5, 0, 2)
    assert (begun.state, begun.epoch, waiting.state, waiting.losses) == ("training", 0, "waiting", ())
    (half.encoder("g-0") / "weights.safetensors").touch()
    assert [(row.state, row.epoch) for row in read_progress(half.path)][1] == ("scoring", 6)
    write._open_for_writing(half.results_path)["completeness/scored"][1] = True
    assert read_progress(half.path)[1].state == "scoring"  # not evaluated yet
    write._open_for_writing(half.results_path)["completeness/evaluated"][1] = True
    assert read_progress(half.path)[1].state == "done"


def test_a_study_without_a_store_yet_waits(half: Study) -> None:
    shutil.rmtree(half.results_path)
    assert {row.state for row in read_progress(half.path)} == {"waiting"}
    assert read_progress(half.path / "nowhere") == []


def test_a_history_cut_anywhere_is_refused_or_a_part_of_the_true_one(half: Study) -> None:
    path = write_history(half, "g-0", *ROWS)
    whole, lengths = path.read_bytes(), set()
    for size in range(len(whole)):
        path.write_bytes(whole[:size])
        try:
            losses = read_progress(half.path)[1].losses
        except UserError:
            continue
        assert losses == (4.5, 3.25, 2.125)[: len(losses)]
        lengths.add(len(losses))
    assert lengths == {0, 1, 2}


@pytest.mark.parametrize("content", [HEAD + ROWS[1], HEAD + "1,x,0.1,0.5,,\n", "a,b\n1,2\n", "\udcff", HEAD + "1,2\n"])
def test_a_damaged_history_is_named(half: Study, content: str) -> None:
    write_history(half, "g-0").write_bytes(content.encode(errors="surrogateescape"))
    with pytest.raises(UserError, match=r"g-0.history\.csv: this is not a whole"):
        read_progress(half.path)


def test_damaged_records_and_specs_are_named(half: Study) -> None:
    (half.results_path / "completeness" / "zarr.json").write_text("{")
    with pytest.raises(UserError, match="completeness cannot be read"):
        read_progress(half.path)
    half.spec_path.write_text("name: [")
    with pytest.raises(UserError, match=r"study\.yaml"):
        read_progress(half.path)


def test_seconds_left_shares_the_epochs_among_those_at_work() -> None:
    def row(state: str, epoch: int, seconds: float) -> EncoderProgress:
        return EncoderProgress("x", "f", state, epoch, 10, (1.0,) * epoch, seconds, 0, 1)

    assert seconds_left([row("waiting", 0, 0.0)]) is None
    # 15 epochs took 30 s; 5 + 10 + 10 are left, for one encoder at work.
    assert seconds_left([row("done", 10, 20.0), row("training", 5, 10.0), row("waiting", 0, 0.0), row("waiting", 0, 0.0)]) == 50
    assert seconds_left([row("training", 5, 10.0), row("training", 5, 10.0), row("waiting", 0, 0.0)]) == 20


def test_curves_lie_in_the_picture_and_names_are_text() -> None:
    losses = (*(5 / epoch for epoch in range(1, 1500)), float("nan"), 7.5)
    rows = [EncoderProgress('<i title="x">&', family, "training", 3, 3000, losses, 1.0, 0, 1) for family in ("f", "g", "<7>")]
    picture = ET.fromstring(loss_curves(rows))
    _, _, width, height = map(float, picture.get("viewBox").split())
    curves = picture.findall("polyline")
    assert [curve.get("stroke") for curve in curves] == ["#D55E00", "#0072B2", "currentColor"]
    for curve in curves:
        points = [tuple(map(float, point.split(","))) for point in curve.get("points").split()]
        assert 100 < len(points) < 500
        assert all(0 <= x <= width and 0 <= y <= height for x, y in points)
        assert points[-1][1] == min(y for _, y in points)  # the last loss is the highest
        assert curve.find("title").text == '<i title="x">&'
    assert loss_curves([EncoderProgress("a", "f", "training", 1, 1, (float("inf"),), 1.0, 0, 1)]) == ""
    assert len(ET.fromstring(loss_curves([EncoderProgress("a", "f", "done", 1, 1, (2.0,), 1.0, 0, 1)])).findall("polyline")) == 1


def test_a_complete_study_ends_the_monitor_at_once(made: dict[str, Path]) -> None:
    widget = monitor(made["whole"])
    assert not widget.running
    assert "The study is complete: 2 of 2 encoders are done, which took 12 s." in told(widget)
    assert "application/vnd.jupyter.widget-view+json" in widget._repr_mimebundle_()


def test_it_waits_follows_keeps_the_last_good_reading_and_ends(made: dict[str, Path], tmp_path: Path) -> None:
    whole, study = Study(made["whole"]), Study(tmp_path / "late" / "st<b>udy")
    widget = monitor(study.path, every=0.1)
    try:
        assert widget.running
        assert "Waiting for a study in" in told(widget)
        assert "st&lt;b&gt;udy" in told(widget)
        assert "<b>" not in told(widget)
        study.path.mkdir(parents=True)
        shutil.copy(whole.spec_path, study.spec_path)
        wait_for(lambda: len(widget.progress) == 2)
        path = write_history(study, "f-0", *ROWS)
        wait_for(lambda: "3 of 6" in told(widget) and "2.1250" in told(widget) and "polyline" in told(widget))
        path.write_text(HEAD + "1,4.5")
        wait_for(lambda: "Not everything can be read" in told(widget))
        assert "3 of 6" in told(widget)
        assert widget.progress[0].losses == (4.5, 3.25, 2.125)
        path.unlink()
        shutil.copytree(whole.results_path, study.results_path)
        wait_for(lambda: not widget.running)
        assert "The study is complete" in told(widget)
    finally:
        widget.close()


def test_it_goes_on_until_the_store_is_closed(made: dict[str, Path], tmp_path: Path) -> None:
    study = Study(Path(shutil.copytree(made["whole"], tmp_path / "study")))
    text = (study.results_path / "zarr.json").read_text()
    (study.results_path / "zarr.json").write_text(text.replace("consolidated_metadata", "other"))
    widget = monitor(study.path, every=0.1)
    assert widget.running
    (study.results_path / "zarr.json").write_text(text)
    wait_for(lambda: not widget.running)


def test_stop_ends_the_thread(half: Study) -> None:
    widget = monitor(half.path, every=0.1)
    *_, button = widget.children
    assert not button.disabled
    button.click()
    wait_for(lambda: not widget.running)
    assert button.disabled
    assert "Watching was stopped" in told(widget)


def test_no_change_is_told_with_the_command_that_resumes(half: Study) -> None:
    for path in half.path.rglob("*"):
        os.utime(path, (1e9, 1e9))
    os.utime(half.spec_path, (time.time() - 45,) * 2)
    assert time.time() - newest_change(half.path) == pytest.approx(45, abs=5)
    widget = monitor(half.path, every=0.1)
    assert "No change for 4" in told(widget)
    assert f"`sslmem run {half.spec_path} --out {half.path}`" in told(widget)
    write_history(half, "g-0", *ROWS)
    wait_for(lambda: "Running for" in told(widget) and "of training left" in told(widget))
    widget.stop()


def test_it_only_reads_and_never_meets_a_run_at_the_lock(half: Study) -> None:
    (half.path / ".lock").touch()
    before = {path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in half.path.rglob("*")}
    widget = monitor(half.path, every=0.1)
    read_progress(half.path)
    assert {path: (path.stat().st_mtime_ns, path.is_file() and path.read_bytes()) for path in half.path.rglob("*")} == before
    for _ in range(300):
        with half.lock():
            time.sleep(0.001)
    widget.stop()


@pytest.mark.parametrize("every", [0, -1, 0.01, float("nan"), float("inf"), "1", True, None])
def test_wrong_intervals_are_refused(tmp_path: Path, every: object) -> None:
    with pytest.raises(UserError, match=r"every: a number of seconds from 0\.1 on is needed, got"):
        monitor(tmp_path, every=every)


def test_a_file_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "study.yaml"
    path.write_text(yaml.safe_dump({}))
    with pytest.raises(UserError, match="is a file, a study directory is needed"):
        monitor(path)


def test_an_audit_is_refused(tmp_path: Path) -> None:
    encoder = {"id": "f", "factory": "models:make"}
    audit = parse_audit({"name": "mine", "data": {"name": "digits"}, "encoders": [encoder]}, where="test")
    (tmp_path / "study.yaml").write_text(as_yaml(audit.resolved(tmp_path)))
    for read in (monitor, read_progress):
        with pytest.raises(UserError, match=r"study_path: .* is an audit, whose encoders are not trained here"):
            read(tmp_path)


def test_neither_torch_nor_a_plotting_library_is_imported() -> None:
    ask = (
        "import sys, sslmem_kit.explorer.notebook.monitor, sslmem_kit.explorer.notebook.pickers\n"
        "print([name for name in ('torch', 'panel', 'holoviews', 'matplotlib') if name in sys.modules], 'xarray' in sys.modules)"
    )
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    done = subprocess.run([sys.executable, "-c", ask], env=environment, capture_output=True, text=True, check=True)
    assert done.stdout.strip() == "[] True"
