"""Views as a pure function of (seed, sample id, view index), computed in batches on the images' device.

Every random number is a hash (splitmix64) of (seed, sample id, view, position of the step in the policy, element): no state, so a
sample's view does not depend on the batch it stands in, on order, resume or workers, and all encoders see the same views.

On the CPU results are bit-identical for any batch size, order and thread count. Torch computes whole vectors with one
routine and the ends of a tensor with another, and the elements at the ends depend on the batch; so the kernels use only what
IEEE 754 defines exactly (+ - * / sqrt, comparisons, integers, look-ups, and no fused ``addcmul``, ``lerp`` or ``add(alpha=)``), and
grid_sample, whose vectors and ends share one routine. The one exception is the exponential in the crop's aspect ratio, in float64
and followed by rounding to whole pixels. The means are sums of integers, exact in any order.

Each op is a pair, `sample_<op>` (random parameters, leading dim the sample) and `apply_<op>` (no randomness): see `OPS`. Images are
in [0, 1], before normalization; `shape` is (channel, y, x).
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import NamedTuple

import torch
from torch import Tensor

from sslmem_kit.errors import UserError
from sslmem_kit.spec.policy import Policy
from sslmem_kit.views.colour import apply_color_drop, apply_color_jitter, sample_color_drop, sample_color_jitter
from sslmem_kit.views.counter_rng import CounterRNG, Params, sample_keys
from sslmem_kit.views.geometry import (
    apply_crop,
    apply_crop_resize,
    apply_flip,
    apply_rotate,
    sample_crop,
    sample_crop_resize,
    sample_flip,
    sample_rotate,
)
from sslmem_kit.views.noise import apply_mask, apply_noise, sample_mask, sample_noise

AT_ONCE = 2**22
"""Maximum of numbers in the views that are made as one batch."""


class Op(NamedTuple):
    """Functions of a step: one samples its parameters, ``(rng, step, shape) -> params``, one applies them, ``(images, params) -> images``."""

    sample: Callable[..., Params]
    apply: Callable[[Tensor, Params], Tensor]


OPS: dict[str, Op] = {
    "crop": Op(sample_crop, apply_crop),
    "crop_resize": Op(sample_crop_resize, apply_crop_resize),
    "flip": Op(sample_flip, apply_flip),
    "color_jitter": Op(sample_color_jitter, apply_color_jitter),
    "color_drop": Op(sample_color_drop, apply_color_drop),
    "noise": Op(sample_noise, apply_noise),
    "rotate": Op(sample_rotate, apply_rotate),
    "mask": Op(sample_mask, apply_mask),
}


@torch.no_grad()
def make_views(images: Tensor, ids: Tensor, *, view: int | Tensor, seed: int, policy: Policy) -> Tensor:
    """Return one view of every sample: a pure function of its image and (seed, id, view, policy).

    Parameters
    ----------
    images : Float[n, channel, y, x]
        In [0, 1], *not* normalized; float32 or float64 are computed in, other float types through float32.
    ids : Int64[n]
        Stable sample ids: the keys of the randomness, wherever the sample stands.
    view : int or Int64[n]
        The view's index, one for all samples or one each.
    seed : int
        The seed of the views, the same for every encoder that is compared.
    policy : Policy

    Returns
    -------
    Float[n, channel, y, x]
        In [0, 1], dtype and device of `images`, which are not changed (and are themselves returned by a policy without steps).

    Raises
    ------
    UserError
        For images that are not 4-d floats, and for ids (or views) that are not one int64 a sample.

    Examples
    --------
    >>> from sslmem_kit.spec.policy import POLICIES
    >>> images, ids = torch.rand(3, 3, 32, 32), torch.tensor([7, 8, 9])
    >>> views = make_views(images, ids, view=1, seed=0, policy=POLICIES["simclr"])
    >>> torch.equal(views[1:2], make_views(images[1:2], ids[1:2], view=1, seed=0, policy=POLICIES["simclr"]))
    True
    """
    if images.ndim != 4 or not images.is_floating_point():
        raise UserError(f"images: got {images.dtype} of shape {tuple(images.shape)}, allowed is float [sample, channel, y, x]")
    for name, value in (("ids", ids), ("view", view)):
        if isinstance(value, Tensor) and (value.dtype != torch.int64 or value.shape != images.shape[:1]):
            raise UserError(
                f"{name}: got {value.dtype} of shape {tuple(value.shape)}, allowed is int64 [{len(images)}], one a sample"
            )
    if not len(images) or not policy.steps:
        return images
    ids = ids.to(images.device)
    key = sample_keys(seed, ids, view.to(images.device) if isinstance(view, Tensor) else view)
    work = images.contiguous() if images.dtype in (torch.float32, torch.float64) else images.float().contiguous()
    for position, step in enumerate(policy.steps):
        op = OPS[step.op]
        # The position is the stream, so that two steps of a policy never share numbers.
        work = op.apply(work, op.sample(CounterRNG(key, position), step, tuple(images.shape[1:])))
    return work.to(images.dtype)


def several_views(images: Tensor, ids: Tensor, *, views: Sequence[int], seed: int, policy: Policy) -> tuple[Tensor, ...]:
    """Return the views of `make_views` for each index of `views`; of small batches all at once, in half of the time."""
    if images.numel() * len(views) > AT_ONCE:
        return tuple(make_views(images, ids, view=view, seed=seed, policy=policy) for view in views)
    index = torch.tensor(views, device=images.device).repeat_interleave(len(images))
    count = len(views)
    made = make_views(images.repeat(count, 1, 1, 1), ids.repeat(count), view=index, seed=seed, policy=policy)
    return made.chunk(count)


def scored_view(images: Tensor, ids: Tensor, *, view: int | Tensor, seed: int, policy: Policy) -> Tensor:
    """Return the views of the score's vocabulary: view 0 is the clean image, the others are those of `make_views` (same parameters)."""
    if not isinstance(view, Tensor):
        return images if view == 0 else make_views(images, ids, view=view, seed=seed, policy=policy)
    views = make_views(images, ids, view=view, seed=seed, policy=policy)
    return torch.where((view == 0).to(images.device)[:, None, None, None], images, views)
