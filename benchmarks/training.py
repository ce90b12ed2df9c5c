"""How fast encoders are trained: `python benchmarks/training.py --json`, on a GPU with `--device cuda`.

Three arms train the same encoder by the same method at the same batch size, each in a process of its own that waits while another works:

ours     the loop of `sslmem_kit.training.loop`, as a study's worker runs it: views, records of the history, checkpoints.
bare     forward, backward and optimizer step of the same objective on one fixed batch of views, in the same process settings.
usual    what one writes by hand: PIL images, torchvision's transforms for each image, a DataLoader with two workers, a plain loop.

They take turns of a few seconds (in one round forwards, in the next backwards). ``vs_bare_step`` is the median over rounds of the
seconds of a bare step / those of ours, ``vs_dataloader`` that of our images a second / the usual ones; intervals are the 95 % of a
bootstrap over rounds. A checkpoint is timed by itself, and each step of ours pays its share of one a minute. The usual
arm's epochs on the bundled study are the data's own, as ours are; for the other models, which stand for sets of many thousand images,
it is timed in the middle of an epoch, where its workers are never at rest.
"""

from __future__ import annotations

import argparse
import contextlib
import itertools
import json
import os
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path[:0] = [str(ROOT), str(ROOT / "benchmarks")]

from sslmem_kit.events import Event, Trained
from sslmem_kit.run.schedulers.pool import worker_environment
from sslmem_kit.spec.loading import load_spec, parse_spec
from sslmem_kit.spec.study import StudySpec

MODELS: dict[str, dict[str, Any]] = {
    "resnet18": {
        "encoder": {"backbone": "resnet18", "stem": "small"},
        "objective": {"method": "simclr"},
        "training": {"batch_size": 64, "policy": "simclr"},
    },
    "vit_tiny_mae": {
        "encoder": {"backbone": "vit_tiny_patch16_224", "options": {"patch_size": 4}},
        "objective": {"method": "mae"},
        "training": {"batch_size": 64, "policy": ["crop_resize", "flip"]},
    },
}
"""Sections of a spec; ``demo`` is the bundled study."""
BARS = {"resnet18": (0.95, 1.05), "vit_tiny_mae": (0.95, 1.2), "demo": (0.8, 3.0)}
"""What ``vs_bare_step`` and ``vs_dataloader`` should reach."""
STEPS = {"resnet18": 6, "vit_tiny_mae": 12, "demo": 80}
"""Steps of one turn on the CPU, about; ``--steps`` takes other ones, to try the benchmark."""
GPU_STEPS = 100
"""Steps of one turn on a GPU."""
THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def study(model: str, folder: Path, precision: str, steps: int) -> StudySpec:
    """The spec whose first encoder is trained: no end in sight, and nothing evaluated on the way."""
    endless = {"epochs": 1_000_000, "warmup_epochs": 0, "record_every": 0, "checkpoint_seconds": 1e9, "precision": precision}
    if model == "demo":
        spec = load_spec("digits")
        return spec.model_copy(update={"training": spec.training.model_copy(update=endless)})
    content = MODELS[model]
    batch = content["training"]["batch_size"]
    path = folder / "images.npz"
    if not path.exists():
        rng = np.random.default_rng(0)
        images = rng.integers(0, 256, (steps * batch + 2, 32, 32, 3), np.uint8)
        np.savez(path, images=images, labels=np.arange(len(images)) % 2)
    partition = {"shared": steps * batch - 1, "candidate": 1, "independent": 1, "extra": 0}
    data = {"name": f"npz:{path}", "test_fraction": 0.0}
    training = {**content["training"], **endless}
    return parse_spec({"name": model, "data": data, "partition": partition, **content, "training": training}, where=model)


# --- the arms: each works for ever, and after a turn calls rest with the seconds of a step, which gives it back what to do next

Rest = Callable[[float], str]


def bare(spec: StudySpec, steps: int, folder: Path, rest: Rest, device: str) -> None:
    """Steps on the first batch; told ``checkpoint``, it writes one and gives the seconds of that."""
    import torch

    from sslmem_kit.data.loader import ImageLoader
    from sslmem_kit.data.samples import load_samples
    from sslmem_kit.encoders.device import autocast
    from sslmem_kit.training import checkpoints
    from sslmem_kit.training.objectives import Batch, StepInfo
    from sslmem_kit.training.optimizer import build_optimizer
    from sslmem_kit.training.setup import new_objective
    from sslmem_kit.views import make_views, sample_keys

    samples, plan = load_samples(spec), spec.encoders[0]
    objective = new_objective(spec, plan, samples, device).train()
    optimizer = build_optimizer(objective, spec.training)
    ids = samples.training(plan)[: spec.training.batch_size]
    images, slots = next(ImageLoader(samples.dataset, device).batches([ids])), torch.arange(len(ids), device=device)
    views = [
        make_views(images, slots, view=index, seed=0, policy=draw.policy)
        for index, draw in enumerate(objective.view_specs(spec.training.policy))
    ]
    labels = torch.from_numpy(samples.dataset.labels[samples.dataset.positions(ids)]).long().to(device)
    batch = Batch(tuple(views), sample_keys(0, slots, 0), labels)
    objective.before_step(StepInfo(0, 1, 1))
    while True:
        start = time.perf_counter()
        for _ in range(steps):
            optimizer.zero_grad(set_to_none=True)
            with autocast(device, spec.training.precision):
                loss = objective(batch)
            loss.backward()
            optimizer.step()
        if device == "cuda":
            torch.cuda.synchronize()
        asked = rest((time.perf_counter() - start) / steps)
        while asked == "checkpoint":
            start = time.perf_counter()
            checkpoints.save(folder / "state.pt", {"objective": objective, "optimizer": optimizer}, checkpoints.Progress())
            asked = rest(time.perf_counter() - start)


def ours(spec: StudySpec, steps: int, folder: Path, rest: Rest, device: str) -> None:
    """Whole epochs of `sslmem_kit.training.loop.train`."""
    from sslmem_kit.data.loader import ImageLoader
    from sslmem_kit.data.samples import load_samples
    from sslmem_kit.training.loop import train

    samples, plan = load_samples(spec), spec.encoders[0]
    an_epoch = samples.batches(plan)[1]
    done, start = 0, time.perf_counter()

    def emit(event: Event) -> None:
        nonlocal done, start
        if isinstance(event, Trained) and float(event.epochs).is_integer():
            done += an_epoch
            if done >= steps:
                rest((time.perf_counter() - start) / done)
                done, start = 0, time.perf_counter()

    train(spec, plan, samples, ImageLoader(samples.dataset, device), folder, emit=emit)


def usual(spec: StudySpec, steps: int, folder: Path, rest: Rest, device: str) -> None:
    """The loop of a plain training script."""
    import torch
    from by_hand import Images, model_of, transform_of
    from torch.utils.data import DataLoader

    from sslmem_kit.data.samples import load_samples

    samples, workers, ahead = load_samples(spec), 2, 2
    mean, std = samples.channel_statistics
    pixels = samples.dataset.read(samples.training(spec.encoders[0]))
    size, margin = spec.training.batch_size, workers * ahead
    short = spec.data.name == "digits"
    if not short:  # as many images as a turn within a long epoch takes
        pixels = np.resize(pixels, ((steps + 2 * margin) * size, *pixels.shape[1:]))
    loader = DataLoader(
        Images(pixels, transform_of(spec, mean, std), views=2 if spec.objective.method == "simclr" else 1),
        batch_size=size,
        shuffle=True,
        drop_last=True,
        num_workers=workers,
        prefetch_factor=ahead,
        persistent_workers=True,
        pin_memory=device == "cuda",
    )
    model = model_of(spec, samples.dataset.image_shape).train().to(device)
    optimizer = torch.optim.AdamW(model.parameters(), lr=spec.training.learning_rate, weight_decay=spec.training.weight_decay)
    total = 0.0

    def step(views: list[torch.Tensor]) -> None:
        nonlocal total
        with torch.autocast(device, torch.bfloat16, enabled=spec.training.precision == "bf16"):
            loss = model([view.to(device, non_blocking=True) for view in views])
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
        total += loss.item()

    def whole_epochs() -> float:
        done, start = 0, time.perf_counter()
        while done < steps:
            for views in loader:
                step(views)
                done += 1
        return (time.perf_counter() - start) / done

    def within_an_epoch() -> float:
        batches = iter(loader)
        for views in itertools.islice(batches, margin):
            step(views)
        start = time.perf_counter()
        for views in itertools.islice(batches, steps):
            step(views)
        seconds = time.perf_counter() - start
        for _ in batches:  # the workers come to rest before another arm's turn
            pass
        return seconds / steps

    while True:
        rest(whole_epochs() if short else within_an_epoch())


# --- taking turns


def serve(arm: str, model: str, folder: Path, precision: str, steps: int, device: str) -> None:
    """In an arm's process: work when a line comes in, and answer it with seconds."""

    def rest(seconds: float) -> str:
        print(seconds, flush=True)
        return wait()

    def wait() -> str:
        line = sys.stdin.readline()
        if not line:
            os._exit(0)  # the benchmark is over, or gone
        return line.strip()

    wait()
    ARMS[arm](study(model, folder, precision, steps), steps, folder, rest, device)


ARMS = {"bare": bare, "ours": ours, "usual": usual}


@contextlib.contextmanager
def process(arm: str, model: str, folder: Path, precision: str, steps: int, device: str) -> Iterator[Callable[[str], float]]:
    """An arm's process; call it with a line to be told seconds. Ours and bare start as a study's worker does, usual as any script."""
    cores = len(os.sched_getaffinity(0))
    command = [sys.executable, __file__, "--arm", arm, "--model", model, "--folder", str(folder)]
    command += ["--precision", precision, "--steps", str(steps), "--device", device]
    with contextlib.nullcontext() if arm == "usual" else worker_environment(cores):
        child = subprocess.Popen(command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True)

    def ask(line: str) -> float:
        with contextlib.suppress(BrokenPipeError):
            child.stdin.write(f"{line}\n")
            child.stdin.flush()
        answer = child.stdout.readline()
        if not answer:
            raise SystemExit(f"the process of {arm!r} for {model!r} ended; what it said stands above")
        return float(answer)

    try:
        yield ask
    finally:
        with contextlib.suppress(BrokenPipeError):
            child.stdin.close()
        child.wait()


def measure(model: str, rounds: int, precision: str, steps: int, device: str) -> dict[str, Any]:
    """All arms of a model, taking turns."""
    seconds: dict[str, list[float]] = {arm: [] for arm in ARMS}
    with tempfile.TemporaryDirectory() as folder, contextlib.ExitStack() as stack:
        spec = study(model, Path(folder), precision, steps)
        ask = {arm: stack.enter_context(process(arm, model, Path(folder), precision, steps, device)) for arm in ARMS}
        for arm in ARMS:
            ask[arm]("turn")  # to warm up
        for number in range(rounds):
            for arm in ARMS if number % 2 == 0 else reversed(ARMS):
                seconds[arm].append(ask[arm]("turn"))
        checkpoint = float(np.median([ask["bare"]("checkpoint") for _ in range(3)]))
    each_minute = load_spec("digits").training.checkpoint_seconds
    seconds["ours"] = [step * (1 + checkpoint / each_minute) for step in seconds["ours"]]
    times = {arm: np.array(values) for arm, values in seconds.items()}
    batch = spec.training.batch_size
    vs_bare, vs_usual = BARS[model]
    return {
        **_ratio("vs_bare_step", times["bare"] / times["ours"], vs_bare),
        **_ratio("vs_dataloader", times["usual"] / times["ours"], vs_usual),
        "device": device,
        "precision": precision,
        "rounds": rounds,
        "steps_a_turn": steps,
        "batch_size": batch,
        "seconds_a_step": {arm: round(float(np.median(values)), 6) for arm, values in times.items()},
        "images_per_second": {arm: round(float(batch / np.median(values)), 1) for arm, values in times.items()},
        "checkpoint_seconds": round(checkpoint, 4),
        "rounds_seconds_a_step": {arm: values.round(6).tolist() for arm, values in times.items()},
    }


def _ratio(name: str, ratios: np.ndarray, bar: float) -> dict[str, Any]:
    resampled = np.median(np.random.default_rng(0).choice(ratios, (10_000, len(ratios))), axis=1)
    return {
        name: round(float(np.median(ratios)), 3),
        f"{name}_interval": [round(float(bound), 3) for bound in np.quantile(resampled, (0.025, 0.975))],
        f"{name}_bar": bar,
    }


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description="Speed of training.")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--model", choices=BARS, help="only this one")
    parser.add_argument("--rounds", type=int, default=9, help="turns of each arm (9)")
    parser.add_argument("--precision", choices=("float32", "bf16"), default="float32", help="of all arms (float32)")
    parser.add_argument("--steps", type=int, help=f"steps of one turn ({', '.join(f'{name} {n}' for name, n in STEPS.items())})")
    parser.add_argument("--device", choices=("cpu", "cuda"), default="cpu", help="of all arms (cpu)")
    parser.add_argument("--arm", choices=ARMS, help=argparse.SUPPRESS)
    parser.add_argument("--folder", type=Path, help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.arm:
        serve(options.arm, options.model, options.folder, options.precision, options.steps, options.device)
        return
    for name in THREAD_SETTINGS:  # every arm gets all cores, whatever the shell says
        os.environ.pop(name, None)
    models = {}
    for model in [options.model] if options.model else BARS:
        steps = options.steps or (STEPS[model] if options.device == "cpu" else GPU_STEPS)
        models[model] = measure(model, options.rounds, options.precision, steps, options.device)
        if not options.json:
            told = models[model]
            for name in ("vs_bare_step", "vs_dataloader"):
                low, high = told[f"{name}_interval"]
                print(f"{model:13} {name:14} {told[name]:.3f} ({low:.3f} to {high:.3f}), wanted {told[f'{name}_bar']}")
    if options.json:
        print(json.dumps({"models": models}))


if __name__ == "__main__":
    main()
