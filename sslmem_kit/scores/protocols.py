"""Protocols: the pairs of views that a score is a mean over, and their weights."""

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
"""Functions of ``view_a`` and ``view_b`` that are true for the augmentations that a protocol uses."""


def select_protocol(alignment: xr.DataArray, protocol: str) -> xr.DataArray:
    """Select the augmentations that a protocol uses.

    Parameters
    ----------
    alignment
        (..., augmentation), with ``view_a`` and ``view_b`` on ``augmentation``; view 0 is the clean image, the others are random.
    protocol
        ``paper``: pairs of random views (eq. 1); ``released``: the clean image with each random view; ``corrected``: all pairs.

    Returns
    -------
    The same array with these augmentations alone, in the order of the store.

    Raises
    ------
    UserError
        An unknown protocol, or one that needs more views than are stored.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> alignment = _example.results()["alignment"]
    >>> {protocol: select_protocol(alignment, protocol).sizes["augmentation"] for protocol in PROTOCOLS}
    {'paper': 6, 'released': 4, 'corrected': 10}
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
    """Names of the protocols that the views of a store suffice for.

    Parameters
    ----------
    results
        Root of a results store, or anything with ``view_a`` and ``view_b`` on ``augmentation``.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> results = _example.results()
    >>> usable_protocols(results)
    ['paper', 'released', 'corrected']
    >>> usable_protocols(results.isel(augmentation=[0]))  # the clean image with one random view
    ['released', 'corrected']
    """
    view_a, view_b = results["view_a"].values, results["view_b"].values
    return [name for name, uses in PROTOCOLS.items() if uses(view_a, view_b).any()]


def view_weights(view_a: np.ndarray, view_b: np.ndarray) -> np.ndarray:
    """Weights of the mean over pairs of views, and of its jackknife over the random views.

    Parameters
    ----------
    view_a, view_b
        Numbers of the two views of each pair, (augmentation,); 0 is the clean image, which is never left out.

    Returns
    -------
    (1 + view, augmentation): the weights of the mean over all pairs, then for each random view those of the mean over the pairs without it,
    minus the mean of these over views. The first row alone where some view is in every pair, or is the only one.

    Examples
    --------
    The clean image with each of two views, and the two with each other:

    >>> view_weights(np.array([0, 0, 1]), np.array([1, 2, 2])).round(2)
    array([[ 0.33,  0.33,  0.33],
           [-0.5 ,  0.5 ,  0.  ],
           [ 0.5 , -0.5 ,  0.  ]])
    """
    views = np.setdiff1d(np.union1d(view_a, view_b), [0])
    without = (view_a != views[:, None]) & (view_b != views[:, None])
    if len(views) < 2 or not without.any(axis=1).all():
        without = without[:0]
    without = without / without.sum(axis=1, keepdims=True)
    if len(without):
        without -= without.mean(axis=0)
    return np.concatenate([np.full((1, len(view_a)), 1 / len(view_a)), without])
