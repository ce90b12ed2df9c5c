"""What a part of an image says of its class without any encoder: the reference of Deja Vu memorization where there is no second encoder.

A classifier learns from public images alone: multinomial logistic regression on thumbnails of the parts that are shown. Kokhlikyan et al. train
a ResNet50 on crops, or count detected objects; a thumbnail needs neither a training nor a detector, and so knows less of what backgrounds
say of objects. What an encoder names and this does not is therefore more than memorization: the same share among public samples, which the
encoder did not see either, is taken off (:func:`sslmem_kit.statistics.dejavu.one_encoder`).

References
----------
Kokhlikyan, Jayaraman, Bordes, Guo and Chaudhuri, "Measuring Deja vu memorization efficiently", NeurIPS 2024.
"""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor
from torch.nn.functional import adaptive_avg_pool2d

from sslmem_kit.measures.downstream.logistic import fit_logistic

FOLDS = 5
"""Number of parts of the public samples: each is judged by the others, so that public samples and those of a study are judged alike."""
THUMBNAIL = 8
"""Side of a thumbnail in pixels, at most."""
C = 0.1
"""Inverse strength of the penalty, as of the linear probe."""


def thumbnails(images: Tensor) -> Tensor:
    """Return images averaged to at most :data:`THUMBNAIL` pixels a side, (image, feature) float32.

    Examples
    --------
    >>> thumbnails(torch.zeros(2, 3, 32, 32)).shape
    torch.Size([2, 192])
    """
    side = (min(THUMBNAIL, images.shape[2]), min(THUMBNAIL, images.shape[3]))
    return adaptive_avg_pool2d(images, side).flatten(1)


def spread_over_folds(labels: np.ndarray) -> np.ndarray:
    """Return a fold for each sample, (sample,) int64, such that every class is spread evenly over the folds, in order.

    Examples
    --------
    >>> spread_over_folds(np.array([1, 1, 0, 1, 0])).tolist()
    [2, 3, 0, 4, 1]
    """
    folds = np.empty(len(labels), np.int64)
    folds[np.argsort(labels, kind="stable")] = np.arange(len(labels)) % FOLDS
    return folds


def class_probabilities(
    public: np.ndarray, labels: np.ndarray, public_folds: np.ndarray, queries: np.ndarray, folds: np.ndarray, *, classes: int
) -> np.ndarray:
    """Return what classifiers of public samples say of queries, each by the one that was fitted without the query's fold.

    Parameters
    ----------
    public, queries
        (sample, feature) float32: :func:`thumbnails` of what is shown.
    labels
        Class of each public sample, (public,) integer in 0..classes - 1.
    public_folds, folds
        Fold of each public sample and of each query.
    classes
        Number of classes.

    Returns
    -------
    Probabilities, (query, class) float32.

    Examples
    --------
    >>> dark, bright, none = np.zeros((10, 1), np.float32), np.ones((10, 1), np.float32), np.zeros(10, int)
    >>> public, labels = np.concatenate([dark, bright]), np.repeat([0, 1], 10)
    >>> class_probabilities(public, labels, spread_over_folds(labels), bright, none, classes=2)[0].argmax().item()
    1
    """
    found = np.zeros((len(queries), classes), np.float32)
    for fold in range(FOLDS):
        chosen, there = np.flatnonzero(folds == fold), public_folds != fold
        present, codes = np.unique(labels[there], return_inverse=True)
        if len(chosen) and len(present) < 2:  # it is certain of the one class
            found[np.ix_(chosen, present)] = 1
        elif len(chosen):
            classifier = fit_logistic(public[there], codes, len(present), C=C)
            scores = torch.from_numpy(queries[chosen]) @ classifier.weight.T + classifier.bias
            found[np.ix_(chosen, present)] = torch.softmax(scores, dim=1).numpy()
    return found
