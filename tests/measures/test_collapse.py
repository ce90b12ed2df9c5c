"""Measures of collapse against closed forms and their invariances."""

import subprocess
import sys

import numpy as np
import pytest
import torch
from hypothesis import given, settings
from hypothesis import strategies as st

from sslmem_kit.data import load
from sslmem_kit.encoders.backbone import build_encoder
from sslmem_kit.measures.collapse import effective_rank, feature_std
from sslmem_kit.spec.data import DataSpec
from sslmem_kit.spec.encoder import BackboneSpec
from sslmem_kit.statistics.collapse import collapse, collapsed

seeds = st.integers(0, 2**32 - 1)


def test_no_torch_is_imported() -> None:
    code = "import sslmem_kit.measures.collapse, sys; print(sorted({'torch', 'scipy', 'sklearn'} & set(sys.modules)))"
    assert subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.strip() == "[]"


@pytest.mark.parametrize("directions", [1, 2, 7, 32])
def test_isotropic_features_have_all_directions(directions: int) -> None:
    axes = np.eye(directions)
    assert effective_rank(np.vstack([axes, -axes])) == pytest.approx(directions, abs=1e-9)
    assert feature_std(np.vstack([axes, -axes])) == pytest.approx(1)


def test_unequal_directions_by_hand() -> None:
    """Three points on one axis for each on the other: singular values sqrt(6) and sqrt(2)."""
    features = np.array([[1, 0], [-1, 0]] * 3 + [[0, 1], [0, -1]], float)
    shares = np.array([np.sqrt(6), np.sqrt(2)]) / (np.sqrt(6) + np.sqrt(2))
    assert effective_rank(features) == pytest.approx(np.prod(shares**-shares))


def test_two_directions_of_opening_angle() -> None:
    """Half at angle +a, half at -a: each is sin(a) away from the mean, along a line."""
    features = np.array([[np.cos(0.3), np.sin(0.3)], [np.cos(0.3), -np.sin(0.3)]] * 5)
    assert feature_std(features) == pytest.approx(np.sin(0.3))
    assert effective_rank(features) == pytest.approx(1, abs=1e-6)


@pytest.mark.parametrize("shape", [(40, 8), (8, 40), (1, 5)])
def test_equal_features_have_no_spread(shape: tuple[int, int]) -> None:
    lengths = np.random.default_rng(0).uniform(0.5, 2, (shape[0], 1))
    features = lengths * np.random.default_rng(1).normal(size=shape[1])
    assert feature_std(features) == pytest.approx(0, abs=1e-12)
    assert effective_rank(features) == 0
    assert feature_std(np.zeros(shape)) == effective_rank(np.zeros(shape)) == 0


@settings(deadline=None, max_examples=30)
@given(seeds, st.integers(1, 6), st.integers(2, 40), st.integers(6, 30))
def test_rank_is_bounded(seed: int, rank: int, samples: int, features: int) -> None:
    rng = np.random.default_rng(seed)
    found = effective_rank(rng.normal(size=(samples, rank)) @ rng.normal(size=(rank, features)))
    assert found == 0 or 1 - 1e-9 <= found <= min(rank, samples - 1) + 1e-4
    assert 0 < feature_std(rng.normal(size=(samples, features))) <= 1


@settings(deadline=None, max_examples=30)
@given(seeds, st.integers(2, 40), st.integers(2, 30))
def test_as_singular_values_and_invariances(seed: int, samples: int, width: int) -> None:
    rng = np.random.default_rng(seed)
    features = rng.normal(size=(samples, width)) + rng.normal(size=width)
    std, rank = feature_std(features), effective_rank(features)
    units = features / np.linalg.norm(features, axis=1, keepdims=True)
    shares = np.linalg.svd(units - units.mean(axis=0), compute_uv=False)
    shares = shares[shares > 1e-7 * shares[0]] / shares.sum()
    assert rank == pytest.approx(np.exp(-(shares * np.log(shares)).sum()), rel=1e-4)
    assert std == pytest.approx(np.sqrt(1 - np.square(np.linalg.norm(units.mean(axis=0)))), abs=1e-7)

    rotation = np.linalg.qr(rng.normal(size=(width, width)))[0]
    for same in (features @ rotation, rng.permutation(features), features * rng.uniform(0.1, 9, (samples, 1))):
        assert feature_std(same) == pytest.approx(std, rel=1e-6)
        assert effective_rank(same) == pytest.approx(rank, rel=1e-4)


def test_float32_features_are_not_altered() -> None:
    features = np.random.default_rng(0).normal(size=(50, 20)).astype(np.float32)
    before = features.copy()
    assert effective_rank(features) == pytest.approx(effective_rank(features.astype(float)), rel=1e-6)
    np.testing.assert_array_equal(features, before)


def verdict(features: np.ndarray) -> bool:
    return collapsed(feature_std(features), effective_rank(features))


def test_collapse_is_told() -> None:
    rng = np.random.default_rng(0)
    constant = np.tile(rng.normal(size=128), (200, 1))
    assert verdict(constant)
    assert verdict((constant + 1e-6 * rng.normal(size=(200, 128))).astype(np.float32))
    line = constant + 0.2 * rng.choice([-1, 1], (200, 1)) * rng.normal(size=128)
    assert feature_std(line) > 0.1
    assert verdict(line + 1e-4 * rng.normal(size=(200, 128)))
    assert not verdict(rng.normal(size=(200, 128)))
    assert not verdict(np.eye(2)[rng.integers(0, 2, 200)] + 0.05 * rng.normal(size=(200, 2)))


@pytest.mark.parametrize(
    "spec",
    [
        BackboneSpec(backbone="resnet18", options={"layers": [1, 1, 1, 1]}),
        BackboneSpec(backbone="vit_tiny_patch16_224", grid=4, options={"depth": 4}),
    ],
    ids=["resnet", "vit"],
)
def test_untrained_encoders_are_not_called_collapsed_and_constant_ones_are(spec: BackboneSpec) -> None:
    data = load(DataSpec(name="digits"))
    images = torch.from_numpy(data.read(data.ids[:100])).permute(0, 3, 1, 2) / 255
    torch.manual_seed(0)
    encoder = build_encoder(spec, data.image_shape).eval()
    with torch.no_grad():
        assert not verdict(encoder.pool(encoder(images)).numpy())
        constant = images.mean(dim=0, keepdim=True) + 1e-6 * torch.randn(images.shape)
        assert verdict(encoder.pool(encoder(constant)).numpy())


@pytest.mark.parametrize(
    ("numbers", "words"),
    [
        ((0.8, 20.0, 0.9), ""),
        ((0.8, 20.0, float("nan")), ""),
        ((0.001, 20.0, 0.9), "the representations have collapsed (standard deviation 0.001, effective rank 20.0)"),
        (
            (0.8, 20.0, 0.003),
            "what the loss compares has collapsed (standard deviation 0.003; representations: standard deviation 0.8",
        ),
    ],
)
def test_what_has_collapsed_is_said(numbers: tuple[float, float, float], words: str) -> None:
    assert collapse(*numbers).startswith(words)
    assert bool(collapse(*numbers)) is bool(words)
