"""Presets of the shape of the paper's rows that run on two cores in minutes, on scikit-learn's digits; removal on MNIST.

Rows of the paper that differ in their data alone have one mini: there is one data set. What a table varies varies here too: the
partition, views, masking ratio, regularizer, length and size of the encoder.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sslmem_kit.spec.presets.paper import WEIGHTS
from sslmem_kit.spec.presets.preset import Preset, merge

_CROP_AND_NOISE = [{"op": "crop_resize", "scale": [0.7, 1.0]}, {"op": "noise", "sigma": 0.05}]
_CROP = [{"op": "crop_resize", "scale": [0.7, 1.0]}]

SETTINGS: dict[str, dict[str, Any]] = {
    "simclr": {
        "objective": {"method": "simclr", "temperature": 0.2, "hidden_dim": 128, "projection_dim": 64},
        "training": {"epochs": 60, "warmup_epochs": 5, "learning_rate": 2e-3, "weight_decay": 1e-4, "policy": _CROP_AND_NOISE},
    },
    "mae": {
        "objective": {"method": "mae", "mask_ratio": 0.75, "decoder_dim": 48, "decoder_depth": 1, "decoder_heads": 4},
        "training": {"epochs": 100, "warmup_epochs": 10, "learning_rate": 2e-3, "weight_decay": 0.05, "policy": _CROP},
    },
    "dino": {
        "objective": {"method": "dino", "hidden_dim": 128, "bottleneck_dim": 64, "output_dim": 256, "teacher_momentum": 0.99},
        "training": {"epochs": 60, "warmup_epochs": 6, "learning_rate": 2e-3, "weight_decay": 0.04, "policy": _CROP_AND_NOISE},
    },
    "vicreg": {
        "objective": {"method": "vicreg", "hidden_dim": 256, "projection_dim": 256},
        "training": {"epochs": 60, "warmup_epochs": 6, "learning_rate": 2e-3, "weight_decay": 1e-4, "policy": _CROP_AND_NOISE},
    },
    "simsiam": {
        "objective": {"method": "simsiam", "projection_dim": 128, "prediction_dim": 32},
        "training": {"epochs": 60, "warmup_epochs": 6, "learning_rate": 2e-3, "weight_decay": 1e-4, "policy": _CROP_AND_NOISE},
    },
    "supervised": {
        "objective": {"method": "supervised"},
        "training": {"epochs": 20, "warmup_epochs": 2, "learning_rate": 2e-3, "weight_decay": 1e-4, "policy": _CROP_AND_NOISE},
    },
}
"""Training of each method on digits; SimCLR and MAE as in the bundled studies."""

SHARED_TRAINING = {"seeds": 3, "batch_size": 128, "optimizer": "adamw"}

LENGTHS: dict[str, dict[str, Any]] = {
    "dino-resnet-100epochs": {"epochs": 10, "warmup_epochs": 1},
    "dino-resnet-300epochs": {"epochs": 30, "warmup_epochs": 3},
    "supervised-resnet-100epochs": {},
    "supervised-resnet-10epochs": {"epochs": 2, "warmup_epochs": 0},
}
"""Table 11: a tenth of its lengths for DINO, whose full training is a tenth of 600; a tenth of each other for supervised."""

ENCODERS: dict[str, dict[str, Any]] = {
    "resnet": {"backbone": "resnet18", "stem": "stock", "options": {"layers": [1, 1, 1, 0], "channels": [64, 128, 128, 128]}},
    "resnet-small": {"backbone": "resnet18", "stem": "stock", "options": {"layers": [1, 1, 1, 0], "channels": [32, 64, 64, 64]}},
    "resnet-wide": {"backbone": "resnet18", "stem": "stock", "options": {"layers": [1, 1, 1, 0], "channels": [96, 192, 192, 192]}},
    "vit": {"backbone": "vit_tiny_patch16_224", "grid": 4, "options": {"embed_dim": 64, "depth": 3, "num_heads": 4}},
}

REMOVAL_ARTIFACTS = ("Figure 3", "Figure 6", "Figure 7", "Table 3", "Table 10", "Table 14")
"""Figures and tables of encoders without the most memorized samples; Table 17 is of encoders on these alone."""

MEASURED: dict[str, Any] = {
    "noise": "noise",
    "rotate90": "rotate90",
    "rotate270": "rotate270",
    # Digits have no colour to drop: brightness and contrast are what there is.
    "color-drop": ["color_jitter"],
}
"""Table 8: policies that the encoders are scored with."""

TRAINED: dict[str, Any] = {
    "crop": "crop",
    "crop-resize": _CROP,
    "noise": "noise",
    # Patches of 2x2 pixels.
    "mask": [{"op": "mask", "ratio": 0.75, "patch": 0.25}],
}
"""Table 9a: policies of the training views."""


def mini_presets() -> Iterator[Preset]:
    """Yield all of them, table by table."""
    yield _preset("mae-vit", ("Table 1", "Table 4", "Table 5", "Table 9b", "Figure 4"))
    yield _preset("dino-vit", ("Table 1", "Table 4"))
    yield _preset("dino-resnet", ("Table 1",))
    yield _preset("simclr-resnet", ("Table 1", "Table 7", "Table 8", "Table 15"))
    yield _preset("vicreg-resnet", ("Table 4",))
    yield _preset("simsiam-resnet", (), note="the paper's section 2 names the method, no table has it")
    for epsilon in (20, 8):
        private = {"training": {"privacy": {"epsilon": epsilon, "delta": 4e-4, "clip_norm": 0.1}}}
        yield _preset("mae-vit", ("Table 5",), private, suffix=f"epsilon{epsilon}", note=f"DP-SGD, epsilon {epsilon}")
    for suffix in ("overlap70", "overlap85"):
        yield _preset("simclr-resnet", ("Table 7",), {"partition": suffix}, suffix=suffix, note=f"partition {suffix}")
    for name, policy in MEASURED.items():
        yield _preset("simclr-resnet", ("Table 8",), {"scoring": {"policy": policy}}, suffix=f"measured-{name}",
                      note=f"scored with {_op(policy)}")  # fmt: skip
    for name, policy in TRAINED.items():
        yield _preset("simclr-resnet", ("Table 9a",), {"training": {"policy": policy}}, suffix=f"trained-{name}",
                      note=f"views by {_op(policy)} alone")  # fmt: skip
    for percent in (50, 80, 90):
        yield _preset("mae-vit", ("Table 9b",), {"objective": {"mask_ratio": percent / 100}}, suffix=f"mask{percent}",
                      note=f"{percent} % of the patches masked")  # fmt: skip
    for name, length in LENGTHS.items():
        row, suffix = name.rsplit("-", 1)
        changes = {"training": length}
        epochs = merge(SETTINGS[row.split("-")[0]], changes)["training"]["epochs"]
        yield _preset(row, ("Table 11",), changes, suffix=suffix, note=f"{epochs} epochs")
    for size in ("wide", "small"):
        yield _preset("simclr-resnet", ("Table 15",), {"encoder": ENCODERS[f"resnet-{size}"]}, suffix=size, note=f"{size} encoder")
    halves = {"partition": {"shared": 0, "candidate": 0.5, "independent": 0.5, "extra": 0.1}}
    for row, artifacts in (
        ("mae-vit", ("Figure 3", "Figure 6", "Figure 7", "Table 3", "Table 10", "Table 14")),
        ("simclr-resnet", ("Table 17",)),
    ):
        yield _preset(row, artifacts, halves, suffix="halves", note="f and g on disjoint halves of the data")
    yield _mnist_halves()
    for weight in WEIGHTS:
        # The paper's is MAE, which shows no memorization at this size; SimCLR does.
        for row in ("mae-vit", "simclr-resnet"):
            yield _preset(row, ("Figure 4",), {"objective": {"regularizer": {"weight": weight}}}, suffix=f"lambda{weight:.2f}",
                          note=f"alignment regularizer, lambda {weight}")  # fmt: skip


def _preset(
    row: str, artifacts: tuple[str, ...], changes: Mapping[str, Any] | None = None, *, suffix: str = "", note: str = ""
) -> Preset:
    """Return a row such as mae-vit, with what is different about it."""
    method, encoder = row.split("-")
    base = {
        "data": {"name": "digits"},
        "partition": "paper",
        "encoder": ENCODERS[encoder],
        **SETTINGS[method],
        "scoring": {"views": 5},
    }
    spec = merge(merge(base, {"training": SHARED_TRAINING}), changes or {})
    if {"Table 1", "Table 4", "Table 9a"} & set(artifacts):
        spec["scoring"] = {**spec["scoring"], "common_policy": _CROP_AND_NOISE}
    training = spec["training"]
    spec["training"] = training | {"record_every": max(1, training["epochs"] // 5)}
    what = f"{method} on digits, a small {encoder}" + (f": {note}" if note else "")
    return Preset(f"mini/{row}{'-' + suffix if suffix else ''}", artifacts, what, spec)


def _mnist_halves() -> Preset:
    """Return the study whose scores the small removal trees go by, on larger images than the digits'; encoders on halves order its samples.

    The paper's is MAE, which shows no memorization at this size; SimCLR does.
    """
    crop = {"op": "crop_resize", "scale": [0.5, 1.0]}
    spec = {
        "data": {"name": "mnist5k"},
        "partition": "halves",
        "encoder": {"backbone": "resnet18", "stem": "stock", "options": {"layers": [1, 1, 1, 0], "channels": [16, 32, 64, 64]}},
        **SETTINGS["simclr"],
        "scoring": {"views": 5},
        "design": {"subsets": {"folds": 2, "repeats": 6}, "together": 4},
    }
    training = {**SHARED_TRAINING, "epochs": 40, "record_every": 20, "policy": [crop, {"op": "noise", "sigma": 0.05}]}
    what = "simclr on mnist, a small resnet: f and g on disjoint halves of the data, 12 encoders on other halves"
    return Preset("mini/mnist-simclr-halves", (*REMOVAL_ARTIFACTS, "Table 17"), what, merge(spec, {"training": training}))


def _op(policy: Any) -> str:
    """Return the name of the policy's first op."""
    first = policy if isinstance(policy, str) else policy[0]
    return first if isinstance(first, str) else first["op"]
