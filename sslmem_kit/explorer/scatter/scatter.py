"""The scatter: one quantity of the samples against another, coloured by a third; box, lasso, tap and keys select.

Up to ``MOST_DRAWN`` points are drawn by the browser (WebGL where it has a graphics card). Of more, a raster is computed here for the
window that is shown (:mod:`~sslmem_kit.explorer.scatter.colour_raster`). Both share one figure and differ in nothing else: selecting
and pointing are done here, on the positions of the samples, and the browser is sent no more of a sample than its place and its colour.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import panel as pn
import param
from bokeh.events import SelectionGeometry
from bokeh.models import (
    BoxSelectTool,
    ColorBar,
    ColumnDataSource,
    LassoSelectTool,
    LinearColorMapper,
    PanTool,
    Range1d,
    ResetTool,
    Slope,
    TapTool,
    WheelZoomTool,
)
from bokeh.plotting import figure

from sslmem_kit.explorer.scatter.colour_raster import COLOURS, Aggregate, Scale
from sslmem_kit.explorer.scatter.plot_overlay import PlotOverlay, describe, picture
from sslmem_kit.explorer.scatter.points import Points, Window
from sslmem_kit.explorer.session import Session
from sslmem_kit.explorer.theme import dress, palette
from sslmem_kit.names import SSLMEM

MOST_DRAWN = {"webgl": 100_000, "canvas": 20_000, "software": 5_000}
"""Largest number of points that the browser draws one by one, by renderer: WebGL on a graphics card, a plain canvas, WebGL in software."""
MOST_RINGS = 3_000
"""Largest number of selected points that are ringed."""
LARGEST_PICTURE = 1600
"""Largest width and height of the raster, in pixels."""

_ARROWS = {"ArrowRight": (1, 0), "ArrowLeft": (-1, 0), "ArrowUp": (0, 1), "ArrowDown": (0, -1)}
_COMBINED = {"append": np.union1d, "intersect": np.intersect1d, "subtract": np.setdiff1d, "xor": np.setxor1d}
"""Combination of a new selection with the one before, by the mode of Bokeh's tools; the fifth mode, replace, forgets it."""
_FOLLOWED = ["scores", "x", "y", "colour", "shown", "limit", "selected", "sample"]
_NONE = np.empty(0, np.float32)


class Scatter:
    """The scatter of a session.

    Attributes
    ----------
    view
        Component for a page.
    figure
        The Bokeh figure.
    points
        The points that are shown; None where a study has no scores.
    aggregate
        Their pixels where they are too many to be drawn one by one; else None.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self.points: Points | None = None
        self.aggregate: Aggregate | None = None
        self._window = Window(0.0, 1.0, 0.0, 1.0, 600, 380)
        self._scale = Scale(0.0, 1.0)
        self._current: int | None = None
        self._adding = False
        self._renderer = "webgl"
        self._build()
        self._follow_names(set(_FOLLOWED))
        session.param.watch(self._follow, _FOLLOWED)

    # -- the figure ----------------------------------------------------------------------------------------------------------------

    def _build(self) -> None:
        colours = palette(self.session.dark)
        # Tools without renderers select nothing in the browser, which would dim the rest and send all indices; they send the shape only.
        self._box = BoxSelectTool(renderers=[])
        self._lasso = LassoSelectTool(renderers=[], continuous=False)
        tap = TapTool(renderers=[])
        self.figure = plot = figure(
            tools=[PanTool(), WheelZoomTool(), self._box, self._lasso, tap, ResetTool()],
            x_range=Range1d(0, 1), y_range=Range1d(0, 1), output_backend="webgl",
            height=460, min_width=260, sizing_mode="stretch_width", toolbar_location="above",
        )  # fmt: skip
        # The wheel scrolls the page until wheel zoom is chosen.
        plot.toolbar.active_scroll = plot.toolbar.active_inspect = None
        plot.toolbar.active_drag, plot.toolbar.active_tap = self._box, tap
        plot.on_event(SelectionGeometry, self._drawn)

        self._mapper = LinearColorMapper(palette=list(COLOURS), nan_color=colours["dim"])
        self._drawn_points = ColumnDataSource({"x": _NONE, "y": _NONE, "value": _NONE})
        self._markers = plot.scatter(
            "x", "y", source=self._drawn_points, size=5, line_color=None, fill_color={"field": "value", "transform": self._mapper}
        )
        numbers = LinearColorMapper(palette=["#00000000", colours["dim"], *COLOURS], low=0, high=len(COLOURS) + 2)
        self._picture = ColumnDataSource({"image": [], "x": [], "y": [], "dw": [], "dh": []})
        self._image = plot.image("image", "x", "y", "dw", "dh", source=self._picture, color_mapper=numbers)
        self._rings = ColumnDataSource({"x": _NONE, "y": _NONE})
        rings = plot.scatter("x", "y", source=self._rings, size=9, fill_color=None, line_color=colours["ink"])
        self._ring_lines = rings.glyph
        self._marked = ColumnDataSource({"x": _NONE, "y": _NONE})
        plot.scatter("x", "y", source=self._marked, size=15, fill_color=None, line_color=colours["focus"], line_width=3)
        self._identity = Slope(
            gradient=1, y_intercept=0, line_dash="dashed", line_color=colours["muted"], line_width=1.5, level="underlay"
        )
        plot.add_layout(self._identity)
        # A mapper of its own: the scale of the bar stays when the threshold moves.
        self._bar_mapper = LinearColorMapper(palette=list(COLOURS), low=0, high=1)
        self._bar = ColorBar(color_mapper=self._bar_mapper, width=12, padding=6, label_standoff=6)
        plot.add_layout(self._bar, "right")
        dress(plot, self.session.dark)
        plot.title = None  # though empty, it would take room from the tools
        self._pane = pn.pane.Bokeh(plot, sizing_mode="stretch_width")
        self._overlay = PlotOverlay(plot=self._pane, sizing_mode="stretch_width")
        self._overlay.on_msg(lambda event: self.handle(event.data))
        self.view = self._overlay

    # -- following the session -----------------------------------------------------------------------------------------------------

    def _follow(self, *events: Any) -> None:
        self._follow_names({event.name for event in events})

    def _follow_names(self, names: set[str]) -> None:
        session = self.session
        if session.scores is None:
            self._show_nothing()
            return
        if self.points is None:  # there was nothing to show before
            names = {"scores", *names}
        axes = bool(names & {"scores", "x", "y"})
        if axes:
            self._refit()
        if axes or names & {"colour", "shown"}:
            self._place_points()
        elif "limit" in names and session.colour == SSLMEM:
            self._recolour()
        if axes or names & {"shown", "selected", "colour"}:
            self._ring()
        if axes or names & {"shown", "sample"}:
            self._mark()
        self._push()

    def _show_nothing(self) -> None:
        self.points = self.aggregate = self._current = None
        self._drawn_points.data = {"x": _NONE, "y": _NONE, "value": _NONE}
        self._image.visible = self._identity.visible = self._bar.visible = False
        self._rings.data = self._marked.data = {"x": _NONE, "y": _NONE}
        self._overlay.param.update(card={}, line="", label="Scatter: there is nothing to show")
        self._push()

    def _refit(self) -> None:
        """Set the ranges over all samples of the study, so that filters move nothing."""
        session = self.session
        columns = {"x": session.column(session.x), "y": session.column(session.y)}
        self._identity.visible = {session.x, session.y} == {"alignment_f", "alignment_g"}
        ends = {name: _ends(column) for name, column in columns.items()}
        if self._identity.visible:
            low, high = min(low for low, _ in ends.values()), max(high for _, high in ends.values())
            ends = dict.fromkeys(ends, (low, high))
        plot, quantities = self.figure, session.quantities
        for shown, (low, high) in ((plot.x_range, ends["x"]), (plot.y_range, ends["y"])):
            shown.update(start=low, end=high, reset_start=low, reset_end=high)
        self._window = Window(*ends["x"], *ends["y"], *self._window[4:])
        labels = quantities[session.x].label, quantities[session.y].label
        plot.xaxis.axis_label, plot.yaxis.axis_label = labels
        self._overlay.label = f"Scatter of {labels[1]} against {labels[0]}. Arrow keys go through the points."

    def _place_points(self) -> None:
        session = self.session
        self.points = points = Points.of(session.shown, *(session.column(key) for key in (session.x, session.y, session.colour)))
        self._current = None
        self._overlay.card = {}
        self._scale = Scale.of(points.value)
        self._bar_mapper.update(low=self._scale.low, high=self._scale.high)
        self._bar.visible = len(points) > 0
        many = len(points) > MOST_DRAWN[self._renderer]
        self._markers.visible, self._image.visible = not many, many
        if many:
            self.aggregate = Aggregate.of(points, self._window)
            self._drawn_points.data = {"x": _NONE, "y": _NONE, "value": _NONE}
        else:
            self.aggregate = None
            order = points.drawing_order()
            self._drawn_points.data = {"x": points.x[order], "y": points.y[order], "value": points.value[order]}
        self._recolour()

    @property
    def _limit(self) -> float:
        """Value of the colour below which points are dim; -inf where none are."""
        limit = self.session.limit
        return limit if self.session.colour == SSLMEM and not np.isnan(limit) else -np.inf

    def _recolour(self) -> None:
        dim = palette(self.session.dark)["dim"]
        self._bar_mapper.palette = self._scale.colours(self._limit, dim)
        if self.aggregate is None:
            self._mapper.update(**self._scale.mapping(self._limit, dim))
            return
        x0, x1, y0, y1, *_ = self.aggregate.window
        image = self.aggregate.shade(self._scale, self._limit)
        self._picture.data = {"image": [image], "x": [x0], "y": [y0], "dw": [x1 - x0], "dh": [y1 - y0]}

    def _ring(self) -> None:
        points, chosen = self.points, self.session.selected
        found = np.flatnonzero(np.isin(points.positions, chosen, assume_unique=True)) if len(chosen) else np.empty(0, np.int64)
        drawn = found[np.linspace(0, len(found) - 1, MOST_RINGS).astype(int)] if len(found) > MOST_RINGS else found
        self._ring_lines.line_alpha = min(1.0, max(0.12, 150 / max(len(drawn), 1)))  # many in full would hide the colours
        self._rings.data = {"x": points.x[drawn], "y": points.y[drawn]}
        self._overlay.line = self._count(len(found), len(drawn))

    def _count(self, selected: int, ringed: int) -> str:
        """Describe what is shown in words: number of points, colour, samples without values, selection."""
        shown, drawn = len(self.session.shown), len(self.points)
        if not shown:
            return "No sample passes the filters: choose other classes or partitions."
        scale, label = self._scale, self.session.quantities[self.session.colour].label
        parts = [f"{drawn:,} points" if self.aggregate is None else f"datashaded: {drawn:,} points"]
        if drawn:
            ends = f" from {scale.low:.3g} to {scale.high:.3g}, beyond that as at the end" if scale.clipped else ""
            parts.append(f"colour: {label}{ends}")
        if drawn < shown:
            parts.append(
                f"{shown - drawn:,} samples have no {'such values' if drawn else 'values on these axes: choose other axes'}"
            )
        if selected:
            rings = f", rings round {ringed:,} of them" if ringed < selected else ""
            parts.append(f"{selected:,} selected{rings}")
        return " · ".join(parts)

    def _mark(self) -> None:
        """Mark the point under the mouse or reached by keys, else the one whose detail is open."""
        point = self._current
        if point is None and self.session.sample is not None:
            position = self.session.opened.positions(np.array([self.session.sample]))
            place = np.searchsorted(self.points.positions, position)
            if len(position) and place[0] < len(self.points) and self.points.positions[place[0]] == position[0]:
                point = int(place[0])
        chosen = slice(0, 0) if point is None else slice(point, point + 1)
        self._marked.data = {"x": self.points.x[chosen], "y": self.points.y[chosen]}

    def _push(self) -> None:
        # In a notebook changes of Bokeh's models wait until they are pushed.
        pn.io.push_notebook(self._pane)

    # -- what a person does --------------------------------------------------------------------------------------------------------

    def handle(self, message: dict[str, Any]) -> None:
        """Answer a message of the :class:`~sslmem_kit.explorer.scatter.plot_overlay.PlotOverlay`."""
        kind = message["kind"]
        if kind == "adding":
            self._adding = bool(message["adding"])
        elif kind == "window":
            self._resize(message)
        elif kind == "renderer":
            self._drawn_by(message["renderer"])
        elif self.points is not None:
            if kind == "move":
                self._point_at(self.points.nearest(message["x"], message["y"], self._window))
            elif kind == "leave":
                self._point_at(None)
            elif kind == "key":
                self._pressed(message["key"])
        self._push()

    def _drawn_by(self, renderer: str) -> None:
        if renderer in MOST_DRAWN and renderer != self._renderer:
            self._renderer = renderer
            if self.points is not None and (self.aggregate is not None) != (len(self.points) > MOST_DRAWN[renderer]):
                self._follow_names({"shown"})

    def _resize(self, message: dict[str, Any]) -> None:
        sides = (min(max(int(message[name]), 1), LARGEST_PICTURE) for name in ("width", "height"))
        window = Window(*(float(message[name]) for name in ("x0", "x1", "y0", "y1")), *sides)
        if window == self._window or not (window.x1 > window.x0 and window.y1 > window.y0):
            return
        self._window = window
        if self.aggregate is not None:
            self.aggregate = Aggregate.of(self.points, window)
            self._recolour()

    def _point_at(self, point: int | None, *, speak: bool = False) -> None:
        if point == self._current and not speak:
            return
        self._current = point
        self._mark()
        if point is None:
            self._overlay.card = {}
            return
        position = int(self.points.positions[point])
        rows = describe(self.session, position)
        at = [float(self.points.x[point]), float(self.points.y[point])]
        self._overlay.card = {"picture": picture(self.session.opened, position), "rows": rows, "at": at}
        if speak:
            self._overlay.spoken = ", ".join(f"{name} {value}" for name, value in rows)

    def _pressed(self, key: str) -> None:
        points, current = self.points, self._current
        if key == "Escape":
            self._point_at(None)
            self._overlay.spoken = "Nothing is selected"
            self.session.select(np.empty(0, np.int64))
        elif key == "Enter" or key == " ":
            if current is not None and key == "Enter":
                self._open(current)
            elif current is not None:
                changed = points.positions[[current]]
                self.session.select(np.setxor1d(self.session.selected, changed))
                held = "selected" if changed[0] in self.session.selected else "not selected"
                self._overlay.spoken = f"{held}, {len(self.session.selected):,} in all"
        else:
            if current is None or key == "Home":
                going = points.ranked(None, 0)
            elif key in _ARROWS:
                going = points.beside(current, _ARROWS[key], self._window)
            else:
                going = points.ranked(current, 1 if key == "PageUp" else -1)
            if going is None:
                self._overlay.spoken = "There is no point further on" if points else "There are no points"
            else:
                self._point_at(going, speak=True)

    def _open(self, point: int) -> None:
        position = self.points.positions[point]
        self.session.sample = int(self.session.opened.ids[position])

    def _drawn(self, event: SelectionGeometry) -> None:
        """Select by the shape that was drawn: a box, a lasso or a tap."""
        if self.points is None or not event.final:
            return
        shape, session = event.geometry, self.session
        tool = {"rect": self._box, "poly": self._lasso}.get(shape["type"])
        mode = "append" if self._adding else tool.mode if tool else "replace"
        before = session.selected
        with param.parameterized.batch_call_watchers(session):
            if shape["type"] == "rect":
                (x0, x1), (y0, y1) = (shape["x0"], shape["x1"]), (shape["y0"], shape["y1"])
                session.select_inside(((x0, y0), (x1, y0), (x1, y1), (x0, y1)))
            elif shape["type"] == "poly":
                session.select_inside(tuple(zip(shape["x"], shape["y"], strict=True)))
            elif shape["type"] == "point":
                point = self.points.nearest(shape["x"], shape["y"], self._window)
                session.select(self.points.positions[[] if point is None else [point]])
                if point is not None:
                    self._open(point)
            if mode in _COMBINED:
                session.select(_COMBINED[mode](before, session.selected))


def _ends(column: np.ndarray) -> tuple[float, float]:
    """Return the ends of an axis: the range of the finite values, and a little room."""
    defined = column[np.isfinite(column)]
    if not len(defined):
        return 0.0, 1.0
    low, high = float(defined.min()), float(defined.max())
    room = 0.04 * (high - low) or max(abs(low), 1.0) * 0.05
    return low - room, high + room
