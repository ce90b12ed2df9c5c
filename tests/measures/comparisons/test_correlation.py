"""The reference without encoder: it is scikit-learn's classifier, and never knows the fold that it judges."""

import numpy as np
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from sslmem_kit.measures.comparisons.correlation import FOLDS, C, class_probabilities, spread_over_folds


def test_probabilities_are_those_of_scikit_learn() -> None:
    rng = np.random.default_rng(0)
    labels = np.concatenate([np.arange(3), rng.integers(3, size=117)])
    public = (rng.normal(size=(3, 5))[labels] + rng.normal(size=(120, 5))).astype(np.float32)
    folds, queries = spread_over_folds(labels), rng.normal(size=(FOLDS, 5)).astype(np.float32)
    found = class_probabilities(public, labels, folds, queries, np.arange(FOLDS), classes=3)
    for fold in range(FOLDS):
        there = folds != fold
        scaler = StandardScaler().fit(public[there])
        oracle = LogisticRegression(C=C, tol=1e-8, max_iter=1000).fit(scaler.transform(public[there]), labels[there])
        np.testing.assert_allclose(found[fold], oracle.predict_proba(scaler.transform(queries[[fold]]))[0], atol=2e-3)


def test_folds_hold_as_many_of_each_class() -> None:
    labels = np.random.default_rng(0).integers(7, size=200)
    folds = spread_over_folds(labels)
    counts = np.array([np.bincount(folds[labels == label], minlength=FOLDS) for label in range(7)])
    assert np.ptp(counts, axis=1).max() <= 1
    assert np.ptp(counts.sum(axis=0)) <= 1


def test_a_class_that_a_fold_lacks_has_no_probability() -> None:
    labels = np.array([0] * 10 + [1] * 10 + [2])
    folds = spread_over_folds(labels)
    public = np.random.default_rng(0).normal(size=(21, 2)).astype(np.float32)
    found = class_probabilities(public, labels, folds, public, folds, classes=3)
    assert found[20, 2] == 0
    np.testing.assert_allclose(found.sum(axis=1), 1, rtol=1e-6)
