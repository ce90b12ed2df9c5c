"""Numbers and shares of samples above the threshold: tables by partition and by class. A click on a class filters by it, or no longer."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

import numpy as np
import param
from panel.custom import JSComponent

from sslmem_kit.explorer.session import Session
from sslmem_kit.names import COLOURS, GROUP, PARTITIONS, SSLMEM
from sslmem_kit.statistics import wilson_interval
from sslmem_kit.statistics.clusters import units_by_partition
from sslmem_kit.store.files import read_beside

PAGE = 50
"""Number of classes that are sent at first, and with each request for more."""
ORDERS = ("class", "above", "samples", "share")


@dataclass(frozen=True)
class Ordered:
    """Finite scores of a study, ascending within each partition.

    Attributes
    ----------
    everything
        All of them, one partition after the other.
    parts
        Scores of each partition.
    """

    everything: np.ndarray
    parts: dict[str, np.ndarray]

    def candidates(self) -> np.ndarray:
        """Return the scores, ascending, of the candidates, among which quantiles of the threshold are; of all samples where there are none."""
        candidates = self.parts["candidate"]
        return candidates if len(candidates) else np.sort(self.everything)


def ordered(session: Session) -> Ordered:
    """Return the scores of a session, sorted once for all sessions that show the same ones."""
    opened = session.opened
    values = session.scores[SSLMEM].values
    codes = np.where(np.isfinite(values), opened.partitions, len(PARTITIONS))

    def make() -> np.ndarray:
        return np.concatenate([np.sort(values[codes == code]) for code in range(len(PARTITIONS))])

    whole = opened.cache.get((opened.key, opened.stamp, "ordered", session.protocol, session.encoders), make)
    ends = np.cumsum(np.bincount(codes, minlength=len(PARTITIONS))[: len(PARTITIONS) - 1])
    return Ordered(whole, dict(zip(PARTITIONS, np.split(whole, ends), strict=True)))


class ShareTables(JSComponent):
    """Front end of the two tables. A row is a name, its mark (colour; whether it is chosen), above, samples, share, and the interval's ends."""

    partitions = param.List([])
    classes = param.List([], doc="At most `count` rows, in the order `order`.")
    total = param.Integer(0, doc="Number of classes.")
    text = param.String("", doc="Text shown where there are no classes.")
    order = param.List(["share", False], doc="Column, and whether ascending; set by the browser too.")
    count = param.Integer(PAGE, doc="Number of classes to show; set by the browser too.")

    _esm = read_beside(__file__, "shares.js")
    _stylesheets = [read_beside(__file__, "shares.css")]


class Shares:
    """Numbers and shares above the limit of a session: of each partition, and of each class within the shown partitions."""

    def __init__(self, session: Session) -> None:
        self.session = session
        self.view = ShareTables(sizing_mode="stretch_width", margin=(4, 10))
        self._ordered: Ordered | None = None
        self._among = np.empty(0, bool)
        self._sizes = self._units = np.empty(0, np.int64)
        self.view.on_msg(self._toggle)
        session.param.watch(self._update, ["opened", "scores", "limit", "partition", "classes"])
        self.view.param.watch(self._list, ["order", "count"])
        self._update()

    def _toggle(self, event: Any) -> None:
        """Add a class that was clicked to the chosen ones, or remove it if it is one of them."""
        name, chosen = event.data.get("toggle"), self.session.classes
        if self.session.opened.tree is not None and name in self.session.opened.class_names:
            self.session.classes = [kept for kept in chosen if kept != name] if name in chosen else [*chosen, name]

    def _update(self, *events: Any) -> None:
        changed, session = {event.name for event in events}, self.session
        if session.scores is None:
            self._ordered = None
            self.view.param.update(partitions=[], classes=[], total=0, text="")
            return
        if self._ordered is None or changed & {"opened", "scores"}:
            self._ordered = ordered(session)
        if not changed or changed & {"opened", "scores", "partition"}:
            wanted = np.array([not session.partition or name in session.partition for name in PARTITIONS])
            self._among = wanted[session.opened.partitions]
            self._sizes = self._count(self._among)
            self._units = self._sizes if GROUP not in session.scores.coords else self._count(_first_of_groups(session, self._among))
        if not changed or changed & {"opened", "scores", "limit"}:
            self.view.partitions = self._partition_rows()
        self._list()

    def _partition_rows(self) -> list[list[Any]]:
        names, parts = list(self._ordered.parts), self._ordered.parts.values()
        # A limit of another type than the scores' would have all of them converted.
        above = [len(part) - int(np.searchsorted(part, part.dtype.type(self.session.limit), side="right")) for part in parts]
        samples, groups = np.array([len(part) for part in parts]), units_by_partition(self.session.scores)
        units = samples if groups is None else np.array([len(np.unique(groups[name])) for name in names])
        return _rows(names, [COLOURS[name] for name in names], np.array(above), samples, units)

    def _list(self, *_: Any) -> None:
        """Send the classes, at most ``count`` of them, in the order ``order``."""
        if self.session.scores is None:
            return
        present = np.flatnonzero(self._sizes)
        samples = self._sizes[present]
        above = self._count(self._among & (self.session.scores[SSLMEM].values > self.session.limit))[present]
        key, ascending = self.view.order
        columns = {"class": present, "above": above, "samples": samples, "share": above / samples}
        if key not in columns or self.view.count < 1:
            return
        order = np.argsort(columns[key] if ascending else -columns[key], kind="stable")[: self.view.count]
        names = [self.session.opened.class_names[label] for label in present[order]]
        self.view.param.update(
            classes=_rows(
                names, [name in self.session.classes for name in names], above[order], samples[order], self._units[present][order]
            ),
            total=len(present),
            text="" if len(present) else "The shown partitions have no samples: choose others in the filters.",
        )

    def _count(self, among: np.ndarray) -> np.ndarray:
        """Count the samples of each class, (class,)."""
        return np.bincount(self.session.opened.labels[among], minlength=len(self.session.opened.class_names))


def _first_of_groups(session: Session, among: np.ndarray) -> np.ndarray:
    """Mark one sample of each class of each group, of those that are marked, (sample,) bool."""
    groups, opened = session.scores[GROUP].values, session.opened
    positions = np.flatnonzero(among)
    # A group may have several classes, as frames of a video may.
    pairs = groups[positions].astype(np.int64) * len(opened.class_names) + opened.labels[positions]
    marked = np.zeros(len(among), bool)
    marked[positions[np.unique(pairs, return_index=True)[1]]] = True
    return marked


def _rows(names: list[str], marks: list[Any], above: np.ndarray, samples: np.ndarray, units: np.ndarray) -> list[list[Any]]:
    """Return the rows of a table; the share of no samples is None. Intervals are as wide as those of as many samples as there are units."""
    low, high = wilson_interval(above * (units / np.maximum(samples, 1)), units)
    return [
        [name, mark, int(k), int(n), *(([float(k / n), float(a), float(b)]) if n else [None] * 3)]
        for name, mark, k, n, a, b in zip(names, marks, above, samples, low, high, strict=True)
    ]
