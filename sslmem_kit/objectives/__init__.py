"""Training objectives, one file a method: an nn.Module around an encoder that maps a batch of views to a loss."""

from __future__ import annotations

from sslmem_kit.encoders import Encoder
from sslmem_kit.fast_linear import quicken
from sslmem_kit.objectives.base import Batch, Draw, Moment, Objective, draw_views
from sslmem_kit.objectives.dino import DINO
from sslmem_kit.objectives.mae import MAE
from sslmem_kit.objectives.simclr import SimCLR
from sslmem_kit.objectives.simsiam import SimSiam
from sslmem_kit.objectives.supervised import Supervised
from sslmem_kit.objectives.vicreg import VICReg
from sslmem_kit.study.objectives import ObjectiveSpec

__all__ = ["OBJECTIVES", "Batch", "Draw", "Moment", "Objective", "build_objective", "draw_views"]

OBJECTIVES: dict[str, type[Objective]] = {
    "simclr": SimCLR,
    "mae": MAE,
    "dino": DINO,
    "vicreg": VICReg,
    "simsiam": SimSiam,
    "supervised": Supervised,
}


def build_objective(encoder: Encoder, spec: ObjectiveSpec, *, classes: int) -> Objective:
    """The objective of a spec around an encoder, with fresh heads from torch's current generator; ``classes`` that the data has."""
    return quicken(OBJECTIVES[spec.method](encoder, spec, classes=classes))
