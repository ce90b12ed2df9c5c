"""The graph of packages of docs/architecture.md as a picture: drawn when the site is built, so that the page needs no script of others."""

from __future__ import annotations

import re

WIDTH, ROW, BOX, CHARACTER = 760, 74, 28, 8.2
"""Pixels: of the picture, between two levels, height of a box, width of a letter."""
HEAD = '<marker id="head" viewBox="0 0 8 8" refX="7" refY="4" markerWidth="7" markerHeight="7" orient="auto"><path d="M0 0L8 4L0 8z"/></marker>'
LABEL = "Packages in rows, the highest level first; arrows lead to what is imported"


def as_svg(graph: str) -> str:
    """Return a Mermaid graph of levels as SVG: levels in rows, arrows between boxes."""
    levels = [re.findall(r"\w+", block) for block in re.findall(r"subgraph \w+\[ \]\n(.*?)end", graph, re.DOTALL)]
    places = {}
    for row, names in enumerate(levels):
        aside = (60 if row % 2 else -60) * (len(names) < 4)  # for arrows over several rows to pass between boxes
        for number, name in enumerate(names):
            places[name] = (WIDTH * (2 * number + 1) / (2 * len(names)) + aside, 20 + row * ROW)
    arrows = [_arrow(start, end, *places[start], *places[end]) for start, end in re.findall(r"(\w+) --> (\w+)", graph)]
    boxes = [
        f'<rect x="{x - _width(name) / 2:.0f}" y="{y}" width="{_width(name):.0f}" height="{BOX}" rx="5"/>'
        f'<text x="{x:.0f}" y="{y + 19}">{name}</text>'
        for name, (x, y) in places.items()
    ]
    return (
        f'<svg class="levels" role="img" aria-label="{LABEL}" viewBox="0 0 {WIDTH} {len(levels) * ROW}"><defs>{HEAD}</defs>'
        f'<g class="arrows">{"".join(arrows)}</g><g>{"".join(boxes)}</g></svg>\n'
    )


def _arrow(start: str, end: str, x1: float, y1: float, x2: float, y2: float) -> str:
    if y1 == y2:
        side = 1 if x2 > x1 else -1
        x1, x2 = x1 + side * _width(start) / 2, x2 - side * _width(end) / 2
        return f'<path d="M{x1:.0f} {y1 + BOX / 2:.0f}L{x2:.0f} {y2 + BOX / 2:.0f}"/>'
    bend = (y2 - y1 - BOX) / 2
    return f'<path d="M{x1:.0f} {y1 + BOX}C{x1:.0f} {y1 + BOX + bend:.0f} {x2:.0f} {y2 - bend:.0f} {x2:.0f} {y2}"/>'


def _width(name: str) -> float:
    return 22 + CHARACTER * len(name)
