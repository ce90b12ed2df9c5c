"""ADE20K in the layout of the scene-parsing benchmark (``ADEChallengeData2016``).

``images/training/*.jpg``, ``images/validation/*.jpg`` and ``annotations/training/*.png``, ``annotations/validation/*.png``: one grey PNG an
image, of its size and name, 0 for what belongs to none of the 150 classes and 1 to 150 for the classes that ``objectInfo150.txt`` names.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
from PIL import Image

from sslmem_kit.data.datasets.dense_pairs import IGNORED, DensePairs, Pair
from sslmem_kit.errors import UserError, join_names

CLASSES = 150
SPLITS = ("training", "validation")


def read_ade20k(folder: Path) -> DensePairs:
    """Return the pairs of ``folder``, training first, by file name.

    Raises
    ------
    UserError
        A folder that is not there or empty, images without annotation and annotations without image, which are named.
    """
    pairs: list[tuple[Path, Path]] = []
    is_test: list[bool] = []
    for split in SPLITS:
        images, masks = folder / "images" / split, folder / "annotations" / split
        for part in (images, masks):
            if not part.is_dir():
                raise UserError(
                    f"data.name: ADE20K needs the folder {part.relative_to(folder)} in {str(folder)!r}, which is not there"
                )
        found = {path.stem: path for path in sorted(images.glob("*.jpg"))}
        known = {path.stem: path for path in sorted(masks.glob("*.png"))}
        if not found:
            raise UserError(f"data.name: there is no *.jpg in {images.relative_to(folder)} of {str(folder)!r}")
        check_pairs(found, known, f"images/{split}", f"annotations/{split}")
        pairs += [(found[name], known[name]) for name in found]
        is_test += [split == SPLITS[1]] * len(found)

    def read(place: int) -> Pair:
        image, mask = pairs[place]
        return _rgb(image), _classes(mask)

    names = [path.relative_to(folder).as_posix() for path, _ in pairs]
    return DensePairs(read, names, np.array(is_test), class_names(folder))


def check_pairs(images: dict[str, Path], targets: dict[str, Path], where: str, of: str) -> None:
    """Refuse images without a target and targets without an image, and name them."""
    for one, other, here, there in ((images, targets, where, of), (targets, images, of, where)):
        alone = [one[name].name for name in one if name not in other]
        if alone:
            raise UserError(f"data.name: {len(alone):,} files of {here} have none of their name in {there}: {join_names(alone)}")


def class_names(folder: Path) -> tuple[str, ...]:
    """Return the names in ``objectInfo150.txt``, the first of several; numbers where it is not there."""
    table = folder / "objectInfo150.txt"
    if not table.is_file():
        return tuple(str(number) for number in range(1, CLASSES + 1))
    lines = table.read_text(encoding="utf-8", errors="replace").splitlines()[1:]
    names = tuple(line.split("\t")[-1].split(",")[0].strip() for line in lines if line.strip())
    if len(names) != CLASSES:
        raise UserError(f"data.name: {table} names {len(names)} classes, {CLASSES} are needed")
    return names


def _rgb(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        return np.asarray(image.convert("RGB"))


def _classes(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        stored = np.asarray(image)
    if stored.ndim != 2 or stored.dtype.kind not in "ui":
        raise UserError(f"data.name: {path.name} is no mask, its shape is {stored.shape}; one channel of whole numbers is needed")
    if stored.max(initial=0) > CLASSES:
        raise UserError(
            f"data.name: the mask {path.name} holds class {int(stored.max())}, but ADE20K has {CLASSES} classes (1 to {CLASSES}, 0 for none): "
            "correct the mask"
        )
    return np.where(stored == 0, IGNORED, stored.astype(np.int64) - 1).astype(np.uint8)
