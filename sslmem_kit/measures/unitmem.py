"""Unit memorization: how much more a unit responds to one sample than to all others (UnitMem of Wang et al., NeurIPS 2024, arXiv 2409.19069).

The activation of unit u for a sample x is its mean over random views of x: mu_u(x) = E over x' ~ Aug(x) of activation_u(x'), for units
that come at several positions or tokens also over these. With mu_max the largest over samples and mu_-max the mean over all other samples,

    UnitMem(u) = (mu_max - mu_-max) / (mu_max + mu_-max),

0 for a unit that responds to all samples alike, 1 for one that responds to a single one. The authors' code measures behind a ReLU, where
nothing is negative; other layers have negative activations, of which the ratio makes no sense. Here activation is the absolute value (as in
C. Rossbach's carrying over of UnitMem to VAR): the same where nothing is negative, and between 0 and 1 everywhere. The authors' code takes the
median of the other samples; here it is the mean, as their paper has it.

Samples stream through once; only a running sum and a running maximum are kept. Forward passes are sized as those of alignment are.
"""

from __future__ import annotations

import math

import numpy as np
import torch
import xarray as xr

from sslmem_kit.data.loader import ImageLoader, in_batches
from sslmem_kit.encoders.device import autocast
from sslmem_kit.encoders.layers import Layered
from sslmem_kit.measures.alignment import VIEW_BATCH_BYTES, keys_of, views_in_a_pass
from sslmem_kit.names import CHANNEL, LAYER, UNIT
from sslmem_kit.spec.policy import Policy
from sslmem_kit.views import several_views

NO_SAMPLE = -1
"""Id in place of the strongest sample's, for a unit that responds to none."""


class Selectivity:
    """Accumulator of UnitMem for units whose activations come in batches of samples.

    Notes
    -----
    The standard error is a jackknife over the views: everything is computed again without each of them, the choice of the strongest sample
    included. It is NaN for one view. The largest of many noisy means is too large on average; the error does not contain that.
    """

    def __init__(self) -> None:
        self._count = 0
        self._sums = self._highest = self._strongest = np.empty(0)

    def add(self, ids: np.ndarray, activations: np.ndarray) -> None:
        """Take in samples: ids (sample,), activations (sample, view, unit), not negative."""
        views = activations.shape[1]
        by_view = activations.astype(np.float64)
        whole = by_view.mean(axis=1, keepdims=True)
        without = (whole * views - by_view) / (views - 1) if views > 1 else by_view[:, :0]
        means = np.concatenate([whole, without], axis=1)
        strongest, highest = ids[means[:, 0].argmax(axis=0)], means.max(axis=0)
        if self._count:
            # The first of equally strong samples stays.
            strongest = np.where(highest[0] > self._highest[0], strongest, self._strongest)
            highest = np.maximum(highest, self._highest)
            means = np.concatenate([self._sums[None], means])
        self._sums, self._highest, self._strongest = means.sum(axis=0), highest, strongest
        self._count += len(ids)

    def result(self) -> xr.Dataset:
        """Return the results so far, on ``unit``.

        ``unit_mem``, its ``standard_error``, ``response`` (mu_max), ``background`` (mu_-max), ``strongest`` (a sample's id).
        """
        if self._count < 2:
            raise ValueError(f"the selectivity of a unit is among samples, there are {self._count}")
        highest, background = self._highest, np.maximum(self._sums - self._highest, 0) / (self._count - 1)
        total = highest + background
        # A unit that is never active is selective for nothing.
        values = np.divide(highest - background, total, out=np.zeros_like(total), where=total > 0)
        left_out = values[1:]
        views = len(left_out)
        spread = ((left_out - left_out.mean(axis=0)) ** 2).sum(axis=0) if views else np.full(len(values[0]), np.nan)
        columns = {
            "unit_mem": values[0],
            "standard_error": np.sqrt((views - 1) / max(views, 1) * spread),
            "response": highest[0],
            "background": background[0],
        }
        strongest = np.where(highest[0] > 0, self._strongest, NO_SAMPLE).astype(np.int64)
        return xr.Dataset(
            {**{name: (UNIT, column.astype(np.float32)) for name, column in columns.items()}, "strongest": (UNIT, strongest)}
        )


@torch.inference_mode()
def measure_units(
    layered: Layered,
    loader: ImageLoader,
    ids: np.ndarray,
    *,
    views: int,
    policy: Policy,
    seed: int,
    batch_size: int,
    precision: str = "float32",
) -> xr.Dataset:
    """Return UnitMem of every unit of every layer of an encoder, over the random views that are scored.

    Parameters
    ----------
    layered
        The encoder with its layers.
    loader, ids
        Ids of the samples and the source of their images.
    views, policy, seed
        Number, policy and seed of the random views; the clean image is excluded.
    batch_size
        Views in a forward pass, at most; fewer where their representations are large.
    precision
        ``float32``, ``bf16`` or ``fp16`` (forward passes only).

    Returns
    -------
    Dataset of :meth:`Selectivity.result` with coordinates ``layer`` and ``channel`` on ``unit``: of maps the channel, of tokens the feature.
    """
    selectivity = Selectivity()
    image_bytes = 4 * math.prod(loader.dataset.image_shape)
    batches = in_batches(ids, max(1, min(batch_size, VIEW_BATCH_BYTES // image_bytes) // views))
    in_a_pass = 0
    for chosen, images in zip(batches, loader.batches(batches), strict=True):
        keys = keys_of(chosen, images)
        made = torch.cat(several_views(images, keys, views=range(1, views + 1), seed=seed, policy=policy))
        with autocast(images.device.type, precision):
            in_a_pass = in_a_pass or views_in_a_pass(layered(made[:1]).values(), batch_size)
            activations = torch.cat([layered.activations(part) for part in made.split(in_a_pass)])
        selectivity.add(chosen, activations.unflatten(0, (views, -1)).transpose(0, 1).cpu().numpy())
    layers = np.repeat(list(layered.channels), list(layered.channels.values()))
    channels = np.concatenate([np.arange(count) for count in layered.channels.values()])
    return selectivity.result().assign_coords({LAYER: (UNIT, layers), CHANNEL: (UNIT, channels)})
