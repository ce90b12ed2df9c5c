"""VICReg (Bardes et al. 2022): bring two views together, keep the variance of every dimension, decorrelate the dimensions."""

from __future__ import annotations

from torch import Tensor

from sslmem_kit.encoders.backbone import Encoder
from sslmem_kit.spec.objective import VICRegSpec
from sslmem_kit.training.lightly import VICRegLoss, VICRegProjectionHead
from sslmem_kit.training.objectives.base import Batch, Objective, Outputs, full_precision


class VICReg(Objective):
    """Encoder, expander, and invariance, variance and covariance of two views over the batches of all devices."""

    def __init__(self, encoder: Encoder, spec: VICRegSpec, *, classes: int) -> None:
        super().__init__(encoder, spec.regularizer)
        self.expander = VICRegProjectionHead(encoder.backbone.num_features, spec.hidden_dim, spec.projection_dim)
        self.criterion = VICRegLoss(
            lambda_param=spec.invariance, mu_param=spec.variance, nu_param=spec.covariance, gather_distributed=True
        )

    def outputs(self, batch: Batch) -> Outputs:
        """Return the embeddings of two views."""
        # As in the paper, each view is a branch of its own, whose batch norm sees that view only.
        outputs = self.encode_two(batch)
        return Outputs(tuple(self.expander(self.encoder.pool(output)) for output in outputs), outputs)

    def compare(self, compared: tuple[Tensor, ...], labels: Tensor) -> Tensor:
        """Return the weighted sum of the three terms of two views."""
        with full_precision(compared[0]):
            return self.criterion(*(embedding.float() for embedding in compared))

    def compared(self, pooled: Tensor) -> Tensor:
        """Embeddings."""
        return self.expander(pooled)
