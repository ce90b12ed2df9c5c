"""Scores and errors from replicates against NumPy, and replicates against plain loops."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from sslmem_kit.names import COMPARISONS as NAMES
from sslmem_kit.scores import _example, family_contrast
from sslmem_kit.scores.comparisons.base import summarized
from sslmem_kit.scores.comparisons.replicates import contrast_by_seed, in_out_by_seed, of_f_by_seed
from sslmem_kit.spec.comparisons import SECTIONS
from sslmem_kit.store import pair_weights


def test_names_are_those_of_the_sections() -> None:
    assert tuple(SECTIONS) == NAMES


@settings(deadline=None)
@given(st.integers(0, 2**32 - 1), st.integers(1, 6), st.integers(1, 8))
def test_score_and_error_are_mean_and_standard_error(seed: int, samples: int, seeds: int) -> None:
    values = np.random.default_rng(seed).normal(size=(samples, seeds))
    values[0, np.random.default_rng(seed).random(seeds) < 0.4] = np.nan
    found = summarized(xr.Dataset({"a": (("sample", "seed"), values)}, {"seed": np.arange(seeds)}))
    for row, mean, error in zip(values, found["a"].values, found["a_error"].values, strict=True):
        known = row[np.isfinite(row)]
        assert mean == pytest.approx(known.mean() if len(known) else np.nan, nan_ok=True)
        assert error == pytest.approx(known.std(ddof=1) / np.sqrt(len(known)) if len(known) > 1 else np.nan, nan_ok=True)


def test_contrasts_have_the_mean_and_sign_of_sslmem() -> None:
    tree = xr.DataTree(_example.results())
    alignment = tree["alignment"]
    values = alignment.dot(xr.DataArray(pair_weights(int(tree["view_b"].max())), dims="augmentation"))
    found = contrast_by_seed(values, tree, sign=-1)
    np.testing.assert_allclose(found.mean("seed"), family_contrast(alignment)["sslmem"], atol=1e-6)
    one = of_f_by_seed(values, tree)
    is_f = tree["family"].values == "f"
    np.testing.assert_allclose(one.values, values.values[:, is_f], atol=1e-6)


def test_what_was_not_measured_takes_no_part() -> None:
    tree = xr.DataTree(_example.results())
    values = tree["alignment"].mean("augmentation")
    values[:, 0] = np.nan  # f of the first seed
    assert contrast_by_seed(values, tree).sizes["seed"] == 2
    assert of_f_by_seed(values, tree).sizes["seed"] == 2
    assert of_f_by_seed(values * np.nan, tree).shape == (40, 0)


def test_subsets_are_contrasted_by_what_they_were_trained_on() -> None:
    tree = xr.DataTree(_example.design())
    values, root = tree["alignment"].mean("augmentation"), tree.to_dataset()
    found = in_out_by_seed(values, tree)
    for number, seed in enumerate(found["seed"].values):
        own = (root["design"].values == "subset") & (root["seed"].values == seed)
        for place in range(root.sizes["sample"]):
            row, inside = values.values[place, own], root["trained_on"].values[place, own].astype(bool)
            expected = row[inside].mean() - row[~inside].mean() if 0 < inside.sum() < len(row) else np.nan
            assert found.values[place, number] == pytest.approx(expected, nan_ok=True)
