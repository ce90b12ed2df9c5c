"""Labels of the nearest neighbours of a part of an image, and what they say of its class: votes, and how sure they are.

Neighbours are those of the highest cosine similarity, which are the nearest of l2-normalized embeddings. With k neighbours, of which n_c have
the class c, the class of most neighbours is named (of equal votes the first class, as in scikit-learn), consistency is n_y / k for the class y
of the sample, and confidence is 1 - H / log C with the entropy H of the shares n_c / k and the number C of classes.
"""

from __future__ import annotations

import math
from typing import NamedTuple

import torch
from torch import Tensor
from torch.nn.functional import normalize

PUBLIC_BLOCK = 2**14
"""Number of public samples whose similarities to a batch of queries are held at a time."""


class Public(NamedTuple):
    """Labelled samples that neighbours are among."""

    units: Tensor
    """l2-normalized embeddings, (public, feature)."""
    labels: Tensor
    """Class of each, (public,) int64 in 0..classes - 1."""
    classes: int
    folds: Tensor
    """Part that each belongs to, (public,) int64, where queries look at the other parts alone."""


def public_set(features: Tensor, labels: Tensor, *, folds: Tensor | None = None) -> Public:
    """Return labelled samples by their embeddings, (public, feature), and classes, (public,) from 0, all of which are there."""
    parts = torch.full_like(labels, -1) if folds is None else folds
    return Public(normalize(features.float(), dim=1), labels, int(labels.max()) + 1, parts)


@torch.inference_mode()
def nearest_public(
    public: Public, queries: Tensor, count: int, *, own: Tensor | None = None, folds: Tensor | None = None
) -> Tensor:
    """Return the positions of the nearest public samples, nearest first, (query, count) int64.

    Parameters
    ----------
    public
        The samples that are looked among.
    queries
        Embeddings, (query, feature).
    count
        Number of neighbours; at most the number of those that may be one.
    own
        Position of each query among the public samples, (query,), where it is no neighbour of itself; -1 where it is not there.
    folds
        Part of each query, (query,), whose public samples are no neighbours.

    Examples
    --------
    >>> public = public_set(torch.tensor([[1.0, 0.0], [0.0, 1.0], [1.0, 1.0]]), torch.tensor([0, 1, 1]))
    >>> nearest_public(public, torch.tensor([[2.0, 0.1]]), 2).tolist()
    [[0, 2]]
    >>> nearest_public(public, torch.tensor([[2.0, 0.1]]), 2, own=torch.tensor([0])).tolist()
    [[2, 1]]
    """
    units = normalize(queries.float(), dim=1)
    best = torch.full((len(units), count), -torch.inf, device=units.device)
    positions = torch.zeros(len(units), count, dtype=torch.int64, device=units.device)
    for start in range(0, len(public.units), PUBLIC_BLOCK):
        part = slice(start, start + PUBLIC_BLOCK)
        similarity = units @ public.units[part].T
        if own is not None:
            here = torch.nonzero((own >= start) & (own < start + similarity.shape[1]))[:, 0]
            similarity[here, own[here] - start] = -torch.inf
        if folds is not None:
            similarity.masked_fill_(folds[:, None] == public.folds[None, part], -torch.inf)
        found, places = similarity.topk(min(count, similarity.shape[1]), dim=1)
        merged = torch.cat([best, found], dim=1).topk(count, dim=1)
        best, positions = merged.values, torch.cat([positions, places + start], dim=1).gather(1, merged.indices)
    return positions


def nearest_of_other_folds(public: Public, queries: Tensor, nearest: Tensor, count: int, *, own: Tensor, folds: Tensor) -> Tensor:
    """Return the positions of the nearest public samples of other folds, as :func:`nearest_public` with ``folds``.

    They are among the nearest of all, ``nearest``, wherever enough of these are of other folds; only for the other queries is there a search.
    """
    outside = public.folds[nearest] != folds[:, None]
    found = nearest.gather(1, torch.argsort(~outside, dim=1, stable=True)[:, :count])
    few = torch.nonzero((outside.sum(dim=1) < count) | (nearest.shape[1] < count))[:, 0]
    if len(few):
        searched = nearest_public(public, queries[few], count, own=own[few], folds=folds[few])
        found = searched if len(few) == len(queries) else found.index_copy(0, few, searched)
    return found


def votes(labels: Tensor, classes: int) -> Tensor:
    """Return the number of neighbours of each class, (query, class) int64, from their classes, (query, neighbour).

    Examples
    --------
    >>> votes(torch.tensor([[0, 2, 2]]), 3).tolist()
    [[1, 0, 2]]
    """
    counts = torch.zeros(len(labels), classes, dtype=torch.int64, device=labels.device)
    return counts.scatter_add_(1, labels, torch.ones_like(labels))


def consistency(counts: Tensor, classes: Tensor) -> Tensor:
    """Return the share of the neighbours that have the class of the query, (query,) float32; NaN where its class is -1.

    Examples
    --------
    >>> consistency(torch.tensor([[1, 0, 3], [4, 0, 0]]), torch.tensor([2, -1])).tolist()
    [0.75, nan]
    """
    share = counts.gather(1, classes.clamp_min(0)[:, None])[:, 0] / counts.sum(dim=1)
    return torch.where(classes < 0, torch.nan, share)


def named(counts: Tensor, classes: Tensor) -> Tensor:
    """Return 1 where most neighbours have the class of the query, else 0, (query,) float32; NaN where its class is -1.

    Examples
    --------
    >>> named(torch.tensor([[1, 0, 3], [2, 2, 0]]), torch.tensor([2, 1])).tolist()
    [1.0, 0.0]
    """
    # The first of equal votes: argmax of torch may give any of them.
    ahead = counts * counts.shape[1] - torch.arange(counts.shape[1], device=counts.device)
    return torch.where(classes < 0, torch.nan, (ahead.argmax(dim=1) == classes).float())


def confidence(counts: Tensor) -> Tensor:
    """Return 1 minus the entropy of the neighbours' classes as a share of its maximum, (query,) float32: 1 where all are of one class.

    Examples
    --------
    >>> confidence(torch.tensor([[4, 0], [2, 2]])).tolist()
    [1.0, 0.0]
    """
    shares = counts / counts.sum(dim=1, keepdim=True)
    entropy = torch.special.entr(shares).sum(dim=1)
    return (1 - entropy / math.log(counts.shape[1])).clamp_(0, 1)
