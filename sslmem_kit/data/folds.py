"""Samples of the encoders that a study trains beside its pairs of f and g: on random subsets, and on all samples but one.

Random subsets (Feldman and Zhang 2020, carried to SSLMem): the train split of the partition is cut at random into folds, and for each fold an
encoder is trained on all others; again and again with other cuts. So every training sample is in and out of many encoders, equally often, and
:func:`sslmem_kit.scores.leave_out` scores them all. Leave-one-out: of one seed, one encoder on family f's samples, and for each of some
candidates one on the same samples without it: the definition itself (eq. 2), as the ground truth of a small study.
"""

from __future__ import annotations

import numpy as np

from sslmem_kit.data.groups import units
from sslmem_kit.data.partition import in_random_order
from sslmem_kit.errors import UserError


def folds(labels: np.ndarray, count: int, *, stratified: bool, seed: int, groups: np.ndarray | None = None) -> np.ndarray:
    """Assign samples at random to ``count`` folds, whose sizes differ by at most one: the fold of each, (sample,) integer.

    Groups are kept whole; sizes of folds then differ by up to a group.

    Parameters
    ----------
    labels
        Class of each sample, (sample,) integer.
    count
        Number of folds.
    stratified
        True for folds that hold the classes in proportion.
    seed
        Seed of the assignment.
    groups
        Group of each sample, (sample,); None: each is alone.

    Examples
    --------
    >>> folds(np.zeros(6, int), 2, stratified=False, seed=0, groups=np.array([0, 0, 0, 1, 2, 3]))
    array([0, 0, 0, 1, 1, 1])
    """
    if groups is not None:
        unit, size, labels = units(groups, labels)
        order = in_random_order(labels, np.random.Generator(np.random.Philox(seed)), stratified=stratified)
        fold = np.empty(len(size), np.int64)
        fold[order] = (np.cumsum(size[order]) - size[order]) * count // size.sum()  # by where a group starts
        return fold[unit]
    order = in_random_order(labels, np.random.Generator(np.random.Philox(seed)), stratified=stratified)
    fold = np.empty(len(labels), np.int64)
    # Consecutive parts of the order, not every count-th of it: classes alternate there, and a fold would get some of them whole.
    fold[order] = np.arange(len(labels)) * count // len(labels)
    return fold


def left_out_candidates(labels: np.ndarray, count: int, *, stratified: bool, seed: int) -> np.ndarray:
    """Return the positions, among the candidates, of those that are left out in turn, (place,).

    Raises
    ------
    UserError
        There are fewer candidates.
    """
    if count > len(labels):
        raise UserError(f"design.leave_one_out.samples: {count} candidates are asked for, the partition has {len(labels)}")
    return in_random_order(labels, np.random.Generator(np.random.Philox(seed)), stratified=stratified)[:count]
