"""Folder of results: the layout that studies, removal trees and mitigation frontiers share."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import ClassVar

from sslmem_kit.spec.paths import absolute


@dataclass(frozen=True)
class ResultsFolder:
    """A folder with a resolved spec, ``encoders/``, ``results.zarr``, ``figures/`` and ``notebooks/``."""

    SPEC_FILE: ClassVar[str]
    """Name of the file of its resolved spec."""

    path: Path
    """Absolute: it stays right when the working directory changes."""

    def __post_init__(self) -> None:
        object.__setattr__(self, "path", absolute(self.path))

    @property
    def spec_path(self) -> Path:
        """Path of the resolved spec."""
        return self.path / self.SPEC_FILE

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

    def encoder(self, name: str) -> Path:
        """Return the folder of an encoder, by its id or its hash: ``weights.safetensors``, ``config.json``, ``history.csv``, ``resume/``."""
        return self.path / "encoders" / name
