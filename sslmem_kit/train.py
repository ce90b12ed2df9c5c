"""Training of one encoder: the loop, its schedule, its records and its checkpoints.

All chance comes from named streams and counters: initial weights from (seed, init), the order of an epoch from (seed, order, epoch), a
view from (seed, slot, epoch). So a checkpoint needs no generator state, and a run that was killed and started again ends, on the same
number of CPU threads, with the very bits of one that was not. With ``training.coupled`` f and g of one seed share all streams.
"""

from __future__ import annotations

import csv
import io
import math
import pickle
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import numpy as np
import timm.optim
import torch
from torch import Tensor, nn

from sslmem_kit.alignment import autocast, measure, pooled_features
from sslmem_kit.downstream.probe import linear_probe_accuracy
from sslmem_kit.encoders import Encoder, build_encoder
from sslmem_kit.errors import UserError
from sslmem_kit.feed import Feed
from sslmem_kit.objectives import build_objective
from sslmem_kit.objectives._lightly import LARS, cosine_warmup_schedule
from sslmem_kit.streams import stream_seed
from sslmem_kit.study.folder import write_atomically
from sslmem_kit.study.samples import StudySamples
from sslmem_kit.study.spec import EncoderPlan, StudySpec, TrainingSpec
from sslmem_kit.views import keys, make_views

Report = Callable[[int, float], None]
"""Called after each epoch with the number of finished epochs and the mean loss."""

HISTORY = ("epoch", "loss", "learning_rate", "seconds", "probe_accuracy", "mean_alignment")

HISTORY_SECONDS = 1
"""``history.csv`` is written at most this often while an encoder trains."""


@dataclass
class Progress:
    """How far a training has come, and what was recorded on the way."""

    epoch: int = 0
    step: int = 0
    loss_sum: float = 0.0
    seconds: float = 0.0
    history: list[dict[str, Any]] = field(default_factory=list)
    trajectory: dict[int, np.ndarray] = field(default_factory=dict)

    def rows(self, epochs: int, recorded: tuple[int, ...]) -> dict[str, np.ndarray]:
        """The rows of the results store, by ``group/variable``."""
        last = self.history[-1]["probe_accuracy"]
        assert len(self.history) == epochs
        by_epoch = {row["epoch"]: row for row in self.history}
        return {
            "training/loss": np.array([row["loss"] for row in self.history]),
            "training/learning_rate": np.array([row["learning_rate"] for row in self.history]),
            "trajectory/alignment": np.stack([self.trajectory[epoch] for epoch in recorded], axis=1),
            "trajectory/probe_accuracy": np.array([by_epoch[epoch]["probe_accuracy"] for epoch in recorded]),
            "downstream/accuracy": np.array([[last]]),
        }


def new_objective(spec: StudySpec, plan: EncoderPlan, samples: StudySamples, device: str) -> nn.Module:
    """Encoder and objective with the initial weights of a plan; torch's own generator is left as it was."""
    mean, std = samples.channel_statistics
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(_seed(spec, plan, "init"))
        encoder = build_encoder(spec.encoder, samples.dataset.image_shape, mean=mean, std=std)
        return build_objective(encoder, spec.objective).to(device)


def train(
    spec: StudySpec, plan: EncoderPlan, samples: StudySamples, feed: Feed, folder: Path, *, report: Report | None = None
) -> tuple[Encoder, Progress]:
    """Train one encoder, going on from its checkpoint where there is one.

    Parameters
    ----------
    spec, plan
        The study and which of its encoders.
    samples, feed
        Its samples and their images on the device.
    folder
        The encoder's folder; ``resume/state.pt`` and ``history.csv`` are written there.
    report
        Told of every finished epoch.

    Raises
    ------
    UserError
        The loss is not finite, or there are too few samples for a batch.
    """
    training = spec.training
    device = feed.device
    ids = samples.slots(plan.family)
    occupied = torch.from_numpy(ids >= 0)
    micro_batch, steps = epoch_batches(training, int(occupied.sum()))
    objective = new_objective(spec, plan, samples, device)
    optimizer = _optimizer(objective, training)
    checkpoint = folder / "resume" / "state.pt"
    progress = _load(checkpoint, objective, optimizer, device) if checkpoint.exists() else Progress()
    noise = _seed(spec, plan, "views")
    total, warmup = training.epochs * steps, training.warmup_epochs * steps
    with torch.random.fork_rng(devices=_cuda_devices(device)):
        saved = started = time.monotonic()
        shown = -math.inf
        for epoch in range(progress.epoch, training.epochs):
            order = torch.randperm(len(ids), generator=torch.Generator().manual_seed(_seed(spec, plan, "order", epoch)))
            order = order[occupied[order]]
            objective.train()
            for step, batches in _steps(order, micro_batch, training.accumulate, steps, progress.step, ids, feed):
                number = epoch * steps + step
                # Dropout and stochastic depth draw from torch's generator, which is put where this step begins.
                torch.manual_seed(_seed(spec, plan, "step", number))
                rate = (
                    cosine_warmup_schedule(number, total, training.learning_rate, 0.0, warmup, 0.0)
                    if total > 1
                    else training.learning_rate
                )
                for group in optimizer.param_groups:
                    group["lr"] = rate
                optimizer.zero_grad(set_to_none=True)
                for chosen, images in batches:
                    slot = chosen.to(device)
                    views = [
                        make_views(images, slot, view=epoch * objective.views + view, seed=noise, policy=training.policy)
                        for view in range(objective.views)
                    ]
                    with autocast(torch.device(device).type, training.precision):
                        loss = objective(views, keys(noise, slot, -1 - epoch)) / training.accumulate
                    loss.backward()
                    progress.loss_sum += loss.item()
                optimizer.step()
                progress.step = step + 1
                if not math.isfinite(progress.loss_sum):
                    raise UserError(
                        f"training: the loss of {plan.id} is not finite in epoch {epoch + 1}; lower training.learning_rate "
                        f"({training.learning_rate}) or raise training.warmup_epochs ({training.warmup_epochs})"
                    )
                if time.monotonic() - saved > training.checkpoint_seconds and progress.step < steps:
                    progress.seconds, started = progress.seconds + time.monotonic() - started, time.monotonic()
                    _save(checkpoint, objective, optimizer, progress)
                    saved = time.monotonic()
            row = {"epoch": epoch + 1, "loss": progress.loss_sum / steps, "learning_rate": rate}
            if epoch + 1 in training.recorded_epochs:
                alignment, row["probe_accuracy"] = _record(spec, objective.encoder, samples, feed)
                progress.trajectory[epoch + 1] = alignment
                row["mean_alignment"] = float(alignment.mean())
            progress.seconds, started = progress.seconds + time.monotonic() - started, time.monotonic()
            progress.history.append({**row, "seconds": round(progress.seconds, 3)})
            progress.epoch, progress.step, progress.loss_sum = epoch + 1, 0, 0.0
            if time.monotonic() - saved > training.checkpoint_seconds or epoch + 1 == training.epochs:
                _save(checkpoint, objective, optimizer, progress)
                saved = time.monotonic()
            if time.monotonic() - shown > HISTORY_SECONDS and epoch + 1 < training.epochs:
                write_history(folder / "history.csv", progress)
                shown = time.monotonic()
            if report:
                report(epoch + 1, row["loss"])
    write_history(folder / "history.csv", progress)
    return objective.encoder.eval(), progress


def epoch_batches(training: TrainingSpec, samples: int) -> tuple[int, int]:
    """Samples in a micro-batch, and optimizer steps in an epoch.

    Raises
    ------
    UserError
        Too few samples for one step.
    """
    if samples < 2:
        raise UserError(f"partition: a family would train on {samples} sample, at least 2 are needed")
    size = min(training.batch_size, samples)
    steps = samples // (size * training.accumulate)
    if not steps:
        needed = size * training.accumulate
        raise UserError(
            f"training.accumulate: {training.accumulate} micro-batches of {size} need {needed} samples, a family trains on {samples}"
        )
    return size, steps


def write_history(path: Path, progress: Progress) -> None:
    """Write the rows of ``HISTORY`` as CSV; what was not recorded in an epoch is empty."""
    text = io.StringIO()
    writer = csv.DictWriter(text, HISTORY, lineterminator="\n")
    writer.writeheader()
    writer.writerows(progress.history)
    write_atomically(path, text.getvalue().encode())


def load_progress(checkpoint: Path) -> Progress:
    """What a checkpoint records beside weights."""
    return _progress(_read(checkpoint, "cpu"))


def drop_optimizer(checkpoint: Path) -> None:
    """Keep of a finished training's checkpoint only its records: weights are in ``weights.safetensors``."""
    state = _read(checkpoint, "cpu")
    _write(checkpoint, {"progress": state["progress"]})


def _seed(spec: StudySpec, plan: EncoderPlan, *names: str | int) -> int:
    own = () if spec.training.coupled else (plan.family,)
    return stream_seed(plan.seed, "training", *own, *names)


def _steps(
    order: Tensor, size: int, accumulate: int, steps: int, first: int, ids: np.ndarray, feed: Feed
) -> Iterator[tuple[int, Iterator[tuple[Tensor, Tensor]]]]:
    """From step ``first`` on: its number, and its micro-batches as (slots, images). Slots left over at the end sit this epoch out."""
    chosen = [order[start * size : (start + 1) * size] for start in range(first * accumulate, steps * accumulate)]
    images = feed.batches(ids[batch.numpy()] for batch in chosen)
    batches = zip(chosen, images, strict=False)
    for step in range(first, steps):
        yield step, (next(batches) for _ in range(accumulate))


def _optimizer(objective: nn.Module, training: TrainingSpec) -> torch.optim.Optimizer:
    raw = [name for name, _ in objective.named_parameters() if name.rsplit(".", 1)[-1].endswith(("_token", "pos_embed"))]
    groups = timm.optim.param_groups_weight_decay(objective, training.weight_decay, no_weight_decay_list=raw)
    if training.optimizer == "adamw":
        return torch.optim.AdamW(groups, lr=training.learning_rate, fused=True)
    if training.optimizer == "lars":
        return LARS(groups, lr=training.learning_rate, momentum=training.momentum)
    return torch.optim.SGD(groups, lr=training.learning_rate, momentum=training.momentum)


def _record(spec: StudySpec, encoder: Encoder, samples: StudySamples, feed: Feed) -> tuple[np.ndarray, float]:
    """Mean alignment of every scored sample, (sample,) float32, and the accuracy of a linear probe."""
    training = encoder.training
    encoder.eval()
    alignment = score_samples(spec, encoder, samples.dataset.ids[samples.scored], feed).mean(axis=1)
    accuracy = probe_accuracy(spec, encoder, samples, feed)
    encoder.train(training)
    return alignment, accuracy


def score_samples(spec: StudySpec, encoder: Encoder, ids: np.ndarray, feed: Feed) -> np.ndarray:
    """Alignment of samples by the study's scoring section, (sample, augmentation) float32."""
    scoring = spec.scoring
    return measure(
        encoder,
        feed,
        ids,
        views=scoring.views,
        policy=scoring.policy,
        seed=spec.view_seed,
        batch_size=scoring.batch_size,
        precision=scoring.precision,
    )


def probe_accuracy(spec: StudySpec, encoder: Encoder, samples: StudySamples, feed: Feed) -> float:
    """Linear probe on the shared samples, tested on the test side; NaN where the data has none."""
    if not len(samples.probe_test):
        return float("nan")
    arguments = []
    for positions in (samples.probe_training, samples.probe_test):
        ids = samples.dataset.ids[positions]
        arguments += [pooled_features(encoder, feed, ids, batch_size=spec.scoring.batch_size), samples.dataset.labels[positions]]
    return linear_probe_accuracy(*arguments)


def _save(checkpoint: Path, objective: nn.Module, optimizer: torch.optim.Optimizer, progress: Progress) -> None:
    state = {"objective": objective.state_dict(), "optimizer": optimizer.state_dict()}
    recorded = {epoch: torch.from_numpy(values) for epoch, values in progress.trajectory.items()}
    _write(checkpoint, {**state, "progress": {**vars(progress), "trajectory": recorded}})


def _write(checkpoint: Path, state: dict[str, Any]) -> None:
    checkpoint.parent.mkdir(parents=True, exist_ok=True)
    buffer = io.BytesIO()
    torch.save(state, buffer)
    write_atomically(checkpoint, buffer.getvalue())


def _load(checkpoint: Path, objective: nn.Module, optimizer: torch.optim.Optimizer, device: str) -> Progress:
    state = _read(checkpoint, device)
    if "objective" not in state:
        raise UserError(
            f"{checkpoint}: this training is finished, but its weights.safetensors is gone; restore it, or delete {checkpoint.name}"
        )
    objective.load_state_dict(state["objective"])
    optimizer.load_state_dict(state["optimizer"])
    return _progress(state)


def _progress(state: dict[str, Any]) -> Progress:
    content = state["progress"]
    return Progress(**{**content, "trajectory": {epoch: values.cpu().numpy() for epoch, values in content["trajectory"].items()}})


def _read(checkpoint: Path, device: str) -> dict[str, Any]:
    try:
        return torch.load(checkpoint, map_location=device, weights_only=True)
    except (RuntimeError, EOFError, pickle.UnpicklingError, OSError) as error:
        raise UserError(
            f"{checkpoint}: the checkpoint is damaged ({' '.join(str(error).split())[:120]}); delete it to train anew"
        ) from None


def _cuda_devices(device: str) -> list[int]:
    return list(range(torch.cuda.device_count())) if device.startswith("cuda") else []
