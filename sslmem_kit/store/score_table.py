"""Scores of others as a table: ids or names of files, and one or more columns of numbers.

Read are ``.csv`` and ``.tsv``, ``.parquet``, and ``.npz`` with one-dimensional arrays as columns. A column ``sample`` (or ``id``) holds the ids
of this study, ``file`` (``files``, ``filename``) the names of its images; every other column of numbers is a score, but for ``label``, which
is compared with the study's labels: ids alone would fit any data of the same size.

Feldman and Zhang (NeurIPS 2020) publish ``cifar100_infl_matrix.npz``, whose ``tr_mem`` and ``tr_labels`` are in the order of CIFAR-100's train
split, which is this toolkit's ids, and ``imagenet_index.npz`` with ``tr_filenames`` beside them.
"""

from __future__ import annotations

import hashlib
import pickle
import zipfile
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd

from sslmem_kit.errors import UserError, join_names, near, one_line
from sslmem_kit.store.pickled_text import read_text

SUFFIXES = (".npz", ".csv", ".tsv", ".parquet")
IDS = ("sample", "id")
"""Headings of the column of ids."""
FILES = ("file", "files", "filename", "filenames")
"""Headings of the column of names of images; ``numpy.savez`` takes no array that is called ``file``."""
LABEL = "label"
NO_SCORES = frozenset({*IDS, "file", LABEL, "class", "partition", "protocol", "seed", "index", "trained_on", "twin_group", "group"})
"""Headings of columns that are no scores, as `sslmem export` writes them."""
MEMORIZATION = "memorization"
"""Name of the column of Feldman and Zhang's ``tr_mem``."""


def read_columns(path: Path, columns: Sequence[str] | None = None) -> tuple[pd.DataFrame, list[str], str]:
    """Read a table: its columns, those that are scores, and the checksum of the file.

    Parameters
    ----------
    path
        The file.
    columns
        Names of the scores that are wanted; None: all columns of numbers.

    Returns
    -------
    The frame, with ``sample`` or ``file`` or both; the names of the scores; the sha256 of the file in hex digits.

    Raises
    ------
    UserError
        No such file, of another kind, damaged, only readable by running its code; no column of ids; no score, or not the wanted one;
        a score that is no finite number.
    """
    if path.suffix.lower() not in SUFFIXES:
        raise UserError(f"{path.name!r} is no table of scores that is read, its suffix has to be one of {', '.join(SUFFIXES)}")
    if not path.is_file():
        raise UserError(f"there is no file {str(path)!r}")
    try:
        content = path.read_bytes()
        frame = _archive(path) if path.suffix.lower() == ".npz" else _frame(path)
    except UserError:
        raise
    except (OSError, ValueError, EOFError, zipfile.BadZipFile, zlib.error, NotImplementedError, pickle.UnpicklingError) as error:
        raise UserError(f"it cannot be read ({one_line(error)}); write it anew as .csv") from None
    frame = frame.rename(columns={name: _heading(name) for name in frame.columns})
    twice = [name for name in dict.fromkeys(frame.columns) if list(frame.columns).count(name) > 1]
    if twice:
        raise UserError(f"it has two columns {twice[0]!r}; give one of them")
    if "sample" not in frame and "file" not in frame:
        held = join_names([str(name) for name in frame.columns]) or "nothing"
        raise UserError(f"it has no column sample (ids) or file (names of images), it holds {held}; add one of them")
    if not len(frame):
        raise UserError("it has no rows; scores of some samples are needed")
    names = _scores(frame, columns)
    for name in names:
        wrong = np.flatnonzero(~np.isfinite(frame[name].to_numpy(float)))
        if len(wrong):
            raise UserError(
                f"column {name!r} holds {len(wrong):,} entries of {len(frame):,} that are no finite numbers, the first in row {wrong[0] + 1}; "
                "leave these rows or this column out"
            )
    return frame, names, hashlib.sha256(content).hexdigest()


def _scores(frame: pd.DataFrame, columns: Sequence[str] | None) -> list[str]:
    """Return the names of the columns that are scores."""
    numbers = [
        str(name)
        for name in frame.columns
        if name not in NO_SCORES and frame[name].dtype.kind in "iuf" and not _constant(frame[name])  # pyright: ignore[reportArgumentType]
    ]
    if columns is None:
        if not numbers:
            held = join_names([str(name) for name in frame.columns])
            raise UserError(f"it has no column of scores, that is of numbers that differ, beside {held}; add one")
        return numbers
    for name in columns:
        if name not in numbers:
            raise UserError(f"it has no column of scores {name!r}, there are {join_names(numbers) or 'none'}{near(name, numbers)}")
    return list(columns)


def _constant(values: pd.Series) -> bool:
    return len(values) > 1 and values.nunique(dropna=False) == 1


def _heading(name: Any) -> str:
    heading = str(name).strip().lower()
    return "sample" if heading in IDS else "file" if heading in FILES else heading


def _frame(path: Path) -> pd.DataFrame:
    """Return a text file or a Parquet file as it is."""
    if path.suffix.lower() == ".parquet":
        return pd.read_parquet(path)
    # Names of files stay text whatever they look like; an empty cell is no number, and no name.
    return pd.read_csv(
        path,
        sep="\t" if path.suffix.lower() == ".tsv" else ",",
        encoding="utf-8-sig",
        dtype={"file": str},
        skipinitialspace=True,
        low_memory=False,
    )


def _archive(path: Path) -> pd.DataFrame:
    """Return the arrays of an npz file that are columns; matrices are not read."""
    with np.load(path, allow_pickle=False) as archive:
        if "tr_mem" in archive.files:
            memorization = archive["tr_mem"]
            found = {MEMORIZATION: memorization}
            if "tr_labels" in archive.files:
                found[LABEL] = archive["tr_labels"]
            if "tr_filenames" in archive.files:
                found["file"] = _array(archive, "tr_filenames")
            else:
                found["sample"] = np.arange(len(memorization))
        else:
            found = {name: _array(archive, name) for name in archive.files if len(_shape(archive, name)) == 1}
    lengths = {name: len(values) for name, values in found.items()}
    ids = next((name for name in found if _heading(name) in ("sample", "file")), None)
    if ids is not None:
        differing = next((name for name in lengths if lengths[name] != lengths[ids]), None)
        if differing is not None:
            raise UserError(
                f"array {differing!r} has {lengths[differing]:,} entries, {ids!r} has {lengths[ids]:,}; they have to belong to each other"
            )
    elif len(set(lengths.values())) > 1:
        raise UserError(f"it has no array sample or file, it holds {join_names(list(found))}; add one of them")
    return pd.DataFrame(found)


def _shape(archive: np.lib.npyio.NpzFile, name: str) -> tuple[int, ...]:
    assert archive.zip is not None  # only of a closed archive
    with archive.zip.open(f"{name}.npy") as file:
        return _header(file)[0]


def _header(file: Any) -> tuple[tuple[int, ...], bool, np.dtype]:
    """Return shape, order and dtype of an array, and leave the file at what follows."""
    version = np.lib.format.read_magic(file)
    read = np.lib.format.read_array_header_1_0 if version == (1, 0) else np.lib.format.read_array_header_2_0
    return read(file)


def _array(archive: np.lib.npyio.NpzFile, name: str) -> np.ndarray:
    """Return an array of an archive; of Python objects where these are text."""
    assert archive.zip is not None  # only of a closed archive
    with archive.zip.open(f"{name}.npy") as file:
        if _header(file)[2].hasobject:
            try:
                return read_text(file)
            except ValueError as error:
                raise UserError(f"array {name!r} is {error}; write it as numbers or text of NumPy's own, or as .csv") from None
    values = archive[name]
    return np.char.decode(values, "utf-8") if values.dtype.kind == "S" else values
