"""Checkpoints of a training: what was recorded, and the full state from which it resumes bit-identically.

All randomness of a training is counter-based, so no generator's state is kept. Files are read with ``weights_only``: no code in them runs.
"""

from __future__ import annotations

import csv
import io
import pickle
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np
import torch
from safetensors.torch import load_file
from safetensors.torch import save as as_bytes
from torch import nn

from sslmem_kit.errors import UserError
from sslmem_kit.store import RECORDED
from sslmem_kit.store.files import write_atomically

HISTORY = ("epoch", "loss", "learning_rate", "seconds", "probe_accuracy", "mean_alignment", "feature_std", "effective_rank",
           "embedding_std")  # fmt: skip
"""Columns of ``history.csv``; values that were not recorded in an epoch are empty."""

STATES = "checkpoints"
"""Folder of an encoder with the states of its objective that comparisons read."""

_ARRAYS = ("trajectory", "treated")
"""Fields of :class:`Progress` that hold arrays by epoch."""


class Record(NamedTuple):
    """Measurements of an encoder while it trains; accuracy and collapse by the first rank alone."""

    alignment: np.ndarray
    """Mean over augmentations, (sample,) float32."""
    probe_accuracy: float
    feature_std: float
    effective_rank: float
    embedding_std: float
    """Spread of the embeddings that the loss compares, where these are not the representations themselves; NaN where it compares none."""
    warning: str = ""
    """Message of what has collapsed; empty where nothing has."""

    def numbers(self) -> dict[str, float]:
        """Return the numbers of this record in a row of ``history.csv``."""
        return {name: getattr(self, name) for name in RECORDED}


@dataclass
class Progress:
    """Progress of a training: finished epochs, seconds, and what was recorded so far."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    trajectory: dict[int, np.ndarray] = field(default_factory=dict)
    epsilon: float | None = None
    """Epsilon spent by DP-SGD when the training is done."""
    treated: dict[int, np.ndarray] = field(default_factory=dict)
    """Ids of the samples that ``training.mitigation`` treats, by the number of finished epochs from which it does."""

    def rows(self, epochs: int, recorded: tuple[int, ...]) -> dict[str, np.ndarray]:
        """Return the rows of the results store, by ``group/variable``."""
        assert len(self.history) == epochs
        by_epoch = {row["epoch"]: row for row in self.history}
        nothing = np.full_like(self.trajectory[epochs], np.nan)
        return {
            "training/loss": np.array([row["loss"] for row in self.history]),
            "training/learning_rate": np.array([row["learning_rate"] for row in self.history]),
            "trajectory/alignment": np.stack([self.trajectory.get(epoch, nothing) for epoch in recorded], axis=1),
            **{f"trajectory/{name}": np.array([by_epoch[epoch].get(name, np.nan) for epoch in recorded]) for name in RECORDED},
        }


def save(checkpoint: Path, parts: dict[str, Any], progress: Progress) -> None:
    """Write a checkpoint in place of the one before: the state of each part (objective, optimizer, ...) and what was recorded."""
    _write(checkpoint, {**{name: part.state_dict() for name, part in parts.items()}, "progress": _recorded(progress)})


def load(checkpoint: Path, parts: dict[str, Any], device: str) -> Progress:
    """Load the state of every part from a checkpoint, and return the recorded progress.

    Raises
    ------
    UserError
        The checkpoint is damaged, or of a training that is finished.
    """
    state = read(checkpoint, device)
    if "objective" not in state:
        raise UserError(
            f"{checkpoint}: this training is finished, but its weights.safetensors is gone; restore it, or delete {checkpoint.name}"
        )
    try:
        for name, part in parts.items():
            part.load_state_dict(state.get(name, {}))
    except (ValueError, RuntimeError, KeyError) as error:
        reason = " ".join(str(error).split())[:120]
        raise UserError(
            f"{checkpoint}: it is of an earlier version or another training ({reason}); delete it to train anew"
        ) from None
    return _progress(state)


def is_resumable(checkpoint: Path) -> bool:
    """Return whether a training can resume from a checkpoint, also where it has finished."""
    try:
        return "objective" in read(checkpoint, "cpu")
    except UserError:
        return False


def load_progress(checkpoint: Path) -> Progress:
    """Return the progress that a checkpoint records beside weights."""
    return _progress(read(checkpoint, "cpu"))


def save_progress(checkpoint: Path, progress: Progress) -> None:
    """Write a finished training's records in place of its checkpoint: weights are in ``weights.safetensors``."""
    _write(checkpoint, {"progress": _recorded(progress)})


def write_history(path: Path, progress: Progress) -> None:
    """Write the rows of ``HISTORY`` as CSV."""
    text = io.StringIO()
    writer = csv.DictWriter(text, HISTORY, lineterminator="\n")
    writer.writeheader()
    writer.writerows(progress.history)
    write_atomically(path, text.getvalue().encode())


def write_treated(path: Path, progress: Progress) -> None:
    """Write the samples that were treated as CSV: the number of finished epochs from which a sample was, and its id."""
    rows = [f"{epoch},{sample}" for epoch, samples in progress.treated.items() for sample in samples.tolist()]
    write_atomically(path, "\n".join(["epoch,sample", *rows, ""]).encode())


def _write(checkpoint: Path, state: dict[str, Any]) -> None:
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(checkpoint, buffer.getvalue())


def _recorded(progress: Progress) -> dict[str, Any]:
    return {
        **vars(progress),
        **{name: {epoch: torch.from_numpy(values) for epoch, values in getattr(progress, name).items()} for name in _ARRAYS},
    }


def _progress(state: dict[str, Any]) -> Progress:
    content = state["progress"]
    arrays = {name: {epoch: values.cpu().numpy() for epoch, values in content.get(name, {}).items()} for name in _ARRAYS}
    return Progress(**{**content, **arrays})


def read(checkpoint: Path, device: str) -> dict[str, Any]:
    """Read a file of :func:`torch.save`; no code in it runs."""
    try:
        return torch.load(checkpoint, map_location=device, weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, OSError) as error:
        raise UserError(
            f"{checkpoint}: the checkpoint is damaged ({' '.join(str(error).split())[:120]}); delete it to train anew"
        ) from None


def keep_state(folder: Path, epoch: int, objective: nn.Module) -> None:
    """Write an objective after some epochs, encoder and heads, as safetensors into an encoder's folder."""
    path = state_path(folder, epoch)
    path.parent.mkdir(parents=True, exist_ok=True)
    state = objective.state_dict()
    once = {tensor.data_ptr(): name for name, tensor in reversed(state.items()) if tensor.numel()}  # MAE's ViT has two names
    write_atomically(
        path, as_bytes({name: state[name].contiguous() for name in state if once.get(state[name].data_ptr(), name) == name})
    )


def state_path(folder: Path, epoch: int) -> Path:
    """Return the path of the state after some epochs."""
    return folder / STATES / f"{epoch}.safetensors"


def kept_epochs(folder: Path) -> list[int]:
    """Return the epochs whose states were kept, ascending."""
    return sorted(int(path.stem) for path in (folder / STATES).glob("*.safetensors") if path.stem.isdecimal())


def load_state(folder: Path, epoch: int, objective: nn.Module, device: str) -> None:
    """Load the state that :func:`keep_state` wrote into an objective of the same spec.

    Raises
    ------
    UserError
        The file is damaged, or of another training.
    """
    path = state_path(folder, epoch)
    try:
        own, state = objective.state_dict(), load_file(path, device=device)
        missing, unexpected = objective.load_state_dict(state, strict=False)
        known = {own[name].data_ptr() for name in state if name in own}
        wrong = [*unexpected, *(name for name in missing if own[name].data_ptr() not in known)]
        if wrong:
            raise ValueError(f"it does not fit at {wrong[0]}")
    except Exception as error:  # safetensors raises its own base class, torch a RuntimeError
        raise UserError(f"{path}: the kept state cannot be loaded ({' '.join(str(error).split())[:160]})") from None
