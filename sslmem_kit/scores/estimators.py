"""Scores by each design of a study: pairs, random subsets, exact leave-one-out."""

from __future__ import annotations

from collections.abc import Sequence

import numpy as np
import xarray as xr

from sslmem_kit.errors import UserError, near
from sslmem_kit.names import ALIGNMENT, ENCODER, PARTITION_CODE, SAMPLE, TRAINED_ON
from sslmem_kit.scores.adjusted import adjusted_leave_out
from sslmem_kit.scores.protocols import select_protocol
from sslmem_kit.scores.selection import designs
from sslmem_kit.scores.sslmem import leave_out

DESIGN_OF = {"pairs": "pair", "subsets": "subset", "leave_one_out": "leave_one_out"}
"""``design``, in the store, of the encoders that an estimator rests on."""
ADJUSTED = "adjusted"
"""Estimator by :mod:`sslmem_kit.scores.adjusted`; it rests on the encoders of ``subsets``, without any on those of ``leave_one_out``."""
ESTIMATORS = (*DESIGN_OF, ADJUSTED)
"""Names of all estimators."""


def estimate(results: xr.Dataset, estimator: str, *, protocol: str = "corrected", seeds: Sequence[int] | None = None) -> xr.Dataset:
    """Estimate the scores of the samples that an estimator can score: eq. 2 over the encoders of one design.

    Parameters
    ----------
    results
        Root of a results store.
    estimator
        ``pairs``, ``subsets``, ``leave_one_out`` or ``adjusted``.
    protocol
        ``paper``, ``released`` or ``corrected``; scores are raw differences whatever the protocol.
    seeds
        Seeds that the scores rest on; None: all of the estimator's.

    Returns
    -------
    As :func:`sslmem_kit.scores.leave_out`, of ``adjusted`` as :func:`sslmem_kit.scores.adjusted.adjusted_leave_out`; the attrs name
    ``estimator`` and ``protocol``, and count ``encoders`` and ``seeds``.

    Raises
    ------
    UserError
        An unknown estimator, or one whose encoders the study does not have; no encoder of these seeds.

    See Also
    --------
    sslmem_kit.statistics.compare_estimators : all of them side by side, with their costs.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> design = _example.design()
    >>> {estimator: estimate(design, estimator).sizes["sample"] for estimator in DESIGN_OF}
    {'pairs': 10, 'subsets': 20, 'leave_one_out': 5}
    """
    if estimator not in ESTIMATORS:
        raise UserError(
            f"estimator: there is none named {estimator!r}, choose one of {', '.join(ESTIMATORS)}{near(estimator, ESTIMATORS)}"
        )
    of_encoders = designs(results)
    chosen = of_encoders == design_of(results, estimator)
    if not chosen.any():
        there = ", ".join(name for name, design in DESIGN_OF.items() if design in of_encoders)
        raise UserError(
            f"estimator: {estimator!r} has no encoders in this study, which has those of {there}; see design in its spec"
        )
    if seeds is not None:
        there = np.unique(results["seed"].values[chosen])
        chosen &= np.isin(results["seed"].values, seeds)
        if not chosen.any():
            raise UserError(f"seeds: no encoder of {estimator!r} has one of {list(seeds)}, there are {', '.join(map(str, there))}")
    results = results.isel({ENCODER: np.flatnonzero(chosen)})
    trained = results[TRAINED_ON].transpose(SAMPLE, ENCODER).values
    scored = trained.any(axis=1) & ~trained.all(axis=1)
    if estimator == "pairs":  # what g alone was trained on is no sample of f's
        scored &= results["partition"].values == PARTITION_CODE["candidate"]
    if estimator == ADJUSTED:
        scores = adjusted_leave_out(select_protocol(results[ALIGNMENT], protocol), results[TRAINED_ON])
        scores = scores.isel({SAMPLE: np.flatnonzero(scored)})
    else:
        results = results.isel({SAMPLE: np.flatnonzero(scored)})
        scores = leave_out(select_protocol(results[ALIGNMENT], protocol), results[TRAINED_ON])
    scores.attrs |= {
        "estimator": estimator,
        "protocol": protocol,
        "encoders": int(chosen.sum()),
        "seeds": len(np.unique(results["seed"].values)),
    }
    return scores


def seeds_of(results: xr.Dataset, estimator: str) -> np.ndarray:
    """Seeds of an estimator's encoders, ascending; empty where the study has none.

    Parameters
    ----------
    results
        Root of a results store.
    estimator
        ``pairs``, ``subsets``, ``leave_one_out`` or ``adjusted``.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> seeds_of(_example.design(), "subsets")
    array([0, 1])
    """
    return np.unique(results["seed"].values[designs(results) == design_of(results, estimator)])


def design_of(results: xr.Dataset, estimator: str) -> str:
    """Return the ``design``, in the store, of the encoders that an estimator rests on.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> design_of(_example.design(), "adjusted")
    'subset'
    """
    if estimator != ADJUSTED:
        return DESIGN_OF[estimator]
    return DESIGN_OF["subsets" if (designs(results) == DESIGN_OF["subsets"]).any() else "leave_one_out"]
