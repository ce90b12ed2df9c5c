"""Candidates by coin: fair and independent, a slot for each sample, and no other slot touched."""

from __future__ import annotations

import numpy as np
import pytest
from scipy import stats

from sslmem_kit.data.partition import EMPTY, UNUSED, assign, by_coin, training_slots
from sslmem_kit.data.samples import load_samples
from sslmem_kit.errors import UserError
from sslmem_kit.spec.loading import parse_spec
from sslmem_kit.spec.partition import PartitionSpec
from sslmem_kit.training.setup import epoch_order

SHARED, CANDIDATE, INDEPENDENT, EXTRA = range(4)
SPEC = {
    "name": "coins",
    "data": {"name": "digits"},
    "partition": {"coin": True},
    "training": {"seeds": 1, "epochs": 1, "warmup_epochs": 0, "batch_size": 64},
}


def study(**sections):
    return parse_spec({**SPEC, **sections}, where="test")


def test_the_pool_is_that_of_the_split_of_fixed_size():
    labels, is_test = np.arange(500) % 5, np.arange(500) >= 400
    fixed, coins = (assign(labels, is_test, PartitionSpec(coin=coin), seed=3) for coin in (False, True))
    pool = np.isin(fixed, [CANDIDATE, INDEPENDENT])
    np.testing.assert_array_equal(fixed[~pool], coins[~pool])
    assert set(coins[pool].tolist()) == {CANDIDATE, INDEPENDENT}
    np.testing.assert_array_equal(coins, assign(labels, is_test, PartitionSpec(coin=True), seed=3))


def test_coins_are_fair_and_independent_of_each_other_and_of_the_rest():
    codes = np.repeat([0, 1, 2], 40)
    heads = np.stack([by_coin(codes, seed=seed)[40:] == CANDIDATE for seed in range(2000)])
    assert stats.binomtest(int(heads.sum()), heads.size).pvalue > 0.001
    spread = heads.sum(axis=1).var()
    assert 18 < spread < 22.5  # 80 coins: 20; a split of fixed size: 0
    correlation = np.corrcoef(heads.T)[np.triu_indices(80, 1)]
    assert np.abs(correlation).max() < 5 / np.sqrt(2000)
    first = stats.chi2_contingency([[(heads[:, 0] & heads[:, 79]).sum(), (heads[:, 0] & ~heads[:, 79]).sum()],
                                    [(~heads[:, 0] & heads[:, 79]).sum(), (~heads[:, 0] & ~heads[:, 79]).sum()]])  # fmt: skip
    assert first.pvalue > 0.001


def test_a_coin_follows_from_the_sample_alone():
    codes = np.repeat([0, 1, 2], 40)
    other = codes.copy()
    other[40:50] = 0
    np.testing.assert_array_equal(by_coin(codes, seed=1)[50:], by_coin(other, seed=1)[50:])


def test_a_group_has_one_coin():
    groups = np.arange(300) // 3 * 3
    codes = assign(np.zeros(300, int), np.arange(300) >= 270, PartitionSpec(shared=0, candidate=0.5, independent=0.5, coin=True),
                   seed=0, groups=groups)  # fmt: skip
    for group in np.unique(groups[:270]):
        assert len(np.unique(codes[groups == group])) == 1
    assert {CANDIDATE, INDEPENDENT} <= set(codes.tolist())


def test_slots_of_f_and_g_are_each_others_gaps():
    codes = assign(np.arange(500) % 5, np.arange(500) >= 400, PartitionSpec(coin=True), seed=0)
    f, g = (training_slots(codes, np.arange(500) % 5, family, coin=True) for family in "fg")
    assert len(f) == len(g) == np.isin(codes, [SHARED, CANDIDATE, INDEPENDENT]).sum()
    shared = (codes == SHARED).sum()
    np.testing.assert_array_equal(f[:shared], g[:shared])
    assert ((f[shared:] == EMPTY) != (g[shared:] == EMPTY)).all()
    assert (codes[f[f != EMPTY]] != INDEPENDENT).all()
    assert (codes[g[g != EMPTY]] != CANDIDATE).all()


def test_one_other_coin_changes_one_slot_and_few_places_of_the_order():
    """What takes the place of empty slots is shifted by one, nothing else."""
    import torch

    codes = assign(np.zeros(500, int), np.arange(500) >= 400, PartitionSpec(coin=True), seed=0)
    other = codes.copy()
    changed = np.flatnonzero(codes == CANDIDATE)[3]
    other[changed] = INDEPENDENT
    slots = [training_slots(these, np.zeros(500, int), "f", coin=True) for these in (codes, other)]
    assert (slots[0] != slots[1]).sum() == 1
    orders = [epoch_order(torch.from_numpy(each != EMPTY), 5).numpy() for each in slots]
    assert (orders[0][: len(orders[1])] != orders[1]).mean() < 0.15


def test_samples_of_a_study_by_coin():
    spec = study()
    samples = load_samples(spec)
    f, g = spec.pairs
    ids = [samples.slots(plan) for plan in (f, g)]
    assert len(ids[0]) == len(ids[1])
    assert samples.batches(f) == samples.batches(g)
    assert samples.record["coin"]["coins"] == 288
    codes = samples.codes[samples.scored]
    np.testing.assert_array_equal(samples.trained_on((f, g))[codes == CANDIDATE], [[True, False]] * (codes == CANDIDATE).sum())
    assert not (ids[0] == UNUSED).all()


def test_subsets_of_a_study_by_coin_do_not_depend_on_the_coins():
    spec = study(design={"subsets": {"repeats": 2}})
    samples = load_samples(spec)
    plans = [plan for plan in spec.encoders if plan.design == "subset"]
    pool = np.isin(samples.codes, [SHARED, CANDIDATE, INDEPENDENT])
    assert set(np.concatenate([samples.training(plan) for plan in plans[:2]])) == set(samples.dataset.ids[pool])
    swapped = samples.codes.copy()
    swapped[samples.codes == CANDIDATE], swapped[samples.codes == INDEPENDENT] = INDEPENDENT, CANDIDATE
    turned = type(samples)(samples.dataset, swapped, swapped, spec)
    for plan in plans:
        np.testing.assert_array_equal(samples.slots(plan), turned.slots(plan))


def test_private_batches_do_not_depend_on_the_coins():
    spec = study(
        training={**SPEC["training"], "privacy": {"epsilon": 8}}, objective={"method": "mae"},
        encoder={"backbone": "vit_tiny_patch16_224", "options": {"patch_size": 4}},
    )  # fmt: skip
    samples = load_samples(spec)
    f, g = spec.pairs
    shared = (samples.codes == SHARED).sum()
    assert samples.sampled_from(f) == samples.sampled_from(g) == shared + 144
    assert samples.batches(f) == samples.batches(g)


def test_too_few_coins_and_removal_are_refused():
    with pytest.raises(UserError, match=r"partition.coin: .*19 samples.*at least 20"):
        assign(np.zeros(60, int), np.arange(60) >= 50, PartitionSpec(shared=31, candidate=10, independent=9, coin=True), seed=0)
    with pytest.raises(UserError, match="give one of both"):
        study(partition={"coin": True, "remove": "some.npz"})


def test_the_hash_of_a_study_without_coins_is_as_before():
    spec = study(partition={})
    assert "coin" not in spec._counting["partition"]
    assert study().hash != spec.hash == study(partition={"coin": False}).hash
