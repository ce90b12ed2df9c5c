"""Functions that a worker process runs for a removal tree: check its tasks, train and probe its encoders.

Everything here needs torch. Each step is skipped where an earlier run has done it.
"""

from __future__ import annotations

import hashlib
import json
from collections.abc import Mapping
from pathlib import Path
from types import MappingProxyType
from typing import Any

import numpy as np
import torch

from sslmem_kit import store
from sslmem_kit.data.loader import ImageLoader, image_loader
from sslmem_kit.data.samples import StudySamples
from sslmem_kit.encoders.device import use_device
from sslmem_kit.encoders.weights import save_weights
from sslmem_kit.errors import UserError
from sslmem_kit.events import Completed, OnEvent, Warned
from sslmem_kit.measures.downstream.tasks import check_classes, load_task
from sslmem_kit.measures.evaluation import downstream_rows
from sslmem_kit.run.removal import study_samples
from sslmem_kit.run.removal_sets import Child, without
from sslmem_kit.run.repair import WEIGHTS
from sslmem_kit.run.resources import processor
from sslmem_kit.run.versions import arithmetic, versions
from sslmem_kit.spec.design import EncoderPlan
from sslmem_kit.spec.study import StudySpec
from sslmem_kit.store.files import remove, write_json
from sslmem_kit.store.provenance import RULES
from sslmem_kit.training.checkpoints import is_resumable, load_progress, save_progress
from sslmem_kit.training.distributed import DeviceGroup
from sslmem_kit.training.loop import train
from sslmem_kit.training.mitigation import Chooser
from sslmem_kit.training.setup import trained_encoder

ACCURACY = "accuracy.json"


def check_tasks(spec: StudySpec, *, samples: StudySamples | None = None) -> None:
    """Refuse tasks whose classes cannot be learned: fewer than two, or of the test split and none of the train split.

    Raises
    ------
    UserError
        One is such, or cannot be read.
    """
    samples = samples or study_samples(spec)
    labels, names = samples.dataset.labels, samples.dataset.class_names
    check_classes(spec.data.name, labels[samples.probe_training], labels[samples.probe_test], names)
    for number, task in enumerate(spec.downstream.tasks):
        try:
            dataset = load_task(task, samples.dataset.image_shape, seed=spec.seed)
        except UserError as error:
            raise UserError(f"tasks.{number}: {error}") from None
        check_classes(task.name, dataset.labels[~dataset.is_test], dataset.labels[dataset.is_test], dataset.class_names)


def complete_child(
    spec: StudySpec,
    child: Child,
    folder: Path,
    weights: Path | None,
    evaluation: str,
    device: str,
    threads: int,
    *,
    emit: OnEvent,
    samples: StudySamples | None = None,
) -> None:
    """Train one encoder of a tree, unless it is one of the study's, and write the accuracies of its probes.

    Parameters
    ----------
    spec
        The study whose scores choose, with the tasks of the tree.
    child, folder
        The encoder, and its folder in the tree.
    weights
        Weights of an encoder of the study; None: it is trained here.
    evaluation
        Hash of tasks and probes, recorded with the accuracies.
    """
    torch.set_num_threads(threads)
    use_device(device)
    samples = samples or study_samples(spec)
    loader = image_loader(samples.dataset, device)
    folder.mkdir(parents=True, exist_ok=True)
    if weights is None:
        own = without(samples, child.removed)
        weights = train_once(own, child.plan, loader, folder, child.identity, threads, emit, facts={"removed": len(child.removed)})
    encoder = trained_encoder(spec, samples, weights, device)
    rows = downstream_rows(spec, encoder, samples, loader, DeviceGroup(device))
    accuracy, tested = (rows[f"downstream/{name}"] for name in ("accuracy", "n_test"))
    if not np.isfinite(accuracy).all():
        raise UserError(f"tasks: {child.plan.id} has no accuracy on a task, its test split is empty or of one class")
    found = {
        "evaluation": evaluation,
        "probes": list(store.PROBES[: accuracy.shape[1]]),
        "accuracy": accuracy.tolist(),
        "n_test": tested.tolist(),
    }
    write_json(folder / ACCURACY, found)
    emit(Completed(child.plan.id))


def train_once(
    samples: StudySamples,
    plan: EncoderPlan,
    loader: ImageLoader,
    folder: Path,
    identity: str,
    threads: int,
    emit: OnEvent,
    *,
    chooser: Chooser | None = None,
    facts: Mapping[str, Any] = MappingProxyType({}),
) -> Path:
    """Train an encoder in a folder of its own, unless it is trained there already, and return the path of its weights.

    Parameters
    ----------
    samples, plan, loader
        Samples of its study, its plan, and the images.
    folder, identity
        Folder that is named by the hash of what determines it, and this hash.
    chooser
        As of :func:`sslmem_kit.training.loop.train`.
    facts
        What its ``config.json`` holds beside.
    """
    spec, weights = samples.spec, folder / WEIGHTS
    if _is_trained(folder, plan.id, emit):
        return weights
    encoder, progress = train(
        spec, plan, samples, loader, folder, chooser=chooser, device_group=DeviceGroup(loader.device), emit=emit
    )
    save_weights(encoder, weights)
    write_json(
        folder / "config.json",
        {
            **plan.model_dump(),
            "identity": identity,
            "method": spec.objective.method,
            "encoder": spec.encoder.model_dump(mode="json"),
            "samples": len(samples.training(plan)),
            **facts,
            "weights_sha256": _sha256(weights),
            "training_seconds": round(progress.seconds, 3),
            "epsilon": progress.epsilon,
            "device": loader.device,
            "threads": threads,
            "versions": versions(),
            "machine": f"{processor()}; {arithmetic(loader.device)}",
            "rules": dict(RULES),
        },
    )
    save_progress(folder / "resume" / "state.pt", progress)
    return weights


def _is_trained(folder: Path, name: str, emit: OnEvent) -> bool:
    """Return whether an encoder's training is done and its weights are those that it ended with; others are removed."""
    config, weights, checkpoint = folder / "config.json", folder / WEIGHTS, folder / "resume" / "state.pt"
    try:
        recorded = json.loads(config.read_bytes())["weights_sha256"]
    except (OSError, ValueError, KeyError, TypeError):
        return False  # the training ends again, at once, from its last checkpoint
    if weights.exists() and _sha256(weights) == recorded:
        if is_resumable(checkpoint):  # killed between the record and the end of the checkpoint
            save_progress(checkpoint, load_progress(checkpoint))
        return True
    emit(Warned(name, f"{weights} is gone or damaged; it is trained again"))
    for path in (config, weights, checkpoint):
        remove(path)
    return False


def _sha256(path: Path) -> str:
    with open(path, "rb") as handle:
        return hashlib.file_digest(handle, "sha256").hexdigest()
