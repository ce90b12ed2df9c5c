"""Multinomial logistic regression against scikit-learn's, on features that make it hard."""

from pathlib import Path

import numpy as np
import pytest
import torch
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from sslmem_kit.errors import UserError
from sslmem_kit.measures.downstream import logistic
from sslmem_kit.measures.downstream.logistic import fit_logistic, moments


def drawn(samples: int, features: int, classes: int, *, offset: float = 0.0) -> tuple[np.ndarray, np.ndarray]:
    """Correlated features, one of them constant and two equal, and classes that follow from them with noise."""
    rng = np.random.default_rng(samples + classes)
    values = rng.normal(size=(samples, features)) @ rng.normal(size=(features, features))
    values[:, 0], values[:, 1] = 0.7, values[:, 2]
    labels = (values @ rng.normal(size=(features, classes)) + 5 * rng.normal(size=(samples, classes))).argmax(axis=1)
    return (values + offset).astype(np.float32), labels


@pytest.mark.parametrize(
    ("samples", "features", "classes", "strength", "offset"),
    [(400, 30, 3, 0.1, 0.0), (400, 30, 2, 0.1, 0.0), (400, 30, 5, 0.1, 100.0), (60, 90, 3, 0.01, 0.0), (500, 8, 4, 10.0, 0.0)],
    ids=["three", "two classes", "far from zero", "more features than samples", "weak penalty"],
)
def test_probabilities_are_those_of_scikit_learn(
    samples: int, features: int, classes: int, strength: float, offset: float, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(logistic, "TOLERANCE", 1e-10)
    values, labels = drawn(samples, features, classes, offset=offset)
    scaled = StandardScaler().fit_transform(values.astype(float))
    oracle = LogisticRegression(C=strength, max_iter=100_000, tol=1e-9).fit(scaled, labels)
    found = fit_logistic(values, labels, classes, C=strength)
    given = torch.softmax(torch.from_numpy(values) @ found.weight.T + found.bias, dim=1).numpy()
    np.testing.assert_allclose(given, oracle.predict_proba(scaled), atol=2e-3)


def test_the_gradient_is_zero_at_the_optimum(monkeypatch: pytest.MonkeyPatch) -> None:
    """Of the objective as its docstring gives it, by autograd in float64."""
    monkeypatch.setattr(logistic, "TOLERANCE", 1e-10)
    for classes, strength in ((2, 0.1), (5, 3.0)):
        values, labels = drawn(600, 25, classes)
        found = fit_logistic(values, labels, classes, C=strength)
        inputs, targets = torch.from_numpy(values).double(), torch.from_numpy(labels)
        spread = inputs.std(dim=0, correction=0)
        weight, bias = found.weight.double().requires_grad_(), found.bias.double().requires_grad_()
        loss = torch.nn.functional.cross_entropy(inputs @ weight.T + bias, targets, reduction="sum")
        penalty = (
            (weight * spread).square().sum() / 2 * (2 if classes == 2 else 1)
        )  # two classes share one vector of twice the length
        (strength * loss + penalty).backward()
        scale = strength * len(labels)
        assert (weight.grad / spread.clamp_min(1e-3)).abs()[:, 1:].max() / scale < 1e-4  # the first feature is constant
        assert bias.grad.abs().max() / scale < 1e-4
        assert (weight.detach() * spread).abs().max() > 0.1


def test_it_ends_where_the_loss_falls_no_more() -> None:
    """At most by the tolerance: a search that goes on to the end gains no more."""
    values, labels = drawn(2000, 40, 6)
    scaled = StandardScaler().fit_transform(values.astype(float))

    def loss(classifier: logistic.Classifier) -> float:
        weight, inputs = classifier.weight.double(), torch.from_numpy(values).double()
        penalty = (weight * torch.from_numpy(values.astype(float).std(axis=0))).square().sum() / 2
        scores = inputs @ weight.T + classifier.bias.double()
        return float(torch.nn.functional.cross_entropy(scores, torch.from_numpy(labels)) + penalty / (0.1 * len(labels)))

    oracle = LogisticRegression(C=0.1, max_iter=100_000, tol=1e-9).fit(scaled, labels)
    best = -np.mean(oracle.predict_log_proba(scaled)[np.arange(len(labels)), labels]) + (oracle.coef_**2).sum() / 2 / (0.1 * 2000)
    assert 0 <= loss(fit_logistic(values, labels, 6, C=0.1)) - best < 5 * logistic.TOLERANCE


def test_features_on_disk_and_blocks_make_no_difference(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    values, labels = drawn(500, 20, 4)
    whole = fit_logistic(values, labels, 4, C=0.1)
    stored = np.lib.format.open_memmap(tmp_path / "features.npy", "w+", np.float32, values.shape)
    stored[:] = values
    assert torch.equal(fit_logistic(np.load(tmp_path / "features.npy", mmap_mode="r"), labels, 4, C=0.1).weight, whole.weight)
    monkeypatch.setattr(logistic, "BLOCK", 64)
    parted = fit_logistic(values, labels, 4, C=0.1)
    np.testing.assert_array_equal(parted.predict(values), whole.predict(values))


def test_moments_far_from_zero_lose_no_digits() -> None:
    values = (np.random.default_rng(0).normal(size=(5000, 3)) * [1, 0.1, 0] + 1000).astype(np.float32)
    mean, scale = moments(values)
    np.testing.assert_allclose(mean, values.astype(float).mean(axis=0), rtol=1e-9)
    np.testing.assert_allclose(scale[:2], values[:, :2].astype(float).std(axis=0), rtol=1e-4)
    assert scale[2] == torch.inf


def test_constant_features_alone_give_the_most_frequent_class() -> None:
    found = fit_logistic(np.full((9, 3), 2.5, np.float32), np.array([0, 1, 1, 1, 1, 2, 2, 0, 1]), 3, C=0.1)
    assert (found.predict(np.array([[2.5, 2.5, 2.5], [9, 9, 9]], np.float32)) == 1).all()
    assert torch.equal(found.weight, torch.zeros(3, 3))
    torch.testing.assert_close(torch.softmax(found.bias, dim=0), torch.tensor([2.0, 5.0, 2.0]) / 9, atol=1e-3, rtol=0)


def test_what_is_not_finite_and_what_did_not_end_is_said(monkeypatch: pytest.MonkeyPatch) -> None:
    values, labels = drawn(300, 12, 3)
    monkeypatch.setattr(logistic, "MAX_ITERATIONS", 3)
    with pytest.warns(RuntimeWarning, match=r"not at its optimum after 3 steps; a smaller downstream.linear.C helps"):
        fit_logistic(values, labels, 3, C=0.1)
    values[7, 5] = np.nan
    with pytest.raises(UserError, match="are not finite: their encoder's training diverged"):
        fit_logistic(values, labels, 3, C=0.1)
