"""DP-SGD (Abadi et al. 2016): every sample's gradient is clipped, the sum gets Gaussian noise. The paper's Table 5.

What is promised: two training sets that differ in one sample, added or taken away, give weights whose distributions are (epsilon,
delta)-close: P(weights in A) <= exp(epsilon) P'(weights in A) + delta for every set A of weights. So delta is the probability with which
the bound by epsilon may fail, and has to stay below 1 / samples. A step of it, over batches B that take each sample with probability
q = batch / samples:

    gradient = (sum over i in B of g_i min(1, C / |g_i|) + sigma C N(0, 1)) / batch

A sample's views, masks and label go into its own g_i alone, so the promise is one for samples, whatever the augmentations. It is made for
the weights of *one* encoder. Noise and batches come from a generator that the operating system seeds anew in every process (128 bits),
and nothing of them is kept: they do not follow from the study's seed, f and g have their own, and a private training cannot be repeated
to the bit. One that was interrupted resumes from its last checkpoint with fresh ones; the steps that it had taken since are discarded
and taken again, and count once, for their weights were never written. The generator (PCG64) is a good but no cryptographic one.

Outside of the promise are: the encoders of a study together, the channel means and standard deviations that normalize the images, the
choice of hyper-parameters, the losses and probe accuracies in the history, the scores and images in the store, the checkpoint of a training
that is not finished, and the rounding of floating-point noise. Studies of earlier versions took noise and batches from the seed that
their study.yaml holds: who reads it knows them, and epsilon promises nothing.
"""

from __future__ import annotations

import functools
import math
import warnings

import numpy as np
import torch
from torch import Tensor
from torch.nn.modules.batchnorm import _BatchNorm

from sslmem_kit.errors import UserError, require
from sslmem_kit.spec.training import Precision, PrivacySpec
from sslmem_kit.training.objectives.base import Batch, Objective
from sslmem_kit.training.sample_gradients import sample_gradients, trained


class PrivateGradients:
    """Private gradients of an objective.

    Parameters
    ----------
    objective
        Objective whose loss of a batch is the mean of the losses of its samples alone.
    spec
        Wanted epsilon and delta, and the clipping norm C.
    samples
        Number of samples that a family trains on.
    batch
        Expected number of samples in an optimizer step.
    steps
        Number of optimizer steps of the whole training.
    precision
        Precision of the passes through the objective; gradients are clipped and added up in float32.

    Raises
    ------
    UserError
        The objective holds batch norm, delta is too large for the number of samples, or a batch is all of them.
    """

    def __init__(
        self,
        objective: Objective,
        spec: PrivacySpec,
        *,
        samples: int,
        batch: int,
        steps: int,
        precision: Precision = "float32",
    ) -> None:
        _refuse_batch_norm(objective)
        if spec.delta >= 1 / samples:
            raise UserError(
                f"training.privacy.delta: {spec.delta} has to be below 1 / {samples} = {1 / samples:.1e}, one over the samples that a "
                "family trains on: a delta so large lets a sample be given away whole"
            )
        if batch >= samples:
            raise UserError(
                f"training.batch_size: a step of {batch} takes all of the {samples} samples that a family trains on, "
                "training.privacy needs a random part of them, so give fewer"
            )
        self.objective = objective
        self.spec = spec
        self.precision = precision
        self.batch = batch
        self.rate = batch / samples
        self.noise_multiplier = noise_multiplier(spec.epsilon, spec.delta, rate=self.rate, steps=steps)
        self._random = np.random.default_rng()  # seeded by the operating system; torch's own takes 32 bits of a seed on the CPU

    def sample_batch(self, occupied: Tensor) -> Tensor:
        """Select a random batch.

        Parameters
        ----------
        occupied
            Bool[slot], True for slots that hold a sample.

        Returns
        -------
        Tensor
            Int64[batch], ascending slots, each occupied one with probability ``rate``; it may be empty.
        """
        uniform = torch.from_numpy(self._random.random(len(occupied)))
        return ((uniform < self.rate) & occupied).nonzero().flatten()

    def backward(self, batch: Batch | None) -> Tensor:
        """Set the ``grad`` of all trained parameters.

        Parameters
        ----------
        batch
            Samples that were selected for this step; None where there are none: the step is made of noise alone.

        Returns
        -------
        Tensor
            [], the sum of the losses over the expected batch size: its mean over steps is the mean loss.
        """
        parameters = dict(trained(self.objective))
        device = next(iter(parameters.values())).device
        total = {name: torch.zeros_like(parameter) for name, parameter in parameters.items()}
        loss = torch.zeros((), device=device)
        for gradients, losses in sample_gradients(self.objective, batch, self.precision) if batch else ():
            share = clip_factors(gradients, self.spec.clip_norm)
            for name, gradient in gradients.items():
                total[name] += torch.tensordot(share, gradient, 1)
            loss += losses.sum()
        for name, parameter in parameters.items():
            noise = torch.from_numpy(self._random.standard_normal(tuple(parameter.shape), dtype=np.float32)).to(device)
            parameter.grad = (total[name] + self.noise_multiplier * self.spec.clip_norm * noise) / self.batch
        return loss / self.batch

    def privacy_spent(self, steps: int) -> tuple[float, float]:
        """Return (epsilon, delta) of the weights after ``steps`` steps."""
        if not steps:
            return 0.0, self.spec.delta
        error = accuracy(self.spec.epsilon)
        return spent_epsilon(self.noise_multiplier, self.spec.delta, rate=self.rate, steps=steps, error=error), self.spec.delta


def clip_factors(gradients: dict[str, Tensor], clip_norm: float) -> Tensor:
    """Return the factors [sample] that clip the norm of each sample's whole gradient at ``clip_norm``; 1 where it is smaller."""
    norms = torch.stack([gradient.flatten(1).norm(dim=1) for gradient in gradients.values()], dim=1).norm(dim=1)
    return (clip_norm / norms).clamp(max=1)


@functools.lru_cache
def noise_multiplier(epsilon: float, delta: float, *, rate: float, steps: int) -> float:
    """Return the least sigma, to 0.3 %, with which ``steps`` steps at sampling rate ``rate`` are (epsilon, delta)-private."""

    def enough(sigma: float) -> bool:
        return spent_epsilon(sigma, delta, rate=rate, steps=steps, error=accuracy(epsilon)) <= epsilon

    # The accountant's work explodes where sigma is far too small, so the search never goes below half of what is needed.
    high = 1.0
    while not enough(high):
        high *= 2
    low = high / 2
    while enough(low):
        low, high = low / 2, low
    while high / low > 1.003:
        middle = math.sqrt(low * high)
        if enough(middle):
            high = middle
        else:
            low = middle
    return high


def accuracy(epsilon: float) -> float:
    """Return the error that the accountant's epsilon may have: half a percent of the wanted one; a smaller error takes it longer."""
    return max(epsilon / 200, 1e-3)


def spent_epsilon(sigma: float, delta: float, *, rate: float, steps: int, error: float) -> float:
    """Return an upper bound of epsilon after ``steps`` steps, by composition of privacy loss variables (Gopi et al. 2021)."""
    require("opacus")
    from opacus.accountants import PRVAccountant  # takes seconds to import, and only private training needs it

    accountant = PRVAccountant()
    accountant.history = [(sigma, rate, steps)]
    with warnings.catch_warnings(), np.errstate(over="ignore", invalid="raise"):
        # It sizes its grid by Renyi orders of a fixed list; that the best is at an end of the list makes the grid larger, not wrong.
        warnings.filterwarnings("ignore", message="Optimal order is the", category=UserWarning)
        try:
            return float(accountant.get_epsilon(delta, eps_error=error))
        except FloatingPointError:  # so little noise that the accountant's numbers overflow: there is no bound
            return math.inf


def _refuse_batch_norm(objective: Objective) -> None:
    for name, module in objective.named_modules():
        if isinstance(module, _BatchNorm):
            raise UserError(
                f"encoder.backbone: batch norm ({name}) mixes samples, training.privacy needs a backbone without it: a ViT, or a network "
                "with group norm (resnet50_gn)"
            )
