"""The comparison of two sides: agreement of their orders of the same samples, in a scatter, in numbers and in galleries.

Results are cached in the library for all sessions, and computed while the tab is open only.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import panel as pn
import xarray as xr
from bokeh.models import ColumnDataSource, Range1d, Scatter, Slope
from bokeh.plotting import figure

from sslmem_kit.errors import UserError
from sslmem_kit.explorer.comparison.matching import Findings, check_same_samples, compare, same_samples
from sslmem_kit.explorer.comparison.panels import Menus, Numbers, Tops
from sslmem_kit.explorer.comparison.sides import Side, default_sides, offered, parse
from sslmem_kit.explorer.session import Session
from sslmem_kit.explorer.study_cache import OpenStudy
from sslmem_kit.explorer.theme import dress, palette
from sslmem_kit.explorer.thumbnails import known_ids, thumbnails
from sslmem_kit.report.tables import rows
from sslmem_kit.store.provenance import computed_on, difference

TAB = "compare"
FEW = 5_000
"""Largest number of points that are drawn less transparent."""
PAINT_MS = 30
"""Milliseconds that a browser gets to show that something is being computed."""

LEAST_TAU = 0.05
"""Smallest Kendall's tau of two orders that agree, where its interval excludes 0 too."""

_TABLE_13 = (
    "For orientation, tau in the paper's Table 13: 0.207 to 0.258 between self-supervised methods, 0.074 to 0.112 between supervised and "
    "self-supervised ones."
)
_OF_SCORES = "on which samples are memorized"
_OF_ALIGNMENTS = "on which samples are hard, those whose views lie far apart; that says nothing yet about memorization"
_MIXED = "A score against an alignment: whether the samples that are memorized are those that are hard for this encoder."

_ROW = ":host { display: flex; flex-flow: row wrap; gap: 8px; }"


class Comparison:
    """Comparison of a session: menus, a scatter of one side against the other, their agreement in numbers, and the highest samples of both.

    Parameters
    ----------
    session
        Its ``left``, ``right``, ``protocol`` and the filters say what is compared.
    """

    def __init__(self, session: Session) -> None:
        self.session = session
        self._done: tuple[Any, ...] | None = None
        self._pending = False
        self._ids = np.empty(0, np.int64)
        wide = {"sizing_mode": "stretch_width", "margin": (4, 8)}
        self.menus, self.numbers, self.tops = Menus(self._choose, **wide), Numbers(**wide), Tops(self._open, **wide)
        self.points = ColumnDataSource({"x": np.empty(0, np.float32), "y": np.empty(0, np.float32)})
        self._ring = ColumnDataSource({"x": [], "y": []})
        self.plot = self._draw()
        half = {"sizing_mode": "stretch_width", "styles": {"flex": "1 1 320px", "min-width": "0"}}
        pane = pn.pane.Bokeh(self.plot, sizing_mode="stretch_width", height=420)
        self._found = pn.Column(
            pn.Column(pn.Column(pane, **half), pn.Column(self.numbers, **half), stylesheets=[_ROW], sizing_mode="stretch_width"),
            self.tops,
            sizing_mode="stretch_width",
            visible=False,
        )
        self.view = pn.Column(self.menus, self._found, sizing_mode="stretch_width", css_classes=["sm-comparison"])
        session.param.watch(self._follow, ["tab", "left", "right", "opened", "protocol", "shown", "scores"])
        session.param.watch(self._mark, ["sample"])
        self._follow()

    # -- what is compared ----------------------------------------------------------------------------------------------------------

    def sides(self) -> tuple[Side, Side, str]:
        """Return left, right, and remarks on sides that the session names and no study offers."""
        session, library, notes = self.session, self.session.library, []

        def chosen(text: str) -> Side | None:
            try:
                return parse(text, library) if text else None
            except UserError as error:
                notes.append(f"{error}: the default stands in its place.")
                return None

        left = chosen(session.left) or default_sides(session.opened, library)[0]
        right = chosen(session.right)
        if right is None:
            first, second = default_sides(self._study(left.study), library)
            right = second if second != left else first
        return left, right, " ".join(notes)

    def _groups(self) -> list[tuple[str, list[Side]]]:
        """Return the sides that the menus offer, by study."""
        return [(key, sides) for key in self.session.library.keys if (sides := offered(self._study(key)))]

    def _study(self, key: str) -> OpenStudy:
        # The session's own study stays at the state that the session shows.
        return self.session.opened if key == self.session.opened.key else self.session.library.open(key)

    def _key(self, left: Side, right: Side) -> tuple[Any, ...]:
        session = self.session
        stamps = tuple((key, self._study(key).stamp) for key in (session.opened.key, left.study, right.study))
        return (left, right, stamps, session.protocol, tuple(sorted(session.classes)), tuple(sorted(session.partition)))

    def _findings(self, left: Side, right: Side) -> Findings:
        session = self.session
        studies = (self._study(left.study), self._study(right.study))
        check_same_samples(*studies)
        return session.library.cache.get(
            ("comparison", *self._key(left, right)),
            lambda: compare((left, right), studies, session.protocol, within=(session.opened, session.shown)),
        )

    # -- showing it ----------------------------------------------------------------------------------------------------------------

    def _follow(self, *_: Any) -> None:
        """Show that something will be computed, and compute it once that has been sent."""
        session = self.session
        if session.tab != TAB:
            return
        if session.scores is None:
            self._done, self.menus.data, self._found.visible = None, {}, False
            return
        left, right, remarks = self.sides()
        key = (*self._key(left, right), remarks)
        if key == self._done:
            return
        groups = [{"study": key, "sides": [[str(side), side.label] for side in sides]} for key, sides in self._groups()]
        self.menus.data = {"left": str(left), "right": str(right), "groups": groups, "busy": True}
        document = pn.state.curdoc
        if document is None or document.session_context is None:
            self._compute()
        elif not self._pending:
            self._pending = True
            document.add_timeout_callback(self._compute, PAINT_MS)

    def _compute(self) -> None:
        self._pending = False
        session = self.session
        if session.scores is None or session.tab != TAB:  # since the call was made
            return
        left, right, remarks = self.sides()
        self._done = (*self._key(left, right), remarks)
        try:
            found = self._findings(left, right)
            tops = self._tops(left, right, found)
        except UserError as error:
            self._show(remarks, problem=str(error))
            return
        if not len(found.ids):
            self._show(
                remarks, problem="No sample passes the filters and is on both sides: clear the filter of classes or partitions."
            )
            return
        self._plot(left, right, found)
        self.numbers.data = _numbers(left, right, found)
        self.tops.data = tops
        self._show(" ".join(text for text in (remarks, self._remarks(left, right, found)) if text))

    def _show(self, remarks: str, problem: str = "") -> None:
        self.menus.data = {**self.menus.data, "remarks": remarks, "problem": problem, "busy": False}
        self._found.visible = not problem

    def _remarks(self, left: Side, right: Side, found: Findings) -> str:
        session, n = self.session, found.ranks["n"].item()
        remarks = [f"{n:,} samples on both sides."]
        if not same_samples(session.opened, self._study(left.study)):
            remarks = [
                f"{n:,} samples on both sides, unfiltered: the filters are those of {session.opened.key!r}, which has other data."
            ]
        if n > len(found.ids):
            remarks.append(f"{len(found.ids):,} of them are drawn, evenly chosen.")
        if left.study != right.study:
            remarks.append(difference(*(computed_on(self._study(side.study).attributes) for side in (left, right))))
        if found.moved:
            remarks.append(f"{found.moved:,} are in another partition on the right than on the left.")
        return " ".join(filter(None, remarks))

    def _tops(self, left: Side, right: Side, found: Findings) -> dict[str, Any]:
        both = set(np.intersect1d(found.tops[0][0], found.tops[1][0]).tolist())
        sides = []
        for side, (ids, values) in zip((left, right), found.tops, strict=True):
            study = self._study(side.study)
            positions = study.positions(ids)
            names = [study.class_names[label] for label in study.labels[positions]]
            rows = zip(ids.tolist(), thumbnails(study, positions), names, values.tolist(), strict=True)
            samples = [{"id": i, "picture": p, "name": n, "value": f"{v:.4f}", "both": i in both} for i, p, n, v in rows]
            sides.append({"title": f"Highest of {side.label}", "samples": samples})
        return {"sides": sides, "opens": same_samples(self.session.opened, self._study(left.study))}

    def _draw(self) -> figure:
        colours = palette(self.session.dark)
        plot = figure(
            output_backend="webgl", tools="pan,box_zoom,wheel_zoom,tap,reset", toolbar_location="above", sizing_mode="stretch_width",
            height=420, x_range=Range1d(0, 1), y_range=Range1d(0, 1),
        )  # fmt: skip
        points = plot.scatter("x", "y", source=self.points, size=5, fill_color=colours["accent"], line_color=None)
        self._glyph = points.glyph
        # Choosing a point opens its sample; the others must not turn pale.
        points.selection_glyph = points.nonselection_glyph = None
        plot.add_glyph(self._ring, Scatter(x="x", y="y", size=13, line_width=2, line_color=colours["ink"], fill_color=None))
        self._diagonal = Slope(gradient=1, y_intercept=0, line_dash="dashed", line_color=colours["muted"])
        plot.add_layout(self._diagonal)
        self.points.selected.on_change("indices", self._tapped)
        dress(plot, self.session.dark).title = None  # though empty, it would take room from the tools
        return plot

    def _plot(self, left: Side, right: Side, found: Findings) -> None:
        self._ids = found.ids
        self.points.selected.indices = []
        self._glyph.fill_alpha = 0.4 if len(found.ids) <= FEW else 0.15
        self.points.data = {"x": found.left.astype(np.float32), "y": found.right.astype(np.float32)}
        self.plot.xaxis.axis_label, self.plot.yaxis.axis_label = left.label, right.label
        self._diagonal.visible = left.is_score == right.is_score
        for axis, values in ((self.plot.x_range, found.left), (self.plot.y_range, found.right)):
            low, high = float(values.min()), float(values.max())
            margin = 0.04 * (high - low) or 0.01
            axis.update(start=low - margin, end=high + margin, reset_start=low - margin, reset_end=high + margin)
        self._mark()

    # -- what a person does --------------------------------------------------------------------------------------------------------

    def _choose(self, message: Any) -> None:
        left, right, _ = self.sides()
        known = [str(side) for _, sides in self._groups() for side in sides]
        # What a browser sends can be anything.
        chosen = {name: message[name] for name in ("left", "right") if isinstance(message, dict) and message.get(name) in known}
        # Both are written down: a default that follows the other side would jump.
        self.session.param.update(**{"left": str(left), "right": str(right), **chosen})

    def _open(self, message: Any) -> None:
        for sample in known_ids(self.session, [message.get("id")] if isinstance(message, dict) else None):
            self.session.sample = sample

    def _tapped(self, attribute: str, old: list[int], new: list[int]) -> None:
        # A tap may arrive when the points have changed since.
        if new and new[0] < len(self._ids) and self.tops.data["opens"]:
            self._open({"id": int(self._ids[new[0]])})
            self.points.selected.indices = []

    def _mark(self, *_: Any) -> None:
        """Ring the open sample, if it is among the points, and mark it in the galleries."""
        if self.session.tab != TAB:
            return
        sample = self.session.sample
        at = np.flatnonzero(self._ids == sample) if sample is not None else np.empty(0, np.int64)
        self._ring.data = {name: values[at] for name, values in self.points.data.items()}
        self.tops.current = sample


def _numbers(left: Side, right: Side, found: Findings) -> dict[str, Any]:
    ranks = found.ranks
    shown = [
        [name, _number(one["value"].item()), _interval(one["interval"].values), p]
        for name, p, one in (
            ("Kendall's tau-b", _p(ranks["p"].item()), ranks.sel(statistic="tau")),
            ("Spearman's rho", "", ranks.sel(statistic="rho")),
        )
    ]
    overlap = [
        [f"{row['k']}", f"{row['common']}", f"{row['share']:.0%}", f"{row['chance']:.2%}"] for row in rows(found.overlap, "k")
    ]
    kinds = (left.is_score, right.is_score)
    sentence = _MIXED
    if all(kinds):
        sentence = f"Two scores {_agree(ranks)} {_OF_SCORES}. {_TABLE_13}"
    elif not any(kinds):
        sentence = f"Two encoders' alignments {_agree(ranks)} {_OF_ALIGNMENTS}."
    return {"title": f"Rank agreement, n = {ranks['n'].item():,}", "ranks": shown, "overlap": overlap, "help": sentence}


def _agree(ranks: xr.Dataset) -> str:
    """Return a verb for a rank agreement."""
    one = ranks.sel(statistic="tau")
    tau, (low, high) = one["value"].item(), one["interval"].values
    if not np.isfinite(tau):
        return "cannot be compared"
    if low > 0 and tau >= LEAST_TAU:
        return "agree"
    return "disagree" if high < 0 and tau <= -LEAST_TAU else "are not seen to agree"


def _number(value: float) -> str:
    return f"{value:.3f}" if np.isfinite(value) else "not defined (all values of a side are equal, or there are fewer than 2)"


def _interval(ends: np.ndarray) -> str:
    return f"[{ends[0]:.3f}, {ends[1]:.3f}]" if np.isfinite(ends).all() else "not defined"


def _p(value: float) -> str:
    if not np.isfinite(value):
        return "not defined"
    return f"{value:.2g}" if value > 0 else "< 1e-300"
