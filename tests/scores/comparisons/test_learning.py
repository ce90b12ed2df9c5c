"""Cumulative loss and epoch of learning: curves whose answers are known, and what is refused."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslmem_kit.scores import _example
from sslmem_kit.scores.comparisons.learning import cumulative_loss, learning_epoch, problem, reduce

EPOCHS = np.array([5, 10, 20, 30, 60])


def test_loss_is_summed_over_all_epochs() -> None:
    assert cumulative_loss(np.full((2, 5), 0.5), EPOCHS) == pytest.approx([30, 30])
    assert cumulative_loss(np.array([1.0, 0, 0, 0, 0.5]), EPOCHS) == pytest.approx(5 + 15)


def test_a_straight_line_is_half_way_in_the_middle() -> None:
    line = 1 - (EPOCHS - 5) / 55
    np.testing.assert_allclose(learning_epoch(np.stack([line, -line, 3 + 7 * line]), EPOCHS), 32.5)


def test_what_falls_back_is_learned_when_it_stays() -> None:
    values = np.array([[1, 0, 1, 0, 0.0], [1, 0, 0, 0, 0], [1, 1, 1, 1, 0], [1, 1, 0.4, 2, 0]])
    np.testing.assert_allclose(learning_epoch(values, EPOCHS), [25, 7.5, 45, 52.5])


def test_nothing_is_known_where_nothing_changes_or_something_is_missing() -> None:
    values = np.array([[1, 0, 0, 0, 1.0], [1, np.nan, 0, 0, 0]])
    assert np.isnan(learning_epoch(values, EPOCHS)).all()


@given(st.lists(st.floats(-1, 1, width=16), min_size=5, max_size=5), st.floats(0.1, 5), st.floats(-3, 3))
def test_unit_and_direction_of_the_loss_do_not_count(values: list[float], unit: float, offset: float) -> None:
    curve = np.array(values)
    if abs(curve[0] - curve[-1]) < 0.05 or np.abs(curve - (curve[0] + curve[-1]) / 2).min() < 1e-3:
        return
    found = learning_epoch(curve, EPOCHS)
    assert EPOCHS[0] <= found <= EPOCHS[-1]
    np.testing.assert_allclose(learning_epoch(offset - unit * curve, EPOCHS), found, rtol=1e-6)


def test_too_few_recorded_epochs_are_refused_with_the_remedy() -> None:
    tree = _example.tree()
    assert "smaller one" in problem(tree)
    assert problem(tree).startswith("training.record_every: 2 epochs")
    del tree["trajectory"]
    assert "were trained elsewhere" in problem(tree)


def test_columns_are_those_of_family_f() -> None:
    tree = _example.tree()
    found = reduce(None, tree)
    of_f = tree["trajectory"]["alignment"].values[:, tree["family"].values == "f"]
    np.testing.assert_allclose(found["cumulative_loss"].values, of_f.astype(float) @ [2, 2])
