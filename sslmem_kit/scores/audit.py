"""Results of an audit: scores where encoders on both sides exist, alignment and its ranks where not."""

from __future__ import annotations

import itertools

import numpy as np
import scipy  # scipy.stats comes on first use: it takes half a second
import xarray as xr

from sslmem_kit.names import ALIGNMENT, AUGMENTATION, ENCODER, MODE, ONE_MODEL, QUANTILE, SAMPLE, SSLMEM, SUBSET, TRAINED_ON
from sslmem_kit.scores.protocols import select_protocol
from sslmem_kit.scores.sslmem import leave_out, normalize_range

NOT_SCORES = (
    "alignment of one model: these are not memorization scores, which compare encoders that were trained on a sample with others that "
    "were not"
)


def mode_of(results: xr.Dataset | xr.DataTree) -> str | None:
    """Mode of an audit's results, ``pair``, ``subset`` or ``one model``; None of a study's.

    Examples
    --------
    >>> mode_of(xr.Dataset(attrs={"mode": "subset"}))
    'subset'
    """
    return results.attrs.get(MODE)


def is_one_model(results: xr.Dataset | xr.DataTree) -> bool:
    """Whether there are no memorization scores in these results.

    Examples
    --------
    >>> is_one_model(xr.Dataset(attrs={"mode": "one model"}))
    True
    """
    return mode_of(results) == ONE_MODEL


def is_subset(results: xr.Dataset | xr.DataTree) -> bool:
    """Whether scores are by ``trained_on`` alone, because there are no families f and g.

    Examples
    --------
    >>> is_subset(xr.Dataset())
    False
    """
    return mode_of(results) == SUBSET


def subset_scores(results: xr.Dataset, *, protocol: str = "corrected") -> xr.Dataset:
    """Scores by :func:`sslmem_kit.scores.leave_out` of the samples that some encoders were trained on and others were not.

    Parameters
    ----------
    results
        Root of a results store.
    protocol
        ``paper``, ``released`` or ``corrected``.

    Returns
    -------
    Dataset on ``sample``, of these samples alone: ``sslmem`` in the protocol's form, ``difference``, errors and interval, ``alignment_in`` and
    ``alignment_out``, ``n_in`` and ``n_out``. The protocol is in the attrs.

    Raises
    ------
    UserError
        An unknown protocol, one that the store cannot serve, or scores that do not differ where they are divided by their range.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> subset_scores(_example.results())["sslmem"].sizes["sample"]  # the candidates and the independent samples
    20
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

    Parameters
    ----------
    results
        Root of a results store.
    protocol
        ``paper``, ``released`` or ``corrected``.

    Returns
    -------
    ``alignment`` and ``rank`` on (``sample``, ``encoder``), with the coordinates of samples; the attrs say that they are no scores.

    Raises
    ------
    UserError
        An unknown protocol, or one that the store cannot serve.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> table = alignment_table(_example.results())
    >>> int(table["rank"].max()), table["alignment"].dims
    (40, ('sample', 'encoder'))
    """
    alignment = select_protocol(results[ALIGNMENT], protocol).mean(AUGMENTATION).transpose(SAMPLE, ENCODER).load()
    rank = xr.DataArray(scipy.stats.rankdata(alignment.values, axis=0), dims=alignment.dims)
    known = {name: coord for name, coord in results.coords.items() if set(coord.dims) <= {SAMPLE} or name == ENCODER}
    table = xr.Dataset({ALIGNMENT: alignment.drop_vars(set(alignment.coords) - set(known)), "rank": rank}, known)
    table.attrs = {"protocol": protocol, MODE: ONE_MODEL, "note": NOT_SCORES}
    return table


def alignment_summary(table: xr.Dataset) -> xr.Dataset:
    """Distribution of alignment over samples under each encoder, and the samples with the smallest and the largest.

    Parameters
    ----------
    table
        Of :func:`alignment_table`.

    Returns
    -------
    On ``encoder``: ``mean`` and ``sd``; ``quantiles`` on (``encoder``, ``quantile``), at 5, 50 and 95 %; ids of the five ``smallest`` and
    the five ``largest`` on (``encoder``, ``place``), most extreme first; the scalar ``n`` counts samples.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> found = alignment_summary(alignment_table(_example.results()))
    >>> found["mean"].sel(encoder="f-0").round(2).item(), found["smallest"].sel(encoder="f-0").values[:2]
    (0.49, array([12,  4]))
    """
    ids = table[SAMPLE].values
    values = table[ALIGNMENT].transpose(ENCODER, SAMPLE).values.astype(np.float64, order="C")
    order = np.argsort(values, axis=1, kind="stable")
    levels = (0.05, 0.5, 0.95)
    return xr.Dataset(
        {
            "mean": (ENCODER, [row.mean() for row in values]),
            "sd": (ENCODER, [row.std(ddof=1) for row in values]),
            "quantiles": ((ENCODER, QUANTILE), [np.quantile(row, levels) for row in values]),
            "smallest": ((ENCODER, "place"), ids[order[:, :5]]),
            "largest": ((ENCODER, "place"), ids[order[:, ::-1][:, :5]]),
            "n": len(ids),
        },
        {ENCODER: table[ENCODER].values, QUANTILE: list(levels)},
    )


def encoder_rank_correlations(table: xr.Dataset) -> xr.DataArray:
    """Spearman's correlation of the ranks that each two encoders give: (``encoder``, ``other``).

    Parameters
    ----------
    table
        Of :func:`alignment_table`.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> found = encoder_rank_correlations(alignment_table(_example.results()))
    >>> found.sel(encoder="f-0", other="f-1").round(2).item()
    0.97
    """
    names, ranks = table[ENCODER].values, table["rank"].values
    correlations = np.ones((len(names), len(names)))
    for one, other in itertools.combinations(range(len(names)), 2):
        correlations[[one, other], [other, one]] = np.corrcoef(ranks[:, one], ranks[:, other])[0, 1]
    return xr.DataArray(correlations, {ENCODER: names, "other": names}, (ENCODER, "other"))
