"""Treatment of chosen samples while an encoder trains: they are dropped, seen in other views, or regularized.

Which samples, is chosen between epochs by a function that is given (:mod:`sslmem_kit.measures.mitigation`); what is done to them follows
from their slots alone, so that a training which resumes does the same.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor

from sslmem_kit.encoders.backbone import Encoder
from sslmem_kit.spec.mitigation import MitigationSpec
from sslmem_kit.spec.policy import Policy
from sslmem_kit.training.objectives import ViewSpec, make_training_views


class Chooser(NamedTuple):
    """What happens between some epochs of a training.

    Parameters
    ----------
    epochs
        Numbers of finished epochs after which ``choose`` is called.
    choose
        ``choose(encoder, epoch)``, with the encoder in evaluation mode, returns the ids of the samples that are treated from now on,
        ascending; None where it records something and nothing is treated. It raises FloatingPointError where representations are not finite.
    """

    epochs: tuple[int, ...]
    choose: Callable[[Encoder, int], np.ndarray | None]


class Treatment:
    """The samples that are treated at present, and what is done to them.

    Parameters
    ----------
    spec
        Kind of treatment.
    ids
        Id of the sample in each slot, (slot,).
    policy, view_specs
        Training policy, and the views of a batch that are made by it and by others.
    """

    def __init__(self, spec: MitigationSpec, ids: np.ndarray, policy: Policy, view_specs: Sequence[ViewSpec]) -> None:
        self.spec, self.ids = spec, ids
        self.treated = torch.zeros(len(ids), dtype=torch.bool)
        stronger = spec.policy or policy
        self.view_specs = [view._replace(policy=stronger) if view.policy == policy else view for view in view_specs]

    def treat(self, chosen: np.ndarray) -> None:
        """Treat samples, by their ids, and no others."""
        self.treated = torch.from_numpy(np.isin(self.ids, chosen))

    def occupied(self, occupied: Tensor) -> Tensor:
        """Return the slots that are trained on, [slot] bool, of those that have a sample."""
        return occupied & ~self.treated if self.spec.action == "drop" else occupied

    def make_views(self, views: tuple[Tensor, ...], images: Tensor, slots: Tensor, *, first: int, seed: int) -> tuple[Tensor, ...]:
        """Return the views of a batch, of which :func:`make_training_views` made ``views``, with those of treated samples by their policy."""
        rows = self.treated[slots.cpu()].nonzero().flatten().to(images.device)
        if self.spec.action != "stronger_views" or not len(rows):
            return views
        own = make_training_views(self.view_specs, images[rows], slots[rows], first=first, seed=seed)
        return tuple(view.index_copy(0, rows, other) for view, other in zip(views, own, strict=True))

    def regularized(self, slots: Tensor) -> Tensor | None:
        """Return which samples of a batch are regularized, [batch] bool; None where this treatment regularizes none."""
        return self.treated[slots.cpu()].to(slots.device) if self.spec.action == "regularize" else None


def filled(order: Tensor, count: int, *, batch: int) -> Tensor:
    """Return the slots of an epoch, and its first ones again where they are too few, so that steps stay as many.

    No slot is twice in one batch, for at most half are missing. An epoch of one batch is left short.

    Parameters
    ----------
    order
        [slot] int64, without those that are dropped.
    count
        Slots in all batches of an epoch.
    batch
        Slots in a micro-batch.

    Examples
    --------
    >>> filled(torch.tensor([3, 1, 2, 0, 5]), 6, batch=2).tolist()
    [3, 1, 2, 0, 5, 3]
    """
    return torch.cat([order, order[: max(0, count - len(order))]]) if len(order) >= batch else order
