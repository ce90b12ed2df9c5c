"""Gradients of single samples: those of a loop of backward passes, for every method; their mean is the gradient of the batch."""

from __future__ import annotations

import copy

import pytest
import torch
from torch import Tensor

from sslmem_kit.training import sample_gradients as by_sample
from sslmem_kit.training.objectives import Batch, Objective
from sslmem_kit.training.sample_gradients import Gradients, gradient_shares, mean_share, sample_gradients, trained
from tests.support.small_objectives import BATCH, CASES, ONE_EACH, make, make_batch, step_info, steps

REGULARIZERS = [None, {"weight": 0.3}]


def a_trained(method: str, encoder: str, regularizer: dict | None = None) -> Objective:
    """An objective after a few steps, so that running statistics, teacher and centre are none of the initial ones."""
    objective = make(method, encoder, regularizer=regularizer)
    steps(objective, 3)
    objective.zero_grad()
    return objective.eval()


def by_loop(objective: Objective, batch: Batch, number: int) -> Gradients:
    """Gradient of the loss, times the samples in it, with all outputs but those of one sample held fixed."""
    own = torch.arange(len(batch.keys)) == number

    def held(values: Tensor) -> Tensor:
        return torch.where(own.view(-1, *(1,) * (values.ndim - 1)), values, values.detach())

    outputs = objective.outputs(batch)
    loss = objective.compare(tuple(held(values) for values in outputs.compared), batch.labels)
    if objective.regularized:
        encoded = outputs.encoded or (objective.encoder(batch.views[0]), objective.encoder(batch.views[1]))
        loss = objective.regularize(loss, *(held(values) for values in encoded))
    objective.zero_grad()
    (loss * len(batch.keys)).backward()
    return {name: torch.zeros_like(value) if value.grad is None else value.grad.clone() for name, value in trained(objective)}


def of_batch(objective: Objective, batch: Batch) -> Gradients:
    objective.zero_grad()
    objective(batch).backward()
    return {name: torch.zeros_like(value) if value.grad is None else value.grad.clone() for name, value in trained(objective)}


def together(chunks: list[Gradients]) -> Gradients:
    return {name: torch.cat([chunk[name] for chunk in chunks]) for name in chunks[0]}


def assert_same(found: Gradients, expected: Gradients, *, shares: Gradients | None = None) -> None:
    """Every parameter's gradient to 1e-4 of its size, or of the mean size of the shares that it is the mean of: they may cancel."""
    assert found.keys() == expected.keys()
    whole = torch.stack([value.norm() for value in expected.values()]).norm()
    for name, value in expected.items():
        size = value.norm() if shares is None else shares[name].flatten(1).norm(dim=1).mean()
        error = (found[name] - value).norm()
        assert error <= 1e-4 * max(size, 1e-3 * whole), f"{name}: {error / size:.1e}"


@pytest.mark.parametrize(("method", "encoder"), CASES)
@pytest.mark.parametrize("regularizer", REGULARIZERS)
def test_shares_are_those_of_a_loop_and_average_to_the_gradient_of_the_batch(
    method: str, encoder: str, regularizer: dict | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(by_sample, "CHUNK_SAMPLES", 4)
    objective = a_trained(method, encoder, regularizer)
    assert objective.regularized == (regularizer is not None)
    batch = make_batch(objective, seed=7)
    chunks = list(gradient_shares(objective, [batch]))
    assert [len(next(iter(chunk.values()))) for chunk in chunks] == [4, BATCH - 4]
    shares = together(chunks)
    for number in range(BATCH):
        assert_same({name: value[number] for name, value in shares.items()}, by_loop(objective, batch, number))
    whole = of_batch(objective, batch)
    assert_same({name: value.mean(dim=0) for name, value in shares.items()}, whole, shares=shares)
    assert_same(mean_share(objective, batch)[0], whole, shares=shares)
    chosen = torch.arange(BATCH) % 2 == 0
    some = {name: value[chosen] for name, value in shares.items()}
    assert_same(mean_share(objective, batch, chosen)[0], {name: value.mean(dim=0) for name, value in some.items()}, shares=some)
    assert all(value.abs().max() > 0 for value in whole.values())


@pytest.mark.parametrize(("method", "encoder"), [case for case in CASES if case[0] in ("mae", "supervised")])
def test_losses_of_single_samples_have_their_own_gradients(method: str, encoder: str) -> None:
    objective = a_trained(method, encoder)
    batch = make_batch(objective, seed=7)
    own = together([gradients for gradients, _ in sample_gradients(objective, batch)])
    assert_same(together(list(gradient_shares(objective, [batch]))), own)


@pytest.mark.parametrize(("method", "encoder"), ONE_EACH)
def test_shares_by_several_views_are_their_mean(method: str, encoder: str) -> None:
    objective = a_trained(method, encoder)
    batches = [make_batch(objective, seed=7), make_batch(objective, seed=8)]
    each = [together(list(gradient_shares(objective, [batch]))) for batch in batches]
    both = together(list(gradient_shares(objective, batches)))
    assert_same(both, {name: (each[0][name] + each[1][name]) / 2 for name in both})


@pytest.mark.parametrize(("method", "encoder"), ONE_EACH)
def test_an_objective_is_left_as_it_was(method: str, encoder: str) -> None:
    objective = a_trained(method, encoder)
    batch = make_batch(objective, seed=7)
    before = copy.deepcopy(objective.state_dict())
    identities = {name: id(value) for name, value in objective.named_parameters(remove_duplicate=False)}
    first = together(list(gradient_shares(objective, [batch])))
    mean_share(objective, batch)
    again = together(list(gradient_shares(objective, [batch])))
    assert all(torch.equal(first[name], again[name]) for name in first)
    assert all(torch.equal(before[name], value) for name, value in objective.state_dict().items())
    assert identities == {name: id(value) for name, value in objective.named_parameters(remove_duplicate=False)}
    assert all(value.grad is None for value in objective.parameters())


def test_training_mode_is_refused() -> None:
    objective = make("simclr", "resnet").train()
    objective.before_step(step_info(0))
    batch = make_batch(objective)
    with pytest.raises(ValueError, match="training mode"):
        next(gradient_shares(objective, [batch]))
    with pytest.raises(ValueError, match="training mode"):
        mean_share(objective, batch)
