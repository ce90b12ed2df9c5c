"""Thumbnails of images that near-duplicates share: how they are made, hashed, compared, and what weak augmentations do to them."""

from __future__ import annotations

import io
from dataclasses import dataclass

import numpy as np
import scipy  # its parts come on first use
from PIL import Image

SIDE, COLOUR_SIDE = 16, 4
"""Pixels a side of a thumbnail, and of its colours; of smaller images their own."""
FLAT = 2.0
"""Least standard deviation, in grey values, that thumbnails are divided by: what is flatter stays small."""
FREQUENCIES = 8
"""Frequencies a side of the cosine transform that are used."""
BLUR = 0.7
"""Blur of thumbnails, in their pixels: a shift by a part of a pixel then is along a tangent."""
_MOVES = ((0, 1, 2), (0, 1, 2))
_LIMITS = np.array([0.6, 0.6, 0.12, 0.2], np.float32)
"""Largest remaining shift (y, x, in pixels of a thumbnail), change of scale and of contrast that a comparison undoes."""


@dataclass(frozen=True, eq=False)
class Thumbnails:
    """Small images without their mean, divided by their norm.

    Attributes
    ----------
    grey
        (sample, y, x) float16.
    colour
        (sample, y, x, 2) float16: red and blue minus grey, in the same units; no value of grey images.
    level
        (sample, 2) float32: the mean, in the units of the flattest images, and how flat an image is, from 0 (its contrast is that of
        a picture) to 1: brightness does not distinguish pictures, but flat images have nothing else.
    """

    grey: np.ndarray
    colour: np.ndarray
    level: np.ndarray

    def __getitem__(self, chosen: np.ndarray | slice) -> Thumbnails:
        """Return those of some samples."""
        return Thumbnails(self.grey[chosen], self.colour[chosen], self.level[chosen])


def thumbnails(images: np.ndarray) -> Thumbnails:
    """Return the thumbnails of images, uint8 (sample, y, x, channel).

    Examples
    --------
    >>> images = np.random.default_rng(0).integers(0, 256, (3, 32, 32, 3), dtype=np.uint8)
    >>> made = thumbnails(images)
    >>> made.grey.shape, made.colour.shape, bool(abs(np.linalg.norm(made.grey[0].astype(float)) - 1) < 1e-3)
    ((3, 16, 16), (3, 4, 4, 2), True)
    """
    values = images.astype(np.float32)
    bright = values.mean(axis=3)
    grey = _averaged(bright, SIDE)
    mean = grey.mean(axis=(1, 2), keepdims=True)
    grey -= mean
    side = grey.shape[1]
    contrast = np.linalg.norm(grey, axis=(1, 2), keepdims=True)
    norm = np.maximum(contrast, FLAT * side)
    level = np.stack([mean[:, 0, 0] / FLAT, np.clip(1 - contrast[:, 0, 0] / (FLAT * side), 0, 1)], axis=1)
    colour = np.empty((len(images), 0, 0, 2), np.float16)
    if values.shape[3] == 3:
        parts = np.stack([_averaged(values[..., channel] - bright, COLOUR_SIDE) for channel in (0, 2)], axis=3)
        colour = (parts * (side / parts.shape[1]) / norm[..., None]).astype(np.float16)
    return Thumbnails((grey / norm).astype(np.float16), colour, level.astype(np.float32))


def transformed(grey: np.ndarray) -> np.ndarray:
    """Return the lowest frequencies of the cosine transform of thumbnails, without the mean, (sample, frequency) float32."""
    parts = scipy.fft.dctn(grey.astype(np.float32), axes=(1, 2), norm="ortho")[:, :FREQUENCIES, :FREQUENCIES]
    return parts.reshape(len(grey), -1)[:, 1:]


def perceptual_hashes(grey: np.ndarray) -> np.ndarray:
    """Return 64 bits of each thumbnail, (sample,) uint64: the signs of its cosine transform's lowest frequencies around their median.

    Its centre of contrast is moved into the middle first, so that a shift changes few bits.

    References
    ----------
    Zauner, Implementation and benchmarking of perceptual image hash functions (2010): the transform and the median.
    """
    parts = transformed(_centred(grey.astype(np.float32)))
    bits = parts > np.median(parts, axis=1, keepdims=True)
    padded = np.zeros((len(bits), 64), np.uint8)
    padded[:, : bits.shape[1]] = bits
    return np.packbits(padded, axis=1).view(">u8").astype(np.uint64)[:, 0]


def distances(first: Thumbnails, second: Thumbnails, *, exactly: bool = True) -> np.ndarray:
    """Return the distance of each thumbnail to another, (pair,) float32: the least over shifts by a pixel in each direction.

    ``exactly``: what remains of a shift, and changes of scale and contrast, are undone by a step along the tangents. 0 of equal images, about
    1 of unrelated ones; the edge of a pixel does not count. Brightness counts as far as both images are flat.

    References
    ----------
    Simard, LeCun and Denker, Efficient pattern recognition using a new transformation distance (NIPS 1992): the tangents.
    """
    if not len(first.grey):
        return np.empty(0, np.float32)
    one, other = first.grey.astype(np.float32), second.grey.astype(np.float32)
    side = one.shape[1]
    if side < 4:
        apart = ((one - other) ** 2).sum(axis=(1, 2))
    else:
        inner = one[:, 1:-1, 1:-1]
        apart, moved = np.full(len(one), np.inf, np.float32), np.empty_like(inner)
        for y in _MOVES[0]:
            for x in _MOVES[1]:
                window = other[:, y : side - 2 + y, x : side - 2 + x]
                square = ((inner - window) ** 2).sum(axis=(1, 2))
                nearer = square < apart
                moved[nearer] = window[nearer]
                apart[nearer] = square[nearer]
        if exactly:
            apart = _along_tangents(inner, moved)
    if first.colour.size:
        apart = apart + ((first.colour.astype(np.float32) - second.colour.astype(np.float32)) ** 2).sum(axis=(1, 2, 3))
    flat = np.minimum(first.level[:, 1], second.level[:, 1])
    return np.sqrt(apart + (flat * (first.level[:, 0] - second.level[:, 0])) ** 2)


def weak_view(image: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Return one weakly augmented view of an image, uint8 (y, x, channel): what a copy of it may have gone through.

    One of: a shift of up to 1/32 of the side, noise of 5 grey values, brightness by up to 15 %, JPEG of quality 60 to 95, a crop of 93 % or
    more.
    """
    change, side = rng.choice(["shift", "noise", "brightness", "jpeg", "crop"]), image.shape[0]
    if change == "noise":
        return _clipped(image + rng.normal(0, 5, image.shape))
    if change == "brightness":
        return _clipped(image * rng.uniform(0.85, 1.15) + rng.uniform(-10, 10))
    if change == "jpeg":
        file = io.BytesIO()
        _as_picture(image).save(file, "JPEG", quality=int(rng.integers(60, 96)))
        return np.asarray(Image.open(file), np.uint8).reshape(image.shape)
    scale = 1.0 if change == "shift" else rng.uniform(0.93, 1.0)
    reach = (-side / 32, side / 32) if change == "shift" else (0.0, (1 - scale) * side)
    return cut_out(image, scale, *rng.uniform(*reach, 2))


def cut_out(image: np.ndarray, scale: float, y: float, x: float) -> np.ndarray:
    """Return the part of an image that begins at (y, x), in pixels, and has ``scale`` of its side, at full size; its edge repeats."""
    side, margin = image.shape[0], 2 + int(image.shape[0] / 16)
    padded = np.pad(image, ((margin, margin), (margin, margin), (0, 0)), mode="edge")
    place = (scale, 0, margin + x, 0, scale, margin + y)
    picture = _as_picture(padded).transform((side, side), Image.Transform.AFFINE, place, Image.Resampling.BILINEAR)
    return np.asarray(picture, np.uint8).reshape(image.shape)


def _along_tangents(first: np.ndarray, second: np.ndarray) -> np.ndarray:
    """Return what is left of the squared distance of images when the one is moved along tangents of shifts, scale and contrast."""
    middle = (first + second) / 2
    count, side = len(middle), middle.shape[1]
    along_y, along_x = np.zeros_like(middle), np.zeros_like(middle)
    along_y[:, 1:-1] = (middle[:, 2:] - middle[:, :-2]) / 2
    along_x[:, :, 1:-1] = (middle[:, :, 2:] - middle[:, :, :-2]) / 2
    place = np.arange(side, dtype=np.float32) - (side - 1) / 2
    scale = along_y * place[:, None] + along_x * place
    tangents = np.stack([part.reshape(count, -1) for part in (along_y, along_x, scale, middle)], axis=1)
    rest = (first - second).reshape(count, -1)
    products = tangents @ tangents.transpose(0, 2, 1)
    size = np.trace(products, axis1=1, axis2=2)[:, None, None]
    products += np.eye(4, dtype=np.float32) * (1e-3 * size + 1e-8)
    step = np.linalg.solve(products, tangents @ rest[..., None])[..., 0]
    step = np.clip(step, -_LIMITS, _LIMITS)
    moved = rest - (step[:, None] @ tangents)[:, 0]
    return np.minimum((moved**2).sum(axis=1), (rest**2).sum(axis=1))


def _averaged(images: np.ndarray, side: int) -> np.ndarray:
    """Average images (sample, y, x) over the areas of ``side`` x ``side`` pixels; smaller ones stay as they are."""
    by_y, by_x = (_blur(min(side, length)) @ _areas(length, min(side, length)) for length in images.shape[1:])
    return by_y @ images @ by_x.T


def _blur(length: int) -> np.ndarray:
    """Return the matrix of a Gaussian blur of ``BLUR`` pixels along one side, whose edge repeats, (pixel, pixel) float32."""
    return scipy.ndimage.gaussian_filter1d(np.eye(length, dtype=np.float32), BLUR, axis=0, mode="nearest", truncate=3)


def _areas(length: int, parts: int) -> np.ndarray:
    """Return the share of each pixel in each of ``parts`` equal stretches, (part, pixel) float32."""
    edges, pixels = np.linspace(0, length, parts + 1), np.arange(length)
    inside = np.minimum(edges[1:, None], pixels + 1) - np.maximum(edges[:-1, None], pixels)
    return (np.clip(inside, 0, None) * parts / length).astype(np.float32)


def _centred(grey: np.ndarray) -> np.ndarray:
    """Move the centre of contrast of thumbnails into the middle, around the edges."""
    sides = grey.shape[1:]
    weight = (grey - np.median(grey, axis=(1, 2), keepdims=True)) ** 2  # a plain background weighs nothing
    weight /= np.maximum(weight.sum(axis=(1, 2), keepdims=True), 1e-9)
    y, x = (
        (weight.sum(axis=other) * np.arange(side)).sum(axis=1) - (side - 1) / 2 for other, side in zip((2, 1), sides, strict=True)
    )
    turns = np.fft.fftfreq(sides[0])[:, None] * y[:, None, None] + np.fft.rfftfreq(sides[1]) * x[:, None, None]
    return scipy.fft.irfft2(scipy.fft.rfft2(grey) * np.exp(2j * np.pi * turns), s=sides).astype(np.float32)


def _as_picture(image: np.ndarray) -> Image.Image:
    return Image.fromarray(image[..., 0] if image.shape[2] == 1 else image)


def _clipped(values: np.ndarray) -> np.ndarray:
    return np.clip(np.rint(values), 0, 255).astype(np.uint8)
