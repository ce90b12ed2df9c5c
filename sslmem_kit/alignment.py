"""Alignment: the distance between the representations of two views of a sample under an encoder (eq. 1).

d(x', x'') is the l2 distance between the l2-normalized representations, so it lies in [0, 2].
"""

from __future__ import annotations

import contextlib
from collections.abc import Iterator, Sequence
from typing import Protocol

import numpy as np
import torch
from torch import Tensor

from sslmem_kit.feed import Feed, in_batches
from sslmem_kit.policies import Policy
from sslmem_kit.store import view_pairs
from sslmem_kit.views import scored_view

QUERY_BLOCK = 512
"""Samples whose distances to all others are held at a time."""


class Represent(Protocol):
    """Anything that maps a batch of images [batch, channel, y, x] to representations [batch, ...]."""

    def __call__(self, images: Tensor, /) -> Tensor: ...


def pair_distances(representations: Sequence[Tensor]) -> Tensor:
    """Distances of all pairs of views.

    Parameters
    ----------
    representations
        One l2-normalized tensor a view, [sample, feature].

    Returns
    -------
    [sample, pair], pairs in the order of :func:`sslmem_kit.store.view_pairs`.
    """
    # The difference itself, not the expansion by inner products, which loses half of the digits where views are close.
    pairs = view_pairs(len(representations) - 1)
    return torch.stack([torch.linalg.vector_norm(representations[a] - representations[b], dim=1) for a, b in pairs], dim=1)


@torch.inference_mode()
def measure(
    represent: Represent,
    feed: Feed,
    ids: np.ndarray,
    *,
    views: int,
    policy: Policy,
    seed: int,
    batch_size: int,
    precision: str = "float32",
) -> np.ndarray:
    """Alignment of samples under one encoder.

    Parameters
    ----------
    represent
        The encoder, in evaluation mode.
    feed
        Where the images come from.
    ids
        Of the samples, (sample,).
    views
        Number of random views beside the clean image.
    policy, seed
        Of the views; the same for every encoder of a study.
    batch_size
        Samples in a forward pass.
    precision
        ``float32``, ``bf16`` or ``fp16`` (forward passes only, distances are float32).

    Returns
    -------
    (sample, augmentation) float32.
    """
    batches = in_batches(ids, batch_size)
    parts = []
    for chosen, images in zip(batches, feed.batches(batches), strict=True):
        keys = torch.from_numpy(chosen).to(images.device)
        representations = []
        for view in range(views + 1):
            with autocast(images.device.type, precision):
                output = represent(scored_view(images, keys, view=view, seed=seed, policy=policy))
            representations.append(torch.nn.functional.normalize(output.float().flatten(1), dim=1))
        parts.append(pair_distances(representations).cpu().numpy())
    return np.concatenate(parts) if parts else np.empty((0, len(view_pairs(views))), np.float32)


@torch.inference_mode()
def pooled_features(encoder: torch.nn.Module, feed: Feed, ids: np.ndarray, *, batch_size: int) -> np.ndarray:
    """Pooled representations of clean images, (sample, feature) float32: what probes are fitted on."""
    parts = []
    for images in feed.batches(in_batches(ids, batch_size)):
        parts.append(encoder.pool(encoder(images)).float().cpu().numpy())
    return np.concatenate(parts) if parts else np.empty((0, 0), np.float32)


@torch.inference_mode()
def scored_images(feed: Feed, ids: np.ndarray, *, views: int, policy: Policy, seed: int, batch_size: int) -> Iterator[np.ndarray]:
    """The views that :func:`measure` compares, as images: (sample, view, y, x, channel) uint8, a batch at a time."""
    batches = in_batches(ids, batch_size)
    for chosen, images in zip(batches, feed.batches(batches), strict=True):
        keys = torch.tensor(chosen, device=images.device)
        drawn = [scored_view(images, keys, view=view, seed=seed, policy=policy) for view in range(views + 1)]
        yield (torch.stack(drawn, dim=1) * 255).round().to(torch.uint8).permute(0, 1, 3, 4, 2).cpu().numpy()


@torch.inference_mode()
def nearest(features: np.ndarray, queries: np.ndarray, *, count: int, device: str) -> tuple[np.ndarray, np.ndarray]:
    """The nearest other samples of some samples, by l2 distance of l2-normalized features.

    Parameters
    ----------
    features
        (sample, feature) float32.
    queries
        Positions whose neighbours are sought, (query,).
    count
        Neighbours of each; fewer where there are fewer other samples.
    device
        Where distances are computed.

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
        # Inner products lose the digits of small distances: of twice as many the distances themselves decide.
        found = similarity.topk(min(2 * count, len(units) - 1)).indices.sort(dim=1).values
        distance = torch.linalg.vector_norm(units[block][:, None] - units[found], dim=2)
        ascending = distance.sort(dim=1, stable=True)
        positions.append(found.gather(1, ascending.indices)[:, :count].cpu().numpy())
        distances.append(ascending.values[:, :count].cpu().numpy())
    return np.concatenate(positions), np.concatenate(distances)


def autocast(device: str, precision: str) -> contextlib.AbstractContextManager[None]:
    """Mixed precision, or nothing for float32."""
    kinds = {"bf16": torch.bfloat16, "fp16": torch.float16}
    return torch.autocast(device, kinds[precision]) if precision in kinds else contextlib.nullcontext()
