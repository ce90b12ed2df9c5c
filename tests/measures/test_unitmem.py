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
from sslmem_kit.measures.unitmem import NO_SAMPLE, Selectivity
from sslmem_kit.views import scored_view
from tests.training.test_loop import make_spec


def unit_mem(activations: np.ndarray) -> np.ndarray:
    """The definition, unit by unit: (sample, view, unit) -> (unit,)."""
    values = []
    for unit in range(activations.shape[2]):
        mu = activations[:, :, unit].mean(axis=1)
        highest = mu.argmax()
        mu_max, mu_rest = mu[highest], np.delete(mu, highest).mean()
        values.append((mu_max - mu_rest) / (mu_max + mu_rest) if mu_max + mu_rest else 0.0)
    return np.array(values)


def streamed(ids: np.ndarray, activations: np.ndarray, *, size: int):
    selectivity = Selectivity()
    for start in range(0, len(ids), size):
        selectivity.add(ids[start : start + size], activations[start : start + size])
    return selectivity.result()


@given(st.integers(2, 30), st.integers(1, 5), st.integers(1, 7), st.integers(0, 2**31))
@settings(max_examples=60, deadline=None)
def test_one_pass_gives_the_definition(samples: int, views: int, size: int, seed: int) -> None:
    rng = np.random.default_rng(seed)
    activations, ids = rng.gamma(0.7, 1.0, (samples, views, 6)).astype(np.float32), rng.permutation(1000)[:samples]
    found = streamed(ids, activations, size=size)
    np.testing.assert_allclose(found["unit_mem"], unit_mem(activations.astype(float)), rtol=1e-5, atol=1e-7)
    np.testing.assert_array_equal(found["strongest"], ids[activations.astype(float).mean(axis=1).argmax(axis=0)])
    np.testing.assert_allclose(found["response"], activations.mean(axis=1).max(axis=0), rtol=1e-5)
    if views == 1:
        assert np.isnan(found["standard_error"]).all()
        return
    without = np.array([unit_mem(np.delete(activations, view, axis=1).astype(float)) for view in range(views)])
    error = np.sqrt((views - 1) / views * ((without - without.mean(axis=0)) ** 2).sum(axis=0))
    np.testing.assert_allclose(found["standard_error"], error, rtol=1e-4, atol=1e-6)


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
