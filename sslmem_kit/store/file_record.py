"""The record of a store's files: their names, sizes and checksums, a line each."""

from __future__ import annotations

import hashlib
import os
import zlib
from collections.abc import Iterable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path, PurePosixPath

import google_crc32c
import numpy as np

from sslmem_kit.names import ENCODER
from sslmem_kit.store.files import remove
from sslmem_kit.store.metadata import DOCUMENT, RECORD, SEAL, Document

COMPLETENESS = ("completeness/scored", "completeness/evaluated")

STORE = "store"
"""Writer of what belongs to no encoder."""

SPEC = "../study.yaml"
"""Name of the spec in the record. People edit the places in it, and a run that finds the same data there records it anew."""

ROWS = ("training", "trajectory", "downstream")
"""Groups that an encoder's evaluation fills."""

ADDED = ("views", "neighbours", "units", "duplicates", "comparisons")
"""Groups that are moved into a scored store."""

_TAIL, _AT_ONCE = 4, 2**20


@dataclass(frozen=True)
class Entry:
    """Entry of a file in the record; the size is -1 for a file that must not be there (all its values are the fill value)."""

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
        """Return whether the file is a chunk, not a document or a file outside the store."""
        return "/c/" in self.name and not self.name.startswith("../")

    @property
    def index(self) -> tuple[int, ...]:
        """Index of the chunk along each dimension; empty for other files."""
        return tuple(map(int, self.name.split("/c/")[1].split("/"))) if self.is_chunk else ()

    @property
    def encoder(self) -> str | None:
        """Id of the encoder whose file it is; None for files in the store."""
        return self.name.split("/")[2] if self.name.startswith("../encoders/") else None


def is_recorded(path: Path) -> bool:
    """Return whether a store carries checksums."""
    return (path / RECORD).is_dir() or f'"{SEAL}"'.encode() in (path / DOCUMENT).read_bytes()


def chunk_names(name: str, document: Document, *, along: int | None = None, at: int = 0) -> Iterator[str]:
    """Yield the names of an array's chunk files where none is left out; all, or those with one index along an axis."""
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
    groups = [
        name
        for name in ("layers", "common")
        if f"{name}/alignment" in documents and np.prod(_counts(documents[f"{name}/alignment"])) == scored.size
    ]
    for encoder, block in np.argwhere(scored).tolist():
        yield from block_names(encoder, block, groups=groups)
    for encoder in np.flatnonzero(evaluated).tolist():
        yield from rows_of(documents, encoder)


def rows_of(documents: Mapping[str, Document], encoder: int) -> Iterator[str]:
    """Files that hold what is known of an encoder beside its scores: a single one an array, but of what is there for every sample."""
    for name, document in documents.items():
        dims = _dims(document)
        if name.split("/")[0] in ROWS and ENCODER in dims:
            yield from chunk_names(name, document, along=dims.index(ENCODER), at=encoder)


def block_names(encoder: int, block: int, *, groups: Iterable[str]) -> list[str]:
    """Return the files that hold one block of one encoder's alignment: the root's, and of ``groups``, ``layers`` and ``common``."""
    index = {"layers": f"{block}/{encoder}/0", "common": f"{block}/0/{encoder}"}
    return [f"alignment/c/{block}/0/{encoder}", *(f"{name}/alignment/c/{index[name]}" for name in groups)]


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
    """Return the path of a recorded file; a store may be a link."""
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
    """Return the files that a finished training leaves, as the record names them."""
    return [f"../encoders/{encoder_id}/{name}" for name in ("config.json", "history.csv", "weights.safetensors")]


def read_record(path: Path) -> tuple[dict[str, Entry], list[Damage]]:
    """Return the record's entries by file name, and the damages of the record itself."""
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


def holds(file: Path) -> bool:
    """Return whether a chunk matches the checksum that it ends with; for any other file, whether it is there."""
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
    """Return what is wrong with a file, reading all of it; empty where nothing is."""
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
