"""Threshold, shares and distributions: every number equals a plain count, and moving the limit changes only what depends on it."""

from __future__ import annotations

import numpy as np
import pytest

from sslmem_kit.explorer.link_state import State
from sslmem_kit.explorer.session import Session
from sslmem_kit.explorer.study_cache import Library
from sslmem_kit.explorer.threshold import distributions as distributions_module
from sslmem_kit.explorer.threshold import shares as shares_module
from sslmem_kit.explorer.threshold.threshold import Threshold
from sslmem_kit.names import PARTITION_CODE, PARTITIONS, SSLMEM
from sslmem_kit.statistics import wilson_interval
from tests.support.fake_study import CLASSES, make_study


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    folder = tmp_path_factory.mktemp("threshold")
    studies = make_study(folder / "whole"), make_study(folder / "cut", complete=False), make_study(folder / "faint", effect=0.01)
    return Library([study.path for study in studies])


@pytest.fixture
def session(library):
    return Session(library, State(study="whole"))


@pytest.fixture
def threshold(session):
    return Threshold(session)


def move(threshold: Threshold, value: float) -> None:
    """What the browser sends."""
    control = threshold.control
    control.moved = [control.by, value, control.seen + 1]


def values(session: Session) -> np.ndarray:
    return session.scores[SSLMEM].values


def test_moving_sets_the_threshold_and_counts_every_partition(threshold, session):
    for limit in (0.0, 0.013, float(values(session).max()), -5.0):
        move(threshold, limit)
        assert session.threshold == session.limit == limit
        assert threshold.control.seen > 0
        rows = threshold.shares.view.partitions
        assert [row[0] for row in rows] == list(PARTITIONS)
        for name, _, above, samples, share, low, high in rows:
            own = values(session)[session.opened.partitions == PARTITION_CODE[name]]
            assert (above, samples) == (int((own > np.float32(limit)).sum()), len(own))
            assert share == pytest.approx(above / samples)
            assert 0 <= low <= share <= high <= 1


def test_a_move_in_another_unit_is_ignored_and_answered(threshold, session):
    before = session.limit
    threshold.control.moved = ["quantile", 0.2, 7]
    assert (session.limit, threshold.control.seen) == (before, 7)


def test_the_slider_spans_the_scores_and_its_step_is_not_made_coarse_by_an_outlier(threshold, session, monkeypatch):
    low, high, step = threshold._range()
    assert low < values(session).min()
    assert high >= values(session).max()
    assert (values(session) > low).all()
    scores = session.scores.copy(deep=True)
    scores[SSLMEM].values[0] = 1e4
    assert 0 < step < np.ptp(values(session)) / 100
    monkeypatch.setattr(session.opened.cache, "get", lambda key, make: make())
    session.scores = scores
    assert threshold._range()[1] >= 1e4
    assert threshold._range()[2] < 5 * step


def test_changing_the_unit_keeps_the_limit(threshold, session):
    limit = float(np.quantile(values(session)[session.opened.partitions == PARTITION_CODE["candidate"]], 0.7)) + 1e-4
    move(threshold, limit)
    threshold.control.chosen = "quantile"
    assert session.threshold_by == threshold.control.by == "quantile"
    assert session.limit == pytest.approx(limit, abs=1e-6)
    assert threshold.control.value == pytest.approx(session.threshold)
    assert (threshold.control.low, threshold.control.high) == (0, 1)
    move(threshold, 0.5)
    candidates = values(session)[session.opened.partitions == PARTITION_CODE["candidate"]]
    assert session.limit == pytest.approx(np.median(candidates))
    threshold.control.chosen = "value"
    assert session.limit == pytest.approx(np.median(candidates))
    assert threshold.control.value == pytest.approx(session.limit)


def test_by_the_rate_of_false_discoveries_the_limit_is_below_the_candidates_that_are_discoveries(library):
    session = Session(library, State(study="faint"))
    threshold = Threshold(session)
    assert [key for key, _ in threshold.control.units] == ["value", "quantile", "fdr"]
    candidates = session.opened.partitions == PARTITION_CODE["candidate"]
    rates = session.scores["q_value"].values
    for rate in np.quantile(rates[candidates], (0.2, 0.6), method="lower").tolist():
        move(threshold, float(values(session)[candidates & (rates <= rate)].min()) - 1e-6)
        threshold.control.chosen = "fdr"
        assert session.threshold_by == "fdr"
        assert session.threshold <= rate
        move(threshold, rate)
        found = candidates & (rates <= rate)
        assert 0 < found.sum() < candidates.sum()
        np.testing.assert_array_equal(candidates & (values(session) > session.limit), found)
        threshold.control.chosen = "value"
    threshold.control.chosen = "fdr"
    move(threshold, 0.0)
    assert session.limit == float("inf")
    assert "No sample" in threshold.control.text
    assert not any(line.visible for line in threshold.distributions.lines)
    threshold.control.chosen = "value"
    assert np.isfinite(session.limit)


def class_counts(session: Session) -> dict[str, tuple[int, int]]:
    """By a loop over the samples."""
    counts = {name: [0, 0] for name in CLASSES}
    wanted = [PARTITION_CODE[name] for name in session.partition or PARTITIONS]
    labels, codes = session.opened.labels, session.opened.partitions
    for label, code, value in zip(labels, codes, values(session), strict=True):
        if code in wanted:
            counts[CLASSES[label]][0] += bool(value > session.limit)
            counts[CLASSES[label]][1] += 1
    return {name: tuple(pair) for name, pair in counts.items()}


@pytest.mark.parametrize("partition", [["candidate"], [], ["shared", "extra"]])
def test_classes_are_counted_within_the_shown_partitions_whatever_the_class_filter(threshold, session, partition):
    session.param.update(partition=partition, classes=["two"])
    move(threshold, 0.01)
    rows = threshold.shares.view.classes
    assert {row[0]: (row[2], row[3]) for row in rows} == class_counts(session)
    assert [row[0] for row in rows if row[1]] == ["two"]
    assert [row[4] for row in rows] == sorted((row[4] for row in rows), reverse=True)


def test_classes_are_sorted_as_asked_and_more_come_on_demand(threshold):
    table = threshold.shares.view
    table.order = ["class", True]
    assert [row[0] for row in table.classes] == list(CLASSES)
    table.order = ["above", True]
    assert [row[2] for row in table.classes] == sorted(row[2] for row in table.classes)
    table.count = 2
    assert (len(table.classes), table.total) == (2, 3)
    table.order = ["nonsense", True]
    assert len(table.classes) == 2


def test_a_click_on_a_class_filters_by_it_and_another_one_lifts_that(threshold, session):
    class Click:
        data = {"toggle": "one"}

    threshold.shares._toggle(Click)
    assert session.classes == ["one"]
    assert set(session.opened.labels[session.shown]) == {CLASSES.index("one")}
    threshold.shares._toggle(Click)
    assert session.classes == []
    Click.data = {"toggle": "<b>none"}
    threshold.shares._toggle(Click)
    assert session.classes == []


def test_only_the_line_moves_with_the_limit(threshold, session, monkeypatch):
    distributions = threshold.distributions
    before = {name: source.data for name, source in (("curves", distributions.curves), ("bars", distributions.bars))}
    for module in (shares_module, distributions_module):
        monkeypatch.setattr(module, "ordered", None)
    move(threshold, 0.03)
    assert [line.location for line in distributions.lines] == [0.03] * 3
    assert distributions.curves.data is before["curves"]
    assert distributions.bars.data is before["bars"]


def test_curves_are_the_shares_above(threshold, session):
    curves = threshold.distributions.curves.data
    for name in PARTITIONS:
        own = values(session)[session.opened.partitions == PARTITION_CODE[name]]
        expected = (own[None, :] > curves["threshold"][:, None]).mean(axis=1)
        np.testing.assert_allclose(curves[name], expected, atol=1e-6)


def test_bars_hold_every_sample_within_the_axis(threshold, session):
    bars, across = threshold.distributions.bars.data, threshold.distributions._across
    for name in PARTITIONS:
        own = values(session)[session.opened.partitions == PARTITION_CODE[name]]
        inside = (own >= across.start) & (own < across.end)
        assert int(bars["samples"][np.array(bars["partition"]) == name].sum()) == inside.sum() >= len(own) - 1
    assert (bars["top"] > bars["bottom"]).all()


def test_an_incomplete_study_shows_nothing_and_coming_back_everything(threshold, session):
    session.study = "cut"
    assert session.scores is None
    assert threshold.shares.view.partitions == threshold.shares.view.classes == []
    assert not threshold.control.active
    assert len(threshold.distributions.curves.data["threshold"]) == 0
    move(threshold, 0.5)
    session.study = "whole"
    assert threshold.control.active
    assert len(threshold.shares.view.classes) == len(CLASSES)
    assert len(threshold.distributions.curves.data["threshold"])


def test_a_study_that_is_incomplete_from_the_start(library):
    shown = Threshold(Session(library, State(study="cut"), dark=True))
    assert shown.shares.view.classes == []


def test_partitions_without_samples_in_a_class_say_what_to_do(threshold, session):
    session.param.update(shown=session.shown[:0], selected=session.shown[:0])
    assert threshold.control.text
    threshold.shares._among[:] = False
    threshold.shares._sizes = threshold.shares._count(threshold.shares._among)
    threshold.shares._list()
    assert threshold.shares.view.text.startswith("The shown partitions have no samples")


def test_intervals_of_shares_are_of_groups_where_samples_have_them(session):
    alone = Threshold(session).shares.view
    before = {"partitions": alone.partitions, "classes": alone.classes}
    groups = np.arange(len(session.opened.ids)) // 30  # ten of each class
    session.scores = session.scores.assign_coords(group=("sample", groups))
    after = Threshold(session).shares.view
    for (name, _, above, samples, share, low, high), row in zip(after.partitions, before["partitions"], strict=True):
        assert [name, above, samples, share] == [row[0], *row[2:5]]
        units = len(np.unique(groups[session.opened.partitions == PARTITION_CODE[name]]))
        assert (low, high) == pytest.approx(tuple(float(end) for end in wilson_interval(share * units, units)))
        assert high - low > row[6] - row[5]
    shown = session.shown[session.opened.labels[session.shown] == 0]
    row, units = next(row for row in after.classes if row[0] == CLASSES[0]), len(np.unique(groups[shown]))
    assert units < len(shown) == row[3]
    assert tuple(row[5:]) == pytest.approx(tuple(float(end) for end in wilson_interval(row[4] * units, units)))
