"""The loss of eq. 1 as an objective: the mean distance between two views of a sample, of an encoder whose training objective is not known."""

from __future__ import annotations

from torch import Tensor

from sslmem_kit.encoders.backbone import Encoder
from sslmem_kit.training.objectives.base import Batch, Objective, Outputs, mean_distance


class AlignmentLoss(Objective):
    """Mean of d(f(x'), f(x'')) over the samples of a batch, a loss of samples alone.

    Parameters
    ----------
    encoder
        Encoder in evaluation mode; so is the objective.
    """

    def __init__(self, encoder: Encoder) -> None:
        super().__init__(encoder, None)
        self.train(encoder.training)

    def outputs(self, batch: Batch) -> Outputs:
        """Return the representations of two views."""
        encoded = self.encode_two(batch)
        return Outputs(encoded, encoded)

    def compare(self, compared: tuple[Tensor, ...], labels: Tensor) -> Tensor:
        """Return the mean distance between l2-normalized representations."""
        return mean_distance(*compared)
