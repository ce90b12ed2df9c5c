"""Training many small encoders of one shape at once, each with its own samples, order and views.

A step of a small encoder is too short to keep a processor busy: most of it is spent on calling operators. Here parameters are stacked along
a dimension of encoders and one call takes a step of all (torch's ``stack_module_state`` and ``vmap``). Each encoder's initial weights,
order and views are those of :mod:`sslmem_kit.training.loop`, so that its numbers differ from one-by-one training by rounding alone; and
because encoders of one seed share views, those of an epoch are made once for all of them.
"""

from __future__ import annotations

import copy
import io
import math
import os
import time
from collections.abc import Callable, Sequence
from pathlib import Path

import numpy as np
import torch
from torch import Tensor, nn
from torch.func import functional_call, stack_module_state

from sslmem_kit.data.loader import ImageLoader
from sslmem_kit.data.samples import StudySamples
from sslmem_kit.encoders.backbone import Encoder
from sslmem_kit.encoders.device import autocast, plain_float32
from sslmem_kit.encoders.fast_linear import ConvLinear
from sslmem_kit.errors import UserError
from sslmem_kit.events import OnEvent, Trained, ignore
from sslmem_kit.spec.design import EncoderPlan
from sslmem_kit.spec.study import StudySpec
from sslmem_kit.store.files import write_atomically
from sslmem_kit.training import checkpoints
from sslmem_kit.training.checkpoints import Progress
from sslmem_kit.training.loop import EVENT_SECONDS
from sslmem_kit.training.objectives import Batch, Objective, StepInfo, make_training_views
from sslmem_kit.training.optimizer import build_optimizer, learning_rate
from sslmem_kit.training.setup import encoder_seed, epoch_order, labels_of, new_objective
from sslmem_kit.views import sample_keys

VIEWS_BYTES = 2**30
"""Maximum size of the views of an epoch."""
MOST_VIEWS = 2
"""Maximum number of views of a sample in a step, of the methods that can be trained at once."""
TIMED_STEPS = 3
"""Steps that a plan times, of encoders that are trained at once."""
NO_CHECKPOINT = Path(os.devnull) / "none"
"""Path of a file that does not exist."""


def check_stackable(spec: StudySpec, groups: Sequence[Sequence[EncoderPlan]], samples: StudySamples, loader: ImageLoader) -> None:
    """Refuse encoders that cannot be trained at once, before anything is trained: by the spec, and by a step of two encoders.

    Raises
    ------
    UserError
        Names the field that prevents it, and what to do.
    """
    training = spec.training
    for field, wrong in (
        ("training.optimizer", training.optimizer == "lars"),
        ("training.clip_norm", training.clip_norm is not None),
        ("training.accumulate", training.accumulate > 1),
        ("training.privacy", training.privacy is not None),
        ("training.compile", training.compile),
        ("training.channels_last", training.channels_last),
        ("training.precision", training.precision == "fp16"),
        ("objective.method", spec.objective.method in ("mae", "dino")),
    ):
        if wrong:
            value = getattr(spec.objective if field.startswith("objective") else training, field.partition(".")[2])
            raise UserError(f"{field}: {value!r} is not for encoders that are trained at once; set design.together to 1")
    for group in groups:
        seeds = len({encoder_seed(spec, plan, "views") for plan in group})
        size = 4 * math.prod(samples.dataset.image_shape) * len(samples.slots(group[0])) * MOST_VIEWS * seeds
        if size > VIEWS_BYTES:
            raise UserError(
                f"design.together: the views of {len(group)} encoders take {size / 1e6:,.0f} MB per epoch, at most "
                f"{VIEWS_BYTES / 1e6:,.0f} MB are held; set it lower, or to 1"
            )
    trial = _StackedTraining(spec, groups[0][:2], samples, loader, NO_CHECKPOINT)
    with torch.random.fork_rng(devices=[]):
        trial.train_epoch(0, steps=1)


def train_together(
    spec: StudySpec,
    plans: Sequence[EncoderPlan],
    samples: StudySamples,
    loader: ImageLoader,
    checkpoint: Path,
    *,
    keep: Callable[[EncoderPlan, Objective], None] | None = None,
    emit: OnEvent = ignore,
) -> list[tuple[Encoder, Progress]]:
    """Train encoders of one design in step, resuming from their checkpoint where there is one.

    Parameters
    ----------
    spec, plans
        Study, and the plans of some of its encoders; all of one design, with equal numbers of steps per epoch.
    samples, loader
        Samples of the study and their images on the device.
    checkpoint
        File of the state from which an interrupted run resumes.
    keep
        Called with each plan and its trained objective, before any encoder is returned.
    emit
        Called with :class:`sslmem_kit.events.Trained` about once per second; its loss is the mean over encoders.

    Returns
    -------
    Encoders with their final weights, and their progress.

    Raises
    ------
    UserError
        The loss or the weights of an encoder are not finite.

    See Also
    --------
    check_stackable : Refuse encoders that cannot be trained at once.
    """
    group = _StackedTraining(spec, plans, samples, loader, checkpoint)
    with torch.random.fork_rng(devices=[]), plain_float32():
        for epoch in range(group.epoch, spec.training.epochs):
            rate = group.train_epoch(epoch)
            if time.monotonic() - group.saved > spec.training.checkpoint_seconds and group.epoch < spec.training.epochs:
                group.save()
            if time.monotonic() - group.last_event > EVENT_SECONDS or group.epoch == spec.training.epochs:
                emit(Trained(plans[0].id, group.epoch, float(group.losses[-1].mean()), rate))
                group.last_event = time.monotonic()
    finished = group.finish()
    if keep:
        for plan, objective in zip(plans, group.objectives, strict=True):
            keep(plan, objective)
    return finished


def seconds_per_epoch(spec: StudySpec, plans: Sequence[EncoderPlan], samples: StudySamples, loader: ImageLoader) -> float:
    """Return the seconds per epoch of one of these encoders when they are trained at once, from the views of an epoch and ``TIMED_STEPS``
    steps, after one to warm up."""
    group = _StackedTraining(spec, plans, samples, loader, NO_CHECKPOINT)
    timed = min(TIMED_STEPS, group.steps)
    with torch.random.fork_rng(devices=[]):
        group.train_epoch(0, steps=1)
        started = time.monotonic()
        group.make_views(0)
        views = time.monotonic() - started
        group.train_epoch(0, steps=timed)
    step = max(0.0, group.seconds[1] - group.seconds[0] - views) / timed
    return (views + step * group.steps) / len(plans)


class StackedModules:
    """Modules of one shape, computed as one module.

    Parameters
    ----------
    modules
        Modules that are equal but for the values of their parameters and buffers.
    """

    def __init__(self, modules: Sequence[nn.Module]) -> None:
        self.parameters, self.buffers = stack_module_state(list(modules))
        self.template = copy.deepcopy(modules[0])
        for module in self.template.modules():
            # Neither has a rule for batches of weights.
            if getattr(module, "fused_attn", False):
                module.fused_attn = False
            if type(module) is ConvLinear:
                module.__class__ = nn.Linear

    def __call__(self, *inputs: object, shared: bool = False) -> Tensor:
        """Return the outputs of all, [module, ...]; each input has a leading dimension of modules, or with ``shared`` is the same for all."""

        def call(parameters: dict[str, Tensor], buffers: dict[str, Tensor], given: tuple[object, ...]) -> Tensor:
            return functional_call(self.template, (parameters, buffers), given)

        return torch.vmap(call, in_dims=(0, 0, None if shared else 0))(self.parameters, self.buffers, inputs)

    def state(self, number: int) -> dict[str, Tensor]:
        """Return the state dict of one of the modules."""
        return {name: values[number].detach().clone() for name, values in (self.parameters | self.buffers).items()}


class _StackedTraining:
    """State of encoders that are trained at once, and the steps of their epochs."""

    def __init__(
        self, spec: StudySpec, plans: Sequence[EncoderPlan], samples: StudySamples, loader: ImageLoader, checkpoint: Path
    ) -> None:
        self.spec, self.plans, self.loader, self.checkpoint = spec, plans, loader, checkpoint
        training = spec.training
        ids = np.stack([samples.slots(plan) for plan in plans])
        self.occupied = torch.from_numpy(ids >= 0)
        ((self.batch, self.steps),) = {samples.batches(plan) for plan in plans}
        anywhere = ids.max(axis=0)  # a slot holds one sample or none
        self.labels = torch.from_numpy(labels_of(samples, anywhere)).to(loader.device)
        known = np.where(anywhere >= 0, anywhere, samples.dataset.ids[0])  # the image of an empty slot is not used
        self.images = next(loader.batches([known]))
        self.objectives: list[Objective] = [new_objective(spec, plan, samples, loader.device).train() for plan in plans]
        self.view_specs = self.objectives[0].view_specs(training.policy)
        # Encoders of one seed see one another's views.
        seeds = [encoder_seed(spec, plan, "views") for plan in plans]
        self.view_seeds = list(dict.fromkeys(seeds))
        self.source = torch.tensor([self.view_seeds.index(seed) for seed in seeds], device=loader.device)[:, None]
        self.stacked = StackedModules(self.objectives)
        self.optimizer = build_optimizer(self.objectives[0], training, stacked=self.stacked.parameters)
        self.epoch = 0
        self.seconds: list[float] = []  # of all encoders, after each epoch
        self.losses: list[np.ndarray] = []
        self.rates: list[float] = []
        self.last_event, self.saved = -math.inf, time.monotonic()
        if checkpoint.exists():
            self.load()

    def train_epoch(self, epoch: int, *, steps: int | None = None) -> float:
        """Train one epoch, or its first ``steps``; return images per second."""
        spec, started = self.spec, time.monotonic()
        orders = torch.stack([self.order(number, epoch) for number in range(len(self.plans))]).to(self.loader.device)
        views, keys = self.make_views(epoch)
        total = torch.zeros(len(self.plans), dtype=torch.float64, device=self.loader.device)
        for step, slots in enumerate(orders.split(self.batch, dim=1)[:steps]):
            step_info = StepInfo(epoch * self.steps + step, self.steps, spec.training.epochs)
            rate = learning_rate(spec.training, step_info)
            for parameters in self.optimizer.param_groups:
                parameters["lr"] = rate
            self.stacked.template.before_step(step_info)
            self.optimizer.zero_grad(set_to_none=True)
            batch = Batch(tuple(view[self.source, slots] for view in views), keys[self.source, slots], self.labels[slots])
            with autocast(torch.device(self.loader.device).type, spec.training.precision):
                losses = self.losses_of(batch)
            losses.sum().backward()
            self.optimizer.step()
            total += losses.detach()
        self.losses.append((total / self.steps).cpu().numpy())
        self.rates.append(rate)
        for number, loss in enumerate(self.losses[-1]):
            if not math.isfinite(loss):
                raise self.diverged("loss", number, epoch + 1)
        self.epoch = epoch + 1
        taken = time.monotonic() - started
        self.seconds.append((self.seconds[-1] if self.seconds else 0.0) + taken)
        return self.steps * self.batch * len(self.plans) / taken

    def diverged(self, what: str, number: int, epoch: int) -> UserError:
        """Return the error of a training that cannot continue."""
        training = self.spec.training
        return UserError(
            f"training: the {what} of {self.plans[number].id} {'is' if what == 'loss' else 'are'} not finite in epoch {epoch}; lower "
            f"training.learning_rate ({training.learning_rate}) or raise training.warmup_epochs ({training.warmup_epochs})"
        )

    def losses_of(self, batch: Batch) -> Tensor:
        """Return the loss of each encoder, [encoder]."""
        try:
            return self.stacked(batch)
        except RuntimeError as error:
            if "randomness" not in str(error):
                raise
            raise UserError(
                "encoder: dropout or other randomness of its own is not for encoders that are trained at once; set design.together to 1"
            ) from None

    def order(self, number: int, epoch: int) -> Tensor:
        """Return the slots that an encoder sees in an epoch, in their order, without those left over at the end."""
        order = epoch_order(self.occupied[number], encoder_seed(self.spec, self.plans[number], "order", epoch))
        return order[: self.steps * self.batch]

    def make_views(self, epoch: int) -> tuple[tuple[Tensor, ...], Tensor]:
        """Make the views of every slot, one [seed, slot, channel, y, x] each, and keys of an objective's own randomness, [seed, slot]."""
        slots = torch.arange(len(self.images), device=self.loader.device)
        views = [
            make_training_views(self.view_specs, self.images, slots, first=epoch * len(self.view_specs), seed=seed)
            for seed in self.view_seeds
        ]
        keys = torch.stack([sample_keys(seed, slots, -1 - epoch) for seed in self.view_seeds])
        return tuple(torch.stack(view) for view in zip(*views, strict=True)), keys

    def finish(self) -> list[tuple[Encoder, Progress]]:
        """Return every encoder by itself, with its progress."""
        finished = []
        for number, objective in enumerate(self.objectives):
            state = self.stacked.state(number)
            if not all(bool(torch.isfinite(values).all()) for values in state.values()):
                raise self.diverged("weights", number, self.epoch)
            objective.load_state_dict(state, strict=False)  # criteria have buffers that are no state
            each = [seconds / len(self.plans) for seconds in self.seconds]
            rows = [
                {"epoch": epoch, "loss": float(losses[number]), "learning_rate": rate, "seconds": round(seconds, 3)}
                for epoch, (losses, rate, seconds) in enumerate(zip(self.losses, self.rates, each, strict=True), start=1)
            ]
            progress = Progress(epoch=len(rows), seconds=each[-1], history=rows)
            finished.append((objective.encoder.eval(), progress))
        return finished

    def save(self) -> None:
        """Write the state from which an interrupted run resumes."""
        state = {
            "plans": [plan.id for plan in self.plans],
            "stacked": {name: values.detach() for name, values in (self.stacked.parameters | self.stacked.buffers).items()},
            "optimizer": self.optimizer.state_dict(),
            "losses": torch.from_numpy(np.stack(self.losses)),
            "rates": self.rates,
            "seconds": self.seconds,
        }
        buffer = io.BytesIO()
        torch.save(state, buffer)
        self.checkpoint.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(self.checkpoint, buffer.getvalue())
        self.saved = time.monotonic()

    def load(self) -> None:
        """Load the state that :meth:`save` wrote; a state of other encoders is ignored."""
        state = checkpoints.read(self.checkpoint, self.loader.device)
        if state.get("plans") != [plan.id for plan in self.plans]:
            return
        with torch.no_grad():
            for name, values in (self.stacked.parameters | self.stacked.buffers).items():
                values.copy_(state["stacked"][name])
        self.optimizer.load_state_dict(state["optimizer"])
        self.losses, self.rates, self.seconds = list(state["losses"].cpu().numpy()), state["rates"], state["seconds"]
        self.epoch = len(self.losses)
