"""Kernel of all scores: the difference of two means over encoders, with its errors and interval, in blocks of samples."""

from __future__ import annotations

from collections.abc import Iterator

import numpy as np
import xarray as xr

from sslmem_kit.names import AUGMENTATION, ENCODER, SAMPLE, SSLMEM
from sslmem_kit.scores.intervals import interval, total_error
from sslmem_kit.scores.protocols import view_weights
from sslmem_kit.scores.variances import encoders_by_seed, is_balanced, jackknife_sum, variance_by_seed, variance_of_independent

BLOCK = 4096
"""Number of samples that are computed at once, few enough for the processor's caches; also what a chunk of the store holds by default."""

READ_BYTES = 2**25
"""Number of bytes of alignments that are read at once, in whole blocks: many chunks together take less time than one by one."""


def _contrast(alignment: xr.DataArray, out: xr.DataArray) -> xr.Dataset:
    """Mean over encoders where ``out`` minus mean where not, both means, the errors and the interval.

    ``out`` is (encoder,) or (sample, encoder).
    """
    alignment, out = alignment.transpose(SAMPLE, AUGMENTATION, ENCODER), out.transpose(..., ENCODER)
    samples, pair_count, encoders = alignment.shape
    weights = view_weights(alignment["view_a"].values, alignment["view_b"].values)
    is_out = np.broadcast_to(out.values, (samples, encoders))
    by_seed = encoders_by_seed(alignment["seed"].values) if "seed" in alignment.coords else None
    columns = np.empty((6, samples))
    for start, values in _blocks(alignment):
        part = slice(start, start + len(values))
        columns[:, part] = _contrast_columns(values, is_out[part], weights=weights, by_seed=by_seed)
    mean_out, mean_in, over_views, over_encoders, interaction, degrees = columns
    score, n_out = mean_out - mean_in, is_out.sum(axis=1)
    # What samples have in common is the variance for equal numbers of encoders: it goes with 1 / n_out + 1 / n_in.
    with np.errstate(divide="ignore", invalid="ignore"):  # NaN and infinity where a side has no encoder
        unit = 1 / n_out + 1 / (encoders - n_out)
        unit /= unit.min(initial=np.inf)  # exactly 1 where all samples have the same numbers
        variances = [variance / unit for variance in (over_encoders, over_views, interaction)]
    error, degrees = total_error(*variances, encoder_degrees=degrees, views=len(weights) - 1)
    error *= np.sqrt(unit)
    low, high = interval(score, error, degrees)
    per_sample = {
        SSLMEM: score,
        "standard_error_views": np.sqrt(over_views),
        "standard_error_encoders": np.sqrt(over_encoders),
        "standard_error": error,
        "low": low,
        "high": high,
        "alignment_in": mean_in,
        "alignment_out": mean_out,
        "n_in": encoders - n_out,
        "n_out": n_out,
    }
    coords = {name: coord for name, coord in alignment.coords.items() if set(coord.dims) <= {SAMPLE}}
    return xr.Dataset({name: (SAMPLE, values) for name, values in per_sample.items()}, coords).assign(n_augmentations=pair_count)


def _blocks(alignment: xr.DataArray) -> Iterator[tuple[int, np.ndarray]]:
    """Yield the position of the first sample, and the alignments, of one block of samples after another."""
    samples = alignment.sizes[SAMPLE]
    step = BLOCK * max(1, READ_BYTES * samples // max(1, BLOCK * alignment.nbytes))
    for start in range(0, samples, step):
        read = alignment[start : start + step].values
        for offset in range(0, len(read), BLOCK):
            yield start + offset, read[offset : offset + BLOCK]


def _contrast_columns(values: np.ndarray, out: np.ndarray, *, weights: np.ndarray, by_seed: np.ndarray | None) -> np.ndarray:
    """Both means over encoders, out and in, and the variances of their difference: over views, over encoders, what both of these contain, and
    the degrees of freedom of that over encoders.

    (sample, augmentation, encoder), (sample, encoder), weights of :func:`view_weights`, positions of
    :func:`sslmem_kit.scores.variances.encoders_by_seed` -> (6, sample).
    """
    means = np.tensordot(values.astype(np.float64), weights, axes=(1, 1))
    with np.errstate(invalid="ignore", divide="ignore"):  # NaN where a side has no encoder, or too few for a variance
        shares = [side / side.sum(axis=1, keepdims=True) for side in (out, ~out)]
        mean_out, mean_in = (np.einsum("se,se->s", means[..., 0], share) for share in shares)
        left_out = np.einsum("sev,se->sv", means[..., 1:], shares[0] - shares[1])
        together = np.zeros(len(values), bool) if by_seed is None else is_balanced(out[:, by_seed])
        variance, degrees = np.empty((len(values), means.shape[2])), np.empty(len(values))
        for chosen, estimate in ((together, variance_by_seed), (~together, variance_of_independent)):
            if chosen.all():
                variance, degrees = estimate(means, out, by_seed)
            elif chosen.any():
                variance[chosen], degrees[chosen] = estimate(means[chosen], out[chosen], by_seed)
    interaction = jackknife_sum(variance[:, 1:])
    return np.stack([mean_out, mean_in, jackknife_sum(left_out**2), variance[:, 0], interaction, degrees])
