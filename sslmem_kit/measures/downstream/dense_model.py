"""The joint between an encoder and a decoder of segmentation-models-pytorch: maps from fine to coarse, and a value at every pixel."""

from __future__ import annotations

import math
from typing import Any

import torch
from torch import Tensor, nn
from torch.nn import functional

from sslmem_kit.encoders.backbone import Encoder
from sslmem_kit.errors import UserError, one_line

BLOCKS = 4
"""Maps that are taken of a backbone whose blocks all have one resolution, evenly spaced, the last block among them."""
LEAST_CHANNELS = 16
"""Channels of the finest block of a U-Net, at least."""


class Pyramid(nn.Module):
    """Maps of an encoder, [batch, channel, y, x] each, from the finest to the coarsest, each of at most half of the side of the one before.

    A ResNet's are the last of each resolution, its stem's among them. Where all blocks have one resolution (ViTs), four of them are brought to
    several: the earlier ones finer by transposed convolutions, the last coarser by pooling, as BEiT's and MAE's authors do for UPerNet.

    Parameters
    ----------
    encoder
        An encoder; its input is set to images of ``side``.
    side, channels
        Of the images.

    Attributes
    ----------
    channels : list of int
        Channels of each map, from fine to coarse.

    Raises
    ------
    UserError
        A backbone without intermediate maps, or one that does not take images of this side.
    """

    def __init__(self, encoder: Encoder, side: int, channels: int) -> None:
        super().__init__()
        self.encoder = encoder
        backbone: Any = encoder.backbone
        if not hasattr(backbone, "forward_intermediates"):
            raise UserError(
                "encoder.backbone: timm gives no intermediate maps of this one (forward_intermediates), which a decoder needs"
            )
        try:
            if hasattr(backbone, "set_input_size"):
                backbone.set_input_size(img_size=(side, side))
                encoder.image_size = (side, side)
            with torch.no_grad():
                found = [*map(torch.zeros_like, self._maps(torch.zeros(2, channels, side, side)))]
        except (TypeError, ValueError, RuntimeError, AssertionError, AttributeError, ArithmeticError, LookupError) as error:
            raise UserError(
                f"data.image_size: the backbone gives no maps of images of {side}x{side} pixels ({one_line(error)})"
            ) from None
        sides = [maps.shape[-1] for maps in found]
        self.resize = nn.ModuleList()
        if len(set(sides)) > 1:
            # The last map of each resolution.
            self.chosen = [place for place, one in enumerate(sides) if place + 1 == len(sides) or sides[place + 1] != one]
        elif side % sides[0]:
            raise UserError(
                f"data.image_size: {side} is no multiple of the backbone's patches of {side // sides[0]} pixels: they would not cover it"
            )
        else:
            self.chosen = [math.ceil((number + 1) * len(sides) / BLOCKS) - 1 for number in range(BLOCKS)]
            finer = min(BLOCKS - 2, int(math.log2(max(1, side // sides[0]))))
            width = found[0].shape[1]
            for place in range(BLOCKS):
                self.resize.append(_resize(finer - place, width))
        if len(set(self.chosen)) < 2:
            raise UserError("encoder.backbone: it has one map only, a decoder needs at least two resolutions or four blocks")
        with torch.no_grad():
            self.channels = [maps.shape[1] for maps in self(torch.zeros(2, channels, side, side))]

    def _maps(self, images: Tensor) -> list[Tensor]:
        backbone: Any = self.encoder.backbone
        found = backbone.forward_intermediates(self.encoder.normalize(images), intermediates_only=True, output_fmt="NCHW")
        return list(found)

    def forward(self, images: Tensor) -> list[Tensor]:
        """Map images [batch, channel, y, x] in [0, 1] to maps from fine to coarse."""
        maps = self._maps(images)
        maps = [maps[place] for place in self.chosen]
        return [change(one) for change, one in zip(self.resize, maps, strict=True)] if len(self.resize) else maps


def _resize(octaves: int, width: int) -> nn.Module:
    """Return what makes a map of ``width`` channels finer (``octaves`` > 0) or coarser by powers of two."""
    if octaves > 0:
        return nn.Sequential(*(nn.ConvTranspose2d(width, width, 2, stride=2) for _ in range(octaves)))
    return nn.Sequential(*(nn.MaxPool2d(2, ceil_mode=True) for _ in range(-octaves)))


class DenseModel(nn.Module):
    """Encoder, decoder and head: images [batch, channel, y, x] in [0, 1] to ``outputs`` numbers a pixel, [batch, output, y, x].

    Parameters
    ----------
    encoder
        An encoder, which becomes part of the model.
    decoder
        ``upernet`` or ``unet``.
    width
        Channels of UPerNet, or of the deepest block of the U-Net.
    side, channels
        Of the images.
    outputs
        Numbers a pixel.
    frozen
        True: the encoder's weights and statistics stay as they are.
    """

    def __init__(
        self, encoder: Encoder, decoder: str, *, width: int, side: int, channels: int, outputs: int, frozen: bool = False
    ) -> None:
        from segmentation_models_pytorch.decoders.unet.decoder import UnetDecoder
        from segmentation_models_pytorch.decoders.upernet.decoder import UPerNetDecoder

        super().__init__()
        encoder.eval()  # while maps are looked at, no statistics change
        self.pyramid, self.frozen = Pyramid(encoder, side, channels), frozen
        self.is_unet = decoder == "unet"
        maps = self.pyramid.channels
        if self.is_unet:
            widths = [max(LEAST_CHANNELS, width // 2**place) for place in range(len(maps))]
            # The image itself stands first, for its size alone.
            self.decoder = UnetDecoder([channels, *maps], widths, n_blocks=len(maps))
            last = widths[-1]
        else:
            # Two maps finer than those that UPerNet takes stand first, and are not used.
            self.decoder = UPerNetDecoder([0, 0, *maps], encoder_depth=len(maps) + 1, decoder_channels=width)
            last = width
        self.head = nn.Conv2d(last, outputs, kernel_size=1)
        for parameter in encoder.parameters():
            parameter.requires_grad_(not frozen)
        self.train()

    def train(self, mode: bool = True) -> DenseModel:
        """Set training or evaluation mode; a frozen encoder stays in evaluation mode."""
        super().train(mode)
        if self.frozen:
            self.pyramid.encoder.eval()
        return self

    def forward(self, images: Tensor) -> Tensor:
        """Return the outputs at every pixel."""
        maps = self.pyramid(images)
        features = self.decoder([images, *maps] if self.is_unet else [images, images, *maps])
        return functional.interpolate(self.head(features), size=images.shape[2:], mode="bilinear", align_corners=False)
