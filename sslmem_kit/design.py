"""Which encoders a study trains beside its pairs of f and g: on random subsets, and on all samples but one.

Random subsets (Feldman and Zhang 2020, carried to SSLMem): the train side of the partition is cut at random into folds, and for each fold an
encoder is trained on all others; again and again with other cuts. So every training sample is in and out of many encoders, equally often, and
:func:`sslmem_kit.scores.leave_out` scores them all. Leave-one-out: of one seed, one encoder on family f's samples, and for each of some
candidates one on the same samples without it: the definition itself (eq. 2), as the ground truth of a small study.
"""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Annotated, Literal

import numpy as np
from pydantic import Field

from sslmem_kit.errors import UserError
from sslmem_kit.names import FAMILIES
from sslmem_kit.partition import in_random_order
from sslmem_kit.section import Count, Section

Design = Literal["pair", "subset", "leave_one_out"]
"""What an encoder is trained for; a coordinate of the store."""


class SubsetsSpec(Section):
    """Random-subset ensembles: ``folds`` x ``repeats`` encoders, each trained on all folds but one of a random cut."""

    folds: Annotated[int, Field(ge=2)] = 2
    """Parts of a cut: an encoder is trained on 1 - 1/folds of the train side."""
    repeats: Count
    """Random cuts; the encoders of one cut share a seed."""


class LeaveOneOutSpec(Section):
    """Exact leave-one-out: for each seed an encoder on family f's samples, and one without each of ``samples`` candidates."""

    samples: Count
    """Candidates that are left out in turn."""
    seeds: Count


class DesignSpec(Section):
    """Encoders beside the pairs; their seeds follow those of the pairs, so that no two designs share one."""

    subsets: SubsetsSpec | None = None
    leave_one_out: LeaveOneOutSpec | None = None
    together: Count = 32
    """Encoders of these designs that a process trains at once; 1: one by one. For small encoders, whose steps are too short to keep a
    processor busy; numbers differ from one-by-one training by rounding alone."""


class EncoderPlan(Section):
    """One encoder of a study: its readable id, its family and its seed."""

    id: str
    family: str
    """f, g, or for other designs the number of the subset that it is trained on."""
    seed: int
    design: Design = "pair"
    left_out: int | None = None
    """Other designs: the number of the fold, or of the candidate in the order of :func:`left_out_candidates`, that it is trained without;
    None: nothing is left out."""


def plans(design: DesignSpec, *, seed: int, pairs: int) -> Iterator[EncoderPlan]:
    """Every encoder of a study: ``pairs`` of f and g with the seeds ``seed`` and on, then the subsets, then leave-one-out."""
    for number in range(seed, seed + pairs):
        for family in FAMILIES:
            yield EncoderPlan(id=f"{family}-{number}", family=family, seed=number)
    first, subset = seed + pairs, 0
    if design.subsets:
        for number in range(first, first + design.subsets.repeats):
            for fold in range(design.subsets.folds):
                yield EncoderPlan(id=f"subset{subset}-{number}", family=str(subset), seed=number, design="subset", left_out=fold)
                subset += 1
        first += design.subsets.repeats
    if design.leave_one_out:
        for number in range(first, first + design.leave_one_out.seeds):
            yield EncoderPlan(id=f"all-{number}", family=str(subset), seed=number, design="leave_one_out")
            for place in range(design.leave_one_out.samples):
                yield EncoderPlan(
                    id=f"without{place}-{number}",
                    family=str(subset + 1 + place),
                    seed=number,
                    design="leave_one_out",
                    left_out=place,
                )


def folds(labels: np.ndarray, count: int, *, stratified: bool, seed: int) -> np.ndarray:
    """A random cut of samples into ``count`` folds, whose sizes differ by at most one: the fold of each, (sample,) integer.

    Parameters
    ----------
    labels
        Class of each sample, (sample,) integer.
    count
        Folds.
    stratified
        Whether every fold holds the classes in proportion.
    seed
        Of the cut.
    """
    order = in_random_order(labels, np.random.Generator(np.random.Philox(seed)), stratified=stratified)
    fold = np.empty(len(labels), np.int64)
    # Stretches of the order, not every count-th of it: classes take turns there, and a fold would get some of them whole.
    fold[order] = np.arange(len(labels)) * count // len(labels)
    return fold


def left_out_candidates(labels: np.ndarray, count: int, *, stratified: bool, seed: int) -> np.ndarray:
    """Which of the candidates are left out in turn: their positions among the candidates, (place,).

    Raises
    ------
    UserError
        There are fewer.
    """
    if count > len(labels):
        raise UserError(f"design.leave_one_out.samples: {count} candidates are asked for, the partition has {len(labels)}")
    return in_random_order(labels, np.random.Generator(np.random.Philox(seed)), stratified=stratified)[:count]


def grouped(plans: Sequence[EncoderPlan], kinds: Sequence[Hashable], together: int) -> list[tuple[EncoderPlan, ...]]:
    """Encoders as they are trained: pairs one by one, of others at most ``together`` that follow one another and are of one kind."""
    groups: list[tuple[EncoderPlan, ...]] = []
    last = None
    for plan, kind in zip(plans, kinds, strict=True):
        if plan.design != "pair" and kind == last and len(groups[-1]) < together:
            groups[-1] = (*groups[-1], plan)
        else:
            groups.append((plan,))
        last = kind
    return groups
