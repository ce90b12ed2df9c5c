"""Colours of the explorer, light and dark: CSS variables for HTML, options for figures of Bokeh."""

from __future__ import annotations

import panel as pn
from bokeh.model import Model
from bokeh.models import ColorBar
from bokeh.plotting import figure

from sslmem_kit.names import COLOURS

LIGHT = {
    "paper": "#ffffff",
    "panel": "#f5f6f8",
    "ink": "#1b1f24",
    "muted": "#57606a",
    "line": "#d0d7de",
    "grid": "#e8eaed",
    "accent": "#0b5cad",
    "focus": "#0b5cad",
    "warn": "#fff4d6",
    "dim": "#c9ced6",
}
DARK = {
    "paper": "#15191f",
    "panel": "#1e242c",
    "ink": "#e9edf2",
    "muted": "#a7b1bd",
    "line": "#3a434e",
    "grid": "#2b323b",
    "accent": "#6cb2ff",
    "focus": "#ffd166",
    "warn": "#4a3b12",
    "dim": "#4b5563",
}
"""Text on paper and on panel has a contrast of at least 4.5 to 1 in both; ``dim`` is for points below a threshold."""

PARTITION_COLOURS = COLOURS


def palette(dark: bool) -> dict[str, str]:
    """Return the colours by name."""
    return DARK if dark else LIGHT


def variables(dark: bool) -> dict[str, str]:
    """Return CSS custom properties ``--sm-<name>`` for the ``styles`` of a root: they apply to every component below it."""
    colours = palette(dark)
    # Colours of Panel's own widgets too: in JupyterLab they would take the text colour of its theme, which may be the other one.
    widgets = {
        "background-color": "paper",
        "background-text-color": "ink",
        "surface-color": "panel",
        "surface-text-color": "ink",
        "primary-color": "accent",
        "primary-text-color": "paper",
    }
    return {
        **{f"--sm-{name}": colour for name, colour in colours.items()},
        **{f"--design-{name}": colours[colour] for name, colour in widgets.items()},
        "color-scheme": "dark" if dark else "light",
    }


class Text(pn.pane.HTML):
    """HTML that changes. Panel's own class sends the style sheets with each change, and in a notebook by their addresses at a CDN."""

    def _update(self, ref: str, model: Model) -> None:
        model.update(text=self._get_properties(model.document)["text"])


def dress(plot: figure, dark: bool) -> figure:
    """Give a Bokeh figure the colours and fonts of the page."""
    colours = palette(dark)
    plot.background_fill_color = plot.border_fill_color = colours["paper"]
    plot.outline_line_color = colours["line"]
    plot.grid.grid_line_color = colours["grid"]
    plot.axis.axis_line_color = plot.axis.major_tick_line_color = colours["muted"]
    plot.axis.minor_tick_line_color = None
    plot.axis.major_label_text_color = plot.axis.axis_label_text_color = colours["ink"]
    plot.axis.axis_label_text_font_style = "normal"
    plot.axis.axis_label_text_font_size = "13px"
    plot.axis.major_label_text_font_size = "12px"
    plot.title.text_color = colours["ink"]
    plot.toolbar.logo = None
    for bar in plot.select({"type": ColorBar}):
        bar.background_fill_color = colours["paper"]
        bar.major_label_text_color = bar.title_text_color = colours["ink"]
        bar.title_text_font_style = "normal"
    return plot
