"""Alignment of any samples under any encoder, and checks of the user's functions."""

from __future__ import annotations

from typing import Any

import numpy as np
import torch
from torch import Tensor

from sslmem_kit.data.loader import ImageLoader
from sslmem_kit.encoders.device import autocast
from sslmem_kit.errors import UserError
from sslmem_kit.measures.alignment import View, align, keys_of, make_all_views, measure
from sslmem_kit.run.audit.samples import Samples
from sslmem_kit.run.audit.user_code import Encode, checked, error_text
from sslmem_kit.spec.scoring import ScoringSpec
from sslmem_kit.store import view_pairs
from sslmem_kit.views import scored_view

KNOWN_BY = 16
"""Number of samples whose views identify a view function."""


class Measure:
    """Alignment of samples by one view function or policy, the same for every encoder.

    Parameters
    ----------
    samples
        Samples to score.
    scoring
        Number of views, policy, batch size and precision.
    view
        ``view(batch, ids, view, seed)`` -> batch, view 0 the batch as it is; None: images by the policy.
    seed
        Seed of the views.
    device
        Device as PyTorch names it.

    Raises
    ------
    UserError
        The device does not support the precision; a view function that fails, returns something else, or is not a pure function of
        (seed, id, view).
    """

    def __init__(self, samples: Samples, scoring: ScoringSpec, *, view: View | None, seed: int, device: str) -> None:
        if scoring.precision == "fp16" and not device.startswith("cuda"):
            raise UserError("scoring.precision: 'fp16' is for GPUs, allowed on this device are float32 and bf16")
        self.samples, self.scoring, self.seed, self.device = samples, scoring, seed, device
        self.loader = ImageLoader(samples.dataset, device) if samples.dataset else None
        self.view = None if view is None else self._checked_view(view)
        self._first = self._first_views()

    def __call__(self, encode: Encode, ids: np.ndarray, *, field: str) -> np.ndarray:
        """Return the alignment of the samples ``ids`` under an encoder, (sample, augmentation) float32; ``field`` is its name in errors."""
        scoring, encode = self.scoring, checked(encode, field)
        with torch.inference_mode():
            if self.view is None:
                values = measure(
                    encode,
                    self.loader,
                    ids,
                    views=scoring.views,
                    policy=scoring.policy,
                    seed=self.seed,
                    batch_size=scoring.batch_size,
                    precision=scoring.precision,
                )
            else:
                parts = align(
                    encode,
                    self.view,
                    self.samples.batches(ids, scoring.batch_size, self.loader, self.device),
                    views=scoring.views,
                    seed=self.seed,
                    precision=scoring.precision,
                    device_type=torch.device(self.device).type,
                    batch_size=scoring.batch_size,
                )
                values = np.concatenate([np.empty((0, len(view_pairs(scoring.views))), np.float32), *parts])
        if not np.isfinite(values).all():
            raise UserError(
                f"{field}: it gives representations that are not finite, of {int((~np.isfinite(values)).any(axis=1).sum())} samples"
            )
        return values

    def output_format(self, encode: Encode, *, field: str) -> dict[str, Any]:
        """Return shape and precision of an encoder's representation of a sample, from a batch of two; one of a single sample must work, too."""
        encode = checked(encode, field)
        with torch.inference_mode(), autocast(torch.device(self.device).type, self.scoring.precision):
            features = encode(self._first)
            encode(self._first[:1])
        return {"representation": list(features.shape[1:]), "precision": str(features.dtype).removeprefix("torch.")}

    def view_statistics(self) -> list[float]:
        """Return numbers that identify a view function: mean, standard deviation and a sum with unequal weights of every view of samples
        from all of the data. Empty for policies, which the spec describes completely."""
        if self.view is None:
            return []
        chosen = self.samples.ids[np.unique(np.linspace(0, len(self.samples.ids) - 1, KNOWN_BY).astype(int))]
        ids, batch = next(iter(self.samples.batches(chosen, KNOWN_BY, self.loader, self.device)))
        numbers = []
        for view in make_all_views(self.view, batch, keys_of(ids, batch), views=self.scoring.views, seed=self.seed):
            values = view.reshape(len(view), -1).double().cpu()
            weights = torch.cos(torch.arange(values.shape[1], dtype=torch.float64))
            numbers += [values.mean(1), values.std(1, correction=0), values @ weights]
        return torch.cat(numbers).tolist()

    def _first_views(self) -> Tensor:
        """Return view 1 of the first two samples; with a view function make all views, which must have one shape, and view 1 of each sample
        alone, which must be the same."""
        ids, batch = next(iter(self.samples.batches(self.samples.ids[:2], 2, self.loader, self.device)))
        keys = keys_of(ids, batch)
        if self.view is None:
            return scored_view(batch, keys, view=1, seed=self.seed, policy=self.scoring.policy)
        both = make_all_views(self.view, batch, keys, views=self.scoring.views, seed=self.seed)[1]
        for place in range(2):
            own = slice(place, place + 1)
            alone = self.view(batch[own], keys[own], 1, self.seed)
            same = alone.shape == both[own].shape
            if not same or not torch.allclose(both[own].float(), alone.float(), rtol=1e-4, atol=1e-5, equal_nan=True):
                raise UserError(
                    "view: it makes other views of a sample alone than in a batch, or each time; it has to be a pure function of "
                    "(sample, id, view, seed), for instance by sslmem_kit.views.counter_rng"
                )
        return both

    @staticmethod
    def _checked_view(view: View) -> View:
        def checked_view(batch: Any, ids: Tensor, number: int, seed: int) -> Tensor:
            try:
                views = view(batch, ids, number, seed)
                views = views if isinstance(views, Tensor) else torch.as_tensor(views)
            except UserError:
                raise
            except Exception as error:
                raise UserError(f"view: view(batch, ids, view={number}, seed) has failed ({error_text(error)})") from error
            if not views.ndim or len(views) != len(ids):
                raise UserError(
                    f"view: it returns the shape {tuple(views.shape)} of {len(ids)} samples, one view per sample is needed"
                )
            return views

        return checked_view
