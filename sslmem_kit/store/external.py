"""Scores of others laid beside a study's samples: which row belongs to which sample, and how many do."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np
import pandas as pd
import xarray as xr

from sslmem_kit.errors import UserError
from sslmem_kit.names import FILE, SAMPLE
from sslmem_kit.spec.paths import expanded
from sslmem_kit.store.score_table import LABEL, read_columns

LEAST_MATCHED = 0.5
"""Share of the rows, or of the study's samples where these are fewer, that has to match."""
LEAST_LABELS = 0.9
"""Share of matched rows whose label has to be the study's, up to the names of classes."""


def external_scores(path: Path | str, results: xr.Dataset, *, columns: Sequence[str] | None = None) -> xr.Dataset:
    """Read a table of scores and lay it beside a study's samples.

    Rows are matched by ``sample``, the ids of the study, else by ``file``, the paths of its images below the folder of the data; a name
    without a folder by the last part of the path. Rows of other samples are left out and counted, samples without a row are NaN.

    Parameters
    ----------
    path
        File that :func:`sslmem_kit.store.score_table.read_columns` reads.
    results
        Root of a results store: ``sample``, and where there are ``file`` and ``label``.
    columns
        Names of the scores that are wanted; None: all.

    Returns
    -------
    The scores on ``sample``, float64, in the study's order, as the file has them: whether higher means more memorized is its author's to
    say. The attrs hold ``source`` (name of the file), ``sha256``, ``matched_by`` (``sample``, ``file`` or ``name of the file``), and the
    counts ``rows``, ``matched``, ``others`` (rows of no sample of the study) and ``without`` (samples without a row).

    Raises
    ------
    UserError
        As :func:`sslmem_kit.store.score_table.read_columns`; a sample that is listed twice; ``sample`` and ``file`` of a row that are different
        samples; names of files where the study has none, or that several of its files have; fewer than half of the rows match; labels
        that are not the study's.

    Examples
    --------
    >>> import tempfile
    >>> from sslmem_kit.scores import _example
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     _ = (Path(folder) / "theirs.csv").write_text("sample,memorization\\n3,0.25\\n1,0.5\\n")
    ...     found = external_scores(Path(folder) / "theirs.csv", _example.results())
    >>> found["memorization"].values[:4], found.attrs["matched"], found.attrs["without"]
    (array([ nan, 0.5 ,  nan, 0.25]), 2, 38)
    """
    path = expanded(path)
    try:
        frame, names, checksum = read_columns(path, columns)
        positions, by = _positions(frame, results)
        _check_labels(frame, positions, results)
    except UserError as error:
        raise UserError(f"--with: {path}: {error}") from None
    rows = np.flatnonzero(positions >= 0)
    samples, found = results.sizes[SAMPLE], {}
    for name in names:
        values = np.full(samples, np.nan)
        values[positions[rows]] = frame[name].to_numpy(float)[rows]
        found[name] = (SAMPLE, values, {"long_name": f"{name} of {path.name}", "higher": "as in the file"})
    attrs = {"source": path.name, "sha256": checksum, "matched_by": by, "rows": len(frame), "matched": len(rows),
             "others": len(frame) - len(rows), "without": samples - len(rows)}  # fmt: skip
    return xr.Dataset(found, {SAMPLE: results[SAMPLE].values}, attrs)


def _positions(frame: pd.DataFrame, results: xr.Dataset) -> tuple[np.ndarray, str]:
    """Return the position of each row's sample, -1 where it is none of the study's, and what it was found by."""
    found: dict[str, np.ndarray] = {}
    if "sample" in frame:
        found["sample"] = _by_id(frame["sample"], results[SAMPLE].values)  # pyright: ignore[reportArgumentType]
    by_file = ""
    if FILE in frame and (FILE in results.coords or not found):
        by_file, found[FILE] = _by_file(frame[FILE], results)  # pyright: ignore[reportArgumentType]
    first, by = next(iter(found.values())), "sample" if "sample" in found else by_file
    if len(found) == 2:
        differing = np.flatnonzero(found["sample"] != found[FILE])
        if len(differing):
            row = differing[0]
            raise UserError(
                f"sample and file are of different samples in {len(differing):,} rows of {len(frame):,}, the first is row {row + 1} "
                f"({frame['sample'].iloc[row]} and {frame[FILE].iloc[row]}); give the one that is right"
            )
    matched = first >= 0
    values, counts = np.unique(first[matched], return_counts=True)
    if len(values) and counts.max() > 1:
        twice = results[SAMPLE].values[values[counts > 1][0]]
        raise UserError(f"it lists {int((counts > 1).sum()):,} samples more than once, the first is {twice}; give one row a sample")
    wanted = min(len(frame), results.sizes[SAMPLE])
    if matched.sum() < LEAST_MATCHED * wanted:
        row, key = int(np.flatnonzero(~matched)[0]), "sample" if "sample" in frame else FILE
        raise UserError(
            f"{int(matched.sum()):,} of {len(frame):,} rows are samples of this study, the first that is none is {frame[key].iloc[row]} in row "
            f"{row + 1}; give the ids or files that `sslmem export` writes, and keep the rows of these alone"
        )
    return first, by


def _by_id(values: pd.Series, ids: np.ndarray) -> np.ndarray:
    numbers = np.asarray(pd.to_numeric(values, errors="coerce"), float)
    wrong = np.flatnonzero(~(np.isfinite(numbers) & (numbers == np.floor(numbers))))
    if len(wrong):
        raise UserError(
            f"column sample holds {values.iloc[wrong[0]]!r} in row {wrong[0] + 1}, integer sample ids are needed; call names file"
        )
    exact = values.to_numpy() if values.dtype.kind in "iu" else numbers.astype(np.int64)
    order = np.argsort(ids, kind="stable")
    place = np.minimum(np.searchsorted(ids, exact, sorter=order), len(ids) - 1)
    return np.where(ids[order[place]] == exact, order[place], -1)


def _by_file(values: pd.Series, results: xr.Dataset) -> tuple[str, np.ndarray]:
    if FILE not in results.coords:
        raise UserError("it names files, the samples of this study have none; give a column sample with their ids")
    if values.isna().any():
        raise UserError(
            f"column file is empty in row {int(np.flatnonzero(values.isna())[0]) + 1}; every row has to name its sample"
        )
    names, own = values.astype(str).str.removeprefix("./"), results[FILE].values.astype(object)
    known = {str(name): place for place, name in enumerate(own)}
    places = names.map(known)
    if places.isna().all() and not names.str.contains("/").any():
        last = pd.Series([str(name).rsplit("/", 1)[-1] for name in own])
        shared = set(last[last.duplicated(keep=False)]) & set(names)
        if shared:
            raise UserError(
                f"several images of this study are called {min(shared)!r}; give their paths below the folder of the data"
            )
        return "name of the file", names.map({name: place for place, name in enumerate(last)}).fillna(-1).to_numpy(np.int64)
    return FILE, places.fillna(-1).to_numpy(np.int64)


def _check_labels(frame: pd.DataFrame, positions: np.ndarray, results: xr.Dataset) -> None:
    """Refuse a table whose labels are not the study's, however classes are numbered: its ids belong to other data."""
    if LABEL not in frame or LABEL not in results.coords:
        return
    rows = np.flatnonzero(positions >= 0)
    theirs, own = frame[LABEL].to_numpy()[rows], results[LABEL].values[positions[rows]]
    counts = pd.crosstab(theirs, own).to_numpy()
    # Each class of the table stands for the class of the study that most of its samples have, and each of the study's for one of the table.
    agreeing = min(counts.max(axis=1).sum(), counts.max(axis=0).sum())
    if agreeing < LEAST_LABELS * len(rows):
        raise UserError(
            f"its labels are those of this study for {agreeing:,} of {len(rows):,} samples, whatever the order of classes; its ids belong to "
            "other data or another order: give a column file, or the ids of `sslmem export`"
        )
