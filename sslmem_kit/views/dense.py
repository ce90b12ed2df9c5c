"""Augmentations that move an image and what is known at each of its pixels together.

The steps of a policy that move pixels (``crop``, ``crop_resize``, ``flip``, ``rotate``) are applied to the image as always, bilinearly,
and with the same random parameters to an image of coordinates; targets are looked up at the nearest of these, so that no class and no
depth is mixed of two. All other steps change the image alone.
"""

from __future__ import annotations

import torch
from torch import Tensor

from sslmem_kit.spec.policy import Policy
from sslmem_kit.views.counter_rng import CounterRNG, sample_keys
from sslmem_kit.views.make import OPS

MOVES = ("crop", "crop_resize", "flip", "rotate")
"""Steps that move pixels."""


@torch.no_grad()
def make_dense_views(
    images: Tensor, targets: Tensor, ids: Tensor, *, view: int, seed: int, policy: Policy, fill: float
) -> tuple[Tensor, Tensor]:
    """Return one view of every image and its target: a pure function of both and (seed, id, view, policy).

    Parameters
    ----------
    images : Float[n, channel, y, x]
        In [0, 1], not normalized; equal to the views of :func:`sslmem_kit.views.make_views`.
    targets : [n, y, x]
        Class or depth of each pixel, any dtype.
    ids : Int64[n]
        Stable sample ids.
    view, seed, policy
        As in :func:`sslmem_kit.views.make_views`.
    fill
        Target of pixels that come from outside the image.

    Examples
    --------
    >>> images, ids = torch.rand(2, 1, 8, 8), torch.tensor([3, 4])
    >>> policy = Policy.model_validate([{"op": "flip", "p": 1.0}])
    >>> moved, targets = make_dense_views(images, images[:, 0], ids, view=0, seed=0, policy=policy, fill=0)
    >>> torch.equal(moved[:, 0], targets), torch.equal(targets, images[:, 0].flip(-1))
    (True, True)
    """
    n, _, height, width = images.shape
    keys = sample_keys(seed, ids, view)
    for position, step in enumerate(policy.steps):
        op, shape = OPS[step.op], (images.shape[1], height, width)
        params = op.sample(CounterRNG(keys, position), step, shape)
        if step.op in MOVES:
            targets = _moved(targets, op.apply(_coordinates(n, height, width, images.device), params), fill)
        images = op.apply(images, params)
    return images, targets


def _coordinates(n: int, height: int, width: int, device: torch.device) -> Tensor:
    """Return ones, and the middle of each pixel in units of the side, y and x: Float64[n, 3, y, x]."""
    rows = (torch.arange(height, device=device, dtype=torch.float64) + 0.5) / height
    columns = (torch.arange(width, device=device, dtype=torch.float64) + 0.5) / width
    ones = torch.ones(height, width, device=device, dtype=torch.float64)
    return torch.stack((ones, ones * rows[:, None], ones * columns)).expand(n, -1, -1, -1).contiguous()


def _moved(targets: Tensor, places: Tensor, fill: float) -> Tensor:
    """Return the targets at moved coordinates; ``fill`` where less than half of what was mixed lay inside the image."""
    height, width = targets.shape[1:]
    inside = places[:, 0] > 0.5 - 1e-9
    share = places[:, 0].clamp_min(1e-9)
    # A hair is added, so that an exact half falls to the same side whatever was rounded.
    rows = (places[:, 1] / share * height + 1e-9).long().clamp(0, height - 1)
    columns = (places[:, 2] / share * width + 1e-9).long().clamp(0, width - 1)
    found = targets.flatten(1).gather(1, (rows * width + columns).flatten(1)).view_as(targets)
    return torch.where(inside, found, torch.full_like(found, fill))
