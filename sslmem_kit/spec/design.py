"""The section ``design``: further encoders on random subsets, or without one sample each; and the plans of all encoders."""

from __future__ import annotations

from collections.abc import Hashable, Iterator, Sequence
from typing import Annotated, Literal

from pydantic import Field

from sslmem_kit.names import FAMILIES
from sslmem_kit.spec.section import Count, Section

Design = Literal["pair", "subset", "leave_one_out"]
"""Purpose that an encoder is trained for; a coordinate of the store."""


class SubsetsSpec(Section):
    """Random-subset ensembles: ``folds`` x ``repeats`` encoders, each trained on all folds but one of a random cut."""

    folds: Annotated[int, Field(ge=2)] = 2
    """Parts of a random cut: an encoder is trained on 1 - 1/folds of the train split."""
    repeats: Count
    """Number of random cuts; the encoders of one cut share a seed."""


class LeaveOneOutSpec(Section):
    """Exact leave-one-out: for each seed an encoder on family f's samples, and one without each of ``samples`` candidates."""

    samples: Count
    """Number of candidates that are left out in turn."""
    seeds: Count
    """Number of seeds, each with one encoder on all samples and one without each of ``samples`` candidates."""


class DesignSpec(Section):
    """Encoders beside the pairs; their seeds follow those of the pairs, so that no two designs share one."""

    subsets: SubsetsSpec | None = None
    """Encoders on random subsets; null: none."""
    leave_one_out: LeaveOneOutSpec | None = None
    """Encoders without one sample each; null: none."""
    together: Count = 32
    """Largest number of encoders of these designs that a process trains at once; 1: one by one. For small encoders, whose steps are
    too short to keep a processor busy; numbers differ from one-by-one training by rounding alone."""


class EncoderPlan(Section):
    """One encoder of a study: its readable id, its family and its seed."""

    id: str
    """Readable id, and name of the encoder's folder."""
    family: str
    """f, g, or for other designs the number of the subset that it is trained on."""
    seed: int
    """Seed of its training."""
    design: Design = "pair"
    """Design that it belongs to."""
    left_out: int | None = None
    """Other designs: the number of the fold, or of the candidate in the order of :func:`sslmem_kit.data.folds.left_out_candidates`,
    that it is trained without; None: nothing is left out."""


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


def grouped(plans: Sequence[EncoderPlan], kinds: Sequence[Hashable], together: int) -> list[tuple[EncoderPlan, ...]]:
    """Group encoders as they are trained: pairs one by one, of others at most ``together`` neighbours of one kind."""
    groups: list[tuple[EncoderPlan, ...]] = []
    last = None
    for plan, kind in zip(plans, kinds, strict=True):
        if plan.design != "pair" and kind == last and len(groups[-1]) < together:
            groups[-1] = (*groups[-1], plan)
        else:
            groups.append((plan,))
        last = kind
    return groups
