"""Typicality: how far a sample lies from what f was trained on, by f's own representations.

The mean l2 distance between its l2-normalized pooled representation and the k nearest ones of training samples, itself left out. Higher is
less typical, which long tails make likelier to be memorized (Feldman 2020).
"""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr

from sslmem_kit.measures.comparisons.subject import Subject
from sslmem_kit.measures.features import QUERY_BLOCK, pooled_features
from sslmem_kit.names import SAMPLE
from sslmem_kit.spec.comparisons import TypicalitySpec


def measure(subject: Subject, options: TypicalitySpec) -> xr.Dataset:
    """Return ``distance(sample)``, the mean to the nearest training samples."""
    training = np.unique(subject.samples.training(subject.plan))
    ids = np.union1d(subject.ids, training)
    features = pooled_features(subject.encoder, subject.loader, ids, batch_size=subject.spec.scoring.batch_size)
    found = mean_distance_to_nearest(
        features,
        np.searchsorted(ids, subject.ids),
        np.searchsorted(ids, training),
        count=options.neighbours,
        device=subject.loader.device,
    )
    return xr.Dataset({"distance": (SAMPLE, found)}, {SAMPLE: subject.ids})


@torch.inference_mode()
def mean_distance_to_nearest(
    features: np.ndarray, queries: np.ndarray, among: np.ndarray, *, count: int, device: str = "cpu"
) -> np.ndarray:
    """Return the mean l2 distance to the nearest of some samples, itself left out, by l2-normalized features.

    Parameters
    ----------
    features
        (sample, feature) float32.
    queries
        Positions of the samples that are asked for, (query,).
    among
        Positions of the samples that are their neighbours, (neighbour,).
    count
        Number of neighbours; fewer where there are fewer others.
    device
        Device on which distances are computed.

    Returns
    -------
    (query,) float64; NaN where there is no other sample.

    Examples
    --------
    >>> features = np.array([[1, 0], [0, 1], [-1, 0]], np.float32)
    >>> mean_distance_to_nearest(features, np.array([0, 1]), np.array([0, 1, 2]), count=1).round(3)
    array([1.414, 1.414])
    """
    units = torch.nn.functional.normalize(torch.from_numpy(features), dim=1)
    others = units[torch.from_numpy(among)].to(device)
    own_place = torch.full((len(units),), -1)  # of each sample among the others
    own_place[torch.from_numpy(among)] = torch.arange(len(among))
    found = []
    for block in torch.from_numpy(queries).split(QUERY_BLOCK):
        own = units[block].to(device)
        # Inner products lose the digits of small distances: they select twice as many, of which the distances themselves are compared.
        similarity = own @ others.T
        place = own_place[block]
        inside = torch.nonzero(place >= 0)[:, 0]
        similarity[inside, place[inside]] = -torch.inf
        nearest = similarity.topk(min(2 * count + 1, len(others)), dim=1)
        distance = torch.linalg.vector_norm(own[:, None] - others[nearest.indices], dim=2)
        distance = torch.where(nearest.values.isfinite(), distance, torch.nan).sort(dim=1).values[:, :count]
        found.append(distance.double().nanmean(dim=1).cpu().numpy())
    return np.concatenate(found)
