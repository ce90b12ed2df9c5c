"""Images with a class or a depth at every pixel: scenes, the published layouts in small, and what is refused."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path

import h5py
import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from sklearn.datasets import load_digits

from sslmem_kit.data import load
from sslmem_kit.data.datasets.dense import load_dense_data
from sslmem_kit.data.datasets.scenes import scenes
from sslmem_kit.errors import UserError
from sslmem_kit.spec.data import DataSpec
from sslmem_kit.spec.dense import DenseDataSpec

RNG = np.random.default_rng(0)


def of_scenes(**options: int) -> DenseDataSpec:
    return DenseDataSpec(name="scenes", **{"image_size": 32, "train": 12, "test": 6, **options})


@pytest.fixture
def ade20k(tmp_path: Path) -> Path:
    """Six training and two validation images of 20x16 pixels; the masks hold all 150 classes and 0, in the training split too."""
    for split, count in (("training", 6), ("validation", 2)):
        for part in ("images", "annotations"):
            (tmp_path / part / split).mkdir(parents=True)
        for number in range(count):
            name = f"ADE_{split[:5]}_{number:08d}"
            Image.fromarray(RNG.integers(0, 256, (16, 20, 3), dtype=np.uint8)).save(tmp_path / "images" / split / f"{name}.jpg")
            mask = (np.arange(16 * 20).reshape(16, 20) % 151).astype(np.uint8)
            Image.fromarray(np.roll(mask, number * 40)).save(tmp_path / "annotations" / split / f"{name}.png")
    return tmp_path


@pytest.fixture
def nyu(tmp_path: Path) -> Path:
    """The labelled set of five images of 12x16 pixels: HDF5 shows MATLAB's arrays with their axes reversed."""
    with h5py.File(tmp_path / "nyu_depth_v2_labeled.mat", "w") as file:
        file["images"] = RNG.integers(0, 256, (5, 3, 16, 12), dtype=np.uint8)
        file["depths"] = RNG.uniform(0.7, 10, (5, 16, 12)).astype(np.float32)
    savemat(tmp_path / "splits.mat", {"trainNdxs": np.array([[5], [1], [3]]), "testNdxs": np.array([[2], [4]])})
    return tmp_path


@pytest.fixture
def nyu_lists(tmp_path: Path) -> Path:
    for split, bits in (("train", 8), ("test", 16)):
        rows = []
        for number in range(3):
            folder = f"nyu2_{split}"
            (tmp_path / folder).mkdir(exist_ok=True)
            Image.fromarray(RNG.integers(0, 256, (12, 16, 3), dtype=np.uint8)).save(tmp_path / folder / f"{number}_colors.png")
            depth = np.full((12, 16), 51 if bits == 8 else 2500, np.uint8 if bits == 8 else np.uint16)
            Image.fromarray(depth).save(tmp_path / folder / f"{number}_depth.png")
            rows.append(f"data/{folder}/{number}_colors.png,data/{folder}/{number}_depth.png\n")
        (tmp_path / f"nyu2_{split}.csv").write_text("".join(rows))
    return tmp_path


def test_scenes_are_functions_of_their_seed() -> None:
    first, again, other = (load_dense_data(of_scenes(seed=seed), "depth", channels=1) for seed in (3, 3, 4))
    assert first.fingerprint == again.fingerprint != other.fingerprint
    more = load_dense_data(of_scenes(train=20, seed=3), "depth", channels=1)
    assert np.array_equal(more.read(np.arange(12))[0], first.read(np.arange(12))[0])
    assert np.array_equal(more.read(np.arange(20, 26))[0], first.read(np.arange(12, 18))[0]), "test scenes depend on their number"


def test_classes_and_depths_of_a_scene_agree() -> None:
    spec = of_scenes()
    masks, depths = scenes(spec, "segmentation"), scenes(spec, "depth")
    hidden = 0
    for place in range(18):
        image, mask = masks.read(place)
        same, depth = depths.read(place)
        assert np.array_equal(image, same)
        rows = (np.arange(32) + 0.5) / 32
        ground = np.repeat((10 - 6 * rows)[:, None], 32, axis=1).astype(np.float32)
        assert np.array_equal(depth[mask == 0], ground[mask == 0])
        assert ((depth[mask > 0] >= 1) & (depth[mask > 0] <= 4)).all()
        grey = image.mean(axis=2)
        assert grey[mask > 0].mean() > grey[mask == 0].mean() + 20
        # Near digits hide far ones: pixels of one depth are of one class.
        assert all(len(np.unique(mask[depth == metres])) == 1 for metres in np.unique(depth[mask > 0]))
        hidden += len(np.unique(depth[mask > 0])) > 1
    assert hidden > 9


def test_test_scenes_show_digits_that_no_encoder_saw(monkeypatch: pytest.MonkeyPatch) -> None:
    """The digits of test scenes are those that a study of the same seed holds out."""
    from sslmem_kit.data.datasets import scenes as module

    shown: dict[int, set] = {0: set(), 1: set()}
    real = module.render

    def watched(images: np.ndarray, labels: np.ndarray, chosen: np.ndarray, rng: np.random.Generator, side: int) -> tuple:
        shown[int(len(chosen) < len(images) / 2)].update(chosen.tolist())
        return real(images, labels, chosen, rng, side)

    monkeypatch.setattr(module, "render", watched)
    pairs = scenes(of_scenes(), "depth", held_out_seed=77)
    for place in range(18):
        pairs.read(place)
    held_out = load(DataSpec(name="digits"), seed=77).is_test
    assert shown[1] == set(np.flatnonzero(held_out).tolist())
    assert shown[0] == set(np.flatnonzero(~held_out).tolist())
    assert len(load_digits().target) == len(held_out)


def test_ade20k(ade20k: Path) -> None:
    data = load_dense_data(DenseDataSpec(name=f"ade20k:{ade20k}", image_size=16), "segmentation", channels=3)
    assert data.is_test.tolist() == [False] * 6 + [True] * 2
    assert len(data.class_names) == 150
    images, masks = data.read(np.array([0]))
    stored = (np.arange(16 * 20).reshape(16, 20) % 151)[:, 2:18]  # the central square
    assert np.array_equal(masks[0], np.where(stored == 0, 255, stored - 1))
    assert images.shape == (1, 16, 16, 3)
    some = load_dense_data(DenseDataSpec(name=f"ade20k:{ade20k}", image_size=16, train=4), "segmentation", channels=1)
    assert some.record["train"] == 4
    assert some.image_shape == (16, 16, 1)


def test_nyu_labelled(nyu: Path) -> None:
    data = load_dense_data(DenseDataSpec(name=f"nyu:{nyu}", image_size=12), "depth", channels=3)
    assert data.is_test.tolist() == [False, False, False, True, True]
    with h5py.File(nyu / "nyu_depth_v2_labeled.mat") as file:
        stored = file["depths"][4].T  # image 5 is the first of the train split: (height, width)
        image = file["images"][4].transpose(2, 1, 0)
    images, depths = data.read(np.array([0]))
    assert np.array_equal(depths[0], stored[:, 2:14])
    assert np.array_equal(images[0], image[:, 2:14])
    assert data.record["range"][1] < 10


def test_nyu_lists(nyu_lists: Path) -> None:
    data = load_dense_data(DenseDataSpec(name=f"nyu:{nyu_lists}", image_size=8), "depth", channels=3)
    _, depths = data.read(np.array([0, 5]))
    assert np.allclose(depths[0], 2.0)  # 51 of 255 of 10 m
    assert np.allclose(depths[1], 2.5)  # 2,500 mm
    assert data.record == data.record | {"train": 3, "test": 3, "train_mean": pytest.approx(2.0)}


def lazily(spec: DenseDataSpec) -> DenseDataSpec:
    return spec.model_copy(update={"memory_limit_mb": 0})


def test_memory_makes_no_difference() -> None:
    held, read = (load_dense_data(spec, "segmentation", channels=3) for spec in (of_scenes(train=40), lazily(of_scenes(train=40))))
    assert held.fingerprint == read.fingerprint
    for one, other in zip(held.read(np.arange(5)), read.read(np.arange(5)), strict=True):
        assert np.array_equal(one, other)


def spoil(path: Path, change: Callable[[np.ndarray], np.ndarray]) -> None:
    with Image.open(path) as image:
        stored = np.asarray(image)
    Image.fromarray(change(stored.copy())).save(path)


def beyond(mask: np.ndarray) -> np.ndarray:
    mask[0, 0] = 151
    return mask


MASK = "annotations/training/ADE_train_00000001.png"


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda root: (root / "annotations/training/ADE_train_00000002.png").unlink(),
            "1 files of images/training have none of their name in annotations/training: ADE_train_00000002.jpg",
        ),
        (
            lambda root: (root / "images/validation/ADE_valid_00000001.jpg").unlink(),
            "1 files of annotations/validation have none of their name in images/validation: ADE_valid_00000001.png",
        ),
        (
            lambda root: spoil(root / MASK, lambda mask: mask[:, :-1]),
            "the mask of images/training/ADE_train_00000001.jpg has another size than its image, 19x16 for 20x16",
        ),
        (
            lambda root: spoil(root / MASK, beyond),
            "the mask ADE_train_00000001.png holds class 151, but ADE20K has 150 classes",
        ),
        (
            lambda root: spoil(root / MASK, lambda mask: np.stack([mask] * 3, axis=2)),
            "is no mask, its shape is (16, 20, 3)",
        ),
        (
            lambda root: (root / "images/training/ADE_train_00000001.jpg").write_bytes(b"no image"),
            "images/training/ADE_train_00000001.jpg cannot be read",
        ),
        (
            lambda root: [spoil(path, np.zeros_like) for path in (root / "annotations/training").glob("*.png")],
            "150 of 150 classes have no pixel in the train split",
        ),
        (lambda root: (root / "images/validation").rename(root / "elsewhere"), "needs the folder images/validation"),
        (lambda root: (root / "objectInfo150.txt").write_text("Idx\tName\n1\twall\n"), "names 1 classes, 150 are needed"),
    ],
)
def test_ade20k_that_is_refused(ade20k: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(ade20k)
    with pytest.raises(UserError) as error:
        load_dense_data(DenseDataSpec(name=f"ade20k:{ade20k}", image_size=16), "segmentation", channels=3)
    assert message in str(error.value)


def put(root: Path, name: str, place: tuple, value: float) -> None:
    with h5py.File(root / "nyu_depth_v2_labeled.mat", "a") as file:
        file[name][place] = value


def replace(root: Path, name: str, shape: tuple[int, ...]) -> None:
    with h5py.File(root / "nyu_depth_v2_labeled.mat", "a") as file:
        del file[name]
        file[name] = np.ones(shape, np.uint8)


@pytest.mark.parametrize(
    ("damage", "message"),
    [
        (
            lambda root: put(root, "depths", (4, 3, 2), 0),
            "the depth of image 5 of nyu_depth_v2_labeled.mat is zero, negative or not finite in 1 of 192 pixels (such as 0)",
        ),
        (lambda root: put(root, "depths", (1, 3, 2), np.inf), "(such as inf)"),
        (lambda root: put(root, "depths", (1, 3, 2), np.nan), "(such as nan)"),
        (
            lambda root: replace(root, "images", (5, 4, 16, 12)),
            "images of nyu_depth_v2_labeled.mat have the shape (5, 4, 16, 12); (n, 3 channels, width, height) is needed",
        ),
        (lambda root: replace(root, "depths", (5, 12, 16)), "they differ in number or size"),
        (lambda root: (root / "splits.mat").unlink(), "but not splits.mat"),
        (lambda root: savemat(root / "splits.mat", {"trainNdxs": [1, 2, 9], "testNdxs": [4, 5]}), "must name each of the 5 images"),
        (lambda root: (root / "nyu_depth_v2_labeled.mat").write_bytes(b"none"), "is not what it should be"),
        (lambda root: (root / "nyu_depth_v2_labeled.mat").unlink(), "holds neither nyu_depth_v2_labeled.mat"),
    ],
)
def test_nyu_that_is_refused(nyu: Path, damage: Callable[[Path], object], message: str) -> None:
    damage(nyu)
    with pytest.raises(UserError) as error:
        load_dense_data(DenseDataSpec(name=f"nyu:{nyu}", image_size=12), "depth", channels=3)
    assert message in str(error.value)


def test_pixels_without_a_depth_can_be_left_out(nyu: Path) -> None:
    put(nyu, "depths", (4, 3, 2), 0)
    data = load_dense_data(DenseDataSpec(name=f"nyu:{nyu}", image_size=12, invalid_depth="leave_out"), "depth", channels=3)
    assert data.record["pixels_left_out"] == 1
    assert (data.read(np.array([0]))[1] == 0).sum() == 1
    assert data.record["pixels"] == 5 * 144 - 1


def test_lists_name_missing_files(nyu_lists: Path) -> None:
    (nyu_lists / "nyu2_test/1_depth.png").unlink()
    with pytest.raises(UserError, match=r"1 files that nyu2_test.csv lists are not there: data/nyu2_test/1_depth.png"):
        load_dense_data(DenseDataSpec(name=f"nyu:{nyu_lists}", image_size=8), "depth", channels=3)


def test_other_refusals(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"images of 4 channels, those of 'scenes' have 1 \(grey\) or 3"):
        load_dense_data(of_scenes(), "depth", channels=4)
    with pytest.raises(UserError, match="there is no folder"):
        load_dense_data(DenseDataSpec(name=f"nyu:{tmp_path / 'none'}"), "depth", channels=3)
    with pytest.raises(UserError, match="of 11 classes have no pixel in the train split"):
        load_dense_data(of_scenes(train=2), "segmentation", channels=1)
