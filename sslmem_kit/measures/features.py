"""Pooled representations of clean images, and the nearest among them."""

from __future__ import annotations

import tempfile

import numpy as np
import torch

from sslmem_kit.data.loader import ImageLoader, in_batches
from sslmem_kit.encoders.backbone import Encoder
from sslmem_kit.encoders.device import plain_float32

IN_MEMORY = 2**31
"""Size of representations, in bytes, beyond which they are kept on disk."""
QUERY_BLOCK = 512
"""Number of samples whose distances to all others are held at a time."""


@torch.inference_mode()
def pooled_features(encoder: Encoder, loader: ImageLoader, ids: np.ndarray, *, batch_size: int) -> np.ndarray:
    """Return pooled representations of clean images, (sample, feature) float32: the input of probes.

    More than :data:`IN_MEMORY` are in a temporary file (`numpy.memmap`), which goes with the array.
    """
    features, end = np.empty((0, 0), np.float32), 0
    with plain_float32():
        for images in loader.batches(in_batches(ids, batch_size)):
            part = encoder.pool(encoder(images)).float().cpu().numpy()
            if not end:
                features = _empty(len(ids), part.shape[1])
            features[end : end + len(part)] = part
            end += len(part)
    return features


def _empty(samples: int, width: int) -> np.ndarray:
    if 4 * samples * width <= IN_MEMORY:
        return np.empty((samples, width), np.float32)
    with tempfile.TemporaryFile() as file:
        return np.memmap(file, np.float32, "w+", shape=(samples, width))


@torch.inference_mode()
def nearest(features: np.ndarray, queries: np.ndarray, *, count: int, device: str) -> tuple[np.ndarray, np.ndarray]:
    """Return the nearest other samples of some samples, by l2 distance of l2-normalized features.

    Parameters
    ----------
    features
        (sample, feature) float32.
    queries
        Positions whose neighbours are sought, (query,).
    count
        Number of neighbours of each; fewer where there are fewer other samples.
    device
        Device on which distances are computed.

    Returns
    -------
    Positions (query, rank) int64 and distances (query, rank) float32, nearest first, equal distances by position.
    """
    units = torch.nn.functional.normalize(torch.from_numpy(features).to(device), dim=1)
    count = min(count, len(units) - 1)
    positions, distances = [], []
    for block in torch.from_numpy(queries).to(device).split(QUERY_BLOCK):
        similarity = units[block] @ units.T
        similarity.scatter_(1, block[:, None], -torch.inf)
        # Inner products lose the digits of small distances: they select twice as many, among which the distances themselves decide.
        found = similarity.topk(min(2 * count, len(units) - 1)).indices.sort(dim=1).values
        distance = torch.linalg.vector_norm(units[block][:, None] - units[found], dim=2)
        ascending = distance.sort(dim=1, stable=True)
        positions.append(found.gather(1, ascending.indices)[:, :count].cpu().numpy())
        distances.append(ascending.values[:, :count].cpu().numpy())
    return np.concatenate(positions), np.concatenate(distances)
