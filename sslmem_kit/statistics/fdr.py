"""Memorized samples at a false-discovery rate that is chosen beforehand: the threshold that needs no arbitrary choice.

The null is empirical: the scores of the samples whose membership does not differ between the families, shared (both saw them) and
extra (neither did), pooled. A candidate's p-value is the share of the null that scores as high or higher, an independent's the share
that scores as low or lower, the sample itself counted among the null, so that no p is 0. Benjamini and Hochberg's step-up makes
q-values of them, of candidates and of independents each for themselves.

What makes it valid: a candidate that is not memorized is exchangeable with the null samples, that is, its score is distributed as
theirs. Shared, candidate and independent samples are drawn at random from the train split of the data. Extra samples are of the test split:
of them it is assumed that both splits have one distribution, and that the difference between two encoders spreads alike whether both were
trained on a sample or neither; whether these scores speak for it, :mod:`sslmem_kit.statistics.null_halves` says. What all scores have in
common (the offset of a few trainings, their spread) is in the null too. p-values that share one null sample are those of conformal
prediction; they depend on each other positively (PRDS), so that the step-up keeps its rate: Bates, Candès, Lei, Romano and Sesia,
"Testing for outliers with conformal p-values", Annals of Statistics 51 (2023); Benjamini and Hochberg, JRSS B 57 (1995). The rate holds
for the list as a whole, as a mean over partitions and trainings: that of this partition's and these encoders' list may be another. It
does not hold for a part of the list that was chosen for another reason, such as a class or a range of alignments.

Where samples have groups (``data.groups``), whose members have scores that go together, groups are what is exchangeable: each group of the
null counts once, its members share its weight, and p is ``(1 + groups that score as high or higher) / (groups + 1)``. So p keeps its level
whatever members of a group have in common: Lee, Barber and Willett, "Distribution-free inference with hierarchical data", arXiv:2306.06342.
With the sample as the unit, lists of studies without memorization in which 20 clones make a group were wrong in 18 to 32 % at a nominal 5 %.
The step-up goes over samples: the rate is a share of the samples listed.

Why the difference itself and the pooled null: the spread of extra samples is only a few per cent above that of shared ones, and the null
calibrates the difference as it is. It grows with the alignment in some studies and not in others; differences divided by the alignment,
or by their standard error, found fewer (benchmarks/calibration.py prints all of this). And a list by the difference is a threshold on the
score, which anyone can apply and see.
"""

from __future__ import annotations

import math

import numpy as np
import xarray as xr

from sslmem_kit.errors import UserError
from sslmem_kit.names import BOUND, BOUNDS, FILE, PARTITION, PARTITION_CODE, SAMPLE, SSLMEM
from sslmem_kit.statistics.clusters import scored, units_by_partition
from sslmem_kit.statistics.null_halves import NULL, compare_halves, null_values, null_weights, warning
from sslmem_kit.statistics.summary import wilson_interval

TESTED = {"candidate": 1, "independent": -1}
"""Partitions that are tested, and the sign that memorization gives their scores."""
NULL_WARNING = "null_warning"
"""Attribute of scores: why their false-discovery rates are not to be relied on, of :func:`sslmem_kit.statistics.null_halves.warning`."""
BY_NULL = {"pooled": ("q_value", NULL), **{name: (f"q_value_{name}", (name,)) for name in NULL}}
"""Variables of q-values, and what their null is made of."""
STOREY_LAMBDA = 0.5
"""p-values above this are taken to be of samples that are not memorized (Storey's lambda)."""


def p_values(values: np.ndarray, null: np.ndarray, weights: np.ndarray | None = None) -> np.ndarray:
    """Share of the null at or above each value, the value itself counted in: ``(1 + #{null >= value}) / (n_null + 1)``.

    Parameters
    ----------
    values
        Scores, (sample,); high ones are evidence.
    null
        Finite scores of the null, (sample,).
    weights
        What each sample of the null counts for, (sample,), of :func:`sslmem_kit.statistics.null_halves.null_weights`; None: 1.

    Returns
    -------
    (sample,), above 0 and at most 1; NaN where a score is not finite, and throughout without a null.

    Examples
    --------
    >>> p_values(np.array([0.0, 2.5, 9.0]), np.array([0.0, 1.0, 2.0, 3.0]))
    array([1. , 0.4, 0.2])
    >>> p_values(np.array([2.5]), np.array([0.0, 3.0, 3.0]), np.array([1, 0.5, 0.5]))  # the last two are a group
    array([0.66666667])
    """
    if not len(null):
        return np.full(len(values), np.nan)
    weights, ascending = np.ones(len(null)) if weights is None else weights, np.argsort(null)
    above = np.append(np.cumsum(weights[ascending][::-1])[::-1], 0.0)
    order = np.argsort(values)  # searching for ascending values is faster
    at_or_above = np.empty(len(order))
    at_or_above[order] = above[np.searchsorted(null[ascending], values[order], side="left")]
    return np.where(np.isfinite(values), (1 + at_or_above) / (1 + above[0]), np.nan)


def q_values(p: np.ndarray) -> np.ndarray:
    """Benjamini and Hochberg's q-values: the lowest false-discovery rate at which a sample is among the discoveries.

    Parameters
    ----------
    p
        p-values of one list, (sample,); NaN is left out.

    Returns
    -------
    ``q = min over p' >= p of p' m / rank(p')``, (sample,), at most 1; NaN where p is.

    Examples
    --------
    >>> q_values(np.array([0.01, 0.5, 0.02, 0.04]))
    array([0.04      , 0.5       , 0.04      , 0.05333333])
    """
    tested = np.flatnonzero(~np.isnan(p))
    order = tested[np.argsort(p[tested])]
    rates = p[order] * len(order) / np.arange(1, len(order) + 1)
    q = np.full(len(p), np.nan)
    # A rate that is 0.05 must not come out a hair above it.
    q[order] = np.minimum.accumulate(np.minimum(rates, 1)[::-1])[::-1].round(12)
    return q


def with_significance(scores: xr.Dataset) -> xr.Dataset:
    """Scores with ``p_value`` and ``q_value`` of every candidate and independent sample, NaN elsewhere.

    Parameters
    ----------
    scores
        ``difference(sample)`` with ``partition``, of :func:`sslmem_kit.scores.score`; protocols differ in the difference, and so in p.

    Returns
    -------
    The scores with ``p_value(sample)`` of :func:`p_values` and ``q_value(sample)`` of :func:`q_values`, each partition for itself, against
    shared and extra samples together; ``q_value_shared`` and ``q_value_extra`` are those against either half alone. The attribute
    ``null_warning`` says why the rates are not to be relied on, and is absent where they are.

    Examples
    --------
    >>> scores = xr.Dataset({"difference": ("sample", [0.1, -0.1, 0.0, 0.9])}, {"partition": ("sample", [0, 0, 3, 1])})
    >>> with_significance(scores)["p_value"].values
    array([ nan,  nan,  nan, 0.25])
    """
    difference, codes = scores["difference"].values, scores["partition"].values
    found = {
        "p_value": np.full(len(difference), np.nan),
        **{name: np.full(len(difference), np.nan) for name, _ in BY_NULL.values()},
    }
    for name, halves in BY_NULL.values():
        null, weights = null_values(scores, halves), null_weights(scores, halves)
        for tested, sign in TESTED.items():
            members = codes == PARTITION_CODE[tested]
            p = p_values(sign * difference[members], sign * null, weights)
            found[name][members] = q_values(p)
            if halves == NULL:
                found["p_value"][members] = p
    sentence = warning(compare_halves(scores))
    made = scores.assign({name: (SAMPLE, values) for name, values in found.items()})
    return made.assign_attrs({NULL_WARNING: sentence}) if sentence else made


def fdr_summary(scores: xr.Dataset, fdr: float = 0.05) -> xr.Dataset:
    """Number of samples that are memorized at a false-discovery rate, and what that amounts to.

    Parameters
    ----------
    scores
        Of :meth:`sslmem_kit.study.Study.scores`, with or without ``q_value``.
    fdr
        Share of false ones that the list may hold on average, between 0 and 1.

    Returns
    -------
    On ``partition``, the candidates and the independents:

    - ``n``; ``memorized``, how many have ``q_value <= fdr``; ``share`` of them;
    - ``threshold``: the list holds the candidates whose ``sslmem`` is at or above it (independents: at or below); NaN for an empty list;
    - ``fewest``: the least number that a list can hold with this null, for p is at least ``1 / (n_null_units + 1)``; NaN where no list is
      possible. ``null_for_one``: null units that are needed for a list of one, ``null_for_any``: for a list of all;
    - ``null_proportion``: estimated share of those that are not memorized, of :func:`null_proportion`, and ``null_proportion_interval``
      (95 %), on (``partition``, ``bound``).

    ``memorized_by`` on (``null``, ``partition``): the same number against shared and extra samples (``pooled``), or against either alone;
    and the variables of :func:`sslmem_kit.statistics.null_halves.compare_halves`, with ``null_`` before their names and ``half`` for
    their dimension. The attribute ``warning`` says why the rate is not to be relied on; it is empty where it is.

    On ``discovery``, the lists one after the other, the most memorized first: ``discovered``, the ids of samples, with the coordinates
    ``listed_in`` (partition) and, of data that have them, ``file``. The scalar ``n_null`` counts the samples of the null, ``n_null_units``
    its units, groups where samples have them (the attribute ``unit``: ``sample`` or ``group``); ``fdr`` is in the attrs.

    Raises
    ------
    UserError
        ``fdr`` is not between 0 and 1.

    References
    ----------
    Benjamini and Hochberg, JRSS B 57 (1995); Bates et al., Annals of Statistics 51 (2023); Storey, JRSS B 64 (2002).

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> values, codes = np.append(rng.normal(size=99), [9.0, 8.0, 0.0]), np.repeat([0, 1], [99, 3])
    >>> scores = xr.Dataset(
    ...     {"sslmem": ("sample", values), "difference": ("sample", values)}, {"sample": range(102), "partition": ("sample", codes)}
    ... )
    >>> found = fdr_summary(scores, 0.1)
    >>> found["memorized"].to_series().to_dict()
    {'candidate': 2, 'independent': 0}
    >>> found["discovered"].values, found["threshold"].sel(partition="candidate").item()
    (array([ 99, 100]), 8.0)
    """
    check_rate(fdr)
    if "q_value_shared" not in scores:
        scores = with_significance(scores)
    halves, n_null, groups = compare_halves(scores), len(null_values(scores)), units_by_partition(scores)
    n_units = int(halves["n_units"].sum())
    rows, lists = [], []
    for name, sign in TESTED.items():
        members = (scores["partition"].values == PARTITION_CODE[name]) & scored(scores)
        p, q, values = (scores[column].values[members] for column in ("p_value", "q_value", SSLMEM))
        listed, n = q <= fdr, len(p)
        count, fewest = int(listed.sum()), _at_least(n / (fdr * (n_units + 1)))
        lists.append(np.flatnonzero(members)[listed][np.argsort(-sign * values[listed], kind="stable")])
        units = None if groups is None else len(np.unique(groups[name]))
        proportion, low, high = null_proportion(p, n_units, units)
        rows.append(
            {
                "n": n,
                "memorized": count,
                "share": count / n if n else math.nan,
                "threshold": float(sign * (sign * values[listed]).min()) if count else math.nan,
                "fewest": fewest if fewest <= n else math.nan,
                "null_for_one": max(0, _at_least(n / fdr) - 1),
                "null_for_any": _at_least(1 / fdr) - 1,
                "null_proportion": proportion,
                "null_proportion_interval": (low, high),
            }
        )
    order = np.concatenate(lists)
    coords = {"listed_in": ("discovery", np.repeat(list(TESTED), [len(part) for part in lists]))}
    if FILE in scores.coords:
        coords[FILE] = ("discovery", scores[FILE].values[order].astype(object))
    return xr.Dataset(
        {
            **{
                name: ((PARTITION, BOUND) if name.endswith("_interval") else PARTITION, [row[name] for row in rows])
                for name in rows[0]
            },
            "discovered": ("discovery", scores[SAMPLE].values[order]),
            "n_null": n_null,
            "n_null_units": n_units,
            "memorized_by": (
                ("null", PARTITION),
                [
                    [int((scores[q].values[scores["partition"].values == PARTITION_CODE[name]] <= fdr).sum()) for name in TESTED]
                    for q, _ in BY_NULL.values()
                ],
            ),
            **{
                f"null_{name}": (["half"] if PARTITION in found.dims else found.dims, found.values)
                for name, found in halves.items()
            },
        },
        {PARTITION: list(TESTED), BOUND: list(BOUNDS), "null": list(BY_NULL), "half": list(NULL), **coords},
        {"fdr": fdr, "warning": warning(halves), "unit": "sample" if groups is None else "group"},
    )


def check_rate(fdr: float) -> None:
    """Refuse a number that is no false-discovery rate.

    Raises
    ------
    UserError
        It is not above 0 and below 1.

    Examples
    --------
    >>> check_rate(1.5)
    Traceback (most recent call last):
    sslmem_kit.errors.UserError: --fdr: a false-discovery rate lies above 0 and below 1, for instance 0.05, got 1.5
    """
    if not 0 < fdr < 1:
        raise UserError(f"--fdr: a false-discovery rate lies above 0 and below 1, for instance 0.05, got {fdr:g}")


def null_proportion(p: np.ndarray, n_null: float = math.inf, units: int | None = None) -> tuple[float, float, float]:
    """Estimated share of samples that are not memorized, with its 95 % interval: ``#{p > lambda} / (n (1 - lambda))``, lambda = 1/2.

    Few memorized samples have a p-value above a half, so that nearly all there are of the null, whose p-values are uniform. It is an
    estimate, on average somewhat too high, and no bound: where nothing is memorized it is below 100 % in about half of all studies. It
    needs no list: where many samples are memorized by little, few can be named.

    Parameters
    ----------
    p
        p-values of one partition, (sample,); NaN is left out.
    n_null
        Units of the null that p rests on, whose own chance is in the interval too.
    units
        Groups that the samples of ``p`` make; None: each is alone.

    Returns
    -------
    The share and the ends of its interval (Wilson's, for ``1 / (1 / n + 1 / n_null)`` units, as if groups were one sample each), at most 1;
    NaN without p-values.

    References
    ----------
    Storey, JRSS B 64 (2002).

    Examples
    --------
    >>> share, low, high = null_proportion(np.array([0.01, 0.02, 0.3, 0.7]))
    >>> share, round(low, 2), round(high, 2)
    (0.5, 0.09, 1.0)
    """
    p = p[~np.isnan(p)]
    if not len(p):
        return (math.nan, math.nan, math.nan)
    share = float((p > STOREY_LAMBDA).mean())
    effective = 1 / (1 / min(len(p), units or len(p)) + 1 / n_null)
    share, *ends = (min(1.0, float(part) / (1 - STOREY_LAMBDA)) for part in (share, *wilson_interval(share * effective, effective)))
    return (share, ends[0], ends[1])


def _at_least(number: float) -> int:
    """The next whole number; rounding may have left one a hair above itself."""
    return math.ceil(round(number, 9))
