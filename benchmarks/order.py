"""Which estimator orders samples as exact leave-one-out does: `python benchmarks/order.py WORK --truth STUDY ... [--json]`.

``STUDY`` are finished (or growing) studies whose ``leave_one_out`` encoders are the truth; ``WORK`` holds trainings of other memberships on the
same samples, which :mod:`order_trainings` makes. A row is an estimator on the encoders of a design, at a cost:

cost          encoder-epochs; an epoch of n samples counts n / 100.
rank          Spearman's correlation with the truth over its samples, the estimator scored on other views than the truth. Interval: 95 %,
              Fisher's z with the standard deviation of a bootstrap over samples and, apart from them, over the seeds of both
              (of the truth alone for estimators that are not the package's).
ceiling       the same correlation of a perfect estimator: root of the share of the truth's variance that other seeds and other views repeat.
bias          mean over samples of estimate minus truth, 1/1000.
coverage      share of 95 % intervals over seeds that hold the truth, the errors over seeds of both considered (alignments are kept as means
              over views); of the package's own estimators alone.

Leave-one-out encoders are an estimator too: at a tenth of the cost, groups of a tenth of the seeds against the other nine tenths.
"""

from __future__ import annotations

import argparse
import json
import sys
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from scipy import linalg, optimize, stats

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sslmem_kit.names import SSLMEM, VIEW_WITH_VIEW
from sslmem_kit.scores.adjusted import ENCODERS_PER_FACTOR, FACTORS, adjusted_leave_out
from sslmem_kit.scores.intervals import moderate
from sslmem_kit.store import open_results

RESAMPLES = 300
SHARE = 10
"""Share of the truth's cost that estimators are compared at: a tenth."""
KINDS = ("clean", "views")
"""Pairs of views: the clean image with each, views with each other."""
WEIGHTS = np.array([1 - VIEW_WITH_VIEW, VIEW_WITH_VIEW])
"""Of the two kinds in a score, as in the package's ``corrected``."""


Estimator = Callable[["Encoders"], np.ndarray]
"""Function from encoders to a score of each scored sample, 1/1000."""


@dataclass
class Encoders:
    """Encoders with all that an estimator may use.

    ``alignment`` (encoder, sample, kind) in 1/1000 and ``other``, the same on other views (None where there are none), ``out`` (encoder, scored
    sample) bool, ``place`` of the scored samples among all, their ``ids``, ``seed`` (encoder,), ``cost`` of each in encoder-epochs.
    """

    alignment: np.ndarray
    other: np.ndarray | None
    out: np.ndarray
    place: np.ndarray
    ids: np.ndarray
    seed: np.ndarray
    cost: np.ndarray

    def of(self, chosen: np.ndarray) -> Encoders:
        """Some of the encoders."""
        other = None if self.other is None else self.other[chosen]
        return Encoders(self.alignment[chosen], other, self.out[chosen], self.place, self.ids, self.seed[chosen], self.cost[chosen])

    @property
    def seeds(self) -> np.ndarray:
        """The seeds, ascending."""
        return np.unique(self.seed)


def truth_encoders(study: Path) -> tuple[Encoders, Encoders]:
    """Leave-one-out encoders of all seeds that are whole, scored on the first and on the second half of the views, and on all."""
    tree = open_results(study / "results.zarr", allow_incomplete=True)
    results, scored = tree.to_dataset(), tree["completeness"]["scored"].values.all(axis=1)
    seed, chosen = results["seed"].values, (results["design"].values == "leave_one_out") & scored
    per_seed = max(np.count_nonzero((results["design"].values == "leave_one_out") & (seed == s)) for s in np.unique(seed))
    whole = [s for s in np.unique(seed[chosen]) if np.count_nonzero(chosen & (seed == s)) == per_seed]
    results = results.isel(encoder=np.flatnonzero(chosen & np.isin(seed, whole))).load()
    values = results["alignment"].transpose("encoder", "sample", "augmentation").values.astype(np.float64) * 1000
    first, second = results["view_a"].values, results["view_b"].values
    half = second.max() // 2

    def kinds(used: Callable[[np.ndarray], np.ndarray]) -> np.ndarray:
        kept = used(second) & (used(first) | (first == 0))
        return np.stack([values[:, :, kept & (first == 0)].mean(2), values[:, :, kept & (first > 0)].mean(2)], axis=2)

    trained = results["trained_on"].transpose("encoder", "sample").values
    place = np.flatnonzero(trained.any(0) & ~trained.all(0))
    epochs = json.loads(tree.attrs["spec"])["training"]["epochs"]
    cost = np.full(len(values), float(epochs))
    shared = (~trained[:, place], place, results["sample"].values[place], results["seed"].values, cost)
    whole_views = Encoders(kinds(lambda view: view > 0), None, *shared)
    halves = Encoders(kinds(lambda view: (view > 0) & (view <= half)), kinds(lambda view: view > half), *shared)
    return whole_views, halves


def work_encoders(folder: Path, epoch: int, ids: np.ndarray) -> Encoders:
    """Encoders of one design at one of the recorded epochs; ``ids`` are the samples of the truth."""
    parts = [np.load(path) for path in sorted(folder.glob("[0-9]*.npz"))]
    at = list(parts[0]["epochs"]).index(epoch)
    alignment = np.concatenate([part["alignment"][:, at] for part in parts]).astype(np.float64) * 1000
    pool, out = parts[0]["pool"], np.concatenate([part["out"] for part in parts])
    pool = pool[: out.shape[1]]
    return Encoders(
        alignment[..., 2:],
        alignment[..., :2],
        out,
        np.searchsorted(parts[0]["sample"], pool),
        pool,
        np.concatenate([np.full(len(part["out"]), part["seed"]) for part in parts]),
        np.concatenate([part["trained"] for part in parts]) / 100 * epoch,
    )


def mean_kinds(encoders: Encoders) -> np.ndarray:
    """Alignment (encoder, sample), the weighted mean of the two kinds."""
    return encoders.alignment @ (WEIGHTS if encoders.alignment.shape[2] > 1 else np.ones(1))


def within_seeds(encoders: Encoders, count: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Alignment of the scored samples and their memberships, (encoder, sample) each, without their means and ``count`` factors of each seed."""
    values, out = mean_kinds(encoders), encoders.out.astype(float)
    groups = [np.flatnonzero(encoders.seed == seed) for seed in encoders.seeds]
    for group in groups:
        values[group] -= values[group].mean(0)
        out[group] -= out[group].mean(0)
    spread = values.std(0)
    for group in groups:
        kept = min(count, (len(group) - 1) // ENCODERS_PER_FACTOR)
        basis = np.linalg.svd(values[group] / spread, full_matrices=False)[0][:, :kept]
        for array in (values, out):
            array[group] -= basis @ (basis.T @ array[group])
    return values[:, encoders.place], out


def difference(encoders: Encoders) -> np.ndarray:
    """Difference of means within seeds."""
    return package_scores(encoders, 0)[SSLMEM].values


def adjusted(count: int = FACTORS) -> Estimator:
    """The package's :func:`sslmem_kit.scores.adjusted.adjusted_leave_out`, the default order of samples."""
    return lambda encoders: package_scores(encoders, count)[SSLMEM].values


def regressed(count: int) -> Estimator:
    """Regression on the own membership and on the factors of each seed, which count nothing."""

    def estimator(encoders: Encoders) -> np.ndarray:
        y, x = within_seeds(encoders, count)
        return (x * y).sum(0) / (x * x).sum(0)

    return estimator


def package_scores(encoders: Encoders, count: int = FACTORS) -> xr.Dataset:
    """Scores with their error over encoders by the package, to which the mean over views is one pair."""
    samples, trained = encoders.alignment.shape[1], np.zeros((encoders.alignment.shape[1], len(encoders.seed)), bool)
    trained[encoders.place] = ~encoders.out.T
    alignment = xr.DataArray(
        mean_kinds(encoders).T[:, None],
        {"view_a": ("augmentation", [0]), "view_b": ("augmentation", [1]), "seed": ("encoder", encoders.seed)},
        ("sample", "augmentation", "encoder"),
    ).assign_coords(sample=np.arange(samples), encoder=np.arange(len(encoders.seed)))
    trained_on = xr.DataArray(trained, {"sample": alignment["sample"], "encoder": alignment["encoder"]}, ("sample", "encoder"))
    return adjusted_leave_out(alignment, trained_on, factors=count).isel(sample=encoders.place)


def others_random(count: int) -> Estimator:
    """The same with the memberships of all other samples as random effects of one variance, which maximizes the likelihood."""

    def estimator(encoders: Encoders) -> np.ndarray:
        y, x = within_seeds(encoders, count)
        basis, sizes, _ = np.linalg.svd(x, full_matrices=False)
        inside, outside = (basis.T @ y) ** 2, (y**2).sum(0) - ((basis.T @ y) ** 2).sum(0)
        ratios = np.geomspace(1e-4, 10, 60)
        weights = 1 / (1 + ratios[:, None] * sizes**2)  # of directions of the memberships; 1 of all others
        residual = np.log(weights @ inside + outside).sum(1)
        best = ratios[np.argmin(len(y) * residual - y.shape[1] * np.log(weights).sum(1))]
        weight = 1 / (1 + best * sizes**2) - 1
        whitened = x + basis @ (weight[:, None] * (basis.T @ x))
        return (whitened * y).sum(0) / (whitened * x).sum(0)

    return estimator


def ridge(encoders: Encoders) -> np.ndarray:
    """Ridge regression on all memberships, the own coefficient; one penalty for all samples, by generalized cross-validation."""
    y, x = within_seeds(encoders)
    basis, sizes, components = np.linalg.svd(x, full_matrices=False)
    kept = sizes > 1e-8 * sizes[0]
    basis, sizes, components = basis[:, kept], sizes[kept], components[kept]
    projected, outside = basis.T @ y, (y**2).sum() - ((basis.T @ y) ** 2).sum()
    penalties, scores = np.geomspace(1e-2, 1e5, 80), []
    for penalty in penalties:
        shrunk = sizes**2 / (sizes**2 + penalty)
        scores.append((outside + (((1 - shrunk)[:, None] * projected) ** 2).sum()) / (len(y) - shrunk.sum()) ** 2)
    best = penalties[int(np.argmin(scores))]
    return np.einsum("ks,k,ks->s", components, sizes / (sizes**2 + best), projected)


def lasso(own_free: bool) -> Estimator:
    """Lasso on all memberships, as datamodels; the penalty by cross-validation, one for all samples.

    ``own_free``: the own membership is regressed, without penalty, on what the others leave.
    """
    from sklearn.linear_model import Lasso

    def estimator(encoders: Encoders) -> np.ndarray:
        y, x = within_seeds(encoders)
        spread = y.std(0)
        y = y / spread
        fold = np.random.Generator(np.random.Philox(0)).permutation(len(y)) % 5

        def fitted(penalty: float, kept: np.ndarray) -> np.ndarray:
            return Lasso(alpha=penalty * x.std(), fit_intercept=False, max_iter=10_000, tol=1e-3).fit(x[kept], y[kept]).coef_

        def error(penalty: float) -> float:
            return sum(((y - x @ fitted(penalty, fold != part).T)[fold == part] ** 2).sum() for part in range(5))

        found = fitted(min(np.geomspace(0.003, 0.1, 8), key=error), fold >= 0)
        if not own_free:
            return np.diag(found) * spread
        np.fill_diagonal(found, 0)
        left = y - x @ found.T
        return (x * left).sum(0) / (x * x).sum(0) * spread

    return estimator


def less_early(late: Encoders, early: Encoders) -> Encoders:
    """Alignments without what those of an earlier epoch tell of them, by regression over samples that no encoder lacks (control variates)."""
    values = []
    for encoders in (late, early):
        each = mean_kinds(encoders)
        for seed in encoders.seeds:
            each[encoders.seed == seed] -= each[encoders.seed == seed].mean(0)
        values.append(each)
    always = np.delete(np.arange(values[0].shape[1]), late.place)
    slope = (values[0] * values[1])[:, always].sum() / (values[1] ** 2)[:, always].sum()
    return Encoders(late.alignment - slope * early.alignment, None, *[getattr(late, name) for name in _SHARED])


def neighbours(distances: np.ndarray) -> Estimator:
    """`adjusted`, towards samples with similar images: posterior mean of a Gaussian process with an own part for each sample.

    Variances of both parts and the length of their exponential covariance maximize the likelihood; ``distances`` are of the scored samples.
    """

    def estimator(encoders: Encoders) -> np.ndarray:
        scores = package_scores(encoders)
        values, error = scores[SSLMEM].values, (scores["standard_error_encoders"].values ** 2).mean()
        one, own, variance = np.ones(len(values)), np.eye(len(values)), values.var()
        near = np.median(np.sort(distances, axis=1)[:, 5])

        def signal(logarithms: np.ndarray) -> np.ndarray:
            alone, alike, length = np.exp(logarithms)
            return variance * (alone * own + alike * np.exp(-distances / (near * length)))

        def centre(solve: Callable[[np.ndarray], np.ndarray]) -> float:
            return (one @ solve(values)) / (one @ solve(one))

        def unlikely(logarithms: np.ndarray) -> float:
            factor = linalg.cho_factor(signal(logarithms) + error * own, lower=True)
            left = values - centre(lambda right: linalg.cho_solve(factor, right))
            return np.log(np.diag(factor[0])).sum() + left @ linalg.cho_solve(factor, left) / 2

        starts = [np.array([alone, alike, length]) for alone in (-3.0, -1.0) for alike in (-3.0, -1.0) for length in (-0.5, 0.7)]
        fits = [optimize.minimize(unlikely, start, method="L-BFGS-B", bounds=[(-9, 1), (-9, 1), (-1.5, 2)]) for start in starts]
        part = signal(min(fits, key=lambda fit: fit.fun).x)
        factor = linalg.cho_factor(part + error * own)
        mean = centre(lambda right: linalg.cho_solve(factor, right))
        return mean + part @ linalg.cho_solve(factor, values - mean)

    return estimator


def image_distances(seed: int, ids: np.ndarray) -> np.ndarray:
    """Euclidean distances of the images of these samples."""
    from benchmarks.order_trainings import spec_of
    from sslmem_kit.data.loader import image_loader
    from sslmem_kit.data.samples import load_samples

    images = next(image_loader(load_samples(spec_of(seed)).dataset, "cpu").batches([ids])).flatten(1).numpy()
    return np.linalg.norm(images[:, None] - images[None], axis=2)


def parts(encoders: Encoders, count: int) -> np.ndarray:
    """Difference of means of each seed in two parts, the own one and that along factors: (seed, part, sample)."""
    values, found = mean_kinds(encoders), []
    groups = [np.flatnonzero(encoders.seed == seed) for seed in encoders.seeds]
    for group in groups:
        values[group] -= values[group].mean(0)
    spread = values.std(0)
    for group in groups:
        kept = min(count, (len(group) - 1) // ENCODERS_PER_FACTOR)
        basis = np.linalg.svd(values[group] / spread, full_matrices=False)[0][:, :kept]
        out = encoders.out[group] - encoders.out[group].mean(0)
        square, y = (out**2).sum(0), values[group][:, encoders.place]
        along = ((basis.T @ out) * (basis.T @ y)).sum(0) / square
        found.append([(out * y).sum(0) / square - along, along])
    return np.array(found)


def joined(by_seed: np.ndarray) -> np.ndarray:
    """Scores from :func:`parts`, as :mod:`sslmem_kit.scores.adjusted` weighs them; so a bootstrap over seeds is cheap."""
    own, along = by_seed.mean(0)
    count = len(by_seed)
    if count < 2 or not along.any():
        return own + along
    centred = by_seed - by_seed.mean(2, keepdims=True)
    of_means = (centred.mean(0) ** 2).mean(1)
    repeated = (of_means - (centred**2).mean((0, 2)) / count) / (1 - 1 / count)
    reliable = np.clip(repeated / of_means, 0, 1)
    weight = min(1, reliable[1] / reliable[0]) if reliable[0] else 1
    return own + weight * along + (1 - weight) * along.mean()


def at(encoders: Encoders, ids: np.ndarray, scores: np.ndarray) -> np.ndarray:
    """Scores of the samples with these ids."""
    order = np.argsort(encoders.ids)
    return scores[order[np.searchsorted(encoders.ids[order], ids)]]


def compared(
    estimator: Estimator, encoders: Encoders, truth: Encoders, *, count: int | None = None, resamples: int = RESAMPLES
) -> dict[str, Any]:
    """A row: rank correlation and bias with intervals.

    ``count`` are the factors of the package's estimator; None for others, whose intervals are over the truth's seeds and samples alone.
    """
    known, found = difference(truth), at(encoders, truth.ids, estimator(encoders))
    rng, values, errors = np.random.Generator(np.random.Philox(0)), [], []
    own, of_truth = None if count is None else parts(encoders, count), parts(truth, 0)
    for _ in range(resamples):
        x = found if own is None else at(encoders, truth.ids, joined(own[rng.integers(0, len(own), len(own))]))
        y = of_truth[rng.integers(0, len(of_truth), len(of_truth))].sum(1).mean(0)
        samples = rng.integers(0, len(y), len(y))
        # What seeds add to the spread of an estimate, and what samples do, are drawn apart: a sample that is drawn keeps its own errors.
        values.append([stats.spearmanr(x, y)[0], stats.spearmanr(found[samples], known[samples])[0]])
        errors.append([(x - y).mean(), (found - known)[samples].mean()])
    rank = stats.spearmanr(found, known)[0]
    reach = np.nan if not values else 1.96 * np.sqrt((np.arctanh(np.clip(values, -0.999, 0.999)).var(0)).sum())
    bias, bias_reach = (found - known).mean(), np.nan if not values else 1.96 * np.sqrt(np.var(errors, axis=0).sum())
    return {
        "encoders": len(encoders.seed),
        "seeds": len(encoders.seeds),
        "cost": float(encoders.cost.sum()),
        "rank": float(rank),
        "rank_interval": [float(np.tanh(np.arctanh(rank) + side * reach)) for side in (-1, 1)],
        "bias": float(bias),
        "bias_interval": [float(bias - bias_reach), float(bias + bias_reach)],
        "sd": float(found.std(ddof=1)),
    }


def coverage(encoders: Encoders, truth: Encoders, count: int = FACTORS) -> float:
    """Share of 95 % intervals over seeds that hold the truth, the errors over seeds of both considered."""
    found, known = package_scores(encoders, count), package_scores(truth, 0)
    reach = []
    for scores, group in ((found, encoders), (known, truth)):
        variance, degrees = moderate(scores["standard_error_encoders"].values ** 2, len(group.seeds) - 1)
        reach.append(at(group, truth.ids, stats.t.ppf(0.975, degrees) * np.sqrt(variance)))
    error = at(encoders, truth.ids, found[SSLMEM].values) - known[SSLMEM].values
    return float((np.abs(error) <= np.hypot(*reach)).mean())


def reliability(truth: Encoders, halves: Encoders) -> dict[str, float]:
    """The truth itself: its spread, the share of it that other seeds repeat, and other seeds with other views."""

    def by_seed(encoders: Encoders) -> np.ndarray:
        return np.stack([difference(encoders.of(encoders.seed == seed)) for seed in encoders.seeds])

    each = by_seed(truth)
    first, second = by_seed(halves), by_seed(Encoders(halves.other, None, *[getattr(halves, name) for name in _SHARED]))
    variance, error = each.mean(0).var(ddof=1), (each.var(0, ddof=1) / len(each)).mean()
    count = len(each)
    # Covariance of two means over seeds and half of the views each, none in common, from all pairs of seeds.
    total = np.cov(first.mean(0), second.mean(0))[0, 1]
    same = np.mean([np.cov(a, b)[0, 1] for a, b in zip(first, second, strict=True)])
    both = (total - same / count) * count / (count - 1)
    return {
        "samples": each.shape[1],
        "seeds": count,
        "cost": float(truth.cost.sum()),
        "mean": float(each.mean()),
        "sd": float(np.sqrt(variance)),
        "standard_error": float(np.sqrt(error)),
        "reliability": float(1 - error / variance),
        "ceiling_same_views": float(np.sqrt(max(1 - error / variance, 0))),
        "ceiling": float(np.sqrt(max(both, 0) / variance)),
    }


_SHARED = ("out", "place", "ids", "seed", "cost")


def table(work: Path, study: Path, seed: int, resamples: int) -> dict[str, Any]:
    """All rows of one truth, of study seed ``seed``."""
    prefix = f"study{seed}"
    truth, halves = truth_encoders(study)
    facts, rows = reliability(truth, halves), []

    def add(design: str, epochs: int, name: str, estimator: Estimator, encoders: Encoders, count: int | None) -> None:
        row = compared(estimator, encoders, truth, count=count, resamples=resamples)
        row["share_of_ceiling"] = row["rank"] / facts["ceiling"]
        row["coverage"] = coverage(encoders, truth, count) if count is not None else None
        rows.append({"design": design, "epochs": epochs, "estimator": name, **row})

    for folder in sorted(work.glob(f"{prefix}-*")):
        epochs = np.load(next(folder.glob("[0-9]*.npz")))["epochs"]
        for epoch in map(int, epochs):
            encoders, design = work_encoders(folder, epoch, truth.ids), folder.name.removeprefix(f"{prefix}-")
            add(design, epoch, "difference of means", difference, encoders, 0)
            add(design, epoch, "adjusted", adjusted(), encoders, FACTORS)
            if epoch < epochs[-1]:
                continue
            for count in (1, 3, 4):
                add(design, epoch, f"adjusted, {count} factors", adjusted(count), encoders, count)
            for count in (1, 2, 4):
                add(design, epoch, f"{count} factors regressed out", regressed(count), encoders, None)
            add(design, epoch, "ridge on all memberships", ridge, encoders, None)
            add(design, epoch, "lasso on all memberships", lasso(False), encoders, None)
            add(design, epoch, "lasso on the others' memberships", lasso(True), encoders, None)
            checkpoints = [work_encoders(folder, int(each), truth.ids) for each in epochs]
            mean = sum(each.alignment for each in checkpoints) / len(checkpoints)
            averaged = Encoders(mean, None, *[getattr(encoders, name) for name in _SHARED])
            add(design, epoch, "adjusted, mean of three checkpoints", adjusted(), averaged, FACTORS)
            add(
                design, epoch, "adjusted, first checkpoint regressed out", adjusted(), less_early(encoders, checkpoints[0]), FACTORS
            )
            add(design, epoch, "adjusted, towards neighbours", neighbours(image_distances(seed, encoders.ids)), encoders, None)
            add(design, epoch, "others random", others_random(0), encoders, None)
            add(design, epoch, "others random, 2 factors regressed out", others_random(2), encoders, None)
            same = Encoders(encoders.other, None, *[getattr(encoders, name) for name in _SHARED])
            more = Encoders((encoders.alignment + encoders.other) / 2, None, *[getattr(encoders, name) for name in _SHARED])
            add(design, epoch, "adjusted, the truth's own views", adjusted(), same, FACTORS)
            add(design, epoch, "adjusted, twice the views", adjusted(), more, FACTORS)
    # Leave-one-out itself at a tenth of the cost, against the other seeds.
    size = max(1, round(len(truth.seeds) / SHARE))
    groups = [truth.seeds[start : start + size] for start in range(0, len(truth.seeds) - size + 1, size)]
    for name, estimator in (
        ("difference of means", difference),
        ("adjusted", adjusted()),
        ("2 factors regressed out", regressed(2)),
    ):
        ranks = []
        for group in groups:
            own = np.isin(truth.seed, group)
            ranks.append(stats.spearmanr(estimator(truth.of(own)), difference(truth.of(~own)))[0])
        row = {
            "encoders": len(truth.seed) // len(truth.seeds) * size,
            "seeds": size,
            "groups": len(groups),
            "rank": float(np.mean(ranks)),
        }
        rows.append(
            {"design": "leave_one_out", "epochs": 150, "estimator": name, **row, "cost": facts["cost"] * size / len(truth.seeds)}
        )
    return {"truth": facts, "rows": rows}


def write_data(work: Path, studies: list[Path], folder: Path, path: Path) -> None:
    """Write the truths' means and errors by sample and kind of pair of views, and one small set of encoders of the first study."""
    arrays: dict[str, np.ndarray] = {}
    for number, study in enumerate(studies):
        truth, _ = truth_encoders(study)
        arrays[f"sample_{number}"], arrays[f"seeds_{number}"] = truth.ids, np.array(len(truth.seeds))
        for name, chosen in (("clean", [0]), ("views", [1]), ("both", [0, 1])):
            part = Encoders(truth.alignment[..., chosen].mean(2, keepdims=True), None, *[getattr(truth, name) for name in _SHARED])
            each = np.stack([regressed(0)(part.of(part.seed == seed)) for seed in part.seeds])
            arrays[f"mean_{name}_{number}"] = each.mean(0).astype(np.float32)
            arrays[f"error_{name}_{number}"] = (each.std(0, ddof=1) / np.sqrt(len(each))).astype(np.float32)
    encoders = work_encoders(folder, 150, arrays["sample_0"])
    chosen = np.isin(encoders.seed, encoders.seeds[:4])
    few, values = encoders.of(chosen), mean_kinds(encoders.of(chosen))
    for seed in few.seeds:  # what is left are differences of hundredths, which an int16 holds to 1e-5
        values[few.seed == seed] -= values[few.seed == seed].mean(0)
    arrays |= {
        "alignment": np.round(values * 100).astype(np.int16),
        "out": np.packbits(few.out, axis=1),
        "place": few.place,
        "ids": few.ids,
        "seed": few.seed,
    }
    np.savez_compressed(path, **arrays)


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path, help="folder of the trainings")
    parser.add_argument("--truth", type=Path, nargs="+", required=True, help="studies 0, 1, ... with exact leave-one-out")
    parser.add_argument("--resamples", type=int, default=RESAMPLES)
    parser.add_argument("--data", type=Path, help="also write the truths and some encoders of DESIGN to this .npz, for the tests")
    parser.add_argument("--design", default="drop10", help="of the encoders in --data")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = {f"study {number}": table(options.work, study, number, options.resamples) for number, study in enumerate(options.truth)}
    if options.data:
        write_data(options.work, options.truth, options.work / f"study0-{options.design}", options.data)
    if options.json:
        print(json.dumps(found, indent=1))
        return
    for name, part in found.items():
        print(name, part["truth"])
        for row in part["rows"]:
            low, high = row.get("rank_interval", (np.nan, np.nan))
            print(
                f"{row['design']:<26} {row['epochs']:>4} {row['estimator']:<40} {row['encoders']:>5} {row['cost']:>8,.0f} "
                f"{row['rank']:.2f} [{low:.2f}, {high:.2f}] of ceiling {row['rank'] / part['truth']['ceiling']:.2f} "
                f"bias {row.get('bias', np.nan):+.2f} coverage {row.get('coverage') or np.nan:.2f}"
            )


if __name__ == "__main__":
    main()
