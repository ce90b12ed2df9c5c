"""Supervised training, which the paper compares with (Table 11): cross-entropy of a linear classifier."""

from __future__ import annotations

from torch import Tensor, nn

from sslmem_kit.encoders.backbone import Encoder
from sslmem_kit.errors import UserError
from sslmem_kit.spec.objective import SupervisedSpec
from sslmem_kit.training.objectives.base import Batch, Objective, Outputs, full_precision


class Supervised(Objective):
    """Encoder, linear classifier on its pooled output, and the cross-entropy of one view."""

    views = 1

    def __init__(self, encoder: Encoder, spec: SupervisedSpec, *, classes: int) -> None:
        super().__init__(encoder, spec.regularizer)
        if classes < 2:
            raise UserError(f"objective.method: 'supervised' needs data of at least 2 classes, these have {classes}")
        self.classifier = nn.Linear(encoder.backbone.num_features, classes)
        self.criterion = nn.CrossEntropyLoss(label_smoothing=spec.label_smoothing)

    def outputs(self, batch: Batch) -> Outputs:
        """Return the logits of one view."""
        return Outputs((self.classifier(self.encoder.pool(self.encoder(batch.views[0]))),))

    def compare(self, compared: tuple[Tensor, ...], labels: Tensor) -> Tensor:
        """Return the cross-entropy of one view."""
        (logits,) = compared
        with full_precision(logits):
            return self.criterion(logits.float(), labels)
