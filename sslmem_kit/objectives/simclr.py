"""SimCLR (Chen et al. 2020): pull two views of a sample together, push all others in the batch away."""

from __future__ import annotations

from collections.abc import Sequence

import torch
from torch import Tensor, nn

from sslmem_kit.encoders import Encoder
from sslmem_kit.objectives._lightly import NTXentLoss, SimCLRProjectionHead
from sslmem_kit.study.spec import SimCLRSpec


class SimCLR(nn.Module):
    """Encoder, projection head and the NT-Xent loss of two views."""

    views = 2

    def __init__(self, encoder: Encoder, spec: SimCLRSpec) -> None:
        super().__init__()
        self.encoder = encoder
        self.head = SimCLRProjectionHead(encoder.backbone.num_features, spec.hidden_dim, spec.projection_dim)
        self.criterion = NTXentLoss(temperature=spec.temperature)

    def forward(self, views: Sequence[Tensor], keys: Tensor) -> Tensor:
        """Two batches of views, [batch, channel, y, x] in [0, 1] each -> the loss."""
        # As in the paper, one pass over both batches: batch norm sees all the views that the loss sees.
        projected = self.head(self.encoder.pool(self.encoder(torch.cat(list(views)))))
        return self.criterion(*projected.chunk(2))
