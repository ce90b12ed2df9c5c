"""Depth: its loss, and RMSE and the shares within 1.25, 1.25**2 and 1.25**3 from sums by image.

The RMSE is that of eq. 4 over all test pixels with a depth, in metres. Sums are kept by image in double precision: memory is bounded by the
number of images, and an interval over test images follows.
"""

from __future__ import annotations

import math

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

METRICS = ("rmse", "delta_1", "delta_2", "delta_3")
RATIO = 1.25
"""Base of the delta accuracies: delta_k is the share of pixels whose depth is right up to a factor of RATIO**k."""
_UNIT = math.log(math.e - 1)
"""Where softplus is 1."""


class Depth:
    """Metres at every pixel, as a multiple of the mean depth of the train split, by squared error.

    Parameters
    ----------
    train_mean
        Mean depth of the train split in metres.
    """

    fill = 0.0
    metrics = METRICS
    outputs = 1

    def __init__(self, train_mean: float) -> None:
        self.train_mean = train_mean

    def predict(self, outputs: Tensor) -> Tensor:
        """Return metres, Float[batch, y, x], which are positive; outputs of 0 stand for the mean of the train split."""
        return self.train_mean * functional.softplus(outputs[:, 0] + _UNIT)

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean squared error over pixels with a depth, in units of the squared mean depth of the train split."""
        known = targets > 0
        error = (self.predict(outputs) - targets) / self.train_mean
        return torch.where(known, error, torch.zeros_like(error)).square().sum() / known.sum().clamp_min(1)

    def constant(self, targets: Tensor) -> Tensor:
        """Return the prediction that needs no image: the mean depth of the train split."""
        return torch.full_like(targets, self.train_mean)

    def count(self, predicted: Tensor, targets: Tensor) -> np.ndarray:
        """Return sums by image: squared errors, pixels within each delta, pixels with a depth; Float64 (image, 5)."""
        from torchmetrics.functional.regression import mean_squared_error

        rows = []
        for one, target in zip(predicted.double(), targets.double(), strict=True):
            known = target > 0
            n = int(known.sum())
            if not n:
                rows.append([0.0] * 5)
                continue
            one, target = one[known], target[known]
            ratio = torch.maximum(one / target, target / one)
            within = [float((ratio < RATIO**power).sum()) for power in (1, 2, 3)]
            rows.append([float(mean_squared_error(one, target)) * n, *within, float(n)])
        return np.array(rows)

    def measure(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Return the measures from summed counts (..., 5): each of shape (...).

        Examples
        --------
        >>> found = Depth(2.0).measure(np.array([36.0, 1.0, 2.0, 3.0, 4.0]))
        >>> {name: float(value) for name, value in found.items()}
        {'rmse': 3.0, 'delta_1': 0.25, 'delta_2': 0.5, 'delta_3': 0.75}
        """
        n = counts[..., 4]
        with np.errstate(invalid="ignore", divide="ignore"):
            rmse = np.sqrt(counts[..., 0] / n)
            return {"rmse": rmse, **{f"delta_{power}": counts[..., power] / n for power in (1, 2, 3)}}

    def details(self, counts: np.ndarray) -> dict[str, object]:
        """Return what is recorded beside the measures: nothing."""
        return {}

    def pixels(self, counts: np.ndarray) -> int:
        """Return the number of test pixels that have a depth."""
        return int(counts[:, 4].sum())
