"""The files that are taken away, in pieces: tables, splits and figures.

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
from sslmem_kit.report.export import WARNINGS, frame_of, guarded
from sslmem_kit.statistics import by_partition

ROWS = 50_000
"""Of a table that are written at a time."""
PIECE = 2**22
"""Bytes that are sent at a time, at most."""

_DRAWING = threading.Lock()
"""HoloViews and matplotlib draw with state that all threads share."""


def figure_file(draw: Callable[[Any], Any], ending: str) -> Iterator[bytes]:
    """The figure that ``draw`` makes, given the package of figures, as ``svg`` or ``png``."""
    with _DRAWING:
        if "matplotlib.pyplot" not in sys.modules:
            # Windows, which a desktop would choose, cannot be drawn in outside the main thread.
            import matplotlib

            matplotlib.use("agg")
        # Here, for nobody should wait for matplotlib who asks for no figure.
        from sslmem_kit import figures
        from sslmem_kit.figures.save import png, svg

        content = {"svg": svg, "png": png}[ending](draw(figures))
    yield from _cut(content)


def plain(text: str) -> str:
    """Text in which matplotlib sees no formulas."""
    return text.replace("$", r"\$")


def means(scores: xr.Dataset) -> xr.Dataset:
    """Mean of each partition; the interval by the normal approximation, for a bootstrap of a million takes minutes and a picture has none."""
    groups = {name: values for name, values in by_partition(scores).items() if len(values)}
    mean = np.array([values.mean() for values in groups.values()])
    reach = np.array([1.96 * values.std() / len(values) ** 0.5 for values in groups.values()])
    return xr.Dataset(
        {
            "mean": (PARTITION, mean),
            "n": (PARTITION, [len(values) for values in groups.values()]),
            "interval": ((PARTITION, BOUND), np.stack([mean - reach, mean + reach], axis=1)),
        },
        {PARTITION: list(groups), BOUND: list(BOUNDS)},
    )


def csv_file(opened: OpenStudy, scores: xr.Dataset, positions: np.ndarray) -> Iterator[bytes]:
    """Scores as CSV, one row a sample, as the command line exports them."""
    for number, table in enumerate(_tables(opened, scores, positions, guarded)):
        buffer = io.BytesIO()
        # A tenth of the time that pandas takes.
        csv.write_csv(table, buffer, csv.WriteOptions(include_header=number == 0))
        yield from _cut(buffer.getvalue())


def parquet_file(opened: OpenStudy, scores: xr.Dataset, positions: np.ndarray) -> Iterator[bytes]:
    """The same as Parquet, with the study's warnings in ``frame.attrs``."""
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
    scores = scores.assign_attrs({WARNINGS: opened.caveats})
    for start in range(0, len(positions), ROWS):
        frame = frame_of(scores.isel({SAMPLE: positions[start : start + ROWS]}), opened.class_names)
        yield pa.Table.from_pandas(as_written(frame), preserve_index=False)


def npz_file(opened: OpenStudy, scores: xr.Dataset, positions: np.ndarray) -> Iterator[bytes]:
    """Ids and scores for a removal study: ``sample``, ``score``, ``study`` and, where they are known, ``file`` and ``data_fingerprint``."""
    arrays = {
        "sample": opened.ids[positions].astype(np.int64),
        "score": scores[SSLMEM].values[positions].astype(np.float32),
        "study": np.array(opened.key),
    }
    files = opened.files(positions)
    if files is not None:
        arrays[FILE] = files.astype(object).astype(str)
    if opened.fingerprint:
        arrays["data_fingerprint"] = np.array(opened.fingerprint)
    yield from _cut(npz(arrays))


def npz(arrays: Mapping[str, np.ndarray]) -> bytes:
    """An npz archive, of which an array may be called ``file`` too: ``numpy.savez`` keeps that word for itself."""
    buffer = io.BytesIO()
    with zipfile.ZipFile(buffer, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, array in arrays.items():
            with archive.open(f"{name}.npy", "w", force_zip64=True) as member:
                np.lib.format.write_array(member, np.asanyarray(array), allow_pickle=False)
    return buffer.getvalue()


def _cut(content: bytes) -> Iterator[bytes]:
    for start in range(0, len(content), PIECE):
        yield content[start : start + PIECE]
