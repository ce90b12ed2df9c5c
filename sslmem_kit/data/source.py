"""What a reader of one kind of data hands over: images as they are stored, before they are brought to one size."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np


@dataclass(frozen=True, eq=False)
class Source:
    """Images in their stored form, with labels; the position of an image is its stable sample id.

    ``images`` is uint8 (n, height, width, 1 or 3), or the paths of n image files below ``base``. ``is_test`` is None where the
    data has no test side of its own. ``ignored`` names files that belong to no sample, and why.
    """

    images: np.ndarray | tuple[Path, ...]
    labels: np.ndarray
    class_names: tuple[str, ...]
    is_test: np.ndarray | None = None
    base: Path | None = None
    ignored: tuple[str, ...] = ()

    def file_name(self, index: int) -> str:
        """Path of image ``index`` relative to ``base``."""
        return Path(self.images[index]).relative_to(self.base).as_posix()


def from_sides(sides: Sequence[tuple[Sequence, Sequence[int]]], class_names: Sequence[str], base: Path | None = None) -> Source:
    """Join the (images, labels) of the train side and of the test side, in this order."""
    images, labels = zip(*sides, strict=True)
    files = base is not None
    return Source(
        images=tuple(path for side in images for path in side) if files else np.concatenate(images),
        labels=np.concatenate([np.asarray(side, dtype=np.int64) for side in labels]),
        class_names=tuple(class_names),
        is_test=np.repeat([False, True], [len(side) for side in labels]),
        base=base,
    )
