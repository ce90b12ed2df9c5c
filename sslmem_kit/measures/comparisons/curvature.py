"""Curvature of the alignment loss in the input (Garg and Roy 2023): how sharply a sample's loss bends around it.

With l(x) the loss of two views as a function of their pixels, H its Hessian, and v random signs (Hutchinson),

    curvature = E |H v|^2 = tr(H^2),        H v = (grad l(x + h v) - grad l(x)) / h + O(h)

of which the mean over few v is taken. The loss is d^2 / 2 = 1 - cos of eq. 1's distance: the Hessian of d itself grows as 1 / d where views
agree, and would measure d once more. The authors take the mean over states of the training; here it is the final encoder's.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import torch
import xarray as xr
from torch import Tensor
from torch.nn.functional import normalize

from sslmem_kit.data.loader import in_batches
from sslmem_kit.encoders.device import plain_float32
from sslmem_kit.measures.comparisons.subject import Subject
from sslmem_kit.names import SAMPLE
from sslmem_kit.spec.comparisons import CurvatureSpec
from sslmem_kit.spec.seeds import derive_seed
from sslmem_kit.views import CounterRNG, sample_keys, several_views


def measure(subject: Subject, options: CurvatureSpec) -> xr.Dataset:
    """Return ``trace(sample)``, the mean over pairs of views and directions."""
    spec, policy, found = subject.spec, subject.spec.scoring.policy, []
    assert policy is not None  # of a resolved spec
    batches = in_batches(subject.ids, max(1, spec.scoring.batch_size // 2))
    with plain_float32():
        for ids, images in zip(batches, subject.loader.batches(batches), strict=True):
            keys = torch.from_numpy(ids).to(images.device)
            total = np.zeros(len(ids))
            for pair in range(options.pairs):
                numbers = (1 + 2 * pair, 2 + 2 * pair)
                views = torch.stack(several_views(images, keys, views=numbers, seed=spec.view_seed, policy=policy), dim=1)
                seed = derive_seed(spec.seed, "curvature", pair)
                total += squared_hessian(
                    lambda pixels: alignment_loss(subject.encoder, pixels), views, keys, options=options, seed=seed
                )
            found.append(total / options.pairs)
    return xr.Dataset({"trace": (SAMPLE, np.concatenate(found))}, {SAMPLE: subject.ids})


def alignment_loss(encoder: Callable[[Tensor], Tensor], views: Tensor) -> Tensor:
    """Return 1 - cos between the representations of two views, [sample, 2, channel, y, x] -> [sample]."""
    first, second = (normalize(encoder(view).float().flatten(1), dim=1) for view in views.unbind(dim=1))
    return (first - second).square().sum(dim=1) / 2


def squared_hessian(
    loss: Callable[[Tensor], Tensor], inputs: Tensor, keys: Tensor, *, options: CurvatureSpec, seed: int
) -> np.ndarray:
    """Return the mean of |H v|^2 over random signs v, for the Hessian H of each sample's loss in its input.

    Parameters
    ----------
    loss
        Function from inputs [sample, ...] to the losses of these samples alone, [sample].
    inputs, keys
        Inputs, and the keys of each sample's randomness, [sample] int64.
    options
        ``directions``, the number of v, and ``step``, h.
    seed
        Seed of the directions.

    Returns
    -------
    (sample,) float64.

    Examples
    --------
    >>> options = CurvatureSpec(name="curvature", directions=2)
    >>> scales = torch.tensor([1.0, 2.0, 3.0])
    >>> squared_hessian(lambda x: (scales * x**2).sum(1) / 2, torch.rand(2, 3), torch.arange(2), options=options, seed=0).round(2)
    array([14., 14.])
    """
    at_inputs = _gradient(loss, inputs)
    total = torch.zeros(len(inputs), dtype=torch.float64, device=inputs.device)
    for number in range(options.directions):
        bits = CounterRNG(sample_keys(seed, keys, number)).bits(inputs[0].numel())
        signs = (1 - 2 * (bits & 1).to(inputs.dtype)).view_as(inputs)
        moved = _gradient(loss, inputs + options.step * signs)
        total += ((moved - at_inputs).double() / options.step).flatten(1).square().sum(dim=1)
    return (total / options.directions).cpu().numpy()


def _gradient(loss: Callable[[Tensor], Tensor], inputs: Tensor) -> Tensor:
    inputs = inputs.detach().requires_grad_(True)
    with torch.enable_grad():
        (gradient,) = torch.autograd.grad(loss(inputs).sum(), inputs)
    return gradient
