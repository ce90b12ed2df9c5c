"""UnitMem: against a transcription of its definition, one pass against all at once, and on a real encoder."""

from __future__ import annotations

import json
import subprocess
import sys

import numpy as np
import pytest
import torch
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from sslmem_kit.data.loader import ImageLoader, to_float
from sslmem_kit.data.samples import load_samples
from sslmem_kit.encoders.backbone import build_encoder
from sslmem_kit.measures.evaluation import layered, score_units
from sslmem_kit.measures.unitmem import NO_SAMPLE, Selectivity, _random
from sslmem_kit.views import scored_view
from tests.training.test_loop import make_spec


def means(activations: np.ndarray, chosen: np.ndarray | None = None) -> tuple[np.ndarray, np.ndarray]:
    """The definition, unit by unit, the strongest sample by one half of the views, or as given: (sample, view, unit) -> (unit,) each."""
    response, background = [], []
    for unit in range(activations.shape[2]):
        both = []
        for choosing, measuring in ((activations[:, ::2], activations[:, 1::2]), (activations[:, 1::2], activations[:, ::2])):
            highest = choosing[:, :, unit].mean(axis=1).argmax() if chosen is None else chosen[unit]
            mu = measuring[:, :, unit].mean(axis=1)
            both.append((mu[highest], np.delete(mu, highest).mean()))
        for values, one in zip((response, background), np.mean(both, axis=0), strict=True):
            values.append(one)
    return np.array(response), np.array(background)


def unit_mem(activations: np.ndarray, chosen: np.ndarray | None = None) -> np.ndarray:
    """UnitMem of the definition, (unit,)."""
    response, background = means(activations, chosen)
    total = response + background
    return np.divide(response - background, total, out=np.zeros_like(total), where=total > 0)


def on_the_same_views(activations: np.ndarray) -> np.ndarray:
    """The rule of earlier versions, and of the authors' code."""
    mu = activations.mean(axis=1)
    highest = mu.max(axis=0)
    rest = (mu.sum(axis=0) - highest) / (len(mu) - 1)
    return (highest - rest) / (highest + rest)


def streamed(ids: np.ndarray, activations: np.ndarray, *, size: int):
    selectivity = Selectivity()
    for start in range(0, len(ids), size):
        selectivity.add(ids[start : start + size], activations[start : start + size])
    return selectivity.result()


@given(st.integers(2, 30), st.integers(1, 7), st.integers(1, 7), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_one_pass_gives_the_definition(samples: int, views: int, size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    activations, ids = rng.gamma(0.7, 1.0, (samples, views, 6)).astype(np.float32), rng.permutation(1000)[:samples]
    found = streamed(ids, activations, size=size)
    exact = activations.astype(float)
    np.testing.assert_array_equal(found["strongest"], ids[exact.mean(axis=1).argmax(axis=0)])
    if views == 1:
        assert np.isnan([found[name] for name in ("unit_mem", "standard_error", "response", "background", "null")]).all()
        return
    np.testing.assert_allclose(found["unit_mem"], unit_mem(exact), rtol=1e-4, atol=1e-6)
    np.testing.assert_allclose([found["response"], found["background"]], means(exact), rtol=1e-4)
    np.testing.assert_allclose(found["null"], unit_mem(exact, _random(ids, 6).argmax(axis=0)), rtol=1e-4, atol=1e-6)
    if views < 4:
        assert np.isnan(found["standard_error"]).all()
        return
    without = []
    for view in range(views):
        part = exact.copy()
        part[:, view] = np.nan  # halves stay those of all views
        without.append(halves_without(part))
    error = np.sqrt((views - 1) / views * ((np.array(without) - np.mean(without, axis=0)) ** 2).sum(axis=0))
    np.testing.assert_allclose(found["standard_error"], error, rtol=1e-3, atol=1e-5)


def halves_without(activations: np.ndarray) -> np.ndarray:
    """UnitMem by halves in which a view is missing, NaN."""
    halves = [np.nanmean(activations[:, start::2], axis=1, keepdims=True) for start in (0, 1)]
    return unit_mem(np.concatenate(halves, axis=1))


@pytest.mark.parametrize("views", [2, 5, 10])
@pytest.mark.parametrize("shape", [0.7, 2.0])
def test_pure_noise_gives_about_zero_and_its_null(views: int, shape: float) -> None:
    """Chosen and measured on the same views it gave .26 to .69: the largest of many means is no property of a sample."""
    activations = np.random.default_rng(views).gamma(shape, 1.0, (400, views, 500))
    found = streamed(np.arange(400), activations, size=64)
    assert on_the_same_views(activations).mean() > 0.25
    # The ratio of a noisy mean is below zero on average, by about a quarter of its relative variance, and the null as much.
    assert float(found["unit_mem"].mean()) == pytest.approx(-1 / (4 * shape * views), abs=0.04)
    difference = found["unit_mem"] - found["null"]
    assert abs(float(difference.mean())) < 4 * float(difference.std()) / np.sqrt(500)


def test_a_unit_that_does_respond_to_one_sample_is_found_as_before() -> None:
    rng = np.random.default_rng(0)
    activations = rng.gamma(20.0, 0.05, (200, 6, 50))
    for unit in range(50):
        activations[unit, :, unit] *= 9
    found = streamed(np.arange(200), activations, size=30)
    assert found["strongest"].values.tolist() == list(range(50))
    assert float(found["unit_mem"].mean()) == pytest.approx(0.8, abs=0.01)  # (9 - 1) / (9 + 1)
    assert float(found["unit_mem"].min()) > 0.7
    assert abs(float(found["null"].mean())) < 0.05


@given(st.integers(0, 2**31), st.floats(1e-3, 1e3))
@settings(max_examples=30, deadline=None)
def test_neither_the_order_of_samples_nor_the_scale_of_a_unit_matters(seed: int, scale: float) -> None:
    rng = np.random.default_rng(seed)
    activations, ids, order = rng.gamma(1.0, 1.0, (12, 3, 4)), np.arange(12), rng.permutation(12)
    one, other = streamed(ids, activations, size=5), streamed(ids[order], scale * activations[order], size=4)
    np.testing.assert_allclose(one["unit_mem"], other["unit_mem"], rtol=1e-5)
    np.testing.assert_array_equal(one["strongest"], other["strongest"])


def test_the_ends_of_the_scale_and_dead_units() -> None:
    activations = np.zeros((5, 2, 3))
    activations[3, :, 0] = 2.0  # one sample alone
    activations[:, :, 1] = 7.0  # all alike: of equally strong samples the first
    found = streamed(np.array([10, 20, 30, 40, 50]), activations, size=2)
    assert found["unit_mem"].values.tolist() == [1.0, 0.0, 0.0]
    assert found["strongest"].values.tolist() == [40, 10, NO_SAMPLE]
    assert found["background"].values.tolist() == [0.0, 7.0, 0.0]


def test_a_single_sample_has_no_others() -> None:
    with pytest.raises(ValueError, match="among samples, there are 1"):
        streamed(np.array([1]), np.ones((1, 2, 3)), size=1)


def test_the_units_of_an_encoder_by_brute_force() -> None:
    """Every view and sample by itself, from the modules' outputs; tokens and maps."""
    for method in ("simclr", "mae"):
        spec = make_spec(method)
        spec = spec.model_copy(update={"scoring": spec.scoring.model_copy(update={"layers": "auto", "batch_size": 7})})
        samples = load_samples(spec)
        torch.manual_seed(0)
        encoder = build_encoder(spec.encoder, samples.dataset.image_shape).eval()
        ids = samples.dataset.ids[samples.scored][:9]
        found = score_units(spec, encoder, ids, ImageLoader(samples.dataset, "cpu"))
        by_layer = layered(spec, encoder)
        last = by_layer.names[-1]
        assert found["layer"].values.tolist() == [name for name, count in by_layer.channels.items() for _ in range(count)]
        rows = []
        for sample in ids:
            image = to_float(torch.from_numpy(samples.dataset.read(np.array([sample]))))
            row = []
            for view in (1, 2):
                drawn = scored_view(image, torch.tensor([sample]), view=view, seed=spec.view_seed, policy=spec.scoring.policy)
                with torch.inference_mode():
                    output = encoder(drawn)[0].abs().numpy()
                row.append(output.mean(axis=0) if method == "mae" else output.mean(axis=(1, 2)))
            rows.append(row)
        ours = found.isel(unit=found["layer"].values == last)
        assert ours["channel"].values.tolist() == list(range(ours.sizes["unit"]))
        np.testing.assert_allclose(ours["unit_mem"], unit_mem(np.array(rows, float)), rtol=1e-3, atol=1e-5)


MEMORY = """
import json, resource
import numpy as np, torch
from torch import nn
from sslmem_kit.data import Dataset
from sslmem_kit.data.loader import ImageLoader
from sslmem_kit.encoders.layers import Layered
from sslmem_kit.spec.policy import Policy
from sslmem_kit.measures.unitmem import measure_units

shape = (8, 8, 3)

class Tokens(nn.Module):
    def forward(self, views):
        return views.flatten(1).repeat(1, 788).unflatten(1, (197, 768))

class Add(nn.Module):
    def forward(self, tokens):
        return tokens + 1

layered = Layered(nn.Sequential(Tokens(), *[Add() for _ in range(11)]), "all", torch.zeros(1, 3, 8, 8))
assert len(layered.names) == 12

def score(count):
    ids, zeros = np.arange(count), np.zeros(count, np.int64)
    pixels = np.random.default_rng(0).integers(0, 256, (count, *shape), dtype=np.uint8)
    feed = ImageLoader(Dataset("toy", ids, zeros, zeros.astype(bool), ("only",), shape, (), "toy", pixels), "cpu")
    policy = Policy.model_validate([{"op": "noise", "sigma": 0.1}])
    measure_units(layered, feed, ids, views=5, policy=policy, seed=0, batch_size=256)

score(2)
before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
score(51)
print(json.dumps((resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before) * 1024))
"""


def test_memory_does_not_grow_with_layers() -> None:
    """Twelve layers of 197 tokens of 768 numbers: of all views of a batch they would take 1.8 GB."""
    done = subprocess.run([sys.executable, "-c", MEMORY], check=True, capture_output=True, text=True)
    assert 12 * 255 * 151_296 * 4 > 1.8e9
    assert json.loads(done.stdout) < 0.8e9


def test_pieces_do_not_change_selectivity(monkeypatch: pytest.MonkeyPatch) -> None:
    spec = make_spec("simclr")
    spec = spec.model_copy(update={"scoring": spec.scoring.model_copy(update={"layers": "auto"})})
    samples = load_samples(spec)
    torch.manual_seed(0)
    encoder = build_encoder(spec.encoder, samples.dataset.image_shape).eval()
    ids, loader = samples.dataset.ids[samples.scored][:20], ImageLoader(samples.dataset, "cpu")
    whole = score_units(spec, encoder, ids, loader)
    monkeypatch.setattr("sslmem_kit.measures.alignment.SEVERAL_BYTES", 1)
    seen: list[int] = []
    hook = encoder.register_forward_pre_hook(lambda _, given: seen.append(len(given[0])))
    xr.testing.assert_allclose(score_units(spec, encoder, ids, loader), whole, rtol=1e-4, atol=1e-6)
    hook.remove()
    assert set(seen[1:]) == {1}  # the first are those that are watched
