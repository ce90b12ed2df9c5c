"""What other scores measure of one encoder: one file a comparison, ``measure(subject, options)``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import xarray as xr

from sslmem_kit.measures.comparisons.subject import Subject

MEASURES: dict[str, Callable[[Subject, Any], xr.Dataset]] = {}
"""Functions from an encoder and a comparison's options to what is measured, on ``sample`` and further dimensions."""
