"""Linear probing: the accuracy of a linear classifier on frozen, pooled, standardized representations.

``logistic`` solves multinomial logistic regression with an l2 penalty to its optimum. ``sgd`` trains the same model, without a penalty, by
mini-batches on the device, as the paper's Table 6 does (LARS, cosine decay after a linear warm-up): for data on which a solver would take
too long.
"""

from __future__ import annotations

import math
import warnings

import numpy as np
import torch
from torch import Tensor

from sslmem_kit.errors import UserError
from sslmem_kit.spec.downstream import LogisticProbeSpec, SGDProbeSpec
from sslmem_kit.training.lightly import LARS, cosine_warmup_schedule
from sslmem_kit.training.optimizer import NO_DECAY

MIN_STEPS = 10
"""Minimum of steps per epoch, as 40,000 samples in batches of 4096 have. With fewer, 90 epochs end before the weights have moved."""
MOMENTUM = 0.9
INIT_STD = 0.01
"""Standard deviation of the initial weights: not zero, because LARS steps by a share of their norm."""
BLOCK = 4096
"""Number of samples that are measured or classified at a time."""


def linear_accuracy(
    features: np.ndarray,
    labels: np.ndarray,
    test_features: np.ndarray,
    test_labels: np.ndarray,
    *,
    spec: LogisticProbeSpec | SGDProbeSpec,
    seed: int,
    device: str = "cpu",
) -> float:
    """Return the share of the test samples that a linear probe classifies correctly.

    Parameters
    ----------
    features, test_features
        (sample, feature) float.
    labels, test_labels
        (sample,) integer.
    spec
        Solver and its options.
    seed
        Seed of the initial weights and of the order of samples; without effect on ``logistic``.
    device
        Device on which ``sgd`` trains; ``logistic`` stays on the CPU.

    Returns
    -------
    Accuracy in 0..1; NaN where it has no meaning: no test samples, or training labels of fewer than two classes.

    Raises
    ------
    UserError
        ``sgd`` diverged.
    """
    if len(test_labels) == 0 or len(np.unique(labels)) < 2:
        return float("nan")
    if spec.method == "logistic":
        return _logistic(features, labels, test_features, test_labels, spec)
    return _sgd(features, labels, test_features, test_labels, spec, seed, device)


def _logistic(
    features: np.ndarray, labels: np.ndarray, test_features: np.ndarray, test_labels: np.ndarray, spec: LogisticProbeSpec
) -> float:
    # Imported here: it takes one second of start-up, and only evaluation needs it.
    from sklearn.exceptions import ConvergenceWarning
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    probe = make_pipeline(StandardScaler(), LogisticRegression(C=spec.C, max_iter=200, tol=1e-3))
    with warnings.catch_warnings():
        # A probe stopped early is still a probe; 200 iterations are far past the point where accuracy settles.
        warnings.simplefilter("ignore", ConvergenceWarning)
        probe.fit(features, labels)
    return float(probe.score(test_features, test_labels))


def _sgd(
    features: np.ndarray,
    labels: np.ndarray,
    test_features: np.ndarray,
    test_labels: np.ndarray,
    spec: SGDProbeSpec,
    seed: int,
    device: str,
) -> float:
    classes, codes = np.unique(labels, return_inverse=True)
    inputs, targets = (torch.from_numpy(np.ascontiguousarray(array)).to(device) for array in (features, codes))
    mean, scale = (torch.from_numpy(array.astype(features.dtype)).to(device) for array in _moments(features))
    # All random numbers come from the CPU, so that every device sees the same.
    generator = torch.Generator().manual_seed(seed)
    weight = torch.empty(len(classes), features.shape[1], dtype=inputs.dtype).normal_(0, INIT_STD, generator=generator)
    weight = weight.to(device).requires_grad_()
    bias = torch.zeros(len(classes), dtype=inputs.dtype, device=device, requires_grad=True)

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
        rows = torch.from_numpy(np.ascontiguousarray(test_features))
        scores = torch.cat([logits(block.to(device)) for block in rows.split(BLOCK)])
    if not torch.isfinite(scores).all():
        raise UserError(
            f"downstream.linear.learning_rate: the probe diverged at {spec.learning_rate}, its outputs are not finite; "
            "lower it or raise downstream.linear.warmup_epochs"
        )
    return float(np.mean(classes[scores.argmax(dim=1).cpu().numpy()] == test_labels))


def _moments(features: np.ndarray) -> tuple[np.ndarray, np.ndarray]:
    """Return mean and standard deviation of each feature, (feature,) float64; 1 where a feature is constant."""
    from sklearn.preprocessing import StandardScaler

    scaler = StandardScaler()
    # In blocks, because the scaler works on copies in double precision.
    for start in range(0, len(features), BLOCK):
        scaler.partial_fit(features[start : start + BLOCK])
    return scaler.mean_, scaler.scale_


def _optimizer(weight: Tensor, bias: Tensor, spec: SGDProbeSpec) -> torch.optim.Optimizer:
    if spec.optimizer == "sgd":
        return torch.optim.SGD([weight, bias], lr=spec.learning_rate, momentum=MOMENTUM)
    groups = [{"params": [weight], "weight_decay": NO_DECAY}, {"params": [bias], "weight_decay": 0.0}]
    return LARS(groups, lr=spec.learning_rate, momentum=MOMENTUM)
