"""Names, groups and dimensions of a store."""

from __future__ import annotations

import itertools

from sslmem_kit.names import (
    ALIGNMENT,
    ENCODER,
    LAYER,
    PARTITION,
    SAMPLE,
    UNIT,
    VIEW,
)

SCHEMA_VERSION = 1

RECORDED = ("probe_accuracy", "feature_std", "effective_rank", "embedding_std")
"""Variables recorded of an encoder at each recorded epoch, beside alignment: one number each."""

PROBES = ("linear", "knn")

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

LOCALIZED = {
    LAYERS: {ALIGNMENT: (SAMPLE, ENCODER, LAYER)},
    UNITS: dict.fromkeys(("unit_mem", "standard_error", "response", "background", "strongest"), (ENCODER, UNIT)),
}
"""Groups of a study with ``scoring.layers``: alignment by layer, the mean over augmentations, written with each block of scores; and what
:mod:`sslmem_kit.store.details` adds about units."""


def view_pairs(views: int) -> list[tuple[int, int]]:
    """Return all pairs among the clean image (0) and ``views`` random views, in the order of the augmentation axis."""
    return list(itertools.combinations(range(views + 1), 2))
