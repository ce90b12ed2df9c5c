"""What the comparison shows in plain DOM: the two menus with what is to be told, the numbers, and the two galleries.

Each has one parameter ``data``, which the class of :mod:`sslmem_kit.explorer.comparison.comparison` fills, and answers with messages.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import param
from panel.custom import JSComponent

_ELEMENT = """
// All text goes in as text: names of classes, studies and encoders come from files.
function element(tag, attributes = {}, children = []) {
  const made = document.createElement(tag);
  for (const [name, value] of Object.entries(attributes)) made.setAttribute(name, value);
  made.append(...children);
  return made;
}
"""
_BASE = """
.part { width: 100%; font: 14px system-ui, sans-serif; color: var(--sm-ink); }
p { margin: 4px 0; } p:empty { display: none; }
.told { color: var(--sm-muted); }
"""


class _Part(JSComponent):
    data = param.Dict({}, doc="What is shown.")

    __abstract = True

    def __init__(self, answer: Callable[[Any], None] | None = None, **params: Any) -> None:
        super().__init__(**params)
        self._answer = answer

    def _handle_msg(self, data: Any) -> None:
        if self._answer is not None:
            self._answer(data)


class Menus(_Part):
    """Two menus and a line of text; answers with ``{"left": side}`` or ``{"right": side}``.

    ``data``: ``left``, ``right`` (sides as text), ``groups`` (study and its sides: text and label), ``told``, ``problem``, ``busy``.
    """

    _stylesheets = [
        _BASE
        + """
.menus { display: flex; flex-wrap: wrap; gap: 8px 16px; }
label { display: flex; flex-direction: column; flex: 1 1 240px; min-width: 0; font-weight: 600; gap: 2px; }
select { font: inherit; font-weight: 400; color: var(--sm-ink); background: var(--sm-paper); border: 1px solid var(--sm-muted);
  border-radius: 4px; padding: 6px; max-width: 100%; min-height: 34px; }
select:focus-visible { outline: 2px solid var(--sm-focus); outline-offset: 1px; }
.problem { background: var(--sm-warn); padding: 8px 12px; border-radius: 4px; }
"""
    ]
    _esm = (
        _ELEMENT
        + """
export function render({ model, el }) {
  const menus = {}, row = element("div", { class: "menus" });
  for (const [side, title] of [["left", "Left"], ["right", "Right"]]) {
    menus[side] = element("select", { "aria-label": title });
    menus[side].addEventListener("change", () => model.send_msg({ [side]: menus[side].value }));
    row.append(element("label", {}, [title, menus[side]]));
  }
  const told = element("p", { class: "told", role: "status" }), problem = element("p", { class: "problem", role: "status" });
  let offered = "";
  function update() {
    const { groups = [], busy = false } = model.data;
    const offers = JSON.stringify(groups);
    if (offers !== offered) {
      offered = offers;
      for (const menu of Object.values(menus)) menu.replaceChildren(...groups.map((group) => element("optgroup", { label: group.study },
        group.sides.map(([value, label]) => element("option", { value }, [label])))));
    }
    for (const [side, menu] of Object.entries(menus)) menu.value = model.data[side] ?? "";
    row.hidden = !groups.length;
    told.textContent = busy ? "Computing the agreement …" : model.data.told ?? "";
    problem.textContent = model.data.problem ?? "";
  }
  model.on("data", update);
  update();
  el.append(element("div", { class: "part" }, [row, told, problem]));
}
"""
    )


class Numbers(_Part):
    """Two tables and a sentence. ``data``: ``ranks`` and ``overlap`` (rows of cells) and ``help``."""

    _stylesheets = [
        _BASE
        + """
table { border-collapse: collapse; width: 100%; margin: 0 0 12px; font-variant-numeric: tabular-nums; }
caption { text-align: left; font-weight: 600; padding: 4px 0; }
th, td { text-align: right; padding: 3px 6px; border-bottom: 1px solid var(--sm-line); font-weight: 400; }
th:first-child, td:first-child { text-align: left; padding-left: 0; }
thead th { color: var(--sm-muted); }
"""
    ]
    _esm = (
        _ELEMENT
        + """
const RANKS = ["", "value", "95 % interval", "p"], OVERLAP = ["highest", "in both", "share", "by chance"];
function table(caption, head, rows) {
  const line = (cells) => element("tr", {}, cells.map((text, at) => element(at ? "td" : "th", at ? {} : { scope: "row" }, [text])));
  return element("table", {}, [element("caption", {}, [caption]),
    element("thead", {}, [element("tr", {}, head.map((text) => text ? element("th", { scope: "col" }, [text]) : element("td")))]),
    element("tbody", {}, rows.map(line))]);
}
export function render({ model, el }) {
  const body = element("div", { class: "part" });
  function update() {
    const { ranks = [], overlap = [], title = "", help = "" } = model.data;
    body.replaceChildren(...(ranks.length ? [table(title, RANKS, ranks)] : []),
      ...(overlap.length ? [table("Overlap of the highest", OVERLAP, overlap)] : []), element("p", { class: "told" }, [help]));
  }
  model.on("data", update);
  update();
  el.append(body);
}
"""
    )


class Tops(_Part):
    """The highest samples of either side; answers with the id of the one that was chosen.

    ``data``: ``sides``, each with ``title`` and ``samples`` (``id``, ``picture``, ``name``, ``value``, ``both``); ``opens``, whether a
    sample can be opened. ``current`` is the id of the open one.
    """

    current = param.Integer(None, allow_None=True)

    _stylesheets = [
        _BASE
        + """
.sides { display: flex; flex-wrap: wrap; gap: 16px; }
section { flex: 1 1 300px; min-width: 0; }
h3 { font-size: 14px; margin: 0 0 6px; overflow-wrap: anywhere; }
ul { list-style: none; margin: 0; padding: 0; display: grid; grid-template-columns: repeat(auto-fill, minmax(86px, 1fr)); gap: 6px; }
button { font: inherit; font-size: 12px; color: var(--sm-ink); background: var(--sm-panel); border: 2px solid var(--sm-line);
  border-radius: 4px; padding: 4px; width: 100%; height: 100%; display: flex; flex-direction: column; align-items: center; gap: 2px; }
button:not(:disabled) { cursor: pointer; }
button:not(:disabled):hover { border-color: var(--sm-muted); }
button.both { border-color: var(--sm-accent); }
button[aria-current="true"] { outline: 2px solid var(--sm-ink); }
button:focus-visible { outline: 3px solid var(--sm-focus); outline-offset: 1px; }
img { width: 64px; height: 64px; object-fit: contain; image-rendering: pixelated; }
span { max-width: 100%; overflow-wrap: anywhere; }
.mark { color: var(--sm-accent); font-weight: 600; }
"""
    ]
    _esm = (
        _ELEMENT
        + """
export function render({ model, el }) {
  const body = element("div", { class: "part sides" });
  function sample(one) {
    const lines = [`${one.id}: ${one.name}`, one.value].map((text) => element("span", {}, [text]));
    if (one.both) lines.push(element("span", { class: "mark" }, ["in both"]));
    const button = element("button", { type: "button", "data-id": one.id, class: one.both ? "both" : "" },
      [element("img", { src: one.picture, alt: "" }), ...lines]);
    button.setAttribute("aria-label", `sample ${one.id}, ${one.name}, ${one.value}${one.both ? ", among the highest of both sides" : ""}`);
    button.disabled = !model.data.opens;
    button.addEventListener("click", () => model.send_msg({ id: one.id }));
    return element("li", {}, [button]);
  }
  function mark() {
    for (const button of body.querySelectorAll("button")) button.setAttribute("aria-current", Number(button.dataset.id) === model.current);
  }
  function update() {
    body.replaceChildren(...(model.data.sides ?? []).map(({ title, samples }) =>
      element("section", { "aria-label": title }, [element("h3", {}, [title]), element("ul", {}, samples.map(sample))])));
    mark();
  }
  model.on("data", update);
  model.on("current", mark);
  update();
  el.append(body);
}
"""
    )
