"""Who was trained on what: lists of training samples, and what follows from them for families, partitions and scores.

Encoders of the same training samples are a family. Two families are f and g, and the partition is the paper's: seen by both shared, by f
alone candidate, by g alone independent, by none extra. More families are numbered subsets: samples that some saw and others did not are
candidates. Where no sample is on both sides, or nobody says who saw what, there are no memorization scores: the mode is ``one model``.
"""

from __future__ import annotations

import csv
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

import numpy as np

from sslmem_kit.errors import UserError
from sslmem_kit.names import FAMILIES, ONE_MODEL, PARTITION_CODE

PAIR, SUBSET = "pair", "subset"
"""What the encoders of an audit allow, beside ``ONE_MODEL``: scores of f against g, or by ``trained_on`` alone."""
SUFFIXES = (".csv", ".txt", ".npy", ".npz")
COLUMNS = ("sample", "id", "file")
"""Headings of the column that a table lists samples in; other columns are passed over."""


@dataclass(frozen=True)
class Membership:
    """Who was trained on what, and what follows.

    Attributes
    ----------
    trained_on
        (sample, encoder) bool; None where it is not known.
    families, designs
        Of each encoder.
    codes
        Partition code of each sample; None where ``trained_on`` is.
    mode
        ``pair``, ``subset`` or ``one model``.
    """

    trained_on: np.ndarray | None
    families: tuple[str, ...]
    designs: tuple[str, ...]
    codes: np.ndarray | None
    mode: str


def membership(ids: Sequence[str], trained_on: np.ndarray | None, families: Sequence[str | None]) -> Membership:
    """What follows from the training samples of encoders.

    Parameters
    ----------
    ids
        Of the encoders, for errors.
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
    """Families by equal columns, in order of appearance: f, or f and g, or numbers."""
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


def read_ids(
    path: Path, *, where: str, positions: Callable[[np.ndarray], np.ndarray], files: Callable[[], Mapping[str, int]] | None
) -> np.ndarray:
    """Positions of the samples that a file lists, ascending and without repetition.

    Parameters
    ----------
    path
        ``.csv`` (a column ``sample``, ``id`` or ``file``, or one column without a heading), ``.txt`` (one a line), ``.npy`` or ``.npz``.
    where
        What an error calls it: the field.
    positions
        Of sample ids; raises a UserError for ids that are not there.
    files
        Ids by the names of image files; None where samples have none.

    Raises
    ------
    UserError
        No such file, another kind of file, a damaged one, or samples that the data does not have.
    """
    if path.suffix not in SUFFIXES:
        raise UserError(
            f"{where}: {path.name!r} is no list of samples that is read, its suffix has to be one of {', '.join(SUFFIXES)}"
        )
    if not path.is_file():
        raise UserError(f"{where}: there is no file {str(path)!r}")
    listed = _array(path, where) if path.suffix in (".npy", ".npz") else _column(path, where)
    if listed.dtype.kind == "U" and listed.size:
        listed = _ids_of(listed, path, where, files)
    if not listed.size:
        raise UserError(f"{where}: {path} lists no samples; of an encoder that saw none of them write none")
    if listed.ndim != 1 or listed.dtype.kind not in "iu":
        raise UserError(
            f"{where}: {path} holds {listed.dtype} of shape {listed.shape}, integer sample ids of shape (n,) are needed"
        )
    try:
        return np.unique(positions(listed))
    except UserError as error:
        raise UserError(f"{where}: {path}: {error}") from None


def _ids_of(listed: np.ndarray, path: Path, where: str, files: Callable[[], Mapping[str, int]] | None) -> np.ndarray:
    """Sample ids of text: numbers, or names of image files."""
    try:
        return listed.astype(np.int64)
    except OverflowError:
        raise UserError(
            f"{where}: {path} lists {max(listed.tolist(), key=len)}, sample ids are integers of at most 64 bits"
        ) from None
    except ValueError:
        known = files() if files else {}
        strange = [name for name in listed.tolist() if name not in known]
        if strange:
            wanted = "names of its image files, such as class/name.png," if files else "integer sample ids"
            raise UserError(
                f"{where}: {len(strange)} of {len(listed)} entries of {path} are not samples of the data "
                f"({', '.join(map(repr, strange[:3]))}), {wanted} are needed"
            ) from None
        return np.array([known[name] for name in listed.tolist()], np.int64)


def _array(path: Path, where: str) -> np.ndarray:
    """The array in a NumPy file; nothing in it is unpickled."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded as archive:
            name = "sample" if "sample" in archive else archive.files[0] if len(archive.files) == 1 else None
            if name is None:
                raise UserError(f"{where}: {path} has no array sample, it holds {', '.join(archive.files) or 'nothing'}")
            return archive[name]
    except UserError:
        raise
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError) as error:
        pickled = "pickle" in str(error) or "Object arrays" in str(error)
        reason = "only pickle could read it, which may run code" if pickled else " ".join(str(error).split())[:120]
        raise UserError(f"{where}: {path} is refused or damaged ({reason}); a plain array of sample ids is needed") from None


def _column(path: Path, where: str) -> np.ndarray:
    """The cells of a text file's column of samples."""
    try:
        with open(path, newline="", encoding="utf-8-sig") as handle:
            rows = [row for row in csv.reader(handle) if any(cell.strip() for cell in row)]
    except (UnicodeDecodeError, csv.Error):
        raise UserError(f"{where}: {path} is not a text file in UTF-8") from None
    if not rows:
        return np.empty(0, np.int64)  # trained on none of them
    heading = [cell.strip().lower() for cell in rows[0]]
    named = next((heading.index(name) for name in COLUMNS if name in heading), None)
    if named is None and len(heading) > 1:
        raise UserError(
            f"{where}: {path} has the columns {', '.join(rows[0][:6])}, one of them has to be called {' or '.join(COLUMNS)}"
        )
    cells = rows if named is None else rows[1:]
    ragged = next((number for number, row in enumerate(cells, 1 + (named is not None)) if len(row) <= (named or 0)), None)
    if ragged:
        raise UserError(f"{where}: {path}: row {ragged} has no column {heading[named]!r}")
    return np.array([row[named or 0].strip() for row in cells]) if cells else np.empty(0, np.int64)
