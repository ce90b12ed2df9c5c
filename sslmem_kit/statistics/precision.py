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
    """Variances of true scores over samples, and of the parts of a score's error.

    Attributes
    ----------
    score, seeds, views, interaction, offset
        Variances in squared units of the scores, numbers or arrays of one shape, as of bootstrap samples; NaN where a part is not known.

    Examples
    --------
    >>> parts = VarianceComponents(score=1.0, seeds=1.0, views=0.5, interaction=2.0, offset=0.0)
    >>> round(float(parts.reliability(seeds=4, views=10)), 3)
    0.741
    """

    score: Any
    seeds: Any
    views: Any
    interaction: Any
    offset: Any

    def error(self, seeds: Any, views: Any) -> Any:
        """Variance of a score around its true one, without what is common to all samples."""
        by_views, by_interaction = (np.maximum(np.nan_to_num(part), 0) for part in (self.views, self.interaction))
        return np.maximum(self.seeds, 0) / seeds + by_views / views + by_interaction / (seeds * views)

    def reliability(self, seeds: Any, views: Any) -> Any:
        """Share of the variance of scores that is of true scores: ``score / (score + error(seeds, views))``."""
        score = np.maximum(self.score, 0)
        with np.errstate(invalid="ignore"):  # nothing varies
            return score / (score + self.error(seeds, views))

    def standard_error(self, seeds: Any, views: Any) -> Any:
        """Standard error of one sample's score, with what is common to all samples: ``sqrt(error(seeds, views) + offset / seeds)``."""
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
    """Mean of the parts of several partitions, weighted by their numbers of samples; of those of which they are known.

    Examples
    --------
    >>> two = [VarianceComponents(1.0, 1.0, 0.5, 2.0, 0.0), VarianceComponents(3.0, 1.0, 0.5, 2.0, 0.0)]
    >>> mean_parts(two, [30, 10]).score
    1.5
    """
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
) -> xr.Dataset:
    """Seeds that reach a reliability or a standard error, for each number of views, and their cost.

    Parameters
    ----------
    parts
        Variance components of a finished study.
    views
        Numbers of random views, (views,).
    reliability, standard_error
        The target, one of the two.

    Returns
    -------
    On ``views``: ``seeds`` (whole numbers, infinite where none suffices), ``encoders`` to train, two a seed, and ``forward_passes`` of a
    sample, one a view and one of the clean image in each encoder.

    Examples
    --------
    >>> parts = VarianceComponents(score=1.0, seeds=1.0, views=0.5, interaction=2.0, offset=0.0)
    >>> required_seeds(parts, views=(2, 10), reliability=0.8)["seeds"].to_series().to_dict()
    {2: inf, 10: 6.0}
    """
    exact = [float(parts.required(count, reliability=reliability, standard_error=standard_error)) for count in views]
    seeds = np.maximum(1, np.ceil(np.array(exact, float) - 1e-9))
    count = np.array(views, int)
    columns = {"seeds": seeds, "encoders": 2 * seeds, "forward_passes": 2 * seeds * (count + 1)}
    return xr.Dataset({name: ("views", values) for name, values in columns.items()}, {"views": count})


def estimable_views(parts: VarianceComponents, own: int, among: Sequence[int] = VIEWS) -> tuple[int, ...]:
    """Numbers of views that parts can predict: ``among``, or where the part of views is not known only the ``own`` one that they come from.

    Examples
    --------
    >>> estimable_views(VarianceComponents(1.0, 1.0, np.nan, np.nan, 0.0), own=1)
    (1,)
    """
    return (own,) if np.isnan(parts.views) else tuple(among)


def planning_curve(parts: VarianceComponents, *, seeds: Sequence[int], views: Sequence[int] = VIEWS) -> xr.Dataset:
    """Reliability and standard error that other numbers of seeds and views would have.

    Parameters
    ----------
    parts
        Variance components of a finished study.
    seeds, views
        Numbers of pairs of encoders, and of random views.

    Returns
    -------
    ``reliability`` and ``standard_error`` (in units of the scores) on (``views``, ``seeds``).

    Examples
    --------
    >>> parts = VarianceComponents(score=1.0, seeds=1.0, views=0.5, interaction=2.0, offset=0.0)
    >>> planning_curve(parts, seeds=(1, 4), views=(10,))["reliability"].round(2).sel(views=10).to_series().to_dict()
    {1: 0.44, 4: 0.74}
    """
    of_seeds, of_views = np.asarray(seeds, float), np.asarray(views, float)[:, None]
    return xr.Dataset(
        {
            "reliability": (("views", "seeds"), parts.reliability(of_seeds, of_views)),
            "standard_error": (("views", "seeds"), parts.standard_error(of_seeds, of_views)),
        },
        {"seeds": list(seeds), "views": list(views)},
    )


def curve_of_study(parts: VarianceComponents, found: xr.Dataset, *, most_seeds: int) -> xr.Dataset:
    """Planning curve of a study, up to a number of seeds, with the study's own place on it.

    Parameters
    ----------
    parts
        Variance components of the study, of :meth:`sslmem_kit.statistics.variance_components.CrossedScores.parts`.
    found
        Of :func:`sslmem_kit.statistics.reliability.assess`.
    most_seeds
        Number of seeds at which the curve ends, at the least.

    Returns
    -------
    As :func:`planning_curve`; the attrs hold ``seeds``, ``views``, ``protocol``, ``target`` and ``reliability`` of the study.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> from sslmem_kit.statistics import CrossedScores, assess
    >>> root = _example.results()
    >>> curve = curve_of_study(CrossedScores.of(root).parts(), assess(root), most_seeds=6)
    >>> dict(curve.sizes), curve.attrs["seeds"]
    ({'views': 4, 'seeds': 6}, 3)
    """
    seeds = range(1, max(most_seeds, found.attrs["seeds"]) + 1)
    curve = planning_curve(parts, seeds=seeds, views=estimable_views(parts, found.attrs["views"]))
    attrs = {name: found.attrs[name] for name in ("seeds", "views", "protocol", "target")}
    return curve.assign_attrs(attrs, reliability=found["reliability"].item())


def variance_shares(parts: dict[str, VarianceComponents], *, seeds: int, views: int) -> xr.Dataset:
    """Shares of the true scores and of the parts of the error in the variance of scores over samples.

    Parameters
    ----------
    parts
        Variance components by protocol.
    seeds, views
        Numbers of the study.

    Returns
    -------
    ``share`` on (``protocol``, ``part``), with the parts ``score``, ``seeds``, ``views`` and ``interaction``; the numbers of seeds and views in
    the attrs. The shares of a protocol add up to 1, or are all 0 where nothing varies.

    Examples
    --------
    >>> parts = VarianceComponents(score=1.0, seeds=1.0, views=0.5, interaction=2.0, offset=0.0)
    >>> variance_shares({"corrected": parts}, seeds=2, views=5)["share"].round(2).sel(protocol="corrected").to_series().to_dict()
    {'score': 0.56, 'seeds': 0.28, 'views': 0.06, 'interaction': 0.11}
    """
    divisors = {"score": 1, "seeds": seeds, "views": views, "interaction": seeds * views}
    table = [[max(float(np.nan_to_num(getattr(part, name))), 0) / by for name, by in divisors.items()] for part in parts.values()]
    variances = np.array(table)
    return xr.Dataset(
        {"share": (("protocol", "part"), variances / np.maximum(variances.sum(axis=1, keepdims=True), np.finfo(float).tiny))},
        {"protocol": list(parts), "part": list(divisors)},
        {"seeds": seeds, "views": views},
    )
