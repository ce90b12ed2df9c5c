"""The ``zarr.json`` documents of a results store, read before anything else is: what they may declare, and that they agree.

A store may come from a stranger. Opened are Zarr format 3 and what this package writes: a few data types, regular chunks, the codecs
``bytes``, ``vlen-utf8``, ``zstd``, ``crc32c`` and ``sharding_indexed``. The root's document holds copies of all others (consolidated
metadata) when a run has finished, and a checksum of itself.
"""

from __future__ import annotations

import hashlib
import json
import math
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from sslmem_kit.errors import UserError
from sslmem_kit.store.files import write_atomically

Document = dict[str, Any]

DOCUMENT = "zarr.json"
SEAL = "sealed"
"""Root attribute: sha256 of the root's document with zeros in its place. A store without it carries no checksums."""

CODECS = ("bytes", "vlen-utf8", "zstd", "crc32c")
SHARDED = "sharding_indexed"
BYTES = {"bool": 1, "int8": 1, "uint8": 1, "int16": 2, "uint16": 2, "int32": 4, "uint32": 4, "int64": 8, "uint64": 8,
         "float32": 4, "float64": 8, "string": 16}  # fmt: skip
"""Data types that are read, and the bytes of a value in memory."""

READ_WHOLE = ("trained_on", "completeness/scored", "completeness/evaluated")
"""Arrays that are read at once, beside all that have one dimension."""

TASK_BYTES = 1024
"""Memory that a chunk of an opened array takes at least before anything of it is read."""

RECORD = "completeness/scored/checksums"
"""Folder of the record of files in a store (see :mod:`sslmem_kit.store.integrity`), beside chunks: zarr looks for nothing there."""

_BLANK = "0" * 64


def read_documents(path: Path) -> dict[str, Document]:
    """Return every node of a store and its document, the root under ``""``, as a reader is going to take them.

    Raises
    ------
    UserError
        A document is no JSON, is not as it was written, declares what is not read or what memory cannot hold, or the consolidated ones
        differ from the nodes' own.
    """
    if not (path / DOCUMENT).is_file():
        raise UserError(f"{path}: there is no results store here (a folder with a zarr.json)")
    root = _read(path, "")
    if not root_is_whole(path):
        raise UserError(f"{path / DOCUMENT} is damaged, it is not what its checksum was made of; {REPAIR_HINT}")
    own = {"": root, **_members(path, "")}
    copies = _copies(path, root)
    for name, copy in copies.items():
        if name not in own:
            raise UserError(f"{path / name / DOCUMENT} is missing, the consolidated metadata describe it; {REPAIR_HINT}")
        if _plain(copy) != _plain(own[name]):
            raise UserError(f"{path / name / DOCUMENT} differs from its copy in the consolidated metadata; {REPAIR_HINT}")
    for name, document in own.items():
        if name:
            _check(path / name, document)
    _check_sizes(path, own)
    return own


REPAIR_HINT = "`sslmem run` (of an audit `sslmem score`) on the same directory writes it again"


def own_documents(path: Path) -> dict[str, Document]:
    """Return every node below the root and its own document, by name; nothing is checked but that each is a mapping."""
    return _members(path, "")


def _members(path: Path, group: str) -> dict[str, Document]:
    found = {}
    for entry in sorted(os.scandir(path / group), key=lambda entry: entry.name):
        name = f"{group}/{entry.name}".lstrip("/")
        if entry.is_dir() and (path / name / DOCUMENT).is_file():
            found[name] = _read(path, name)
            if found[name].get("node_type") == "group":
                found |= _members(path, name)
    return found


def _read(path: Path, name: str) -> Document:
    file = path / name / DOCUMENT
    try:
        document = json.loads(file.read_bytes())
        if not isinstance(document, dict):
            raise ValueError("it is no mapping")
        if document.get("zarr_format") != 3:
            raise UserError(f"{file}: its zarr_format is {document.get('zarr_format')!r}, 3 is read")
        if document.get("node_type") not in ("array", "group"):
            raise ValueError(f"its node_type is {document.get('node_type')!r}")
        if not isinstance(document.get("attributes", {}), dict):
            raise ValueError("its attributes are no mapping")
    except UserError:
        raise
    except (OSError, ValueError, RecursionError) as error:
        what = " ".join(str(error).split())[:120]
        raise UserError(f"{path}: the results store cannot be opened, its metadata is damaged ({name or 'root'}: {what})") from None
    return {**document, "attributes": document.get("attributes", {})}


def _copies(path: Path, root: Document) -> dict[str, Document]:
    consolidated = root.get("consolidated_metadata")
    if consolidated is None:
        return {}
    copies = consolidated.get("metadata") if isinstance(consolidated, dict) else None
    if not isinstance(copies, dict) or not all(isinstance(copy, dict) for copy in copies.values()):
        raise UserError(
            f"{path}: the results store cannot be opened, its metadata is damaged (the consolidated ones are no mapping)"
        )
    for name, copy in copies.items():
        if copy.get("zarr_format") != 3:
            raise UserError(f"{path}: the consolidated metadata give {name} the zarr_format {copy.get('zarr_format')!r}, 3 is read")
    return copies


def _plain(document: Mapping[str, Any]) -> Document:
    """Return a document without what is not the node's own, and with what may be left out."""
    left = {key: value for key, value in document.items() if key != "consolidated_metadata"}
    return {"attributes": {}, **left}


def _check(where: Path, document: Document) -> None:
    """Refuse a node that this package does not write."""
    if document["node_type"] == "group":
        return
    if document.get("data_type") not in BYTES:
        raise UserError(f"{where}: its data_type is {str(document.get('data_type'))[:60]!r}, read are {', '.join(BYTES)}")
    grid, keys = document.get("chunk_grid"), document.get("chunk_key_encoding")
    if not isinstance(grid, dict) or grid.get("name") != "regular" or document.get("storage_transformers"):
        raise UserError(f"{where}: its chunks are no regular grid of files, no other is read")
    if not isinstance(keys, dict) or keys.get("name") != "default" or keys.get("configuration", {}).get("separator", "/") != "/":
        raise UserError(f"{where}: its chunk_key_encoding is none that is read")
    shape, chunks = document.get("shape"), grid.get("configuration", {}).get("chunk_shape")
    if not _is_shape(shape, least=0) or not _is_shape(chunks, least=1) or len(shape) != len(chunks):
        raise UserError(f"{where}: its shape {shape!r} and its chunks {chunks!r} do not fit")
    for name in _codecs(where, document.get("codecs")):
        if name not in CODECS:
            raise UserError(f"{where}: its data is made with the codec {name[:60]!r}, read are {', '.join((*CODECS, SHARDED))}")


def _codecs(where: Path, codecs: Any, *, sharded: bool = True) -> Iterator[str]:
    """Names of the codecs of an array, and of those within its shards."""
    if not isinstance(codecs, list) or not codecs or not all(isinstance(codec, dict) for codec in codecs):
        raise UserError(f"{where}: its codecs are no list of codecs")
    for codec in codecs:
        name, options = str(codec.get("name")), codec.get("configuration")
        if name == SHARDED and sharded and isinstance(options, dict):
            if not _is_shape(options.get("chunk_shape"), least=1):
                raise UserError(f"{where}: the chunks of its shards are {options.get('chunk_shape')!r}, that is no shape")
            yield from _codecs(where, options.get("codecs"), sharded=False)
            yield from _codecs(where, options.get("index_codecs"), sharded=False)
        else:
            yield name


def _is_shape(shape: Any, *, least: int) -> bool:
    return isinstance(shape, list) and all(type(size) is int and least <= size < 2**62 for size in shape)


def _check_sizes(path: Path, documents: Mapping[str, Document]) -> None:
    """Refuse what memory cannot hold before any of it is read."""
    room, whole = memory_bytes(), 0
    for name, document in documents.items():
        if document["node_type"] == "group":
            continue
        shape, chunks = document["shape"], document["chunk_grid"]["configuration"]["chunk_shape"]
        each = BYTES[document["data_type"]]
        inner = next((codec["configuration"]["chunk_shape"] for codec in document["codecs"] if codec["name"] == SHARDED), chunks)
        if len(shape) == 1 or name in READ_WHOLE:
            whole += each * math.prod(shape)
        if max(whole, each * math.prod(inner), TASK_BYTES * number_of_chunks(document)) > room:
            raise UserError(
                f"{path / name}: it declares the shape {shape} in chunks of {inner}, more than this machine's {room / 1e9:,.1f} GB of "
                "memory can hold; the store is damaged, or another machine is needed"
            )


def number_of_chunks(document: Document) -> int:
    """Return the number of files that an array's values are in where none is left out."""
    shape, chunks = document["shape"], document["chunk_grid"]["configuration"]["chunk_shape"]
    return math.prod(-(-size // chunk) for size, chunk in zip(shape, chunks, strict=True))


def memory_bytes() -> int:
    """Return the bytes of this machine's memory; 64 GB where that is not known."""
    try:
        return os.sysconf("SC_PHYS_PAGES") * os.sysconf("SC_PAGE_SIZE")
    except (ValueError, OSError, AttributeError):
        return 64 * 10**9


def write_root(path: Path, *, attributes: Mapping[str, Any], consolidated: bool, sealed: bool | None = None) -> None:
    """Write the root's document anew, in one step: attributes added, copies of all others in it or not, its checksum with it.

    ``sealed`` None: as it was.
    """
    root = _read(path, "")
    held = {**root["attributes"], **attributes}
    if sealed or (sealed is None and SEAL in held):
        held[SEAL] = _BLANK
    document: Document = {"attributes": held, "zarr_format": 3}
    if consolidated:
        copies = own_documents(path)
        empty = {
            "kind": "inline",
            "must_understand": False,
            "metadata": {},
        }  # which zarr takes to mean that no one else is to be asked
        metadata = {
            name: {**copy, **({"consolidated_metadata": empty} if copy["node_type"] == "group" else {})}
            for name, copy in copies.items()
        }
        document["consolidated_metadata"] = {**empty, "metadata": metadata}
    text = json.dumps({**document, "node_type": "group"}, indent=2)
    if SEAL in held:
        text = text.replace(f'"{SEAL}": "{_BLANK}"', f'"{SEAL}": "{_digest(text)}"', 1)
    write_atomically(path / DOCUMENT, text.encode())


def root_is_whole(path: Path) -> bool:
    """Return whether the root's document can be read and is what its checksum was made of."""
    try:
        return _is_sealed(path) if SEAL in _read(path, "")["attributes"] else not (path / RECORD).is_dir()
    except UserError:
        return False


def _is_sealed(path: Path) -> bool:
    text = (path / DOCUMENT).read_text(encoding="utf-8")
    seal = json.loads(text)["attributes"][SEAL]
    return isinstance(seal, str) and _digest(text.replace(f'"{SEAL}": "{seal}"', f'"{SEAL}": "{_BLANK}"', 1)) == seal


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()
