"""Results of dense tasks in a study directory: ``dense/<name of the task>/results.json``."""

from __future__ import annotations

import hashlib
from pathlib import Path
from typing import Any

from sslmem_kit.errors import UserError
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
    found = {path.parent.name: read_json(path) for path in sorted((study / DENSE).glob(f"*/{RESULTS}"))}
    for name, results in found.items():
        if not (isinstance(results.get("runs"), list) and results["runs"] and {"task", "data"} <= set(results)):
            raise UserError(
                f"{dense_folder(study, name) / RESULTS}: these are no results of a dense task; remove it and run the task again"
            )
    return found


def changed_weights(study: Path, results: dict[str, Any]) -> list[str]:
    """Return the encoders whose weights on disk are others than those that were fine-tuned; ones that are gone are not named."""
    then = {run["encoder"]: (run["weights"], run["folder"]) for run in results["runs"] if run.get("weights")}
    now = {name: study / folder / "weights.safetensors" for name, (_, folder) in then.items()}
    return [name for name, path in now.items() if path.is_file() and hash_of_file(path) != then[name][0]]


def hash_of_file(path: Path) -> str:
    """Return the sha256 of a file."""
    with open(path, "rb") as file:
        return hashlib.file_digest(file, "sha256").hexdigest()
