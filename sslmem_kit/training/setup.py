"""Setup of a training: initial weights, the order of an epoch, labels, and the streams of randomness that all of it comes from."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sslmem_kit.data.samples import StudySamples
from sslmem_kit.encoders.backbone import Encoder, build_encoder
from sslmem_kit.encoders.weights import load_weights
from sslmem_kit.errors import UserError
from sslmem_kit.names import PARTITION_CODE
from sslmem_kit.spec.design import EncoderPlan
from sslmem_kit.spec.mitigation import MitigationSpec
from sslmem_kit.spec.seeds import derive_seed
from sslmem_kit.spec.study import StudySpec
from sslmem_kit.spec.training import TrainingSpec
from sslmem_kit.training.objectives import Objective, build_objective
from sslmem_kit.training.privacy import PrivateGradients


def new_objective(spec: StudySpec, plan: EncoderPlan, samples: StudySamples, device: str) -> Objective:
    """Build encoder and objective with the initial weights of a plan; torch's own generator is left as it was."""
    mean, std = samples.channel_statistics
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(encoder_seed(spec, plan, "init"))
        encoder = build_encoder(spec.encoder, samples.dataset.image_shape, mean=mean, std=std)
        objective = build_objective(encoder, spec.objective, classes=len(samples.dataset.class_names)).to(device)
    if mitigation := mitigation_of(spec, plan):
        objective.weight_of_chosen = mitigation.weight
    return objective


def trained_encoder(spec: StudySpec, samples: StudySamples, weights: Path, device: str) -> Encoder:
    """Return an encoder of a study with the weights of a file, in evaluation mode."""
    mean, std = samples.channel_statistics
    encoder = build_encoder(spec.encoder, samples.dataset.image_shape, mean=mean, std=std).to(device)
    load_weights(encoder, weights, device=device)
    return encoder.eval()


def mitigation_of(spec: StudySpec, plan: EncoderPlan) -> MitigationSpec | None:
    """Return how samples are treated while an encoder trains; None where none are: of pairs family f is treated alone."""
    return spec.training.mitigation if (plan.design, plan.family) == ("pair", "f") else None


def check_mitigation(spec: StudySpec, samples: StudySamples, *, ranks: int = 1) -> None:
    """Refuse a treatment of samples that cannot be done.

    Raises
    ------
    UserError
        Several devices share a training, or the share of the candidates is none of them.
    """
    mitigation = spec.training.mitigation
    if mitigation is None:
        return
    if ranks > 1:
        raise UserError(f"--devices: {ranks} cannot share a training with training.mitigation, use 1")
    mitigation.count(int((samples.codes == PARTITION_CODE["candidate"]).sum()))


def epoch_order(occupied: Tensor, seed: int) -> Tensor:
    """Return a random order of the occupied slots: the one of all slots, in which the last ones take the places of empty ones.

    So an encoder for which a few samples are missing sees all others, but for these last, where one that has them sees them. If the empty
    places were closed up instead, every batch would differ.

    Parameters
    ----------
    occupied
        True for slots that have a sample, [slot] bool.
    seed
        Seed of the order.
    """
    order = torch.randperm(len(occupied), generator=torch.Generator().manual_seed(seed))
    there = occupied[order]
    count = int(there.sum())
    kept, last = order[:count], order[count:]
    kept[~there[:count]] = last[there[count:]]
    return kept


def make_private(
    training: TrainingSpec, objective: Objective, samples: int, batch: int, steps: int, *, ranks: int = 1
) -> PrivateGradients | None:
    """Return DP-SGD's gradients, to be used in place of the plain ones, where the spec asks for privacy; ``steps`` is per epoch."""
    if training.privacy is None:
        return None
    if ranks > 1:
        raise UserError(f"--devices: {ranks} cannot share a training with training.privacy, use 1")
    total = steps * training.epochs
    return PrivateGradients(objective, training.privacy, samples=samples, batch=batch, steps=total, precision=training.precision)


def labels_of(samples: StudySamples, ids: np.ndarray) -> np.ndarray:
    """Return the class of the sample in each slot, int64; 0 where a slot is empty."""
    labels = np.zeros(len(ids), np.int64)
    labels[ids >= 0] = samples.dataset.labels[samples.dataset.positions(ids[ids >= 0])]
    return labels


def encoder_seed(spec: StudySpec, plan: EncoderPlan, *names: str | int) -> int:
    """Return the seed of one of an encoder's streams; coupled encoders of one seed share all of them."""
    own = () if spec.training.coupled else (plan.family,)
    return derive_seed(plan.seed, "training", *own, *names)
