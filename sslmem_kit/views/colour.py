"""Ops that change colours: color_jitter and color_drop."""

from __future__ import annotations

import itertools

import torch
from torch import Tensor

from sslmem_kit.errors import UserError
from sslmem_kit.spec.policy import ColorDrop, ColorJitter
from sslmem_kit.views.counter_rng import CounterRNG, Params, Shape, choose, per_sample

_ORDERS = tuple(itertools.permutations(range(4)))
_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = range(4)


def _is_grey(images: Tensor) -> bool:
    """Return whether images are grey, so that colour ops have nothing to act on; as in torchvision, 1 and 3 channels are allowed."""
    if images.shape[1] not in (1, 3):
        raise UserError(f"images: color_jitter and color_drop got {images.shape[1]} channels, allowed are 1 and 3")
    return images.shape[1] == 1


def _grey(images: Tensor) -> Tensor:
    """Return luma [n, 1, y, x]; one product after the other, since a fused one rounds differently at a tensor's end."""
    red, green, blue = images.split(1, dim=1)
    return (red * 0.2989).add_(green * 0.587).add_(blue * 0.114)


def _exact_mean(grey: Tensor) -> Tensor:
    """Return the mean of each image of [0, 1] values, in 24 bits: whole numbers below 2**53 sum exactly in any order. Float64[n]."""
    return (grey * 2.0**24).round_().sum((1, 2, 3), dtype=torch.float64) / (2.0**24 * grey[0].numel())


def sample_color_jitter(rng: CounterRNG, step: ColorJitter, shape: Shape) -> Params:
    """Sample `jitter` Bool[n]; `order` Int64[n, 4] of 0 brightness, 1 contrast, 2 saturation, 3 hue; `factors` Float64[n, 3]; `hue`.

    `hue` Float64[n] is a fraction of the circle, and is absent where the step has none.
    """
    uniform = rng.uniform(6)
    orders = torch.tensor(_ORDERS, device=uniform.device)
    params = {"jitter": uniform[:, 0] < step.p, "order": orders[(uniform[:, 1] * len(orders)).long()]}
    strengths = torch.tensor((step.brightness, step.contrast, step.saturation), dtype=uniform.dtype, device=uniform.device)
    low = (1 - strengths).clamp_min(0)
    params["factors"] = low + uniform[:, 2:5] * (1 + strengths - low)
    if step.hue:
        params["hue"] = (2 * uniform[:, 5] - 1) * step.hue
    return params


def apply_color_jitter(images: Tensor, params: Params) -> Tensor:
    """Apply the four adjustments where `jitter`, each image in its own `order`; on grey images only brightness and contrast act.

    Brightness, contrast and saturation are one kernel, a blend with 0, the mean grey or the grey. Sorting the images by the number
    of blends before their hue makes the rows of each hue pass a slice, so that the costly pass is done once an image.
    """
    grey = _is_grey(images)
    blends = torch.tensor((_BRIGHTNESS, _CONTRAST) if grey else (_BRIGHTNESS, _CONTRAST, _SATURATION), device=images.device)
    place = params["order"].argsort(1)
    kind = blends[place[:, blends].argsort(1)]
    has_hue = "hue" in params and not grey
    before_hue = (place[:, blends] < place[:, _HUE:]).sum(1) if has_hue else torch.zeros_like(place[:, 0])
    group = torch.where(params["jitter"], before_hue, 4)
    counts = torch.stack([(group == slot).sum() for slot in range(4)]).tolist()  # the one wait for the device
    if not sum(counts):
        return images
    rows = group.argsort(stable=True)[: sum(counts)]
    kind = kind[rows]
    factor = params["factors"][rows].gather(1, kind)
    work = images.index_select(0, rows)
    starts = [0, *itertools.accumulate(counts)]
    for stage in range(len(blends) + 1):
        if has_hue and counts[stage]:
            part = slice(starts[stage], starts[stage + 1])
            _shift_hue_(work[part], params["hue"][rows[part]])
        if stage < len(blends):
            _blend_(work, kind[:, stage], factor[:, stage])
    return images.index_copy(0, rows, work)


def _blend_(images: Tensor, kind: Tensor, factor: Tensor) -> None:
    """Blend in place: factor * image + (1 - factor) * (0, mean grey or grey, after the kind), clamped to [0, 1]."""
    grey = images if images.shape[1] == 1 else _grey(images)
    other = per_sample((1 - factor) * _exact_mean(grey) * (kind == _CONTRAST), images)
    if images.shape[1] == 3:
        other = grey.mul_(per_sample((1 - factor) * (kind == _SATURATION), images)).add_(other)
    images.mul_(per_sample(factor, images)).add_(other).clamp_(0, 1)


def _shift_hue_(images: Tensor, shift: Tensor) -> None:
    """Move the hue in place by `shift` turns, at equal value and saturation (through HSV's hexagon)."""
    red, green, blue = images.unbind(1)
    top = torch.maximum(torch.maximum(red, green), blue)
    low = torch.minimum(torch.minimum(red, green), blue)
    span = top - low
    # 1.0 and 0.0 in place of booleans: see choose.
    is_red, is_green = top.clone().eq_(red), top.clone().eq_(green)
    is_green.mul_(1 - is_red)
    hue = (green - blue).mul_(is_red).add_((blue - red).mul_(is_green)).add_((red - green).mul_(1 - is_red - is_green))
    hue.div_(span.clamp_min(torch.finfo(span.dtype).tiny))
    hue.add_((1 - is_red).mul_(4)).sub_(is_green.mul_(2)).add_(per_sample(6 * shift, images)[:, 0])
    hue.sub_((hue / 6).floor_().mul_(6))
    for channel, centre, sign in ((red, 3, 1), (green, 2, -1), (blue, 4, -1)):
        # The hexagon's profile of a channel: 1 within one sixth of its own hue, falling to 0 over the next.
        share = (hue - centre).abs_().sub_(1) if sign > 0 else (2 - (hue - centre).abs_())
        channel.copy_(share.clamp_(0, 1).mul_(span).add_(low))


def sample_color_drop(rng: CounterRNG, step: ColorDrop, shape: Shape) -> Params:
    """Sample `drop` Bool[n]."""
    return {"drop": rng.uniform(1)[:, 0] < step.p}


def apply_color_drop(images: Tensor, params: Params) -> Tensor:
    """Set all three channels to grey where `drop`; a grey image is left as it is."""
    return images if _is_grey(images) else choose(params["drop"], _grey(images), images)
