"""What chosen samples are worth: the gallery's captions give the mean under encoders that did not choose them."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import zarr

from sslmem_kit.explorer.downloads.downloads import Downloads
from sslmem_kit.explorer.gallery import chosen
from sslmem_kit.explorer.gallery.chosen import caption
from sslmem_kit.explorer.gallery.gallery import Gallery
from sslmem_kit.explorer.link_state import State, from_query, to_query
from sslmem_kit.explorer.session import Session
from sslmem_kit.explorer.study_cache import Library
from sslmem_kit.names import PARTITION_CODE
from sslmem_kit.statistics import cross_fitted, rank_scores
from sslmem_kit.statistics.extremes import in_words
from sslmem_kit.statistics.order import order_caveat
from sslmem_kit.statistics.variance_components import CrossedScores
from tests.support.fake_study import give_to_design, make_study


@pytest.fixture(scope="module")
def library(tmp_path_factory: pytest.TempPathFactory) -> Library:
    folder = tmp_path_factory.mktemp("chosen")
    make_study(folder / "pairs", effect=0.02)
    make_study(folder / "one", seeds=1)
    give_to_design(make_study(folder / "subsets", seeds=4, effect=0.02), "subset", seeds=[2, 3])
    return Library([folder / "pairs", folder / "one", folder / "subsets"])


@pytest.fixture
def session(library: Library) -> Session:
    return Session(library, State(study="pairs"))


def of_partition(session: Session, name: str) -> np.ndarray:
    return np.flatnonzero(session.opened.partitions == PARTITION_CODE[name])


def highest(session: Session, count: int, sign: int = 1, name: str = "candidate") -> np.ndarray:
    members = of_partition(session, name)
    return np.sort(members[np.argsort(-sign * session.scores["sslmem"].values[members], kind="stable")[:count]])


@pytest.mark.parametrize("seeds", [[], [0, 1]])
@pytest.mark.parametrize(("sign", "end"), [(1, "highest"), (-1, "lowest")])
def test_the_highest_and_the_lowest_are_worth_what_other_encoders_give(
    session: Session, sign: int, end: str, seeds: list[int]
) -> None:
    session.seed = seeds
    found = cross_fitted(CrossedScores.of(session.opened.tree.to_dataset().sel(encoder=list(session.encoders))), 5).sel(end=end)
    said = caption(session, highest(session, 5, sign))
    assert said.startswith(f"Mean difference of these 5 candidate samples: {in_words(found)} over {len(seeds) or 3} seeds")
    assert abs(found["cross_fitted"] - found["naive"]) > 0.001  # the caption says another number than the mean of those shown
    assert said in gallery_of(session, highest(session, 5, sign))


def gallery_of(session: Session, positions: np.ndarray) -> str:
    session.select(positions)
    return Gallery(session).view.summary


def test_without_a_selection_it_is_of_those_above_the_threshold(session: Session) -> None:
    count = len(session.above())
    found = cross_fitted(CrossedScores.of(session.opened.tree.to_dataset()), count).sel(end="highest")
    assert in_words(found) in Gallery(session).view.summary
    assert in_words(found) in Downloads(session).view.text


def test_they_are_chosen_among_the_shown_ones(session: Session) -> None:
    session.classes = ["two"]
    above = session.above()
    table = CrossedScores.of(session.opened.tree.to_dataset())
    among = np.isin(of_partition(session, "candidate"), session.shown)
    differences = table.differences[among]
    found = cross_fitted(CrossedScores(differences, table.view_a, table.view_b, table.protocol), len(above)).sel(end="highest")
    assert in_words(found) in caption(session, above)


def test_another_choice_is_worth_its_shrunken_scores(session: Session) -> None:
    members = of_partition(session, "candidate")
    some = np.sort(np.random.default_rng(0).permutation(members)[:7])
    naive, expected = (session.scores[name].values[some].astype(float).mean() for name in ("difference", "shrunken"))
    assert caption(session, some) == (
        f"Mean difference of these 7 candidate samples: {naive:+.4f}; other encoders are expected to give them {expected:+.4f}."
    )
    mixed = np.sort(np.append(some, of_partition(session, "shared")[:3]))
    assert caption(session, mixed).startswith("Mean difference of the 7 candidate samples among them: ")


def test_a_large_study_is_not_crossed_for_every_move_of_the_slider(session: Session, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(chosen, "READ_AT_A_GLANCE", 100)
    assert "other encoders are expected to give them" in caption(session, highest(session, 5))


def test_no_choice_no_caption(session: Session) -> None:
    assert caption(session, of_partition(session, "shared")[:4]) == ""
    assert caption(session, of_partition(session, "candidate")) == ""
    session.partition = ["independent"]
    assert "these 4 independent samples" in caption(session, highest(session, 4, -1, "independent"))


def test_with_one_seed_nobody_can_tell(library: Library) -> None:
    session = Session(library, State(study="one"))
    assert "there is but one" in caption(session, highest(session, 5))
    assert "nobody can tell" in caption(session, highest(session, 5)[::2])


def test_pairs_alone_say_that_their_order_is_not_to_be_relied_on(session: Session) -> None:
    doubt = order_caveat(rank_scores(session.opened.tree.to_dataset()))
    assert doubt
    assert f"P{doubt[1:]}." in Gallery(session).view.summary
    session.sort = "alignment_f"
    assert "order single samples badly" not in Gallery(session).view.summary


def test_encoders_on_subsets_order_the_gallery_as_they_do_the_report(library: Library) -> None:
    session = Session(library, State(study="subsets"))
    expected = session.opened.study.scores()
    np.testing.assert_allclose(session.column("rank_score"), expected["rank_score"].values, rtol=1e-6)
    session.threshold = -1e9
    gallery = Gallery(session)
    assert gallery.view.sort == "rank_score"
    assert "by score that orders samples, highest first" in gallery.view.summary
    among = expected.isel(sample=session.shown)
    assert [item["id"] for item in gallery.view.items] == among["sample"].values[np.argsort(among["rank"].values, kind="stable")][
        :48
    ].tolist()
    assert "order single samples badly" not in gallery.view.summary
    assert "by 4 encoders trained for an order" in caption(session, highest(session, 5))
    session.sort = "sslmem"  # as a person may choose, and a link restores
    assert from_query(to_query(session.state()))[0].sort == "sslmem"
    session.param.update(sort="", study="pairs")
    assert session.sorted_by == "sslmem"
    assert "rank_score" not in session.quantities


def test_the_order_is_of_all_its_encoders_whatever_is_filtered(library: Library) -> None:
    session = Session(library, State(study="subsets"))
    before = session.column("rank_score")
    session.seed = [0]
    np.testing.assert_array_equal(session.column("rank_score"), before)


def test_a_study_whose_subsets_are_not_scored_yet_is_ordered_by_its_pairs(tmp_path: Path) -> None:
    study = make_study(tmp_path / "begun", seeds=4)
    give_to_design(study, "subset", seeds=[2, 3])
    group = zarr.open_group(study.results_path, mode="r+")
    subsets = np.flatnonzero(study.results["design"].values == "subset")
    scored = group["completeness/scored"][:]
    scored[subsets] = False
    group["completeness/scored"][:] = scored
    assert Session(Library([study.path])).sorted_by == "sslmem"
    scored[subsets[0]] = True  # one alone orders nothing
    group["completeness/scored"][:] = scored
    session = Session(Library([study.path]))
    assert Gallery(session).view.items
