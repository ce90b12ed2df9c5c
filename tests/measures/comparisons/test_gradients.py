"""What gradients say of samples: closed forms of linear and logistic regression, a planted sample, and the fixed batches of a study."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy

from sslmem_kit.data.loader import ImageLoader
from sslmem_kit.data.samples import load_samples
from sslmem_kit.measures.comparisons.alignment_loss import AlignmentLoss
from sslmem_kit.measures.comparisons.gradients import chosen_states, measure, statistics
from sslmem_kit.measures.comparisons.subject import Checkpoint, Subject
from sslmem_kit.spec.comparisons import GradientsSpec
from sslmem_kit.spec.loading import parse_spec
from sslmem_kit.training.objectives import Batch, Objective
from sslmem_kit.training.objectives.base import Outputs
from sslmem_kit.training.setup import new_objective
from sslmem_kit.views import several_views

SAMPLES, FEATURES = 40, 5
OPTIONS = GradientsSpec(name="gradients", projection=256, damping=1e-6)


class Regression(Objective):
    """Linear regression on classes as numbers, or logistic regression: one layer on the features, without bias."""

    def __init__(self, *, logistic: bool = False, hidden: int = 0) -> None:
        super().__init__(nn.Identity(), None)
        self.logistic = logistic
        outputs = 2 if logistic else 1
        self.layer = nn.Linear(hidden or FEATURES, outputs, bias=False)
        self.first = nn.Sequential(nn.Linear(FEATURES, hidden), nn.Tanh()) if hidden else nn.Identity()

    def outputs(self, batch: Batch) -> Outputs:
        return Outputs((self.layer(self.first(batch.views[0].flatten(1))),))

    def compare(self, compared: tuple[Tensor, ...], labels: Tensor) -> Tensor:
        (found,) = compared
        return cross_entropy(found, labels) if self.logistic else ((found[:, 0] - labels) ** 2).mean() / 2


def make(*, logistic: bool = False, hidden: int = 0) -> tuple[Regression, Tensor, Tensor]:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(0)
        labels = torch.arange(SAMPLES) % 2
        x = torch.randn(SAMPLES, FEATURES)
        x[:, 0] += 8 * labels - 4
        return Regression(logistic=logistic, hidden=hidden).eval(), x, labels


def batches(x: Tensor, labels: Tensor, *, size: int = 15) -> list[tuple[np.ndarray, list[Batch]]]:
    order = np.random.default_rng(0).permutation(len(x))
    return [
        (part, [Batch((x[part][:, :, None, None],), torch.zeros(len(part), dtype=torch.int64), labels[part])])
        for part in np.split(order, range(size, len(x), size))
    ]


@pytest.mark.parametrize("logistic", [False, True])
def test_regression_has_norms_cosines_and_leverages_in_closed_form(logistic: bool) -> None:
    objective, x, labels = make(logistic=logistic)
    weights = objective.layer.weight.detach()
    if logistic:
        residual = torch.softmax(x @ weights.T, dim=1) - nn.functional.one_hot(labels, 2)
        gradients = (residual[:, :, None] * x[:, None]).flatten(1).double().numpy()
    else:
        gradients = ((x @ weights[0] - labels)[:, None] * x).double().numpy()
    members = np.arange(SAMPLES) % 4 > 0
    found = statistics(batches(x, labels), objective, members, OPTIONS, seed=0)
    np.testing.assert_allclose(found.norm, np.linalg.norm(gradients, axis=1), rtol=1e-4)
    for number in range(SAMPLES):
        others = gradients[members & (np.arange(SAMPLES) != number)]
        mean, own = others.mean(axis=0), gradients[number]
        assert found.cosine[number] == pytest.approx(own @ mean / np.linalg.norm(own) / np.linalg.norm(mean), abs=1e-5)
        added = 1e-6 * np.trace(gradients[members].T @ gradients[members]) / 256
        expected = own @ np.linalg.solve(others.T @ others + added * np.eye(len(mean)), own)
        assert found.leverage[number] == pytest.approx(expected, rel=2e-2)


def test_leverage_of_linear_regression_is_the_residual_times_that_of_its_inputs_where_residuals_are_equal() -> None:
    """With residuals of equal size g_i = +-r x_i, and phi's leverage is that of the hat matrix."""
    objective, x, labels = make()
    nn.init.zeros_(objective.layer.weight)
    ones = torch.ones_like(labels)
    found = statistics(batches(x, ones), objective, np.ones(SAMPLES, bool), OPTIONS, seed=0)
    inputs = x.double().numpy()
    hat = np.diag(inputs @ np.linalg.solve(inputs.T @ inputs, inputs.T))
    np.testing.assert_allclose(found.leverage, hat / (1 - hat), rtol=1e-3)


def test_a_mislabelled_sample_is_ranked_first_over_training() -> None:
    objective, x, labels = make(logistic=True, hidden=64)
    planted = 11
    labels[planted] = 1 - labels[planted]
    optimizer = torch.optim.Adam(objective.parameters(), lr=0.01)
    whole = batches(x, labels, size=SAMPLES)[0][1][0]
    rows = []
    for step in range(400):
        if step in (5, 20, 60, 150):
            rows.append(statistics(batches(x, labels), objective, np.ones(SAMPLES, bool), OPTIONS, seed=0))
        optimizer.zero_grad()
        objective(whole).backward()
        optimizer.step()
    loss = cross_entropy(objective.outputs(whole).compared[0], whole.labels, reduction="none")
    assert loss.max() < 0.3  # it is memorized
    for name, sign in (("norm", 1), ("leverage", 1), ("cosine", -1)):
        score = sign * np.mean([getattr(row, name) for row in rows], axis=0)
        assert score.argmax() == planted, name


def states(*epochs: int) -> tuple[Checkpoint, ...]:
    return tuple(Checkpoint(epoch, 0.01 * (100 - epoch), load=lambda: None) for epoch in epochs)


def test_states_stand_for_all_epochs_of_the_training() -> None:
    kept = states(10, 20, 30, 40, 50, 60)
    for count in range(1, 9):
        chosen = chosen_states(kept, count)
        assert len(chosen) == min(count, 6)
        assert sum(weight for _, weight in chosen) == pytest.approx(sum(10 * state.learning_rate for state in kept))
    assert [state.epoch for state, _ in chosen_states(kept, 3)] == [20, 40, 60]
    assert chosen_states((), 3) == []


def subject(method: str = "simclr") -> Subject:
    encoder = {"backbone": "resnet18", "stem": "stock", "options": {"layers": [1, 1, 0, 0], "channels": [8, 8, 8, 8]}}
    objective = {"method": method} | ({"hidden_dim": 8, "projection_dim": 4} if method == "simclr" else {})
    spec = parse_spec(
        {
            "name": "x",
            "data": {"name": "digits"},
            "encoder": encoder,
            "objective": objective,
            "partition": {"shared": 40, "candidate": 20, "independent": 20, "extra": 10},
            "training": {"epochs": 2, "warmup_epochs": 0, "batch_size": 32, "seeds": 1, "record_every": 0},
        },
        where="study",
    ).resolved(Path())
    samples = load_samples(spec)
    plan = spec.encoders[0]
    whole = new_objective(spec, plan, samples, "cpu").eval()
    ids = np.sort(samples.dataset.ids[samples.scored])
    kept = tuple(Checkpoint(epoch, rate, load=lambda: whole) for epoch, rate in ((1, 0.2), (2, 0.1)))
    return Subject(spec, plan, samples, whole.encoder, ImageLoader(samples.dataset, "cpu"), ids, kept)


@pytest.mark.parametrize("method", ["simclr", "supervised"])
def test_a_study_is_measured_at_every_state(method: str) -> None:
    one = subject(method)
    options = GradientsSpec(name="gradients", views=2, projection=32)
    found = measure(one, options)
    assert dict(found.sizes) == {"sample": len(one.ids), "checkpoint": 2}
    assert found.attrs["loss"] == "training"
    assert found["weight"].values == pytest.approx([0.2, 0.1])
    assert all(np.isfinite(found[name]).all() for name in found.data_vars)
    np.testing.assert_array_equal(found["norm"][:, 0], found["norm"][:, 1])  # both states are one
    assert measure(one, options).identical(found)


def test_without_states_the_loss_is_the_alignment_of_the_final_encoder() -> None:
    one = subject()
    bare = Subject(one.spec, one.plan, one.samples, one.encoder, one.loader, one.ids)
    found = measure(bare, GradientsSpec(name="gradients", projection=32))
    assert found.attrs["loss"] == "alignment"
    assert found["weight"].values == [1]
    images = next(one.loader.batches([one.ids[:1]]))
    keys = torch.from_numpy(one.ids[:1])
    views = several_views(images, keys, views=(1, 2), seed=one.spec.view_seed, policy=one.spec.scoring.policy)
    objective = AlignmentLoss(one.encoder)
    objective(Batch(views, keys, keys)).backward()
    norm = torch.stack([value.grad.norm() for value in objective.parameters() if value.grad is not None]).norm()
    assert found["norm"].values[0, 0] == pytest.approx(norm.item(), rel=1e-3)
