"""Training of one encoder: the loop, its records and its checkpoints, on one device or shared by the ranks of a team.

All chance comes from named streams and counters: initial weights from (seed, init), the order of an epoch from (seed, order, epoch), a
view from (seed, slot, epoch). So a checkpoint needs no generator state, and a run that was killed and started again ends, on the same
number of CPU threads and ranks, with the very bits of one that was not. With ``training.coupled`` f and g of one seed share all streams.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
import torch
from torch import Tensor

from sslmem_kit import checkpoints
from sslmem_kit.alignment import autocast
from sslmem_kit.checkpoints import Progress
from sslmem_kit.design import EncoderPlan
from sslmem_kit.devices import Team
from sslmem_kit.downstream.spread import collapse
from sslmem_kit.encoders import Encoder, build_encoder
from sslmem_kit.errors import UserError
from sslmem_kit.evaluation import record
from sslmem_kit.feed import Feed
from sslmem_kit.objectives import Batch, Moment, Objective, build_objective, draw_views
from sslmem_kit.optimization import build_optimizer, learning_rate
from sslmem_kit.privacy import PrivateGradients
from sslmem_kit.streams import stream_seed
from sslmem_kit.study.samples import StudySamples
from sslmem_kit.study.spec import StudySpec
from sslmem_kit.study.training import TrainingSpec
from sslmem_kit.views import keys

TELL_SECONDS = 1
"""Progress is told, and ``history.csv`` written, at most this often while an encoder trains."""

CHECK_STEPS = 50
"""Steps after which a device is asked whether its loss is finite; the CPU after each, where asking costs nothing."""


Tell = Callable[..., None]
"""Hears events: ("trained", epochs, loss, images a second) about once a second and after each epoch, ("warned", sentence) of what a
person should know."""


def new_objective(spec: StudySpec, plan: EncoderPlan, samples: StudySamples, device: str) -> Objective:
    """Encoder and objective with the initial weights of a plan; torch's own generator is left as it was."""
    mean, std = samples.channel_statistics
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(encoder_seed(spec, plan, "init"))
        encoder = build_encoder(spec.encoder, samples.dataset.image_shape, mean=mean, std=std)
        return build_objective(encoder, spec.objective, classes=len(samples.dataset.class_names)).to(device)


def train(
    spec: StudySpec,
    plan: EncoderPlan,
    samples: StudySamples,
    feed: Feed,
    folder: Path,
    *,
    team: Team | None = None,
    tell: Tell = lambda *event: None,
) -> tuple[Encoder, Progress]:
    """Train one encoder, going on from its checkpoint where there is one.

    Parameters
    ----------
    spec, plan
        The study and which of its encoders.
    samples, feed
        Its samples and their images on the device.
    folder
        The encoder's folder; ``resume/state.pt`` and ``history.csv`` are written there, by the first rank.
    team
        The ranks that train it together; by default the feed's device alone.
    tell
        Hears of progress.

    Raises
    ------
    UserError
        The loss or the weights are not finite (the last good checkpoint is kept), or there are too few samples for a batch.
    """
    training = _Training(spec, plan, samples, feed, folder, team or Team(feed.device), tell)
    with torch.random.fork_rng(devices=list(range(torch.cuda.device_count())) if feed.device.startswith("cuda") else []):
        for epoch in range(training.progress.epoch, spec.training.epochs):
            training.train_epoch(epoch)
    return training.objective.encoder.eval(), training.progress


class _Training:
    """What a training consists of, and how an epoch of it goes."""

    def __init__(
        self, spec: StudySpec, plan: EncoderPlan, samples: StudySamples, feed: Feed, folder: Path, team: Team, tell: Tell
    ) -> None:
        self.spec, self.plan, self.samples, self.feed, self.team, self.tell = spec, plan, samples, feed, team, tell
        self.folder, self.checkpoint = folder, folder / "resume" / "state.pt"
        folder.mkdir(parents=True, exist_ok=True)
        training = spec.training
        self.ids = samples.slots(plan)
        self.occupied = torch.from_numpy(self.ids >= 0)
        self.labels = torch.from_numpy(labels_of(samples, self.ids)).to(feed.device)
        self.micro_batch, self.steps = samples.batches(plan, ranks=team.size)
        self.objective = new_objective(spec, plan, samples, feed.device)
        if training.channels_last:
            self.objective.to(memory_format=torch.channels_last)
        if training.compile:
            self.objective.compile()
        self.draws = self.objective.draws(training.policy)
        self.module = team.prepare(self.objective)
        self.optimizer = build_optimizer(self.objective, training)
        self.scaler = torch.amp.GradScaler(torch.device(feed.device).type, enabled=training.precision == "fp16")
        self.parts = {"objective": self.objective, "optimizer": self.optimizer, "scaler": self.scaler}
        self.progress = checkpoints.load(self.checkpoint, self.parts, feed.device) if self.checkpoint.exists() else Progress()
        team.wait()  # all have read it before the first writes another
        batch = self.micro_batch * training.accumulate
        self.private = begin_privacy(training, self.objective, int(self.occupied.sum()), batch, self.steps, ranks=team.size)
        self.saved = time.monotonic()
        self.told = self.written = -math.inf
        self.warned = False

    def train_epoch(self, epoch: int) -> None:
        """Train one epoch from the step where it stands, record it, and write what is due."""
        training, progress = self.spec.training, self.progress
        order = epoch_order(self.occupied, self.seed("order", epoch))
        self.objective.train()
        loss_sum = torch.tensor(progress.loss_sum, dtype=torch.float64, device=self.feed.device)
        every = 1 if self.feed.device == "cpu" else CHECK_STEPS
        self.started = self.told = time.monotonic()
        seen = 0
        for step, batches in self.batches(order, progress.step):
            moment = Moment(epoch * self.steps + step, self.steps, training.epochs)
            loss_sum += self.take_step(moment, batches)
            progress.step, seen = step + 1, seen + self.micro_batch * training.accumulate
            due = time.monotonic() - self.saved > training.checkpoint_seconds and progress.step < self.steps
            if progress.step % every == 0 or progress.step == self.steps or due:
                progress.loss_sum = float(loss_sum)
                if not math.isfinite(progress.loss_sum):
                    raise self.diverged(epoch, f"loss of {self.plan.id} is")
            if due:
                self.save()
            elapsed = time.monotonic() - self.told
            if elapsed > TELL_SECONDS and progress.step < self.steps:
                self.tell("trained", epoch + progress.step / self.steps, float(loss_sum) / progress.step, seen / elapsed)
                self.told, seen = time.monotonic(), 0
        speed = seen / max(time.monotonic() - self.told, 1e-9)
        self.finish_epoch(epoch, learning_rate(training, moment), speed)

    def finish_epoch(self, epoch: int, rate: float, images_per_second: float) -> None:
        """Record a finished epoch."""
        training, progress = self.spec.training, self.progress
        row = {"epoch": epoch + 1, "loss": progress.loss_sum / self.steps, "learning_rate": rate}
        if epoch + 1 in training.recorded_epochs and self.plan.design == "pair":
            try:
                measured = record(self.spec, self.objective, self.samples, self.feed, self.team)
            except FloatingPointError:
                raise self.diverged(epoch, f"representations of {self.plan.id} are") from None
            progress.trajectory[epoch + 1] = measured.alignment
            row |= measured._asdict() | {"mean_alignment": float(measured.alignment.mean())}
            del row["alignment"]
            sentence = collapse(measured.feature_std, measured.effective_rank, measured.embedding_std)
            if sentence and not self.warned:
                self.tell("warned", f"epoch {epoch + 1}: {sentence}")
                self.warned = True
        self.take_time()
        row["seconds"] = round(progress.seconds, 3)
        progress.history.append(row)
        progress.epoch, progress.step, progress.loss_sum = epoch + 1, 0, 0.0
        last = epoch + 1 == training.epochs
        if last and self.private:
            progress.epsilon, _ = self.private.spent(self.steps * training.epochs)
        if self.team.first and (last or time.monotonic() - self.written > TELL_SECONDS):
            checkpoints.write_history(self.folder / "history.csv", progress)
            self.written = time.monotonic()
        if last or time.monotonic() - self.saved > training.checkpoint_seconds:
            self.save()
        self.tell("trained", epoch + 1, row["loss"], images_per_second)

    def take_step(self, moment: Moment, batches: Iterator[tuple[Tensor, Tensor]]) -> Tensor:
        """One optimizer step on micro-batches of (slots, images); its loss, [] float64 on the device."""
        training, objective = self.spec.training, self.objective
        # Dropout and stochastic depth draw from torch's generator, which is put where this step begins.
        seed = self.seed("step", moment.step, *([self.team.rank] if self.team.rank else []))
        # What torch.manual_seed does, which for devices that are not there formats a stack trace each.
        torch.default_generator.manual_seed(seed)
        if self.feed.device != "cpu":
            torch.cuda.manual_seed(seed)
        rate = learning_rate(training, moment)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        objective.begin_step(moment)
        self.optimizer.zero_grad(set_to_none=True)
        if self.private:
            total = self.private.backward(self.private_batch(moment), self.seed("noise", moment.step)).double()
        else:
            total = self.backward(moment, batches)
        if training.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            torch.nn.utils.clip_grad_norm_(objective.parameters(), training.clip_norm)
        objective.before_update(moment)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        objective.after_update(moment)
        return self.team.mean(total)

    def backward(self, moment: Moment, batches: Iterator[tuple[Tensor, Tensor]]) -> Tensor:
        """The gradients of a step, averaged over micro-batches and ranks; this rank's loss, [] float64."""
        training = self.spec.training
        total = torch.zeros((), dtype=torch.float64, device=self.feed.device)
        for number, (slots, images) in enumerate(batches, start=1):
            batch = self.batch(slots.to(self.feed.device), images, moment.epoch)
            with self.team.unsynchronized(self.module, waits=number < training.accumulate):
                with autocast(images.device.type, training.precision):
                    loss = self.module(batch) / training.accumulate
                self.scaler.scale(loss).backward()
            total += loss.detach()
        return total

    def private_batch(self, moment: Moment) -> Batch | None:
        """The samples that DP-SGD draws for a step, each by itself; None where it draws none."""
        slots = self.private.draw(self.occupied, self.seed("order", moment.step))
        if not len(slots):
            return None
        images = next(self.feed.batches([self.ids[slots.numpy()]]))
        return self.batch(slots.to(self.feed.device), images, moment.epoch)

    def batch(self, slots: Tensor, images: Tensor, epoch: int) -> Batch:
        """The views of a micro-batch."""
        noise = self.seed("views")
        views = draw_views(self.draws, images, slots, first=epoch * len(self.draws), seed=noise)
        if self.spec.training.channels_last:
            views = tuple(view.contiguous(memory_format=torch.channels_last) for view in views)
        return Batch(views, keys(noise, slots, -1 - epoch), self.labels[slots])

    def batches(self, order: Tensor, first: int) -> Iterator[tuple[int, Iterator[tuple[Tensor, Tensor]]]]:
        """From step ``first`` on: its number, and this rank's part of its micro-batches as (slots, images).

        Slots left over at the end sit this epoch out. DP-SGD draws its batches itself.
        """
        if self.private:
            yield from ((step, iter(())) for step in range(first, self.steps))
            return
        size, accumulate = self.micro_batch, self.spec.training.accumulate
        own = self.team.slice(size)
        chosen = [order[start * size :][own] for start in range(first * accumulate, self.steps * accumulate)]
        images = self.feed.batches(self.ids[batch.numpy()] for batch in chosen)
        batches = zip(chosen, images, strict=False)
        for step in range(first, self.steps):
            yield step, (next(batches) for _ in range(accumulate))

    def save(self) -> None:
        """Write a checkpoint, unless weights are not finite: then the one before is the last good one."""
        if self.team.first:
            self.take_time()
            if not all(bool(torch.isfinite(value).all()) for value in self.objective.state_dict().values()):
                raise self.diverged(self.progress.epoch, f"weights of {self.plan.id} are")
            checkpoints.save(self.checkpoint, self.parts, self.progress)
        self.saved = time.monotonic()

    def take_time(self) -> None:
        """Add to the seconds of the training what has passed since they were last taken."""
        now = time.monotonic()
        self.progress.seconds, self.started = self.progress.seconds + now - self.started, now

    def diverged(self, epoch: int, what: str) -> UserError:
        """The error of a training that cannot go on."""
        training = self.spec.training
        kept = "; its last good checkpoint is kept" if self.checkpoint.exists() else ""
        return UserError(
            f"training: the {what} not finite in epoch {epoch + 1}; lower training.learning_rate "
            f"({training.learning_rate}) or raise training.warmup_epochs ({training.warmup_epochs}){kept}"
        )

    def seed(self, *names: str | int) -> int:
        """Of one of this training's streams."""
        return encoder_seed(self.spec, self.plan, *names)


def epoch_order(occupied: Tensor, seed: int) -> Tensor:
    """A random order of the occupied slots: the one of all slots, in which the last ones take the places of empty ones.

    So an encoder that lacks a few samples sees all others, but for these last, where one that has them sees them. Were the empty places closed
    up instead, every batch would differ.

    Parameters
    ----------
    occupied
        Whether a slot has a sample, [slot] bool.
    seed
        Of the order.
    """
    order = torch.randperm(len(occupied), generator=torch.Generator().manual_seed(seed))
    there = occupied[order]
    count = int(there.sum())
    kept, last = order[:count], order[count:]
    kept[~there[:count]] = last[there[count:]]
    return kept


def check_precision(training: TrainingSpec, device: str) -> None:
    """Refuse a precision that the device does not have."""
    if training.precision == "fp16" and not device.startswith("cuda"):
        raise UserError("training.precision: 'fp16' is for GPUs, allowed on this device are float32 and bf16")


def begin_privacy(
    training: TrainingSpec, objective: Objective, samples: int, batch: int, steps: int, *, ranks: int = 1
) -> PrivateGradients | None:
    """What gives DP-SGD's gradients in place of the plain ones, where the spec asks for privacy; ``steps`` of an epoch."""
    if training.privacy is None:
        return None
    if ranks > 1:
        raise UserError(f"--devices: {ranks} cannot share a training with training.privacy, use 1")
    total = steps * training.epochs
    return PrivateGradients(objective, training.privacy, samples=samples, batch=batch, steps=total, precision=training.precision)


def labels_of(samples: StudySamples, ids: np.ndarray) -> np.ndarray:
    """Class of the sample in each slot, int64; 0 where a slot is empty."""
    labels = np.zeros(len(ids), np.int64)
    labels[ids >= 0] = samples.dataset.labels[samples.dataset.positions(ids[ids >= 0])]
    return labels


def encoder_seed(spec: StudySpec, plan: EncoderPlan, *names: str | int) -> int:
    """Of one of an encoder's streams; coupled encoders of one seed share all of them."""
    own = () if spec.training.coupled else (plan.family,)
    return stream_seed(plan.seed, "training", *own, *names)
