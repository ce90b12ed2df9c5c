"""Known facts of published data sets that are not on this disk: counts, classes and sizes, enough to plan a study.

Counts of samples do not depend on labels, so labels here are spread evenly over the classes; images are random. The sizes of the partitions,
the shapes and the times that follow are those of the data themselves, but for what reading and decoding files takes.
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np

from sslmem_kit.data.datasets.dataset import Dataset
from sslmem_kit.data.datasets.image_files import Noise
from sslmem_kit.errors import UserError
from sslmem_kit.spec.data import DataSpec


class Known(NamedTuple):
    """Samples of the train split and held-out samples, classes, channels, and the shorter side in pixels that is the images' median."""

    train: int
    test: int
    classes: int
    channels: int
    side: int | None
    alike: bool = True
    """True where all images are squares of this side."""


KNOWN = {
    "mnist": Known(60_000, 10_000, 10, 1, 28),
    "fashion_mnist": Known(60_000, 10_000, 10, 1, 28),
    "cifar10": Known(50_000, 10_000, 10, 3, 32),
    "cifar100": Known(50_000, 10_000, 100, 3, 32),
    "svhn": Known(73_257, 26_032, 10, 3, 32),
    "stl10": Known(5_000, 8_000, 10, 3, 96),
    "food101": Known(75_750, 25_250, 101, 3, None, alike=False),
    "flowers102": Known(2_040, 6_149, 102, 3, 500, alike=False),
}
"""Known data sets by ``data.name``."""
FOLDERS = {
    "folder:imagenet": Known(1_281_167, 50_000, 1000, 3, None, alike=False),
    "folder:stl10": Known(105_000, 8_000, 11, 3, 96),
}
"""The folders that ``paper/`` studies read (docs/studies.md): ILSVRC2012, and STL10 with its unlabelled images as one more class."""


def stand_in(spec: DataSpec, name: str) -> Dataset | None:
    """Return a data set of the counts and shapes that are known under ``name``, with random images; None where nothing is known.

    Raises
    ------
    UserError
        The size of the images follows from files that are not there.
    """
    known = {**KNOWN, **FOLDERS}.get(name)
    if known is None:
        return None
    size = spec.image_size or (min(known.side, spec.max_image_size) if known.side else None)
    if size is None and name == "food101" and spec.max_image_size <= 224:
        size = spec.max_image_size  # no more is known than that most photographs are larger
    if size is None:
        raise UserError(
            f"data.image_size: {spec.name!r} is not there, and the size of its images follows from its files; "
            f"give the size, or put the data in place"
        )
    shape, total = (size, size, known.channels), known.train + known.test
    original = [known.side, known.side] if known.alike else None
    return Dataset(
        name=spec.name,
        ids=np.arange(total),
        labels=np.concatenate([np.arange(count) % known.classes for count in (known.train, known.test)]),
        is_test=np.arange(total) >= known.train,
        class_names=tuple(map(str, range(known.classes))),
        image_shape=shape,
        skipped=(),
        fingerprint="",
        pixels=Noise(shape),
        files=None,
        original_shapes=np.zeros((total, 2), np.int32),
        keys=np.arange(total, dtype=np.uint64),
        record={
            "read": False,
            "images": total,
            "sizes": {"smallest": original, "largest": original, "distinct": 1 if known.alike else None, "used": list(shape)},
            "classes": known.classes,
            "splits": {"train": known.train, "test": known.test},
            "held_out": ["test"],
            "splits_from": "given",
            "passed_over": None,
            "copies": None,
        },
    )
