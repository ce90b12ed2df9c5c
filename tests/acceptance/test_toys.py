"""Encoders whose alignment is known in closed form."""

from __future__ import annotations

import numpy as np
import pytest
import torch
import xarray as xr
from scipy.special import gammaln
from torch import Tensor

from sslmem_kit import scores
from sslmem_kit.data import Dataset
from sslmem_kit.data.loader import ImageLoader
from sslmem_kit.measures.alignment import measure, pair_distances
from sslmem_kit.spec.policy import Policy
from sslmem_kit.store import view_pairs

SAMPLES, SIDE = 120, 6
NOISE = Policy.model_validate([{"op": "noise", "sigma": 0.02}])


@pytest.fixture(scope="module")
def loader() -> ImageLoader:
    rng = np.random.default_rng(0)
    pixels = rng.integers(90, 166, (SAMPLES, SIDE, SIDE, 1), dtype=np.uint8)
    ids = np.arange(SAMPLES) * 7
    zeros = np.zeros(SAMPLES, np.int64)
    dataset = Dataset("toy", ids, zeros, zeros.astype(bool), ("only",), (SIDE, SIDE, 1), (), "toy", pixels)
    return ImageLoader(dataset, "cpu")


def as_results(f: np.ndarray, g: np.ndarray, views: int) -> xr.DataArray:
    a, b = np.array(view_pairs(views)).T
    return xr.DataArray(
        np.stack([f, g], axis=2),
        dims=("sample", "augmentation", "encoder"),
        coords={
            "sample": np.arange(len(f)),
            "view_a": ("augmentation", a),
            "view_b": ("augmentation", b),
            "encoder": ["f-0", "g-0"],
            "family": ("encoder", ["f", "g"]),
            "seed": ("encoder", [0, 0]),
        },
    )


def align(encoder, loader: ImageLoader, views: int = 4) -> np.ndarray:
    return measure(encoder, loader, loader.dataset.ids, views=views, policy=NOISE, seed=5, batch_size=32)


def test_constant_encoder_scores_zero(loader: ImageLoader) -> None:
    constant = align(lambda images: torch.ones(len(images), 3), loader)
    assert (constant == 0).all()
    score = scores.family_contrast(as_results(constant, constant, 4))
    assert (score["sslmem"] == 0).all()


def test_linear_encoder_under_gaussian_noise_has_the_expected_distance(loader: ImageLoader) -> None:
    """Noise of sd s along k unit vectors, seen by an encoder of length R: distance s sqrt(2) E[chi_k] / R, to first order in s / R."""
    k, sigma, length = 5, 0.02, 10.0
    projection = torch.linalg.qr(torch.randn(SIDE * SIDE, k, generator=torch.Generator().manual_seed(0)))[0]

    def encoder(images: Tensor) -> Tensor:
        # A long constant part keeps the normalization linear: the representation is (R, P x) with |P x| << R.
        return torch.cat([torch.full((len(images), 1), length), images.flatten(1) @ projection], dim=1)

    chi = np.sqrt(2) * np.exp(gammaln((k + 1) / 2) - gammaln(k / 2))
    found = align(encoder, loader, views=12)
    a, _ = np.array(view_pairs(12)).T
    norms = torch.linalg.vector_norm(encoder(next(loader.batches([loader.dataset.ids]))), dim=1).numpy()
    scaled = found * norms[:, None] / (sigma * chi)
    for pairs, expected in ((a > 0, np.sqrt(2)), (a == 0, 1.0)):
        mean = scaled[:, pairs].mean()
        error = scaled[:, pairs].mean(axis=1).std() / np.sqrt(SAMPLES)
        assert abs(mean - expected) < 4 * error + 0.01, (
            "two noisy views differ by sqrt(2) times the noise, the clean image and a view by it"
        )


def test_lookup_encoder_ranks_the_samples_that_it_memorized_on_top(loader: ImageLoader) -> None:
    planted = np.random.default_rng(1).choice(SAMPLES, 20, replace=False)
    images = next(loader.batches([loader.dataset.ids])).flatten(1)

    def lookup(memory: Tensor):
        def encoder(batch: Tensor) -> Tensor:
            flat = batch.flatten(1)
            distance = torch.cdist(flat, memory)
            nearest = distance.argmin(dim=1)
            known = distance.gather(1, nearest[:, None]) < 0.3
            # A view of a memorized sample is answered with the sample itself, any other with what was given.
            return torch.where(known, memory[nearest], flat) - 0.5

        return encoder

    f = align(lookup(images[planted]), loader)
    g = align(lookup(torch.zeros(1, SIDE * SIDE)), loader)
    score = scores.family_contrast(as_results(f, g, 4))["sslmem"].values
    assert set(np.argsort(score)[-20:]) == set(planted)
    assert (np.delete(score, planted) == 0).all()


def test_pair_distances_against_numpy() -> None:
    rng = np.random.default_rng(2)
    features = rng.normal(size=(4, 9, 17))
    found = pair_distances([torch.from_numpy(view) for view in features]).numpy()
    for column, (a, b) in enumerate(view_pairs(3)):
        np.testing.assert_allclose(found[:, column], np.linalg.norm(features[a] - features[b], axis=1))
