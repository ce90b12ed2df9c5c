"""Versions of the packages that determine the numbers."""

from __future__ import annotations

import platform

import numpy as np
import timm
import torch

import sslmem_kit


def versions() -> dict[str, str]:
    """Return the versions of this package, Python, PyTorch, timm and NumPy."""
    return {
        "sslmem_kit": sslmem_kit.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": timm.__version__,
        "numpy": np.__version__,
    }
