"""Gradients of single samples without the gradients themselves: those of large layers as a product of two small factors.

The gradient of a linear layer's weight through one sample is a sum over its T tokens (of a convolution: places) of outer products,

    G = sum over t of d_t a_t^T        a_t the layer's input, d_t the gradient in its output

of which a and d take far less memory than G, and less time to read. All that is asked of G follows from them (Goodfellow 2015; for
convolutions Rochette et al. 2019; the choice between both ways Bu et al. 2022):

    |G|^2 = sum over t, u of (d_t . d_u) (a_t . a_u)        <G, M> = sum over t of d_t . M a_t        Q G P^T = sum of (Q d_t) (P a_t)^T

Everything comes from one pass by ``vmap`` through the objective: d is the gradient in a zero that is added to the layer's output.
"""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import dataclass
from functools import reduce
from typing import TypeAlias, TypeGuard

import torch
from torch import Tensor, nn
from torch.func import functional_call, grad, vmap
from torch.nn.attention import SDPBackend, sdpa_kernel

from sslmem_kit.encoders.fast_linear import ConvLinear
from sslmem_kit.training.objectives.base import Batch, Objective
from sslmem_kit.training.sample_gradients import (
    CHUNK_SAMPLES,
    Gradients,
    Pulls,
    SampleOutputs,
    alone,
    parts_of,
    pulls_of_batch,
    trained,
)

LEAST_NUMBERS = 1024
"""Number of weights of a layer from which its gradient is kept as factors."""
CHUNK_BYTES = 2**26
"""Maximum of bytes of factors that are held at a time."""
Layer: TypeAlias = nn.Linear | nn.Conv2d
"""Layer whose weight's gradient can be factors."""


@dataclass(frozen=True)
class Factors:
    """Gradients of one weight through some samples, G_i = sum over parts and t of outputs_it inputs_it^T."""

    inputs: tuple[Tensor, ...]
    """Parts of the tokens, such as those of a view: [sample, token, in] each."""
    outputs: tuple[Tensor, ...]
    """[sample, token, out] each."""

    @property
    def is_thin(self) -> bool:
        """True where factors are quicker to compute with than their product."""
        tokens, width, height = sum(part.shape[1] for part in self.inputs), self.inputs[0].shape[2], self.outputs[0].shape[2]
        return tokens * (width + height) < width * height

    def joined(self) -> Factors:
        """Return the same in one part: a copy, and fewer and larger products from then on."""
        return self if len(self.inputs) == 1 else Factors((torch.cat(self.inputs, dim=1),), (torch.cat(self.outputs, dim=1),))

    def product(self) -> Tensor:
        """Return G, [sample, out, in]."""
        pairs = zip(self.inputs, self.outputs, strict=True)
        return reduce(torch.add, (output.transpose(1, 2) @ given for given, output in pairs))

    def squared_norm(self) -> Tensor:
        """Return |G|^2, [sample]."""
        (given,), (output,) = vars(self.joined()).values()
        return ((given @ given.transpose(1, 2)) * (output @ output.transpose(1, 2))).sum(dim=(1, 2))

    def inner_product(self, other: Tensor) -> Tensor:
        """Return <G, M> with M [out, in], [sample]."""
        pairs = zip(self.inputs, self.outputs, strict=True)
        return reduce(torch.add, (((given @ other.T) * output).sum(dim=(1, 2)) for given, output in pairs))


class FactoredGradients:
    """Shares of samples in the gradients of their batches, as :func:`sslmem_kit.training.sample_gradients.gradient_shares` yields them, with
    those of large layers as factors.

    Parameters
    ----------
    objective
        Objective of any method, in evaluation mode.
    example
        A batch, by whose first sample the layers and the sizes of their outputs are found.
    """

    def __init__(self, objective: Objective, example: Batch) -> None:
        self.objective, self.module = objective, SampleOutputs(objective)
        self.layers = _layers(objective)
        self.calls: list[tuple[Layer, Tensor]] = []
        self.probes: Iterator[Tensor] | None = None
        first = next(parts_of(example, 1))
        with torch.no_grad(), self._hooked():
            self.module(Batch(*first))
        self.order = [module for module, _ in self.calls]
        self.shapes = [tuple(output.shape) for _, output in self.calls]
        called = set(self.order)
        self.layers = {module: name for module, name in self.layers.items() if module in called}
        self.direct = {
            f"objective.{name}": value.detach() for name, value in trained(objective) if name not in {*self.layers.values()}
        }

    def chunks(
        self, batches: Sequence[Batch], pulls: Sequence[Pulls] | None = None
    ) -> Iterator[tuple[Gradients, dict[str, Factors]]]:
        """Yield gradients by name and factors by name of some samples after the other.

        Parameters
        ----------
        batches
            As in :func:`sslmem_kit.training.sample_gradients.gradient_shares`.
        pulls
            :func:`sslmem_kit.training.sample_gradients.pulls_of_batch` of each, where they are known.
        """
        pulls = pulls or [pulls_of_batch(self.objective, batch) for batch in batches]
        pulled = [tuple(pull / len(batches) for pull in each) for each in pulls]
        size = self._chunk(len(batches))
        for start, parts in enumerate(zip(*(parts_of(batch, size) for batch in batches), strict=True)):
            direct: Gradients = {}
            factors: dict[str, list[tuple[Tensor, Tensor]]] = {}
            for part, whole in zip(parts, pulled, strict=True):
                found, outputs, inputs = self._pass(part, tuple(pull[start * size : (start + 1) * size] for pull in whole))
                direct = {name: direct[name] + value for name, value in found.items()} if direct else found
                for module, given, output in zip(self.order, inputs, outputs, strict=True):
                    factors.setdefault(self.layers[module], []).extend(_factors(module, given, output))
            yield (
                {name.removeprefix("objective."): value for name, value in direct.items()},
                {name: Factors(*zip(*pairs, strict=True)) for name, pairs in factors.items()},
            )

    def _pass(self, part: tuple[tuple[Tensor, ...], Tensor, Tensor], pulls: Pulls) -> tuple[Gradients, tuple, tuple]:
        """Return gradients of single parameters, gradients in the outputs of layers, and the inputs of these."""

        def pull(values, views, keys, labels, pulls):
            direct, probes = values
            self.calls, self.probes = [], iter(probes)
            outputs = functional_call(self.module, direct, (alone(views, keys, labels),), tie_weights=False)
            pairs = zip((output for output in outputs if output.is_floating_point()), pulls, strict=True)
            return sum((output[0] * towards).sum() for output, towards in pairs), tuple(given for _, given in self.calls)

        count = len(part[1])
        probes = tuple(torch.zeros(count, *shape, device=part[1].device) for shape in self.shapes)
        per_sample = vmap(grad(pull, has_aux=True), in_dims=((None, 0), 0, 0, 0, 0))
        with torch.no_grad(), sdpa_kernel(SDPBackend.MATH), self._hooked():
            (direct, outputs), inputs = per_sample((self.direct, probes), *part, pulls)
        self.calls, self.probes = [], None
        return direct, outputs, inputs

    def _hooked(self) -> _Hooks:
        return _Hooks([module.register_forward_hook(self._on_forward) for module in self.layers])

    def _on_forward(self, module: Layer, arguments: tuple[Tensor, ...], output: Tensor) -> Tensor | None:
        if self.probes is None:  # looking for the sizes of outputs
            self.calls.append((module, output))
            return None
        self.calls.append((module, arguments[0]))
        return output + next(self.probes)

    def _chunk(self, sets: int) -> int:
        """Return the number of samples that go through at a time."""
        one = sum(value.numel() * value.element_size() for value in self.direct.values())
        for module, shape in zip(self.order, self.shapes, strict=True):
            width, height = module.weight[0].numel(), module.weight.shape[0]
            one += 4 * sets * math.prod(shape) // height * (width + height)
        return max(1, min(CHUNK_SAMPLES, CHUNK_BYTES // max(1, one)))


class _Hooks:
    """Hooks that are removed at the end of a ``with`` block."""

    def __init__(self, handles: list) -> None:
        self.handles = handles

    def __enter__(self) -> None:
        return None

    def __exit__(self, *_: object) -> None:
        for handle in self.handles:
            handle.remove()


def _layers(objective: Objective) -> dict[Layer, str]:
    """Return the layers whose weights' gradients are factors, with the names of these weights: of one owner, used as they are."""
    names = {id(value): name for name, value in trained(objective)}
    owners: dict[int, set[int]] = {}
    for module in objective.modules():
        for value in module._parameters.values():
            owners.setdefault(id(value), set()).add(id(module))
    return {
        module: names[id(module.weight)]
        for module in objective.modules()
        if _is_plain(module)
        and id(module.weight) in names
        and len(owners[id(module.weight)]) == 1
        and module.weight.numel() >= LEAST_NUMBERS
    }


def _is_plain(module: nn.Module) -> TypeGuard[Layer]:
    """True for a linear layer, or a convolution of all channels with all; not for those whose weight is made of other parameters."""
    if "weight" not in module._parameters:
        return False
    if type(module) is nn.Conv2d:
        return module.groups == 1 and module.padding_mode == "zeros" and not isinstance(module.padding, str)
    return type(module) in (nn.Linear, ConvLinear)


def _factors(module: Layer, given: Tensor, output: Tensor) -> list[tuple[Tensor, Tensor]]:
    """Return inputs [sample, token, in] and gradients in outputs [sample, token, out] of one call of a layer, in parts."""
    if isinstance(module, nn.Linear):
        return [(given.flatten(1, -2), output.flatten(1, -2))]
    assert not isinstance(module.padding, str)  # as in _is_plain
    patches = nn.functional.unfold(
        given.flatten(0, 1), module.kernel_size, dilation=module.dilation, padding=module.padding, stride=module.stride
    ).unflatten(0, given.shape[:2])
    # One part an image: to join the places of all would copy the largest tensors that there are.
    pairs = zip(patches.unbind(dim=1), output.flatten(3).unbind(dim=1), strict=True)
    return [(of_image.transpose(1, 2), gradient.transpose(1, 2)) for of_image, gradient in pairs]
