"""Versions of the packages, and the arithmetic of the machine, that determine the numbers."""

from __future__ import annotations

import platform
import re
from pathlib import Path

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


VECTOR_FLAGS = (
    "avx2",
    "fma",
    "avx512f",
    "avx512_vnni",
    "avx512_bf16",
    "avx512_fp16",
    "amx_tile",
    "amx_bf16",
    "asimd",
    "sve",
    "bf16",
)
"""Vector instructions by which libraries choose their kernels, as Linux names them."""


def arithmetic(device: str = "cpu") -> str:
    """Return what decides, beside the processor's name, in which order numbers are added up.

    Generation and vector instructions of the processor, what PyTorch uses of them, its libraries, and the GPU where it computes on one.
    A virtual machine may name only the maker: ``AMD EPYC`` are many processors.

    Examples
    --------
    >>> "torch with" in arithmetic()
    True
    """
    try:
        info = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace")
    except OSError:
        info = ""

    def first(name: str) -> str:
        found = re.search(rf"^{name}\s*:\s*(.+)$", info, re.MULTILINE)
        return found.group(1).strip() if found else ""

    generation = [f"{name} {first(entry)}" for name, entry in (("family", "cpu family"), ("model", "model")) if first(entry)]
    flags = set((first("flags") or first("Features")).split())
    libraries = re.findall(r"(?:Math Kernel Library Version|MKL-DNN) (v?[\d.]+)", torch.__config__.parallel_info())
    parts = [
        " ".join(generation),
        " ".join(flag for flag in VECTOR_FLAGS if flag in flags),
        f"torch with {torch.backends.cpu.get_cpu_capability()}, MKL and oneDNN {', '.join(libraries) or 'of unknown version'}",
        torch.cuda.get_device_name(device) if device.startswith("cuda") else "",
    ]
    return "; ".join(part for part in parts if part)
