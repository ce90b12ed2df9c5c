"""The points of the scatter: samples that have both coordinates, and searches for the point nearest to a place on the screen.

Distances are in pixels of a :class:`Window`, the part of the plane that the plot shows. Searches look at every point: a million take a
few milliseconds, less than it takes to keep an index for each session.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import NamedTuple

import numpy as np

REACH = 10.0
"""Pixels within which a point is found by the mouse."""
STRIDE = 8.0
"""Smallest distance that one arrow key moves, in pixels, where there is a point that far."""


class Window(NamedTuple):
    """Part of the plane that is shown, and its size in pixels."""

    x0: float
    x1: float
    y0: float
    y1: float
    width: int
    height: int

    @property
    def pixel(self) -> tuple[float, float]:
        """Size of a pixel in units of the axes, never zero."""
        return max(abs(self.x1 - self.x0) / self.width, 1e-30), max(abs(self.y1 - self.y0) / self.height, 1e-30)


@dataclass(frozen=True, eq=False)
class Points:
    """Shown samples that have both coordinates, and the value of their colour.

    Attributes
    ----------
    positions
        (point,) places on the study's sample axis, ascending.
    x, y, value
        (point,) float32; ``value``, by which a point is coloured, may be NaN.
    """

    positions: np.ndarray
    x: np.ndarray
    y: np.ndarray
    value: np.ndarray

    @classmethod
    def of(cls, shown: np.ndarray, x: np.ndarray, y: np.ndarray, value: np.ndarray) -> Points:
        """Make the points of the samples at positions ``shown``; columns are over all samples of the study."""
        if len(shown) < len(x):  # else the shared columns do, without a copy for each session
            x, y, value = x[shown], y[shown], value[shown]
        defined = np.isfinite(x) & np.isfinite(y)
        if not defined.all():
            shown, x, y, value = shown[defined], x[defined], y[defined], value[defined]
        return cls(shown, x, y, value)

    def __len__(self) -> int:
        return len(self.positions)

    def nearest(self, x: float, y: float, window: Window) -> int | None:
        """Return the number of the point nearest to a place, None where none lies within ``REACH`` pixels."""
        px, py = window.pixel
        near = self._between(x - REACH * px, x + REACH * px, y - REACH * py, y + REACH * py)
        if not len(near):
            return None
        distance = self._squares(near, x, y, window)
        best = int(np.argmin(distance))
        return int(near[best]) if distance[best] <= REACH**2 else None

    def beside(self, point: int, direction: tuple[int, int], window: Window) -> int | None:
        """Return the point nearest to another one in a direction, ``(1, 0)`` is right, among those in the window; None where there is none.

        In a crowd the next point would be less than a pixel away: one that is ``STRIDE`` pixels on is preferred.
        """
        near = self._between(*sorted((window.x0, window.x1)), *sorted((window.y0, window.y1)))
        px, py = window.pixel
        across, up = (self.x[near] - self.x[point]) / np.float32(px), (self.y[near] - self.y[point]) / np.float32(py)
        along, aside = (across, up) if direction[0] else (up, across)
        along = along * sum(direction)
        ahead = (along > 0) & (np.abs(aside) <= along)
        if not ahead.any():
            return None
        far = ahead & (along >= STRIDE)
        ahead = np.flatnonzero(far if far.any() else ahead)
        return int(near[ahead[np.argmin(np.hypot(along[ahead], 2 * aside[ahead]))]])

    def ranked(self, point: int | None, step: int) -> int | None:
        """Return the point with the next higher (``step`` 1) or lower (-1) value; from None, the highest. None at the end."""
        value = self.value if step >= 0 else -self.value
        if point is None or np.isnan(value[point]):
            return int(np.nanargmax(self.value)) if np.isfinite(self.value).any() else None
        later = np.arange(len(value)) > point if step >= 0 else np.arange(len(value)) < point
        ahead = np.flatnonzero((value > value[point]) | ((value == value[point]) & later))
        if not len(ahead):
            return None
        ties = ahead[value[ahead] == value[ahead].min()]
        return int(ties[0] if step >= 0 else ties[-1])

    def drawing_order(self) -> np.ndarray:
        """Return the numbers of the points, those with the highest value last, so that they lie on top; undefined values first."""
        return np.argsort(np.where(np.isnan(self.value), -np.inf, self.value), kind="stable")

    def _between(self, x0: float, x1: float, y0: float, y1: float) -> np.ndarray:
        # Python numbers are compared in the columns' float32, without a copy in float64.
        near = np.flatnonzero((self.x >= x0) & (self.x <= x1))
        y = self.y[near]
        return near[(y >= y0) & (y <= y1)]

    def _squares(self, near: np.ndarray, x: float, y: float, window: Window) -> np.ndarray:
        px, py = window.pixel
        return ((self.x[near] - x) / px) ** 2 + ((self.y[near] - y) / py) ** 2
