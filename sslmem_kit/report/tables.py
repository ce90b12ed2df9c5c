"""Labelled data as the mappings and rows of JSON: numbers become Python's, the two ends of an interval a list."""

from __future__ import annotations

import math
from typing import Any

import numpy as np
import xarray as xr

from sslmem_kit.names import ALTERNATIVE

OFFSET = "contains the offset of the trainings, which is found where nothing is memorized"
"""Note on the paper's tests against zero."""


def plain(values: xr.DataArray) -> Any:
    """Number, string or nested lists of an array.

    Examples
    --------
    >>> plain(xr.DataArray([0.5, 1.0])), plain(xr.DataArray(3))
    ([0.5, 1.0], 3)
    """
    return values.values.tolist()


def by_coordinate(values: xr.DataArray, dim: str) -> dict[str, Any]:
    """Values of an array by the coordinate of one of its dimensions.

    Examples
    --------
    >>> by_coordinate(xr.DataArray([1, 2], {"partition": ["shared", "candidate"]}, "partition"), "partition")
    {'shared': 1, 'candidate': 2}
    """
    return {str(name): plain(values.sel({dim: name})) for name in values[dim].values}


def rows(table: xr.Dataset, dim: str) -> list[dict[str, Any]]:
    """One mapping for each coordinate of a dimension: the coordinate under the dimension's name, then every variable that is on it.

    Examples
    --------
    >>> table = xr.Dataset(
    ...     {"n": ("layer", [3, 4]), "interval": (("layer", "bound"), [[0.1, 0.2], [0.3, 0.4]])}, {"layer": ["stem", "top"]}
    ... )
    >>> for row in rows(table, "layer"):
    ...     print(row)
    {'layer': 'stem', 'n': 3, 'interval': [0.1, 0.2]}
    {'layer': 'top', 'n': 4, 'interval': [0.3, 0.4]}
    """
    columns = {name: plain(column.transpose(dim, ...)) for name, column in table.data_vars.items() if dim in column.dims}
    return [
        {dim: coordinate, **{str(name): column[place] for name, column in columns.items()}}
        for place, coordinate in enumerate(table[dim].values.tolist())
    ]


def rows_of_tests(tests: xr.Dataset) -> list[dict[str, Any]]:
    """Rows of :func:`sslmem_kit.statistics.partition_tests`; those of Table 16 with the paper's test against ``zero``, and a note on it.

    Examples
    --------
    >>> from sslmem_kit.statistics import partition_tests
    >>> scores = xr.Dataset({"sslmem": ("sample", [-0.1, 0.1, 0.9, 1.1])}, {"partition": ("sample", [0, 0, 1, 1])})
    >>> for row in rows_of_tests(partition_tests(scores)):
    ...     print(row["alternative"], row["against"], round(row["t"], 2), round(row.get("zero", {}).get("t", 0)))
    C>S shared 7.07 0
    C>0 shared 7.07 10
    """
    result = []
    for row in rows(tests, ALTERNATIVE):
        t, p = row.pop("t_zero"), row.pop("p_zero")
        result.append(row | ({"zero": {"t": t, "p": p, "note": OFFSET}} if row["alternative"].endswith("0") else {}))
    return result


def whole(number: float) -> int | None:
    """A count that may be unknown: None for NaN.

    Examples
    --------
    >>> whole(3.0), whole(float("nan"))
    (3, None)
    """
    return None if np.isnan(number) else int(number)


def without_nan(value: Any) -> Any:
    """Value for JSON, which has no NaN: None stands for it.

    Examples
    --------
    >>> without_nan({"mean": float("nan"), "interval": (0.5, 1)})
    {'mean': None, 'interval': [0.5, 1]}
    """
    if isinstance(value, dict):
        return {key: without_nan(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [without_nan(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
