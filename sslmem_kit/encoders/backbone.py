"""Encoders: timm backbones for images of any size, and their representations.

The representation of a view is the encoder's full (unpooled) output (every token, every position of the last map), flattened.
"""

from __future__ import annotations

import difflib
from collections.abc import Mapping
from typing import Any

import timm
import torch
from torch import Tensor, nn

from sslmem_kit.encoders.fast_linear import use_conv_linear
from sslmem_kit.errors import UserError
from sslmem_kit.spec.encoder import BackboneSpec


class Encoder(nn.Module):
    """A backbone behind the normalization of its images.

    Parameters
    ----------
    backbone
        A timm model without classifier.
    mean, std
        Statistics of each channel in [0, 1].
    stem
        Stem of the backbone: ``small``, ``medium``, ``stock``, or ``patch`` for what is no ResNet.
    image_size
        (height, width) of the images that it takes.
    """

    mean: Tensor
    std: Tensor

    def __init__(
        self, backbone: nn.Module, mean: tuple[float, ...], std: tuple[float, ...], stem: str, image_size: tuple[int, int]
    ) -> None:
        super().__init__()
        self.backbone = backbone
        self.stem = stem
        self.image_size = image_size
        self.register_buffer("mean", torch.tensor(mean).view(-1, 1, 1))
        self.register_buffer("std", torch.tensor(std).view(-1, 1, 1))

    def normalize(self, images: Tensor) -> Tensor:
        """Normalize [batch, channel, y, x] in [0, 1] to zero mean and unit variance: the last step before the backbone."""
        return (images - self.mean) / self.std

    def forward(self, images: Tensor) -> Tensor:
        """Map images [batch, channel, y, x] in [0, 1] to the full (unpooled) representation, [batch, ...]."""
        return self.backbone.forward_features(self.normalize(images))

    def pool(self, output: Tensor) -> Tensor:
        """Pool a full representation to one vector a sample, as the backbone does: [batch, feature]."""
        return self.backbone.forward_head(output, pre_logits=True)


def build_encoder(
    spec: BackboneSpec,
    image_shape: tuple[int, int, int],
    *,
    mean: tuple[float, ...] | None = None,
    std: tuple[float, ...] | None = None,
) -> Encoder:
    """Build an encoder with fresh weights from torch's current generator.

    Parameters
    ----------
    spec
        Backbone, stem and options.
    image_shape
        (height, width, channels) of the images.
    mean, std
        Channel statistics for the normalization; without them images are passed on as they are.

    Raises
    ------
    UserError
        timm has no such backbone, or refuses the options, or the backbone does not take images of this size.
    """
    height, width, channels = image_shape
    if not timm.is_model(spec.backbone):
        near = difflib.get_close_matches(spec.backbone, timm.list_models(), n=5, cutoff=0.5)
        raise UserError(
            f"encoder.backbone: timm has no model {spec.backbone!r}" + (f", near are {', '.join(near)}" if near else "")
        )
    options = {"in_chans": channels, "img_size": (height, width), **_as_tuples(spec.options)}
    if spec.grid:
        options["patch_size"] = height // nearest_divisor(height, spec.grid)
    try:
        backbone = _create(spec.backbone, options, explicit="img_size" in spec.options)
        stem = _set_stem(backbone, spec.stem, side=min(height, width), in_chans=options["in_chans"])
        encoder = Encoder(backbone, mean or (0.0,) * channels, std or (1.0,) * channels, stem, (height, width))
        with torch.no_grad():
            encoder.eval()(torch.zeros(1, channels, height, width))
    except UserError:
        raise
    except (TypeError, ValueError, RuntimeError, AssertionError, AttributeError, ArithmeticError, LookupError) as error:
        what = " ".join(str(error).split())[:160]
        raise UserError(
            f"encoder: timm's {spec.backbone!r} with {options} cannot be built for {height}x{width}x{channels} images ({what})"
        ) from None
    return use_conv_linear(encoder.train())


def nearest_divisor(side: int, wanted: int) -> int:
    """Return the divisor of ``side`` nearest to ``wanted``, the smaller of two that are as near."""
    return min((number for number in range(1, side + 1) if side % number == 0), key=lambda number: (abs(number - wanted), number))


def _create(name: str, options: dict[str, Any], *, explicit: bool) -> nn.Module:
    try:
        return timm.create_model(name, pretrained=False, num_classes=0, **options)
    except TypeError as error:
        # Convolutional backbones take images of any size and refuse the argument.
        if explicit or "img_size" not in str(error):
            raise
        return timm.create_model(name, pretrained=False, num_classes=0, **{k: v for k, v in options.items() if k != "img_size"})


def _as_tuples(options: Mapping[str, Any]) -> dict[str, Any]:
    return {key: tuple(value) if isinstance(value, list) else value for key, value in options.items()}


def _set_stem(backbone: nn.Module, stem: str, *, side: int, in_chans: int) -> str:
    """Replace a ResNet's stem; auto: the one that leaves a first map of at most 16 pixels a side, as far as they go."""
    is_resnet = hasattr(backbone, "conv1") and hasattr(backbone, "maxpool") and hasattr(backbone, "bn1")
    if not is_resnet:
        if stem in ("small", "medium"):
            raise UserError(f"encoder.stem: {stem!r} is for ResNets, this backbone has none to replace; leave it at 'auto'")
        return "patch"
    if stem == "auto":
        stem = "small" if side <= 16 else "medium" if side <= 32 else "stock"
    if stem != "stock":
        conv = nn.Conv2d(in_chans, len(backbone.bn1.weight), 3, stride=1 if stem == "small" else 2, padding=1, bias=False)
        nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
        backbone.conv1, backbone.maxpool = conv, nn.Identity()
    return stem
