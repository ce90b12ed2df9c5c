"""Agreement of scores: table 13 as a matrix of Kendall's tau, figure 8 as overlap at k with what chance gives, figure 9 as galleries.

The matrix has Kendall's tau with its 95 % interval above the diagonal, and below it the tau that endless seeds would have, in which
the noise of trainings is taken off; on the diagonal stands the reliability of each score.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import holoviews as hv
import numpy as np
import xarray as xr

from sslmem_kit.figures.gallery import _CELL, _captions, _headings, _hover, _mosaic, _shortened
from sslmem_kit.figures.style import GUIDE, INK, class_labels, dress, frame
from sslmem_kit.names import SAMPLE
from sslmem_kit.statistics.agreement import highest

_COLOURS = ("#0072B2", "#D55E00", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000")
_CELL_WIDTH, _CELL_HEIGHT = 112, 62
"""Size of a cell of the matrix, in pixels."""


def matrix(found: xr.Dataset, *, labels: Mapping[str, str] | None = None) -> hv.Overlay:
    """Plot Kendall's tau of all pairs of scores.

    Parameters
    ----------
    found
        Of :func:`sslmem_kit.statistics.score_agreement`.
    labels
        Names of the scores on the axes; by default their own.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> from sslmem_kit.statistics.score_agreement import score_agreement
    >>> replicates = {name: xr.DataArray(rng.normal(size=(50, 3)), dims=("sample", "seed")) for name in ("a", "b")}
    >>> unknown, cells, *_ = matrix(score_agreement(replicates))
    >>> len(unknown) + len(cells)
    4
    """
    names = [str(name) for name in found["score"].values]
    shown = [(labels or {}).get(name, name) for name in names]
    count = len(names)
    x, y = (axis.ravel().astype(float) for axis in np.meshgrid(np.arange(count), np.arange(count)))
    values, texts = (list(column) for column in zip(*(_cell(found, i, j) for i in range(count) for j in range(count)), strict=True))
    known = np.isfinite(values)
    parts = []
    for chosen, options in (
        (~known, {"color": "#eeeeee"}),
        (known, {"color": "value", "cmap": "RdBu_r", "clim": (-1, 1)}),
    ):
        u, v, w = x[chosen], y[chosen], np.array(values)[chosen]
        cells = hv.Rectangles((u - 0.49, v - 0.49, u + 0.49, v + 0.49, w), vdims="value")
        parts.append(dress(cells, both=options, bokeh={"line_alpha": 0}, matplotlib={"linewidth": 0}))
    dark = known & (np.abs(np.nan_to_num(values)) > 0.6)
    for chosen, colour in ((~dark, INK), (dark, "white")):
        written = hv.Labels((x[chosen], y[chosen], np.array(texts, object)[chosen]), ["x", "y"], "text")
        parts.append(dress(written, bokeh={"text_color": colour, "text_font_size": "9pt"}, matplotlib={"color": colour, "size": 9}))
    ticks = list(enumerate(shown))
    return frame(
        hv.Overlay(parts),
        title="Kendall's tau, 95 %; below the diagonal without noise of trainings",
        width=max(_CELL_WIDTH * count, 420),
        height=max(_CELL_HEIGHT * count, 160),
        both={
            "xlabel": "",
            "ylabel": "",
            "xticks": ticks,
            "yticks": ticks,
            "xlim": (-0.5, count - 0.5),
            "ylim": (-0.5, count - 0.5),
            "invert_yaxis": True,
            "show_grid": False,
            "xrotation": 20,
        },
    )


def _cell(found: xr.Dataset, i: int, j: int) -> tuple[float, str]:
    """Value that colours a cell of the matrix, and its text."""
    cell = found.isel(score=i, other=j)
    if i == j:
        value = float(found["reliability"][i])
        return np.nan, f"reliability\n{_number(value, sign=False)}\n{_ends(found['reliability_interval'].values[i])}".strip()
    if j > i:
        value = float(cell["tau"])
        return value, f"{_number(value)}\n{_ends(cell['tau_interval'].values)}"
    value = float(cell["corrected_tau"])
    return value, _number(value) + ("\n(above 1)" if cell["above_one"] else "")


def overlap(found: xr.Dataset, *, score: str, labels: Mapping[str, str] | None = None) -> hv.Overlay:
    """Plot the share of a score's k highest samples that are among the k highest of each other one, with what unrelated orders give.

    Parameters
    ----------
    found
        Of :func:`sslmem_kit.statistics.score_overlap`.
    score
        The score that the others are held against.
    labels
        Names of the scores in the legend; by default their own.

    Examples
    --------
    >>> from sslmem_kit.statistics.score_overlap import score_overlap
    >>> scores = {name: xr.DataArray(np.arange(60.0), dims="sample", coords={"sample": np.arange(60)}) for name in ("a", "b")}
    >>> band, *_, curve, points = overlap(score_overlap(scores, (10, 20)), score="a")
    >>> curve.label, curve["share"].tolist()
    ('b', [1.0, 1.0])
    """
    labels = labels or {}
    others = [str(name) for name in found["other"].values if name != score]
    parts = []
    first = found.sel(score=score, other=others[0])
    known = np.isfinite(first["chance"].values)
    k = found["k"].values[known].astype(float)
    sizes = {int(found["n"].sel(score=score, other=name)) for name in others}
    if len(sizes) == 1:  # one band holds for all
        low, high, chance = (first[name].values[known] for name in ("chance_low", "chance_high", "chance"))
        band = hv.Spread((k, (low + high) / 2, (high - low) / 2), "k", ["share", "half"])
        # HoloViews' own default is a cycled face colour, which wins over `color` alone.
        grey = {"color": "#dddddd", "facecolor": "#dddddd", "edgecolor": "none", "alpha": 1}
        parts.append(dress(band, bokeh={"color": "#dddddd", "fill_alpha": 1, "line_alpha": 0}, matplotlib=grey))
        mean = hv.Curve((k, chance), "k", "share", label="unrelated orders (grey: 95 %)")
        parts.append(dress(mean, both={"color": GUIDE}, bokeh={"line_dash": "dashed"}, matplotlib={"linestyle": "--"}))
    for place, name in enumerate(others):
        share = found["share"].sel(score=score, other=name).values
        here, colour, again = np.isfinite(share), _COLOURS[place % len(_COLOURS)], place // len(_COLOURS)
        points = found["k"].values[here].astype(float), share[here]
        curve = hv.Curve(points, "k", "share", label=labels.get(name, name))
        bokeh = {"line_width": 2, "line_dash": ("solid", "dotted", "dotdash")[again % 3]}
        matplotlib = {"linewidth": 1.8, "linestyle": ("-", ":", "-.")[again % 3]}
        parts.append(dress(curve, both={"color": colour}, bokeh=bokeh, matplotlib=matplotlib))
        parts.append(
            dress(
                hv.Scatter(points, "k", "share"),
                both={"color": colour},
                bokeh={"size": 7, "tools": ["hover"]},
                matplotlib={"s": 28},
            )
        )
    n = f"{min(sizes):,}" if len(sizes) == 1 else f"{min(sizes):,} to {max(sizes):,}"
    return frame(
        hv.Overlay(parts),
        title=f"Overlap with the highest samples of {labels.get(score, score)} (n = {n})",
        width=680,
        height=330,
        both={
            "xlabel": "k, number of highest samples",
            "ylabel": "share in common",
            "logx": True,
            "xlim": (float(k[0]) * 0.9, float(found["k"].values[-1]) * 1.1),
            "ylim": (-0.03, 1.03),
            "xticks": [(value, f"{value:g}") for value in found["k"].values.tolist()],
            "show_legend": True,
            "legend_position": "right",
            "legend_limit": len(parts),  # of more than 25 HoloViews leaves it out
        },
        bokeh={"legend_opts": {"background_fill_alpha": 0.8}},
    )


def galleries(
    scores: Mapping[str, xr.DataArray],
    samples: xr.Dataset,
    thumbnails: xr.DataArray,
    *,
    count: int = 10,
    labels: Mapping[str, str] | None = None,
) -> hv.Overlay:
    """Plot the highest samples of each score as thumbnails, a row a score.

    Parameters
    ----------
    scores
        Each on ``sample``, NaN where a sample has none.
    samples
        With the coordinates ``sample`` and ``label``: the root of a store, or scores.
    thumbnails
        (sample, y, x, channel) uint8, in the order of ``samples``; only those shown are read.
    count
        Number of samples of each score.
    labels
        Headings; by default the names of the scores.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> samples = _example.results()
    >>> score = samples["alignment"].mean(("augmentation", "encoder"))
    >>> thumbnails = xr.DataArray(np.zeros((40, 8, 8, 3), np.uint8), dims=("sample", "y", "x", "channel"))
    >>> pictures, captions, headings, frames = galleries({"a": score, "b": -score}, samples, thumbnails, count=4)
    >>> len(captions), headings.dimension_values("text").tolist()
    (8, ['a', 'b'])
    """
    ids, tops, row_values = samples[SAMPLE].values, [], []
    for array in scores.values():
        known = array.dropna(SAMPLE)
        best = highest(known.values.astype(float), count)
        tops.append(np.searchsorted(ids, known[SAMPLE].values[best]))
        row_values.append(known.values[best])
    shown, values = np.concatenate(tops), np.concatenate(row_values).astype(float)
    ascending = np.unique(shown)  # chunks are read once
    pictures = thumbnails.isel({SAMPLE: ascending}).transpose(SAMPLE, "y", "x", "channel").values[np.searchsorted(ascending, shown)]
    row = np.concatenate([np.full(len(top), place) for place, top in enumerate(tops)])
    column = np.concatenate([np.arange(len(top)) for top in tops])
    step, heading = 1.86, 0.36
    x, top = column * _CELL, -row * step - heading
    chosen = samples.isel({SAMPLE: shown})
    classes = class_labels(chosen)
    often = {place: int((shown == place).sum()) for place in ascending}
    marks = ["" if often[place] == 1 else f"  in {often[place]}" for place in shown]
    captions = [f"#{i}{mark}\n{name}" for i, mark, name in zip(ids[shown], marks, _shortened(classes), strict=True)]
    width, lowest = max(map(len, tops)) * _CELL - (_CELL - 1), -len(tops) * step
    names = [(labels or {}).get(name, name) for name in scores]
    parts = [
        _mosaic(pictures, x, top),
        _captions(x, top - 0.05, captions, size=8),
        _headings([0.0] * len(names), (-np.arange(len(names)) * step - heading * 0.55).tolist(), names),
        _hover(x, top, ids[shown], classes, values),
    ]
    return frame(
        hv.Overlay(parts),
        title=f'The {count} highest samples of each score ("in 2": of two scores)',
        width=round((width + 0.16) * 84),
        height=round((0.05 - lowest) * 84),
        both={
            "xlim": (-0.08, width + 0.08),
            "ylim": (lowest, 0.05),
            "xaxis": None,
            "yaxis": None,
            "show_grid": False,
            "show_frame": False,
        },
    )


def _number(value: float, *, sign: bool = True) -> str:
    return "not known" if not np.isfinite(value) else f"{value:+.2f}" if sign else f"{value:.2f}"


def _ends(interval: Sequence[float] | np.ndarray) -> str:
    return "" if not np.isfinite(interval).all() else f"[{interval[0]:.2f}, {interval[1]:.2f}]"
