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

from collections.abc import Sequence

import numpy as np
import xarray as xr

from sslmem_kit.errors import UserError
from sslmem_kit.names import ALIGNMENT, ENCODER, FAMILIES, PARTITION_CODE, SAMPLE, SSLMEM, TRAINED_ON
from sslmem_kit.scores.contrast import _contrast
from sslmem_kit.scores.intervals import CONFIDENCE
from sslmem_kit.scores.protocols import select_protocol
from sslmem_kit.scores.selection import _select_encoders, of_pairs


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

    Raises
    ------
    UserError
        Encoders of one family only.

    Notes
    -----
    The error over encoders comes from the spread of the per-seed differences where each seed has both families, else from the
    spread within the families; NaN for one seed. The error over views is a jackknife over the random views. Both are of the sample alone,
    and both contain what views do under one encoder and not under another. ``standard_error`` counts that once and rests on all
    samples, which makes it the better one of a single sample with few seeds: see :mod:`sslmem_kit.scores.intervals`.

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
    return _contrast(alignment, ~trained_on)


def normalize_range(sslmem: xr.DataArray, over: xr.DataArray) -> xr.DataArray:
    """Divide scores by their range, the largest minus the smallest, where ``over`` is true.

    Parameters
    ----------
    sslmem
        Scores, (sample,).
    over
        Samples that the range is taken over, (sample,) bool.

    Returns
    -------
    The quotients, with the ``range`` in the attrs.

    Raises
    ------
    UserError
        All scores that the range is taken over are equal, or there is none.

    Examples
    --------
    >>> scores, over = xr.DataArray([0.1, 0.3, 0.5, 0.9], dims="sample"), xr.DataArray([True, True, True, False], dims="sample")
    >>> normalize_range(scores, over).values
    array([0.25, 0.75, 1.25, 2.25])
    """
    chosen = sslmem.where(over)
    width = float(chosen.max() - chosen.min()) if chosen.size else 0.0
    if not width > 0:
        raise UserError(
            f"range normalization: the {int(over.sum())} scores that the range is taken over do not differ (range {width})"
        )
    normalized = sslmem / width
    normalized.attrs = {**sslmem.attrs, "range": width}
    return normalized


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

    Returns
    -------
    Dataset on ``sample``:

    - ``sslmem``: the score in the protocol's form; ``difference``: the raw difference, whatever the protocol;
    - ``standard_error``, ``standard_error_views``, ``standard_error_encoders``, ``low`` and ``high`` (95 % interval) of the difference;
    - ``z``: the difference against mean and standard deviation of the null, the samples that all encoders saw or none;
      ``quantile``: the share of the null at or below it; both without samples whose difference is NaN, which have none, and absent where
      the null has fewer than 2;
    - ``alignment_f`` and ``alignment_g``: mean alignment under each family;
    - ``label`` and ``partition``. The attrs hold ``protocol``, ``encoders``, ``null`` and ``n_null``, ``confidence``,
      ``normalized_by_range`` and, where it is true, ``range`` and ``range_over``.

    Raises
    ------
    UserError
        An unknown protocol or encoder, one that the store cannot serve, or encoders of one family only.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> scores = score(_example.results(), protocol="paper")
    >>> candidates = scores["sslmem"].where(scores["partition"] == PARTITION_CODE["candidate"])
    >>> round(float(candidates.max() - candidates.min()), 6), round(scores.attrs["range"], 3)
    (1.0, 0.19)
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
        **({"range": scores[SSLMEM].attrs["range"], "range_over": "candidate"} if normalized else {}),
    }
    return scores
