"""Folder with one table of many encoders, each known by the hash of what determines it: what removal trees and frontiers share."""

from __future__ import annotations

import contextlib
import hashlib
import json
import warnings
from collections.abc import Iterator
from functools import cached_property
from pathlib import Path
from typing import ClassVar, Generic, TypeVar

import numpy as np
import xarray as xr
from numpy.dtypes import StringDType

from sslmem_kit.errors import UserError, one_line
from sslmem_kit.spec.frontier import FrontierSpec
from sslmem_kit.spec.reading import write_yaml
from sslmem_kit.spec.removal_tree import RemovalTreeSpec
from sslmem_kit.store.files import folder_appearing, hold, remove, sweep, write_atomically
from sslmem_kit.store.folder import ResultsFolder

SCHEMA_VERSION = 1
Spec = TypeVar("Spec", RemovalTreeSpec, FrontierSpec)


class TableFolder(ResultsFolder, Generic[Spec]):
    """A folder whose store is one table. Opening one runs no code of its author's and imports no torch."""

    WHAT: ClassVar[str]
    """What it is, in messages: a ``tree`` ..."""

    def read_spec(self) -> Spec:
        """Return the resolved spec."""
        raise NotImplementedError

    def lost(self, found: xr.Dataset) -> str | None:
        """Name what a table was written with and lacks; None where nothing is known to be lost."""
        raise NotImplementedError

    @cached_property
    def spec(self) -> Spec:
        """The resolved spec, read once."""
        return self.read_spec()

    @cached_property
    def results(self) -> xr.Dataset:
        """The table, in memory.

        Raises
        ------
        UserError
            It is not finished, or cannot be read.
        """
        again = f"`sslmem run {self.spec_path} --out {self.path}` finishes it"
        if not (self.results_path / "zarr.json").is_file():
            raise UserError(f"{self.WHAT.upper()}: {self.path} is not finished, {again}")
        try:
            with xr.open_zarr(self.results_path, chunks=None, consolidated=True) as opened:
                found = opened.load()
        except (ValueError, KeyError, OSError, TypeError, RuntimeError) as error:
            raise UserError(f"{self.results_path}: cannot be read ({one_line(error)}); remove it, {again}") from None
        version = found.attrs.get("schema_version")
        if version != SCHEMA_VERSION:
            raise UserError(
                f"{self.results_path}: schema_version is {version!r}, this version of sslmem_kit reads {SCHEMA_VERSION}"
            )
        if found.attrs["spec_hash"] != self.spec.hash:
            raise UserError(
                f"{self.WHAT.upper()}: {self.spec_path} has changed since {self.results_path.name} was written, {again}"
            )
        if lost := self.lost(found):
            raise UserError(f"{self.results_path}: {lost} are lost; remove it, {again}")
        if "checksum" in found.attrs and found.attrs["checksum"] != checksum(found):  # older tables have none
            raise UserError(f"{self.results_path}: it is not what was written; remove it, {again}")
        return found

    @property
    def caveats(self) -> list[str]:
        """What limits what the results say, a sentence each."""
        return json.loads(self.results.attrs["caveats"])

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the folder for one writer, having removed what killed ones left.

        Raises
        ------
        UserError
            Another writer holds it.
        """
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(hold(self.path / ".lock"))
            except BlockingIOError:
                raise UserError(
                    f"{self.path}: another `sslmem run` is at work on this {self.WHAT}, wait for it or stop it"
                ) from None
            for folder in (self.path, *self.path.glob("encoders/*"), *self.path.glob("encoders/*/*/")):
                sweep(folder)
            yield

    def write_spec(self, spec: Spec) -> None:
        """Write the resolved spec, where it is not there or has grown."""
        if not self.spec_path.exists() or self.spec != spec:
            write_atomically(self.spec_path, write_yaml(spec.as_dict()).encode())
            self.__dict__.pop("spec", None)

    def write_results(self, found: xr.Dataset) -> None:
        """Write the table in place of an earlier one."""
        text = {name: values.astype(StringDType()) for name, values in found.variables.items() if values.dtype.kind in "OU"}
        found = found.assign({name: values for name, values in text.items() if name in found.data_vars})
        found = found.assign_coords({name: values for name, values in text.items() if name in found.coords})
        found = found.assign_attrs(schema_version=SCHEMA_VERSION, checksum=checksum(found))
        partial = self.results_path.with_name(f"{self.results_path.name}.partial")
        with folder_appearing(self.results_path, partial), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Consolidated metadata")
            found.to_zarr(partial, mode="w", zarr_format=3, consolidated=True)
            remove(self.results_path)


def checksum(found: xr.Dataset) -> str:
    """Return the sha256 of all variables of a table, by name."""
    digest = hashlib.sha256()
    for name in sorted(map(str, found.variables)):
        values = found[name].values
        is_number = values.dtype.kind in "iufb"
        digest.update(name.encode())
        digest.update(
            values.astype(np.float64).tobytes() if is_number else json.dumps([str(one) for one in values.ravel()]).encode()
        )
    return digest.hexdigest()


def check_free(path: Path, spec_file: str) -> None:
    """Refuse a folder that holds other things than what a killed run leaves behind.

    Raises
    ------
    UserError
        It is a file, or is not empty.
    """
    if path.exists() and (
        not path.is_dir()
        or any(entry.name not in (".lock", ".lock.pid") and ".partial" not in entry.name for entry in path.iterdir())
    ):
        what = f"is not empty and holds no {spec_file}" if path.is_dir() else "is a file"
        raise UserError(f"--out: {path} {what}; choose a new or an empty directory")
