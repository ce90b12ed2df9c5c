"""Files that are taken along hold what the page says they hold, are safe to open, and cost nothing before they are asked for."""

from __future__ import annotations

import asyncio
import io
import os
import re
import subprocess
import sys
import threading
import xml.etree.ElementTree as ElementTree

import numpy as np
import pandas as pd
import pytest

from sslmem_kit.errors import UserError
from sslmem_kit.explorer.downloads import downloads as takeaway
from sslmem_kit.explorer.downloads import files
from sslmem_kit.explorer.downloads.downloads import Downloads
from sslmem_kit.explorer.gallery.chosen import caption
from sslmem_kit.explorer.link_state import State, from_query
from sslmem_kit.explorer.session import Session
from sslmem_kit.explorer.study_cache import Library
from sslmem_kit.names import SSLMEM
from sslmem_kit.report.export import score_table
from tests.support import ROOT
from tests.support.fake_study import make_study


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("takeaway")
    whole = make_study(folder / "whole").path.rename(folder / "whole $study")
    return Library([whole, make_study(folder / "cut", complete=False).path])


@pytest.fixture
def session(library):
    return Session(library)


@pytest.fixture
def take_away(session):
    return Downloads(session)


def file(take_away: Downloads, key: str) -> bytes:
    return b"".join(take_away.contents(key))


def table(take_away: Downloads) -> pd.DataFrame:
    return pd.read_csv(io.BytesIO(file(take_away, "csv")))


def test_without_a_selection_the_shown_samples_above_the_threshold_are_taken(take_away, session):
    session.classes = ["one"]
    expected = [i for i in session.shown if session.scores[SSLMEM].values[i] > session.limit]
    assert 0 < len(expected) < len(session.shown)
    assert table(take_away)["sample"].tolist() == session.opened.ids[expected].tolist()
    assert f"The {len(expected)} shown samples above the threshold" in take_away.view.text


def test_the_selection_is_taken_whatever_the_threshold(take_away, session):
    session.select(np.array([3, 1, 70]))
    session.threshold = 5.0
    assert table(take_away)["sample"].tolist() == session.opened.ids[[1, 3, 70]].tolist()
    assert take_away.view.text.startswith("The 3 selected samples. Mean difference of the candidate sample among them: ")


@pytest.mark.parametrize("rows", [files.ROWS, 7])
def test_tables_are_those_of_the_command_line(take_away, session, rows, monkeypatch):
    monkeypatch.setattr(files, "ROWS", rows)
    session.select(np.arange(len(session.opened.ids)))
    expected = score_table(session.opened.study, protocol="corrected")
    found = pd.read_parquet(io.BytesIO(file(take_away, "parquet")))
    for frame in (found, table(take_away)):
        assert list(frame.columns) == list(expected.columns)
        for name in expected:
            if expected[name].dtype.kind == "f":
                np.testing.assert_allclose(frame[name], expected[name], rtol=1e-5, atol=1e-6)
            else:
                assert frame[name].tolist() == expected[name].tolist()


def test_the_split_is_read_without_pickle_and_names_study_and_data(take_away, session, monkeypatch):
    monkeypatch.setattr(type(session.opened), "fingerprint", "ab12")
    session.select(np.array([2, 5]))
    with np.load(io.BytesIO(file(take_away, "npz")), allow_pickle=False) as arrays:
        assert arrays["sample"].dtype == np.int64
        assert arrays["sample"].tolist() == session.opened.ids[[2, 5]].tolist()
        assert arrays["score"].dtype == np.float32
        np.testing.assert_array_equal(arrays["score"], session.scores[SSLMEM].values[[2, 5]])
        assert (arrays["data_fingerprint"].ndim, arrays["data_fingerprint"].item()) == (0, "ab12")
        assert arrays["study"].item() == "whole $study"


def test_class_names_are_no_formulas_in_a_csv_and_themselves_in_parquet(take_away, session, monkeypatch):
    names = ('=HYPERLINK("http://x","y")', "-1+1", "plain, <b>")
    monkeypatch.setitem(vars(session.opened), "class_names", names)
    session.select(np.arange(9))
    labels = session.opened.labels[:9]
    assert table(take_away)["class"].tolist() == [["'" + names[0], "'" + names[1], names[2]][label] for label in labels]
    found = pd.read_parquet(io.BytesIO(file(take_away, "parquet")))
    assert found["class"].tolist() == [names[label] for label in labels]


def test_what_limits_the_study_goes_along_with_parquet(take_away, session, monkeypatch):
    monkeypatch.setitem(vars(session.opened), "caveats", ["f0: nothing was learnt"])
    session.select(np.arange(9))
    assert pd.read_parquet(io.BytesIO(file(take_away, "parquet"))).attrs["warnings"] == ["f0: nothing was learnt"]


@pytest.mark.parametrize("figure", takeaway.FIGURES)
def test_figures_are_pictures_and_drawings(take_away, session, figure):
    session.param.update(partition=[], colour="z")
    session.select(session.shown[:5])
    assert file(take_away, f"{figure}.png").startswith(b"\x89PNG")
    drawing = file(take_away, f"{figure}.svg")
    assert ElementTree.fromstring(drawing).tag.endswith("svg")
    assert drawing == file(take_away, f"{figure}.svg")


def test_figures_leave_no_state_behind_and_may_be_drawn_at_once(take_away, session):
    import matplotlib.pyplot as plt

    before = plt.get_fignums()
    sizes = {}
    keys = ["scatter.png", "shares.png", "distributions.png"]
    threads = [threading.Thread(target=lambda key=key: sizes.update({key: file(take_away, key)})) for key in keys]
    for thread in threads:
        thread.start()
    for thread in threads:
        thread.join()
    assert sizes == {key: file(take_away, key) for key in keys}
    assert plt.get_fignums() == before


def test_a_quantity_that_is_not_defined_still_makes_a_scatter(take_away, session):
    session.param.update(seed=[0], colour="standard_error")
    assert not np.isfinite(session.column("standard_error")).any()
    assert file(take_away, "scatter.png").startswith(b"\x89PNG")


def test_nothing_to_take_is_said_and_refused(take_away, session):
    session.threshold = 1e6
    assert "no shown sample is above" in take_away.view.text
    assert [item["ready"] for item in take_away.view.items] == [False] * 3 + [True] * 6
    with pytest.raises(UserError, match="nothing is selected"):
        take_away.contents("csv")
    session.shown = session.shown[:0]
    assert not take_away.view.items[3]["ready"]
    with pytest.raises(UserError, match="nothing is shown"):
        take_away.contents("scatter.svg")
    session.study = "cut"
    assert not any(item["ready"] for item in take_away.view.items)
    for item in take_away.view.items:
        with pytest.raises(UserError):
            take_away.contents(item["key"])
    with pytest.raises(UserError):
        take_away.contents("../../etc/passwd.svg")


def test_file_names_are_tame(take_away, session):
    for item in take_away.view.items:
        assert re.fullmatch(r"whole-study-[a-z]+\.(csv|parquet|npz|svg|png)", item["name"])


class Message:
    def __init__(self, **data):
        self.data = data


def transfer(take_away: Downloads, key: str, monkeypatch) -> tuple[bytes, list[dict]]:
    """What the browser gets, asking for one piece after the other."""
    sent: list[dict] = []
    monkeypatch.setattr(take_away.view, "_send_msg", sent.append)

    async def talk() -> bytes:
        await take_away._answer(Message(get=key, id="a"))
        while "piece" in sent[-1]:
            await take_away._answer(Message(more=True, id="a"))
        return b"".join(message.get("piece", b"") for message in sent)

    return asyncio.run(talk()), sent


def test_a_file_goes_in_pieces_one_at_a_time(take_away, session, monkeypatch):
    session.select(np.arange(100))
    monkeypatch.setattr(files, "PIECE", 1000)
    content, sent = transfer(take_away, "csv", monkeypatch)
    assert content == file(take_away, "csv")
    assert len(sent) == -(-len(content) // 1000) + 1
    assert take_away._running is None


def test_what_goes_wrong_is_told_and_ends_the_transfer(take_away, session, monkeypatch):
    assert transfer(take_away, "nonsense", monkeypatch)[1] == [
        {"id": "a", "error": "There is no file: key: there is no file 'nonsense'."}
    ]
    monkeypatch.setattr(takeaway, "csv_file", lambda *_: iter([1 / 0 for _ in "a"]))
    with pytest.raises(ZeroDivisionError):
        transfer(take_away, "csv", monkeypatch)
    assert take_away._running is None
    monkeypatch.setattr(take_away.view, "_send_msg", lambda _: pytest.fail("nobody asked"))
    asyncio.run(take_away._answer(Message(more=True, id="older")))


def test_nothing_is_computed_before_it_is_asked_for(session, monkeypatch):
    for name in ("csv_file", "parquet_file", "npz_file", "figure_file"):
        monkeypatch.setattr(takeaway, name, lambda *_: pytest.fail("computed too early"))
    made = Downloads(session)
    session.select(np.arange(3))
    session.threshold = 0.1
    assert made.view.items


def test_the_link_restores_the_view(take_away, session, library):
    take_away.base = "https://host/app?"
    session.param.update(classes=["two"], threshold=0.02, x="z")
    session.select(np.array([4, 9]))
    base, _, query = take_away.view.link.partition("?")
    assert base == "https://host/app"
    state, note = from_query(query)
    assert note == ""
    other = Session(library, state)
    assert other.state() == session.state()
    assert other.selected.tolist() == [4, 9]


def test_matplotlib_and_holoviews_wait_for_the_first_figure(library):
    code = f"""
import sys
from sslmem_kit.explorer.study_cache import Library
from sslmem_kit.explorer.session import Session
from sslmem_kit.explorer.downloads.downloads import Downloads
from sslmem_kit.explorer.threshold.threshold import Threshold
session = Session(Library([{str(library.open(library.keys[0]).study.path)!r}]))
Threshold(session)
made = Downloads(session)
b"".join(made.contents("csv"))
assert not {{"matplotlib", "holoviews", "torch"}} & set(sys.modules), sys.modules.keys() & {{"matplotlib", "holoviews", "torch"}}
b"".join(made.contents("shares.png"))
import matplotlib
assert matplotlib.get_backend().lower() == "agg"
"""
    subprocess.run([sys.executable, "-c", code], check=True, env={**os.environ, "PYTHONPATH": str(ROOT)})


def test_a_default_state_gives_a_link(library):
    assert from_query(Downloads(Session(library, State()), base="x?").view.link[1:])[1] == ""


def test_files_carry_the_verdict_and_what_the_samples_are_worth(take_away, session):
    session.select(np.array([3, 1, 70]))
    frame = pd.read_parquet(io.BytesIO(b"".join(take_away.contents("parquet"))))
    assert frame.attrs["verdict"] == session.scores.attrs["verdict"]
    assert frame.attrs["effect"]["C-S"]["value"] == session.scores.attrs["effect"]["C-S"]["value"]
    with np.load(io.BytesIO(b"".join(take_away.contents("npz")))) as archive:
        assert str(archive["verdict"]) == session.scores.attrs["verdict"]["sentence"]
        assert str(archive["worth"]) == caption(session, session.listed()) != ""
