"""From stored images to uint8 squares of one size, in parallel threads.

An image becomes grey or RGB (16-bit grey is scaled, transparency goes on white, the camera's orientation is applied), is cropped to
its central square and resized by antialiased bilinear interpolation. A side that is reached without resizing leaves the pixels as
they are.
"""

import hashlib
from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from pathlib import Path

import numpy as np
from PIL import Image, ImageOps, UnidentifiedImageError

from sslmem_kit.errors import UserError
from sslmem_kit.machine import cores

GREY_MODES = frozenset({"1", "L", "LA", "I;16", "I;16B", "I"})
FORMATS = ("PNG", "JPEG")
"""The only decoders that are tried: others (EPS) would hand a renamed file to an external program."""
BLOCK_BYTES = 64 * 2**20

Items = Sequence[Path] | np.ndarray
Progress = Callable[[int, int], None]


@dataclass(frozen=True, eq=False)
class Lazy:
    """Images that are decoded whenever they are read: files, or an array (n, height, width, channels) of another size."""

    items: Items
    shape: tuple[int, int, int]

    def read(self, positions: np.ndarray) -> np.ndarray:
        """uint8 (m, *shape) of the images at ``positions``; UserError if a file can no longer be read."""
        out = np.empty((len(positions), *self.shape), dtype=np.uint8)
        wanted = [self.items[position] for position in positions]
        for row, image in enumerate(_in_threads(lambda item: decode(item, self.shape), wanted)):
            if isinstance(image, str):
                raise UserError(
                    f"image file {wanted[row]} can no longer be read ({image}); it was readable when the data was loaded"
                )
            out[row] = image
        return out


def inspect(items: Items) -> list[tuple[int, bool] | str]:
    """Shorter side in pixels and whether the image is grey, from the file's header; a str says why there is none."""
    if isinstance(items, np.ndarray):
        return [(min(items.shape[1:3]), items.shape[3] == 1)] * len(items)
    return _in_threads(_header, items)


def target_shape(
    headers: list[tuple[int, bool]], image_size: int | None, max_image_size: int, channels: int | None = None
) -> tuple[int, int, int]:
    """(side, side, channels) of a set: unless ``channels`` says otherwise, one channel only if every image is grey."""
    # squares of one size have that size as their median
    side = image_size or min(int(np.median([side for side, _ in headers]) + 0.5), max_image_size)
    return side, side, channels or (1 if all(grey for _, grey in headers) else 3)


def decode(item: Path | np.ndarray, shape: tuple[int, int, int]) -> np.ndarray:
    """One image as uint8 of ``shape`` (side, side, 1 or 3)."""
    if isinstance(item, np.ndarray):
        return _fit(Image.fromarray(item[..., 0] if item.shape[-1] == 1 else item), shape)
    with Image.open(item, formats=FORMATS) as image:
        return _fit(ImageOps.exif_transpose(image), shape)


def decode_all(
    items: Items, shape: tuple[int, int, int], *, keep: bool, progress: Progress | None = None
) -> tuple[np.ndarray | None, str, dict[int, str]]:
    """Decode every image once.

    Returns
    -------
    tuple
        The pixels, uint8 (n, *shape), or None unless ``keep``; the sha256 of the decodable images' pixels in order; for every
        position that could not be decoded, why (its row of pixels is undefined).
    """
    if isinstance(items, np.ndarray) and items.shape[1:] == shape:
        pixels = np.ascontiguousarray(items)
        return pixels, hashlib.sha256(pixels).hexdigest(), {}
    pixels = np.empty((len(items), *shape), dtype=np.uint8) if keep else None
    digest, failed = hashlib.sha256(), {}
    block = max(1, min(256, BLOCK_BYTES // int(np.prod(shape))))  # bounds what is decoded but not yet taken
    for start in range(0, len(items), block):
        images = _in_threads(lambda item: decode(item, shape), items[start : start + block])
        for position, image in enumerate(images, start):
            if isinstance(image, str):
                failed[position] = image
                continue
            digest.update(image)
            if pixels is not None:
                pixels[position] = image
        if progress is not None:
            progress(start + len(images), len(items))
    return pixels, digest.hexdigest(), failed


def _header(path: Path) -> tuple[int, bool]:
    with Image.open(path, formats=FORMATS) as image:
        return min(image.size), image.mode in GREY_MODES


def _fit(image: Image.Image, shape: tuple[int, int, int]) -> np.ndarray:
    image = _flat(image, "L" if shape[2] == 1 else "RGB")
    width, height = image.size
    side = min(width, height)
    left, top = (width - side) // 2, (height - side) // 2
    square = image.crop((left, top, left + side, top + side)).resize(shape[:2], Image.Resampling.BILINEAR)
    return np.asarray(square, dtype=np.uint8).reshape(shape)


def _flat(image: Image.Image, mode: str) -> Image.Image:
    if image.mode.startswith("I"):  # 16 bits; Pillow's own conversion clips at 255
        values = np.clip(np.asarray(image, dtype=np.float64), 0, 65535)
        image = Image.fromarray(np.rint(values / 257).astype(np.uint8))
    if image.has_transparency_data:
        image = image.convert("RGBA")
        image = Image.alpha_composite(Image.new("RGBA", image.size, "white"), image)
    return image.convert(mode)


def _in_threads(function: Callable, items: Items) -> list:
    """``function`` of every item, in order; in place of a result that failed, a str with the reason."""

    def attempt(item):
        try:
            return function(item)
        except MemoryError:
            raise
        except UnidentifiedImageError:
            return "not a PNG or JPEG image"
        except Exception as error:  # on broken bytes a decoder raises OSError, SyntaxError, struct.error ...
            return " ".join(str(getattr(error, "strerror", None) or error or type(error).__name__).split())

    # A pool per call costs a millisecond; a kept one would not survive a fork (PyTorch's data loaders, Dask).
    workers = min(32, cores(), max(1, len(items)))
    with ThreadPoolExecutor(workers) as pool:
        return list(pool.map(attempt, items))
