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
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import xarray as xr
from scipy import special

from sslmem_kit.errors import UserError
from sslmem_kit.names import ALIGNMENT, AUGMENTATION, ENCODER, FAMILIES, PARTITION_CODE, SAMPLE, SSLMEM, TRAINED_ON

PROTOCOLS: dict[str, Callable[[xr.DataArray, xr.DataArray], xr.DataArray]] = {
    "paper": lambda view_a, view_b: (view_a > 0) & (view_b > 0),
    "released": lambda view_a, view_b: (view_a == 0) & (view_b > 0),
    "corrected": lambda view_a, view_b: view_b > view_a,
}
"""Which augmentations a protocol uses."""

CONFIDENCE = 0.95


def select_protocol(alignment: xr.DataArray, protocol: str) -> xr.DataArray:
    """The augmentations that a protocol uses.

    Raises
    ------
    UserError
        An unknown protocol, or one that needs more views than are stored.
    """
    if protocol not in PROTOCOLS:
        raise UserError(f"protocol: there is none named {protocol!r}, choose one of {', '.join(PROTOCOLS)}")
    kept = np.flatnonzero(PROTOCOLS[protocol](alignment["view_a"], alignment["view_b"]))
    if not len(kept):
        raise UserError(
            f"protocol {protocol!r} compares random views with each other, this store holds only one: set scoring.views above 1"
        )
    return alignment.isel({AUGMENTATION: kept})


def family_contrast(alignment: xr.DataArray) -> xr.Dataset:
    """Mean over encoders of family g minus mean over family f, for every sample of every partition (figure 2c).

    Parameters
    ----------
    alignment
        (sample, augmentation, encoder), with ``family`` and ``seed`` on ``encoder``, ``view_a`` and ``view_b`` on ``augmentation``.

    Returns
    -------
    ``sslmem(sample)`` with ``standard_error_views``, ``standard_error_encoders``, ``standard_error`` (both together) and the counts
    ``n_f``, ``n_g`` and ``n_augmentations``. For candidates family f is the trained one; for independent samples the
    trained family is g, so that their scores are the negative of what they would be as candidates of g.

    Notes
    -----
    The error over encoders comes from the spread of the per-seed differences where each seed has both families, else from the
    spread within the families; NaN for one seed. The error over views is a jackknife over the random views.

    See Also
    --------
    leave_out : the score by ``trained_on``, defined wherever encoders of both kinds exist.
    """
    weight = xr.where(alignment["family"] == "g", 1, -1)
    counts = {family: int((alignment["family"] == family).sum()) for family in FAMILIES}
    if min(counts.values()) == 0:
        raise UserError(f"family: both f and g are needed, this store has {counts['f']} encoders of f and {counts['g']} of g")
    membership = (weight > 0).broadcast_like(alignment.isel({AUGMENTATION: 0}, drop=True))
    result = _contrast(alignment, membership)
    seeds = {family: alignment["seed"].values[alignment["family"].values == family] for family in FAMILIES}
    if sorted(seeds["f"]) == sorted(seeds["g"]) and len(set(seeds["f"])) == counts["f"]:
        pairs = (alignment.mean(AUGMENTATION) * weight).groupby("seed").sum()
        result["standard_error_encoders"] = (
            pairs.std("seed", ddof=1) / np.sqrt(counts["f"]) if counts["f"] > 1 else _nan_like(result)
        )
    return _with_total(result.rename(n_out="n_g", n_in="n_f"), min(counts.values()) - 1)


def leave_out(alignment: xr.DataArray, trained_on: xr.DataArray) -> xr.Dataset:
    """SSLMem of every sample with encoders on both sides: mean where not trained on, minus mean where trained on (eq. 2).

    Parameters
    ----------
    alignment
        (sample, augmentation, encoder).
    trained_on
        (sample, encoder) bool.

    Returns
    -------
    As :func:`family_contrast`, with the counts ``n_in`` and ``n_out`` of each sample; NaN where a sample has encoders on one side only.
    The error over encoders is that of the difference of two independent means.
    """
    result = _contrast(alignment, ~trained_on)
    degrees = np.minimum(result["n_in"], result["n_out"]) - 1
    return _with_total(result, degrees)


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


def score(results: xr.Dataset, *, protocol: str = "corrected") -> xr.Dataset:
    """Scores of every sample under a protocol, the table from which figures, tests and reports are made.

    Parameters
    ----------
    results
        Root of a results store: ``alignment``, ``trained_on`` and their coordinates.
    protocol
        ``paper``, ``released`` or ``corrected``.

    Returns
    -------
    Dataset on ``sample``:

    - ``sslmem``: the score in the protocol's form; ``difference``: the raw difference, whatever the protocol;
    - ``standard_error``, ``standard_error_views``, ``standard_error_encoders``, ``low`` and ``high`` (95 % interval) of the difference;
    - ``z``: the difference against mean and standard deviation of the null, the samples that all encoders saw or none;
      ``quantile``: the share of the null at or below it;
    - ``alignment_f`` and ``alignment_g``: mean alignment under each family;
    - ``label`` and ``partition``. The protocol and its settings are in the attrs.
    """
    alignment = select_protocol(results[ALIGNMENT], protocol).load()
    scores = family_contrast(alignment).rename({SSLMEM: "difference"})
    partition = alignment["partition"]
    normalized = protocol != "corrected"
    scores[SSLMEM] = (
        normalize_range(scores["difference"], partition == PARTITION_CODE["candidate"]) if normalized else scores["difference"]
    )
    per_family = alignment.mean(AUGMENTATION).groupby("family").mean()
    for family in FAMILIES:
        scores[f"alignment_{family}"] = per_family.sel(family=family, drop=True)

    trained = results[TRAINED_ON].load()
    null = trained.all(ENCODER) | ~trained.any(ENCODER)
    baseline = np.sort(scores["difference"].values[null.values])
    if len(baseline) > 1:
        scores["z"] = (scores["difference"] - baseline.mean()) / baseline.std(ddof=1)
        scores["quantile"] = (SAMPLE, np.searchsorted(baseline, scores["difference"].values, side="right") / len(baseline))
    scores.attrs = {
        "protocol": protocol,
        "normalized_by_range": str(normalized).lower(),
        "null": "samples that all encoders or none were trained on",
        "n_null": len(baseline),
        "confidence": CONFIDENCE,
        **({"range": scores[SSLMEM].attrs["range"], "range_over": "candidate"} if normalized else {}),
    }
    return scores


def _contrast(alignment: xr.DataArray, out: xr.DataArray) -> xr.Dataset:
    """Mean over encoders where ``out`` minus mean where not, its errors over encoders (independent) and over views."""
    n_out, n_in = out.sum(ENCODER), (~out).sum(ENCODER)
    per_augmentation = alignment.where(out).mean(ENCODER) - alignment.where(~out).mean(ENCODER)
    per_encoder = alignment.mean(AUGMENTATION)
    variance = _variance_of_mean(per_encoder, out) + _variance_of_mean(per_encoder, ~out)
    return xr.Dataset(
        {
            SSLMEM: per_augmentation.mean(AUGMENTATION),
            "standard_error_views": _jackknife(per_augmentation),
            "standard_error_encoders": np.sqrt(variance),
            "n_in": n_in,
            "n_out": n_out,
            "n_augmentations": alignment.sizes[AUGMENTATION],
        }
    )


def _variance_of_mean(per_encoder: xr.DataArray, side: xr.DataArray) -> xr.DataArray:
    """Variance of the mean over the encoders of one side, NaN for fewer than two of them."""
    count = side.sum(ENCODER)
    squares = ((per_encoder - per_encoder.where(side).mean(ENCODER)) ** 2).where(side).sum(ENCODER)
    return squares / (count * (count - 1)).where(count > 1)


def _jackknife(per_augmentation: xr.DataArray) -> xr.DataArray:
    """Standard error over the random views of a mean over pairs of views: each view is left out with all the pairs it is in."""
    a, b = per_augmentation["view_a"].values, per_augmentation["view_b"].values
    views = np.setdiff1d(np.union1d(a, b), [0])
    kept = (a != views[:, None]) & (b != views[:, None])
    k = len(views)
    if k < 2 or not kept.any(axis=1).all():
        return xr.full_like(per_augmentation.isel({AUGMENTATION: 0}, drop=True), np.nan)
    weights = xr.DataArray(kept / kept.sum(axis=1, keepdims=True), dims=("left_out", AUGMENTATION))
    without = (per_augmentation * weights).sum(AUGMENTATION)
    return np.sqrt((k - 1) / k * ((without - without.mean("left_out")) ** 2).sum("left_out"))


def _with_total(result: xr.Dataset, degrees: int | xr.DataArray) -> xr.Dataset:
    """Add the total standard error and the interval, by Student's t with the degrees of freedom of the encoders."""
    total = np.sqrt(result["standard_error_encoders"] ** 2 + result["standard_error_views"].fillna(0) ** 2)
    reach = total * special.stdtrit(np.maximum(degrees, 1), 0.5 + CONFIDENCE / 2)
    return result.assign(standard_error=total, low=result[SSLMEM] - reach, high=result[SSLMEM] + reach)


def _nan_like(array: xr.DataArray | xr.Dataset) -> xr.DataArray:
    template = array[SSLMEM] if isinstance(array, xr.Dataset) else array.isel({ENCODER: 0}, drop=True)
    return xr.full_like(template, np.nan)
