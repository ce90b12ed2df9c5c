"""Leverage: that of least squares, by NumPy's hat matrix and by refits."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslmem_kit.measures.comparisons.leverage import leverage

RNG = np.random.default_rng(0)


def test_without_damping_it_is_that_of_the_hat_matrix() -> None:
    x = RNG.normal(size=(30, 4))
    hat = np.diag(x @ np.linalg.solve(x.T @ x, x.T))
    found = leverage(x, np.ones(30, bool), damping=1e-12)
    np.testing.assert_allclose(found, hat / (1 - hat), rtol=1e-6)


@pytest.mark.parametrize("damping", [1e-3, 0.1, 10.0])
def test_members_are_left_out_of_their_own_sum_and_others_are_not_in_it(damping: float) -> None:
    x, members = RNG.normal(size=(12, 5)), np.arange(12) < 8
    added = damping * np.trace(x[members].T @ x[members]) / 5
    expected = []
    for number in range(12):
        others = x[members & (np.arange(12) != number)]
        expected.append(x[number] @ np.linalg.solve(others.T @ others + added * np.eye(5), x[number]))
    np.testing.assert_allclose(leverage(x, members, damping=damping), expected, rtol=1e-9)


@given(st.integers(0, 2**32 - 1), st.floats(0.1, 10))
def test_it_does_not_depend_on_the_unit_of_gradients_nor_on_a_rotation(seed: int, unit: float) -> None:
    rng = np.random.default_rng(seed)
    x, members = rng.normal(size=(20, 3)), rng.random(20) < 0.8
    members[:5] = True
    turned, _ = np.linalg.qr(rng.normal(size=(3, 3)))
    np.testing.assert_allclose(leverage(unit * x @ turned, members, damping=0.1), leverage(x, members, damping=0.1), rtol=1e-6)


def test_the_one_sample_of_a_direction_has_the_highest() -> None:
    x = np.zeros((50, 2))
    x[:, 0] = RNG.normal(size=50)
    x[7] = 0, 0.5
    assert leverage(x, np.ones(50, bool), damping=0.01).argmax() == 7


def test_more_dimensions_than_samples_are_allowed_and_nothing_is_known_of_no_gradients() -> None:
    assert np.isfinite(leverage(RNG.normal(size=(5, 64)), np.ones(5, bool), damping=0.1)).all()
    assert np.isnan(leverage(np.zeros((5, 3)), np.ones(5, bool), damping=0.1)).all()
    assert np.isnan(leverage(np.ones((5, 3)), np.zeros(5, bool), damping=0.1)).all()
