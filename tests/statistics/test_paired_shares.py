"""Shares of samples that one family alone names: identities, the exact test, and what intervals cover."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra.numpy import arrays
from scipy.stats import binom

from sslmem_kit.statistics.paired_shares import OUTCOMES, half_difference, mcnemar, paired_shares

PAIRS = st.tuples(st.integers(2, 30), st.integers(1, 4)).flatmap(
    lambda shape: st.tuples(*(arrays(float, shape, elements=st.sampled_from([0.0, 1.0])) for _ in "fg"))
)


@settings(deadline=None)
@given(PAIRS)
def test_shares_add_up_and_swap(pair: tuple[np.ndarray, np.ndarray]) -> None:
    f, g = pair
    found, swapped = paired_shares(f, g), paired_shares(g, f)
    assert sum(found[name].item() for name in OUTCOMES) == pytest.approx(1)
    assert found["net"].item() == pytest.approx(f.mean() - g.mean())
    np.testing.assert_allclose(found["net_by_seed"], f.mean(axis=0) - g.mean(axis=0), atol=1e-12)
    for name in ("interval", "interval_samples", "interval_seeds"):
        np.testing.assert_allclose(found[name], -swapped[name][::-1], atol=1e-12)
    assert found["memorized"] == swapped["misrepresented"]
    np.testing.assert_array_equal(found["p_by_seed"], swapped["p_by_seed"])
    low, high = found["interval"].values
    assert high - low >= np.ptp(found["interval_samples"].values) - 1e-12


@settings(deadline=None)
@given(PAIRS)
def test_samples_without_an_answer_do_not_count(pair: tuple[np.ndarray, np.ndarray]) -> None:
    f, g = pair
    more = [np.concatenate([values, np.where(np.arange(f.shape[1]) == 0, np.nan, 1.0)[None]]) for values in (f, g)]
    assert paired_shares(*more).equals(paired_shares(f, g))


@pytest.mark.parametrize(("first", "second"), [(0, 0), (1, 0), (7, 2), (2, 7), (40, 38)])
def test_mcnemar_is_the_binomial_test(first: int, second: int) -> None:
    n = first + second
    both = 2 * binom.cdf(min(first, second), n, 0.5) if first != second else 1.0
    assert mcnemar(first, second) == pytest.approx(min(1, both))


def test_nothing_is_known_without_samples() -> None:
    found = paired_shares(np.empty((0, 2)), np.empty((0, 2)))
    assert np.isnan(found["net"])
    assert found["n"] == 0
    assert np.isnan(found["interval"]).all()
    assert np.isnan(half_difference(np.ones((3, 2)), np.zeros((3, 2)), np.array([1, 1, 1]))["value"])


def test_agreement_on_all_leaves_an_interval() -> None:
    low, high = paired_shares(np.ones((20, 1)), np.ones((20, 1)))["interval"].values
    assert low < 0 < high < 0.1


def _with_offsets(rng: np.random.Generator, n: int, seeds: int, offset: float) -> tuple[np.ndarray, np.ndarray]:
    """Answers of encoders of one distribution, which differ in how much they name."""
    easy = rng.normal(size=(n, 1))

    def answers() -> np.ndarray:
        return (easy + offset * rng.normal(size=(1, seeds)) + rng.normal(size=(n, seeds)) > 0).astype(float)

    return answers(), answers()


@pytest.mark.parametrize("seeds", [2, 3, 6])
def test_offsets_of_trainings_are_in_the_interval_over_both(seeds: int) -> None:
    rng = np.random.default_rng(seeds)
    covered: dict[str, int] = dict.fromkeys(("interval", "interval_samples", "half"), 0)
    codes = np.repeat([1, 2], 150)
    for _ in range(300):
        f, g = _with_offsets(rng, 300, seeds, 0.3)
        found = paired_shares(f[:150], g[:150])
        pairs = {name: found[name].values for name in ("interval", "interval_samples")}
        pairs["half"] = half_difference(f, g, codes)["interval"].values
        for name, (low, high) in pairs.items():
            covered[name] += low <= 0 <= high
    assert covered["interval_samples"] < 0.7 * 300  # given these encoders: what it says, no more
    assert covered["interval"] >= 0.93 * 300
    assert covered["half"] >= 0.93 * 300


def test_a_difference_is_in_its_interval() -> None:
    rng = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        memorized = rng.uniform(size=(200, 3)) < 0.2
        f, g = _with_offsets(rng, 200, 3, 0.0)
        low, high = paired_shares(np.maximum(f, memorized), g)["interval"].values
        covered += low <= 0.1 <= high  # half of the memorized are named anyway
    assert covered >= 0.93 * 300
