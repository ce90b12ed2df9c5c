"""Results of dense tasks in a study directory: ``dense/<name of the task>/results.json``."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sslmem_kit.spec.reading import read_json

DENSE, RESULTS = "dense", "results.json"


def dense_folder(study: Path, name: str) -> Path:
    """Return the folder of a dense task in a study directory."""
    return study / DENSE / name


def read_dense(study: Path) -> dict[str, dict[str, Any]]:
    """Return the results of the dense tasks of a study, by name; of a task that is not complete, or was never run, none.

    Raises
    ------
    UserError
        A file that cannot be read.

    Examples
    --------
    >>> read_dense(Path("papermill_runs/digits"))
    {}
    """
    return {path.parent.name: read_json(path) for path in sorted((study / DENSE).glob(f"*/{RESULTS}"))}
