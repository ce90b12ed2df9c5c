"""The `downstream` section of a study spec: what the encoders' representations are good for."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path
from typing import Annotated, Literal

from pydantic import Field, field_validator, model_validator

from sslmem_kit.errors import UserError
from sslmem_kit.spec.data import DataSpec
from sslmem_kit.spec.section import Count, Positive, Section


class LogisticProbeSpec(Section):
    """Multinomial logistic regression, solved to its optimum: no schedule to choose."""

    method: Literal["logistic"] = "logistic"


class SGDProbeSpec(Section):
    """A linear classifier trained by mini-batches on the device, as in the paper's Table 6: for large data."""

    method: Literal["sgd"] = "sgd"
    optimizer: Literal["lars", "sgd"] = "lars"
    learning_rate: Positive = 1.6
    epochs: Count = 90
    warmup_epochs: Annotated[int, Field(ge=0)] = 10
    batch_size: Annotated[int, Field(ge=1)] = 4096
    """At the most: an epoch has at least ten steps, as the paper's 40,000 samples give, so that small data are learned too."""

    @model_validator(mode="after")
    def _warmup_ends(self) -> SGDProbeSpec:
        if self.warmup_epochs >= self.epochs and self.warmup_epochs > 0:
            raise ValueError(f"warmup_epochs is {self.warmup_epochs}, it must be below epochs, which is {self.epochs}")
        return self


class DownstreamSpec(Section):
    """Probes of the frozen, pooled representations, on the study's own data and on others."""

    linear: Annotated[LogisticProbeSpec | SGDProbeSpec, Field(discriminator="method")] = LogisticProbeSpec()
    neighbours: Count = 20
    """Of the kNN classifier."""
    tasks: tuple[DataSpec, ...] = ()
    """Further data sets, which go under their names; their images are brought to the size and channels of the study's."""

    @field_validator("tasks")
    @classmethod
    def _tasks_are_told_apart(cls, tasks: tuple[DataSpec, ...]) -> tuple[DataSpec, ...]:
        _check_tasks(tasks)
        return tasks

    def resolved(self, base: Path) -> DownstreamSpec:
        """The same spec with relative paths of its tasks made absolute, seen from the folder ``base``."""
        tasks = tuple(task.resolved(base) for task in self.tasks)
        _check_tasks(tasks)  # two spellings of one path
        return self.model_copy(update={"tasks": tasks})


def _check_tasks(tasks: Sequence[DataSpec]) -> None:
    names = [task.name for task in tasks]
    for position, task in enumerate(tasks):
        if task.name in names[:position]:
            raise UserError(f"downstream.tasks: {task.name!r} is listed twice, every task needs a data set of its own")
        if task.image_size is not None:
            raise UserError(
                f"downstream.tasks.{position}.image_size is {task.image_size}, it must be left out: images take the size of the study's"
            )
