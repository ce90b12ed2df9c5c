"""Mitigation frontiers: what less memorization costs, by treatments of the most memorized samples, of random ones and of all."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sslmem_kit.spec.presets.mini import SETTINGS, SHARED_TRAINING
from sslmem_kit.spec.presets.preset import Preset, merge

MINI = "mini/mnist-mitigation"


def frontier_presets_of_minis() -> Iterator[Preset]:
    """Yield them; ``sections`` are those of a :class:`sslmem_kit.spec.frontier.FrontierSpec`."""
    noise = {"op": "noise", "sigma": 0.05}
    weak, strong = ([{"op": "crop_resize", "scale": [least, 1.0]}, noise] for least in (0.9, 0.5))
    baseline = {
        "name": "mini-mnist-simclr-few",
        "description": "simclr on few images of mnist, in weak views: an encoder that memorizes",
        "data": {"name": "mnist5k"},
        "partition": {"shared": 150, "candidate": 150, "independent": 150, "extra": 500},
        "encoder": {"backbone": "resnet18", "stem": "stock", "options": {"layers": [1, 1, 1, 0], "channels": [16, 32, 64, 64]}},
        "objective": SETTINGS["simclr"]["objective"],
        "training": {**SHARED_TRAINING, "epochs": 80, "warmup_epochs": 5, "batch_size": 100, "learning_rate": 3e-3, "weight_decay": 1e-4,
                     "record_every": 0, "policy": weak},
        "scoring": {"views": 5},
        "downstream": {"tasks": [{"name": "mnist5k_textured"}]},
    }  # fmt: skip

    def treated(action: str, **options: Any) -> dict[str, Any]:
        return {"mitigation": merge({"action": action, "every": 10, "share": 0.2}, options)}

    arms = [
        {"name": "rule-of-multimem", "training": treated("stronger_views", share=0.05, policy=strong)},
        {"name": "drop", "training": treated("drop")},
        {"name": "stronger-views", "training": treated("stronger_views", policy=strong)},
        {"name": "regularize", "training": treated("regularize", weight=0.4)},
        {"name": "lambda0.40", "objective": {"regularizer": {"weight": 0.4}}},
        {"name": "crop0.5", "training": {"policy": strong}},
        {"name": "half-as-long", "training": {"epochs": 40}},
    ]
    yield Preset(MINI, ("Figure 4",), "SimCLR on MNIST, a small resnet: accuracy, also out of distribution, against memorization, of "
                 "treatments of the most memorized samples, of random ones and of all", {"baseline": baseline, "arms": arms})  # fmt: skip
