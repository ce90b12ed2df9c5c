"""Groups of samples that belong together (twins, frames of a video, images of a patient), which a partition keeps whole.

The group of a sample is the position of its first member, so that a sample alone is its own group.
"""

from __future__ import annotations

import csv
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sslmem_kit.errors import UserError, near
from sslmem_kit.names import FILE, SAMPLE

if TYPE_CHECKING:
    from sslmem_kit.data.datasets.dataset import Dataset
    from sslmem_kit.spec.data import DataSpec


def numbered(names: np.ndarray) -> np.ndarray:
    """Return the group of each sample from any names of groups, (sample,): the position of the first sample with this name.

    Examples
    --------
    >>> numbered(np.array(["b", "a", "b", "c"]))
    array([0, 1, 0, 3])
    """
    _, first, place = np.unique(names, return_index=True, return_inverse=True)
    return first[place].astype(np.int64)


def ids_of_groups(dataset: Dataset) -> np.ndarray:
    """Return the id of the first member of each sample's group, (sample,)."""
    return dataset.ids if dataset.groups is None else dataset.ids[dataset.groups]


def sizes(groups: np.ndarray) -> np.ndarray:
    """Return the number of members of each sample's group, (sample,).

    Examples
    --------
    >>> sizes(np.array([0, 1, 0, 3]))
    array([2, 1, 2, 1])
    """
    _, place, counts = np.unique(groups, return_inverse=True, return_counts=True)
    return counts[place]


def summary(groups: np.ndarray, by: str) -> dict[str, Any]:
    """Return facts of groups, of JSON's types: ``by``, ``groups`` of two or more, the ``samples`` in them, and the size of the ``largest``.

    Examples
    --------
    >>> summary(np.array([0, 1, 0, 3]), "near_duplicates")
    {'by': 'near_duplicates', 'groups': 1, 'samples': 2, 'largest': 2}
    """
    counts = np.unique(groups, return_counts=True)[1]
    large = counts[counts > 1]
    return {"by": by, "groups": len(large), "samples": int(large.sum()), "largest": int(counts.max(initial=0))}


def units(groups: np.ndarray, labels: np.ndarray) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Return each group as a unit of a cut: the unit of each sample, (sample,) from 0 in order of first members, and of each unit its size
    and its most frequent class.

    Examples
    --------
    >>> units(np.array([5, 7, 5, 9]), np.array([1, 0, 1, 2]))
    (array([0, 1, 0, 2]), array([2, 1, 1]), array([1, 0, 2]))
    """
    _, first, place = np.unique(groups, return_index=True, return_inverse=True)
    order = np.argsort(first, kind="stable")  # in order of first members, so that samples alone keep their order
    rank = np.empty(len(order), np.int64)
    rank[order] = np.arange(len(order))
    unit = rank[place]
    pairs, counts = np.unique(np.stack([unit, labels]), axis=1, return_counts=True)
    majority = np.lexsort((pairs[1], -counts, pairs[0]))
    starts = np.unique(pairs[0][majority], return_index=True)[1]
    return unit, np.bincount(unit, minlength=len(first)), pairs[1][majority][starts]


def read_groups(spec: DataSpec, ids: np.ndarray, files: Sequence[str] | None, *, total: int) -> np.ndarray:
    """Read the groups that ``data.groups`` names.

    Parameters
    ----------
    spec
        ``csv:PATH:COLUMN``: a table with a row a sample, which its column ``sample`` (id) or ``file`` names; or ``npz:PATH:ARRAY``: one value
        a sample of the complete set, or a sample of the array ``sample``. An empty text, NaN and a negative number mean a sample alone.
    ids, files
        Sample ids, (sample,), and names of their files, or None.
    total
        Number of samples of the complete set.

    Raises
    ------
    UserError
        The file cannot be read, or does not say the group of every sample.
    """
    kind, path, name = spec.groups_file
    where = f"data.groups: {path}"
    if not path.is_file():
        raise UserError(f"{where} is {'not a file' if path.exists() else 'not there'}, a {kind} file is needed")
    keys, key, values = (_of_table if kind == "csv" else _of_archive)(path, name, where)
    if keys is None:
        if len(values) != total:
            raise UserError(
                f"{where}: {name} has {len(values):,} values and the data {total:,} samples; give one each, or an array sample"
            )
        return numbered(_alone(values[ids], ids))
    own: np.ndarray = ids.astype(str) if key == SAMPLE else np.array(list(files or ()), str)
    if key == FILE and files is None:
        raise UserError(f"{where}: it names files, the samples of {spec.name!r} have none; give a column sample of their ids")
    keys = keys.astype(str)
    order = np.argsort(keys, kind="stable")
    place = np.minimum(np.searchsorted(keys[order], own), len(keys) - 1) if len(keys) else np.zeros(len(own), int)
    known = keys[order][place] == own if len(keys) else np.zeros(len(own), bool)
    if not known.all():
        first = own[~known][0]
        raise UserError(f"{where}: {int((~known).sum()):,} of {len(own):,} samples have no row, the first is {key} {str(first)!r}")
    twice = keys[order][1:][keys[order][1:] == keys[order][:-1]]
    if len(twice):
        raise UserError(f"{where}: {key} {str(twice[0])!r} has more than one row; give one")
    return numbered(_alone(values[order][place], ids))


def _alone(values: np.ndarray, ids: np.ndarray) -> np.ndarray:
    """Return names of groups as text, in which a sample without one has a name that no other has."""
    if values.dtype.kind == "f":
        empty = ~(values >= 0)
        text = np.where(empty, 0, values).astype(np.int64).astype(str)
    elif values.dtype.kind in "iu":
        empty, text = values < 0, values.astype(str)
    else:
        text = np.char.strip(values.astype(str))
        empty = text == ""
    return np.where(empty, np.char.add("alone ", ids.astype(str)), np.char.add("group ", text))


Table = tuple[np.ndarray | None, str, np.ndarray]
"""Keys of samples, or None where values come in order; what keys are; the values."""


def _of_table(path: Path, column: str, where: str) -> Table:
    try:
        with path.open(newline="", encoding="utf-8-sig") as file:
            rows = csv.DictReader(file)
            names = list(rows.fieldnames or ())
            if column not in names:
                raise UserError(f"{where} has no column {column!r}, it has {', '.join(names) or 'none'}{near(column, names)}")
            key = next((name for name in (SAMPLE, FILE) if name in names), None)
            if key is None:
                raise UserError(
                    f"{where} has no column sample or file, which says whose group a row gives; it has {', '.join(names)}"
                )
            pairs = [(row[key] or "", row[column] or "") for row in rows]
    except (OSError, UnicodeDecodeError, csv.Error) as error:
        raise UserError(f"{where} cannot be read ({' '.join(str(error).split())[:120]})") from None
    return np.array([pair[0] for pair in pairs], str), key, np.array([pair[1] for pair in pairs], str)


def _of_archive(path: Path, name: str, where: str) -> Table:
    if not zipfile.is_zipfile(path):  # np.load would take an .npy or a pickle for what it is not
        raise UserError(f"{where} is not an npz archive, or it is cut short")
    try:
        with np.load(path, allow_pickle=False) as archive:
            names = archive.files
            values = archive.get(name)
            keys = archive[SAMPLE] if SAMPLE in archive and name != SAMPLE else None
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError) as error:
        raise UserError(f"{where} cannot be read ({' '.join(str(error).split())[:120]})") from None
    if values is None:
        raise UserError(f"{where} has no array {name!r}, it holds {', '.join(names) or 'nothing'}{near(name, names)}")
    if values.ndim != 1 or values.dtype.kind not in "iufUS" or (values.dtype.kind == "f" and (values % 1 > 0).any()):
        raise UserError(
            f"{where}: {name} has dtype {values.dtype} and shape {values.shape}, whole numbers or texts of shape (n,) are needed"
        )
    if keys is not None and (keys.shape != values.shape or keys.dtype.kind not in "iu"):
        raise UserError(
            f"{where}: sample has dtype {keys.dtype} and shape {keys.shape}, integer ids of the shape of {name}, {values.shape}, are needed"
        )
    return keys, SAMPLE, values.astype(str) if values.dtype.kind == "S" else values
