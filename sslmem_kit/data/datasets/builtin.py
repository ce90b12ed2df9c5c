"""The built-in data sets: one visible dict of name -> reader, and the set that comes with scikit-learn."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from sslmem_kit.data.datasets import torchvision_sets
from sslmem_kit.data.datasets.source import Source

if TYPE_CHECKING:
    from sslmem_kit.spec.data import DataSpec


def digits(spec: DataSpec) -> Source:
    """1,797 handwritten digits of 8x8 pixels, part of scikit-learn's package; grey values 0..16 become 0..255."""
    from sklearn.datasets import load_digits

    bunch = load_digits()
    return Source(
        images=np.rint(bunch.images * (255 / 16)).astype(np.uint8)[..., None],
        labels=bunch.target.astype(np.int64),
        class_names=tuple(str(digit) for digit in range(10)),
    )


BUILTIN: dict[str, Callable[[DataSpec], Source]] = {
    "digits": digits,
    "mnist": torchvision_sets.mnist,
    "fashion_mnist": torchvision_sets.fashion_mnist,
    "cifar10": torchvision_sets.cifar10,
    "cifar100": torchvision_sets.cifar100,
    "svhn": torchvision_sets.svhn,
    "stl10": torchvision_sets.stl10,
    "food101": torchvision_sets.food101,
    "flowers102": torchvision_sets.flowers102,
}
