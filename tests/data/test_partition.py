"""The partition: exact sizes, disjoint, stratified, reproducible; slots of f and g that differ only where they must."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from sslmem_kit.data.partition import UNUSED, assign, trained_on, training_slots
from sslmem_kit.errors import UserError
from sslmem_kit.names import PARTITION_CODE, PARTITIONS
from sslmem_kit.spec.partition import NAMED, PartitionSpec

SHARED, CANDIDATE, INDEPENDENT, EXTRA = range(4)
data_sets = st.tuples(st.lists(st.integers(0, 4), min_size=8, max_size=120), st.lists(st.integers(0, 4), max_size=30))
counts = st.tuples(st.integers(0, 60), st.integers(1, 20), st.integers(1, 20), st.integers(0, 10))
seeds = st.integers(0, 2**62)


def drawn(sides: tuple[list[int], list[int]], wanted: tuple[int, ...], seed: int, *, stratified: bool = True):
    """Labels, sides, codes, and the wanted sizes as far as the data goes."""
    train, test = sides
    candidate, independent = (min(size, len(train) // 4) for size in wanted[1:3])
    sizes = (min(wanted[0], len(train) - candidate - independent), candidate, independent, min(wanted[3], len(test)))
    labels, is_test = np.array(train + test), np.arange(len(train) + len(test)) >= len(train)
    spec = PartitionSpec(**dict(zip(PARTITIONS, sizes, strict=True)), stratified=stratified)
    return labels, is_test, assign(labels, is_test, spec, seed=seed), sizes


def test_codes_are_the_flag_values():
    assert PARTITION_CODE == {"shared": 0, "candidate": 1, "independent": 2, "extra": 3}


@given(data_sets, counts, seeds, st.booleans())
@settings(deadline=None, max_examples=25)
def test_sizes_are_exact_and_sides_are_kept(sides, wanted, seed, stratified):
    _, is_test, codes, sizes = drawn(sides, wanted, seed, stratified=stratified)
    assert [int((codes == code).sum()) for code in range(4)] == list(sizes)
    assert is_test[codes == EXTRA].all()
    assert not is_test[(codes != EXTRA) & (codes != UNUSED)].any()
    assert set(codes.tolist()) <= {UNUSED, 0, 1, 2, 3}


@given(data_sets, counts, seeds)
@settings(deadline=None, max_examples=25)
def test_the_draw_is_reproducible_and_its_own_randomness(sides, wanted, seed):
    np.random.seed(1)
    _, _, first, _ = drawn(sides, wanted, seed)
    np.random.seed(2)
    np.testing.assert_array_equal(first, drawn(sides, wanted, seed)[2])


def test_another_seed_draws_otherwise():
    labels, is_test = np.arange(200) % 4, np.arange(200) >= 160
    one, other = (assign(labels, is_test, PartitionSpec(), seed=seed) for seed in (0, 1))
    assert (one != other).mean() > 0.1


@given(data_sets, counts, seeds)
@settings(deadline=None, max_examples=25)
def test_classes_are_in_proportion_to_about_one_sample_of_each(sides, wanted, seed):
    labels, is_test, codes, _ = drawn(sides, wanted, seed)
    for names, side in (((SHARED, CANDIDATE, INDEPENDENT), ~is_test), ((EXTRA,), is_test)):
        for code in names:
            for label in np.unique(labels[side]):
                share = (labels[side] == label).mean()
                off = ((codes == code) & (labels == label)).sum() - (codes == code).sum() * share
                assert abs(off) <= 1 + share * max(0, len(np.unique(labels[side])) - 2)


def test_fractions_are_of_the_train_side():
    labels, is_test = np.arange(500) % 5, np.arange(500) >= 400
    codes = assign(labels, is_test, PartitionSpec(shared=0.5, candidate=0.25, independent=40, extra=0.125), seed=0)
    assert [int((codes == code).sum()) for code in range(4)] == [200, 100, 40, 50]


@pytest.mark.parametrize("n", [11, 15, 101, 1347])
@pytest.mark.parametrize("name", NAMED)
def test_named_partitions_fill_a_train_side_of_any_size(name, n):
    is_test = np.arange(2 * n) >= n
    codes = assign(np.zeros(2 * n, int), is_test, PartitionSpec.model_validate(name), seed=0)
    fractions = NAMED[name]
    left_out = 1 - sum(fractions[partition] for partition in PARTITIONS[:3])
    assert (codes[~is_test] == UNUSED).sum() <= left_out * n + 1
    for code, partition in enumerate(PARTITIONS):
        assert abs((codes == code).sum() - fractions[partition] * n) <= 2


def test_halves_share_nothing():
    labels, is_test = np.arange(300) % 3, np.arange(300) >= 240
    codes = assign(labels, is_test, PartitionSpec.model_validate("halves"), seed=0)
    f, g = (training_slots(codes, labels, family) for family in "fg")
    assert len(f) == len(g) == 120
    assert not set(f) & set(g)
    np.testing.assert_array_equal(labels[f], labels[g])


def test_trained_on_by_hand():
    seen = trained_on(np.array([SHARED, CANDIDATE, INDEPENDENT, EXTRA, UNUSED]), ["f", "g", "f"])
    assert seen.dtype == bool
    assert seen.astype(int).tolist() == [[1, 1, 1], [1, 0, 1], [0, 1, 0], [0, 0, 0], [0, 0, 0]]


@given(data_sets, counts, seeds)
@settings(deadline=None, max_examples=25)
def test_slots_hold_what_the_family_is_trained_on(sides, wanted, seed):
    labels, _, codes, _ = drawn(sides, wanted, seed)
    for column, family in enumerate("fg"):
        slots = training_slots(codes, labels, family)
        assert len(set(slots.tolist())) == len(slots)
        assert sorted(slots) == np.flatnonzero(trained_on(codes, ["f", "g"])[:, column]).tolist()


@given(data_sets, counts, seeds)
@settings(deadline=None, max_examples=25)
def test_slots_match_samples_and_then_classes(sides, wanted, seed):
    labels, _, codes, sizes = drawn(sides, wanted, seed)
    f, g = (training_slots(codes, labels, family) for family in "fg")
    n = sizes[0]
    np.testing.assert_array_equal(f[:n], g[:n])
    both = min(sizes[1:3])
    matched = int((labels[f[n : n + both]] == labels[g[n : n + both]]).sum())
    possible = sum(min(((codes == code) & (labels == label)).sum() for code in (CANDIDATE, INDEPENDENT)) for label in range(5))
    assert matched == possible


@pytest.mark.parametrize(
    ("sizes", "telling"),
    [
        ({"shared": 81, "candidate": 10, "independent": 10}, "shared 81, .* are 101 samples of the train split, which has 100"),
        ({"extra": 11}, "partition.extra: 11 .* has 10"),
        ({"candidate": 0}, "partition.candidate: at least 1"),
        ({"independent": 0.001}, "partition.independent: at least 1"),
    ],
)
def test_what_cannot_be_drawn_is_told(sizes, telling):
    with pytest.raises(UserError, match=telling):
        assign(np.zeros(110, int), np.arange(110) >= 100, PartitionSpec(**sizes), seed=0)


@pytest.mark.parametrize("value", [-1, 1.5, -0.1, float("nan"), "3", True, None])
def test_an_amount_is_a_count_or_a_fraction(value):
    with pytest.raises(ValueError, match=r"a count of samples|True, a number is needed"):
        PartitionSpec(shared=value)
    assert PartitionSpec(shared=1).shared == 1
    assert isinstance(PartitionSpec(shared=1.0).shared, float)
