"""The encoders of `training.py` as one writes them without a toolkit: transforms of single images, timm's backbone, lightly's parts."""

from __future__ import annotations

import timm
import torch
from lightly.loss import NTXentLoss
from lightly.models.modules.heads import SimCLRProjectionHead
from lightly.models.modules.masked_vision_transformer_decoder_timm import MaskedVisionTransformerDecoderTIMM
from lightly.models.modules.masked_vision_transformer_timm import MaskedVisionTransformerTIMM
from lightly.models.utils import get_at_index, patchify, random_token_mask, set_at_index
from PIL import Image
from torch import Tensor, nn
from torch.utils.data import Dataset
from torchvision.transforms import v2

from sslmem_kit.spec.study import StudySpec


class Images(Dataset):
    """Images as a torchvision data set gives them, transformed once for each view."""

    def __init__(self, pixels, transform, views: int) -> None:
        self.images = [Image.fromarray(image.squeeze()) for image in pixels]
        self.transform, self.views = transform, views

    def __len__(self) -> int:
        """How many."""
        return len(self.images)

    def __getitem__(self, index: int) -> list[Tensor]:
        """The views of one image."""
        return [self.transform(self.images[index]) for _ in range(self.views)]


def transform_of(spec: StudySpec, mean: tuple[float, ...], std: tuple[float, ...]) -> v2.Compose:
    """Torchvision's transforms for a policy: what they do to a PIL image, they do there, where they are fastest."""
    on_image, on_tensor = [], []
    for step in spec.training.policy.steps:
        if step.op == "crop_resize":
            side = 8 if spec.data.name == "digits" else 32
            on_image.append(v2.RandomResizedCrop(side, scale=step.scale, ratio=step.ratio, antialias=True))
        elif step.op == "flip":
            on_image.append(v2.RandomHorizontalFlip(step.p))
        elif step.op == "color_jitter":
            jitter = v2.ColorJitter(step.brightness, step.contrast, step.saturation, step.hue)
            on_image.append(v2.RandomApply([jitter], step.p))
        elif step.op == "color_drop":
            on_image.append(v2.RandomGrayscale(step.p))
        elif step.op == "noise":
            on_tensor.append(v2.GaussianNoise(step.mean, step.sigma))
    return v2.Compose([*on_image, v2.ToImage(), v2.ToDtype(torch.float32, scale=True), *on_tensor, v2.Normalize(mean, std)])


def model_of(spec: StudySpec, image_shape: tuple[int, int, int]) -> nn.Module:
    """A module that maps the views of a batch to the loss."""
    return (SimCLR if spec.objective.method == "simclr" else MAE)(spec, image_shape)


class SimCLR(nn.Module):
    """A ResNet, a projection head, NT-Xent."""

    def __init__(self, spec: StudySpec, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        channels = image_shape[2]
        options = {name: tuple(value) for name, value in spec.encoder.options.items()}
        self.backbone = timm.create_model(spec.encoder.backbone, num_classes=0, in_chans=channels, **options)
        if spec.encoder.stem == "small":
            self.backbone.conv1 = nn.Conv2d(channels, 64, 3, padding=1, bias=False)
            self.backbone.maxpool = nn.Identity()
        objective = spec.objective
        self.head = SimCLRProjectionHead(self.backbone.num_features, objective.hidden_dim, objective.projection_dim)
        self.criterion = NTXentLoss(temperature=objective.temperature)

    def forward(self, views: list[Tensor]) -> Tensor:
        """NT-Xent of two views."""
        return self.criterion(*self.head(self.backbone(torch.cat(views))).chunk(2))


class MAE(nn.Module):
    """A ViT on visible patches, a decoder that predicts the others."""

    def __init__(self, spec: StudySpec, image_shape: tuple[int, int, int]) -> None:
        super().__init__()
        objective = spec.objective
        vit = timm.create_model(spec.encoder.backbone, num_classes=0, img_size=image_shape[0], **spec.encoder.options)
        self.ratio, self.patch_size, self.tokens = (
            objective.mask_ratio,
            vit.patch_embed.patch_size[0],
            vit.patch_embed.num_patches + 1,
        )
        self.vit = MaskedVisionTransformerTIMM(vit)
        self.embed = nn.Linear(vit.embed_dim, objective.decoder_dim)
        self.decoder = MaskedVisionTransformerDecoderTIMM(
            num_patches=self.tokens - 1,
            embed_dim=objective.decoder_dim,
            depth=objective.decoder_depth,
            num_heads=objective.decoder_heads,
        )
        self.head = nn.Linear(objective.decoder_dim, self.patch_size**2 * image_shape[2])

    def forward(self, views: list[Tensor]) -> Tensor:
        """Mean squared error of the masked patches."""
        images = views[0]
        kept, masked = random_token_mask((len(images), self.tokens), mask_ratio=self.ratio, device=images.device)
        visible = self.embed(self.vit.encode(images, idx_keep=kept))
        tokens = set_at_index(self.decoder.mask_token.to(visible.dtype).repeat(len(images), self.tokens, 1), kept, visible)
        predicted = self.head(get_at_index(self.decoder.decode(self.decoder.add_pos_embed(tokens)), masked))
        target = get_at_index(patchify(images, self.patch_size), masked - 1)
        target = (target - target.mean(-1, keepdim=True)) / (target.var(-1, keepdim=True) + 1e-6) ** 0.5
        return nn.functional.mse_loss(predicted, target)
