"""Total standard error and interval of scores from their mean squares over encoders, over views, and over both.

Encoders and views are crossed: every encoder sees the same views of a sample. A score is a mean over both, and its variance is

    encoders / S  +  views / V  +  (encoders x views) / (S V)

for S encoders (pairs) and V views. The spread over encoders estimates the first and the last of these, the jackknife over views the last
two: their sum has the interaction twice, so that it is taken off once. The mean squares of one sample rest on few encoders and are
very uncertain; over samples the true ones differ much less than the estimates. Each is therefore moved towards what is common to all
samples, as far as the estimates' own spread says (empirical Bayes, Smyth 2004, doi:10.2202/1544-6115.1027): three pairs of encoders then
give intervals not much longer than many would. What a training does to all samples of a partition alike, its offset, is taken out before
and added after: however many samples show it, it rests on few trainings. Degrees of freedom of the sum are Satterthwaite's. One random
view says nothing of the part of views, so that there is no interval.

Where samples have different numbers of encoders on the two sides, what they have in common is the variance over ``1 / n_out + 1 / n_in``, and
:mod:`sslmem_kit.scores` gives them in this unit. So it is of the spread over encoders, whether seeds pair them or not, and of what views do
under one encoder and not under another; of what they do under all alike it is not, but on digits that is the smaller part.
"""

from __future__ import annotations

import numpy as np
from scipy import special

CONFIDENCE = 0.95
"""Confidence of every interval of a score."""
MIN_MODERATED_SAMPLES = 20
"""Samples of a partition below which variances are not moved towards a common one, nor told from an offset."""
_FLOOR = 1e-5
"""Least variance, as a share of the median, whose logarithm counts: one of exactly 0 says no more than a small one."""


def total_error(
    over_encoders: np.ndarray,
    over_views: np.ndarray,
    interaction: np.ndarray,
    *,
    encoder_degrees: np.ndarray | int,
    views: int,
    offset: np.ndarray | float = 0.0,
    offset_degrees: np.ndarray | float = 1,
) -> tuple[np.ndarray, np.ndarray]:
    """Standard error over encoders and views together, and its degrees of freedom.

    Parameters
    ----------
    over_encoders, over_views, interaction
        Variances of the score, (sample,), in a unit in which they can be common to all: from the spread over encoders of this sample alone,
        from the jackknife over views, and what both contain. The latter two are NaN where there are too few views.
    encoder_degrees
        Degrees of freedom of the first, for all samples or for each.
    views
        Random views that the second rests on; below 2 nothing is known of their part, and so of the whole.
    offset, offset_degrees
        Variance of what a training does to all samples of the partition alike, and its degrees of freedom, which do not grow with samples.

    Returns
    -------
    Standard errors and Satterthwaite's degrees of freedom, (sample,) each, in the unit of the square root of the variances; NaN without an
    error over views, 0 and infinity where nothing varies.

    Notes
    -----
    ``variance = encoders + offset + max(views - interaction, 0)``, all but the offset moderated by :func:`moderate`.
    Satterthwaite 1946, doi:10.2307/3002019.

    Examples
    --------
    >>> error, degrees = total_error(np.full(3, 0.04), np.full(3, 0.05), np.full(3, 0.01), encoder_degrees=2, views=4)
    >>> error.round(3), degrees.round(2)
    (array([0.283, 0.283, 0.283]), array([3.88, 3.88, 3.88]))
    """
    encoders, degrees = moderate(over_encoders, encoder_degrees)
    if views < 2:
        return np.full(np.shape(over_encoders), np.nan), np.full(np.shape(over_encoders), np.nan)
    by_view, view_degrees = moderate(over_views, views - 1)
    both, both_degrees = moderate(interaction, np.asarray(encoder_degrees) * (views - 1))
    with np.errstate(invalid="ignore", divide="ignore"):  # one encoder a side, or no spread at all
        beyond = by_view - both
        variance = encoders + offset + np.maximum(beyond, 0)
        uncertainty = encoders**2 / degrees + np.asarray(offset) ** 2 / offset_degrees
        uncertainty = uncertainty + np.where(beyond > 0, by_view**2 / view_degrees + both**2 / both_degrees, 0)
        # Where nothing varies the error is 0 with certainty.
        return np.sqrt(variance), np.where(variance == 0, np.inf, np.maximum(variance**2 / uncertainty, 1))


def moderate(variance: np.ndarray, degrees: np.ndarray | float) -> tuple[np.ndarray, np.ndarray]:
    """Move the variance of each sample towards the common one, and add what the others contribute to its degrees of freedom.

    The true variances are taken to be scaled inverse chi-squared; its two parameters follow from mean and variance of the logarithms of
    the estimates. With fewer than 20 samples the variances stay as they are.

    Parameters
    ----------
    variance
        (sample,); NaN is left out and stays.
    degrees
        Degrees of freedom of each estimate, or of all.

    Returns
    -------
    Variances and degrees of freedom, (sample,) each: ``(d0 s0 + d s) / (d0 + d)`` and ``d0 + d``, for the prior's variance ``s0`` and
    degrees of freedom ``d0``.

    Notes
    -----
    Smyth 2004, doi:10.2202/1544-6115.1027. The prior's degrees of freedom are at most those of all estimates together.

    Examples
    --------
    Thirty estimates with 2 degrees of freedom differ less than they would by chance alone, so that all become about equal:

    >>> variance, degrees = moderate(np.tile([1.0, 2.0, 4.0], 10), 2)
    >>> variance[:3].round(2), degrees[:3]
    (array([3.42, 3.45, 3.52]), array([62., 62., 62.]))
    """
    degrees = np.broadcast_to(np.asarray(degrees, float), variance.shape)
    known = np.isfinite(variance) & (degrees > 0)
    if known.sum() < MIN_MODERATED_SAMPLES or not (typical := np.median(variance[known])) > 0:
        return variance, degrees
    # Estimates of equal degrees, as of pairs of encoders, need the slow functions once.
    half = degrees[known] / 2
    of_each, position = (half[:1], np.zeros(len(half), int)) if np.ptp(half) == 0 else np.unique(half, return_inverse=True)
    logs = np.log(np.maximum(variance[known], _FLOOR * typical)) - (special.digamma(of_each) - np.log(of_each))[position]
    excess = logs.var(ddof=1) - special.polygamma(1, of_each)[position].mean()
    most = degrees[known].sum()
    prior_degrees = min(2 * _inverse_trigamma(excess), most) if excess > special.polygamma(1, most / 2) else most
    prior = np.exp(logs.mean() + special.digamma(prior_degrees / 2) - np.log(prior_degrees / 2))
    total = degrees + prior_degrees
    return (prior_degrees * prior + degrees * variance) / total, total


def interval(score: np.ndarray, error: np.ndarray, degrees: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Ends of the interval of scores by Student's t: ``score -+ t * error``, with confidence :data:`CONFIDENCE`.

    Parameters
    ----------
    score, error
        Scores and their standard errors, (sample,), in the same units.
    degrees
        Degrees of freedom of the errors, (sample,).

    Returns
    -------
    Lower and upper ends, (sample,) each; NaN where the error is.

    Examples
    --------
    >>> low, high = interval(np.array([1.0]), np.array([0.1]), np.array([10.0]))
    >>> low.round(2), high.round(2)
    (array([0.78]), array([1.22]))
    """
    reach = error * t_quantile(degrees, 0.5 + CONFIDENCE / 2)
    return score - reach, score + reach


def t_quantile(degrees: np.ndarray, probability: float) -> np.ndarray:
    """Quantile of Student's t, interpolated to six digits: the exact one takes seconds for a million samples.

    Parameters
    ----------
    degrees
        Degrees of freedom from 1 on, of any shape.
    probability
        Between 0 and 1.

    Examples
    --------
    >>> t_quantile(np.array([2, 10, 1e6]), 0.975).round(2)
    array([4.3 , 2.23, 1.96])
    """
    shares = np.linspace(0, 1, 4097)  # of one over the degrees
    exact = np.append(special.ndtri(probability), special.stdtrit(1 / shares[1:], probability))
    return np.interp(1 / np.asarray(degrees, float), shares, exact)


def _inverse_trigamma(value: float) -> float:
    """Inverse of the trigamma function, by Newton's method from below on its reciprocal, which is nearly straight."""
    x = 0.5 + 1 / value
    for _ in range(50):
        trigamma = special.polygamma(1, x)
        step = trigamma * (1 - trigamma / value) / special.polygamma(2, x)
        x += step
        if -step / x < 1e-10:
            break
    return float(x)
