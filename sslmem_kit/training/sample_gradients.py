"""Gradients of single samples, by ``vmap``, a bounded number of samples at a time.

Of a loss that is the mean over samples alone (MAE, supervised), a sample has a gradient of its own, that of a batch of one:
:func:`sample_gradients`, by which DP-SGD clips.

A loss that compares samples (SimCLR, VICReg, the batch of DINO and SimSiam) has none. There a sample's gradient is its share of its batch's:
with z_i(theta) the outputs of sample i, all its views, and L(z_1, ..., z_B) the loss of a fixed batch,

    g_i = B J_i^T dL/dz_i        J_i = dz_i/dtheta

the gradient of the loss through the sample's own outputs, those of all others held fixed. The mean over the batch is its gradient exactly,
and where the loss is a mean over samples alone g_i is the gradient of the sample's own: :func:`gradient_shares`. Networks are in evaluation
mode, where batch norm uses its running statistics: else z_i would depend on the other samples too.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from functools import reduce

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, grad_and_value, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from sslmem_kit.encoders.device import autocast
from sslmem_kit.spec.training import Precision
from sslmem_kit.training.objectives.base import Batch, Objective

CHUNK_BYTES, CHUNK_SAMPLES = 2**30, 128
"""Maximum of bytes and of samples whose single gradients are held at a time."""
SHARED_BYTES = 2**25
"""Maximum of bytes of the gradients that :func:`gradient_shares` holds at a time; larger ones leave a processor's cache and take longer."""

Gradients = dict[str, Tensor]
"""Gradients by the name of their parameter."""
Pulls = tuple[Tensor, ...]
"""B dL/dz of every output z of a batch, [batch, ...] each."""


def trained(objective: nn.Module) -> Iterator[tuple[str, nn.Parameter]]:
    """Yield names and parameters that get gradients."""
    return ((name, parameter) for name, parameter in objective.named_parameters() if parameter.requires_grad)


def chunk_size(parameter_bytes: int, maximum: int | None = None) -> int:
    """Return the number of samples whose gradients are held at a time."""
    return max(1, min(CHUNK_SAMPLES, (maximum or CHUNK_BYTES) // max(1, parameter_bytes)))


def sample_gradients(objective: Objective, batch: Batch, precision: Precision = "float32") -> Iterator[tuple[Gradients, Tensor]]:
    """Yield the gradients of the loss of each sample, as of a batch of one.

    Parameters
    ----------
    objective
        Objective whose loss of a batch is the mean of the losses of its samples alone.
    batch
        The samples.
    precision
        Precision of the passes through the objective.

    Yields
    ------
    Chunks of ({name: [sample, ...]}, losses [sample]).
    """
    parameters = _values(objective)

    def loss(parameters: Gradients, views: tuple[Tensor, ...], keys: Tensor, labels: Tensor) -> Tensor:
        # MAE holds its ViT under two names. To replace a tensor under all its names would put the stand-in back at the end, for good;
        # under one it is enough, for the ViT is one module.
        return functional_call(objective, parameters, (alone(views, keys, labels),), tie_weights=False)

    per_sample = vmap(grad_and_value(loss), in_dims=(None, 0, 0, 0), randomness="different")
    for part in parts_of(batch, chunk_size(_bytes(parameters))):
        # Fused attention has no rule for vmap, which would go through it sample by sample. The backward pass is under autocast too,
        # without it vmap's layer norm meets two dtypes.
        with sdpa_kernel(SDPBackend.MATH), autocast(batch.keys.device.type, precision):
            result = per_sample(parameters, *part)
        yield result


def gradient_shares(objective: Objective, batches: Sequence[Batch]) -> Iterator[Gradients]:
    """Yield the share of each sample in the gradient of its batch: g_i = B J_i^T dL/dz_i.

    Parameters
    ----------
    objective
        Objective of any method, in evaluation mode; its regularizer (eq. 3) is part of the loss where it acts.
    batches
        The same samples in the same order, by other views each: the shares are means over these. Usually one.

    Yields
    ------
    Chunks of {name of a trained parameter: [sample, ...]}, in order.

    Raises
    ------
    ValueError
        The objective is in training mode.

    See Also
    --------
    mean_share : Mean of the shares of some samples, in a tenth of the time.
    """
    parameters = {f"objective.{name}": value for name, value in _values(objective).items()}
    pulled = [pulls_of_batch(objective, batch) for batch in batches]
    module = SampleOutputs(objective)

    def pull(parameters: Gradients, views: tuple[Tensor, ...], keys: Tensor, labels: Tensor, pulls: Pulls) -> Tensor:
        outputs = functional_call(module, parameters, (alone(views, keys, labels),), tie_weights=False)
        pairs = zip((output for output in outputs if output.is_floating_point()), pulls, strict=True)
        return reduce(torch.add, ((output[0] * towards).sum() for output, towards in pairs))

    per_sample = vmap(grad(pull), in_dims=(None, 0, 0, 0, 0))
    size = chunk_size(_bytes(parameters), SHARED_BYTES)
    for start, parts in enumerate(zip(*(parts_of(batch, size) for batch in batches), strict=True)):
        total: Gradients = {}
        for (views, keys, labels), pulls in zip(parts, pulled, strict=True):
            own = tuple(towards[start * size : (start + 1) * size] / len(batches) for towards in pulls)
            with sdpa_kernel(SDPBackend.MATH):
                found = per_sample(parameters, views, keys, labels, own)
            total = {name: total[name] + value for name, value in found.items()} if total else found
        yield {name.removeprefix("objective."): value for name, value in total.items()}


def mean_share(objective: Objective, batch: Batch, chosen: Tensor | None = None) -> tuple[Gradients, Pulls]:
    """Return the mean of :func:`gradient_shares` over the chosen samples of a batch, by one backward pass.

    Parameters
    ----------
    objective
        Objective of any method, in evaluation mode.
    batch
        The samples.
    chosen
        Samples whose shares are averaged, [batch] bool; None: all, which is the gradient of the batch.

    Returns
    -------
    The mean, and what :func:`pulls_of_batch` returns, which is computed on the way.

    Raises
    ------
    ValueError
        The objective is in training mode.
    """
    names, parameters = zip(*trained(objective), strict=True)
    outputs = _outputs(objective, batch)
    pulls = _pulls(objective, batch, outputs)
    count = len(batch.keys) if chosen is None else int(chosen.sum())
    loss = torch.zeros((), device=batch.keys.device)
    for output, towards in zip((output for output in outputs if output.is_floating_point()), pulls, strict=True):
        own = towards if chosen is None else towards * chosen.view(-1, *(1,) * (towards.ndim - 1))
        loss = loss + (output * own).sum() / max(1, count)
    gradients = torch.autograd.grad(loss, parameters, allow_unused=True, materialize_grads=True)
    return dict(zip(names, gradients, strict=True)), pulls


class SampleOutputs(nn.Module):
    """Objective whose forward pass ends before samples are compared."""

    def __init__(self, objective: Objective) -> None:
        super().__init__()
        self.objective = objective

    def forward(self, batch: Batch) -> tuple[Tensor, ...]:
        return _outputs(self.objective, batch)


def _outputs(objective: Objective, batch: Batch) -> tuple[Tensor, ...]:
    """Return all of which the loss of a batch is made, [batch, ...] each: last the encoder's output for two views, where eq. 3 acts."""
    if objective.training:
        raise ValueError("the objective is in training mode, in which samples mix: call eval() before")
    outputs = objective.outputs(batch)
    if not objective.regularized:
        return outputs.compared
    return *outputs.compared, *(outputs.encoded or objective.encode_two(batch))


@torch.no_grad()
def _joined(objective: Objective, batch: Batch) -> tuple[Tensor, ...]:
    """Return :func:`_outputs` of a batch that goes through the networks in parts."""
    parts = [_outputs(objective, Batch(*part)) for part in parts_of(batch, CHUNK_SAMPLES)]
    return tuple(torch.cat(values) for values in zip(*parts, strict=True))


def _pulls(objective: Objective, batch: Batch, outputs: Sequence[Tensor]) -> Pulls:
    """Return B dL/dz of every output z of a batch; zeros where the loss does not follow it."""
    leaves = tuple(output.detach().requires_grad_(output.is_floating_point()) for output in outputs)
    compared = leaves[:-2] if objective.regularized else leaves
    loss = objective.compare(compared, batch.labels)
    if objective.regularized:
        loss = objective.regularize(loss, *leaves[-2:])
    floating = [leaf for leaf in leaves if leaf.requires_grad]
    return torch.autograd.grad(loss * len(batch.keys), floating, allow_unused=True, materialize_grads=True)


def pulls_of_batch(objective: Objective, batch: Batch) -> Pulls:
    """Return B dL/dz of every output z of a batch, [batch, ...] each: what pulls at the outputs of its samples."""
    return _pulls(objective, batch, _joined(objective, batch))


def _values(objective: Objective) -> Gradients:
    return {name: parameter.detach() for name, parameter in trained(objective)}


def _bytes(parameters: Gradients) -> int:
    return sum(value.numel() * value.element_size() for value in parameters.values())


def alone(views: tuple[Tensor, ...], keys: Tensor, labels: Tensor) -> Batch:
    """Return the batch of one sample."""
    return Batch(tuple(view[None] for view in views), keys[None], labels[None])


def parts_of(batch: Batch, size: int) -> Iterator[tuple[tuple[Tensor, ...], Tensor, Tensor]]:
    """Yield (views, keys, labels) of parts of a batch."""
    for start in range(0, len(batch.keys), size):
        part = slice(start, start + size)
        yield tuple(view[part] for view in batch.views), batch.keys[part], batch.labels[part]
