"""Linear probes against scikit-learn's, and how the trained one is trained."""

import numpy as np
import pytest
import torch
from pydantic import ValidationError
from sklearn.datasets import make_blobs
from sklearn.linear_model import LogisticRegression
from sklearn.preprocessing import StandardScaler

from sslmem_kit.data import load
from sslmem_kit.errors import UserError
from sslmem_kit.measures.downstream import linear, probes
from sslmem_kit.spec.data import DataSpec
from sslmem_kit.spec.downstream import DownstreamSpec, LogisticProbeSpec, SGDProbeSpec

Sides = tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]
SHORT = SGDProbeSpec(optimizer="sgd", learning_rate=0.1, epochs=10, warmup_epochs=1)


@pytest.fixture(scope="module")
def pixels() -> Sides:
    data = load(DataSpec(name="digits"), seed=0)
    values, test = data.read(data.ids).reshape(len(data), -1).astype(np.float32), data.is_test
    return values[~test], data.labels[~test], values[test], data.labels[test]


@pytest.fixture(scope="module")
def blobs() -> Sides:
    values, labels = make_blobs(1500, 20, centers=8, cluster_std=5.0, random_state=0)
    values = values.astype(np.float32)
    return values[:1000], labels[:1000], values[1000:], labels[1000:]


def accuracy(sides: Sides, spec: LogisticProbeSpec | SGDProbeSpec, seed: int = 0) -> float:
    *training, test_labels = sides
    return probes.accuracy(probes.predict("linear", DownstreamSpec(linear=spec), *training, seed=seed), test_labels)


def test_logistic_is_the_optimum_of_scikit_learn(pixels: Sides) -> None:
    features, labels, test_features, test_labels = pixels
    scaler = StandardScaler().fit(features)
    oracle = LogisticRegression(C=0.1, max_iter=10_000, tol=1e-8).fit(scaler.transform(features), labels)
    expected = oracle.score(scaler.transform(test_features), test_labels)
    assert accuracy(pixels, LogisticProbeSpec()) == pytest.approx(expected, abs=1.5 / len(test_labels))  # one may be on the border


def test_the_penalty_is_the_specs(pixels: Sides) -> None:
    features, labels, test_features, test_labels = pixels
    scaler = StandardScaler().fit(features)
    given = set()
    for penalty in (1e-5, 0.1, 10.0):
        oracle = LogisticRegression(C=penalty, max_iter=10_000, tol=1e-8).fit(scaler.transform(features), labels)
        given.add(accuracy(pixels, LogisticProbeSpec(C=penalty)))
        expected = oracle.score(scaler.transform(test_features), test_labels)
        assert accuracy(pixels, LogisticProbeSpec(C=penalty)) == pytest.approx(expected, abs=1.5 / len(test_labels))
    assert len(given) > 1
    with pytest.raises(ValidationError):
        LogisticProbeSpec(C=0)


@pytest.mark.parametrize(
    "spec",
    [SGDProbeSpec(), SGDProbeSpec(learning_rate=4.8, epochs=45, warmup_epochs=5), SGDProbeSpec(optimizer="sgd", learning_rate=0.1)],
    ids=["table 6", "simclr", "sgd"],
)
def test_trained_probe_comes_near_the_optimum_with_small_data(pixels: Sides, blobs: Sides, spec: SGDProbeSpec) -> None:
    for sides in (pixels, blobs):
        assert accuracy(sides, spec) == pytest.approx(accuracy(sides, LogisticProbeSpec()), abs=0.02)


def test_scale_and_offset_of_features_make_no_difference(blobs: Sides) -> None:
    features, labels, test_features, test_labels = blobs
    moved = (features * 64 + 3, labels, test_features * 64 + 3, test_labels)
    assert accuracy(moved, SHORT) == pytest.approx(accuracy(blobs, SHORT), abs=0.005)


def test_constant_features_and_codes_of_labels_make_no_difference(blobs: Sides) -> None:
    features, labels, test_features, test_labels = blobs
    padded = [np.pad(values, ((0, 0), (1, 1)), constant_values=0.7) for values in (features, test_features)]
    renamed = [values * 7 + 100 for values in (labels, test_labels)]
    with_constants = accuracy((padded[0], labels, padded[1], test_labels), SHORT)
    assert with_constants == pytest.approx(accuracy(blobs, SHORT), abs=0.02)
    assert accuracy((features, renamed[0], test_features, renamed[1]), SHORT) == accuracy(blobs, SHORT)


def test_seeded_and_nothing_global_is_drawn(blobs: Sides) -> None:
    torch.manual_seed(5)
    before, before_numpy = torch.get_rng_state(), np.random.get_state()[1].copy()
    first = accuracy(blobs, SHORT)
    assert accuracy(blobs, SHORT) == first
    assert torch.equal(torch.get_rng_state(), before)
    np.testing.assert_array_equal(np.random.get_state()[1], before_numpy)
    one_step = SGDProbeSpec(epochs=1, warmup_epochs=0, learning_rate=1e-6)
    assert len({accuracy(blobs, one_step, seed) for seed in range(4)}) > 1


def test_lars_scales_the_steps_of_the_weights_and_not_of_the_bias() -> None:
    """You et al. 2017: a step of the weights is 0.001 |w| / |g| times g; lightly leaves that out where weight decay is 0."""
    weight, bias = torch.full((2, 3), 2.0, requires_grad=True), torch.full((2,), 2.0, requires_grad=True)
    optimizer = linear._optimizer(weight, bias, SGDProbeSpec(learning_rate=0.5))
    weight.grad, bias.grad = torch.full((2, 3), 40.0), torch.full((2,), 40.0)
    optimizer.step()
    torch.testing.assert_close(weight.detach(), torch.full((2, 3), 2.0 - 0.5 * 0.001 * 2.0 / 40.0 * 40.0))
    torch.testing.assert_close(bias.detach(), torch.full((2,), 2.0 - 0.5 * 40.0))


def test_divergence_names_the_field(blobs: Sides) -> None:
    with pytest.raises(UserError, match=r"downstream.linear.learning_rate: the probe diverged at 1e\+38"):
        accuracy(blobs, SGDProbeSpec(optimizer="sgd", learning_rate=1e38))


@pytest.mark.parametrize("spec", [LogisticProbeSpec(), SHORT], ids=["logistic", "sgd"])
def test_accuracy_without_meaning_is_nan(blobs: Sides, spec: LogisticProbeSpec | SGDProbeSpec) -> None:
    features, labels, test_features, test_labels = blobs
    assert np.isnan(accuracy((features, labels, test_features[:0], test_labels[:0]), spec))
    assert np.isnan(accuracy((features, np.zeros_like(labels), test_features, test_labels), spec))
    assert np.isnan(accuracy((features[:0], labels[:0], test_features, test_labels), spec))


@pytest.mark.parametrize("spec", [LogisticProbeSpec(), SHORT], ids=["logistic", "sgd"])
def test_two_samples_and_an_unknown_class(spec: LogisticProbeSpec | SGDProbeSpec) -> None:
    features = np.array([[-1.0, 0.0], [1.0, 0.0]], np.float32)
    assert accuracy((features, np.array([3, 8]), np.tile(features, (2, 1)), np.array([3, 8, 5, 5])), spec) == 0.5


def test_spec_refuses_what_cannot_be() -> None:
    with pytest.raises(ValidationError, match="warmup_epochs is 10, it must be below epochs, which is 10"):
        SGDProbeSpec(epochs=10)
    tasks = [{"name": "digits"}, {"name": "cifar10"}, {"name": "digits"}]
    with pytest.raises(ValidationError, match=r"downstream.tasks: 'digits' is listed twice"):
        DownstreamSpec(tasks=tasks)
    with pytest.raises(ValidationError, match=r"downstream.tasks.1.image_size is 8, it must be left out"):
        DownstreamSpec(tasks=[{"name": "digits"}, {"name": "cifar10", "image_size": 8}])


def test_paths_of_tasks_are_resolved_and_told_apart_then(tmp_path) -> None:
    spec = DownstreamSpec(tasks=[{"name": "digits"}, {"name": "folder:photos"}])
    assert [task.name for task in spec.resolved(tmp_path).tasks] == ["digits", f"folder:{tmp_path / 'photos'}"]
    with pytest.raises(UserError, match="is listed twice"):
        DownstreamSpec(tasks=[{"name": "folder:photos"}, {"name": "folder:./photos"}]).resolved(tmp_path)
