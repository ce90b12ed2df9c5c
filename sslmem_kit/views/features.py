"""Views of samples that are no images, a pure function of (seed, sample id, view) as those of images are."""

from __future__ import annotations

import torch
from torch import Tensor

from sslmem_kit.errors import UserError
from sslmem_kit.views.counter_rng import CounterRNG, sample_keys


def perturbed(batch: Tensor, ids: Tensor, view: int, seed: int, *, sigma: float = 0.2, dropout: float = 0.1) -> Tensor:
    """Add Gaussian noise to every number of a sample, and set some of its numbers to 0: for columns that are standardized.

    Parameters
    ----------
    batch
        Float[n, ...].
    ids
        Int64[n], the keys of the randomness.
    view
        0 is the batch as it is.
    seed
        Seed of the views.
    sigma
        Standard deviation of the noise.
    dropout
        Probability that a number is set to 0.

    Examples
    --------
    >>> batch, ids = torch.zeros(3, 5), torch.tensor([7, 8, 9])
    >>> torch.equal(perturbed(batch, ids, 1, 0)[1:], perturbed(batch[1:], ids[1:], 1, 0))
    True
    """
    if not batch.is_floating_point():
        raise UserError(f"view: the samples are {batch.dtype}, perturbed is for floating point numbers")
    if view == 0:
        return batch
    count = batch[0].numel()
    key = sample_keys(seed, ids.to(batch.device), view)
    # Half a step up, so that no quantile is infinite.
    noise = torch.special.ndtri(CounterRNG(key, 0).uniform(count) + 2.0**-54) * sigma
    kept = CounterRNG(key, 1).uniform(count) >= dropout
    return ((batch.reshape(len(batch), count) + noise.to(batch.dtype)) * kept).reshape(batch.shape)
