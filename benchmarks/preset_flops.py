"""Count the FLOPs of a sample for every encoder and objective that presets have: `python benchmarks/preset_flops.py`.

Writes ``sslmem_kit/spec/presets/costs.json``. Counts are those of torch's own layers for a small batch, so that they are the same
on every machine.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import torch
from torch import nn
from torch.nn.attention import SDPBackend, sdpa_kernel
from torch.utils.flop_counter import FlopCounterMode

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sslmem_kit.encoders.backbone import build_encoder
from sslmem_kit.encoders.fast_linear import ConvLinear
from sslmem_kit.spec.loading import load_spec
from sslmem_kit.spec.places import bundled_specs
from sslmem_kit.spec.presets import presets
from sslmem_kit.spec.presets.cost import COSTS, image_shape, key
from sslmem_kit.spec.study import StudySpec
from sslmem_kit.store.files import write_atomically
from sslmem_kit.training.objectives import Batch, Objective, StepInfo, build_objective

SAMPLES = 2
"""In the batch that is counted: the fewest that batch norm takes."""


def build(spec: StudySpec) -> Objective:
    """A preset's encoder and objective, ready for a first step."""
    objective = build_objective(build_encoder(spec.encoder, image_shape(spec)), spec.objective, classes=10).train()
    objective.before_step(StepInfo(0, 1, spec.training.epochs))
    return objective


def random_batch(spec: StudySpec, objective: Objective, samples: int = SAMPLES) -> Batch:
    """A batch of random images, in the sizes that the objective draws."""
    side, _, channels = image_shape(spec)
    view_specs = objective.view_specs(spec.training.policy)
    views = tuple(torch.rand(samples, channels, side // draw.shrink, side // draw.shrink) for draw in view_specs)
    return Batch(views, torch.arange(samples), torch.arange(samples) % 10)


def count(spec: StudySpec) -> dict[str, Any]:
    """FLOPs of one sample in a training step and of one image in a forward pass, parameters, and the representation's shape."""
    objective = build(spec)
    for layer in objective.modules():
        if isinstance(layer, ConvLinear):  # on AMD's CPUs, by an operator whose FLOPs torch does not count
            layer.__class__ = nn.Linear
    height, width, channels = image_shape(spec)
    with sdpa_kernel(SDPBackend.MATH):  # the CPU's own attention is not counted
        with FlopCounterMode(display=False) as trained:
            objective(random_batch(spec, objective)).backward()
        with FlopCounterMode(display=False) as scored, torch.inference_mode():
            output = objective.encoder.eval()(torch.rand(1, channels, height, width))
    return {
        "train_flops": trained.get_total_flops() // SAMPLES,
        "forward_flops": scored.get_total_flops(),
        "parameters": sum(parameter.numel() for parameter in objective.encoder.parameters()),
        "representation": list(output.shape[1:]),
    }


def main() -> None:
    """Write ``costs.json``."""
    argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter).parse_args()
    specs = {key(spec): spec for spec in map(load_spec, (*presets(), *bundled_specs()))}
    text = json.dumps({name: count(specs[name]) for name in sorted(specs)}, indent=1)
    write_atomically(COSTS, (text + "\n").encode())


if __name__ == "__main__":
    main()
