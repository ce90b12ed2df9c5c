"""Training objectives, one file a method: an nn.Module around an encoder that maps a batch of views to a loss."""

from __future__ import annotations

from sslmem_kit.encoders.backbone import Encoder
from sslmem_kit.encoders.fast_linear import use_conv_linear
from sslmem_kit.spec.objective import ObjectiveSpec
from sslmem_kit.training.objectives.base import Batch, Objective, StepInfo, ViewSpec, make_training_views
from sslmem_kit.training.objectives.dino import DINO
from sslmem_kit.training.objectives.mae import MAE
from sslmem_kit.training.objectives.simclr import SimCLR
from sslmem_kit.training.objectives.simsiam import SimSiam
from sslmem_kit.training.objectives.supervised import Supervised
from sslmem_kit.training.objectives.vicreg import VICReg

__all__ = ["OBJECTIVES", "Batch", "Objective", "StepInfo", "ViewSpec", "build_objective", "make_training_views"]

OBJECTIVES: dict[str, type[Objective]] = {
    "simclr": SimCLR,
    "mae": MAE,
    "dino": DINO,
    "vicreg": VICReg,
    "simsiam": SimSiam,
    "supervised": Supervised,
}


def build_objective(encoder: Encoder, spec: ObjectiveSpec, *, classes: int) -> Objective:
    """Build the objective of a spec around an encoder, with fresh heads from torch's current generator; ``classes`` is their number."""
    return use_conv_linear(OBJECTIVES[spec.method](encoder, spec, classes=classes))
