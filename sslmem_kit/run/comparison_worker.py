"""What a worker process measures of one encoder for a comparison."""

from __future__ import annotations

import csv
import time
from pathlib import Path

import torch

from sslmem_kit.data.loader import image_loader
from sslmem_kit.data.samples import StudySamples
from sslmem_kit.encoders.device import resolve_device, use_device
from sslmem_kit.measures.comparisons import MEASURES
from sslmem_kit.measures.comparisons.subject import Checkpoint, Subject
from sslmem_kit.names import SAMPLE
from sslmem_kit.run.removal import study_samples
from sslmem_kit.run.repair import WEIGHTS
from sslmem_kit.spec.comparisons import ComparisonSpec
from sslmem_kit.spec.design import EncoderPlan
from sslmem_kit.store.comparisons import part_path, write_part
from sslmem_kit.study import Study
from sslmem_kit.training.checkpoints import kept_epochs, load_state
from sslmem_kit.training.objectives import Objective, StepInfo
from sslmem_kit.training.setup import new_objective, trained_encoder


def measure_encoder(path: Path, options: ComparisonSpec, encoder_id: str, key: str, device: str, threads: int) -> None:
    """Measure one encoder for a comparison, and keep the result in the study under ``key``."""
    torch.set_num_threads(threads)
    device = resolve_device(device)
    use_device(device)
    study = Study(path)
    subject = subject_of(study, encoder_id, study_samples(study.spec), device)
    started = time.monotonic()
    part = MEASURES[options.name](subject, options)
    part = part.assign_coords({SAMPLE: subject.ids})
    part.attrs |= {"key": key, "seconds": round(time.monotonic() - started, 3)}
    write_part(part_path(study.path, options.name, encoder_id), part)


def subject_of(study: Study, encoder_id: str, samples: StudySamples, device: str) -> Subject:
    """Return what comparisons measure of an encoder of a study."""
    spec, folder = study.spec, study.encoder(encoder_id)
    plan = next(plan for plan in spec.encoders if plan.id == encoder_id)
    encoder = trained_encoder(spec, samples, folder / WEIGHTS, device)
    rates = _learning_rates(folder / "history.csv")
    checkpoints = tuple(
        Checkpoint(
            epoch, rates.get(epoch, float("nan")), lambda epoch=epoch: _objective(study, plan, samples, folder, epoch, device)
        )
        for epoch in kept_epochs(folder)
    )
    ids = samples.dataset.ids[samples.scored]
    return Subject(spec, plan, samples, encoder, image_loader(samples.dataset, device), ids, checkpoints)


def _objective(study: Study, plan: EncoderPlan, samples: StudySamples, folder: Path, epoch: int, device: str) -> Objective:
    """Return an objective in the state after some epochs, in evaluation mode."""
    objective = new_objective(study.spec, plan, samples, device)
    load_state(folder, epoch, objective, device)
    _, steps = samples.batches(plan)
    objective.before_step(StepInfo(min(epoch, study.spec.training.epochs - 1) * steps, steps, study.spec.training.epochs))
    return objective.eval()


def _learning_rates(history: Path) -> dict[int, float]:
    """Return the learning rate of the last step of every epoch."""
    with open(history, newline="", encoding="utf-8") as file:
        return {int(row["epoch"]): float(row["learning_rate"]) for row in csv.DictReader(file)}
