"""A mitigation frontier on disk: ``frontier.yaml``, ``encoders/<hash>/`` and ``results.zarr``.

The store holds ``alignment(arm, family, seed, sample)``, the mean over pairs of views, ``accuracy(arm, family, seed, task, probe)``,
its ``seconds`` of training and, of DP-SGD, ``epsilon``; ``images_trained`` and ``images_scored(arm, family)``, the images that it was
trained on and that were scored to choose samples; ``partition(sample)``, and ``kind``, ``action`` and ``control`` of each arm.
"""

from __future__ import annotations

import contextlib
import json
import warnings
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

import numpy as np
import xarray as xr
from numpy.dtypes import StringDType

from sslmem_kit.errors import UserError, one_line
from sslmem_kit.spec.frontier import FRONTIER_FILE, FrontierSpec, parse_frontier
from sslmem_kit.spec.paths import absolute
from sslmem_kit.spec.places import find_folder
from sslmem_kit.spec.reading import read_yaml, write_yaml
from sslmem_kit.store.files import folder_appearing, hold, remove, sweep, write_atomically

SCHEMA_VERSION = 1


@dataclass(frozen=True)
class Frontier:
    """A mitigation frontier on disk. Opening one runs no code of its author's and imports no torch."""

    path: Path

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", absolute(self.path))

    @property
    def spec_path(self) -> Path:
        """Path of the resolved spec."""
        return self.path / FRONTIER_FILE

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
    def spec(self) -> FrontierSpec:
        """The resolved spec."""
        return parse_frontier(read_yaml(self.spec_path), where=str(self.spec_path), base=self.path)

    def encoder(self, identity: str) -> Path:
        """Return the folder of an encoder by its hash."""
        return self.path / "encoders" / identity

    @cached_property
    def results(self) -> xr.Dataset:
        """Measurements of all encoders, in memory.

        Raises
        ------
        UserError
            The frontier is not finished, or its results cannot be read.
        """
        again = f"`sslmem run {self.spec_path} --out {self.path}` finishes it"
        if not (self.results_path / "zarr.json").is_file():
            raise UserError(f"FRONTIER: {self.path} is not finished, {again}")
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
            raise UserError(f"FRONTIER: {self.spec_path} has changed since {self.results_path.name} was written, {again}")
        if not np.isfinite(found["alignment"]).all() or not np.isfinite(found["accuracy"]).all():
            raise UserError(f"{self.results_path}: measurements are lost; remove it, {again}")
        return found

    @property
    def caveats(self) -> list[str]:
        """What limits what the results say, a sentence each."""
        return json.loads(self.results.attrs["caveats"])

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the frontier for one writer, having removed what killed ones left.

        Raises
        ------
        UserError
            Another writer holds it.
        """
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(hold(self.path / ".lock"))
            except BlockingIOError:
                raise UserError(f"{self.path}: another `sslmem run` is at work on this frontier, wait for it or stop it") from None
            for folder in (self.path, *self.path.glob("encoders/*"), *self.path.glob("encoders/*/*/")):
                sweep(folder)
            yield

    def write_spec(self, spec: FrontierSpec) -> None:
        """Write the resolved spec, where it is not there or has changed."""
        if not self.spec_path.exists() or self.spec != spec:
            write_atomically(self.spec_path, write_yaml(spec.as_dict()).encode())
            self.__dict__.pop("spec", None)

    def write_results(self, found: xr.Dataset) -> None:
        """Write the store in place of an earlier one."""
        text = {name: coord.astype(StringDType()) for name, coord in found.variables.items() if coord.dtype.kind in "OU"}
        found = found.assign_coords(text).assign_attrs(schema_version=SCHEMA_VERSION)
        partial = self.results_path.with_name(f"{self.results_path.name}.partial")
        with folder_appearing(self.results_path, partial), warnings.catch_warnings():
            warnings.filterwarnings("ignore", "Consolidated metadata")
            found.to_zarr(partial, mode="w", zarr_format=3, consolidated=True)
            remove(self.results_path)


def check_frontier_folder(path: Path, spec: FrontierSpec) -> None:
    """Refuse a folder that cannot take a frontier of this spec: what it holds has to be one of the same name and untreated study.

    Other arms may be asked for than before: encoders that are there stay.

    Raises
    ------
    UserError
        The folder holds something else, or another frontier.
    """
    there = Frontier(path)
    if there.spec_path.is_file():
        for field, own, other in (("name", spec.name, there.spec.name), ("baseline", spec.baseline.hash, there.spec.baseline.hash)):
            if own != other:
                raise UserError(f"--out: {path} holds another frontier, {field} differs; choose another directory")
    elif path.exists() and (
        not path.is_dir()
        or any(entry.name not in (".lock", ".lock.pid") and ".partial" not in entry.name for entry in path.iterdir())
    ):
        what = f"is not empty and holds no {FRONTIER_FILE}" if path.is_dir() else "is a file"
        raise UserError(f"--out: {path} {what}; choose a new or an empty directory")


def find_frontier(path: Path | str) -> Path | None:
    """Return the folder of a mitigation frontier, by its path or its name in ``papermill_runs/``; None where there is none."""
    found = find_folder(path, FRONTIER_FILE)
    return found if (found / FRONTIER_FILE).is_file() else None


def open_frontier(path: Path | str) -> Frontier:
    """Open a mitigation frontier.

    Raises
    ------
    UserError
        There is none.
    """
    found = find_frontier(path)
    if found is None:
        raise UserError(f"FRONTIER: there is no mitigation frontier at {str(path)!r}, a folder with {FRONTIER_FILE}")
    return Frontier(found)
