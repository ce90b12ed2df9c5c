"""Leave-out scores adjusted for what the encoders of one seed have in common over all samples.

Two encoders that start alike and differ in a few training samples drift apart along few directions, in which the alignments of all samples
move together: on digits, one to four principal components of the alignments hold four fifths of the differences between the encoders of a
seed. What a sample's alignment loses where that sample is left out is small beside it. But the movement is seen in the other samples, and
can be taken off: within each seed, a sample's alignments are regressed on its own membership and on the first principal components (factors)
of all samples' alignments over the encoders. The coefficient of the membership is the score. It estimates eq. 2 as
:func:`sslmem_kit.scores.leave_out` does, with a variance that is several times smaller.

Each seed needs enough encoders for its factors, which are its own: one factor for each :data:`ENCODERS_PER_FACTOR` encoders, at most
:data:`FACTORS`. Where seeds have too few for any, as pairs have, the score is the difference within seeds itself.
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from sslmem_kit.names import AUGMENTATION, ENCODER, SAMPLE, SSLMEM
from sslmem_kit.scores.contrast import _blocks
from sslmem_kit.scores.intervals import interval, total_error
from sslmem_kit.scores.protocols import view_weights
from sslmem_kit.scores.variances import jackknife_sum

FACTORS = 4
"""Largest number of factors of a seed."""
ENCODERS_PER_FACTOR = 5
"""Encoders of a seed for each factor that is taken off."""
_LEAST = 1e-6
"""Share of the spread of a membership below which what is left of it is rounding: the factors of its seed say who has the sample."""


def adjusted_leave_out(alignment: xr.DataArray, trained_on: xr.DataArray, *, factors: int = FACTORS) -> xr.Dataset:
    """SSLMem of every sample, adjusted for the factors of each seed's encoders.

    Parameters
    ----------
    alignment
        (sample, augmentation, encoder), with ``seed`` on ``encoder``, ``view_a`` and ``view_b`` on ``augmentation``. Factors rest on all samples, also
        on those that no encoder or every encoder was trained on.
    trained_on
        (sample, encoder) bool.
    factors
        Largest number of factors of a seed; 0: the difference within seeds, not adjusted.

    Returns
    -------
    On ``sample``: ``sslmem``, ``standard_error_views``, ``standard_error_encoders``, ``standard_error``, the 95 % interval ``low`` to ``high``,
    and the counts ``n_in`` and ``n_out`` of encoders; NaN where no seed has encoders of both kinds. The attrs hold the number of ``factors``
    of each seed, in order. The error over encoders is that of the mean over seeds, from the spread of theirs; NaN with one seed.

    Raises
    ------
    xarray.AlignmentError
        Samples or encoders of the two arrays are not the same.

    Notes
    -----
    In seed s let y be a sample's alignments and x its membership (1: left out), both with their mean over the encoders taken off, F the
    first principal components of all samples' y, each sample in units of its own spread, and r the part of x that is orthogonal to F. The
    score of the seed is ``r'y / r'r``; over seeds it is their mean with weights ``r'r``. Without factors that is the difference of means within
    seeds.

    References
    ----------
    Xu, Political Analysis 25 (2017), doi:10.1017/pan.2016.2, and Bai, Econometrica 77 (2009), doi:10.3982/ECTA6135, for regression with
    factors that interact.

    Examples
    --------
    >>> from sslmem_kit.scores import _example, leave_out
    >>> design = _example.design()
    >>> alone = design.isel(encoder=(design["design"] == "leave_one_out").values)
    >>> scores = adjusted_leave_out(alone["alignment"], alone["trained_on"])
    >>> scores["sslmem"].count().item(), scores.attrs["factors"]
    (5, [1, 1])
    """
    alignment, trained_on = xr.align(alignment, trained_on, join="exact", copy=False)
    alignment, out = alignment.transpose(SAMPLE, AUGMENTATION, ENCODER), ~trained_on.transpose(SAMPLE, ENCODER).values
    weights = view_weights(alignment["view_a"].values, alignment["view_b"].values)
    seeds = [np.flatnonzero(alignment["seed"].values == seed) for seed in np.unique(alignment["seed"].values)]
    bases = _bases(alignment, seeds, weights[0], factors)
    columns = np.full((6, len(out)), np.nan)
    for start, values in _blocks(alignment):
        part = slice(start, start + len(values))
        means = np.tensordot(values.astype(np.float64), weights, axes=(1, 1))
        columns[:, part] = _columns(means, out[part].astype(float), seeds, bases)
    score, over_encoders, over_views, interaction, degrees, information = columns
    known = np.isfinite(score)
    error, total_degrees = np.full((2, len(score)), np.nan)
    with np.errstate(divide="ignore", invalid="ignore"):
        unit = np.where(known, np.nanmax(information, initial=0) / information, np.nan)
    if known.any() and len(seeds) > 1:
        # What samples have in common is the variance for equal information.
        variances = [variance[known] / unit[known] for variance in (over_encoders, over_views, interaction)]
        error[known], total_degrees[known] = total_error(*variances, encoder_degrees=degrees[known], views=len(weights) - 1)
        error *= np.sqrt(unit)
    low, high = interval(score, error, total_degrees)
    per_sample = {
        SSLMEM: score,
        "standard_error_views": np.sqrt(over_views),
        "standard_error_encoders": np.sqrt(over_encoders),
        "standard_error": error,
        "low": low,
        "high": high,
        "n_in": (~out.astype(bool)).sum(axis=1),
        "n_out": out.sum(axis=1),
    }
    coords = {name: coord for name, coord in alignment.coords.items() if set(coord.dims) <= {SAMPLE}}
    result = xr.Dataset({name: (SAMPLE, values) for name, values in per_sample.items()}, coords)
    result.attrs["factors"] = [basis.shape[1] for basis in bases]
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


def _columns(means: np.ndarray, out: np.ndarray, seeds: list[np.ndarray], bases: list[np.ndarray]) -> np.ndarray:
    """Score, its variances over encoders, over views and what both contain, degrees of freedom of the first, and its information.

    (sample, encoder, 1 + view) of :func:`sslmem_kit.scores.protocols.view_weights`, (sample, encoder) -> (6, sample).
    """
    of_seeds, information = np.zeros((len(means), len(seeds), means.shape[2])), np.zeros((len(means), len(seeds)))
    for number, (encoders, basis) in enumerate(zip(seeds, bases, strict=True)):
        membership = centred(out[:, encoders])
        left = membership - (membership @ basis) @ basis.T
        square = (left**2).sum(axis=1)
        usable = square > _LEAST * (membership**2).sum(axis=1)
        if not usable.any():
            continue
        of_seeds[usable, number] = np.einsum("se,sek->sk", left[usable], means[usable][:, encoders]) / square[usable, None]
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
