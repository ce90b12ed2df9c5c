"""Settings that the presets of the paper share beside Table 6: data, encoders, views, heads; each with its source."""

from __future__ import annotations

from typing import Any

from sslmem_kit.spec.presets import table6
from sslmem_kit.spec.presets.preset import merge

DATA: dict[str, dict[str, Any]] = {
    "cifar10": {"name": "cifar10"},
    "cifar100": {"name": "cifar100"},
    "svhn": {"name": "svhn"},
    # 50,000 training samples are more than STL10 has labels for, so they come from its unlabelled images too: docs/studies.md says how.
    # One encoder serves all data sets at 32 pixels, as its 257 tokens say.
    "stl10": {"name": "folder:stl10", "image_size": 32},
    "imagenet": {"name": "folder:imagenet", "image_size": 224},
}
LABELLED_STL10 = {"name": "stl10"}
"""The labelled images, on which STL10 is probed."""

PARTITIONS: dict[str, dict[str, Any]] = {
    "paper": {"shared": 40_000, "candidate": 5_000, "independent": 5_000, "extra": 5_000},
    "imagenet": {"shared": 85_000, "candidate": 5_000, "independent": 5_000, "extra": 5_000},
    # 35k + 10k + 10k are more than CIFAR10's 50k: the two sides share what is left.
    "overlap70": {"shared": 35_000, "candidate": 7_500, "independent": 7_500, "extra": 5_000},
    "overlap85": {"shared": 42_500, "candidate": 2_500, "independent": 2_500, "extra": 5_000},
    "halves": {"shared": 0, "candidate": 25_000, "independent": 25_000, "extra": 5_000},
}

ENCODERS: dict[str, dict[str, Any]] = {
    "vit-tiny": {"backbone": "vit_tiny_patch16_224", "options": {"patch_size": 2}},
    "vit-base": {"backbone": "vit_base_patch16_224"},
    # At 32 pixels the stem of SimCLR's own CIFAR10 experiments (appendix B.9): 3x3 stride 1, no pooling; a last map of 4x4.
    # The paper's 49 x 2048 is a map of 7x7, which takes images of 224 pixels.
    "resnet50": {"backbone": "resnet50", "stem": "small"},
    "resnet18": {"backbone": "resnet18", "stem": "small"},
    "wide-resnet50-2": {"backbone": "wide_resnet50_2", "stem": "small"},
}

_COLOURS = ({"op": "color_jitter", "saturation": 0.2}, {"op": "color_drop", "p": 0.2})
POLICIES: dict[str, Any] = {
    "simclr": "simclr",  # the paper's own words, under Table 8
    "mae": [{"op": "crop_resize", "scale": [0.2, 1.0]}, "flip"],  # He et al., appendix A
    "dino": [{"op": "crop_resize", "scale": [0.4, 1.0]}, "flip", *_COLOURS],  # Caron et al., without blur and solarization
    "vicreg": ["crop_resize", "flip", *_COLOURS],  # Bardes et al., likewise
    "supervised": ["crop", "flip"],
}

COMMON_POLICY = "simclr"
"""Policy by which rows that are compared and have views of their own are scored too (Tables 1, 4 and 9a)."""

OBJECTIVES: dict[tuple[str, bool], dict[str, Any]] = {
    # Chen et al.: two layers to 128; temperature 0.5 on CIFAR10, 0.1 on ImageNet.
    ("simclr", False): {"method": "simclr", "temperature": 0.5, "hidden_dim": 2048, "projection_dim": 128},
    ("simclr", True): {"method": "simclr", "temperature": 0.1, "hidden_dim": 2048, "projection_dim": 128},
    # "very shallow (< 10 % of the encoder)", appendix D; on ImageNet He et al.'s own.
    ("mae", False): {"method": "mae", "mask_ratio": 0.75, "decoder_dim": 128, "decoder_depth": 2, "decoder_heads": 4},
    ("mae", True): {"method": "mae", "mask_ratio": 0.75, "decoder_dim": 512, "decoder_depth": 8, "decoder_heads": 16},
    # Caron et al. on ImageNet; 65,536 prototypes are more than the 45,000 samples of the small data, which get 4,096.
    ("dino", False): {
        "method": "dino",
        "hidden_dim": 2048,
        "bottleneck_dim": 256,
        "output_dim": 4096,
        "teacher_temperature": 0.04,
        "warmup_teacher_temperature": 0.04,
        "teacher_warmup_epochs": 0,
        "teacher_momentum": 0.996,
    },
    ("dino", True): {
        "method": "dino",
        "hidden_dim": 2048,
        "bottleneck_dim": 256,
        "output_dim": 65536,
        "teacher_temperature": 0.07,
        "warmup_teacher_temperature": 0.04,
        "teacher_warmup_epochs": 30,
        "teacher_momentum": 0.996,
    },
    # Bardes et al.: 8,192 wide on ImageNet; a quarter of that on the small data.
    ("vicreg", False): {"method": "vicreg", "hidden_dim": 2048, "projection_dim": 2048},
    ("vicreg", True): {"method": "vicreg", "hidden_dim": 8192, "projection_dim": 8192},
    ("supervised", False): {"method": "supervised"},
}
"""Values by method and whether the data is ImageNet."""

WEIGHT_DECAY = {"simclr": 1e-6, "mae": 0.05, "dino": 0.04, "vicreg": 1e-6, "supervised": 5e-4}
"""Values that are not in Table 6 but in the methods' papers; Caron et al. raise theirs to 0.4 along a cosine."""

AUTHORS: dict[str, dict[str, Any]] = {
    "mae": {"betas": [0.9, 0.95]},  # He et al., appendix A
    "dino": {"clip_norm": 3.0, "clip_by": "parameter"},  # Caron et al.'s code
}
"""What the methods' own code does beside Table 6: AdamW's betas, and clipping of each parameter's gradient."""

SUPERVISED_TRAINING = {
    "epochs": 100,
    "warmup_epochs": 5,
    "batch_size": 256,
    "optimizer": "sgd",
    "learning_rate": 0.1,
}
"""Usual recipe of ResNets on CIFAR10, which is not in Table 6."""


def sections(data: str, method: str, encoder: str) -> dict[str, Any]:
    """Return the sections of a row's spec: a method and an encoder on a data set, with the paper's partition."""
    imagenet = data == "imagenet"
    chosen = ENCODERS[encoder]
    if "stem" in chosen and imagenet:
        chosen = chosen | {"stem": "stock"}
    if method == "dino" and encoder.startswith("vit"):
        # So that the student's small crops fit.
        chosen = merge(chosen, {"options": {"dynamic_img_size": True}})
    # Where the loss compares no samples with each other, a batch in parts is the same batch.
    accumulate = {"mae": 8 if imagenet else 4}.get(method, 1)
    trained = SUPERVISED_TRAINING if method == "supervised" else table6.training(method, imagenet=imagenet, accumulate=accumulate)
    extras = dict(AUTHORS.get(method, {}))
    if "stem" in chosen:
        extras["channels_last"] = True
    return {
        "data": DATA[data],
        "partition": PARTITIONS["imagenet" if imagenet else "paper"],
        "encoder": chosen,
        "objective": OBJECTIVES[method, imagenet],
        "training": {
            "seeds": 3,
            **trained,
            "weight_decay": WEIGHT_DECAY[method],
            "policy": POLICIES[method],
            "precision": "bf16",
            "record_every": 10 if method == "supervised" else trained["epochs"] // 6,
            **extras,
        },
        "scoring": {"views": 5},
        "downstream": {
            "linear": table6.probe("dino" if method == "supervised" else method, imagenet=imagenet),
            "tasks": [LABELLED_STL10] if data == "stl10" else [],
        },
    }
