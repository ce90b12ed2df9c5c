"""Every method around a small encoder, and batches for it."""

from __future__ import annotations

import torch
from torch import Tensor, nn

from sslmem_kit.encoders.backbone import Encoder, build_encoder
from sslmem_kit.spec.encoder import BackboneSpec
from sslmem_kit.spec.objective import METHODS
from sslmem_kit.spec.policy import POLICIES
from sslmem_kit.training.objectives import OBJECTIVES, Batch, Objective, StepInfo, build_objective
from sslmem_kit.views import make_views

SIDE, CLASSES, BATCH = 32, 5, 6
STEPS_AN_EPOCH, EPOCHS = 3, 4

_VIT = {"patch_size": 8, "embed_dim": 24, "depth": 2, "num_heads": 2, "dynamic_img_size": True}
ENCODERS = {
    "resnet": BackboneSpec(backbone="resnet18", options={"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16]}),
    "vit": BackboneSpec(backbone="vit_tiny_patch16_224", options=_VIT),
    "vit_avg": BackboneSpec(backbone="vit_tiny_patch16_224", options={**_VIT, "global_pool": "avg"}),
    "vit_map": BackboneSpec(backbone="vit_tiny_patch16_224", options={**_VIT, "global_pool": "map"}),
}
OPTIONS = {
    "simclr": {"hidden_dim": 16, "projection_dim": 8},
    "mae": {"decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2},
    "dino": {"hidden_dim": 16, "bottleneck_dim": 8, "output_dim": 12, "frozen_epochs": 0},
    "vicreg": {"hidden_dim": 16, "projection_dim": 8},
    "simsiam": {"projection_dim": 16, "prediction_dim": 8},
    "supervised": {},
}
assert OPTIONS.keys() == OBJECTIVES.keys() == METHODS.keys()

CASES = [(method, encoder) for method in OBJECTIVES for encoder in ENCODERS if method != "mae" or encoder != "resnet"]
"""Methods with the encoders that they take."""
ONE_EACH = [(method, "vit" if method == "mae" else "resnet") for method in OBJECTIVES]


def make_encoder(name: str, *, side: int = SIDE, **options: object) -> Encoder:
    spec = ENCODERS[name]
    return build_encoder(spec.model_copy(update={"options": {**spec.options, **options}}), (side, side, 3))


def make(method: str, encoder: str | Encoder, *, seed: int = 0, **options: object) -> Objective:
    """A method around a small encoder, with weights of a seed."""
    spec = METHODS[method].model_validate({**OPTIONS[method], **options})
    torch.manual_seed(seed)
    return build_objective(make_encoder(encoder) if isinstance(encoder, str) else encoder, spec, classes=CLASSES)


def make_batch(objective: Objective, *, seed: int = 0, policy: str = "simclr", side: int = SIDE) -> Batch:
    """Views as the method draws them, of images that a seed gives."""
    generator = torch.Generator().manual_seed(seed)
    images = torch.rand(BATCH, 3, side // 4, side // 4, generator=generator)
    images = nn.functional.interpolate(images, scale_factor=4)
    ids = torch.arange(BATCH) + 100 * seed
    views = tuple(
        shrunk(make_views(images, ids, view=view, seed=0, policy=draw.policy), draw.shrink)
        for view, draw in enumerate(objective.view_specs(POLICIES[policy]), start=1)
    )
    return Batch(views, ids * 7 + 1, torch.randint(0, CLASSES, (BATCH,), generator=generator))


def shrunk(views: Tensor, factor: int) -> Tensor:
    return nn.functional.avg_pool2d(views, factor) if factor > 1 else views


def step_info(step: int) -> StepInfo:
    return StepInfo(step, STEPS_AN_EPOCH, EPOCHS)


def steps(objective: Objective, count: int, *, learning_rate: float = 0.05) -> None:
    """A few steps of plain gradient descent, with every hook called as a training calls it."""
    trained = [parameter for parameter in objective.parameters() if parameter.requires_grad]
    optimizer = torch.optim.SGD(trained, lr=learning_rate, momentum=0.9)
    for step in range(count):
        objective.before_step(step_info(step))
        optimizer.zero_grad()
        objective(make_batch(objective, seed=step)).backward()
        objective.before_update(step_info(step))
        optimizer.step()
        objective.after_update(step_info(step))
