"""Random numbers without state: each is a hash (splitmix64) of (seed, sample id, view, stream, element)."""

from __future__ import annotations

from dataclasses import dataclass
from functools import lru_cache

import torch
from torch import Tensor

Params = dict[str, Tensor]
"""Random parameters of a step, leading dim the sample."""
Shape = tuple[int, int, int]
"""(channel, y, x) of an image."""


def _signed(value: int) -> int:
    """Return the int64 with the same lower 64 bits."""
    return (value + 2**63) % 2**64 - 2**63


_GAMMA, _STREAM = _signed(0x9E3779B97F4A7C15), _signed(0xD1342543DE82EF95)
_MIX = ((30, _signed(0xBF58476D1CE4E5B9)), (27, _signed(0x94D049BB133111EB)))


def _mix_(bits: Tensor) -> Tensor:
    """Apply the finalizer of splitmix64 in place; int64 shifts are arithmetic, hence the masks."""
    for shift, factor in _MIX:
        bits ^= (bits >> shift).bitwise_and_(2 ** (64 - shift) - 1)
        bits *= factor
    bits ^= (bits >> 31).bitwise_and_(2**33 - 1)
    return bits


@lru_cache(maxsize=256)
def _seed_key(seed: int) -> int:
    """Return the part of a key that is the same for all samples."""
    return int(_mix_(torch.tensor([_signed(seed)]) + _GAMMA))


def sample_keys(seed: int, ids: Tensor, view: int | Tensor) -> Tensor:
    """Return Int64[n], one key a sample: from the seed (any int, modulo 2**64), the sample ids Int64[n] and the view (int or Int64[n])."""
    return _mix_(_mix_(ids + _seed_key(seed)) + view)


@lru_cache(maxsize=64)
def _counter(count: int, device: torch.device) -> Tensor:
    """Return splitmix64's increments of the first ``count`` elements."""
    return torch.arange(1, count + 1, device=device) * _GAMMA


@dataclass(frozen=True)
class CounterRNG:
    """Random numbers of one step: element j of sample i depends on (keys[i], stream, j) alone."""

    sample_keys: Tensor
    stream: int = 0

    def bits(self, count: int) -> Tensor:
        """Return Int64[n, count] of uniform random bits."""
        start = _mix_(self.sample_keys + _signed((self.stream + 1) * _STREAM))
        return _mix_(start[:, None] + _counter(count, start.device))

    def uniform(self, count: int) -> Tensor:
        """Return Float64[n, count], uniform in [0, 1) on multiples of 2**-53; so floor(u * m) < m for every integer m < 2**53."""
        return (self.bits(count) >> 11).bitwise_and_(2**53 - 1).double().mul_(2.0**-53)


def per_sample(values: Tensor, images: Tensor) -> Tensor:
    """Bring one value a sample, [n], to the shape and dtype that multiply images."""
    return values.to(images.dtype)[:, None, None, None]


def choose(chosen: Tensor, ones: Tensor, others: Tensor) -> Tensor:
    """Return `ones` where `chosen` Bool[n], else `others`: exact, by factors of 0 and 1 (torch.where is several times slower on CPU)."""
    return others * per_sample(~chosen, others) + ones * per_sample(chosen, ones)
