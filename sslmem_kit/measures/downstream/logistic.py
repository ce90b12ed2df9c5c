"""Multinomial logistic regression with an l2 penalty, solved to its optimum in few passes over the features, which stay where they are.

Features of an encoder are strongly correlated, and a quasi-Newton method takes hundreds of passes over them. Whitened by the Cholesky
factor of a bound on the Hessian, which their covariance gives, it takes some tens. Features are read in blocks, so that arrays on disk do
(`numpy.memmap`).
"""

from __future__ import annotations

import math
import warnings
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from typing import NamedTuple

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import linear

from sslmem_kit.errors import UserError

BLOCK = 2048
"""Number of samples that are read at a time."""
WHITENED = 8
"""Number of samples per feature whose covariance whitens: with fewer more passes are needed, with more it takes longer itself."""
TOLERANCE = 1e-6
"""By how much the mean loss may still fall, about, in nats a sample, when the search ends."""
MAX_ITERATIONS = 500
PANEL = 256
"""Number of columns of the covariance that are computed at a time."""
SUFFICIENT, SHORTEST = 1e-4, 1e-6
"""Share of the expected fall that a step must bring, and the shortest step that is tried."""
HISTORY = 20
"""Number of steps from which the quasi-Newton method knows the curvature."""


class Classifier(NamedTuple):
    """Linear classifier: ``weight`` (class, feature) and ``bias`` (class,), float32, of features as they are."""

    weight: Tensor
    bias: Tensor

    def predict(self, features: np.ndarray) -> np.ndarray:
        """Return the number of the likeliest class of each sample, (sample,) int64.

        Examples
        --------
        >>> Classifier(torch.eye(2), torch.zeros(2)).predict(np.array([[1.0, 0.0], [0.0, 2.0]], np.float32))
        array([0, 1])
        """
        found = [linear(block, self.weight, self.bias).argmax(dim=1).numpy() for _, block in blocks(features)]
        return np.concatenate(found) if found else np.empty(0, np.int64)


def blocks(features: np.ndarray, rows: int | None = None) -> Iterator[tuple[int, Tensor]]:
    """Yield the first row of each block of ``rows`` samples, of :data:`BLOCK` by default, and the block, (sample, feature) float32."""
    rows = rows or BLOCK
    for start in range(0, len(features), rows):
        # What is writable float32 in memory is not copied.
        yield start, torch.from_numpy(np.require(features[start : start + rows], np.float32, ["C", "W"]))


def moments(features: np.ndarray) -> tuple[Tensor, Tensor]:
    """Return mean and standard deviation of each feature, (feature,) float64; the latter infinite where a feature is constant.

    Examples
    --------
    >>> mean, scale = moments(np.array([[1.0, 7.0], [3.0, 7.0]], np.float32))
    >>> mean.tolist(), scale.tolist()
    ([2.0, 7.0], [1.0, inf])
    """
    first = torch.from_numpy(features[:1].astype(np.float32))[0]  # what all are near: squares of differences lose no digits
    sums = torch.zeros(2, features.shape[1], dtype=torch.float64)
    for _, block in blocks(features):
        moved = block - first
        sums[0] += moved.sum(dim=0)
        sums[1] += moved.square_().sum(dim=0)
    mean, square = sums / len(features)
    scale = (square - mean.square()).clamp_min(0).sqrt()
    scale[scale <= torch.finfo(torch.float32).eps * (mean + first).abs()] = torch.inf
    return mean + first, scale


def _whitening(features: np.ndarray, mean: Tensor, scale: Tensor, curvature: float) -> Tensor:
    """Return the inverse of the transposed Cholesky factor of the Hessian's bound, from some of the samples."""
    width = features.shape[1]
    rows = np.linspace(0, len(features) - 1, min(len(features), WHITENED * width)).astype(int)
    hessian, centre, units = torch.zeros(width, width), mean.float(), scale.float()
    for chosen in np.array_split(rows, -(-len(rows) // BLOCK)):
        block = (torch.from_numpy(features[chosen].astype(np.float32)) - centre) / units
        for columns in torch.arange(width).split(PANEL):  # below the diagonal alone
            first, end = columns[0], columns[-1] + 1
            hessian[first:, first:end].addmm_(block[:, first:].T, block[:, first:end])
    hessian = hessian.double().mul_(curvature / len(rows))
    hessian.diagonal().add_(1)
    return torch.linalg.solve_triangular(torch.linalg.cholesky(hessian).T, torch.eye(width, dtype=torch.float64), upper=True)


def fit_logistic(features: np.ndarray, codes: np.ndarray, classes: int, *, C: float) -> Classifier:
    """Fit multinomial logistic regression of standardized features.

    Minimized is C times the sum of the samples' losses plus half the squared norm of the weights, of which two classes share one vector, as in
    scikit-learn's ``LogisticRegression``; the intercept is free.

    Parameters
    ----------
    features
        (sample, feature) float, in memory or on disk. Constant ones count nothing.
    codes
        Class of each sample, (sample,) integer in 0..classes - 1.
    classes
        Number of classes.
    C
        Inverse strength of the penalty.

    Returns
    -------
    The classifier of features as they are.

    Raises
    ------
    UserError
        Features are not finite.

    Warns
    -----
    RuntimeWarning
        The search ended after :data:`MAX_ITERATIONS` steps, before the optimum.

    Notes
    -----
    The Hessian of a class is at most C n p (1 - p) times the features' covariance, plus the identity of the penalty, at p = 1 / classes, where
    the search begins. In coordinates in which this is the identity half the squared gradient is about what the loss can still fall by.

    Examples
    --------
    >>> features = np.array([[-2.0], [-1.0], [1.0], [2.0]], np.float32)
    >>> fit_logistic(features, np.array([0, 0, 1, 1]), 2, C=1.0).predict(np.array([[-3.0], [0.5]], np.float32))
    array([0, 1])
    """
    count, width = features.shape
    strength = C / 2 if classes == 2 else C  # two vectors of opposite sign: their norms are half of the one vector's
    mean, scale = moments(features)
    if not torch.isfinite(mean).all():
        raise UserError("the representations that the linear probe is fitted on are not finite: their encoder's training diverged")
    curvature = strength * count / classes * (1 - 1 / classes)
    steps = _whitening(features, mean, scale, curvature)
    back, free = steps.T.contiguous(), 1 / math.sqrt(curvature)
    targets, centre = torch.from_numpy(codes.astype(np.int64)), mean.float()

    def classifier(point: Tensor) -> tuple[Tensor, Classifier]:
        standardized = (steps @ point[:width]).T
        weight = (standardized / scale).float().contiguous()
        return standardized, Classifier(weight, (free * point[width]).float() - weight @ centre)

    def objective(point: Tensor) -> tuple[float, Tensor]:
        standardized, now = classifier(point)
        loss, by_weight, by_bias = 0.0, torch.zeros_like(now.weight), torch.zeros(classes)
        for start, block in blocks(features):
            # (class, sample): with few classes the products take two thirds of the time of (sample, class).
            likely = torch.log_softmax(torch.addmm(now.bias[:, None], now.weight, block.T), dim=0)
            own = targets[None, start : start + len(block)]
            loss -= likely.gather(0, own).sum(dtype=torch.float64).item()
            residual = likely.exp_().scatter_add_(0, own, likely.new_full(own.shape, -1.0))
            by_weight.addmm_(residual, block)
            by_bias += residual.sum(dim=1)
        slope = strength * (by_weight - torch.outer(by_bias, centre)).double() / scale + standardized
        value = strength * loss + standardized.square().sum().item() / 2
        return value, torch.cat([back @ slope.T, strength * free * by_bias.double()[None]])

    return classifier(_minimum(objective, torch.zeros(width + 1, classes, dtype=torch.float64), strength * count * TOLERANCE))[1]


def _minimum(objective: Callable[[Tensor], tuple[float, Tensor]], point: Tensor, tolerance: float) -> Tensor:
    """Return where a convex function, whose Hessian at ``point`` is about the identity, falls no more than ``tolerance``, by L-BFGS.

    Half of the Newton decrement, gradient times step, is by how much it would fall if it were quadratic with the curvature of the last steps.

    References
    ----------
    Nocedal and Wright, "Numerical Optimization", 2nd ed., 2006, algorithms 7.4 and 3.1.
    """
    value, gradient = objective(point)
    history: deque[tuple[Tensor, Tensor, Tensor]] = deque(maxlen=HISTORY)
    for _ in range(MAX_ITERATIONS):
        direction = _step(gradient, history)
        slope = torch.sum(gradient * direction).item()
        if -slope / 2 < tolerance:
            return point
        length = 1.0
        while (found := objective(point + length * direction))[0] > value + SUFFICIENT * length * slope:
            length /= 2
            if length < SHORTEST:  # float32 tells these values apart no more
                return point
        point = point + length * direction
        change = found[1] - gradient
        history.append((length * direction, change, 1 / torch.sum(length * direction * change)))
        value, gradient = found
    warnings.warn(
        f"the linear probe was not at its optimum after {MAX_ITERATIONS} steps; a smaller downstream.linear.C helps",
        RuntimeWarning,
        stacklevel=3,
    )
    return point


def _step(gradient: Tensor, history: Sequence[tuple[Tensor, Tensor, Tensor]]) -> Tensor:
    """Return the quasi-Newton step from steps, changes of the gradient along them and the inverses of their products."""
    step, shares = -gradient, []
    for moved, change, inverse in reversed(history):
        shares.append(inverse * torch.sum(moved * step))
        step = step - shares[-1] * change
    if history:
        _, change, inverse = history[-1]
        step = step / (inverse * change.square().sum())
    for (moved, change, inverse), share in zip(history, reversed(shares), strict=True):
        step = step + (share - inverse * torch.sum(change * step)) * moved
    return step
