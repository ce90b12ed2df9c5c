"""Output of a reader of one kind of data: images as they are stored, before they are brought to one size."""

import os
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from pathlib import Path

import numpy as np


@dataclass(frozen=True, eq=False)
class Source:
    """Images in their stored form, with labels; the position of an image is its stable sample id.

    ``images`` is uint8 (n, height, width, 1 or 3), or the paths of n image files below ``base``. ``split`` is the place of each image's
    split in ``split_names``, of which all but the first are held out; None where the data has no held-out split of its own. ``ignored``
    names images that belong to no sample, with the reason; ``passed_over`` counts the files that are no images, by kind, and
    ``passed_over_first`` names a few.
    """

    images: np.ndarray | tuple[Path, ...]
    labels: np.ndarray
    class_names: tuple[str, ...]
    split: np.ndarray | None = None
    split_names: tuple[str, ...] = ("train", "test")
    base: Path | None = None
    ignored: tuple[str, ...] = ()
    passed_over: Mapping[str, int] = field(default_factory=dict)
    passed_over_first: tuple[str, ...] = ()

    def file_name(self, index: int) -> str:
        """Return the path of image ``index`` relative to ``base``; bytes that are no UTF-8 are written as escapes."""
        name = Path(self.images[index]).relative_to(self.base).as_posix()
        return os.fsencode(name).decode("utf-8", "backslashreplace")


def from_splits(parts: Sequence[tuple[Sequence, Sequence[int]]], class_names: Sequence[str], base: Path | None = None) -> Source:
    """Join the (images, labels) of the train split and of the test split, in this order."""
    images, labels = zip(*parts, strict=True)
    files = base is not None
    return Source(
        images=tuple(path for part in images for path in part) if files else np.concatenate(images),
        labels=np.concatenate([np.asarray(part, dtype=np.int64) for part in labels]),
        class_names=tuple(class_names),
        split=np.repeat(np.array([0, 1], np.int8), [len(part) for part in labels]),
        base=base,
    )
