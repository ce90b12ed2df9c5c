"""Trainings for :mod:`order`: encoders of any membership, recorded at several epochs of each training."""

from __future__ import annotations

import sys
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sslmem_kit.spec import load_spec
from sslmem_kit.spec.study import StudySpec

EPOCHS = (50, 100, 150)
FIRST_SEED = 1000
VIEWS = 10


def spec_of(seed: int, *, data: str = "digits", method: str = "simclr", epochs: int = 150) -> StudySpec:
    """The study of the truth."""
    spec = load_spec("ground_truth", seed=seed)
    sizes = {"shared": 20, "candidate": 80, "independent": 40, "extra": 100}
    return spec.model_copy(
        update={
            "partition": spec.partition.model_copy(update=sizes),
            "scoring": spec.scoring.model_copy(update={"views": 2 * VIEWS}),
            "training": spec.training.model_copy(update={"epochs": epochs}),
        }
    )


def left_out(design: str, count: int, seed: int, samples: int = 100) -> np.ndarray:
    """(encoder, sample) bool: cuts into folds, one after another, the last in part."""
    kind, size = design.rstrip("0123456789"), int(design.lstrip("abcdefghijklmnopqrstuvwxyz"))
    rng = np.random.Generator(np.random.Philox([seed, size, len(kind)]))
    out = np.zeros((count, samples), bool)
    folds = samples // size
    for number in range(count):
        if kind in ("drop", "swap"):
            if number % folds == 0:
                order = rng.permutation(samples)
            out[number, order[number % folds * size : (number % folds + 1) * size]] = True
        elif kind in ("random",):
            out[number, rng.permutation(samples)[:size]] = True
    return out


def train_group(path: str, study_seed: int, training_seed: int, design: str, count: int, kwargs: dict) -> str:
    """Train ``count`` encoders of one training seed and write what was measured."""
    import torch

    from sslmem_kit.data.loader import image_loader
    from sslmem_kit.data.samples import load_samples
    from sslmem_kit.measures.alignment import measure
    from sslmem_kit.names import PARTITION_CODE
    from sslmem_kit.spec.design import EncoderPlan
    from sslmem_kit.store import view_pairs
    from sslmem_kit.training.setup import encoder_seed, epoch_order
    from sslmem_kit.training.stacked import StackedModules, _StackedTraining

    torch.set_num_threads(1)
    spec = spec_of(study_seed, **kwargs)
    samples = load_samples(spec)
    loader = image_loader(samples.dataset, "cpu")
    base = EncoderPlan(id="f", family="f", seed=training_seed)
    f = samples.slots(base)
    g = samples.slots(base.model_copy(update={"family": "g"}))
    codes = samples.codes[samples.dataset.positions(g)]
    extra_slots = g[codes == PARTITION_CODE["independent"]]
    n, swap = len(f), design.startswith("swap")
    out = np.zeros((1, n), bool) if design == "all1" else left_out(design, count, training_seed, n)
    if design == "drop1":  # leave-one-out of the candidates, after one of all
        out = np.concatenate([np.zeros((1, n), bool), np.eye(n, dtype=bool)[n - count + 1 :]])
    pool = np.concatenate([f, extra_slots])
    rng = np.random.Generator(np.random.Philox([training_seed, 7]))
    used = np.zeros((len(out), len(pool)), bool)
    used[:, :n] = ~out
    holder = np.tile(np.arange(n), (len(out), 1))
    if swap:
        for row, gone in enumerate(out):
            stand_in = n + rng.permutation(len(extra_slots))[: gone.sum()]
            holder[row, gone] = stand_in
            used[row, stand_in] = True
    trained = used[:, :n].sum(axis=1) if not swap else np.full(len(out), n)
    batch = min(32, int(trained.min()) // 3)
    plans = [base.model_copy(update={"id": f"{number}"}) for number in range(len(out))]

    class Samples:
        dataset = samples.dataset
        channel_statistics = samples.channel_statistics

        def slots(self, plan):
            return np.where(used[int(plan.id)], pool, -1)

        def batches(self, plan):
            return batch, 3

    class Training(_StackedTraining):
        def order(self, number, epoch):
            seed = encoder_seed(self.spec, self.plans[number], "order", epoch)
            if swap:
                order = torch.from_numpy(holder[number])[epoch_order(torch.ones(n, dtype=torch.bool), seed)]
            else:
                order = epoch_order(self.occupied[number, :n], seed)
            return order[: self.steps * self.batch]

    group = Training(spec, plans, Samples(), loader, Path("/nonexistent/none"))
    # images of independents are in slots n.. whatever encoder
    ids = samples.dataset.ids[samples.scored]
    pairs = np.array(view_pairs(2 * VIEWS))
    half = np.where(pairs > VIEWS, 2, 1)
    kinds = [
        (pairs[:, 0] == 0) & (half[:, 1] == 1),
        (pairs[:, 0] > 0) & (half[:, 1] == 1),
        (pairs[:, 0] == 0) & (half[:, 1] == 2),
        (half[:, 0] == 2) & (half[:, 1] == 2),
    ]
    scorer = StackedModules([objective.encoder for objective in group.objectives])

    def record() -> np.ndarray:
        scorer.parameters = {k[8:]: v.detach() for k, v in group.stacked.parameters.items() if k.startswith("encoder.")}
        scorer.buffers = {k[8:]: v.detach() for k, v in group.stacked.buffers.items() if k.startswith("encoder.")}
        scorer.template.eval()

        with torch.inference_mode():
            return distances()

    scoring = spec.scoring
    images = next(loader.batches([ids]))
    from sslmem_kit.views import several_views

    views = [
        images,
        *several_views(images, torch.from_numpy(ids), views=range(1, 2 * VIEWS + 1), seed=spec.view_seed, policy=scoring.policy),
    ]
    weights = np.stack([kind / kind.sum() for kind in kinds])
    rows = [torch.from_numpy(pairs[:, side].copy()) for side in (0, 1)]
    weight = torch.from_numpy(weights.astype(np.float32))

    def distances() -> np.ndarray:
        units = torch.stack([torch.nn.functional.normalize(scorer(view, shared=True).flatten(2), dim=2) for view in views])
        found = np.empty((len(out), len(ids), 4), np.float32)
        for number in range(len(out)):
            own = units[:, number]  # view, sample, feature
            values = [torch.linalg.vector_norm(own[first + 1 :] - own[first], dim=2) for first in range(len(own) - 1)]
            found[number] = (weight @ torch.cat(values)).T.numpy()
        return found

    started = time.time()
    recorded, scoring_seconds = [], 0.0
    last = spec.training.epochs
    at = [round(e * last / 150) for e in EPOCHS]
    with torch.random.fork_rng(devices=[]):
        for epoch in range(last + 1):
            if epoch in at:
                t = time.time()
                recorded.append(record())
                scoring_seconds += time.time() - t
            if epoch < last:
                group.train_epoch(epoch)
    final = Path(path)
    final.parent.mkdir(parents=True, exist_ok=True)
    temporary = final.with_suffix(".tmp.npz")
    np.savez(
        temporary,
        alignment=np.stack(recorded, axis=1).astype(np.float32),  # encoder, epoch, sample, kind
        epochs=np.array(at),
        out=out,
        used=used,
        pool=pool,
        sample=ids,
        partition=samples.codes[samples.scored],
        seed=training_seed,
        trained=trained,
        batch=batch,
        seconds=time.time() - started,
        scoring_seconds=scoring_seconds,
    )
    temporary.rename(final)
    return f"{final.name} {time.time() - started:.0f} s ({scoring_seconds:.0f} scoring), {len(out)} encoders"


def main() -> None:
    import argparse, os

    parser = argparse.ArgumentParser()
    parser.add_argument("work", type=Path)
    parser.add_argument("jobs", nargs="+", help="study_seed:design:first_training:trainings:per_training[:data:method:epochs]")
    parser.add_argument("--workers", type=int, default=2)
    o = parser.parse_args()
    from sslmem_kit.run.schedulers.pool import worker_environment

    todo = []
    for job in o.jobs:
        s, design, first, trainings, per, *rest = job.split(":")
        kwargs = dict(zip(("data", "method", "epochs"), rest))
        if "epochs" in kwargs:
            kwargs["epochs"] = int(kwargs["epochs"])
        name = "-".join([f"study{s}", design, *rest])
        for k in range(int(first), int(first) + int(trainings)):
            path = o.work / name / f"{FIRST_SEED + k}-{per}.npz"
            if not path.exists():
                todo.append((str(path), int(s), FIRST_SEED + k, design, int(per), kwargs))
    with worker_environment(1), ProcessPoolExecutor(o.workers, get_context("spawn")) as pool:
        for line in pool.map(_call, todo):
            print(time.strftime("%H:%M:%S"), line, flush=True)


def _call(arguments):
    return train_group(*arguments)


if __name__ == "__main__":
    main()
