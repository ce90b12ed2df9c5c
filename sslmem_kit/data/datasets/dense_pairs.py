"""What readers of dense tasks return: images with a class or a depth at every pixel, as stored."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from dataclasses import dataclass

import numpy as np

IGNORED = 255
"""Class of a pixel that has none: it counts neither in the loss nor in any measure."""
MISSING_DEPTH = 0.0
"""Depth of a pixel that has none."""

Pair = tuple[np.ndarray, np.ndarray]
"""An image, uint8 (y, x, channel), and its target (y, x): classes uint8, or depths float32 in metres."""


@dataclass(frozen=True, eq=False)
class DensePairs:
    """What a reader finds, before it is brought to one size.

    ``read(place)`` returns a pair of equal height and width as stored, depths in metres; ``names`` say in messages which files a pair has;
    ``is_test`` (n,) bool. ``class_names`` is empty for depth.
    """

    read: Callable[[int], Pair]
    names: Sequence[str]
    is_test: np.ndarray
    class_names: tuple[str, ...] = ()
