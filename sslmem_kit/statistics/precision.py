"""How many seeds and views a wanted precision takes, from the parts of a score's error.

The score of a sample from ``s`` pairs of encoders (seeds) and ``v`` random views is its true score, the expectation over all seeds and views
that might have been drawn, and an error with the variance

    error(s, v)  =  seeds / s  +  views / v  +  interaction / (s v)

``seeds`` is what a seed does to this sample and not to others, ``views`` what a view does under all encoders alike, ``interaction`` what it
does under one seed and not under another; ``offset``, which a seed does to all samples alike, changes no order and stands apart. The
reliability is the share of the variance of scores that is not error, score / (score + error), and equals the correlation of two scorings
with other seeds and views. This is generalizability theory (Brennan 2001): samples crossed with seeds, and with views within them. An
estimated part may be negative; predictions take 0 for it.
"""

from __future__ import annotations

import math
from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np
import xarray as xr

TARGET = 0.8
"""Reliability that is asked for where nothing else is said."""
VIEWS = (2, 5, 10, 20)
"""Numbers of views that are compared."""


@dataclass(frozen=True)
class VarianceComponents:
    """Variances of true scores over samples, and of the parts of a score's error; NaN what cannot be told, arrays for bootstrap samples."""

    score: Any
    seeds: Any
    views: Any
    interaction: Any
    offset: Any

    def error(self, seeds: Any, views: Any) -> Any:
        """Variance of a score around its true one, but for what is common to all samples."""
        by_views, by_interaction = (np.maximum(np.nan_to_num(part), 0) for part in (self.views, self.interaction))
        return np.maximum(self.seeds, 0) / seeds + by_views / views + by_interaction / (seeds * views)

    def reliability(self, seeds: Any, views: Any) -> Any:
        """Share of the variance of scores that is of true scores."""
        score = np.maximum(self.score, 0)
        with np.errstate(invalid="ignore"):  # nothing varies
            return score / (score + self.error(seeds, views))

    def standard_error(self, seeds: Any, views: Any) -> Any:
        """Of one sample's score, with what is common to all samples."""
        return np.sqrt(self.error(seeds, views) + np.maximum(self.offset, 0) / seeds)

    def required(self, views: int, *, reliability: float | None = None, standard_error: float | None = None) -> Any:
        """Seeds, not rounded, that reach a reliability or a standard error with so many views; infinite where no number does."""
        of_seeds, by_views, by_interaction = (
            np.maximum(np.nan_to_num(part), 0) for part in (self.seeds, self.views, self.interaction)
        )
        if reliability is not None:
            allowed = np.maximum(self.score, 0) * (1 - reliability) / reliability
        else:
            allowed, of_seeds = standard_error**2, of_seeds + np.maximum(self.offset, 0)
        left = allowed - by_views / views
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(left > 0, (of_seeds + by_interaction / views) / left, np.inf)


def mean_parts(parts: Sequence[VarianceComponents], weights: Sequence[float]) -> VarianceComponents:
    """Mean of the parts of several partitions, by their numbers of samples; of those of which they are known."""
    known = [(part, weight) for part, weight in zip(parts, weights, strict=True) if np.isfinite(part.score).all()]
    if not known:
        return parts[0]
    total = sum(weight for _, weight in known)
    return VarianceComponents(**{name: sum(vars(part)[name] * weight for part, weight in known) / total for name in vars(parts[0])})


def required_seeds(
    parts: VarianceComponents,
    *,
    views: Sequence[int] = VIEWS,
    reliability: float | None = None,
    standard_error: float | None = None,
) -> list[dict[str, Any]]:
    """Seeds that reach a reliability or a standard error, for each number of views, and what they cost.

    Returns
    -------
    One mapping a number of ``views``: ``seeds`` (None where no number suffices), ``encoders`` to train and ``forward_passes`` of a sample.
    """
    rows = []
    for count in views:
        exact = float(parts.required(count, reliability=reliability, standard_error=standard_error))
        seeds = max(1, math.ceil(exact - 1e-9)) if math.isfinite(exact) else None
        encoders = None if seeds is None else 2 * seeds
        rows.append({"views": count, "seeds": seeds, "encoders": encoders, "forward_passes": encoders and encoders * (count + 1)})
    return rows


def estimable_views(parts: VarianceComponents, own: int, among: Sequence[int] = VIEWS) -> tuple[int, ...]:
    """Numbers of views that parts tell of: ``among``, or where nothing is known of views only the ``own`` one that the parts come from."""
    return (own,) if np.isnan(parts.views) else tuple(among)


def planning_curve(parts: VarianceComponents, *, seeds: Sequence[int], views: Sequence[int] = VIEWS) -> xr.Dataset:
    """Predicted ``reliability`` and ``standard_error`` on (``views``, ``seeds``)."""
    of_seeds, of_views = np.asarray(seeds, float), np.asarray(views, float)[:, None]
    return xr.Dataset(
        {
            "reliability": (("views", "seeds"), parts.reliability(of_seeds, of_views)),
            "standard_error": (("views", "seeds"), parts.standard_error(of_seeds, of_views)),
        },
        {"seeds": list(seeds), "views": list(views)},
    )


def curve_of_study(parts: VarianceComponents, found: dict[str, Any], *, most_seeds: int) -> xr.Dataset:
    """The planning curve of a study, with what :func:`sslmem_kit.statistics.reliability.assess` has found of itself in the attrs."""
    seeds = range(1, max(most_seeds, found["seeds"]) + 1)
    curve = planning_curve(parts, seeds=seeds, views=estimable_views(parts, found["views"]))
    attrs = {name: found[name] for name in ("seeds", "views", "protocol", "target")}
    return curve.assign_attrs(attrs, reliability=found["reliability"]["value"])


def variance_shares(parts: dict[str, VarianceComponents], *, seeds: int, views: int) -> xr.Dataset:
    """What the variance of scores over samples is made of with so many seeds and views: ``share`` on (``protocol``, ``part``).

    Parameters
    ----------
    parts
        By protocol.
    seeds, views
        Of the study.
    """
    divisors = {"score": 1, "seeds": seeds, "views": views, "interaction": seeds * views}
    table = [[max(float(np.nan_to_num(getattr(part, name))), 0) / by for name, by in divisors.items()] for part in parts.values()]
    variances = np.array(table)
    return xr.Dataset(
        {"share": (("protocol", "part"), variances / np.maximum(variances.sum(axis=1, keepdims=True), np.finfo(float).tiny))},
        {"protocol": list(parts), "part": list(divisors)},
        {"seeds": seeds, "views": views},
    )
