"""MAE (He et al. 2022): encode the visible patches of a view, reconstruct the masked ones."""

from __future__ import annotations

import torch
from timm.models.vision_transformer import VisionTransformer
from torch import Tensor, nn

from sslmem_kit.encoders.backbone import Encoder
from sslmem_kit.errors import UserError
from sslmem_kit.spec.objective import MAESpec
from sslmem_kit.training.lightly import (
    MaskedVisionTransformerDecoderTIMM,
    MaskedVisionTransformerTIMM,
    get_at_index,
    patchify,
    set_at_index,
)
from sslmem_kit.training.objectives.base import Batch, Objective, Outputs
from sslmem_kit.views import CounterRNG


class MAE(Objective):
    """ViT that sees a quarter of the patches, and a small decoder that predicts the pixels of the others."""

    views = 1

    def __init__(self, encoder: Encoder, spec: MAESpec, *, classes: int) -> None:
        super().__init__(encoder, spec.regularizer)
        vit = encoder.backbone
        if not isinstance(vit, VisionTransformer):
            raise UserError("objective.method: 'mae' masks patches and needs a plain ViT of timm (vit_...) as encoder.backbone")
        if vit.patch_embed.num_patches < 4:
            raise UserError(
                f"encoder.options.patch_size: 'mae' needs at least 4 patches, these images have {vit.patch_embed.num_patches}"
            )
        self.patch_size = vit.patch_embed.patch_size[0]
        side = vit.patch_embed.img_size[0]
        if side % self.patch_size:
            raise UserError(
                f"encoder.options.patch_size: 'mae' reconstructs whole patches, so that it has to divide the images' side, {side}; "
                f"it is {self.patch_size}; encoder.grid in its place finds one that does"
            )
        self.spec = spec
        self.masked_vit = MaskedVisionTransformerTIMM(vit)
        # Several devices wait for the gradients of all trained parameters: those that no loss reaches are frozen.
        self.masked_vit.mask_token.requires_grad_(False)
        for pooling in (vit.attn_pool, vit.fc_norm):
            if pooling is not None:
                pooling.requires_grad_(False)
        self.embed = nn.Linear(vit.embed_dim, spec.decoder_dim)
        self.decoder = MaskedVisionTransformerDecoderTIMM(
            num_patches=vit.patch_embed.num_patches,
            embed_dim=spec.decoder_dim,
            depth=spec.decoder_depth,
            num_heads=spec.decoder_heads,
            num_prefix_tokens=vit.num_prefix_tokens,
        )
        self.head = nn.Linear(spec.decoder_dim, self.patch_size**2 * vit.patch_embed.proj.in_channels)

    def outputs(self, batch: Batch) -> Outputs:
        """Return the masked patches of one view, as predicted and as they are: [batch, patch, pixel] each."""
        images = self.encoder.normalize(batch.views[0])
        prefix = self.masked_vit.vit.num_prefix_tokens
        patches = self.masked_vit.vit.patch_embed.num_patches
        # Keys follow the slot, so that coupled encoders mask alike.
        order = _random_order(batch.keys, patches) + prefix
        hidden = min(patches - 1, max(1, round(self.spec.mask_ratio * patches)))
        masked = order[:, :hidden]
        always = torch.arange(prefix, device=images.device).expand(len(images), prefix)
        kept = torch.cat([always, order[:, hidden:]], dim=1)

        visible = self.embed(self.masked_vit.encode(images, idx_keep=kept))
        tokens = self.decoder.mask_token.to(visible.dtype).repeat(len(images), prefix + patches, 1)
        decoded = self.decoder.decode(self.decoder.add_pos_embed(set_at_index(tokens, kept, visible)))
        predicted = self.head(get_at_index(decoded, masked))

        target = get_at_index(patchify(images, self.patch_size), masked - prefix)
        if self.spec.normalize_pixels:
            target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6) ** 0.5
        return Outputs((predicted, target))

    def compare(self, compared: tuple[Tensor, ...], labels: Tensor) -> Tensor:
        """Return the mean squared error of the masked patches."""
        predicted, target = compared
        return ((predicted - target) ** 2).mean()


@torch.compiler.disable()  # whose kernel of integers and a sort Triton does not compile
def _random_order(keys: Tensor, count: int) -> Tensor:
    """Return a random order of 0..count - 1 for each key, [batch, count] int64."""
    return CounterRNG(keys).uniform(count).argsort(dim=1)
