"""Agreement of scorings with ties: intervals, and overlap of the highest."""

from __future__ import annotations

import numpy as np
import scipy

from sslmem_kit.statistics.agreement import rank_agreement, top_overlap


def test_intervals_of_tied_scorings_hold_in_simulations() -> None:
    rng, cases, n, level = np.random.default_rng(0), 300, 200, 1.28
    held = np.zeros(2)
    high = scipy.stats.norm.sf(level)
    both = scipy.stats.multivariate_normal(cov=[[1, 0.5], [0.5, 1]]).cdf([-level, -level])
    truth = (both - high**2) / (high * (1 - high))  # tau-b and rho of two binary scorings
    for _ in range(cases):
        first = rng.normal(size=n)
        second = 0.5 * first + np.sqrt(0.75) * rng.normal(size=n)
        low, up = rank_agreement((first > level) * 1.0, (second > level) * 1.0)["interval"].values.T
        held += (low <= truth) & (truth <= up)
    assert (held / cases > 0.91).all(), held / cases


def test_unrelated_scorings_of_few_levels_overlap_as_chance_has_it() -> None:
    rng, k = np.random.default_rng(0), 50
    shares = [top_overlap(*(rng.random((2, 500)) > 0.95).astype(float), sizes=(k,))["share"].item() for _ in range(200)]
    assert abs(np.mean(shares) - k / 500) < 0.02
