"""SSLMem scores from stored alignments.

The score of a sample is ``m = L_g - L_f`` (eq. 2): its alignment (mean distance between two of its views) under encoders that were
not trained on it, minus under encoders that were. Higher means more memorized.

Three protocols select the pairs of views and say whether the score is divided by its range:

============ ==================================== ==============================================
protocol     augmentations                        ``sslmem``
============ ==================================== ==============================================
paper        view with view (eq. 1)               mean over seeds of difference / range
released     clean image with each view           mean over seeds of difference / range
corrected    both kinds, one third to two thirds  the difference itself
============ ==================================== ==============================================

The range is that of the candidates' differences of one seed, a repetition: over the mean of several it would shrink with their number, and
the score grow.

Samples are independent of each other, so they stream through in the blocks that they are stored in: at no time are the alignments of
all of them in memory. A mean over pairs of views is linear in the distances, and so is one with a view left out: both are a matrix
product with weights of the pairs.
"""

from __future__ import annotations

import warnings
from collections.abc import Sequence

import numpy as np
import xarray as xr

from sslmem_kit.errors import UserError
from sslmem_kit.names import (
    ALIGNMENT,
    ENCODER,
    FAMILIES,
    FIXED_WEIGHTS,
    PAIRS_OF_VIEWS,
    PARTITION_CODE,
    SAMPLE,
    SSLMEM,
    TRAINED_ON,
)
from sslmem_kit.scores.contrast import BY_ENCODER, _contrast
from sslmem_kit.scores.intervals import CONFIDENCE
from sslmem_kit.scores.protocols import select_protocol
from sslmem_kit.scores.selection import _select_encoders, of_scores
from sslmem_kit.scores.variances import encoders_by_seed, is_balanced


def family_contrast(alignment: xr.DataArray) -> xr.Dataset:
    """Mean over encoders of family g minus mean over family f, for every sample of every partition (figure 2c).

    Parameters
    ----------
    alignment
        (sample, augmentation, encoder), with ``family`` and ``seed`` on ``encoder``, ``view_a`` and ``view_b`` on ``augmentation``.

    Returns
    -------
    ``sslmem(sample)`` with ``standard_error_views``, ``standard_error_encoders``, ``standard_error_offset`` (of what a training does to all
    samples of a partition alike), ``standard_error`` (all together), the 95 % interval
    ``low`` to ``high``, the mean alignments ``alignment_f`` and ``alignment_g``, and the counts ``n_f``, ``n_g`` and ``n_augmentations``. For
    candidates family f is the trained one; for independent samples the trained family is g, so that their scores are the negative of
    what they would be as candidates of g.

    Raises
    ------
    UserError
        Encoders of one family only.

    Notes
    -----
    The error over encoders comes from the spread of the per-seed differences where each seed has both families, else from the
    spread within the families; NaN for one seed. The error over views is a jackknife over the random views; NaN, and with it the whole
    error and the interval, for one view, or two where they are compared with each other. It errs on the large side, for it counts too
    much of what belongs to pairs of views, which ``standard_error`` takes off (:func:`sslmem_kit.scores.pair_noise`). Both are of the
    sample alone,
    and both contain what views do under one encoder and not under another. ``standard_error`` counts that once and rests on all
    samples of the partition, which makes it the better one of a single sample with few seeds: see :mod:`sslmem_kit.scores.intervals`.

    See Also
    --------
    leave_out : the score by ``trained_on``, defined wherever encoders of both kinds exist.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> from sslmem_kit.names import PARTITIONS
    >>> scores = family_contrast(_example.results()["alignment"])
    >>> dict(zip(PARTITIONS, scores["sslmem"].groupby("partition").mean().values.round(2).tolist(), strict=True))
    {'shared': 0.01, 'candidate': 0.19, 'independent': -0.19, 'extra': -0.0}
    """
    return _family_contrast(alignment).drop_dims(ENCODER)


def _family_contrast(alignment: xr.DataArray) -> xr.Dataset:
    """Contrast of the families with the mean alignment by encoder, :data:`~sslmem_kit.scores.contrast.BY_ENCODER`."""
    counts = {family: int((alignment["family"].values == family).sum()) for family in FAMILIES}
    if min(counts.values()) == 0:
        raise UserError(f"family: both f and g are needed, there are {counts['f']} encoders of f and {counts['g']} of g")
    result = _contrast(alignment, alignment["family"] == "g")
    return result.rename(alignment_out="alignment_g", alignment_in="alignment_f", n_out="n_g", n_in="n_f")


def leave_out(alignment: xr.DataArray, trained_on: xr.DataArray) -> xr.Dataset:
    """SSLMem of every sample: mean alignment under encoders that were not trained on it, minus under those that were (eq. 2).

    Parameters
    ----------
    alignment
        (sample, augmentation, encoder); with ``seed`` on ``encoder`` where encoders of one seed belong together.
    trained_on
        (sample, encoder) bool.

    Returns
    -------
    As :func:`family_contrast`, with ``alignment_in`` and ``alignment_out``, and the counts ``n_in`` and ``n_out`` of each sample; NaN where
    a sample has encoders of one kind only. The error over encoders comes from the spread of the per-seed differences where several seeds
    have the same numbers of both kinds, else it is that of the difference of two independent means, of two encoders or more.

    Raises
    ------
    xarray.AlignmentError
        Samples or encoders of the two arrays are not the same.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> results = _example.results()
    >>> scores = leave_out(results["alignment"], results["trained_on"])
    >>> scores["sslmem"].groupby("partition").mean().values.round(2)  # shared, candidate, independent, extra
    array([ nan, 0.19, 0.19,  nan])
    """
    alignment, trained_on = xr.align(alignment, trained_on, join="exact", copy=False)
    return _contrast(alignment, ~trained_on).drop_dims(ENCODER)


def normalize_range(differences: xr.DataArray, over: xr.DataArray) -> xr.DataArray:
    """Divide differences by their range, the largest minus the smallest, where ``over`` is true, and average over repetitions.

    Parameters
    ----------
    differences
        (sample,), or (sample, seed) with a repetition a seed.
    over
        Samples that the range is taken over, (sample,) bool.

    Returns
    -------
    (sample,), with the attrs ``ranges``, one a repetition; ``range``, their harmonic mean, by which a difference that is the same in all
    of them is divided; ``pairs``, the number of seeds, 0 of differences without; ``n_range``, the number of samples that it is over.

    Raises
    ------
    UserError
        All differences that a range is taken over are equal, or there is none.

    References
    ----------
    The paper, section 4: three repetitions, each normalized by its own range, mean and standard deviation over them.

    Examples
    --------
    Two seeds that agree but for a factor score alike:

    >>> over = xr.DataArray([True, True, True, False], dims="sample")
    >>> found = normalize_range(xr.DataArray([[0.1, 0.2], [0.3, 0.6], [0.5, 1.0], [0.9, 1.8]], dims=("sample", "seed")), over)
    >>> found.values, found.attrs["ranges"], found.attrs["pairs"]
    (array([0.25, 0.75, 1.25, 2.25]), [0.4, 0.8], 2)
    """
    repetitions = differences.values if differences.ndim > 1 else differences.values[:, None]
    chosen = repetitions[over.values]
    chosen = chosen[np.isfinite(chosen).all(axis=1)]
    if not len(chosen):
        raise UserError(
            f"range normalization: none of the {int(over.sum())} samples that the range is taken over has a score in every seed"
        )
    widths = np.ptp(chosen, axis=0)
    if not (widths > 0).all():
        raise UserError(
            f"range normalization: the {len(chosen)} scores that the range is taken over do not differ (range {widths.min()})"
        )
    attrs = {
        "range": len(widths) / float((1 / widths).sum()),
        "ranges": widths.round(12).tolist(),
        "pairs": differences.sizes.get("seed", 0),
        "n_range": len(chosen),
    }
    return xr.DataArray((repetitions / widths).mean(axis=1), dims=SAMPLE, attrs=differences.attrs | attrs)


def by_seed(scores: xr.Dataset) -> xr.DataArray:
    """Difference of every sample in each seed that has encoders of both families, g minus f.

    Parameters
    ----------
    scores
        ``alignment_by_encoder(sample, encoder)`` with ``family`` and ``seed`` on ``encoder``, of :func:`score`.

    Returns
    -------
    (sample, seed), seeds ascending; of no seed where not all have as many encoders of each family as the others.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> by_seed(score(_example.results())).sizes
    Frozen({'sample': 40, 'seed': 3})
    """
    means, is_g = scores[BY_ENCODER].values, scores["family"].values == "g"
    seeds = np.unique(scores["seed"].values)
    positions = encoders_by_seed(scores["seed"].values) if len(seeds) > 1 else np.arange(len(is_g))[None]
    if positions is None or not is_balanced(is_g[None, positions])[0]:
        positions, seeds = np.empty((0, 2), int), seeds[:0]
    counts = is_g[positions].sum(axis=1, keepdims=True)
    signs = np.where(is_g[positions], 1 / np.maximum(counts, 1), -1 / np.maximum(positions.shape[1] - counts, 1))
    of_samples = {name: coord for name, coord in scores.coords.items() if coord.dims == (SAMPLE,)}
    return xr.DataArray(np.einsum("sze,ze->sz", means[:, positions], signs), of_samples | {"seed": seeds}, (SAMPLE, "seed"))


def score(results: xr.Dataset, *, protocol: str = "corrected", encoders: Sequence[str] | None = None) -> xr.Dataset:
    """Score every sample under a protocol: the table from which figures, tests and reports are made.

    Parameters
    ----------
    results
        Root of a results store: ``alignment``, ``trained_on`` and their coordinates.
    protocol
        ``paper``, ``released`` or ``corrected``.
    encoders
        Ids of the encoders that the scores rest on, in any order; None: those of pairs of f and g, in a study that also has others, else all.
        Where at least two seeds have an encoder of each family and the others of one alone, these others are left out.

    Returns
    -------
    Dataset on ``sample``:

    - ``sslmem``: the score in the protocol's form; ``difference``: the raw difference, whatever the protocol;
    - ``standard_error``, ``standard_error_views``, ``standard_error_encoders``, ``low`` and ``high`` (95 % interval) of the difference;
    - ``z``: the difference against mean and standard deviation of the null, the samples that all encoders saw or none;
      ``quantile``: the share of the null at or below it; both without samples whose difference is NaN, which have none, and absent where
      the null has fewer than 2;
    - ``alignment_f`` and ``alignment_g``: mean alignment under each family; ``alignment_by_encoder``, on ``encoder`` too, from which
      :func:`by_seed` gives the difference of each seed;
    - ``label`` and ``partition``.

    A sample with an alignment that is not a number has no score (NaN): a warning counts them, and means, tests and lists leave them out. The
    attrs hold ``protocol``, ``encoders``, ``null`` and ``n_null``, ``confidence``, of ``corrected``
      ``pairs_of_views``, the weights of kinds of pairs, ``normalized_by_range`` and, where it is true, ``range_over`` and the attrs of
      :func:`normalize_range`.

    Raises
    ------
    UserError
        An unknown protocol or encoder, one that the store cannot serve, or encoders of one family only.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> scores = score(_example.results(), protocol="paper")
    >>> scores.attrs["pairs"], scores.attrs["n_range"], len(scores.attrs["ranges"])
    (3, 10, 3)
    """
    scores = score_stored(results, protocol=protocol, encoders=encoders)
    missing, total = int((~np.isfinite(scores["difference"].values)).sum()), scores.sizes[SAMPLE]
    if missing:
        warnings.warn(f"{missing:,} of {total:,} samples have no score: alignments of them are not numbers", stacklevel=2)
    return scores


def score_stored(results: xr.Dataset, *, protocol: str = "corrected", encoders: Sequence[str] | None = None) -> xr.Dataset:
    """Score every sample as :func:`score` does, without its warning: for stores, whose lost values are an error of their own.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> score_stored(_example.results()).identical(score(_example.results()))
    True
    """
    if encoders is not None:
        results = _select_encoders(results, encoders)
    else:
        results = of_scores(results)
    alignment = select_protocol(results[ALIGNMENT], protocol)
    scores = _family_contrast(alignment).rename({SSLMEM: "difference"})
    difference = scores["difference"]
    normalized = protocol != "corrected"
    scores[SSLMEM] = difference
    if normalized:
        repetitions = by_seed(scores)  # of encoders that form none, all together are one
        repetitions = repetitions if repetitions.sizes["seed"] else difference
        scores[SSLMEM] = normalize_range(repetitions, scores["partition"] == PARTITION_CODE["candidate"])

    trained = results[TRAINED_ON].transpose(SAMPLE, ENCODER).values
    null = trained.all(axis=1) | ~trained.any(axis=1)
    known = np.isfinite(difference.values)
    baseline = np.sort(difference.values[null & known])
    if len(baseline) > 1:
        scores["z"] = (difference - baseline.mean()) / baseline.std(ddof=1)
        order = np.argsort(difference.values)  # searching for ascending values is faster
        below = np.empty(len(order))
        below[order] = np.searchsorted(baseline, difference.values[order], side="right")
        scores["quantile"] = (SAMPLE, np.where(known, below / len(baseline), np.nan))
    scores.attrs = {
        "protocol": protocol,
        "encoders": ", ".join(map(str, results[ENCODER].values)),
        "normalized_by_range": str(normalized).lower(),
        "null": "samples that all encoders or none were trained on",
        "n_null": len(baseline),
        "confidence": CONFIDENCE,
        **({PAIRS_OF_VIEWS: FIXED_WEIGHTS} if protocol == "corrected" else {}),
        **({**scores[SSLMEM].attrs, "range_over": "candidate"} if normalized else {}),
    }
    return scores
