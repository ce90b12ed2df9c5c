"""Figure 2a: alignment on f against alignment on g, one point a candidate, coloured by its score.

A candidate's height above the identity line is its raw score (eq. 2). The paper's claim: high scores occur at a wide range of f's
loss, and the lowest loss is not the highest score.
"""

from __future__ import annotations

import holoviews as hv
import numpy as np
import xarray as xr

from sslmem_kit.figures import scatter
from sslmem_kit.figures.style import class_labels, score_label
from sslmem_kit.names import PARTITION_CODE, SSLMEM


def plot(scores: xr.Dataset) -> hv.Overlay:
    """Plot the mean alignments of the candidates on f and on g, coloured by score, with the identity line.

    Parameters
    ----------
    scores
        Of :func:`sslmem_kit.scores.score`: ``alignment_f``, ``alignment_g``, ``sslmem``, ``standard_error``, ``partition``, ``label``.

    Examples
    --------
    >>> from sslmem_kit.scores import _example, score
    >>> line, points = plot(score(_example.results()))
    >>> len(points)
    10
    """
    chosen = scores.isel(sample=np.flatnonzero(scores["partition"] == PARTITION_CODE["candidate"]))
    columns = {name: chosen[name].values.astype(float) for name in ("alignment_f", "alignment_g", SSLMEM, "standard_error")}
    return scatter.plot(
        {**columns, "sample": chosen["sample"].values, "class": class_labels(chosen)},
        labels=(
            "alignment on f, which saw them (mean distance)",
            "alignment on g, which did not (mean distance)",
            score_label(scores),
        ),
        title=f"{chosen.sizes['sample']:,} candidates on f and on g ({scores.attrs['protocol']} protocol)",
        identity=True,
        tooltips=[
            ("sample", "@sample"),
            ("class", "@class"),
            ("score", "@sslmem{0.0000}"),
            ("standard error of the difference", "@standard_error{0.0000}"),
            ("alignment on f, g", "@alignment_f{0.000}, @alignment_g{0.000}"),
        ],
    )
