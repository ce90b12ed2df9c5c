"""Membership inference: was a sample in an encoder's training set? Signals from alignment, higher where it rather was.

With L_e(x) the alignment of sample x under encoder e, and s_e(x) = -L_e(x), taken off its mean over samples, for a training has an offset
that is common to all of them:

============ ============================================================================================================
alignment    s_e: members' views are more alike (EncoderMI, Liu et al. 2021), with no reference
calibrated   s_e minus that of a reference encoder, of a pair the other of its seed (Watson et al. 2022)
lira         log N(s_e; in) - log N(s_e; out), with mean and variance of s over reference encoders that were trained on x, and
             over those that were not (Carlini et al. 2022, online)
lira_offline (s_e - mean out) / sd out: references without x alone (the same, offline; its Phi gives the same order)
rmia         share of other samples z with s_e(x) - log mean exp s_r(x) >= the same of z, r over all references, s in units of
             its spread (Zarifzadeh et al. 2024, gamma 1; s stands for the log-likelihood that an encoder does not have)
============ ============================================================================================================

References of an encoder are encoders of *other* seeds of random subsets. Those of its own seed share one random cut with it, so that they are
complementary: with two folds the other encoder of the seed is trained on x exactly if this one is not. As a reference it would give the
answer away: by the number of references that were trained on x, and by its training noise, which coupled encoders share. Without it every
sample has the same number of references of each kind, whatever the target was trained on. The reference of ``calibrated`` is such a complement,
g beside f: an attacker who holds both encoders, and knows that x is in one of them. Against samples that neither saw it is an ordinary
reference without x.
"""

from __future__ import annotations

import numpy as np
import scipy
import xarray as xr

from sslmem_kit.errors import UserError
from sslmem_kit.names import ALIGNMENT, ENCODER, FAMILIES, PAIR, PARTITION_CODE, SAMPLE, SEED, SUBSET, TRAINED_ON
from sslmem_kit.scores.comparisons.base import Comparison
from sslmem_kit.scores.comparisons.replicates import contrast_by_seed, in_out_by_seed
from sslmem_kit.scores.protocols import default_protocol, mean_over_pairs, select_protocol
from sslmem_kit.scores.selection import designs

RATIOS = ("lira", "lira_offline", "rmia")
"""Attacks that need encoders on random subsets."""
MANY_REFERENCES = 64
"""References of a kind from which on each sample has its own variance; with fewer one is pooled over samples (Carlini et al. 2022)."""
FEWEST_SEEDS = 3
"""Seeds of random subsets: with the target's own taken off two are left, and with them a variance."""
NEEDS_SUBSETS = (
    "design.subsets: likelihood ratios need encoders on random subsets of at least 3 seeds, this study has {seeds}; add "
    "design: {{subsets: {{repeats: 8}}}}"
)


def signals(results: xr.Dataset | xr.DataTree) -> xr.DataArray:
    """Minus the mean alignment of each sample under each encoder, taken off its mean over samples, (sample, encoder).

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> signals(_example.results()).sizes
    Frozen({'sample': 40, 'encoder': 6})
    """
    root = results.to_dataset() if isinstance(results, xr.DataTree) else results
    mean = -mean_over_pairs(select_protocol(root[ALIGNMENT], default_protocol(root))).transpose(SAMPLE, ENCODER).compute()
    return mean - mean.where(np.isfinite(mean)).mean(SAMPLE)


def references(seed: np.ndarray, subset: np.ndarray, target: int) -> np.ndarray:
    """Positions of the encoders that a target is compared with: those on random subsets, of other seeds than its own.

    Parameters
    ----------
    seed, subset
        Seed of each encoder, and whether it is one on a random subset, (encoder,).
    target
        Position of the target.

    Examples
    --------
    >>> references(np.array([0, 0, 3, 3, 4, 4]), np.array([False, False, True, True, True, True]), 2)
    array([4, 5])
    """
    return np.flatnonzero(subset & (seed != seed[target]))


def moments(signal: np.ndarray, inside: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Mean and variance of a signal over the references of one kind.

    Parameters
    ----------
    signal, inside
        (sample, reference); ``inside`` is true for references of the kind.

    Returns
    -------
    (sample,) each, NaN where a sample has none of the kind. The variance is pooled over samples where they have fewer than 64.

    Examples
    --------
    >>> mean, variance = moments(np.array([[1.0, 3.0, 9.0], [0.0, 2.0, 9.0]]), np.array([[True, True, False]] * 2))
    >>> mean, variance
    (array([2., 1.]), array([2., 2.]))
    """
    count = inside.sum(axis=1)
    with np.errstate(invalid="ignore", divide="ignore"):
        mean = np.where(inside, signal, 0).sum(axis=1) / np.where(count, count, np.nan)
        squares = (np.where(inside, signal - mean[:, None], 0) ** 2).sum(axis=1)
        if count.min(initial=MANY_REFERENCES) >= MANY_REFERENCES:
            return mean, squares / (count - 1)
        known = np.isfinite(squares) & (count > 0)
        return mean, np.full(len(mean), squares[known].sum() / np.float64((count[known] - 1).sum()))


def likelihood_ratio(signal: np.ndarray, among: np.ndarray, inside: np.ndarray, *, online: bool = True) -> np.ndarray:
    """Log-likelihood ratio of a target's signal between references with and without each sample (LiRA).

    Parameters
    ----------
    signal
        Of the target, (sample,).
    among, inside
        Signals of the references, and whether each was trained on the sample, (sample, reference).
    online
        False: the distance from references without the sample alone, in their standard deviations.

    Returns
    -------
    (sample,), NaN where a kind of references is missing.

    Examples
    --------
    >>> among = np.array([[1.0, 3.0, -1.0, -3.0]])
    >>> likelihood_ratio(np.array([1.0]), among, np.array([[True, True, False, False]])).round(2)
    array([2.])
    """
    mean_out, variance_out = moments(among, ~inside)
    with np.errstate(invalid="ignore", divide="ignore"):
        if not online:
            return (signal - mean_out) / np.sqrt(variance_out)
        mean_in, variance_in = moments(among, inside)
        log_in, log_out = (
            -((signal - mean) ** 2) / variance / 2 - np.log(variance) / 2
            for mean, variance in ((mean_in, variance_in), (mean_out, variance_out))
        )
        return log_in - log_out


def relative_ratio(signal: np.ndarray, among: np.ndarray, inside: np.ndarray, population: np.ndarray) -> np.ndarray:
    """Share of a population whose likelihood, relative to references, is at most that of each sample (RMIA).

    Parameters
    ----------
    signal, among, inside
        As in :func:`likelihood_ratio`.
    population
        Samples that the others are compared with, (sample,) bool; they should be in no encoder.

    Returns
    -------
    (sample,) between 0 and 1. The signal stands for a log-likelihood, in units of its standard deviation over references of one kind.

    Examples
    --------
    >>> among = np.array([[0.0, 0.1, 0.2, 0.3]] * 3)
    >>> relative_ratio(np.array([1.0, 0.0, 0.5]), among, among < 0.15, np.array([False, True, True]))
    array([1. , 0.5, 1. ])
    """
    parts = np.concatenate([moments(among, kind)[1] for kind in (inside, ~inside)])
    parts = parts[np.isfinite(parts)]
    scale = np.sqrt(parts.mean()) if len(parts) else np.nan
    ratio = signal / scale - scipy.special.logsumexp(among / scale, axis=1) + np.log(among.shape[1])
    others = np.sort(ratio[population & np.isfinite(ratio)])
    share = np.searchsorted(others, ratio, side="right") / max(len(others), 1)
    return np.where(np.isfinite(ratio) & (len(others) > 0), share, np.nan)


def attack(results: xr.Dataset | xr.DataTree, name: str) -> xr.DataArray:
    """Signals of one attack on every encoder that it can be made on.

    Parameters
    ----------
    results
        Root of a results store.
    name
        ``alignment``, ``calibrated``, ``lira``, ``lira_offline`` or ``rmia``.

    Returns
    -------
    (sample, encoder), NaN of encoders that it is not made on.

    Raises
    ------
    UserError
        Likelihood ratios of a study without encoders on random subsets of three seeds.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> attack(_example.results(), "lira")
    Traceback (most recent call last):
    ...
    sslmem_kit.errors.UserError: design.subsets: likelihood ratios need encoders on random subsets of at least 3 seeds, this study has 0; \
add design: {subsets: {repeats: 8}}
    """
    root = results.to_dataset() if isinstance(results, xr.DataTree) else results
    signal = signals(root)
    design, seed = designs(root), root[SEED].values
    if name == "alignment":
        return signal
    values, found = signal.values, np.full(signal.shape, np.nan)
    if name == "calibrated":
        family = root["family"].values
        for position in np.flatnonzero(design == PAIR):
            other = (design == PAIR) & (seed == seed[position]) & (family != family[position]) & np.isin(family, FAMILIES)
            if other.any():
                found[:, position] = values[:, position] - values[:, other].mean(axis=1)
        return signal.copy(data=found)
    if problem := missing_subsets(root):
        raise UserError(problem)
    inside = root[TRAINED_ON].transpose(SAMPLE, ENCODER).values.astype(bool)
    none = ~np.asarray(inside.any(axis=1))
    for position in np.flatnonzero((design == PAIR) | (design == SUBSET)):
        among = references(seed, design == SUBSET, int(position))
        given = values[:, position], values[:, among], inside[:, among]
        if name == "rmia":
            found[:, position] = relative_ratio(*given, none if none.any() else np.ones(len(none), bool))
        else:
            found[:, position] = likelihood_ratio(*given, online=name == "lira")
    return signal.copy(data=found)


def missing_subsets(results: xr.Dataset | xr.DataTree) -> str:
    """Return why a study has no likelihood ratios, with the remedy; empty where it has."""
    root = results.to_dataset() if isinstance(results, xr.DataTree) else results
    seeds = len(np.unique(root[SEED].values[designs(root) == SUBSET]))
    return NEEDS_SUBSETS.format(seeds=seeds) if seeds < FEWEST_SEEDS else ""


def deviations(signal: np.ndarray, members: np.ndarray, others: np.ndarray) -> np.ndarray:
    """Signal from the middle between members and others, in standard deviations within the two.

    Log-odds by Gaussians of one variance are this times the distance of the two means; they are not taken, because where an attack is worse
    than chance, as where f and g were trained on different numbers of samples, that distance is negative and turns the order round.

    Parameters
    ----------
    signal
        (sample,).
    members, others
        (sample,) bool.

    Returns
    -------
    (sample,): (s - (m1 + m0) / 2) / sd, increasing in the signal; NaN with fewer than 2 of a kind.

    Examples
    --------
    >>> deviations(np.array([1.0, 3.0, -1.0, -3.0, 0.0]), np.arange(5) < 2, (np.arange(5) > 1) & (np.arange(5) < 4)).round(2)
    array([ 0.71,  2.12, -0.71, -2.12,  0.  ])
    """
    first, second = (signal[kind & np.isfinite(signal)] for kind in (members, others))
    if min(len(first), len(second)) < 2:
        return np.full(len(signal), np.nan)
    variance = (first.var() * len(first) + second.var() * len(second)) / (len(first) + len(second) - 2)
    with np.errstate(invalid="ignore", divide="ignore"):
        return (signal - (first.mean() + second.mean()) / 2) / np.sqrt(variance)


def reduce(raw: xr.Dataset | None, results: xr.DataTree) -> xr.Dataset:
    """Exposure of each sample in each seed.

    Returns
    -------
    ``membership(sample, seed)``. With random subsets of three seeds: LiRA's offline signal under encoders that were trained on the sample minus
    that under those that were not, with references of other seeds: how far in and out are apart, in standard deviations. With fewer than
    64 references the standard deviation is one for all, and samples are ordered as by SSLMem of the subsets. (The online ratio is no
    better here: its mean is the square of this distance, without a sign, and with few references mostly noise.) Of pairs alone: the
    calibrated signal from the middle between candidates and independents, in standard deviations (:func:`deviations`); within a seed it
    orders samples as SSLMem does, for its signal is that difference.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> found = reduce(None, xr.DataTree(_example.results()))["membership"].mean("seed")
    >>> bool(found[1::4].mean() > 0 > found[2::4].mean())  # candidates, independents
    True
    """
    root = results.to_dataset()
    if not missing_subsets(root):
        found = in_out_by_seed(attack(root, "lira_offline"), results)
        return xr.Dataset({"membership": found.assign_attrs(long_name="exposure (standard deviations)", by="lira_offline")})
    codes = root["partition"].values
    difference = contrast_by_seed(signals(root), results)
    members, others = (codes == PARTITION_CODE[name] for name in ("candidate", "independent"))
    columns = [deviations(column, members, others) for column in difference.values.T]
    table = np.stack(columns, axis=1) if columns else difference.values
    found = difference.copy(data=table)
    return xr.Dataset({"membership": found.assign_attrs(long_name="exposure (standard deviations)", by="calibrated")})


def _problem(results: xr.DataTree) -> str:
    root = results.to_dataset()
    if not missing_subsets(root):
        return ""
    families = set(root["family"].values[designs(results) == PAIR].tolist())
    return (
        ""
        if set(FAMILIES) <= families and "partition" in root.coords
        else ("it needs encoders of both families, f and g, or on random subsets of 3 seeds; train them with `sslmem run`")
    )


MEMBERSHIP = Comparison(
    name="membership",
    title="Membership inference",
    source="Liu et al. 2021 (EncoderMI); Carlini et al. 2022 (LiRA); Zarifzadeh et al. 2024 (RMIA)",
    definition="how plainly the alignment of a sample's views says that an encoder was trained on it; higher: more exposed",
    columns={"membership": "Exposure to membership inference"},
    reduce=reduce,
    problem=_problem,
)
