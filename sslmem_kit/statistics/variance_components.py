"""Scores crossed, samples x views x seeds, from which the parts of the error are estimated, and their halves.

An entry is the distance of a pair of views under family g minus that under family f, of one seed: the score is its mean.
"""

from __future__ import annotations

import itertools
from collections.abc import Sequence
from dataclasses import dataclass, replace
from typing import Literal

import numpy as np
import xarray as xr

from sslmem_kit.errors import UserError, join_names, near
from sslmem_kit.names import ALIGNMENT, AUGMENTATION, ENCODER, PARTITION_CODE, SAMPLE
from sslmem_kit.scores import of_pairs, pair_noise, select_protocol, view_weights, whole_seeds
from sslmem_kit.statistics.precision import VarianceComponents

SPLITS = 100
"""Random halvings, at most."""
MIN_ORDERED_SAMPLES = 10
"""Samples below which nothing is said of their order."""
EQUAL = 1e-9
"""Range of scores, as a share of the largest difference, below which they are equal but for rounding."""


@dataclass(frozen=True)
class CrossedScores:
    """Differences of the pairs of encoders of every seed, g minus f, by pair of views, of the samples of one partition that have all.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> crossed = CrossedScores.of(_example.results())
    >>> crossed.n, crossed.seeds, crossed.views, crossed.differences.shape
    (10, 3, 4, (10, 10, 3))
    >>> len(crossed.split_halves("seeds"))
    3
    """

    differences: np.ndarray
    """(sample, augmentation, seed)."""
    view_a: np.ndarray
    view_b: np.ndarray
    protocol: str
    left_out: tuple[str, ...] = ()
    """Ids of the encoders whose seed has no encoder of the other family, or several."""

    @classmethod
    def of(cls, results: xr.Dataset, protocol: str = "corrected", partition: str = "candidate") -> CrossedScores:
        """Crossed scores of the root of a results store, of the seeds that have one encoder of f and one of g; without seeds where none
        has.

        Raises
        ------
        UserError
            An unknown protocol or partition, or a store without partitions.
        """
        if partition not in PARTITION_CODE:
            hint = near(partition, PARTITION_CODE)
            raise UserError(f"partition: there is none named {partition!r}, choose one of {', '.join(PARTITION_CODE)}{hint}")
        if "partition" not in results.coords:
            raise UserError("reliability is of the order of a partition's samples, this store has no partitions")
        results = of_pairs(results)
        chosen = np.flatnonzero(results["partition"].values == PARTITION_CODE[partition])
        alignment = select_protocol(results[ALIGNMENT], protocol).transpose(SAMPLE, AUGMENTATION, ENCODER)
        f, g, rest = whole_seeds(alignment["family"].values, alignment["seed"].values)
        left_out = tuple(str(name) for name in results[ENCODER].values[rest])
        values = alignment[chosen].values.astype(np.float64)
        values = values[np.isfinite(values).all(axis=(1, 2))]
        return cls(values[..., g] - values[..., f], alignment["view_a"].values, alignment["view_b"].values, protocol, left_out)

    @property
    def nbytes(self) -> int:
        """Size of the differences in bytes."""
        return self.differences.nbytes

    @property
    def n(self) -> int:
        """Number of samples."""
        return len(self.differences)

    @property
    def seeds(self) -> int:
        """Number of pairs of encoders."""
        return self.differences.shape[2]

    @property
    def views(self) -> int:
        """Number of random views."""
        return len(self._views)

    @property
    def _views(self) -> np.ndarray:
        return np.setdiff1d(np.union1d(self.view_a, self.view_b), [0])

    def only(self, *, seeds: Sequence[int] | None = None, views: Sequence[int] | None = None) -> CrossedScores:
        """Crossed scores of these seeds (positions) and these random views alone."""
        differences = self.differences if seeds is None else self.differences[..., list(seeds)]
        if views is None:
            return replace(self, differences=differences)
        kept = np.isin(self.view_a, [0, *views]) & np.isin(self.view_b, [0, *views])
        return replace(self, differences=differences[:, kept], view_a=self.view_a[kept], view_b=self.view_b[kept])

    def by_seed(self) -> np.ndarray:
        """Scores of each seed alone, (sample, seed)."""
        return np.einsum("npz,p->nz", self.differences, view_weights(self.view_a, self.view_b)[0])

    def scores(self) -> np.ndarray:
        """Scores of all seeds together, (sample,)."""
        return self.by_seed().mean(axis=1)

    def parts(self, weights: np.ndarray | None = None) -> VarianceComponents:
        """Variance components, or those of bootstrap samples: ``weights`` (resample, sample), how often each is in it.

        Those of the views are NaN where leaving one out leaves nothing. What views do is then in the others: these hold for the views of
        this table and for no other number.
        """
        samples, seeds, views = self.n, self.seeds, self.views
        if samples < 2 or seeds < 2:
            return VarianceComponents(*(np.nan,) * 5)
        weights = np.ones((1, samples)) if weights is None else weights
        pairs = view_weights(self.view_a, self.view_b)
        means = np.einsum("npz,kp->nzk", self.differences, pairs)
        whole, without = means[..., 0], means[..., 1:]
        factor = (views - 1) / views if without.size else np.nan
        # Sums of squared deviations of views, under each seed and of their mean over seeds.
        of_mean = factor * (without.mean(axis=1) ** 2).sum(axis=1)
        between = factor * ((without - without.mean(axis=1, keepdims=True)) ** 2).sum(axis=(1, 2)) / (seeds * (seeds - 1))
        of_pairs, own, excess = self._noise_of_pairs()
        columns = np.stack(
            [whole.mean(axis=1), whole.mean(axis=1) ** 2, (whole**2).sum(axis=1), of_mean, between, *of_pairs.T], axis=1
        )
        score, square, squares, over_views, interaction, all_pairs, pairs = (weighted_sums(weights, columns) / samples).T
        of_seeds = weighted_sums(weights, whole) / samples
        bessel = samples / (samples - 1)
        # Of sample x seed, with the offset of each seed, its mean over samples, taken out.
        spread = bessel * (squares - seeds * square - (of_seeds**2).sum(axis=1) + seeds * score**2) / (seeds - 1)
        # The jackknife counts what belongs to pairs of views too often.
        interaction = np.nan_to_num(interaction) - excess * pairs
        over_views = np.nan_to_num(over_views) - excess * all_pairs
        error = spread / seeds + over_views - interaction
        unknown = np.full(len(weights), np.nan)
        parts = VarianceComponents(
            score=bessel * (square - score**2) - error,
            seeds=spread - seeds * interaction,
            views=views * (over_views - interaction) if without.size else unknown,
            interaction=seeds * views * (interaction - own * pairs) if without.size else unknown,
            offset=of_seeds.var(axis=1, ddof=1) - spread / samples,
            pairs=seeds * pairs * own * views * (views - 1) / 2 if without.size else unknown,
        )
        return parts if len(weights) > 1 else VarianceComponents(*(float(value[0]) for value in vars(parts).values()))

    def _noise_of_pairs(self) -> tuple[np.ndarray, float, float]:
        """Variances of what pairs of random views do beyond their views, of the mean over seeds and in it of seeds, (sample, 2); and what of
        them is in the variance of a score, and counted too much by its jackknife, of :func:`sslmem_kit.scores.pair_noise`.
        """
        noise = pair_noise(self.view_a, self.view_b)
        if noise is None:
            return np.zeros((self.n, 2)), 0.0, 0.0
        beyond = np.einsum("npz,pk->nkz", self.differences, noise.residuals)
        mean = beyond.mean(axis=2, keepdims=True)
        of_mean, of_seeds = ((part**2).sum(axis=(1, 2)) / noise.degrees for part in (mean, beyond - mean))
        return np.stack([of_mean, of_seeds / (self.seeds * (self.seeds - 1))], axis=1), noise.own, noise.excess

    def split_halves(self, over: Literal["seeds", "views"]) -> list[tuple[np.ndarray, np.ndarray]]:
        """Scores from two halves of the seeds, or of the random views under all seeds, for each way to halve them.

        Returns
        -------
        Pairs of scores, (sample,) each; none where there is nothing to halve.
        """
        if over == "seeds":
            by_seed = self.by_seed()
            return [(by_seed[:, one].mean(axis=1), by_seed[:, other].mean(axis=1)) for one, other in _halvings(self.seeds)]
        if not self.seeds or self.views < (2 if self.protocol == "released" else 4):
            return []
        return [
            (self.only(views=self._views[one]).scores(), self.only(views=self._views[other]).scores())
            for one, other in _halvings(self.views)
        ]

    def unknown(self) -> list[str]:
        """Sentences on what cannot be known from so little."""
        sentences = []
        if self.n < MIN_ORDERED_SAMPLES:
            sentences.append(f"{self.n} samples are too few to say how reliably they are ordered")
        if self.seeds and self.left_out:
            sentences.append(f"left out, for their seed has not one encoder of f and one of g: {join_names(list(self.left_out))}")
        if not self.seeds:
            sentences.append(
                "reliability rests on seeds with one encoder of f and one of g each, these are no such pairs: nothing is known of the order "
                "(in an audit, an f and a g that were trained alike have the same `seed`)"
            )
        elif self.seeds < 2:
            sentences.append("the error over seeds, and so the reliability, cannot be told from one seed")
        if self.n > 1 and self.seeds and np.ptp(self.scores()) <= EQUAL * np.abs(self.differences).max():
            sentences.append("all scores are equal, as those of identical or collapsed encoders are: they have no order")
        if len(view_weights(self.view_a, self.view_b)) < 2:
            same = "one view" if self.views == 1 else f"{self.views} views"
            sentences.append(
                f"the error over views cannot be told from {same} and is taken for score: the numbers are of other seeds with the same {same}"
            )
        return sentences


def weighted_sums(weights: np.ndarray, values: np.ndarray) -> np.ndarray:
    """``weights @ values``, of small integers that are made floats a few rows at a time: (resample, sample), (sample, k) -> (resample, k).

    Examples
    --------
    >>> weighted_sums(np.array([[1, 2]], np.uint16), np.array([[10.0], [1.0]]))
    array([[12.]])
    """
    return np.concatenate([weights[start : start + 50].astype(float) @ values for start in range(0, len(weights), 50)])


def _halvings(count: int) -> list[tuple[np.ndarray, np.ndarray]]:
    """Disjoint halves of ``count`` things, all ways where they are few, else random ones; of an odd number one is left out in turn."""
    half = count // 2
    if not half:
        return []
    if count <= 8:
        ways = [
            (np.array(one), np.array(other))
            for one in itertools.combinations(range(count), half)
            for other in itertools.combinations(sorted(set(range(count)) - set(one)), half)
            if one < other
        ]
        if len(ways) <= SPLITS:
            return ways
    rng = np.random.Generator(np.random.Philox(count))
    orders = [rng.permutation(count) for _ in range(SPLITS)]
    return [(order[:half], order[half : 2 * half]) for order in orders]
