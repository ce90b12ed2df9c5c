"""How many samples lie above the threshold: tables by partition and by class. A click on a class shows only it, or no longer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import param
from panel.custom import JSComponent

from sslmem_kit.explorer.session import Session
from sslmem_kit.names import COLOURS, PARTITIONS, SSLMEM
from sslmem_kit.statistics import wilson_interval

PAGE = 50
"""Classes that are sent at first, and with each demand for more."""
ORDERS = ("class", "above", "samples", "share")

_ESM = """
const HEADS = [["class", "class"], ["above", "above"], ["samples", "of"], ["share", "share"]];
const number = (value) => value.toLocaleString("en");
const percent = (value) => value === null ? "\u2013" : `${(100 * value).toFixed(value > 0 && value < 0.01 ? 2 : 1)} %`;
const interval = (low, high) => low === null ? "\u2013" : `${(100 * low).toFixed(1)} to ${(100 * high).toFixed(1)} %`;

function make(tag, text, cls) {
  const element = document.createElement(tag);
  if (text !== undefined) element.textContent = text;
  if (cls) element.className = cls;
  return element;
}
function table(caption, heads) {
  const element = make("table"), head = make("tr"), body = make("tbody"), top = make("thead");
  element.append(make("caption", caption), top, body);
  top.append(head);
  for (const text of heads) { const cell = make("th", text); cell.scope = "col"; head.append(cell); }
  return { element, head, body };
}
// Rows are reused by place: only what changed is written, and the focus stays.
function fill(body, rows, create, write) {
  while (body.rows.length > rows.length) body.deleteRow(-1);
  while (body.rows.length < rows.length) body.append(create());
  rows.forEach((row, index) => write(body.rows[index], row));
}
function put(cell, text) { if (cell.textContent !== text) cell.textContent = text; }
function measures(row, first, [above, samples, share, low, high]) {
  put(row.cells[first], number(above));
  put(row.cells[first + 1], number(samples));
  put(row.cells[first + 2], percent(share));
  put(row.cells[first + 3], interval(low, high));
}

export function render({ model }) {
  const home = make("div", undefined, "shares");
  const parts = table("Above the threshold, by partition", ["partition", "above", "of", "share", "95 % interval"]);
  const classes = table("By class, in the shown partitions", []);
  const scroll = make("div", undefined, "scroll"), note = make("p"), more = make("button");
  scroll.tabIndex = 0;
  scroll.setAttribute("role", "region");
  scroll.setAttribute("aria-label", "Share above the threshold by class");
  more.type = "button";
  scroll.append(classes.element);
  const wide = make("div", undefined, "wide");
  wide.append(parts.element);
  home.append(wide, scroll, note, more);

  const heads = HEADS.map(([key, text]) => {
    const cell = make("th"), button = make("button", text, "sort");
    cell.scope = "col"; button.type = "button";
    button.addEventListener("click", () => {
      model.order = [key, model.order[0] === key ? !model.order[1] : key === "class"];
    });
    cell.append(button);
    classes.head.append(cell);
    return [key, cell, button, text];
  });
  classes.head.append(make("th", "95 % interval"));
  more.addEventListener("click", () => { model.count = model.count + 50; });

  function sorted() {
    for (const [key, cell, button, text] of heads) {
      const on = model.order[0] === key;
      cell.setAttribute("aria-sort", on ? (model.order[1] ? "ascending" : "descending") : "none");
      put(button, on ? `${text} ${model.order[1] ? "▲" : "▼"}` : text);
    }
  }
  function showParts() {
    fill(parts.body, model.partitions, () => {
      const row = make("tr"), name = make("th");
      name.scope = "row";
      name.append(make("span", undefined, "swatch"), make("span"));
      row.append(name, make("td"), make("td"), make("td"), make("td"));
      return row;
    }, (row, [name, colour, ...rest]) => {
      row.cells[0].firstChild.style.background = colour;
      put(row.cells[0].lastChild, name);
      measures(row, 1, rest);
    });
  }
  function showClasses() {
    fill(classes.body, model.classes, () => {
      const row = make("tr"), name = make("th"), button = make("button", "", "class");
      name.scope = "row"; button.type = "button";
      button.addEventListener("click", () => { model.send_msg({ toggle: button.textContent }); });
      name.append(button);
      row.append(name, make("td"), make("td"), make("td", "", "bar"), make("td"));
      return row;
    }, (row, [name, chosen, ...rest]) => {
      const button = row.cells[0].firstChild;
      put(button, name);
      button.title = chosen ? `${name}: shown; click for no longer` : `Show only ${name}, beside what is chosen`;
      button.setAttribute("aria-pressed", chosen);
      measures(row, 1, rest);
      row.cells[3].style.backgroundSize = `${100 * (rest[2] || 0)}% 100%`;
    });
    const sent = model.classes.length, left = model.total - sent;
    scroll.hidden = !sent;
    put(note, sent ? (left > 0 ? `${number(sent)} of ${number(model.total)} classes` : "") : model.text);
    more.hidden = left <= 0;
    more.textContent = `Show ${Math.min(50, left)} more`;
  }
  model.on("partitions", showParts);
  for (const name of ["classes", "total", "text"]) model.on(name, showClasses);
  model.on("order", sorted);
  sorted(); showParts(); showClasses();
  return home;
}
"""

_STYLE = """
/* Not on the host, whose colour Panel sets. */
.shares { color: var(--sm-ink); font: 13px system-ui, sans-serif; }
table { border-collapse: collapse; width: 100%; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: 6px 0 2px; }
th, td { padding: 2px 4px; text-align: right; border-bottom: 1px solid var(--sm-line); font-weight: normal; white-space: nowrap; }
th:first-child { text-align: left; }
thead th { color: var(--sm-muted); background: var(--sm-paper); position: sticky; top: 0; }
.swatch { display: inline-block; width: 10px; height: 10px; margin-right: 6px; border-radius: 2px; }
.wide { overflow-x: auto; }
.scroll { max-height: 260px; overflow: auto; margin-top: 6px; }
.bar { background: linear-gradient(var(--sm-line), var(--sm-line)) right / 0 100% no-repeat; }
button { font: inherit; color: var(--sm-ink); background: none; border: 1px solid transparent; border-radius: 4px; padding: 1px 5px;
  min-height: 24px; cursor: pointer; }
button.class { max-width: 12em; overflow: hidden; text-overflow: ellipsis; text-align: left; color: var(--sm-accent); }
button.class[aria-pressed=true] { background: var(--sm-accent); color: var(--sm-paper); }
button.sort { color: var(--sm-muted); }
.shares > button { border-color: var(--sm-muted); }
button:hover { border-color: var(--sm-muted); }
button:focus-visible, .scroll:focus-visible { outline: 2px solid var(--sm-focus); outline-offset: -2px; }
p { margin: 4px 0; color: var(--sm-muted); }
"""


@dataclass(frozen=True)
class Ordered:
    """The finite scores of a study, ascending within each partition.

    Attributes
    ----------
    everything
        All of them, one partition after the other.
    parts
        Those of each partition.
    """

    everything: np.ndarray
    parts: dict[str, np.ndarray]

    def candidates(self) -> np.ndarray:
        """Scores, ascending, that a quantile of the threshold is among: of the candidates, or of all where there are none."""
        candidates = self.parts["candidate"]
        return candidates if len(candidates) else np.sort(self.everything)


def ordered(session: Session) -> Ordered:
    """The scores of a session, sorted once for all sessions that look at the same ones."""
    opened = session.opened
    values = session.scores[SSLMEM].values
    codes = np.where(np.isfinite(values), opened.partitions, len(PARTITIONS))

    def make() -> np.ndarray:
        return np.concatenate([np.sort(values[codes == code]) for code in range(len(PARTITIONS))])

    whole = opened.cache.get((opened.key, opened.stamp, "ordered", session.protocol, session.encoders), make)
    ends = np.cumsum(np.bincount(codes, minlength=len(PARTITIONS))[: len(PARTITIONS) - 1])
    return Ordered(whole, dict(zip(PARTITIONS, np.split(whole, ends), strict=True)))


class ShareTables(JSComponent):
    """The two tables. A row is a name, what marks it (colour; whether it is chosen), above, samples, share, and the interval's ends."""

    partitions = param.List([])
    classes = param.List([], doc="At most `count` of them, in the order asked for.")
    total = param.Integer(0, doc="How many classes there are.")
    text = param.String("", doc="What is said where there are no classes.")
    order = param.List(["share", False], doc="Of the browser too: column, and whether ascending.")
    count = param.Integer(PAGE, doc="Of the browser too.")

    _esm = _ESM
    _stylesheets = [_STYLE]


class Shares:
    """Numbers and shares above the limit: of each partition, and of each class within the shown partitions."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.view = ShareTables(sizing_mode="stretch_width", margin=(4, 10))
        self._ordered: Ordered | None = None
        self._among = np.empty(0, bool)
        self._sizes = np.empty(0, np.int64)
        self.view.on_msg(self._toggle)
        session.param.watch(self._update, ["opened", "scores", "limit", "partition", "classes"])
        self.view.param.watch(self._list, ["order", "count"])
        self._update()

    def _toggle(self, event: Any) -> None:
        """Show a class that was clicked beside those chosen; a chosen one no longer."""
        name, chosen = event.data.get("toggle"), self.session.classes
        if self.session.opened.tree is not None and name in self.session.opened.class_names:
            self.session.classes = [kept for kept in chosen if kept != name] if name in chosen else [*chosen, name]

    def _update(self, *events: Any) -> None:
        changed, session = {event.name for event in events}, self.session
        if session.scores is None:
            self._ordered = None
            self.view.param.update(partitions=[], classes=[], total=0, text="")
            return
        if self._ordered is None or changed & {"opened", "scores"}:
            self._ordered = ordered(session)
        if not changed or changed & {"opened", "scores", "partition"}:
            wanted = np.array([not session.partition or name in session.partition for name in PARTITIONS])
            self._among = wanted[session.opened.partitions]
            self._sizes = self._count(self._among)
        if not changed or changed & {"opened", "scores", "limit"}:
            self.view.partitions = self._partition_rows()
        self._list()

    def _partition_rows(self) -> list[list[Any]]:
        names, parts = list(self._ordered.parts), self._ordered.parts.values()
        # A limit of another type than the scores' would have all of them converted.
        above = [len(part) - int(np.searchsorted(part, part.dtype.type(self.session.limit), side="right")) for part in parts]
        return _rows(names, [COLOURS[name] for name in names], np.array(above), np.array([len(part) for part in parts]))

    def _list(self, *_: Any) -> None:
        """The classes, as many as are asked for, in the order asked for."""
        if self.session.scores is None:
            return
        present = np.flatnonzero(self._sizes)
        samples = self._sizes[present]
        above = self._count(self._among & (self.session.scores[SSLMEM].values > self.session.limit))[present]
        key, ascending = self.view.order
        columns = {"class": present, "above": above, "samples": samples, "share": above / samples}
        if key not in columns or self.view.count < 1:
            return
        order = np.argsort(columns[key] if ascending else -columns[key], kind="stable")[: self.view.count]
        names = [self.session.opened.class_names[label] for label in present[order]]
        self.view.param.update(
            classes=_rows(names, [name in self.session.classes for name in names], above[order], samples[order]),
            total=len(present),
            text="" if len(present) else "The shown partitions have no samples: choose others in the filters.",
        )

    def _count(self, among: np.ndarray) -> np.ndarray:
        """Samples of each class."""
        return np.bincount(self.session.opened.labels[among], minlength=len(self.session.opened.class_names))


def _rows(names: list[str], marks: list[Any], above: np.ndarray, samples: np.ndarray) -> list[list[Any]]:
    """Rows of a table; None for the share of nothing."""
    low, high = wilson_interval(above, samples)
    return [
        [name, mark, int(k), int(n), *(([float(k / n), float(a), float(b)]) if n else [None] * 3)]
        for name, mark, k, n, a, b in zip(names, marks, above, samples, low, high, strict=True)
    ]
