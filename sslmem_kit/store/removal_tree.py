"""A removal tree on disk: ``removal.yaml``, the study ``parent/``, ``encoders/<hash>/`` and ``results.zarr``.

The store holds ``accuracy(removed, amount, draw, seed, task, probe)``: NaN in draws that a way does not have. ``removed`` is a way,
with the order that it goes by; ``amount`` counts candidates that are removed or kept, by the attribute ``action``, and ``baseline`` is the
amount at which none is removed. ``encoder(removed, amount, draw, seed)`` names the encoder, ``n_test(task)`` counts test samples.
"""

from __future__ import annotations

import contextlib
import hashlib
import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from numpy.dtypes import StringDType

from sslmem_kit.errors import UserError, one_line
from sslmem_kit.spec.paths import absolute
from sslmem_kit.spec.places import find_folder
from sslmem_kit.spec.reading import read_yaml, write_yaml
from sslmem_kit.spec.removal_tree import TREE_FILE, RemovalTreeSpec, parse_tree
from sslmem_kit.store.files import folder_appearing, hold, remove, sweep, write_atomically

ENCODERS, SETS = "encoders", "sets.npz"
SCHEMA_VERSION = 1
DIMS = ("removed", "amount", "draw", "seed", "task", "probe")


@dataclass(frozen=True)
class RemovalTree:
    """A removal tree on disk. Opening one runs no code of its author's and imports no torch."""

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", absolute(self.path))

    @property
    def spec_path(self) -> Path:
        """Path of the resolved spec."""
        return self.path / TREE_FILE

    @property
    def results_path(self) -> Path:
        """Path of the results store."""
        return self.path / "results.zarr"

    @property
    def figures(self) -> Path:
        """Folder of rendered figures."""
        return self.path / "figures"

    @property
    def notebooks(self) -> Path:
        """Folder of executed notebooks."""
        return self.path / "notebooks"

    @cached_property
    def spec(self) -> RemovalTreeSpec:
        """The resolved spec."""
        return parse_tree(read_yaml(self.spec_path), where=str(self.spec_path))

    @property
    def parent(self) -> Path:
        """Folder of the study whose scores choose."""
        return self.spec.parent_folder(self.path)

    def encoder(self, identity: str) -> Path:
        """Return the folder of an encoder by its hash: ``accuracy.json``, and of one that was trained here its weights too."""
        return self.path / ENCODERS / identity

    @cached_property
    def results(self) -> xr.Dataset:
        """Accuracies of all encoders, in memory.

        Raises
        ------
        UserError
            The tree is not finished, or its results cannot be read.
        """
        again = f"`sslmem run {self.spec_path} --out {self.path}` finishes it"
        if not (self.results_path / "zarr.json").is_file():
            raise UserError(f"TREE: {self.path} is not finished, {again}")
        try:
            with xr.open_zarr(self.results_path, chunks=None, consolidated=True) as opened:
                found = opened.load()
        except (ValueError, KeyError, OSError, TypeError, RuntimeError) as error:
            raise UserError(f"{self.results_path}: cannot be read ({one_line(error)}); remove it, {again}") from None
        if found.attrs.get("schema_version") != SCHEMA_VERSION:
            version = found.attrs.get("schema_version")
            raise UserError(
                f"{self.results_path}: schema_version is {version!r}, this version of sslmem_kit reads {SCHEMA_VERSION}"
            )
        if found.attrs["spec_hash"] != self.spec.hash:
            raise UserError(f"TREE: {self.spec_path} has changed since {self.results_path.name} was written, {again}")
        if int(np.isfinite(found["accuracy"]).sum()) != found.attrs["accuracies"]:
            raise UserError(f"{self.results_path}: accuracies are lost; remove it, {again}")
        if found.attrs.get("checksum", _checksum(found)) != _checksum(found):  # older trees have none
            raise UserError(f"{self.results_path}: it is not what was written; remove it, {again}")
        return found

    @property
    def caveats(self) -> list[str]:
        """What limits what the results say, a sentence each."""
        return json.loads(self.results.attrs["caveats"])

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the tree for one writer, having removed what killed ones left.

        Raises
        ------
        UserError
            Another writer holds it.
        """
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(hold(self.path / ".lock"))
            except BlockingIOError:
                raise UserError(f"{self.path}: another `sslmem run` is at work on this tree, wait for it or stop it") from None
            for folder in (self.path, *self.path.glob(f"{ENCODERS}/*"), *self.path.glob(f"{ENCODERS}/*/resume")):
                sweep(folder)
            yield

    def write_spec(self, spec: RemovalTreeSpec) -> None:
        """Write the resolved spec, where it is not there or has grown."""
        if not self.spec_path.exists() or self.spec != spec:
            write_atomically(self.spec_path, write_yaml(spec.as_dict()).encode())
            self.__dict__.pop("spec", None)

    def write_results(self, found: xr.Dataset) -> None:
        """Write the store in place of an earlier one."""
        text = {name: coord.astype(StringDType()) for name, coord in found.variables.items() if coord.dtype.kind in "OU"}
        found = found.assign({name: values for name, values in text.items() if name in found.data_vars})
        found = found.assign_coords({name: values for name, values in text.items() if name in found.coords})
        found = found.assign_attrs(
            schema_version=SCHEMA_VERSION, accuracies=int(np.isfinite(found["accuracy"]).sum()), checksum=_checksum(found)
        )
        partial = self.results_path.with_name(f"{self.results_path.name}.partial")
        with folder_appearing(self.results_path, partial), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Consolidated metadata")
            found.to_zarr(partial, mode="w", zarr_format=3, consolidated=True)
            remove(self.results_path)


def _checksum(found: xr.Dataset) -> str:
    """Return the sha256 of accuracies, encoders and coordinates."""
    digest = hashlib.sha256(np.ascontiguousarray(found["accuracy"].values, np.float64).tobytes())
    for name in ("encoder", "removed", "amount", "draw", "seed", "task", "probe", "n_test"):
        digest.update(json.dumps([str(value) for value in found[name].values.ravel()]).encode())
    return digest.hexdigest()


def check_tree_folder(path: Path, spec: RemovalTreeSpec) -> None:
    """Refuse a folder that cannot take a tree of this spec: what it holds has to be a tree of the same study and protocol.

    More amounts, draws, seeds, orders, ways and tasks may be asked for than before: encoders that are there stay.

    Raises
    ------
    UserError
        The folder holds something else, or another tree.
    """
    tree = RemovalTree(path)
    if tree.spec_path.is_file():
        for field in ("name", "protocol", "action"):
            there, here = getattr(tree.spec, field), getattr(spec, field)
            if there != here:
                raise UserError(
                    f"--out: {path} holds another tree, {field} is {there!r} there and {here!r} here; choose another directory"
                )
        if _study_of(tree.spec) != _study_of(spec):
            raise UserError(f"--out: {path} holds a tree of another study, scores_of differs; choose another directory")
    elif path.exists() and (
        not path.is_dir()
        or any(entry.name not in (".lock", ".lock.pid") and ".partial" not in entry.name for entry in path.iterdir())
    ):
        what = "is not empty and holds no removal.yaml" if path.is_dir() else "is a file"
        raise UserError(f"--out: {path} {what}; choose a new or an empty directory")


def _study_of(spec: RemovalTreeSpec) -> Any:
    """Return the study by what it is; a finished one, wherever it lies, by its scores, which are compared later."""
    return "finished" if isinstance(spec.scores_of, str) else spec.scores_of.hash


def find_tree(path: Path | str) -> Path | None:
    """Return the folder of a removal tree, named by its path or, where it is in ``papermill_runs/``, by its name; None where there is none."""
    found = find_folder(path, TREE_FILE)
    return found if (found / TREE_FILE).is_file() else None


def open_tree(path: Path | str) -> RemovalTree:
    """Open a removal tree.

    Raises
    ------
    UserError
        There is none.
    """
    found = find_tree(path)
    if found is None:
        raise UserError(f"TREE: there is no removal tree at {str(path)!r}, a folder with {TREE_FILE}")
    return RemovalTree(found)
