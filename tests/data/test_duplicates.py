"""Near-duplicates: what is planted is found, what is not is not, and the work does not grow with the square of the images."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sslmem_kit.data import duplicates, load
from sslmem_kit.data.datasets.builtin import ORIGINALS, planted_copies
from sslmem_kit.data.duplicates import BANDS, BUCKET, EXACT, NEIGHBOURS, RANK, find_twins, groups_of_pairs, twins_by_features
from sslmem_kit.data.thumbnails import distances, perceptual_hashes, thumbnails, weak_view
from sslmem_kit.errors import UserError
from sslmem_kit.spec.data import DataSpec


def textured(count: int, side: int = 32, channels: int = 1, seed: int = 0) -> np.ndarray:
    """Smooth random images, uint8 (n, side, side, channels): no two are alike."""
    rng = np.random.default_rng(seed)
    coarse = rng.integers(0, 256, (count, 8, 8, channels)).astype(float)
    return np.clip(coarse.repeat(side // 8, axis=1).repeat(side // 8, axis=2), 0, 255).astype(np.uint8)


@pytest.mark.parametrize("channels", [1, 3])
def test_weak_views_are_found_and_nothing_else(channels: int) -> None:
    images, rng = textured(400, channels=channels), np.random.default_rng(1)
    copied = rng.choice(400, 60, replace=False)
    views = np.stack([weak_view(images[place], rng) for place in copied])
    every = np.concatenate([images, views])
    twins = find_twins(every.__getitem__, len(every))
    found = twins.group[400:] == twins.group[copied]
    assert found.mean() >= 0.85
    right = set(zip(copied.tolist(), range(400, 460), strict=True))
    assert all(pair in right for pair in zip(twins.first.tolist(), twins.second.tolist(), strict=True))
    assert (twins.distance <= twins.threshold).all()


def test_unrelated_images_have_no_twins() -> None:
    images = textured(500, seed=3)
    assert not find_twins(images.__getitem__, 500).has_twin.any()


def test_exact_copies_are_found_by_their_keys() -> None:
    images = textured(50)
    images[[7, 30]] = images[2]
    keys = np.arange(50)
    keys[[7, 30]] = 2
    twins = find_twins(images.__getitem__, 50, keys=keys)
    assert list(zip(twins.first, twins.second, twins.by, twins.distance, strict=True)) == [(2, 7, EXACT, 0), (2, 30, EXACT, 0)]
    assert np.flatnonzero(twins.has_twin).tolist() == [2, 7, 30]


def test_colours_distinguish_images() -> None:
    """Of one brightness everywhere, but in other colours."""
    grey = textured(1)[..., 0].astype(float)
    shift = np.array([40.0, 0, -40])
    red, blue = (np.clip(100 + grey[..., None] / 4 + sign * shift, 0, 255).astype(np.uint8) for sign in (1, -1))
    assert distances(thumbnails(red), thumbnails(blue))[0] > 1
    assert distances(thumbnails(red), thumbnails(red))[0] == pytest.approx(0, abs=1e-2)


def test_the_planted_copies_of_the_bundled_data_are_found() -> None:
    dataset = load(DataSpec(name="digits_twins", groups="near_duplicates"))
    copies = ORIGINALS + np.arange(len(planted_copies()))
    assert (dataset.groups[copies] == dataset.groups[planted_copies()]).mean() >= 0.99
    sizes = np.bincount(dataset.groups)
    assert [int(np.median(sizes[np.arange(kind, ORIGINALS, 4)])) for kind in range(4)] == [1, 2, 4, 11]


def test_the_work_grows_with_the_images_and_not_with_their_square(monkeypatch: pytest.MonkeyPatch) -> None:
    """Even where all hashes are the same."""
    compared = []
    of = duplicates.distances
    monkeypatch.setattr(duplicates, "distances", lambda *pair, **how: compared.append(len(pair[0].grey)) or of(*pair, **how))
    for count in (400, 800):
        images = np.full((count, 8, 8, 1), 128, np.uint8) + np.random.default_rng(0).integers(0, 2, (count, 8, 8, 1), np.uint8)
        find_twins(images.__getitem__, count)
        far = 5 * (1 + (count // RANK).bit_length())
        assert sum(compared) <= count * 2 * ((BANDS + 1) * BUCKET + NEIGHBOURS + far + 1)
        compared.clear()


def test_a_shift_keeps_most_bits_of_a_hash() -> None:
    image = np.zeros((1, 32, 32, 1), np.uint8)
    image[0, 8:20, 10:18] = np.random.default_rng(0).integers(80, 255, (12, 8, 1))
    moved = np.roll(image, 2, axis=(1, 2))
    one, other = (perceptual_hashes(thumbnails(images).grey)[0] for images in (image, moved))
    assert np.bitwise_count(one ^ other) <= 12


@pytest.mark.parametrize(("others", "copies"), [(300, 23), (300, 60), (200, 300), (0, 120)])
def test_groups_of_copies_are_found_at_any_size(others: int, copies: int) -> None:
    """Their members do not stand for each other's surroundings, up to a set that is all copies."""
    images, rng = textured(others + 1), np.random.default_rng(1)
    copied = np.clip(images[0] + rng.integers(-4, 5, (copies, *images[0].shape)), 0, 255).astype(np.uint8)
    every = np.concatenate([images, copied])
    twins = find_twins(every.__getitem__, len(every))
    assert np.flatnonzero(twins.group == 0).tolist() == [0, *range(others + 1, len(every))]
    features = every.reshape(len(every), -1) - every.mean()
    views = features + rng.normal(0, 5, features.shape)
    assert twins_by_features(features, np.arange(len(every)), views).group.tolist() == twins.group.tolist()


def test_flat_images_are_twins_of_the_same_brightness_only() -> None:
    levels = np.concatenate([[0, 10, 128, 255, 128, 10], np.tile(np.arange(20, 120, 5), 3)])
    images = np.concatenate([np.broadcast_to(levels[:, None, None, None], (len(levels), 32, 32, 3)).astype(np.uint8),
                             textured(60, channels=3)])  # fmt: skip
    images[4, 3, 3] += 1  # as good as flat
    twins = find_twins(images.__getitem__, len(images))
    assert twins.group[: len(levels)].tolist() == [int(np.flatnonzero(levels == level)[0]) for level in levels]
    assert not twins.has_twin[len(levels) :].any()


@settings(max_examples=50, deadline=None)
@given(st.lists(st.tuples(st.integers(0, 11), st.integers(0, 11)), max_size=20))
def test_groups_are_what_links_reach(pairs: list[tuple[int, int]]) -> None:
    reach = np.eye(12, dtype=bool)
    for one, other in pairs:
        reach[one, other] = reach[other, one] = True
    for _ in range(12):
        reach = (reach.astype(int) @ reach.astype(int)) > 0
    first, second = (np.array(column, int) for column in (zip(*pairs, strict=True) if pairs else ((), ())))
    assert groups_of_pairs(first, second, 12).tolist() == reach.argmax(axis=1).tolist()


def test_features_of_another_shape_are_refused() -> None:
    with pytest.raises(UserError, match="a view of each of viewed"):
        twins_by_features(np.zeros((10, 4)), np.arange(3), np.zeros((3, 5)))
