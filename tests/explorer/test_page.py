"""The page as a class: menus and session follow each other, and every state says what to do."""

from __future__ import annotations

import html
from pathlib import Path

import pytest
import zarr

from sslmem_kit.errors import UserError
from sslmem_kit.explorer.filters import LISTED, Filters
from sslmem_kit.explorer.link_state import State
from sslmem_kit.explorer.page import Explorer, explore
from sslmem_kit.explorer.session import Session
from sslmem_kit.explorer.study_cache import Library
from sslmem_kit.report import build_report
from sslmem_kit.statistics.overview import as_sentence
from sslmem_kit.study import open_study
from tests.support.fake_study import CLASSES, make_study


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("studies")
    make_study(root / "small")
    make_study(root / "other", samples=120, seeds=2)
    make_study(root / "incomplete", seeds=1, complete=False)
    return root


@pytest.fixture
def explorer(folder: Path) -> Explorer:
    return Explorer(Library([folder / "small", folder / "other"]))


def status(explorer: Explorer) -> str:
    return explorer._status.object


def test_menus_and_session_follow_each_other(explorer: Explorer) -> None:
    session, filters = explorer.session, explorer.filters
    filters.classes.value = ["two"]
    filters.partition.value = ["shared", "extra"]
    assert (session.classes, session.partition) == (["two"], ["shared", "extra"])
    assert f"{len(session.shown):,} of {len(session.opened.ids):,} samples shown" in status(explorer)
    session.param.update(classes=[], protocol="paper", y="z", seed=[1])
    assert filters.classes.value == []
    assert (filters.protocol.value, filters.axes["y"].value, filters.encoders["seed"].value) == ("paper", "z", [1])
    filters.study.value = "other"
    assert session.opened.key == "other"
    assert filters.encoders["seed"].options == [0, 1]
    assert status(explorer).startswith('<p class="status" role="status">other: ')


def test_a_menu_is_there_where_there_is_a_choice(explorer: Explorer, folder: Path) -> None:
    shown = {name: column.visible for name, column in explorer.filters._headed.items()}
    assert shown == {"method": False, "backbone": False, "seed": True}
    assert explorer.filters.study.visible
    assert not Explorer(Library([folder / "small"])).filters.study.visible


def test_many_classes_are_found_by_name(folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    session = Session(Library([folder / "small"]))
    names = tuple(f"class {number:03d}" for number in range(LISTED * 3))
    session.opened.__dict__["class_names"] = names  # cached_property
    filters = Filters(session)
    assert filters.find.visible
    assert filters.classes.options == list(names[:LISTED])
    session.classes = [names[170]]
    filters.find.value_input = "CLASS 10"
    assert filters.classes.options == [names[170], *names[100:110]]
    assert filters.classes.value == [names[170]]


def test_a_tab_is_part_of_the_state(explorer: Explorer) -> None:
    explorer.tabs.active = 1
    assert explorer.session.tab == "compare"
    explorer.session.restore(State(tab="take away"))
    assert explorer.tabs.active == 2
    explorer.session.restore(State(tab="no such tab"))
    assert explorer.tabs.active == 2


def test_notes_are_text(folder: Path) -> None:
    explorer = Explorer(Library([folder / "small"]), State(study="<b>gone</b>"))
    assert explorer._note.visible
    assert "&lt;b&gt;gone&lt;/b&gt;" in explorer._note.object
    assert "<b>" not in explorer._note.object


def test_an_incomplete_study_says_what_to_do(folder: Path) -> None:
    explorer = Explorer(Library([folder / "incomplete"]))
    assert "sslmem run" in explorer._note.object
    assert "nothing to show yet" in status(explorer)
    explorer.session.param.update(partition=[], threshold=0.1, tab="compare")


def test_explore_takes_studies_paths_and_links(folder: Path) -> None:
    link = "http://127.0.0.1:5006/?study=other&classes=%5B%22one%22%5D&v=1"
    explorer = explore(folder / "small", folder / "other", link=link)
    assert (explorer.session.study, explorer.session.classes) == ("other", ["one"])
    assert explore(str(folder / "small"), link="protocol=paper").session.protocol == "paper"
    assert "default view" in explore(folder / "small", link="?threshold=much").session.note
    with pytest.raises(UserError, match="STUDY"):
        explore(folder / "nowhere")


def test_the_whole_page_holds_up_under_every_choice(explorer: Explorer) -> None:
    session = explorer.session
    for change in (
        {"partition": []},
        {"classes": list(CLASSES)},
        {"x": "z", "y": "quantile", "colour": "standard_error"},
        {"threshold": 0.5, "threshold_by": "quantile"},
        {"sample": int(session.opened.ids[5])},
        {"seed": [0]},
        {"protocol": "released"},
        {"sort": "z", "ascending": True},
        {"tab": "compare"},
        {"tab": "take away"},
        {"study": "other"},
        {"partition": ["extra"], "classes": ["zero"]},
    ):
        session.param.update(**change)
        assert "samples shown" in status(explorer)


def test_the_picture_of_a_saved_notebook_says_what_limits_the_study(explorer: Explorer, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(vars(explorer.session.opened), "caveats", ["f0: nothing was learnt"])
    monkeypatch.setattr("sslmem_kit.explorer.page.display.bundle", lambda view, picture, told: told)
    told = explorer._repr_mimebundle_()
    assert "samples shown" in told
    assert told.endswith(f"{explorer.session.scores.attrs['verdict']['sentence'][1:]}. Warning: f0: nothing was learnt.")


def test_the_verdict_and_the_effects_are_those_of_the_report(folder: Path) -> None:
    study = open_study(folder / "small")
    explorer = Explorer(Library([study.path]))
    for protocol in ("corrected", "paper"):
        explorer.session.protocol = protocol
        report = build_report(study, protocol=protocol)
        assert explorer.session.scores.attrs["effect"] == report["effect"]
        assert explorer.session.scores.attrs["verdict"] == report["verdict"]
        shown = explorer._verdict.object
        for text in (as_sentence(report["verdict"]["sentence"]), *report["verdict"]["can"], *report["verdict"]["cannot"]):
            assert html.escape(text) in shown
        for name, one in report["effect"].items():
            row = shown.partition(f"{name} ")[2].partition("</tr>")[0]
            assert f"<td>{one['value']:+.4f}</td>" in row
            assert "<td>3 trainings</td>" in row
            assert f"<td>{one['n']}</td>" in row


def test_the_verdict_is_on_the_chosen_encoders_and_goes_where_there_are_none(explorer: Explorer, folder: Path) -> None:
    explorer.session.seed = [1]
    assert "of one training, others are not known" in explorer._verdict.object
    assert "<td>samples</td>" in explorer._verdict.object
    explorer.session.param.update(classes=["two"], partition=["shared"])
    assert "(C-I)/2" in explorer._verdict.object  # filters of samples change nothing of it
    begun = Explorer(Library([folder / "incomplete"]))
    assert not begun._verdict.visible


def test_encoders_that_have_collapsed_get_no_verdict(tmp_path: Path) -> None:
    study = make_study(tmp_path / "flat", samples=120)
    zarr.open_group(study.results_path, mode="r+")["trajectory/feature_std"][:] = 0.0
    assert "No verdict: f-0: the representations have collapsed" in Explorer(Library([study.path]))._verdict.object
