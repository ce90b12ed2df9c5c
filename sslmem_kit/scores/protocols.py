"""The protocols: which pairs of views count, and with what weights."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr

from sslmem_kit.errors import UserError, near
from sslmem_kit.names import AUGMENTATION

PROTOCOLS: dict[str, Callable[[xr.DataArray, xr.DataArray], xr.DataArray]] = {
    "paper": lambda view_a, view_b: (view_a > 0) & (view_b > 0),
    "released": lambda view_a, view_b: (view_a == 0) & (view_b > 0),
    "corrected": lambda view_a, view_b: view_b > view_a,
}
"""Which augmentations a protocol uses."""


def select_protocol(alignment: xr.DataArray, protocol: str) -> xr.DataArray:
    """The augmentations that a protocol uses.

    Raises
    ------
    UserError
        An unknown protocol, or one that needs more views than are stored.
    """
    if protocol not in PROTOCOLS:
        raise UserError(
            f"protocol: there is none named {protocol!r}, choose one of {', '.join(PROTOCOLS)}{near(protocol, PROTOCOLS)}"
        )
    kept = np.flatnonzero(PROTOCOLS[protocol](alignment["view_a"], alignment["view_b"]))
    if not len(kept):
        raise UserError(
            f"protocol {protocol!r} compares random views with each other, this store holds only one: set scoring.views above 1"
        )
    return alignment.isel({AUGMENTATION: kept})


def usable_protocols(results: xr.Dataset) -> list[str]:
    """The protocols that the views of a store serve."""
    view_a, view_b = results["view_a"].values, results["view_b"].values
    return [name for name, uses in PROTOCOLS.items() if uses(view_a, view_b).any()]


def view_weights(view_a: np.ndarray, view_b: np.ndarray) -> np.ndarray:
    """(number, augmentation): weights of the mean over all pairs, then of how it changes where one random view is left out, with all
    pairs that it is in, around the mean of these changes.

    The first alone where a view is in every pair, or is the only one.
    """
    views = np.setdiff1d(np.union1d(view_a, view_b), [0])
    without = (view_a != views[:, None]) & (view_b != views[:, None])
    if len(views) < 2 or not without.any(axis=1).all():
        without = without[:0]
    without = without / without.sum(axis=1, keepdims=True)
    if len(without):
        without -= without.mean(axis=0)
    return np.concatenate([np.full((1, len(view_a)), 1 / len(view_a)), without])
