"""The audit in one run: published formulas, a linear program, then level and power on mechanisms whose epsilon is known."""

from __future__ import annotations

import math

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import optimize, stats

from sslmem_kit.errors import UserError
from sslmem_kit.statistics.privacy_audit import (
    audit,
    epsilon_bound,
    epsilon_of_gaussian,
    inverse_epsilon,
    refutes,
    tail_probability,
)


def by_definition(m, r, v, eps, delta):
    """Transcription of the theorem, term by term."""
    q = 1 / (1 + math.exp(-eps))
    chances = [math.comb(r, k) * q**k * (1 - q) ** (r - k) for k in range(r + 1)]
    slack = max((sum(chances[v - i : v]) / i for i in range(1, v + 1)), default=0)
    return min(1.0, sum(chances[v:]) + 2 * m * delta * slack)


@given(st.integers(1, 60), st.data(), st.floats(0, 4), st.sampled_from([0.0, 1e-5, 1e-3]))
@settings(deadline=None, max_examples=100)
def test_tail_is_that_of_the_theorem(m, data, eps, delta):
    r = data.draw(st.integers(0, m))
    v = data.draw(st.integers(0, r))
    assert tail_probability(m, r, v, eps, delta) == pytest.approx(by_definition(m, r, v, eps, delta), abs=1e-9)


def largest_tail(m, r, v, eps, delta):
    """Largest P(V >= v) over all distributions of V that the inequalities of f-privacy allow: a linear program."""
    k, rows, limits = np.arange(r + 1), [], []
    grows = math.exp(eps)
    for i in range(1, r + 1):
        right, wrong = k * (k >= i) / m, (r - k) * (k >= i - 1) / m
        rows += [right - grows * wrong, right - wrong / grows]  # 1 - f(x) = min(delta + e x, 1 - (1 - delta - x) / e)
        limits += [delta, 1 - (1 - delta) / grows]
    found = optimize.linprog(-(k >= v).astype(float), np.array(rows), np.array(limits), np.ones((1, r + 1)), [1.0])
    return -found.fun


@pytest.mark.parametrize(("m", "r", "v"), [(20, 20, 16), (40, 12, 10), (30, 10, 10), (25, 25, 20)])
@pytest.mark.parametrize(("eps", "delta"), [(0.0, 0.0), (0.5, 0.0), (1.0, 1e-3), (2.0, 1e-2), (0.0, 1e-2)])
def test_recursion_is_the_optimum_of_the_linear_program(m, r, v, eps, delta):
    """The recursion may be a little loose, never too tight: what it refutes, the program does not reach."""
    worst = largest_tail(m, r, v, eps, delta)
    assert not refutes(m, r, v, worst - 1e-6, inverse_epsilon(eps, delta))
    assert refutes(m, r, v, min(1.0, worst * 1.02 + 1e-6), inverse_epsilon(eps, delta)) or worst > 0.98


def randomized_response(random, coins, eps, delta):
    """Each coin is reported right with probability e / (1 + e), and with probability delta given away, marked as certain."""
    included = random.random(coins) < 0.5
    right = random.random(coins) < 1 / (1 + math.exp(-eps))
    certain = random.random(coins) < delta
    signal = np.where(right, included, ~included).astype(float)
    return np.where(certain, 2.0 * included - 0.5, signal * 0.5 + 0.25) + 1e-3 * random.random(coins), included


@pytest.mark.parametrize(
    ("coins", "eps", "delta"), [(60, 0.5, 0.0), (300, 1.0, 0.0), (1000, 2.0, 0.0), (400, 1.0, 1e-2), (200, 4.0, 1e-4)]
)
def test_bound_is_above_the_truth_in_at_most_5_percent(coins, eps, delta):
    random = np.random.default_rng(coins)
    above, mean = {"steinke": 0, "f_dp": 0}, []
    for _ in range(240):
        found = audit(*randomized_response(random, coins, eps, delta), delta=delta)["epsilon"]
        mean.append(found.sel(by="steinke").item())
        for by in above:
            above[by] += found.sel(by=by).item() > eps
    assert max(above.values()) / 240 <= 0.05, above
    assert coins < 300 or delta or np.mean(mean) > eps / 4  # it says something


@pytest.mark.parametrize(("coins", "guesses"), [(50, 50), (400, 400), (1000, 100), (30, 5)])
def test_a_fixed_number_of_guesses_keeps_the_level_too(coins, guesses):
    random, above = np.random.default_rng(guesses), 0
    for _ in range(300):
        found = audit(*randomized_response(random, coins, 1.0, 0.0), guesses=guesses)
        above += found["epsilon"].sel(by="steinke").item() > 1
    assert above / 300 <= 0.05 + 2.33 * math.sqrt(0.05 * 0.95 / 300)  # exact at 5 %: sampling error of the simulation


@pytest.mark.parametrize(("coins", "delta"), [(25, 0.0), (100, 1e-5), (1000, 1e-3)])
def test_epsilon_is_0_without_a_leak_in_95_percent(coins, delta):
    random, zero = np.random.default_rng(4), np.zeros(3)
    for _ in range(250):
        found = audit(random.normal(size=coins), random.random(coins) < 0.5, delta=delta)
        zero += found["epsilon"].values == 0
    assert zero.min() / 250 >= 0.95


def test_a_full_leak_is_large_and_grows_with_the_coins():
    random, bounds = np.random.default_rng(5), []
    for coins in (50, 500, 2000):
        included = random.random(coins) < 0.5
        bounds.append(audit(included.astype(float), included, delta=1e-5)["epsilon"].sel(by="f_dp").item())
    assert bounds == sorted(bounds)
    assert bounds[0] > 1.9
    assert bounds[2] > 4.5, bounds


def test_delta_costs_the_recursion_less():
    given_ = {"delta": 1e-3, "confidence": 0.95}
    assert epsilon_bound(1000, 100, 98, by="f_dp", **given_) > epsilon_bound(1000, 100, 98, by="steinke", **given_) + 0.1


def test_gaussian_noise_is_bounded_by_what_it_has():
    """Each coin is seen through Gaussian noise: mu is known, and so is epsilon at every delta."""
    random, mu, delta = np.random.default_rng(6), 1.0, 1e-5
    truth, above, means = epsilon_of_gaussian(mu, delta), 0, np.zeros(3)
    for _ in range(60):
        included = random.random(1000) < 0.5
        found = audit(mu * included + random.normal(size=1000), included, delta=delta)["epsilon"].values
        above += (found > truth).any()
        means += found / 60
    assert above / 60 <= 0.05
    assert means[2] > 1.3 * max(means[:2])  # what the form of the noise tells


@given(st.floats(0.05, 4), st.sampled_from([1e-6, 1e-5, 1e-3]))
@settings(deadline=None, max_examples=40)
def test_epsilon_of_gaussian_noise_is_the_integral(mu, delta):
    eps = epsilon_of_gaussian(mu, delta)
    if eps:
        x = np.linspace(-12, 12 + mu, 200_001)
        gap = stats.norm.pdf(x, mu) - math.exp(eps) * stats.norm.pdf(x)
        assert np.trapezoid(np.maximum(gap, 0), x) == pytest.approx(delta, rel=1e-3)


def test_wrong_numbers_are_refused():
    with pytest.raises(UserError, match="coins"):
        epsilon_bound(10, 5, 6)
    with pytest.raises(UserError, match="at least 5"):
        audit(np.ones(3), np.ones(3, bool))
    with pytest.raises(UserError, match="give fewer"):
        audit(np.arange(10.0), np.arange(10) < 5, guesses=11)
