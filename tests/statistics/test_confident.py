"""Accuracy on the most confident: the authors' order, ties, and the error by influence against the bootstrap."""

from __future__ import annotations

import numpy as np
import pytest

from sslmem_kit.statistics.confident import FRACTIONS, by_confidence


def _answers(rng: np.random.Generator, n: int, seeds: int, levels: int | None = None) -> tuple[np.ndarray, np.ndarray]:
    sure = rng.uniform(size=(n, seeds))
    right = (rng.uniform(size=(n, seeds)) < 0.2 + 0.6 * sure).astype(float)
    return right, sure if levels is None else np.floor(sure * levels) / levels


def _most_confident(right: np.ndarray, sure: np.ndarray, fraction: float) -> float:
    """Accuracy as in the authors' code: the first of the order by uncertainty."""
    return float(right[np.argsort(-sure, kind="stable")[: int(fraction * len(right))]].mean())


def test_the_order_is_the_authors() -> None:
    rng = np.random.default_rng(0)
    (f, sure_f), (g, sure_g) = (_answers(rng, 400, 3) for _ in "fg")
    found = by_confidence({"f": f, "g": g}, {"f": sure_f, "g": sure_g})
    for part in FRACTIONS:
        for family, right, sure in (("f", f, sure_f), ("g", g, sure_g)):
            oracle = np.mean([_most_confident(right[:, s], sure[:, s], part) for s in range(3)])
            assert found[f"accuracy_{family}"].sel(fraction=part).item() == pytest.approx(oracle)
    np.testing.assert_allclose(found["gap"], found["accuracy_f"] - found["accuracy_g"])


def test_ties_are_the_mean_over_all_orders() -> None:
    rng = np.random.default_rng(1)
    right, sure = _answers(rng, 50, 1, levels=4)
    orders = [rng.permutation(50) for _ in range(4000)]
    oracle = np.mean([_most_confident(right[order, 0], sure[order, 0], 0.2) for order in orders])
    found = by_confidence({"f": right, "g": right}, {"f": sure, "g": sure}, (0.2,))
    assert found["accuracy_f"].item() == pytest.approx(oracle, abs=0.01)
    assert found["gap"].item() == 0


@pytest.mark.parametrize("levels", [None, 8])
def test_the_error_is_that_of_the_bootstrap(levels: int | None) -> None:
    rng = np.random.default_rng(2)
    (f, sure_f), (g, sure_g) = (_answers(rng, 1500, 2, levels) for _ in "fg")
    parts = (1.0, 0.5, 0.1)

    def gap(rows: np.ndarray) -> np.ndarray:
        return by_confidence({"f": f[rows], "g": g[rows]}, {"f": sure_f[rows], "g": sure_g[rows]}, parts)["gap"].values

    resampled = np.array([gap(rng.integers(1500, size=1500)) for _ in range(300)])
    found = by_confidence({"f": f, "g": g}, {"f": sure_f, "g": sure_g}, parts)
    error = np.ptp(found["interval_samples"].values, axis=1) / 2 / 1.96
    np.testing.assert_allclose(error, resampled.std(axis=0, ddof=1), rtol=0.2)


def test_intervals_cover_nothing_where_there_is_nothing() -> None:
    rng = np.random.default_rng(3)
    covered = np.zeros(len(FRACTIONS))
    for _ in range(200):
        (f, sure_f), (g, sure_g) = (_answers(rng, 400, 2, levels=20) for _ in "fg")
        low, high = by_confidence({"f": f, "g": g}, {"f": sure_f, "g": sure_g})["interval_samples"].values.T
        covered += (low <= 0) & (high >= 0)
    assert (covered >= 0.92 * 200).all(), covered


def test_one_seed_and_few_samples() -> None:
    right, sure = np.array([[1.0], [0.0], [np.nan]]), np.array([[0.5], [0.2], [0.9]])
    found = by_confidence({"f": right, "g": right}, {"f": sure, "g": sure})
    assert found["n"] == 2
    assert np.isnan(found["interval_seeds"]).all()
    assert found["accuracy_f"].sel(fraction=0.05).item() == 1
    empty = by_confidence({"f": right[2:], "g": right[2:]}, {"f": sure[2:], "g": sure[2:]})
    assert np.isnan(empty["gap"]).all()
