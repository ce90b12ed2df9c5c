"""Influence against a plain transcription of the authors' formula; known influences are found, and none where there is none."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sslmem_kit.errors import UserError
from sslmem_kit.statistics import influence as module
from sslmem_kit.statistics.influence import influence


def folds(samples: int, seeds: int, count: int, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray]:
    """Membership of encoders that miss one fold each, (sample, encoder), and their seeds."""
    cuts = [rng.permutation(np.arange(samples) % count) for _ in range(seeds)]
    return np.stack([cut != fold for cut in cuts for fold in range(count)], axis=1), np.repeat(np.arange(seeds), count)


def arrays(right: np.ndarray, trained: np.ndarray, seed: np.ndarray | None = None) -> tuple[xr.DataArray, xr.DataArray]:
    """The arguments, with ids that are no positions."""
    coords = {} if seed is None else {"seed": ("encoder", seed)}
    correct = xr.DataArray(right, {"test_sample": 1000 + np.arange(len(right)), **coords}, ("test_sample", "encoder"))
    return correct, xr.DataArray(trained, {"sample": 7 * np.arange(len(trained))}, ("sample", "encoder"))


def plain(right: np.ndarray, trained: np.ndarray) -> np.ndarray:
    """Masked means over encoders, one pair after the other: (test, sample)."""
    found = np.empty((len(right), len(trained)))
    for j, row in enumerate(right):
        for i, mask in enumerate(trained):
            found[j, i] = np.mean([c for c, inside in zip(row, mask, strict=True) if inside]) - np.mean(
                [c for c, inside in zip(row, mask, strict=True) if not inside]
            )
    return found


@settings(max_examples=30, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), samples=st.integers(3, 30), tests=st.integers(1, 12), encoders=st.integers(4, 30))
def test_it_is_the_difference_of_masked_means(seed: int, samples: int, tests: int, encoders: int) -> None:
    rng = np.random.Generator(np.random.Philox(seed))
    trained, right = rng.random((samples, encoders)) < 0.7, (rng.random((tests, encoders)) < 0.6).astype(float)
    trained[:, 0], trained[:, 1] = True, False
    found = influence(*arrays(right, trained), top=samples, threshold=0.1)
    expected = plain(right, trained)
    for j in range(tests):
        positions = found["influential"].values[j] // 7
        np.testing.assert_allclose(found["influence"].values[j], expected[j, positions], atol=1e-12)
        assert (np.diff(found["influence"].values[j]) <= 1e-12).all()
        assert found["above"].values[j] == (found["influence"].values[j] > 0.1).sum()
    first = int(found["influential"].values[0, 0] // 7)
    inside, outside = right[0][trained[first]], right[0][~trained[first]]
    if min(len(inside), len(outside)) > 1:
        welch = np.sqrt(inside.var(ddof=1) / len(inside) + outside.var(ddof=1) / len(outside))
        assert found["standard_error"].values[0, 0] == pytest.approx(welch, abs=1e-9)


def test_complementary_subsets_are_compared_within_a_seed() -> None:
    rng = np.random.Generator(np.random.Philox(4))
    trained, seed = folds(40, 3, 4, rng)
    right = (rng.random((9, 12)) < 0.5) + 0.0
    found = influence(*arrays(right, trained, seed), top=40)
    by_seed = np.stack([plain(right[:, seed == one], trained[:, seed == one]) for one in range(3)])
    positions = found["influential"].values // 7
    mean, error = by_seed.mean(axis=0), by_seed.std(axis=0, ddof=1) / np.sqrt(3)
    np.testing.assert_allclose(found["influence"].values, np.take_along_axis(mean, positions, 1), atol=1e-12)
    np.testing.assert_allclose(found["standard_error"].values, np.take_along_axis(error, positions, 1), atol=1e-7)
    np.testing.assert_allclose(mean, plain(right, trained), atol=1e-12)
    assert (found.attrs["errors"], found.attrs["replicates"]) == ("over seeds", 3)


def test_blocks_change_nothing(monkeypatch: pytest.MonkeyPatch) -> None:
    rng = np.random.Generator(np.random.Philox(5))
    trained, seed = folds(50, 2, 5, rng)
    right = rng.random((23, 10))
    whole = influence(*arrays(right, trained, seed), top=5)
    monkeypatch.setattr(module, "BLOCK_BYTES", 8 * 50 * 3)
    xr.testing.assert_allclose(whole, influence(*arrays(right, trained, seed), top=5))


@pytest.mark.parametrize(("seeds", "count"), [(20, 2), (8, 4), (4, 10)])
@pytest.mark.parametrize("accuracy", [0.3, 0.9])
def test_a_planted_influence_is_found_and_chance_is_not_taken_for_one(seeds: int, count: int, accuracy: float) -> None:
    rng = np.random.Generator(np.random.Philox(6))
    trained, seed = folds(200, seeds, count, rng)
    right = (rng.random((100, seeds * count)) < accuracy) + 0.0
    right[:10] = trained[:10]  # test sample j is right where sample j was trained on
    found = influence(*arrays(right, trained, seed), top=3)
    assert (found["influential"].values[:10, 0] // 7 == np.arange(10)).all()
    assert (found["influence"].values[:10, 0] > 0.999).all()
    null = found.isel(test_sample=slice(10, None))
    above, by_chance = (null[name].values for name in ("above", "above_by_chance"))
    assert abs(above.mean() - by_chance.mean()) < 4 * above.std() / np.sqrt(len(above)) + 0.05
    assert abs(null["influence"].values[:, 0].mean() - null["highest_by_chance"].values.mean()) < 0.05
    # So many ways are there to miss a fold in each seed: where they are few beside the pairs of samples, some other fits by chance.
    if count**seeds > 100_000:
        assert found["p"].item() == pytest.approx(0.05)  # the smallest of 19 exchanges


@pytest.mark.parametrize(("seeds", "count"), [(12, 2), (5, 3)])
def test_p_of_the_highest_is_that_of_chance(seeds: int, count: int) -> None:
    """Without influence p is at most .05 in at most 5 % of 200 cases, up to what these can show."""
    below = 0
    for case in range(200):
        rng = np.random.Generator(np.random.Philox(case))
        trained, seed = folds(40, seeds, count, rng)
        right = (rng.random((15, seeds * count)) < rng.beta(2, 1, (15, 1))) + 0.0
        below += influence(*arrays(right, trained, seed), top=1)["p"].item() <= 0.05
    assert below <= stats.binom(200, 0.05).ppf(0.999)


def test_samples_that_all_encoders_saw_have_none() -> None:
    rng = np.random.Generator(np.random.Philox(7))
    trained, seed = folds(12, 2, 3, rng)
    trained = np.concatenate([trained, np.ones((3, 6), bool), np.zeros((2, 6), bool)])
    found = influence(*arrays(rng.random((4, 6)), trained, seed), top=20)
    assert found.attrs["samples"] == found.sizes["rank"] == 12
    assert found["influential"].values.max() < 7 * 12
    with pytest.raises(UserError, match=r"design\.subsets: influence needs samples .* give it design\.subsets"):
        influence(*arrays(rng.random((4, 6)), trained[12:], seed))
