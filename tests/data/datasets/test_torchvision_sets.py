"""torchvision's sets from tiny files in their real formats on disk, and the sentence that names missing ones.

The files are synthetic, so the published checksums cannot hold: they are replaced by a check that the file is there, or by the
checksum of the synthetic archive.
"""

import gzip
import hashlib
import json
import os
import pickle
import socket
import struct

import numpy as np
import pytest
from PIL import Image
from scipy.io import savemat
from torchvision import datasets

from sslmem_kit.data import BUILTIN, load
from sslmem_kit.data.datasets import torchvision_sets
from sslmem_kit.errors import UserError
from sslmem_kit.spec.data import DataSpec

RNG = np.random.default_rng(5)


def pixels(*shape):
    return RNG.integers(0, 256, shape, dtype=np.uint8)


def labels(count, classes):
    return np.arange(count) % classes


@pytest.fixture
def unchecked(monkeypatch):
    """torchvision takes every file that is there."""
    for module in ("cifar", "svhn", "stl10", "flowers102"):
        monkeypatch.setattr(f"torchvision.datasets.{module}.check_integrity", lambda path, md5=None: os.path.isfile(path))


@pytest.fixture
def no_network(monkeypatch):
    def fail(*args, **options):
        raise socket.gaierror(-2, "Name or service not known")

    monkeypatch.setattr(socket, "getaddrinfo", fail)


def read(name, root, **options):
    return load(DataSpec(name=name, root=str(root), download=False, **options))


def idx(array):
    return struct.pack(f">BBBB{array.ndim}I", 0, 0, 8, array.ndim, *array.shape) + array.astype(np.uint8).tobytes()


def mnist_files(train, test):
    return {
        "train-images-idx3-ubyte": idx(train),
        "train-labels-idx1-ubyte": idx(labels(len(train), 10)),
        "t10k-images-idx3-ubyte": idx(test),
        "t10k-labels-idx1-ubyte": idx(labels(len(test), 10)),
    }


def write_all(folder, files):
    folder.mkdir(parents=True)
    for name, content in files.items():
        (folder / name).write_bytes(content)


def check(data, train, test, train_labels, test_labels):
    """The set is train followed by test, pixel by pixel."""
    np.testing.assert_array_equal(data.ids, np.arange(len(train) + len(test)))
    np.testing.assert_array_equal(data.is_test, data.ids >= len(train))
    np.testing.assert_array_equal(data.labels, np.concatenate([train_labels, test_labels]))
    expected = np.concatenate([train, test])
    np.testing.assert_array_equal(data.read(data.ids), expected if expected.ndim == 4 else expected[..., None])


@pytest.mark.parametrize(("name", "folder"), [("mnist", "MNIST"), ("fashion_mnist", "FashionMNIST")])
def test_idx_files(tmp_path, name, folder):
    train, test = pixels(20, 28, 28), pixels(10, 28, 28)
    write_all(tmp_path / folder / "raw", mnist_files(train, test))
    data = read(name, tmp_path)
    check(data, train, test, labels(20, 10), labels(10, 10))
    assert data.image_shape == (28, 28, 1)
    assert data.in_memory
    assert data.class_names[2:4] == (("2", "3") if name == "mnist" else ("Pullover", "Dress"))


def test_packed_files_need_no_network(tmp_path, monkeypatch, no_network):
    train, test = pixels(20, 28, 28), pixels(10, 28, 28)
    packed = {f"{name}.gz": gzip.compress(content) for name, content in mnist_files(train, test).items()}
    write_all(tmp_path / "MNIST" / "raw", packed)
    with pytest.raises(UserError, match=r"data\.download is false; put train-images-idx3-ubyte\.gz"):  # not the published checksums
        read("mnist", tmp_path)
    sums = [(name, hashlib.md5(content).hexdigest()) for name, content in packed.items()]
    monkeypatch.setattr(datasets.MNIST, "resources", sums)
    check(read("mnist", tmp_path), train, test, labels(20, 10), labels(10, 10))


def test_files_cut_short(tmp_path):
    write_all(
        tmp_path / "MNIST" / "raw",
        {name: content[:-5] for name, content in mnist_files(pixels(20, 28, 28), pixels(10, 28, 28)).items()},
    )
    with pytest.raises(
        UserError,
        match=r"data\.name 'mnist': its unpacked files below .*MNIST/raw cannot be read .*; delete them, put train-images",
    ):
        read("mnist", tmp_path)


@pytest.mark.parametrize("name", ["cifar10", "cifar100"])
def test_pickled_batches(tmp_path, unchecked, name):
    cls, classes = (datasets.CIFAR10, 10) if name == "cifar10" else (datasets.CIFAR100, 100)
    per_file = 20 if classes == 10 else 100
    folder = tmp_path / cls.base_folder
    key = "labels" if classes == 10 else "fine_labels"
    sides = []
    for files in (cls.train_list, cls.test_list):
        images = pixels(len(files) * per_file, 32, 32, 3)
        codes = labels(len(images), classes)
        for number, (file, _) in enumerate(files):
            rows = slice(number * per_file, (number + 1) * per_file)
            flat = images[rows].transpose(0, 3, 1, 2).reshape(per_file, -1)  # planes of red, green, blue
            folder.mkdir(exist_ok=True)
            (folder / file).write_bytes(pickle.dumps({"data": flat, key: codes[rows].tolist()}))
        sides.append((images, codes))
    names = [f"thing {number}" for number in range(classes)]
    (folder / cls.meta["filename"]).write_bytes(pickle.dumps({cls.meta["key"]: names}))
    data = read(name, tmp_path)
    check(data, sides[0][0], sides[1][0], sides[0][1], sides[1][1])
    assert data.class_names == tuple(names)


def test_svhn(tmp_path, unchecked):
    sides = [(pixels(count, 32, 32, 3), labels(count, 10)) for count in (20, 10)]
    for file, (images, codes) in zip(["train_32x32.mat", "test_32x32.mat"], sides, strict=True):
        savemat(
            tmp_path / file, {"X": images.transpose(1, 2, 3, 0), "y": np.where(codes == 0, 10, codes)[:, None]}
        )  # 10 stands for 0
    data = read("svhn", tmp_path)
    check(data, sides[0][0], sides[1][0], sides[0][1], sides[1][1])
    assert data.class_names == tuple("0123456789")


def test_stl10_without_its_unlabelled_images(tmp_path, unchecked):
    sides = [(pixels(count, 96, 96, 3), labels(count, 10)) for count in (20, 10)]
    files = {}
    for side, (images, codes) in zip(["train", "test"], sides, strict=True):
        files[f"{side}_X.bin"] = images.transpose(0, 3, 2, 1).tobytes()  # column by column
        files[f"{side}_y.bin"] = (codes + 1).astype(np.uint8).tobytes()
    write_all(tmp_path / "stl10_binary", files)
    data = read("stl10", tmp_path)
    check(data, sides[0][0], sides[1][0], sides[0][1], sides[1][1])
    assert data.class_names[0] == "airplane"
    assert data.image_shape == (96, 96, 3)


def test_flowers102(tmp_path, unchecked):
    folder = tmp_path / "flowers-102"
    (folder / "jpg").mkdir(parents=True)
    for number in range(1, 111):
        Image.fromarray(np.full((10, 14, 3), number, dtype=np.uint8)).save(folder / "jpg" / f"image_{number:05d}.jpg", quality=100)
    codes = labels(110, 102)
    savemat(folder / "imagelabels.mat", {"labels": codes[None] + 1})
    sets = {"trnid": np.arange(3, 100), "valid": np.arange(100, 106), "tstid": np.array([1, 2, 106, 107, 108, 109, 110])}
    savemat(folder / "setid.mat", {name: numbers[None] for name, numbers in sets.items()})
    data = read("flowers102", tmp_path)
    order = np.concatenate(list(sets.values()))
    np.testing.assert_array_equal(data.labels, codes[order - 1])
    np.testing.assert_array_equal(data.is_test, [False] * 103 + [True] * 7)
    assert data.image_shape == (10, 10, 3)
    assert data.class_names[0] == "pink primrose"
    assert len(data.class_names) == 102
    np.testing.assert_allclose(data.read(data.ids).mean(axis=(1, 2, 3)), order, atol=1.5)
    (folder / "jpg" / "image_00042.jpg").unlink()
    with pytest.raises(UserError, match=r"1 of 110 image files .* image_00042\.jpg \(No such file"):
        read("flowers102", tmp_path)


def test_food101(tmp_path):
    base = tmp_path / "food-101"
    (base / "meta").mkdir(parents=True)
    lists = {"train": {"pie": ["pie/1", "pie/2"], "apple": ["apple/7"]}, "test": {"pie": ["pie/3"], "apple": ["apple/8"]}}
    for side, content in lists.items():
        (base / "meta" / f"{side}.json").write_text(json.dumps(content))
        for value, name in enumerate([name for names in content.values() for name in names], 100 * (side == "test") + 1):
            path = base / "images" / f"{name}.jpg"
            path.parent.mkdir(parents=True, exist_ok=True)
            Image.fromarray(np.full((9, 9, 3), value, dtype=np.uint8)).save(path, quality=100)
    data = read("food101", tmp_path, memory_limit_mb=0)
    assert data.class_names == ("apple", "pie")
    assert not data.in_memory
    np.testing.assert_array_equal(data.labels, [1, 1, 0, 1, 0])
    np.testing.assert_array_equal(data.is_test, [False] * 3 + [True] * 2)
    np.testing.assert_allclose(data.read([4, 0])[:, 4, 4, 0], [102, 1], atol=1)


FILES = {
    "mnist": (
        "train-images-idx3-ubyte.gz, train-labels-idx1-ubyte.gz, t10k-images-idx3-ubyte.gz, t10k-labels-idx1-ubyte.gz",
        "MNIST/raw",
    ),
    "fashion_mnist": ("train-images-idx3-ubyte.gz", "FashionMNIST/raw"),
    "cifar10": ("cifar-10-python.tar.gz", ""),
    "cifar100": ("cifar-100-python.tar.gz", ""),
    "svhn": ("train_32x32.mat, test_32x32.mat", ""),
    "stl10": ("stl10_binary.tar.gz", ""),
    "food101": ("food-101.tar.gz", ""),
    "flowers102": ("102flowers.tgz, imagelabels.mat, setid.mat", "flowers-102"),
}


def test_every_set_has_its_files_named():
    assert set(FILES) == set(BUILTIN) - {"digits", "digits_twins", "mnist5k", "mnist5k_textured"}


@pytest.mark.parametrize("download", [True, False])
@pytest.mark.parametrize("name", FILES)
def test_missing_files_are_named(tmp_path, no_network, name, download):
    with pytest.raises(UserError) as caught:
        load(DataSpec(name=name, root=str(tmp_path), download=download))
    message, (files, folder) = str(caught.value), FILES[name]
    assert message.startswith(f"data.name {name!r}: ")
    assert "\n" not in message
    assert files in message
    assert f" into {tmp_path / folder} and load again" in message
    assert ("Name or service not known" in message) == download
    assert ("data.download is false" in message) != download


def test_a_silent_server_is_given_up(tmp_path, monkeypatch):
    monkeypatch.setattr(torchvision_sets, "TIMEOUT_S", 0.2)
    with socket.create_server(("127.0.0.1", 0)) as silent:  # takes the connection and never answers
        url = f"http://127.0.0.1:{silent.getsockname()[1]}/cifar-10-python.tar.gz"
        monkeypatch.setattr(datasets.CIFAR10, "url", url)
        monkeypatch.setenv("no_proxy", "*")
        with pytest.raises(UserError, match=r"fetching them failed \(TimeoutError.*put cifar-10-python\.tar\.gz"):
            load(DataSpec(name="cifar10", root=str(tmp_path)))
    assert socket.getdefaulttimeout() is None
