"""What a comparison measures: an encoder of a study, its samples, and the states that its training kept."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass

import numpy as np

from sslmem_kit.data.loader import ImageLoader
from sslmem_kit.data.samples import StudySamples
from sslmem_kit.encoders.backbone import Encoder
from sslmem_kit.spec.design import EncoderPlan
from sslmem_kit.spec.study import StudySpec
from sslmem_kit.training.objectives import Objective


@dataclass(frozen=True)
class Checkpoint:
    """A state of a training that was kept."""

    epoch: int
    """Number of finished epochs."""
    learning_rate: float
    """Learning rate of the last step before it."""
    load: Callable[[], Objective]
    """Return the objective in this state, encoder included, in evaluation mode."""


@dataclass(frozen=True)
class Subject:
    """One encoder of a study, and what there is to measure it on."""

    spec: StudySpec
    plan: EncoderPlan
    samples: StudySamples
    encoder: Encoder
    """In evaluation mode, with its final weights."""
    loader: ImageLoader
    ids: np.ndarray
    """Ids of the scored samples, ascending: the samples of what is measured."""
    checkpoints: tuple[Checkpoint, ...] = ()
    """States that were kept, in order; the last is the end of training; empty where none were."""
