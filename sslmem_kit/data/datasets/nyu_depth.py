"""NYU-Depth v2 in its published layouts: the labelled set, and the lists of the larger set of single frames.

The labelled set is ``nyu_depth_v2_labeled.mat`` (MATLAB 7.3: ``images`` uint8 (n, 3, 640, 480), ``depths`` float (n, 640, 480), as HDF5 shows
them) with ``splits.mat`` (``trainNdxs``, ``testNdxs``, from 1). The larger set is ``nyu2_train.csv`` and ``nyu2_test.csv``, whose lines are the
paths of an image and of its depth; a depth PNG of 8 bits counts 255 as 10 m, one of 16 bits counts millimetres.
"""

from __future__ import annotations

import csv
from pathlib import Path

import numpy as np
from PIL import Image

from sslmem_kit.data.datasets.dense_pairs import DensePairs, Pair
from sslmem_kit.errors import UserError, join_names

LABELLED, SPLITS = "nyu_depth_v2_labeled.mat", "splits.mat"
LISTS = ("nyu2_train.csv", "nyu2_test.csv")
FULL_8_BIT = 10.0
"""Metres at 255 of a depth PNG of 8 bits."""


def read_nyu_depth(folder: Path) -> DensePairs:
    """Return the pairs of ``folder`` in the order of its splits.

    Raises
    ------
    UserError
        Neither layout, or a file of one that is missing; shapes that do not fit.
    """
    if (folder / LABELLED).is_file():
        return _labelled(folder)
    if any((folder / name).is_file() for name in LISTS):
        return _listed(folder)
    raise UserError(
        f"data.name: {str(folder)!r} holds neither {LABELLED} (with {SPLITS}) nor {LISTS[0]} and {LISTS[1]}: NYU-Depth v2 needs one of them"
    )


def _labelled(folder: Path) -> DensePairs:
    import h5py
    from scipy.io import loadmat

    if not (folder / SPLITS).is_file():
        raise UserError(f"data.name: {str(folder)!r} holds {LABELLED} but not {SPLITS}, which says what is held out; put it there")
    try:
        file = h5py.File(folder / LABELLED, "r")
        images, depths = (one for one in (file["images"], file["depths"]) if isinstance(one, h5py.Dataset))
    except (OSError, KeyError, ValueError) as error:
        raise UserError(f"data.name: {folder / LABELLED} is not what it should be ({' '.join(str(error).split())[:120]})") from None
    if images.ndim != 4 or images.shape[1] != 3:
        raise UserError(f"data.name: images of {LABELLED} have the shape {images.shape}; (n, 3 channels, width, height) is needed")
    if depths.shape != (images.shape[0], *images.shape[2:]):
        raise UserError(
            f"data.name: depths of {LABELLED} have the shape {depths.shape}, images {images.shape}: they differ in number or size"
        )
    try:
        splits = loadmat(folder / SPLITS)
        train, test = (np.asarray(splits[name]).ravel().astype(np.int64) - 1 for name in ("trainNdxs", "testNdxs"))
    except (KeyError, ValueError, NotImplementedError, TypeError) as error:
        raise UserError(
            f"data.name: {folder / SPLITS} has no trainNdxs and testNdxs ({' '.join(str(error).split())[:80]})"
        ) from None
    order = np.concatenate([train, test])
    if len(order) == 0 or order.min() < 0 or order.max() >= len(images) or len(np.unique(order)) < len(order):
        raise UserError(f"data.name: {SPLITS} must name each of the {len(images)} images of {LABELLED} at most once, from 1")

    def read(place: int) -> Pair:
        # HDF5 shows MATLAB's arrays with their axes reversed.
        return np.asarray(images[order[place]]).transpose(2, 1, 0), np.asarray(depths[order[place]], np.float32).T

    names = [f"image {number + 1} of {LABELLED}" for number in order]
    return DensePairs(read, names, np.arange(len(order)) >= len(train))


def _listed(folder: Path) -> DensePairs:
    pairs: list[tuple[Path, Path]] = []
    is_test: list[bool] = []
    for name in LISTS:
        if not (folder / name).is_file():
            raise UserError(f"data.name: {str(folder)!r} holds no {name}, which lists a split of NYU-Depth v2")
        with open(folder / name, newline="", encoding="utf-8") as lines:
            rows = [row for row in csv.reader(lines) if row]
        if any(len(row) != 2 for row in rows):
            raise UserError(f"data.name: each line of {name} must name an image and a depth, two paths with a comma between")
        found = [(_below(folder, image), _below(folder, depth)) for image, depth in rows]
        missing = [path.relative_to(folder).as_posix() for pair in found for path in pair if not path.is_file()]
        if missing:
            raise UserError(f"data.name: {len(missing):,} files that {name} lists are not there: {join_names(missing)}")
        pairs += found
        is_test += [name == LISTS[1]] * len(found)

    def read(place: int) -> Pair:
        image, depth = pairs[place]
        with Image.open(image) as opened:
            pixels = np.asarray(opened.convert("RGB"))
        return pixels, _metres(depth)

    names = [image.relative_to(folder).as_posix() for image, _ in pairs]
    return DensePairs(read, names, np.array(is_test, bool))


def _below(folder: Path, name: str) -> Path:
    """Return the path of a line: below the folder, or with the ``data/`` in front that the published lists have."""
    path = folder / name.strip()
    without = folder / name.strip().removeprefix("data/")
    return without if not path.is_file() and without.is_file() else path


def _metres(path: Path) -> np.ndarray:
    with Image.open(path) as image:
        stored, bits = np.asarray(image), 8 if image.mode == "L" else 16 if image.mode.startswith("I") else 0
    if not bits or stored.ndim != 2:
        raise UserError(f"data.name: the depth {path.name} is no grey PNG of 8 or 16 bits")
    return (stored * (FULL_8_BIT / 255) if bits == 8 else stored / 1000).astype(np.float32)
