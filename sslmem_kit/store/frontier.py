"""A mitigation frontier on disk: ``frontier.yaml``, ``encoders/<hash>/`` and ``results.zarr``.

The store holds ``alignment(arm, family, seed, sample)``, the mean over pairs of views, ``accuracy(arm, family, seed, task, probe)``,
its ``seconds`` of training and, of DP-SGD, ``epsilon``; ``images_trained`` and ``images_scored(arm, family)``, the images that it was
trained on and that were scored to choose samples; ``partition(sample)``, and ``kind``, ``action`` and ``control`` of each arm.
"""

from __future__ import annotations

from pathlib import Path

import numpy as np
import xarray as xr

from sslmem_kit.errors import UserError
from sslmem_kit.spec.frontier import FRONTIER_FILE, FrontierSpec, parse_frontier
from sslmem_kit.spec.places import find_folder
from sslmem_kit.spec.reading import read_yaml
from sslmem_kit.store.table import TableFolder, check_free


class Frontier(TableFolder[FrontierSpec]):
    """A mitigation frontier on disk."""

    SPEC_FILE, WHAT = FRONTIER_FILE, "frontier"

    def read_spec(self) -> FrontierSpec:
        """Return the resolved spec."""
        return parse_frontier(read_yaml(self.spec_path), where=str(self.spec_path), base=self.path)

    def lost(self, found: xr.Dataset) -> str | None:
        """Name measurements that are not there; None where all are."""
        return None if np.isfinite(found["alignment"]).all() and np.isfinite(found["accuracy"]).all() else "measurements"


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
    else:
        check_free(path, FRONTIER_FILE)


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
