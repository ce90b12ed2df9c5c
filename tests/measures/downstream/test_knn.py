"""kNN accuracy against scikit-learn's classifier, and its invariances."""

import numpy as np
import pytest
from sklearn.neighbors import KNeighborsClassifier

from sslmem_kit.measures.downstream import knn
from sslmem_kit.measures.downstream.knn import knn_predictions
from sslmem_kit.measures.downstream.probes import accuracy

Sides = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]


def knn_accuracy(
    features: np.ndarray, labels: np.ndarray, test_features: np.ndarray, test_labels: np.ndarray, *, neighbours: int
) -> float:
    return accuracy(knn_predictions(features, labels, test_features, neighbours=neighbours), test_labels)


@pytest.fixture(scope="module")
def sides() -> Sides:
    rng = np.random.default_rng(0)
    centres = rng.normal(size=(6, 12))
    labels, test_labels = rng.integers(0, 6, 400), rng.integers(0, 6, 150)
    features, test_features = (
        (centres[codes] + rng.normal(size=(len(codes), 12))).astype(np.float32) for codes in (labels, test_labels)
    )
    return features, labels, test_features, test_labels


def oracle(sides: Sides, neighbours: int) -> float:
    def weights(distance: np.ndarray) -> np.ndarray:
        return np.exp((1 - distance) / 0.07)

    features, labels, test_features, test_labels = sides
    model = KNeighborsClassifier(neighbours, metric="cosine", algorithm="brute", weights=weights)
    return model.fit(features.astype(float), labels).score(test_features.astype(float), test_labels)


@pytest.mark.parametrize("neighbours", [1, 5, 20, 200, 400])
def test_as_scikit_learn(sides: Sides, neighbours: int) -> None:
    assert knn_accuracy(*sides, neighbours=neighbours) == oracle(sides, neighbours)


def test_the_weights_decide() -> None:
    """One near neighbour outvotes two far ones: exp(1 / 0.07) against 2 exp(0.6 / 0.07)."""
    features = np.array([[1, 0], [0.6, 0.8], [0.6, -0.8]], np.float32)
    assert knn_accuracy(features, np.array([0, 1, 1]), np.array([[2, 0]], np.float32), np.array([0]), neighbours=3) == 1


def test_blocks_make_no_difference(sides: Sides, monkeypatch: pytest.MonkeyPatch) -> None:
    whole = knn_accuracy(*sides, neighbours=20)
    monkeypatch.setattr(knn, "BLOCK_ENTRIES", 7 * 400)
    assert knn_accuracy(*sides, neighbours=20) == whole
    features, labels, test_features, _ = sides
    expected = knn_predictions(features, labels, test_features, neighbours=20)
    monkeypatch.setattr(knn, "TRAINING_BLOCK", 15)  # fewer than neighbours, and a rest
    monkeypatch.setattr(knn, "BLOCK_ENTRIES", 7 * 15)
    np.testing.assert_array_equal(knn_predictions(features, labels, test_features, neighbours=20), expected)


def test_invariances(sides: Sides) -> None:
    features, labels, test_features, test_labels = sides
    rng = np.random.default_rng(1)
    expected = knn_accuracy(*sides, neighbours=20)
    rotation = np.linalg.qr(rng.normal(size=(12, 12)))[0].astype(np.float32)
    lengths = rng.uniform(0.1, 9, (400, 1)).astype(np.float32)
    order = rng.permutation(400)
    assert knn_accuracy(features @ rotation, labels, test_features @ rotation, test_labels, neighbours=20) == expected
    assert knn_accuracy(features * lengths, labels, test_features, test_labels, neighbours=20) == expected
    assert knn_accuracy(features[order], labels[order], test_features, test_labels, neighbours=20) == expected
    assert knn_accuracy(features, labels * 5 - 2, test_features, test_labels * 5 - 2, neighbours=20) == expected


def test_all_samples_vote_where_there_are_fewer(sides: Sides) -> None:
    features, labels, test_features, test_labels = sides
    few = (features[:7], labels[:7], test_features, test_labels)
    assert knn_accuracy(*few, neighbours=20) == oracle(few, 7)
