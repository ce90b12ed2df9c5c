"""Kernel of all scores: the difference of two means over encoders, with its errors and interval, in blocks of samples."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from sslmem_kit.names import AUGMENTATION, ENCODER, SAMPLE, SSLMEM
from sslmem_kit.scores.intervals import interval, total_error
from sslmem_kit.scores.protocols import PairNoise, pair_noise, view_weights
from sslmem_kit.scores.variances import encoders_by_seed, jackknife_sum, variance_over_encoders, without_offset

BY_ENCODER = "alignment_by_encoder"
"""Variable of scores: mean alignment of each sample under each encoder."""
NOISE_SAMPLES = 2048
"""Number of samples, evenly spaced, that tell what pairs of views do beyond their views."""
LEAST_OF_VIEWS = 0.1
"""Share of a jackknife over views that is left at least, without what it counts too much."""

BLOCK = 4096
"""Number of samples that are computed at once, few enough for the processor's caches; also what a chunk of the store holds by default."""

READ_BYTES = 2**25
"""Number of bytes of alignments that are read at once, in whole blocks: many chunks together take less time than one by one."""


def _contrast(alignment: xr.DataArray, out: xr.DataArray) -> xr.Dataset:
    """Mean over encoders where ``out`` minus mean where not, both means, the errors and the interval, and the alignment by encoder.

    ``out`` is (encoder,) or (sample, encoder).
    """
    alignment, out = alignment.transpose(SAMPLE, AUGMENTATION, ENCODER), out.transpose(..., ENCODER)
    samples, pair_count, encoders = alignment.shape
    views = alignment["view_a"].values, alignment["view_b"].values
    weights, noise = view_weights(*views), pair_noise(*views)
    is_out = np.broadcast_to(out.values, (samples, encoders))
    by_seed = encoders_by_seed(alignment["seed"].values) if "seed" in alignment.coords else None
    columns, means, sums = np.empty((6, samples)), np.empty((samples, encoders)), np.zeros((2, 2))
    for start, values in _blocks(alignment):
        part = slice(start, start + len(values))
        columns[:, part], means[part] = _contrast_columns(values, is_out[part], weights=weights, by_seed=by_seed)
        if noise:
            some = np.flatnonzero((start + np.arange(len(values))) % max(1, samples // NOISE_SAMPLES) == 0)
            of_pairs = _noise_of_pairs(values[some], is_out[part][some], noise=noise, by_seed=by_seed)
            sums += [[np.nansum(column[part][some]) for column in columns[2:4]], noise.excess * of_pairs]
    mean_out, mean_in, over_views, interaction, over_encoders, degrees = columns
    with np.errstate(invalid="ignore", divide="ignore"):  # no views, or none that do anything
        of_all, of_encoders = np.nan_to_num(np.clip(1 - sums[1] / sums[0], LEAST_OF_VIEWS, 1), nan=1)
    score, n_out = mean_out - mean_in, is_out.sum(axis=1)
    # What samples have in common is the variance for equal numbers of encoders: it goes with 1 / n_out + 1 / n_in.
    with np.errstate(divide="ignore", invalid="ignore"):  # NaN and infinity where a side has no encoder
        unit = 1 / n_out + 1 / (encoders - n_out)
        unit /= unit.min(initial=np.inf)  # exactly 1 where all samples have the same numbers
    error, offset, total_degrees = np.full((3, samples), np.nan)
    known = np.isfinite(score)  # a sample without a score takes no part in what is pooled
    for partition in _partitions(alignment):
        members = partition[known[partition]]
        own, offset[members], offset_degrees = without_offset(means[members], is_out[members], by_seed, over_encoders[members])
        part = unit[members]
        error[members], total_degrees[members] = total_error(
            *(variance / part for variance in (own, of_all * over_views[members], of_encoders * interaction[members])),
            encoder_degrees=degrees[members],
            views=len(weights) - 1,
            offset=offset[members] / part,
            offset_degrees=offset_degrees,
        )
    error *= np.sqrt(unit)
    low, high = interval(score, error, total_degrees)
    per_sample = {
        SSLMEM: score,
        "standard_error_views": np.sqrt(over_views),
        "standard_error_encoders": np.sqrt(over_encoders),
        "standard_error_offset": np.sqrt(offset),
        "standard_error": error,
        "low": low,
        "high": high,
        "alignment_in": mean_in,
        "alignment_out": mean_out,
        "n_in": encoders - n_out,
        "n_out": n_out,
    }
    of_samples = {name: coord for name, coord in alignment.coords.items() if set(coord.dims) <= {SAMPLE}}
    of_encoders = {name: alignment.coords[name] for name in (ENCODER, "family", "seed") if name in alignment.coords}
    of_encoders = {name: coord.drop_vars(set(coord.coords) - {name, ENCODER}) for name, coord in of_encoders.items()}
    result = xr.Dataset({name: (SAMPLE, values) for name, values in per_sample.items()}, of_samples | of_encoders)
    return result.assign({BY_ENCODER: ((SAMPLE, ENCODER), means), "n_augmentations": pair_count})


def _partitions(alignment: xr.DataArray) -> list[np.ndarray]:
    """Positions of the samples of each partition, whose errors are pooled; of all where there are none."""
    if "partition" not in alignment.coords:
        return [np.arange(alignment.sizes[SAMPLE])]
    codes = alignment["partition"].values
    return [np.flatnonzero(codes == code) for code in np.unique(codes)]


def _blocks(alignment: xr.DataArray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the position of the first sample, and the alignments, of one block of samples after another."""
    samples = alignment.sizes[SAMPLE]
    step = BLOCK * max(1, READ_BYTES * samples // max(1, BLOCK * alignment.nbytes))
    for start in range(0, samples, step):
        read = alignment[start : start + step].values
        for offset in range(0, len(read), BLOCK):
            yield start + offset, read[offset : offset + BLOCK]


def _contrast_columns(
    values: np.ndarray, out: np.ndarray, *, weights: np.ndarray, by_seed: np.ndarray | None
) -> tuple[np.ndarray, np.ndarray]:
    """Both means over encoders, out and in, and the variances of their difference: over views, what that contains of encoders, and over
    encoders, with the degrees of freedom of the last; and the mean alignments by encoder.

    (sample, augmentation, encoder), (sample, encoder), weights of :func:`view_weights`, positions of
    :func:`sslmem_kit.scores.variances.encoders_by_seed` -> (6, sample), (sample, encoder).
    """
    means = np.tensordot(values.astype(np.float64), weights, axes=(1, 1))
    with np.errstate(invalid="ignore", divide="ignore"):  # NaN where a side has no encoder, or too few for a variance
        shares = _shares(out)
        mean_out, mean_in = (np.einsum("se,se->s", means[..., 0], share) for share in shares)
        left_out = np.einsum("sev,se->sv", means[..., 1:], shares[0] - shares[1])
        variance, degrees = variance_over_encoders(means, out, by_seed)
    over_views, interaction = jackknife_sum(left_out**2), jackknife_sum(variance[:, 1:])
    return np.stack([mean_out, mean_in, over_views, interaction, variance[:, 0], degrees]), means[..., 0]


def _noise_of_pairs(values: np.ndarray, out: np.ndarray, *, noise: PairNoise, by_seed: np.ndarray | None) -> np.ndarray:
    """Variances of pairs of random views beyond their views, summed over samples: of scores, and what that contains of encoders, (2,)."""
    beyond = np.tensordot(values.astype(np.float64), noise.residuals, axes=(1, 1))
    with np.errstate(invalid="ignore", divide="ignore"):
        shares = _shares(out)
        of_scores = np.einsum("sev,se->sv", beyond, shares[0] - shares[1]) ** 2
        of_encoders, _ = variance_over_encoders(beyond, out, by_seed)
    return np.array([np.nansum(squares) / noise.degrees for squares in (of_scores, of_encoders)])


def _shares(out: np.ndarray) -> list[np.ndarray]:
    """Weights of the encoders in the mean over those that were not trained on a sample, and over those that were, (sample, encoder) each."""
    return [side / side.sum(axis=1, keepdims=True) for side in (out, ~out)]
