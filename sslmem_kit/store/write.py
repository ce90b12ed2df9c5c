"""Writing into a store in whole chunks, and what is recorded as done."""

from __future__ import annotations

import asyncio
from collections.abc import Mapping
from pathlib import Path
from typing import Any

import numpy as np
import zarr
from zarr.core.buffer import Buffer
from zarr.storage import LocalStore

from sslmem_kit.errors import UserError, one_line
from sslmem_kit.names import (
    ALIGNMENT,
    GROUP,
    SAMPLE,
)
from sslmem_kit.store import file_record
from sslmem_kit.store.files import remove, write_atomically
from sslmem_kit.store.metadata import own_documents, write_root
from sslmem_kit.store.schema import COMMON, DETAILS, DUPLICATES, LAYERS, UNITS, mean_of_pairs


def write_alignment(
    path: Path, *, encoder: int, block: int, values: np.ndarray, layers: np.ndarray | None = None, common: np.ndarray | None = None
) -> None:
    """Write one block of samples of one encoder, (sample, augmentation) float32, and record it as scored.

    ``layers`` is the same block's alignment by layer, (sample, layer) float32, for a store that was created with layers; ``common`` that by
    the common policy, as ``values``, for a store that was created with one.
    """
    group = _open_for_writing(path)
    start = int(group["completeness/block_start"][block])
    group[ALIGNMENT][start : start + len(values), :, encoder] = values
    if layers is not None:
        group[f"{LAYERS}/{ALIGNMENT}"][start : start + len(layers), encoder, :] = layers
    if common is not None:
        second: Any = group[f"{COMMON}/{ALIGNMENT}"]
        second[start : start + len(common), :, encoder] = common
    groups = [name for name, part in ((LAYERS, layers), (COMMON, common)) if part is not None]
    file_record.note(path, str(encoder), file_record.block_names(encoder, block, groups=groups))
    group["completeness/scored"][encoder, block] = True


def mean_alignment(path: Path, *, encoder: int) -> np.ndarray:
    """Return the mean over augmentations of an encoder's alignment, by :func:`sslmem_kit.store.mean_of_pairs`, (sample,) float32."""
    group = _open_for_writing(path)
    distances, second = np.asarray(_array(group, ALIGNMENT)[:, :, encoder]), np.asarray(_array(group, "view_b")[:])
    return mean_of_pairs(distances, int(second.max()))


def write_evaluation(path: Path, *, encoder: int, rows: Mapping[str, np.ndarray]) -> None:
    """Write an encoder's rows, keys ``group/variable``, and record the encoder as evaluated.

    A store that an earlier version started has a place for fewer numbers: the others are left out.
    """
    group = _open_for_writing(path)
    for name, row in rows.items():
        if name not in group:
            continue
        array = group[name]
        if name in ("downstream/accuracy", "downstream/confusion"):
            row = row[:, : array.shape[2]]
        if name == f"trajectory/{ALIGNMENT}":
            array[:, encoder, :] = row
        else:
            array[encoder] = row
    file_record.note(path, str(encoder), file_record.rows_of(own_documents(path), encoder))
    group["completeness/evaluated"][encoder] = True


def take_back(path: Path, *, encoder: int, block: int | None) -> None:
    """Record a block of an encoder as not scored, or with None the encoder as not evaluated."""
    _mark(path, encoder, block, done=False)


def give_back(path: Path, *, encoder: int, block: int | None) -> None:
    """Undo :func:`take_back`, for values that have turned out to be whole."""
    _mark(path, encoder, block, done=True)


def forget_encoder(path: Path, encoder: int) -> None:
    """Take back all that rests on an encoder's weights, where it has other ones now."""
    for block in np.flatnonzero(_open_for_writing(path)["completeness/scored"][encoder]).tolist():
        take_back(path, encoder=encoder, block=block)
    take_back(path, encoder=encoder, block=None)
    for group in ("neighbours", UNITS):
        remove(path / group)


def _mark(path: Path, encoder: int, block: int | None, *, done: bool) -> None:
    group = _open_for_writing(path)["completeness"]
    if block is None:
        remove(path / "completeness" / "evaluated" / "c" / str(encoder))  # it may be damaged
        group["evaluated"][encoder] = done
    else:
        remove(path / "completeness" / "scored" / "c" / str(encoder) / str(block))
        group["scored"][encoder, block] = done


def unscored_blocks(path: Path, encoder: int) -> list[int]:
    """Return the numbers of the blocks that are still to be scored by an encoder."""
    return np.flatnonzero(~_open_for_writing(path)["completeness/scored"][encoder].astype(bool)).tolist()


def complete(path: Path) -> np.ndarray:
    """Return whether each encoder is scored and evaluated, (encoder,) bool."""
    group = _open_for_writing(path)
    return group["completeness/scored"][:].all(axis=1) & group["completeness/evaluated"][:].astype(bool)


def is_evaluated(path: Path, encoder: int) -> bool:
    """Return whether an encoder's training, trajectory and downstream rows are written."""
    return bool(_open_for_writing(path)["completeness/evaluated"][encoder])


def attributes(path: Path) -> dict[str, Any]:
    """Return the attributes of the root, as stored."""
    return dict(_open_for_writing(path).attrs)


def set_attributes(path: Path, attrs: Mapping[str, Any]) -> None:
    """Add attributes to the root."""
    write_root(path, attributes=attrs, consolidated=False)


def finish(path: Path) -> None:
    """Consolidate the metadata: the last write of a run."""
    write_root(path, attributes={}, consolidated=True)


def is_finished(path: Path) -> bool:
    """Return whether :func:`finish` was the last to write here."""
    return b'"consolidated_metadata"' in (path / "zarr.json").read_bytes()


def _array(group: zarr.Group, name: str) -> zarr.Array:
    """Return an array of a group, which holds groups too."""
    array = group[name]
    assert isinstance(array, zarr.Array)
    return array


def sample_ids(path: Path) -> np.ndarray:
    """Return the ids of the scored samples, ascending."""
    return _open_for_writing(path)[SAMPLE][:]


def sample_groups(path: Path) -> np.ndarray | None:
    """Return the groups of the scored samples, by the id of the first member; None where the study has none."""
    group = _open_for_writing(path)
    return np.asarray(_array(group, GROUP)[:]) if GROUP in group else None


def unlisted_details(path: Path) -> list[str]:
    """Return the groups of a scored store that a reader does not see: not there, or moved in after the last :func:`finish`."""
    listed = zarr.open_group(path, mode="r")
    return [name for name in (*DETAILS, DUPLICATES, *([UNITS] if LAYERS in listed else [])) if name not in listed]


class _OnDisk(LocalStore):
    """A store on disk of which every file is there for good before the next is written: what is recorded has survived a loss of power."""

    async def set(self, key: str, value: Buffer) -> None:
        await asyncio.to_thread(self.set_sync, key, value)

    def set_sync(self, key: str, value: Buffer) -> None:
        path = self.root / key
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, value.to_bytes())


def _open_for_writing(path: Path) -> zarr.Group:
    try:
        return zarr.open_group(_OnDisk(path), mode="r+", use_consolidated=False)
    except (ValueError, KeyError, OSError, TypeError) as error:
        raise UserError(f"{path}: the results store cannot be opened, its metadata is damaged ({one_line(error)})") from None
