"""A complete study directory of up to 1.3 million made-up samples, without training: what reading, scoring and the explorer are measured on.

    python benchmarks/large_study.py OUT --samples 1281167 --seeds 1

Alignments are those of a study whose candidates (and, mirrored, independents) are planted with a mean score of ``EFFECT``; images are
coloured shapes, each sample's its own. A study that is already there is left as it is; one is there only when it is whole.
"""

from __future__ import annotations

import argparse
import json
import os
import shutil
import time
from pathlib import Path

import numpy as np
import xarray as xr
import zarr

from sslmem_kit import store
from sslmem_kit.data.partition import trained_on
from sslmem_kit.names import ALIGNMENT, ENCODER, PARTITION_CODE, PARTITIONS, SAMPLE
from sslmem_kit.spec.loading import parse_spec
from sslmem_kit.store import integrity
from sslmem_kit.store.directory import create_or_resume
from sslmem_kit.study import Study, open_study

IMAGENET = 1_281_167
EFFECT = 0.1
SIDE = 32
EPOCHS, RECORD_EVERY = 90, 30
KEPT, RANKS, EXTREMES = 2_000, 8, 64
STEP = 32_768
"""Samples whose images are in memory at once."""


def make_large_study(path: Path | str, samples: int, seeds: int = 1, *, views: int = 4) -> Study:
    """A study of ``samples`` scored samples and ``seeds`` pairs of encoders; one that is already there is opened as it is.

    Raises
    ------
    ValueError
        What is there has other sizes.
    """
    path = Path(path).resolve()
    if path.exists():
        study = open_study(path)
        there = (study.results.sizes[SAMPLE], study.spec.training.seeds, study.spec.scoring.views)
        if there != (samples, seeds, views):
            raise ValueError(f"{path} holds a study of (samples, seeds, views) = {there}, not {(samples, seeds, views)}")
        return study
    partial = path.with_name(path.name + ".partial")
    shutil.rmtree(partial, ignore_errors=True)
    _write(partial, path, samples, seeds, views)
    os.replace(partial, path)
    return open_study(path)


def _write(partial: Path, path: Path, samples: int, seeds: int, views: int) -> None:
    begun = time.monotonic()
    spec = parse_spec(
        {
            "name": path.name,
            "description": "Made-up alignments and images, for measuring",
            "data": {"name": "npz:made_up.npz"},
            "training": {"seeds": seeds, "epochs": EPOCHS, "record_every": RECORD_EVERY},
            "scoring": {"views": views},
        },
        where="large_study",
    ).resolved(path)
    study = create_or_resume(partial, spec)
    rng = np.random.Generator(np.random.Philox(0))
    ids = np.arange(samples)
    classes = 1000 if samples > 500_000 else 10
    names, labels = [f"class {number:03d}" for number in range(classes)], rng.permutation(ids % classes)
    codes = _codes(samples, rng)
    seen = trained_on(codes, [plan.family for plan in spec.encoders])
    named = {"method": spec.objective.method, "backbone": spec.encoder.backbone, "dataset": spec.data.name}
    store.create(
        study.results_path,
        samples=xr.Dataset(
            coords={
                "sample": ids,
                "label": ("sample", labels, {"class_names": names}),
                "partition": ("sample", codes),
            }
        ),
        encoders=[{"encoder": plan.id, "family": plan.family, "seed": plan.seed, **named} for plan in spec.encoders],
        trained_on=seen,
        views=views,
        policy=spec.scoring.policy.name,
        epochs=EPOCHS,
        recorded_epochs=spec.training.recorded_epochs,
        tasks={spec.data.name: names},
        # All zero is what an absent chunk reads as: nothing is written yet, and nothing held.
        thumbnails=np.broadcast_to(np.uint8(0), (samples, SIDE, SIDE, 3)),
        block=spec.scoring.block,
        attrs={
            "name": path.name,
            "spec": json.dumps(spec.as_dict()),
            "spec_hash": spec.hash,
            "data_fingerprint": f"made-up-{samples}",
            "skipped_files": "[]",
            "versions": "{}",
            "device": "none",
        },
    )
    group = zarr.open_group(study.results_path, mode="r+", use_consolidated=False)
    difference = _write_encoders(group, codes, seen, np.array(spec.training.recorded_epochs), rng)
    for start in range(0, samples, STEP):
        part = slice(start, start + STEP)
        group["images/thumbnail"][part] = _images(ids[part], labels[part])
    kept = _choose_kept(difference, codes, rng)
    _write_details(study.results_path, kept, labels, views, len(spec.encoders), rng)
    store.set_attributes(study.results_path, {"seconds": round(time.monotonic() - begun, 3)})
    integrity.renew(study.results_path)  # arrays were written whole, past the store's own writers
    store.finish(study.results_path)


def _codes(samples: int, rng: np.random.Generator) -> np.ndarray:
    """The paper's partition: 80, 10 and 10 % of the train side, and as many extras, which come last, as a test side does."""
    tenth = round(samples / 11)
    codes = np.full(samples - tenth, PARTITION_CODE["shared"], np.int8)
    codes[:tenth], codes[tenth : 2 * tenth] = PARTITION_CODE["candidate"], PARTITION_CODE["independent"]
    return np.concatenate([rng.permutation(codes), np.full(tenth, PARTITION_CODE["extra"], np.int8)])


def _write_encoders(
    group: zarr.Group, codes: np.ndarray, seen: np.ndarray, recorded: np.ndarray, rng: np.random.Generator
) -> np.ndarray:
    """Write everything that has an encoder axis; the samples' differences g minus f."""
    samples, pairs = len(codes), group[ALIGNMENT].shape[1]
    hardness = rng.gamma(4.0, 0.1, samples).astype(np.float32)
    memorized = (EFFECT * rng.gamma(2.0, 0.5, samples)).astype(np.float32)
    own = np.isin(codes, [PARTITION_CODE["candidate"], PARTITION_CODE["independent"]])
    progress = (recorded / recorded[-1]).astype(np.float32)
    epochs = np.arange(1, EPOCHS + 1)
    difference = np.zeros(samples)
    for index in range(seen.shape[1]):
        lowered = memorized * (own & seen[:, index])
        base = 0.4 + hardness + rng.normal(0, 0.02, samples).astype(np.float32)
        noise = 0.03 * rng.standard_normal((samples, pairs), np.float32)
        values = np.clip((base - lowered)[:, None] + noise, 0, 2)
        group[ALIGNMENT][:, :, index] = values
        group[f"trajectory/{ALIGNMENT}"][:, index, :] = np.clip(
            values.mean(axis=1, keepdims=True) + lowered[:, None] * (1 - progress) + 0.2 * (1 - progress), 0, 2
        )
        difference += (1 if index % 2 else -1) * values.mean(axis=1)
        for name, row in (
            ("training/loss", 5 / epochs**0.3 + rng.normal(0, 0.03, EPOCHS)),
            ("training/learning_rate", 1e-3 * (1 + np.cos(np.pi * epochs / EPOCHS)) / 2),
            ("trajectory/probe_accuracy", 0.75 - 0.4 * (1 - progress)),
            ("downstream/accuracy", np.full((1, 1), 0.75)),
        ):
            group[name][index] = row.astype(np.float32)
        group["completeness/scored"][index] = True
        group["completeness/evaluated"][index] = True
    return difference


def _images(ids: np.ndarray, labels: np.ndarray, view: int = 0) -> np.ndarray:
    """(sample, y, x, channel) uint8: a disc or a bar, by class, on a vertical gradient; views differ in place, size and brightness."""
    own = np.modf((ids[:, None] + 1) * np.sqrt([2, 3, 5, 7, 11, 13, 17, 19, 23, 29, 31, 37]))[0].astype(np.float32)
    colours = own[:, :9].reshape(-1, 3, 3)
    place = np.modf(own[:, 9:] + view * np.array([0.13, 0.29, 0.07], np.float32))[0]
    y, x = np.mgrid[:SIDE, :SIDE].astype(np.float32) / SIDE
    dy, dx = y - 0.2 - 0.6 * place[:, 0, None, None], x - 0.2 - 0.6 * place[:, 1, None, None]
    radius = (0.12 + 0.2 * place[:, 2])[:, None, None]
    bar = (labels % 2 == 1)[:, None, None]
    inside = np.where(bar, np.abs(dy) < radius / 2, dy**2 + dx**2 < radius**2)
    bright = 255 * 0.92**view
    ramp = y[:, :1, None]
    ground = bright * (colours[:, None, None, 0] * ramp + colours[:, None, None, 1] * (1 - ramp))
    shape = (bright * colours[:, None, None, 2]).astype(np.uint8)
    return np.where(inside[..., None], shape, ground.astype(np.uint8))


def _choose_kept(difference: np.ndarray, codes: np.ndarray, rng: np.random.Generator) -> np.ndarray:
    """Positions of the samples whose views are kept: every partition's extremes, then candidates by chance."""
    chosen = []
    for code in range(len(PARTITIONS)):
        members = np.flatnonzero(codes == code)
        order = members[np.argsort(difference[members])]
        chosen += [order[:EXTREMES], order[-EXTREMES:]]
    extremes = np.unique(np.concatenate(chosen))
    others = np.setdiff1d(np.flatnonzero(codes == PARTITION_CODE["candidate"]), extremes)
    more = rng.permutation(others)[: max(0, KEPT - len(extremes))]
    return np.sort(np.concatenate([extremes, more]))


def _write_details(path: Path, kept: np.ndarray, labels: np.ndarray, views: int, encoders: int, rng: np.random.Generator) -> None:
    """The optional groups: the views of the kept samples, and neighbours of their own class at made-up distances."""
    thumbnails = np.stack([_images(kept, labels[kept], view) for view in range(views + 1)], axis=1)
    neighbour = np.empty((len(kept), encoders, RANKS), np.int64)
    for index in range(encoders):
        # The next ones in a shuffled row of the class: never the sample itself, and none twice.
        row = rng.permutation(len(labels))
        row = row[np.argsort(labels[row], kind="stable")]
        place = np.empty_like(row)
        place[row] = np.arange(len(row))
        first = np.searchsorted(labels[row], labels[kept])
        size = np.searchsorted(labels[row], labels[kept], side="right") - first
        onward = place[kept, None] - first[:, None] + np.arange(1, RANKS + 1)
        neighbour[:, index] = row[first[:, None] + onward % size[:, None]]
    distance = np.sort(0.1 + 0.4 * rng.random(neighbour.shape, np.float32), axis=-1)
    coords = {"kept": kept}
    groups = {
        "views": (
            xr.Dataset({"thumbnail": (("kept", "view", "y", "x", "channel"), thumbnails)}, coords).assign_coords(
                view=np.arange(views + 1)
            ),
            {"thumbnail": {"chunks": (64, *thumbnails.shape[1:])}},
        ),
        "neighbours": (
            xr.Dataset(
                {
                    "neighbour": (("kept", ENCODER, "rank"), neighbour, {"references": SAMPLE}),
                    "distance": (("kept", ENCODER, "rank"), distance),
                },
                coords,
                attrs={"n_reference": len(labels)},
            ).assign_coords(rank=np.arange(1, RANKS + 1)),
            None,
        ),
    }
    for name, (dataset, encoding) in groups.items():
        dataset.to_zarr(path, group=name, mode="w", zarr_format=3, consolidated=False, encoding=encoding)


def main() -> None:
    """Make the study that the arguments ask for."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("out", type=Path, metavar="OUT")
    parser.add_argument("--samples", type=int, default=IMAGENET)
    parser.add_argument("--seeds", type=int, default=1, help="pairs of encoders")
    parser.add_argument("--views", type=int, default=4)
    arguments = parser.parse_args()
    make_large_study(arguments.out, arguments.samples, arguments.seeds, views=arguments.views)


if __name__ == "__main__":
    main()
