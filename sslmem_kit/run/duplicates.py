"""Near-duplicates of a study's data, before anything is trained."""

from __future__ import annotations

import csv
import time
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sslmem_kit.data.duplicates import EXACT, Twins
from sslmem_kit.data.partition import UNUSED
from sslmem_kit.data.samples import StudySamples
from sslmem_kit.errors import UserError
from sslmem_kit.events import Message, OnEvent, ignore
from sslmem_kit.names import FILE, GROUP, PARTITION_CODE, SAMPLE
from sslmem_kit.report.export import FORMULA_START
from sslmem_kit.run.removal import study_samples
from sslmem_kit.spec.study import StudySpec
from sslmem_kit.statistics.duplicates import SEEN_BY_THE_OTHER, kept_whole
from sslmem_kit.store.files import appearing

TOLD_SECONDS = 5
"""Seconds between two reports of progress."""


@dataclass(frozen=True, eq=False)
class Found:
    """Near-duplicates of a study's data.

    Attributes
    ----------
    samples
        The study's samples.
    twins
        Near-duplicates among all of them.
    counts
        Twins of each sample by partition, (sample, partition); those in no partition are not counted.
    """

    samples: StudySamples
    twins: Twins
    counts: np.ndarray

    def across(self) -> dict[str, dict[str, int]]:
        """Count the samples of each partition that have a twin in each other one; 0 are left out."""
        codes = self.samples.codes
        table = {
            name: {other: int((self.counts[codes == code, at] > 0).sum()) for other, at in PARTITION_CODE.items() if other != name}
            for name, code in PARTITION_CODE.items()
        }
        return {name: {other: count for other, count in row.items() if count} for name, row in table.items()}

    def hidden(self) -> dict[str, int]:
        """Count the candidates, and the independent samples, of which the family that did not see them has seen a twin."""
        codes, hidden = self.samples.codes, {}
        for name, others in SEEN_BY_THE_OTHER.items():
            own = self.counts[codes == PARTITION_CODE[name]]
            hidden[name] = int((own[:, [PARTITION_CODE[other] for other in others]].sum(axis=1) > 0).sum())
        return hidden

    def as_json(self) -> dict[str, Any]:
        """Return all of it in JSON's types."""
        sizes = np.unique(self.twins.group, return_counts=True)[1]
        used = self.samples.codes != UNUSED
        twins = used & (self.counts.sum(axis=1) > 0)
        return {
            "images": len(self.twins.group),
            "samples": int(self.twins.has_twin.sum()),
            "groups": int((sizes > 1).sum()),
            "largest": int(sizes.max()),
            "pairs": len(self.twins.first),
            "exact": int((self.twins.by & EXACT > 0).sum()),
            "threshold": self.twins.threshold,
            "views_kept": self.twins.facts["views_kept"],
            "in_partitions": {
                "images": int(used.sum()),
                "samples": int(twins.sum()),
                "groups": len(np.unique(self.twins.group[twins])),
            },
            "kept_whole": kept_whole(self.twins.group, self.samples.dataset.groups),
            "across": {name: row for name, row in self.across().items() if row},
            "hidden": self.hidden(),
        }


def look(spec: StudySpec, *, on_event: OnEvent = ignore) -> Found:
    """Look for the near-duplicates of a study's data, with a message of progress every few seconds."""
    on_event(Message(f"reading {spec.data.name}"))
    samples = study_samples(spec)
    told = time.monotonic()

    def progress(done: int, total: int) -> None:
        nonlocal told
        if time.monotonic() - told > TOLD_SECONDS:
            told = time.monotonic()
            on_event(Message(f"looking for near-duplicates among {len(samples.dataset):,} images, {done / total:.0%} done"))

    on_event(Message(f"looking for near-duplicates among {len(samples.dataset):,} images"))
    twins = samples.find_twins(progress)
    unit = np.unique(twins.group, return_inverse=True)[1]
    members = np.zeros((unit.max() + 1, len(PARTITION_CODE)), np.int64)
    used = samples.codes != UNUSED
    np.add.at(members, (unit[used], samples.codes[used]), 1)
    counts = members[unit]
    counts[np.flatnonzero(used), samples.codes[used]] -= 1
    return Found(samples, twins, counts)


def as_text(found: Found) -> list[str]:
    """Put what was found into words, a line each."""
    facts = found.as_json()
    kept = "-" if facts["views_kept"] is None else f"{facts['views_kept']:.0%}"
    lines = [
        f"{facts['samples']:,} of {facts['images']:,} images have near-duplicates, in {facts['groups']:,} groups of at most "
        f"{facts['largest']:,}; {facts['exact']:,} of {facts['pairs']:,} pairs are exact (of weakly augmented views {kept} would be found)",
        "of the {images:,} in partitions, which a report is about, {samples:,} in {groups:,} groups".format(
            **facts["in_partitions"]
        ),
    ]
    lines += [f"{count:,} {name} also among {other}" for name, row in facts["across"].items() for other, count in row.items()]
    hidden = {name: count for name, count in facts["hidden"].items() if count}
    if hidden:
        words = " and ".join(f"{count:,} {name}" for name, count in hidden.items())
        lines.append(
            f"the memorization of {words} samples would be hidden, for the family that does not see them sees a twin; "
            "data.groups: near_duplicates keeps twins together"
        )
    if facts["kept_whole"]:
        lines.append("the groups of this study keep twins together (data.groups)")
    elif found.samples.dataset.groups is not None:
        lines.append("the groups of this study (data.groups) are others, and divide some near-duplicates")
    return lines


def write_table(found: Found, path: Path) -> None:
    """Write a row a sample: its id, file, partition, group and twins by partition."""
    if path.suffix != ".csv":
        raise UserError(f"--to: a file with the suffix .csv is written, got {path.name!r}")
    if path.exists():
        raise UserError(f"--to: {path} is already there and is not overwritten; choose another name")
    if not path.parent.is_dir():
        raise UserError(f"--to: there is no folder {str(path.parent)!r}")
    data, names = found.samples.dataset, {code: name for name, code in PARTITION_CODE.items()}
    files = [] if data.files is None else [str(name) for name in data.files]
    if any(name.startswith(FORMULA_START) for name in files):
        files = []  # a spreadsheet would run such a name; ids say which sample it is
    with appearing(path) as partial, partial.open("w", newline="", encoding="utf-8") as file:
        table = csv.writer(file)
        table.writerow([SAMPLE, *([FILE] if files else []), "partition", GROUP, *(f"twins_{name}" for name in PARTITION_CODE)])
        for place, (id_, code) in enumerate(zip(data.ids.tolist(), found.samples.codes.tolist(), strict=True)):
            group = int(data.ids[found.twins.group[place]])
            row = [id_, *files[place : place + 1], names.get(code, "none"), group, *found.counts[place].tolist()]
            table.writerow(row)
