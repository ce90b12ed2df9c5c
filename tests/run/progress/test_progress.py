"""Progress: what events add up to, and what a person sees of them in a terminal, in a notebook's cell and in a log."""

from __future__ import annotations

import io
import math
import os
import pty
import re
import subprocess
import sys
from pathlib import Path

import nbformat
import pytest
from IPython.core.displaypub import CapturingDisplayPublisher
from IPython.core.interactiveshell import InteractiveShell
from nbclient import NotebookClient
from rich.console import Console

from sslmem_kit.events import Completed, DetailsAdded, Planned, Scored, Trained, Warned
from sslmem_kit.run import progress
from sslmem_kit.run.progress import shown
from sslmem_kit.run.progress.lines import LINE_SECONDS, Lines
from sslmem_kit.run.progress.notebook import WARNINGS, Cell
from sslmem_kit.run.progress.state import RunProgress, duration, epochs_text, loss_text
from sslmem_kit.run.progress.terminal import Bars
from tests.support import ROOT
from tests.support.browser import needs_browser, open_browser
from tests.support.lab import Notebook, running_lab, write_notebook
from tests.support.pages import new_page

COLLAPSED = "the representations have collapsed (standard deviation 0.001)"


class Clock:
    """Time that a test sets."""

    def __init__(self) -> None:
        self.now = 100.0

    def __call__(self) -> float:
        return self.now


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def state(clock: Clock) -> RunProgress:
    return RunProgress(clock=clock)


def train_all(
    state: RunProgress, clock: Clock, *, encoders: int, workers: int, epochs: int, pace: float
) -> list[tuple[float, float]]:
    """Events of encoders that need ``pace`` seconds an epoch, told every quarter of one; (true, told) time to the end on the way."""
    names, began = [f"e{i}" for i in range(encoders)], clock.now
    end, told = began + math.ceil(encoders / workers) * epochs * pace, []
    state.update(Planned(names, epochs, 2))
    for start in range(0, encoders, workers):
        for quarter in range(1, 4 * epochs + 1):
            clock.now += pace / 4
            for name in names[start : start + workers]:
                state.update(Trained(name, quarter / 4, 5.0, 100.0))
            told.append((end - clock.now, (state.ends or math.nan) - clock.now))
        for name in names[start : start + workers]:
            state.update(Completed(name))
    return told


@pytest.mark.parametrize(("encoders", "workers"), [(1, 1), (5, 2), (6, 3), (3, 8)])
def test_time_left_is_right_where_every_epoch_takes_the_same(state: RunProgress, clock: Clock, encoders: int, workers: int) -> None:
    told = train_all(state, clock, encoders=encoders, workers=workers, epochs=8, pace=10.0)
    known = [(true, estimate) for true, estimate in told if not math.isnan(estimate)]
    assert len(known) == len(told) - 1, "from the second news on"
    assert all(estimate == pytest.approx(true, abs=1e-6) for true, estimate in known)


def test_time_left_counts_only_what_was_trained_since_the_resume(state: RunProgress, clock: Clock) -> None:
    state.update(Planned(("f0",), 100, 2))
    state.update(Trained("f0", 80.5, 5.0, 100.0))
    assert state.encoders["f0"].ends is None
    clock.now += 5
    state.update(Trained("f0", 81.0, 5.0, 100.0))
    assert state.left(state.encoders["f0"].ends) == "3:10"
    clock.now += 10
    assert state.left(state.encoders["f0"].ends) == "3:00", "counts down between news"


def test_numbers_as_text() -> None:
    assert [epochs_text(epoch) for epoch in (0, 0.04, 12.34, 2.999, 3.0, 59.99)] == ["0", "0.0", "12.3", "2.9", "3", "59.9"]
    assert [loss_text(loss) for loss in (5.4321, 0.045, 123.456, math.nan)] == ["5.432", "0.04500", "123.5", "nan"]
    assert [duration(s) for s in (0.4, 59.6, 754, 18367, 200_000)] == ["0:00", "1:00", "12:34", "5:06:07", "2 d 7 h"]


# In a terminal


def screen(bars: Bars, width: int, height: int = 24) -> list[str]:
    console = Console(width=width, height=height, file=io.StringIO(), force_terminal=True, color_system=None)
    console.print(bars)
    return console.file.getvalue().rstrip().splitlines()


@pytest.mark.parametrize("width", [40, 60, 80, 160])
def test_bars_hold_epoch_loss_speed_and_time_left_in_every_width(state: RunProgress, clock: Clock, width: int) -> None:
    bars = Bars(Console(file=io.StringIO()), state)
    bars(Planned(("f-0", "g-0"), 60, 12))
    bars(Trained("f-0", 12.0, 5.5, 1234.4))
    clock.now += 8
    bars(Trained("f-0", 12.4, 5.4321, 1234.4))
    lines = screen(bars, width)
    assert all(len(line) <= width for line in lines)
    assert len(lines) == 4
    (row,) = (line for line in lines if line.startswith("f-0"))
    for text in ("12.4/60", "5.432", *(["1,234"] if width >= 50 else []), "15:52", "━"):
        assert text in row
    assert lines[-1].startswith("0 of 2 encoders done, 1 at work")


def test_many_encoders_do_not_fill_the_screen(state: RunProgress) -> None:
    bars = Bars(Console(file=io.StringIO()), state)
    names = [f"f-{i}" for i in range(40)]
    bars(Planned(names, 60, 12))
    assert len(screen(bars, 80)) == 2
    for name in names[:3]:
        bars(Trained(name, 1.5, 5.0, 100.0))
    assert len(screen(bars, 80)) == 6
    assert screen(bars, 80)[-1] == "0 of 40 encoders done, 3 at work, 37 waiting (f-3, f-4, f-5, ...)"
    for name in names[3:]:
        bars(Trained(name, 1.5, 5.0, 100.0))
    assert len(screen(bars, 80, height=10)) <= 9


def test_the_end_in_a_terminal(state: RunProgress) -> None:
    bars = Bars(Console(file=io.StringIO()), state)
    bars(Planned(("f-0",), 60, 2))
    bars(Trained("f-0", 60, 5.0, 100.0))
    bars(Scored("f-0", 0))
    assert "scoring" in screen(bars, 80)[1]
    bars(Completed("f-0"))
    assert "100%" in screen(bars, 80)[0]
    assert screen(bars, 80)[1] == "1 of 1 encoders trained and scored"
    bars(DetailsAdded(2, 7))
    assert screen(bars, 80)[1] == "views and neighbours: 2 of 7"


def in_terminal(code: str, *, term: str = "xterm") -> str:
    """All that a program writes to a terminal."""
    leader, follower = pty.openpty()
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "TERM": term}
    with subprocess.Popen([sys.executable, "-c", code], stdin=follower, stdout=follower, stderr=follower, env=environment):
        os.close(follower)
        written = b""
        try:
            while part := os.read(leader, 65536):
                written += part
        except OSError:  # how Linux tells that the other side was closed
            pass
    os.close(leader)
    return written.decode()


EVENTS = f"""
from sslmem_kit.events import Planned, Trained, Warned
from sslmem_kit.run.progress import shown
with shown() as on_event:
    on_event(Planned(("f-0",), 4, 2))
    on_event(Trained("f-0", 0.5, 5.25, 100.0))
    on_event(Warned("f-0", {COLLAPSED!r}))
    {{}}
"""


def test_a_terminal_is_left_clean_by_ctrl_c_and_keeps_the_warning() -> None:
    told = in_terminal(EVENTS.format("import time; time.sleep(0.5); raise KeyboardInterrupt"))
    assert told.count("\x1b[?25l") == told.count("\x1b[?25h") == 1, "the cursor is hidden and shown again"
    assert "0.5/4" in told
    plain = re.sub(r"\x1b\[[\d;?]*[A-Za-z]", "", told)
    (line,) = (line for line in plain.splitlines() if "WARNING" in line)
    assert line.strip() == f"WARNING: f-0: {COLLAPSED}"[:80].strip()


def test_a_terminal_that_cannot_move_its_cursor_gets_lines() -> None:
    told = in_terminal(EVENTS.format("pass"), term="dumb")
    assert "\x1b" not in told
    assert "1 encoder to train and score" in told
    assert f"WARNING: f-0: {COLLAPSED}" in told


def test_a_process_that_hears_nothing_draws_nothing() -> None:
    """One rank of several on the same terminal."""
    assert in_terminal("from sslmem_kit.run.progress import shown\nwith shown(): pass") == ""


# In a log


@pytest.fixture
def lines(state: RunProgress) -> Lines:
    return Lines(io.StringIO(), state)


def written(lines: Lines) -> list[str]:
    return lines.stream.getvalue().splitlines()


def test_lines_come_at_most_every_fifteen_seconds(lines: Lines, clock: Clock) -> None:
    lines(Planned(("f-0", "g-0", "f-1"), 60, 12))
    for step in range(1, 60 * 8 + 1):
        clock.now += 0.125
        lines(Trained("f-0", step / 16, 5.4321, 1000.0))
        lines(Trained("g-0", step / 16 - 0.01, 5.5, 234.4))
    assert len(written(lines)) == 1 + 60 // LINE_SECONDS
    assert written(lines)[0] == "[   0.0 s] 3 encoders to train and score, 60 epochs each"
    told = "0 of 3 encoders done; f-0 epoch 7.5 of 60, loss 5.432; g-0 epoch 7.4 of 60, loss 5.500; 1,234 images/s; about 3:45 left"
    assert written(lines)[1] == f"[  15.0 s] {told}"


def test_ends_are_told_at_once_in_lines(lines: Lines, clock: Clock) -> None:
    lines(Planned(("f-0", "g-0"), 60, 12))
    lines(Scored("f-0", 0))
    lines(Completed("f-0"))
    assert len(written(lines)) == 1
    lines(Completed("g-0"))
    for done in range(8):
        lines(DetailsAdded(done, 7))
    assert [line[11:] for line in written(lines)[1:]] == [
        "2 of 2 encoders trained and scored",
        "views and neighbours, 0 of 7",
        "views and neighbours, 7 of 7",
    ]


def test_a_line_names_only_some_of_many_encoders(lines: Lines, clock: Clock) -> None:
    lines(Planned(tuple(f"f-{i}" for i in range(20)), 60, 12))
    for i in range(16):
        lines(Trained(f"f-{i}", 0.5, 5.0, 10.0))
    clock.now += 20
    lines(Scored("f-0", 0))
    assert "f-0 scored 1 of 12 blocks; f-1 epoch 0.5 of 60" in written(lines)[-1]
    assert "; 12 more at work; 150 images/s" in written(lines)[-1]


def test_warnings_are_lines_at_once_and_do_not_delay_others(lines: Lines, clock: Clock) -> None:
    lines(Planned(("f-0",), 60, 12))
    clock.now += 14
    lines(Warned("f-0", COLLAPSED))
    assert written(lines)[-1] == f"[  14.0 s] WARNING: f-0: {COLLAPSED}"
    clock.now += 1
    lines(Trained("f-0", 0.5, 5.0, 10.0))
    assert len(written(lines)) == 3


def test_nothing_to_do_is_said(lines: Lines) -> None:
    lines(Planned((), 60, 0))
    assert written(lines) == ["[   0.0 s] every encoder is complete"]


def test_a_pipe_gets_lines(capsys: pytest.CaptureFixture[str]) -> None:
    with shown() as on_event:
        on_event(Planned(("f-0",), 60, 12))
        on_event(Warned("f-0", COLLAPSED))
    told = capsys.readouterr()
    assert not told.out
    assert [line[11:] for line in told.err.splitlines()] == [
        "1 encoder to train and score, 60 epochs each",
        f"WARNING: f-0: {COLLAPSED}",
    ]


# In a notebook


class Kernel:
    """A kernel whose cell was asked for by a front end."""

    def __init__(self, **content: bool) -> None:
        self.content = content

    def get_parent(self, channel: str) -> dict:
        return {"content": self.content} if channel == "shell" else {}


@pytest.fixture
def displayed(monkeypatch: pytest.MonkeyPatch) -> list[dict]:
    """What is displayed: the bundle, and whether it takes the place of an earlier one."""
    shell = InteractiveShell.instance()
    monkeypatch.setattr(shell, "display_pub", CapturingDisplayPublisher(shell=shell))
    yield shell.display_pub.outputs
    InteractiveShell.clear_instance()


def test_one_output_is_replaced_in_place(displayed: list[dict], state: RunProgress, clock: Clock) -> None:
    with Cell(state) as on_event:
        on_event(Planned(("f-0", "g-0"), 60, 12))
        on_event(Trained("f-0", 12.0, 5.5, 1234.4))
        clock.now += 8
        on_event(Trained("f-0", 12.4, 5.4321, 1234.4))
        on_event(Warned("f-0", "a < b"))
        assert "WARNING: f-0: a &lt; b" in displayed[-1]["data"]["text/html"]
        assert "WARNING: f-0: a < b" in displayed[-1]["data"]["text/plain"]
        html = displayed[-1]["data"]["text/html"]
        for text in ("12.4/60", "5.432", "1,234", "15:52", 'value="0.2067"'):
            assert text in html
    assert [output["update"] for output in displayed] == [False] + [True] * (len(displayed) - 1)
    assert len({output["transient"]["display_id"] for output in displayed}) == 1
    assert "finished after 0:08" in displayed[-1]["data"]["text/html"]
    assert "WARNING" in displayed[-1]["data"]["text/html"]


def test_an_output_is_not_replaced_too_often(displayed: list[dict], state: RunProgress, clock: Clock) -> None:
    with Cell(state) as on_event:
        on_event(Planned(("f-0",), 60, 12))
        for step in range(1, 1001):
            clock.now += 0.001
            on_event(Trained("f-0", step / 100, 5.0, 100.0))
    assert 5 <= len(displayed) <= 8


def test_an_interrupted_cell_says_so(displayed: list[dict], state: RunProgress) -> None:
    with pytest.raises(KeyboardInterrupt), Cell(state):
        raise KeyboardInterrupt
    assert "interrupted after" in displayed[-1]["data"]["text/plain"]


def test_only_the_latest_of_many_warnings_are_shown(displayed: list[dict], state: RunProgress) -> None:
    with Cell(state) as on_event:
        for number in range(WARNINGS + 3):
            on_event(Warned("f-0", f"number {number}."))
    html = displayed[-1]["data"]["text/html"]
    assert html.count("WARNING") == WARNINGS
    assert f"number {WARNINGS + 2}." in html
    assert "and 3 earlier warnings" in html


@pytest.mark.parametrize(
    ("kernel", "kind"),
    [(Kernel(allow_stdin=True), Cell), (Kernel(allow_stdin=False), Lines), (Kernel(), Lines), (None, Lines)],
)
def test_a_cell_is_chosen_where_somebody_watches(
    kernel: Kernel | None, kind: type, displayed: list[dict], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(InteractiveShell.instance(), "kernel", kernel, raising=False)
    monkeypatch.setattr("IPython.get_ipython", InteractiveShell.instance)
    with shown() as on_event:
        assert isinstance(on_event, kind)
    assert bool(displayed) == (kind is Cell)


FROM_THREAD = f"""
import threading, time, pathlib
from sslmem_kit.events import Planned, Trained, Warned
from sslmem_kit.run.progress import shown

def hear(on_event):
    on_event(Planned(("f-0",), 4, 2))
    on_event(Trained("f-0", 0.25, 5.25, 100.0))
    time.sleep(0.3)
    on_event(Trained("f-0", 0.5, 5.25, 100.0))
    on_event(Warned("f-0", {COLLAPSED!r}))
    {{}}

with shown() as on_event:
    pump = threading.Thread(target=hear, args=(on_event,))
    pump.start()
    pump.join()
"""
"""As events come: from a thread of the kernel."""


def test_a_notebook_that_runs_in_batch_gets_lines(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    """By nbclient, as papermill and nbconvert do it; with a front end that can be asked, the same cell shows a table."""
    monkeypatch.setenv("PYTHONPATH", str(ROOT))
    monkeypatch.setenv("IPYTHONDIR", str(tmp_path))
    monkeypatch.setenv("PYDEVD_DISABLE_FILE_VALIDATION", "1")
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(FROM_THREAD.format("")) for _ in range(2)])
    client = NotebookClient(notebook, kernel_name="python3", timeout=60)
    with client.setup_kernel():
        lines = client.execute_cell(notebook.cells[0], 0).outputs
        client.kc.allow_stdin = True
        (table,) = client.execute_cell(notebook.cells[1], 1).outputs
    assert {(output["output_type"], output["name"]) for output in lines} == {("stream", "stdout")}
    assert [line[11:] for output in lines for line in output["text"].splitlines()] == [
        "1 encoder to train and score, 4 epochs each",
        f"WARNING: f-0: {COLLAPSED}",
    ]
    assert table["output_type"] == "display_data"
    assert "0.5/4" in table["data"]["text/html"]
    assert "finished after" in table["data"]["text/html"]


@pytest.mark.browser
@needs_browser
def test_in_jupyterlab_the_table_moves_and_stays(tmp_path: Path) -> None:
    go_on = f"""while not pathlib.Path({str(tmp_path / "go")!r}).exists():
        time.sleep(0.1)
    on_event(Trained("f-0", 3.5, 5.25, 100.0))"""
    with running_lab(tmp_path) as url, open_browser() as browser, new_page(browser) as page:
        path = write_notebook(tmp_path / "notebooks" / "run.ipynb", FROM_THREAD.format(go_on), "1 + 1")
        notebook = Notebook(page, url, path)
        notebook.run_all()
        output = notebook.cell(0).locator(".jp-OutputArea")
        output.get_by_text("0.5/4").wait_for()
        assert output.locator("progress").count() == 2
        (tmp_path / "go").touch()
        output.get_by_text("finished after").wait_for()
        assert output.get_by_text("3.5/4").is_visible()
        assert output.get_by_text("0.5/4").count() == 0
        assert output.get_by_text(COLLAPSED).is_visible()
        notebook.wait_for_kernel()
        (saved,) = notebook.save()["cells"][0]["outputs"]
        assert saved["output_type"] == "display_data"
        assert "3.5/4" in "".join(saved["data"]["text/html"])


def test_outside_a_kernel_nobody_watches_a_cell() -> None:
    assert not progress._is_interactive_cell()
