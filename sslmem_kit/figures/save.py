"""Write a figure as an interactive page that opens offline, and as a picture."""

from __future__ import annotations

import html
import io
import json
from pathlib import Path
from string import Template
from typing import Any

import holoviews as hv
import matplotlib
import matplotlib.pyplot as plt
from bokeh.embed import json_item
from bokeh.models import Axis, DataTable, LayoutDOM, Plot, Toolbar
from bokeh.resources import Resources

from sslmem_kit.spec.paths import expanded
from sslmem_kit.store.files import read_beside, write_atomically

DPI = 150
"""Resolution of pictures, in dots per inch."""

_PAGE = Template(read_beside(__file__, "page.html"))


def save_figure(figure: Any, folder: Path | str, name: str) -> list[Path]:
    """Write ``<name>.html`` and ``<name>.png``; each appears under its name only when it is whole.

    The page carries the JavaScript it needs. The picture is rendered by matplotlib, for bokeh needs a browser to make one.

    Parameters
    ----------
    figure
        A HoloViews object with options for both backends.
    folder
        Made where there is none.
    name
        Without ending.

    Returns
    -------
    The two paths, page first.

    Raises
    ------
    OSError
        The folder cannot be made or written to.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     [path.name for path in save_figure(hv.Curve([1, 2, 3]), folder, "curve")]
    ['curve.html', 'curve.png']
    """
    folder = expanded(folder)
    folder.mkdir(parents=True, exist_ok=True)
    contents = {"html": page(bokeh_model(figure), name).encode(), "png": png(figure)}
    paths = []
    for ending, content in contents.items():
        path = folder / f"{name}.{ending}"
        write_atomically(path, content)
        paths.append(path)
    return paths


def page(model: LayoutDOM, title: str) -> str:
    """Make an HTML page that shows a model without loading anything, from its own disk or the network.

    Bokeh's ``file_html`` links extensions that Panel registers, as files that do not exist.

    Examples
    --------
    >>> page(bokeh_model(hv.Curve([1, 2, 3])), "A curve")[:15]
    '<!DOCTYPE html>'
    """
    tables = ["bokeh-widgets", "bokeh-tables"] if model.select_one({"type": DataTable}) else []
    scripts = "".join(f"<script>{script}</script>\n" for script in libraries(*tables))
    return _PAGE.substitute(title=html.escape(title), scripts=scripts, item=item_json(model))


def libraries(*more: str) -> list[str]:
    """JavaScript of bokeh, and of further components of it, one script each.

    Examples
    --------
    >>> len(libraries("bokeh-widgets")) > len(libraries())
    True
    """
    return Resources(mode="inline", components=["bokeh", *more], log_level="warn").js_raw


def item_json(model: LayoutDOM) -> str:
    """Serialize a model as the argument of ``Bokeh.embed.embed_item``, escaped for a script element.

    Examples
    --------
    >>> "</" in item_json(bokeh_model(hv.Curve([1, 2, 3])))
    False
    """
    return json.dumps(json_item(model)).replace("</", "<\\/")


def bokeh_model(figure: Any) -> LayoutDOM:
    """Render a figure as a bokeh model that is shown outside a HoloViews pane.

    Examples
    --------
    >>> bokeh_model(hv.Curve([1, 2, 3])).output_backend
    'canvas'
    """
    model = hv.render(figure, backend="bokeh")
    for plot in model.select({"type": Plot}):
        # HoloViews leaves "fixed" on plots that have a size of their frame only, of which bokeh warns.
        plot.sizing_mode = None
        # WebGL would be another library to carry, and the figures have some thousand points at most.
        plot.output_backend = "canvas"
    for toolbar in model.select({"type": Toolbar}):
        toolbar.logo = None
    for axis in model.select({"type": Axis}):
        axis.axis_label_text_font_style = "normal"
    return model


def png(figure: Any, *, dpi: int = DPI) -> bytes:
    """Render a figure as the bytes of a PNG file with matplotlib.

    Examples
    --------
    >>> png(hv.Curve([1, 2, 3]))[:4]
    b'\\x89PNG'
    """
    return _rendered(figure, format="png", dpi=dpi, metadata={"Software": None})


def svg(figure: Any, *, dpi: int = DPI) -> bytes:
    """Render a figure as the bytes of an SVG file with matplotlib, the same each time; ``dpi`` is that of rasterized parts.

    Examples
    --------
    >>> svg(hv.Curve([1, 2, 3])) == svg(hv.Curve([1, 2, 3]))
    True
    """
    with matplotlib.rc_context({"svg.hashsalt": "sslmem_kit"}):
        return _rendered(figure, format="svg", dpi=dpi, metadata={"Date": None, "Creator": None})


def _rendered(figure: Any, **options: Any) -> bytes:
    rendered = hv.render(figure, backend="matplotlib")
    buffer = io.BytesIO()
    try:
        rendered.savefig(buffer, bbox_inches="tight", facecolor="white", **options)
    finally:
        plt.close(rendered)
    return buffer.getvalue()
