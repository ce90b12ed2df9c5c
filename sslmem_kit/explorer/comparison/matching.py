"""Comparison of two sides: their samples matched by id, and the statistics of the pairs of values.

Equal ids mean the same sample only in studies of the same data, those with the same ``data_fingerprint``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import xarray as xr

from sslmem_kit.errors import UserError
from sslmem_kit.explorer.comparison.sides import Side
from sslmem_kit.explorer.study_cache import OpenStudy
from sslmem_kit.statistics import highest, rank_agreement, top_overlap

MOST_POINTS = 20_000
"""Largest number of points that are drawn."""
TOP = 12
"""Number of samples in a gallery."""

Top = tuple[np.ndarray, np.ndarray]


@dataclass(frozen=True, eq=False)
class Findings:
    """Results of a comparison.

    Attributes
    ----------
    ranks, overlap
        Results of :func:`~sslmem_kit.statistics.rank_agreement` and :func:`~sslmem_kit.statistics.top_overlap`.
    moved
        Number of samples that are in another partition on the right than on the left.
    ids, left, right
        (point,) ids and values of the samples that are drawn, at most ``MOST_POINTS`` evenly chosen ones.
    tops
        Ids and values of the highest samples, on the left and on the right.
    """

    ranks: xr.Dataset
    overlap: xr.Dataset
    moved: int
    ids: np.ndarray
    left: np.ndarray
    right: np.ndarray
    tops: tuple[Top, Top]

    @property
    def nbytes(self) -> int:
        """Size in bytes, for the cache; numbers and tops are a few kilobytes."""
        return self.ids.nbytes + self.left.nbytes + self.right.nbytes + 4096


def same_samples(first: OpenStudy, second: OpenStudy) -> bool:
    """Return whether equal ids mean the same sample in two studies that have results."""
    return first.key == second.key or (bool(first.fingerprint) and first.fingerprint == second.fingerprint)


def check_same_samples(first: OpenStudy, second: OpenStudy) -> None:
    """Raise a UserError that says why the samples of two studies cannot be matched, if they cannot."""
    for study in (first, second):
        if study.tree is None:
            raise UserError(f"{study.key}: {study.problem}")
    if same_samples(first, second):
        return
    if not (first.fingerprint and second.fingerprint):
        raise UserError(
            f"It is not known whether {first.key!r} and {second.key!r} hold the same samples, because a fingerprint of the data is "
            "missing: choose two sides of one study."
        )
    raise UserError(
        f"{first.key!r} and {second.key!r} are studies of different data, so their samples cannot be matched: choose two sides of one "
        "study, or a study of the same data."
    )


def compare(
    sides: tuple[Side, Side], studies: tuple[OpenStudy, OpenStudy], protocol: str, *, within: tuple[OpenStudy, np.ndarray]
) -> Findings:
    """Compare two sides on the samples that both have.

    Parameters
    ----------
    sides, studies
        Left and right; the studies have passed :func:`check_same_samples`.
    within
        A study and the positions there of the samples that are compared, ascending. Where it is of other data, all samples are.

    Raises
    ------
    UserError
        A side does not have the protocol, or its store is damaged.
    """
    opened, shown = within
    first, second = studies
    ids = opened.ids[shown] if same_samples(opened, first) else first.ids
    for study in studies:
        ids = ids[np.isin(ids, study.ids, assume_unique=True)]
    places = first.positions(ids), second.positions(ids)
    left, right = (side.values(study, protocol)[at] for side, study, at in zip(sides, studies, places, strict=True))
    return find(ids, left, right, moved=first.partitions[places[0]] != second.partitions[places[1]])


def find(ids: np.ndarray, left: np.ndarray, right: np.ndarray, *, moved: np.ndarray) -> Findings:
    """Compare values of the same samples, all (sample,); samples without a finite value on both sides are excluded."""
    defined = np.isfinite(left) & np.isfinite(right)
    ids, left, right = ids[defined], left[defined], right[defined]
    drawn = np.linspace(0, len(ids) - 1, min(len(ids), MOST_POINTS)).astype(np.int64)
    tops = [(ids[best], values[best]) for values in (left, right) for best in [highest(values, TOP)]]
    return Findings(
        ranks=rank_agreement(left, right),
        overlap=top_overlap(left, right),
        moved=int(moved[defined].sum()),
        ids=ids[drawn],
        left=left[drawn],
        right=right[drawn],
        tops=(tops[0], tops[1]),
    )
