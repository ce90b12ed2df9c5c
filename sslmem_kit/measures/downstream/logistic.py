"""Multinomial logistic regression with an l2 penalty, solved to its optimum in few passes over the features, which stay where they are.

Features of an encoder are strongly correlated, and a quasi-Newton method takes hundreds of passes over them. Whitened by the Cholesky
factor of a bound on the Hessian, which their covariance gives, it takes some tens. Features are read in blocks, so that arrays on disk do
(`numpy.memmap`).
"""

from __future__ import annotations

from typing import NamedTuple

import numpy as np
import torch
from scipy.optimize import OptimizeResult, minimize
from torch import Tensor
from torch.nn.functional import linear

BLOCK = 4096
"""Number of samples that are read at a time."""
WHITENED = 8192
"""Number of samples whose covariance whitens, at least; four a feature."""
TOLERANCE = 1e-6
"""By how much the mean loss may still fall, in nats a sample, when the search ends."""
MAX_ITERATIONS = 500


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


def blocks(features: np.ndarray):
    """Yield the first row of each block of samples and the block, (sample, feature) float32."""
    for start in range(0, len(features), BLOCK):
        # A copy of what is on disk or not of this type, nothing of what is.
        yield start, torch.from_numpy(np.require(features[start : start + BLOCK], np.float32, ["C", "W"]))


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
        sums[0] += moved.sum(dim=0, dtype=torch.float64)
        sums[1] += torch.linalg.vector_norm(moved, dim=0).double().square()
    mean, square = sums / len(features)
    scale = (square - mean.square()).clamp_min(0).sqrt()
    scale[scale <= torch.finfo(torch.float32).eps * (mean + first).abs()] = torch.inf
    return mean + first, scale


def _whitening(features: np.ndarray, mean: Tensor, scale: Tensor, curvature: float) -> Tensor:
    """Return the inverse of the transposed Cholesky factor of the Hessian's bound, from some of the samples."""
    width = features.shape[1]
    rows = np.linspace(0, len(features) - 1, min(len(features), max(WHITENED, 4 * width))).astype(int)
    hessian, centre, units = torch.zeros(width, width), mean.float(), scale.float()
    for chosen in np.array_split(rows, -(-len(rows) // BLOCK)):
        block = (torch.from_numpy(features[chosen].astype(np.float32)) - centre) / units
        hessian.addmm_(block.T, block)
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
    curvature = strength * count / classes * (1 - 1 / classes)
    steps = _whitening(features, mean, scale, curvature)
    free = 1 / np.sqrt(curvature)
    targets, centre = torch.from_numpy(codes.astype(np.int64)), mean.float()

    def classifier(point: np.ndarray) -> tuple[Tensor, Classifier]:
        columns = torch.from_numpy(point).view(width + 1, classes)
        standardized = (steps @ columns[:width]).T
        weight = (standardized / scale).float().contiguous()
        return standardized, Classifier(weight, (free * columns[width]).float() - weight @ centre)

    def objective(point: np.ndarray) -> tuple[float, np.ndarray]:
        standardized, now = classifier(point)
        loss, by_weight, by_bias = 0.0, torch.zeros_like(now.weight), torch.zeros(classes)
        for start, block in blocks(features):
            likely = torch.log_softmax(linear(block, now.weight, now.bias), dim=1)
            own = targets[start : start + BLOCK, None]
            loss -= likely.gather(1, own).sum(dtype=torch.float64).item()
            residual = likely.exp_().scatter_add_(1, own, likely.new_full(own.shape, -1.0))
            by_weight.addmm_(residual.T, block)
            by_bias += residual.sum(dim=0)
        slope = strength * (by_weight - torch.outer(by_bias, centre)).double() / scale + standardized
        gradient = torch.cat([steps.T @ slope.T, strength * free * by_bias.double()[None]])
        value = strength * loss + standardized.square().sum().item() / 2
        unit = strength * count
        return value / unit, gradient.numpy().ravel() / unit

    def near(intermediate_result: OptimizeResult) -> None:
        if strength * count * np.square(last[1]).sum() / 2 < TOLERANCE:
            raise StopIteration

    last: tuple[float, np.ndarray] = (np.inf, np.empty(0))

    def remembered(point: np.ndarray) -> tuple[float, np.ndarray]:
        nonlocal last
        last = objective(point)
        return last

    options = {"maxiter": MAX_ITERATIONS, "maxcor": 20, "gtol": 0.0, "ftol": 0.0}
    found = minimize(remembered, np.zeros((width + 1) * classes), jac=True, method="L-BFGS-B", callback=near, options=options)
    return classifier(found.x)[1]
