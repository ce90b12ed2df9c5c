"""The results store: names, layout, creation, writing in whole chunks, completeness, opening and validation.

``results.zarr`` is an xarray ``DataTree`` in Zarr v3. The root holds ``alignment(sample, augmentation, encoder)``, the distance between
the representations of two views; an augmentation is a pair of views, and all pairs among the clean image (view 0) and the k random
views are stored. A writer owns whole chunks: one (sample block, encoder) of ``alignment``, one encoder's row of everything else. What is
written is recorded afterwards, per (encoder, block), in ``/completeness``; a reader gets an error that names what is missing.
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sslmem_kit.errors import UserError, one_line
from sslmem_kit.names import (
    ALIGNMENT,
    ENCODER,
    FILE,
    MODE,
)
from sslmem_kit.store import file_record, integrity
from sslmem_kit.store.check import missing, schema_problems
from sslmem_kit.store.metadata import REPAIR_HINT, read_documents
from sslmem_kit.store.schema import SCHEMA_VERSION
from sslmem_kit.store.write import is_finished

READ_ENCODERS = 64
"""Encoders whose values are checked together."""


class IncompleteStore(UserError):
    """Results that were asked for are missing from the store."""


def open_results(path: Path | str, *, allow_incomplete: bool = False, allow_damage: bool = False) -> xr.DataTree:
    """Open a results store lazily.

    That every file is there, of the size and with the last bytes that were written, is seen first; a chunk's checksum when it is read.

    Parameters
    ----------
    path
        Path of ``results.zarr``.
    allow_incomplete
        Open an incomplete store too; what is missing is NaN there, and :func:`missing` names it.
    allow_damage
        Open a store in which values of encoders are damaged too: such a block counts as not scored, such rows as not evaluated. Damaged
        pictures never keep a store from being opened: their files are in the attribute ``damaged_pictures``.

    Raises
    ------
    UserError
        Not a results store, of another schema version, or damaged.
    IncompleteStore
        Results are missing.
    """
    path = Path(path)
    if not (path / "zarr.json").is_file():
        raise UserError(f"{path}: there is no results store here (a folder with a zarr.json)")
    documents = read_documents(path)
    try:
        done = integrity.completeness(path)
        found = integrity.damages(path, documents, whole=False, done=done)
        pictures = [damage.name for damage in found if damage.name.split("/")[0] in integrity.PICTURES]
        numbers = [damage for damage in found if damage.name not in pictures]
        if not all(allow_damage and integrity.place(damage) for damage in numbers):
            raise UserError(_refusal(path, documents, numbers))
        tree = xr.open_datatree(path, engine="zarr", consolidated=is_finished(path), chunks={})
        root = tree.to_dataset(inherit=False)
        # Labels of the axes are small and every reader selects by them: they come into memory, the data and names of files stay lazy.
        tree.dataset = root.assign_coords({name: coord.variable.load() for name, coord in root.coords.items() if name != FILE})
        if "completeness" in tree.children:
            held = dict(zip(("scored", "evaluated"), done[:2], strict=True))
            integrity.mark(found, held["scored"], held["evaluated"])
            kept = {name: (tree["completeness"][name].dims, values) for name, values in held.items()}
            tree["completeness"].dataset = tree["completeness"].to_dataset(inherit=False).assign(kept)
        if pictures:
            tree.attrs["damaged_pictures"] = pictures
    except UserError:
        raise
    except (ValueError, KeyError, OSError, TypeError, RuntimeError) as error:
        if _of_checksum(error):
            raise UserError(f"{path}: the results are damaged, a chunk {_of_checksum(error)}; {_REMEDY}") from None
        raise UserError(f"{path}: the results store cannot be opened, its metadata is damaged ({one_line(error)})") from None
    version = tree.attrs.get("schema_version")
    if version != SCHEMA_VERSION:
        raise UserError(f"{path}: schema_version is {version!r}, this version of sslmem_kit reads {SCHEMA_VERSION}")
    problems = list(schema_problems(tree))
    if problems:
        raise UserError(f"{path}: {problems[0]}")
    absent = missing(tree)
    if absent and not allow_incomplete:
        raise IncompleteStore(f"{path}: the study is incomplete, {absent}; `{command(tree)}` on the same directory resumes it")
    return tree


_REMEDY = f"`sslmem validate` names it, {REPAIR_HINT}"


def _refusal(path: Path, documents: Mapping[str, Any], found: Sequence[file_record.Damage]) -> str:
    damages = integrity.describe(found, documents, integrity.encoder_ids(path))
    more = f" and {len(damages) - 1} more" if len(damages) > 1 else ""
    return f"{path}: the results are damaged, {damages[0]}{more}; `sslmem validate` names all of it, {REPAIR_HINT}"


def command(tree: xr.DataTree) -> str:
    """Return the command that made a store, and resumes it."""
    return "sslmem score" if MODE in tree.attrs else "sslmem run"


@contextlib.contextmanager
def reading(path: Path) -> Iterator[None]:
    """Context of reading values: a damaged chunk raises a :class:`UserError` that says how to repair it."""
    try:
        yield
    except UserError:
        raise
    except (RuntimeError, OSError, ValueError) as error:  # what zarr's codecs raise
        raise UserError(
            f"{path}: a chunk of the results cannot be read ({_of_checksum(error) or one_line(error)}); {_REMEDY}"
        ) from None


def _of_checksum(error: Exception) -> str:
    """Return what is wrong where zarr's codec reports two checksums that differ; empty for other errors."""
    return "is not what was written" if "computed checksum do not match" in str(error) else ""


def check_whole(path: Path, values: xr.DataArray, *, what: str = ALIGNMENT) -> None:
    """Refuse values that a complete store has to have and that are not finite; those of a few encoders at a time are in memory.

    Raises
    ------
    UserError
        Chunks were lost after they had been recorded: zarr reads NaN in their place.
    """
    dim = next(name for name in values.dims if name != ENCODER)
    lost = np.zeros(values.sizes[dim], bool)
    for start in range(0, values.sizes.get(ENCODER, 1), READ_ENCODERS):
        part = values.isel({ENCODER: slice(start, start + READ_ENCODERS)}, missing_dims="ignore")
        lost |= ~np.isfinite(part).all([other for other in part.dims if other != dim]).values
    if lost.any():
        raise UserError(
            f"{path}: the {what} of {int(lost.sum())} of {len(lost)} {dim}s is not finite though recorded as scored; chunks are lost, "
            "`sslmem validate` says more"
        )
