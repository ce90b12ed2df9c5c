"""The most and the least memorized candidates as thumbnails: the idea of the paper's figure 1.

All thumbnails are one picture with one pair of axes: a plot for each would be linked with all others, and slow.
"""

from __future__ import annotations

import holoviews as hv
import numpy as np
import xarray as xr

from sslmem_kit.figures.style import INK, class_labels, dress, frame
from sslmem_kit.names import PARTITION_CODE, SAMPLE, SSLMEM
from sslmem_kit.statistics.extremes import SHRUNKEN, in_words
from sslmem_kit.statistics.order import RANK_SCORE, ordering

_CELL, _CAPTION = 1.16, 0.68
"""Distance of two thumbnails and room for the text under one, in thumbnail sides."""
_SIDE = 84
"""Side of a thumbnail on the page, in pixels."""
_UNIT = 100
"""Side of a thumbnail in the image that is plotted, in pixels: whatever its own size, it is resampled to this."""


def plot(
    scores: xr.Dataset, thumbnails: xr.DataArray, *, count: int = 16, columns: int = 8, extremes: xr.Dataset | None = None
) -> hv.Overlay:
    """Plot thumbnails with sample id, class and score: first the highest scores, then the lowest; by ``rank_score`` where there is one.

    Parameters
    ----------
    scores
        Of :func:`sslmem_kit.scores.score`.
    thumbnails
        (sample, y, x, channel) uint8, ``/images/thumbnail`` of the results store; only those shown are read.
    count
        Number of each, at most half of the candidates.
    columns
        Number of thumbnails in a row.
    extremes
        Of :func:`sslmem_kit.statistics.cross_fitted`, for as many candidates: the headings then give the mean raw difference of those
        shown beside that of seeds and views that did not choose them. Where ``rank_score`` chooses, the pairs did not, and headings give
        their mean. Captions give ``shrunken``, where scores have it, behind an arrow.

    Examples
    --------
    >>> from sslmem_kit.scores import _example, score
    >>> scores = score(_example.results())
    >>> thumbnails = xr.DataArray(np.zeros((40, 8, 8, 3), np.uint8), dims=("sample", "y", "x", "channel"))
    >>> pictures, captions, headings, frames = plot(scores, thumbnails, count=3)
    >>> len(captions), headings.dimension_values("text").tolist()
    (6, ['most memorized', 'least memorized'])
    """
    positions = np.flatnonzero(scores["partition"].values == PARTITION_CODE["candidate"])
    by = ordering(scores)
    order = positions[np.argsort(-scores[by].values[positions], kind="stable")]
    count = max(1, min(count, len(order) // 2))
    columns = min(columns, count)
    rows = -(-count // columns)
    groups = {"most memorized": order[:count], "least memorized": order[::-1][:count] if len(order) > 1 else order[:0]}
    shown = np.concatenate(list(groups.values()))
    # Selected in ascending order, in which chunks are read once, and then put in the order of the page.
    ascending = np.sort(shown)
    pictures = thumbnails.isel({SAMPLE: ascending}).transpose(SAMPLE, "y", "x", "channel").values[np.searchsorted(ascending, shown)]
    row = np.concatenate([np.arange(len(group)) // columns + index * rows for index, group in enumerate(groups.values())])
    column = np.concatenate([np.arange(len(group)) % columns for group in groups.values()])
    heading = 0.42
    step = 1 + _CAPTION
    x, top = column * _CELL, -row * step - heading * (1 + (row >= rows))

    chosen = scores.isel({SAMPLE: shown})
    score, ids, classes = chosen[by].values.astype(float), chosen[SAMPLE].values, class_labels(chosen)
    lowest = -2 * rows * step - 2 * heading
    width = columns * _CELL - (_CELL - 1)
    parts = [
        _mosaic(pictures, x, top),
        _captions(
            x, top - 0.05, [f"#{i}\n{c}\n{s}" for i, c, s in zip(ids, _shortened(classes), _values(chosen), strict=True)], size=8
        ),
        _headings(
            [0.0] * len(groups),
            [-heading * 0.5, -rows * step - heading * 1.5],
            _named(groups, scores, by, extremes),
        ),
        _hover(x, top, ids, classes, score),
    ]
    rests = "" if by == SSLMEM else f", ordered by {scores.attrs['rank_encoders']} encoders on subsets"
    limits = {"xlim": (-0.08, width + 0.08), "ylim": (lowest, 0.05)}
    figure = frame(
        hv.Overlay(parts),
        title=f"Most and least memorized candidates ({scores.attrs['protocol']} protocol{rests})"
        if np.ptp(scores[SSLMEM].values[positions])
        else "All scores are equal: these candidates are in no order",
        width=round((width + 0.16) * _SIDE),
        height=round((0.05 - lowest) * _SIDE),
        both={**limits, "xaxis": None, "yaxis": None, "show_grid": False, "show_frame": False},
        bokeh={"toolbar": "right"},
    )
    return figure


def _values(chosen: xr.Dataset) -> list[str]:
    """Scores in words, with the shrunken ones where they are known and in the same unit."""
    shown = [f"{value:+.3f}" for value in chosen[SSLMEM].values]
    if SHRUNKEN not in chosen or chosen.attrs.get("normalized_by_range") == "true":
        return shown
    return [
        value if np.isnan(other) else f"{value}→{other:+.3f}" for value, other in zip(shown, chosen[SHRUNKEN].values, strict=True)
    ]


def _named(groups: dict[str, np.ndarray], scores: xr.Dataset, by: str, extremes: xr.Dataset | None) -> list[str]:
    """Headings, with the mean of the samples below them by what chose them, and by encoders that did not."""
    count = len(groups["most memorized"])
    if by == RANK_SCORE:
        means = {group: [scores[name].values[chosen].mean() for name in (by, "difference")] for group, chosen in groups.items()}
        return [
            f"{group}: mean {own:+.4f}, by pairs of f and g, which did not choose them, {pairs:+.4f}"
            for group, (own, pairs) in means.items()
        ]
    if extremes is None or extremes["n"] != count or not np.isfinite(extremes["cross_fitted"]).all():
        return list(groups)
    return [f"{group}: mean {in_words(extremes.isel(end=end))}" for end, group in enumerate(groups)]


def _mosaic(pictures: np.ndarray, x: np.ndarray, top: np.ndarray) -> hv.RGB:
    """Image of all thumbnails in their places on white: 32 image elements take seconds to render."""
    left, upper = np.rint(x * _UNIT).astype(int), np.rint(-top * _UNIT).astype(int)
    canvas = np.full((upper.max() + _UNIT, left.max() + _UNIT, 3), 255, np.uint8)
    # Nearest neighbours, so that the pixels of small images stay what they are.
    rows, columns = (np.arange(_UNIT) * size // _UNIT for size in pictures.shape[1:3])
    for picture, i, j in zip(pictures, upper, left, strict=True):
        canvas[i : i + _UNIT, j : j + _UNIT] = picture[rows][:, columns][..., :3]
    bounds = (0, -canvas.shape[0] / _UNIT, canvas.shape[1] / _UNIT, 0)
    return dress(hv.RGB(canvas, kdims=["gallery_x", "gallery_y"], bounds=bounds), matplotlib={"interpolation": "nearest"})


def _captions(x: np.ndarray, y: np.ndarray, text: list[str], *, size: int) -> hv.Labels:
    labels = hv.Labels((x, y - 1, text), ["gallery_x", "gallery_y"], "text")
    return dress(
        labels,
        bokeh={"text_font_size": f"{size}pt", "text_align": "left", "text_baseline": "top", "text_color": INK},
        matplotlib={"size": size, "horizontalalignment": "left", "verticalalignment": "top", "color": INK},
    )


def _headings(x: list[float], y: list[float], text: list[str]) -> hv.Labels:
    labels = hv.Labels((x, y, text), ["gallery_x", "gallery_y"], "text")
    return dress(
        labels,
        bokeh={
            "text_font_size": "11pt",
            "text_align": "left",
            "text_baseline": "middle",
            "text_color": INK,
            "text_font_style": "bold",
        },
        matplotlib={"size": 11, "horizontalalignment": "left", "verticalalignment": "center", "color": INK, "weight": "bold"},
    )


def _hover(x: np.ndarray, top: np.ndarray, ids: np.ndarray, classes: np.ndarray, score: np.ndarray) -> hv.Rectangles:
    """Thin frames around the thumbnails, with the values that hovering shows."""
    frames = hv.Rectangles(
        (x, top - 1, x + 1, top, ids, classes, score), ["left", "bottom", "right", "top"], ["sample", "class", SSLMEM]
    )
    tooltips = [("sample", "@sample"), ("class", "@class"), ("score", f"@{SSLMEM}{{0.0000}}")]
    return dress(
        frames,
        bokeh={"fill_alpha": 0, "line_color": "#bbbbbb", "line_width": 0.8, "tools": ["hover"], "hover_tooltips": tooltips},
        matplotlib={"facecolor": "none", "edgecolor": "#bbbbbb", "linewidth": 0.6},
    )


def _shortened(classes: np.ndarray, longest: int = 12) -> list[str]:
    """Shorten class names so that they fit under a thumbnail; the whole name is in the hover text."""
    return [name if len(name) <= longest else name[: longest - 1] + "…" for name in classes]
