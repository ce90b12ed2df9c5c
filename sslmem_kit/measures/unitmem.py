"""Unit memorization: how much more a unit responds to one sample than to all others (UnitMem of Wang et al., NeurIPS 2024, arXiv 2409.19069).

The activation of unit u for a sample x is its mean over random views of x: mu_u(x) = E over x' ~ Aug(x) of activation_u(x'), for units
that come at several positions or tokens also over these. With mu_max the largest over samples and mu_-max the mean over all other samples,

    UnitMem(u) = (mu_max - mu_-max) / (mu_max + mu_-max),

0 for a unit that responds to all samples alike, 1 for one that responds to a single one; below 0 by chance alone. The authors' code measures
behind a ReLU, where nothing is negative; other layers have negative activations, of which the ratio makes no sense. Here activation is the
absolute value (as in C. Rossbach's carrying over of UnitMem to VAR): the same where nothing is negative, and of one sign everywhere. The
authors' code takes the median of the other samples; here it is the mean, as their paper has it.

The largest of many noisy means is too large: measured on the views that it was chosen by, UnitMem of units that respond to nothing but
noise is .26 to .69. So the strongest sample is chosen on one half of the views and measured on the other, both ways, and mu_max and
mu_-max are means of the two. Beside it stands a null, the same with a sample that is chosen at random: about zero for noise, below zero
for units that few samples excite, to which a random one is among the many below the mean.

Samples stream through once; only running sums and maxima are kept. Forward passes are sized as those of alignment are.
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
from sslmem_kit.store.schema import UNIT_RULE
from sslmem_kit.views import several_views

NO_SAMPLE = -1
"""Id in place of the strongest sample's, for a unit that responds to none."""

FEWEST_FOR_ERROR = 4
"""Views without any one of which both halves still have one."""


class Selectivity:
    """Accumulator of UnitMem for units whose activations come in batches of samples.

    Notes
    -----
    Halves are the first, third, ... view and the second, fourth, ... The standard error is a jackknife over the views: everything is
    computed again without each of them, the choice of the strongest sample included. It is NaN below four views, UnitMem itself for one.

    Examples
    --------
    >>> noise = np.random.default_rng(0).gamma(2.0, 1.0, (500, 6, 300))
    >>> selectivity = Selectivity()
    >>> selectivity.add(np.arange(500), noise)
    >>> found = selectivity.result()
    >>> abs(found["unit_mem"].mean().item()) < 0.05, abs(found["null"].mean().item()) < 0.05
    (True, True)
    """

    def __init__(self) -> None:
        self._count = self._views = 0

    def add(self, ids: np.ndarray, activations: np.ndarray) -> None:
        """Take in samples: ids (sample,), activations (sample, view, unit), not negative."""
        by_view = activations.astype(np.float64)
        if not self._count:
            self._start(*activations.shape[1:])
        self._count += len(ids)
        whole = by_view.mean(axis=1)
        strongest = _Chosen(whole.argmax(axis=0))
        better = strongest.of(whole) > self._highest  # the first of equally strong samples stays
        self._highest = np.where(better, strongest.of(whole), self._highest)
        self._strongest = np.where(better, ids[strongest.rows], self._strongest)
        if not self._halves:
            return
        random = _random(ids, activations.shape[2])
        for place, (choosing, measuring) in enumerate(self._halves):
            chosen_by, measured = by_view[:, choosing].mean(axis=1), by_view[:, measuring].mean(axis=1)
            self._sums[place] += measured.sum(axis=0)
            self._choose(place, chosen_by, measured)
            if place < 2:  # of all views
                self._choose(len(self._halves) + place, random, measured)

    def _start(self, views: int, units: int) -> None:
        self._views, every = views, np.arange(views)
        kept = [every, *(np.delete(every, view) for view in every if views >= FEWEST_FOR_ERROR)]
        halves = [(part[part % 2 == 0], part[part % 2 == 1]) for part in kept if views > 1]
        self._halves = [both for first, second in halves for both in ((first, second), (second, first))]
        self._highest, self._strongest = np.full(units, -np.inf), np.zeros(units, np.int64)
        self._sums = np.zeros((len(self._halves), units))
        # The last two are those of the null.
        self._best, self._measured = (np.full((len(self._halves) + 2, units), start) for start in (-np.inf, 0.0))

    def _choose(self, place: int, chosen_by: np.ndarray, measured: np.ndarray) -> None:
        """Keep, for each unit, what the sample with the highest ``chosen_by`` so far measures; both (sample, unit)."""
        chosen = _Chosen(chosen_by.argmax(axis=0))
        better = chosen.of(chosen_by) > self._best[place]
        self._best[place] = np.where(better, chosen.of(chosen_by), self._best[place])
        self._measured[place] = np.where(better, chosen.of(measured), self._measured[place])

    def result(self) -> xr.Dataset:
        """Return the results so far, on ``unit``.

        ``unit_mem``, its ``standard_error``, ``response`` (mu_max), ``background`` (mu_-max), ``strongest`` (a sample's id, by all views) and
        ``null``; the rule is in the attrs.
        """
        if self._count < 2:
            raise ValueError(f"the selectivity of a unit is among samples, there are {self._count}")
        unknown = np.full(len(self._highest), np.nan)
        columns = dict.fromkeys(("unit_mem", "standard_error", "response", "background", "null"), unknown)
        if self._halves:
            count = len(self._halves)
            response, background = self._means(self._measured[:count], self._sums)
            values, (null,) = _selectivity(response, background), _selectivity(*self._means(self._measured[count:], self._sums[:2]))
            columns |= {"unit_mem": values[0], "response": response[0], "background": background[0], "null": null}
            if len(values) > 1:
                spread = ((values[1:] - values[1:].mean(axis=0)) ** 2).sum(axis=0)
                columns["standard_error"] = np.sqrt((self._views - 1) / self._views * spread)
        strongest = np.where(self._highest > 0, self._strongest, NO_SAMPLE).astype(np.int64)
        return xr.Dataset(
            {**{name: (UNIT, column.astype(np.float32)) for name, column in columns.items()}, "strongest": (UNIT, strongest)},
            attrs={"rule": UNIT_RULE},
        )

    def _means(self, measured: np.ndarray, sums: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
        """Return responses and backgrounds, means of both ways round: (2 x choice, unit) -> (choice, unit) each."""
        others = np.maximum(sums - measured, 0) / (self._count - 1)
        return tuple(values.reshape(-1, 2, values.shape[1]).mean(axis=1) for values in (measured, others))


class _Chosen:
    """One sample of a batch for each unit: its rows, (unit,)."""

    def __init__(self, rows: np.ndarray) -> None:
        self.rows = rows

    def of(self, values: np.ndarray) -> np.ndarray:
        """Return the values of the chosen samples, (sample, unit) -> (unit,)."""
        return np.take_along_axis(values, self.rows[None], axis=0)[0]


def _selectivity(response: np.ndarray, background: np.ndarray) -> np.ndarray:
    """Return UnitMem; 0 for a unit that is never active, which is selective for nothing."""
    total = response + background
    return np.divide(response - background, total, out=np.zeros_like(total), where=total > 0)


def _random(ids: np.ndarray, units: int) -> np.ndarray:
    """Return a number in 0..1 for each sample and unit that depends on both alone, (sample, unit): SplitMix64 (Steele et al. 2014)."""
    golden = np.uint64(0x9E3779B97F4A7C15)
    with np.errstate(over="ignore"):
        state = _mixed(np.asarray(ids).astype(np.uint64) * golden)[:, None] + np.arange(1, units + 1, dtype=np.uint64) * golden
        return (_mixed(state) >> np.uint64(11)) * 2.0**-53


def _mixed(state: np.ndarray) -> np.ndarray:
    for shift, factor in ((30, 0xBF58476D1CE4E5B9), (27, 0x94D049BB133111EB)):
        state = (state ^ (state >> np.uint64(shift))) * np.uint64(factor)
    return state ^ (state >> np.uint64(31))


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
