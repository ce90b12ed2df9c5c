"""Decoding of stored images to uint8 squares of one size, in parallel threads.

An image becomes grey or RGB (16-bit grey is scaled, transparency goes on white, the camera's orientation is applied), is cropped to
its central square and resized by antialiased bilinear interpolation. A side that is reached without resizing leaves the pixels as
they are.

Only decoders of Pillow that work on bytes in memory are tried, never one that hands a file to another program (EPS, WMF). The size of
an image stands in its header: one that is larger than Pillow's own limit is refused before it is decoded, and only
`PIXELS_AT_ONCE` pixels are decoded at the same time.
"""

import hashlib
import os
import threading
import warnings
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import NamedTuple

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from sslmem_kit.errors import UserError

GREY_MODES = frozenset({"1", "L", "LA", "La", "I;16", "I;16B", "I;16L", "I;16N", "I"})
FORMATS = {
    "PNG": (".png", ".apng"),
    "JPEG": (".jpg", ".jpeg", ".jpe", ".jfif", ".mpo"),
    "WEBP": (".webp",),
    "TIFF": (".tif", ".tiff"),
    "BMP": (".bmp", ".dib"),
    "DIB": (),
    "GIF": (".gif",),
    "PPM": (".ppm", ".pgm", ".pbm", ".pnm"),
    "JPEG2000": (".jp2", ".j2k", ".jpx", ".jpf", ".jpc", ".j2c"),
    "AVIF": (".avif",),
    "QOI": (".qoi",),
}
"""The decoders of Pillow that are tried on a file, whatever its suffix, and the suffixes that mark files as images."""
SUFFIXES = tuple(suffix for suffixes in FORMATS.values() for suffix in suffixes)
BLOCK_BYTES = 64 * 2**20
PIXELS_AT_ONCE = 2**25
"""Pixels of files that are decoded at the same time; one image that has more is decoded alone."""

Items = Sequence[Path] | np.ndarray
Progress = Callable[[int, int], None]


class Header(NamedTuple):
    """Facts of a stored image that are known before it is decoded."""

    width: int
    height: int
    grey: bool
    format: str
    several: bool
    """True where it holds more than one frame or page; the first is read."""

    @property
    def side(self) -> int:
        """Return the shorter side in pixels."""
        return min(self.width, self.height)


@dataclass(frozen=True, eq=False)
class Lazy:
    """Images that are decoded whenever they are read: files, or an array (n, height, width, channels) of another size."""

    items: Items
    shape: tuple[int, int, int]

    def read(self, positions: np.ndarray) -> np.ndarray:
        """Return the images at ``positions``, uint8 (m, *shape); UserError if a file can no longer be read."""
        out = np.empty((len(positions), *self.shape), dtype=np.uint8)
        wanted = [self.items[position] for position in positions]
        for row, image in enumerate(_in_threads(lambda item: decode(item, self.shape), wanted)):
            if isinstance(image, str):
                raise UserError(
                    f"image file {wanted[row]} can no longer be read ({image}); it was readable when the data was loaded"
                )
            out[row] = image
        return out


class Noise:
    """Random images in place of those that are not there."""

    def __init__(self, shape: tuple[int, int, int]) -> None:
        self.shape = shape

    def read(self, positions: np.ndarray) -> np.ndarray:
        """Return random images, uint8 (m, *shape)."""
        return np.random.default_rng(0).integers(0, 256, (len(positions), *self.shape), dtype=np.uint8)


def inspect(items: Items) -> list[Header | str]:
    """Return the header of every image, or a str with the reason why there is none."""
    if isinstance(items, np.ndarray):
        _, height, width, channels = items.shape
        return [Header(width, height, channels == 1, "array", False)] * len(items)
    with warnings.catch_warnings():
        # Of an image that is refused below.
        warnings.simplefilter("ignore", Image.DecompressionBombWarning)
        return _in_threads(_header, items)


def target_shape(
    headers: list[Header], image_size: int | None, max_image_size: int, channels: int | None = None
) -> tuple[int, int, int]:
    """Return (side, side, channels) of a set: unless ``channels`` says otherwise, one channel only if every image is grey."""
    # squares of one size have that size as their median
    side = image_size or min(int(np.median([header.side for header in headers]) + 0.5), max_image_size)
    return side, side, channels or (1 if all(header.grey for header in headers) else 3)


def decode(item: Path | np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """Return one image as uint8 of ``shape`` (side, side, 1 or 3)."""
    if isinstance(item, np.ndarray):
        return _fit(Image.fromarray(item[..., 0] if item.shape[-1] == 1 else item), shape)
    with _opened(item) as image, _room_for(image.width * image.height):
        ImageOps.exif_transpose(image, in_place=True)
        return _fit(image, shape)


def decode_all(
    items: Items, shape: tuple[int, int, int], *, keep: bool, progress: Progress | None = None
) -> tuple[np.ndarray | None, str, np.ndarray, dict[int, str]]:
    """Decode every image once.

    Returns
    -------
    tuple
        The pixels, uint8 (n, *shape), or None unless ``keep``; the sha256 of the decodable images' pixels in order; `pixel_key` of every
        image, uint64 (n,); for every position that could not be decoded, the reason (its pixels and key are undefined).
    """
    keys = np.zeros(len(items), dtype=np.uint64)
    if isinstance(items, np.ndarray) and items.shape[1:] == shape:
        pixels = np.ascontiguousarray(items)
        keys[:] = [pixel_key(image) for image in pixels]
        return pixels, hashlib.sha256(pixels).hexdigest(), keys, {}
    pixels = np.empty((len(items), *shape), dtype=np.uint8) if keep else None
    digest, failed = hashlib.sha256(), {}
    block = max(1, min(256, BLOCK_BYTES // int(np.prod(shape))))  # bounds what is decoded but not yet taken

    def decode_one(item: Path | np.ndarray) -> tuple[np.ndarray, int]:
        image = decode(item, shape)
        return image, pixel_key(image)

    for start in range(0, len(items), block):
        answers = _in_threads(decode_one, items[start : start + block])
        for position, answer in enumerate(answers, start):
            if isinstance(answer, str):
                failed[position] = answer
                continue
            image, keys[position] = answer
            digest.update(image)
            if pixels is not None:
                pixels[position] = image
        if progress is not None:
            progress(start + len(answers), len(items))
    return pixels, digest.hexdigest(), keys, failed


def pixel_key(image: np.ndarray | bytes) -> int:
    """Return 64 bits that images of one shape share if their pixels are the same, and else with a probability of only 5e-20."""
    return int.from_bytes(hashlib.blake2b(image, digest_size=8).digest())


def _header(path: Path) -> Header:
    with _opened(path) as image:
        # Animated GIF and TIFF record that there are more frames, without all of them being read.
        return Header(*image.size, image.mode in GREY_MODES, image.format, bool(getattr(image, "is_animated", False)))


def _opened(path: Path) -> Image.Image:
    """Open an image file; only its header is read."""
    try:
        image = Image.open(path, formats=tuple(FORMATS))
    except Image.DecompressionBombError as error:  # more than twice the limit
        raise ValueError(str(error).split(", ")[0]) from None
    limit = Image.MAX_IMAGE_PIXELS
    if limit and image.width * image.height > limit:
        image.close()
        raise ValueError(f"{image.width:,} x {image.height:,} pixels, at most {limit:,} are decoded")
    return image


_pixels_free, _pixels_changed = [PIXELS_AT_ONCE], threading.Condition()


@contextmanager
def _room_for(pixels: int) -> Iterator[None]:
    """Wait until so many more pixels may be decoded beside those being decoded."""
    pixels = min(pixels, PIXELS_AT_ONCE)
    with _pixels_changed:
        _pixels_changed.wait_for(lambda: _pixels_free[0] >= pixels)
        _pixels_free[0] -= pixels
    try:
        yield
    finally:
        with _pixels_changed:
            _pixels_free[0] += pixels
            _pixels_changed.notify_all()


def _fit(image: Image.Image, shape: tuple[int, int, int]) -> np.ndarray:
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    image = _flat(image, "L" if shape[2] == 1 else "RGB")
    square = image.crop((left, top, left + side, top + side)).resize(shape[:2], Image.Resampling.BILINEAR)
    return np.asarray(square, dtype=np.uint8).reshape(shape)


def _flat(image: Image.Image, mode: str) -> Image.Image:
    if image.mode == "F":
        raise ValueError("its pixels are floating-point numbers, of which nothing says what is black and white; store 8 or 16 bits")
    if image.mode.startswith("I"):  # 16 bits; Pillow's own conversion clips at 255
        values = np.asarray(image, dtype=np.float64)
        if values.min() < 0 or values.max() > 65535:
            raise ValueError(
                f"its pixels go from {values.min():.0f} to {values.max():.0f}, only 0 to 65535 are read; store 8 or 16 bits"
            )
        image = Image.fromarray(np.rint(values / 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


def _in_threads(function: Callable, items: Items) -> list:
    """Apply ``function`` to every item, in order; a str with the reason stands in place of a result that failed."""

    def attempt(item):
        try:
            return function(item)
        except MemoryError:
            raise
        except UnidentifiedImageError:
            return "not an image in a format that is read"
        except Exception as error:  # on broken bytes a decoder raises OSError, SyntaxError, struct.error ...
            return " ".join(str(getattr(error, "strerror", None) or error or type(error).__name__).split())

    # A pool per call costs a millisecond; a kept one would not survive a fork (PyTorch's data loaders, Dask).
    workers = min(32, cores(), max(1, len(items)))
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(attempt, items))


def cores() -> int:
    """Return the number of cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1
