"""Influence of whole groups: what leaving a group out of the training set does to each of its members.

A sample that has twins is hardly missed: an encoder trained without it has seen them. What the group as a whole brings is seen by encoders that
lack all of it, against those that have all of it; encoders on random subsets are both, and no more have to be trained. Where subsets
keep groups whole every encoder is one or the other; where they were cut sample by sample a share of 1 / folds ** size of them lacks a
group, which suffices for small groups.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import xarray as xr

from sslmem_kit.errors import UserError
from sslmem_kit.names import ALIGNMENT, AUGMENTATION, ENCODER, GROUP, SAMPLE, SSLMEM, TRAINED_ON
from sslmem_kit.scores.contrast import _contrast
from sslmem_kit.scores.estimators import DESIGN_OF
from sslmem_kit.scores.protocols import select_protocol, view_weights
from sslmem_kit.scores.selection import designs

_COLUMNS = (
    SSLMEM,
    "standard_error_views",
    "standard_error_encoders",
    "standard_error",
    "low",
    "high",
    "alignment_in",
    "alignment_out",
)
CUT = "cut"
"""Dimension of the random cuts of a design, by their seeds."""


def group_influence(
    results: xr.Dataset, groups: np.ndarray | None = None, *, protocol: str = "corrected", estimator: str = "subsets"
) -> xr.Dataset:
    """Mean alignment of each sample under encoders that lack its whole group, minus under those that have all of it.

    Parameters
    ----------
    results
        Root of a results store.
    groups
        Name of each sample's group, (sample,) integer; None: those that the study keeps whole, its coordinate ``group``.
    protocol
        ``paper``, ``released`` or ``corrected``; influences are raw differences whatever the protocol.
    estimator
        ``subsets`` or ``leave_one_out``: the encoders that it rests on.

    Returns
    -------
    On ``sample``, those that some of these encoders were trained on: ``influence`` with ``standard_error_views``, ``standard_error_encoders``,
    ``standard_error``, ``low`` and ``high`` as of :func:`sslmem_kit.scores.leave_out`, ``alignment_in``, ``alignment_out``, the numbers of
    encoders ``n_in`` and ``n_out``, and ``group`` and ``group_size`` (members that are trained on). NaN where no encoder lacks the group, or
    none has all of it. Of a sample alone it is its score.

    Raises
    ------
    UserError
        The study has no such encoders, or no groups and none are given.

    Examples
    --------
    >>> from sslmem_kit.scores import _example, estimate
    >>> design = _example.design()
    >>> alone = group_influence(design, design["sample"].values)
    >>> bool((alone["influence"].values == estimate(design, "subsets")["sslmem"].values).all())
    True
    >>> twins = group_influence(design, design["sample"].values // 4)
    >>> int(twins["group_size"].max())
    2
    """
    parts = _divided(results, groups, estimator)
    unit, none, whole = parts.unit, parts.none, parts.whole
    alignment = select_protocol(parts.results[ALIGNMENT], protocol)
    decided: np.ndarray = np.all(none | whole, axis=1)
    # The encoders of a group that was cut apart are its own; few groups have enough of them.
    apart = np.flatnonzero(none.any(axis=1) & whole.any(axis=1) & ~decided)
    sets = [(np.flatnonzero(decided[unit]), np.arange(none.shape[1]))]
    sets += [(np.flatnonzero(unit == number), np.flatnonzero(none[number] | whole[number])) for number in apart]
    table = {name: np.full(len(unit), np.nan) for name in _COLUMNS}
    for members, usable in sets:
        if not len(members):
            continue
        out = xr.DataArray(none[unit[members]][:, usable], dims=(SAMPLE, ENCODER))
        one = _contrast(alignment.isel({SAMPLE: members, ENCODER: usable}), out)
        for name, values in table.items():
            values[members] = one[name].values
    coords = {name: coord for name, coord in alignment.coords.items() if set(coord.dims) <= {SAMPLE} and name != GROUP}
    counts = {"n_in": whole[unit].sum(axis=1), "n_out": none[unit].sum(axis=1), GROUP: parts.names, "group_size": parts.size[unit]}
    columns = {("influence" if name == SSLMEM else name): (SAMPLE, values) for name, values in (table | counts).items()}
    attrs = {"estimator": estimator, "protocol": protocol, "encoders": none.shape[1]}
    return xr.Dataset(columns, coords, attrs)


def influence_by_cut(
    results: xr.Dataset, groups: np.ndarray | None = None, *, protocol: str = "corrected", estimator: str = "subsets"
) -> xr.DataArray:
    """Influence of each sample's group in each random cut, (sample, cut): its parts, from encoders of one seed each.

    Cuts are trained apart, so that an interval of a mean over samples from its spread over cuts is one over trainings. NaN where no
    encoder of a cut lacks the group, or none has all of it. Parameters are those of :func:`group_influence`.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> design = _example.design()
    >>> dict(influence_by_cut(design, design["sample"].values).sizes)
    {'sample': 20, 'cut': 2}
    """
    parts = _divided(results, groups, estimator)
    unit, chosen = parts.unit, parts.results
    alignment = select_protocol(chosen[ALIGNMENT], protocol).transpose(SAMPLE, AUGMENTATION, ENCODER)
    weights = view_weights(alignment["view_a"].values, alignment["view_b"].values)[0]
    means = np.einsum("sae,a->se", alignment.values.astype(np.float64), weights)
    seeds = np.unique(chosen["seed"].values)
    cuts = np.full((len(unit), len(seeds)), np.nan)
    for place, seed in enumerate(seeds):
        own = chosen["seed"].values == seed
        sides = []
        for side in (parts.none, parts.whole):
            here = side[:, own][unit]
            with np.errstate(invalid="ignore"):
                sides.append((means[:, own] * here).sum(axis=1) / np.where(here.any(axis=1), here.sum(axis=1), np.nan))
        cuts[:, place] = sides[0] - sides[1]
    return xr.DataArray(cuts, {SAMPLE: chosen[SAMPLE].values, CUT: seeds}, (SAMPLE, CUT), attrs={"protocol": protocol})


class _Divided(NamedTuple):
    """Encoders of a design and the samples that some of them were trained on, by groups."""

    results: xr.Dataset
    names: np.ndarray
    """Name of the group of each sample."""
    unit: np.ndarray
    """Number of the group of each sample, from 0."""
    size: np.ndarray
    """Members of each group."""
    none: np.ndarray
    """Whether an encoder lacks all of a group, (group, encoder)."""
    whole: np.ndarray
    """Whether it has all of it."""


def _divided(results: xr.Dataset, groups: np.ndarray | None, estimator: str) -> _Divided:
    own = designs(results).astype(object) == DESIGN_OF.get(estimator)
    if estimator not in ("subsets", "leave_one_out") or not own.any():
        raise UserError(
            f"estimator: {estimator!r} has no encoders in this study; groups need those of design.subsets or design.leave_one_out"
        )
    if groups is None and GROUP not in results.coords:
        raise UserError("groups: this study keeps none (data.groups), give the group of each sample")
    names = results[GROUP].values if groups is None else np.asarray(groups)
    if names.shape != (results.sizes[SAMPLE],):
        raise UserError(f"groups has the shape {names.shape}, one for each of {results.sizes[SAMPLE]} samples is needed")
    chosen = results.isel({ENCODER: np.flatnonzero(own)})
    trained = chosen[TRAINED_ON].transpose(SAMPLE, ENCODER).values
    used = np.flatnonzero(trained.any(axis=1) & ~trained.all(axis=1))
    _, unit, size = np.unique(names[used], return_inverse=True, return_counts=True)
    seen = np.zeros((len(size), trained.shape[1]), np.int64)
    np.add.at(seen, unit, trained[used])
    return _Divided(chosen.isel({SAMPLE: used}), names[used], unit, size, seen == 0, seen == size[:, None])
