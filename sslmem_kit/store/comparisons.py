"""Comparisons in a results store: ``/comparisons/NAME``, on the samples and encoders of the root.

A group holds what was measured, on ``sample`` and ``encoder`` (NaN of encoders that were not measured), and for every score ``SCORE(sample)``,
``SCORE_error(sample)`` and ``SCORE_by_seed(sample, seed)``. Its attributes hold the options, as JSON. What was measured of single encoders is
kept beside the store, in ``comparisons/NAME/<encoder>.nc``, from which an interrupted comparison resumes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import xarray as xr
import zarr
from numpy.dtypes import StringDType

from sslmem_kit.errors import UserError
from sslmem_kit.names import ENCODER, FAMILIES, FILE, GROUP, PARTITION, SAMPLE, SEED, SSLMEM
from sslmem_kit.scores.comparisons.base import BY_SEED, ERROR
from sslmem_kit.store import file_record, integrity
from sslmem_kit.store.files import folder_appearing, remove, write_atomically
from sslmem_kit.store.layout import CHECKED
from sslmem_kit.store.metadata import DOCUMENT, write_root
from sslmem_kit.store.schema import COMPARISONS

BLOCK = 65_536
"""Samples in a chunk."""


def stored_comparisons(tree: xr.DataTree) -> dict[str, xr.Dataset]:
    """Return the comparisons that a study has, by name.

    Examples
    --------
    >>> stored_comparisons(xr.DataTree())
    {}
    """
    if COMPARISONS not in tree.children:
        return {}
    return {str(name): node.to_dataset() for name, node in tree[COMPARISONS].children.items()}


def options_of(group: xr.Dataset) -> dict[str, Any]:
    """Return the options that a comparison was made with."""
    return json.loads(group.attrs.get("options", "{}"))


def scores_of(group: xr.Dataset) -> list[str]:
    """Return the names of the scores in a comparison's group: what has an error beside it."""
    return [str(name) for name in group.data_vars if f"{name}{ERROR}" in group]


def with_comparisons(scores: xr.Dataset, tree: xr.DataTree) -> xr.Dataset:
    """Add the scores of a study's comparisons and their errors, columns on ``sample``.

    Parameters
    ----------
    scores
        Of :func:`sslmem_kit.scores.score`.
    tree
        Results of the study.

    Examples
    --------
    >>> from sslmem_kit.scores import _example, score
    >>> results = _example.results()
    >>> with_comparisons(score(results), xr.DataTree(results)).identical(score(results))
    True
    """
    columns = {}
    for group in stored_comparisons(tree).values():
        for name in scores_of(group):
            columns |= {column: (SAMPLE, group[column].values, group[column].attrs) for column in (name, f"{name}{ERROR}")}
    return scores.assign(columns)


def part_path(study: Path, name: str, encoder: str) -> Path:
    """Return the path of what a comparison has measured of one encoder."""
    return study / COMPARISONS / name / f"{encoder}.nc"


def write_part(path: Path, part: xr.Dataset) -> None:
    """Write what was measured of one encoder."""
    path.parent.mkdir(parents=True, exist_ok=True)
    write_atomically(path, bytes(part.to_netcdf(engine="h5netcdf")))


def read_part(path: Path, key: str) -> xr.Dataset | None:
    """Return what was measured of one encoder; None where it is missing, damaged, or of other options, weights or samples."""
    try:
        with xr.open_dataset(path, engine="h5netcdf") as part:
            return part.load() if part.attrs.get("key") == key else None
    except (OSError, ValueError, KeyError, RuntimeError):
        return None


def write_comparison(path: Path, name: str, group: xr.Dataset) -> None:
    """Write a comparison into a results store, in place of one of that name; the last step is to consolidate the metadata."""
    place = path / COMPARISONS / name
    write_root(path, attributes={}, consolidated=False)
    if not (path / COMPARISONS / DOCUMENT).is_file():
        write_group(path)
    remove_comparison(path, name)
    text = [key for key, variable in group.variables.items() if variable.dtype.kind in "OUT"]
    group = group.assign_coords({key: (group[key].dims, group[key].values.astype(StringDType())) for key in text})
    encoding = {
        key: {"chunks": tuple(max(1, min(BLOCK, size)) for size in variable.shape), **CHECKED} if variable.ndim else dict(CHECKED)
        for key, variable in group.variables.items()
    }
    partial = path.with_name(f"{path.name}.{name}.partial")
    with folder_appearing(place, partial):
        group.to_zarr(partial, mode="w-", zarr_format=3, consolidated=False, encoding=encoding)
    integrity.note_group(path, f"{COMPARISONS}/{name}")


def write_group(path: Path) -> None:
    """Write the document of the group that comparisons are in, and record it; those that are there stay."""
    zarr.open_group(path / COMPARISONS, mode="a", zarr_format=3)
    file_record.note(path, file_record.STORE, [f"{COMPARISONS}/{DOCUMENT}"])


def remove_comparison(path: Path, name: str) -> None:
    """Remove a comparison, or what is recorded of one that is gone, from a store and from its record."""
    place = path / COMPARISONS / name
    entries, _ = file_record.read_record(path)
    names = [entry for entry in entries if entry.startswith(f"{COMPARISONS}/{name}/")]
    gone = path.with_name(f"{path.name}.{name}.partial")
    remove(gone)
    if place.exists():
        place.rename(gone)
    if names:
        file_record.forget(path, file_record.STORE, names)
    remove(gone)


def check_names(tree: xr.DataTree, columns: Sequence[str], name: str) -> None:
    """Refuse columns that another comparison, or the study's own scores, have.

    Raises
    ------
    UserError
        A column's name is taken.
    """
    others = {column: other for other, group in stored_comparisons(tree).items() if other != name for column in scores_of(group)}
    taken = {made: other for column, other in others.items() for made in (column, *_beside(column))}
    for column in columns:
        for made in _beside(column):
            if made in columns or made in others or made in OWN:
                raise UserError(
                    f"--with: the column {made!r} would be the error or the seeds of {column!r} of {name}; rename one of them"
                )
        if column in taken or column in OWN:
            other = taken.get(column, "the scores of the study")
            raise UserError(f"--with: the column {column!r} of {name} is one of {other} already; give it another name")


def _beside(column: str) -> tuple[str, str]:
    """Return the names of what is kept beside a score."""
    return f"{column}{ERROR}", f"{column}{BY_SEED}"


OWN = frozenset(
    {
        SAMPLE,
        SEED,
        ENCODER,
        SSLMEM,
        PARTITION,
        FILE,
        GROUP,
        "label",
        "difference",
        "z",
        "quantile",
        "p_value",
        "q_value",
        "shrunken",
        "rank",
        "low",
        "high",
    }
    | {f"standard_error{of}" for of in ("", "_views", "_encoders", "_offset")}
    | {f"q_value_{of}" for of in ("shared", "extra")}
    | {f"rank_{of}" for of in ("score", "error")}
    | {f"{of}_{family}" for of in ("alignment", "n") for family in FAMILIES}
)
"""Columns of the scores that a study has by itself."""
