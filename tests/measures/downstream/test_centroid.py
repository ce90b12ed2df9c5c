"""Nearest centroid against scikit-learn's."""

import numpy as np
from sklearn.neighbors import NearestCentroid

from sslmem_kit.measures.downstream.centroid import centroid_predictions


def test_as_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels = rng.choice([2, 5, 9], 9000)  # more than a block
    features, test = rng.normal(size=(9000, 6)) + labels[:, None], 3 * rng.normal(size=(300, 6)) + 5
    features[:, 0] *= 20  # nothing is scaled
    test[:, 0] *= 20
    features, test = features.astype(np.float32), test.astype(np.float32)
    oracle = NearestCentroid().fit(features, labels).predict(test)
    np.testing.assert_array_equal(centroid_predictions(features, labels, test), oracle)
    assert len(set(oracle)) == 3
