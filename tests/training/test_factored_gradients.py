"""Factors of gradients: their product is the gradient of the sample, and all that is asked of them is that of the product."""

from __future__ import annotations

import pytest
import torch

from sslmem_kit.training import factored_gradients
from sslmem_kit.training.factored_gradients import FactoredGradients, Factors
from sslmem_kit.training.sample_gradients import gradient_shares
from tests.support.small_objectives import CASES, make_batch
from tests.training.test_sample_gradients import a_trained, together


@pytest.mark.parametrize(("method", "encoder"), CASES)
@pytest.mark.parametrize("regularizer", [None, {"weight": 0.3}])
def test_products_are_the_shares_of_samples(
    method: str, encoder: str, regularizer: dict | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(factored_gradients, "LEAST_NUMBERS", 100)
    monkeypatch.setattr(factored_gradients, "CHUNK_SAMPLES", 4)
    objective = a_trained(method, encoder, regularizer)
    batches = [make_batch(objective, seed=7), make_batch(objective, seed=8)]
    expected = together(list(gradient_shares(objective, batches)))
    factored = FactoredGradients(objective, batches[0])
    chunks = list(factored.chunks(batches))
    assert len(chunks) == 2
    assert len(chunks[0][1]) > 3
    found = together([direct | {name: each.product().flatten(1) for name, each in factors.items()} for direct, factors in chunks])
    assert found.keys() == expected.keys()
    whole = torch.stack([value.norm() for value in expected.values()]).norm()
    for name, value in expected.items():
        error = (found[name].flatten() - value.flatten()).norm()
        assert error <= 1e-4 * max(value.norm(), 1e-3 * whole), f"{name}: {error / value.norm():.1e}"
    assert not any(module._forward_hooks for module in objective.modules())
    before = a_trained(method, encoder, regularizer).state_dict()
    assert all(torch.equal(before[name], value) for name, value in objective.state_dict().items())


def test_norms_and_inner_products_are_those_of_the_product() -> None:
    generator = torch.Generator().manual_seed(0)
    inputs, outputs, other = (torch.randn(shape, generator=generator) for shape in ((3, 7, 5), (3, 7, 4), (4, 5)))
    factors = Factors(inputs.split([3, 4], dim=1), outputs.split([3, 4], dim=1))
    product = factors.product()
    torch.testing.assert_close(product, torch.einsum("sto,sti->soi", outputs, inputs))
    torch.testing.assert_close(factors.squared_norm(), product.square().sum(dim=(1, 2)))
    torch.testing.assert_close(factors.inner_product(other), (product * other).sum(dim=(1, 2)))
    assert not factors.is_thin
    assert Factors((torch.zeros(1, 2, 100),), (torch.zeros(1, 2, 50),)).is_thin
