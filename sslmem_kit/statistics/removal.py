"""Removal and coresets: accuracies of encoders without the most memorized samples against those without others, paired by seed.

Seeds and random sets are crossed: each seed is trained on each set, and one set by scores meets all random ones. A difference of seed s and
draw d is ``mean + seed_s + draw_d + rest_sd``; its mean over both has the variance ``(MS_seed + MS_draw - MS_rest) / (seeds draws)``, with
Satterthwaite's degrees of freedom, and not less than that of either factor alone. So an interval is over other seeds *and* other random sets,
given the scores that chose and the images that test.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import xarray as xr
from scipy import special

from sslmem_kit.names import BOUND, BOUNDS, SEED
from sslmem_kit.statistics.t_tests import holm
from sslmem_kit.statistics.verdict import Verdict

LEVEL, POWER = 0.05, 0.8
RELIABLE = 0.5
"""Reliability of an order below which most of what tells its samples apart is chance."""
ROUNDING = 1e-10
"""Standard error below which differences do not vary but for rounding."""
MOST_SEEDS = 1000
"""Largest number of seeds that is looked for."""
REMOVED, AMOUNT, DRAW, TASK, PROBE, CONTRAST = "removed", "amount", "draw", "task", "probe", "contrast"
ALL = "all"
"""Encoders that no sample was removed for, in the name of a contrast."""
REPRODUCED, NOT_REPRODUCED, UNDECIDED = "reproduced", "not reproduced", "undecided"

LOWER, HIGHER, NOT_LOWER = "lower", "higher", "equal or higher"
"""Claims on a difference: that the first is lower or higher, or that it is equal (within a margin) or higher."""


class Paired(NamedTuple):
    """Mean of paired differences, and the parts of its error."""

    mean: float
    error: float
    """Standard error; NaN with one seed."""
    df: float
    seed: float
    """Variance of what a seed adds to a difference; likewise ``draw`` and the ``rest``."""
    draw: float
    rest: float
    crossed: bool
    """Whether there are several draws."""

    def interval(self, level: float = LEVEL) -> tuple[float, float]:
        """Return the interval of Student's t, of coverage 1 - ``level``."""
        reach = self.error * special.stdtrit(self.df, 1 - level / 2) if np.isfinite(self.error) else np.nan
        return self.mean - reach, self.mean + reach

    def p_value(self) -> float:
        """Return the two-sided p-value of no difference; NaN where the error is not known, or differences do not vary."""
        return float(2 * special.stdtr(self.df, -abs(self.mean) / self.error)) if self.error > 0 else np.nan

    def p_equivalence(self, margin: float) -> float:
        """Return the p-value of a difference of ``margin`` or more either way, by two one-sided tests."""
        if not self.error > 0:
            return np.nan
        return float(max(special.stdtr(self.df, -(margin + sign * self.mean) / self.error) for sign in (-1, 1)))

    def required(self, margin: float, tests: int) -> float:
        """Return the seeds, with as many draws, that find a difference as large as this, or show that there is none, with a power of 80 %.

        ``tests`` is the number of tasks, over which Holm's first step divides the level. Infinite where no number up to ``MOST_SEEDS``
        does, NaN where the error is not known.
        """
        if not self.error > 0:
            return np.nan
        count = np.arange(2, MOST_SEEDS + 1)
        variance = (self.seed + self.draw) / count + self.rest / (count**2 if self.crossed else count)
        with np.errstate(divide="ignore"):
            error = np.sqrt(np.maximum(variance, 0))
            df, level = count - 1.0, LEVEL / tests
            found = 1 - special.nctdtr(df, abs(self.mean) / error, special.stdtrit(df, 1 - level / 2))
            sides = [1 - special.nctdtr(df, (margin + s * self.mean) / error, special.stdtrit(df, 1 - level)) for s in (-1, 1)]
        enough = np.maximum(found, sides[0] + sides[1] - 1) >= POWER
        return float(count[enough.argmax()]) if enough.any() else np.inf


def paired(differences: np.ndarray) -> Paired:
    """Mean of differences by seed and draw, and its error.

    Parameters
    ----------
    differences
        (seed, draw); one column where there are no draws.

    Examples
    --------
    >>> found = paired(np.array([[-0.03, -0.01], [-0.02, -0.02], [-0.04, -0.02]]))
    >>> round(found.mean, 4), round(found.error, 4), found.crossed
    (-0.0233, 0.0067, True)
    """
    seeds, draws = differences.shape
    mean = float(differences.mean())
    if seeds < 2:
        return Paired(mean, np.nan, np.nan, np.nan, np.nan, np.nan, draws > 1)
    of_seed = draws * float(differences.mean(axis=1).var(ddof=1))
    if draws < 2:
        return Paired(mean, _error(of_seed / seeds), seeds - 1.0, 0.0, 0.0, of_seed, False)
    of_draw = seeds * float(differences.mean(axis=0).var(ddof=1))
    rest = differences - differences.mean(axis=1, keepdims=True) - differences.mean(axis=0, keepdims=True) + mean
    dfs = (seeds - 1, draws - 1, (seeds - 1) * (draws - 1))
    of_rest = float((rest**2).sum()) / dfs[2]
    both = of_seed + of_draw - of_rest
    squares = of_seed**2 / dfs[0] + of_draw**2 / dfs[1] + of_rest**2 / dfs[2]
    ways = [(both, both**2 / squares if squares else dfs[0]), (of_seed, dfs[0]), (of_draw, dfs[1])]
    square, df = max(ways, key=lambda way: way[0])
    parts = (max(of_seed - of_rest, 0) / draws, max(of_draw - of_rest, 0) / seeds, of_rest)
    return Paired(mean, _error(square / (seeds * draws)), max(float(df), 1.0), *parts, True)


def _error(variance: float) -> float:
    error = float(np.sqrt(variance))
    return error if error > ROUNDING else 0.0


def removal_curves(results: xr.Dataset) -> xr.Dataset:
    """Mean accuracy by what was removed, with its interval over seeds and draws.

    Parameters
    ----------
    results
        Of a removal tree: ``accuracy`` on ``removed``, ``amount``, ``draw``, ``seed``, ``task`` and ``probe``, NaN in draws that a way does not
        have.

    Returns
    -------
    ``accuracy`` on ``removed``, ``amount``, ``task`` and ``probe``, its 95 % ``interval`` on ``bound`` (NaN with one seed), and ``n``, the
    encoders that it rests on.
    """
    accuracy = results["accuracy"].transpose(REMOVED, AMOUNT, TASK, PROBE, SEED, DRAW)
    shape = accuracy.shape[:4]
    means, ends, counts = np.full(shape, np.nan), np.full((*shape, 2), np.nan), np.zeros(shape, int)
    for place in np.ndindex(shape):
        values = _there(accuracy.values[place])
        if values.size:
            found = paired(values)
            means[place], ends[place], counts[place] = found.mean, found.interval(), values.size
    dims = (REMOVED, AMOUNT, TASK, PROBE)
    found = {"accuracy": (dims, means), "interval": ((*dims, BOUND), ends), "n": (dims, counts)}
    return xr.Dataset(found, accuracy.drop_vars([SEED, DRAW], errors="ignore").coords, results.attrs).assign_coords(
        {BOUND: list(BOUNDS)}
    )


def contrasts(results: xr.Dataset) -> list[tuple[str, str, str, str]]:
    """Return the comparisons that a tree allows: order, first, second, and the claim on the difference first - second.

    Of removals the paper claims that those of the most memorized samples lower accuracy more than others do; of coresets that the most
    memorized samples alone do as well as all, or better.
    """
    keeps, found = results.attrs["action"] == "keep", []
    by = dict(
        zip(
            results[REMOVED].values.tolist(),
            zip(results["way"].values.tolist(), results["order"].values.tolist(), strict=True),
            strict=True,
        )
    )
    for name, (way, order) in by.items():
        if way != "highest":
            continue
        others = [other for other, (kind, own) in by.items() if kind == "random" or (kind == "lowest" and own == order)]
        found += [(order, name, other, HIGHER if keeps else LOWER) for other in sorted(others, reverse=True)]
        found += [(order, name, ALL, NOT_LOWER)] if keeps else []
    return found


def removal_differences(results: xr.Dataset, *, over_amounts: bool = False) -> xr.Dataset:
    """Paired differences in accuracy between ways to remove as many samples, with tests and a decision on each claim.

    Parameters
    ----------
    results
        As of :func:`removal_curves`; the attrs have ``action``, ``baseline`` (the amount at which nothing is removed) and ``margin``.
    over_amounts
        Mean over all amounts but the baseline, a difference for each task and probe; else one for each amount too.

    Returns
    -------
    On ``contrast``, ``amount`` (unless over them), ``task`` and ``probe``: ``difference``, its 95 % ``interval`` on ``bound``, ``p``
    (two-sided), ``p_holm`` (by Holm over tasks), ``p_equivalence`` (two one-sided tests against ``margin``, by Holm too), ``seeds_needed``
    (with as many draws), ``n`` (differences), ``decision``. On ``contrast``: ``order``, ``first``, ``second``, ``claim``, ``over``.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> shape = ("removed", "amount", "draw", "seed", "task", "probe")
    >>> accuracy = 0.9 + rng.normal(0, 0.001, (2, 2, 3, 3, 1, 1))
    >>> accuracy[0, :, 1:] = np.nan  # one set
    >>> accuracy[0, 1] -= 0.05
    >>> results = xr.Dataset(
    ...     {"accuracy": (shape, accuracy)},
    ...     {"removed": ["highest by pairs", "random"], "way": ("removed", ["highest", "random"]), "order": ("removed", ["pairs", ""]),
    ...      "amount": [0, 500], "seed": [0, 1, 2], "task": ["digits"], "probe": ["linear"]},
    ...     {"action": "remove", "baseline": 0, "margin": 0.01},
    ... )
    >>> removal_differences(results)["decision"].values.ravel().tolist()
    ['reproduced']
    """
    accuracy = results["accuracy"].transpose(REMOVED, AMOUNT, TASK, PROBE, SEED, DRAW)
    baseline, margin = results.attrs["baseline"], results.attrs["margin"]
    whole = accuracy.sel({AMOUNT: baseline}).values[0, :, :, None, :, :1]  # (task, probe, 1, seed, 1)
    accuracy = accuracy.sel({AMOUNT: accuracy[AMOUNT].values != baseline})
    rows = contrasts(results)
    shape = (len(rows), accuracy.sizes[AMOUNT] if not over_amounts else 1, accuracy.sizes[TASK], accuracy.sizes[PROBE])
    numbers = {name: np.full(shape, np.nan) for name in ("difference", "p", "p_equivalence", "seeds_needed")}
    ends, counts = np.full((*shape, 2), np.nan), np.zeros(shape, int)
    draws = []
    for row, (_, first, second, _) in enumerate(rows):
        one = accuracy.sel({REMOVED: first}).values
        other = np.moveaxis(whole, 2, 0) if second == ALL else accuracy.sel({REMOVED: second}).values
        with np.errstate(invalid="ignore"):
            differences = one[..., :1] - other  # (amount, task, probe, seed, draw)
        if over_amounts:
            differences = differences.mean(axis=0, keepdims=True)
        draws.append(1)
        for place in np.ndindex(shape[1:]):
            values = _there(differences[place])
            if not values.size:
                continue
            found = paired(values)
            draws[-1] = max(draws[-1], values.shape[1])
            numbers["difference"][row][place], counts[row][place], ends[row][place] = found.mean, values.size, found.interval()
            numbers["p"][row][place], numbers["p_equivalence"][row][place] = found.p_value(), found.p_equivalence(margin)
            numbers["seeds_needed"][row][place] = found.required(margin, shape[2])
    numbers["p_holm"] = np.apply_along_axis(holm, 2, numbers["p"])
    numbers["p_equivalence"] = np.apply_along_axis(holm, 2, numbers["p_equivalence"])
    decisions = np.empty(shape, object)
    for place in np.ndindex(shape):
        claim = rows[place[0]][3]
        decisions[place] = _decision(claim, *(float(numbers[name][place]) for name in ("difference", "p_holm", "p_equivalence")))
    dims = (CONTRAST, AMOUNT, TASK, PROBE)
    seeds = accuracy.sizes[SEED]
    over = [
        f"{seeds} seed{'s' if seeds > 1 else ''}" + (f" crossed with {count} random sets" if count > 1 else "") for count in draws
    ]
    columns = dict(zip(("order", "first", "second", "claim"), zip(*rows, strict=True), strict=True)) if rows else {}
    names = {name: (CONTRAST, np.array(column, object)) for name, column in columns.items()}
    found = xr.Dataset(
        {
            **{name: (dims, values) for name, values in numbers.items()},
            "interval": ((*dims, BOUND), ends),
            "n": (dims, counts),
            "decision": (dims, decisions),
        },
        {
            CONTRAST: [f"{first} - {second}" for _, first, second, _ in rows],
            TASK: accuracy[TASK].values,
            PROBE: accuracy[PROBE].values,
            BOUND: list(BOUNDS),
            "over": (CONTRAST, np.array(over, object)),
            **names,
        },
        results.attrs,
    )
    return found.isel({AMOUNT: 0}) if over_amounts else found.assign_coords({AMOUNT: accuracy[AMOUNT].values})


def removal_verdict(overall: xr.Dataset, orders: Sequence[str]) -> Verdict:
    """Verdict on a tree: of each order, the decision on the difference between the most memorized and random samples, over all amounts.

    Parameters
    ----------
    overall
        Of :func:`removal_differences`, over amounts; the first probe counts.
    orders
        Orders by name, the one that counts most first.
    """
    action = "keeping" if overall.attrs["action"] == "keep" else "removing"
    cannot = [
        "how other studies, whose scores choose other samples, would come out: intervals are given these scores and these test images",
        "that a difference is due to memorization itself and not to what goes with it, such as how rare or hard a sample is",
    ]
    found = overall.isel({PROBE: 0})
    second = ALL if action == "keeping" else "random"
    sentences, over, need = [], "", []
    for order in orders:
        chosen = np.flatnonzero((found["order"].values == order) & (found["second"].values == second))
        if not len(chosen):
            continue
        one = found.isel({CONTRAST: int(chosen[0])})
        over = str(one["over"].item())
        need += one["seeds_needed"].values[one["decision"].values == UNDECIDED].tolist()
        decided = {task: str(one["decision"].sel({TASK: task}).item()) for task in one[TASK].values.tolist()}
        numbers = [_in_points(one.sel({TASK: task}), task) for task in decided]
        sentences.append(f"by {order} {_of_all(list(decided.values()))} ({'; '.join(numbers)})")
    if not sentences:
        return Verdict(f"no verdict: {action} the most memorized samples is compared with nothing", [], cannot)
    claim = {
        "removing": "removing the most memorized samples lowers accuracy more than removing as many at random",
        "keeping": "the most memorized samples alone do as well as all of them, or better",
    }[action]
    sentence = f"{claim}: {'; '.join(sentences)}; points of {found[PROBE].item()} accuracy, mean over amounts, 95 % over {over}"
    can = [f"whether {claim}, on average over these amounts, on each task (Holm over {found.sizes[TASK]} tasks)"]
    weak = [one for one in json.loads(overall.attrs.get("orders", "[]")) if not one["reliability"] >= RELIABLE]
    if weak:
        known = ", ".join(f"{one['order']} {one['reliability']:.2f}" for one in weak).replace("nan", "unknown")
        cannot.insert(0, f"what the most memorized samples do, as far as chance chose them: reliability of the order by {known}")
    if need:
        counts = [number for number in need if not np.isnan(number)]
        takes = "two or more seeds whose differences vary are needed to say how many would decide"
        if counts:
            most = f"of the order of {max(counts):,.0f} seeds" if np.isfinite(counts).all() else f"more than {MOST_SEEDS:,} seeds"
            takes = f"with a power of 80 % it needs {most}, if differences and their spread are as found"
        cannot.insert(0, f"what is undecided: {takes}")
    return Verdict(sentence, can, cannot)


def _in_points(one: xr.Dataset, task: str) -> str:
    """Return a difference in points, its interval and the decision, in words."""
    low, high = 100 * one["interval"].values
    interval = f" [{low:+.2f}, {high:+.2f}]" if np.isfinite([low, high]).all() else ", no interval"
    return f"{task} {100 * one['difference'].item():+.2f}{interval} {one['decision'].item()}"


def _of_all(decisions: list[str]) -> str:
    """Return the decision on a claim about all tasks."""
    if all(decision == REPRODUCED for decision in decisions):
        return REPRODUCED
    return NOT_REPRODUCED if NOT_REPRODUCED in decisions else UNDECIDED


def _there(values: np.ndarray) -> np.ndarray:
    """Return the draws that are there, (seed, draw): those without NaN."""
    return values[:, np.isfinite(values).all(axis=0)]


def _decision(claim: str, difference: float, p: float, p_equivalence: float) -> str:
    """Return the decision on a claim; one of a difference is contradicted by one within the margin that is not significant as claimed."""
    lower, higher, equal = p < LEVEL and difference < 0, p < LEVEL and difference > 0, p_equivalence < LEVEL
    as_claimed, otherwise = {
        LOWER: (lower, higher or equal),
        HIGHER: (higher, lower or equal),
        NOT_LOWER: (higher or equal, lower),
    }[claim]
    return REPRODUCED if as_claimed else NOT_REPRODUCED if otherwise else UNDECIDED
