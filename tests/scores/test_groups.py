"""Influence of groups: that of samples alone is their score, of twins it is what the score does not see."""

from __future__ import annotations

import itertools

import numpy as np
import pytest
import xarray as xr

from sslmem_kit.errors import UserError
from sslmem_kit.scores import estimate, group_influence, influence_by_cut, mean_over_pairs
from sslmem_kit.scores._example import design, results

SAMPLES, TWINS = 48, 4
MEMORIZED = 0.2


def subsets(*, whole: bool, noise: float = 0.01, cuts: int = 24) -> tuple[xr.Dataset, np.ndarray]:
    """Encoders on random subsets of which one that saw any twin of a sample is closer by 0.2 in it; and the groups, pairs of neighbours."""
    rng = np.random.default_rng(0)
    groups = np.arange(SAMPLES) // 2
    seen = []
    for _ in range(cuts):
        fold = rng.permutation(SAMPLES // 2 if whole else SAMPLES) % 4
        fold = fold[groups] if whole else fold
        seen += [fold != out for out in range(4)]
    trained = np.stack(seen, axis=1)
    any_twin = np.zeros_like(trained)
    for group in range(SAMPLES // 2):
        any_twin[groups == group] = trained[groups == group].any(axis=0)
    pairs = np.array(list(itertools.combinations(range(4), 2)))
    values = 0.8 + rng.normal(0, noise, (SAMPLES, len(pairs), len(seen))) - MEMORIZED * any_twin[:, None]
    root = xr.Dataset(
        {"alignment": (("sample", "augmentation", "encoder"), values), "trained_on": (("sample", "encoder"), trained)},
        {
            "sample": np.arange(SAMPLES) * 2,
            "view_a": ("augmentation", pairs[:, 0]),
            "view_b": ("augmentation", pairs[:, 1]),
            "encoder": [f"s{number}" for number in range(len(seen))],
            "seed": ("encoder", np.repeat(np.arange(cuts), 4)),
            "design": ("encoder", ["subset"] * len(seen)),
        },
    )
    return root, groups


def test_a_sample_alone_has_its_score_and_its_errors() -> None:
    root = design()
    alone, scores = group_influence(root, root["sample"].values), estimate(root, "subsets")
    for name, other in (("influence", "sslmem"), *((name, name) for name in ("standard_error", "low", "high", "n_in", "n_out"))):
        np.testing.assert_allclose(alone[name], scores[other])


def test_whole_groups_have_the_scores_of_their_members() -> None:
    root, groups = subsets(whole=True)
    found, scores = group_influence(root, groups), estimate(root, "subsets")
    np.testing.assert_allclose(found["influence"], scores["sslmem"])
    assert (found["group_size"] == 2).all()
    assert found["influence"].values == pytest.approx(MEMORIZED, abs=0.03)


def test_twins_that_were_cut_apart_hide_from_the_score_and_not_from_the_influence() -> None:
    root, groups = subsets(whole=False)
    scores, found = estimate(root, "subsets")["sslmem"].values, group_influence(root, groups)
    known = np.isfinite(found["influence"].values)
    assert known.mean() > 0.9
    assert found["influence"].values[known] == pytest.approx(MEMORIZED, abs=0.05)
    assert scores.mean() < 0.4 * MEMORIZED
    covered = (found["low"] <= MEMORIZED) & (found["high"] >= MEMORIZED)
    assert covered.values[known].mean() > 0.8


def test_the_influence_is_the_difference_of_the_means_over_the_right_encoders() -> None:
    root, groups = subsets(whole=False, cuts=6)
    found = group_influence(root, groups)
    alignment, trained = mean_over_pairs(root["alignment"]).values, root["trained_on"].values
    for sample in range(SAMPLES):
        own = trained[groups == groups[sample]]
        out, whole = ~own.any(axis=0), own.all(axis=0)
        expected = alignment[sample, out].mean() - alignment[sample, whole].mean() if out.any() and whole.any() else np.nan
        assert found["influence"].values[sample] == pytest.approx(expected, nan_ok=True)
        assert (int(found["n_out"][sample]), int(found["n_in"][sample])) == (out.sum(), whole.sum())


def test_cuts_add_up_to_the_influence_where_groups_are_whole() -> None:
    root, groups = subsets(whole=True)
    cuts = influence_by_cut(root, groups)
    np.testing.assert_allclose(cuts.mean("cut"), group_influence(root, groups)["influence"])


def test_groups_of_the_study_are_the_default_and_wrong_ones_are_refused() -> None:
    root, groups = subsets(whole=True)
    own = group_influence(root.assign_coords(group=("sample", groups)))
    np.testing.assert_array_equal(own["influence"], group_influence(root, groups)["influence"])
    with pytest.raises(UserError, match="this study keeps none"):
        group_influence(root)
    with pytest.raises(UserError, match=r"groups has the shape \(3,\), one for each of 48 samples"):
        group_influence(root, groups[:3])
    with pytest.raises(UserError, match="'subsets' has no encoders in this study"):
        group_influence(results(), np.arange(40))
