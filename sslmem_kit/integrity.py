"""What a results store must consist of: a record of its files, and what of them is lost, damaged or another one.

Every chunk ends with its crc32c, which zarr compares when it reads. That finds flipped bits, not chunks that are gone (zarr reads the fill
value in their place) or have changed places. So whoever writes a file adds a line to the record, after the file and before the chunk is
recorded as scored: its name, size, last 4 bytes (of a chunk: its crc32c) and a checksum of the whole (crc32; of an encoder's files sha256).
The last line about a name counts. Names are relative to the store; an encoder's files are ``../encoders/...``. One writer, one file of the
record: lines of different encoders never meet. A store that an earlier version wrote has no record.
"""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import google_crc32c
import numpy as np
import zarr

from sslmem_kit.errors import few
from sslmem_kit.files import remove, write_atomically
from sslmem_kit.metadata import DOCUMENT, RECORD, SEAL, Document, own_documents, write_root
from sslmem_kit.names import ENCODER, MODE, SAMPLE

COMPLETENESS = ("completeness/scored", "completeness/evaluated")

STORE = "store"
"""Who writes what is no encoder's."""

SPEC = "../study.yaml"
"""As the record names it. People edit the places in it, and a run that finds there what was there records it anew."""

ROWS = ("training", "trajectory", "downstream")
"""Groups that an encoder's evaluation fills."""

ADDED = ("views", "neighbours", "units")
"""Groups that are moved into a scored store."""

PICTURES = ("images", "views", "neighbours")
"""Groups that are looked at and from which nothing is computed: damage there keeps no reader from the numbers."""

NO_CHECKSUMS = "the results were written by an earlier version and carry no checksums: damage to them may go unseen"
DAMAGED_PICTURES = (
    "pictures of samples, or their neighbours, are lost or damaged: `sslmem validate` names them, `sslmem run` makes them again"
)
"""Sentences for :func:`sslmem_kit.caveats.caveats`."""

_TAIL, _AT_ONCE = 4, 2**20


@dataclass(frozen=True)
class Entry:
    """What the record says of a file; of one that must not be there (all its values are the fill value) the size is -1."""

    size: int
    tail: str = "-"
    digest: str = "-"


FORGOTTEN = Entry(-2)


@dataclass(frozen=True)
class Damage:
    """A file that is not what the record says."""

    name: str
    how: str

    @property
    def array(self) -> str:
        """The array whose chunk it is, the node whose document it is, or its own name."""
        return self.name.split("/c/")[0] if self.is_chunk else str(PurePosixPath(self.name).parent)

    @property
    def is_chunk(self) -> bool:
        """Whether it is a chunk, not a document or a file outside the store."""
        return "/c/" in self.name and not self.name.startswith("../")

    @property
    def index(self) -> tuple[int, ...]:
        """Of the chunk, along each dimension."""
        return tuple(map(int, self.name.split("/c/")[1].split("/"))) if self.is_chunk else ()

    @property
    def encoder(self) -> str | None:
        """Whose file it is; None of what is in the store."""
        return self.name.split("/")[2] if self.name.startswith("../encoders/") else None


def is_recorded(path: Path) -> bool:
    """Whether a store carries checksums."""
    return (path / RECORD).is_dir() or f'"{SEAL}"'.encode() in (path / DOCUMENT).read_bytes()


def begin(path: Path) -> None:
    """Begin the record of a store that has just been laid out: with all of its files; and seal its root."""
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
    """Whether the ``study.yaml`` beside a store is not as it was recorded; False where there is no record of it."""
    if not is_recorded(path):
        return False
    entries, _ = read_record(path)
    return SPEC in entries and bool(how_wholly(file_of(path, SPEC), entries[SPEC]))


def _spec(path: Path) -> list[str]:
    """Of the study that a store is in, for there are stores of none."""
    return [SPEC] if file_of(path, SPEC).is_file() else []


def _files(path: Path, documents: dict[str, Document], *, empty: bool) -> Iterator[str]:
    """Files of a store but its root's document and what is recorded as done; ``empty``: with chunks of arrays that hold nothing yet."""
    for name, document in documents.items():
        yield f"{name}/{DOCUMENT}"
        if _dims(document) and name not in COMPLETENESS and (empty or (path / name / "c").is_dir()):
            yield from chunk_names(name, document)


def chunk_names(name: str, document: Document, *, along: int | None = None, at: int = 0) -> Iterator[str]:
    """Of the files that an array's values are in where none is left out; all, or those with one index along an axis."""
    counts = _counts(document)
    if along is not None:
        counts[along] = 1
    for index in np.ndindex(*counts):
        own = index if along is None else (*index[:along], at, *index[along + 1 :])
        yield "/".join((name, "c", *map(str, own)))


def expected_names(documents: Mapping[str, Document], scored: np.ndarray, evaluated: np.ndarray) -> Iterator[str]:
    """Files that the record of a store must know: chunks of what is recorded as done, and of groups that are added later the documents.

    ``scored`` is (encoder, block) and ``evaluated`` (encoder,), as ``/completeness`` holds them.
    """
    yield f"alignment/{DOCUMENT}"
    yield from (f"{name}/{DOCUMENT}" for name in documents if name.split("/")[0] in ADDED)
    layers = "layers/alignment" in documents and _counts(documents["layers/alignment"])[:2] == list(scored.T.shape)
    for encoder, block in np.argwhere(scored).tolist():
        yield from block_names(encoder, block, layers=layers)
    for encoder in np.flatnonzero(evaluated).tolist():
        yield from rows_of(documents, encoder)


def rows_of(documents: Mapping[str, Document], encoder: int) -> Iterator[str]:
    """Files that hold what is known of an encoder beside its scores: a single one an array, but of what is there for every sample."""
    for name, document in documents.items():
        dims = _dims(document)
        if name.split("/")[0] in ROWS and ENCODER in dims:
            yield from chunk_names(name, document, along=dims.index(ENCODER), at=encoder)


def block_names(encoder: int, block: int, *, layers: bool) -> list[str]:
    """Files that hold one block of one encoder's alignment."""
    return [f"alignment/c/{block}/0/{encoder}", *([f"layers/alignment/c/{block}/{encoder}/0"] if layers else [])]


def _dims(document: Document) -> Sequence[str]:
    return document.get("dimension_names") or ()


def _chunks(document: Document) -> list[int]:
    return document["chunk_grid"]["configuration"]["chunk_shape"]


def _counts(document: Document) -> list[int]:
    return [-(-size // chunk) for size, chunk in zip(document["shape"], _chunks(document), strict=True)]


def note(path: Path, writer: str, names: Iterable[str]) -> None:
    """Add to the record how files are now."""
    if (path / RECORD).is_dir():  # else an earlier version's
        _append(path, writer, [_line(name, _entry(file_of(path, name))) for name in names])


def forget(path: Path, writer: str, names: Iterable[str]) -> None:
    """Remove files from a store and from its record: they are about to be made again."""
    for name in names:
        remove(path / name)
        _append(path, writer, [_line(name, FORGOTTEN)])


def _append(path: Path, writer: str, lines: Sequence[str]) -> None:
    folder = path / RECORD
    if not folder.is_dir():
        return  # an earlier version's
    handle = os.open(folder / writer, os.O_RDWR | os.O_CREAT | os.O_APPEND, 0o666)
    try:
        size = os.fstat(handle).st_size
        torn = size and os.pread(handle, 1, size - 1) != b"\n"  # a writer was killed within its line
        os.write(handle, (("\n" if torn else "") + "".join(lines)).encode())
        os.fsync(handle)
    finally:
        os.close(handle)


def file_of(path: Path, name: str) -> Path:
    """Where a recorded file is; a store may be a link."""
    return path.parent / name.removeprefix("../") if name.startswith("../") else path / name


def _line(name: str, entry: Entry) -> str:
    text = f"{entry.size} {entry.tail} {entry.digest} {name}"
    return f"{zlib.crc32(text.encode()):08x} {text}\n"


def _entry(file: Path) -> Entry:
    try:
        with open(file, "rb") as handle:
            if file.suffix not in ("", ".json") or file.name == "config.json":  # an encoder's
                return Entry(os.fstat(handle.fileno()).st_size, "-", hashlib.file_digest(handle, "sha256").hexdigest())
            content = handle.read()
    except FileNotFoundError:
        return Entry(-1)
    return Entry(len(content), content[-_TAIL:].hex() or "-", f"{zlib.crc32(content):08x}")


def files_of(encoder_id: str) -> list[str]:
    """What a finished training leaves, as the record names it."""
    return [f"../encoders/{encoder_id}/{name}" for name in ("config.json", "history.csv", "weights.safetensors")]


def damaged_files(path: Path, names: Iterable[str]) -> list[Damage]:
    """Those of some files that are not, or not known to be, what was written; of a store without a record none."""
    if not is_recorded(path):
        return []
    entries, _ = read_record(path)
    hows = {name: how_wholly(file_of(path, name), entries[name]) if name in entries else "has no checksum" for name in names}
    return [Damage(name, how) for name, how in hows.items() if how]


def read_record(path: Path) -> tuple[dict[str, Entry], list[Damage]]:
    """What the record says, and what is damaged of itself."""
    entries: dict[str, Entry] = {}
    damaged = []
    try:
        files = sorted(os.scandir(path / RECORD), key=lambda file: (file.name != STORE, file.name))
    except OSError:
        return {}, [Damage(RECORD, "is missing")]
    for file in files:
        try:
            *lines, torn = Path(file).read_bytes().split(b"\n")
        except OSError as error:
            damaged.append(Damage(f"{RECORD}/{file.name}", f"cannot be read ({error.strerror})"))
            continue
        whole = not torn  # else its writer was killed within a line
        for line in lines:
            check, _, text = line.partition(b" ")
            if check != b"%08x" % zlib.crc32(text):
                whole = False
                continue
            size, tail, digest, name = text.decode().split(" ", 3)
            entries[name] = Entry(int(size), tail, digest)
            if entries[name] == FORGOTTEN:
                del entries[name]
        if not whole:
            damaged.append(Damage(f"{RECORD}/{file.name}", "is damaged"))
    return entries, damaged


Done = tuple[np.ndarray, np.ndarray, list["Damage"]]
"""Of :func:`completeness`."""


def damages(path: Path, documents: Mapping[str, Document], *, whole: bool, done: Done | None = None) -> list[Damage]:
    """What of a store is not as its record says; of one without a record, what of it cannot be told from what was never written.

    Parameters
    ----------
    path
        Of the store.
    documents
        Of :func:`sslmem_kit.metadata.read_documents`.
    whole
        Read every file of the store, and of its encoders; else compare sizes and last bytes of those in the store, which finds what is
        gone, cut or in another's place.
    done
        Of :func:`completeness`, where it has been read already.
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
            return [*found, *_told(entries, threads.map(lambda name: how_wholly(file_of(path, name), entries[name]), entries))]
    inside = {name: entry for name, entry in entries.items() if not name.startswith("../")}
    hows = ((how_wholly if name.endswith(DOCUMENT) else _how_quickly)(path / name, entry) for name, entry in inside.items())
    return [*found, *_told(inside, hows)]


def place(damage: Damage) -> tuple[int, int | None] | None:
    """The encoder whose values a damaged chunk holds, and the block of its scores, None where it is of its evaluation; None of all else."""
    if not damage.is_chunk:
        return None
    index, group = damage.index, damage.array.split("/")[0]
    if damage.array == "alignment":
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
    """Ids of the encoders of a store, in its order; none where they cannot be read."""
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
    """What is recorded as ``scored`` (encoder, block) and ``evaluated`` (encoder,); False where that cannot be read, and what cannot."""
    # One small file a block of samples: by way of dask each would be a task of its own.
    group, found = zarr.open_group(path / "completeness", mode="r"), []
    arrays = []
    for name in ("scored", "evaluated"):
        array = group[name]
        try:
            values = array[...]
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
    """A sentence for each array, encoder and kind of damage, without its full stop; sample blocks and their samples are named."""
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
        f"{what}{f', {few([place for place in where if place])},' if any(where) else ''} {how}"
        for (what, how), where in blocks.items()
    ]


def _told(names: Iterable[str], hows: Iterable[str]) -> Iterator[Damage]:
    return (Damage(name, how) for name, how in zip(names, hows, strict=True) if how)


def holds(file: Path) -> bool:
    """Whether a chunk that ends with its checksum is what was written; of any other file, whether it is there."""
    try:
        content = file.read_bytes()
    except OSError:
        return False
    return "c" not in file.parts[:-1] or google_crc32c.value(content[:-_TAIL]).to_bytes(4, "little") == content[-_TAIL:]


def _how_quickly(file: Path, entry: Entry) -> str:
    try:
        handle = os.open(file, os.O_RDONLY)
    except FileNotFoundError:
        return "" if entry.size < 0 else "is missing"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    try:
        size = os.fstat(handle).st_size
        if entry.size < 0:
            return "is there, and should not be"
        if size != entry.size:
            return f"has {size:,} bytes, {entry.size:,} were written"
        if entry.tail != "-" and os.pread(handle, _TAIL, max(0, size - _TAIL)).hex() != entry.tail:
            return "is not the one that was written"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    finally:
        os.close(handle)
    return ""


def how_wholly(file: Path, entry: Entry) -> str:
    """What is wrong with a file, having read it; empty where nothing is."""
    how = _how_quickly(file, entry)
    if how or entry.size < 0:
        return how
    try:
        with open(file, "rb") as handle:
            if len(entry.digest) == 64:
                digest = hashlib.file_digest(handle, "sha256").hexdigest()
            else:
                crc = 0
                while part := handle.read(_AT_ONCE):
                    crc = zlib.crc32(part, crc)
                digest = f"{crc:08x}"
    except OSError as error:
        return f"cannot be read ({error.strerror})"
    return "" if digest == entry.digest else "is not what was written"
