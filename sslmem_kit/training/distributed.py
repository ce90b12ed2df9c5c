"""Groups of devices that train one encoder, and what their ranks share.

A :class:`DeviceGroup` of one is a device. In a larger one every rank holds the whole objective, sees an equal, contiguous slice of each
micro-batch, and gradients are averaged (torch's DistributedDataParallel, on process groups that accelerate sets up: NCCL between
GPUs, gloo between processes on CPUs). Losses and layers that compare samples, batch norm included, do so over the slices of all ranks, so
that a training depends on the number of ranks only by the order in which numbers are added.
"""

from __future__ import annotations

import contextlib
from typing import Any

import numpy as np
import torch
import torch.distributed as dist
from torch import Tensor, nn
from torch.nn.modules.batchnorm import _BatchNorm
from torch.nn.parallel import DistributedDataParallel

from sslmem_kit.errors import UserError


class DeviceGroup:
    """Ranks that train an encoder together; a group of one is just a device.

    Parameters
    ----------
    device
        Name of this rank's device in torch.
    rank, size
        Number of this rank, and number of all ranks.
    """

    def __init__(self, device: str, rank: int = 0, size: int = 1) -> None:
        self.device, self.rank, self.size = device, rank, size

    @property
    def first(self) -> bool:
        """Return whether this rank is the one that writes."""
        return self.rank == 0

    def prepare(self, objective: nn.Module) -> nn.Module:
        """Return the module to call for the loss in place of the objective, so that gradients are averaged over the ranks."""
        if self.size == 1:
            return objective
        share_batch_norm(objective, on_cpu=self.device == "cpu")
        gpus = None if self.device == "cpu" else [torch.device(self.device).index]
        # Weights and running statistics are equal on all ranks by construction: nothing has to be sent for that.
        return DistributedDataParallel(objective, device_ids=gpus, forward_sync_buffers=False)

    def unsynchronized(self, module: nn.Module, waits: bool) -> contextlib.AbstractContextManager[None]:
        """Return a context for backward passes whose gradients are not averaged yet, where more follow before the update."""
        return module.no_sync() if waits and self.size > 1 else contextlib.nullcontext()

    def mean(self, value: Tensor) -> Tensor:
        """Return the mean of a number over the ranks."""
        if self.size > 1:
            dist.all_reduce(value)
            value /= self.size
        return value

    def slice(self, count: int) -> slice:
        """Return this rank's share of ``count`` items: contiguous, in the order of the ranks, equal but for one."""
        bounds = [count * number // self.size for number in (self.rank, self.rank + 1)]
        return slice(*bounds)

    def gather(self, part: np.ndarray) -> np.ndarray:
        """Return, on the first rank, the arrays of all ranks one after the other; on another its own."""
        if self.size == 1:
            return part
        parts: list[Any] | None = [None] * self.size if self.first else None
        dist.gather_object(part, parts)
        return np.concatenate([one for one in parts if len(one)] or parts[:1]) if parts else part

    def collect(self, value: Any) -> list[Any]:
        """Return the values of all ranks, by rank."""
        if self.size == 1:
            return [value]
        values: list[Any] = [None] * self.size
        dist.all_gather_object(values, value)
        return values

    def wait(self) -> None:
        """Block until all ranks have reached this call."""
        self.collect(None)


class SumOverRanks(torch.autograd.Function):
    """Sum of a tensor over the ranks; its gradient is the sum of theirs."""

    @staticmethod
    def forward(ctx: Any, values: Tensor) -> Tensor:
        """Sum over the ranks."""
        total = values.clone()
        dist.all_reduce(total)
        return total

    @staticmethod
    def backward(ctx: Any, gradient: Tensor) -> Tensor:
        """Sum the gradients of the losses of all ranks."""
        return SumOverRanks.forward(ctx, gradient)


class SharedBatchNorm(_BatchNorm):
    """Batch norm over the batches of all ranks, on the CPU, where torch's SyncBatchNorm is not available."""

    def _check_input_dim(self, input: Tensor) -> None:
        pass

    def forward(self, input: Tensor) -> Tensor:
        """Normalize [batch, channel, ...] by the statistics of all ranks while training; the shape stays."""
        if not self.training:
            return super().forward(input)
        others = [dim for dim in range(input.ndim) if dim != 1]
        shape = [-1 if dim == 1 else 1 for dim in range(input.ndim)]
        values = input.float()
        count = values.numel() // values.shape[1] * dist.get_world_size()
        mean = SumOverRanks.apply(values.sum(others)) / count
        centred = values - mean.view(shape)
        variance = SumOverRanks.apply(centred.square().sum(others)) / count
        with torch.no_grad():
            self.num_batches_tracked += 1
            share = 1 / float(self.num_batches_tracked) if self.momentum is None else self.momentum
            self.running_mean.lerp_(mean.detach(), share)
            self.running_var.lerp_(variance.detach() * count / max(count - 1, 1), share)
        normal = centred * torch.rsqrt(variance + self.eps).view(shape)
        if self.affine:
            normal = normal * self.weight.view(shape) + self.bias.view(shape)
        return normal.to(input.dtype)


def share_batch_norm(module: nn.Module, *, on_cpu: bool) -> None:
    """Replace every batch norm below ``module`` by one over all ranks; parameters and names stay.

    Raises
    ------
    UserError
        On the CPU, where a batch norm is fused with the layer that follows it.
    """
    if not on_cpu:
        from timm.layers import convert_sync_batchnorm

        convert_sync_batchnorm(module)
        return
    for parent in list(module.modules()):
        for name, child in list(parent.named_children()):
            if isinstance(child, SharedBatchNorm) or not isinstance(child, _BatchNorm):
                continue
            if type(child) not in (nn.BatchNorm1d, nn.BatchNorm2d):
                raise UserError(
                    f"encoder.backbone: its {type(child).__name__} cannot be shared by several CPU processes; use --devices 1 or GPUs"
                )
            shared = SharedBatchNorm(child.num_features, child.eps, child.momentum, child.affine, child.track_running_stats)
            shared.load_state_dict(child.state_dict())
            for own, replaced in zip(shared.parameters(), child.parameters(), strict=True):
                own.requires_grad_(replaced.requires_grad)
            shared.train(child.training)
            setattr(parent, name, shared)
