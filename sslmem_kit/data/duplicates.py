"""Near-duplicates of a data set: exact copies by a hash of the pixels, near ones by a perceptual hash and by nearest neighbours.

Candidates come from two indices: a perceptual hash of 64 bits, cut into bands (images that share a band meet in a bucket), and a k-d tree over
the principal components of a reference representation, by default the cosine transform of thumbnails. A candidate pair is a pair of *twins*
where the distance of its thumbnails (:func:`sslmem_kit.data.thumbnails.distances`) is below two thresholds: what 95 % of weakly augmented views
keep to their own image, and a quarter of what both images keep to a far neighbour among some thousand others, so that the images of a
class that all look alike are not twins. That neighbour is the 24th, or the 48th, 96th, ... until it is farther than views are: a group of
copies of any size, up to all images, does not stand for its own surroundings. Twins of twins are one group.

Nothing grows faster than the number of images: each takes about a kilobyte, a crowded bucket is compared along a sorted order only, and
the tree gives a fixed number of neighbours. Torch is not needed.
"""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import dataclass, field, replace
from typing import Any

import numpy as np
import scipy  # its parts come on first use

from sslmem_kit.data.thumbnails import Thumbnails, distances, perceptual_hashes, thumbnails, transformed, weak_view
from sslmem_kit.errors import UserError

Read = Callable[[np.ndarray], np.ndarray]
"""Function from positions (m,) to images, uint8 (m, y, x, channel)."""
Progress = Callable[[int, int], None]

BLOCK = 4096
"""Images, or pairs, that are worked on at a time."""
BANDS, BUCKET, BITS_APART = 4, 16, 16
"""Bands of a hash; images of a bucket that each one is compared with, next in order; and the most bits in which candidates differ."""
COMPONENTS, NEIGHBOURS, FITTED = 16, 8, 20_000
"""Principal components of the tree, neighbours that are candidates, and samples that the components are fitted to."""
VIEWED, VIEWS_KEPT = 1024, 0.95
"""Images whose views set the threshold, and the share of views that is to be found again."""
OTHERS, RANK, RATIO, DIMENSION = 4096, 24, 0.25, 12
"""Images that stand for all others; the first neighbour among them that twins are nearer than, and by how much; the dimension by which
distances to the nearest of more images shrink."""
EXACT, BY_HASH, BY_NEIGHBOURS = 1, 2, 4
"""Bits of :attr:`Twins.by`."""


@dataclass(frozen=True, eq=False)
class Twins:
    """Near-duplicates of a data set.

    Attributes
    ----------
    first, second
        Positions of the two of each pair, (pair,) int64, first < second; of exact copies the first one is paired with each other.
    distance
        Their distance, (pair,) float32; 0 of exact copies.
    by
        What found them, (pair,) uint8: a sum of ``EXACT``, ``BY_HASH`` and ``BY_NEIGHBOURS``.
    group
        Position of the first member of each sample's group, (sample,) int64; its own where it has no twin.
    threshold
        Largest distance of any pair: what views keep.
    """

    first: np.ndarray
    second: np.ndarray
    distance: np.ndarray
    by: np.ndarray
    group: np.ndarray
    threshold: float
    facts: dict[str, Any] = field(default_factory=dict)

    @property
    def has_twin(self) -> np.ndarray:
        """Return whether each sample has a twin, (sample,) bool."""
        return np.bincount(self.group, minlength=len(self.group))[self.group] > 1


def find_twins(read: Read, count: int, *, keys: np.ndarray | None = None, seed: int = 0, progress: Progress | None = None) -> Twins:
    """Find the near-duplicates among images.

    Parameters
    ----------
    read
        Reads images.
    count
        Number of images.
    keys
        Equal for equal images, (sample,), :func:`sslmem_kit.data.datasets.image_files.pixel_key`; None: exact copies are found as near
        ones are.
    seed
        Seed of the views and of the images that stand for all others.
    progress
        Called as ``progress(done, total)``, in steps of the work, of which there are three an image.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> images = rng.integers(0, 256, (200, 16, 16, 1), dtype=np.uint8)
    >>> images[150] = np.clip(images[3].astype(int) + rng.integers(-5, 6, (16, 16, 1)), 0, 255)
    >>> twins = find_twins(images.__getitem__, len(images))
    >>> twins.first.tolist(), twins.second.tolist(), int(twins.group[150])
    ([3], [150], 3)
    """
    steps = _Steps(progress, 3 * count)
    of_exact, kept = _exact(keys, count)
    made, hashes, features = _described(read, kept, steps)
    viewed, views = _views(read, kept, seed)
    views = replace(views, level=made.level[viewed])  # a view may be brighter, a twin of a flat image is not
    keep = distances(made[viewed], views)
    limit = float(np.quantile(keep, VIEWS_KEPT)) if len(keep) else 0.0
    space = _principal(features, seed)
    reach = (
        np.quantile(np.linalg.norm(space(transformed(views.grey)) - space(features[viewed]), axis=1), 0.99) if len(keep) else 0.0
    )
    own = _to_others(space, features, made, limit, seed, steps)

    def confirm(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        bound = np.minimum(own[first], own[second])
        # The rough distance is never much smaller than the exact one: it rules out most pairs.
        apart = distances(made[first], made[second], exactly=False)
        near = np.flatnonzero(apart <= np.maximum(3 * bound, 1e-6))
        apart[near] = distances(made[first[near]], made[second[near]])
        return np.where(apart <= bound, apart, np.inf)

    found = _Pairs(confirm)
    for band in range(BANDS):
        _same_band(hashes, band, found)
    _flat(made.level, found)
    _neighbours(space, features, float(reach), found, steps)
    first, second, distance, by = found.collected()
    first, second = kept[first], kept[second]
    pairs = (
        np.concatenate([of_exact[0], first]),
        np.concatenate([of_exact[1], second]),
        np.concatenate([np.zeros(len(of_exact[0]), np.float32), distance]),
        np.concatenate([np.full(len(of_exact[0]), EXACT, np.uint8), by]),
    )
    facts = {
        "images": count,
        "views": len(keep),
        "views_kept": float((keep <= own[viewed]).mean()) if len(keep) else None,
        "threshold": limit,
    }
    order = np.lexsort((pairs[1], pairs[0]))
    first, second, distance, by = (column[order] for column in pairs)
    return Twins(first, second, distance, by, groups_of_pairs(first, second, count), limit, facts)


def twins_by_features(features: np.ndarray, viewed: np.ndarray, view_features: np.ndarray, *, seed: int = 0) -> Twins:
    """Find the near-duplicates by the representations of a reference encoder, of which thumbnails know nothing.

    Parameters
    ----------
    features
        Representation of each sample, (sample, feature); compared by the l2 distance of l2-normalized ones.
    viewed, view_features
        Samples, (view,) positions, and the representation of an augmented view of each, (view, feature): they set the threshold.
    seed
        Seed of the samples that stand for all others.

    Examples
    --------
    >>> rng = np.random.default_rng(0)
    >>> features = rng.normal(size=(300, 32))
    >>> features[200] = features[5] + rng.normal(0, 0.02, 32)
    >>> views = features[:50] + rng.normal(0, 0.02, (50, 32))
    >>> twins = twins_by_features(features, np.arange(50), views)
    >>> twins.first.tolist(), twins.second.tolist()
    ([5], [200])
    """
    if features.ndim != 2 or view_features.shape != (len(viewed), features.shape[1]):
        raise UserError(
            f"view_features has the shape {view_features.shape}, ({len(viewed)}, {features.shape[-1]}) is needed: a view of each of viewed"
        )
    units, views = (_unit(values) for values in (features, view_features))
    keep = np.linalg.norm(views - units[viewed], axis=1)
    limit = float(np.quantile(keep, VIEWS_KEPT))
    space = _principal(units, seed)
    steps = _Steps(None, 0)
    own = _to_others(space, units, units, limit, seed, steps)

    def confirm(first: np.ndarray, second: np.ndarray) -> np.ndarray:
        apart = np.linalg.norm(units[first] - units[second], axis=1)
        return np.where(apart <= np.minimum(own[first], own[second]), apart, np.inf).astype(np.float32)

    found = _Pairs(confirm)
    _neighbours(space, units, limit, found, steps)
    pairs = found.collected()
    facts = {"images": len(units), "views": len(keep), "views_kept": float((keep <= own[viewed]).mean()), "threshold": limit}
    return Twins(*pairs, groups_of_pairs(*pairs[:2], len(units)), limit, facts)


def groups_of_pairs(first: np.ndarray, second: np.ndarray, count: int) -> np.ndarray:
    """Return the group of each of ``count`` samples, the position of its first member: twins of twins are one group.

    Examples
    --------
    >>> groups_of_pairs(np.array([1, 3]), np.array([3, 4]), 6)
    array([0, 1, 2, 1, 1, 5])
    """
    links = scipy.sparse.coo_array((np.ones(len(first), bool), (first, second)), shape=(count, count))
    _, group = scipy.sparse.csgraph.connected_components(links, directed=False)
    members = np.unique(group, return_index=True)[1] if count else np.empty(0, np.int64)
    return members[group].astype(np.int64)


class _Steps:
    """Progress of the search, in steps."""

    def __init__(self, progress: Progress | None, total: int) -> None:
        self.progress, self.total, self.done = progress, total, 0

    def add(self, count: int) -> None:
        self.done += count
        if self.progress is not None:
            self.progress(min(self.done, self.total), self.total)


class _Pairs:
    """Pairs that are confirmed, a block at a time."""

    def __init__(self, confirm: Callable[[np.ndarray, np.ndarray], np.ndarray]) -> None:
        self.confirm = confirm
        self.parts: list[tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]] = []

    def offer(self, first: np.ndarray, second: np.ndarray, by: int) -> None:
        """Confirm pairs, given in any order."""
        first, second = np.minimum(first, second), np.maximum(first, second)
        for start in range(0, len(first), BLOCK):
            one, other = first[start : start + BLOCK], second[start : start + BLOCK]
            apart = self.confirm(one, other)
            near = np.isfinite(apart)
            self.parts.append((one[near], other[near], apart[near].astype(np.float32), np.full(near.sum(), by, np.uint8)))

    def collected(self) -> tuple[np.ndarray, np.ndarray, np.ndarray, np.ndarray]:
        """Return first, second, distance and by of all pairs, each once, in ascending order."""
        if not self.parts:
            return np.empty(0, np.int64), np.empty(0, np.int64), np.empty(0, np.float32), np.empty(0, np.uint8)
        first, second, apart, by = (np.concatenate(column) for column in zip(*self.parts, strict=True))
        pairs, index, place = np.unique(np.stack([first, second], axis=1), axis=0, return_index=True, return_inverse=True)
        joined = np.zeros(len(pairs), np.uint8)
        np.bitwise_or.at(joined, place.ravel(), by)
        return pairs[:, 0], pairs[:, 1], apart[index], joined


def _exact(keys: np.ndarray | None, count: int) -> tuple[tuple[np.ndarray, np.ndarray], np.ndarray]:
    """Return the pairs of exact copies, and the first of each, which stand for them: ascending positions."""
    if keys is None:
        return (np.empty(0, np.int64), np.empty(0, np.int64)), np.arange(count)
    _, first, place = np.unique(keys, return_index=True, return_inverse=True)
    copies = np.flatnonzero(first[place] != np.arange(count))
    return (first[place][copies], copies), np.sort(first)


def _described(read: Read, kept: np.ndarray, steps: _Steps) -> tuple[Thumbnails, np.ndarray, np.ndarray]:
    """Return thumbnails, hashes and cosine transforms of images, read a block at a time."""
    parts = []
    for start in range(0, len(kept), BLOCK // 4):
        chosen = kept[start : start + BLOCK // 4]
        made = thumbnails(read(chosen))
        parts.append((made.grey, made.colour, made.level, perceptual_hashes(made.grey), transformed(made.grey).astype(np.float16)))
        steps.add(len(chosen))
    grey, colour, level, hashes, features = (np.concatenate(column) for column in zip(*parts, strict=True))
    return Thumbnails(grey, colour, level), hashes, features


def _views(read: Read, kept: np.ndarray, seed: int) -> tuple[np.ndarray, Thumbnails]:
    """Return the places of some images in ``kept``, and the thumbnails of a weak view of each."""
    rng = np.random.Generator(np.random.Philox(seed))
    viewed = np.sort(rng.permutation(len(kept))[:VIEWED])
    return viewed, thumbnails(np.stack([weak_view(image, rng) for image in read(kept[viewed])]))


def _principal(features: np.ndarray, seed: int) -> Callable[[np.ndarray], np.ndarray]:
    """Return the projection of features, (sample, feature), on their leading principal components, which shortens distances or keeps them."""
    chosen = np.random.Generator(np.random.Philox([seed, 1])).permutation(len(features))[:FITTED]
    some = features[np.sort(chosen)].astype(np.float32)
    mean = some.mean(axis=0)
    axes = np.linalg.eigh(np.cov(some - mean, rowvar=False) if len(some) > 1 else np.eye(some.shape[1]))[1][:, ::-1][:, :COMPONENTS]
    axes = axes.astype(np.float32)
    return lambda values: (values.astype(np.float32) - mean) @ axes


def _to_others(
    space: Callable[[np.ndarray], np.ndarray], features: np.ndarray, made: Any, limit: float, seed: int, steps: _Steps
) -> np.ndarray:
    """Return the largest distance that twins of each sample may have, (sample,) float32: ``limit``, or what unrelated samples have.

    The latter is a share of the distance to a far neighbour among some others, which shrinks with the number of all. What is not farther
    than ``limit`` may be a twin and is passed over; where that are all others, nothing but ``limit`` is known.
    """
    count = len(features)
    others = np.sort(np.random.Generator(np.random.Philox([seed, 2])).permutation(count)[:OTHERS])
    bound = np.full(count, limit, np.float32)
    if len(others) < 3:
        return bound
    points = space(features[others])
    squares = (points**2).sum(axis=1)
    shrinks = RATIO * (len(others) / count) ** (1 / DIMENSION)
    far = sorted({min(RANK << step, len(others) - 1) for step in range(1 + (len(others) // RANK).bit_length())})
    # Of rank 0 is the sample itself, where it is one of the others; elsewhere one rank more or less does not matter.
    ranks = [np.arange(max(1, rank - 4), rank + 1) for rank in far]
    for start in range(0, count, BLOCK // 16):
        left = np.arange(start, min(start + BLOCK // 16, count))
        steps.add(len(left))
        rough = squares - 2 * space(features[left]) @ points.T  # squared distance, but for a constant of each sample
        for places in ranks:
            found = others[np.argpartition(rough, places, axis=1)[:, places]]
            apart = np.median([_rough(made, left, column) for column in found.T], axis=0)
            beyond = apart > limit
            bound[left[beyond]] = np.minimum(shrinks * apart[beyond], limit)
            left, rough = left[~beyond], rough[~beyond]
            if not len(left):
                break
    return bound


def _rough(made: Any, first: np.ndarray, second: np.ndarray) -> np.ndarray:
    if isinstance(made, Thumbnails):
        return distances(made[first], made[second], exactly=False)
    return np.linalg.norm(made[first] - made[second], axis=1)


def _same_band(hashes: np.ndarray, band: int, found: _Pairs) -> None:
    """Offer the pairs that share 16 bits: of a crowded bucket those that are near in the order of the other bits."""
    width = np.uint64(64 // BANDS)
    turn = np.uint64(band) * width
    turned = (hashes << turn) | (hashes >> (np.uint64(64) - turn)) if band else hashes
    order = np.argsort(turned, kind="stable")
    ascending = turned[order]
    bucket = ascending >> (np.uint64(64) - width)
    for step in range(1, BUCKET + 1):
        here = np.flatnonzero(bucket[step:] == bucket[:-step])
        near = np.bitwise_count(ascending[here] ^ ascending[here + step]) <= BITS_APART
        found.offer(order[here[near]], order[here[near] + step], BY_HASH)


def _flat(level: np.ndarray, found: _Pairs) -> None:
    """Offer the images without a contrast that are next to each other in brightness: they have no features to be found by."""
    flat = np.flatnonzero(level[:, 1] > 0)
    order = flat[np.argsort(level[flat, 0], kind="stable")]
    for step in range(1, BUCKET + 1):
        found.offer(order[:-step], order[step:], BY_NEIGHBOURS)


def _neighbours(
    space: Callable[[np.ndarray], np.ndarray], features: np.ndarray, reach: float, found: _Pairs, steps: _Steps
) -> None:
    """Offer each sample with its nearest ones, not farther than ``reach``."""
    points = np.concatenate([space(features[start : start + BLOCK]) for start in range(0, len(features), BLOCK)])
    tree = scipy.spatial.cKDTree(points)
    for start in range(0, len(points), BLOCK):
        part = np.arange(start, min(start + BLOCK, len(points)))
        near = tree.query(points[part], k=np.arange(1, NEIGHBOURS + 2), distance_upper_bound=reach, workers=-1)[1]
        one, other = np.repeat(part, near.shape[1]), near.ravel()
        real = (other < len(points)) & (other != one)
        one, other = one[real], other[real]
        found.offer(one, other, BY_NEIGHBOURS)
        steps.add(len(part))


def _unit(values: np.ndarray) -> np.ndarray:
    values = values.astype(np.float32)
    return values / np.maximum(np.linalg.norm(values, axis=1, keepdims=True), 1e-12)
