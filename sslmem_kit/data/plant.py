"""Planted truth: samples of the train split that are made duplicates, mislabelled, out of distribution or noisy by a fixed rule.

A sample's place in the order in which samples are planted is a hash of (seed, id), so that it hangs on no other sample; its noise comes from
a stream of (seed, kind, id). Kinds are planted before samples are assigned to partitions, which hold each kind in proportion where they are
stratified. A duplicate replaces a sample by a near copy of another one of the train split, the ``original``, which stays as it is and is
marked too: it is no clean sample any more.
"""

from __future__ import annotations

import hashlib
from collections.abc import Callable
from dataclasses import replace
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from sslmem_kit.data.datasets.image_files import Lazy, Noise, pixel_key
from sslmem_kit.errors import UserError
from sslmem_kit.names import PARTITION_CODE, PLANTED_CODE
from sslmem_kit.spec.plant import PlantSpec
from sslmem_kit.spec.seeds import derive_seed

if TYPE_CHECKING:
    from sslmem_kit.data.datasets.dataset import Dataset

CODES = {
    "duplicates": PLANTED_CODE["duplicate"],
    "mislabelled": PLANTED_CODE["mislabelled"],
    "out_of_distribution": PLANTED_CODE["out_of_distribution"],
    "noisy": PLANTED_CODE["noisy"],
}
"""Codes of planted samples, by field of the spec."""
NOISE = 80
"""Standard deviation of the noise of ``noisy``, in grey values of 255."""
NO_ORIGINAL = -1
"""``planted_of`` of samples that are no copies."""


class Overlay:
    """Images of which some are replaced; the others are read from below."""

    def __init__(self, below: Lazy | Noise | Overlay, positions: np.ndarray, images: np.ndarray) -> None:
        """Lay images (m, height, width, channels) over ``positions``, ascending."""
        self.below, self.positions, self.images = below, positions, images
        self.shape = below.shape

    def read(self, positions: np.ndarray) -> np.ndarray:
        """Return the images at ``positions``, uint8 (m, *shape)."""
        out = self.below.read(positions)
        place = np.minimum(np.searchsorted(self.positions, positions), max(len(self.positions) - 1, 0))
        here = self.positions[place] == positions
        out[here] = self.images[place[here]]
        return out


def plant(dataset: Dataset, spec: PlantSpec, *, seed: int) -> Dataset:
    """Return a data set with planted samples in its train split.

    Parameters
    ----------
    dataset
        As it was read; it is not changed.
    spec
        Numbers of planted samples.
    seed
        Of the study, or derived from it.

    Returns
    -------
    The data set with other pixels, labels, keys and fingerprint, ``planted`` (the codes of :data:`sslmem_kit.names.PLANTED`) and
    ``planted_of``, the id of the sample that a duplicate copies, -1 of others.

    Raises
    ------
    UserError
        More samples are asked for than the train split has, or there is one class and labels are to be changed.
    """
    train = np.flatnonzero(~dataset.is_test)
    counts = spec.counts(len(train))
    needed = sum(counts.values()) + counts["duplicates"]
    if needed > len(train):
        raise UserError(
            f"data.plant: {needed:,} samples are needed, originals of duplicates among them, the train split has {len(train):,}; plant fewer"
        )
    if counts["mislabelled"] and len(dataset.class_names) < 2:
        raise UserError("data.plant.mislabelled: the data have one class, at least two are needed; leave it out")
    order = train[np.argsort(hashed(dataset.ids[train], derive_seed(seed, "planted order")), kind="stable")]
    parts = np.split(order[:needed], np.cumsum([*counts.values()]))
    planted, of = np.zeros(len(dataset), np.int8), np.full(len(dataset), NO_ORIGINAL, np.int64)
    for name, positions in zip(counts, parts, strict=False):
        planted[positions] = CODES[name]
    copies, originals = parts[0], parts[-1]
    planted[originals], of[copies] = PLANTED_CODE["original"], dataset.ids[originals]

    labels = dataset.labels.copy()
    labels[copies] = labels[originals]
    labels[parts[1]] = _other_classes(labels[parts[1]], dataset.ids[parts[1]], len(dataset.class_names), seed)
    source = np.arange(len(dataset))
    source[copies] = originals
    changed = np.sort(np.concatenate([parts[0], parts[2], parts[3]]))
    images = dataset.read(dataset.ids[source[changed]])
    for image, position in zip(images, changed, strict=True):
        make = _MAKE[int(planted[position])]
        image[:] = make(
            image, np.random.Generator(np.random.Philox(derive_seed(seed, "planted", make.__name__, int(dataset.ids[position]))))
        )
    keys = None if dataset.keys is None else dataset.keys.copy()
    if keys is not None:
        keys[changed] = [pixel_key(np.ascontiguousarray(image)) for image in images]
    return replace(
        dataset,
        labels=labels,
        pixels=_replaced(dataset, changed, images),
        keys=keys,
        planted=planted,
        planted_of=of,
        fingerprint=_fingerprint(dataset, planted, of, labels, images),
        record={**dataset.record, "planted": {name: counts[name] for name in counts if counts[name]}},
    )


def strata(dataset: Dataset) -> np.ndarray:
    """Return the classes by which partitions are stratified, (sample,): a sample's class, or the kind that was planted."""
    if dataset.planted is None:
        return dataset.labels
    made = (dataset.planted > 0) & (dataset.planted != PLANTED_CODE["original"])
    return np.where(made, len(dataset.class_names) + dataset.planted, dataset.labels)


def by_partition(planted: np.ndarray, codes: np.ndarray) -> dict[str, dict[str, int]]:
    """Count the planted samples by kind and by partition; kinds and partitions without any are left out.

    Examples
    --------
    >>> by_partition(np.array([0, 1, 1, 5]), np.array([1, 1, 0, 0]))
    {'duplicate': {'shared': 1, 'candidate': 1}, 'original': {'shared': 1}}
    """
    table = {
        kind: {name: int(((planted == code) & (codes == part)).sum()) for name, part in PARTITION_CODE.items()}
        for kind, code in PLANTED_CODE.items()
        if code
    }
    there = {kind: {name: count for name, count in row.items() if count} for kind, row in table.items()}
    return {kind: row for kind, row in there.items() if row}


def hashed(ids: np.ndarray, seed: int) -> np.ndarray:
    """Return a hash of each id with a seed, (sample,) uint64, by splitmix64.

    Examples
    --------
    >>> hashed(np.array([0]), 0), hashed(np.arange(3), 1).tolist() == hashed(np.arange(3), 1).tolist()
    (array([16294208416658607535], dtype=uint64), True)
    """
    z = ids.astype(np.uint64) * np.uint64(0x9E3779B97F4A7C15) + np.uint64((seed + 0x9E3779B97F4A7C15) % 2**64)
    z = (z ^ (z >> np.uint64(30))) * np.uint64(0xBF58476D1CE4E5B9)
    z = (z ^ (z >> np.uint64(27))) * np.uint64(0x94D049BB133111EB)
    return z ^ (z >> np.uint64(31))


def near_copies(images: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return near copies of images, uint8 (n, height, width, channels): brightness changed by up to 5 %, normal noise of 6 grey values.

    Examples
    --------
    >>> near_copies(np.full((1, 2, 2, 1), 100, np.uint8), np.random.default_rng(0)).shape
    (1, 2, 2, 1)
    """
    noisy = images * rng.uniform(0.95, 1.05, (len(images), 1, 1, 1)) + rng.normal(0, 6, images.shape)
    return np.clip(np.rint(noisy), 0, 255).astype(np.uint8)


def _near_copy(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return near_copies(image[None], rng)[0]


def _noisy(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    return np.clip(np.rint(image + rng.normal(0, NOISE, image.shape)), 0, 255).astype(np.uint8)


def _photograph(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Square piece of one of the two photographs of scikit-learn's package, of any size and place, in the size and channels of an image."""
    photograph = _photographs()[rng.integers(2)]
    height, width, channels = image.shape
    side = int(rng.integers(min(height, 64), min(photograph.shape[:2]) + 1))
    top, left = (rng.integers(size - side + 1) for size in photograph.shape[:2])
    piece = Image.fromarray(photograph[top : top + side, left : left + side]).convert("L" if channels == 1 else "RGB")
    return np.asarray(piece.resize((width, height), Image.Resampling.BILINEAR), np.uint8).reshape(image.shape)


def _photographs() -> list[np.ndarray]:
    from sklearn.datasets import load_sample_images

    if not _cache:
        _cache.extend(load_sample_images().images)
    return _cache


_cache: list[np.ndarray] = []
_MAKE: dict[int, Callable[[np.ndarray, np.random.Generator], np.ndarray]] = {
    PLANTED_CODE["duplicate"]: _near_copy,
    PLANTED_CODE["out_of_distribution"]: _photograph,
    PLANTED_CODE["noisy"]: _noisy,
}


def _other_classes(labels: np.ndarray, ids: np.ndarray, classes: int, seed: int) -> np.ndarray:
    """Another class of each sample, all others with equal probability."""
    step = 1 + hashed(ids, derive_seed(seed, "planted label")) % np.uint64(max(classes - 1, 1))
    return (labels + step.astype(np.int64)) % classes


def _replaced(dataset: Dataset, positions: np.ndarray, images: np.ndarray) -> Any:
    if isinstance(dataset.pixels, np.ndarray):
        pixels = dataset.pixels.copy()
        pixels[positions] = images
        return pixels
    return Overlay(dataset.pixels, positions, images)


def _fingerprint(dataset: Dataset, planted: np.ndarray, of: np.ndarray, labels: np.ndarray, images: np.ndarray) -> str:
    parts = (
        dataset.fingerprint.encode(),
        planted.tobytes(),
        of.astype("<i8").tobytes(),
        labels.astype("<i8").tobytes(),
        images.tobytes(),
    )
    return hashlib.sha256(b"".join(parts)).hexdigest()
