"""The scatter: what it selects against matplotlib and brute force, what it draws against scipy, and what it leaves undone."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
from matplotlib.path import Path as Polygon
from scipy.stats import binned_statistic_2d

from sslmem_kit.explorer.scatter import scatter as module
from sslmem_kit.explorer.scatter.colour_raster import COLOURS, DIM, FIRST, NOTHING, Aggregate, Scale
from sslmem_kit.explorer.scatter.points import REACH, STRIDE, Points, Window
from sslmem_kit.explorer.scatter.scatter import Scatter
from sslmem_kit.explorer.session import Session
from sslmem_kit.explorer.study_cache import Library
from tests.support.fake_study import make_study

WINDOW = Window(0.0, 2.0, 0.0, 1.0, 200, 100)


@pytest.fixture(scope="module")
def library(tmp_path_factory):
    return Library([make_study(tmp_path_factory.mktemp("studies") / "fake").path])


@pytest.fixture(params=["drawn", "datashaded"])
def scatter(library, request, monkeypatch):
    if request.param == "datashaded":
        monkeypatch.setattr(module, "MOST_DRAWN", dict.fromkeys(module.MOST_DRAWN, 5))
    session = Session(library)
    session.partition = []
    made = Scatter(session)
    assert (made.aggregate is not None) == (request.param == "datashaded")
    return made


def draw(scatter, shape):
    scatter._drawn(SimpleNamespace(geometry=shape, final=True))


def place(scatter, point):
    return float(scatter.points.x[point]), float(scatter.points.y[point])


def key(scatter, name):
    scatter.handle({"kind": "key", "key": name})


def cloud(size, seed=0):
    rng = np.random.default_rng(seed)
    x, y, value = rng.normal((1, 0.5, 0), (0.6, 0.4, 1), (size, 3)).astype(np.float32).T.copy()
    return Points.of(np.arange(size), x, y, value)


# -- selecting ---------------------------------------------------------------------------------------------------------------------


def test_a_box_selects_what_lies_in_it(scatter):
    x, y, session = scatter.points.x, scatter.points.y, scatter.session
    x0, x1, y0, y1 = (round(float(end), 3) for end in (*np.quantile(x, [0.3, 0.8]), *np.quantile(y, [0.2, 0.7])))
    draw(scatter, {"type": "rect", "x0": x0, "x1": x1, "y0": y0, "y1": y1})
    expected = session.shown[(x > x0) & (x < x1) & (y > y0) & (y < y1)]
    assert 10 < len(expected) < len(session.shown)
    assert session.selected.tolist() == expected.tolist()
    assert len(scatter._rings.data["x"]) == len(expected)


@pytest.mark.parametrize("corners", [5, 60, 900])
def test_a_lasso_selects_what_matplotlib_finds_inside(scatter, corners):
    rng = np.random.default_rng(corners)
    angle = np.linspace(0, 2 * np.pi, corners, endpoint=False)
    radius = rng.uniform(0.05, 0.3, corners)  # crosses itself seen from outside, in and out
    xs, ys = 0.7 + radius * np.cos(angle), 0.75 + radius * np.sin(angle)
    draw(scatter, {"type": "poly", "x": xs.tolist(), "y": ys.tolist()})
    outline = scatter.session._outline
    inside = Polygon([*outline, outline[0]], closed=True).contains_points(np.c_[scatter.points.x, scatter.points.y])
    assert inside.any()
    assert not inside.all()
    assert scatter.session.selected.tolist() == scatter.session.shown[inside].tolist()


def test_filtered_samples_are_not_selected(scatter):
    scatter.session.partition = ["shared"]
    draw(scatter, {"type": "rect", "x0": -9, "x1": 9, "y0": -9, "y1": 9})
    assert scatter.session.selected.tolist() == scatter.session.shown.tolist()
    assert len(scatter.points) == len(scatter.session.shown)


def test_shift_and_the_modes_of_the_tools(scatter):
    session, columns = scatter.session, scatter.points
    middle = round(float(np.median(columns.x)), 3)
    left = {"type": "rect", "x0": -9, "x1": middle, "y0": -9, "y1": 9}
    right = {"type": "rect", "x0": middle, "x1": 9, "y0": -9, "y1": 9}
    draw(scatter, left)
    assert 0 < len(session.selected) < len(columns)
    seen = []
    session.param.watch(lambda event: seen.append(len(event.new)), ["selected"])
    scatter.handle({"kind": "adding", "adding": True})
    draw(scatter, right)
    assert len(session.selected) == len(columns)
    assert seen == [len(columns)]  # one event, not one for each step
    scatter.handle({"kind": "adding", "adding": False})
    scatter._box.mode = "subtract"
    draw(scatter, left)
    assert set(session.selected) == set(columns.positions[columns.x >= middle])
    scatter._box.mode = "replace"
    draw(scatter, left)
    assert len(session.selected) < len(columns)


def test_a_tap_selects_and_opens_the_nearest_and_next_to_nothing_clears(scatter):
    session = scatter.session
    x, y = place(scatter, 17)
    draw(scatter, {"type": "point", "x": x, "y": y})
    assert session.selected.tolist() == [session.shown[17]]
    assert session.sample == session.opened.ids[session.shown[17]]
    draw(scatter, {"type": "point", "x": -50.0, "y": -50.0})
    assert len(session.selected) == 0


def test_rings_follow_the_session_and_are_thinned(scatter, monkeypatch):
    session = scatter.session
    session.select(session.shown[3:6])
    assert scatter._rings.data["x"].tolist() == scatter.points.x[3:6].tolist()
    monkeypatch.setattr(module, "MOST_RINGS", 10)
    session.select(session.shown)
    assert len(scatter._rings.data["x"]) == 10
    assert f"{len(session.shown)} selected, rings round 10" in scatter._overlay.line
    session.classes = ["zero"]
    assert set(scatter._rings.data["x"]) <= set(scatter.points.x)


# -- pointing ----------------------------------------------------------------------------------------------------------------------


def test_nearest_is_that_of_brute_force():
    points, rng = cloud(3000), np.random.default_rng(1)
    px, py = WINDOW.pixel
    hits = 0
    for x, y in rng.uniform((0, 0), (3, 1.5), (200, 2)):
        distance = np.hypot((points.x - x) / px, (points.y - y) / py)
        best = int(distance.argmin())
        assert points.nearest(x, y, WINDOW) == (best if distance[best] <= REACH else None)
        hits += distance[best] <= REACH
    assert 20 < hits < 200


@pytest.mark.parametrize("direction", [(1, 0), (-1, 0), (0, 1), (0, -1)])
def test_beside_goes_the_way_it_says(direction):
    points = cloud(2000)
    start = int(np.argmin(np.hypot(points.x - 1, points.y - 0.5)))
    going = points.beside(start, direction, WINDOW)
    step = np.array([(points.x[going] - points.x[start]) / WINDOW.pixel[0], (points.y[going] - points.y[start]) / WINDOW.pixel[1]])
    along, aside = step @ direction, abs(step[1] if direction[0] else step[0])
    assert STRIDE <= along < 3 * STRIDE
    assert aside <= along


def test_ranked_goes_through_all_points_by_value():
    points = cloud(50)
    points.value[:5] = np.nan
    visited, at = [], points.ranked(None, 0)
    while at is not None:
        visited.append(at)
        at = points.ranked(at, -1)
    assert visited == [int(i) for i in np.argsort(-points.value)[:45]]


def test_the_card_tells_of_the_point_under_the_mouse(scatter):
    session = scatter.session
    x, y = place(scatter, 40)
    scatter.handle({"kind": "move", "x": x, "y": y})
    rows = dict(scatter._overlay.card["rows"])
    position = session.shown[40]
    assert rows["sample"] == str(session.opened.ids[position])
    assert rows["class"] == session.class_name(position)
    low, high = (float(session.scores[name].values[position]) for name in ("low", "high"))
    assert rows["score"].endswith(f"[{low:.3g}, {high:.3g}]")
    assert rows["alignment on f"] == f"{x:.3g}"
    assert scatter._overlay.card["picture"].startswith("data:image/png;base64,")
    assert scatter._marked.data["x"].tolist() == [np.float32(x)]
    scatter.handle({"kind": "move", "x": -50.0, "y": -50.0})
    assert scatter._overlay.card == {}
    assert not len(scatter._marked.data["x"])


def test_an_interval_that_is_not_defined_is_said(tmp_path):
    session = Session(Library([make_study(tmp_path / "one", seeds=1).path]))
    made = Scatter(session)
    key(made, "Home")
    assert dict(made._overlay.card["rows"])["score"].endswith("(interval not defined: one seed, or too few views)")
    assert "nan" not in made._overlay.spoken


def test_keys_go_through_points(scatter):
    session = scatter.session
    key(scatter, "ArrowRight")  # from nowhere: the highest score
    best = session.shown[np.argmax(session.column("sslmem")[session.shown])]
    assert scatter._overlay.spoken.startswith(f"sample {session.opened.ids[best]},")
    key(scatter, " ")
    assert session.selected.tolist() == [best]
    assert session.sample is None
    key(scatter, " ")
    assert not len(session.selected)
    key(scatter, "Enter")
    assert session.sample == session.opened.ids[best]
    key(scatter, "PageUp")
    assert scatter._overlay.spoken == "There is no point further on"
    key(scatter, "PageDown")
    second = session.shown[np.argsort(session.column("sslmem")[session.shown])[-2]]
    assert scatter._overlay.spoken.startswith(f"sample {session.opened.ids[second]},")
    session.select(session.shown[:9])
    key(scatter, "Escape")
    assert not len(session.selected)
    assert scatter._overlay.card == {}


# -- drawing -----------------------------------------------------------------------------------------------------------------------


def test_filters_change_the_points_and_not_the_ranges(scatter):
    session, plot = scatter.session, scatter.figure
    before = plot.x_range.start, plot.x_range.end, plot.y_range.start, plot.y_range.end
    count = len(scatter.points)
    session.param.update(classes=["one"], partition=["shared"])
    assert 5 < len(scatter.points) == len(session.shown) < count
    if scatter.aggregate is None:
        assert sorted(scatter._drawn_points.data["x"]) == sorted(session.column("alignment_f")[session.shown])
    assert (plot.x_range.start, plot.x_range.end, plot.y_range.start, plot.y_range.end) == before
    session.y = "sslmem"
    assert plot.y_range.start < session.column("sslmem").min()
    assert plot.y_range.end > session.column("sslmem").max()
    assert plot.yaxis.axis_label == "score"


def test_the_identity_line_stands_only_where_alignments_are_compared(scatter):
    session, plot = scatter.session, scatter.figure
    assert scatter._identity.visible
    assert (plot.x_range.start, plot.x_range.end) == (plot.y_range.start, plot.y_range.end)
    session.y = "standard_error"
    assert not scatter._identity.visible
    session.param.update(x="alignment_g", y="alignment_f")
    assert scatter._identity.visible


def test_the_threshold_alone_sends_no_points(library):
    session = Session(library)
    made, changed = Scatter(session), []
    made._drawn_points.on_change("data", lambda attr, old, new: changed.append("points"))
    made._rings.on_change("data", lambda attr, old, new: changed.append("rings"))
    session.threshold = 0.05
    assert made._mapper.low == 0.05
    assert not changed
    session.param.update(colour="alignment_f")
    assert made._mapper.low == made._scale.low  # no score, no threshold
    assert changed == ["points"]


@pytest.mark.parametrize("limit", [-np.inf, -7.0, -1.5, 0.1, 1.99, 5.0, np.inf])
def test_the_mapper_dims_exactly_what_is_below_the_limit(limit):
    scale = Scale(-1.0, 2.0)
    options = scale.mapping(limit, "dim")
    values = np.linspace(-9, 9, 4001)
    shade = [options["low_color"] if v < options["low"] else _mapped(options, v) for v in values]
    expected = ["dim" if v < limit else COLOURS[n] for v, n in zip(values, scale.numbers(values), strict=True)]
    assert [s == "dim" for s in shade] == [e == "dim" for e in expected]
    steps = [abs(COLOURS.index(s) - COLOURS.index(e)) for s, e in zip(shade, expected, strict=True) if s != "dim"]
    assert max(steps, default=0) <= 2


def _mapped(options, value):
    """What Bokeh's LinearColorMapper gives."""
    share = (value - options["low"]) / (options["high"] - options["low"])
    return options["palette"][int(np.clip(share * len(options["palette"]), 0, len(options["palette"]) - 1))]


def test_the_scale_is_not_flattened_by_an_outlier():
    values = np.r_[np.linspace(0, 1, 10_001), 1e6, np.nan].astype(np.float32)
    scale = Scale.of(values)
    assert 0 < scale.low < 0.01
    assert 0.99 < scale.high < 1.001
    assert scale.clipped
    assert Scale.of(np.full(3, np.nan, np.float32)) == Scale(0.0, 1.0)
    assert Scale.of(np.full(3, 4, np.float32)).high > 4
    assert Scale.of(np.empty(0, np.float32)) == Scale(0.0, 1.0)


@pytest.mark.parametrize("limit", [-np.inf, 0.3])
def test_the_aggregate_is_that_of_scipy(limit):
    points = cloud(20_000)
    aggregate = Aggregate.of(points, WINDOW)

    def binned(what, keep):
        bins, ends = [WINDOW.height, WINDOW.width], [WINDOW[2:4], WINDOW[0:2]]
        x, y, value = (column[keep].astype(float) for column in (points.x, points.y, points.value))
        return binned_statistic_2d(y, x, value, what, bins, ends).statistic.ravel()

    counts = binned("count", slice(None))
    # A point within a rounding error of the border of a pixel may lie on the other side of it.
    assert aggregate.count.sum() == counts.sum() > 5000
    assert np.abs(aggregate.count - counts).sum() <= 40
    same = aggregate.count == counts
    np.testing.assert_allclose(aggregate.means(limit)[same], binned("mean", points.value >= limit)[same], rtol=1e-5, atol=1e-5)


def test_all_shown_points_are_in_the_aggregate_and_follow_the_window(library, monkeypatch):
    monkeypatch.setattr(module, "MOST_DRAWN", dict.fromkeys(module.MOST_DRAWN, 5))
    session = Session(library)
    made = Scatter(session)
    assert made.aggregate.count.sum() == len(session.shown)
    assert "datashaded" in made._overlay.line
    x, y = place(made, 0)
    made.handle({"kind": "window", "x0": x - 1e-4, "x1": x + 1e-4, "y0": y - 1e-4, "y1": y + 1e-4, "width": 300, "height": 200})
    assert made.aggregate.count.sum() == 1
    picture = made._picture.data["image"][0]
    assert picture.shape == (200, 300)
    assert picture.dtype == np.uint8
    assert made._picture.data["dw"] == [pytest.approx(2e-4)]
    session.threshold = 9.0
    assert set(np.unique(made._picture.data["image"][0])) == {NOTHING, DIM}
    assert made._image.visible
    assert not made._markers.visible
    session.param.update(partition=["extra"], classes=["one"])
    monkeypatch.setattr(module, "MOST_DRAWN", dict.fromkeys(module.MOST_DRAWN, 1000))
    session.classes = []
    assert made._markers.visible
    assert not made._image.visible
    assert len(made._drawn_points.data["x"]) == len(session.shown)


def test_a_lone_point_is_enlarged_and_a_crowd_is_not():
    lone = Points.of(np.arange(1), *(np.array([v], np.float32) for v in (0.5, 0.5, 1.0)))
    picture = Aggregate.of(lone, WINDOW).shade(Scale(0.0, 1.0), -np.inf)
    assert (picture == FIRST + len(COLOURS) - 1).sum() == 13
    assert picture[50, 50] == 255
    crowd = cloud(200_000)
    aggregate = Aggregate.of(crowd, WINDOW)
    own = np.isfinite(aggregate.means(-np.inf)).reshape(100, 200)
    shaded = aggregate.shade(Scale(-1.0, 1.0), -np.inf)
    exact = Scale(-1.0, 1.0).numbers(aggregate.means(-np.inf).reshape(100, 200)[own]) + FIRST
    assert (shaded[own] == exact).all()


# -- nothing -----------------------------------------------------------------------------------------------------------------------


def test_no_sample_no_value_and_no_study(library, tmp_path, scatter):
    session = scatter.session
    session.param.update(classes=["zero"])
    session.shown = session.shown[:0]
    assert "choose other classes" in scatter._overlay.line
    for name in ("ArrowLeft", "PageUp", "Home", "Enter", " ", "Escape"):
        key(scatter, name)
    draw(scatter, {"type": "point", "x": 0.5, "y": 0.5})
    draw(scatter, {"type": "poly", "x": [0.5], "y": [0.5]})
    scatter.handle({"kind": "move", "x": 0.5, "y": 0.5})
    session.scores = None
    assert scatter.points is None
    assert scatter._overlay.line == ""
    draw(scatter, {"type": "point", "x": 0.5, "y": 0.5})
    key(scatter, "Home")
    session.selected = np.arange(3)
    incomplete = make_study(tmp_path / "incomplete", complete=False)
    assert Scatter(Session(Library([incomplete.path]))).points is None


def test_a_study_that_can_be_scored_again_is_shown_again(library):
    session = Session(library)
    made = Scatter(session)
    count = len(made.points)
    kept, session.scores = session.scores, None
    session.scores = kept
    assert len(made.points) == count
    assert made._markers.visible


def test_undefined_values_are_counted(library, monkeypatch):
    session = Session(library)
    made, column = Scatter(session), session.column("alignment_g").copy()
    column[session.shown[:4]] = np.nan
    original = Session.column
    monkeypatch.setattr(Session, "column", lambda self, key: column if key == "alignment_g" else original(self, key))
    session.param.trigger("shown")
    assert len(made.points) == len(session.shown) - 4
    assert "4 samples have no such values" in made._overlay.line
    column[:] = np.nan
    session.param.trigger("scores")
    assert len(made.points) == 0
    assert "choose other axes" in made._overlay.line


def test_less_is_drawn_point_by_point_where_there_is_no_graphics_card(library, monkeypatch):
    session = Session(library)
    session.partition = []
    many = len(session.shown)
    monkeypatch.setattr(module, "MOST_DRAWN", {"webgl": many, "canvas": many - 1, "software": 1})
    scatter = Scatter(session)
    assert scatter.aggregate is None
    scatter.handle({"kind": "renderer", "renderer": "canvas"})
    assert scatter.aggregate.count.sum() == many
    scatter.handle({"kind": "renderer", "renderer": "webgl"})
    assert scatter.aggregate is None
    assert len(scatter._drawn_points.data["x"]) == many
    scatter.handle({"kind": "renderer", "renderer": "unheard of"})
    assert scatter.aggregate is None
