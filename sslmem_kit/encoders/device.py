"""The device that an encoder is on, and the precision that it computes in."""

from __future__ import annotations

import contextlib

import torch

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


def autocast(device: str, precision: str) -> contextlib.AbstractContextManager[None]:
    """Return a context of mixed precision, one without effect for float32."""
    kinds = {"bf16": torch.bfloat16, "fp16": torch.float16}
    return torch.autocast(device, kinds[precision]) if precision in kinds else contextlib.nullcontext()


def check_precision(training: TrainingSpec, device: str) -> None:
    """Refuse a precision that the device does not have."""
    if training.precision == "fp16" and not device.startswith("cuda"):
        raise UserError("training.precision: 'fp16' is for GPUs, allowed on this device are float32 and bf16")
