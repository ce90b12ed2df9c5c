"""Ops that hide what is there: noise and mask."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor

from sslmem_kit.spec.policy import Mask, Noise
from sslmem_kit.views.counter_rng import CounterRNG, Params, Shape


@lru_cache(maxsize=8)
def _normal_quantiles(device: torch.device) -> Tensor:
    """Return the 2**16 midpoint quantiles of the standard normal, scaled to variance 1; within 8e-6 of its distribution function."""
    levels = (torch.arange(2**16, dtype=torch.float64) + 0.5) / 2**16
    quantiles = torch.special.ndtri(levels)
    return (quantiles / quantiles.square().mean().sqrt()).float().to(device)


def sample_noise(rng: CounterRNG, step: Noise, shape: Shape) -> Params:
    """Sample `noise` Float32[n, channel, y, x]: a look-up by 16 random bits each, which is exact where logarithms are not (and faster)."""
    count = math.prod(shape)
    level = rng.bits(-(-count // 4)).view(torch.uint16).to(torch.int32)
    noise = _normal_quantiles(level.device).index_select(0, level.flatten()).view(level.shape)[:, :count]
    return {"noise": (noise * step.sigma + step.mean).view(-1, *shape)}


def apply_noise(images: Tensor, params: Params) -> Tensor:
    """Add `noise` to the image, clamped to [0, 1]."""
    return (images + params["noise"]).clamp_(0, 1)


def sample_mask(rng: CounterRNG, step: Mask, shape: Shape) -> Params:
    """Sample `hidden` Bool[n, y, x]: round(ratio * patches) whole patches, cut at the far edges where the side is no multiple."""
    height, width = shape[1:]
    tall, wide = (max(1, round(step.patch * side)) for side in (height, width))
    across = -(-width // wide)
    patches = -(-height // tall) * across
    chosen = rng.bits(patches).argsort(dim=1, stable=True)[:, : round(step.ratio * patches)]
    hidden = torch.zeros(len(chosen), patches, dtype=torch.bool, device=chosen.device).scatter_(1, chosen, True)
    pixel = torch.arange(height, device=chosen.device)[:, None] // tall * across + torch.arange(width, device=chosen.device) // wide
    return {"hidden": hidden[:, pixel]}


def apply_mask(images: Tensor, params: Params) -> Tensor:
    """Set to zero where `hidden`."""
    return images * (~params["hidden"][:, None]).to(images.dtype)
