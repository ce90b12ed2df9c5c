"""SimCLR (Chen et al. 2020): pull two views of a sample together, push all others in the batch away."""

from __future__ import annotations

import torch
from torch import Tensor

from sslmem_kit.encoders.backbone import Encoder
from sslmem_kit.spec.objective import SimCLRSpec
from sslmem_kit.training.lightly import NTXentLoss, SimCLRProjectionHead
from sslmem_kit.training.objectives.base import Batch, Objective, Outputs, full_precision


class SimCLR(Objective):
    """Encoder, projection head and the NT-Xent loss of two views over the batches of all devices."""

    def __init__(self, encoder: Encoder, spec: SimCLRSpec, *, classes: int) -> None:
        super().__init__(encoder, spec.regularizer)
        self.head = SimCLRProjectionHead(encoder.backbone.num_features, spec.hidden_dim, spec.projection_dim)
        self.criterion = NTXentLoss(temperature=spec.temperature, gather_distributed=True)

    def outputs(self, batch: Batch) -> Outputs:
        """Return the projections of two views."""
        # As in the paper, one pass over both views: batch norm sees all that the loss sees.
        output = self.encoder(torch.cat(batch.views))
        return Outputs(self.head(self.encoder.pool(output)).chunk(2), output.chunk(2))

    def compare(self, compared: tuple[Tensor, ...], labels: Tensor) -> Tensor:
        """Return NT-Xent of two views."""
        with full_precision(compared[0]):
            return self.criterion(*(projected.float() for projected in compared))

    def compared(self, pooled: Tensor) -> Tensor:
        """Projections."""
        return self.head(pooled)
