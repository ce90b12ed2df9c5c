"""Integrity of a results store: a record of its files, and which of them are lost, damaged or replaced.

Every chunk ends with its crc32c, which zarr compares when it reads. That finds flipped bits, not chunks that are gone (zarr reads the fill
value in their place) or have changed places. So whoever writes a file adds a line to the record, after the file and before the chunk is
recorded as scored: its name, size, last 4 bytes (of a chunk: its crc32c) and a checksum of the whole (crc32; of an encoder's files sha256).
The last line about a name counts. Names are relative to the store; an encoder's files are ``../encoders/...``. One writer, one file of the
record: lines of different encoders never meet. A store that an earlier version wrote has no record.
"""

from __future__ import annotations

import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import numpy as np
import zarr

from sslmem_kit.errors import join_names
from sslmem_kit.names import ENCODER, MODE, SAMPLE
from sslmem_kit.store.file_record import (
    COMPLETENESS,
    ROWS,
    SPEC,
    STORE,
    Damage,
    _chunks,
    _dims,
    _how_quickly,
    chunk_names,
    expected_names,
    file_of,
    files_of,
    holds,
    how_wholly,
    is_recorded,
    note,
    read_record,
)
from sslmem_kit.store.files import write_atomically
from sslmem_kit.store.metadata import DOCUMENT, RECORD, Document, own_documents, write_root

PICTURES = ("images", "views", "neighbours")
"""Groups that are looked at and from which nothing is computed: damage there keeps no reader from the numbers."""

NO_CHECKSUMS = "the results were written by an earlier version and carry no checksums: damage to them may go unseen"
DAMAGED_PICTURES = (
    "pictures of samples, or their neighbours, are lost or damaged: `sslmem validate` names them, `sslmem run` makes them again"
)
"""Sentences for :func:`sslmem_kit.statistics.caveats.caveats`."""


def start(path: Path) -> None:
    """Start the record of a store that has just been laid out, with all of its files, and seal its root."""
    (path / RECORD).mkdir()
    note(path, STORE, [*_files(path, own_documents(path), empty=False), *_spec(path)])
    write_root(path, attributes={}, consolidated=False, sealed=True)


def note_group(path: Path, group: str) -> None:
    """Record a group that has been moved into a store."""
    note(path, STORE, (name for name in _files(path, own_documents(path), empty=True) if name.startswith(f"{group}/")))


def renew(path: Path) -> None:
    """Record a store as it is, in place of what was recorded: for who has changed it on purpose, by other means than this package's."""
    consolidated = b'"consolidated_metadata"' in (path / DOCUMENT).read_bytes()
    for file in (path / RECORD).iterdir():
        file.unlink()
    documents = own_documents(path)
    evaluated = completeness(path)[1] if "completeness" in documents else np.zeros(0, bool)
    note(path, STORE, [*_files(path, documents, empty=True), *_encoder_files(path, documents, evaluated), *_spec(path)])
    write_root(path, attributes={}, consolidated=consolidated)


def is_edited(path: Path) -> bool:
    """Return whether the ``study.yaml`` beside a store is not as it was recorded; False where there is no record of it."""
    if not is_recorded(path):
        return False
    entries, _ = read_record(path)
    return SPEC in entries and bool(how_wholly(file_of(path, SPEC), entries[SPEC]))


def _spec(path: Path) -> list[str]:
    """Return the recorded name of the study's spec; empty for a store that is in no study."""
    return [SPEC] if file_of(path, SPEC).is_file() else []


def _files(path: Path, documents: dict[str, Document], *, empty: bool) -> Iterator[str]:
    """Files of a store but its root's document and what is recorded as done; ``empty``: with chunks of arrays that hold nothing yet."""
    for name, document in documents.items():
        yield f"{name}/{DOCUMENT}"
        if _dims(document) and name not in COMPLETENESS and (empty or (path / name / "c").is_dir()):
            yield from chunk_names(name, document)


def damaged_files(path: Path, names: Iterable[str]) -> list[Damage]:
    """Return which of some files are not, or not known to be, what was written; none for a store without a record."""
    if not is_recorded(path):
        return []
    entries, _ = read_record(path)
    hows = {name: how_wholly(file_of(path, name), entries[name]) if name in entries else "has no checksum" for name in names}
    return [Damage(name, how) for name, how in hows.items() if how]


Done = tuple[np.ndarray, np.ndarray, list["Damage"]]
"""Return type of :func:`completeness`."""


def damages(path: Path, documents: Mapping[str, Document], *, whole: bool, done: Done | None = None) -> list[Damage]:
    """Return the damages of a store: what is not as its record says; without a record, what is recorded as scored and is missing.

    Parameters
    ----------
    path
        Path of the store.
    documents
        Result of :func:`sslmem_kit.store.metadata.read_documents`.
    whole
        Read every file of the store, and of its encoders; else compare sizes and last bytes of those in the store, which finds what is
        gone, cut or in another's place.
    done
        Result of :func:`completeness`, where it has been read already.
    """
    scored, evaluated, unreadable = done or completeness(path)
    found = [*unreadable]
    if MODE in documents[""]["attributes"]:  # an audit, which has nothing to evaluate
        found += [Damage(f"completeness/evaluated/c/{encoder}", "is missing") for encoder in np.flatnonzero(~evaluated)]
    if not is_recorded(path):
        lost = (
            name for name in expected_names(documents, scored, evaluated) if "alignment/c/" in name and not (path / name).is_file()
        )
        return [*found, *(Damage(name, "is missing") for name in lost)]
    entries, damaged = read_record(path)
    entries.pop(SPEC, None)  # see is_edited
    found += damaged
    found += [Damage(name, "has no checksum") for name in expected_names(documents, scored, evaluated) if name not in entries]
    if whole:
        found += [
            Damage(name, "has no checksum")
            for name in _encoder_files(path, documents, evaluated)
            if name not in entries and file_of(path, name).exists()
        ]
        with ThreadPoolExecutor(min(8, os.cpu_count() or 1)) as threads:
            return [
                *found,
                *_as_damages(entries, threads.map(lambda name: how_wholly(file_of(path, name), entries[name]), entries)),
            ]
    inside = {name: entry for name, entry in entries.items() if not name.startswith("../")}
    hows = ((how_wholly if name.endswith(DOCUMENT) else _how_quickly)(path / name, entry) for name, entry in inside.items())
    return [*found, *_as_damages(inside, hows)]


def place(damage: Damage) -> tuple[int, int | None] | None:
    """Return the encoder whose values a damaged chunk holds and the block of its scores, None for its evaluation; None for all else."""
    if not damage.is_chunk:
        return None
    index, group = damage.index, damage.array.split("/")[0]
    if damage.array in ("alignment", "common/alignment"):
        return index[2], index[0]
    if damage.array == "layers/alignment":
        return index[1], index[0]
    if damage.array == "completeness/scored":
        return index[0], index[1]
    if damage.array == "completeness/evaluated" or (group in ROWS and len(index) > 1):
        return index[1] if damage.array.endswith("/alignment") else index[0], None
    return None


def mark(found: Iterable[Damage], scored: np.ndarray, evaluated: np.ndarray) -> None:
    """Take back, in place, that blocks and encoders are done whose values are damaged."""
    for encoder, block in filter(None, map(place, found)):
        if block is None:
            evaluated[encoder] = False
        else:
            scored[encoder, block] = False


def _encoder_files(path: Path, documents: Mapping[str, Document], evaluated: np.ndarray) -> Iterator[str]:
    """Files of the encoders that were trained here and are done."""
    if "training" not in documents:
        return
    for encoder_id, done in zip(encoder_ids(path), evaluated, strict=False):
        if done:
            yield from files_of(encoder_id)


def encoder_ids(path: Path) -> list[str]:
    """Return the ids of the encoders of a store, in its order; none where they cannot be read."""
    try:
        return [str(name) for name in zarr.open_group(path, mode="r", use_consolidated=False)[ENCODER][:]]
    except (ValueError, KeyError, OSError, RuntimeError):
        return []


def restore_record(path: Path) -> None:
    """Write the record's good lines again, and lines about what is there and whose lines are lost, as far as its own checksum holds."""
    folder = path / RECORD
    folder.mkdir(exist_ok=True)
    for file in folder.iterdir():
        lines = [line for line in file.read_bytes().split(b"\n") if line.startswith(b"%08x" % zlib.crc32(line[9:]))]
        write_atomically(file, b"".join(line + b"\n" for line in lines))
    entries, _ = read_record(path)
    documents = own_documents(path)
    scored, evaluated, _ = completeness(path)
    wanted = [
        *_files(path, documents, empty=False),
        *expected_names(documents, scored, evaluated),
        *_encoder_files(path, documents, evaluated),
        *_spec(path),
    ]
    note(path, STORE, [name for name in dict.fromkeys(wanted) if name not in entries and holds(file_of(path, name))])


def completeness(path: Path) -> Done:
    """Return ``scored`` (encoder, block), ``evaluated`` (encoder,), both bool and False where they cannot be read, and what cannot be."""
    # One small file a block of samples: by way of dask each would be a task of its own.
    group, found = zarr.open_group(path / "completeness", mode="r"), []
    arrays = []
    for name in ("scored", "evaluated"):
        array = group[name]
        try:
            values = array[...].astype(bool)  # some versions of xarray write booleans as integers
        except (ValueError, RuntimeError, OSError):
            values = np.zeros(array.shape, bool)
            for index in np.ndindex(*array.cdata_shape):
                at = tuple(slice(i * size, (i + 1) * size) for i, size in zip(index, array.chunks, strict=True))
                try:
                    values[at] = array[at]
                except (ValueError, RuntimeError, OSError):
                    found.append(_mark_at(name, index, "cannot be read"))
        # A folder in the place of a mark reads as one that was never made, and nothing writes over it.
        lost = np.unique(np.argwhere(~values) // array.chunks, axis=0).tolist()
        found += [_mark_at(name, index, "is a folder") for index in lost if (path / _mark_at(name, index, "").name).is_dir()]
        arrays.append(values)
    return arrays[0], arrays[1], found


def _mark_at(name: str, index: Sequence[int], how: str) -> Damage:
    return Damage("/".join((f"completeness/{name}/c", *map(str, index))), how)


def describe(found: Iterable[Damage], documents: Mapping[str, Document], encoders: Sequence[str]) -> list[str]:
    """Return a sentence for each array, encoder and kind of damage, without its full stop, which names blocks and their samples."""
    blocks: dict[tuple[str, str], list[str]] = {}
    for damage in found:
        document = documents.get(damage.array) if damage.is_chunk else None
        dims, chunks = (_dims(document), _chunks(document)) if document else ((), ())
        at = dict(zip(dims, damage.index, strict=False))
        what = damage.name.removeprefix("../")
        where = ""
        if document:
            what = damage.array
            if ENCODER in at and chunks[dims.index(ENCODER)] == 1:
                what += f" of {encoders[at[ENCODER]] if at[ENCODER] < len(encoders) else f'encoder {at[ENCODER]}'}"
            along = next((dim for dim in dims if dim in (SAMPLE, "kept")), None)
            if along:
                size, length = chunks[dims.index(along)], document["shape"][dims.index(along)]
                first = at[along] * size
                where = f"block {at[along]} (samples {first:,} to {min(first + size, length) - 1:,} of its {length:,})"
        blocks.setdefault((what, damage.how), []).append(where)
    return [
        f"{what}{f', {join_names([place for place in where if place])},' if any(where) else ''} {how}"
        for (what, how), where in blocks.items()
    ]


def _as_damages(names: Iterable[str], hows: Iterable[str]) -> Iterator[Damage]:
    return (Damage(name, how) for name, how in zip(names, hows, strict=True) if how)
