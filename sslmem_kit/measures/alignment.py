"""Alignment: the distance between the representations of two views of a sample under an encoder (eq. 1).

d(x', x'') is the l2 distance between the l2-normalized representations, so it lies in [0, 2].
"""

from __future__ import annotations

import math
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from typing import Any

import numpy as np
import torch
from torch import Tensor

from sslmem_kit.data.loader import ImageLoader, in_batches
from sslmem_kit.encoders.device import autocast
from sslmem_kit.errors import UserError
from sslmem_kit.spec.policy import Policy
from sslmem_kit.store import view_pairs
from sslmem_kit.views import scored_view, several_views

VIEW_BATCH_BYTES = 2**24
"""Size of the views that are made at once."""
HELD_BYTES = 2**25
"""Size of the representations that a forward pass returns; of the last ones where it returns several."""
SEVERAL_BYTES = 2**29
"""Size of all of them together."""
CACHED_BYTES = 2**19
"""Size of the representations whose distances are computed at once."""
ALONE = ""
"""Name of representations that have none."""

Encode = Callable[[Tensor], Tensor | Mapping[str, Tensor]]
"""Function from a batch of views to representations [sample, ...], or several of them by name, such as those of layers."""

View = Callable[[Any, Tensor, int, int], Tensor]
"""``view(batch, ids, view, seed)`` -> that view of every sample of the batch; view 0 is the sample as it is. ``ids`` are int64 (sample,), on
the device of the batch where that is a tensor."""

MakeViews = Callable[[Any, Tensor], Sequence[Tensor]]
"""``make(batch, ids)`` -> all views of every sample of the batch, view 0 first."""


def pair_distances(representations: Sequence[Tensor] | Tensor) -> Tensor:
    """Return the distances of all pairs of views.

    Parameters
    ----------
    representations
        l2-normalized, [view, sample, feature].

    Returns
    -------
    [sample, pair], pairs in the order of :func:`sslmem_kit.store.view_pairs`.
    """
    # The difference itself, not the expansion by inner products, which loses half of the digits where views are close.
    units = torch.stack(tuple(representations)) if not isinstance(representations, Tensor) else representations
    firsts = range(len(units) - 1)
    return torch.cat([torch.linalg.vector_norm(units[first + 1 :] - units[first], dim=2) for first in firsts]).T


def align(
    encode: Encode,
    view: View,
    batches: Iterable[tuple[np.ndarray, Any]],
    *,
    views: int,
    seed: int,
    precision: str = "float32",
    device_type: str = "cpu",
    batch_size: int = 256,
) -> Iterator[np.ndarray | dict[str, np.ndarray]]:
    """Yield the alignment of samples of any kind under one encoder, a batch at a time.

    Parameters
    ----------
    encode
        The encoder, in evaluation mode.
    view
        Function that makes the views of a sample.
    batches
        Pairs of sample ids, int64 (sample,), and the samples themselves: anything of which ``batch[a:b]`` is a part.
    views
        Number of random views beside the sample as it is.
    seed
        Seed of the views; the same for every encoder that is compared.
    precision
        ``float32``, ``bf16`` or ``fp16`` (forward passes only, distances are float32). Half precision is never the default: on CPUs bf16 takes
        half of the time or less, and leaves the ranks of scores almost unchanged.
    device_type
        Device of the forward passes: ``cpu`` or ``cuda``.
    batch_size
        Views in a forward pass, at most; fewer where their representations are large.

    Yields
    ------
    (sample, augmentation) float32; a dict of them by name where ``encode`` returns several. Nothing for batches without samples.

    Raises
    ------
    UserError
        ``views`` is below 1, or ``view`` returns views of different shapes or devices.
    """
    if views < 1:
        raise UserError(f"views: got {views}, 1 or more random views are needed")

    def make(batch: Any, ids: Tensor) -> list[Tensor]:
        return make_all_views(view, batch, ids, views=views, seed=seed)

    return _align(encode, make, batches, precision=precision, device_type=device_type, batch_size=batch_size)


def make_all_views(view: View, batch: Any, ids: Tensor, *, views: int, seed: int) -> list[Tensor]:
    """Make all views of every sample of a batch by a view function, view 0 first; UserError where their shapes or devices differ."""
    made = [view(batch, ids, number, seed) for number in range(views + 1)]
    for number, other in enumerate(made):
        if (other.shape, other.device) != (made[0].shape, made[0].device):
            raise UserError(
                f"view: view {number} has the shape {tuple(other.shape)} on {other.device}, view 0 {tuple(made[0].shape)} on "
                f"{made[0].device}; all views of a batch need the same"
            )
    return made


def keys_of(ids: np.ndarray, batch: Any) -> Tensor:
    """Return the ids of a batch's samples as a tensor, on the device of the batch where that is a tensor."""
    keys = torch.tensor(np.asarray(ids, np.int64))
    return keys.to(batch.device) if isinstance(batch, Tensor) else keys


def views_in_a_pass(one: Iterable[Tensor], batch_size: int) -> int:
    """Return the number of views in a forward pass, at most ``batch_size``, by the representations of one, the full one last."""
    held = [value.nbytes for value in one]
    # The last, the full one, decides as long as memory allows: it is then bit-identical with layers beside it and without.
    return max(1, min(batch_size, HELD_BYTES // held[-1], SEVERAL_BYTES // sum(held)))


@torch.inference_mode()
def _align(
    encode: Encode, make: MakeViews, batches: Iterable[tuple[np.ndarray, Any]], *, precision: str, device_type: str, batch_size: int
) -> Iterator[np.ndarray | dict[str, np.ndarray]]:
    """Yield alignment as :func:`align`, for all views that ``make`` returns.

    All views of a sample go through the encoder together and are reduced to distances at once, so that memory depends neither on the
    number of samples nor on the size of batches. The first sample shows the size of views and representations.
    """

    def represent(views: Tensor) -> dict[str, Tensor]:
        with autocast(device_type, precision):
            output = encode(views)
        return {name: value.flatten(1) for name, value in (output if isinstance(output, Mapping) else {ALONE: output}).items()}

    made_at_once = in_a_pass = 0
    for ids, batch in batches:
        if not len(ids):
            continue
        keys = keys_of(ids, batch)
        if not made_at_once:
            first = make(batch[:1], keys[:1])
            made_at_once = max(1, VIEW_BATCH_BYTES // sum(view.nbytes for view in first))
            in_a_pass = views_in_a_pass(represent(first[0]).values(), batch_size)
        parts: dict[str, list[Tensor]] = {}
        for start in range(0, len(keys), made_at_once):
            part = slice(start, start + made_at_once)
            made = torch.stack(tuple(make(batch[part], keys[part])))
            passes = -(-made.shape[1] // max(1, in_a_pass // len(made)))
            for chunk in made.chunk(passes, dim=1):
                outputs = [represent(views) for views in chunk.flatten(0, 1).split(in_a_pass)]
                for name in list(outputs[0]):
                    values = [output.pop(name) for output in outputs]
                    joined = values[0] if len(values) == 1 else torch.cat(values)
                    parts.setdefault(name, []).append(_distances(joined.unflatten(0, chunk.shape[:2])))
        aligned = {name: torch.cat(values).cpu().numpy() for name, values in parts.items()}
        yield aligned[ALONE] if set(aligned) == {ALONE} else aligned


def _distances(representations: Tensor) -> Tensor:
    """Reduce representations as the encoder returns them, [view, sample, feature], to distances [sample, pair], float32."""
    slices = [representations]
    if representations.device.type == "cpu":  # a few samples at a time, that stay in its cache
        samples = representations.shape[1]
        slices = representations.split(max(1, CACHED_BYTES * samples // representations.nbytes), dim=1)
    return torch.cat([pair_distances(torch.nn.functional.normalize(chunk.float(), dim=2)) for chunk in slices])


def measure(
    represent: Encode,
    loader: ImageLoader,
    ids: np.ndarray,
    *,
    views: int,
    policy: Policy,
    seed: int,
    batch_size: int,
    precision: str = "float32",
) -> np.ndarray | dict[str, np.ndarray]:
    """Return the alignment of a study's samples under one encoder.

    Parameters
    ----------
    represent
        The encoder, in evaluation mode: images [batch, channel, y, x] -> representations [batch, ...], or several by name.
    loader
        Source of the images.
    ids
        Ids of the samples, (sample,).
    views
        Number of random views beside the clean image.
    policy, seed
        Policy and seed of the views; the same for every encoder of a study.
    batch_size
        Views in a forward pass, at most.
    precision
        ``float32``, ``bf16`` or ``fp16`` (forward passes only, distances are float32).

    Returns
    -------
    (sample, augmentation) float32; a dict of them by name where ``represent`` returns several, the last of which is the full one.
    """

    def make(images: Tensor, keys: Tensor) -> tuple[Tensor, ...]:
        return images, *several_views(images, keys, views=range(1, views + 1), seed=seed, policy=policy)

    image_bytes = 4 * math.prod(loader.dataset.image_shape)
    batches = in_batches(ids, max(1, VIEW_BATCH_BYTES // (image_bytes * (views + 1))))
    device = torch.device(loader.device).type
    pairs = zip(batches, loader.batches(batches), strict=True)
    parts = list(_align(represent, make, pairs, precision=precision, device_type=device, batch_size=batch_size))
    if parts and isinstance(parts[0], dict):
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return np.concatenate(parts) if parts else np.empty((0, len(view_pairs(views))), np.float32)


@torch.inference_mode()
def scored_images(
    loader: ImageLoader, ids: np.ndarray, *, views: int, policy: Policy, seed: int, batch_size: int
) -> Iterator[np.ndarray]:
    """Yield the views that :func:`measure` compares, as images: (sample, view, y, x, channel) uint8, a batch at a time."""
    batches = in_batches(ids, batch_size)
    for chosen, images in zip(batches, loader.batches(batches), strict=True):
        keys = torch.tensor(chosen, device=images.device)
        made = [scored_view(images, keys, view=view, seed=seed, policy=policy) for view in range(views + 1)]
        yield (torch.stack(made, dim=1) * 255).round().to(torch.uint8).permute(0, 1, 3, 4, 2).cpu().numpy()
