"""Partition of the samples: those that the encoders of each family are trained on.

The paper's partition (section 4): shared S_S seen by f and g, candidates S_C by f only, independents S_I by g only (so that g is
not trained on less), extra S_E from the test split by neither. Overlap variants change the fractions; disjoint halves share nothing.

By coin (``partition.coin``) candidates and independents are one pool, whose samples are one or the other by a fair coin each. Of the pool
slot j holds a sample under f and is empty under g, or the other way round, so that all others keep their slots and views: f and g then differ
by whether a sample is there, not by what is there in its place, as add-or-remove neighbours of differential privacy do.
"""

from __future__ import annotations

import numpy as np

from sslmem_kit.data.groups import units
from sslmem_kit.errors import UserError
from sslmem_kit.names import FAMILIES, PARTITION_CODE
from sslmem_kit.spec.partition import PartitionSpec, RemovalSpec

UNUSED = -1
"""Code of a sample that belongs to no partition."""
EMPTY = -1
"""Position in a slot that holds no sample."""
FEWEST_COINS = 20
"""Number of coins below which a pool is refused: an audit of fewer shows next to nothing, even of a full leak."""
COIN = 0xC011
"""Second word of the key of the coins, so that they are independent of the order that makes the pool."""


def assign(
    labels: np.ndarray, is_test: np.ndarray, spec: PartitionSpec, *, seed: int, groups: np.ndarray | None = None
) -> np.ndarray:
    """Assign every sample to a partition at random.

    Parameters
    ----------
    labels
        Class of each sample, (sample,) integer.
    is_test
        True for samples of the test split, (sample,) bool.
    spec
        Sizes; shared, candidate and independent come from the train split, extra from the test split.
    seed
        Seed of the assignment.
    groups
        Group of each sample, (sample,); None: each is alone. A group goes whole into the first of candidate, independent and shared that has
        room for it, so that a partition may stay a little below its size; held-out members of a group that also has others are in none.

    Returns
    -------
    (sample,) int8: 0 shared, 1 candidate, 2 independent, 3 extra, -1 in none of them. With ``spec.coin`` the numbers of candidates and
    independents are random, and their sum is what is asked for both.

    Raises
    ------
    UserError
        More samples are asked for than there are, no candidates, or too few coins.
    """
    train, test = np.flatnonzero(~is_test), np.flatnonzero(is_test)
    if groups is not None:
        test = test[~np.isin(groups[test], groups[train])]
    sizes = partition_sizes(spec, len(train))
    in_train = [name for name in PARTITION_CODE if name != "extra"]
    asked = sum(sizes[name] for name in in_train)
    excess = asked - len(train)
    if 0 < excess <= 2:
        # Fractions that add up to one may exceed it by rounding: shared samples are dropped, or else candidates and independents.
        if isinstance(spec.shared, float) and sizes["shared"] >= excess:
            sizes["shared"] -= excess
        elif isinstance(spec.candidate, float) and isinstance(spec.independent, float) and spec.candidate + spec.independent <= 1:
            sizes["candidate"] -= 1
            sizes["independent"] -= 1
        asked = sum(sizes[name] for name in in_train)
    try:
        _check(sizes, asked, len(train), len(test))
    except UserError as error:
        counts = np.unique(groups, return_counts=True)[1] if groups is not None else np.ones(1, int)
        if counts.max(initial=1) == 1:
            raise
        raise UserError(
            f"{error}; data.groups makes {len(counts):,} groups, the largest of {counts.max():,} of {len(labels):,} samples, each of which is "
            "held out, or in a partition, as a whole: ask for less, or give smaller groups"
        ) from None

    rng = np.random.Generator(np.random.Philox(seed))
    codes = np.full(len(labels), UNUSED, np.int8)
    for pool, names in ((train, ("candidate", "independent", "shared")), (test, ("extra",))):
        if groups is not None:
            wanted = {name: sizes[name] for name in names}
            codes[pool] = _whole_groups(groups[pool], labels[pool], wanted, rng, stratified=spec.stratified)
            continue
        order = pool[in_random_order(labels[pool], rng, stratified=spec.stratified)]
        start = 0
        for name in names:
            codes[order[start : start + sizes[name]]] = PARTITION_CODE[name]
            start += sizes[name]
    for name in ("candidate", "independent") if groups is not None else ():
        if not (codes == PARTITION_CODE[name]).any():
            raise UserError(
                f"partition.{name}: no group of data.groups has room in {sizes[name]} samples; ask for more, or for smaller groups"
            )
    return by_coin(codes, seed=seed, groups=groups) if spec.coin else codes


def by_coin(codes: np.ndarray, *, seed: int, groups: np.ndarray | None = None) -> np.ndarray:
    """Assign the candidates and independents anew, each by its own fair coin: heads is a candidate.

    The coin of a sample follows from the seed and its position alone (Philox, a counter), whatever else is in the pool; a group has that of
    its first member.

    Parameters
    ----------
    codes
        Partition codes, (sample,).
    seed
        Seed of the coins.
    groups
        Position of the first member of each sample's group, (sample,).

    Raises
    ------
    UserError
        The pool has fewer than 20 coins, or all fell on one side.

    Examples
    --------
    >>> by_coin(np.repeat([0, 1, 2], 12), seed=0)[12:]
    array([1, 1, 2, 2, 1, 1, 1, 2, 1, 2, 1, 2, 1, 2, 1, 1, 2, 1, 2, 2, 2, 1,
           1, 2])
    """
    sides = np.array([PARTITION_CODE["independent"], PARTITION_CODE["candidate"]], codes.dtype)
    pool = np.flatnonzero(np.isin(codes, sides))
    own = np.arange(len(codes)) if groups is None else groups
    coins = len(np.unique(own[pool]))
    if coins < FEWEST_COINS:
        raise UserError(
            f"partition.coin: candidates and independents together are {coins} {'samples' if groups is None else 'groups'}, at least "
            f"{FEWEST_COINS} coins are needed; ask for more candidates and independents"
        )
    key = np.array([seed, COIN], np.uint64)
    heads = np.random.Generator(np.random.Philox(key=key)).integers(0, 2, len(codes), dtype=np.uint8)
    assigned = codes.copy()
    assigned[pool] = sides[heads[own[pool]]]
    for name in ("candidate", "independent"):
        if not (assigned == PARTITION_CODE[name]).any():
            raise UserError(f"partition.coin: none of the {coins} coins made a sample {name}; take another seed")
    return assigned


def _whole_groups(
    groups: np.ndarray, labels: np.ndarray, wanted: dict[str, int], rng: np.random.Generator, *, stratified: bool
) -> np.ndarray:
    """Return the code of each sample, (sample,) int8, where groups, in random order, go into the first partition that has room for them."""
    unit, size, label = units(groups, labels)
    codes = np.full(len(size), UNUSED, np.int8)
    for number in in_random_order(label, rng, stratified=stratified).tolist():
        for name, room in wanted.items():
            if size[number] <= room:
                codes[number] = PARTITION_CODE[name]
                wanted[name] = room - int(size[number])
                break
    return codes[unit]


def take_out(codes: np.ndarray, removed: np.ndarray) -> np.ndarray:
    """Return partition codes after the samples at some positions have left their partitions; all others stay where they were.

    Raises
    ------
    UserError
        None of them is in a partition, or too little is left of one.
    """
    if (codes[removed] == UNUSED).all():
        raise UserError(f"partition.remove: none of the {len(removed)} listed samples is in a partition of this study")
    left = codes.copy()
    left[removed] = UNUSED
    for name in ("candidate", "independent"):
        if not (left == PARTITION_CODE[name]).any():
            total = int((codes == PARTITION_CODE[name]).sum())
            raise UserError(f"partition.remove: all {total} {name} samples are listed, at least 1 has to stay")
    for family, size in zip(FAMILIES, trained_on(left, list(FAMILIES)).sum(axis=0), strict=True):
        if size < 2:
            raise UserError(f"partition.remove: family {family} would train on {size} sample, at least 2 have to stay")
    return left


def trained_on(codes: np.ndarray, families: list[str]) -> np.ndarray:
    """Return whether an encoder of each family saw each sample: (sample, encoder) bool."""
    seen = {"f": ("shared", "candidate"), "g": ("shared", "independent")}
    return np.stack([np.isin(codes, [PARTITION_CODE[name] for name in seen[family]]) for family in families], axis=1)


def training_slots(codes: np.ndarray, labels: np.ndarray, family: str, *, coin: bool = False) -> np.ndarray:
    """Return the positions of the samples that a family trains on, in the order of their slots, -1 in empty ones.

    Slot s of f and slot s of g hold the same shared sample, or candidate i and independent i; these are matched by class as far as
    the classes go, so that coupled encoders differ by as little as possible. With ``coin`` every sample of both has a slot of its own, which
    is empty under the family that does not train on it.
    """
    shared = np.flatnonzero(codes == PARTITION_CODE["shared"])
    candidate = np.flatnonzero(codes == PARTITION_CODE["candidate"])
    independent = np.flatnonzero(codes == PARTITION_CODE["independent"])
    if coin:
        pool = np.sort(np.concatenate([candidate, independent]))
        own = PARTITION_CODE["candidate" if family == "f" else "independent"]
        return np.concatenate([shared, np.where(codes[pool] == own, pool, EMPTY)])
    matched = _match(labels[candidate], labels[independent])
    own = candidate[matched[0]] if family == "f" else independent[matched[1]]
    return np.concatenate([shared, own])


def _match(first: np.ndarray, second: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return orders of two label lists in which equal labels meet at equal positions as often as possible, the unmatched last."""
    pairs: tuple[list[int], list[int]] = ([], [])
    rest: tuple[list[int], list[int]] = ([], [])
    for label in np.union1d(first, second):
        a, b = np.flatnonzero(first == label), np.flatnonzero(second == label)
        both = min(len(a), len(b))
        for paired, unpaired, positions in zip(pairs, rest, (a, b), strict=True):
            paired.extend(positions[:both])
            unpaired.extend(positions[both:])
    return tuple(np.array(paired + unpaired, dtype=np.int64) for paired, unpaired in zip(pairs, rest, strict=True))


def partition_sizes(spec: PartitionSpec, train: int) -> dict[str, int]:
    """Return the size of each partition that is asked for, of a train split of ``train`` samples."""
    return {name: _count(getattr(spec, name), train) for name in PARTITION_CODE}


def _count(amount: int | float, total: int) -> int:
    return amount if isinstance(amount, int) else round(amount * total)


def _check(sizes: dict[str, int], asked: int, train: int, test: int) -> None:
    listed = ", ".join(f"{name} {size}" for name, size in sizes.items() if name != "extra")
    if asked > train:
        raise UserError(f"partition: {listed} are {asked} samples of the train split, which has {train}")
    if sizes["extra"] > test:
        raise UserError(f"partition.extra: {sizes['extra']} samples of the test split are asked for, which has {test}")
    for name in ("candidate", "independent"):
        if sizes[name] < 1:
            raise UserError(f"partition.{name}: at least 1 sample is needed, got {sizes[name]} of {train} in the train split")


def in_random_order(labels: np.ndarray, rng: np.random.Generator, *, stratified: bool) -> np.ndarray:
    """Return a random order of the samples; stratified: every stretch of it holds the classes in proportion, to about one sample."""
    order = rng.permutation(len(labels))
    if not stratified or not len(labels):
        return order
    classes, inverse, counts = np.unique(labels[order], return_inverse=True, return_counts=True)
    offset = rng.random(len(classes))
    rank = np.empty(len(order))
    for index in range(len(classes)):
        members = inverse == index
        rank[members] = np.arange(counts[index]) + offset[index]
    return order[np.argsort(rank / counts[inverse], kind="stable")]


def as_many(spec: RemovalSpec, codes: np.ndarray) -> np.ndarray:
    """Return positions of any candidates, as many as would leave the partition: the size of a study depends on their number."""
    candidates = np.flatnonzero(codes == PARTITION_CODE["candidate"])
    count = removed_amount(spec, len(candidates))
    return candidates[count:] if spec.way == "keep_highest" else candidates[:count]


def removed_amount(spec: RemovalSpec, candidates: int) -> int:
    """Return the number of candidates that a removal takes, out of ``candidates``."""
    amount = getattr(spec, spec.way)
    return amount if isinstance(amount, int) else round(amount * candidates)
