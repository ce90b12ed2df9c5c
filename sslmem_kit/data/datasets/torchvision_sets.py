"""Data sets that torchvision downloads, checks and reads; each has a train and a test split of its own.

Files already on disk are used without touching the network, packed or unpacked. What is missing is downloaded where the spec allows
it (torchvision compares the checksums and shows its own progress bar), and otherwise named, with the folder it belongs in.
"""

from __future__ import annotations

import pickle
import socket
from collections.abc import Iterator
from contextlib import contextmanager
from typing import TYPE_CHECKING, Any, NamedTuple

from sslmem_kit.data.datasets.source import Source, from_splits
from sslmem_kit.errors import NotThere, UserError

if TYPE_CHECKING:
    from sslmem_kit.spec.data import DataSpec

TIMEOUT_S = 10.0
"""Seconds without an answer after which a download is given up; torchvision itself would wait for ever."""
STL10_CLASSES = ("airplane", "bird", "car", "cat", "deer", "dog", "horse", "monkey", "ship", "truck")


class Archive(NamedTuple):
    """A file as it is published: the folder it belongs in (relative to the root), its name and its checksum."""

    folder: str
    name: str
    md5: str


def mnist(spec: DataSpec) -> Source:
    """60,000 + 10,000 handwritten digits, 28x28, grey."""
    return _idx(spec, "MNIST")


def fashion_mnist(spec: DataSpec) -> Source:
    """60,000 + 10,000 pieces of clothing, 28x28, grey."""
    return _idx(spec, "FashionMNIST")


def _idx(spec: DataSpec, class_name: str) -> Source:
    from torchvision import datasets

    cls = getattr(datasets, class_name)
    archives = [Archive(f"{class_name}/raw", name, md5) for name, md5 in cls.resources]
    parts = _open(spec, cls, archives, {"train": True}, {"train": False})
    # MNIST's names read "0 - zero"; the other built-in digits are called "0".
    names = [name.split(" - ")[0] for name in cls.classes]
    return from_splits([(part.data.numpy()[..., None], part.targets.numpy()) for part in parts], names)


def cifar10(spec: DataSpec) -> Source:
    """50,000 + 10,000 photographs of 10 classes, 32x32, RGB."""
    return _cifar(spec, "CIFAR10")


def cifar100(spec: DataSpec) -> Source:
    """50,000 + 10,000 photographs of 100 (fine) classes, 32x32, RGB."""
    return _cifar(spec, "CIFAR100")


def _cifar(spec: DataSpec, class_name: str) -> Source:
    from torchvision import datasets

    cls = getattr(datasets, class_name)
    parts = _open(spec, cls, [Archive("", cls.filename, cls.tgz_md5)], {"train": True}, {"train": False})
    return from_splits([(part.data, part.targets) for part in parts], parts[0].classes)


def svhn(spec: DataSpec) -> Source:
    """73,257 + 26,032 house number digits, 32x32, RGB."""
    from torchvision.datasets import SVHN

    archives = [Archive("", *SVHN.split_list[split][1:]) for split in ("train", "test")]
    parts = _open(spec, SVHN, archives, {"split": "train"}, {"split": "test"})
    return from_splits([(part.data.transpose(0, 2, 3, 1), part.labels) for part in parts], [str(digit) for digit in range(10)])


def stl10(spec: DataSpec) -> Source:
    """5,000 + 8,000 labelled photographs of 10 classes, 96x96, RGB; the unlabelled images are left out."""
    from torchvision.datasets import STL10

    class Labelled(STL10):
        train_list = STL10.train_list[:2]  # or every load would checksum 2.8 GB of unlabelled images, twice

    archives = [Archive("", STL10.filename, STL10.tgz_md5)]
    parts = _open(spec, Labelled, archives, {"split": "train"}, {"split": "test"})
    return from_splits([(part.data.transpose(0, 2, 3, 1), part.labels) for part in parts], STL10_CLASSES)


def food101(spec: DataSpec) -> Source:
    """75,750 + 25,250 photographs of 101 dishes, up to 512 pixels, decoded from files."""
    from torchvision.datasets import Food101

    archives = [Archive("", Food101._URL.rsplit("/", 1)[1], Food101._MD5)]
    parts = _open(spec, Food101, archives, {"split": "train"}, {"split": "test"})
    return from_splits([(part._image_files, part._labels) for part in parts], parts[0].classes, base=parts[0]._images_folder)


def flowers102(spec: DataSpec) -> Source:
    """2,040 (train and val) + 6,149 photographs of 102 flowers, at least 500 pixels, decoded from files."""
    from torchvision.datasets import Flowers102

    archives = [Archive("flowers-102", name, md5) for name, md5 in Flowers102._file_dict.values()]
    train, val, test = _open(spec, Flowers102, archives, {"split": "train"}, {"split": "val"}, {"split": "test"})
    parts = [(train._image_files + val._image_files, train._labels + val._labels), (test._image_files, test._labels)]
    return from_splits(parts, Flowers102.classes, base=train._images_folder)


def _open(spec: DataSpec, cls: type, archives: list[Archive], *splits: dict[str, Any]) -> list[Any]:
    """Open the torchvision data sets of ``splits``; a UserError names the files that are missing and where they belong."""
    from torchvision.datasets.utils import check_integrity

    root = spec.root_folder
    folder = root / archives[0].folder
    where = f"{', '.join(archive.name for archive in archives)} into {folder}"
    try:
        return [cls(root, download=False, **split) for split in splits]
    except (RuntimeError, OSError, ValueError, AssertionError, EOFError, LookupError, pickle.UnpicklingError) as error:
        # "not found" is torchvision's word for files that are not there, or not with this checksum; the rest are files cut short
        if not (isinstance(error, RuntimeError) and "not found" in str(error)):
            problem = f"its unpacked files below {folder} cannot be read ({_line(error)})"
            raise UserError(f"data.name {spec.name!r}: {problem}; delete them, put {where} and load again") from error
    packed = all(check_integrity(root / archive.folder / archive.name, archive.md5) for archive in archives)
    kind, reason = NotThere, "data.download is false"
    if spec.download or packed:  # with every archive in place, torchvision's "download" only unpacks
        try:
            with _socket_timeout(TIMEOUT_S):
                return [cls(root, download=True, **split) for split in splits]
        except (OSError, RuntimeError, EOFError) as error:
            kind, reason = UserError, f"fetching them failed ({_line(error)})"
    raise kind(f"data.name {spec.name!r}: its files are not complete in {root} and {reason}; put {where} and load again")


@contextmanager
def _socket_timeout(seconds: float) -> Iterator[None]:
    # torchvision opens its URLs without a timeout, so the default for new sockets is the only handle on it.
    before = socket.getdefaulttimeout()
    socket.setdefaulttimeout(seconds)
    try:
        yield
    finally:
        socket.setdefaulttimeout(before)


def _line(error: Exception) -> str:
    # torchvision lists one mirror after the other; the last line holds a cause
    return f"{type(error).__name__}: {(str(error).strip().splitlines() or [''])[-1][:200]}"
