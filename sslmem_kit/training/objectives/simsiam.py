"""SimSiam (Chen & He 2021): one view predicts the other, whose branch gets no gradient; nothing else keeps it from collapse."""

from __future__ import annotations

from torch import Tensor

from sslmem_kit.encoders.backbone import Encoder
from sslmem_kit.spec.objective import SimSiamSpec
from sslmem_kit.training.lightly import NegativeCosineSimilarity, SimSiamPredictionHead, SimSiamProjectionHead
from sslmem_kit.training.objectives.base import Batch, Losses, Objective, full_precision


class SimSiam(Objective):
    """Encoder, projection and prediction head, and the negative cosine similarity of each view's prediction with the other."""

    def __init__(self, encoder: Encoder, spec: SimSiamSpec, *, classes: int) -> None:
        super().__init__(encoder, spec.regularizer)
        features, width = encoder.backbone.num_features, spec.projection_dim
        self.projector = SimSiamProjectionHead(features, width, width)
        self.predictor = SimSiamPredictionHead(width, spec.prediction_dim, width)
        self.criterion = NegativeCosineSimilarity()

    def losses(self, batch: Batch) -> Losses:
        """Return the mean of the two directions, within [-1, 1]."""
        # As in the paper, each view is a branch of its own, whose batch norm sees that view only.
        outputs = (self.encoder(batch.views[0]), self.encoder(batch.views[1]))
        z1, z2 = (self.projector(self.encoder.pool(output)) for output in outputs)
        p1, p2 = self.predictor(z1), self.predictor(z2)
        with full_precision(p1):
            there = self.criterion(p1.float(), z2.detach().float())
            back = self.criterion(p2.float(), z1.detach().float())
        return Losses((there + back) / 2, outputs)

    def compared(self, pooled: Tensor) -> Tensor:
        """Projections."""
        return self.projector(pooled)
