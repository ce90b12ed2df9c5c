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

DRAWN_BYTES = 2**24
"""Of the views that are drawn at once."""
HELD_BYTES = 2**25
"""Of the representations that a forward pass gives; of the last ones where it gives several."""
SEVERAL_BYTES = 2**29
"""Of all of them together."""
CACHED_BYTES = 2**19
"""Of the representations whose distances are computed at once."""
ALONE = ""
"""Name of representations that have none."""

Encode = Callable[[Tensor], Tensor | Mapping[str, Tensor]]
"""A batch of views -> representations [sample, ...], or several of them by name, such as those of layers."""

View = Callable[[Any, Tensor, int, int], Tensor]
"""``view(batch, ids, view, seed)`` -> that view of every sample of the batch; view 0 is the sample as it is. ``ids`` are int64 (sample,), on
the device of the batch where that is a tensor."""

MakeViews = Callable[[Any, Tensor], Sequence[Tensor]]
"""``draw(batch, ids)`` -> all views of every sample of the batch, view 0 first."""


def pair_distances(representations: Sequence[Tensor] | Tensor) -> Tensor:
    """Distances of all pairs of views.

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
    """Alignment of samples of any kind under one encoder, a batch at a time.

    Parameters
    ----------
    encode
        The encoder, in evaluation mode.
    view
        What the views of a sample are.
    batches
        Pairs of sample ids, int64 (sample,), and the samples themselves: anything of which ``batch[a:b]`` is a part.
    views
        Number of random views beside the sample as it is.
    seed
        Of the views; the same for every encoder that is compared.
    precision
        ``float32``, ``bf16`` or ``fp16`` (forward passes only, distances are float32). float32 unless it is asked for: on CPUs bf16 takes
        half of the time or less, and leaves the ranks of scores all but as they are.
    device_type
        Where the forward passes are made: ``cpu`` or ``cuda``.
    batch_size
        Views in a forward pass, at most; fewer where their representations are large.

    Yields
    ------
    (sample, augmentation) float32; a dict of them by name where ``encode`` gives several. Nothing for batches without samples.

    Raises
    ------
    UserError
        ``views`` is below 1, or ``view`` gives views of different shapes or devices.
    """
    if views < 1:
        raise UserError(f"views: got {views}, 1 or more random views are needed")

    def draw(batch: Any, ids: Tensor) -> list[Tensor]:
        return draw_all(view, batch, ids, views=views, seed=seed)

    return _align(encode, draw, batches, precision=precision, device_type=device_type, batch_size=batch_size)


def draw_all(view: View, batch: Any, ids: Tensor, *, views: int, seed: int) -> list[Tensor]:
    """All views of every sample of a batch by a view function, view 0 first; a UserError where they are not alike."""
    drawn = [view(batch, ids, number, seed) for number in range(views + 1)]
    for number, other in enumerate(drawn):
        if (other.shape, other.device) != (drawn[0].shape, drawn[0].device):
            raise UserError(
                f"view: view {number} has the shape {tuple(other.shape)} on {other.device}, view 0 {tuple(drawn[0].shape)} on "
                f"{drawn[0].device}; all views of a batch need the same"
            )
    return drawn


def keys_of(ids: np.ndarray, batch: Any) -> Tensor:
    """The ids of a batch's samples as a tensor, on the device of the batch where that is a tensor."""
    keys = torch.from_numpy(np.asarray(ids, np.int64))
    return keys.to(batch.device) if isinstance(batch, Tensor) else keys


def views_in_a_pass(one: Iterable[Tensor], batch_size: int) -> int:
    """Views that go through an encoder together, at most ``batch_size``, by the representations of one, the whole output last."""
    held = [value.nbytes for value in one]
    # The last, the whole output, decides as long as memory allows: to the bit it is then the same with layers beside it and without.
    return max(1, min(batch_size, HELD_BYTES // held[-1], SEVERAL_BYTES // sum(held)))


@torch.inference_mode()
def _align(
    encode: Encode, draw: MakeViews, batches: Iterable[tuple[np.ndarray, Any]], *, precision: str, device_type: str, batch_size: int
) -> Iterator[np.ndarray | dict[str, np.ndarray]]:
    """:func:`align`, of all views that ``draw`` gives.

    All views of a sample go through the encoder together and leave their distances at once, so that what is held depends neither on the
    number of samples nor on how they come in batches. The first sample tells how large views and representations are.
    """

    def represent(views: Tensor) -> dict[str, Tensor]:
        with autocast(device_type, precision):
            output = encode(views)
        return {name: value.flatten(1) for name, value in (output if isinstance(output, Mapping) else {ALONE: output}).items()}

    drawn_at_once = 0
    for ids, batch in batches:
        if not len(ids):
            continue
        keys = keys_of(ids, batch)
        if not drawn_at_once:
            first = draw(batch[:1], keys[:1])
            drawn_at_once = max(1, DRAWN_BYTES // sum(view.nbytes for view in first))
            in_a_pass = views_in_a_pass(represent(first[0]).values(), batch_size)
        parts: dict[str, list[Tensor]] = {}
        for start in range(0, len(keys), drawn_at_once):
            part = slice(start, start + drawn_at_once)
            drawn = torch.stack(tuple(draw(batch[part], keys[part])))
            passes = -(-drawn.shape[1] // max(1, in_a_pass // len(drawn)))
            for few in drawn.chunk(passes, dim=1):
                outputs = [represent(views) for views in few.flatten(0, 1).split(in_a_pass)]
                for name in list(outputs[0]):
                    values = [output.pop(name) for output in outputs]
                    joined = values[0] if len(values) == 1 else torch.cat(values)
                    parts.setdefault(name, []).append(_distances(joined.unflatten(0, few.shape[:2])))
        aligned = {name: torch.cat(values).cpu().numpy() for name, values in parts.items()}
        yield aligned[ALONE] if set(aligned) == {ALONE} else aligned


def _distances(representations: Tensor) -> Tensor:
    """[view, sample, feature] as the encoder gives them -> [sample, pair], float32."""
    slices = [representations]
    if representations.device.type == "cpu":  # a few samples at a time, that stay in its cache
        samples = representations.shape[1]
        slices = representations.split(max(1, CACHED_BYTES * samples // representations.nbytes), dim=1)
    return torch.cat([pair_distances(torch.nn.functional.normalize(few.float(), dim=2)) for few in slices])


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
    """Alignment of a study's samples under one encoder.

    Parameters
    ----------
    represent
        The encoder, in evaluation mode: images [batch, channel, y, x] -> representations [batch, ...], or several by name.
    loader
        Where the images come from.
    ids
        Of the samples, (sample,).
    views
        Number of random views beside the clean image.
    policy, seed
        Of the views; the same for every encoder of a study.
    batch_size
        Views in a forward pass, at most.
    precision
        ``float32``, ``bf16`` or ``fp16`` (forward passes only, distances are float32).

    Returns
    -------
    (sample, augmentation) float32; a dict of them by name where ``represent`` gives several, the last of which is the whole output.
    """

    def draw(images: Tensor, keys: Tensor) -> tuple[Tensor, ...]:
        return images, *several_views(images, keys, views=range(1, views + 1), seed=seed, policy=policy)

    image_bytes = 4 * math.prod(loader.dataset.image_shape)
    batches = in_batches(ids, max(1, DRAWN_BYTES // (image_bytes * (views + 1))))
    device = torch.device(loader.device).type
    pairs = zip(batches, loader.batches(batches), strict=True)
    parts = list(_align(represent, draw, pairs, precision=precision, device_type=device, batch_size=batch_size))
    if parts and isinstance(parts[0], dict):
        return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}
    return np.concatenate(parts) if parts else np.empty((0, len(view_pairs(views))), np.float32)


@torch.inference_mode()
def scored_images(
    loader: ImageLoader, ids: np.ndarray, *, views: int, policy: Policy, seed: int, batch_size: int
) -> Iterator[np.ndarray]:
    """The views that :func:`measure` compares, as images: (sample, view, y, x, channel) uint8, a batch at a time."""
    batches = in_batches(ids, batch_size)
    for chosen, images in zip(batches, loader.batches(batches), strict=True):
        keys = torch.tensor(chosen, device=images.device)
        drawn = [scored_view(images, keys, view=view, seed=seed, policy=policy) for view in range(views + 1)]
        yield (torch.stack(drawn, dim=1) * 255).round().to(torch.uint8).permute(0, 1, 3, 4, 2).cpu().numpy()
