"""Base of all objectives: their inputs, their outputs, and the paper's alignment regularizer (eq. 3).

An objective is an nn.Module around an encoder. It maps a batch of views to a loss; where it keeps more than weights (a teacher, a
centre) it keeps them as parameters and buffers, so that a checkpoint holds them. All losses are means over the batch, and where they
compare samples with each other, over the batches of all devices.

A loss has two halves: ``outputs`` maps each sample to tensors of its own, through the networks, and ``compare`` maps those of a batch to the
loss, without any network. So the gradient of a batch falls into the shares of its samples: :mod:`sslmem_kit.training.sample_gradients`.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from typing import NamedTuple

import torch
from torch import Tensor, nn

from sslmem_kit.encoders.backbone import Encoder
from sslmem_kit.spec.objective import RegularizerSpec
from sslmem_kit.spec.policy import Policy
from sslmem_kit.views import several_views


class Batch(NamedTuple):
    """A micro-batch.

    Parameters
    ----------
    views
        One tensor a view, [batch, channel, y, x] in [0, 1], in the order of :meth:`Objective.view_specs`.
    keys
        Keys of an objective's own randomness, [batch] int64: they follow the slot, so that coupled encoders share it.
    labels
        Classes, [batch] int64.
    """

    views: tuple[Tensor, ...]
    keys: Tensor
    labels: Tensor


class ViewSpec(NamedTuple):
    """One view of a batch: made by ``policy``, then shrunk by the integer factor ``shrink``."""

    policy: Policy
    shrink: int = 1


class Outputs(NamedTuple):
    """What the networks make of a batch, sample by sample."""

    compared: tuple[Tensor, ...]
    """What the loss is made of, [batch, ...] each; without a gradient where a method has none (a teacher, pixels to reconstruct)."""
    encoded: tuple[Tensor, Tensor] | None = None
    """The encoder's output for two unshrunk views, where the method computes it anyway."""


class Losses(NamedTuple):
    """Loss of a method, and the encoder's output for two unshrunk views where the method computed it anyway."""

    loss: Tensor
    outputs: tuple[Tensor, Tensor] | None = None


class StepInfo(NamedTuple):
    """Position of an objective in its training."""

    step: int
    """Number of optimizer steps done."""
    steps_an_epoch: int
    epochs: int

    @property
    def epoch(self) -> int:
        """Return the number of finished epochs."""
        return self.step // self.steps_an_epoch

    @property
    def total(self) -> int:
        """Return the number of optimizer steps of the whole training."""
        return self.steps_an_epoch * self.epochs


class Objective(nn.Module):
    """Base of the methods.

    Parameters
    ----------
    encoder
        Encoder that is trained.
    regularizer
        Weight of eq. 3 and the epoch from which it acts, or None.
    """

    views = 2
    """Number of views by the training policy that the method takes."""

    def __init__(self, encoder: Encoder, regularizer: RegularizerSpec | None) -> None:
        super().__init__()
        self.encoder = encoder
        self.regularizer = regularizer
        self.regularized = False
        self.weight_of_chosen: float | None = None
        """lambda of eq. 3 for the samples that :meth:`forward` is told to regularize; None: none ever are."""

    def view_specs(self, policy: Policy) -> tuple[ViewSpec, ...]:
        """Return the specs of the views in a batch, under a training policy."""
        compares = self.regularizer or self.weight_of_chosen
        return (ViewSpec(policy),) * (max(self.views, 2) if compares else self.views)

    def outputs(self, batch: Batch) -> Outputs:
        """Return what the networks make of each sample of a batch; in evaluation mode independent of the others."""
        raise NotImplementedError

    def compare(self, compared: tuple[Tensor, ...], labels: Tensor) -> Tensor:
        """Return the method's own loss of ``Outputs.compared`` of a batch, and of its classes, [batch]."""
        raise NotImplementedError

    def losses(self, batch: Batch) -> Losses:
        """Return the method's own loss."""
        outputs = self.outputs(batch)
        return Losses(self.compare(outputs.compared, batch.labels), outputs.encoded)

    def compared(self, pooled: Tensor) -> Tensor | None:
        """Map pooled representations to what the loss compares, [batch, feature] to [batch, feature]; None where it compares none."""
        return None

    def before_step(self, step_info: StepInfo) -> None:
        """Set what follows a schedule; called before an optimizer step."""
        self.regularized = self.regularizer is not None and step_info.epoch >= self.regularizer.start_epoch

    def before_update(self, step_info: StepInfo) -> None:
        """Do nothing unless overridden; called between the gradients and the optimizer's update."""

    def after_update(self, step_info: StepInfo) -> None:
        """Do nothing unless overridden; called after the optimizer's update."""

    def forward(self, batch: Batch, chosen: Tensor | None = None) -> Tensor:
        """Return the loss that is minimized: the method's own, or with the regularizer (1 - weight) L - weight d.

        With ``chosen``, [batch] bool, the regularizer acts on these samples alone: (1 - weight share) L - weight share d, d the mean distance
        of the chosen and ``share`` theirs of the batch. It is eq. 3 where all are chosen, and the method's own loss where none is.
        """
        loss, outputs = self.losses(batch)
        if chosen is None and not self.regularized:
            return loss
        if chosen is not None and not chosen.any():
            return loss
        first, second = outputs or self.encode_two(batch)
        if chosen is None:
            return self.regularize(loss, first, second)
        weight = (self.weight_of_chosen or 0.0) * chosen.float().mean()
        return (1 - weight) * loss - weight * mean_distance(first[chosen], second[chosen])

    def encode_two(self, batch: Batch) -> tuple[Tensor, Tensor]:
        """Return the encoder's output for the first two views."""
        return self.encoder(batch.views[0]), self.encoder(batch.views[1])

    def regularize(self, loss: Tensor, first: Tensor, second: Tensor) -> Tensor:
        """Return eq. 3 of a loss and the encoder's outputs for two views: (1 - weight) L - weight d."""
        weight = self.regularizer.weight if self.regularizer else 0.0
        return (1 - weight) * loss - weight * mean_distance(first, second)


def full_precision(like: Tensor) -> torch.autocast:
    """Return a context without half precision on the device of ``like``, for code that normalizes, squares or sums up."""
    return torch.autocast(like.device.type, enabled=False)


def make_training_views(
    view_specs: Sequence[ViewSpec], images: Tensor, slots: Tensor, *, first: int, seed: int
) -> tuple[Tensor, ...]:
    """Make the views of a batch.

    Parameters
    ----------
    view_specs
        Specs of the views, in order.
    images
        [batch, channel, y, x] in [0, 1].
    slots
        Keys of the randomness of each image, [batch] int64.
    first
        Index of the first view; the others follow.
    seed
        Seed of the views.
    """
    views: list[Tensor] = []
    for spec, alike in itertools.groupby(view_specs):
        numbers = range(first + len(views), first + len(views) + len(list(alike)))
        made = several_views(images, slots, views=numbers, seed=seed, policy=spec.policy)
        views.extend(nn.functional.avg_pool2d(view, spec.shrink) if spec.shrink > 1 else view for view in made)
    return tuple(views)


def mean_distance(first: Tensor, second: Tensor) -> Tensor:
    """Return the mean l2 distance between l2-normalized representations over the batch, the d of eq. 1: [batch, ...] twice -> []."""
    units = [nn.functional.normalize(output.float().flatten(1), dim=1) for output in (first, second)]
    return torch.linalg.vector_norm(units[0] - units[1], dim=1).mean()
