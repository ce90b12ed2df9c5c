"""Curvature: exact for quadratics, near to the Hessian of autograd for an encoder."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sslmem_kit.measures.comparisons.curvature import alignment_loss, squared_hessian
from sslmem_kit.spec.comparisons import CurvatureSpec


def options(**given: float) -> CurvatureSpec:
    return CurvatureSpec(name="curvature", **given)


def test_of_a_quadratic_with_a_diagonal_it_is_the_trace_of_its_square_by_one_direction() -> None:
    scales = torch.tensor([0.5, -1.0, 3.0])
    inputs = torch.rand(4, 3, generator=torch.Generator().manual_seed(0))
    found = squared_hessian(lambda x: (scales * x**2).sum(1) / 2, inputs, torch.arange(4), options=options(directions=1), seed=0)
    np.testing.assert_allclose(found, float((scales**2).sum()), rtol=1e-4)


def test_of_any_quadratic_it_is_the_trace_on_average() -> None:
    generator = torch.Generator().manual_seed(1)
    half = torch.randn(6, 6, generator=generator, dtype=torch.float64)
    hessian = half + half.T
    inputs = torch.randn(3, 6, generator=generator, dtype=torch.float64)
    found = squared_hessian(
        lambda x: torch.einsum("si,ij,sj->s", x, hessian, x) / 2, inputs, torch.arange(3), options=options(directions=4000), seed=0
    )
    np.testing.assert_allclose(found, float((hessian @ hessian).trace()), rtol=0.05)


def test_directions_are_a_samples_own_and_do_not_depend_on_its_batch() -> None:
    inputs = torch.rand(5, 4, generator=torch.Generator().manual_seed(0))
    keys = torch.tensor([5, 9, 2, 7, 1])

    def loss(x: torch.Tensor) -> torch.Tensor:
        return x.prod(dim=1)

    whole = squared_hessian(loss, inputs, keys, options=options(directions=3), seed=0)
    parts = [squared_hessian(loss, inputs[part], keys[part], options=options(directions=3), seed=0) for part in ([1, 0], [3, 4, 2])]
    np.testing.assert_allclose(np.concatenate(parts), whole[[1, 0, 3, 4, 2]], rtol=1e-3)


@pytest.mark.parametrize("step", [0.003, 0.01])
def test_of_an_encoder_it_is_near_to_that_of_the_exact_hessian(step: float) -> None:
    generator = torch.Generator().manual_seed(2)
    weights = torch.randn(18, 5, generator=generator, dtype=torch.float64)

    def encoder(images: torch.Tensor) -> torch.Tensor:
        return torch.tanh(images.flatten(1) @ weights.to(images.dtype))

    views = torch.rand(2, 2, 2, 3, 3, generator=generator, dtype=torch.float64)
    found = squared_hessian(
        lambda pixels: alignment_loss(encoder, pixels), views, torch.arange(2), options=options(directions=3000, step=step), seed=0
    )
    for view, value in zip(views, found, strict=True):
        hessian = torch.autograd.functional.hessian(lambda x: alignment_loss(encoder, x[None]).sum(), view).reshape(36, 36)
        assert value == pytest.approx(float((hessian @ hessian).trace()), rel=0.2)


def test_loss_is_half_of_the_squared_distance() -> None:
    views = torch.rand(3, 2, 1, 2, 2, generator=torch.Generator().manual_seed(0))
    units = torch.nn.functional.normalize(views.flatten(2), dim=2)
    expected = torch.linalg.vector_norm(units[:, 0] - units[:, 1], dim=1) ** 2 / 2
    torch.testing.assert_close(alignment_loss(lambda x: x, views), expected)
