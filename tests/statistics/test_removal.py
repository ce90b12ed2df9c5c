"""Paired differences of a removal tree: intervals that cover over seeds and random sets, tests and decisions against oracles."""

from __future__ import annotations

import json

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from sslmem_kit.statistics.removal import (
    MOST_SEEDS,
    NOT_REPRODUCED,
    REPRODUCED,
    UNDECIDED,
    paired,
    removal_curves,
    removal_differences,
    removal_verdict,
)
from sslmem_kit.statistics.t_tests import holm

DIMS = ("removed", "amount", "draw", "seed", "task", "probe")


def crossed(rng: np.random.Generator, seeds: int, draws: int, sd: tuple[float, float, float]) -> np.ndarray:
    """Differences whose true mean is 0: (seed, draw)."""
    of_seed, of_draw, rest = sd
    return of_seed * rng.normal(size=(seeds, 1)) + of_draw * rng.normal(size=(1, draws)) + rest * rng.normal(size=(seeds, draws))


@pytest.mark.parametrize("sd", [(1, 0, 0.01), (0, 1, 0.01), (1, 1, 1), (2, 1, 1), (0, 0, 1)])
@pytest.mark.parametrize(("seeds", "draws"), [(3, 3), (5, 5), (4, 1)])
def test_intervals_cover_over_other_seeds_and_other_sets(seeds: int, draws: int, sd: tuple[float, float, float]) -> None:
    if draws == 1 and sd[1]:
        sd = (sd[0] + 1, 0, sd[2])  # the set is given
    rng = np.random.default_rng(0)
    covers = [low <= 0 <= high for low, high in (paired(crossed(rng, seeds, draws, sd)).interval() for _ in range(600))]
    assert np.mean(covers) > 0.93


def test_intervals_over_seeds_alone_would_not() -> None:
    """What the crossed interval is for: over seeds by themselves, other random sets are not counted."""
    rng = np.random.default_rng(0)
    covers = 0
    for _ in range(600):
        means = crossed(rng, 3, 3, (0.2, 1, 0.2)).mean(axis=1)
        low, high = stats.t.interval(0.95, 2, means.mean(), means.std(ddof=1) / np.sqrt(3))
        covers += low <= 0 <= high
    assert covers / 600 < 0.6


def test_one_set_is_the_paired_t_test() -> None:
    rng = np.random.default_rng(1)
    first, second = rng.normal(0.9, 0.01, 6), rng.normal(0.89, 0.01, 6)
    found, oracle = paired((first - second)[:, None]), stats.ttest_rel(first, second)
    assert found.p_value() == pytest.approx(oracle.pvalue)
    assert found.interval() == pytest.approx(tuple(oracle.confidence_interval(0.95)))
    sides = [stats.ttest_1samp(first - second, end, alternative=way).pvalue for end, way in ((-0.02, "greater"), (0.02, "less"))]
    assert found.p_equivalence(0.02) == pytest.approx(max(sides))


def test_mean_squares_are_those_of_a_two_way_table() -> None:
    """By hand: rows differ by 2, columns by 4, nothing is left."""
    values = np.array([[0.0, 4.0], [2.0, 6.0]])
    found = paired(values)
    assert (found.mean, found.seed, found.draw, found.rest) == (3, 2, 8, 0)
    # (MS_seed + MS_draw - MS_rest) / 4 = (4 + 16) / 4, by Satterthwaite (4 + 16)^2 / (4^2 + 16^2) degrees of freedom.
    assert (found.error**2, found.df) == pytest.approx((5, 400 / 272))


def test_one_seed_has_no_error_and_equal_differences_no_test() -> None:
    assert np.isnan(paired(np.array([[0.1, 0.2]])).error)
    assert np.isnan(paired(np.array([[0.1, 0.2]])).interval()).all()
    same = paired(0.1 + np.array([[0.2], [0.3], [0.7]]) - np.array([[0.2], [0.3], [0.7]]))  # but for rounding
    assert np.isnan([same.p_value(), same.p_equivalence(0.5), same.required(0.5, 1)]).all()


def test_the_seeds_that_decide_do() -> None:
    """Power by simulation at the number that is asked for, and below the goal at half of it."""
    rng = np.random.default_rng(2)
    values = crossed(rng, 3, 3, (0.01, 0.01, 0.01))
    found = paired(values - values.mean() - 0.01)
    needed = found.required(0.001, 1)
    assert 3 < needed < 60

    def power(count: int) -> float:
        sd = tuple(np.sqrt([found.seed, found.draw, found.rest]))
        return np.mean([paired(crossed(rng, count, count, sd) - 0.01).p_value() < 0.05 for _ in range(300)])

    assert power(int(needed)) > 0.7
    assert power(int(needed) // 2) < 0.75
    nothing = paired(values - values.mean())
    assert nothing.required(1e-6, 1) == np.inf, "no number shows a margin as small as this"
    assert nothing.required(0.05, 1) < MOST_SEEDS  # that there is no difference


def test_holm() -> None:
    assert holm(np.array([0.01, 0.04, 0.03])).tolist() == pytest.approx([0.03, 0.06, 0.06])
    assert holm(np.array([0.5, 0.9])).tolist() == [1, 1]
    rng = np.random.default_rng(0)
    wrong = np.mean([(holm(rng.random(5)) < 0.05).any() for _ in range(4000)])
    assert wrong == pytest.approx(0.05, abs=0.012)  # of families without any effect


def table(effects: dict[str, float], *, keeps: bool = False, sd: float = 0.001, seeds: int = 3, tasks: int = 2) -> xr.Dataset:
    """Results of a tree with true differences from the accuracy of random sets; 'all' is the baseline's."""
    rng = np.random.default_rng(3)
    rows = ["highest by pairs", "lowest by pairs", "random"]
    amounts = [12, 18, 25] if keeps else [0, 500, 1000]
    accuracy = 0.8 + sd * rng.normal(size=(3, 3, 3, seeds, tasks, 1))
    for place, row in enumerate(rows):
        for amount, count in enumerate(amounts):
            if count in (0, 25):
                accuracy[place, amount] = accuracy[0, amount, :1] + (effects.get("all", 0) if place == 0 else 0)
                accuracy[place, amount] = accuracy[0, amount, :1]
                accuracy[place, amount, 1:] = np.nan
                continue
            accuracy[place, amount] += effects.get(row.split()[0], 0)
            if row != "random":
                accuracy[place, amount, 1:] = np.nan
    names = [f"task{number}" for number in range(tasks)]
    return xr.Dataset(
        {"accuracy": (DIMS, accuracy)},
        {"removed": rows, "way": ("removed", ["highest", "lowest", "random"]), "order": ("removed", ["pairs", "pairs", ""]),
         "amount": amounts, "draw": [0, 1, 2], "seed": range(seeds), "task": names, "probe": ["linear"]},
        {"action": "keep" if keeps else "remove", "baseline": 25 if keeps else 0, "margin": 0.01},
    )  # fmt: skip


def decisions(found: xr.Dataset, second: str) -> set[str]:
    return set(found["decision"].values[found["second"].values == second].ravel().tolist())


@pytest.mark.parametrize(
    ("effect", "sd", "decision"),
    [(-0.05, 0.001, REPRODUCED), (0.05, 0.001, NOT_REPRODUCED), (0.0, 0.001, NOT_REPRODUCED), (0.0, 0.1, UNDECIDED)],
)
def test_decisions_on_removal(effect: float, sd: float, decision: str) -> None:
    """A difference as claimed, the opposite, one within the margin, and noise."""
    results = table({"highest": effect}, sd=sd)
    for found in (removal_differences(results), removal_differences(results, over_amounts=True)):
        assert decisions(found, "random") == {decision}
        assert found["claim"].values.tolist() == ["lower", "lower"]
        assert sorted(found["over"].values.tolist()) == ["3 seeds", "3 seeds crossed with 3 random sets"]
    overall = removal_differences(results, over_amounts=True)
    sentence = removal_verdict(overall, ["pairs"]).sentence
    assert f"by pairs {decision}" in sentence
    assert sentence.count(decision) >= 3


def test_what_would_decide_is_unknown_with_one_seed_or_without_spread() -> None:
    """It was said to be more than 1,000 seeds."""
    one = table({"highest": -0.05}).isel(seed=[0])
    same = table({"highest": -0.05}, sd=0.0)
    for results in (one, same):
        found = removal_verdict(removal_differences(results, over_amounts=True), ["pairs"])
        assert "nan" not in found.sentence
        assert any("two or more seeds whose differences vary" in sentence for sentence in found.cannot)
    assert "over 1 seed " in removal_verdict(removal_differences(one, over_amounts=True), ["pairs"]).sentence


def test_orders_that_are_chance_are_said() -> None:
    """What chance chose says nothing of memorization, whatever the decision."""
    overall = removal_differences(table({"highest": 0.0}), over_amounts=True)
    for reliability, said in ((0.05, True), (0.8, False), (float("nan"), True)):
        overall.attrs["orders"] = json.dumps([{"order": "pairs", "reliability": reliability}])
        assert any("as far as chance chose them" in one for one in removal_verdict(overall, ["pairs"]).cannot) == said


def test_decisions_on_coresets() -> None:
    """Table 17's claim: as well as all, or better."""
    for effect, decision in ((0.0, REPRODUCED), (0.05, REPRODUCED), (-0.05, NOT_REPRODUCED)):
        found = removal_differences(table({"highest": effect}, keeps=True))
        assert decisions(found, "all") == {decision}
        assert decisions(found, "random") == ({NOT_REPRODUCED} if effect <= 0 else {REPRODUCED})
        sentence = removal_verdict(found.isel(amount=0), ["pairs"]).sentence
        assert sentence.startswith("the most memorized samples alone do as well")
        assert sentence.endswith("over 3 seeds"), "against all samples there are no random sets"


def test_differences_are_paired_by_seed() -> None:
    """What a seed does to all encoders alike cancels."""
    results = table({"highest": -0.01})
    shifted = results.assign(accuracy=results["accuracy"] + xr.DataArray([0.3, -0.2, 0.1], {"seed": results["seed"]}))
    for name in ("difference", "interval", "p"):
        np.testing.assert_allclose(removal_differences(results)[name], removal_differences(shifted)[name])


def test_means_and_signs_by_hand() -> None:
    results = table({"highest": -0.02})
    found = removal_differences(results)
    accuracy = results["accuracy"].sel(amount=500, task="task1", probe="linear")
    expected = accuracy.sel(removed="highest by pairs", draw=0).mean() - accuracy.sel(removed="random").mean()
    one = found.sel(contrast="highest by pairs - random", amount=500, task="task1", probe="linear")
    assert one["difference"].item() == pytest.approx(expected.item())
    assert one["n"].item() == 9
    whole = removal_differences(results, over_amounts=True).sel(contrast="highest by pairs - random", task="task1", probe="linear")
    each = found.sel(contrast="highest by pairs - random", task="task1", probe="linear")["difference"]
    assert whole["difference"].item() == pytest.approx(each.mean().item())


def test_curves_have_intervals_or_none_at_all() -> None:
    curves = removal_curves(table({"highest": -0.02}))
    low, high = curves["interval"].transpose("bound", ...).values
    assert (low < curves["accuracy"].values).all()
    assert (curves["accuracy"].values < high).all()
    assert curves["n"].sel(removed="random", amount=500).values.tolist() == [[9], [9]]
    assert curves["n"].sel(removed="random", amount=0).values.tolist() == [[3], [3]]
    alone = removal_curves(table({}, seeds=1))
    assert np.isnan(alone["interval"]).all()
    assert np.isfinite(alone["accuracy"]).all()
    undecided = removal_differences(table({"highest": -0.5}, seeds=1))
    assert decisions(undecided, "random") == {UNDECIDED}
