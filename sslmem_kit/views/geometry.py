"""Ops that move pixels: crop, crop_resize, flip, rotate."""

from __future__ import annotations

import math
from functools import lru_cache

import torch
from torch import Tensor
from torch.nn import functional

from sslmem_kit.spec.policy import Crop, CropResize, Flip, Rotate
from sslmem_kit.views.counter_rng import CounterRNG, Params, Shape, choose, per_sample


def _sample(images: Tensor, x: Tensor, y: Tensor, padding: str) -> Tensor:
    """Sample bilinearly at x, y (broadcastable to [n, y, x]), given in grid_sample's units of half a side from the middle."""
    size = (len(images), *images.shape[2:])
    # Planes of x and of y, seen as the [n, y, x, 2] that grid_sample takes: it is three times as fast that way.
    grid = torch.stack((x.to(images.dtype).expand(size), y.to(images.dtype).expand(size)), dim=1).permute(0, 2, 3, 1)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode=padding, align_corners=False).clamp_(0, 1)


def sample_crop(rng: CounterRNG, step: Crop, shape: Shape) -> Params:
    """Sample `offset` Int64[n, 2]: first row and column of the crop, negative in the padding."""
    padding = torch.tensor([round(step.padding * side) for side in shape[1:]], device=rng.sample_keys.device)
    return {"offset": (rng.uniform(2) * (2 * padding + 1)).long() - padding}


def apply_crop(images: Tensor, params: Params) -> Tensor:
    """Cut out the window at `offset`, zeros where it leaves the image."""
    n, channel, height, width = images.shape
    rows = params["offset"][:, :1] + torch.arange(height, device=images.device)
    columns = params["offset"][:, 1:] + torch.arange(width, device=images.device)
    inside = [((place >= 0) & (place < side)).to(images.dtype) for place, side in ((rows, height), (columns, width))]
    index = rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None, :]
    moved = images.flatten(2).gather(2, index.view(n, 1, -1).expand(n, channel, -1)).view_as(images)
    return moved.mul_(inside[0][:, None, :, None]).mul_(inside[1][:, None, None, :])


def sample_crop_resize(rng: CounterRNG, step: CropResize, shape: Shape) -> Params:
    """Sample `box` Int64[n, 4]: top, left, height, width; ten attempts at area and log aspect ratio, then the largest central crop."""
    _, height, width = shape
    attempts = 10
    area, ratio, place = rng.uniform(2 * attempts + 2).split((attempts, attempts, 2), dim=1)
    area = (area * (step.scale[1] - step.scale[0])).add_(step.scale[0]).mul_(height * width)
    low, high = (math.log(bound) for bound in step.ratio)
    ratio = (ratio * (high - low)).add_(low).exp_()
    sizes = torch.stack((area / ratio, area.mul_(ratio)), dim=2).sqrt_().round_()
    full, central = _whole_and_central(height, width, step.ratio, sizes.device)
    fits = ((sizes > 0) & (sizes <= full)).all(2)
    size = sizes.gather(1, fits.byte().argmax(1)[:, None, None].expand(-1, 1, 2))[:, 0]
    box = torch.cat(((full + 1 - size).mul_(place).floor_(), size), dim=1)
    return {"box": torch.where(fits.any(1, keepdim=True), box, central).long()}


@lru_cache(maxsize=16)
def _whole_and_central(height: int, width: int, ratio: tuple[float, float], device: torch.device) -> tuple[Tensor, Tensor]:
    """Return height and width, Float64[2], and the box of the largest central crop within bounds of the aspect ratio, Float64[4]."""
    wide, tall = min(width, round(height * ratio[1])), min(height, round(width / ratio[0]))
    central = ((height - tall) // 2, (width - wide) // 2, tall, wide)
    return tuple(torch.tensor(values, dtype=torch.float64, device=device) for values in ((height, width), central))


@lru_cache(maxsize=16)
def _pixels(height: int, width: int, device: torch.device) -> tuple[Tensor, Tensor, Tensor]:
    """Return the rows' and then the columns' middles and side, Float64[y + x], and the axis of each (0 or 1), Int64[y + x]."""
    middle = torch.cat([torch.arange(side, dtype=torch.float64) + 0.5 for side in (height, width)])
    axis = torch.tensor([0] * height + [1] * width)
    return middle.to(device), torch.tensor([height, width]).double()[axis].to(device), axis.to(device)


def apply_crop_resize(images: Tensor, params: Params) -> Tensor:
    """Resize the `box` of each image bilinearly to the full size; nothing outside the box enters (it never shrinks: no antialiasing)."""
    height, width = images.shape[2:]
    middle, side, axis = _pixels(height, width, images.device)
    # Both axes in one go: for small images the number of calls is what costs.
    first, count = params["box"].double().index_select(1, torch.cat((axis, axis + 2))).split(height + width, dim=1)
    source = (count * middle).div_(side).sub_(0.5).clamp_min_(0)
    source = torch.minimum(source, count.sub_(1)).add_(first)
    y, x = source.mul_(2).add_(1).div_(side).sub_(1).split((height, width), dim=1)
    return _sample(images, x[:, None, :], y[:, :, None], "border")


def sample_flip(rng: CounterRNG, step: Flip, shape: Shape) -> Params:
    """Sample `flip` Bool[n]."""
    return {"flip": rng.uniform(1)[:, 0] < step.p}


def apply_flip(images: Tensor, params: Params) -> Tensor:
    """Mirror left to right where `flip`."""
    return choose(params["flip"], images.flip(-1), images)


def sample_rotate(rng: CounterRNG, step: Rotate, shape: Shape) -> Params:
    """Sample `angle` Float64[n] in degrees, counter-clockwise."""
    return {"angle": (2 * rng.uniform(1)[:, 0] - 1) * step.degrees}


def _cos_sin(degrees: Tensor) -> tuple[Tensor, Tensor]:
    """Return cosine and sine to 1e-15 by Taylor's series within a quadrant, since torch's own depend on the place in the tensor."""
    quadrant = (degrees / 90).round()
    angle = (degrees - 90 * quadrant) * (math.pi / 180)
    series = []
    for first, term in ((0, torch.ones_like(angle)), (1, angle)):
        total = term
        for power in range(first + 2, first + 18, 2):
            term = term * angle * angle / -(power * (power - 1))
            total = total + term
        series.append(total)
    cos, sin = series
    turned = torch.stack((cos, sin, -cos, -sin), dim=1)
    quadrant = quadrant.long()[:, None]
    return turned.gather(1, -quadrant % 4)[:, 0], turned.gather(1, (1 - quadrant) % 4)[:, 0]


def apply_rotate(images: Tensor, params: Params) -> Tensor:
    """Rotate about the middle by `angle`, zeros outside (as torchvision's rotate with ``fill=None``)."""
    cos, sin = (per_sample(value, images)[:, 0] for value in _cos_sin(params["angle"]))
    height, width = images.shape[2:]
    x = (torch.arange(width, device=images.device, dtype=images.dtype) - (width - 1) / 2)[None, None, :]
    y = (torch.arange(height, device=images.device, dtype=images.dtype) - (height - 1) / 2)[None, :, None]
    return _sample(images, (cos * x - sin * y) * (2 / width), (sin * x + cos * y) * (2 / height), "zeros")
