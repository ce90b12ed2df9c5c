"""Names, groups and dimensions of a store."""

from __future__ import annotations

import itertools

import numpy as np

from sslmem_kit.names import (
    ALIGNMENT,
    AUGMENTATION,
    ENCODER,
    LAYER,
    PARTITION,
    SAMPLE,
    UNIT,
    VIEW,
    VIEW_WITH_VIEW,
)

SCHEMA_VERSION = 1

RECORDED = ("probe_accuracy", "feature_std", "effective_rank", "embedding_std")
"""Variables recorded of an encoder at each recorded epoch, beside alignment: one number each."""

PROBES = ("linear", "knn", "centroid")

MOST_CONFUSED = 200
"""Classes of a task with more of which there is no ``confusion``."""

PER_ENCODER = {
    "training": ("loss", "learning_rate"),
    "trajectory": (ALIGNMENT, *RECORDED),
    "downstream": ("accuracy",),
}
"""Groups whose arrays hold one row an encoder, and their variables."""

ORIGINAL = ("height", "width")
"""Variables of ``/images`` that say how large an image was, on ``sample``; missing from older stores."""

KEPT, RANK = "kept", "rank"

DETAILS = {
    "views": {"thumbnail": (KEPT, VIEW, "y", "x", "channel")},
    "neighbours": {"neighbour": (KEPT, ENCODER, RANK), "distance": (KEPT, ENCODER, RANK)},
}
"""Groups that :mod:`sslmem_kit.store.details` adds to a scored store, their variables and dimensions; they may be missing. ``kept`` is a
dimension of its own, because a group inherits ``sample`` from the root, where it is longer."""

DUPLICATES, PAIR_OF_TWINS = "duplicates", "pair"

TWINS = {
    DUPLICATES: {
        **dict.fromkeys(("first", "second", "distance", "by"), (PAIR_OF_TWINS,)),
        "twin_group": (SAMPLE,),
        "twins": (SAMPLE, PARTITION),
    }
}
"""The group of near-duplicates among scored samples, its variables and dimensions; missing from older stores."""

LAYERS, UNITS = "layers", "units"

COMMON = "common"
"""Group of a study with ``scoring.common_policy``: ``alignment`` as in the root, of views by that policy; written with each block of scores."""

SECOND = {COMMON: {ALIGNMENT: (SAMPLE, AUGMENTATION, ENCODER)}}

LOCALIZED = {
    LAYERS: {ALIGNMENT: (SAMPLE, ENCODER, LAYER)},
    UNITS: dict.fromkeys(("unit_mem", "standard_error", "response", "background", "strongest"), (ENCODER, UNIT)),
}
"""Groups of a study with ``scoring.layers``: alignment by layer, the mean over augmentations, written with each block of scores; and what
:mod:`sslmem_kit.store.details` adds about units."""

COMPARISONS = "comparisons"
"""Group of the groups that :mod:`sslmem_kit.store.comparisons` adds, one a comparison."""

UNIT_RULE = "strongest sample chosen on one half of the views and measured on the other, both ways"
OLD_UNIT_RULE = "strongest sample chosen and measured on the same views, which for pure noise gives .26 to .69"
"""Rules of UnitMem, attribute ``rule`` of ``/units``, which older stores do not have; nor do they have ``null``, what chance gives."""


def view_pairs(views: int) -> list[tuple[int, int]]:
    """Return all pairs among the clean image (0) and ``views`` random views, in the order of the augmentation axis."""
    return list(itertools.combinations(range(views + 1), 2))


def pair_weights(views: int) -> np.ndarray:
    """Return the weights of the mean over :func:`view_pairs`, (augmentation,): one random view has pairs of one kind alone.

    Examples
    --------
    >>> pair_weights(2).round(2)
    array([0.17, 0.17, 0.67])
    """
    clean = np.array([first == 0 for first, _ in view_pairs(views)])
    if clean.all():
        return np.full(len(clean), 1 / len(clean))
    return np.where(clean, (1 - VIEW_WITH_VIEW) / clean.sum(), VIEW_WITH_VIEW / (~clean).sum())


def mean_of_pairs(distances: np.ndarray, views: int) -> np.ndarray:
    """Return the mean over pairs of views by :func:`pair_weights`: (sample, augmentation) -> (sample,), each row as if it were alone.

    Examples
    --------
    >>> mean_of_pairs(np.array([[0.0, 0.0, 0.9]]), 2).round(2)
    array([0.6])
    """
    return (distances * pair_weights(views).astype(distances.dtype)).sum(axis=1)
