"""The threshold on the score: where it lies, by value, by quantile or by false-discovery rate, and what share lies above it.

"Above" is strict: ``score > limit``. The quantile is among the candidates, as :meth:`Session.quantile_limit` has it.
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

UNITS = {"value": "score", "quantile": "quantile of the candidates", "fdr": "false-discovery rate"}
STEPS = 500
"""Of the slider over the middle 99 % of the scores; a few outliers lengthen the slider, they do not make it coarse."""

_ESM = """
const WAIT = 100, GIVE_UP = 2000;  // ms between two moves; after which an answer is no longer waited for

export function render({ model }) {
  const home = document.createElement("div");
  home.className = "threshold";
  const choice = document.createElement("fieldset");
  const legend = document.createElement("legend");
  legend.textContent = "Threshold by";
  const label = document.createElement("label");
  const slider = document.createElement("input");
  const field = document.createElement("input");
  const told = document.createElement("output");
  slider.type = "range"; field.type = "number"; field.step = "any";
  slider.id = "slider"; label.htmlFor = "slider";
  const row = document.createElement("div");
  row.className = "row";
  row.append(slider, field);
  home.append(choice, label, row, told);

  // While it is dragged, the slider sends its latest place, and the next one only when the server is done with that.
  let next = null, sent = 0, last = 0, timer = null, held = false;
  const busy = () => sent > model.seen && Date.now() - last < GIVE_UP;
  function flush() {
    timer = null;
    if (next === null) return;
    const rest = last + WAIT - Date.now();
    if (rest > 0 || busy()) { timer = setTimeout(flush, Math.max(rest, 20)); return; }
    last = Date.now(); sent += 1;
    const value = next;
    next = null;
    model.moved = [model.by, value, sent];
  }
  function move(value) {
    if (!Number.isFinite(value)) return;
    next = value;
    if (timer === null) flush();
  }
  slider.addEventListener("input", () => { field.value = slider.value; move(slider.valueAsNumber); });
  const typed = () => {
    if (Number.isFinite(field.valueAsNumber)) { slider.value = field.value; move(field.valueAsNumber); } else place();
  };
  field.addEventListener("change", typed);
  // In JupyterLab a change is told only when the field loses the focus.
  field.addEventListener("keydown", (event) => { if (event.key === "Enter") typed(); });
  slider.addEventListener("pointerdown", () => { held = true; });
  for (const name of ["pointerup", "pointercancel"]) slider.addEventListener(name, () => { held = false; });

  function place() {
    if (held || next !== null || busy()) return;
    const text = String(Number(model.value.toPrecision(6)));
    slider.value = text;
    if (field !== field.getRootNode().activeElement || field.valueAsNumber !== Number(text)) field.value = text;
  }
  function tell() {
    told.textContent = model.text;
    slider.setAttribute("aria-valuetext", model.text);
  }
  function scale() {
    for (const input of [slider, field]) { input.disabled = !model.active; }
    slider.min = model.low; slider.max = model.high; slider.step = model.step;
    const unit = model.units.find(([key]) => key === model.by);
    label.textContent = unit ? `Threshold: ${unit[1]}` : "Threshold";
    field.setAttribute("aria-label", label.textContent);
    for (const radio of choice.querySelectorAll("input")) radio.checked = radio.value === model.by;
    place();
  }
  function offer() {
    choice.replaceChildren(legend, ...model.units.map(([key, name]) => {
      const text = document.createElement("label"), radio = document.createElement("input");
      radio.type = "radio"; radio.name = "by"; radio.value = key;
      radio.addEventListener("change", () => { next = null; model.chosen = key; });
      text.append(radio, document.createTextNode(name));
      return text;
    }));
    scale();
  }
  model.on("units", offer);
  for (const name of ["low", "high", "step", "by", "active"]) model.on(name, scale);
  model.on("value", place);
  model.on("seen", () => { if (next === null) place(); else if (timer === null) flush(); });
  model.on("text", tell);
  offer(); tell();
  return home;
}
"""

_STYLE = """
/* Not on the host, whose colour Panel sets. */
.threshold { color: var(--sm-ink); font: 13px system-ui, sans-serif; }
fieldset { border: 0; margin: 0 0 4px; padding: 0; display: flex; flex-wrap: wrap; gap: 2px 14px; }
legend { float: left; padding: 0; margin-right: 10px; font-weight: 600; }
fieldset label { display: inline-flex; align-items: center; gap: 4px; min-height: 24px; }
.row { display: flex; flex-wrap: wrap; gap: 8px; align-items: center; margin: 2px 0; }
input[type=range] { flex: 1 1 180px; min-width: 0; height: 24px; accent-color: var(--sm-accent); }
input[type=radio] { accent-color: var(--sm-accent); margin: 0; }
input[type=number] { flex: 0 0 110px; width: 110px; box-sizing: border-box; padding: 3px 6px; font: inherit; color: var(--sm-ink);
  background: var(--sm-paper); border: 1px solid var(--sm-muted); border-radius: 4px; }
input:focus-visible { outline: 2px solid var(--sm-focus); outline-offset: 2px; }
output { color: var(--sm-muted); display: block; min-height: 1.3em; font-variant-numeric: tabular-nums; }
"""


class ThresholdControl(JSComponent):
    """A slider and a number for the same limit, and the choice of its unit."""

    units = param.List([], doc="Pairs of key and name.")
    by = param.String("value")
    low, high, step = param.Number(0.0), param.Number(1.0), param.Number(0.01)
    value = param.Number(0.0, doc="In the unit `by`.")
    text = param.String("")
    active = param.Boolean(True)
    seen = param.Integer(0, doc="Number of the last move that was dealt with.")
    moved = param.List([], doc="Of the browser: unit, value, running number.")
    chosen = param.String("", doc="Of the browser: the unit that was asked for.")

    _esm = _ESM
    _stylesheets = [_STYLE]


class Threshold:
    """Slider, shares above it by partition and by class, and the curves and distributions that it cuts."""

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
        """Where the present limit lies on the scale of a unit; as near as that scale has it."""
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
        self.control.param.update(**fields, value=exact, text=self._tell())

    def _count(self, *_: Any) -> None:
        """What lies above is counted among the shown samples: another filter, another count."""
        if self.session.scores is not None:
            self.control.text = self._tell()

    def _range(self) -> tuple[float, float, float]:
        """Lowest and highest place of the slider by value, and its step: one, two or five of some decimal place."""
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

    def _tell(self) -> str:
        limit = self.session.limit
        if not math.isfinite(limit):
            return "No sample is above: no score has so low a false-discovery rate."
        return f"Score above {limit:.4g}: {len(self.session.above()):,} of the {len(self.session.shown):,} shown samples."
