"""Effects by layer: an interval that holds where groups spread differently, and an effect that is the same with any number of pairs."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from sslmem_kit.report.layers import as_text, localized
from sslmem_kit.scores import _example
from sslmem_kit.statistics import memorization_over_training
from sslmem_kit.statistics.layers import cohens_d, layer_scores, layer_table, layer_tests

PAIRS = (1, 2, 3, 10)


def _drawn(kind: str, rng: np.random.Generator, n: int) -> np.ndarray:
    """Values of mean 0 and variance 1."""
    return {
        "normal": rng.normal(size=n),
        "skewed": rng.gamma(2, 1, n) / np.sqrt(2) - np.sqrt(2),
        "heavy": rng.standard_t(5, n) / np.sqrt(5 / 3),
    }[kind]


@pytest.mark.parametrize("kind", ["normal", "skewed", "heavy"])
@pytest.mark.parametrize("ratio", [0.7, 1.0, 1.31, 1.6])
@pytest.mark.parametrize(("n", "others"), [(40, 300), (60, 60)])
def test_the_interval_of_d_covers_at_any_ratio_of_spreads(kind: str, ratio: float, n: int, others: int) -> None:
    """With the formula for equal spreads 89 % at 1.31, 83 % at 1.6."""
    rng = np.random.default_rng(1)
    true = 0.8 / np.sqrt(((n - 1) * ratio**2 + others - 1) / (n + others - 2))
    found = [cohens_d(0.8 + ratio * _drawn(kind, rng, n), _drawn(kind, rng, others))[1] for _ in range(1500)]
    covered = np.mean([low <= true <= high for low, high in found])
    assert 0.93 <= covered <= 0.97  # its standard error is 0.0056


def test_d_by_hand() -> None:
    x, y = np.array([1.0, 4, 7]), np.array([0.0, 1, 2, 3])
    pooled = (18 + 5) / 5
    d, (low, high) = cohens_d(x, y)
    assert d == pytest.approx((4 - 1.5) / np.sqrt(pooled))
    assert low < d < high
    assert np.isnan([cohens_d(x[:1], y)[0], *cohens_d(np.ones(3), np.ones(4))[1]]).all()
    # Large normal samples: the formula with both variances.
    rng = np.random.default_rng(0)
    x, y = rng.normal(1, 2, 40_000), rng.normal(0, 1, 20_000)
    d, (low, high) = cohens_d(x, y)
    square = (39_999 * 4 + 19_999) / 59_998
    variance = (4 / 40_000 + 1 / 20_000) / square + d**2 * (39_999 * 16 + 19_999) / (2 * 59_998**2 * square**2)
    assert high - low == pytest.approx(2 * 1.96 * np.sqrt(variance), rel=0.03)


def made(pairs: int, seed: int) -> xr.DataTree:
    """A store of one layer: training takes 5 % off the distance 0.6 on average; each pair's noise is large, and it has an offset."""
    rng = np.random.default_rng(seed)
    codes = np.repeat([0, 1], [400, 100])
    family, seeds = np.array(["f", "g"] * pairs), np.repeat(np.arange(pairs), 2)
    level = 0.6 + rng.normal(0, 0.05, (500, 1)) + rng.normal(0, 0.04, (500, 2 * pairs)) + rng.normal(0, 0.01, 2 * pairs)
    memorized = 0.03 * rng.gamma(4, 0.25, (500, 1))
    values = level - memorized * ((codes == 1)[:, None] & (family == "f"))
    root = xr.Dataset(
        {"trained_on": (("sample", "encoder"), (codes == 0)[:, None] | (family == "f"))},
        {
            "sample": np.arange(500),
            "label": ("sample", np.zeros(500, int)),
            "partition": ("sample", codes),
            "encoder": [f"{name}-{number}" for name, number in zip(family, seeds, strict=True)],
            "family": ("encoder", family),
            "seed": ("encoder", seeds),
        },
    )
    layers = xr.Dataset({"alignment": (("sample", "encoder", "layer"), values[..., None])}, {"layer": ["top"]})
    return xr.DataTree.from_dict({"/": root, "/layers": layers})


@pytest.fixture(scope="module")
def simulated() -> dict[int, list[xr.Dataset]]:
    return {pairs: [layer_table(layer_scores(made(pairs, seed))).isel(layer=0) for seed in range(150)] for pairs in PAIRS}


def test_the_relative_effect_is_the_same_with_any_number_of_pairs_and_d_is_not(simulated: dict[int, list[xr.Dataset]]) -> None:
    relative = {pairs: [table["relative_effect"].item() for table in tables] for pairs, tables in simulated.items()}
    for pairs, values in relative.items():
        assert np.mean(values) == pytest.approx(0.05, abs=4 * stats.sem(values)), pairs
        assert stats.sem(values) < 0.001
    d = {pairs: np.mean([table["effect"].item() for table in tables]) for pairs, tables in simulated.items()}
    assert d[1] * 1.3 < d[2] < d[3] < d[10]


@pytest.mark.parametrize("pairs", PAIRS[1:])
def test_its_interval_holds_over_seeds(simulated: dict[int, list[xr.Dataset]], pairs: int) -> None:
    # Samples are drawn anew too, but with so many that they matter little.
    ends = np.array([table["relative_effect_interval"].values for table in simulated[pairs]])
    covered = ((ends[:, 0] <= 0.05) & (ends[:, 1] >= 0.05)).sum()
    assert stats.binomtest(int(covered), len(ends), 0.95).pvalue > 0.005


def test_nothing_is_known_over_seeds_of_one_pair_and_the_report_says_so() -> None:
    table = layer_table(layer_scores(made(1, 0)))
    assert np.isfinite(table["relative_effect"].item())
    assert np.isnan(table["relative_effect_interval"]).all()
    found = localized(made(1, 0))
    assert found["layers"][0]["over"] == {"effect": "samples", "relative_effect": "seeds"}
    text = "\n".join(as_text(found))
    assert "not known without two pairs" in text
    assert "nan" not in text
    assert "not known without" not in "\n".join(as_text(localized(made(2, 0))))


def test_encoders_that_are_no_pairs_have_an_effect_and_no_interval_over_seeds() -> None:
    tree = made(2, 0)
    paired = layer_table(layer_scores(tree))["relative_effect"].item()
    tree.dataset = tree.to_dataset().assign_coords(seed=("encoder", np.arange(4)))
    apart = layer_table(layer_scores(tree))
    assert apart["relative_effect"].item() == pytest.approx(paired)
    assert np.isnan(apart["relative_effect_interval"]).all()


def test_groups_are_the_unit_of_tests_and_intervals() -> None:
    """Each sample four times over, a group of its own, says what it says once; the store's groups reach the layers."""
    rng = np.random.default_rng(4)
    first, second = rng.normal(0.5, 1.3, 50), rng.normal(0, 1, 70)
    d, ends = cohens_d(first, second)
    alone = cohens_d(first, second, groups=(np.arange(50), np.arange(70)))
    assert alone[0] == pytest.approx(d)
    np.testing.assert_allclose(alone[1], ends)
    copied = cohens_d(np.repeat(first, 4), np.repeat(second, 4), groups=(np.repeat(np.arange(50), 4), np.repeat(np.arange(70), 4)))
    assert np.ptp(copied[1]) == pytest.approx(np.ptp(ends), rel=0.05)
    assert np.ptp(cohens_d(np.repeat(first, 4), np.repeat(second, 4))[1]) < 0.6 * np.ptp(ends)
    tree = made(3, 0)
    root = tree.to_dataset()
    tree = xr.DataTree.from_dict(
        {"/": root.assign_coords(group=("sample", np.arange(500) // 5)), "/layers": tree["layers"].to_dataset()}
    )
    grouped, plain = layer_scores(tree), layer_scores(made(3, 0))
    assert (layer_tests(grouped).attrs["unit"], layer_tests(plain).attrs["unit"]) == ("group", "sample")
    assert not np.allclose(layer_table(grouped)["effect_interval"], layer_table(plain)["effect_interval"])


def test_layers_and_epochs_rest_on_the_encoders_of_the_scores() -> None:
    """Three f and two g: on the two whole seeds, and the last of both is the score of the report."""
    tree = _example.tree()
    kept = tree.isel(encoder=[0, 1, 2, 3, 4])
    whole = tree.isel(encoder=[0, 1, 2, 3])
    np.testing.assert_array_equal(layer_scores(kept)["sslmem"], layer_scores(whole)["sslmem"])
    over, expected = memorization_over_training(kept), memorization_over_training(whole)
    np.testing.assert_array_equal(over["mean"], expected["mean"])
    assert over.attrs["standard_error_over"] == "seeds"
