"""Comparison: sides are named, matched by id and compared as by hand; what cannot be compared is told."""

from __future__ import annotations

import functools
import shutil
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from sslmem_kit import store
from sslmem_kit.errors import UserError
from sslmem_kit.explorer.comparison import comparison
from sslmem_kit.explorer.comparison.comparison import Comparison
from sslmem_kit.explorer.comparison.matching import MOST_POINTS, check_same_samples, compare, find
from sslmem_kit.explorer.comparison.sides import Side, default_sides, offered, parse
from sslmem_kit.explorer.link_state import State, from_query, to_query
from sslmem_kit.explorer.session import Session
from sslmem_kit.explorer.study_cache import Library
from sslmem_kit.names import PARTITION_CODE
from sslmem_kit.scores import mean_over_pairs, score, select_protocol
from sslmem_kit.study import open_study
from tests.support.fake_study import make_study


@pytest.fixture(scope="module")
def folder(tmp_path_factory):
    """``one``, ``same`` and ``less`` (of fewer samples) are of the same data, ``other`` of other data; the unknown ones do not tell."""
    path = tmp_path_factory.mktemp("studies")
    make_study(path / "one")
    shutil.copytree(path / "one", path / "unknown")
    shutil.copytree(path / "one", path / "unknown2")
    store.set_attributes(path / "one" / "results.zarr", {"data_fingerprint": "a"})
    shutil.copytree(path / "one", path / "same")
    make_study(path / "less", samples=120, seeds=2, effect=0.3)
    store.set_attributes(path / "less" / "results.zarr", {"data_fingerprint": "a"})
    make_study(path / "other", samples=60, seeds=1)
    store.set_attributes(path / "other" / "results.zarr", {"data_fingerprint": "b"})
    make_study(path / "begun", samples=60, complete=False)
    return path


@pytest.fixture(scope="module")
def library(folder):
    """Libraries of studies by name; one with the same names is the same one."""
    return functools.cache(lambda *names: Library([folder / name for name in names]))


def open_comparison(library: Library, **state) -> Comparison:
    return Comparison(Session(library, State(tab="compare", **state)))


def results(study) -> xr.Dataset:
    return study.tree.to_dataset()


# -- sides -------------------------------------------------------------------------------------------------------------------------


def test_a_study_offers_its_scores_and_encoders_and_each_survives_a_link(library):
    found = library("one")
    study = found.open("one")
    sides = offered(study)
    texts = [str(side) for side in sides]
    assert texts == [
        "study=one",
        *(f"study=one&seed={seed}" for seed in range(3)),
        *(f"study=one&encoder={name}" for name in study.encoders()),
    ]
    for side, text in zip(sides, texts, strict=True):
        assert parse(text, found) == side
        state, note = from_query(to_query(State(left=text, right=text)))
        assert (state.left, state.right, note) == (text, text, "")
    assert len({side.label for side in sides}) == len(sides)


def test_names_with_signs_that_mean_something_in_a_query_survive_too(folder, tmp_path):
    path = tmp_path / "a&b=c %+ü"
    shutil.copytree(folder / "one", path)
    found = Library([path])
    for side in offered(found.open(path.name)):
        assert parse(str(side), found) == side


def test_methods_are_offered_where_there_are_several():
    kept = {
        "family": list("fgfgf"),
        "method": ["simclr", "simclr", "mae", "mae", "dino"],
        "backbone": ["vit"] * 5,
        "seed": [0, 0, 1, 1, 2],
    }
    names = ("f-0", "g-0", "f-1", "g-1", "f-2")
    tree = {name: xr.DataArray(values, dims="encoder", coords={"encoder": list(names)}) for name, values in kept.items()}
    study = SimpleNamespace(key="s", tree=tree, encoders=lambda: names)
    # Of seed 2 and of dino there is no encoder of g.
    assert [str(side) for side in offered(study)][1:3] == ["study=s&seed=0", "study=s&seed=1"]
    assert [str(side) for side in offered(study)][3:5] == ["study=s&method=mae&backbone=vit", "study=s&method=simclr&backbone=vit"]


def test_values_are_those_of_the_scores_and_of_the_store(library):
    study = library("one").open("one")
    whole = results(study)
    for protocol in ("corrected", "released"):
        expected = score(whole, protocol=protocol)["sslmem"].values
        np.testing.assert_allclose(Side("one").values(study, protocol), expected, rtol=1e-6)
        pair = score(whole, protocol=protocol, encoders=["f-1", "g-1"])["sslmem"].values
        np.testing.assert_allclose(Side("one", seed=1).values(study, protocol), pair, rtol=1e-6)
        alignment = mean_over_pairs(select_protocol(whole["alignment"].sel(encoder="g-2"), protocol)).values
        np.testing.assert_allclose(Side("one", encoder="g-2").values(study, protocol), alignment, rtol=1e-5)


@pytest.mark.parametrize("harm", [Path.unlink, lambda chunk: chunk.write_bytes(b"damaged")])
def test_an_encoder_with_lost_and_cut_chunks_is_left_out_and_told(folder, tmp_path, harm):
    shutil.copytree(folder / "one", tmp_path / "one")
    harm(tmp_path / "one" / "results.zarr" / "alignment" / "c" / "1" / "0" / "2")
    study = Library([tmp_path / "one"]).open("one")
    assert "alignment is missing of f-1 (1 of 4 sample blocks): run `sslmem run`" in study.problem
    assert "f-1" not in study.encoders()
    with pytest.raises(UserError, match=r"64 of|cannot be read"):
        Side("one", encoder="f-1").values(study, "corrected")
    for side in (Side("one"), Side("one", encoder="g-1")):
        assert np.isfinite(side.values(study, "corrected")).all()


def test_a_flipped_bit_is_told_where_it_is_read(folder, tmp_path):
    shutil.copytree(folder / "one", tmp_path / "one")
    chunk = tmp_path / "one" / "results.zarr" / "alignment" / "c" / "1" / "0" / "2"
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 4
    chunk.write_bytes(content)
    study = Library([tmp_path / "one"]).open("one")
    for side in (Side("one"), Side("one", encoder="f-1")):
        with pytest.raises(UserError, match="cannot be read"):
            side.values(study, "corrected")
    assert np.isfinite(Side("one", encoder="g-1").values(study, "corrected")).all()


@pytest.mark.parametrize(
    "text",
    [
        "one", "seed=1", "study=one&seed=", "study=one&seed=1_0", "study=one&seed= 1", "study=one&seed=9", "study=one&study=one",
        "study=gone", "study=one&encoder=f-9", "study=one&encoder=f-0&seed=0", "study=one&colour=red", "&" * 50, "study=<img src=x>",
    ],
)  # fmt: skip
def test_a_side_that_there_is_not_is_told_and_replaced(library, text):
    found = library("one")
    with pytest.raises(UserError):
        parse(text, found)
    shown = open_comparison(found, left=text)
    left, _, told = shown.sides()
    assert left == Side("one", seed=0)
    assert "default" in told
    assert told in shown.menus.data["remarks"]


def test_the_defaults(library):
    def pair(*names: str) -> tuple[str, ...]:
        found = library(*names)
        return tuple(str(side) for side in default_sides(found.open(names[0]), found))

    assert pair("one", "other", "same") == ("study=one", "study=same")
    assert pair("one", "other") == ("study=one&seed=0", "study=one&seed=1")
    assert pair("other", "one") == ("study=other&encoder=f-0", "study=other&encoder=g-0")
    assert pair("unknown", "unknown2") == ("study=unknown&seed=0", "study=unknown&seed=1")


# -- matching ----------------------------------------------------------------------------------------------------------------------


def test_identical_sides_agree_wholly_and_reversed_ones_not_at_all():
    values = np.random.default_rng(0).normal(size=300).astype(np.float32)
    ids, moved = np.arange(300) * 2, np.zeros(300, bool)
    same, opposite = find(ids, values, values, moved=moved), find(ids, values, -values, moved=moved)
    assert same.ranks["value"].values.tolist() == [1, 1]
    assert opposite.ranks["value"].values.tolist() == [-1, -1]
    assert same.overlap["share"].values.tolist() == [1] * 5
    assert opposite.overlap["common"].values.tolist() == [0, 0, 0, 0, 100]
    expected = ids[np.argsort(-values)[:12]]
    assert same.tops[0][0].tolist() == same.tops[1][0].tolist() == expected.tolist()
    assert opposite.tops[1][0].tolist() == ids[np.argsort(values)[:12]].tolist()


def test_samples_without_a_value_are_left_out_and_many_are_thinned_evenly():
    n = 3 * MOST_POINTS
    values = np.arange(n, dtype=np.float32)
    values[5] = np.nan
    found = find(np.arange(n), values, np.arange(n, dtype=np.float32), moved=np.ones(n, bool))
    assert found.ranks["n"] == found.moved == n - 1
    assert len(found.ids) == MOST_POINTS
    assert set(np.diff(found.ids).tolist()) <= {2, 3, 4}
    assert (found.ids[0], found.ids[-1]) == (0, n - 1)
    np.testing.assert_array_equal(found.left, found.ids)


def test_samples_are_matched_by_id(library):
    found = library("less", "one")
    less, one = found.open("less"), found.open("one")
    wanted = np.flatnonzero(less.partitions == PARTITION_CODE["candidate"])
    ours = compare((Side("less"), Side("one", seed=1)), (less, one), "corrected", within=(less, wanted))
    expected = np.intersect1d(less.ids[wanted], one.ids)
    assert ours.ids.tolist() == expected.tolist()
    assert len(expected)
    left = score(results(less))["sslmem"].sel(sample=expected).values
    right = score(results(one), encoders=["f-1", "g-1"])["sslmem"].sel(sample=expected).values
    np.testing.assert_allclose(ours.left, left, rtol=1e-5)
    np.testing.assert_allclose(ours.right, right, rtol=1e-5)
    assert ours.ranks["value"].sel(statistic="tau").item() == pytest.approx(stats.kendalltau(left, right).statistic)
    assert ours.ranks["value"].sel(statistic="rho").item() == pytest.approx(stats.spearmanr(left, right).statistic)
    partitions = (results(study)["partition"].sel(sample=expected).values for study in (less, one))
    assert ours.moved == int(np.not_equal(*partitions).sum())
    # Of all samples of the larger study those that the smaller one lacks are left out.
    common = compare((Side("less"), Side("one", seed=1)), (less, one), "corrected", within=(one, np.arange(len(one.ids))))
    assert common.ids.tolist() == np.intersect1d(less.ids, one.ids).tolist()
    assert len(common.ids) < len(one.ids)
    np.testing.assert_allclose(common.left, score(results(less))["sslmem"].sel(sample=common.ids).values, rtol=1e-5)
    # Left and right changed places.
    theirs = compare((Side("one", seed=1), Side("less")), (one, less), "corrected", within=(less, wanted))
    assert theirs.ids.tolist() == expected.tolist()
    assert theirs.ranks["value"].sel(statistic="tau").item() == pytest.approx(ours.ranks["value"].sel(statistic="tau").item())


def test_studies_of_other_or_unknown_data_are_refused(library):
    found = library("one", "same", "other", "unknown", "unknown2", "begun")
    check_same_samples(found.open("one"), found.open("same"))
    check_same_samples(found.open("unknown"), found.open("unknown"))
    for second, reason in (("other", "different data"), ("unknown", "is not known"), ("begun", "sslmem run")):
        with pytest.raises(UserError, match=reason):
            check_same_samples(found.open("one"), found.open(second))
    with pytest.raises(UserError, match="is not known"):
        check_same_samples(found.open("unknown"), found.open("unknown2"))


# -- the part of the page ----------------------------------------------------------------------------------------------------------


def test_the_page_shows_what_was_found_for_the_samples_that_pass_the_filters(library):
    found = library("one")
    shown = open_comparison(found, left="study=one", right="study=one&encoder=g-0")
    session = shown.session
    x = session.column("sslmem")[session.shown]
    y = Side("one", encoder="g-0").values(session.opened, "corrected")[session.shown]
    np.testing.assert_array_equal(shown.points.data["x"], x)
    np.testing.assert_array_equal(shown.points.data["y"], y)
    assert shown.numbers.data["ranks"][0][1] == f"{stats.kendalltau(x, y).statistic:.3f}"
    assert [row[0] for row in shown.numbers.data["overlap"]] == [str(k) for k in (10, 20, 50, 100, 200) if k <= len(x)]
    assert not shown._diagonal.visible
    ids = session.opened.ids[session.shown]
    listed = [[sample["id"] for sample in side["samples"]] for side in shown.tops.data["sides"]]
    assert listed == [ids[np.argsort(-values)[:12]].tolist() for values in (x, y)]
    both = {sample["id"] for side in shown.tops.data["sides"] for sample in side["samples"] if sample["both"]}
    assert both == set(listed[0]) & set(listed[1])
    session.classes = ["two"]
    assert len(shown.points.data["x"]) == len(session.shown) < len(x)
    session.protocol = "released"
    np.testing.assert_array_equal(shown.points.data["x"], session.column("sslmem")[session.shown])


def test_nothing_is_computed_while_the_tab_is_closed_and_nothing_twice(folder, monkeypatch):
    calls = []
    monkeypatch.setattr(comparison, "compare", lambda *args, **kwargs: calls.append(args) or compare(*args, **kwargs))
    found = Library([folder / "one"])
    shown = Comparison(Session(found))
    shown.session.classes = ["one"]
    assert calls == []
    assert shown.menus.data == {}
    shown.session.tab = "compare"
    assert len(calls) == 1
    shown.session.tab = "explore"
    shown.session.tab = "compare"
    shown.session.threshold = 0.1
    again = Comparison(Session(found, State(tab="compare", classes=("one",))))
    assert len(calls) == 1
    np.testing.assert_array_equal(again.points.data["x"], shown.points.data["x"])
    shown.session.classes = []
    assert len(calls) == 2


def test_choosing_a_side_writes_both_into_the_link(library):
    shown = open_comparison(library("one", "same"))
    assert (shown.session.left, shown.session.right) == ("", "")
    assert (shown.menus.data["left"], shown.menus.data["right"]) == ("study=one", "study=same")
    assert shown.numbers.data["ranks"][0][1:3] == ["1.000", "not defined"]
    assert {row[2] for row in shown.numbers.data["overlap"]} == {"100%"}
    shown.menus._handle_msg({"right": "study=one&seed=2"})
    assert (shown.session.left, shown.session.right) == ("study=one", "study=one&seed=2")
    assert shown.menus.data["right"] == "study=one&seed=2"
    state = shown.session.state()
    restored = Comparison(Session(shown.session.library, from_query(to_query(state))[0]))
    assert restored.menus.data == shown.menus.data
    assert restored.numbers.data == shown.numbers.data


@pytest.mark.parametrize(
    "message",
    [None, 3, [], {"left": 5}, {"left": ["study=one"]}, {"tab": "explore"}, {"left": "study=gone"}, {"id": "1"}, {"id": [0]}],
)
def test_messages_that_the_page_does_not_send_change_nothing(library, message):
    shown = open_comparison(library("one"))
    sides, data = shown.sides(), shown.numbers.data
    shown.menus._handle_msg(message)
    shown.tops._handle_msg(message)
    assert (shown.sides(), shown.numbers.data) == (sides, data)
    assert (shown.session.tab, shown.session.sample) == ("compare", None)


def test_a_sample_of_the_gallery_or_a_tapped_point_opens(library):
    shown = open_comparison(library("one", "other"))
    sample = shown.tops.data["sides"][0]["samples"][3]["id"]
    shown.tops._handle_msg({"id": sample})
    assert shown.session.sample == shown.tops.current == sample
    assert len(shown._ring.data["x"]) == 1
    shown.points.selected.indices = [7]
    assert shown.session.sample == shown._ids[7]
    assert shown.points.selected.indices == []
    shown.tops._handle_msg({"id": 1})  # no id of this study
    assert shown.session.sample == shown._ids[7]
    shown.session.sample = None
    assert len(shown._ring.data["x"]) == 0


def test_other_data_are_told_and_their_samples_do_not_open(library):
    shown = open_comparison(library("one", "other"), right="study=other")
    assert "different data" in shown.menus.data["problem"]
    assert not shown._found.visible
    shown.menus._handle_msg({"left": "study=other&encoder=f-0", "right": "study=other&encoder=g-0"})
    assert shown.menus.data["problem"] == ""
    assert shown._found.visible
    assert "unfiltered" in shown.menus.data["remarks"]
    assert len(shown.points.data["x"]) == len(open_study(shown.session.library._studies["other"].path).results["sample"])
    assert not shown.tops.data["opens"]
    shown.points.selected.indices = [0]
    assert shown.session.sample is None


def test_an_empty_filter_and_a_study_without_scores_are_no_errors(library, monkeypatch):
    shown = open_comparison(library("one", "begun"))
    session = shown.session
    for positions, visible in (([], False), ([4], True), ([4, 9], True)):
        monkeypatch.setattr(session, "_passing", lambda positions=positions: np.array(positions, np.int64))
        session.classes = ["zero", "one", "two"][: len(positions) + 1]
        assert shown._found.visible == visible
        assert ("clear the filter" in shown.menus.data["problem"]) != visible
        assert "nan" not in str(shown.numbers.data).lower()
    monkeypatch.undo()
    shown.session.study = "begun"
    assert shown.session.scores is None
    assert not shown._found.visible
    assert shown.menus.data == {}
    shown.session.study = "one"
    assert shown._found.visible


def test_in_a_served_page_the_note_goes_out_before_the_work(library, monkeypatch):
    later = []
    document = SimpleNamespace(session_context=object(), add_timeout_callback=lambda call, wait: later.append(call))
    monkeypatch.setattr(comparison.pn, "state", SimpleNamespace(curdoc=document))
    shown = open_comparison(library("one"))
    assert shown.menus.data["busy"]
    assert shown.points.data["x"].size == 0
    shown.session.classes = ["one"]
    assert len(later) == 1
    later.pop()()
    assert not shown.menus.data["busy"]
    assert len(shown.points.data["x"]) == len(shown.session.shown)
