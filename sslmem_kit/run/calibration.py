"""Properties of a study's encoder, and how fast it trains and is scored, measured before anything starts."""

from __future__ import annotations

import time
from collections.abc import Callable
from typing import Any

import numpy as np
import torch
from torch.utils.flop_counter import FlopCounterMode

from sslmem_kit.data.datasets.known import KNOWN
from sslmem_kit.data.loader import image_loader
from sslmem_kit.data.samples import StudySamples, channels_first
from sslmem_kit.encoders.device import autocast, check_precision, resolve_device, use_device
from sslmem_kit.errors import NotThere, UserError
from sslmem_kit.measures.downstream.tasks import load_task
from sslmem_kit.measures.evaluation import layered, score_samples
from sslmem_kit.run.removal import study_samples
from sslmem_kit.run.versions import arithmetic, versions
from sslmem_kit.spec.study import StudySpec
from sslmem_kit.training.objectives import Batch, StepInfo, make_training_views
from sslmem_kit.training.setup import check_mitigation, make_private, new_objective
from sslmem_kit.training.stacked import check_stackable, seconds_per_epoch
from sslmem_kit.views import sample_keys

CALIBRATED_FLOPS = 1e10
"""Largest cost of a step that is timed on the CPU, about a second. Larger batches are timed by a part of them."""
TIMED_SECONDS = 2.0
"""Time for which steps, or batches that are scored, are repeated; of a step that takes longer one is timed."""


def calibrate(
    spec: StudySpec,
    device: str,
    threads: int,
    *,
    samples: StudySamples | None = None,
    timed: bool = False,
    devices: int = 1,
) -> dict[str, Any]:
    """Build a study's encoder and objective and return their properties; with ``timed`` take a few steps and return their speed, too.

    Returns
    -------
    ``device``, ``parameters`` of the encoder, ``objective_parameters``, ``stem``, ``representation`` (its shape), ``layers`` that are
    scored (units by name), ``views`` of a sample in a step, ``versions``, ``arithmetic``; with ``timed``: ``tasks_not_read``, which are
    known and missing here, ``flops`` of one encoder's training and scoring, ``train_seconds`` and ``score_seconds`` of one encoder, shared
    by ``devices``.

    Raises
    ------
    UserError
        Anything about the spec that only shows when the encoder is built.
    """
    torch.set_num_threads(threads)
    device = resolve_device(device)
    use_device(device)
    samples, plan, training = samples or study_samples(spec), spec.encoders[0], spec.training
    ids = samples.training(plan)
    size, steps_an_epoch = min(samples.batches(encoder, ranks=devices) for encoder in spec.encoders[:2])
    check_precision(training, device)
    check_mitigation(spec, samples, ranks=devices)
    groups = [group for group in samples.groups if len(group) > 1 and devices == 1]  # ranks train one by one
    if groups:
        check_stackable(spec, groups, samples, image_loader(samples.dataset, device))
    objective = new_objective(spec, plan, samples, device)
    make_private(training, objective, len(ids), size * training.accumulate, steps_an_epoch, ranks=devices)
    unread, tasks = [], {spec.data.name: list(samples.dataset.class_names)}
    for number, task in enumerate(spec.downstream.tasks):  # what is missing is reported, or fetched, before anything is trained
        try:
            tasks[task.name] = list(load_task(task, samples.dataset.image_shape, seed=spec.seed).class_names)
        except NotThere as error:
            if not timed or task.name not in KNOWN:
                raise UserError(f"downstream.tasks.{number}: {error}") from None
            unread.append(task.name)
        except UserError as error:
            raise UserError(f"downstream.tasks.{number}: {error}") from None
    encoder = objective.encoder
    with torch.inference_mode():
        output = encoder.eval()(torch.zeros(1, *channels_first(samples), device=device))
    facts = {
        "device": device,
        "tasks": tasks,
        "parameters": sum(parameter.numel() for parameter in encoder.parameters()),
        "objective_parameters": sum(parameter.numel() for parameter in objective.parameters()),
        "stem": encoder.stem,
        "representation": list(output.shape[1:]),
        "layers": layered(spec, encoder).channels if spec.scoring.layers else {},
        "views": len(objective.view_specs(training.policy)),
        "versions": versions(),
        "arithmetic": arithmetic(device),
    }
    if not timed:
        return facts

    loader, size = image_loader(samples.dataset, device), max(2, size // devices)
    steps = steps_an_epoch * training.accumulate * training.epochs

    view_specs = objective.view_specs(training.policy)
    objective.before_step(StepInfo(steps_an_epoch * training.epochs - 1, steps_an_epoch, training.epochs))

    def step(count: int) -> None:
        images = next(loader.batches([ids[:count]]))
        slots = torch.arange(count, device=device)
        views = make_training_views(view_specs, images, slots, first=0, seed=0)
        with autocast(torch.device(device).type, training.precision):
            loss = objective.train()(Batch(views, sample_keys(0, slots, 0), torch.zeros_like(slots)))
        loss.backward()
        objective.zero_grad(set_to_none=True)

    def score(count: int) -> None:
        encoder.eval()
        score_samples(spec, encoder, ids[:count], loader)

    stepped, scored = size, min(spec.scoring.batch_size, len(ids))
    if device == "cpu":
        stepped, scored = _affordable(step, stepped, least=2), _affordable(score, scored, least=1)
    steps *= size / stepped
    step_flops, score_flops = _flops(step, stepped), _flops(score, scored)
    scoring_batches = len(samples.scored) / scored
    records = (
        len(training.recorded_epochs) + (2 if spec.scoring.layers else 1) + (spec.second_policy is not None)
    )  # units take passes
    train_seconds = _seconds(lambda: step(stepped), device) * steps
    if groups:
        facts["together_seconds"] = seconds_per_epoch(spec, groups[-1], samples, loader) * training.epochs
    return facts | {
        "tasks_not_read": unread,
        "flops": step_flops * devices * steps + score_flops * scoring_batches * records,
        "train_seconds": train_seconds,
        "score_seconds": _seconds(lambda: score(scored), device) * scoring_batches * records,
    }


def _flops(function: Callable[[int], None], count: int) -> int:
    with FlopCounterMode(display=False) as counted:
        function(count)
    return counted.get_total_flops()


def _affordable(function: Callable[[int], None], count: int, *, least: int) -> int:
    """Return how many of ``count`` samples to time a function with."""
    return max(least, min(count, int(CALIBRATED_FLOPS / max(1, _flops(function, least)) * least)))


def _seconds(function: Callable[[], None], device: str) -> float:
    """Return the median time of a call in seconds, over about two seconds; calls before it have warmed up."""
    times: list[float] = []
    while sum(times) < TIMED_SECONDS:
        start = time.perf_counter()
        function()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return float(np.median(times))
