"""Leave-out scores in which what the encoders of a seed share over all samples counts as far as other seeds repeat it.

Two encoders that start alike and differ in a few training samples drift apart along few directions, in which the alignments of all samples
move together: on digits, the first principal components of the alignments over the encoders of a seed hold half of their variance and
more. Within each seed a sample's difference between the encoders that lack it and the others is the sum of two parts: one along the first
principal components of all samples' alignments (factors), and the rest, which is the sample's own. Most of the first is chance: another
seed does not repeat it. It is therefore weighted by its reliability, relative to that of the rest, which both follow from the covariance of
seeds. With many seeds the weight goes to one, and the score to :func:`sslmem_kit.scores.leave_out`, which it estimates.

Each seed needs enough encoders for its factors, which are its own: one factor for each :data:`ENCODERS_PER_FACTOR` encoders, at most
:data:`FACTORS`. Where seeds have fewer, as pairs have, or where there is one seed, the score is the difference within seeds itself.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr

from sslmem_kit.names import AUGMENTATION, ENCODER, SAMPLE, SSLMEM
from sslmem_kit.scores.contrast import _blocks
from sslmem_kit.scores.intervals import interval, total_error
from sslmem_kit.scores.protocols import view_weights
from sslmem_kit.scores.variances import jackknife_sum

FACTORS = 1
"""Largest number of factors of a seed."""
ENCODERS_PER_FACTOR = 5
"""Encoders of a seed for each factor that is told apart."""
MIN_WEIGHED_SAMPLES = 20
"""Samples below which nothing is known of the reliability of the two parts, and factors count in full."""


class Shared(NamedTuple):
    """What samples share: their part along factors, as a mean over samples, its variance that seeds repeat (one standard error above its
    estimate, so that intervals hold where it is small), its weight, and the squared correlation of what scores and what both parts hold
    of what seeds repeat: below 1 by what the weight keeps from the scores."""

    mean: float
    variance: float
    weight: float
    fidelity: float


NOTHING = Shared(0.0, 0.0, 1.0, 1.0)
"""Factors count in full."""


def adjusted_leave_out(alignment: xr.DataArray, trained_on: xr.DataArray, *, factors: int = FACTORS) -> xr.Dataset:
    """SSLMem of every sample that some encoders of a seed were trained on and others were not; factors of a seed by their reliability.

    Parameters
    ----------
    alignment
        (sample, augmentation, encoder), with ``seed`` on ``encoder``, ``view_a`` and ``view_b`` on ``augmentation``. Factors rest on all
        samples, also on those that no encoder or every encoder was trained on.
    trained_on
        (sample, encoder) bool.
    factors
        Largest number of factors of a seed; 0: the difference within seeds.

    Returns
    -------
    On ``sample``: ``sslmem``, ``standard_error_views``, ``standard_error_encoders``, ``standard_error``, the 95 % interval ``low`` to
    ``high``, and the counts ``n_in`` and ``n_out`` of encoders; NaN where no seed has encoders of both kinds. The attrs hold the number of
    ``factors`` of each seed, in order, and ``factor_weight``. The error over encoders is from the spread over seeds, NaN with one;
    ``standard_error`` has what the weight keeps from the score, too, whose variance is the attribute ``variance_kept``; ``fidelity`` is
    the squared correlation of a score without noise and the truth.

    Raises
    ------
    xarray.AlignmentError
        Samples or encoders of the two arrays are not the same.

    Notes
    -----
    In seed s let y be a sample's alignments and x its membership (1: left out), both with their mean over encoders taken off, F the first
    principal components of all samples' y, each sample in units of its own spread. The difference of means is ``x'y / x'x``, its part along
    factors ``(F'x)'(F'y) / x'x``. The variance of a part over samples that seeds repeat is the mean covariance of two seeds; its reliability
    is the quotient of that and the variance of the mean over seeds. Seeds have weights ``x'x``.

    References
    ----------
    Bai, Econometrica 77 (2009), doi:10.3982/ECTA6135, and Xu, Political Analysis 25 (2017), doi:10.1017/pan.2016.2, for factors that are
    regressed on; Robinson, Statistical Science 6 (1991), doi:10.1214/ss/1177011926, for parts by their reliability.

    Examples
    --------
    >>> from sslmem_kit.scores import _example, leave_out
    >>> design = _example.design()
    >>> alone = design.isel(encoder=(design["design"] == "leave_one_out").values)
    >>> scores = adjusted_leave_out(alone["alignment"], alone["trained_on"])
    >>> scores["sslmem"].count().item(), scores.attrs
    (5, {'factors': [1, 1], 'factor_weight': 1.0, 'variance_kept': 0.0, 'fidelity': 1.0})
    """
    alignment, trained_on = xr.align(alignment, trained_on, join="exact", copy=False)
    alignment, out = alignment.transpose(SAMPLE, AUGMENTATION, ENCODER), ~trained_on.transpose(SAMPLE, ENCODER).values
    weights = view_weights(alignment["view_a"].values, alignment["view_b"].values)
    seeds = [np.flatnonzero(alignment["seed"].values == seed) for seed in np.unique(alignment["seed"].values)]
    bases = _bases(alignment, seeds, weights[0], factors)
    shared = _shared(alignment, out, seeds, bases, weights[0])
    columns = np.full((6, len(out)), np.nan)
    for start, values in _blocks(alignment):
        part = slice(start, start + len(values))
        means = np.tensordot(values.astype(np.float64), weights, axes=(1, 1))
        columns[:, part] = _columns(means, out[part], seeds, bases, shared.weight)
    score, over_encoders, over_views, interaction, degrees, information = columns
    score += (1 - shared.weight) * shared.mean
    known = np.isfinite(score)
    error, total_degrees = np.full((2, len(score)), np.nan)
    if known.any() and len(seeds) > 1:
        # What samples have in common is the variance for equal information.
        unit = information[known].max() / information[known]
        variances = [variance[known] / unit for variance in (over_encoders, over_views, interaction)]
        error[known], total_degrees[known] = total_error(*variances, encoder_degrees=degrees[known], views=len(weights) - 1)
        error[known] = np.sqrt(error[known] ** 2 * unit + (1 - shared.weight) ** 2 * shared.variance)
    low, high = interval(score, error, total_degrees)
    per_sample = {
        SSLMEM: score,
        "standard_error_views": np.sqrt(over_views),
        "standard_error_encoders": np.sqrt(over_encoders),
        "standard_error": error,
        "low": low,
        "high": high,
        "n_in": (~out).sum(axis=1),
        "n_out": out.sum(axis=1),
    }
    coords = {name: coord for name, coord in alignment.coords.items() if set(coord.dims) <= {SAMPLE}}
    result = xr.Dataset({name: (SAMPLE, values) for name, values in per_sample.items()}, coords)
    kept = (1 - shared.weight) ** 2 * shared.variance
    result.attrs = {
        "factors": [basis.shape[1] for basis in bases],
        "factor_weight": shared.weight,
        "variance_kept": kept,
        "fidelity": shared.fidelity,
    }
    return result.assign(n_augmentations=alignment.sizes[AUGMENTATION])


def _bases(alignment: xr.DataArray, seeds: list[np.ndarray], weights: np.ndarray, factors: int) -> list[np.ndarray]:
    """Factors of each seed, orthonormal, (encoder, factor)."""
    products = [np.zeros((len(encoders),) * 2) for encoders in seeds]
    for _, values in _blocks(alignment):
        means = np.tensordot(values.astype(np.float64), weights, axes=(1, 0))
        parts = [centred(means[:, encoders]) for encoders in seeds]
        spread = np.sqrt(sum((part**2).sum(axis=1) for part in parts))
        for product, part in zip(products, parts, strict=True):
            scaled = part[spread > 0] / spread[spread > 0, None]  # NaN is not
            product += scaled.T @ scaled
    counts = [min(factors, (len(product) - 1) // ENCODERS_PER_FACTOR) for product in products]
    return [np.linalg.eigh(product)[1][:, len(product) - count :] for product, count in zip(products, counts, strict=True)]


def centred(values: np.ndarray) -> np.ndarray:
    """Values minus their mean over encoders, (..., encoder)."""
    return values - values.mean(axis=-1, keepdims=True)


def _shared(
    alignment: xr.DataArray, out: np.ndarray, seeds: list[np.ndarray], bases: list[np.ndarray], weights: np.ndarray
) -> Shared:
    """What samples share along factors, from all samples that every seed has encoders of both kinds of."""
    if len(seeds) < 2 or not any(basis.shape[1] for basis in bases):
        return NOTHING
    sums, products, samples = np.zeros((2, len(seeds))), np.zeros((2, len(seeds), len(seeds))), 0
    for start, values in _blocks(alignment):
        means = np.tensordot(values.astype(np.float64), weights, axes=(1, 0))
        parts = np.full((2, len(means), len(seeds)), np.nan)  # the own, and along factors
        for number, (encoders, basis) in enumerate(zip(seeds, bases, strict=True)):
            along, membership = _along(out[start : start + len(means), encoders], basis)
            square = (membership**2).sum(axis=1)
            chosen = square > 0
            for part, vector in zip(parts, (membership - along, along), strict=True):
                part[chosen, number] = (vector[chosen] * means[chosen][:, encoders]).sum(axis=1) / square[chosen]
        parts = parts[:, np.isfinite(parts).all(axis=(0, 2))]
        samples += parts.shape[1]
        sums += parts.sum(axis=1)
        products += np.einsum("pis,pit->pst", parts, parts)
    if samples < MIN_WEIGHED_SAMPLES:
        return NOTHING
    covariance = products / samples - np.einsum("ps,pt->pst", sums, sums) / samples**2
    of_means = covariance.mean(axis=(1, 2))
    repeated = (of_means - np.trace(covariance, axis1=1, axis2=2) / len(seeds) ** 2) / (1 - 1 / len(seeds))
    with np.errstate(divide="ignore", invalid="ignore"):
        own, along = np.clip(np.nan_to_num(repeated / of_means), 0, 1)
    if not own:  # nothing is repeated but by factors, if anything is
        return NOTHING
    # The standard error of the repeated variance, were no part repeated: that much may be there unseen.
    unseen = np.trace(covariance[1]) / len(seeds) * np.sqrt(2 / (len(seeds) * (len(seeds) - 1) * samples))
    weight, (own, along) = min(1, along / own), np.maximum(repeated, 0)
    fidelity = (own + weight * along) ** 2 / ((own + weight**2 * along) * (own + along))
    return Shared(float(sums[1].mean() / samples), float(along + unseen), float(weight), float(fidelity))


def _along(out: np.ndarray, basis: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Part of memberships along factors, and all of them, without their mean over encoders: (sample, encoder) each."""
    membership = centred(out.astype(float))
    return (membership @ basis) @ basis.T, membership


def _columns(means: np.ndarray, out: np.ndarray, seeds: list[np.ndarray], bases: list[np.ndarray], weight: float) -> np.ndarray:
    """Score, its variances over encoders, over views and what both contain, degrees of freedom of the first, and its information.

    (sample, encoder, 1 + view) of :func:`sslmem_kit.scores.protocols.view_weights`, (sample, encoder) -> (6, sample).
    """
    of_seeds, information = np.zeros((len(means), len(seeds), means.shape[2])), np.zeros((len(means), len(seeds)))
    for number, (encoders, basis) in enumerate(zip(seeds, bases, strict=True)):
        along, membership = _along(out[:, encoders], basis)
        square = (membership**2).sum(axis=1)
        usable = square > 0
        vector = membership - (1 - weight) * along
        of_seeds[usable, number] = np.einsum("se,sek->sk", vector[usable], means[usable][:, encoders]) / square[usable, None]
        information[usable, number] = square[usable]
    total = information.sum(axis=1)
    with np.errstate(divide="ignore", invalid="ignore"):
        shares = information / total[:, None]
        both = np.einsum("sz,szk->sk", shares, of_seeds)
        count = (information > 0).sum(axis=1)
        deviations = np.where(information[..., None] > 0, of_seeds - both[:, None], 0)
        variance = np.einsum("sz,szk->sk", shares**2, deviations**2) * (count / (count - 1))[:, None]
    interaction = jackknife_sum(variance[:, 1:])
    return np.stack([both[:, 0], variance[:, 0], jackknife_sum(both[:, 1:] ** 2), interaction, count - 1, total])
