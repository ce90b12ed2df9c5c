"""Scores by gradients of single samples over the training of f: norm, agreement, TracIn and TRAK.

Of what :mod:`sslmem_kit.measures.comparisons.gradients` measures at some states of the training, each with the sum w of the learning rates of
the epochs that it stands for:

- ``gradient_norm``: sum of w |g| / sum of w;
- ``gradient_agreement``: minus the mean cosine, weighted alike, so that what few others pull along with is high;
- ``tracin``: sum of w |g|^2, the influence of a sample on its own loss, in epochs of steps;
- ``trak``: mean leverage, weighted alike.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from sslmem_kit.scores.comparisons.base import Comparison
from sslmem_kit.scores.comparisons.replicates import of_f_by_seed


def reduce(raw: xr.Dataset | None, results: xr.DataTree) -> xr.Dataset:
    """Return the columns under f, (sample, seed).

    Parameters
    ----------
    raw
        ``norm``, ``cosine`` and ``leverage`` (sample, encoder, checkpoint), and ``weight(encoder, checkpoint)``.
    results
        Results of the study.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> tree = _example.tree()
    >>> one = xr.ones_like(tree["alignment"].isel(augmentation=0, drop=True)).expand_dims(checkpoint=[5, 10])
    >>> weight = one.isel(sample=0, drop=True) * [[0.2], [0.1]]
    >>> found = reduce(xr.Dataset({"norm": 2 * one, "cosine": one / 2, "leverage": one, "weight": weight}), tree)
    >>> {name: round(float(column[0, 0]), 2) for name, column in found.items()}
    {'gradient_norm': 2.0, 'gradient_agreement': -0.5, 'tracin': 1.2, 'trak': 1.0}
    """
    assert raw is not None
    weight = raw["weight"]
    found = {
        "gradient_norm": _mean(raw["norm"], weight),
        "gradient_agreement": -_mean(raw["cosine"], weight),
        "tracin": (raw["norm"] ** 2 * weight).sum("checkpoint", skipna=False),
        "trak": _mean(raw["leverage"], weight),
    }
    return xr.Dataset({name: of_f_by_seed(values, results) for name, values in found.items()})


def _mean(values: xr.DataArray, weight: xr.DataArray) -> xr.DataArray:
    """Mean over states by their weights, over those that have a value."""
    known = np.isfinite(values)
    total = weight.where(known, 0).sum("checkpoint")
    return (values.where(known, 0) * weight.where(known, 0)).sum("checkpoint") / total.where(total > 0)


COMPARISON = Comparison(
    name="gradients",
    title="Gradients of single samples",
    source="Pruthi et al. 2020 (TracIn), Zielinski et al. 2020 (agreement), Park et al. 2023 (TRAK)",
    definition="gradients of the training loss through a sample, under f over its training: their norm, minus their cosine with the mean of "
    "the others', and the influence of a sample on itself",
    columns={
        "gradient_norm": "gradient norm",
        "gradient_agreement": "minus cosine with the mean gradient",
        "tracin": "TracIn self-influence",
        "trak": "TRAK self-influence",
    },
    reduce=reduce,
    measured="f",
)
