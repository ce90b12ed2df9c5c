"""Deja Vu memorization of a sample: how much oftener its neighbours have its class under an encoder that was trained on it.

From a part of the image without its object (:mod:`sslmem_kit.measures.comparisons.dejavu`), consistency is the share of the nearest public
images that have the sample's class; ``dejavu`` is consistency under f minus consistency under g, of the first crop and the first number of
neighbours that the options list. ``dejavu_one`` needs f alone: consistency minus the probability that a classifier of public images, without
encoder, gives the class, above the mean of the same over public images.

References
----------
Meehan et al., "Do SSL models have deja vu?", NeurIPS 2023; Kokhlikyan et al., "Measuring Deja vu memorization efficiently", NeurIPS 2024.
"""

from __future__ import annotations

import xarray as xr

from sslmem_kit.scores.comparisons.base import Comparison
from sslmem_kit.scores.comparisons.replicates import contrast_by_seed, of_f_by_seed

COLUMNS = {"dejavu": "Deja Vu", "dejavu_one": "Deja Vu of one encoder"}
"""Labels of the scores."""


def reduce(raw: xr.Dataset | None, results: xr.DataTree) -> xr.Dataset:
    """Return ``dejavu`` and ``dejavu_one`` of every sample, (sample, seed), in shares of neighbours: higher is more memorized.

    Parameters
    ----------
    raw
        Of :func:`sslmem_kit.measures.comparisons.dejavu.measure`, stacked along ``encoder``.
    results
        Results of the study.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> tree = xr.DataTree(_example.results())
    >>> seen = tree["trained_on"].drop_vars(["label", "partition"]).astype(float)
    >>> public = xr.zeros_like(seen.rename(sample="public_sample"))
    >>> raw = xr.Dataset(
    ...     {
    ...         "consistency": seen.expand_dims(crop=["corner:0.3"], neighbours=[20]),
    ...         "held_consistency": 0 * seen + 0.5,
    ...         "reference_probability": 0 * seen + 0.25,
    ...         "public_held_consistency": public,
    ...         "public_reference_probability": public,
    ...     }
    ... )
    >>> found = reduce(raw, tree)
    >>> found["dejavu"].values[:4, 0], found["dejavu_one"].values[0, 0].item()
    (array([ 0.,  1., -1.,  0.]), 0.25)
    """
    if raw is None:
        raise ValueError("Deja Vu memorization is measured of encoders")
    chosen = raw["consistency"].isel(crop=0, neighbours=0, drop=True)
    of_public = (raw["public_held_consistency"] - raw["public_reference_probability"]).mean("public_sample", skipna=True)
    excess = raw["held_consistency"] - raw["reference_probability"] - of_public
    label = f"neighbours with the own class, {raw['neighbours'].values[0]} of {raw['crop'].values[0]}"
    return xr.Dataset(
        {
            "dejavu": contrast_by_seed(chosen, results).assign_attrs(higher="more memorized", units=label),
            "dejavu_one": of_f_by_seed(excess, results).assign_attrs(higher="more memorized", units=label),
        }
    )


DEJAVU = Comparison(
    name="dejavu",
    title="Deja Vu",
    source="Meehan et al. 2023; of one encoder Kokhlikyan et al. 2024",
    definition="share of the nearest public images with the sample's class, from a part without its object, under f minus under g",
    columns=COLUMNS,
    reduce=reduce,
    measured="pairs",
)
