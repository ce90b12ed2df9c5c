"""What all probes have in common: features on disk, classes that are absent, what has no meaning."""

from pathlib import Path

import numpy as np
import pytest

from sslmem_kit.measures.downstream.probes import accuracy, confusion, predict
from sslmem_kit.spec.downstream import DownstreamSpec
from sslmem_kit.store import PROBES


def blobs(samples: int, seed: int) -> tuple[np.ndarray, np.ndarray]:
    labels = np.random.default_rng(seed).choice([2, 5, 9], samples)
    values = 3 * np.random.default_rng(seed + 1).normal(size=(samples, 8)) + np.eye(10)[labels][:, 2:] * 6
    return values.astype(np.float32), labels


@pytest.mark.parametrize("name", PROBES)
def test_features_on_disk_give_the_same_labels(name: str, tmp_path: Path) -> None:
    features, labels = blobs(5000, 0)
    test, test_labels = blobs(400, 2)
    stored = [np.memmap(tmp_path / str(number), np.float32, "w+", shape=part.shape) for number, part in enumerate((features, test))]
    stored[0][:], stored[1][:] = features, test
    found = predict(name, DownstreamSpec(), features, labels, test, seed=0)
    np.testing.assert_array_equal(predict(name, DownstreamSpec(), stored[0], labels, stored[1], seed=0), found)
    assert 0.6 < accuracy(found, test_labels) < 1


@pytest.mark.parametrize("name", PROBES)
def test_a_class_that_is_not_tested_and_one_that_is_not_trained(name: str) -> None:
    features, labels = blobs(600, 0)
    test, test_labels = blobs(300, 2)
    found = predict(name, DownstreamSpec(), features, labels, test, seed=0)
    part = test_labels != 5
    np.testing.assert_array_equal(predict(name, DownstreamSpec(), features, labels, test[part], seed=0), found[part])
    counts = confusion(found[part], test_labels[part], 10)
    assert counts.sum() == part.sum()
    assert not counts[5].any()
    trained = labels != 9
    few = predict(name, DownstreamSpec(), features[trained], labels[trained], test, seed=0)
    assert set(few) <= {2, 5}
    assert confusion(few, test_labels, 10)[9, 9] == 0


@pytest.mark.parametrize("name", PROBES)
def test_one_class_and_no_test_samples_have_no_accuracy(name: str) -> None:
    features, labels = blobs(60, 0)
    assert predict(name, DownstreamSpec(), features, np.full(60, 5), features, seed=0) is None
    assert predict(name, DownstreamSpec(), features, labels, features[:0], seed=0) is None
    assert np.isnan(accuracy(None, labels))
    assert np.isnan(confusion(None, labels, 3)).all()


@pytest.mark.parametrize("name", PROBES)
def test_test_samples_have_no_part_in_the_training(name: str) -> None:
    """Standardized by the training samples alone: what is tested beside a sample does not change its label."""
    features, labels = blobs(300, 0)
    test, _ = blobs(100, 2)
    found = predict(name, DownstreamSpec(), features, labels, test, seed=0)
    beside = np.concatenate([test[:50], 1e4 * test[50:]])
    np.testing.assert_array_equal(predict(name, DownstreamSpec(), features, labels, beside, seed=0)[:50], found[:50])
