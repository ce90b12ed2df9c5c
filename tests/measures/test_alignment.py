"""Alignment does not depend on how samples are put into batches, nor the memory it takes on how many there are."""

from __future__ import annotations

import itertools
import json
import subprocess
import sys

import numpy as np
import pytest
import torch

from sslmem_kit.data import Dataset
from sslmem_kit.data.loader import ImageLoader
from sslmem_kit.encoders.backbone import build_encoder
from sslmem_kit.errors import UserError
from sslmem_kit.measures import alignment
from sslmem_kit.measures.alignment import measure
from sslmem_kit.spec.encoder import BackboneSpec
from sslmem_kit.spec.policy import Policy

SHAPES = {
    "resnet": (BackboneSpec(backbone="resnet18"), (32, 32, 3)),
    "small resnet": (BackboneSpec(backbone="resnet18", options={"layers": [1, 1, 1, 1], "channels": [16, 32, 64, 128]}), (8, 8, 1)),
    "vit": (BackboneSpec(backbone="vit_tiny_patch16_224", options={"patch_size": 4, "depth": 4}), (28, 28, 1)),
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
    return encoder, ImageLoader(Dataset("toy", ids, zeros, zeros.astype(bool), ("only",), shape, (), "toy", pixels), "cpu")


def align(case, ids: np.ndarray, batch_size: int) -> np.ndarray:
    encoder, loader = case
    return measure(encoder, loader, ids, views=2, policy=Policy.model_validate("simclr"), seed=3, batch_size=batch_size)


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


def test_layers_of_a_study(case) -> None:
    encoder, loader = case
    ids = loader.dataset.ids[:12]
    found = align((lambda images: {"twice": (output := encoder(images)) * 2, "last": output}, loader), ids, 9)
    assert list(found) == ["twice", "last"]
    for values in found.values():
        np.testing.assert_allclose(values, align(case, ids, 9), atol=1e-6, rtol=0)


def test_lazily_read_images_give_the_same_bits(case, monkeypatch: pytest.MonkeyPatch) -> None:
    encoder, loader = case
    ids = loader.dataset.ids[:40]
    lazy = ImageLoader(loader.dataset, "cpu")
    monkeypatch.setattr(lazy, "_held", None)
    np.testing.assert_array_equal(align((encoder, lazy), ids, 16), align(case, ids, 16))


# --- samples of any kind

ROWS = np.random.default_rng(2).normal(size=(90, 7)).astype(np.float32)
IDS = np.arange(90) * 5


def table_view(batch: np.ndarray, ids: torch.Tensor, view: int, seed: int) -> torch.Tensor:
    """A row, times a factor that only id, view and seed decide."""
    factor = 1 + 0.1 * view * torch.sin(ids.double() + seed + view)[:, None] * torch.arange(7)
    return torch.from_numpy(batch) * factor.float()


def two_layers(rows: torch.Tensor) -> dict[str, torch.Tensor]:
    return {"first": rows.unflatten(1, (7, 1)) + 1, "second": rows.square()}


def align_rows(encode, size: int, **options):
    batches = [(IDS[start : start + size], ROWS[start : start + size]) for start in range(0, len(IDS), size)]
    told = list(alignment.align(encode, table_view, batches, views=3, seed=4, **options))
    if isinstance(told[0], dict):
        return {name: np.concatenate([part[name] for part in told]) for name in told[0]}
    return np.concatenate(told)


def test_rows_of_a_table_against_numpy() -> None:
    views = np.stack([table_view(ROWS, torch.from_numpy(IDS), view, 4).numpy() for view in range(4)]).astype(np.float64)
    layers = {"first": views + 1, "second": views**2}
    found = align_rows(two_layers, 40)
    assert list(found) == ["first", "second"]
    for name, values in layers.items():
        units = values / np.linalg.norm(values, axis=2, keepdims=True)
        expected = np.stack([np.linalg.norm(units[a] - units[b], axis=1) for a, b in itertools.combinations(range(4), 2)], axis=1)
        np.testing.assert_allclose(found[name], expected, atol=1e-6)
        assert found[name].dtype == np.float32
        np.testing.assert_array_equal(align_rows(lambda rows, name=name: two_layers(rows)[name], 40), found[name])


@pytest.mark.parametrize("held", [1, 500, 10_000])
def test_pieces_do_not_change_scores(monkeypatch: pytest.MonkeyPatch, held: int) -> None:
    whole = align_rows(two_layers, 90)
    for name in ("VIEW_BATCH_BYTES", "HELD_BYTES", "SEVERAL_BYTES", "CACHED_BYTES"):
        monkeypatch.setattr(alignment, name, held)
    sizes = []

    def encode(rows: torch.Tensor) -> dict[str, torch.Tensor]:
        sizes.append(len(rows))
        return two_layers(rows)

    for batch, size in ((7, 256), (90, 3)):
        found = align_rows(encode, batch, batch_size=size)
        for name, values in whole.items():
            np.testing.assert_allclose(found[name], values, atol=1e-6)
    assert max(sizes) * 2 * 7 * 4 <= max(held, 2 * 7 * 4)


def test_batches_without_samples_give_nothing() -> None:
    whole = align_rows(two_layers, 90)
    batches = [(IDS[:0], ROWS[:0]), (IDS, ROWS), (IDS[:0], ROWS[:0])]
    (found,) = alignment.align(two_layers, table_view, batches, views=3, seed=4)
    for name, values in whole.items():
        np.testing.assert_array_equal(found[name], values)
    assert list(alignment.align(two_layers, table_view, batches[:1], views=3, seed=4)) == []


def test_views_that_cannot_be_compared_are_refused() -> None:
    with pytest.raises(UserError, match="views: got 0, 1 or more random views are needed"):
        alignment.align(two_layers, table_view, [(IDS, ROWS)], views=0, seed=4)

    def cut(batch: np.ndarray, ids: torch.Tensor, view: int, seed: int) -> torch.Tensor:
        return torch.from_numpy(batch)[:, : 7 - view // 2]

    with pytest.raises(UserError, match=r"view: view 2 has the shape \(1, 6\) on cpu, view 0 \(1, 7\) on cpu"):
        list(alignment.align(two_layers, cut, [(IDS, ROWS)], views=3, seed=4))


def test_ids_are_on_the_device_of_the_batch() -> None:
    seen = set()

    def view(batch: torch.Tensor, ids: torch.Tensor, view: int, seed: int) -> torch.Tensor:
        seen.add((batch.device.type, ids.device.type))
        return batch

    # The meta device stands for a GPU: what it holds is known by shape alone.
    batches = [(IDS, torch.from_numpy(ROWS).to("meta"))]
    list(alignment.align(lambda views: torch.ones(len(views), 2), view, batches, views=3, seed=4))
    assert seen == {("meta", "meta")}


def test_bf16_is_for_forward_passes_alone() -> None:
    weight = torch.randn(64, 7, generator=torch.Generator().manual_seed(0))
    plain = align_rows(lambda rows: rows @ weight.T, 30)
    half = align_rows(lambda rows: rows @ weight.T, 30, precision="bf16")
    assert half.dtype == np.float32
    assert 0 < np.abs(half - plain).max() < 0.02


MEMORY = """
import json, resource, sys
import numpy as np, torch
from sslmem_kit.measures.alignment import align, measure
from sslmem_kit.data import Dataset
from sslmem_kit.data.loader import ImageLoader
from sslmem_kit.spec.policy import Policy

layers, n, shape = int(sys.argv[1]), int(sys.argv[2]), (8, 8, 3)

def encode(views):
    outputs = {str(layer): views.flatten(1).repeat(1, 788) for layer in range(layers)}
    return outputs if layers > 1 else outputs["0"]

def score(count):
    ids, zeros = np.arange(count), np.zeros(count, np.int64)
    pixels = np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)
    if layers > 1:
        view = lambda batch, ids, view, seed: batch + 0.01 * view
        images = torch.from_numpy(pixels).permute(0, 3, 1, 2).float()
        return list(align(encode, view, [(ids, images)], views=5, seed=0, batch_size=100_000))
    feed = ImageLoader(Dataset("toy", ids, zeros, zeros.astype(bool), ("only",), shape, (), "toy", pixels), "cpu")
    policy = Policy.model_validate([{"op": "noise", "sigma": 0.1}])
    return measure(encode, feed, ids, views=5, policy=policy, seed=0, batch_size=100_000)

score(1)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
score(n)
print(json.dumps((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024))
"""


@pytest.mark.parametrize(("layers", "samples"), [(1, 600), (12, 50)])
def test_memory_does_not_grow_with_samples_or_batch(layers: int, samples: int) -> None:
    """197 tokens of 768 numbers a view: the views of all samples would take more than 1.4 GB, and as much again each temporary."""
    command = [sys.executable, "-c", MEMORY, str(layers), str(samples)]
    taken = json.loads(subprocess.run(command, check=True, capture_output=True, text=True).stdout)
    assert layers * samples * 6 * 151_296 * 4 > 1.4e9
    assert taken < 0.8e9
