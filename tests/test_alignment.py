"""Alignment does not depend on how samples are put into batches."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from sslmem_kit.alignment import measure
from sslmem_kit.data import Dataset
from sslmem_kit.encoders import build_encoder
from sslmem_kit.feed import Feed
from sslmem_kit.policies import Policy
from sslmem_kit.study.spec import EncoderSpec

SHAPES = {
    "resnet": (EncoderSpec(backbone="resnet18"), (32, 32, 3)),
    "small resnet": (EncoderSpec(backbone="resnet18", options={"layers": [1, 1, 1, 1], "channels": [16, 32, 64, 128]}), (8, 8, 1)),
    "vit": (EncoderSpec(backbone="vit_tiny_patch16_224", options={"patch_size": 4, "depth": 4}), (28, 28, 1)),
}


@pytest.fixture(scope="module", params=SHAPES)
def case(request: pytest.FixtureRequest):
    spec, shape = SHAPES[request.param]
    with torch.random.fork_rng():
        torch.manual_seed(0)
        encoder = build_encoder(spec, shape).eval()
    n = 520 if shape[0] == 8 else 60
    pixels = np.random.default_rng(0).integers(0, 256, (n, *shape), dtype=np.uint8)
    ids, zeros = np.arange(n) * 3 + 1, np.zeros(n, np.int64)
    return encoder, Feed(Dataset("toy", ids, zeros, zeros.astype(bool), ("only",), shape, (), "toy", pixels), "cpu")


def align(case, ids: np.ndarray, batch_size: int) -> np.ndarray:
    encoder, feed = case
    return measure(encoder, feed, ids, views=2, policy=Policy.model_validate("simclr"), seed=3, batch_size=batch_size)


def test_batch_size_order_and_subset(case) -> None:
    ids = case[1].dataset.ids
    expected = align(case, ids, 512)
    shuffled = np.random.default_rng(1).permutation(len(ids))
    some = np.arange(0, len(ids), max(1, len(ids) // 25))
    np.testing.assert_allclose(align(case, ids, 7), expected, atol=1e-6, rtol=0)
    np.testing.assert_allclose(align(case, ids[shuffled], 512), expected[shuffled], atol=1e-6, rtol=0)
    np.testing.assert_allclose(align(case, ids[some], 512), expected[some], atol=1e-6, rtol=0)
    np.testing.assert_allclose(align(case, ids[some], 1), expected[some], atol=1e-6, rtol=0)


def test_same_blocks_give_the_same_bits(case) -> None:
    ids = case[1].dataset.ids[:24]
    np.testing.assert_array_equal(align(case, ids, 16), align(case, ids, 16))


def test_lazily_read_images_give_the_same_bits(case, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, feed = case
    ids = feed.dataset.ids[:40]
    lazy = Feed(feed.dataset, "cpu")
    monkeypatch.setattr(lazy, "_held", None)
    np.testing.assert_array_equal(align((encoder, lazy), ids, 16), align(case, ids, 16))
