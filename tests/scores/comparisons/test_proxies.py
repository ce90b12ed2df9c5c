"""Scores that are reduced from one number an encoder: family f alone, the seed's own, in the stated direction."""

from __future__ import annotations

import numpy as np
import xarray as xr

from sslmem_kit.scores import _example, family_contrast, select_protocol
from sslmem_kit.scores.comparisons import COMPARISONS, alignment_only, curvature, gradients, typicality

TREE = _example.tree()
F = TREE["family"].values == "f"


def raw() -> xr.DataArray:
    rng = np.random.default_rng(0)
    shape = TREE.sizes["sample"], TREE.sizes["encoder"]
    return xr.DataArray(rng.uniform(0.1, 1, shape), dims=("sample", "encoder")).where(F)


def test_alignment_of_f_is_that_of_the_scores() -> None:
    found = alignment_only.reduce(None, TREE)["alignment_only"]
    root = TREE.to_dataset()
    scores = family_contrast(select_protocol(root["alignment"], "corrected"))
    np.testing.assert_allclose(found.mean("seed"), -scores["alignment_f"])


def test_blocks_of_samples_make_no_difference() -> None:
    """A store is read a block of samples at a time."""
    whole = alignment_only.reduce(None, TREE)
    in_blocks = xr.DataTree(TREE.to_dataset().chunk(sample=7))
    assert alignment_only.reduce(None, in_blocks).identical(whole)


def test_distance_and_curvature_keep_their_order() -> None:
    values = raw()
    np.testing.assert_allclose(typicality.reduce(xr.Dataset({"distance": values}), TREE)["typicality"], values[:, F])
    np.testing.assert_allclose(curvature.reduce(xr.Dataset({"trace": values}), TREE)["curvature"], values[:, F] ** 0.5)


def test_gradients_are_weighted_by_learning_rates_and_states_without_a_direction_are_left_out() -> None:
    norm, cosine = (raw().expand_dims(checkpoint=[1, 2], axis=2) * [1.0, 2.0] for _ in range(2))
    cosine[0, :, 1] = np.nan
    weight = xr.DataArray(np.full((F.size, 2), [0.3, 0.1]), dims=("encoder", "checkpoint"))
    found = gradients.reduce(xr.Dataset({"norm": norm, "cosine": cosine, "leverage": norm, "weight": weight}), TREE)
    first = raw().values[:, F]
    np.testing.assert_allclose(found["gradient_norm"], first * (0.3 + 0.2) / 0.4)
    np.testing.assert_allclose(found["trak"], found["gradient_norm"])
    np.testing.assert_allclose(found["tracin"], first**2 * (0.3 + 0.4))
    np.testing.assert_allclose(found["gradient_agreement"][1:], -first[1:] * 0.5 / 0.4)
    np.testing.assert_allclose(found["gradient_agreement"][0], -first[0])


def test_every_column_has_a_label_and_is_of_one_comparison() -> None:
    columns = [column for each in COMPARISONS.values() for column in each.columns]
    assert len(columns) == len(set(columns))
    assert {"gradients", "curvature", "typicality", "learning", "alignment_only"} <= set(COMPARISONS)
