"""Score by the curvature of the alignment loss in the input: :mod:`sslmem_kit.measures.comparisons.curvature`."""

from __future__ import annotations

import xarray as xr

from sslmem_kit.scores.comparisons.base import Comparison
from sslmem_kit.scores.comparisons.replicates import of_f_by_seed


def reduce(raw: xr.Dataset | None, results: xr.DataTree) -> xr.Dataset:
    """Return ``curvature`` under f, (sample, seed): the root of the mean of tr(H^2), whose long tail would outweigh the mean over seeds.

    Parameters
    ----------
    raw
        ``trace(sample, encoder)``.
    results
        Results of the study.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> tree = _example.tree()
    >>> trace = 4 * xr.ones_like(tree["alignment"].isel(augmentation=0, drop=True))
    >>> float(reduce(xr.Dataset({"trace": trace}), tree)["curvature"][0, 0])
    2.0
    """
    assert raw is not None
    return xr.Dataset({"curvature": of_f_by_seed(raw["trace"] ** 0.5, results)})


COMPARISON = Comparison(
    name="curvature",
    title="Input-loss curvature",
    source="Garg and Roy 2023 (CSG)",
    definition="how sharply the alignment loss bends around a sample's pixels, under f: the root of tr(H^2), H its Hessian",
    columns={"curvature": "curvature of the loss in the input"},
    reduce=reduce,
    measured="f",
)
