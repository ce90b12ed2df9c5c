"""Neighbours, their votes and their confidence, against scikit-learn and SciPy."""

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from sklearn.neighbors import KNeighborsClassifier

from sslmem_kit.measures.comparisons import neighbours
from sslmem_kit.measures.comparisons.neighbours import (
    confidence,
    consistency,
    named,
    nearest_of_other_folds,
    nearest_public,
    public_set,
    votes,
)


@pytest.mark.parametrize("block", [7, 2**14])
@pytest.mark.parametrize(
    ("public", "queries", "features", "classes", "count"), [(40, 30, 3, 2, 1), (200, 50, 16, 7, 20), (90, 11, 8, 30, 45)]
)
def test_votes_are_those_of_scikit_learn(
    monkeypatch: pytest.MonkeyPatch, block: int, public: int, queries: int, features: int, classes: int, count: int
) -> None:
    monkeypatch.setattr(neighbours, "PUBLIC_BLOCK", block)
    rng = np.random.default_rng(classes)
    known, asked = rng.normal(size=(public, features)), rng.normal(size=(queries, features))
    labels = np.concatenate([np.arange(classes), rng.integers(classes, size=public - classes)])
    own = rng.integers(classes, size=queries)
    oracle = KNeighborsClassifier(count, metric="cosine", algorithm="brute").fit(known, labels)
    shares = oracle.predict_proba(asked)
    found = torch.from_numpy(labels)[
        nearest_public(public_set(*map(torch.from_numpy, (known, labels))), torch.from_numpy(asked), count)
    ]
    counts = votes(found, classes)
    np.testing.assert_allclose(counts / count, shares, rtol=1e-6)
    np.testing.assert_array_equal(named(counts, torch.from_numpy(own)), oracle.predict(asked) == own)
    np.testing.assert_allclose(consistency(counts, torch.from_numpy(own)), shares[np.arange(queries), own], rtol=1e-6)
    np.testing.assert_allclose(confidence(counts), 1 - entropy(shares, axis=1) / np.log(classes), atol=1e-6)
    order = oracle.kneighbors(asked, return_distance=False)
    np.testing.assert_array_equal(found, labels[order])


@pytest.mark.parametrize("block", [5, 2**14])
def test_neither_itself_nor_its_fold_is_a_neighbour(monkeypatch: pytest.MonkeyPatch, block: int) -> None:
    monkeypatch.setattr(neighbours, "PUBLIC_BLOCK", block)
    rng = np.random.default_rng(0)
    known, labels, folds = torch.from_numpy(rng.normal(size=(23, 4))), torch.arange(23), torch.arange(23) % 5
    public = public_set(known, labels, folds=folds)
    assert (nearest_public(public, known, 1)[:, 0] == labels).all()
    own = nearest_public(public, known, 22, own=torch.arange(23))
    assert all(sorted(row) == [other for other in range(23) if other != place] for place, row in enumerate(own.tolist()))
    found = nearest_public(public, known, 18, own=torch.arange(23), folds=folds)
    assert (folds[found] != folds[:, None]).all()
    for wide in (2, 5, 20):  # among fewer than are asked for, hardly enough, and enough
        nearest = nearest_public(public, known, wide, own=torch.arange(23))
        same = nearest_of_other_folds(public, known, nearest, 4, own=torch.arange(23), folds=folds)
        np.testing.assert_array_equal(same, found[:, :4])
    absent = nearest_public(public, known, 3, own=torch.full((23,), -1))
    np.testing.assert_array_equal(absent, nearest_public(public, known, 3))


def test_a_class_that_is_not_public_has_no_answer() -> None:
    counts, classes = torch.tensor([[2, 1], [0, 3]]), torch.tensor([-1, 1])
    assert consistency(counts, classes)[0].isnan()
    assert named(counts, classes)[0].isnan()
    assert named(counts, classes)[1] == 1
