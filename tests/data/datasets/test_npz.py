"""NumPy archives: what is read, and one sentence for everything that is not."""

import io
import zipfile

import numpy as np
import pytest

from sslmem_kit.data import Dataset, load
from sslmem_kit.errors import UserError
from sslmem_kit.spec.data import DataSpec

IMAGES = np.random.default_rng(0).integers(0, 256, (6, 5, 5, 3), dtype=np.uint8)
LABELS = np.array([0, 1, 2, 0, 1, 2])


def read(path, **options) -> Dataset:
    return load(DataSpec(name=f"npz:{path}", **options))


@pytest.fixture
def npz(tmp_path):
    def write(**arrays):
        np.savez_compressed(tmp_path / "set.npz", **{name: array for name, array in arrays.items() if array is not None})
        return tmp_path / "set.npz"

    return write


def test_what_is_written_is_read(npz):
    data = read(npz(images=IMAGES, labels=LABELS.astype(np.uint8), class_names=np.array(["a", "b", "c"])))
    np.testing.assert_array_equal(data.read([4, 0]), IMAGES[[4, 0]])
    np.testing.assert_array_equal(data.labels, LABELS)
    assert data.labels.dtype == data.ids.dtype == np.int64
    assert data.class_names == ("a", "b", "c")


@pytest.mark.parametrize("images", [IMAGES[..., 0], IMAGES[..., :1]])
def test_grey(npz, images):
    data = read(npz(images=images, labels=LABELS))
    assert data.image_shape == (5, 5, 1)
    np.testing.assert_array_equal(data.read([1])[0, ..., 0], IMAGES[1, ..., 0])


def test_not_square_is_cropped(npz):
    data = read(npz(images=np.repeat(IMAGES, 2, axis=2), labels=LABELS))
    np.testing.assert_array_equal(data.read([3])[0], np.repeat(IMAGES, 2, axis=2)[3, :, 2:7])


def test_resized_lazily_is_resized_in_memory(npz):
    path = npz(images=IMAGES, labels=LABELS)
    held, lazy = read(path, image_size=8), read(path, image_size=8, memory_limit_mb=0)
    assert held.in_memory
    assert not lazy.in_memory
    assert lazy.fingerprint == held.fingerprint
    np.testing.assert_array_equal(lazy.read([5, 1]), held.read([5, 1]))
    assert read(path, memory_limit_mb=0).in_memory  # read whole anyway: held as it is


@pytest.mark.parametrize("labels", [np.array(["b", "c", "d"] * 2), np.array([b"b", b"c", b"d"] * 2), np.array([3, 7, 9] * 2)])
def test_labels_are_recoded(npz, labels):
    data = read(npz(images=IMAGES, labels=labels))
    np.testing.assert_array_equal(data.labels, LABELS)
    assert data.class_names == (("3", "7", "9") if labels.dtype.kind == "i" else ("b", "c", "d"))


def test_string_labels_with_class_names_keep_their_order(npz):
    data = read(npz(images=IMAGES, labels=np.array(["b", "a"] * 3), class_names=np.array(["b", "a"])))
    assert data.class_names == ("b", "a")
    np.testing.assert_array_equal(data.labels, [0, 1] * 3)


def test_all_of_one_class_is_allowed(npz):
    assert read(npz(images=IMAGES, labels=np.zeros(6, dtype=int))).class_names == ("0",)


def test_a_pixel_a_label_a_name_change_the_fingerprint(npz):
    changed = IMAGES.copy()
    changed[2, 3, 4, 1] ^= 1
    names = np.array(["a", "b", "c"])
    prints = [
        read(npz(images=images, labels=labels, class_names=class_names), test_fraction=0).fingerprint
        for images, labels, class_names in [
            (IMAGES, LABELS, names),
            (changed, LABELS, names),
            (IMAGES, LABELS[::-1], names),
            (IMAGES, LABELS, names[::-1]),
            (IMAGES, LABELS, names),
        ]
    ]
    assert len(set(prints)) == 4
    assert prints[0] == prints[-1]


FLOAT = (IMAGES / 255).astype(np.float32)
WITH_NAN = np.where(np.arange(6).reshape(6, 1, 1, 1) == 2, np.float32(np.nan), FLOAT)
SENTENCES = [
    ({"images": None}, "no array images; it holds labels"),
    ({"images": None, "labels": None, "x": LABELS}, "no array images and no labels; it holds x"),
    ({"images": FLOAT}, r"images has dtype float32 .*uint8 from 0 to 255 is wanted: .*numpy\.rint"),
    ({"images": WITH_NAN}, "images has dtype float32 .*also holds 75 NaN"),
    ({"images": IMAGES.astype(np.int64)}, "images has dtype int64 .*uint8"),
    ({"images": IMAGES[0, 0]}, r"images .*shape \(5, 3\); \(n, height, width\)"),
    ({"images": IMAGES[..., [0, 1, 2, 0]]}, r"it has 4: drop or blend the alpha channel of RGBA"),
    ({"images": IMAGES[..., :2]}, "1 or 3 channels .* it has 2"),
    ({"images": np.moveaxis(IMAGES, 3, 1)}, "channels seem to come first"),
    ({"images": IMAGES[:0], "labels": LABELS[:0]}, r"images .*shape \(0, 5, 5, 3\); it holds no pixel, and at least 2 images"),
    ({"images": IMAGES[:1], "labels": LABELS[:1]}, "has 1 image; at least 2"),
    ({"labels": LABELS[:5]}, r"labels has shape \(5,\), but images holds 6"),
    ({"labels": LABELS[:, None]}, r"labels has shape \(6, 1\).* is wanted: store labels\[:, 0\]"),
    ({"labels": np.eye(6, 3, dtype=int)}, r"labels has shape \(6, 3\).* is wanted: .*argmax"),
    ({"labels": np.array(["a", "b\nc"] * 3)}, r"class_names holds 'b\\nc', which cannot be printed"),
    ({"labels": LABELS.astype(float)}, "labels has dtype float64; integers or strings"),
    ({"labels": np.array([0, 1, np.nan, 0, 1, 2])}, "labels has dtype float64 and holds 1 NaN"),
    ({"labels": LABELS == 0}, "labels has dtype bool"),
    ({"labels": LABELS - 1}, "labels holds 2 negative values"),
    ({"labels": LABELS.astype(object)}, "labels of .* cannot be read .*object array"),
    ({"class_names": np.array(["a", "b"])}, "labels holds 2, but class_names names 2 classes"),
    ({"class_names": np.array(["a", "b", "c", "d"])}, "1 of 4 classes have no sample: d"),
    ({"class_names": np.array(["a", "b", "a"])}, "class_names holds a more than once"),
    ({"class_names": np.arange(3)}, "class_names has dtype int64"),
    ({"class_names": np.array(["a", "b"]), "labels": np.array(["a", "b", "x"] * 2)}, "labels holds x, not among the 2 class_names"),
]


@pytest.mark.parametrize(("changes", "sentence"), SENTENCES)
def test_error_sentences(npz, changes, sentence):
    path = npz(**{"images": IMAGES, "labels": LABELS, **changes})
    with pytest.raises(UserError, match=sentence) as caught:
        read(path)
    assert str(caught.value).startswith("data.name 'npz:")
    assert str(path) in str(caught.value)
    assert "\n" not in str(caught.value)


def test_files_that_are_no_archive(npz, tmp_path):
    with pytest.raises(UserError, match=r"none\.npz is not there"):
        read(tmp_path / "none.npz")
    with pytest.raises(UserError, match=r"is not a file; an \.npz file is wanted, for a folder of images write folder:"):
        read(tmp_path)
    np.save(tmp_path / "array.npy", IMAGES)
    with pytest.raises(UserError, match=r"array\.npy is not an npz archive"):
        read(tmp_path / "array.npy")
    path = npz(images=IMAGES, labels=LABELS)
    whole = path.read_bytes()
    path.write_bytes(whole[: len(whole) // 2])
    with pytest.raises(UserError, match="not an npz archive, or it is cut short"):
        read(path)
    damaged = bytearray(whole)
    damaged[200:260] = bytes(60)  # inside the packed images
    path.write_bytes(damaged)
    with pytest.raises(UserError, match=r"images of .*set\.npz cannot be read"):
        read(path)


def test_an_array_that_memory_cannot_hold_is_not_unpacked(npz):
    path = npz(images=IMAGES, labels=LABELS)
    header = io.BytesIO()
    np.lib.format.write_array_header_1_0(header, {"descr": "|u1", "fortran_order": False, "shape": (2**22, 2**11, 2**11, 3)})
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("images.npy", header.getvalue() + bytes(1000))
        archive.writestr("labels.npy", b"")
    with pytest.raises(UserError, match=r"images of .*set\.npz has dtype uint8 and shape \(4194304, 2048, 2048, 3\), 49,152 GiB"):
        read(path)


def test_an_array_that_is_there_twice_is_refused(npz, recwarn):
    path = npz(images=IMAGES, labels=LABELS)
    with zipfile.ZipFile(path, "a") as archive, io.BytesIO() as other:
        np.save(other, LABELS[::-1])
        archive.writestr("labels.npy", other.getvalue())
    recwarn.clear()  # zipfile says so where it is written
    with pytest.raises(UserError, match=r"holds labels\.npy more than once"):
        read(path)
