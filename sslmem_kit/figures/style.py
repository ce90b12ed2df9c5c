"""Colours, sizes and axis labels that all figures share, and options of an element for both backends."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import holoviews as hv

# Importing the backends registers them; `hv.extension` would also print their JavaScript into a notebook.
import holoviews.plotting.bokeh
import holoviews.plotting.mpl
import numpy as np
import xarray as xr

INK, GUIDE = "#222222", "#8a8a8a"
"""Colours of lines and text, and of reference lines."""
SCORE_COLOURS = "viridis"

_FONTS = {"title": 12, "labels": 11, "xticks": 10, "yticks": 10, "legend": 10, "ticks": 10}


def dress(element: Any, *, both: dict | None = None, bokeh: dict | None = None, matplotlib: dict | None = None) -> Any:
    """Set options of an element for both backends, so that one object renders in either.

    Parameters
    ----------
    element
        A HoloViews object.
    both, bokeh, matplotlib
        Options of both backends, and of either.

    Examples
    --------
    >>> curve = dress(hv.Curve([1, 2, 3]), both={"color": INK}, bokeh={"line_width": 2}, matplotlib={"linewidth": 1.8})
    >>> hv.Store.lookup_options("bokeh", curve, "style").kwargs["line_width"]
    2
    """
    for backend, own in (("bokeh", bokeh), ("matplotlib", matplotlib)):
        if options := {**(both or {}), **(own or {})}:
            element = element.opts(backend=backend, **options)
    return element


def frame(overlay: Any, *, title: str, width: int, height: int, both: dict | None = None, bokeh: dict | None = None) -> Any:
    """Set title, fonts and size of the plotting area of an overlay, in pixels (bokeh; matplotlib: 100 pixels to the inch).

    Examples
    --------
    >>> figure = frame(hv.Overlay([hv.Curve([1, 2, 3])]), title="A curve", width=300, height=200)
    >>> hv.Store.lookup_options("bokeh", figure, "plot").kwargs["frame_width"]
    300
    """
    return dress(
        overlay,
        both={"title": title, "show_grid": True, **(both or {})},
        bokeh={
            "frame_width": width,
            "frame_height": height,
            "fontsize": {name: f"{size}pt" for name, size in _FONTS.items()},
            "gridstyle": {"grid_line_color": "#e5e5e5"},
            "toolbar": "right",
            "active_tools": [],
            **(bokeh or {}),
        },
        matplotlib={
            "fig_inches": (width / 100 + 0.9, height / 100 + 0.8),
            # The default of HoloViews is a square.
            "aspect": width / height,
            "fontsize": _FONTS,
            "gridstyle": {"color": "#e5e5e5", "linewidth": 0.8},
        },
    )


def score_label(scores: xr.Dataset) -> str:
    """Label of the axis of ``sslmem``, with its unit.

    Examples
    --------
    >>> score_label(xr.Dataset(attrs={"normalized_by_range": "true"}))
    "SSLMem score (share of the candidates' range)"
    """
    if scores.attrs.get("normalized_by_range") == "true":
        return "SSLMem score (share of the candidates' range)"
    return "SSLMem score (difference of mean distances)"


def class_labels(scores: xr.Dataset) -> np.ndarray:
    """Name of each sample's class, its number where the classes have no names; (sample,) of str.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> class_labels(_example.results())[:5].tolist()
    ['cat', 'cat', 'cat', 'cat', 'dog']
    """
    labels, names = scores["label"].values, scores["label"].attrs.get("class_names")
    return np.array([str(names[label]) if names and 0 <= label < len(names) else str(label) for label in labels], dtype=object)


def layer_panel(parts: Sequence[Any], names: Sequence[str], title: str, ylabel: str, options: dict[str, Any]) -> hv.Overlay:
    """Frame elements over the layers of an encoder, as one of two panels side by side.

    Examples
    --------
    >>> panel = layer_panel([hv.Curve([1, 2])], ["stem", "head"], "Two layers", "mean score", {})
    >>> hv.Store.lookup_options("bokeh", panel, "plot").kwargs["xticks"]
    [(0, 'stem'), (1, 'head')]
    """
    return frame(
        hv.Overlay(parts),
        title=title,
        width=440,
        height=300,
        both={
            "xlabel": "layer, in forward order",
            "ylabel": ylabel,
            "xlim": (-0.6, len(names) - 0.4),
            "xticks": list(enumerate(names)),
            "xrotation": 60,
            **options,
        },
        # Panels of a grid need an outer size: with one of the frame only, bokeh cuts the first column.
        bokeh={"frame_width": None, "frame_height": None, "width": 440, "height": 400},
    )
