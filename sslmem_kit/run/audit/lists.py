"""Lists of samples: files and values that select samples by ids, by names of files, or by a column or mask of memberships.

Ambiguous lists are refused: a membership that is not understood must not count every row as trained on.
"""

from __future__ import annotations

import csv
import re
import zipfile
import zlib
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from sslmem_kit.errors import UserError

TEXTS, ARRAYS = (".csv", ".tsv", ".txt"), (".npy", ".npz")
COLUMNS = ("sample", "id", "file")
"""Headings of the columns that name samples."""
_MEMBER = frozenset({
    "trained_on", "trained", "member", "is_member", "in_train", "in_training", "in_train_set", "is_train", "train", "training", "seen", "used",
    "in_sample",
})  # fmt: skip
_SPLIT = frozenset({"split", "subset", "set", "fold", "partition", "usage"})
"""Headings of columns of membership in the training set, as yes or no and as the name of a split."""
_ABOUT_TRAINING = frozenset({"train", "trained", "training", "member", "members", "membership", "seen", "split", "used"})
_OPPOSITE = frozenset({
    "unseen", "held", "heldout", "holdout", "test", "val", "valid", "validation", "excluded", "removed", "nonmember", "not", "non", "eval",
})  # fmt: skip
"""Words in headings of further columns that could say which samples were, or were not."""
_AMOUNT = frozenset({"trained", "member", "members", "membership", "seen", "used"})
"""Words in headings of columns that could say it by a number of times or a probability."""
_CHOOSING = frozenset({"mask", "include", "included", "in", "select", "selected", "chosen", "keep", "kept", "flag"})
"""Words in headings of columns that choose among the rows by 0 and 1, for whatever reason."""
_CLASSES = ("label", "class", "target")
"""Headings of columns whose yes and no are classes."""
_IN = frozenset({"train", "training"})
_OUT = frozenset({"test", "val", "valid", "validation", "dev", "eval", "holdout", "held_out", "held-out", "heldout"})
_TRUE = _IN | {"true", "t", "yes", "y", "1", "1.0", "trained", "member", "in", "seen"}
_FALSE = _OUT | {"false", "f", "no", "n", "0", "0.0", "nonmember", "non-member", "out", "unseen"}
_NUMBER = re.compile(r"[+-]?[0-9]+(\.0*)?")
_DELIMITERS = {",": "commas", ";": "semicolons", "\t": "tabs"}

Positions = Callable[[np.ndarray], np.ndarray]
Files = Callable[[], Mapping[str, int]]


@dataclass(frozen=True)
class Listed:
    """Samples that a list selects.

    Attributes
    ----------
    positions
        Ascending and without repetition.
    how
        Part of the list that was used, in words.
    """

    positions: np.ndarray
    how: str


def read_list(
    path: Path, *, field: str, positions: Positions, files: Files | None, order: np.ndarray, members: bool = True
) -> Listed:
    """Return the samples that a file lists.

    Parameters
    ----------
    path
        ``.csv`` or ``.tsv`` (columns ``sample``, ``id`` or ``file``, and a membership; or one column without a heading), ``.txt`` (one a
        line, or a table), ``.npy`` or ``.npz``.
    field
        Name of the field, for errors.
    positions
        Function that returns positions of sample ids; raises a UserError for ids that are not there.
    files
        Function that returns ids by the names of image files; None where samples have none.
    order
        Positions of the samples in the order in which the data were given, which a mask is in.
    members
        A column may say which rows count; if false, such a column is refused.

    Raises
    ------
    UserError
        The file does not exist, is of another kind, damaged or ambiguous, or lists samples that the data does not have.
    """
    suffix = path.suffix.lower()
    if suffix not in TEXTS + ARRAYS:
        remedy = "; write the table as .csv" if suffix in (".parquet", ".feather", ".xlsx", ".xls", ".json") else ""
        raise UserError(
            f"{field}: {path.name!r} is no list of samples that is read, its suffix has to be one of {', '.join(TEXTS + ARRAYS)}{remedy}"
        )
    if not path.is_file():
        raise UserError(f"{field}: there is no file {str(path)!r}")
    try:
        table = _arrays(path) if suffix in ARRAYS else _table(path, suffix)
        if isinstance(table, np.ndarray) and table.dtype.kind == "U" and table.ndim == 1:
            table = {"sample": [_cell(value) for value in table.tolist()]}
        if isinstance(table, np.ndarray):
            return _chosen(table, positions=positions, order=order, what="ids")
        return _of_table(table, positions=positions, files=files, order=order, members=members)
    except UserError as error:
        raise UserError(f"{field}: {path}: {error}") from None


def positions_of(values: Any, *, positions: Positions, order: np.ndarray) -> np.ndarray:
    """Return the positions of the samples that a value in memory selects: ids or a mask, as an array, a list, a set, a tensor or a series.

    Raises
    ------
    UserError
        The value is something else, or ambiguous.
    """
    if isinstance(values, str | bytes | Mapping):
        raise UserError(f"got a {type(values).__name__}, sample ids or a mask are needed")
    if isinstance(values, set | frozenset) or (hasattr(values, "__next__") and not hasattr(values, "shape")):
        values = list(values)
    index = getattr(values, "index", None)
    if hasattr(values, "detach"):
        values = values.detach().cpu().numpy()
    try:
        array = np.asarray(values)
    except (ValueError, TypeError, RuntimeError) as error:
        raise UserError(" ".join(str(error).split())[:120]) from None
    if array.size == 0 and array.ndim == 1:
        return np.empty(0, np.int64)
    kinds = (
        {isinstance(value, bool | np.bool_) for value in array.tolist()} if array.dtype.kind == "O" and array.ndim == 1 else set()
    )
    if kinds == {True}:
        array = array.astype(bool)
    elif kinds == {False} and all(isinstance(value, int) and abs(value) < 2**63 for value in array.tolist()):
        array = array.astype(np.int64)  # of a nullable type of pandas
    if isinstance(values, list | tuple) and any(isinstance(value, bool | np.bool_) for value in values) and array.dtype.kind != "b":
        raise UserError("True and False stand beside numbers, give sample ids or a mask")
    # The rows of a table that was filtered or sorted are not in the order of the data.
    if array.dtype.kind == "b" and hasattr(index, "to_numpy") and not np.array_equal(index.to_numpy(), np.arange(len(array))):
        raise UserError("a mask with an index of its own could be in that order or in that of the data, give series.to_numpy()")
    return _chosen(array, positions=positions, order=order, what="ids").positions


def _chosen(values: np.ndarray, *, positions: Positions, order: np.ndarray, what: str) -> Listed:
    """Return the samples that an array of ids or a mask selects."""
    count = len(order)
    if values.dtype.kind == "b":
        if values.shape != (count,):
            raise UserError(
                f"a mask of shape {values.shape} is given, the data has {count} samples, a mask needs one value for each"
            )
        chosen = np.sort(order[values])
        return _not_empty(Listed(chosen, f"a mask, {len(chosen):,} of {count:,} samples"))
    if (
        values.dtype.kind == "f"
        and values.ndim == 1
        and (np.isfinite(values) & (values == np.floor(values)) & (abs(values) < 2**53)).all()
    ):
        values = values.astype(np.int64)
    if values.ndim != 1 or (values.dtype.kind not in "iu" and values.size):
        missing = ", of which some are missing (NaN)" if values.dtype.kind == "f" and np.isnan(values).any() else ""
        raise UserError(
            f"it holds {values.dtype} of shape {values.shape}{missing}, integer sample ids of shape (n,) are needed, or a mask"
        )
    if len(values) > 2 and not ((values != 0) & (values != 1)).any():
        raise UserError(
            f"{len(values)} times 0 and 1 could be sample ids or a mask; give a mask as booleans (True and False), ids without repetition"
        )
    if values.dtype.kind == "u" and values.size and values.max() >= 2**63:
        raise UserError(f"it lists {values.max()}, sample ids are integers of at most 64 bits with a sign")
    found = positions(values.astype(np.int64))
    chosen = np.unique(found)
    repeated = len(found) - len(chosen)
    note = f" ({repeated:,} more entries repeat some)" if repeated else ""
    return _not_empty(Listed(chosen, f"{what}, {len(chosen):,} of {count:,} samples{note}"))


def _not_empty(listed: Listed) -> Listed:
    if not len(listed.positions):
        raise UserError("it lists no samples; of an encoder that saw none of them write none")
    return listed


def _of_table(
    table: Mapping[str, list[str]], *, positions: Positions, files: Files | None, order: np.ndarray, members: bool
) -> Listed:
    """Return the samples that a table selects: those of the rows in which every column of memberships says yes."""
    named = [name for name in table if name in COLUMNS]
    rows = _rows(table, members)
    if not named:
        one = f"{rows[1]} says who was trained on, but " if rows else ""
        raise UserError(f"{one}it has the columns {_join_names(list(table))}, one of them has to be called {' or '.join(COLUMNS)}")
    kept = rows[0] if rows else slice(None)
    first: tuple[str, np.ndarray] | None = None
    for name in named:
        ids = _ids_of(table[name], name, files)
        if first is not None and (ids != first[1]).any():
            row = int(np.flatnonzero(ids != first[1])[0])
            raise UserError(
                f"columns {first[0]!r} and {name!r} are of different samples in row {row + 2} ({table[first[0]][row]} and {table[name][row]}); "
                "give one of them"
            )
        first = first or (name, ids)
    if rows and not rows[0].any():
        raise UserError(
            f"column {rows[1]!r} says no in every row, it lists no samples; of an encoder that saw none of them write none"
        )
    what = f"column{'s' * (len(named) > 1)} {' and '.join(named)}"
    if rows:  # every row has to be a sample, also those that do not count
        positions(first[1])
        both = np.intersect1d(first[1][kept], first[1][~kept])
        if len(both):
            raise UserError(f"column {rows[1]!r} says yes and no of sample {both[0]}, in different rows")
        what += f" where {rows[1]} is yes"
    return _chosen(first[1][kept], positions=positions, order=order, what=what)


def _rows(table: Mapping[str, list[str]], members: bool) -> tuple[np.ndarray, str] | None:
    """Return a mask of the rows of samples that were trained on, and the columns it is from; None where no column says."""
    memberships: list[tuple[str, np.ndarray]] = []
    for name, cells in table.items():
        if name in (*COLUMNS, *_CLASSES):
            continue
        plain = re.sub(r"[\s\-.]+", "_", name)
        words, values = set(plain.split("_")), {cell.lower() for cell in cells}
        yes_or_no = bool(values) and values <= _TRUE | _FALSE | {""}
        numbers = values <= {"0", "1", "0.0", "1.0", ""}
        if not members and plain == "partition":
            continue  # of the samples that are scored an export may list some
        if yes_or_no and words & _OPPOSITE:
            raise UserError(
                f"column {name!r} could say who was not trained on; give a column trained_on in its place, or take it out if it does not"
            )
        if plain in _MEMBER or plain in _SPLIT or (words & _ABOUT_TRAINING and yes_or_no):
            memberships.append((name, _memberships(name, cells, split=plain in _SPLIT or "split" in words)))
        elif (yes_or_no and (not numbers or words & _CHOOSING)) or (members and words & _AMOUNT):
            raise UserError(
                f"column {name!r} of {' and '.join(sorted(values)[:3])} could say who was trained on; call it trained_on if it does, take it "
                "out if not"
            )
    if not memberships:
        return None
    if not members:
        raise UserError(
            f"column {memberships[0][0]!r} looks as if it chose among the rows, and every row counts here; take the column out"
        )
    for name, column in memberships[1:]:
        if (column != memberships[0][1]).any():
            row = int(np.flatnonzero(column != memberships[0][1])[0]) + 2
            raise UserError(
                f"columns {memberships[0][0]!r} and {name!r} both say who was trained on and differ in row {row}; give one of them"
            )
    return memberships[0][1], " and ".join(name for name, _ in memberships)


def _memberships(name: str, cells: Sequence[str], *, split: bool) -> np.ndarray:
    """Return a column's cells as booleans; splits are words, because 0 could mean the first of them or no."""
    for row, cell in enumerate(cells, 2):
        if cell.lower() not in (_IN | _OUT if split else _TRUE | _FALSE):
            wanted = "train, test, val" if split else "True, False, 1, 0, yes, no, train, test"
            raise UserError(
                f"column {name!r} says who was trained on, and holds {cell!r} in row {row}; {wanted} are understood: call it trained_on "
                "with True and False, or take it out"
            )
    return np.array([cell.lower() in _TRUE for cell in cells], bool)


def _ids_of(cells: Sequence[str], name: str, files: Files | None) -> np.ndarray:
    """Return sample ids from text: whole numbers, or names of image files."""
    empty = next((number for number, cell in enumerate(cells, 1) if not cell), None)
    if empty:
        raise UserError(f"entry {empty} of {len(cells)} in column {name!r} is empty, every row has to name its sample")
    if all(map(_NUMBER.fullmatch, cells)):
        numbers = [int(cell.partition(".")[0]) for cell in cells]
        far = next((number for number in numbers if abs(number) >= 2**63), None)
        if far is not None:
            raise UserError(f"it lists {far}, sample ids are integers of at most 64 bits")
        return np.array(numbers, np.int64)
    known = files() if files else {}
    strange = [cell for cell in cells if cell not in known]
    if strange:
        wanted = f"names of its image files, such as {next(iter(known), 'class/name.png')}," if files else "integer sample ids"
        raise UserError(
            f"{len(strange)} of {len(cells)} entries are not samples of the data ({', '.join(map(repr, strange[:3]))}), {wanted} are needed"
        )
    return np.array([known[cell] for cell in cells], np.int64)


def _arrays(path: Path) -> np.ndarray | dict[str, list[str]]:
    """Return the array in a NumPy file, or the arrays as a table where there are memberships beside the samples; nothing is unpickled."""
    try:
        loaded = np.load(path, allow_pickle=False)
        if isinstance(loaded, np.ndarray):
            return loaded
        with loaded as archive:
            arrays = {name: archive[name] for name in archive.files}
    except (zipfile.BadZipFile, zlib.error, OSError, EOFError, ValueError, NotImplementedError) as error:
        pickled = "pickle" in str(error) or "Object arrays" in str(error)
        reason = "only pickle could read it, which may run code" if pickled else " ".join(str(error).split())[:120]
        raise UserError(f"it is refused or damaged ({reason}); a plain array of sample ids is needed") from None
    if len(arrays) == 1:
        return next(iter(arrays.values()))
    listed = next((arrays[name] for name in COLUMNS if name in arrays), None)
    if listed is None:
        raise UserError(f"it has no array sample, it holds {', '.join(arrays) or 'nothing'}")
    if listed.dtype.kind == "b" or listed.ndim != 1:
        return listed
    for name, values in arrays.items():
        if values.ndim and values.shape != listed.shape and _heading(name) in _MEMBER:
            raise UserError(
                f"array {name!r} says who was trained on and has shape {values.shape}, the samples beside it {listed.shape}; give one of them"
            )
    return {
        _heading(name): [_cell(value) for value in values.tolist()]
        for name, values in arrays.items()
        if values.shape == listed.shape
    }


def _heading(name: str) -> str:
    """Return a heading in lower case, the words of ``trainedOn`` separated."""
    return re.sub(r"(?<=[a-z])(?=[A-Z])", "_", name.strip()).lower()


def _cell(value: Any) -> str:
    return "" if value != value else str(value).strip()


def _table(path: Path, suffix: str) -> dict[str, list[str]] | np.ndarray:
    """Return the columns of a text file by their headings, in lower case; that of a file without a heading is ``sample``."""
    try:
        text = path.read_bytes().decode("utf-8-sig")
    except UnicodeDecodeError:
        raise UserError("it is not a text file in UTF-8") from None
    lines = [line for line in text.replace("\r\n", "\n").replace("\r", "\n").split("\n") if line.strip()]
    if not lines:
        raise UserError("it lists no samples; of an encoder that saw none of them write none")
    delimiter = _delimiter(lines[0], suffix)
    try:
        rows = list(csv.reader(lines, delimiter=delimiter)) if delimiter else [[_unquoted(line)] for line in lines]
    except csv.Error as error:
        raise UserError(f"it is no table ({error})") from None
    heading = [_heading(cell) for cell in rows[0]]
    known = set(heading) & {*COLUMNS, *_MEMBER, *_SPLIT}
    if len(heading) == 1 and not known:
        return {"sample": [row[0].strip() for row in rows]}
    ragged = next((number for number, row in enumerate(rows, 1) if len(row) != len(heading)), None)
    if ragged:
        absent = heading[len(rows[ragged - 1])] if len(rows[ragged - 1]) < len(heading) else None
        what = (
            f"has no column {absent!r}"
            if absent is not None
            else f"has {len(rows[ragged - 1])} columns, the heading {len(heading)}"
        )
        raise UserError(f"row {ragged} {what}")
    twice = next((name for name in heading if heading.count(name) > 1 and name in known), None)
    if twice:
        raise UserError(f"it has two columns {twice!r}, give one of them")
    if len(rows) == 1:
        raise UserError("it lists no samples below its heading; of an encoder that saw none of them write none")
    return {name: [row[place].strip() for row in rows[1:]] for place, name in enumerate(heading)}


def _delimiter(first: str, suffix: str) -> str | None:
    """Return the delimiter between the columns of a first line; None: one column, of whole lines."""
    several = [mark for mark in _DELIMITERS if len(next(csv.reader([first], delimiter=mark))) > 1]
    if suffix == ".tsv":
        several = [mark for mark in several if mark == "\t"]
    if suffix == ".txt" and several:
        headings = {cell.strip().lower() for cell in next(csv.reader([first], delimiter=several[0]))}
        several = several if headings & set(COLUMNS) else []
    if len(several) > 1:
        raise UserError(
            f"its first line has {' and '.join(_DELIMITERS[mark] for mark in several)}, of which one has to separate the columns"
        )
    return several[0] if several else None


def _unquoted(line: str) -> str:
    line = line.strip()
    return line[1:-1].replace('""', '"') if len(line) > 1 and line[0] == line[-1] == '"' else line


def _join_names(names: Sequence[str]) -> str:
    return ", ".join(names[:6]) + (" ..." if len(names) > 6 else "")
