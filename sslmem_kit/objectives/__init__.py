"""Training objectives, one file a method: an nn.Module around an encoder that maps views to a loss."""

from __future__ import annotations

from torch import nn

from sslmem_kit.encoders import Encoder
from sslmem_kit.objectives.mae import MAE
from sslmem_kit.objectives.simclr import SimCLR
from sslmem_kit.study.spec import MAESpec, SimCLRSpec

OBJECTIVES = {"simclr": SimCLR, "mae": MAE}


def build_objective(encoder: Encoder, spec: SimCLRSpec | MAESpec) -> nn.Module:
    """The objective of a spec around an encoder, with fresh heads from torch's current generator."""
    return OBJECTIVES[spec.method](encoder, spec)
