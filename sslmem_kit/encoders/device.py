"""The device that an encoder is on, and the precision that it computes in."""

from __future__ import annotations

import contextlib
import os
from collections.abc import Iterator

import torch
from torch import nn
from torch.utils import deterministic

from sslmem_kit.errors import UserError
from sslmem_kit.spec.training import TrainingSpec


def resolve_device(device: str) -> str:
    """Return torch's name of a device: ``auto`` is the first GPU where there is one, else the CPU; any other has to be usable.

    Raises
    ------
    UserError
        torch cannot use the device.
    """
    if device == "auto":
        return "cuda" if torch.cuda.is_available() else "cpu"
    if device.partition(":")[0] == "mps":
        raise UserError(
            f"--device: {device!r} has no float64, in which views, losses and alignments are added up; use cpu, which auto takes on a Mac"
        )
    try:
        torch.zeros(1, device=device)
    except (RuntimeError, AssertionError) as error:
        reason = str(error).strip().splitlines()[0][:120]
        raise UserError(f"--device: torch cannot use {device!r} here ({reason})") from None
    return device


def use_device(device: str) -> None:
    """Make a named GPU torch's current device, which random numbers and synchronizations use where none is named."""
    if device.startswith("cuda:"):
        torch.cuda.set_device(device)


def autocast(device: str, precision: str) -> contextlib.AbstractContextManager[object, bool | None]:
    """Return a context of mixed precision; for float32 one in which that is float32 on GPUs too."""
    kinds = {"bf16": torch.bfloat16, "fp16": torch.float16}
    return torch.autocast(device, kinds[precision]) if precision in kinds else plain_float32()


@contextlib.contextmanager
def plain_float32() -> Iterator[None]:
    """Keep convolutions of GPUs in float32; by default torch has them, unlike products of matrices, in TF32, which keeps 3 digits."""
    before = torch.backends.cudnn.allow_tf32
    torch.backends.cudnn.allow_tf32 = False
    try:
        yield
    finally:
        torch.backends.cudnn.allow_tf32 = before


@contextlib.contextmanager
def same_every_time(device: str, module: nn.Module) -> Iterator[None]:
    """Make a GPU train a module to the same bits every time, where it has no attention; CPUs do without.

    Otherwise gradients are added up in an order that differs from run to run. Those of attention still are, so that a module with
    attention is left as fast as it is.
    """
    if not device.startswith("cuda") or any("Attention" in type(part).__name__ for part in module.modules()):
        yield
        return
    os.environ.setdefault("CUBLAS_WORKSPACE_CONFIG", ":4096:8")  # asked for by what follows
    before = torch.are_deterministic_algorithms_enabled(), torch.is_deterministic_algorithms_warn_only_enabled()
    filled, deterministic.fill_uninitialized_memory = deterministic.fill_uninitialized_memory, False  # pyright: ignore
    torch.use_deterministic_algorithms(True, warn_only=True)  # what has no other way still runs
    try:
        yield
    finally:
        torch.use_deterministic_algorithms(before[0], warn_only=before[1])
        deterministic.fill_uninitialized_memory = filled  # pyright: ignore


def check_precision(training: TrainingSpec, device: str) -> None:
    """Refuse a precision that the device does not have."""
    if training.precision == "fp16" and not device.startswith("cuda"):
        raise UserError("training.precision: 'fp16' is for GPUs, allowed on this device are float32 and bf16")
