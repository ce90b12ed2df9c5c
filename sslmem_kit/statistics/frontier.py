"""The mitigation frontier: what each arm gives up in accuracy for what it memorizes less, paired by seed with the untreated study.

What an encoder f memorizes is measured in three ways, which agree where treatments change nothing else:

- ``memorization``: mean over the candidates less mean over the extra samples of ``L_g - L_f``, with g of the *untreated* study. g saw
  neither, so it takes out how hard the samples are; what is left is what f does to those that it saw. One g, samples and views for all arms.
- ``auc``: chance that f's distance of a candidate is below that of an independent sample, which it did not see (both were assigned at random).
  It needs no g, and does not change where an arm scales all distances alike. It is membership inference by alignment alone.
- ``effect``: (C - I) / 2 of the arm's own pair, the report's. Of arms that treat f alone it is half of what g memorizes, untreated.
"""

from __future__ import annotations

import numpy as np
import xarray as xr
from scipy import stats

from sslmem_kit.names import BOUND, BOUNDS, PARTITION_CODE, SEED
from sslmem_kit.spec.frontier import BASELINE
from sslmem_kit.statistics.removal import LEVEL, TASK, holm, paired
from sslmem_kit.statistics.verdict import Verdict

ARM, MEASURE, AGAINST = "arm", "measure", "against"
MEMORIZATION, EFFECT, AUC = "memorization", "effect", "auc"
ACCURACY = "accuracy: "
"""Begin of the names of accuracies, before that of the task."""
LOWER, HIGHER, EQUAL, UNDECIDED = "lower", "higher", "equal", "undecided"


def frontier_measures(results: xr.Dataset, *, probe: str = "linear") -> xr.Dataset:
    """Memorization and accuracy of each arm and seed.

    Parameters
    ----------
    results
        Of a frontier (:class:`sslmem_kit.store.frontier.Frontier`).
    probe
        Probe of the accuracies.

    Returns
    -------
    ``value(arm, measure, seed)``; measures are ``memorization``, ``effect``, ``auc`` and, for each task, ``accuracy: TASK``; those of
    memorization are distances between normalized representations (``auc``: a share).

    Examples
    --------
    >>> frontier_measures(_example())["value"].sel(arm="drop", seed=0).round(2).to_series().to_dict()
    {'memorization': 0.05, 'effect': 0.07, 'auc': 1.0, 'accuracy: digits': 0.89}
    """
    codes = results["partition"].values
    alignment = results["alignment"].transpose(ARM, "family", SEED, "sample")
    f, g = (alignment.sel(family=family).values.astype(np.float64) for family in ("f", "g"))
    reference = g[results[ARM].values.tolist().index(BASELINE)]
    candidate, independent, extra = (codes == PARTITION_CODE[name] for name in ("candidate", "independent", "extra"))

    def contrast(values: np.ndarray, first: np.ndarray, second: np.ndarray) -> np.ndarray:
        return values[..., first].mean(axis=-1) - values[..., second].mean(axis=-1)

    accuracy = results["accuracy"].sel(family="f", probe=probe).transpose(ARM, TASK, SEED)
    columns = {
        MEMORIZATION: contrast(reference - f, candidate, extra),
        EFFECT: contrast(g - f, candidate, independent) / 2,
        AUC: np.apply_along_axis(lambda row: _auc(row[candidate], row[independent]), -1, f),
        **{f"{ACCURACY}{task}": accuracy.sel({TASK: task}).values for task in accuracy[TASK].values.tolist()},
    }
    values = np.stack(list(columns.values()), axis=1)
    coords = {name: results[name] for name in (ARM, "kind", "control", SEED)}
    return xr.Dataset({"value": ((ARM, MEASURE, SEED), values)}, {**coords, MEASURE: list(columns)}, results.attrs)


def _auc(members: np.ndarray, others: np.ndarray) -> float:
    """Return the chance that a member has the smaller value, ties half."""
    return float(stats.mannwhitneyu(others, members).statistic / (len(members) * len(others)))


def frontier_means(measures: xr.Dataset) -> xr.Dataset:
    """Mean of each measure over seeds: ``mean``, its 95 % ``interval`` on ``bound`` (NaN with one seed) and ``n``, seeds.

    Parameters
    ----------
    measures
        Of :func:`frontier_measures`.
    """
    values = measures["value"].values
    means, ends = np.full(values.shape[:2], np.nan), np.full((*values.shape[:2], 2), np.nan)
    for place in np.ndindex(values.shape[:2]):
        found = paired(values[place][:, None])
        means[place], ends[place] = found.mean, found.interval()
    dims = (ARM, MEASURE)
    found = xr.Dataset(
        {"mean": (dims, means), "interval": ((*dims, BOUND), ends), "n": values.shape[2]}, measures.coords, measures.attrs
    )
    return found.drop_vars(SEED).assign_coords({BOUND: list(BOUNDS)})


def frontier_differences(measures: xr.Dataset) -> xr.Dataset:
    """Differences of arms to the untreated study, and of each treatment to its control, paired by seed.

    Parameters
    ----------
    measures
        Of :func:`frontier_measures`; the attrs have the ``margin`` of accuracies.

    Returns
    -------
    On ``against`` (``baseline`` or ``random``), ``arm`` and ``measure``: ``difference``, its 95 % ``interval`` on ``bound``, ``p`` (two-sided),
    ``p_holm`` (by Holm over the arms of the same row), ``p_equivalence`` (of accuracies: two one-sided tests against the margin, by Holm
    too), ``seeds_needed``, ``n`` seeds and ``decision``: ``lower``, ``higher``, ``equal`` within the margin, or ``undecided``; empty and NaN
    where there is nothing to compare.

    Examples
    --------
    >>> found = frontier_differences(frontier_measures(_example()))
    >>> found["decision"].sel(against="baseline", arm="drop").values.tolist()
    ['lower', 'lower', 'undecided', 'lower']
    """
    names, arms = measures[MEASURE].values.tolist(), measures[ARM].values.tolist()
    value, margin = measures["value"].transpose(ARM, MEASURE, SEED).values, measures.attrs["margin"]
    controls = measures["control"].values.tolist()
    against = {BASELINE: [BASELINE if arm != BASELINE else "" for arm in arms], "random": controls}
    shape = (len(against), len(arms), len(names))
    numbers = {name: np.full(shape, np.nan) for name in ("difference", "p", "p_equivalence", "seeds_needed")}
    ends, decisions = np.full((*shape, 2), np.nan), np.full(shape, "", object)
    for row, others in enumerate(against.values()):
        tests = sum(bool(other) for other in others)
        for place, other in enumerate(others):
            for column in range(len(names)) if other else ():
                at = (row, place, column)
                found = paired((value[place, column] - value[arms.index(other), column])[:, None])
                numbers["difference"][at], ends[at], numbers["p"][at] = found.mean, found.interval(), found.p_value()
                # The margin is one of accuracies: of memorization nothing counts as equal.
                of_accuracy = names[column].startswith(ACCURACY)
                numbers["seeds_needed"][at] = found.required(margin if of_accuracy else 0.0, tests)
                if of_accuracy:
                    numbers["p_equivalence"][at] = found.p_equivalence(margin)
    numbers["p_holm"] = np.apply_along_axis(holm, 1, numbers["p"])
    numbers["p_equivalence"] = np.apply_along_axis(holm, 1, numbers["p_equivalence"])
    for at in np.ndindex(shape):
        if np.isfinite(difference := numbers["difference"][at]):
            equal = numbers["p_equivalence"][at] < LEVEL
            moved = LOWER if difference < 0 else HIGHER
            decisions[at] = moved if numbers["p_holm"][at] < LEVEL else EQUAL if equal else UNDECIDED
    dims = (AGAINST, ARM, MEASURE)
    return xr.Dataset(
        {
            **{name: (dims, values) for name, values in numbers.items()},
            "interval": ((*dims, BOUND), ends),
            "decision": (dims, decisions),
            "n": value.shape[2],
        },
        {AGAINST: list(against), ARM: arms, MEASURE: names, BOUND: list(BOUNDS), "kind": measures["kind"]},
        measures.attrs,
    )


def costs(results: xr.Dataset) -> xr.Dataset:
    """What each arm costs: images that are passed through an encoder, and seconds, means over seeds.

    Parameters
    ----------
    results
        As of :func:`frontier_measures`.

    Returns
    -------
    On ``arm``: ``images``, trained on or scored to choose, and ``seconds``, of f, and of g too where f cannot be treated without it
    (``needs_g``).
    """
    needs_g = results["kind"] == "memorized"
    both = xr.where(results["family"] == "f", 1, needs_g.astype(int))
    images = results["images_trained"] + results["images_scored"]
    return xr.Dataset(
        {
            "images": (images * both).sum("family"),
            "seconds": (results["seconds"].mean(SEED) * both).sum("family"),
            "needs_g": needs_g,
        }
    )


def frontier_verdict(differences: xr.Dataset) -> Verdict:
    """Verdict on a frontier: which arms memorize less at accuracies that do not fall, and whether choosing the memorized is what does it.

    Parameters
    ----------
    differences
        Of :func:`frontier_differences`.
    """
    decided, arms = differences["decision"], differences[ARM].values.tolist()
    accuracies = [name for name in differences[MEASURE].values.tolist() if name.startswith(ACCURACY)]
    of = decided.sel({AGAINST: BASELINE})
    less = [arm for arm in arms if of.sel({ARM: arm, MEASURE: MEMORIZATION}).item() == LOWER]
    kept = [arm for arm in less if all(of.sel({ARM: arm, MEASURE: name}).item() in (EQUAL, HIGHER) for name in accuracies)]
    compared = [arm for arm in arms if decided.sel({AGAINST: "random", ARM: arm, MEASURE: MEMORIZATION}).item()]
    picked = [arm for arm in compared if decided.sel({AGAINST: "random", ARM: arm, MEASURE: MEMORIZATION}).item() == LOWER]
    seeds = int(differences["n"])
    sentence = (
        f"of {len(arms) - 1} arms {_names(less)} memorize less than the untreated study, {_names(kept)} of these at accuracies shown to be "
        f"equal within {100 * differences.attrs['margin']:g} points, or higher; treating the most memorized lowers memorization more than "
        f"treating as many at random: {_names(picked)} of {len(compared)} (Holm over arms, {seeds} seeds)"
    )
    return Verdict(
        sentence,
        ["which arms memorize less, and lose accuracy, than the untreated study trained with the same seeds"],
        [
            "how an arm would do with other settings than these: each is one point of its own curve",
            "what attacks other than alignment find: those are not built yet, auc is of alignment alone",
            "that memorization is less where undecided is said, or the same",
        ],
    )


def _names(arms: list[str]) -> str:
    return f"{len(arms)} ({', '.join(arms)})" if arms else "none"


def _example() -> xr.Dataset:
    """Results of a baseline and an arm that memorizes half as much, three seeds."""
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 1, 2, 3], 40)
    alignment = 0.5 + rng.normal(0, 0.001, (2, 2, 3, 160))
    alignment[:, :, :, codes == 0] -= 0.1
    alignment[0, 0, :, codes == 1] -= 0.1
    alignment[1, 0, :, codes == 1] -= 0.05
    alignment[:, 1, :, codes == 2] -= 0.1
    accuracy = np.stack([np.full((2, 3), 0.93), np.full((2, 3), 0.89)]) + rng.normal(0, 0.001, (2, 2, 3))
    dims = ("arm", "family", "seed")
    return xr.Dataset(
        {"alignment": ((*dims, "sample"), alignment), "accuracy": ((*dims, "task", "probe"), accuracy[..., None, None])},
        {
            "arm": [BASELINE, "drop"], "kind": ("arm", ["untreated", "memorized"]), "control": ("arm", ["", ""]), "family": ["f", "g"],
            "seed": [0, 1, 2], "partition": ("sample", codes), "task": ["digits"], "probe": ["linear"],
        },
        {"margin": 0.01},
    )  # fmt: skip
