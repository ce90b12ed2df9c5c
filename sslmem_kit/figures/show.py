"""Show a figure in a notebook: interactive where scripts run, a picture everywhere else, offline in both.

HoloViews' own display puts 6 MB of JavaScript into a notebook, and stays blank where a notebook is not trusted, which one that was
executed by somebody else never is. Here the output is the picture; a script puts the interactive figure in its place.
"""

from __future__ import annotations

import base64
from dataclasses import dataclass, field
from html import escape
from typing import TYPE_CHECKING, Any
from uuid import uuid4

from sslmem_kit.figures.save import bokeh_model, item_json, libraries, png
from sslmem_kit.store.files import read_beside

if TYPE_CHECKING:
    from sslmem_kit.store.frontier import Frontier
    from sslmem_kit.store.removal_tree import RemovalTree
    from sslmem_kit.study import Study

_SCRIPT = read_beside(__file__, "show.js")


@dataclass(frozen=True)
class Shown:
    """Output of a notebook cell.

    Examples
    --------
    >>> Shown("<b>text</b>")
    Shown()
    """

    # Left out of the text form, which notebooks store beside the HTML.
    html: str = field(repr=False)

    def _repr_html_(self) -> str:
        return self.html


def show(figure: Any, *, interactive: bool = True) -> Shown:
    """Make a figure the output of a notebook cell.

    Parameters
    ----------
    figure
        A HoloViews object with options for both backends.
    interactive
        Replace the picture by the interactive figure where scripts run and :func:`interactive_figures` was shown before.

    Examples
    --------
    >>> import holoviews as hv
    >>> from sslmem_kit.figures import style  # registers the backends
    >>> show(hv.Curve([1, 2, 3]), interactive=False).html[:15]
    '<div id="sslmem'
    """
    picture = base64.b64encode(png(figure, dpi=100)).decode()
    identity = f"sslmem-{uuid4().hex}"
    html = f'<div id="{identity}"><img alt="figure" style="max-width: 100%" src="data:image/png;base64,{picture}"/></div>'
    if interactive:
        item = item_json(bokeh_model(figure))
        html += f'<script>(function () {{\n{_SCRIPT}showFigure("{identity}", {item});\n}})();</script>'
    return Shown(html)


def warn(study: Study | RemovalTree | Frontier) -> Shown:
    """Warn of what is wrong with a study or limits its numbers (:func:`sslmem_kit.statistics.caveats.caveats`); empty where nothing is.

    Examples
    --------
    >>> from types import SimpleNamespace
    >>> "<b>Warning:</b> one seed." in warn(SimpleNamespace(caveats=["one seed"])).html
    True
    """
    boxes = (f'<p style="{_BOX}"><b>Warning:</b> {escape(sentence)}.</p>' for sentence in study.caveats)
    return Shown("".join(boxes))


_BOX = "background: #fff4d6; color: #1b1f24; padding: 8px 12px; margin: 0 0 4px"
"""Background and text colours of its own, readable in every theme."""


def interactive_figures() -> Shown:
    """JavaScript of interactive figures, 1.3 MB, once in a notebook: show it in a cell above the first figure.

    Examples
    --------
    >>> interactive_figures().html[:8]
    '<script>'
    """
    (bokeh, *settings) = libraries()
    once = f"if (!window.Bokeh) {{ (function () {{ {bokeh}\n }}).call(window); {' '.join(settings)} }}"
    return Shown(f"<script>{once}</script>The figures below are interactive where the notebook is trusted, and pictures elsewhere.")
