"""Supervised memorization against SciPy, and by simulation: none where f and g saw the same, all where labels are looked up."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import special, stats

from sslmem_kit.errors import UserError
from sslmem_kit.names import PARTITION_CODE
from sslmem_kit.scores.comparisons.supervised import reduce
from sslmem_kit.statistics.supervised import agreement_on_candidates, supervised_effect
from sslmem_kit.statistics.trajectory import mean_over_seeds

CASES = 200


def trainings(
    seed: int,
    *,
    samples: int,
    pairs: int,
    classes: int,
    memorized: float,
    share: float = 1.0,
    offset: float = 0.5,
    skew: float = 0.0,
) -> xr.DataTree:
    """Softmax outputs of pairs of classifiers, as a study with what its comparison measured in ``/raw``.

    Parameters
    ----------
    samples
        Of each of candidates, independent samples and extra ones.
    memorized
        What training on a sample adds to the logit of its class.
    share
        Share of samples that are memorized at all.
    offset
        Spread of how much better one training is than another, in logits.
    skew
        Imbalance of the classes: 0 none; at 1 the first has half of the samples.
    """
    rng = np.random.Generator(np.random.Philox(seed))
    partition = np.repeat([1, 2, 3], samples)
    weights = (1 - skew) / classes + skew * 0.5 ** np.arange(1, classes + 1)
    labels = rng.choice(classes, len(partition), p=weights / weights.sum())
    family = np.tile(["f", "g"], pairs)
    seen = (family[None] == "f") & (partition[:, None] == 1) | (family[None] == "g") & (partition[:, None] == 2)
    atypical = (rng.random(len(partition)) < share)[:, None]
    difficulty, of_class = rng.normal(1, 2, (len(partition), 1)), rng.normal(0, offset, (classes, len(family)))
    logits = rng.normal(0, 1, (len(partition), len(family), classes))
    own = difficulty + of_class[labels] + rng.normal(0, offset, len(family)) + memorized * (seen & atypical)
    np.put_along_axis(
        logits, labels[:, None, None], (np.take_along_axis(logits, labels[:, None, None], 2)[..., 0] + own)[..., None], 2
    )
    softmax = np.exp(special.log_softmax(logits, axis=2))
    dims = ("sample", "encoder")
    raw = xr.Dataset(
        {
            "probability": (dims, np.take_along_axis(softmax, labels[:, None, None], 2)[..., 0]),
            "correct": (dims, (logits.argmax(axis=2) == labels[:, None]) + 0.0),
        }
    )
    root = xr.Dataset(
        {"trained_on": (dims, seen)},
        {
            "sample": np.arange(len(partition)),
            "partition": ("sample", partition),
            "encoder": np.arange(len(family)).astype(str),
            "family": ("encoder", family),
            "seed": ("encoder", np.repeat(np.arange(pairs), 2)),
        },
    )
    return xr.DataTree.from_dict({"/": root, "/raw": raw})


def measured(tree: xr.DataTree) -> list[xr.Dataset]:
    """Effects of one case, by probability and by correctness."""
    columns = reduce(tree["raw"].to_dataset(), tree)
    return [supervised_effect(columns[name], tree["partition"].values) for name in ("supervised", "supervised_correct")]


@pytest.mark.parametrize(
    ("samples", "pairs", "classes", "skew"),
    [(40, 2, 10, 0.0), (150, 3, 10, 0.0), (200, 5, 50, 0.0), (150, 3, 3, 1.0), (100, 1, 10, 0.5), (40, 1, 2, 0.0)],
)
def test_it_is_zero_where_nothing_is_memorized(samples: int, pairs: int, classes: int, skew: float) -> None:
    """In 95 % of cases, up to what 200 of them can show: fewer than 181 have a probability of 0.1 %."""
    inside = np.zeros(2)
    for case in range(CASES):
        both = measured(trainings(case, samples=samples, pairs=pairs, classes=classes, memorized=0, skew=skew))
        ends = np.array([found["interval"].values for found in both])
        inside += (ends[:, 0] <= 0) & (ends[:, 1] >= 0)
    assert inside.min() >= stats.binom(CASES, 0.95).ppf(0.001)
    assert inside.max() <= stats.binom(CASES, 0.95).ppf(0.999)


@pytest.mark.parametrize(("samples", "pairs", "classes", "skew"), [(40, 3, 10, 0.0), (150, 3, 3, 1.0), (100, 1, 10, 0.0)])
def test_what_is_memorized_is_found(samples: int, pairs: int, classes: int, skew: float) -> None:
    tree = trainings(1, samples=samples, pairs=pairs, classes=classes, memorized=50, skew=skew)  # a table of labels
    found, _ = measured(tree)
    assert found["interval"].values[0] > 0.05
    assert found["p"].item() < 0.05
    # What is memorized outright has exactly what g lacks: the score of a candidate is the other family's error.
    by_seed = reduce(tree["raw"].to_dataset(), tree)["supervised"].isel(sample=slice(samples))
    of_g = tree["raw/probability"].values[:samples][:, 1::2]
    np.testing.assert_allclose(by_seed.values, 1 - of_g, atol=1e-6)


def subsets(seed: int, *, folds: int, repeats: int, samples: int, memorized: float, skew: float) -> tuple[xr.DataTree, xr.Dataset]:
    """Correctness under encoders that miss one fold each: with ``skew`` most samples are easy."""
    rng = np.random.Generator(np.random.Philox(seed))
    fold = np.stack([rng.permutation(np.arange(samples) % folds) for _ in range(repeats)])
    trained = np.concatenate([fold[cut][:, None] != np.arange(folds) for cut in range(repeats)], axis=1)
    difficulty = rng.beta(1 + skew, 1, (samples, 1))
    better = rng.normal(0, 0.05, trained.shape[1])
    correct = rng.random(trained.shape) < np.clip(difficulty + better + memorized * trained, 0, 1)
    dims = ("sample", "encoder")
    root = xr.Dataset(
        {"trained_on": (dims, trained)},
        {
            "sample": np.arange(samples),
            "encoder": np.arange(trained.shape[1]).astype(str),
            "family": ("encoder", ["s"] * trained.shape[1]),
            "design": ("encoder", ["subset"] * trained.shape[1]),
            "seed": ("encoder", np.repeat(np.arange(repeats), folds)),
        },
    )
    return xr.DataTree(root), xr.Dataset({"probability": (dims, correct + 0.0), "correct": (dims, correct + 0.0)})


@pytest.mark.parametrize(("folds", "repeats", "samples"), [(2, 10, 100), (4, 4, 200), (3, 3, 60)])
@pytest.mark.parametrize("skew", [0.0, 8.0])
def test_the_ensemble_estimator_is_zero_in_the_mean_where_nothing_is_memorized(
    folds: int, repeats: int, samples: int, skew: float
) -> None:
    """In 95 % of cases, up to what 200 of them can show; and lookup is found."""
    inside = 0
    for case in range(CASES):
        tree, raw = subsets(case, folds=folds, repeats=repeats, samples=samples, memorized=0, skew=skew)
        by_seed = reduce(raw, tree)["supervised_subsets"].mean("sample").values
        _, low, high = mean_over_seeds(by_seed)
        inside += low <= 1e-12 and high >= -1e-12
    assert inside >= stats.binom(CASES, 0.95).ppf(0.001)
    tree, raw = subsets(0, folds=folds, repeats=repeats, samples=samples, memorized=1, skew=skew)
    found = reduce(raw, tree)["supervised_subsets"].mean("seed").values
    assert found.mean() == pytest.approx(1 / (2 + skew), abs=0.1)  # what is missed by encoders that were not trained on it


def test_atypical_samples_that_alone_are_memorized_rank_first() -> None:
    tree = trainings(3, samples=300, pairs=3, classes=10, memorized=30, share=0.1)
    score = reduce(tree["raw"].to_dataset(), tree)["supervised"].mean("seed").values[:300]
    rng = np.random.Generator(np.random.Philox(3))
    rng.choice(10, 900, p=np.full(10, 0.1))
    atypical = rng.random(900)[:300] < 0.1
    auc = stats.mannwhitneyu(score[atypical], score[~atypical]).statistic / (atypical.sum() * (~atypical).sum())
    assert auc > 0.9


def test_one_seed_has_the_interval_of_welch() -> None:
    rng = np.random.Generator(np.random.Philox(0))
    values, partition = rng.normal(0.2, 1, (90, 1)), np.repeat([1, 2], [50, 40])
    found = supervised_effect(xr.DataArray(values, dims=("sample", "seed")), partition)
    test = stats.ttest_ind(values[:50, 0], values[50:, 0], equal_var=False)
    interval = test.confidence_interval(0.95)
    np.testing.assert_allclose(found["interval"].values, np.array([interval.low, interval.high]) / 2)
    assert found["p"].item() == pytest.approx(test.pvalue)
    assert (found["over"].item(), found["n_candidates"].item(), found["n_independent"].item()) == ("samples", 50, 40)


def test_several_seeds_have_that_of_student() -> None:
    rng = np.random.Generator(np.random.Philox(0))
    values, partition = rng.normal(0.2, 1, (90, 4)), np.repeat([1, 2], 45)
    found = supervised_effect(xr.DataArray(values, dims=("sample", "seed")), partition)
    test = stats.ttest_1samp((values[:45].mean(axis=0) - values[45:].mean(axis=0)) / 2, 0)
    np.testing.assert_allclose(found["interval"].values, test.confidence_interval(0.95))
    assert found["p"].item() == pytest.approx(test.pvalue)
    nothing = supervised_effect(xr.DataArray(values, dims=("sample", "seed")), np.zeros(90, int))
    assert np.isnan(nothing["value"].item())


def test_agreement_is_over_candidates_that_have_both_scores() -> None:
    rng = np.random.Generator(np.random.Philox(2))
    first, partition = rng.normal(size=600), np.repeat(list(PARTITION_CODE.values()), 150)
    second = first + rng.normal(size=600)
    second[partition == 1] = np.where(np.arange(150) < 3, np.nan, second[partition == 1])
    found = agreement_on_candidates(first, second, partition)
    rows = (partition == 1) & np.isfinite(second)
    kendall = stats.kendalltau(first[rows], second[rows])
    assert found["n"].item() == 147
    assert found["value"].sel(statistic="tau").item() == pytest.approx(kendall.statistic)
    assert found["p"].item() == pytest.approx(kendall.pvalue)
    assert found["k"].values.tolist() == [10, 20, 50, 100]
    with pytest.raises(UserError, match="candidates: 4 have both scores, at least 5 are needed"):
        agreement_on_candidates(first, np.where(np.cumsum(rows) <= 4, second, np.nan), partition)


def test_p_of_a_weak_correlation_of_many_samples_is_tiny() -> None:
    """Trap 4: tau .235 of 5,000 samples has p about 1e-137, not the paper's."""
    rng = np.random.Generator(np.random.Philox(5))
    rho = np.sin(np.pi / 2 * 0.235)  # of a normal pair with that tau
    first = rng.normal(size=5000)
    second = rho * first + np.sqrt(1 - rho**2) * rng.normal(size=5000)
    found = agreement_on_candidates(first, second, np.ones(5000, int))
    assert found["value"].sel(statistic="tau").item() == pytest.approx(0.235, abs=0.02)
    assert found["p"].item() < 1e-100
