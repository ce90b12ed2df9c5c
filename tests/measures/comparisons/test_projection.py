"""Random projection: a count sketch, by its dense matrix, and what it keeps of inner products."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sslmem_kit.measures.comparisons import projection
from sslmem_kit.measures.comparisons.projection import project, project_layer
from sslmem_kit.training.factored_gradients import Factors

SHAPES = {"a": (7, 5), "b": (3,), "c": (40,), "d": (2, 3, 4)}


def make(samples: int, seed: int = 0) -> dict[str, torch.Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return {name: torch.randn(samples, *shape, generator=generator) for name, shape in SHAPES.items()}


def flat(gradients: dict[str, torch.Tensor]) -> torch.Tensor:
    return torch.cat([value.flatten(1) for value in gradients.values()], dim=1)


def project_all(gradients: dict[str, torch.Tensor], dimensions: int, *, seed: int) -> torch.Tensor:
    return sum(project(value, dimensions, seed=seed, number=number) for number, value in enumerate(gradients.values()))


def matrix(dimensions: int, seed: int) -> torch.Tensor:
    """The projection of every unit vector, [number of a gradient, dimension]."""
    size = sum(int(np.prod(shape)) for shape in SHAPES.values())
    units, start, parts = torch.eye(size), 0, {}
    for name, shape in SHAPES.items():
        count = int(np.prod(shape))
        parts[name] = units[:, start : start + count].unflatten(1, shape)
        start += count
    return project_all(parts, dimensions, seed=seed)


@pytest.mark.parametrize("dimensions", [1, 4, 8, 200])
def test_it_is_linear_with_one_sign_for_every_number(dimensions: int) -> None:
    dense = matrix(dimensions, 3)
    assert ((dense != 0).sum(dim=1) == 1).all()
    assert (dense.abs().sum(dim=1) == 1).all()
    gradients = make(6)
    torch.testing.assert_close(project_all(gradients, dimensions, seed=3), flat(gradients) @ dense, rtol=1e-4, atol=1e-5)


def test_inner_products_are_kept_on_average_with_the_variance_of_a_count_sketch() -> None:
    dimensions, gradients = 16, make(2)
    g = flat(gradients).double()
    found = np.array(
        [(lambda p: float(p[0] @ p[1]))(project_all(gradients, dimensions, seed=seed).double()) for seed in range(2000)]
    )
    exact = float(g[0] @ g[1])
    bound = float((g[0].square().sum() * g[1].square().sum() + exact**2) / dimensions)
    assert abs(found.mean() - exact) < 4 * found.std() / np.sqrt(len(found))
    assert 0.5 * bound < found.var() < 1.1 * bound


def test_two_numbers_meet_with_probability_one_in_k() -> None:
    dimensions = 8
    met = torch.stack([(matrix(dimensions, seed).abs() @ matrix(dimensions, seed).abs().T) for seed in range(400)]).mean(dim=0)
    apart = met[~torch.eye(len(met), dtype=torch.bool)]
    assert apart.mean().item() < 1.05 / dimensions
    assert apart.max().item() < 1 / dimensions + 6 * np.sqrt(1 / dimensions / 400)


def test_it_follows_from_the_seed_alone() -> None:
    gradients = make(4)
    whole = project_all(gradients, 8, seed=1)
    parts = [project_all({name: value[start : start + 2] for name, value in gradients.items()}, 8, seed=1) for start in (0, 2)]
    assert torch.equal(whole, torch.cat(parts))
    assert not torch.equal(whole, project_all(gradients, 8, seed=2))


def make_factors(width: int, height: int) -> Factors:
    generator = torch.Generator().manual_seed(4)
    inputs, outputs = (tuple(torch.randn(2, tokens, side, generator=generator) for tokens in (1, 2)) for side in (width, height))
    return Factors(inputs, outputs)


def test_factors_with_short_sides_are_projected_as_their_product() -> None:
    factors = make_factors(20, 30)
    expected = project(factors.product(), 16, seed=3, number=5)
    torch.testing.assert_close(project_layer(factors, 16, seed=3, number=5), expected)


def test_inner_products_are_kept_on_average_where_sides_are_shortened(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(projection, "SIDE", 8)
    projection._matrix.cache_clear()
    factors = make_factors(30, 40)
    torch.testing.assert_close(
        project_layer(factors, 32, seed=1), project_layer(factors.product(), 32, seed=1), rtol=1e-4, atol=1e-4
    )
    product = factors.product().flatten(1).double()
    found = []
    for seed in range(2000):
        one = project_layer(factors, 32, seed=seed).double()
        found.append([float(one[0] @ one[0]), float(one[0] @ one[1])])
    found, exact = np.array(found), np.array([float(product[0] @ product[0]), float(product[0] @ product[1])])
    assert (np.abs(found.mean(axis=0) - exact) < 4 * found.std(axis=0) / np.sqrt(len(found))).all()
    assert found[:, 0].std() / exact[0] < 1.3 * np.sqrt(2 * (1 / 8 + 1 / 8 + 1 / 32))
    projection._matrix.cache_clear()
