"""Table 6 of the paper: how encoders were trained and probed.

The text names a batch of 1024 for everything where the table has 2048, 4096, 1024 and 256: presets follow the table.
"""

from __future__ import annotations

from typing import Any, NamedTuple


class Column(NamedTuple):
    """A method's column of the table; pairs are for ImageNet and for all other data."""

    epochs: tuple[int, int]
    warmup_epochs: tuple[int, int]
    batch: int
    optimizer: str
    learning_rate: float
    probe_epochs: tuple[int, int]
    probe_warmup_epochs: tuple[int, int]
    probe_batch: int
    probe_optimizer: str
    probe_learning_rate: float


TABLE6 = {
    "mae": Column((300, 600), (30, 60), 2048, "adamw", 1.2e-3, (45, 90), (5, 10), 4096, "lars", 1.6),
    "simclr": Column((300, 600), (30, 60), 4096, "lars", 4.8, (45, 90), (5, 10), 4096, "lars", 4.8),
    "dino": Column((300, 600), (30, 60), 1024, "adamw", 2e-3, (45, 90), (5, 10), 4096, "lars", 1.6),
    "vicreg": Column((300, 600), (30, 60), 256, "sgd", 3e-3, (45, 90), (5, 10), 4096, "lars", 1.6),
}
"""Settings by method. All schedules are a cosine decay after the warm-up, which is the only schedule there is here."""


def training(method: str, *, imagenet: bool, accumulate: int = 1) -> dict[str, Any]:
    """Return the `training` section; ``accumulate`` micro-batches make up the table's batch."""
    column, other = TABLE6[method], not imagenet
    return {
        "epochs": column.epochs[other],
        "warmup_epochs": column.warmup_epochs[other],
        "batch_size": column.batch // accumulate,
        "accumulate": accumulate,
        "optimizer": column.optimizer,
        "learning_rate": column.learning_rate,
    }


def probe(method: str, *, imagenet: bool) -> dict[str, Any]:
    """Return the `linear` part of the `downstream` section."""
    column, other = TABLE6[method], not imagenet
    return {
        "method": "sgd",
        "optimizer": column.probe_optimizer,
        "learning_rate": column.probe_learning_rate,
        "epochs": column.probe_epochs[other],
        "warmup_epochs": column.probe_warmup_epochs[other],
        "batch_size": column.probe_batch,
    }
