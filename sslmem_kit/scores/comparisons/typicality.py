"""Score by the distance to the nearest training samples: :mod:`sslmem_kit.measures.comparisons.typicality`."""

from __future__ import annotations

import xarray as xr

from sslmem_kit.scores.comparisons.base import Comparison
from sslmem_kit.scores.comparisons.replicates import of_f_by_seed


def reduce(raw: xr.Dataset | None, results: xr.DataTree) -> xr.Dataset:
    """Return ``typicality`` under f, (sample, seed); higher is less typical.

    Parameters
    ----------
    raw
        ``distance(sample, encoder)``.
    results
        Results of the study.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> tree = _example.tree()
    >>> distance = tree["alignment"].isel(augmentation=0, drop=True)
    >>> reduce(xr.Dataset({"distance": distance}), tree)["typicality"].sizes["seed"]
    3
    """
    assert raw is not None
    return xr.Dataset({"typicality": of_f_by_seed(raw["distance"], results)})


COMPARISON = Comparison(
    name="typicality",
    title="Distance to neighbours",
    source="Feldman 2020 (the long tail is what has to be memorized)",
    definition="mean distance to the nearest training samples in f's pooled representations: higher is less typical",
    columns={"typicality": "distance to the nearest training samples"},
    reduce=reduce,
    measured="f",
)
