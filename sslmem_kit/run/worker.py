"""Functions that a worker process runs for a study: calibrate, train, score and evaluate encoders, add details.

Everything here needs torch and runs in processes of :mod:`sslmem_kit.run.study`. Each step is skipped where an earlier run has done it.
"""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from pathlib import Path

import numpy as np
import torch
import xarray as xr

from sslmem_kit import store
from sslmem_kit.data.loader import ImageLoader, image_loader
from sslmem_kit.data.samples import StudySamples, channels_first
from sslmem_kit.encoders.backbone import Encoder
from sslmem_kit.encoders.device import use_device
from sslmem_kit.encoders.weights import save_weights
from sslmem_kit.errors import UserError
from sslmem_kit.events import Completed, OnEvent, Scored, Warned, ignore
from sslmem_kit.measures import mitigation as mitigate
from sslmem_kit.measures.alignment import scored_images
from sslmem_kit.measures.evaluation import downstream_rows, record, score_again, score_layers, score_together, score_units
from sslmem_kit.measures.features import nearest, pooled_features
from sslmem_kit.run.calibration import calibrate as calibrate
from sslmem_kit.run.removal import study_samples
from sslmem_kit.run.repair import WEIGHTS, forget
from sslmem_kit.run.resources import processor
from sslmem_kit.run.versions import arithmetic, versions
from sslmem_kit.spec.design import EncoderPlan
from sslmem_kit.store import details, file_record, integrity
from sslmem_kit.store.files import write_json
from sslmem_kit.store.provenance import RULES
from sslmem_kit.study import Study
from sslmem_kit.training.checkpoints import Progress, is_resumable, keep_state, load_progress, save_progress, write_history
from sslmem_kit.training.distributed import DeviceGroup
from sslmem_kit.training.loop import train
from sslmem_kit.training.objectives import Objective
from sslmem_kit.training.setup import trained_encoder
from sslmem_kit.training.stacked import StackedModules, train_together


def complete_encoder(
    path: Path,
    encoder_id: str,
    device: str,
    threads: int,
    *,
    emit: OnEvent,
    samples: StudySamples | None = None,
    device_group: DeviceGroup | None = None,
) -> None:
    """Train, score and evaluate one encoder of a study, as far as results are missing.

    Sample blocks are distributed to the ranks of a device group. ``emit`` is called with its events.
    """
    torch.set_num_threads(threads)
    use_device(device)
    study, device_group = Study(path), device_group or DeviceGroup(device)
    spec = study.spec
    index = [plan.id for plan in spec.encoders].index(encoder_id)
    plan = spec.encoders[index]
    blocks = store.unscored_blocks(study.results_path, index)
    if not blocks and store.is_evaluated(study.results_path, index):
        return  # another run has done it meanwhile
    device_group.wait()  # all have read the same state of the store before one of them changes it
    samples = samples or study_samples(spec)
    loader = image_loader(samples.dataset, device_group.device)
    encoder, progress = _trained(study, plan, samples, loader, threads, emit, device_group)
    blocks = store.unscored_blocks(study.results_path, index)  # all, where it was trained again to other weights
    device_group.wait()
    ids, size = samples.dataset.ids[samples.scored], spec.scoring.block
    for block in blocks[device_group.rank :: device_group.size]:
        chosen = ids[block * size : (block + 1) * size]
        again = score_again(spec, encoder, chosen, loader)
        _write_block(study, index, block, *score_layers(spec, encoder, chosen, loader), common=again)
        emit(Scored(plan.id, block))
    device_group.wait()
    rows = _evaluated(study, index, encoder, progress, samples, loader, device_group)
    if device_group.first:
        store.write_evaluation(study.results_path, encoder=index, rows=rows)
        emit(Completed(plan.id))
    device_group.wait()


def complete_group(
    path: Path, encoder_ids: Sequence[str], device: str, threads: int, *, emit: OnEvent, samples: StudySamples | None = None
) -> None:
    """Train, score and evaluate encoders of one design at once, as :func:`complete_encoder` does one.

    Events of the group have the id of its first encoder.
    """
    torch.set_num_threads(threads)
    use_device(device)
    study = Study(path)
    spec, name = study.spec, encoder_ids[0]
    places = {plan.id: number for number, plan in enumerate(spec.encoders)}
    indices = [places[encoder_id] for encoder_id in encoder_ids]
    todo = {index: store.unscored_blocks(study.results_path, index) for index in indices}
    blocks = sorted(set().union(*todo.values()))
    if not blocks and all(store.is_evaluated(study.results_path, index) for index in indices):
        return
    samples = samples or study_samples(spec)
    loader, plans = image_loader(samples.dataset, device), [spec.encoders[index] for index in indices]
    trained = _trained_together(study, plans, samples, loader, threads, emit)
    todo = {index: store.unscored_blocks(study.results_path, index) for index in indices}
    blocks = sorted(set().union(*todo.values()))
    stacked = StackedModules([encoder for encoder, _ in trained])

    def represent(images: torch.Tensor) -> dict[str, torch.Tensor]:
        return dict(zip(encoder_ids, stacked(images, shared=True), strict=True))

    ids, size = samples.dataset.ids[samples.scored], spec.scoring.block
    for block in blocks:
        chosen = ids[block * size : (block + 1) * size]
        if spec.scoring.layers:  # hooks see one encoder at a time
            scored = [score_layers(spec, encoder, chosen, loader) for encoder, _ in trained]
        else:
            scored = [(values, None) for values in score_together(spec, represent, chosen, loader)]
        for index, (values, layers), (encoder, _) in zip(indices, scored, trained, strict=True):
            if block in todo[index]:
                _write_block(study, index, block, values, layers, common=score_again(spec, encoder, chosen, loader))
        emit(Scored(name, block))
    for index, (encoder, progress) in zip(indices, trained, strict=True):
        if not store.is_evaluated(study.results_path, index):
            rows = _evaluated(study, index, encoder, progress, samples, loader, DeviceGroup(device))
            store.write_evaluation(study.results_path, encoder=index, rows=rows)
    emit(Completed(name))


def _write_block(
    study: Study,
    index: int,
    block: int,
    values: np.ndarray,
    layers: np.ndarray | None = None,
    *,
    common: np.ndarray | None = None,
) -> None:
    if not all(np.isfinite(part).all() for part in (values, layers, common) if part is not None):
        raise UserError(f"scoring: encoder {study.spec.encoders[index].id} gives representations that are not finite")
    store.write_alignment(study.results_path, encoder=index, block=block, values=values, layers=layers, common=common)


def _evaluated(
    study: Study,
    index: int,
    encoder: Encoder,
    progress: Progress,
    samples: StudySamples,
    loader: ImageLoader,
    device_group: DeviceGroup,
) -> dict[str, np.ndarray]:
    """Return the store's rows of a scored encoder beside its alignment; probes and records during training only of pairs of f and g."""
    spec, training = study.spec, study.spec.training
    if spec.encoders[index].design == "pair":
        rows = downstream_rows(spec, encoder, samples, loader, device_group)
        return progress.rows(training.epochs, training.recorded_epochs) | rows
    progress.trajectory[training.epochs] = store.mean_alignment(study.results_path, encoder=index)
    return progress.rows(training.epochs, training.recorded_epochs)


def write_views(path: Path, kept: xr.Dataset, device: str, threads: int, *, samples: StudySamples | None = None) -> None:
    """Make the scored views of the kept samples once more and add them to the store, small."""
    torch.set_num_threads(threads)
    study = Study(path)
    spec, samples = study.spec, samples or study_samples(study.spec)
    views = scored_images(
        image_loader(samples.dataset, device),
        kept[store.KEPT].values,
        views=spec.scoring.views,
        policy=spec.scoring.policy,
        seed=spec.view_seed,
        batch_size=spec.scoring.batch_size,
    )
    details.write_views(study.results_path, kept, np.concatenate([details.shrink(images) for images in views]))


def find_neighbours(
    path: Path,
    encoder_id: str,
    kept: np.ndarray,
    references: np.ndarray,
    device: str,
    threads: int,
    *,
    samples: StudySamples | None = None,
) -> tuple[np.ndarray, np.ndarray]:
    """Return ids of the nearest other samples among ``references`` under one encoder, and their distances, (kept, rank)."""
    torch.set_num_threads(threads)
    study = Study(path)
    spec, samples = study.spec, samples or study_samples(study.spec)
    loader = image_loader(samples.dataset, device)
    encoder = _load_encoder(study, encoder_id, samples, device)
    features = pooled_features(encoder, loader, references, batch_size=spec.scoring.batch_size)
    found, distances = nearest(features, np.searchsorted(references, kept), count=details.NEIGHBOURS, device=device)
    return references[found], distances


def find_units(path: Path, encoder_id: str, device: str, threads: int, *, samples: StudySamples | None = None) -> xr.Dataset:
    """Return how selective the units of one encoder are for single samples, on ``unit``."""
    torch.set_num_threads(threads)
    study = Study(path)
    spec, samples = study.spec, samples or study_samples(study.spec)
    encoder = _load_encoder(study, encoder_id, samples, device)
    return score_units(spec, encoder, samples.dataset.ids[samples.scored], image_loader(samples.dataset, device))


def _trained(
    study: Study,
    plan: EncoderPlan,
    samples: StudySamples,
    loader: ImageLoader,
    threads: int,
    emit: OnEvent,
    device_group: DeviceGroup,
) -> tuple[Encoder, Progress]:
    """Return the encoder with its final weights, trained or loaded, and its training progress."""
    spec, folder = study.spec, study.encoder(plan.id)

    emit = emit if device_group.first else ignore
    mitigation, chooser = spec.training.mitigation, None
    if mitigation and plan.design == "pair":
        epochs = mitigation.choice_epochs(spec.training.epochs)
        if plan.family == "f":
            partner = next(other for other in spec.pairs if (other.family, other.seed) == ("g", plan.seed))
            chooser = mitigate.chooser(spec, plan, samples, loader, mitigation, study.encoder(partner.id))
        elif mitigation.by == "memorization":
            chooser = mitigate.recorder(spec, samples, loader, folder, epochs)
            if (folder / WEIGHTS).exists() and not mitigate.has_recorded(samples, folder, epochs):
                emit(
                    Warned(
                        plan.id, f"what f is treated by is gone or damaged ({folder / 'mitigation'}); {plan.id} is trained again"
                    )
                )
                forget(folder)
    done = _finished(study, plan, emit, first=device_group.first)
    device_group.wait()  # all have looked before the first removes anything, and it has before they train
    if done:
        return _load_encoder(study, plan.id, samples, loader.device), done

    encoder, progress = train(
        spec, plan, samples, loader, folder, record=record, chooser=chooser, device_group=device_group, emit=emit
    )
    if device_group.first:
        _save_encoder(study, plan, samples, encoder, progress, threads, device_group)
    device_group.wait()
    return encoder, progress


def _finished(study: Study, plan: EncoderPlan, emit: OnEvent, *, first: bool) -> Progress | None:
    """Return the progress of a finished training whose weights are those that it ended with; else None.

    Other weights are removed, by the first of a device group.
    """
    folder = study.encoder(plan.id)
    checkpoint = folder / "resume" / "state.pt"
    if not (folder / WEIGHTS).exists() or not checkpoint.exists():
        return None
    wrong = integrity.damaged_files(study.results_path, file_record.files_of(plan.id)[-1:])
    try:
        if not wrong:
            progress = load_progress(checkpoint)
            if first and is_resumable(checkpoint):  # killed between the record of the weights and the end of the checkpoint
                save_progress(checkpoint, progress)
            return progress
        why = f"{folder / WEIGHTS} {wrong[0].how}"
    except UserError as error:
        why = str(error)
    if first and not (wrong and is_resumable(checkpoint)):  # killed before the record: the training ends again, at once
        emit(Warned(plan.id, f"{why}; {plan.id} is trained again"))
        forget(folder)
    return None


def write_files(path: Path, encoder_id: str, device: str, threads: int, *, samples: StudySamples | None = None) -> None:
    """Write the configuration and the history of a trained encoder again."""
    torch.set_num_threads(threads)
    study = Study(path)
    samples = samples or study_samples(study.spec)
    progress = load_progress(study.encoder(encoder_id) / "resume" / "state.pt")
    plan = next(plan for plan in study.spec.encoders if plan.id == encoder_id)
    write_history(study.encoder(encoder_id) / "history.csv", progress)
    encoder = _load_encoder(study, encoder_id, samples, device)
    rules = json.loads(store.attributes(study.results_path).get("rules", "{}"))
    _write_config(study, plan, samples, encoder, progress, threads, DeviceGroup(device), machine=None, rules=rules)
    _note_files(study, plan)


def _trained_together(
    study: Study, plans: Sequence[EncoderPlan], samples: StudySamples, loader: ImageLoader, threads: int, emit: OnEvent
) -> list[tuple[Encoder, Progress]]:
    """Return the encoders of a group with their final weights, all trained or all loaded, and their progress."""
    folders = [study.encoder(plan.id) for plan in plans]

    finished = [_finished(study, plan, emit, first=True) for plan in plans]
    checkpoint = folders[0] / "resume" / "group.pt"

    def load(plan: EncoderPlan, progress: Progress) -> tuple[Encoder, Progress]:
        return _load_encoder(study, plan.id, samples, loader.device), progress

    if all(finished):
        checkpoint.unlink(missing_ok=True)
        return [load(plan, progress) for plan, progress in zip(plans, finished, strict=True)]

    def keep(plan: EncoderPlan, objective: Objective) -> None:
        for epoch in study.spec.kept_epochs(plan)[-1:]:  # what is trained at once is not recorded on the way
            keep_state(study.encoder(plan.id), epoch, objective)

    trained = train_together(study.spec, plans, samples, loader, checkpoint, keep=keep, emit=emit)
    for number, (plan, folder, there, (encoder, progress)) in enumerate(zip(plans, folders, finished, trained, strict=True)):
        if there:
            trained[number] = load(plan, there)  # an interrupted run, or ranks, had trained it: the weights on disk are scored
        else:
            folder.mkdir(parents=True, exist_ok=True)
            write_history(folder / "history.csv", progress)
            _save_encoder(study, plan, samples, encoder, progress, threads, DeviceGroup(loader.device))
    checkpoint.unlink(missing_ok=True)
    return trained


def _save_encoder(
    study: Study,
    plan: EncoderPlan,
    samples: StudySamples,
    encoder: Encoder,
    progress: Progress,
    threads: int,
    device_group: DeviceGroup,
) -> None:
    """Write the files of a finished training: its configuration, its weights, their checksums, then its progress."""
    machine = f"{processor()}; {arithmetic(device_group.device)}"
    _write_config(study, plan, samples, encoder, progress, threads, device_group, machine=machine, rules=RULES)
    folder = study.encoder(plan.id)
    save_weights(encoder, folder / WEIGHTS)
    weights = file_record.files_of(plan.id)[-1]
    if weights in file_record.read_record(study.results_path)[0] and integrity.damaged_files(study.results_path, [weights]):
        # Trained again to other weights: results of the old ones are removed while their checksums are still recorded.
        store.forget_encoder(study.results_path, _index(study, plan.id))
    _note_files(study, plan)
    save_progress(folder / "resume" / "state.pt", progress)


def _index(study: Study, encoder_id: str) -> int:
    return [plan.id for plan in study.spec.encoders].index(encoder_id)


def _note_files(study: Study, plan: EncoderPlan) -> None:
    file_record.note(study.results_path, str(_index(study, plan.id)), file_record.files_of(plan.id))


def _write_config(
    study: Study,
    plan: EncoderPlan,
    samples: StudySamples,
    encoder: Encoder,
    progress: Progress,
    threads: int,
    device_group: DeviceGroup,
    *,
    machine: str | None,
    rules: Mapping[str, str],
) -> None:
    """Write ``config.json``; ``machine`` and ``rules`` are those of the training, which may not be known, not of this process."""
    spec, folder = study.spec, study.encoder(plan.id)
    with torch.inference_mode():
        shape = list(encoder(torch.zeros(1, *channels_first(samples), device=device_group.device)).shape[1:])
    write_json(
        folder / "config.json",
        {
            **plan.model_dump(),
            "method": spec.objective.method,
            "encoder": spec.encoder.model_dump(mode="json"),
            "image_shape": list(samples.dataset.image_shape),
            "mean": encoder.mean.flatten().tolist(),
            "std": encoder.std.flatten().tolist(),
            "stem": encoder.stem,
            "representation": shape,
            "parameters": sum(parameter.numel() for parameter in encoder.parameters()),
            "samples": len(samples.training(plan)),
            "coupled": spec.training.coupled,
            "training_seconds": round(progress.seconds, 3),
            "device": device_group.device,
            "ranks": device_group.size,
            "epsilon": progress.epsilon,
            "threads": threads,
            "spec_hash": spec.hash,
            "versions": versions(),
            "machine": machine,
            "rules": dict(rules),
        },
    )


def _load_encoder(study: Study, encoder_id: str, samples: StudySamples, device: str) -> Encoder:
    return trained_encoder(study.spec, samples, study.encoder(encoder_id) / "weights.safetensors", device)
