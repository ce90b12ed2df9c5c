"""From points to colours: the scale of the colours, and the raster that stands for more points than a browser draws.

The raster is what datashader calls mean aggregation: each pixel takes the colour of the mean value of the points in it. It is done with
``numpy.bincount``, as fast as datashader, whose import and compilation take longer than the explorer may take to appear. Pixels hold
colour numbers, a quarter of the bytes of colours: ``NOTHING``, ``DIM`` or one of ``COLOURS``.
"""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
from bokeh.palettes import viridis

from sslmem_kit.explorer.scatter.points import Points, Window

NOTHING, DIM, FIRST = 0, 1, 2
COLOURS = viridis(254)
"""Colours of the colour numbers from ``FIRST`` on."""

_ENDS = (0.5, 99.5)
_ENOUGH = 100_000
"""Largest number of values that the ends of a scale are estimated from."""


@dataclass(frozen=True)
class Scale:
    """Ends of a colour scale; values beyond them take the colour of the end."""

    low: float
    high: float
    clipped: bool = False
    """True where there are values beyond the ends."""

    @classmethod
    def of(cls, values: np.ndarray) -> Scale:
        """Make a scale from the 0.5 to the 99.5 % quantile of the finite values, so that a few outliers do not take all the colours."""
        some = values[:: -(-len(values) // _ENOUGH)] if len(values) else values
        some = some[np.isfinite(some)]
        if not len(some):
            return cls(0.0, 1.0)
        low, high = (float(end) for end in np.percentile(some, _ENDS))
        if not high > low:
            return cls(low, low + max(abs(low), 1.0) * 1e-3)
        return cls(low, high, bool(some.min() < low or some.max() > high))

    def colours(self, limit: float, dim: str) -> list[str]:
        """Return the colours of equal steps of the scale from low to high; those below a limit are dim."""
        steps = self.low + (np.arange(len(COLOURS)) + 0.5) / len(COLOURS) * (self.high - self.low)
        return [dim if step < limit else colour for step, colour in zip(steps, COLOURS, strict=True)]

    def mapping(self, limit: float, dim: str) -> dict[str, object]:
        """Return options of a Bokeh colour mapper under which exactly the values below a limit are dim and the others keep their colour.

        A mapper has one colour for all that is below its low end. So the low end is the limit, and the colours start in between.
        """
        if limit == -np.inf:
            return {"low": self.low, "high": self.high, "low_color": COLOURS[0], "palette": list(COLOURS)}
        if limit == np.inf:
            return {"low": self.low, "high": self.high, "low_color": dim, "palette": [dim] * len(COLOURS)}
        step = (self.high - self.low) / len(COLOURS)
        high = max(self.high, limit + step)
        entries = int(np.clip(np.ceil((high - limit) / step), 1, 4 * len(COLOURS)))
        middles = limit + (np.arange(entries) + 0.5) / entries * (high - limit)
        return {"low": limit, "high": high, "low_color": dim, "palette": [COLOURS[number] for number in self.numbers(middles)]}

    def numbers(self, values: np.ndarray) -> np.ndarray:
        """Return the positions of values in ``COLOURS``, uint8."""
        share = (values - self.low) / (self.high - self.low)
        return np.clip(share * len(COLOURS), 0, len(COLOURS) - 1).astype(np.uint8)


@dataclass(frozen=True, eq=False)
class Aggregate:
    """Points by the pixel in which they lie.

    Attributes
    ----------
    window
        Window whose pixels these are.
    pixel
        (point,) int32, row by row from below; ``width * height`` for a point outside of the window.
    count
        (pixel,) number of points.
    points
        The points.
    """

    window: Window
    pixel: np.ndarray
    count: np.ndarray
    points: Points

    @classmethod
    def of(cls, points: Points, window: Window) -> Aggregate:
        """Assign points to the pixels of a window."""
        columns = _places(points.x, window.x0, window.x1, window.width)
        rows = _places(points.y, window.y0, window.y1, window.height)
        outside = window.width * window.height
        pixel = rows * np.int32(window.width) + columns
        pixel[(columns < 0) | (rows < 0)] = outside
        return cls(window, pixel, np.bincount(pixel, minlength=outside + 1)[:outside], points)

    def means(self, limit: float) -> np.ndarray:
        """Compute the mean value of those points of a pixel that reach a limit, (pixel,); NaN where none does."""
        with np.errstate(invalid="ignore", divide="ignore"):
            reaching = np.flatnonzero(self.points.value >= limit)  # NaN does not
            pixel = self.pixel[reaching]
            size = len(self.count) + 1
            total = np.bincount(pixel, weights=self.points.value[reaching], minlength=size)
            return (total / np.bincount(pixel, minlength=size))[:-1]

    def shade(self, scale: Scale, limit: float) -> np.ndarray:
        """Compute the raster, (height, width) uint8 colour numbers, from below.

        A point covers five pixels across as the markers of a small scatter do, coloured ones over dim ones. A pixel that has a colour of
        its own keeps it, so that where points are dense nothing is covered.
        """
        means = self.means(limit)
        picture = np.where(self.count > 0, DIM, NOTHING).astype(np.uint8)
        coloured = np.flatnonzero(np.isfinite(means))
        picture[coloured] = scale.numbers(means[coloured]) + FIRST
        picture = picture.reshape(self.window.height, self.window.width)
        return _spread(_spread(picture))


def _places(values: np.ndarray, start: float, end: float, size: int) -> np.ndarray:
    """Return the numbers of the pixels along an axis, (point,) int32; -1 outside. The last pixel holds its upper end."""
    place = (values - np.float32(start)) * np.float32(size / (end - start))
    # What is outside is cut off first: beyond int32 a conversion is undefined.
    place = np.minimum(np.clip(place, -1, size).astype(np.int32), size - 1)
    place[(values < start) | (values > end)] = -1
    return place


def _spread(picture: np.ndarray) -> np.ndarray:
    """Give pixels that have no colour of their own the highest colour number of their four neighbours."""
    highest = picture.copy()
    np.maximum(highest[1:], picture[:-1], out=highest[1:])
    np.maximum(highest[:-1], picture[1:], out=highest[:-1])
    np.maximum(highest[:, 1:], picture[:, :-1], out=highest[:, 1:])
    np.maximum(highest[:, :-1], picture[:, 1:], out=highest[:, :-1])
    return np.where(picture >= FIRST, picture, highest)
