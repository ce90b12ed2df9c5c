"""The gallery: which samples, in which order, what is sent, and what a browser may ask for."""

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from panel.models.esm import DataEvent

from sslmem_kit.errors import UserError
from sslmem_kit.explorer import thumbnails as pictures
from sslmem_kit.explorer.gallery import gallery as gallery_module
from sslmem_kit.explorer.gallery.gallery import PAGE, Gallery, number, rank, ranked, sort_key
from sslmem_kit.explorer.link_state import State
from sslmem_kit.explorer.session import Session
from sslmem_kit.explorer.study_cache import Cache, Library
from tests.support.fake_study import make_study


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("studies")
    make_study(folder / "three", seeds=3)
    make_study(folder / "one", seeds=1)
    make_study(folder / "begun", complete=False)
    return Library([folder / "three", folder / "one", folder / "begun"])


@pytest.fixture
def session(library):
    return Session(library)


@pytest.fixture
def gallery(session):
    return Gallery(session)


def heard(part, **message):
    """What the front end sends."""
    part.view._process_event(DataEvent(None, data=message))


def shown_ids(gallery):
    return [item["id"] for item in gallery.view.items]


def recorded(part):
    """Names of the parameters of a front end that change from now on."""
    names = []
    part.view.param.watch(lambda *events: names.extend(event.name for event in events), list(part.view.param), onlychanged=True)
    return names


def test_without_a_selection_those_above_the_threshold_highest_first(session, gallery):
    values, shown = session.scores["sslmem"].values, session.shown
    above = shown[values[shown] > session.limit]
    expected = session.opened.ids[above[np.argsort(-values[above], kind="stable")]]
    assert 0 < len(above) < len(shown)
    assert shown_ids(gallery) == expected[:PAGE].tolist()
    assert gallery.view.total == len(above)
    assert gallery.view.summary.startswith("Nothing is selected: draw a box or a lasso in the scatter, or tap a point")
    assert "by score, highest first" in gallery.view.summary


def test_selection_by_any_quantity_either_way(session, gallery):
    session.select(np.arange(0, 30, 3))
    assert gallery.view.summary.startswith("10 selected samples. Mean difference of the 2 candidate samples among them: ")
    for key in ("alignment_f", "z", "trajectory/alignment:g-f@epoch=4"):
        for ascending in (True, False):
            session.param.update(sort=key, ascending=ascending)
            column = session.column(key)[::3][:10] * (1 if ascending else -1)
            assert shown_ids(gallery) == session.opened.ids[:30:3][np.argsort(column, kind="stable")].tolist()
    assert gallery.view.items[0]["also"].startswith("trajectory alignment epoch=4 g - f ")


def test_pages_cover_every_sample_once(session, gallery):
    session.select(np.arange(len(session.opened.ids)))
    session.sort = "quantile"  # has many ties
    seen = []
    for first in range(0, len(session.opened.ids), PAGE):
        assert gallery.view.first == first
        seen += shown_ids(gallery)
        heard(gallery, turn=1)
    assert sorted(seen) == session.opened.ids.tolist()
    assert shown_ids(gallery) == seen[first:]  # turning beyond the last page stays on it
    heard(gallery, turn=-1)
    assert shown_ids(gallery) == seen[first - PAGE : first]
    session.select(np.arange(100))
    assert gallery.view.first == 0


@settings(deadline=None)
@given(
    hnp.arrays(np.float32, st.integers(1, 60), elements=st.sampled_from([-2.0, -1.0, 0.0, 0.5, float("inf"), float("nan")])),
    st.integers(0, 60),
    st.integers(0, 20),
)
def test_ranked_is_a_stable_sort(values, start, count):
    key = np.nan_to_num(values, nan=np.inf, posinf=np.inf)
    whole = np.argsort(key, kind="stable")
    assert ranked(key, start, start + count).tolist() == whole[start : start + count].tolist()
    assert [rank(key, int(index)) for index in whole] == list(range(len(key)))


def test_what_is_not_defined_comes_last_either_way(session, monkeypatch):
    monkeypatch.setattr(Session, "column", lambda self, key: np.array([np.nan, 1.0, 2.0], np.float32))
    for ascending in (True, False):
        session.ascending = ascending
        assert ranked(sort_key(session, np.arange(3)), 0, 3)[-1] == 0


def test_intervals_and_their_absence(library):
    three, one = (Gallery(Session(library, State(study=name))) for name in ("three", "one"))
    item, session = three.view.items[0], three.session
    at = int(session.opened.positions(np.array([item["id"]]))[0])
    low, score, high = (float(session.scores[name].values[at]) for name in ("low", "sslmem", "high"))
    assert (item["score"], item["interval"]) == (f"{score:.4f}", f"[{low:.4f}, {high:.4f}]")
    assert one.view.items[0]["interval"] == "–"  # noqa: RUF001
    assert one.view.items[0]["title"] == "interval not defined with one seed"
    assert "nan" not in str(one.view.items).lower()


def test_intervals_are_in_the_unit_of_a_normalized_score(library):
    gallery = Gallery(Session(library, State(study="three", protocol="released")))
    for item in gallery.view.items:
        low, high = (float(text) for text in item["interval"].strip("[]").split(","))
        assert low <= float(item["score"]) <= high
        assert low + high == pytest.approx(2 * float(item["score"]), abs=0.003)


def test_a_dragged_slider_sends_only_what_changes(session, gallery):
    session.partition = []
    names = recorded(gallery)
    session.threshold = float(np.sort(session.scores["sslmem"].values)[-PAGE - 10])
    names.clear()
    session.threshold -= 1e-4
    assert set(names) <= {"total", "summary"}  # the highest 48 stay
    session.select(np.arange(5))
    names.clear()
    session.threshold *= 0.9
    assert not names


def test_fewer_above_the_threshold_reads_no_picture_again(session, gallery, monkeypatch):
    heard(gallery, pictures=shown_ids(gallery))
    monkeypatch.setattr(pictures, "data_uri", lambda picture: pytest.fail("a picture was read again"))
    session.threshold = float(np.median(session.scores["sslmem"].values[session.opened.positions(np.array(shown_ids(gallery)))]))
    sent = []
    gallery.view._send_msg = sent.append
    heard(gallery, pictures=shown_ids(gallery))
    assert [pair[0] for pair in sent[0]["pictures"]] == shown_ids(gallery)[: pictures.AT_ONCE]


def test_pictures_are_those_of_the_samples_and_shared_by_sessions(session, library, monkeypatch):
    made = []
    monkeypatch.setattr(pictures, "data_uri", lambda picture: made.append(picture) or f"data:{picture.sum()}")
    whole, positions = session.opened.tree["images/thumbnail"].values, [150, 90, 90, 120]
    ids, sent = session.opened.ids[positions].tolist(), []
    for each in (Gallery(session), Gallery(Session(library))):
        each.view._send_msg = sent.append
        heard(each, pictures=ids)
    assert sent[0]["pictures"] == [[id_, f"data:{whole[at].sum()}"] for id_, at in zip(ids, positions, strict=True)]
    assert sent[0] == sent[1]
    assert len(made) == 3


def test_picture_of_a_damaged_chunk_is_told_and_nothing_else_breaks(session, gallery, monkeypatch):
    def broken(*_):
        raise pictures.UserError("a chunk cannot be read")

    monkeypatch.setattr(pictures, "thumbnails", broken)
    sent = []
    gallery.view._send_msg = sent.append
    heard(gallery, pictures=shown_ids(gallery)[:1])
    assert session.note == "a chunk cannot be read."
    assert sent[0]["pictures"] == [[shown_ids(gallery)[0], ""]]


@pytest.mark.parametrize("harm", ["flip", "lose"])
def test_one_damaged_thumbnail_is_a_tile_and_the_rest_is_shown(tmp_path, harm):
    study = make_study(tmp_path / "study")
    (shard,) = [path for path in (study.results_path / "images/thumbnail/c").rglob("*") if path.is_file()]
    content = bytearray(shard.read_bytes())
    content[10] ^= 1  # in the first of the chunks of 64
    if harm == "flip":
        shard.write_bytes(content)
    else:
        shard.unlink()
    opened = Library([study.path]).open("study")
    uris = pictures.thumbnails(opened, np.array([0, 63, 64, 200]))
    assert [uri == pictures.DAMAGED for uri in uris] == [True, True, harm == "lose", harm == "lose"]


def test_one_damaged_study_does_not_keep_the_others(tmp_path):
    whole, lost, cut = (make_study(tmp_path / name) for name in ("whole", "lost", "cut"))
    (lost.results_path / "partition/c/0").unlink()
    cut.spec_path.write_text("name: [")
    library = Library([lost.path, whole.path, cut.path])
    assert library.open("whole").problem == ""
    assert "partition, block 0" in library.open("lost").problem
    assert "study.yaml" in library.open("cut").problem
    for path in (lost.path, cut.path):
        with pytest.raises(UserError):
            Library([path])


def test_opening_and_following(session, gallery):
    session.select(np.arange(len(session.opened.ids)))
    heard(gallery, open=shown_ids(gallery)[3])
    assert session.sample == gallery.view.current == shown_ids(gallery)[3]
    heard(gallery, turn=1)
    second = shown_ids(gallery)[0]
    heard(gallery, turn=-1)
    session.sample = second  # by another part of the page
    assert (gallery.view.first, gallery.view.current) == (PAGE, second)
    heard(gallery, open=None)
    assert session.sample is None
    assert gallery.view.current is None
    assert Gallery(Session(session.library, State(ids=session.state().ids, sample=second))).view.first == PAGE


@pytest.mark.parametrize(
    "message",
    [
        {"open": 10**30},
        {"open": "3"},
        {"open": True},
        {"open": 1},
        {"open": float("nan")},
        {"sort": "../alignment"},
        {"sort": ["sslmem"]},
        {"ascending": "yes"},
        {"turn": 1000},
        {"turn": [1]},
        {"pictures": "all"},
        {"pictures": [None, "3", 1, float("inf"), 10**30, -1, 2.5]},
        {},
    ],
)
def test_what_a_browser_should_not_send_does_nothing(session, gallery, message):
    before, sent = session.state(), []
    gallery.view._send_msg = sent.append
    heard(gallery, **message)
    gallery.view._process_event(DataEvent(None, data="not a dictionary"))
    assert session.state() == before
    assert all(not told["pictures"] for told in sent)


def test_empty_says_what_to_do(session, gallery):
    session.threshold = 9.0
    assert gallery.view.items == []
    assert "no shown sample is above the threshold of 9: lower it, or draw a box or a lasso" in gallery.view.summary
    session.param.update(classes=["zero"], partition=["candidate"])
    session.shown = session.shown[:0]
    assert gallery.view.summary == "No sample passes the filters: choose more classes or partitions."


def test_nothing_to_show_is_no_error(session, gallery):
    session.study = "begun"
    assert session.scores is None
    assert (gallery.view.items, gallery.view.summary, gallery.view.orders) == ([], "", [])
    heard(gallery, open=3, sort="sslmem", turn=1, pictures=[0])
    session.study = "one"
    assert gallery.view.items


def test_another_study_has_another_source(session, gallery):
    before = gallery.view.source
    session.study = "one"
    assert gallery.view.source != before


@pytest.mark.parametrize(("value", "text"), [(0.03149, "0.0315"), (-0.00001, "0.0000"), (float("nan"), "–"), (float("inf"), "–")])  # noqa: RUF001
def test_number(value, text):
    assert number(value, 4) == text


def test_cache_makes_what_it_lacks_together():
    cache, asked = Cache(100), []

    def make(keys):
        asked.append(list(keys))
        return [np.full(20, key, np.uint8) for key in keys]

    assert [value[0] for value in cache.get_many([3, 1, 3], make)] == [3, 1, 3]
    assert [value[0] for value in cache.get_many([1, 2, 4, 5, 6, 7, 3], make)] == [1, 2, 4, 5, 6, 7, 3]
    assert asked[0] == [3, 1]
    assert cache.held <= 100


def test_the_front_end_writes_no_markup():
    source = gallery_module.GalleryGrid._esm
    assert "innerHTML" not in source
    assert "import " not in source
