"""Which encoders of a store scores rest on."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from sslmem_kit.errors import UserError, join_names, near
from sslmem_kit.names import ENCODER


def of_pairs(results: xr.Dataset) -> xr.Dataset:
    """The results of the pairs of f and g, in a study that has other encoders too, else of all."""
    return results.isel({ENCODER: pair_positions(results)})


def pair_positions(results: xr.Dataset | xr.DataTree) -> np.ndarray:
    """Positions of the encoders of pairs of f and g; of all, where there are none, or where an older store does not tell."""
    pairs = np.flatnonzero(results["design"].values == "pair") if "design" in results.coords else np.empty(0, int)
    return pairs if len(pairs) else np.arange(results.sizes[ENCODER])


def _select_encoders(results: xr.Dataset, encoders: Sequence[str]) -> xr.Dataset:
    """The results of the named encoders, in the order of the store."""
    known = [str(name) for name in results[ENCODER].values]
    for name in encoders:
        if name not in known:
            raise UserError(f"encoders: there is none named {name!r}, this study has {join_names(known)}{near(name, known)}")
    return results.isel({ENCODER: [position for position, name in enumerate(known) if name in encoders]})
