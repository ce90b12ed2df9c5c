"""Linear probing: a linear classifier of frozen, pooled, standardized representations.

``logistic`` solves multinomial logistic regression with an l2 penalty to its optimum (:mod:`.logistic`). ``sgd`` trains the same model, without
a penalty, by mini-batches on the device, as the paper's Table 6 does (LARS, cosine decay after a linear warm-up).
"""

from __future__ import annotations

import math

import numpy as np
import torch
from timm.optim.lars import Lars
from torch import Tensor

from sslmem_kit.errors import UserError
from sslmem_kit.measures.downstream.logistic import blocks, fit_logistic, moments
from sslmem_kit.spec.downstream import LogisticProbeSpec, SGDProbeSpec
from sslmem_kit.training.lightly import cosine_warmup_schedule

MIN_STEPS = 10
"""Minimum of steps per epoch, as 40,000 samples in batches of 4096 have. With fewer, 90 epochs end before the weights have moved."""
MOMENTUM = 0.9
INIT_STD = 0.01
"""Standard deviation of the initial weights: not zero, because LARS steps by a share of their norm."""


def linear_predictions(
    features: np.ndarray,
    labels: np.ndarray,
    test_features: np.ndarray,
    *,
    spec: LogisticProbeSpec | SGDProbeSpec,
    seed: int,
    device: str = "cpu",
) -> np.ndarray:
    """Return the labels that a linear probe gives test samples, (sample,).

    Parameters
    ----------
    features, test_features
        (sample, feature) float; on disk, too (`numpy.memmap`), for ``logistic``.
    labels
        (sample,) integer, of two classes at least.
    spec
        Solver and its options.
    seed
        Seed of the initial weights and of the order of samples; without effect on ``logistic``.
    device
        Device on which ``sgd`` trains; ``logistic`` stays on the CPU.

    Raises
    ------
    UserError
        ``sgd`` diverged.

    Examples
    --------
    >>> features = np.array([[-2.0], [-1.0], [1.0], [2.0]], np.float32)
    >>> linear_predictions(features, np.array([3, 3, 7, 7]), features[::2], spec=LogisticProbeSpec(), seed=0)
    array([3, 7])
    """
    classes, codes = np.unique(labels, return_inverse=True)
    if spec.method == "logistic":
        return classes[fit_logistic(features, codes, len(classes), C=spec.C).predict(test_features)]
    return classes[_sgd(features, codes, len(classes), test_features, spec, seed, device)]


def _sgd(
    features: np.ndarray, codes: np.ndarray, classes: int, test_features: np.ndarray, spec: SGDProbeSpec, seed: int, device: str
) -> np.ndarray:
    inputs, targets = (torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in (features, codes))
    mean, scale = (array.to(device, inputs.dtype) for array in moments(features))
    # All random numbers come from the CPU, so that every device sees the same.
    generator = torch.Generator().manual_seed(seed)
    weight = torch.empty(classes, features.shape[1], dtype=inputs.dtype).normal_(0, INIT_STD, generator=generator)
    weight = weight.to(device).requires_grad_()
    bias = torch.zeros(classes, dtype=inputs.dtype, device=device, requires_grad=True)

    def logits(rows: Tensor) -> Tensor:
        return torch.nn.functional.linear((rows - mean) / scale, weight, bias)

    optimizer = _optimizer(weight, bias, spec)
    samples = len(inputs)
    steps = min(samples, max(math.ceil(samples / spec.batch_size), MIN_STEPS))
    for epoch in range(spec.epochs):
        order = torch.randperm(samples, generator=generator).to(device)
        for step, batch in enumerate(order.tensor_split(steps), epoch * steps):
            rate = cosine_warmup_schedule(step, spec.epochs * steps, spec.learning_rate, 0.0, spec.warmup_epochs * steps, 0.0)
            for group in optimizer.param_groups:
                group["lr"] = rate
            loss = torch.nn.functional.cross_entropy(logits(inputs[batch]), targets[batch])
            optimizer.zero_grad()
            loss.backward()
            optimizer.step()
    with torch.inference_mode():
        found = [logits(block.to(device, inputs.dtype)) for _, block in blocks(test_features)]
        scores = torch.cat(found) if found else torch.empty(0, classes)
    if not torch.isfinite(scores).all():
        raise UserError(
            f"downstream.linear.learning_rate: the probe diverged at {spec.learning_rate}, its outputs are not finite; "
            "lower it or raise downstream.linear.warmup_epochs"
        )
    return scores.argmax(dim=1).cpu().numpy()


def _optimizer(weight: Tensor, bias: Tensor, spec: SGDProbeSpec) -> torch.optim.Optimizer:
    if spec.optimizer == "sgd":
        return torch.optim.SGD([weight, bias], lr=spec.learning_rate, momentum=MOMENTUM)
    groups = [{"params": [weight], "momentum": MOMENTUM, "always_adapt": True}, {"params": [bias], "momentum": MOMENTUM}]
    return Lars(groups, lr=spec.learning_rate)
