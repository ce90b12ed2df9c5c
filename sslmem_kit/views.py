"""Views as a pure function of (seed, sample id, view index), computed in batches on the images' device.

Every random number is a hash (splitmix64) of (seed, sample id, view, position of the step in the policy, element): no state, so a
sample's view does not depend on the batch it stands in, on order, resume or workers, and all encoders see the same views.

On the CPU results are identical to the bit for any batch size, order and thread count. Torch computes whole vectors with one
routine and the ends of a tensor with another, and which element stands at an end depends on the batch; so the kernels use only what
IEEE 754 defines exactly (+ - * / sqrt, comparisons, integers, look-ups, and no fused ``addcmul``, ``lerp`` or ``add(alpha=)``), and
grid_sample, whose vectors and ends share one routine. The one exception is the exponential in the crop's aspect ratio, in float64
and followed by rounding to whole pixels. The means are sums of integers, exact in any order.

Each op is a pair, `draw_<op>` (random parameters, leading dim the sample) and `apply_<op>` (no randomness): see `OPS`. Images are
in [0, 1], before normalization; `shape` is (channel, y, x).
"""

import itertools
import math
from collections.abc import Callable
from dataclasses import dataclass
from functools import lru_cache
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn import functional

from sslmem_kit.errors import UserError
from sslmem_kit.policies import ColorDrop, ColorJitter, Crop, CropResize, Flip, Mask, Noise, Policy, Rotate

Params = dict[str, Tensor]
Shape = tuple[int, int, int]


def _signed(value: int) -> int:
    """The int64 with the same lower 64 bits."""
    return (value + 2**63) % 2**64 - 2**63


_GAMMA, _STREAM = _signed(0x9E3779B97F4A7C15), _signed(0xD1342543DE82EF95)
_MIX = ((30, _signed(0xBF58476D1CE4E5B9)), (27, _signed(0x94D049BB133111EB)))


def _mix_(bits: Tensor) -> Tensor:
    """The finalizer of splitmix64, in place; int64 shifts are arithmetic, hence the masks."""
    for shift, factor in _MIX:
        bits ^= (bits >> shift).bitwise_and_(2 ** (64 - shift) - 1)
        bits *= factor
    bits ^= (bits >> 31).bitwise_and_(2**33 - 1)
    return bits


def keys(seed: int, ids: Tensor, view: int | Tensor) -> Tensor:
    """Int64[n], one key a sample: from the seed (any int, modulo 2**64), the sample ids Int64[n] and the view (int or Int64[n])."""
    key = _mix_(torch.full_like(ids, _signed(seed)) + _GAMMA)
    key = _mix_(key + ids)
    return _mix_(key + view)


@dataclass(frozen=True)
class Draws:
    """The random numbers of one step: element j of sample i depends on (keys[i], stream, j) alone."""

    keys: Tensor
    stream: int = 0

    def bits(self, count: int) -> Tensor:
        """Int64[n, count] of uniform random bits."""
        start = _mix_(self.keys + _signed((self.stream + 1) * _STREAM))
        counter = torch.arange(1, count + 1, device=start.device) * _GAMMA
        return _mix_(start[:, None] + counter)

    def uniform(self, count: int) -> Tensor:
        """Float64[n, count], uniform in [0, 1) on multiples of 2**-53; so floor(u * m) < m for every integer m < 2**53."""
        return (self.bits(count) >> 11).bitwise_and_(2**53 - 1).double() * 2.0**-53


def _per_sample(values: Tensor, images: Tensor) -> Tensor:
    return values.to(images.dtype)[:, None, None, None]


def _choose(chosen: Tensor, ones: Tensor, others: Tensor) -> Tensor:
    """`ones` where `chosen` Bool[n], else `others`: exact, by factors of 0 and 1 (torch.where is several times slower on CPU)."""
    return others * _per_sample(~chosen, others) + ones * _per_sample(chosen, ones)


def _sample(images: Tensor, x: Tensor, y: Tensor, padding: str) -> Tensor:
    """Bilinear samples at x, y (broadcastable to [n, y, x]), given in grid_sample's units of half a side from the middle."""
    size = (len(images), *images.shape[2:])
    # Planes of x and of y, seen as the [n, y, x, 2] that grid_sample takes: it is three times as fast that way.
    grid = torch.stack((x.to(images.dtype).expand(size), y.to(images.dtype).expand(size)), dim=1).permute(0, 2, 3, 1)
    return functional.grid_sample(images, grid, mode="bilinear", padding_mode=padding, align_corners=False).clamp_(0, 1)


# --- geometry


def draw_crop(draws: Draws, step: Crop, shape: Shape) -> Params:
    """`offset` Int64[n, 2]: first row and column of the crop, negative in the padding."""
    padding = torch.tensor([round(step.padding * side) for side in shape[1:]], device=draws.keys.device)
    return {"offset": (draws.uniform(2) * (2 * padding + 1)).long() - padding}


def apply_crop(images: Tensor, params: Params) -> Tensor:
    """The window at `offset`, zeros where it leaves the image."""
    n, channel, height, width = images.shape
    rows = params["offset"][:, :1] + torch.arange(height, device=images.device)
    columns = params["offset"][:, 1:] + torch.arange(width, device=images.device)
    inside = [((place >= 0) & (place < side)).to(images.dtype) for place, side in ((rows, height), (columns, width))]
    index = rows.clamp(0, height - 1)[:, :, None] * width + columns.clamp(0, width - 1)[:, None, :]
    moved = images.flatten(2).gather(2, index.view(n, 1, -1).expand(n, channel, -1)).view_as(images)
    return moved.mul_(inside[0][:, None, :, None]).mul_(inside[1][:, None, None, :])


def draw_crop_resize(draws: Draws, step: CropResize, shape: Shape) -> Params:
    """`box` Int64[n, 4]: top, left, height, width; ten attempts at area and log aspect ratio, then the largest central crop."""
    _, height, width = shape
    attempts = 10
    area, ratio, place = draws.uniform(2 * attempts + 2).split((attempts, attempts, 2), dim=1)
    area = height * width * (area * (step.scale[1] - step.scale[0]) + step.scale[0])
    low, high = (math.log(bound) for bound in step.ratio)
    ratio = (ratio * (high - low) + low).exp()
    sizes = torch.stack(((area / ratio).sqrt().round(), (area * ratio).sqrt().round()), dim=2)
    full = torch.tensor((height, width), dtype=sizes.dtype, device=sizes.device)
    fits = ((sizes > 0) & (sizes <= full)).all(2)
    first = fits.byte().argmax(1)
    size = sizes[torch.arange(len(sizes), device=sizes.device), first]
    box = torch.cat(((place * (full - size + 1)).floor(), size), dim=1)
    bounded_width = min(width, round(height * step.ratio[1]))
    bounded_height = min(height, round(width / step.ratio[0]))
    central = ((height - bounded_height) // 2, (width - bounded_width) // 2, bounded_height, bounded_width)
    return {"box": torch.where(fits.any(1, keepdim=True), box, torch.tensor(central, dtype=box.dtype, device=box.device)).long()}


def apply_crop_resize(images: Tensor, params: Params) -> Tensor:
    """The `box` of each image, bilinear, at the full size; nothing outside the box enters (it never shrinks: no antialiasing)."""
    grid = []
    for first, count, side in zip(params["box"][:, :2].T, params["box"][:, 2:].T, images.shape[2:], strict=True):
        target = torch.arange(side, device=images.device, dtype=torch.float64) + 0.5
        source = (target * count[:, None] / side - 0.5).clamp_min_(0).minimum(count[:, None] - 1.0) + first[:, None]
        grid.append((2 * source + 1) / side - 1)
    return _sample(images, grid[1][:, None, :], grid[0][:, :, None], "border")


def draw_flip(draws: Draws, step: Flip, shape: Shape) -> Params:
    """`flip` Bool[n]."""
    return {"flip": draws.uniform(1)[:, 0] < step.p}


def apply_flip(images: Tensor, params: Params) -> Tensor:
    """Mirrored left to right where `flip`."""
    return _choose(params["flip"], images.flip(-1), images)


def draw_rotate(draws: Draws, step: Rotate, shape: Shape) -> Params:
    """`angle` Float64[n] in degrees, counter-clockwise."""
    return {"angle": (2 * draws.uniform(1)[:, 0] - 1) * step.degrees}


def _cos_sin(degrees: Tensor) -> tuple[Tensor, Tensor]:
    """Cosine and sine to 1e-15 by Taylor's series within a quadrant, since torch's own depend on the place in the tensor."""
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
    """Rotated about the middle by `angle`, zeros outside (as torchvision's rotate with ``fill=None``)."""
    cos, sin = (_per_sample(value, images)[:, 0] for value in _cos_sin(params["angle"]))
    height, width = images.shape[2:]
    x = (torch.arange(width, device=images.device, dtype=images.dtype) - (width - 1) / 2)[None, None, :]
    y = (torch.arange(height, device=images.device, dtype=images.dtype) - (height - 1) / 2)[None, :, None]
    return _sample(images, (cos * x - sin * y) * (2 / width), (sin * x + cos * y) * (2 / height), "zeros")


# --- colour

_ORDERS = tuple(itertools.permutations(range(4)))
_BRIGHTNESS, _CONTRAST, _SATURATION, _HUE = range(4)


def _is_grey(images: Tensor) -> bool:
    """Whether colour ops have nothing to act on; torchvision, too, knows only images of 1 and 3 channels."""
    if images.shape[1] not in (1, 3):
        raise UserError(f"images: color_jitter and color_drop got {images.shape[1]} channels, allowed are 1 and 3")
    return images.shape[1] == 1


def _grey(images: Tensor) -> Tensor:
    """Luma [n, 1, y, x]; one product after the other, since a fused one rounds differently at a tensor's end."""
    red, green, blue = images.split(1, dim=1)
    return (red * 0.2989).add_(green * 0.587).add_(blue * 0.114)


def _exact_mean(grey: Tensor) -> Tensor:
    """Mean of each image of [0, 1] values, in 24 bits: whole numbers below 2**53 sum exactly in any order. Float64[n]."""
    return (grey * 2.0**24).round_().sum((1, 2, 3), dtype=torch.float64) / (2.0**24 * grey[0].numel())


def draw_color_jitter(draws: Draws, step: ColorJitter, shape: Shape) -> Params:
    """`jitter` Bool[n]; `order` Int64[n, 4] of 0 brightness, 1 contrast, 2 saturation, 3 hue; `factors` Float64[n, 3]; `hue`.

    `hue` Float64[n] is a fraction of the circle, and is absent where the step has none.
    """
    uniform = draws.uniform(6)
    orders = torch.tensor(_ORDERS, device=uniform.device)
    params = {"jitter": uniform[:, 0] < step.p, "order": orders[(uniform[:, 1] * len(orders)).long()]}
    strengths = torch.tensor((step.brightness, step.contrast, step.saturation), dtype=uniform.dtype, device=uniform.device)
    low = (1 - strengths).clamp_min(0)
    params["factors"] = low + uniform[:, 2:5] * (1 + strengths - low)
    if step.hue:
        params["hue"] = (2 * uniform[:, 5] - 1) * step.hue
    return params


def apply_color_jitter(images: Tensor, params: Params) -> Tensor:
    """Where `jitter`: the four adjustments, each image in its own `order`; on grey images only brightness and contrast act.

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
    """In place: factor * image + (1 - factor) * (0, mean grey or grey, after the kind), clamped to [0, 1]."""
    grey = images if images.shape[1] == 1 else _grey(images)
    other = _per_sample((1 - factor) * _exact_mean(grey) * (kind == _CONTRAST), images)
    if images.shape[1] == 3:
        other = grey.mul_(_per_sample((1 - factor) * (kind == _SATURATION), images)).add_(other)
    images.mul_(_per_sample(factor, images)).add_(other).clamp_(0, 1)


def _shift_hue_(images: Tensor, shift: Tensor) -> None:
    """In place: the hue moved by `shift` turns, at equal value and saturation (through HSV's hexagon)."""
    red, green, blue = images.unbind(1)
    top = torch.maximum(torch.maximum(red, green), blue)
    low = torch.minimum(torch.minimum(red, green), blue)
    span = top - low
    # 1.0 and 0.0 in place of booleans: see _choose.
    is_red, is_green = top.clone().eq_(red), top.clone().eq_(green)
    is_green.mul_(1 - is_red)
    hue = (green - blue).mul_(is_red).add_((blue - red).mul_(is_green)).add_((red - green).mul_(1 - is_red - is_green))
    hue.div_(span.clamp_min(torch.finfo(span.dtype).tiny))
    hue.add_((1 - is_red).mul_(4)).sub_(is_green.mul_(2)).add_(_per_sample(6 * shift, images)[:, 0])
    hue.sub_((hue / 6).floor_().mul_(6))
    for channel, centre, sign in ((red, 3, 1), (green, 2, -1), (blue, 4, -1)):
        # The hexagon's profile of a channel: 1 within one sixth of its own hue, falling to 0 over the next.
        share = (hue - centre).abs_().sub_(1) if sign > 0 else (2 - (hue - centre).abs_())
        channel.copy_(share.clamp_(0, 1).mul_(span).add_(low))


def draw_color_drop(draws: Draws, step: ColorDrop, shape: Shape) -> Params:
    """`drop` Bool[n]."""
    return {"drop": draws.uniform(1)[:, 0] < step.p}


def apply_color_drop(images: Tensor, params: Params) -> Tensor:
    """Grey in all three channels where `drop`; a grey image is left as it is."""
    return images if _is_grey(images) else _choose(params["drop"], _grey(images), images)


# --- noise and masks


@lru_cache(maxsize=8)
def _normal_quantiles(device: torch.device) -> Tensor:
    """The 2**16 midpoint quantiles of the standard normal, scaled to variance 1; within 8e-6 of its distribution function."""
    levels = (torch.arange(2**16, dtype=torch.float64) + 0.5) / 2**16
    quantiles = torch.special.ndtri(levels)
    return (quantiles / quantiles.square().mean().sqrt()).float().to(device)


def draw_noise(draws: Draws, step: Noise, shape: Shape) -> Params:
    """`noise` Float32[n, channel, y, x]: a look-up by 16 random bits each, which is exact where logarithms are not (and faster)."""
    count = math.prod(shape)
    level = draws.bits(-(-count // 4)).view(torch.uint16).to(torch.int32)
    noise = _normal_quantiles(level.device).index_select(0, level.flatten()).view(level.shape)[:, :count]
    return {"noise": (noise * step.sigma + step.mean).view(-1, *shape)}


def apply_noise(images: Tensor, params: Params) -> Tensor:
    """The image plus `noise`, clamped to [0, 1]."""
    return (images + params["noise"]).clamp_(0, 1)


def draw_mask(draws: Draws, step: Mask, shape: Shape) -> Params:
    """`hidden` Bool[n, y, x]: round(ratio * patches) whole patches, cut at the far edges where the side is no multiple."""
    height, width = shape[1:]
    tall, wide = (max(1, round(step.patch * side)) for side in (height, width))
    across = -(-width // wide)
    patches = -(-height // tall) * across
    chosen = draws.bits(patches).argsort(dim=1, stable=True)[:, : round(step.ratio * patches)]
    hidden = torch.zeros(len(chosen), patches, dtype=torch.bool, device=chosen.device).scatter_(1, chosen, True)
    pixel = torch.arange(height, device=chosen.device)[:, None] // tall * across + torch.arange(width, device=chosen.device) // wide
    return {"hidden": hidden[:, pixel]}


def apply_mask(images: Tensor, params: Params) -> Tensor:
    """Zero where `hidden`."""
    return images * (~params["hidden"][:, None]).to(images.dtype)


class Op(NamedTuple):
    """How a step is drawn, ``(draws, step, shape) -> params``, and applied, ``(images, params) -> images``."""

    draw: Callable[..., Params]
    apply: Callable[[Tensor, Params], Tensor]


OPS: dict[str, Op] = {
    "crop": Op(draw_crop, apply_crop),
    "crop_resize": Op(draw_crop_resize, apply_crop_resize),
    "flip": Op(draw_flip, apply_flip),
    "color_jitter": Op(draw_color_jitter, apply_color_jitter),
    "color_drop": Op(draw_color_drop, apply_color_drop),
    "noise": Op(draw_noise, apply_noise),
    "rotate": Op(draw_rotate, apply_rotate),
    "mask": Op(draw_mask, apply_mask),
}


# --- public


def to_float(images: Tensor) -> Tensor:
    """Stored images UInt8[n, y, x, channel] as Float32[n, channel, y, x] in [0, 1].

    Raises `UserError` for another dtype or another number of dims.
    """
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise UserError(f"images: got {images.dtype} of shape {tuple(images.shape)}, allowed is uint8 [sample, y, x, channel]")
    return images.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format) / 255


@torch.no_grad()
def make_views(images: Tensor, ids: Tensor, *, view: int | Tensor, seed: int, policy: Policy) -> Tensor:
    """One view of every sample: a pure function of its image and (seed, id, view, policy).

    Parameters
    ----------
    images : Float[n, channel, y, x]
        In [0, 1], *not* normalized; float32 or float64 are computed in, other float types through float32.
    ids : Int64[n]
        Stable sample ids: what keys the randomness, wherever the sample stands.
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
    >>> from sslmem_kit.policies import POLICIES
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
    key = keys(seed, ids, view.to(images.device) if isinstance(view, Tensor) else view)
    work = images.contiguous() if images.dtype in (torch.float32, torch.float64) else images.float().contiguous()
    for position, step in enumerate(policy.steps):
        op = OPS[step.op]
        # The position is the stream, so that two steps of a policy never share numbers.
        work = op.apply(work, op.draw(Draws(key, position), step, tuple(images.shape[1:])))
    return work.to(images.dtype)


def scored_view(images: Tensor, ids: Tensor, *, view: int | Tensor, seed: int, policy: Policy) -> Tensor:
    """The views of the score's vocabulary: view 0 is the clean image, the others are those of `make_views` (same parameters)."""
    if not isinstance(view, Tensor):
        return images if view == 0 else make_views(images, ids, view=view, seed=seed, policy=policy)
    views = make_views(images, ids, view=view, seed=seed, policy=policy)
    return torch.where((view == 0).to(images.device)[:, None, None, None], images, views)
