"""Protocols: the pairs of views that a score is a mean over, and their weights."""

from __future__ import annotations

from collections.abc import Callable
from typing import NamedTuple

import numpy as np
import xarray as xr

from sslmem_kit.errors import UserError, near
from sslmem_kit.names import AUGMENTATION, VIEW_WITH_VIEW

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
        ``paper``: pairs of random views (eq. 1); ``released``: the clean image with each random view; ``corrected``: both, with the weights
        of :func:`view_weights`.

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
    view_a, view_b = alignment["view_a"], alignment["view_b"]
    if protocol not in usable_protocols(alignment):
        raise UserError(
            f"protocol {protocol!r} compares random views with each other, this store holds only one: choose `released`, or score with "
            "scoring.views above 1"
        )
    return alignment.isel({AUGMENTATION: np.flatnonzero(PROTOCOLS[protocol](view_a, view_b))})


def usable_protocols(results: xr.Dataset | xr.DataArray) -> list[str]:
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
    ['released']
    """
    view_a, view_b = results["view_a"], results["view_b"]
    needs = {"paper": ("paper",), "released": ("released",), "corrected": ("paper", "released")}
    return [name for name in PROTOCOLS if all(PROTOCOLS[kind](view_a, view_b).any() for kind in needs[name])]


def default_protocol(results: xr.Dataset | xr.DataArray) -> str:
    """Return the protocol where none is chosen: ``corrected``, and ``released`` where there is one random view only.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> default_protocol(_example.results())
    'corrected'
    """
    return usable_protocols(results)[-1]


def view_weights(view_a: np.ndarray, view_b: np.ndarray) -> np.ndarray:
    """Weights of the mean over pairs of views, and of its jackknife over the random views.

    Pairs of the clean image with a view are averaged, and pairs of views with each other; where both kinds are there, the mean of all is a
    third of the first and two thirds of the second (:data:`sslmem_kit.names.VIEW_WITH_VIEW`), whatever the number of views.

    Parameters
    ----------
    view_a, view_b
        Numbers of the two views of each pair, (augmentation,), pairs in any order; 0 is the clean image, which is never left out.

    Returns
    -------
    (1 + view, augmentation): the weights of the mean, then for each random view those of the mean without it, minus the mean of these over
    views. The first row alone where leaving a view out leaves no pair of some kind: with fewer than two random views, and than three
    where random views are compared with each other.

    Examples
    --------
    The clean image with each of three views, and these with each other:

    >>> view_weights(np.array([0, 0, 0, 1, 1, 2]), np.array([1, 2, 3, 2, 3, 3])).round(2)
    array([[ 0.11,  0.11,  0.11,  0.22,  0.22,  0.22],
           [-0.11,  0.06,  0.06, -0.22, -0.22,  0.44],
           [ 0.06, -0.11,  0.06, -0.22,  0.44, -0.22],
           [ 0.06,  0.06, -0.11,  0.44, -0.22, -0.22]])
    """
    views = np.setdiff1d(np.union1d(view_a, view_b), [0])
    kept = np.concatenate([np.ones((1, len(view_a)), bool), (view_a != views[:, None]) & (view_b != views[:, None])])
    kinds = [kind for kind in ((view_a == 0) | (view_b == 0), (view_a > 0) & (view_b > 0)) if kind.any()]
    shares = (1 - VIEW_WITH_VIEW, VIEW_WITH_VIEW) if len(kinds) == 2 else (1.0,)
    if len(views) < 2 or not all((kept & kind).any(axis=1).all() for kind in kinds):
        kept = kept[:1]
    weights = sum(
        share * (kept & kind) / (kept & kind).sum(axis=1, keepdims=True) for share, kind in zip(shares, kinds, strict=True)
    )
    weights = np.asarray(weights, float).reshape(len(kept), len(view_a))
    if len(weights) > 1:
        weights[1:] -= weights[1:].mean(axis=0)
    return weights


class PairNoise(NamedTuple):
    """What pairs of random views do beyond their two views, of which a jackknife over views counts too much."""

    residuals: np.ndarray
    """(augmentation, augmentation): takes from the distances what is of single views; its squares sum to ``degrees`` variances."""
    degrees: int
    excess: float
    """Of the variance of a pair, counted too much by the jackknife of :func:`view_weights`."""
    own: float
    """Of the variance of a pair, in the variance of the mean."""


def pair_noise(view_a: np.ndarray, view_b: np.ndarray) -> PairNoise | None:
    """Weights for the part of the error over views that belongs to pairs of random views, and to no single one.

    A mean over pairs of V views is a U-statistic: its variance is ``4 of_views / V + 2 of_pairs / (V (V - 1))`` by Hoeffding's decomposition,
    of which the jackknife gives the first part and ``4 of_pairs / (V (V - 2))``.

    Returns
    -------
    None where no such part can be told from that of views, with fewer than four random views, or where none are compared with each other.

    References
    ----------
    Hoeffding, Annals of Mathematical Statistics 19 (1948); Efron and Stein, Annals of Statistics 9 (1981).

    Examples
    --------
    >>> noise = pair_noise(*np.array([(1, 2), (1, 3), (1, 4), (2, 3), (2, 4), (3, 4)]).T)
    >>> noise.degrees, round(noise.excess, 3), round(noise.own, 3)
    (2, 0.333, 0.167)
    """
    between = np.flatnonzero((view_a > 0) & (view_b > 0))
    views = np.union1d(view_a[between], view_b[between])
    count = len(views)
    if count < 4 or len(between) != count * (count - 1) // 2:
        return None
    of_view = ((view_a[between, None] == views) | (view_b[between, None] == views)).astype(float)
    residuals = np.zeros((len(view_a), len(view_a)))
    residuals[np.ix_(between, between)] = np.eye(len(between)) - of_view @ np.linalg.pinv(of_view)
    share = 1.0 if len(between) == len(view_a) else VIEW_WITH_VIEW
    return PairNoise(
        residuals, len(between) - count, 2 * share**2 / ((count - 1) * (count - 2)), 2 * share**2 / (count * (count - 1))
    )


def mean_over_pairs(alignment: xr.DataArray) -> xr.DataArray:
    """Mean alignment over pairs of views, as scores are made of it.

    Parameters
    ----------
    alignment
        (..., augmentation), with ``view_a`` and ``view_b`` on ``augmentation``.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> alignment = _example.results()["alignment"]
    >>> mean_over_pairs(select_protocol(alignment, "released")).equals(select_protocol(alignment, "released").mean("augmentation"))
    True
    """
    weights = view_weights(alignment["view_a"].values, alignment["view_b"].values)[0]
    return (alignment * xr.DataArray(weights, dims=AUGMENTATION)).sum(AUGMENTATION, skipna=False)
