"""Gradients of the training loss, sample by sample, over the training of f: what its norm, direction and leverage say of memorization.

With g_i the share of sample i in the gradient of its batch (:mod:`sslmem_kit.training.sample_gradients`) at a kept state of the training:

- ``norm``: |g_i|. Its square times the learning rate, summed over states, is TracIn's influence of a sample on itself (Pruthi et al. 2020).
- ``cosine``: of g_i with the mean over the samples that f was trained on, i itself left out (Zielinski et al. 2020: what is learned from
  many samples is in their common gradient, what is memorized is not).
- ``leverage``: phi_i^T (Phi^T Phi + lambda)^-1 phi_i, of the projected gradients of the samples that f was trained on, i left out (TRAK,
  Park et al. 2023, of a sample on itself).

The first pass over the samples sums the gradients of members, by whole batches; the second looks at single ones, those of large layers as
factors (:mod:`sslmem_kit.training.factored_gradients`). Memory depends on neither the number of samples nor, beyond a copy of the weights,
that of parameters; but for the projections, ``projection`` numbers a sample.

Batches are fixed: the scored samples in a random order, the same for all encoders and states, in parts as large as a training batch. So
losses that compare samples compare each with the same others. Views are those of the training policy, by fixed keys. Where no states were
kept the loss is the alignment of eq. 1 under the final encoder.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from functools import reduce

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from sslmem_kit.encoders.device import plain_float32
from sslmem_kit.measures.comparisons.alignment_loss import AlignmentLoss
from sslmem_kit.measures.comparisons.leverage import leverage
from sslmem_kit.measures.comparisons.projection import project, project_layer
from sslmem_kit.measures.comparisons.subject import Checkpoint, Subject
from sslmem_kit.names import SAMPLE
from sslmem_kit.spec.comparisons import GradientsSpec
from sslmem_kit.spec.seeds import derive_seed
from sslmem_kit.training.factored_gradients import FactoredGradients, Factors
from sslmem_kit.training.objectives import Batch, Objective, make_training_views
from sslmem_kit.training.sample_gradients import Gradients, Pulls, mean_share
from sslmem_kit.training.setup import labels_of
from sslmem_kit.views import sample_keys

KEPT_BYTES = 2**27
"""Maximum of bytes of gradients in outputs that are kept from one pass over the samples to the next."""
CHECKPOINT = "checkpoint"
"""Dimension of states; its coordinate is the number of finished epochs."""


@dataclass(frozen=True)
class Statistics:
    """What gradients say of samples, (sample,) float64 each."""

    norm: np.ndarray
    cosine: np.ndarray
    leverage: np.ndarray


def measure(subject: Subject, options: GradientsSpec) -> xr.Dataset:
    """Return ``norm``, ``cosine`` and ``leverage`` (sample, checkpoint), and ``weight(checkpoint)``: the sum of learning rates over epochs that
    a state stands for, 1 where no states were kept. The attribute ``loss`` is ``training`` or ``alignment``."""
    chosen = chosen_states(subject.checkpoints, options.checkpoints)
    members = np.isin(subject.ids, subject.samples.training(subject.plan))
    found = []
    for state, _ in chosen or [(None, 1.0)]:
        objective = state.load() if state else AlignmentLoss(subject.encoder)
        with plain_float32():
            found.append(
                statistics(_Reference(subject, objective, options.views), objective, members, options, seed=_seed(subject))
            )
    epochs = [state.epoch for state, _ in chosen] or [subject.spec.training.epochs]
    by_state = {name: np.stack([getattr(each, name) for each in found], axis=1) for name in ("norm", "cosine", "leverage")}
    return xr.Dataset(
        {
            **{name: ((SAMPLE, CHECKPOINT), values) for name, values in by_state.items()},
            "weight": (CHECKPOINT, np.array([weight for _, weight in chosen] or [1.0])),
        },
        {SAMPLE: subject.ids, CHECKPOINT: epochs},
        {"loss": "training" if chosen else "alignment"},
    )


def chosen_states(checkpoints: tuple[Checkpoint, ...], count: int) -> list[tuple[Checkpoint, float]]:
    """Return states evenly spaced among those that were kept, each with the sum of learning rates over the epochs that it stands for.

    The kept states are cut into ``count`` equal parts, of which each gives its middle one: the learning rate of the very last is next to
    nothing where it follows a cosine.

    Examples
    --------
    >>> states = tuple(Checkpoint(epoch, 0.1, load=lambda: None) for epoch in (10, 20, 30, 40))
    >>> [(state.epoch, round(weight, 3)) for state, weight in chosen_states(states, 2)]
    [(20, 2.0), (40, 2.0)]
    """
    if not checkpoints:
        return []
    parts = np.array_split(np.arange(len(checkpoints)), min(count, len(checkpoints)))
    spans = np.diff([0, *(state.epoch for state in checkpoints)])
    rates = np.array([state.learning_rate for state in checkpoints]) * spans
    return [(checkpoints[part[len(part) // 2]], float(rates[part].sum())) for part in parts]


class _Reference:
    """The fixed batches of an objective, made anew each time that they are gone through."""

    def __init__(self, subject: Subject, objective: Objective, views: int) -> None:
        spec = subject.spec
        policy = spec.scoring.policy if isinstance(objective, AlignmentLoss) else spec.training.policy
        assert policy is not None  # of a resolved spec
        self.subject, self.sets, self.view_specs = subject, views, objective.view_specs(policy)
        count = -(-len(subject.ids) // spec.training.batch_size)
        order = np.random.default_rng(derive_seed(spec.seed, "gradients", "order")).permutation(len(subject.ids))
        self.parts = np.array_split(order, count)

    def __iter__(self) -> Iterator[tuple[np.ndarray, list[Batch]]]:
        """Yield positions of samples, and their batch by each set of views."""
        subject, seed = self.subject, self.subject.spec.view_seed
        images = subject.loader.batches(subject.ids[part] for part in self.parts)
        for part, pixels in zip(self.parts, images, strict=True):
            ids = subject.ids[part]
            keys = torch.from_numpy(ids).to(pixels.device)
            labels = torch.from_numpy(labels_of(subject.samples, ids)).to(pixels.device)
            yield (
                part,
                [
                    Batch(
                        make_training_views(self.view_specs, pixels, keys, first=1 + number * len(self.view_specs), seed=seed),
                        sample_keys(seed, keys, -1 - number),
                        labels,
                    )
                    for number in range(self.sets)
                ],
            )


def _seed(subject: Subject) -> int:
    return derive_seed(subject.spec.seed, "gradients", "projection")


def statistics(
    batches: _Reference | list[tuple[np.ndarray, list[Batch]]],
    objective: Objective,
    members: np.ndarray,
    options: GradientsSpec,
    *,
    seed: int,
) -> Statistics:
    """Return what the gradients of an objective say of samples.

    Parameters
    ----------
    batches
        Positions of samples and their batch by each set of views; gone through twice.
    objective
        In evaluation mode.
    members
        True for samples that the objective was trained on, (sample,).
    options
        ``projection`` and ``damping``.
    seed
        Seed of the projection.
    """
    total, pulls = _sum_of_members(batches, objective, members)
    squared_total = sum(float(value.double().square().sum()) for value in total.values())
    squares, products = np.full((2, len(members)), np.nan)
    projected = np.empty((len(members), options.projection), np.float32)
    factored = None
    for number, (part, sets) in enumerate(batches):
        factored, start = factored or FactoredGradients(objective, sets[0]), 0
        for direct, factors in factored.chunks(sets, pulls[number] if number < len(pulls) else None):
            found = _of_chunk(direct, factors, total, dimensions=options.projection, seed=seed)
            own = part[start : start + len(found[0])]
            squares[own], products[own] = (values.cpu().numpy() for values in found[:2])
            projected[own] = found[2].cpu().numpy()
            start += len(own)
    inside = members.astype(float)
    with np.errstate(invalid="ignore", divide="ignore"):  # a sample without any gradient has no direction
        others = squared_total - 2 * inside * products + inside * squares
        cosine = (products - inside * squares) / np.sqrt(squares * np.maximum(others, 0))
    cosine[~np.isfinite(cosine)] = np.nan
    return Statistics(np.sqrt(squares), cosine, leverage(projected, members, damping=options.damping))


def _sum_of_members(
    batches: _Reference | list[tuple[np.ndarray, list[Batch]]], objective: Objective, members: np.ndarray
) -> tuple[Gradients, list[list[Pulls]]]:
    """Return the sum of the shares of the samples that an objective was trained on, by backward passes of whole batches; and the pulls at the
    outputs of the first batches, as far as :data:`KEPT_BYTES` allow."""
    total: Gradients = {}
    kept: list[list[Pulls]] = []
    room = KEPT_BYTES
    for part, sets in batches:
        chosen = torch.from_numpy(members[part])
        found = []
        for batch in sets:
            scale = int(chosen.sum()) / len(sets)
            gradients, pulls = mean_share(objective, batch, chosen.to(batch.keys.device))
            found.append(pulls)
            for name, value in gradients.items():
                total[name] = total[name] + scale * value if name in total else scale * value
        room -= sum(pull.nbytes for pulls in found for pull in pulls)
        if room >= 0:
            kept.append(found)
    return total, kept


def _of_chunk(
    direct: Gradients, factors: dict[str, Factors], total: Gradients, *, dimensions: int, seed: int
) -> tuple[Tensor, Tensor, Tensor]:
    """Return |g|^2 and <g, total>, [sample] float64, and the projection [sample, dimension] of some samples' gradients."""
    squares, products, projected = [], [], []
    for number, (name, others) in enumerate(total.items()):
        one = factors.get(name)
        if one is not None and one.is_thin:
            one = one.joined()
            squares.append(one.squared_norm())
            products.append(one.inner_product(others.flatten(1)))
            projected.append(project_layer(one, dimensions, seed=seed, number=number))
            continue
        value = direct[name] if one is None else one.product()
        flat = value.flatten(1)
        squares.append(flat.square().sum(dim=1))
        products.append(flat @ others.flatten())
        shorten = project if one is None else project_layer
        projected.append(shorten(value, dimensions, seed=seed, number=number))
    squared, product = (reduce(torch.add, (value.double() for value in values)) for values in (squares, products))
    return squared, product, reduce(torch.add, projected)
