"""A data set as stable sample ids, labels, splits and uint8 images; `load` makes one from a `DataSpec`."""

import hashlib
import json
from collections.abc import Sequence
from dataclasses import dataclass, field
from typing import Any, NamedTuple

import numpy as np
from numpy.dtypes import StringDType

from sslmem_kit.data import record
from sslmem_kit.data.datasets.builtin import BUILTIN
from sslmem_kit.data.datasets.folder import NAMED, read_folder
from sslmem_kit.data.datasets.image_files import Header, Lazy, Noise, Progress, decode_all, inspect, target_shape
from sslmem_kit.data.datasets.npz import read_npz
from sslmem_kit.data.datasets.source import Source
from sslmem_kit.data.datasets.test_split import stratified_test_split
from sslmem_kit.data.duplicates import Twins, find_twins
from sslmem_kit.data.groups import read_groups, summary
from sslmem_kit.data.plant import Overlay, plant
from sslmem_kit.errors import UserError
from sslmem_kit.spec.data import NEAR_DUPLICATES, DataSpec
from sslmem_kit.spec.seeds import derive_seed


@dataclass(frozen=True, eq=False)
class Dataset:
    """Labelled images of one size.

    Attributes
    ----------
    name : str
        Name in the spec.
    ids : int64 (n,)
        Stable sample ids, strictly ascending: the position in the complete set, train split first where the data has splits. A
        file that is left out leaves a gap.
    labels : int64 (n,)
        Positions in ``class_names``.
    is_test : bool (n,)
        Held out: the data's own test split, or a stratified share.
    class_names : tuple of str
    image_shape : (height, width, channels)
        In pixels; 1 channel (grey) or 3 (RGB).
    skipped : tuple of str
        Files that are not samples, each with the reason.
    fingerprint : str
        sha256 over ids, labels, splits, class names, image shape and the pixels of every image. Where the data lies and whether it
        is held in memory make no difference.
    pixels : uint8 (n, height, width, channels), or `Lazy`
        The images, held or decoded on every read; use `read`.
    files : text (n,), or None
        Path of each sample's file below the folder of the data, with ``/``; None where samples have no files of their own.
    original_shapes : int32 (n, 2)
        Height and width as stored, in pixels.
    keys : uint64 (n,)
        Equal for images whose pixels are the same: `sslmem_kit.data.datasets.image_files.pixel_key`.
    groups : int64 (n,), or None
        Group of each sample by ``data.groups``: the position of its first member; None where each is alone.
    twins : `sslmem_kit.data.duplicates.Twins`, or None
        Near-duplicates, where ``data.groups`` asks for them; else `sslmem_kit.data.samples.StudySamples.twins` finds them.
    planted : int8 (n,), or None
        Kind of each planted sample by ``data.plant``, the codes of `sslmem_kit.names.PLANTED_KINDS`; None where nothing is planted.
    planted_of : int64 (n,), or None
        Id of the sample that a planted duplicate copies, -1 of others.
    record : dict
        Facts of what was read, of JSON's types; `sslmem_kit.data.record.lines` puts them into words.
    """

    name: str
    ids: np.ndarray
    labels: np.ndarray
    is_test: np.ndarray
    class_names: tuple[str, ...]
    image_shape: tuple[int, int, int]
    skipped: tuple[str, ...]
    fingerprint: str
    pixels: np.ndarray | Lazy | Noise | Overlay = field(repr=False)
    files: np.ndarray | None = field(default=None, repr=False)
    original_shapes: np.ndarray | None = field(default=None, repr=False)
    keys: np.ndarray | None = field(default=None, repr=False)
    groups: np.ndarray | None = field(default=None, repr=False)
    twins: Twins | None = field(default=None, repr=False)
    planted: np.ndarray | None = field(default=None, repr=False)
    planted_of: np.ndarray | None = field(default=None, repr=False)
    record: dict[str, Any] = field(default_factory=dict, repr=False)

    def __len__(self) -> int:
        return len(self.ids)

    @property
    def in_memory(self) -> bool:
        """Return whether the images are held rather than decoded on every read."""
        return isinstance(self.pixels, np.ndarray)

    def read(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the images of the samples ``ids``, in that order.

        Returns
        -------
        uint8 (m, height, width, channels)
            A copy.

        Raises
        ------
        UserError
            Ids that the data does not have, or a file that can no longer be read.
        """
        positions = self.positions(ids)
        return self.pixels[positions] if isinstance(self.pixels, np.ndarray) else self.pixels.read(positions)

    def positions(self, ids: Sequence[int] | np.ndarray) -> np.ndarray:
        """Return the positions of the samples ``ids`` (m,) in ``ids``, ``labels`` and ``is_test``; UserError for unknown ids."""
        wanted = np.asarray(ids)
        if wanted.size == 0:
            return np.empty(0, dtype=np.int64)
        if wanted.ndim != 1 or wanted.dtype.kind not in "iu":
            raise UserError(f"ids has dtype {wanted.dtype} and shape {wanted.shape}; integer sample ids of shape (m,) are wanted")
        positions = np.searchsorted(self.ids, wanted)
        unknown = wanted[self.ids[np.minimum(positions, len(self.ids) - 1)] != wanted]
        if len(unknown):
            first = ", ".join(str(number) for number in unknown[:5]) + (" ..." if len(unknown) > 5 else "")
            have = f"{len(self.ids)} ids from {self.ids[0]} to {self.ids[-1]}"
            raise UserError(f"ids: {len(unknown)} of {len(wanted)} are not samples of {self.name!r} ({first}), which has {have}")
        return positions


def load(spec: DataSpec, *, seed: int = 0, channels: int | None = None, progress: Progress | None = None) -> Dataset:
    """Read, check and size the data of ``spec``.

    Every image file is decoded once, in parallel threads, so that a broken one is found now and not in the middle of a training.

    Parameters
    ----------
    spec
        Section ``data`` of a spec; relative paths are seen from the working directory (`DataSpec.resolved`).
    seed
        Seed of the held-out split where the data has none of its own; not negative.
    channels
        1 (grey) or 3 (RGB), to which every image is brought. None: 1 if every image is grey, else 3.
    progress
        Called as ``progress(done, total)`` while images are decoded or resized; not at all for arrays that have their final size.

    Returns
    -------
    Dataset

    Raises
    ------
    UserError
        The data is not there, cannot be read, has fewer than 2 images or a class without a sample.

    Examples
    --------
    >>> data = load(DataSpec(name="digits"))
    >>> len(data), data.image_shape, data.read([0, 1796]).shape
    (1797, (8, 8, 1), (2, 8, 8, 1))
    """
    if seed < 0:
        raise UserError(f"seed is {seed}; 0 or more is wanted")
    source = _read(spec)
    _check_counts(spec, source, np.arange(len(source.labels)), failed={})
    found = _decoded(spec, source, channels, progress)
    ids, shape, failed = found.ids, found.shape, found.failed
    files = None if source.base is None else np.array([source.file_name(index) for index in ids], StringDType())
    groups, twins = _groups(spec, source, found, files, progress)
    _check_counts(spec, source, ids, failed)

    labels, split = source.labels[ids], None if source.split is None else source.split[ids]
    is_test = stratified_test_split(ids, labels, spec.test_fraction, seed=seed, groups=groups) if split is None else split > 0
    skipped = source.ignored + tuple(f"{source.file_name(index)}: {reason}" for index, reason in sorted(failed.items()))
    header = json.dumps({"classes": source.class_names, "shape": shape, "pixels": found.pixel_hash}).encode()
    parts = (header, ids.astype("<i8").tobytes(), labels.astype("<i8").tobytes(), is_test.tobytes())
    shapes = np.array([(header.height, header.width) for header in found.headers], dtype=np.int32)
    dataset = Dataset(
        name=spec.name,
        ids=ids,
        labels=labels,
        is_test=is_test,
        class_names=source.class_names,
        image_shape=shape,
        skipped=skipped,
        fingerprint=hashlib.sha256(b"".join(parts)).hexdigest(),
        pixels=found.pixels,
        files=files,
        original_shapes=shapes,
        keys=found.keys,
        groups=groups,
        twins=twins,
        record={
            "images": len(ids),
            "sizes": record.sizes(shapes, shape),
            "classes": len(source.class_names),
            **_splits(source, split, is_test),
            "never_held_out": _never_held_out(source.class_names, labels, is_test),
            "passed_over": {
                "count": sum(source.passed_over.values()),
                "by": dict(source.passed_over),
                "first": list(source.passed_over_first),
            },
            "skipped": record.in_short(skipped, NAMED),
            "copies": record.copies(found.keys, labels, is_test),
            **(
                {}
                if groups is None or spec.groups is None
                else {"groups": {**summary(groups, spec.groups), "test_in_train": record.divided(groups, is_test)}}
            ),
            "formats": record.by_number([header.format for header in found.headers]),
            "several_frames": sum(header.several for header in found.headers),
        },
    )
    return dataset if spec.plant is None else plant(dataset, spec.plant, seed=derive_seed(seed, "planted"))


def _never_held_out(class_names: Sequence[str], labels: np.ndarray, is_test: np.ndarray) -> dict[str, Any]:
    """Return the number of classes without a held-out sample, where there are held-out samples, and the first of them."""
    absent = set(labels.tolist()) - set(labels[is_test].tolist()) if is_test.any() else ()
    return record.in_short([class_names[label] for label in sorted(absent)], NAMED)


def _splits(source: Source, split: np.ndarray | None, is_test: np.ndarray) -> dict[str, Any]:
    """Return the number of samples by split, the held-out splits, and whether the splits are the data's own."""
    if split is None:
        held = int(is_test.sum())
        counts = {"train": len(is_test) - held, **({"test": held} if held else {})}
        return {"splits": counts, "held_out": ["test"] if held else [], "splits_from": "drawn"}
    counts = np.bincount(split, minlength=len(source.split_names))
    names = list(source.split_names)
    return {"splits": dict(zip(names, counts.tolist(), strict=True)), "held_out": names[1:], "splits_from": "given"}


def _read(spec: DataSpec) -> Source:
    readers = {"folder": read_folder, "npz": read_npz}
    try:
        return (readers.get(spec.kind) or BUILTIN[spec.name])(spec)
    except OSError as error:  # a folder without permission, a disk that went away
        raise UserError(f"data.name {spec.name!r}: {error.filename or 'it'} cannot be read ({error.strerror or error})") from error


class _Decoded(NamedTuple):
    """The decodable images of a source."""

    ids: np.ndarray
    shape: tuple[int, int, int]
    pixels: np.ndarray | Lazy
    pixel_hash: str
    keys: np.ndarray
    headers: list[Header]
    failed: dict[int, str]
    """Reasons why the others cannot be decoded, by position."""


def _groups(
    spec: DataSpec, source: Source, found: _Decoded, files: np.ndarray | None, progress: Progress | None
) -> tuple[np.ndarray | None, Twins | None]:
    """Return the groups that ``data.groups`` asks for, and the near-duplicates where these are the groups."""
    if spec.groups is None:
        return None, None
    if spec.groups != NEAR_DUPLICATES:
        names = None if files is None else files.tolist()
        return read_groups(spec, found.ids, names, total=len(source.labels)), None
    pixels = found.pixels
    read = pixels.__getitem__ if isinstance(pixels, np.ndarray) else pixels.read
    twins = find_twins(read, len(found.ids), keys=found.keys, progress=progress)
    return twins.group, twins


def _decoded(spec: DataSpec, source: Source, channels: int | None, progress: Progress | None) -> _Decoded:
    """Bring every image to one shape."""
    headers = inspect(source.images)
    failed = {index: header for index, header in enumerate(headers) if isinstance(header, str)}
    ids = np.array([index for index in range(len(headers)) if index not in failed], dtype=np.int64)
    while len(ids):
        shape = target_shape([headers[index] for index in ids], spec.image_size, spec.max_image_size, channels)
        items = source.images if isinstance(source.images, np.ndarray) else [source.images[index] for index in ids]
        keep = len(ids) * int(np.prod(shape)) <= spec.memory_limit_mb * 2**20
        pixels, pixel_hash, keys, broken = decode_all(items, shape, keep=keep, progress=progress)
        failed |= {int(ids[position]): reason for position, reason in broken.items()}
        if failed and spec.on_error == "refuse":
            break
        if broken:
            good = np.array([position for position in range(len(ids)) if position not in broken], dtype=np.int64)
            ids = ids[good]
            # Size and channels must not depend on images that are left out: if they do, decode again without these.
            if not len(ids) or target_shape([headers[i] for i in ids], spec.image_size, spec.max_image_size, channels) != shape:
                continue
            items, keys = [items[position] for position in good], keys[good]
            pixels = None if pixels is None else pixels[good]
        held = Lazy(items, shape) if pixels is None else pixels
        return _Decoded(ids, shape, held, pixel_hash, keys, [headers[index] for index in ids], failed)
    named = ", ".join(f"{source.file_name(index)} ({failed[index]})" for index in sorted(failed)[:3])
    more = f" and {len(failed) - 3} more" if len(failed) > 3 else ""
    advice = "repair or remove them" + (", or set data.on_error to skip" if spec.on_error == "refuse" else "")
    raise UserError(
        f"data.name {spec.name!r}: {len(failed)} of {len(headers)} image files cannot be decoded: {named}{more}; {advice}"
    )


def _check_counts(spec: DataSpec, source: Source, ids: np.ndarray, failed: dict[int, str]) -> None:
    left = f" after {len(failed)} broken files were skipped" if failed else ""
    if len(ids) < 2:
        raise UserError(f"data.name {spec.name!r} has {len(ids)} image{'' if len(ids) == 1 else 's'}{left}; at least 2 are wanted")
    present = set(source.labels[ids].tolist())
    empty = [name for code, name in enumerate(source.class_names) if code not in present]
    if empty:
        named = ", ".join(empty[:5]) + (f" and {len(empty) - 5} more" if len(empty) > 5 else "")
        total = len(source.class_names)
        raise UserError(
            f"data.name {spec.name!r}: {len(empty)} of {total} classes have no sample{left}: {named}; every class needs one"
        )
