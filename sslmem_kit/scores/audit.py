"""What is read from the results of an audit: scores where encoders on both sides exist, alignment and its ranks where not."""

from __future__ import annotations

from typing import Any

import numpy as np
import scipy  # scipy.stats comes on first use: it takes half a second
import xarray as xr

from sslmem_kit.names import ALIGNMENT, AUGMENTATION, ENCODER, MODE, ONE_MODEL, SAMPLE, SSLMEM, SUBSET, TRAINED_ON
from sslmem_kit.scores.protocols import select_protocol
from sslmem_kit.scores.sslmem import leave_out, normalize_range

NOT_SCORES = (
    "alignment of one model: these are not memorization scores, which compare encoders that were trained on a sample with others that "
    "were not"
)


def mode_of(results: xr.Dataset | xr.DataTree) -> str | None:
    """``pair``, ``subset`` or ``one model`` of an audit's results; None of a study's."""
    return results.attrs.get(MODE)


def is_one_model(results: xr.Dataset | xr.DataTree) -> bool:
    """Whether there are no memorization scores in these results."""
    return mode_of(results) == ONE_MODEL


def is_subset(results: xr.Dataset | xr.DataTree) -> bool:
    """Whether scores are by ``trained_on`` alone, because there are no families f and g."""
    return mode_of(results) == SUBSET


def subset_scores(results: xr.Dataset, *, protocol: str = "corrected") -> xr.Dataset:
    """Scores by :func:`sslmem_kit.scores.leave_out` of the samples that some encoders were trained on and others were not.

    Returns
    -------
    Dataset on ``sample``, of these samples alone: ``sslmem`` in the protocol's form, ``difference``, errors and interval, ``alignment_in`` and
    ``alignment_out``, ``n_in`` and ``n_out``. The protocol is in the attrs.
    """
    seen = results[TRAINED_ON].transpose(SAMPLE, ENCODER).values
    chosen = results.isel({SAMPLE: np.flatnonzero(seen.any(axis=1) & ~seen.all(axis=1))})
    scores = leave_out(select_protocol(chosen[ALIGNMENT], protocol), chosen[TRAINED_ON]).rename({SSLMEM: "difference"})
    difference = scores["difference"]
    normalized = protocol != "corrected"
    scores[SSLMEM] = normalize_range(difference, xr.ones_like(difference, bool)) if normalized else difference
    scores.attrs = {
        "protocol": protocol,
        "encoders": ", ".join(map(str, results[ENCODER].values)),
        "normalized_by_range": str(normalized).lower(),
        **({"range": scores[SSLMEM].attrs["range"], "range_over": "candidate"} if normalized else {}),
    }
    return scores


def alignment_table(results: xr.Dataset, *, protocol: str = "corrected") -> xr.Dataset:
    """Mean alignment of each sample under each encoder, and its rank: 1 is the smallest distance, equal ones share their mean rank.

    Returns
    -------
    ``alignment`` and ``rank``, (sample, encoder), with what is known of samples; the attrs say what they are not.
    """
    alignment = select_protocol(results[ALIGNMENT], protocol).mean(AUGMENTATION).transpose(SAMPLE, ENCODER).load()
    rank = xr.DataArray(scipy.stats.rankdata(alignment.values, axis=0), dims=alignment.dims)
    known = {name: coord for name, coord in results.coords.items() if set(coord.dims) <= {SAMPLE} or name == ENCODER}
    table = xr.Dataset({ALIGNMENT: alignment.drop_vars(set(alignment.coords) - set(known)), "rank": rank}, known)
    table.attrs = {"protocol": protocol, MODE: ONE_MODEL, "note": NOT_SCORES}
    return table


def alignment_summary(table: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Of each encoder: how alignment is distributed over samples, and the samples with the smallest and the largest."""
    found = {}
    ids = table[SAMPLE].values
    for place, name in enumerate(table[ENCODER].values):
        values = table[ALIGNMENT].values[:, place].astype(np.float64)
        order = np.argsort(values, kind="stable")
        low, median, high = np.quantile(values, (0.05, 0.5, 0.95))
        found[str(name)] = {
            "mean": float(values.mean()),
            "sd": float(values.std(ddof=1)),
            "n": len(values),
            "median": float(median),
            "quantiles_5_95": [float(low), float(high)],
            "smallest": ids[order[:5]].tolist(),
            "largest": ids[order[::-1][:5]].tolist(),
        }
    return found


def encoder_rank_correlations(table: xr.Dataset) -> dict[str, float]:
    """Spearman's correlation of the ranks that each two encoders give."""
    names = [str(name) for name in table[ENCODER].values]
    ranks = table["rank"].values
    return {
        f"{names[a]}, {names[b]}": float(np.corrcoef(ranks[:, a], ranks[:, b])[0, 1])
        for a in range(len(names))
        for b in range(a + 1, len(names))
    }
