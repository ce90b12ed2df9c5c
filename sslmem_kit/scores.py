"""SSLMem scores from stored alignments.

The score of a sample is ``m = L_g - L_f`` (eq. 2): its alignment (mean distance between two of its views) under encoders that were
not trained on it, minus under encoders that were. Higher means more memorized.

Three protocols select the pairs of views and say whether the score is divided by its range:

============ ================================ =========================================
protocol     augmentations                    ``sslmem``
============ ================================ =========================================
paper        view with view (eq. 1)           difference / range over the candidates
released     clean image with each view       difference / range over the candidates
corrected    all pairs                        the difference itself
============ ================================ =========================================

Samples are independent of each other, so they stream through in the blocks that they are stored in: at no time are the alignments of
all of them in memory. A mean over pairs of views is linear in the distances, and so is one with a view left out: both are a matrix
product with weights of the pairs.
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence

import numpy as np
import xarray as xr

from sslmem_kit.errors import UserError, few, near
from sslmem_kit.intervals import t_quantile, total_error
from sslmem_kit.names import ALIGNMENT, AUGMENTATION, ENCODER, FAMILIES, PARTITION_CODE, SAMPLE, SSLMEM, TRAINED_ON
from sslmem_kit.spread import encoders_by_seed, is_balanced, jackknife_sum, variance_by_seed, variance_of_independent

PROTOCOLS: dict[str, Callable[[xr.DataArray, xr.DataArray], xr.DataArray]] = {
    "paper": lambda view_a, view_b: (view_a > 0) & (view_b > 0),
    "released": lambda view_a, view_b: (view_a == 0) & (view_b > 0),
    "corrected": lambda view_a, view_b: view_b > view_a,
}
"""Which augmentations a protocol uses."""

CONFIDENCE = 0.95
BLOCK = 4096
"""Samples that are computed at once, few enough for the processor's caches; also what a chunk of the store holds by default."""
READ_BYTES = 2**25
"""Bytes of alignments that are read at once, in whole blocks: many chunks together take less time than one by one."""


def select_protocol(alignment: xr.DataArray, protocol: str) -> xr.DataArray:
    """The augmentations that a protocol uses.

    Raises
    ------
    UserError
        An unknown protocol, or one that needs more views than are stored.
    """
    if protocol not in PROTOCOLS:
        raise UserError(
            f"protocol: there is none named {protocol!r}, choose one of {', '.join(PROTOCOLS)}{near(protocol, PROTOCOLS)}"
        )
    kept = np.flatnonzero(PROTOCOLS[protocol](alignment["view_a"], alignment["view_b"]))
    if not len(kept):
        raise UserError(
            f"protocol {protocol!r} compares random views with each other, this store holds only one: set scoring.views above 1"
        )
    return alignment.isel({AUGMENTATION: kept})


def usable_protocols(results: xr.Dataset) -> list[str]:
    """The protocols that the views of a store serve."""
    view_a, view_b = results["view_a"].values, results["view_b"].values
    return [name for name, uses in PROTOCOLS.items() if uses(view_a, view_b).any()]


def family_contrast(alignment: xr.DataArray) -> xr.Dataset:
    """Mean over encoders of family g minus mean over family f, for every sample of every partition (figure 2c).

    Parameters
    ----------
    alignment
        (sample, augmentation, encoder), with ``family`` and ``seed`` on ``encoder``, ``view_a`` and ``view_b`` on ``augmentation``.

    Returns
    -------
    ``sslmem(sample)`` with ``standard_error_views``, ``standard_error_encoders``, ``standard_error`` (both together), the 95 % interval
    ``low`` to ``high``, the mean alignments ``alignment_f`` and ``alignment_g``, and the counts ``n_f``, ``n_g`` and ``n_augmentations``. For
    candidates family f is the trained one; for independent samples the trained family is g, so that their scores are the negative of
    what they would be as candidates of g.

    Notes
    -----
    The error over encoders comes from the spread of the per-seed differences where each seed has both families, else from the
    spread within the families; NaN for one seed. The error over views is a jackknife over the random views. Both are of the sample alone,
    and both contain what views do under one encoder and not under another. ``standard_error`` counts that once and rests on all
    samples, which makes it the better one of a single sample with few seeds: see :mod:`sslmem_kit.intervals`.

    See Also
    --------
    leave_out : the score by ``trained_on``, defined wherever encoders of both kinds exist.
    """
    counts = {family: int((alignment["family"].values == family).sum()) for family in FAMILIES}
    if min(counts.values()) == 0:
        raise UserError(f"family: both f and g are needed, there are {counts['f']} encoders of f and {counts['g']} of g")
    result = _contrast(alignment, alignment["family"] == "g")
    return result.rename(alignment_out="alignment_g", alignment_in="alignment_f", n_out="n_g", n_in="n_f")


def leave_out(alignment: xr.DataArray, trained_on: xr.DataArray) -> xr.Dataset:
    """SSLMem of every sample with encoders on both sides: mean where not trained on, minus mean where trained on (eq. 2).

    Parameters
    ----------
    alignment
        (sample, augmentation, encoder); with ``seed`` on ``encoder`` where encoders of one seed belong together.
    trained_on
        (sample, encoder) bool.

    Returns
    -------
    As :func:`family_contrast`, with ``alignment_in`` and ``alignment_out``, and the counts ``n_in`` and ``n_out`` of each sample; NaN where
    a sample has encoders on one side only. The error over encoders comes from the spread of the per-seed differences where several seeds
    have the same numbers of both kinds, else it is that of the difference of two independent means, of two encoders or more.
    """
    alignment, trained_on = xr.align(alignment, trained_on, join="exact", copy=False)
    return _contrast(alignment, ~trained_on)


def normalize_range(sslmem: xr.DataArray, over: xr.DataArray) -> xr.DataArray:
    """Scores divided by the range (largest minus smallest) that they have where ``over`` is true; the range is kept in the attrs.

    Raises
    ------
    UserError
        All scores that the range is taken over are equal, or there is none.
    """
    chosen = sslmem.where(over)
    width = float(chosen.max() - chosen.min())
    if not width > 0:
        raise UserError(
            f"range normalization: the {int(over.sum())} scores that the range is taken over do not differ (range {width})"
        )
    normalized = sslmem / width
    normalized.attrs = {**sslmem.attrs, "range": width}
    return normalized


def score(results: xr.Dataset, *, protocol: str = "corrected", encoders: Sequence[str] | None = None) -> xr.Dataset:
    """Scores of every sample under a protocol, the table from which figures, tests and reports are made.

    Parameters
    ----------
    results
        Root of a results store: ``alignment``, ``trained_on`` and their coordinates.
    protocol
        ``paper``, ``released`` or ``corrected``.
    encoders
        Ids of the encoders that the scores rest on, in any order; None: those of pairs of f and g, in a study that also has others, else all.

    Returns
    -------
    Dataset on ``sample``:

    - ``sslmem``: the score in the protocol's form; ``difference``: the raw difference, whatever the protocol;
    - ``standard_error``, ``standard_error_views``, ``standard_error_encoders``, ``low`` and ``high`` (95 % interval) of the difference;
    - ``z``: the difference against mean and standard deviation of the null, the samples that all encoders saw or none;
      ``quantile``: the share of the null at or below it;
    - ``alignment_f`` and ``alignment_g``: mean alignment under each family;
    - ``label`` and ``partition``. The protocol, the encoders and their settings are in the attrs.

    Raises
    ------
    UserError
        An unknown protocol or encoder, one that the store cannot serve, or encoders of one family only.
    """
    if encoders is not None:
        results = _select_encoders(results, encoders)
    else:
        results = of_pairs(results)
    alignment = select_protocol(results[ALIGNMENT], protocol)
    scores = family_contrast(alignment).rename({SSLMEM: "difference"})
    difference = scores["difference"]
    normalized = protocol != "corrected"
    scores[SSLMEM] = normalize_range(difference, scores["partition"] == PARTITION_CODE["candidate"]) if normalized else difference

    trained = results[TRAINED_ON].transpose(SAMPLE, ENCODER).values
    null = trained.all(axis=1) | ~trained.any(axis=1)
    baseline = np.sort(difference.values[null])
    if len(baseline) > 1:
        scores["z"] = (difference - baseline.mean()) / baseline.std(ddof=1)
        order = np.argsort(difference.values)  # searching for ascending values is faster
        below = np.empty(len(order))
        below[order] = np.searchsorted(baseline, difference.values[order], side="right")
        scores["quantile"] = (SAMPLE, below / len(baseline))
    scores.attrs = {
        "protocol": protocol,
        "encoders": ", ".join(map(str, results[ENCODER].values)),
        "normalized_by_range": str(normalized).lower(),
        "null": "samples that all encoders or none were trained on",
        "n_null": len(baseline),
        "confidence": CONFIDENCE,
        **({"range": scores[SSLMEM].attrs["range"], "range_over": "candidate"} if normalized else {}),
    }
    return scores


def of_pairs(results: xr.Dataset) -> xr.Dataset:
    """The results of the pairs of f and g, in a study that has other encoders too, else of all."""
    return results.isel({ENCODER: pair_positions(results)})


def pair_positions(results: xr.Dataset | xr.DataTree) -> np.ndarray:
    """Positions of the encoders of pairs of f and g; of all, where there are none, or where an older store does not tell."""
    pairs = np.flatnonzero(results["design"].values == "pair") if "design" in results.coords else np.empty(0, int)
    return pairs if len(pairs) else np.arange(results.sizes[ENCODER])


def _select_encoders(results: xr.Dataset, encoders: Sequence[str]) -> xr.Dataset:
    """The results of the named encoders, in the order of the store."""
    known = [str(name) for name in results[ENCODER].values]
    for name in encoders:
        if name not in known:
            raise UserError(f"encoders: there is none named {name!r}, this study has {few(known)}{near(name, known)}")
    return results.isel({ENCODER: [position for position, name in enumerate(known) if name in encoders]})


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
    reach = error * t_quantile(degrees, 0.5 + CONFIDENCE / 2)
    per_sample = {
        SSLMEM: score,
        "standard_error_views": np.sqrt(over_views),
        "standard_error_encoders": np.sqrt(over_encoders),
        "standard_error": error,
        "low": score - reach,
        "high": score + reach,
        "alignment_in": mean_in,
        "alignment_out": mean_out,
        "n_in": encoders - n_out,
        "n_out": n_out,
    }
    coords = {name: coord for name, coord in alignment.coords.items() if set(coord.dims) <= {SAMPLE}}
    return xr.Dataset({name: (SAMPLE, values) for name, values in per_sample.items()}, coords).assign(n_augmentations=pair_count)


def _blocks(alignment: xr.DataArray) -> Iterator[tuple[int, np.ndarray]]:
    """Position of the first sample, and alignments, of one block of samples after another."""
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
    :func:`sslmem_kit.spread.encoders_by_seed` -> (6, sample).
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


def view_weights(view_a: np.ndarray, view_b: np.ndarray) -> np.ndarray:
    """(number, augmentation): weights of the mean over all pairs, then of how it changes where one random view is left out, with all
    pairs that it is in, around the mean of these changes.

    The first alone where a view is in every pair, or is the only one.
    """
    views = np.setdiff1d(np.union1d(view_a, view_b), [0])
    without = (view_a != views[:, None]) & (view_b != views[:, None])
    if len(views) < 2 or not without.any(axis=1).all():
        without = without[:0]
    without = without / without.sum(axis=1, keepdims=True)
    if len(without):
        without -= without.mean(axis=0)
    return np.concatenate([np.full((1, len(view_a)), 1 / len(view_a)), without])
