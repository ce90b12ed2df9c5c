"""Files for download, in pieces: tables, splits and figures.

Of a million rows no more than some thousands are in memory as a table at a time.
"""

from __future__ import annotations

import io
import sys
import threading
import zipfile
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import numpy as np
import pandas as pd
import pyarrow as pa
import xarray as xr
from pyarrow import csv, parquet

from sslmem_kit.explorer.study_cache import OpenStudy
from sslmem_kit.names import BOUND, BOUNDS, FILE, PARTITION, SAMPLE, SSLMEM
from sslmem_kit.report.export import WARNINGS, all_warnings, frame_of, guarded, with_twins
from sslmem_kit.report.tables import without_nan
from sslmem_kit.statistics import by_partition
from sslmem_kit.statistics.clusters import clustered_mean, units_by_partition
from sslmem_kit.statistics.order import RANK_SCORE

ROWS = 50_000
"""Rows of a table that are written at a time."""
PIECE = 2**22
"""Bytes that are sent at a time, at most."""

_DRAWING = threading.Lock()
"""Held while a figure is plotted: HoloViews and matplotlib have state that all threads share."""


def figure_file(plot: Callable[[Any], Any], ending: str) -> Iterator[bytes]:
    """Yield the figure that ``plot`` makes, given the package of figures, as ``svg`` or ``png``."""
    with _DRAWING:
        if "matplotlib.pyplot" not in sys.modules:
            # The backends with windows, which a desktop would choose, cannot plot outside the main thread.
            import matplotlib

            matplotlib.use("agg")
        # Imported here, so that only sessions that ask for figures wait for matplotlib.
        from sslmem_kit import figures
        from sslmem_kit.figures.save import png, svg

        content = {"svg": svg, "png": png}[ending](plot(figures))
    yield from _cut(content)


def plain(text: str) -> str:
    """Return text in which matplotlib sees no formulas."""
    return text.replace("$", r"\$")


def means(scores: xr.Dataset) -> xr.Dataset:
    """Compute the mean of each partition, with an interval by the normal approximation: a bootstrap of a million samples takes minutes. Of
    samples in groups it is Student's over groups.

    Returns
    -------
    ``mean``, ``n`` (partition,) and ``interval`` (partition, bound).
    """
    groups, units = {name: values for name, values in by_partition(scores).items() if len(values)}, units_by_partition(scores)
    mean = np.array([values.mean() for values in groups.values()])
    if units is None:
        reach = np.array([1.96 * values.std() / len(values) ** 0.5 for values in groups.values()])
    else:
        reach = np.array([float(clustered_mean(values, units[name])["high"]) for name, values in groups.items()]) - mean
    return xr.Dataset(
        {
            "mean": (PARTITION, mean),
            "n": (PARTITION, [len(values) for values in groups.values()]),
            "interval": ((PARTITION, BOUND), np.stack([mean - reach, mean + reach], axis=1)),
        },
        {PARTITION: list(groups), BOUND: list(BOUNDS)},
    )


def csv_file(opened: OpenStudy, scores: xr.Dataset, positions: np.ndarray) -> Iterator[bytes]:
    """Yield scores as CSV, one row per sample, as the command line exports them."""
    for number, table in enumerate(_tables(opened, scores, positions, guarded)):
        buffer = io.BytesIO()
        # Takes a tenth of pandas' time.
        csv.write_csv(table, buffer, csv.WriteOptions(include_header=number == 0))
        yield from _cut(buffer.getvalue())


def parquet_file(opened: OpenStudy, scores: xr.Dataset, positions: np.ndarray) -> Iterator[bytes]:
    """Yield scores as Parquet, one row per sample, with the study's warnings, verdict and effect in ``frame.attrs``."""
    buffer, writer = io.BytesIO(), None
    for table in _tables(opened, scores, positions):
        writer = writer or parquet.ParquetWriter(buffer, table.schema)
        writer.write_table(table)
    writer.close()
    yield from _cut(buffer.getvalue())


def _tables(
    opened: OpenStudy,
    scores: xr.Dataset,
    positions: np.ndarray,
    as_written: Callable[[pd.DataFrame], pd.DataFrame] = lambda frame: frame,
) -> Iterator[pa.Table]:
    scores = with_twins(scores, opened.study)
    scores = scores.assign_attrs({WARNINGS: all_warnings(opened.caveats, scores), "effect": without_nan(scores.attrs["effect"])})
    for start in range(0, len(positions), ROWS):
        frame = frame_of(scores.isel({SAMPLE: positions[start : start + ROWS]}), opened.class_names)
        yield pa.Table.from_pandas(as_written(frame), preserve_index=False)


def npz_file(opened: OpenStudy, scores: xr.Dataset, positions: np.ndarray, worth: str = "") -> Iterator[bytes]:
    """Yield ids and scores for a removal study.

    The archive holds ``sample``, ``score``, ``study``, ``verdict`` and ``worth`` (sentences on the study and on the mean of these samples),
    and, where they are known, ``rank_score``, ``file`` and ``data_fingerprint``.
    """
    arrays = {
        "sample": opened.ids[positions].astype(np.int64),
        "score": scores[SSLMEM].values[positions].astype(np.float32),
        "study": np.array(opened.key),
        "verdict": np.array(scores.attrs["verdict"]["sentence"]),
        "worth": np.array(worth),
    }
    if RANK_SCORE in scores:
        arrays[RANK_SCORE] = scores[RANK_SCORE].values[positions].astype(np.float32)
    files = opened.files(positions)
    if files is not None:
        arrays[FILE] = files.astype(object).astype(str)
    if opened.fingerprint:
        arrays["data_fingerprint"] = np.array(opened.fingerprint)
    yield from _cut(npz(arrays))


def npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    """Return an npz archive, in which an array may be named ``file``: ``numpy.savez`` reserves that name."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
    return buffer.getvalue()


def _cut(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), PIECE):
        yield content[start : start + PIECE]
