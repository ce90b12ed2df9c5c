"""The study spec: everything that determines a study's numbers, as a YAML mapping whose unknown keys are refused.

A spec that a person writes may leave out whatever has a default; :func:`load_spec` resolves it, and ``study.yaml`` in the study
directory holds the resolved form, in which nothing is left to a default.
"""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any

from pydantic import Field, model_validator

from sslmem_kit.spec.comparisons import Comparison
from sslmem_kit.spec.data import DataSpec
from sslmem_kit.spec.design import DesignSpec, EncoderPlan, plans
from sslmem_kit.spec.downstream import DownstreamSpec
from sslmem_kit.spec.encoder import BackboneSpec
from sslmem_kit.spec.moved import HashedSpec, counted
from sslmem_kit.spec.objective import ObjectiveSpec, SimCLRSpec
from sslmem_kit.spec.partition import PartitionSpec
from sslmem_kit.spec.places import bundled_specs as bundled_specs
from sslmem_kit.spec.policy import Policy
from sslmem_kit.spec.scoring import ScoringSpec
from sslmem_kit.spec.section import FolderName
from sslmem_kit.spec.seeds import derive_seed
from sslmem_kit.spec.training import TrainingSpec

PRIVATE_METHODS = ("mae", "supervised")
"""Methods whose loss of a batch is the mean of the losses of its samples alone, so that ``training.privacy`` can hold."""


class StudySpec(HashedSpec):
    """One study: its data, partition, encoders and scoring."""

    name: FolderName
    """Name of the study, and of its folder: letters, digits, '.', '_' and '-'."""
    description: str = ""
    """Purpose of the study, in words; empty by default."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of the partition and the scored views; the pairs of encoders have the seeds seed, seed + 1, ..."""
    data: DataSpec
    """Images that are trained on and scored."""
    partition: PartitionSpec = PartitionSpec()
    """Sizes of the four partitions: a mapping, or ``paper``, ``overlap70``, ``overlap85`` or ``halves``."""
    encoder: BackboneSpec = BackboneSpec()
    """Backbone that is trained."""
    objective: ObjectiveSpec = SimCLRSpec()
    """Objective that the encoders are trained for; ``method`` says which."""
    training: TrainingSpec = TrainingSpec()
    """Training of each encoder."""
    scoring: ScoringSpec = ScoringSpec()
    """Measurement of alignment."""
    downstream: DownstreamSpec = DownstreamSpec()
    """Probes of the representations."""
    design: DesignSpec = DesignSpec()
    """Encoders beside the pairs of f and g; none by default."""
    comparisons: tuple[Comparison, ...] = ()
    """Other scores that are measured beside SSLMem: names, or mappings of ``name`` and options. They change no training: a finished study
    takes more."""

    @model_validator(mode="after")
    def _comparisons_are_different(self) -> StudySpec:
        names = [comparison.name for comparison in self.comparisons]
        twice = next((name for position, name in enumerate(names) if name in names[:position]), None)
        if twice:
            raise ValueError(f"comparisons: {twice!r} is listed twice, list it once with all options")
        return self

    @model_validator(mode="after")
    def _vicreg_warms_up(self) -> StudySpec:
        if self.objective.method == "vicreg" and not self.training.warmup_epochs:
            raise ValueError("training.warmup_epochs is 0, objective.method 'vicreg' diverges without warm-up: give at least 1")
        return self

    @model_validator(mode="after")
    def _regularizer_starts(self) -> StudySpec:
        regularizer, epochs = self.objective.regularizer, self.training.epochs
        if regularizer and regularizer.start_epoch >= epochs:
            raise ValueError(
                f"objective.regularizer.start_epoch is {regularizer.start_epoch}, it must be below training.epochs, which is {epochs}"
            )
        return self

    @model_validator(mode="after")
    def _tasks_are_others(self) -> StudySpec:
        if self.data.name in [task.name for task in self.downstream.tasks]:
            raise ValueError(f"downstream.tasks: {self.data.name!r} is the study's own data, which is probed anyway; name others")
        return self

    @model_validator(mode="after")
    def _private_loss_is_of_samples(self) -> StudySpec:
        if self.training.privacy and self.objective.method not in PRIVATE_METHODS:
            raise ValueError(
                f"training.privacy needs a loss that each sample has alone, objective.method {self.objective.method!r} compares samples "
                f"or encoders; allowed are {', '.join(PRIVATE_METHODS)}"
            )
        return self

    @model_validator(mode="after")
    def _mitigation_is_of_pairs(self) -> StudySpec:
        mitigation = self.training.mitigation
        if mitigation and mitigation.action == "regularize" and self.objective.regularizer:
            raise ValueError("training.mitigation regularizes the samples it chooses, objective.regularizer all of them: give one")
        if mitigation and (self.design.subsets or self.design.leave_one_out):
            raise ValueError(
                "training.mitigation treats encoders of pairs, design asks for others, which would be untreated: leave one out"
            )
        return self

    def resolved(self, base: Path) -> StudySpec:
        """Return the spec with what depends on other fields filled in, and relative paths made absolute against ``base``."""
        scoring = self.scoring.model_copy(update={"policy": self.scoring.policy or self.training.policy})
        sections = {name: getattr(self, name).resolved(base) for name in ("data", "partition", "downstream")}
        comparisons = tuple(comparison.resolved(base) for comparison in self.comparisons)
        return self.model_copy(update={**sections, "scoring": scoring, "comparisons": comparisons})

    @property
    def _counting(self) -> dict[str, Any]:
        content = counted(self.as_dict())
        for (section, field), default in _YOUNGER.items():
            # Studies that were started before a field existed can be resumed: at its default it does not count.
            if content[section].get(field) == default:
                content[section].pop(field, None)
        return {name: section for name, section in content.items() if section != {}}

    def kept_epochs(self, plan: EncoderPlan) -> tuple[int, ...]:
        """Epochs after which an encoder's whole objective is kept, for comparisons that read it: of pairs those that are recorded, of
        other encoders the last."""
        if not any(comparison.KEEPS_STATES for comparison in self.comparisons):
            return ()
        return self.training.recorded_epochs if plan.design == "pair" else (self.training.epochs,)

    @property
    def second_policy(self) -> Policy | None:
        """Policy of the second scoring; None where there is none, or where it is that of the first."""
        scoring = self.scoring
        own = scoring.policy or self.training.policy
        return None if scoring.common_policy is None or scoring.common_policy.steps == own.steps else scoring.common_policy

    @property
    def view_seed(self) -> int:
        """Seed of the scored views; the same for every encoder."""
        return derive_seed(self.seed, "scored views")

    @property
    def encoders(self) -> tuple[EncoderPlan, ...]:
        """Encoders that are trained: for each seed an f and a g, then what the design asks for beside them."""
        return tuple(plans(self.design, seed=self.seed, pairs=self.training.seeds))

    @property
    def pairs(self) -> tuple[EncoderPlan, ...]:
        """The encoders of the families f and g."""
        return tuple(plan for plan in self.encoders if plan.design == "pair")


_YOUNGER: dict[tuple[str, str], Any] = {
    ("data", "groups"): None,
    ("partition", "remove"): None,
    ("objective", "regularizer"): None,
    ("scoring", "layers"): [],
    ("scoring", "common_policy"): None,
    **{
        ("training", field): value
        for field, value in TrainingSpec().model_dump(mode="json").items()
        if field in ("betas", "clip_norm", "clip_by", "compile", "channels_last", "privacy", "mitigation")
    },
    **{("downstream", field): value for field, value in DownstreamSpec().model_dump(mode="json").items()},
    **{("design", field): value for field, value in DesignSpec().model_dump(mode="json").items()},
}
"""Fields that are younger than studies of version 0.1, with their defaults."""
