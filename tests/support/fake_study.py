"""A complete study directory with made-up alignments, in a second and without torch: shared by all tests of what reads studies.

And workers that are no processes of their own, for tests of what runs studies but not of the processes.
"""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import xarray as xr
import zarr
from numpy.dtypes import StringDType

from sslmem_kit import store
from sslmem_kit.data.duplicates import BY_HASH, Twins, groups_of_pairs
from sslmem_kit.data.partition import assign, trained_on
from sslmem_kit.events import OnEvent
from sslmem_kit.names import PARTITION_CODE
from sslmem_kit.run.schedulers.pool import InThisProcess
from sslmem_kit.spec.loading import parse_spec
from sslmem_kit.store import details, integrity
from sslmem_kit.store.directory import create_or_resume
from sslmem_kit.study import Study

CLASSES = ("zero", "one", "two")


def make_study(
    path: Path,
    *,
    samples: int = 240,
    seeds: int = 3,
    views: int = 4,
    effect: float = 0.1,
    complete: bool = True,
    classes: Sequence[str] = CLASSES,
    files: Callable[[int], str] | None = None,
) -> Study:
    """A study whose candidates (and, mirrored, independents) are planted with a mean score of about ``effect``; with ``files`` of each id."""
    spec = parse_spec(
        {
            "name": path.name,
            "data": {"name": "digits"},
            "training": {"seeds": seeds, "epochs": 6, "warmup_epochs": 1, "record_every": 2},
            "scoring": {"views": views, "block": 64},
        },
        where="fake",
    ).resolved(path)
    create_or_resume(path, spec)
    study = Study(path)
    rng = np.random.default_rng(0)
    ids = np.arange(samples) * 3
    labels = np.arange(samples) % len(classes)
    codes = assign(labels, np.arange(samples) >= samples * 0.85, spec.partition, seed=0)
    used = codes >= 0
    ids, labels, codes = ids[used], labels[used], codes[used]
    plans = spec.encoders
    seen = trained_on(codes, [plan.family for plan in plans])
    coords = xr.Dataset(
        coords={
            "sample": ids,
            "label": ("sample", labels, {"class_names": list(classes)}),
            "partition": ("sample", codes),
            **({} if files is None else {"file": ("sample", np.array([files(id_) for id_ in ids], StringDType()))}),
        }
    )
    rows = [
        {"encoder": p.id, "family": p.family, "seed": p.seed, "method": "simclr", "backbone": "resnet18", "dataset": "digits"}
        for p in plans
    ]
    thumbnails = rng.integers(0, 256, (len(ids), 8, 8, 1), dtype=np.uint8)
    store.create(
        study.results_path,
        samples=coords,
        encoders=rows,
        trained_on=seen,
        views=views,
        policy="simclr",
        epochs=spec.training.epochs,
        recorded_epochs=spec.training.recorded_epochs,
        tasks={"digits": [str(digit) for digit in range(10)]},
        thumbnails=thumbnails,
        original_shapes=None if files is None else np.stack([100 + ids, 200 + ids], axis=1),
        block=spec.scoring.block,
        attrs={"spec": "{}", "spec_hash": spec.hash, "versions": "{}", "device": "cpu"},
    )
    pairs = len(store.view_pairs(views))
    hardness = rng.gamma(4.0, 0.1, (len(ids), 1))
    memorized = effect * rng.gamma(2.0, 0.5, len(ids))
    blocks = range(0, len(ids), spec.scoring.block)
    for index in range(len(plans) if complete else 1):
        noise = rng.normal(0, 0.03, (len(ids), pairs))
        membership = np.isin(codes, [PARTITION_CODE["candidate"], PARTITION_CODE["independent"]]) & seen[:, index]
        values = np.clip(0.4 + hardness + noise - (memorized * membership)[:, None], 0, 2).astype(np.float32)
        for block, start in enumerate(blocks):
            store.write_alignment(study.results_path, encoder=index, block=block, values=values[start : start + spec.scoring.block])
        epochs = np.arange(1, spec.training.epochs + 1)
        recorded = np.array(spec.training.recorded_epochs)
        store.write_evaluation(
            study.results_path,
            encoder=index,
            rows={
                "training/loss": 5 / epochs + rng.normal(0, 0.05, len(epochs)),
                "training/learning_rate": np.full(len(epochs), 1e-3),
                "trajectory/alignment": values.mean(axis=1, keepdims=True) + (0.3 / recorded),
                "trajectory/probe_accuracy": 0.9 - 0.3 / recorded,
                "trajectory/feature_std": np.full(len(recorded), 0.8),
                "trajectory/effective_rank": np.full(len(recorded), 20.0),
                "trajectory/embedding_std": np.full(len(recorded), 0.9),
                "downstream/accuracy": np.full((1, len(store.PROBES)), 0.85),
            },
        )
    if complete:
        _add_details(study, thumbnails, rng)
        store.set_attributes(study.results_path, {"seconds": 12.5})
        store.finish(study.results_path)
    return study


def without_checksums(study: Path) -> None:
    """Make of a study's store one that an earlier version wrote."""
    results = study / "results.zarr"
    shutil.rmtree(results / integrity.RECORD)
    root = json.loads((results / "zarr.json").read_text())
    del root["attributes"]["sealed"]
    (results / "zarr.json").write_text(json.dumps(root))


def _add_details(study: Study, thumbnails: np.ndarray, rng: np.random.Generator) -> None:
    """Views that are noisy thumbnails, and neighbours drawn at random."""
    views, encoders = study.spec.scoring.views, len(study.spec.encoders)
    # Of a study of its own, whose tree is opened before the store is finished.
    scores = Study(study.path).scores()
    kept = details.choose_kept(scores, bytes_each=details.view_bytes(thumbnails.shape[1:], views))
    ids = scores["sample"].values
    at = np.searchsorted(ids, kept["kept"].values)
    clean = thumbnails[at][:, None]
    noisy = np.clip(clean + rng.integers(-40, 41, (len(at), views, *thumbnails.shape[1:])), 0, 255).astype(np.uint8)
    details.write_views(study.results_path, kept, np.concatenate([clean, noisy], axis=1))
    count = min(details.NEIGHBOURS, len(ids) - 1)
    shifts = np.argsort(rng.random((len(at), encoders, len(ids) - 1)), axis=2)[..., :count] + 1
    distances = np.sort(rng.uniform(0.1, 1.2, shifts.shape), axis=2)
    neighbours = ids[(at[:, None, None] + shifts) % len(ids)]
    details.write_neighbours(study.results_path, kept, neighbours, distances, references=len(ids))
    write_twins(study, [])


def write_twins(study: Study, pairs: Sequence[tuple[int, int]]) -> None:
    """Add ``/duplicates`` with pairs of near-duplicates, by position among the samples."""
    root = xr.open_zarr(study.results_path, consolidated=False)
    first, second = (np.array([pair[side] for pair in pairs], np.int64) for side in (0, 1))
    count = root.sizes["sample"]
    found = Twins(
        first,
        second,
        np.full(len(pairs), 0.05, np.float32),
        np.full(len(pairs), BY_HASH, np.uint8),
        groups_of_pairs(first, second, count),
        0.1,
        {"views_kept": 0.9},
    )
    details.write_duplicates(study.results_path, found, root["sample"].values, np.arange(count), root["partition"].values)


def plant_twins(study: Study, pairs: Sequence[tuple[int, int]]) -> None:
    """Put other near-duplicates in place of those of a finished study."""
    shutil.rmtree(study.results_path / store.DUPLICATES)
    write_twins(study, pairs)
    store.finish(study.results_path)
    integrity.renew(study.results_path)


def give_to_design(study: Study, design: str, *, seeds: Sequence[int]) -> None:
    """Make the encoders of some seeds those of another design: all are trained on the samples of f, every second one without one in three
    candidates."""
    group = zarr.open_group(study.results_path, mode="r+", use_consolidated=False)
    chosen = np.flatnonzero(np.isin(group["seed"][:], seeds))
    designs, seen = group["design"][:], group["trained_on"][:]
    designs[chosen] = design
    seen[:, chosen] = seen[:, :1]
    candidates = np.flatnonzero(group["partition"][:] == PARTITION_CODE["candidate"])
    seen[np.ix_(candidates[::3], chosen[1::2])] = False
    group["design"][:], group["trained_on"][:] = designs, seen
    integrity.renew(study.results_path)


def add_group(study: Study, name: str, group: xr.Dataset) -> None:
    """Add a group to a finished study, such as ``layers`` or ``significance``."""
    group.to_zarr(study.results_path, group=name, mode="w", zarr_format=3, consolidated=False)
    store.finish(study.results_path)
    integrity.renew(study.results_path)


@contextmanager
def workers_in_this_process() -> Iterator[None]:
    """Within, studies, trees and plans do the work of their workers themselves, one task after the other: no start of a process."""

    @contextmanager
    def pool(workers: int, threads: int, on_event: OnEvent, **_: Any) -> Iterator[InThisProcess]:
        yield InThisProcess(on_event)

    with pytest.MonkeyPatch.context() as patch:
        for module in ("study", "plan", "removal_tree", "frontier"):
            patch.setattr(f"sslmem_kit.run.{module}.pool", pool)
        yield
