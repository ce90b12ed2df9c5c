"""Random projection of gradients to few dimensions, a parameter at a time, without a matrix.

A count sketch (Charikar et al. 2002): every number of a gradient goes, with a random sign, into one of k sums,

    phi_j = sum over p with h(p) = j of s_p g_p

so that E[phi . phi'] = g . g' with a variance of at most (|g|^2 |g'|^2 + (g . g')^2) / k. It takes one multiplication a number, where a full
matrix takes k. Places and signs are hashes of (seed, parameter, position): no matrix is kept, and all encoders of a study have the same.
Blocks of k numbers are shifted by a random amount each: two numbers of a block never meet, two of different blocks with probability 1 / k.
"""

from __future__ import annotations

from functools import lru_cache

import torch
from torch import Tensor

from sslmem_kit.training.factored_gradients import Factors
from sslmem_kit.views import CounterRNG, sample_keys

SIDE = 64
"""Number of dimensions that inputs and outputs of a layer are brought to at most, before their product is projected."""
SIDES_APART = 2**20
"""Number of parameters beyond any: sides have places and signs apart from those of parameters."""


def project(gradient: Tensor, dimensions: int, *, seed: int, number: int = 0) -> Tensor:
    """Return gradients of a parameter in few dimensions that keep inner products on average.

    Parameters
    ----------
    gradient
        [sample, ...].
    dimensions
        Number of dimensions, k.
    seed
        Seed of places and signs.
    number
        Number of the parameter: each has places and signs of its own, so that the sum over parameters keeps inner products of the whole.

    Returns
    -------
    [sample, dimension] float32.

    Examples
    --------
    >>> found = project(torch.eye(3), 16, seed=0)
    >>> (found @ found.T).equal(torch.eye(3))
    True
    """
    flat = gradient.flatten(1).float()
    places, signs, rest = _places(flat.shape[1], dimensions, seed, number, flat.device)
    signed = flat.index_select(1, places) * signs
    whole = signed.shape[1] - len(rest)
    total = signed[:, :whole].unflatten(1, (-1, dimensions)).sum(dim=1)
    return total.index_add_(1, rest, signed[:, whole:])


def project_layer(gradient: Factors | Tensor, dimensions: int, *, seed: int, number: int = 0) -> Tensor:
    """Return what :func:`project` does of the gradient of a layer, whose sides are brought to :data:`SIDE` dimensions before.

    Inner products are kept on average; each side that is shortened adds 1 / SIDE to their relative variance. Not the numbers of
    :func:`project` where a side is.

    Parameters
    ----------
    gradient
        Factors of the gradient, or their product [sample, out, in]; the result is the same.
    dimensions, seed, number
        As in :func:`project`.
    """
    if isinstance(gradient, Factors):
        inputs = tuple(_short(part, seed, number + SIDES_APART) for part in gradient.inputs)
        short = Factors(inputs, tuple(_short(part, seed, number + 2 * SIDES_APART) for part in gradient.outputs)).product()
    else:
        of_inputs = _short(gradient, seed, number + SIDES_APART)
        short = _short(of_inputs.transpose(1, 2), seed, number + 2 * SIDES_APART).transpose(1, 2)
    return project(short, dimensions, seed=seed, number=number)


def _short(side: Tensor, seed: int, number: int) -> Tensor:
    """Bring the last dimension to :data:`SIDE` where it is longer."""
    return side @ _matrix(side.shape[2], seed, number, side.device) if side.shape[2] > SIDE else side


@lru_cache(maxsize=4096)
def _matrix(count: int, seed: int, number: int, device: torch.device) -> Tensor:
    """Return the count sketch of a side as a matrix, [count, SIDE]: one number a row."""
    return project(torch.eye(count, device=device), SIDE, seed=seed, number=number)


@lru_cache(maxsize=4096)
def _places(count: int, dimensions: int, seed: int, number: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return the number of a parameter that stands at each place of the shifted blocks, its sign, and the sums that those of the last, shorter
    block go into."""
    key, blocks = sample_keys(seed, torch.tensor([number]), 0), count // dimensions
    signs = 1 - 2 * (CounterRNG(key, 0).bits(count)[0] & 1).float()
    shifts = (CounterRNG(key, 1).uniform(blocks + 1)[0] * dimensions).long()
    inside = (torch.arange(dimensions) + shifts[:blocks, None]) % dimensions
    shifted = (inside + dimensions * torch.arange(blocks)[:, None]).flatten()
    places = torch.cat([shifted, torch.arange(blocks * dimensions, count)])
    rest = (torch.arange(count - blocks * dimensions) + shifts[blocks]) % dimensions
    return places.to(device), signs[places].to(device), rest.to(device)
