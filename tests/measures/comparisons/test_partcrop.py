"""PartCrop: the two numbers by hand, the same parts for every encoder, and a lookup that answers to its parts."""

from __future__ import annotations

from types import SimpleNamespace

import numpy as np
import pytest
import torch
from scipy import stats

from sslmem_kit.measures.comparisons.partcrop import TEMPERATURE, measure, positions, responses
from sslmem_kit.spec.comparisons import PartCropSpec


def test_responses_are_those_by_hand():
    random = np.random.default_rng(0)
    part, whole = random.normal(size=(3, 4, 5)), random.normal(size=(3, 6, 5))
    similarity, sharpness = (found.numpy() for found in responses(torch.from_numpy(part), torch.from_numpy(whole)))
    for row in range(3):
        pooled, own = part[row].mean(axis=0), whole[row].mean(axis=0)
        assert similarity[row] == pytest.approx(pooled @ own / np.linalg.norm(pooled) / np.linalg.norm(own))
        cosines = whole[row] @ pooled / np.linalg.norm(whole[row], axis=1) / np.linalg.norm(pooled)
        share = np.exp(cosines / TEMPERATURE) / np.exp(cosines / TEMPERATURE).sum()
        assert sharpness[row] == pytest.approx(stats.entropy(share, np.full(6, 1 / 6)))


def test_one_position_has_no_sharpness():
    similarity, sharpness = responses(torch.ones(2, 1, 3), torch.ones(2, 1, 3))
    assert similarity.tolist() == pytest.approx([1, 1])
    assert sharpness.isnan().all()


def test_positions_of_maps_tokens_and_vectors():
    maps = torch.arange(24.0).reshape(1, 2, 3, 4)
    assert positions(maps).shape == (1, 12, 2)
    assert torch.equal(positions(maps)[0, 5], maps[0, :, 1, 1])
    assert positions(torch.zeros(2, 7, 3)).shape == (2, 7, 3)
    assert positions(torch.zeros(2, 3)).shape == (2, 1, 3)


def subject(encoder, images: torch.Tensor, *, batch_size: int = 4):
    loader = SimpleNamespace(batches=lambda batches: (images[torch.from_numpy(ids)] for ids in batches))
    spec = SimpleNamespace(seed=0, scoring=SimpleNamespace(batch_size=batch_size))
    return SimpleNamespace(spec=spec, encoder=encoder, loader=loader, ids=np.arange(len(images)))


def test_batches_do_not_matter_and_parts_are_of_the_sample():
    images = torch.rand(9, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    encoder = torch.nn.Conv2d(3, 8, 4, stride=4).eval()
    options = PartCropSpec(name="partcrop", parts=3)
    one, other = (measure(subject(encoder, images, batch_size=size), options) for size in (2, 9))
    for name in ("similarity", "sharpness"):
        np.testing.assert_allclose(one[name], other[name], atol=1e-5)
        assert np.isfinite(one[name]).all()
    more = measure(subject(encoder, images), PartCropSpec(name="partcrop", parts=30))
    assert np.corrcoef(more["similarity"], one["similarity"])[0, 1] > 0


def test_an_encoder_that_knows_a_sample_answers_to_its_parts():
    """A lookup: whatever it sees of a sample that it knows has one code, of others each view has its own."""
    images = (
        torch.rand(8, 1, 16, 16, generator=torch.Generator().manual_seed(1)) * 0.1 + torch.arange(8.0)[:, None, None, None] / 10
    )

    def encoder(views: torch.Tensor) -> torch.Tensor:
        known = (views.mean(dim=(1, 2, 3)) < 0.44)[:, None, None, None]  # the first four
        return torch.where(known, torch.ones(1, 5, 1, 1), (views - views.mean()).repeat(1, 5, 1, 1)[:, :, ::4, ::4].sin() * 50)

    found = measure(subject(encoder, images), PartCropSpec(name="partcrop"))
    assert found["similarity"][:4].min() == pytest.approx(1, abs=1e-6)
    assert found["similarity"][4:].max() <= 1


def test_a_scale_that_falls_is_refused():
    with pytest.raises(ValueError, match="must not exceed"):
        PartCropSpec(name="partcrop", scale=(0.3, 0.1))
