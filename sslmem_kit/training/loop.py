"""Training of one encoder: the loop, its records and its checkpoints, on one device or shared by the ranks of a device group.

All randomness comes from named streams and counters: initial weights from (seed, init), the order of an epoch from (seed, order, epoch), a
view from (seed, slot, epoch). So a checkpoint needs no generator state, and a run that was killed and started again ends, on the same
number of CPU threads and ranks, bit-identically to one that was not. With ``training.coupled`` f and g of one seed share all streams.
Not so with DP-SGD, whose batches and noise nobody may know: :mod:`sslmem_kit.training.privacy`.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import torch
from torch import Tensor

from sslmem_kit.data.loader import ImageLoader
from sslmem_kit.data.samples import StudySamples
from sslmem_kit.encoders.backbone import Encoder
from sslmem_kit.encoders.device import autocast, plain_float32, same_every_time
from sslmem_kit.errors import UserError
from sslmem_kit.events import OnEvent, Trained, Warned, ignore
from sslmem_kit.spec.design import EncoderPlan
from sslmem_kit.spec.study import StudySpec
from sslmem_kit.training import checkpoints
from sslmem_kit.training.checkpoints import Progress, Record
from sslmem_kit.training.distributed import DeviceGroup
from sslmem_kit.training.mitigation import Chooser, Treatment, filled
from sslmem_kit.training.objectives import Batch, Objective, StepInfo, make_training_views
from sslmem_kit.training.optimizer import build_optimizer, clip_gradients, learning_rate
from sslmem_kit.training.setup import (
    check_mitigation,
    encoder_seed,
    epoch_order,
    labels_of,
    make_private,
    mitigation_of,
    new_objective,
)
from sslmem_kit.views import sample_keys

EVENT_SECONDS = 1
"""Seconds between two events of progress, and between two writes of ``history.csv``, at least, while an encoder trains."""

CHECK_STEPS = 50
"""Steps between two checks on a device that the loss is finite; on the CPU, where a check costs nothing, each step is checked."""

Recorder = Callable[[StudySpec, Objective, StudySamples, ImageLoader, DeviceGroup], Record]
"""Function that measures an encoder while it trains; it raises FloatingPointError where its representations are not finite."""


def train(
    spec: StudySpec,
    plan: EncoderPlan,
    samples: StudySamples,
    loader: ImageLoader,
    folder: Path,
    *,
    record: Recorder | None = None,
    chooser: Chooser | None = None,
    device_group: DeviceGroup | None = None,
    emit: OnEvent = ignore,
) -> tuple[Encoder, Progress]:
    """Train one encoder, resuming from its checkpoint where there is one.

    Parameters
    ----------
    spec, plan
        Study, and the plan of one of its encoders.
    samples, loader
        Samples of the study and their images on the device.
    folder
        The encoder's folder; ``resume/state.pt`` and ``history.csv`` are written there, by the first rank.
    record
        Function that measures the encoder after the epochs that the spec names: :func:`sslmem_kit.measures.evaluation.record`; None:
        nothing is measured.
    chooser
        Chooses the samples that ``training.mitigation`` treats, of f, or records what g knows of them: :mod:`sslmem_kit.measures.mitigation`.
    device_group
        Ranks that train it together; by default the loader's device alone.
    emit
        Called with events of progress.

    Raises
    ------
    ValueError
        Samples are to be treated, and no chooser is given.
    UserError
        The loss or the weights are not finite (the last good checkpoint is kept), or there are too few samples for a batch.
    """
    training = _Training(spec, plan, samples, loader, folder, record, chooser, device_group or DeviceGroup(loader.device), emit)
    gpus = list(range(torch.cuda.device_count())) if loader.device.startswith("cuda") else []
    with torch.random.fork_rng(devices=gpus), plain_float32(), same_every_time(loader.device, training.objective):
        for epoch in range(training.progress.epoch, spec.training.epochs):
            training.train_epoch(epoch)
    return training.objective.encoder.eval(), training.progress


class _Training:
    """State of a training, and the steps of its epochs."""

    def __init__(
        self,
        spec: StudySpec,
        plan: EncoderPlan,
        samples: StudySamples,
        loader: ImageLoader,
        folder: Path,
        record: Recorder | None,
        chooser: Chooser | None,
        device_group: DeviceGroup,
        emit: OnEvent,
    ) -> None:
        self.spec, self.plan, self.samples, self.loader = spec, plan, samples, loader
        self.record, self.chooser, self.device_group, self.emit = record, chooser, device_group, emit
        self.folder, self.checkpoint = folder, folder / "resume" / "state.pt"
        folder.mkdir(parents=True, exist_ok=True)
        training = spec.training
        self.ids = samples.slots(plan)
        self.occupied = torch.from_numpy(self.ids >= 0)
        self.labels = torch.from_numpy(labels_of(samples, self.ids)).to(loader.device)
        self.micro_batch, self.steps = samples.batches(plan, ranks=device_group.size)
        self.objective = new_objective(spec, plan, samples, loader.device)
        if training.channels_last:
            self.objective.to(memory_format=torch.channels_last)
        if training.compile:
            self.objective.compile()
        self.view_specs = self.objective.view_specs(training.policy)
        mitigation = mitigation_of(spec, plan)
        check_mitigation(spec, samples, ranks=device_group.size)
        if mitigation and chooser is None:
            raise ValueError("training.mitigation treats samples of this encoder, and no chooser is given")
        self.treatment = Treatment(mitigation, self.ids, training.policy, self.view_specs) if mitigation else None
        self.module = device_group.prepare(self.objective)
        self.optimizer = build_optimizer(self.objective, training)
        self.scaler = torch.amp.GradScaler(torch.device(loader.device).type, enabled=training.precision == "fp16")
        self.parts = {"objective": self.objective, "optimizer": self.optimizer, "scaler": self.scaler}
        self.progress = checkpoints.load(self.checkpoint, self.parts, loader.device) if self.checkpoint.exists() else Progress()
        if self.treatment and self.progress.treated:
            self.treatment.treat(self.progress.treated[max(self.progress.treated)])
        device_group.wait()  # all have read it before the first writes another
        batch = self.micro_batch * training.accumulate
        self.private = make_private(training, self.objective, int(self.occupied.sum()), batch, self.steps, ranks=device_group.size)
        self.saved = time.monotonic()
        self.last_event = self.written = -math.inf
        self.warned = False

    def train_epoch(self, epoch: int) -> None:
        """Train the rest of one epoch, record it, and write what is due."""
        training, progress = self.spec.training, self.progress
        order = self.order(epoch)
        self.objective.train()
        loss_sum = torch.tensor(progress.loss_sum, dtype=torch.float64, device=self.loader.device)
        every = 1 if self.loader.device == "cpu" else CHECK_STEPS
        self.started = self.last_event = time.monotonic()
        seen = 0
        for step, batches in self.batches(order, progress.step):
            step_info = StepInfo(epoch * self.steps + step, self.steps, training.epochs)
            loss_sum += self.take_step(step_info, batches)
            progress.step, seen = step + 1, seen + self.micro_batch * training.accumulate
            due = time.monotonic() - self.saved > training.checkpoint_seconds and progress.step < self.steps
            if progress.step % every == 0 or progress.step == self.steps or due:
                progress.loss_sum = float(loss_sum)
                if not math.isfinite(progress.loss_sum):
                    raise self.diverged(epoch, f"loss of {self.plan.id} is")
            if due:
                self.save()
            elapsed = time.monotonic() - self.last_event
            if elapsed > EVENT_SECONDS and progress.step < self.steps:
                self.emit(
                    Trained(self.plan.id, epoch + progress.step / self.steps, float(loss_sum) / progress.step, seen / elapsed)
                )
                self.last_event, seen = time.monotonic(), 0
        speed = seen / max(time.monotonic() - self.last_event, 1e-9)
        self.finish_epoch(epoch, learning_rate(training, step_info), speed)

    def finish_epoch(self, epoch: int, rate: float, images_per_second: float) -> None:
        """Record a finished epoch."""
        training, progress = self.spec.training, self.progress
        row = {"epoch": epoch + 1, "loss": progress.loss_sum / self.steps, "learning_rate": rate}
        if self.record and epoch + 1 in training.recorded_epochs and self.plan.design == "pair":
            try:
                measured = self.record(self.spec, self.objective, self.samples, self.loader, self.device_group)
            except FloatingPointError:
                raise self.diverged(epoch, f"representations of {self.plan.id} are") from None
            progress.trajectory[epoch + 1] = measured.alignment
            row |= measured.numbers() | {"mean_alignment": float(measured.alignment.mean())}
            if measured.warning and not self.warned:
                self.emit(Warned(self.plan.id, f"epoch {epoch + 1}: {measured.warning}"))
                self.warned = True
        if self.chooser and epoch + 1 in self.chooser.epochs:
            self.choose(epoch + 1)
        if self.device_group.first and epoch + 1 in self.spec.kept_epochs(self.plan):
            checkpoints.keep_state(self.folder, epoch + 1, self.objective)
        self.take_time()
        row["seconds"] = round(progress.seconds, 3)
        progress.history.append(row)
        progress.epoch, progress.step, progress.loss_sum = epoch + 1, 0, 0.0
        last = epoch + 1 == training.epochs
        if last and self.private:
            progress.epsilon, _ = self.private.privacy_spent(self.steps * training.epochs)
        if self.device_group.first and (last or time.monotonic() - self.written > EVENT_SECONDS):
            checkpoints.write_history(self.folder / "history.csv", progress)
            self.written = time.monotonic()
        if last or time.monotonic() - self.saved > training.checkpoint_seconds:
            self.save()
        self.emit(Trained(self.plan.id, epoch + 1, row["loss"], images_per_second))

    def choose(self, epoch: int) -> None:
        """Have the samples chosen that are treated from now on, after ``epoch`` epochs."""
        if self.chooser is None:
            return
        self.objective.eval()
        try:
            chosen = self.chooser.choose(self.objective.encoder, epoch)
        except FloatingPointError:
            raise self.diverged(epoch - 1, f"representations of {self.plan.id} are") from None
        if self.treatment and chosen is not None:
            self.progress.treated[epoch] = chosen
            self.treatment.treat(chosen)
            checkpoints.write_treated(self.folder / "treated.csv", self.progress)

    def order(self, epoch: int) -> Tensor:
        """Return the slots of an epoch in their order, without those that are dropped."""
        seed = self.seed("order", epoch)
        if self.treatment is None:
            return epoch_order(self.occupied, seed)
        order, count = epoch_order(self.treatment.occupied(self.occupied), seed), self.steps * self.spec.training.accumulate
        return filled(order, count * self.micro_batch, batch=self.micro_batch)

    def take_step(self, step_info: StepInfo, batches: Iterator[tuple[Tensor, Tensor]]) -> Tensor:
        """Take one optimizer step on micro-batches of (slots, images); return its loss, [] float64 on the device."""
        training, objective = self.spec.training, self.objective
        # Dropout and stochastic depth use torch's generator, which is seeded for this step.
        seed = self.seed("step", step_info.step, *([self.device_group.rank] if self.device_group.rank else []))
        # Same as torch.manual_seed, which formats a stack trace for each device that is not there.
        torch.default_generator.manual_seed(seed)
        if self.loader.device != "cpu":
            torch.cuda.manual_seed(seed)
        rate = learning_rate(training, step_info)
        for group in self.optimizer.param_groups:
            group["lr"] = rate
        objective.before_step(step_info)
        self.optimizer.zero_grad(set_to_none=True)
        if self.private:
            total = self.private.backward(self.private_batch(step_info)).double()
        else:
            total = self.backward(step_info, batches)
        if training.clip_norm is not None:
            self.scaler.unscale_(self.optimizer)
            clip_gradients(objective.parameters(), training.clip_norm, training.clip_by)
        objective.before_update(step_info)
        self.scaler.step(self.optimizer)
        self.scaler.update()
        objective.after_update(step_info)
        return self.device_group.mean(total)

    def backward(self, step_info: StepInfo, batches: Iterator[tuple[Tensor, Tensor]]) -> Tensor:
        """Compute the gradients of a step, averaged over micro-batches and ranks; return this rank's loss, [] float64."""
        training = self.spec.training
        total = torch.zeros((), dtype=torch.float64, device=self.loader.device)
        for number, (slots, images) in enumerate(batches, start=1):
            batch_slots = slots.to(self.loader.device)
            batch = self.batch(batch_slots, images, step_info.epoch)
            with self.device_group.unsynchronized(self.module, waits=number < training.accumulate):
                with autocast(images.device.type, training.precision):
                    loss = self.module(batch, *self.regularized(batch_slots)) / training.accumulate
                self.scaler.scale(loss).backward()
            total += loss.detach()
        return total

    def private_batch(self, step_info: StepInfo) -> Batch | None:
        """Return the samples that DP-SGD selects at random for a step, each by itself; None where it selects none."""
        slots = self.private.sample_batch(self.occupied)
        if not len(slots):
            return None
        images = next(self.loader.batches([self.ids[slots.numpy()]]))
        return self.batch(slots.to(self.loader.device), images, step_info.epoch)

    def batch(self, slots: Tensor, images: Tensor, epoch: int) -> Batch:
        """Return the views of a micro-batch."""
        seed, first = self.seed("views"), epoch * len(self.view_specs)
        views = make_training_views(self.view_specs, images, slots, first=first, seed=seed)
        if self.treatment:
            views = self.treatment.make_views(views, images, slots, first=first, seed=seed)
        if self.spec.training.channels_last:
            views = tuple(view.contiguous(memory_format=torch.channels_last) for view in views)
        return Batch(views, sample_keys(seed, slots, -1 - epoch), self.labels[slots])

    def regularized(self, slots: Tensor) -> tuple[Tensor, ...]:
        """Return which samples of a batch are regularized by themselves, as the objective takes it; nothing where none ever are."""
        chosen = self.treatment.regularized(slots) if self.treatment else None
        return () if chosen is None else (chosen,)

    def batches(self, order: Tensor, first: int) -> Iterator[tuple[int, Iterator[tuple[Tensor, Tensor]]]]:
        """Yield, from step ``first`` on, the number of a step and this rank's part of its micro-batches as (slots, images).

        Slots left over at the end are not used in this epoch. DP-SGD selects its batches itself.
        """
        if self.private:
            yield from ((step, iter(())) for step in range(first, self.steps))
            return
        size, accumulate = self.micro_batch, self.spec.training.accumulate
        own = self.device_group.slice(size)
        chosen = [order[start * size :][own] for start in range(first * accumulate, self.steps * accumulate)]
        images = self.loader.batches(self.ids[batch.numpy()] for batch in chosen)
        batches = zip(chosen, images, strict=False)
        for step in range(first, self.steps):
            yield step, (next(batches) for _ in range(accumulate))

    def save(self) -> None:
        """Write a checkpoint, unless weights are not finite: then the previous one is the last good one."""
        if self.device_group.first:
            self.take_time()
            if not all(bool(torch.isfinite(value).all()) for value in self.objective.state_dict().values()):
                raise self.diverged(self.progress.epoch, f"weights of {self.plan.id} are")
            checkpoints.save(self.checkpoint, self.parts, self.progress)
        self.saved = time.monotonic()

    def take_time(self) -> None:
        """Add the time since the last call to the seconds of the training."""
        now = time.monotonic()
        self.progress.seconds, self.started = self.progress.seconds + now - self.started, now

    def diverged(self, epoch: int, what: str) -> UserError:
        """Return the error of a training that cannot continue."""
        training = self.spec.training
        kept = "; its last good checkpoint is kept" if self.checkpoint.exists() else ""
        return UserError(
            f"training: the {what} not finite in epoch {epoch + 1}; lower training.learning_rate "
            f"({training.learning_rate}) or raise training.warmup_epochs ({training.warmup_epochs}){kept}"
        )

    def seed(self, *names: str | int) -> int:
        """Return the seed of one of this training's streams."""
        return encoder_seed(self.spec, self.plan, *names)
