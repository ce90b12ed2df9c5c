"""PartCrop's signals under f minus under g: what :mod:`sslmem_kit.measures.comparisons.partcrop` measures, by pairs.

Members answer more strongly to their parts (Zhu et al. 2024), so that both signals are higher for what is memorized. An encoder's own level
says as much of how an image looks as of whether it was trained on: the contrast of f and g takes that off, as in SSLMem.
"""

from __future__ import annotations

import xarray as xr

from sslmem_kit.errors import UserError
from sslmem_kit.scores.comparisons.base import Comparison
from sslmem_kit.scores.comparisons.replicates import contrast_by_seed


def reduce(raw: xr.Dataset | None, results: xr.DataTree) -> xr.Dataset:
    """Contrast of f and g of each signal, in each seed.

    Parameters
    ----------
    raw
        ``similarity`` and ``sharpness`` on (sample, encoder).
    results
        Results of the study.

    Returns
    -------
    ``partcrop`` and ``partcrop_sharpness`` on (sample, seed).

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> root = _example.results()
    >>> level = -root["alignment"].mean("augmentation")
    >>> found = reduce(xr.Dataset({"similarity": level, "sharpness": level}), xr.DataTree(root))
    >>> bool(found["partcrop"][1::4].mean() > 0 > found["partcrop"][2::4].mean())  # candidates, independents
    True
    """
    if raw is None:
        raise UserError("partcrop: nothing was measured; `sslmem compare STUDY --with partcrop` measures it")
    signals = {"partcrop": "similarity", "partcrop_sharpness": "sharpness"}
    return xr.Dataset({name: contrast_by_seed(raw[signal], results) for name, signal in signals.items()})


PARTCROP = Comparison(
    name="partcrop",
    title="PartCrop",
    source="Zhu et al. 2024 (arXiv 2404.02462), simplified: two means over few parts, no trained classifier",
    definition="how strongly small parts of an image answer to the whole under f, minus under g; higher: more memorized",
    columns={
        "partcrop": "PartCrop: similarity of parts and whole, f - g",
        "partcrop_sharpness": "PartCrop: sharpness of answers, f - g",
    },
    reduce=reduce,
    measured="pairs",
)
