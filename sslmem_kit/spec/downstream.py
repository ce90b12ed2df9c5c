"""The `downstream` section of a study spec: probes of the encoders' representations."""

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
    """Logistic regression on standardized representations, with an l2 penalty."""
    C: Positive = 0.1
    """Inverse strength of the l2 penalty, scikit-learn's ``C``: minimized is C times the sum of the losses of the train split's samples plus
    half the squared norm of the weights. Smaller: simpler classifiers."""


class SGDProbeSpec(Section):
    """A linear classifier trained by mini-batches on the device, as in the paper's Table 6: for large data."""

    method: Literal["sgd"] = "sgd"
    """Linear classifier trained by mini-batches."""
    optimizer: Literal["lars", "sgd"] = "lars"
    """Optimizer of the classifier: LARS or SGD, both with momentum 0.9 along a half cosine."""
    learning_rate: Positive = 1.6
    """Learning rate after the warm-up."""
    epochs: Count = 90
    """Passes over the train split."""
    warmup_epochs: Annotated[int, Field(ge=0)] = 10
    """Epochs over which the learning rate rises linearly from zero; below ``epochs``."""
    batch_size: Annotated[int, Field(ge=1)] = 4096
    """Samples in a mini-batch, at most: an epoch has at least ten steps, as the paper's 40,000 samples give, so that small data are
    learned too."""

    @model_validator(mode="after")
    def _warmup_ends(self) -> SGDProbeSpec:
        if self.warmup_epochs >= self.epochs and self.warmup_epochs > 0:
            raise ValueError(f"warmup_epochs is {self.warmup_epochs}, it must be below epochs, which is {self.epochs}")
        return self


class DownstreamSpec(Section):
    """Probes of the frozen, pooled representations, on the study's own data and on others."""

    linear: Annotated[LogisticProbeSpec | SGDProbeSpec, Field(discriminator="method")] = LogisticProbeSpec()
    """Linear probe: ``{method: logistic}`` (the default) or ``{method: sgd, ...}``."""
    neighbours: Count = 20
    """Number of neighbours of the kNN classifier."""
    tasks: tuple[DataSpec, ...] = ()
    """Further data sets, reported by their names; their images are brought to the size and channels of the study's."""

    @field_validator("tasks")
    @classmethod
    def _tasks_have_different_names(cls, tasks: tuple[DataSpec, ...]) -> tuple[DataSpec, ...]:
        check_tasks(tasks)
        return tasks

    def resolved(self, base: Path) -> DownstreamSpec:
        """Return the same spec with relative paths of its tasks made absolute, seen from the folder ``base``."""
        tasks = tuple(task.resolved(base) for task in self.tasks)
        check_tasks(tasks)  # two spellings of one path
        return self.model_copy(update={"tasks": tasks})


def check_tasks(tasks: Sequence[DataSpec], *, field: str = "downstream.tasks") -> None:
    """Refuse tasks that are listed twice or have a size of their own; ``field`` is what lists them."""
    names = [task.name for task in tasks]
    for position, task in enumerate(tasks):
        if task.name in names[:position]:
            raise UserError(f"{field}: {task.name!r} is listed twice, every task needs a data set of its own")
        if task.plant is not None:
            raise UserError(f"{field}.{position}.plant: samples are planted in the study's own data alone; leave it out")
        if task.image_size is not None:
            raise UserError(
                f"{field}.{position}.image_size is {task.image_size}, it must be left out: images take the size of the study's"
            )
