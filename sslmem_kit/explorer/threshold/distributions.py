"""Share above the threshold (figure 5) and distributions of the partitions (figure 2c).

They are plotted once per scores; a change of the threshold moves the line at the limit only.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import panel as pn
from bokeh.models import (
    ColumnDataSource,
    FixedTicker,
    HoverTool,
    Legend,
    LegendItem,
    NumeralTickFormatter,
    Range1d,
    Span,
)
from bokeh.plotting import figure

from sslmem_kit.explorer.session import Session
from sslmem_kit.explorer.theme import dress, palette
from sslmem_kit.explorer.threshold.shares import Ordered, ordered
from sslmem_kit.names import COLOURS, PARTITIONS
from sslmem_kit.statistics import share_above

ROWS = ("candidate", "shared", "extra", "independent")
"""Partitions of the distributions from top to bottom, as in figure 2c."""
BINS = 60
POINTS = 200
"""Number of points of a curve at equal distances, and again at equal shares of the samples."""
EDGES = (0.0005, 0.9995)
"""Quantiles of the scores at the ends of the axis, so that a few outliers do not flatten the rest."""
COLUMNS = ("left", "right", "bottom", "top", "colour", "partition", "samples", "share")
"""Columns of the data of the bars."""
_HEIGHT = 0.85


class Distributions:
    """Two figures over one axis of the score, with a line at the limit."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self._across = Range1d(0, 1)
        self.curves = ColumnDataSource({"threshold": [], **{name: [] for name in PARTITIONS}})
        self.bars = ColumnDataSource({name: [] for name in COLUMNS})
        self.lines: list[Span] = []
        self.plots = {"linear": self._share_plot("linear"), "log": self._share_plot("log"), "rows": self._row_plot()}
        self._panes = {name: pn.pane.Bokeh(plot, sizing_mode="stretch_width", margin=(2, 4)) for name, plot in self.plots.items()}
        self._panes["log"].visible = False
        self.scale = pn.widgets.RadioBoxGroup(
            options={"linear share": "linear", "logarithmic share": "log"},
            value="linear",
            inline=True,
            margin=(2, 10),
            stylesheets=["label, span { color: var(--sm-ink); } input { accent-color: var(--sm-accent); }"],
        )
        self.scale.param.watch(self._rescale, ["value"])
        session.param.watch(self._update, ["opened", "scores", "limit"])
        self._update()
        self.view = pn.Column(self.scale, *self._panes.values(), sizing_mode="stretch_width")

    def _rescale(self, *_: Any) -> None:
        for name in ("linear", "log"):
            self._panes[name].visible = self.scale.value == name

    def _update(self, *events: Any) -> None:
        changed = {event.name for event in events}
        if not changed or changed & {"opened", "scores"}:
            self._replot()
        limit, there = self.session.limit, self.session.scores is not None and math.isfinite(self.session.limit)
        for line in self.lines:
            line.update(location=limit if there else 0.0, visible=there)
        # Does nothing on a server; without it a notebook receives no changes of Bokeh's models.
        pn.io.push_notebook(*self._panes.values())

    def _replot(self) -> None:
        scores = ordered(self.session) if self.session.scores is not None else None
        if scores is None or not len(scores.everything):
            for source in (self.curves, self.bars):
                source.data = {name: [] for name in source.data}
            return
        everything = np.sort(scores.everything)
        low, high = (float(everything[round(edge * (len(everything) - 1))]) for edge in EDGES)
        margin = 0.03 * (high - low) or 0.5
        self._across.update(start=low - margin, end=high + margin, reset_start=low - margin, reset_end=high + margin)
        places = np.linspace(0, len(everything) - 1, POINTS).round().astype(int)
        evenly = np.linspace(low - margin, high + margin, POINTS, dtype=everything.dtype)
        thresholds = np.unique(np.concatenate([everything[places], evenly]))
        shares = {name: share_above(part, thresholds).astype(np.float32) for name, part in scores.parts.items()}
        self.curves.data = {"threshold": thresholds, **shares}
        # Where nothing is above, there is no logarithm.
        lowest = min((float(share[share > 0].min(initial=1.0)) for share in shares.values()), default=1.0)
        self.plots["log"].y_range.update(start=lowest / 2, end=1.3)
        for name in ("linear", "log"):
            for item in self.plots[name].legend[0].items:
                item.visible = bool(len(scores.parts[item.name]))
        edges = np.linspace(low - margin, high + margin, BINS + 1)
        self.bars.data = _histograms(scores, edges)
        names = {place: f"{name}, n = {len(scores.parts[name]):,}" for place, name in enumerate(reversed(ROWS))}
        rows = self.plots["rows"]
        rows.yaxis.major_label_overrides = {place + 0.4: text.replace(", ", "\n") for place, text in names.items()}
        beyond = len(everything) - int(sum(self.bars.data["samples"]))
        rows.xaxis.axis_label = "score" + (f" ({beyond:,} of {len(everything):,} samples outside)" if beyond else "")

    def _share_plot(self, scale: str) -> figure:
        plot = self._plot(y_axis_type=scale, y_range=Range1d(0, 1.02) if scale == "linear" else Range1d(1e-4, 1.3))
        items = []
        for name in PARTITIONS:
            drawn = plot.line("threshold", name, source=self.curves, color=COLOURS[name], line_width=2)
            items.append(LegendItem(label=name, renderers=[drawn], name=name))
        plot.add_layout(Legend(items=items, orientation="horizontal", spacing=6, padding=2, margin=2, label_standoff=3), "above")
        colours = palette(self.session.dark)
        plot.legend.update(background_fill_color=colours["paper"], border_line_color=None, label_text_color=colours["ink"])
        plot.legend.update(label_text_font_size="12px", glyph_width=14)
        plot.yaxis.axis_label = "share above the threshold"
        plot.yaxis.formatter = NumeralTickFormatter(format="0 %" if scale == "linear" else "0.[0000] %")
        plot.xaxis.axis_label = "threshold on the score"
        return dress(plot, self.session.dark)

    def _row_plot(self) -> figure:
        plot = self._plot(y_range=Range1d(-0.05, len(ROWS)))
        paper = palette(self.session.dark)["paper"]
        look = {"fill_color": "colour", "line_color": paper, "line_width": 0.5}
        drawn = plot.quad("left", "right", "top", "bottom", source=self.bars, **look)
        tips = [("partition", "@partition"), ("score", "@left{0.000} to @right{0.000}"), ("samples", "@samples (@share{0.0 %})")]
        plot.add_tools(HoverTool(renderers=[drawn], tooltips=tips))
        plot.yaxis.ticker = FixedTicker(ticks=[place + 0.4 for place in range(len(ROWS))])
        plot.ygrid.visible = False
        plot.yaxis.axis_label = "each row to its own scale"
        return dress(plot, self.session.dark)

    def _plot(self, **options: Any) -> figure:
        place = {"height": 230, "min_width": 240, "sizing_mode": "stretch_width"}
        plot = figure(x_range=self._across, tools="pan,box_zoom,reset", **place, **options)
        plot.toolbar.update(autohide=True, active_drag=None)
        ink = palette(self.session.dark)["ink"]
        line = Span(dimension="height", location=0.0, line_color=ink, line_width=1.5, line_dash="dashed")
        plot.add_layout(line)
        self.lines.append(line)
        return plot


def _histograms(scores: Ordered, edges: np.ndarray) -> dict[str, Any]:
    """Return the bars of every partition that has samples, each partition on its own base line."""
    columns: dict[str, list[Any]] = {name: [] for name in COLUMNS}
    for base, name in enumerate(reversed(ROWS)):
        values = scores.parts[name]
        counts = np.diff(np.searchsorted(values, edges.astype(values.dtype)))
        shown = np.flatnonzero(counts)
        columns["left"].append(edges[:-1][shown].astype(np.float32))
        columns["right"].append(edges[1:][shown].astype(np.float32))
        columns["bottom"].append(np.full(len(shown), base, np.float32))
        columns["top"].append((base + _HEIGHT * counts[shown] / max(1, counts.max())).astype(np.float32))
        columns["samples"].append(counts[shown].astype(np.int32))
        columns["share"].append((counts[shown] / max(1, len(values))).astype(np.float32))
        columns["colour"] += [COLOURS[name]] * len(shown)
        columns["partition"] += [name] * len(shown)
    return {name: np.concatenate(column) if name not in ("colour", "partition") else column for name, column in columns.items()}
