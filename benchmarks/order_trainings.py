"""Trainings for `benchmarks/order.py`: `python benchmarks/order_trainings.py WORK JOB ... [--workers 2]`.

A job is ``STUDY:DESIGN:FIRST:SEEDS:ENCODERS[:EPOCHS]``: of study seed STUDY, SEEDS training seeds from number FIRST on (1000 is added, so
that the truth's are others), ENCODERS of each. DESIGN is ``drop10``: cuts of the 100 samples of f into folds of 10, each left out in turn;
``swap20``: the same, with independents in the place of those left out; ``random20``: any 20 for each encoder. ``drop1`` is leave-one-out
itself. An epoch has three steps whatever is left out. A training seed is one file; those that are there are not made again.

Recorded after a third, two thirds and all of the epochs: mean alignment of every sample by kind of pairs of views, the clean image with each
view and views with each other, on the truth's ten views and on ten others.
"""

from __future__ import annotations

import argparse
import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sslmem_kit.run.schedulers.pool import worker_environment
from sslmem_kit.spec import load_spec
from sslmem_kit.spec.study import StudySpec

EPOCHS = 150
FIRST_SEED = 1000
VIEWS = 10
STEPS = 3


def spec_of(seed: int, epochs: int = EPOCHS) -> StudySpec:
    """Spec of the truth: the bundled study ground_truth with 80 candidates."""
    spec = load_spec("ground_truth", seed=seed)
    sizes = {"shared": 20, "candidate": 80, "independent": 40, "extra": 100}
    return spec.model_copy(
        update={
            "partition": spec.partition.model_copy(update=sizes),
            "scoring": spec.scoring.model_copy(update={"views": 2 * VIEWS}),
            "training": spec.training.model_copy(update={"epochs": epochs}),
        }
    )


def left_out(design: str, count: int, seed: int, samples: int) -> np.ndarray:
    """Samples that each of ``count`` encoders lacks, (encoder, sample) bool."""
    kind, size = design.rstrip("0123456789"), int(design.lstrip("abcdefghijklmnopqrstuvwxyz"))
    if design == "drop1":  # after one that lacks none
        return np.concatenate([np.zeros((1, samples), bool), np.eye(samples, dtype=bool)[samples - count + 1 :]])
    rng = np.random.Generator(np.random.Philox([seed, size, len(kind)]))
    out, folds, order = np.zeros((count, samples), bool), samples // size, np.arange(samples)
    for number in range(count):
        fold = 0 if kind == "random" else number % folds
        if not fold:
            order = rng.permutation(samples)
        out[number, order[fold * size : (fold + 1) * size]] = True
    return out


def train_group(path: Path, spec: StudySpec, training_seed: int, design: str, count: int) -> str:
    """Train the encoders of one training seed and write what was measured."""
    import torch

    from sslmem_kit.data.loader import image_loader
    from sslmem_kit.data.samples import load_samples
    from sslmem_kit.names import PARTITION_CODE
    from sslmem_kit.spec.design import EncoderPlan
    from sslmem_kit.store import view_pairs
    from sslmem_kit.training.setup import encoder_seed, epoch_order
    from sslmem_kit.training.stacked import NO_CHECKPOINT, StackedModules, _StackedTraining
    from sslmem_kit.views import several_views

    torch.set_num_threads(1)
    started, samples = time.time(), load_samples(spec)
    loader = image_loader(samples.dataset, "cpu")
    base = EncoderPlan(id="f", family="f", seed=training_seed)
    f, g = (samples.slots(base.model_copy(update={"family": family})) for family in "fg")
    independent = g[samples.codes[samples.dataset.positions(g)] == PARTITION_CODE["independent"]]
    n, pool = len(f), np.concatenate([f, independent])
    out = left_out(design, count, training_seed, n)
    rng = np.random.Generator(np.random.Philox([training_seed, 7]))
    used, holder = (
        np.concatenate([~out, np.zeros((len(out), len(independent)), bool)], axis=1),
        np.tile(np.arange(n), (len(out), 1)),
    )
    swapped = design.startswith("swap")
    if swapped:
        for row, gone in enumerate(out):
            holder[row, gone] = n + rng.permutation(len(independent))[: gone.sum()]
            used[row, holder[row, gone]] = True
    trained = used.sum(axis=1)
    batch = min(spec.training.batch_size, int(trained.min()) // STEPS)

    class Samples:
        """Samples of these memberships, in the slots of f."""

        dataset, channel_statistics = samples.dataset, samples.channel_statistics

        def slots(self, plan: EncoderPlan) -> np.ndarray:
            return np.where(used[int(plan.id)], pool, -1)

        def batches(self, plan: EncoderPlan) -> tuple[int, int]:
            return batch, STEPS

    class Training(_StackedTraining):
        """Stacked training in which an independent comes where the sample would, whose place it takes."""

        def order(self, number: int, epoch: int) -> torch.Tensor:
            seed = encoder_seed(self.spec, self.plans[number], "order", epoch)
            if swapped:
                order = torch.from_numpy(holder[number])[epoch_order(torch.ones(n, dtype=torch.bool), seed)]
            else:
                order = epoch_order(self.occupied[number, :n], seed)
            return order[: self.steps * self.batch]

    plans = [base.model_copy(update={"id": f"{number}"}) for number in range(len(out))]
    group = Training(spec, plans, Samples(), loader, NO_CHECKPOINT)
    ids = samples.dataset.ids[samples.scored]
    first, second = np.array(view_pairs(2 * VIEWS)).T
    kinds = [
        kind & part
        for part in (second <= VIEWS, (second > VIEWS) & ((first > VIEWS) | (first == 0)))
        for kind in (first == 0, first > 0)
    ]
    weights = torch.from_numpy(np.stack([kind / kind.sum() for kind in kinds]).astype(np.float32))
    images, keys = next(loader.batches([ids])), torch.from_numpy(ids)
    scored = range(1, 2 * VIEWS + 1)
    views = [images, *several_views(images, keys, views=scored, seed=spec.view_seed, policy=spec.scoring.policy)]
    scorer = StackedModules([objective.encoder for objective in group.objectives])
    scorer.template.eval()

    @torch.inference_mode()
    def record() -> np.ndarray:
        """Return mean alignments, (encoder, sample, kind)."""
        for name in ("parameters", "buffers"):
            own = getattr(group.stacked, name).items()
            setattr(scorer, name, {key[len("encoder.") :]: value.detach() for key, value in own if key.startswith("encoder.")})
        units = torch.stack([torch.nn.functional.normalize(scorer(view, shared=True).flatten(2), dim=2) for view in views])
        found = np.empty((len(out), len(ids), len(kinds)), np.float32)
        for number in range(len(out)):
            own = units[:, number]
            distances = [torch.linalg.vector_norm(own[view + 1 :] - own[view], dim=2) for view in range(len(own) - 1)]
            found[number] = (weights @ torch.cat(distances)).T.numpy()
        return found

    last = spec.training.epochs
    epochs = [round(last / 3), round(2 * last / 3), last]
    recorded = []
    with torch.random.fork_rng(devices=[]):
        for epoch in range(last):
            group.train_epoch(epoch)
            if epoch + 1 in epochs:
                recorded.append(record())
    path.parent.mkdir(parents=True, exist_ok=True)
    partial = path.with_suffix(".tmp.npz")
    np.savez(
        partial,
        alignment=np.stack(recorded, axis=1),  # encoder, epoch, sample, kind
        epochs=np.array(epochs),
        out=out,
        pool=pool,
        sample=ids,
        seed=training_seed,
        trained=trained,
    )
    partial.rename(path)
    return f"{path.parent.name} {path.stem}: {len(out)} encoders in {time.time() - started:.0f} s"


def jobs(work: Path, text: str) -> list[tuple[Any, ...]]:
    """Trainings of a job that are not there yet: arguments of :func:`train_group`."""
    study, design, first, seeds, count, *rest = text.split(":")
    epochs = int(rest[0]) if rest else EPOCHS
    folder = work / f"study{study}-{design}{f'-{epochs}' if rest else ''}"
    numbers = range(FIRST_SEED + int(first), FIRST_SEED + int(first) + int(seeds))
    paths = [(folder / f"{number}-{count}.npz", number) for number in numbers]
    return [(path, spec_of(int(study), epochs), number, design, int(count)) for path, number in paths if not path.exists()]


def main() -> None:
    """Train what is missing."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("work", type=Path)
    parser.add_argument("jobs", nargs="+", help="STUDY:DESIGN:FIRST:SEEDS:ENCODERS[:EPOCHS]")
    parser.add_argument("--workers", type=int, default=2)
    options = parser.parse_args()
    todo = [arguments for text in options.jobs for arguments in jobs(options.work, text)]
    with worker_environment(1), ProcessPoolExecutor(options.workers, get_context("spawn")) as pool:
        for line in pool.map(train_group, *zip(*todo, strict=True)) if todo else ():
            print(line, flush=True)


if __name__ == "__main__":
    main()
