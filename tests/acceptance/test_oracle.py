"""A slow, plain transcription of eq. 1, eq. 2 and the released protocol against what the toolkit stores and reduces."""

from __future__ import annotations

import itertools
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr

from sslmem_kit import scores, store
from sslmem_kit.data.loader import to_float
from sslmem_kit.data.samples import load_samples
from sslmem_kit.encoders.backbone import build_encoder
from sslmem_kit.encoders.weights import load_weights
from sslmem_kit.names import PARTITIONS
from sslmem_kit.run.study import run_study
from sslmem_kit.spec.loading import parse_spec
from sslmem_kit.spec.seeds import derive_seed
from sslmem_kit.study import Study
from sslmem_kit.views import scored_view

VIEWS = 3


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """Two pairs of barely trained encoders on few digits."""
    spec = parse_spec(
        {
            "name": "oracle",
            "data": {"name": "digits"},
            "partition": {"shared": 40, "candidate": 12, "independent": 12, "extra": 12},
            "encoder": {"backbone": "resnet18", "options": {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16]}},
            "training": {"seeds": 2, "epochs": 2, "warmup_epochs": 0, "batch_size": 16, "record_every": 1, "learning_rate": 0.01},
            "scoring": {"views": VIEWS, "batch_size": 32, "block": 32},
        },
        where="test",
    ).resolved(Path())
    return run_study(spec, tmp_path_factory.mktemp("oracle") / "study", scheduler="serial")


@pytest.fixture(scope="module")
def distances(study: Study) -> dict[str, np.ndarray]:
    """d(enc(view_a), enc(view_b)) of one sample at a time, (sample, view, view) by encoder, in numpy's double precision."""
    spec, samples = study.spec, load_samples(study.spec)
    mean, std = samples.channel_statistics
    found = {}
    for plan in spec.encoders:
        encoder = build_encoder(spec.encoder, samples.dataset.image_shape, mean=mean, std=std)
        load_weights(encoder, study.encoder(plan.id) / "weights.safetensors")
        encoder.eval()
        table = np.zeros((len(samples.scored), VIEWS + 1, VIEWS + 1))
        for row, sample in enumerate(samples.dataset.ids[samples.scored]):
            image = to_float(torch.from_numpy(samples.dataset.read([sample])))
            seen = []
            for view in range(VIEWS + 1):
                seed = derive_seed(spec.seed, "scored views")
                augmented = scored_view(image, torch.tensor([sample]), view=view, seed=seed, policy=spec.scoring.policy)
                with torch.no_grad():
                    representation = encoder(augmented).numpy().astype(np.float64).ravel()
                seen.append(representation / np.sqrt((representation**2).sum()))
            for a, b in itertools.product(range(VIEWS + 1), repeat=2):
                table[row, a, b] = np.sqrt(((seen[a] - seen[b]) ** 2).sum())
        found[plan.id] = table
    return found


def test_stored_alignment_is_the_distance_of_each_pair(study: Study, distances: dict[str, np.ndarray]) -> None:
    alignment = study.results["alignment"]
    for encoder, table in distances.items():
        stored = alignment.sel(encoder=encoder).values
        for column, (a, b) in enumerate(store.view_pairs(VIEWS)):
            np.testing.assert_allclose(stored[:, column], table[:, a, b], atol=1e-5)


def literal_scores(distances: dict[str, np.ndarray], protocol: str) -> np.ndarray:
    """m(x) of every sample, by the equations, (sample, seed)."""
    between = [(a, b) for a in range(1, VIEWS + 1) for b in range(1, VIEWS + 1) if a < b]
    clean = [(0, view) for view in range(1, VIEWS + 1)]
    kinds = {"paper": [(1, between)], "released": [(1, clean)], "corrected": [(1 / 3, clean), (2 / 3, between)]}[protocol]
    n, seeds = len(next(iter(distances.values()))), sorted({encoder.partition("-")[2] for encoder in distances})
    m = np.zeros((n, len(seeds)))
    for x in range(n):
        for column, seed in enumerate(seeds):
            of_f, of_g = (
                sum(share * np.mean([distances[f"{family}-{seed}"][x, a, b] for a, b in pairs]) for share, pairs in kinds)
                for family in "fg"
            )
            m[x, column] = of_g - of_f
    return m


@pytest.mark.parametrize("protocol", ["paper", "released", "corrected"])
def test_scores_are_those_of_the_equations(study: Study, distances: dict[str, np.ndarray], protocol: str) -> None:
    m = literal_scores(distances, protocol)
    found = study.scores(protocol)
    np.testing.assert_allclose(found["difference"], m.mean(axis=1), atol=1e-5)
    if protocol == "corrected":
        np.testing.assert_allclose(found["sslmem"], m.mean(axis=1), atol=1e-5)
        return
    candidates = m[found["partition"].values == PARTITIONS.index("candidate")]
    np.testing.assert_allclose(found["sslmem"], (m / np.ptp(candidates, axis=0)).mean(axis=1), atol=1e-3)


def test_leave_out_is_the_family_contrast_of_candidates(study: Study) -> None:
    results = study.results
    both = xr.merge(
        [
            scores.leave_out(results["alignment"], results["trained_on"])["sslmem"].rename("left"),
            scores.family_contrast(results["alignment"])["sslmem"].rename("families"),
        ]
    ).compute()
    by_name = {name: both.isel(sample=both["partition"].values == code) for code, name in enumerate(PARTITIONS)}
    np.testing.assert_allclose(by_name["candidate"]["left"], by_name["candidate"]["families"], atol=1e-6)
    np.testing.assert_allclose(by_name["independent"]["left"], -by_name["independent"]["families"], atol=1e-6)
    assert by_name["shared"]["left"].isnull().all(), "shared samples have no encoder that did not see them"
    assert by_name["extra"]["left"].isnull().all()


def test_figure_2b_is_recorded(study: Study) -> None:
    trajectory = study.tree["trajectory"].to_dataset()
    last = trajectory["alignment"].sel(epoch=2).values
    np.testing.assert_allclose(last, scores.mean_over_pairs(study.results["alignment"]).values, atol=1e-5)
    assert np.isfinite(trajectory["probe_accuracy"]).all()
    assert np.isfinite(study.tree["training/loss"]).all()
