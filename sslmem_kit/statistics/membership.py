"""Membership attacks on the encoders of a study: how often they are right, and on which samples.

Who is a member is known: candidates were trained on by f and not by g, independents the other way round, and of random subsets every
sample is in half of the encoders. ``f and g`` is the mean of both ways round: what candidates and independents differ by as images, which one
way takes for membership, is cancelled. ``extra`` is a second set of non-members, of the test split: another distribution may be told apart
without any memory, so that an AUC against it is no membership alone.

Whether the memorized are the exposed is asked by quantiles of SSLMem. Signal and SSLMem are made of the same alignments: cut by a score
that the attacked encoder is part of, the highest quantile has the largest AUC even where nothing is memorized. So quantiles are cut by the
encoders of *other* seeds, random subsets where there are three seeds of them, else pairs; ``naive`` is what the circular cut would give. Of
pairs, the memorization of an independent is that by g, so that members and non-members of a quantile are equally memorizable, and only one of
them is in the encoder.

Cut by pairs, a quantile of one target says this only where f and g differ by a common offset. Where one of them has all distances larger in
proportion, as of fewer samples to train on, the highest quantile of candidates is of hard images and that of independents of easy ones: with
distances 1.2 times as large under g, and nothing memorized, AUCs of ``f`` by quarters were .73, .57, .44 and .27, of ``f and g`` .50 each.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import NamedTuple

import numpy as np
import scipy
import xarray as xr

from sslmem_kit.names import BOUND, BOUNDS, ENCODER, FAMILIES, PAIR, PARTITION_CODE, SAMPLE, SEED, SUBSET, TRAINED_ON
from sslmem_kit.scores.comparisons.membership import RATIOS, attack, missing_subsets, signals
from sslmem_kit.scores.comparisons.replicates import contrast_by_seed, in_out_by_seed
from sslmem_kit.scores.selection import designs
from sslmem_kit.statistics.roc import FPR, RATES, auc, roc

ROW, BOTH = "row", "f and g"
FEWEST_OF_QUANTILE = 20
"""Members, and others, of a quantile at least; with fewer there are fewer quantiles."""


class Game(NamedTuple):
    """Who attacks whom: encoders, and the members and others among the samples of each."""

    target: str
    """``f``, ``g``, ``f and g`` or ``subset``."""
    others: str
    """Non-members: a partition, ``not trained on`` of both families, or ``out`` of random subsets."""
    encoders: np.ndarray
    """Positions."""
    member: np.ndarray
    """(encoder, sample) bool."""
    included: np.ndarray
    """Members and others, (encoder, sample) bool."""


def games(results: xr.Dataset) -> Iterator[Game]:
    """Yield the games that the encoders of a study allow.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> [(game.target, game.others) for game in games(_example.design())]
    [('f', 'independent'), ('g', 'candidate'), ('f', 'extra'), ('f and g', 'not trained on'), ('subset', 'out')]
    """
    design, family = designs(results), results["family"].values
    if "partition" in results.coords:
        codes = results["partition"].values
        for target, own, others in (
            ("f", "candidate", "independent"),
            ("g", "independent", "candidate"),
            ("f", "candidate", "extra"),
        ):
            encoders = np.flatnonzero((design == PAIR) & (family == target))
            member, other = (codes == PARTITION_CODE[name] for name in (own, others))
            if len(encoders) and min(member.sum(), other.sum()) > 1:
                shape = (len(encoders), len(codes))
                yield Game(target, others, encoders, np.broadcast_to(member, shape), np.broadcast_to(member | other, shape))
        encoders = np.flatnonzero((design == PAIR) & np.isin(family, FAMILIES))
        candidate, independent = (codes == PARTITION_CODE[name] for name in ("candidate", "independent"))
        if len(np.unique(family[encoders])) > 1 and min(candidate.sum(), independent.sum()) > 1:
            member = np.stack([candidate if family[e] == "f" else independent for e in encoders])
            yield Game(BOTH, "not trained on", encoders, member, np.broadcast_to(candidate | independent, member.shape))
    encoders = np.flatnonzero(design == SUBSET)
    if len(encoders):
        member = results[TRAINED_ON].transpose(SAMPLE, ENCODER).values.astype(bool)[:, encoders].T
        yield Game("subset", "out", encoders, member, np.broadcast_to(member.any(axis=0) & ~member.all(axis=0), member.shape))


def played(results: xr.Dataset) -> Iterator[tuple[str, Game, np.ndarray]]:
    """Yield attack, game and signals, (encoder, sample), NaN of samples outside of the game."""
    names = ["alignment", "calibrated", *(() if missing_subsets(results) else RATIOS)]
    found = {name: attack(results, name).transpose(ENCODER, SAMPLE).values for name in names}
    for game in games(results):
        for name in names:
            if (
                name == "calibrated" and game.target != "f"
            ):  # of g, and so of both, it is the mirror image, of subsets there is none
                continue
            if name in RATIOS and game.others == "extra":  # which no reference was trained on
                continue
            values = np.where(game.included, found[name][game.encoders], np.nan)
            if np.isfinite(values).any():
                yield name, game, values


def attacks(results: xr.Dataset, *, rates: tuple[float, ...] = RATES) -> xr.Dataset:
    """How well members are found, by attack.

    Parameters
    ----------
    results
        Root of a results store.
    rates
        False-positive rates at which the true-positive rate is given; those of a curve are :data:`sslmem_kit.statistics.roc.GRID`.

    Returns
    -------
    On ``row``, with ``attack``, ``target`` (of :class:`Game`) and ``others``: ``auc``, ``interval``
    (``bound``), ``p``, ``n_members``, ``n_others``, ``n_encoders`` and ``n_seeds`` of :func:`sslmem_kit.statistics.roc.auc`, and on ``fpr``
    ``tpr``, ``tpr_interval`` and ``needed`` of :func:`sslmem_kit.statistics.roc.roc`.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> found = attacks(_example.results())
    >>> found.set_index(row=("attack", "target", "others"))["auc"].to_series().round(2).to_dict()
    {('alignment', 'f', 'independent'): 0.94, ('calibrated', 'f', 'independent'): 1.0, ('alignment', 'g', 'candidate'): 1.0, \
('alignment', 'f', 'extra'): 0.96, ('calibrated', 'f', 'extra'): 1.0, ('alignment', 'f and g', 'not trained on'): 0.97}
    """
    rows, keys = [], []
    for name, game, values in played(results):
        area = auc(values, game.member, seed=results[SEED].values[game.encoders])
        curve = roc(values, game.member, rates=rates)
        rows.append(area.assign(tpr=curve["tpr"], tpr_interval=curve["interval"], needed=curve["needed"]))
        keys.append((name, game.target, game.others))
    if not rows:
        return xr.Dataset(coords={ROW: [], BOUND: list(BOUNDS), FPR: list(rates)})
    found = xr.concat(rows, ROW)
    return found.assign_coords(
        {key: (ROW, list(column)) for key, column in zip(("attack", "target", "others"), zip(*keys, strict=True), strict=True)}
    )


def by_quantile(results: xr.Dataset, *, quantiles: int = 10) -> xr.Dataset:
    """AUC of attacks on samples of equal memorization, by quantiles that other seeds have cut.

    Parameters
    ----------
    results
        Root of a results store.
    quantiles
        Number of quantiles; fewer where they would hold fewer than 20 members or others.

    Returns
    -------
    On (``row``, ``part``), with ``attack``, ``target`` and ``others`` on ``row``; ``part`` 1 is the least memorized: ``auc``, ``interval``
    (``bound``), ``n_members``, ``n_others``, and ``naive``, the AUC where the attacked encoders have cut too. NaN with one seed. The attribute
    ``cut_by`` says by which encoders: ``subset`` or ``pair``.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> by_quantile(_example.results()).sizes["row"]  # 10 candidates are too few
    0
    """
    tree = xr.DataTree(results)
    by = PAIR if missing_subsets(results) else SUBSET
    memorized = (contrast_by_seed if by == PAIR else in_out_by_seed)(signals(results), tree)
    own_seeds = memorized[SEED].values
    sign = np.ones(results.sizes[SAMPLE])
    if by == PAIR and "partition" in results.coords:
        sign[results["partition"].values == PARTITION_CODE["independent"]] = -1
    table = memorized.transpose(SEED, SAMPLE).values * sign
    rows, keys = [], []
    for name, game, values in played(results):
        if game.others == "extra" or (by == PAIR and game.target == "subset"):
            continue
        seeds = results[SEED].values[game.encoders]
        fewest = min((np.isfinite(values) & kind).sum(axis=1).min() for kind in (game.member, ~game.member))
        count = min(quantiles, int(fewest) // FEWEST_OF_QUANTILE)
        if count < 2:
            continue
        cuts = [
            np.stack([_part(table[own_seeds != seed] if crossed else table, known, member, count) for seed, known, member in
                      zip(seeds, np.isfinite(values), game.member, strict=True)])
            for crossed in (True, False)
        ]  # fmt: skip
        parts = []
        for part in range(count):
            found, naive = (auc(np.where(cut == part, values, np.nan), game.member, seed=seeds) for cut in cuts)
            parts.append(found[["auc", "interval", "n_members", "n_others", "n_seeds"]].assign(naive=naive["auc"]))
        rows.append(xr.concat(parts, xr.DataArray(np.arange(1, count + 1), dims="part", name="part")))
        keys.append((name, game.target, game.others))
    if not rows:
        return xr.Dataset(coords={ROW: [], "part": []}, attrs={"cut_by": by})
    found = xr.concat(rows, ROW, join="outer")
    coords = {key: (ROW, list(column)) for key, column in zip(("attack", "target", "others"), zip(*keys, strict=True), strict=True)}
    return found.assign_coords(coords).assign_attrs(cut_by=by)


def _part(memorized: np.ndarray, known: np.ndarray, member: np.ndarray, count: int) -> np.ndarray:
    """Part of each sample, from 0, by its mean memorization over seeds, of members and of others apart; -1 where it has none."""
    part = np.full(len(known), -1)
    if not len(memorized):
        return part
    there = np.isfinite(memorized)
    mean = np.where(there, memorized, 0).sum(axis=0) / np.where(there.any(axis=0), there.sum(axis=0), 1)
    for kind in (member, ~member):
        chosen = np.flatnonzero(known & kind & there.any(axis=0))
        part[chosen] = (scipy.stats.rankdata(mean[chosen], method="ordinal") - 1) * count // max(len(chosen), 1)
    return part
