"""The session: from choices to what is shown, against plain loops; links that outlive their study's state."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from matplotlib.path import Path as Polygon

from sslmem_kit import store
from sslmem_kit.errors import UserError
from sslmem_kit.explorer.link_state import State, from_query, to_query
from sslmem_kit.explorer.session import Session, inside
from sslmem_kit.explorer.study_cache import Cache, Library
from sslmem_kit.names import PARTITIONS
from sslmem_kit.scores import mean_over_pairs
from tests.support.fake_study import CLASSES, make_study


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    root = tmp_path_factory.mktemp("studies")
    make_study(root / "small")
    make_study(root / "larger", samples=400)
    make_study(root / "incomplete", seeds=1, complete=False)
    return root


@pytest.fixture
def session(folder: Path) -> Session:
    return Session(Library([folder / "small", folder / "larger"]))


def test_filters_follow_the_oracle(session: Session) -> None:
    session.param.update(partition=["extra", "candidate"], classes=["two"])
    opened = session.opened
    expected = [
        i
        for i in range(len(opened.ids))
        if PARTITIONS[opened.partitions[i]] in ("extra", "candidate") and CLASSES[opened.labels[i]] == "two"
    ]
    assert session.shown.tolist() == expected
    session.param.update(partition=[], classes=[])
    assert len(session.shown) == len(opened.ids)


def test_encoders_follow_their_filters(session: Session) -> None:
    before = session.scores
    session.seed = [1]
    assert session.encoders == ("f-1", "g-1")
    direct = session.opened.tree.to_dataset().sel(encoder=["f-1", "g-1"])
    mean = mean_over_pairs(direct["alignment"]).transpose("sample", "encoder").values
    assert session.scores["sslmem"].values == pytest.approx(mean[:, 1] - mean[:, 0], abs=1e-6)
    session.seed = []
    assert session.scores is before  # kept in the library
    session.method = ["unheard of"]
    assert session.scores is None
    assert "Choose other methods" in session.problem


@pytest.mark.parametrize(("kind", "value"), [("value", 0.07), ("quantile", 0.5), (None, None)])
def test_the_threshold_is_a_score(session: Session, kind: str | None, value: float | None) -> None:
    if kind:
        session.param.update(threshold_by=kind, threshold=value)
    candidates = session.scores["sslmem"].values[session.opened.partitions == PARTITIONS.index("candidate")]
    expected = value if kind == "value" else np.quantile(candidates, value or 0.9)
    assert session.limit == pytest.approx(expected, rel=1e-6)


def test_another_study_keeps_what_fits(session: Session) -> None:
    session.select(np.array([1, 2]))
    session.param.update(classes=["one"], seed=[0], sample=3)
    session.study = "larger"
    assert (session.classes, session.seed) == (["one"], [0])
    assert len(session.selected) == 0  # neither study says that the data are the same
    assert session.sample is None
    assert len(session.shown)


def test_the_state_goes_round_by_a_link(session: Session) -> None:
    session.param.update(study="larger", protocol="paper", classes=["two"], partition=["shared"], seed=[0, 2], threshold=0.02)
    session.param.update(x="z", y="trajectory/alignment:g-f@epoch=2", sort="z", ascending=True, sample=int(session.opened.ids[7]))
    session.select(np.array([5, 9, 30]))
    state, note = from_query(to_query(session.state()))
    again = Session(session.library, state, note=note)
    assert again.note == ""
    assert again.state() == session.state()
    for name in ("shown", "selected"):
        assert getattr(again, name).tolist() == getattr(session, name).tolist()
    assert again.limit == session.limit


def test_a_large_selection_goes_round_by_its_outline(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sslmem_kit.explorer.link_state.LONGEST_IDS", 10)
    session.partition = []
    x, y = np.median(session.column("alignment_f")), np.median(session.column("alignment_g"))
    session.select_inside(((0, 0), (x, 0), (x, y), (0, y)))
    assert 10 < len(session.selected) < len(session.shown)
    state = session.state()
    assert (state.ids, len(state.outline)) == ("", 4)
    assert Session(session.library, state).selected.tolist() == session.selected.tolist()


def test_a_link_survives_a_study_that_grew(tmp_path: Path) -> None:
    make_study(tmp_path / "a" / "study", samples=240, seeds=2)
    before = Session(Library([tmp_path / "a" / "study"]))
    chosen = before.opened.ids[[3, 70, 150]]
    before.select(before.opened.positions(chosen))
    before.param.update(seed=[1], sample=int(chosen[0]))
    link = to_query(before.state())
    make_study(tmp_path / "b" / "study", samples=400, seeds=3)
    after = Session(Library([tmp_path / "b" / "study"]), from_query(link)[0])
    there = set(chosen) & set(after.opened.ids)
    assert set(after.opened.ids[after.selected]) == there
    assert (after.encoders, after.sample) == (("f-1", "g-1"), int(chosen[0]))


def test_a_link_to_what_is_not_there_says_so(folder: Path) -> None:
    library = Library([folder / "small"])
    state = State(classes=("one", "gone"), seed=(17,), x="layers/alignment:f@layer=3", sample=10**9, protocol="magic")
    session = Session(library, state)
    assert session.classes == ["one"]
    assert (session.seed, session.x, session.sample, session.protocol) == ([], "alignment_f", None, "corrected")
    assert session.scores is not None
    assert "classes" in session.note
    assert "magic" in session.note
    assert "no study 'other'" in Session(library, State(study="other")).note
    assert "could not be read" in Session(library, State(ids="!!")).note


def test_restoring_tells_every_part(session: Session) -> None:
    heard = []
    session.param.watch(lambda *events: heard.extend(event.name for event in events), ["x", "shown", "selected", "scores"])
    session.restore(State(x="z", classes=("two",)))
    assert set(heard) == {"x", "shown", "selected", "scores"}
    assert (session.x, session.classes) == ("z", ["two"])


def test_an_incomplete_study_says_what_to_do(folder: Path) -> None:
    session = Session(Library([folder / "incomplete"]))
    assert session.scores is None
    assert "sslmem run" in session.problem
    assert len(session.shown) == len(session.selected) == 0
    session.param.update(classes=["one"], threshold=0.3)
    assert session.state().classes == ("one",)


def test_one_seed_has_no_interval_and_no_error(tmp_path: Path) -> None:
    session = Session(Library([make_study(tmp_path / "one", seeds=1).path]))
    assert np.isnan(session.column("standard_error")).all()
    assert np.isfinite(session.limit)


def test_lost_scores_are_told_and_other_seeds_are_shown(tmp_path: Path) -> None:
    study = make_study(tmp_path / "lost")
    (study.results_path / "alignment" / "c" / "1" / "0" / "2").unlink()
    session = Session(Library([study.path]))
    assert "alignment is missing of f-1 (1 of 4 sample blocks)" in session.opened.problem
    assert list(session.encoders) == ["f-0", "g-0", "g-1", "f-2", "g-2"]
    session.seed = [0, 2]
    assert session.problem == ""
    assert np.isfinite(session.scores["sslmem"].values).all()


def test_a_study_that_was_written_to_is_opened_anew(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study")
    library = Library([study.path])
    before = library.open("study")
    assert library.open("study") is before
    store.set_attributes(study.results_path, {"seconds": 1.0})
    store.finish(study.results_path)
    after = library.open("study")
    assert after is not before
    assert after.stamp != before.stamp


def test_studies_of_one_name_are_told_apart(tmp_path: Path) -> None:
    paths = [make_study(tmp_path / part / "same").path for part in "ab"]
    assert Library([*paths, paths[0]]).keys == ("same", "same (2)")
    with pytest.raises(UserError, match="STUDY"):
        Library([tmp_path / "nowhere"])


def test_the_cache_holds_what_fits() -> None:
    cache = Cache(budget=100)
    made = []

    def make(key: str) -> np.ndarray:
        made.append(key)
        return np.zeros(40, np.uint8)

    for key in "abacab":
        cache.get(key, lambda key=key: make(key))
    assert made == ["a", "b", "c", "b"]  # b was used least recently when c came
    assert cache.held <= 100


@given(
    st.lists(st.tuples(st.integers(0, 20), st.integers(0, 20)), min_size=3, max_size=12),
    st.lists(st.tuples(st.floats(0, 20), st.floats(0, 20)), min_size=1, max_size=30),
)
def test_inside_a_polygon(outline: list[tuple[int, int]], points: list[tuple[float, float]]) -> None:
    # Off the lattice of the corners, so that no point lies on an edge, where either answer is right.
    at = np.array(points) + np.array([0.0137, 0.0071])
    by_parity = np.zeros(len(at), bool)
    edges = list(zip(outline, outline[1:] + outline[:1], strict=True))
    for i, (px, py) in enumerate(at):
        for (x1, y1), (x2, y2) in edges:
            if (y1 > py) != (y2 > py) and px < (x2 - x1) * (py - y1) / (y2 - y1) + x1:
                by_parity[i] = not by_parity[i]
    assert inside(at[:, 0], at[:, 1], tuple(outline)).tolist() == by_parity.tolist()


def test_inside_a_convex_polygon_agrees_with_matplotlib() -> None:
    rng = np.random.default_rng(0)
    angles = np.sort(rng.uniform(0, 2 * np.pi, 9))
    corners = np.stack([np.cos(angles), np.sin(angles)], axis=1)
    points = rng.uniform(-1, 1, (2000, 2))
    found = inside(points[:, 0], points[:, 1], tuple(map(tuple, corners)))
    assert found.tolist() == Polygon(corners).contains_points(points).tolist()
