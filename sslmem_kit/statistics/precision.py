"""Numbers of seeds and views that a wanted precision takes, from the parts of a score's error.

The score of a sample from ``s`` pairs of encoders (seeds) and ``v`` random views is its true score, the expectation over all seeds and
views that might have been used, and an error with the variance

    error(s, v)  =  seeds / s  +  views / v  +  interaction / (s v)  +  pairs / (s v (v - 1) / 2)

``seeds`` is what a seed does to this sample and not to others, ``views`` what a view does under all encoders alike, ``interaction`` what it
does under one seed and not under another, ``pairs`` what two random views do there beyond what each does; ``offset``, which a seed does
to all samples alike, changes no order and stands apart. The
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

from sslmem_kit.names import BOUND, BOUNDS

TARGET = 0.8
"""Reliability that is asked for where nothing else is said."""
VIEWS = (2, 5, 10, 20)
"""Numbers of views that are compared."""


@dataclass(frozen=True)
class VarianceComponents:
    """Variances of true scores over samples, and of the parts of a score's error; NaN where unknown, arrays for bootstrap samples.

    Attributes
    ----------
    score
        Of true scores.
    seeds, views, interaction
        Of the error of one sample from one seed, from one view, and from a view under one seed.
    offset
        Of what a seed does to all samples alike.
    pairs
        Of the error from one pair of random views under one seed, beyond that of its views; 0 where random views are not compared.

    Examples
    --------
    >>> parts = VarianceComponents(score=1.0, seeds=2.0, views=0.6, interaction=4.0, offset=0.5)
    >>> float(parts.reliability(4, 10).round(3)), float(parts.standard_error(4, 10).round(3))
    (0.602, 0.886)
    >>> float(parts.required(10, reliability=0.8).round(3))
    12.632
    """

    score: Any
    seeds: Any
    views: Any
    interaction: Any
    offset: Any
    pairs: Any = 0.0

    def error(self, seeds: Any, views: Any) -> Any:
        """Variance of a score around its true one, but for what is common to all samples."""
        of_all, of_each = self._of_views(views)
        return np.maximum(self.seeds, 0) / seeds + of_all + of_each / seeds

    def _of_views(self, views: Any) -> tuple[Any, Any]:
        """Variance over so many views under all seeds alike, and that under one seed alone."""
        of_all, of_each, of_pairs = (np.maximum(np.nan_to_num(part), 0) for part in (self.views, self.interaction, self.pairs))
        views = np.asarray(views, float)
        return of_all / views, of_each / views + of_pairs / np.maximum(views * (views - 1) / 2, 1)

    def reliability(self, seeds: Any, views: Any) -> Any:
        """Share of the variance of scores that is of true scores."""
        score = np.maximum(self.score, 0)
        with np.errstate(invalid="ignore"):  # nothing varies
            return score / (score + self.error(seeds, views))

    def standard_error(self, seeds: Any, views: Any) -> Any:
        """Standard error of one sample's score, with what is common to all samples."""
        return np.sqrt(self.error(seeds, views) + np.maximum(self.offset, 0) / seeds)

    def required(self, views: int, *, reliability: float | None = None, standard_error: float | None = None) -> Any:
        """Seeds, not rounded, that reach a reliability or a standard error with so many views; infinite where no number does."""
        of_seeds = np.maximum(np.nan_to_num(self.seeds), 0)
        of_all, of_each = self._of_views(views)
        if reliability is not None:
            allowed = np.maximum(self.score, 0) * (1 - reliability) / reliability
        else:
            allowed, of_seeds = standard_error**2, of_seeds + np.maximum(self.offset, 0)
        left = allowed - of_all
        with np.errstate(divide="ignore", invalid="ignore"):
            return np.where(left > 0, (of_seeds + of_each) / left, np.inf)


def mean_parts(parts: Sequence[VarianceComponents], weights: Sequence[float]) -> VarianceComponents:
    """Mean of the parts of several partitions, by their numbers of samples; of those of which they are known.

    Examples
    --------
    >>> mean_parts([VarianceComponents(1, 2, 3, 4, 5), VarianceComponents(4, 2, 3, 4, 5)], [20, 10]).score
    2.0
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
    resampled: VarianceComponents | None = None,
) -> xr.Dataset:
    """Seeds that reach a reliability or a standard error, for each number of views, and what they cost.

    Parameters
    ----------
    parts
        Of the scores.
    resampled
        The same of bootstrap samples, for the interval of the number of seeds.

    Returns
    -------
    On ``views``, NaN where no number of seeds suffices or none can be told: ``required_seeds``, ``encoders`` to train and
    ``forward_passes`` of a sample; with ``resampled`` also ``required_seeds_interval`` on ``bound`` (95 %, infinite where none suffices),
    and the scalar ``known``: false where the interval of the score's own part reaches 0. No number of seeds for a reliability can be told
    then, only the interval's lower end.

    Examples
    --------
    >>> parts = VarianceComponents(score=1.0, seeds=0.5, views=0.6, interaction=1.0, offset=0.5)
    >>> required_seeds(parts, views=(2, 10), reliability=0.8)["required_seeds"].to_series().to_dict()
    {2: nan, 10: 4.0}
    """
    known = resampled is None or reliability is None or not may_be_zero(resampled.score)
    exact = [float(parts.required(count, reliability=reliability, standard_error=standard_error)) for count in views]
    seeds = np.array([_whole(number) if known and math.isfinite(number) else np.nan for number in exact], float)
    passes = 2 * seeds * (np.array(views, float) + 1)
    found = xr.Dataset(
        {"required_seeds": ("views", seeds), "encoders": ("views", 2 * seeds), "forward_passes": ("views", passes)},
        {"views": np.array(views, int)},
    )
    if resampled is None:
        return found
    ends = []
    for count in views:
        drawn = np.asarray(resampled.required(count, reliability=reliability, standard_error=standard_error), float)
        # Of the drawn numbers themselves: between a finite one and an infinite one there is none.
        ends.append([_whole(end) for end in np.quantile(drawn, (0.025, 0.975), method="inverted_cdf")])
    shape = np.reshape(np.array(ends, float), (len(views), 2))
    return found.assign(required_seeds_interval=(("views", BOUND), shape), known=known).assign_coords({BOUND: list(BOUNDS)})


def _whole(seeds: float) -> float:
    """Least whole number of seeds, at least 1; infinite where none suffices."""
    return max(1, math.ceil(seeds - 1e-9)) if math.isfinite(seeds) else math.inf


def may_be_zero(score: np.ndarray) -> bool:
    """Test whether the 95 % interval of the variance of true scores reaches 0, from its values in bootstrap samples.

    Examples
    --------
    >>> may_be_zero(np.linspace(-0.1, 2, 1000)), may_be_zero(np.linspace(0.1, 2, 1000))
    (True, False)
    """
    return not np.quantile(score, 0.025) > 0


def estimable_views(parts: VarianceComponents, own: int, among: Sequence[int] = VIEWS) -> tuple[int, ...]:
    """Numbers of views that parts allow to predict: ``among``, or where nothing is known of views only ``own``, which the parts come from.

    Examples
    --------
    >>> estimable_views(VarianceComponents(1, 2, np.nan, np.nan, 5), own=3)
    (3,)
    """
    return (own,) if np.isnan(parts.views) else tuple(among)


def planning_curve(parts: VarianceComponents, *, seeds: Sequence[int], views: Sequence[int] = VIEWS) -> xr.Dataset:
    """Predicted ``reliability`` and ``standard_error`` on (``views``, ``seeds``).

    Examples
    --------
    >>> parts = VarianceComponents(score=1.0, seeds=2.0, views=0.6, interaction=4.0, offset=0.5)
    >>> planning_curve(parts, seeds=range(1, 4), views=(10,))["reliability"].round(2).values
    array([[0.29, 0.44, 0.54]])
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
    """Planning curve of a study, with its own numbers in the attrs.

    Parameters
    ----------
    parts
        Of its scores.
    found
        Of :func:`sslmem_kit.statistics.reliability.assess`.
    most_seeds
        The curve ends there, or at the study's own number of seeds.

    Returns
    -------
    As :func:`planning_curve`; the attrs have ``seeds``, ``views``, ``protocol`` and ``target`` of the study, and its ``reliability``.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> from sslmem_kit.statistics import CrossedScores, assess
    >>> results = _example.results()
    >>> curve = curve_of_study(CrossedScores.of(results).parts(), assess(results), most_seeds=8)
    >>> dict(curve.sizes), curve.attrs["seeds"]
    ({'views': 4, 'seeds': 8}, 3)
    """
    seeds = range(1, max(most_seeds, found.attrs["seeds"]) + 1)
    curve = planning_curve(parts, seeds=seeds, views=estimable_views(parts, found.attrs["views"]))
    attrs = {name: found.attrs[name] for name in ("seeds", "views", "protocol", "target")}
    return curve.assign_attrs(attrs, reliability=found["reliability"].item())


def variance_shares(parts: dict[str, VarianceComponents], *, seeds: int, views: int) -> xr.Dataset:
    """Parts of the variance of scores over samples, with so many seeds and views.

    Parameters
    ----------
    parts
        By protocol.
    seeds, views
        Of the study.

    Returns
    -------
    ``share`` on (``protocol``, ``part``), with ``seeds`` and ``views`` in the attrs; the parts are those of a score, from ``score`` to
    ``pairs``, negative ones taken as 0.

    Examples
    --------
    >>> parts = VarianceComponents(score=1.0, seeds=2.0, views=0.6, interaction=4.0, offset=0.5)
    >>> variance_shares({"paper": parts}, seeds=2, views=10)["share"].sel(protocol="paper").round(2).to_series().to_dict()
    {'score': 0.44, 'seeds': 0.44, 'views': 0.03, 'interaction': 0.09, 'pairs': 0.0}
    """
    divisors = {
        "score": 1,
        "seeds": seeds,
        "views": views,
        "interaction": seeds * views,
        "pairs": seeds * max(views * (views - 1) / 2, 1),
    }
    table = [[max(float(np.nan_to_num(getattr(part, name))), 0) / by for name, by in divisors.items()] for part in parts.values()]
    variances = np.array(table)
    return xr.Dataset(
        {"share": (("protocol", "part"), variances / np.maximum(variances.sum(axis=1, keepdims=True), np.finfo(float).tiny))},
        {"protocol": list(parts), "part": list(divisors)},
        {"seeds": seeds, "views": views},
    )
