"""The samples of an audit: images as in a study, or an array (sample, ...) of any kind with the ids of its samples."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sslmem_kit.data import Dataset, load
from sslmem_kit.data.datasets.image_files import pixel_key
from sslmem_kit.data.loader import ImageLoader, in_batches
from sslmem_kit.data.record import across as copies_across
from sslmem_kit.data.record import copies
from sslmem_kit.errors import UserError
from sslmem_kit.run.audit.lists import Listed, positions_of, read_list
from sslmem_kit.run.audit.user_code import call
from sslmem_kit.spec.audit import AuditSpec
from sslmem_kit.spec.seeds import derive_seed

HASHED_BYTES = 2**26
"""Bytes of an array that are hashed at a time, so that one on disk is not read into memory."""


@dataclass(frozen=True, eq=False)
class Samples:
    """Samples that can be scored.

    Attributes
    ----------
    ids
        int64 (sample,), strictly ascending.
    values
        The samples in this order, (sample, ...) of any type; None for images.
    labels, class_names
        int64 (sample,), and the names that they stand for.
    fingerprint
        sha256 over ids, values, labels and class names.
    dataset
        The images; None for other data.
    """

    ids: np.ndarray
    values: np.ndarray | None
    labels: np.ndarray
    class_names: tuple[str, ...]
    fingerprint: str
    dataset: Dataset | None = None
    keys: np.ndarray | None = None
    """uint64 (sample,), the same for samples whose values are the same; None where `dataset` has them."""
    order: np.ndarray | None = None
    """Positions here of the samples in the order in which they were given; None where that is the same."""

    def record(self, scored: np.ndarray, codes: np.ndarray | None) -> dict[str, Any]:
        """Return the record of the data that were read, with the copies among scored samples, across partitions where these are known.

        Parameters
        ----------
        scored
            Positions of the samples that are scored.
        codes
            Their partition codes.
        """
        if self.dataset:
            read, keys = self.dataset.record, self.dataset.keys
        else:
            keys = self.keys
            read = {
                "images": None,
                "samples": len(self.ids),
                "sizes": None,
                "shape": list(self.values.shape[1:]),
                "classes": len(self.class_names),
                "splits": None,
                "passed_over": None,
                "copies": copies(keys, self.labels, None),
            }
        across = {} if codes is None else {"across": copies_across(keys[scored], codes)}
        return {**read, "copies": {**read["copies"], **across}}

    def positions(self, ids: np.ndarray) -> np.ndarray:
        """Return the positions of sample ids; a UserError for ids that are not there."""
        if self.dataset:
            return self.dataset.positions(ids)
        found = np.minimum(np.searchsorted(self.ids, ids), len(self.ids) - 1)
        unknown = ids[self.ids[found] != ids] if len(ids) else ids
        if len(unknown):
            shown = ", ".join(map(str, unknown[:5].tolist()))
            raise UserError(f"{len(unknown)} of {len(ids)} ids are not samples of the data ({shown}), which has {len(self.ids)}")
        return found

    def listed(self, path: str, *, field: str, members: bool = True) -> Listed:
        """Return the samples that a file lists; with ``members``, a column of it may say which of its rows count."""
        named = self.dataset is not None and self.dataset.files is not None
        files = self._files if named else None
        return read_list(Path(path), field=field, positions=self.positions, files=files, order=self._order, members=members)

    def meant(self, values: Any) -> np.ndarray:
        """Return the positions of the samples that ids or a mask mean; a mask is in the order in which the samples were given."""
        return positions_of(values, positions=self.positions, order=self._order)

    @property
    def _order(self) -> np.ndarray:
        return np.arange(len(self.ids)) if self.order is None else self.order

    def _files(self) -> Mapping[str, int]:
        """Return ids by the names of image files."""
        return dict(zip(map(str, self.dataset.files), self.ids.tolist(), strict=True))

    def batches(self, ids: np.ndarray, size: int, loader: ImageLoader | None, device: str) -> Iterator[tuple[np.ndarray, Any]]:
        """Yield pairs of ids and their samples: images [sample, channel, y, x] in [0, 1], or parts of the array, tensors where torch has
        the type."""
        parts = in_batches(ids, size)
        if loader:
            yield from zip(parts, loader.batches(parts), strict=True)
            return
        for part in parts:
            yield part, as_tensor(self.values[self.positions(part)], device)


def as_tensor(values: np.ndarray, device: str) -> Any:
    """Return a tensor on the device; the array itself where torch has no such type (text)."""
    try:
        return torch.from_numpy(np.ascontiguousarray(values)).to(device)
    except TypeError:
        return values


def load_data(spec: AuditSpec) -> Samples:
    """Load the samples of an audit.

    Raises
    ------
    UserError
        They cannot be read, or the function that returns them returns something else.
    """
    if spec.source:
        return from_arrays(call(spec.source, field="source"), field=f"source: {spec.source.function}")
    if spec.data and spec.data.groups is not None:
        raise UserError("data.groups: an audit takes every sample alone, groups are for studies that train encoders; leave it out")
    if spec.data and spec.data.plant is not None:
        raise UserError(
            "data.plant: an audit scores samples as they are, planting is for studies that train encoders; leave it out"
        )
    dataset = load(spec.data, seed=derive_seed(spec.seed, "test side"))
    return from_images(dataset)


def from_images(dataset: Dataset) -> Samples:
    """Return the samples of a data set of images."""
    return Samples(dataset.ids, None, dataset.labels, dataset.class_names, dataset.fingerprint, dataset)


def from_arrays(returned: Any, *, field: str) -> Samples:
    """Return the samples of a function's result: ``(ids, array)`` or ``(ids, array, labels)``.

    ``ids`` are different integers, or None for 0, 1, ...; ``labels`` are integers or text, or None.

    Raises
    ------
    UserError
        The result is something else, or the lengths differ.
    """
    if not isinstance(returned, tuple) or len(returned) not in (2, 3):
        raise UserError(f"{field} returned a {_kind(returned)}, (ids, array) or (ids, array, labels) is needed")
    ids, values, labels = (*returned, None) if len(returned) == 2 else returned
    values = _array(values)
    if values.ndim < 1 or values.dtype.kind == "O" or len(values) < 2:
        raise UserError(
            f"{field}: the array is {values.dtype} of shape {values.shape}, (sample, ...) of numbers or text is needed, 2 or more"
        )
    ids = np.arange(len(values)) if ids is None else _array(ids)
    if ids.shape != (len(values),) or ids.dtype.kind not in "iu" or len(np.unique(ids)) < len(ids):
        raise UserError(
            f"{field}: ids are {ids.dtype} of shape {ids.shape}, {len(values)} different integers are needed, one per sample"
        )
    labels, names = _labels(labels, len(values), field)
    ids, places = ids.astype(np.int64), None
    if (np.diff(ids) < 0).any():
        order = np.argsort(ids)
        ids, values, labels, places = ids[order], values[order], labels[order], np.argsort(order)
    return Samples(ids, values, labels, names, *_fingerprint(ids, values, labels, names), places)


def _labels(labels: Any, count: int, field: str) -> tuple[np.ndarray, tuple[str, ...]]:
    """Return class numbers and their names: the values that occur, sorted."""
    if labels is None:
        return np.zeros(count, np.int64), ("no label",)
    labels = _array(labels)
    if labels.shape != (count,) or labels.dtype.kind not in "iuUb":
        raise UserError(
            f"{field}: labels are {labels.dtype} of shape {labels.shape}, {count} integers or texts are needed, one per sample"
        )
    names, codes = np.unique(labels, return_inverse=True)
    return codes.astype(np.int64), tuple(map(str, names.tolist()))


def _array(values: Any) -> np.ndarray:
    # Not np.asarray of everything: an array on disk is to stay there.
    return values if isinstance(values, np.ndarray) else np.asarray(values)


def _fingerprint(ids: np.ndarray, values: np.ndarray, labels: np.ndarray, names: tuple[str, ...]) -> tuple[str, None, np.ndarray]:
    """Return sha256 over all, no images, and the key of each sample's values: the last fields of `Samples`."""
    digest = hashlib.sha256(json.dumps({"classes": names, "shape": values.shape, "dtype": str(values.dtype)}).encode())
    digest.update(ids.astype("<i8").tobytes())
    digest.update(labels.astype("<i8").tobytes())
    step = max(1, HASHED_BYTES * len(values) // max(1, values.nbytes))
    keys = np.empty(len(values), np.uint64)
    for start in range(0, len(values), step):
        part = np.ascontiguousarray(values[start : start + step])
        digest.update(part.tobytes())
        keys[start : start + step] = [pixel_key(row.tobytes()) for row in part]
    return digest.hexdigest(), None, keys


def _kind(value: Any) -> str:
    return f"tuple of {len(value)}" if isinstance(value, tuple) else type(value).__name__
