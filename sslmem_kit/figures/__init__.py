"""Figures and tables of the paper: datasets in, HoloViews objects out, which render with bokeh and with matplotlib.

Each module plots one: ``fig02a.plot(scores)``. Nothing here reads files or computes statistics; :func:`save_figure` writes.
"""

from sslmem_kit.figures import (
    agreement,
    error_parts,
    fig02a,
    fig02b,
    fig02c,
    fig03,
    fig04,
    fig05,
    frontier,
    gallery,
    layers,
    planning_curve,
    scatter,
    tab02,
    twins,
    units,
)
from sslmem_kit.figures.save import save_figure
from sslmem_kit.figures.show import interactive_figures, show, warn

__all__ = [
    "agreement",
    "error_parts",
    "fig02a",
    "fig02b",
    "fig02c",
    "fig03",
    "fig04",
    "fig05",
    "frontier",
    "gallery",
    "interactive_figures",
    "layers",
    "planning_curve",
    "save_figure",
    "scatter",
    "show",
    "tab02",
    "twins",
    "units",
    "warn",
]
