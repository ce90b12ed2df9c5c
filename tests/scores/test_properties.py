"""What must not change scores, whatever the study: every protocol, and every way from alignments to scores.

The cases are drawn by hypothesis, the same ones in every run.
"""

from __future__ import annotations

import itertools
from collections.abc import Callable

import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from sslmem_kit.scores import PROTOCOLS, by_seed, family_contrast, leave_out, score, select_protocol
from sslmem_kit.statistics.fdr import with_significance

stable = settings(derandomize=True, deadline=None, max_examples=8, database=None)
MEANS = ("sslmem", "difference", "z", "p_value", "q_value")
ERRORS = ("standard_error", "standard_error_views", "standard_error_encoders")


@st.composite
def studies(draw: st.DrawFn, *, pairs: int = 1) -> xr.Dataset:
    """Root of a results store: samples of all partitions and classes, ``pairs`` or more pairs of encoders."""
    samples, views = draw(st.integers(12, 40)), draw(st.integers(2, 4))
    seeds = draw(st.integers(pairs, 3))
    rng = np.random.default_rng(draw(st.integers(0, 2**32 - 1)))
    augmentations = np.array(list(itertools.combinations(range(views + 1), 2)))
    family = rng.permutation(np.array(["f", "g"] * seeds))
    codes = rng.permutation(np.arange(samples) % 4)
    number = [np.cumsum(family == name) - 1 for name in ("f", "g")]
    seed = np.where(family == "f", *number)
    seen = np.array([[code == 0 or code == {"f": 1, "g": 2}[name] for name in family] for code in codes])
    level = rng.gamma(4, 0.1, (samples, 1, 1))
    return xr.Dataset(
        {
            "alignment": (
                ("sample", "augmentation", "encoder"),
                level * rng.gamma(20, 0.05, (samples, len(augmentations), 2 * seeds)) - 0.05 * seen[:, None],
            ),
            "trained_on": (("sample", "encoder"), seen),
        },
        coords={
            "sample": np.sort(rng.choice(10 * samples, samples, replace=False)),
            "partition": ("sample", codes),
            "label": ("sample", codes % 2),
            "view_a": ("augmentation", augmentations[:, 0]),
            "view_b": ("augmentation", augmentations[:, 1]),
            "encoder": [f"{name}-{at}" for name, at in zip(family, seed, strict=True)],
            "family": ("encoder", family),
            "seed": ("encoder", seed),
        },
    )


def by_families(root: xr.Dataset, protocol: str) -> xr.Dataset:
    return family_contrast(select_protocol(root["alignment"], protocol))


def by_membership(root: xr.Dataset, protocol: str) -> xr.Dataset:
    return leave_out(select_protocol(root["alignment"], protocol), root["trained_on"])


def whole(root: xr.Dataset, protocol: str) -> xr.Dataset:
    return with_significance(score(root, protocol=protocol))


ways = st.sampled_from([by_families, by_membership, whole])
Way = Callable[[xr.Dataset, str], xr.Dataset]


def assert_same(one: xr.Dataset, other: xr.Dataset, names: tuple[str, ...] = MEANS + ERRORS, *, sign: int = 1) -> None:
    """Columns are equal sample by sample, those that there are."""
    other = other.sel(sample=one["sample"].values)
    compared = [name for name in names if name in one]
    assert compared
    for name in compared:
        scale = np.nanmax(np.abs(one[name].values), initial=0)
        np.testing.assert_allclose(sign * other[name].values, one[name].values, rtol=1e-7, atol=1e-9 * scale, err_msg=name)


def exchanged(family: xr.DataArray) -> np.ndarray:
    return np.where(family.values == "f", "g", "f")


@given(way=ways, root=studies())
@stable
def test_swapped_families_flip_the_sign(way: Way, root: xr.Dataset) -> None:
    swapped = root.assign_coords(family=("encoder", exchanged(root["family"])))
    swapped["trained_on"] = ~root["trained_on"]
    for protocol in PROTOCOLS:
        # By name f saw the candidates: the null is of the same samples, and the range that of the same candidates.
        one, other = way(root, protocol), way(swapped, protocol)
        assert np.isfinite(one["sslmem"]).any()
        assert_same(one, other, ("sslmem", "difference", "z"), sign=-1)
        assert_same(one, other.assign(sslmem=one["sslmem"]), ("sslmem", *ERRORS))
        if way is not by_membership:
            np.testing.assert_allclose(one["alignment_f"], other["alignment_g"])


@given(root=studies())
@stable
def test_swapped_families_swap_the_lists_of_candidates_and_independents(root: xr.Dataset) -> None:
    mirrored = np.array([0, 2, 1, 3])[root["partition"].values]
    swapped = root.assign_coords(family=("encoder", exchanged(root["family"])), partition=("sample", mirrored))
    for protocol in PROTOCOLS:
        assert_same(whole(root, protocol), whole(swapped, protocol), ("p_value", "q_value"))


@pytest.mark.parametrize("dim", ["sample", "augmentation", "encoder"])
@given(way=ways, root=studies(), seed=st.integers(0, 99))
@stable
def test_the_order_along_a_dimension_only_relabels(way: Way, dim: str, root: xr.Dataset, seed: int) -> None:
    shuffled = root.isel({dim: np.random.default_rng(seed).permutation(root.sizes[dim])})
    for protocol in PROTOCOLS:
        assert_same(way(root, protocol), way(shuffled, protocol))


@given(way=ways, root=studies(), dims=st.permutations(["sample", "augmentation", "encoder"]))
@stable
def test_the_order_of_the_dimensions_means_nothing(way: Way, root: xr.Dataset, dims: list[str]) -> None:
    assert_same(way(root, "corrected"), way(root.transpose(*dims), "corrected"))


@given(way=ways, root=studies(), start=st.integers(0, 10**12))
@stable
def test_other_names_of_samples_encoders_and_seeds_mean_nothing(way: Way, root: xr.Dataset, start: int) -> None:
    ids = root["sample"].values
    renamed = root.assign_coords(
        sample=start + ids,
        encoder=[f"encoder {number}" for number in range(root.sizes["encoder"])],
        seed=("encoder", 7 + 3 * root["seed"].values),
    )
    assert_same(way(root, "corrected"), way(renamed, "corrected").assign_coords(sample=ids))


@given(way=ways, root=studies(), seed=st.integers(0, 99))
@stable
def test_what_is_added_to_a_sample_under_all_encoders_changes_nothing(way: Way, root: xr.Dataset, seed: int) -> None:
    added = xr.DataArray(np.random.default_rng(seed).normal(size=root.sizes["sample"]), dims="sample")
    for protocol in PROTOCOLS:
        other = way(root.assign(alignment=root["alignment"] + added), protocol)
        assert_same(way(root, protocol), other, ("sslmem", "difference", "z", "standard_error_views"))


@given(way=ways, root=studies(), times=st.integers(2, 3))
@stable
def test_encoders_that_are_there_several_times_change_no_mean(way: Way, root: xr.Dataset, times: int) -> None:
    count = root.sizes["encoder"]
    repeated = root.isel(encoder=np.tile(np.arange(count), times))
    repeated = repeated.assign_coords(
        encoder=[f"{name} {number // count}" for number, name in enumerate(repeated["encoder"].values)],
        seed=("encoder", repeated["seed"].values + 100 * (np.arange(times * count) // count)),
    )
    for protocol in PROTOCOLS:
        assert_same(way(root, protocol), way(repeated, protocol), ("sslmem", "difference", "z"))


@given(way=ways, root=studies(), seed=st.integers(0, 99), share=st.floats(0.2, 0.9))
@stable
def test_a_subset_of_the_samples_has_the_scores_that_it_had(way: Way, root: xr.Dataset, seed: int, share: float) -> None:
    chosen = np.random.default_rng(seed).random(root.sizes["sample"]) < share
    # Two candidates that differ, or there is no range.
    chosen[np.flatnonzero(root["partition"].values == 1)[:2]] = True
    for protocol in PROTOCOLS:
        one, other = way(root.isel(sample=chosen), protocol), way(root, protocol)
        if protocol == "corrected" or way is not whole:
            assert_same(one, other, ("sslmem", "standard_error_views", "standard_error_encoders"))
        else:
            assert_same(one, other, ("difference",))
            assert_same(by_seed(one).to_dataset(name="difference"), by_seed(other).to_dataset(name="difference"), ("difference",))


@given(way=ways, root=studies(), seed=st.integers(0, 99))
@stable
def test_other_numbers_of_the_random_views_mean_nothing(way: Way, root: xr.Dataset, seed: int) -> None:
    views = int(root["view_b"].max())
    number = np.concatenate([[0], 1 + np.random.default_rng(seed).permutation(views)])  # view 0 is the clean image
    pairs = np.sort(np.stack([number[root["view_a"].values], number[root["view_b"].values]]), axis=0)
    renumbered = root.assign_coords(view_a=("augmentation", pairs[0]), view_b=("augmentation", pairs[1]))
    for protocol in PROTOCOLS:
        assert_same(way(root, protocol), way(renumbered, protocol))
