"""SimSiam (Chen & He 2021): one view predicts the other, whose branch gets no gradient; nothing else keeps it from collapse."""

from __future__ import annotations

from torch import Tensor

from sslmem_kit.encoders.backbone import Encoder
from sslmem_kit.spec.objective import SimSiamSpec
from sslmem_kit.training.lightly import NegativeCosineSimilarity, SimSiamPredictionHead, SimSiamProjectionHead
from sslmem_kit.training.objectives.base import Batch, Objective, Outputs, full_precision


class SimSiam(Objective):
    """Encoder, projection and prediction head, and the negative cosine similarity of each view's prediction with the other."""

    def __init__(self, encoder: Encoder, spec: SimSiamSpec, *, classes: int) -> None:
        super().__init__(encoder, spec.regularizer)
        features, width = encoder.backbone.num_features, spec.projection_dim
        self.projector = SimSiamProjectionHead(features, width, width)
        self.predictor = SimSiamPredictionHead(width, spec.prediction_dim, width)
        self.criterion = NegativeCosineSimilarity()

    def outputs(self, batch: Batch) -> Outputs:
        """Return the projections of two views, and the predictions from them."""
        # As in the paper, each view is a branch of its own, whose batch norm sees that view only.
        outputs = self.encode_two(batch)
        z1, z2 = (self.projector(self.encoder.pool(output)) for output in outputs)
        return Outputs((z1, z2, self.predictor(z1), self.predictor(z2)), outputs)

    def compare(self, compared: tuple[Tensor, ...], labels: Tensor) -> Tensor:
        """Return the mean of the two directions, within [-1, 1]."""
        z1, z2, p1, p2 = compared
        with full_precision(p1):
            there = self.criterion(p1.float(), z2.detach().float())
            back = self.criterion(p2.float(), z1.detach().float())
        return (there + back) / 2

    def compared(self, pooled: Tensor) -> Tensor:
        """Projections."""
        return self.projector(pooled)
