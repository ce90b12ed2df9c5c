"""The threshold on the score: chosen by value, by quantile or by false-discovery rate, with the share of samples above it.

"Above" is strict: ``score > limit``. The quantile is among the candidates, as in :meth:`Session.quantile_limit`.
"""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import panel as pn
import param
from panel.custom import JSComponent

from sslmem_kit.explorer.session import DEFAULT_QUANTILE, Session
from sslmem_kit.explorer.threshold.distributions import Distributions
from sslmem_kit.explorer.threshold.shares import Shares, ordered
from sslmem_kit.names import SSLMEM
from sslmem_kit.statistics.fdr import NULL_WARNING
from sslmem_kit.store.files import read_beside

UNITS = {"value": "score", "quantile": "quantile of the candidates", "fdr": "false-discovery rate"}
STEPS = 500
"""Number of steps of the slider over the middle 99 % of the scores; a few outliers make it longer, not coarser."""


class ThresholdControl(JSComponent):
    """Front end of the threshold: a slider and a number for the same limit, and the choice of its unit."""

    units = param.List([], doc="Pairs of key and name of a unit.")
    by = param.String("value")
    low, high, step = param.Number(0.0), param.Number(1.0), param.Number(0.01)
    value = param.Number(0.0, doc="Threshold in the unit `by`.")
    text = param.String("")
    active = param.Boolean(True)
    seen = param.Integer(0, doc="Number of the last move that was handled.")
    moved = param.List([], doc="Set by the browser: unit, value, running number.")
    chosen = param.String("", doc="Set by the browser: the unit that was requested.")

    _esm = read_beside(__file__, "threshold.js")
    _stylesheets = [read_beside(__file__, "threshold.css")]


class Threshold:
    """Threshold of a session: the slider, shares above it by partition and by class, and curves and distributions with a line at it."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.control = ThresholdControl(sizing_mode="stretch_width", margin=(4, 10))
        self.shares = Shares(session)
        self.distributions = Distributions(session)
        self._update()
        names = ["opened", "scores", "limit", "threshold", "threshold_by"]
        session.param.watch(self._update, names)
        session.param.watch(self._count, ["shown"])
        self.control.param.watch(self._moved, ["moved"])
        self.control.param.watch(self._choose, ["chosen"])
        self.view = pn.Column(self.control, self.distributions.view, self.shares.view, sizing_mode="stretch_width")

    def _moved(self, *_: Any) -> None:
        by, value, number = self.control.moved
        # A move that crossed a change of the unit means nothing any more.
        if by == self.session.threshold_by and self.session.scores is not None:
            self.session.threshold = float(value)
        self.control.seen = int(number)

    def _choose(self, *_: Any) -> None:
        by, session = self.control.chosen, self.session
        if by in dict(self.control.units) and by != session.threshold_by and session.scores is not None:
            session.param.update(threshold_by=by, threshold=self.position(by))

    def position(self, by: str) -> float:
        """Return the present limit on the scale of a unit, as near as that scale has it."""
        session = self.session
        if by == "quantile":
            among = ordered(session).candidates()
            return float(np.interp(session.limit, among, np.linspace(0, 1, len(among)))) if len(among) > 1 else DEFAULT_QUANTILE
        if by == "fdr":
            above = session.q_values()[session.scores[SSLMEM].values > session.limit]
            return float(np.fmax.reduce(above, initial=0.0))
        return session.limit if math.isfinite(session.limit) else self._range()[1]

    def _update(self, *events: Any) -> None:
        session, changed = self.session, {event.name for event in events}
        if session.scores is None:
            self.control.param.update(active=False, text="")
            return
        by = session.threshold_by
        fields: dict[str, Any] = {"active": True, "by": by}
        if not changed or changed & {"opened", "scores", "threshold_by"}:
            low, high, step = self._range() if by == "value" else (0.0, 1.0, 0.001)
            fields |= {"low": low, "high": high, "step": step, "units": [[key, name] for key, name in UNITS.items()]}
        exact = session.threshold if session.threshold is not None and by != "value" else self.position(by)
        self.control.param.update(**fields, value=exact, text=self._summary())

    def _count(self, *_: Any) -> None:
        """Count again: the number above the limit is among the shown samples, and so depends on the filters."""
        if self.session.scores is not None:
            self.control.text = self._summary()

    def _range(self) -> tuple[float, float, float]:
        """Return lowest and highest place of the slider by value, and its step: one, two or five times a power of ten."""
        everything = ordered(self.session).everything
        if not len(everything):
            return 0.0, 1.0, 0.01
        low, high = float(everything.min()), float(everything.max())
        inner = np.quantile(everything, (0.005, 0.995))
        width = float(inner[1] - inner[0]) or high - low or 1.0
        place = 10.0 ** math.floor(math.log10(width / STEPS))
        step = next(place * times for times in (1, 2, 5, 10) if place * times >= width / STEPS * 0.999)
        # One step below the lowest score, so that all samples can be above.
        return (
            float(f"{(math.ceil(low / step) - 1) * step:.9g}"),
            float(f"{math.ceil(high / step) * step:.9g}"),
            float(f"{step:.3g}"),
        )

    def _summary(self) -> str:
        limit = self.session.limit
        doubt = self.session.scores.attrs.get(NULL_WARNING, "") if self.session.threshold_by == "fdr" else ""
        return self._counted(limit) + (f" Warning: {doubt}." if doubt else "")

    def _counted(self, limit: float) -> str:
        if not math.isfinite(limit):
            return "No sample is above: no score has so low a false-discovery rate."
        return f"Score above {limit:.4g}: {len(self.session.above()):,} of the {len(self.session.shown):,} shown samples."
