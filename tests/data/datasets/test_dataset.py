"""Spec, built-in digits, ids, reading, sizes and modes, held-out side, fingerprint."""

import pickle
import subprocess
import sys

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from PIL import Image
from pydantic import ValidationError
from sklearn.datasets import load_digits

from sslmem_kit.data import BUILTIN, Dataset, load, stratified_test_split
from sslmem_kit.data.datasets.image_files import Header, decode, target_shape
from sslmem_kit.errors import UserError
from sslmem_kit.spec.data import DataSpec

RNG = np.random.default_rng


@pytest.fixture(scope="module")
def digits() -> Dataset:
    return load(DataSpec(name="digits"), seed=3)


def save(path, array, mode=None, **options):
    path.parent.mkdir(parents=True, exist_ok=True)
    image = Image.fromarray(array)
    (image if mode is None else image.convert(mode)).save(path, **options)
    return path


def test_import_is_light():
    code = (
        "import time; start = time.process_time(); import sslmem_kit.data; taken = time.process_time() - start; import sys;"
        "print(taken, sorted({'torch', 'torchvision', 'sklearn', 'scipy'} & set(sys.modules)))"
    )
    runs = [subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout for _ in range(3)]
    assert all(run.split(maxsplit=1)[1].strip() == "[]" for run in runs)
    assert min(float(run.split()[0]) for run in runs) < 0.6  # 0.27 measured, of processor time: others may keep the machine busy


# --- spec ---


@pytest.mark.parametrize("name", ["cifar", "folder:", "npz: ", "zip:a", "digits:", "folder"])
def test_unknown_name_is_answered_with_the_valid_ones(name):
    with pytest.raises(ValidationError) as caught:
        DataSpec(name=name)
    assert f"data.name {name!r}" in str(caught.value)
    assert all(valid in str(caught.value) for valid in [*BUILTIN, "folder:PATH", "npz:PATH"])


@pytest.mark.parametrize(
    "wrong",
    [
        {"test_fraction": 1.0},
        {"test_fraction": -0.1},
        {"image_size": 0},
        {"on_error": "ignore"},
        {"nmae": "digits"},
        {"memory_limit_mb": -1},
    ],
)
def test_wrong_fields_are_refused(wrong):
    with pytest.raises(ValidationError, match=next(iter(wrong))):
        DataSpec(**{"name": "digits", **wrong})


def test_resolved_makes_paths_absolute(tmp_path):
    spec = DataSpec(name="folder:../pictures", root="cache").resolved(tmp_path / "study")
    assert spec.name == f"folder:{tmp_path / 'pictures'}"
    assert spec.root == str(tmp_path / "study" / "cache")
    assert spec.resolved(tmp_path / "elsewhere") == spec
    assert DataSpec(name="digits").resolved(tmp_path) == DataSpec(name="digits")


# --- digits, ids, read ---


def test_digits_against_scikit_learn(digits):
    bunch = load_digits()
    np.testing.assert_array_equal(digits.ids, np.arange(1797))
    np.testing.assert_array_equal(digits.labels, bunch.target)
    images = digits.read(digits.ids)
    assert images.dtype == np.uint8
    assert images.shape == (1797, 8, 8, 1)
    assert digits.image_shape == (8, 8, 1)
    np.testing.assert_allclose(images[..., 0] / 255 * 16, bunch.images, atol=8 / 255)
    assert images.min() == 0
    assert images.max() == 255
    assert digits.class_names == tuple("0123456789")
    assert digits.in_memory
    assert digits.skipped == ()


def test_read_keeps_the_order_of_ids_and_copies(digits):
    first = digits.read([5, 3, 5])
    np.testing.assert_array_equal(first[0], first[2])
    np.testing.assert_array_equal(first[1], digits.read([3])[0])
    assert not np.array_equal(first[0], first[1])
    first[:] = 7
    assert not (digits.read([5]) == 7).all()
    assert digits.read([]).shape == (0, 8, 8, 1)


@pytest.mark.parametrize("ids", [[1797], [-1], [0, 5000, 1]])
def test_read_refuses_unknown_ids(digits, ids):
    with pytest.raises(UserError, match=r"ids: 1 of \d are not samples of 'digits' .* from 0 to 1796"):
        digits.read(ids)


@pytest.mark.parametrize("ids", [[0.5], [[1, 2]], 3, [True]])
def test_read_refuses_what_are_no_ids(digits, ids):
    with pytest.raises(UserError, match="integer sample ids"):
        digits.read(ids)


def test_dataset_survives_pickling(digits):
    again = pickle.loads(pickle.dumps(digits))
    np.testing.assert_array_equal(again.read([9, 1]), digits.read([9, 1]))
    assert again.fingerprint == digits.fingerprint


def test_negative_seed_is_refused():
    with pytest.raises(UserError, match="seed is -1"):
        load(DataSpec(name="digits"), seed=-1)


# --- sizes and modes ---


def test_derived_and_exact_sizes(digits):
    assert load(DataSpec(name="digits", max_image_size=5)).image_shape == (5, 5, 1)
    large = load(DataSpec(name="digits", image_size=12, max_image_size=5))
    assert large.image_shape == (12, 12, 1)
    oracle = Image.fromarray(digits.read([7])[0, ..., 0]).resize((12, 12), Image.Resampling.BILINEAR)
    np.testing.assert_array_equal(large.read([7])[0, ..., 0], np.asarray(oracle))


@settings(deadline=None)
@given(st.lists(st.integers(1, 500), min_size=1, max_size=9), st.integers(1, 300))
def test_target_is_the_capped_median_of_shorter_sides(sides, cap):
    side, _, channels = target_shape([Header(side, side + 3, True, "PNG", False) for side in sides], None, cap)
    assert channels == 1
    assert abs(side - min(np.median(sides), cap)) <= 0.5
    assert side <= cap


def test_channels_can_be_imposed(tmp_path):
    grey, red = np.full((6, 6), 90, np.uint8), np.full((6, 6, 3), (200, 0, 0), np.uint8)
    for number in range(2):
        save(tmp_path / "grey" / "a" / f"{number}.png", grey)
        save(tmp_path / "mixed" / "a" / f"{number}.png", (grey, red)[number])
    np.savez(tmp_path / "red.npz", images=red[None].repeat(2, axis=0), labels=[0, 0])
    for name, own, values in [("folder:grey", 1, 90), ("folder:mixed", 3, [90, 60]), ("npz:red.npz", 3, 60)]:
        spec = DataSpec(name=name).resolved(tmp_path)
        assert load(spec).image_shape[2] == own
        assert load(spec, channels=own).fingerprint == load(spec).fingerprint
        assert (load(spec, channels=1).read([0, 1])[:, 0, 0, 0] == values).all()
        assert load(spec.model_copy(update={"memory_limit_mb": 0}), channels=3).read([0]).shape == (1, 6, 6, 3)


def test_crop_is_central_and_exact(tmp_path):
    pixels = RNG(0).integers(0, 256, (6, 11, 3), dtype=np.uint8)
    np.testing.assert_array_equal(decode(save(tmp_path / "wide.png", pixels), (6, 6, 3)), pixels[:, 2:8])
    np.testing.assert_array_equal(decode(pixels.transpose(1, 0, 2).copy(), (6, 6, 3)), pixels[:, 2:8].transpose(1, 0, 2))


def test_resize_is_antialiased():
    checker = np.kron(np.indices((16, 16)).sum(axis=0) % 2, np.ones((1, 1))).astype(np.uint8)[..., None] * 255
    assert np.abs(decode(checker, (4, 4, 1)).astype(int) - 127).max() < 20  # plain bilinear sampling would give 0 or 255 somewhere


def test_sixteen_bit_grey_is_scaled(tmp_path):
    values = np.array([[0, 257], [32896, 65535]], dtype=np.uint16)
    np.testing.assert_array_equal(decode(save(tmp_path / "deep.png", values), (2, 2, 1))[..., 0], [[0, 1], [128, 255]])


def test_transparency_goes_on_white(tmp_path):
    pixels = np.zeros((2, 2, 4), dtype=np.uint8)
    pixels[0, :, 3] = 255  # upper row opaque black, lower row transparent
    for mode, channels in [("RGBA", 3), ("LA", 1)]:
        decoded = decode(save(tmp_path / f"{mode}.png", pixels, mode), (2, 2, channels))
        assert decoded.reshape(2, -1).tolist() == [[0] * 2 * channels, [255] * 2 * channels], mode
    palette = Image.new("P", (2, 2), 0)
    palette.putpalette([10, 20, 30, 200, 100, 50])
    palette.putpixel((1, 1), 1)
    palette.save(tmp_path / "palette.png", transparency=0)
    decoded = decode(tmp_path / "palette.png", (2, 2, 3))
    assert decoded[0, 0].tolist() == [255] * 3
    assert decoded[1, 1].tolist() == [200, 100, 50]


def test_other_modes(tmp_path):
    bilevel = save(tmp_path / "bilevel.png", np.array([[0, 255], [255, 0]], dtype=np.uint8), "1")
    assert decode(bilevel, (2, 2, 1))[..., 0].tolist() == [[0, 255], [255, 0]]
    Image.new("CMYK", (8, 8), (0, 255, 255, 0)).save(tmp_path / "cmyk.jpg")
    red = decode(tmp_path / "cmyk.jpg", (8, 8, 3)).reshape(-1, 3).mean(axis=0)
    assert red[0] > 200
    assert red[1] < 60
    assert red[2] < 60


def test_orientation_of_the_camera_is_applied(tmp_path):
    pixels = np.zeros((8, 8), dtype=np.uint8)
    pixels[:4] = 255  # white above black, stored; to be turned a quarter
    exif = Image.Exif()
    exif[0x0112] = 6
    decoded = decode(save(tmp_path / "turned.jpg", pixels, exif=exif, quality=100), (8, 8, 1))[..., 0]
    assert decoded[:, 4:].min() > 200
    assert decoded[:, :4].max() < 50


# --- held-out side ---

labels_strategy = st.lists(st.integers(0, 4), min_size=1, max_size=120).map(np.array)


@settings(deadline=None)
@given(labels_strategy, st.floats(0, 0.95), st.integers(0, 2**32))
def test_held_out_side_is_stratified(labels, fraction, seed):
    ids = np.arange(len(labels)) * 3
    is_test = stratified_test_split(ids, labels, fraction, seed=seed)
    wanted = np.array([fraction * (labels == label).sum() for label in np.unique(labels)])
    held = np.array([is_test[labels == label].sum() for label in np.unique(labels)])
    sizes = np.unique(labels, return_counts=True)[1]
    assert (np.abs(held - wanted) < 1 + 1e-6).all()
    assert (held < sizes).all()
    if (np.ceil(wanted) < sizes).all():
        assert abs(held.sum() - fraction * len(labels)) <= 0.5 + 1e-6
    np.testing.assert_array_equal(is_test, stratified_test_split(ids, labels, fraction, seed=seed))


@settings(deadline=None)
@given(st.integers(0, 59), st.integers(0, 1000))
def test_leaving_out_a_sample_moves_only_borders(gone, seed):
    ids, labels = np.arange(60), np.arange(60) % 3
    whole = stratified_test_split(ids, labels, 0.2, seed=seed)
    rest = np.delete(ids, gone)
    part = stratified_test_split(rest, labels[rest], 0.2, seed=seed)
    changed = part != whole[rest]
    assert max(np.bincount(labels[rest][changed], minlength=3)) <= 1


def test_held_out_side_depends_on_the_seed(digits):
    other = load(DataSpec(name="digits"), seed=4)
    assert (other.is_test != digits.is_test).any()
    assert other.is_test.sum() == digits.is_test.sum() == 359
    assert other.fingerprint != digits.fingerprint
    again = load(DataSpec(name="digits"), seed=3)
    np.testing.assert_array_equal(again.is_test, digits.is_test)
    assert again.fingerprint == digits.fingerprint
    assert not load(DataSpec(name="digits", test_fraction=0)).is_test.any()
