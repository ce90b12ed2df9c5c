"""The section ``encoder``: which backbone is trained."""

from __future__ import annotations

import json
from typing import Any, Literal

from pydantic import field_validator, model_validator

from sslmem_kit.spec.places import bundled_specs as bundled_specs
from sslmem_kit.spec.section import Count, Section


class BackboneSpec(Section):
    """A timm backbone. ``img_size`` and ``in_chans`` follow from the data unless ``options`` give them."""

    backbone: str = "resnet18"
    """Name of a timm model, such as resnet18 or vit_tiny_patch16_224."""
    stem: Literal["auto", "small", "medium", "stock"] = "auto"
    """First layers, ResNets only. small: 3x3 stride 1, no pooling; medium: 3x3 stride 2, no pooling; stock: timm's own; auto: small
    up to 16 pixels a side, medium up to 32, stock above."""
    grid: Count | None = None
    """Patches along a side, about, of backbones that cut images into patches: the patch size is the divisor of the image's side
    that comes nearest, so that one spec fits images of any size; null: ``patch_size`` in the options, or timm's own."""
    options: dict[str, Any] = {}
    """Arguments of ``timm.create_model``: patch_size, embed_dim, depth, layers, channels, ..."""

    @field_validator("options")
    @classmethod
    def _options_are_json(cls, options: dict[str, Any]) -> dict[str, Any]:
        try:
            json.dumps(options, allow_nan=False)
        except (TypeError, ValueError):
            raise ValueError("values have to be text, finite numbers, true, false, null, lists or mappings") from None
        return options

    @model_validator(mode="after")
    def _one_patch_size(self) -> BackboneSpec:
        if self.grid is not None and "patch_size" in self.options:
            raise ValueError("grid and options.patch_size both say how large a patch is, give one of them")
        return self
