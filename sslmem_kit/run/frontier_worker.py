"""Functions that a worker process runs for a mitigation frontier: train and measure its encoders.

Everything here needs torch. Each step is skipped where an earlier run has done it.
"""

from __future__ import annotations

import io
import json
import shutil
from pathlib import Path

import numpy as np
import torch

from sslmem_kit import store
from sslmem_kit.data.loader import image_loader
from sslmem_kit.data.samples import StudySamples
from sslmem_kit.encoders.device import use_device
from sslmem_kit.errors import UserError
from sslmem_kit.events import Completed, OnEvent
from sslmem_kit.measures import mitigation as mitigate
from sslmem_kit.measures.evaluation import downstream_rows, score_samples
from sslmem_kit.run.removal import study_samples
from sslmem_kit.run.removal_worker import train_once
from sslmem_kit.run.repair import WEIGHTS
from sslmem_kit.spec.design import EncoderPlan
from sslmem_kit.spec.study import StudySpec
from sslmem_kit.store.files import write_atomically
from sslmem_kit.training.distributed import DeviceGroup
from sslmem_kit.training.setup import trained_encoder


def complete_arm_encoder(
    spec: StudySpec,
    plan: EncoderPlan,
    identity: str,
    epochs: list[int],
    folder: Path,
    partner: Path | None,
    evaluation: str,
    device: str,
    threads: int,
    *,
    emit: OnEvent,
    samples: StudySamples | None = None,
) -> None:
    """Train one encoder of an arm, and write what is measured of it: alignment, accuracies, and its cost.

    Parameters
    ----------
    spec, plan, identity
        Study of its arm, its plan and its hash.
    epochs
        Of g: numbers of finished epochs after which it is scored for f.
    folder, partner
        Its folder, and that of g that f is scored against on the way; None where it is not.
    evaluation
        Hash of how it is measured, recorded with it.
    """
    torch.set_num_threads(threads)
    use_device(device)
    samples = samples or study_samples(spec)
    loader, mitigation = image_loader(samples.dataset, device), spec.training.mitigation
    folder.mkdir(parents=True, exist_ok=True)
    chooser = None
    if plan.family == "f" and mitigation:
        chooser = mitigate.chooser(spec, plan, samples, loader, mitigation, partner or folder)
    elif epochs:
        chooser = mitigate.recorder(spec, samples, loader, folder, tuple(epochs))
        if (folder / WEIGHTS).exists() and not mitigate.has_recorded(samples, folder, chooser.epochs):
            # An arm that came later is scored after other epochs: g is trained once more, to the same weights.
            (folder / WEIGHTS).unlink()
            shutil.rmtree(folder / "resume", ignore_errors=True)
    weights = train_once(samples, plan, loader, folder, identity, threads, emit, chooser=chooser)
    encoder = trained_encoder(spec, samples, weights, device)
    ids = samples.dataset.ids[samples.scored]
    alignment = store.mean_of_pairs(score_samples(spec, encoder, ids, loader), spec.scoring.views)
    rows = downstream_rows(spec, encoder, samples, loader, DeviceGroup(device))
    accuracy = rows["downstream/accuracy"]
    for what, values in (("scoring: alignment", alignment), ("downstream: accuracy", accuracy)):
        if not np.isfinite(values).all():
            raise UserError(
                f"{what} of {plan.id} is not finite, a task has no test split or one class, or the training has diverged"
            )
    config = json.loads((folder / "config.json").read_bytes())
    buffer = io.BytesIO()
    np.savez(
        buffer,
        evaluation=evaluation,
        alignment=alignment.astype(np.float32),
        accuracy=accuracy,
        n_test=rows["downstream/n_test"],
        probes=np.array(store.PROBES[: accuracy.shape[1]]),
        seconds=config["training_seconds"],
        epsilon=np.nan if config["epsilon"] is None else config["epsilon"],
    )
    write_atomically(folder / "measured.npz", buffer.getvalue())
    emit(Completed(plan.id))
