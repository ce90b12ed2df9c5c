"""Distance to neighbours: that of scikit-learn, itself left out."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.neighbors import NearestNeighbors
from sklearn.preprocessing import normalize

from sslmem_kit.measures.comparisons import typicality
from sslmem_kit.measures.comparisons.typicality import mean_distance_to_nearest


@pytest.mark.parametrize("count", [1, 5, 18, 40])
def test_distances_are_those_of_scikit_learn(count: int, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(typicality, "QUERY_BLOCK", 7)
    rng = np.random.default_rng(0)
    features = rng.normal(size=(30, 6)).astype(np.float32)
    among, queries = np.sort(rng.permutation(30)[:20]), rng.permutation(30)[:25]
    found = mean_distance_to_nearest(features, queries, among, count=count)
    units = normalize(features.astype(float))
    for query, value in zip(queries, found, strict=True):
        others = among[among != query]
        neighbours = NearestNeighbors(n_neighbors=min(count, len(others))).fit(units[others])
        assert value == pytest.approx(neighbours.kneighbors(units[[query]])[0].mean(), rel=1e-5)


def test_twins_are_at_distance_zero_and_nobody_is_far_from_no_others() -> None:
    features = np.array([[1, 2], [1, 2], [2, 1]], np.float32)
    assert mean_distance_to_nearest(features, np.array([0, 1]), np.arange(3), count=1).tolist() == [0, 0]
    assert np.isnan(mean_distance_to_nearest(features, np.array([2]), np.array([2]), count=1)).all()


def test_what_lies_alone_has_the_highest() -> None:
    rng = np.random.default_rng(1)
    features = np.concatenate([rng.normal(3, 0.3, size=(40, 4)), [[-3, -3, 3, 3]]]).astype(np.float32)
    assert mean_distance_to_nearest(features, np.arange(41), np.arange(41), count=5).argmax() == 40
