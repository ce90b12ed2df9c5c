"""PartCrop (Zhu et al. 2024, arXiv 2404.02462): an encoder that has seen an image answers more strongly to its parts.

The source crops many small parts, asks where in the whole image's map each finds itself (the cosines of the part's pooled representation with
every position, as a softmax), takes the divergence of these answers from uniform ones and from noise, and trains a classifier of membership on
them, with known members. Here nothing is trained, and no member needs to be known: what is kept are two numbers, means over few parts.

- ``similarity``: cosine of the pooled representations of part and whole, in [-1, 1];
- ``sharpness``: Kullback-Leibler divergence of the softmax from the uniform answer, in nats, from 0 to log(positions); NaN of one position.
"""

from __future__ import annotations

import numpy as np
import torch
import xarray as xr
from torch import Tensor

from sslmem_kit.data.loader import in_batches
from sslmem_kit.encoders.device import plain_float32
from sslmem_kit.measures.comparisons.subject import Subject
from sslmem_kit.names import SAMPLE
from sslmem_kit.spec.comparisons import PartCropSpec
from sslmem_kit.spec.policy import CropResize, Policy
from sslmem_kit.spec.seeds import derive_seed
from sslmem_kit.views import several_views

TEMPERATURE = 0.1
"""Of the softmax over positions: cosines lie so close together that the plain one is uniform."""


@torch.inference_mode()
def measure(subject: Subject, options: PartCropSpec) -> xr.Dataset:
    """Measure how parts of each image answer to the whole under one encoder.

    Returns
    -------
    ``similarity(sample)`` and ``sharpness(sample)``; the parts of a sample are the same for every encoder of a study.
    """
    spec, found = subject.spec, np.empty((2, len(subject.ids)))
    policy = Policy(name="parts", steps=(CropResize(scale=options.scale),))
    seed, start = derive_seed(spec.seed, "parts"), 0
    batches = in_batches(subject.ids, spec.scoring.batch_size)
    with plain_float32():
        for ids, images in zip(batches, subject.loader.batches(batches), strict=True):
            keys = torch.from_numpy(ids).to(images.device)
            whole = positions(subject.encoder(images))
            sums = torch.zeros(2, len(ids), dtype=torch.float64, device=images.device)
            for part in range(1, options.parts + 1):  # one at a time: memory does not grow with their number
                (view,) = several_views(images, keys, views=[part], seed=seed, policy=policy)
                sums += torch.stack(responses(positions(subject.encoder(view)), whole)).double()
            found[:, start : start + len(ids)] = (sums / options.parts).cpu().numpy()
            start += len(ids)
    return xr.Dataset({name: (SAMPLE, values) for name, values in zip(("similarity", "sharpness"), found, strict=True)})


def positions(output: Tensor) -> Tensor:
    """Return a full representation by position, [batch, position, feature]: of maps [batch, feature, y, x], tokens, or one vector."""
    if output.ndim == 4:
        return output.flatten(2).mT
    return output if output.ndim == 3 else output[:, None]


def responses(part: Tensor, whole: Tensor) -> tuple[Tensor, Tensor]:
    """Return similarity and sharpness of the answer of one part to the whole image, [batch] each, from [batch, position, feature]."""
    pooled = part.mean(dim=1)
    similarity = torch.cosine_similarity(pooled, whole.mean(dim=1), dim=1)
    if whole.shape[1] == 1:
        return similarity, torch.full_like(similarity, torch.nan)
    log_share = (torch.cosine_similarity(pooled[:, None], whole, dim=2) / TEMPERATURE).log_softmax(dim=1)
    sharpness = (log_share.exp() * log_share).sum(dim=1) + np.log(whole.shape[1])
    return similarity, sharpness
