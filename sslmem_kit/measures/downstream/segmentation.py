"""Semantic segmentation: its loss, and intersection over union and pixel accuracy from counts by image.

Counts are kept by image and class: totals are exact, memory is bounded by images times classes, and an interval over test images follows.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional

from sslmem_kit.data.datasets.dense_pairs import IGNORED

METRICS = ("mean_iou", "pixel_accuracy")


class Segmentation:
    """One class of ``class_names`` a pixel, by cross entropy.

    Parameters
    ----------
    class_names
        Names of the classes.
    train_share
        Share of each class among the pixels of the train split.
    """

    fill = IGNORED
    metrics = METRICS

    def __init__(self, class_names: tuple[str, ...], train_share: list[float]) -> None:
        self.class_names = class_names
        self.outputs = len(class_names)
        self.commonest = int(np.argmax(train_share))

    def loss(self, outputs: Tensor, targets: Tensor) -> Tensor:
        """Return the mean cross entropy over pixels with a class; outputs [batch, class, y, x], targets UInt8[batch, y, x]."""
        return functional.cross_entropy(outputs, targets.long(), ignore_index=IGNORED, reduction="sum") / (
            (targets != IGNORED).sum().clamp_min(1)
        )

    def predict(self, outputs: Tensor) -> Tensor:
        """Return the class of each pixel, Int64[batch, y, x]."""
        return outputs.argmax(dim=1)

    def constant(self, targets: Tensor) -> Tensor:
        """Return the prediction that needs no image: the most frequent class of the train split."""
        return torch.full_like(targets, self.commonest, dtype=torch.int64)

    def count(self, predicted: Tensor, targets: Tensor) -> np.ndarray:
        """Return pixels by image: right, predicted and true of each class, Int64 (image, 3, class)."""
        from torchmetrics.functional.classification import multiclass_confusion_matrix

        rows = []
        for one, target in zip(predicted, targets.long(), strict=True):
            table = multiclass_confusion_matrix(one, target, num_classes=self.outputs, ignore_index=IGNORED).cpu().numpy()
            rows.append(np.stack([table.diagonal(), table.sum(axis=0), table.sum(axis=1)]))
        return np.stack(rows)

    def measure(self, counts: np.ndarray) -> dict[str, np.ndarray]:
        """Return the measures from summed counts (..., 3, class): each of shape (...).

        ``mean_iou``, the mean of right / (predicted or true) over the classes that have a test pixel at all; ``pixel_accuracy``, the share
        of the test pixels whose class is right.

        Examples
        --------
        >>> task = Segmentation(("ground", "0"), [0.9, 0.1])
        >>> found = task.measure(np.array([[6, 1], [7, 3], [8, 2]]))
        >>> round(float(found["mean_iou"]), 3), float(found["pixel_accuracy"])
        (0.458, 0.7)
        """
        right, true = (counts[..., place, :].astype(float) for place in (0, 2))
        iou = self.iou(counts)
        with np.errstate(invalid="ignore"):
            there = true > 0
            mean = np.where(there, np.nan_to_num(iou), 0).sum(axis=-1) / there.sum(axis=-1)
            return {"mean_iou": mean, "pixel_accuracy": right.sum(axis=-1) / true.sum(axis=-1)}

    def iou(self, counts: np.ndarray) -> np.ndarray:
        """Return the intersection over union of each class, (..., class); NaN of one that is neither there nor predicted."""
        right, predicted, true = (counts[..., place, :].astype(float) for place in range(3))
        with np.errstate(invalid="ignore"):
            return right / (predicted + true - right)

    def details(self, counts: np.ndarray) -> dict[str, object]:
        """Return what is recorded beside the measures: ``iou`` by class, None of a class without a test pixel."""
        total = counts.sum(axis=0)
        values = np.where(total[2] > 0, self.iou(total), np.nan)
        return {
            "iou": {name: None if np.isnan(value) else float(value) for name, value in zip(self.class_names, values, strict=True)}
        }

    def pixels(self, counts: np.ndarray) -> int:
        """Return the number of test pixels that have a class."""
        return int(counts[:, 2].sum())
