"""Weights of encoders on disk, as safetensors."""

from __future__ import annotations

from pathlib import Path

from safetensors.torch import load_file, save
from torch import nn

from sslmem_kit.errors import UserError
from sslmem_kit.store.files import write_atomically


def save_weights(encoder: nn.Module, path: Path) -> None:
    """Write an encoder's weights as safetensors, atomically."""
    write_atomically(path, save({name: tensor.contiguous() for name, tensor in encoder.state_dict().items()}))


def load_weights(encoder: nn.Module, path: Path, *, device: str = "cpu") -> None:
    """Load weights that :func:`save_weights` wrote; every name and shape has to fit.

    Raises
    ------
    UserError
        The file is damaged or belongs to another encoder.
    """
    try:
        encoder.load_state_dict(load_file(path, device=device))
    except Exception as error:  # safetensors raises its own base class, torch a RuntimeError
        raise UserError(f"{path}: the weights cannot be loaded ({' '.join(str(error).split())[:160]})") from None
