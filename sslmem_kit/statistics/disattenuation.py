"""Correlation of two noisy scores with the noise of each taken off, where both may come from the same trainings.

Score a of sample i on seed s is ``a_is = A_i + common + e_is``, and score b alike. A mean over seeds correlates with another at most as
much as its reliability allows: ``rho = rho_true sqrt(rel_a rel_b)`` (Spearman 1904), so that ``rho / sqrt(rel_a rel_b)`` is what scores of
endless seeds would have. Where e_is of a and e_is of b are of one training they go together, and that formula takes off too little or
too much. Here the numerator is the mean covariance of a on seed s with b on seed t of *another* training, and each denominator the mean
covariance of a score on two seeds:

    corrected = mean over s != t of cov(a_s, b_t) / sqrt(mean over s != t of cov(a_s, a_t) mean over s != t of cov(b_s, b_t))

in which no noise of a training meets itself. Where no training is shared it is the classical formula with Cronbach's alpha as reliability.
What all seeds have in common (views, the partition, which samples are missing) counts as score.

References
----------
Spearman, American Journal of Psychology 15 (1904); Cronbach, Psychometrika 16 (1951).
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np

from sslmem_kit.statistics.variance_components import weighted_sums

ROUNDING = 1e-12
"""Share of a mean square below which a variance is rounding alone."""


@dataclass(frozen=True)
class Corrected:
    """Results of :func:`corrected_correlation`, each a float, or (resample,) of bootstrap samples."""

    observed: np.ndarray
    """Correlation of the means over seeds."""
    corrected: np.ndarray
    """Correlation that the means over endless seeds would have, by seeds of different trainings; it may exceed 1."""
    plain: np.ndarray
    """``observed / sqrt(rel_a rel_b)``, which is right where no training is shared alone."""
    reliability_a: np.ndarray
    """Share of the variance of the mean of a that other seeds would repeat; it may be below 0."""
    reliability_b: np.ndarray
    shared_noise: np.ndarray
    """Correlation of the errors of a and b of one training; NaN where none is shared."""

    @property
    def ceiling(self) -> np.ndarray:
        """Largest correlation that means of scores of these reliabilities have, ``sqrt(rel_a rel_b)``; 0 where one is not positive."""
        return np.sqrt(np.maximum(self.reliability_a, 0) * np.maximum(self.reliability_b, 0))


def matched_seeds(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return the positions of the seeds that are in both lists, in each of them: (seed,) twice.

    Examples
    --------
    >>> matched_seeds(np.array(["0", "1", "2"]), np.array(["2", "0"]))
    (array([0, 2]), array([1, 0]))
    """
    _, one, other = np.intersect1d(first, second, return_indices=True)
    return one, other


def corrected_correlation(
    first: np.ndarray, second: np.ndarray, shared: tuple[np.ndarray, np.ndarray], weights: np.ndarray | None = None
) -> Corrected:
    """Correlate two scores, as they are and without their noise.

    Parameters
    ----------
    first, second
        Replicates of two scores of the same samples, finite, (sample, seed); their numbers of seeds may differ.
    shared
        Positions of the seeds that are the same trainings, of :func:`matched_seeds`.
    weights
        How often each sample is in each bootstrap sample, (resample, sample); None: the samples themselves.

    Returns
    -------
    Floats, or arrays (resample,) with ``weights``. NaN: with one seed all but ``observed`` and a reliability that is known; where
    there is no pair of different trainings; where a score's part is not positive, ``corrected`` and ``plain``.

    Examples
    --------
    >>> score, noise = np.arange(8.0), np.array([1, -1, -1, 1, -1, 1, 1, -1.0])
    >>> first = np.stack([score + noise, score - noise], axis=1)
    >>> found = corrected_correlation(first, -first, (np.arange(2), np.arange(2)))
    >>> [float(value.round(2)) for value in (found.observed, found.corrected, found.plain)]
    [-1.0, -1.0, -1.24]
    """
    single = weights is None
    weights = np.ones((1, len(first)), np.uint8) if weights is None else weights
    total = weights.sum(axis=1, keepdims=True).astype(float)
    a, b = first - first.mean(axis=0), second - second.mean(axis=0)
    s, t = a.shape[1], b.shape[1]
    one, other = shared
    sums = np.stack([a.sum(axis=1), b.sum(axis=1)], axis=1)
    products = np.stack(
        [
            sums[:, 0] * sums[:, 1],
            sums[:, 0] ** 2,
            sums[:, 1] ** 2,
            (a**2).sum(axis=1),
            (b**2).sum(axis=1),
            (a[:, one] * b[:, other]).sum(axis=1),
        ],
        axis=1,
    )
    means = weighted_sums(weights, np.concatenate([products, a, b], axis=1)) / total
    mean_a, mean_b = means[:, 6 : 6 + s], means[:, 6 + s :]
    all_a, all_b = mean_a.sum(axis=1), mean_b.sum(axis=1)
    both = means[:, 0] - all_a * all_b  # the sum of all covariances of a seed of a with one of b
    whole_a, whole_b = means[:, 1] - all_a**2, means[:, 2] - all_b**2
    own_a, own_b = means[:, 3] - (mean_a**2).sum(axis=1), means[:, 4] - (mean_b**2).sum(axis=1)
    same = means[:, 5] - (mean_a[:, one] * mean_b[:, other]).sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        whole_a = np.where(whole_a > ROUNDING * means[:, 1], whole_a, np.nan)
        whole_b = np.where(whole_b > ROUNDING * means[:, 2], whole_b, np.nan)
        true_a, true_b = _mean_of(whole_a - own_a, s * (s - 1)), _mean_of(whole_b - own_b, t * (t - 1))
        apart = _mean_of(both - same, s * t - len(one))
        observed = both / np.sqrt(whole_a * whole_b)
        root = np.sqrt(np.where((true_a > 0) & (true_b > 0), true_a * true_b, np.nan))
        noise = np.sqrt((own_a / s - true_a) * (own_b / t - true_b))
        found = Corrected(
            observed=observed,
            corrected=apart / root,
            plain=both / (s * t) / root,
            reliability_a=true_a / (whole_a / s**2),
            reliability_b=true_b / (whole_b / t**2),
            shared_noise=(_mean_of(same, len(one)) - apart) / noise,
        )
    return Corrected(**{name: value[0] for name, value in vars(found).items()}) if single else found


def _mean_of(total: np.ndarray, count: int) -> np.ndarray:
    """Mean of so many covariances, NaN of none."""
    return total / count if count else np.full_like(total, np.nan)
