"""Parts of images that leave the object out, each as large as the image: a corner, what surrounds the middle, what is outside of boxes."""

from __future__ import annotations

import csv
from collections.abc import Iterable
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sslmem_kit.data import Dataset
from sslmem_kit.errors import UserError
from sslmem_kit.names import FILE, SAMPLE
from sslmem_kit.spec.dejavu import Crop
from sslmem_kit.views.geometry import apply_crop_resize

EDGES = ("xmin", "ymin", "xmax", "ymax")
Boxes = dict[int, np.ndarray]
"""Boxes of each sample by its id, (box, 4) float: xmin, ymin, xmax, ymax in pixels of the image that encoders see."""


def show(images: Tensor, crop: Crop, *, fill: Tensor, backgrounds: Tensor | None = None) -> Tensor:
    """Return the part of each image that a crop shows, resized bilinearly to the whole, as the images.

    Parameters
    ----------
    images
        Float32[n, channel, y, x] in [0, 1].
    crop
        What is shown.
    fill
        What a blanked middle is filled with, [channel, 1, 1].
    backgrounds
        Top, left, height and width of each image's background, Int64[n, 4], of :func:`background`; for crops of this kind.

    Examples
    --------
    >>> image = torch.arange(16.0).view(1, 1, 4, 4) / 16
    >>> (16 * show(image, Crop("corner", 0.25), fill=torch.zeros(1, 1, 1))).unique().tolist()
    [12.0]
    """
    height, width = images.shape[2:]
    if crop.kind == "periphery":
        tall, wide = (min(max(1, round(crop.fraction * side)), side) for side in (height, width))
        top, left = (height - tall) // 2, (width - wide) // 2
        shown = images.clone()
        shown[:, :, top : top + tall, left : left + wide] = fill
        return shown
    if crop.kind == "corner":  # the lower left one, as in the authors' code
        tall, wide = (max(1, int(crop.fraction * side)) for side in (height, width))
        box = torch.tensor([height - tall, 0, tall, wide], device=images.device).expand(len(images), 4)
    elif backgrounds is None:
        raise ValueError("a crop of the background needs backgrounds")
    else:
        box = backgrounds
    return apply_crop_resize(images, {"box": box})


def background(boxes: np.ndarray, side: int, *, least: float) -> tuple[int, int, int, int] | None:
    """Return the rectangle outside of all boxes whose shorter side is longest: top, left, height and width; None where it is too small.

    Sides of rectangles lie on sides of boxes or of the image: of all such rectangles without a box in them it is the one with the longest
    shorter side, of equal ones the largest.

    Parameters
    ----------
    boxes
        (box, 4) float, as in :data:`Boxes`.
    side
        Of the square image, in pixels.
    least
        Shorter side of the smallest rectangle that counts, as a share of ``side``.

    Examples
    --------
    >>> background(np.array([[2.0, 0.0, 8.0, 8.0]]), 8, least=0.25)
    (0, 0, 8, 2)
    >>> background(np.array([[1.0, 0.0, 8.0, 8.0]]), 8, least=0.25)
    """
    low, high = np.floor(boxes[:, :2]).astype(int), np.ceil(boxes[:, 2:]).astype(int)
    xs = np.unique(np.clip([0, side, *low[:, 0], *high[:, 0]], 0, side))
    best, chosen = (0, 0), None
    for place, left in enumerate(xs):
        for right in xs[place + 1 :]:
            across = (low[:, 0] < right) & (high[:, 0] > left)
            busy = sorted(zip(low[across, 1].tolist(), high[across, 1].tolist(), strict=True))
            for top, bottom in _gaps(busy, side):
                size = (min(bottom - top, right - left), (bottom - top) * (right - left))
                if size > best:
                    best, chosen = size, (int(top), int(left), int(bottom - top), int(right - left))
    return chosen if best[0] >= max(1, least * side) else None


def _gaps(busy: Iterable[tuple[int, int]], side: int) -> list[tuple[int, int]]:
    """Return the intervals of 0..side that sorted intervals leave free."""
    gaps, end = [], 0
    for low, high in busy:
        if low > end:
            gaps.append((end, min(low, side)))
        end = max(end, high)
    return [*gaps, (end, side)] if end < side else gaps


def backgrounds_of(dataset: Dataset, ids: np.ndarray, boxes: Boxes, *, least: float) -> tuple[np.ndarray, np.ndarray]:
    """Return the background of samples, (sample, 4) int64, and whether each has one, (sample,) bool; the whole image where it has none."""
    side = dataset.image_shape[0]
    found = [background(boxes[id_], side, least=least) if id_ in boxes else None for id_ in ids.tolist()]
    whole = (0, 0, side, side)
    return np.array([whole if one is None else one for one in found], np.int64).reshape(-1, 4), np.array(
        [one is not None for one in found], bool
    )


def read_boxes(path: Path | str, dataset: Dataset) -> Boxes:
    """Return the boxes of a CSV file, brought to the central square and the size that encoders see; samples without a row have none.

    Parameters
    ----------
    path
        Table with columns ``sample`` or ``file``, ``xmin``, ``ymin``, ``xmax`` and ``ymax``, in pixels of the image as stored.
    dataset
        Whose samples they are.

    Raises
    ------
    UserError
        The file cannot be read, lacks a column, names unknown samples, or a box is empty or not inside of its image.
    """
    where = f"boxes: {path}"
    if not Path(path).is_file():
        raise UserError(f"{where} is not there, a CSV file with the columns sample, {', '.join(EDGES)} is needed")
    try:
        with Path(path).open(newline="", encoding="utf-8-sig") as file:
            rows = [*csv.DictReader(file)]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{where} cannot be read ({' '.join(str(error).split())[:120]}); give a CSV file") from None
    columns = [*rows[0]] if rows else []
    key = next((name for name in (SAMPLE, FILE) if name in columns), None)
    absent = [name for name in EDGES if name not in columns]
    if key is None or absent:
        raise UserError(
            f"{where} has no column {absent[0] if absent else SAMPLE!r}, the columns sample, {', '.join(EDGES)} are needed"
        )
    positions = _positions(dataset, [row[key] for row in rows], key, where)
    shapes = dataset.original_shapes
    side, found = dataset.image_shape[0], {}
    for number, (position, row) in enumerate(zip(positions, rows, strict=True), start=2):
        height, width = (side, side) if shapes is None else map(int, shapes[position])
        try:
            edges = np.array([float(row[name]) for name in EDGES])
        except (TypeError, ValueError):
            raise UserError(f"{where}: line {number} has no number for one of {', '.join(EDGES)}; give all four") from None
        if not (0 <= edges[0] < edges[2] <= width and 0 <= edges[1] < edges[3] <= height):
            named = ", ".join(f"{name} {value:g}" for name, value in zip(EDGES, edges, strict=True))
            raise UserError(
                f"{where}: the box in line {number} ({named}) is not inside of its image of {width} x {height} pixels; give pixels of the "
                "image as stored, with xmin < xmax and ymin < ymax"
            )
        square = min(height, width)
        first = np.array([(width - square) // 2, (height - square) // 2] * 2)
        found.setdefault(int(dataset.ids[position]), []).append(np.clip((edges - first) * side / square, 0, side))
    return {id_: np.array(boxes) for id_, boxes in found.items()}


def _positions(dataset: Dataset, keys: list[str], key: str, where: str) -> list[int]:
    """Return the position of the sample that each row names."""
    if key == FILE and dataset.files is None:
        raise UserError(f"{where} names files, the samples of {dataset.name!r} have none; give a column sample of their ids")
    own = dataset.ids.tolist() if key == SAMPLE or dataset.files is None else dataset.files.tolist()
    places = {str(name): place for place, name in enumerate(own)}
    unknown = [name for name in keys if str(name).strip() not in places]
    if unknown:
        raise UserError(
            f"{where}: {len(unknown)} of {len(keys)} rows are of no sample of {dataset.name!r}, the first is {unknown[0]!r}; leave them out"
        )
    return [places[str(name).strip()] for name in keys]
