"""A removal tree on disk: ``removal.yaml``, the study ``parent/``, ``encoders/<hash>/`` and ``results.zarr``.

The store holds ``accuracy(removed, amount, draw, seed, task, probe)``: NaN in draws that a way does not have. ``removed`` is a way,
with the order that it goes by; ``amount`` counts candidates that are removed or kept, by the attribute ``action``, and ``baseline`` is the
amount at which none is removed. ``encoder(removed, amount, draw, seed)`` names the encoder, ``n_test(task)`` counts test samples.
"""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sslmem_kit.errors import UserError
from sslmem_kit.spec.places import find_folder
from sslmem_kit.spec.reading import read_yaml
from sslmem_kit.spec.removal_tree import TREE_FILE, RemovalTreeSpec, parse_tree
from sslmem_kit.store.table import TableFolder, check_free

SETS = "sets.npz"
DIMS = ("removed", "amount", "draw", "seed", "task", "probe")


class RemovalTree(TableFolder[RemovalTreeSpec]):
    """A removal tree on disk."""

    SPEC_FILE, WHAT = TREE_FILE, "tree"

    @property
    def parent(self) -> Path:
        """Folder of the study whose scores choose."""
        return self.spec.parent_folder(self.path)

    def read_spec(self) -> RemovalTreeSpec:
        """Return the resolved spec."""
        return parse_tree(read_yaml(self.spec_path), where=str(self.spec_path))

    def lost(self, found: xr.Dataset) -> str | None:
        """Name accuracies that are not there; None where as many are as were written."""
        return None if _accuracies(found) == found.attrs["accuracies"] else "accuracies"

    def write_results(self, found: xr.Dataset) -> None:
        """Write the table in place of an earlier one."""
        super().write_results(found.assign_attrs(accuracies=_accuracies(found)))


def _accuracies(found: xr.Dataset) -> int:
    """Return the number of accuracies in a table, which has NaN in draws that a way does not have."""
    return int(np.isfinite(found["accuracy"]).sum())


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
    else:
        check_free(path, TREE_FILE)


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
