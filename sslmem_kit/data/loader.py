"""Images of a study on the device: held there as uint8 where the set is small, else read ahead of their use by a thread."""

from __future__ import annotations

from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from functools import lru_cache

import numpy as np
import torch
from torch import Tensor

from sslmem_kit.data import Dataset
from sslmem_kit.errors import UserError


class ImageLoader:
    """Batches of a data set's images as float [sample, channel, y, x] in [0, 1] on a device."""

    def __init__(self, dataset: Dataset, device: str) -> None:
        self.dataset = dataset
        self.device = device
        self._held = torch.from_numpy(dataset.read(dataset.ids)).to(device) if dataset.in_memory else None

    def batches(self, ids: Iterable[np.ndarray]) -> Iterator[Tensor]:
        """Yield the images of each array of ids, in order."""
        if self._held is not None:
            for chosen in ids:
                positions = torch.from_numpy(self.dataset.positions(chosen)).to(self.device)
                yield to_float(self._held[positions])
            return
        with ThreadPoolExecutor(1) as reader:
            ahead = None
            for chosen in ids:
                following = reader.submit(self.dataset.read, chosen)
                if ahead is not None:
                    yield self._send(ahead.result())
                ahead = following
            if ahead is not None:
                yield self._send(ahead.result())

    def _send(self, images: np.ndarray) -> Tensor:
        return to_float(torch.from_numpy(images).to(self.device, non_blocking=True))


def in_batches(ids: np.ndarray, size: int) -> list[np.ndarray]:
    """Cut ids into consecutive batches of at most ``size``."""
    return [ids[start : start + size] for start in range(0, len(ids), size)]


@lru_cache(maxsize=1)
def image_loader(dataset: Dataset, device: str) -> ImageLoader:
    """Return the one loader of this process: images are sent to the device once, however many encoders are trained there."""
    return ImageLoader(dataset, device)


def to_float(images: Tensor) -> Tensor:
    """Convert stored images UInt8[n, y, x, channel] to Float32[n, channel, y, x] in [0, 1].

    Raises `UserError` for another dtype or another number of dims.
    """
    if images.dtype != torch.uint8 or images.ndim != 4:
        raise UserError(f"images: got {images.dtype} of shape {tuple(images.shape)}, allowed is uint8 [sample, y, x, channel]")
    return images.permute(0, 3, 1, 2).to(torch.float32, memory_format=torch.contiguous_format) / 255
