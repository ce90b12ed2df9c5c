"""Training samples of encoders, and what follows for families, partitions and scores.

Encoders of the same training samples are a family. Two families are f and g, and the partition is the paper's: seen by both shared, by f
alone candidate, by g alone independent, by none extra. More families are numbered subsets: samples that some saw and others did not are
candidates. Where no sample was both trained on and left out, or the training samples are not known, there are no memorization scores: the
mode is ``one model``.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from sslmem_kit.errors import UserError
from sslmem_kit.names import FAMILIES, ONE_MODEL, PAIR, PARTITION_CODE, SUBSET


@dataclass(frozen=True)
class Membership:
    """Training samples of encoders, with their families, partitions and mode.

    Attributes
    ----------
    trained_on
        (sample, encoder) bool; None where it is not known.
    families, designs
        One of each encoder.
    codes
        Partition code of each sample; None where ``trained_on`` is None.
    mode
        ``pair``, ``subset`` or ``one model``.
    """

    trained_on: np.ndarray | None
    families: tuple[str, ...]
    designs: tuple[str, ...]
    codes: np.ndarray | None
    mode: str


def membership(ids: Sequence[str], trained_on: np.ndarray | None, families: Sequence[str | None]) -> Membership:
    """Derive families, partitions and mode from the training samples of encoders.

    Parameters
    ----------
    ids
        Ids of the encoders, for errors.
    trained_on
        (sample, encoder) bool, or None.
    families
        f, g or a number for each, or None for all.

    Raises
    ------
    UserError
        Encoders of one family were trained on different samples.
    """
    if trained_on is None:
        named = tuple(family or "0" for family in families)
        return Membership(None, named, _designs(named), None, ONE_MODEL)
    named = _named(trained_on) if None in families else tuple(families)
    first = {family: named.index(family) for family in named}
    for place, family in enumerate(named):
        differing = int((trained_on[:, place] != trained_on[:, first[family]]).sum())
        if differing:
            raise UserError(
                f"encoders: {ids[first[family]]} and {ids[place]} are of family {family!r} but were trained on different samples "
                f"({differing} differ); encoders of a family share them, leave family out to have it found"
            )
    if set(FAMILIES) <= set(named):
        f, g = (trained_on[:, first[family]] for family in FAMILIES)
        codes, mode = _codes(f & g, f & ~g, g & ~f), PAIR if (f != g).any() else ONE_MODEL
    else:
        all_, some = trained_on.all(axis=1), trained_on.any(axis=1)
        codes, mode = _codes(all_, some & ~all_, np.zeros_like(some)), SUBSET if (some & ~all_).any() else ONE_MODEL
    return Membership(trained_on, named, _designs(named), codes, mode)


def _named(trained_on: np.ndarray) -> tuple[str, ...]:
    """Name families by equal columns, in order of appearance: f, or f and g, or numbers."""
    keys = [column.tobytes() for column in np.packbits(trained_on, axis=0).T]
    order = list(dict.fromkeys(keys))
    names = FAMILIES if len(order) <= len(FAMILIES) else [str(number) for number in range(len(order))]
    return tuple(names[order.index(key)] for key in keys)


def _designs(families: Sequence[str]) -> tuple[str, ...]:
    return tuple(PAIR if family in FAMILIES else SUBSET for family in families)


def _codes(shared: np.ndarray, candidate: np.ndarray, independent: np.ndarray) -> np.ndarray:
    codes = np.full(len(shared), PARTITION_CODE["extra"], np.int8)
    for name, members in (("shared", shared), ("candidate", candidate), ("independent", independent)):
        codes[members] = PARTITION_CODE[name]
    return codes
