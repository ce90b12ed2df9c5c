"""Parts of images: where their pixels come from, backgrounds against all rectangles, boxes that are refused."""

from __future__ import annotations

import itertools
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch
from torch.nn.functional import interpolate

from sslmem_kit.data import Dataset, load
from sslmem_kit.errors import UserError
from sslmem_kit.measures.comparisons.crops import background, backgrounds_of, read_boxes, show
from sslmem_kit.spec.data import DataSpec
from sslmem_kit.spec.dejavu import Crop


def test_a_corner_is_the_lower_left_one() -> None:
    images = torch.rand(3, 2, 10, 10, generator=torch.Generator().manual_seed(0))
    part = interpolate(images[:, :, 7:, :3], size=(10, 10), mode="bilinear", align_corners=False)
    torch.testing.assert_close(show(images, Crop("corner", 0.3), fill=torch.zeros(2, 1, 1)), part, atol=1e-6, rtol=1e-5)


def test_what_is_left_out_makes_no_difference() -> None:
    images, other = torch.rand(2, 4, 1, 8, 8, generator=torch.Generator().manual_seed(0)).unbind()
    boxes = torch.tensor([[0, 0, 8, 3]]).expand(4, 4)
    for crop, shown in ((Crop("corner", 0.5), (slice(4, 8), slice(0, 4))), (Crop("background", 0.25), (slice(0, 8), slice(0, 3)))):
        mixed = other.clone()
        mixed[:, :, *shown] = images[:, :, *shown]
        pair = [show(part, crop, fill=torch.zeros(1, 1, 1), backgrounds=boxes) for part in (images, mixed)]
        torch.testing.assert_close(*pair)
    middle = images.clone()
    middle[:, :, 1:7, 1:7] = other[:, :, 1:7, 1:7]
    pair = [show(part, Crop("periphery", 0.7), fill=torch.full((1, 1, 1), 0.5)) for part in (images, middle)]
    torch.testing.assert_close(*pair)
    assert (pair[0][:, :, 1:7, 1:7] == 0.5).all()
    assert (pair[0][:, :, 0] == images[:, :, 0]).all()


def _largest(boxes: np.ndarray, side: int) -> tuple[int, int]:
    """Shorter side and area of the best rectangle, from all there are."""
    free = np.ones((side, side), bool)
    for xmin, ymin, xmax, ymax in boxes.astype(int):
        free[ymin:ymax, xmin:xmax] = False
    best = (0, 0)
    for top, left in itertools.product(range(side), repeat=2):
        for bottom, right in itertools.product(range(top + 1, side + 1), range(left + 1, side + 1)):
            if free[top:bottom, left:right].all():
                best = max(best, (min(bottom - top, right - left), (bottom - top) * (right - left)))
    return best


@pytest.mark.parametrize("count", [1, 2, 3])
def test_the_background_is_the_best_of_all_rectangles(count: int) -> None:
    rng = np.random.default_rng(count)
    for _ in range(20):
        corners = np.sort(rng.integers(0, 8, (count, 2, 2)), axis=1)
        boxes = np.concatenate([corners[:, 0], corners[:, 1] + 1], axis=1).astype(float)
        found = background(boxes, 8, least=1e-9)
        best = _largest(boxes, 8)
        assert (found is None) == (best == (0, 0))
        if found is not None:
            top, left, height, width = found
            assert (min(height, width), height * width) == best
            assert not any(x0 < left + width and x1 > left and y0 < top + height and y1 > top for x0, y0, x1, y1 in boxes)


@pytest.fixture(scope="module")
def data() -> Dataset:
    """Digits that are said to have been stored as 10 rows of 20 pixels."""
    digits = load(DataSpec(name="digits"))
    return replace(digits, original_shapes=np.tile(np.int32([10, 20]), (len(digits), 1)))


def _table(path: Path, *rows: str, head: str = "sample,xmin,ymin,xmax,ymax") -> Path:
    path.write_text("\n".join([head, *rows]))
    return path


def test_boxes_follow_the_central_square(tmp_path: Path, data: Dataset) -> None:
    found = read_boxes(_table(tmp_path / "boxes.csv", "3,5,0,15,5", "3,0,0,10,10", "5,0,0,20,10"), data)
    np.testing.assert_allclose(found[3], [[0, 0, 8, 4], [0, 0, 4, 8]])
    rectangles, there = backgrounds_of(data, np.array([3, 4, 5]), found, least=0.25)
    assert there.tolist() == [True, False, False]
    assert rectangles.tolist() == [[4, 4, 4, 4], [0, 0, 8, 8], [0, 0, 8, 8]]


@pytest.mark.parametrize(
    ("rows", "head", "sentence"),
    [
        (["3,5,0,21,5"], None, "is not inside of its image of 20 x 10 pixels; give pixels of the image as stored"),
        (["3,-1,0,5,5"], None, "not inside"),
        (["3,5,5,5,9"], None, "not inside"),
        (["3,nan,5,5,9"], None, "not inside"),
        (["3,5,0,x,5"], None, "line 2 has no number"),
        (["99999,0,0,5,5"], None, "1 of 1 rows are of no sample"),
        (["3,0,0,5"], "sample,xmin,ymin,xmax", "no column 'ymax'"),
        (["3,0,0,5,5"], "file,xmin,ymin,xmax,ymax", "have none; give a column sample"),
    ],
)
def test_boxes_are_refused(tmp_path: Path, data: Dataset, rows: list[str], head: str | None, sentence: str) -> None:
    path = _table(tmp_path / "boxes.csv", *rows, **({} if head is None else {"head": head}))
    with pytest.raises(UserError, match=sentence) as raised:
        read_boxes(path, data)
    assert "\n" not in str(raised.value)
    assert str(path) in str(raised.value)
    with pytest.raises(UserError, match="is not there"):
        read_boxes(tmp_path / "none.csv", data)
