"""The bundled scene set: digits that stand on textured grounds, near and far, with a class and a depth at every pixel.

Digits are scikit-learn's, those of the test scenes ones that no train scene shows. A digit's size is inverse to its depth, nearer ones hide
farther ones, and the ground rises from 4 m at the lower edge to 10 m at the upper one.
"""

from __future__ import annotations

import numpy as np
from PIL import Image

from sslmem_kit.data.datasets.builtin import digits
from sslmem_kit.data.datasets.dense_pairs import DensePairs, Pair
from sslmem_kit.data.datasets.test_split import stratified_test_split
from sslmem_kit.spec.data import DataSpec
from sslmem_kit.spec.dense import DenseDataSpec

TRAIN, TEST = 480, 160
"""Scenes where the spec gives no number."""
GROUND = "ground"
NEAR, FAR = 1.0, 4.0
"""Depths between which digits stand, in metres, uniform in their inverse."""
SIZE = 0.55
"""Side of a digit at 1 m, as a share of the image's side."""
INK = 0.35
"""Share of full ink from which a pixel belongs to its digit."""


def scenes(spec: DenseDataSpec, task: str, *, held_out_seed: int = 0) -> DensePairs:
    """Return scenes, rendered when they are read: scene i is a function of (``spec.seed``, ``spec.image_size``, i) and the digits alone.

    Parameters
    ----------
    spec
        ``train``, ``test``, ``image_size`` and ``seed`` count.
    task
        ``segmentation``: classes 0 (ground) and 1 to 10 (digits 0 to 9); ``depth``: metres.
    held_out_seed
        Seed of the stratified fifth of the digits that test scenes are made of: what a study of that seed holds out of ``digits``.

    Examples
    --------
    >>> pairs = scenes(DenseDataSpec(name="scenes", image_size=32, train=3, test=2), "segmentation")
    >>> image, mask = pairs.read(0)
    >>> image.shape, mask.shape, len(pairs.class_names), pairs.is_test.tolist()
    ((32, 32, 3), (32, 32), 11, [False, False, False, True, True])
    """
    of_digits = DataSpec.model_validate({"name": "digits"})
    source = digits(of_digits)
    images, labels = np.asarray(source.images)[..., 0], source.labels
    held_out = stratified_test_split(np.arange(len(labels)), labels, of_digits.test_fraction, seed=held_out_seed)
    train, test = spec.train or TRAIN, spec.test or TEST
    is_test = np.arange(train + test) >= train
    sides = [np.flatnonzero(~held_out), np.flatnonzero(held_out)]

    def read(place: int) -> Pair:
        # The test scenes are the same whatever the number of train scenes is.
        number = place if place < train else place - train
        rng = np.random.Generator(np.random.Philox(key=[spec.seed, 2 * number + int(is_test[place])]))
        image, mask, depth = render(images, labels, sides[int(is_test[place])], rng, spec.image_size)
        return image, mask if task == "segmentation" else depth

    names = [f"scene {place}" for place in range(train + test)]
    return DensePairs(read, names, is_test, (GROUND, *source.class_names) if task == "segmentation" else ())


def render(
    images: np.ndarray, labels: np.ndarray, chosen: np.ndarray, rng: np.random.Generator, side: int
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Render a scene.

    Parameters
    ----------
    images, labels
        Digits uint8 (n, 8, 8) and their classes (n,).
    chosen
        Places of the digits that may be shown.
    rng
        Source of all its randomness.
    side
        Side of the scene in pixels.

    Returns
    -------
    Image uint8 (side, side, 3), classes uint8 (side, side), depths float32 (side, side) in metres.
    """
    rows = (np.arange(side) + 0.5) / side
    depth = np.repeat((10 - 6 * rows)[:, None], side, axis=1).astype(np.float32)
    mask = np.zeros((side, side), np.uint8)
    scene = _ground(rng, side)
    count = int(rng.integers(3, 7))
    places = np.sort(1 / rng.uniform(1 / FAR, 1 / NEAR, count))[::-1]  # from far to near, which hides what is behind
    for metres in places:
        digit = int(rng.choice(chosen))
        size = max(4, round(SIZE * side / metres))
        left = int(rng.integers(0, side - size + 1))
        # The lower edge stands lower the nearer it is, give or take.
        bottom = side * (1 - 0.6 * (metres - NEAR) / (FAR - NEAR)) + rng.normal(0, 0.08 * side)
        top = int(np.clip(round(bottom) - size, 0, side - size))
        glyph = Image.fromarray(images[digit]).resize((size, size), Image.Resampling.BICUBIC)
        ink = np.asarray(glyph, np.float32) / 255
        window = np.s_[top : top + size, left : left + size]
        colour = rng.uniform(0.55, 1.0, 3).astype(np.float32)
        scene[window] += ink[..., None] * (colour - scene[window])
        covered = ink >= INK
        mask[window][covered] = labels[digit] + 1
        depth[window][covered] = metres
    scene += rng.normal(0, 0.02, scene.shape)
    return np.rint(np.clip(scene, 0, 1) * 255).astype(np.uint8), mask, depth


def _ground(rng: np.random.Generator, side: int) -> np.ndarray:
    """Return a dark textured ground, float32 (side, side, 3) in [0, 0.5]: waves and smooth noise, tinted."""
    y, x = np.mgrid[:side, :side] / side
    texture = np.zeros((side, side))
    for _ in range(3):
        angle, cycles, phase = rng.uniform(0, np.pi), rng.uniform(2, 8), rng.uniform(0, 2 * np.pi)
        texture += np.sin(2 * np.pi * cycles * (np.cos(angle) * x + np.sin(angle) * y) + phase) / 3
    coarse = Image.fromarray(rng.uniform(-1, 1, (6, 6)).astype(np.float32)).resize((side, side), Image.Resampling.BICUBIC)
    texture = 0.5 * texture + 0.5 * np.asarray(coarse)
    tint, contrast = rng.uniform(0.12, 0.35, 3), rng.uniform(0.05, 0.15)
    return np.clip(tint + contrast * texture[..., None], 0, 0.5).astype(np.float32)
