"""Record of what was read of a data set, as JSON and in words: images, sizes, classes, splits, what was passed over, exact copies.

Copies are images whose pixels are the same at the size and channels that encoders see, whatever their files: another compression or
other metadata hides none, and what resizing makes equal is equal to an encoder.
"""

from __future__ import annotations

import json
from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Any

import numpy as np

from sslmem_kit.names import PARTITION_CODE

CONTRACT = ("images", "sizes", "classes", "splits", "passed_over", "copies")
"""Keys that every record has; None where a store of an earlier version does not know."""
_NONE = {"count": 0}
SHOWN = 3
"""Names of files that a line shows."""


def stored_record(attrs: Mapping[str, Any], class_names: Sequence[str]) -> dict[str, Any]:
    """Return the record in a store's attributes; of a store that was started before there were records, the classes alone."""
    unknown = {**dict.fromkeys(CONTRACT), "classes": len(class_names)}
    return {**unknown, **json.loads(attrs["data"])} if "data" in attrs else unknown


def read_before(attrs: Mapping[str, Any]) -> str:
    """Return the end of a message on data that have changed: how a version without records may have read them differently."""
    known = "data" in attrs or not json.loads(attrs.get("spec", "{}")).get("data", {}).get("name", "").startswith("folder:")
    return (
        ""
        if known
        else ", or was read otherwise then: PNG and JPEG alone, no linked folders, and only train with test or val as splits"
    )


def sizes(shapes: np.ndarray, used: tuple[int, int, int]) -> dict[str, Any]:
    """Summarize original sizes (n, [height, width]), and the shape that all images were brought to; sizes are [width, height]."""
    different = np.unique(shapes, axis=0)
    by_area = different[np.argsort(different.astype(np.int64).prod(axis=1), kind="stable")]
    return {
        "smallest": by_area[0, ::-1].tolist(),
        "largest": by_area[-1, ::-1].tolist(),
        "distinct": len(different),
        "used": list(used),
    }


def copies(keys: np.ndarray, labels: np.ndarray, is_test: np.ndarray | None) -> dict[str, Any]:
    """Count the samples that have an exact copy among the others.

    Returns
    -------
    ``samples`` that have one, in so many ``groups``; ``test_in_train``, held-out samples with a copy that is not held out;
    ``other_class``, samples with a copy of another class.
    """
    _, group, counts = np.unique(keys, return_inverse=True, return_counts=True)
    found = {"samples": int(counts[counts > 1].sum()), "groups": int((counts > 1).sum())}
    held = np.zeros(len(keys), bool) if is_test is None else is_test
    pairs = np.unique(np.stack([group, labels]), axis=1)[0]
    mixed = np.bincount(pairs, minlength=len(counts)) > 1
    return {**found, "test_in_train": _have(group, held, ~held, len(counts)), "other_class": int(mixed[group].sum())}


def across(keys: np.ndarray, codes: np.ndarray) -> dict[str, dict[str, int]]:
    """Count the samples of each partition that have an exact copy in each other one; partitions without any are left out."""
    different, group = np.unique(keys, return_inverse=True)
    table = {
        name: {
            other: _have(group, codes == code, codes == other_code, len(different))
            for other, other_code in PARTITION_CODE.items()
            if other != name
        }
        for name, code in PARTITION_CODE.items()
    }
    there = {name: {other: count for other, count in row.items() if count} for name, row in table.items()}
    return {name: row for name, row in there.items() if row}


def divided(groups: np.ndarray, is_test: np.ndarray) -> int:
    """Count the held-out samples whose group has members that are not held out."""
    return int(np.isin(groups[is_test], groups[~is_test]).sum())


def _have(group: np.ndarray, these: np.ndarray, those: np.ndarray, groups: int) -> int:
    """Count those of ``these`` samples that share a group with one of ``those``."""
    there = np.zeros(groups, bool)
    there[group[those]] = True
    return int(there[group[these]].sum())


def lines(record: Mapping[str, Any]) -> list[str]:
    """Put a record into words, a line a fact: what was read and, where there is any, what was left out and what is there twice."""
    messages = [_read(record) if record.get("read", True) else f"not here and not read; as it is known: {_read(record)}"]
    over, skipped, said = record["passed_over"] or _NONE, record.get("skipped", _NONE), []
    if over["count"]:
        kinds = ", ".join(f"{count:,} {kind}" for kind, count in over["by"].items())
        said.append(f"passed over {over['count']:,} that are no images: {kinds} ({_names(over['first'], over['count'])})")
    if skipped["count"]:
        said.append(f"left out {skipped['count']:,}: {_names(skipped['first'], skipped['count'], '; ')}")
    if record.get("several_frames"):
        said.append(f"of {record['several_frames']:,} files with several frames the first is used")
    never = record.get("never_held_out", _NONE)
    if never["count"]:
        said.append(
            f"of {never['count']:,} class{'es' * (never['count'] != 1)} no image is held out: {_names(never['first'], never['count'])}"
        )
    if said:
        messages.append("; ".join(said))
    found = record["copies"] or {"samples": 0}
    if found["samples"]:
        messages.append(_copies(found))
    if "groups" in record:
        messages.append(_groups(record["groups"]))
    if "planted" in record:
        messages.append(_planted(record["planted"]))
    if "removed" in record:
        messages.append(f"taken out by partition.remove: {_removed(record['removed'])}")
    if "batch_size" in record:
        messages.append(cut_batch(record["batch_size"]))
    return messages


def _groups(found: Mapping[str, Any]) -> str:
    by = "near_duplicates" if found["by"] == "near_duplicates" else found["by"].rpartition(":")[2]
    message = (
        f"groups by {printable(by)}: {found['samples']:,} samples in {found['groups']:,} group{'s' * (found['groups'] != 1)} of at most "
        f"{found['largest']:,}, kept whole"
    )
    if found["test_in_train"]:
        message += (
            f"; {found['test_in_train']:,} held-out samples have members that are not, and are in no partition and no probe's test"
        )
    short = [f"{name} {got:,} of {asked:,}" for name, (got, asked) in found.get("short", {}).items()]
    return message + (f"; whole groups leave room: {', '.join(short)}" if short else "")


def _planted(found: Mapping[str, Any]) -> str:
    """Kinds of planted samples, by partition where this is known."""
    parts = []
    for kind, counts in found.items():
        total = counts if isinstance(counts, int) else sum(counts.values())
        where = "" if isinstance(counts, int) else f" ({', '.join(f'{count:,} {name}' for name, count in counts.items())})"
        parts.append(f"{total:,} {kind.replace('_', ' ')}{where}")
    return f"planted by data.plant: {', '.join(parts)}"


def _removed(counts: Mapping[str, int]) -> str:
    untrained = (
        "; extra samples are trained on by nobody: without them nothing is trained otherwise" if [*counts] == ["extra"] else ""
    )
    return ", ".join(f"{count:,} {name}" for name, count in counts.items()) + untrained


def as_line(record: Mapping[str, Any]) -> list[str]:
    """Put a stored record into one line; none where it is not known."""
    if record["copies"] is None:
        return []
    return ["data: " + "; ".join(lines({key: value for key, value in record.items() if key != "batch_size"}))]


def cut_batch(batch: Mapping[str, Any]) -> str:
    """Return the message that batches are smaller than the spec says."""
    return (
        f"training.batch_size is {batch['asked']:,}, but batches hold {' or '.join(f'{size:,}' for size in batch['used'])} samples: "
        f"an encoder trains on no more"
    )


def _read(record: Mapping[str, Any]) -> str:
    if record["images"] is None:
        each = " x ".join(map(str, record["shape"])) or "one value"
        return f"{record['samples']:,} samples of {each}; {record['classes']:,} class{'es' * (record['classes'] != 1)}"
    size = record["sizes"]
    height, width, channels = size["used"]
    kinds = record.get("formats", {})
    named = f" ({', '.join(f'{count:,} {kind}' for kind, count in kinds.items())})" if len(kinds) > 1 else ""
    brought = (
        "" if size["distinct"] == 1 and size["smallest"] == [width, height] else f", cropped and resized to {width} x {height}"
    )
    classes, splits = record["classes"], record["splits"]
    held = [name for name in splits if name in record["held_out"]]
    counts = ", ".join(f"{name} {count:,}" for name, count in splits.items())
    how = {"drawn": "held out by test_fraction", "given": f"{' and '.join(held)} {'is' if len(held) == 1 else 'are'} held out"}
    reason = f" ({how[record['splits_from']]})" if held else ""
    return (
        f"{record['images']:,} images{named} {_original(size)}{brought}, {'grey' if channels == 1 else 'RGB'}; "
        f"{classes:,} class{'es' * (classes != 1)}; {counts}{reason}"
    )


def _original(size: Mapping[str, Any]) -> str:
    if size["distinct"] is None:
        return "of several sizes"
    small, large = (" x ".join(map(str, size[name])) for name in ("smallest", "largest"))
    return f"of {small} pixels" if size["distinct"] == 1 else f"of {size['distinct']:,} sizes from {small} to {large} pixels"


def crossing(copies: Mapping[str, Any] | None) -> str | None:
    """Return a warning of what copies across partitions do to scores; None where no copies have an effect."""
    parts = []
    for name, others in (copies or {}).get("across", {}).items():
        # Both families saw every copy of a shared sample already.
        there = {} if name == "shared" else others
        parts += [f"{count:,} {name} also among {other}" for other, count in there.items() if other != "extra"]
    if not parts:
        return None
    return (
        f"exact copies stand on both sides of the partition ({', '.join(parts)}): of these samples an encoder that is counted as not "
        f"trained on them saw the same values, which hides what is memorized"
    )


def _copies(found: Mapping[str, Any]) -> str:
    message = (
        f"exact copies: {found['samples']:,} samples with equal values, in {found['groups']:,} group{'s' * (found['groups'] != 1)}"
    )
    parts = [
        f"{count:,} {name} also among {other}" for name, row in found.get("across", {}).items() for other, count in row.items()
    ]
    if found["test_in_train"]:
        parts.append(f"{found['test_in_train']:,} held out with a copy that is not")
    if found["other_class"]:
        parts.append(f"{found['other_class']:,} with a copy of another class")
    return f"{message} ({'; '.join(parts)})" if parts else message


def _names(names: Sequence[str], count: int, joint: str = ", ") -> str:
    """Join the first names in one line, whatever characters are in them."""
    plain = [printable(name) for name in names[:SHOWN]]
    return joint.join(plain) + (" ..." if count > len(plain) else "")


def printable(name: str) -> str:
    """Return a name in one line, whatever characters are in it."""
    return "".join(c if c.isprintable() else c.encode("unicode_escape").decode() for c in name)


def in_short(values: Sequence[str], shown: int) -> dict[str, Any]:
    """Return the number of values, and the first of them."""
    return {"count": len(values), "first": list(values[:shown])}


def by_number(values: Sequence[str]) -> dict[str, int]:
    """Count the occurrences of each value, the most frequent first."""
    return dict(sorted(Counter(values).items(), key=lambda item: (-item[1], item[0])))
