"""Results of an audit: scores where encoders on both sides exist, alignment and its ranks where not."""

from __future__ import annotations

import numpy as np
import scipy  # scipy.stats comes on first use: it takes half a second
import xarray as xr

from sslmem_kit.names import ALIGNMENT, BOUND, BOUNDS, ENCODER, MODE, ONE_MODEL, SAMPLE, SSLMEM, SUBSET, TRAINED_ON
from sslmem_kit.scores.protocols import mean_over_pairs, select_protocol
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
    """Test whether results are of an audit of one model, which has no memorization scores.

    Examples
    --------
    >>> is_one_model(xr.Dataset(attrs={"mode": "one model"}))
    True
    """
    return mode_of(results) == ONE_MODEL


def is_subset(results: xr.Dataset | xr.DataTree) -> bool:
    """Test whether scores are by ``trained_on`` alone, without families f and g.

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
        **({**scores[SSLMEM].attrs, "range_over": "scored samples, all encoders together"} if normalized else {}),
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
    alignment = mean_over_pairs(select_protocol(results[ALIGNMENT], protocol)).transpose(SAMPLE, ENCODER).load()
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
    On ``encoder``: ``mean``, ``sd`` and ``median``; ``central_interval`` (5 to 95 % of the samples) on (``encoder``, ``bound``); ids of the
    ``smallest`` and the ``largest``, five or fewer, on (``encoder``, ``place``). The scalar ``n`` counts samples.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> found = alignment_summary(alignment_table(_example.results()))
    >>> found["mean"].sel(encoder="f-0").round(2).item(), found["smallest"].sizes["place"]
    (0.49, 5)
    """
    ids, values = table[SAMPLE].values, np.ascontiguousarray(table[ALIGNMENT].transpose(ENCODER, SAMPLE), np.float64)
    order = np.argsort(values, axis=1, kind="stable")
    low, median, high = np.array([np.quantile(row, (0.05, 0.5, 0.95)) for row in values]).T
    return xr.Dataset(
        {
            "mean": (ENCODER, [row.mean() for row in values]),
            "sd": (ENCODER, [row.std(ddof=1) for row in values]),
            "n": len(ids),
            "median": (ENCODER, median),
            "central_interval": ((ENCODER, BOUND), np.stack([low, high], axis=1)),
            "smallest": ((ENCODER, "place"), ids[order[:, :5]]),
            "largest": ((ENCODER, "place"), ids[order[:, ::-1][:, :5]]),
        },
        {ENCODER: list(map(str, table[ENCODER].values)), BOUND: list(BOUNDS)},
    )


def encoder_rank_correlations(table: xr.Dataset) -> xr.DataArray:
    """Spearman's correlation of the ranks that each two encoders give to samples.

    Parameters
    ----------
    table
        Of :func:`alignment_table`.

    Returns
    -------
    (``encoder``, ``other``), symmetric, 1 on the diagonal.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> rho = encoder_rank_correlations(alignment_table(_example.results()))
    >>> rho.sel(encoder="f-0", other="f-1").round(2).item()
    0.97
    """
    names, ranks = list(map(str, table[ENCODER].values)), table["rank"].transpose(SAMPLE, ENCODER).values
    rho = np.eye(len(names))
    for a in range(len(names)):
        for b in range(a + 1, len(names)):
            rho[a, b] = rho[b, a] = np.corrcoef(ranks[:, a], ranks[:, b])[0, 1]
    return xr.DataArray(rho, {ENCODER: names, "other": names}, (ENCODER, "other"))
