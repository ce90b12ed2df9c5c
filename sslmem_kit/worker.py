"""What a worker process does for a study: inspect its spec, calibrate, take one encoder from its seed to its scores, add details.

Everything here needs torch and runs in processes of :mod:`sslmem_kit.run`. Each step is skipped where an earlier run has done it.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable, Sequence
from functools import lru_cache
from pathlib import Path
from typing import Any

import numpy as np
import timm
import torch
import xarray as xr
from torch.utils.flop_counter import FlopCounterMode

import sslmem_kit
from sslmem_kit import details, store
from sslmem_kit.alignment import autocast, nearest, pooled_features, scored_images
from sslmem_kit.checkpoints import Progress, load_progress, save_progress, write_history
from sslmem_kit.data import Dataset
from sslmem_kit.design import EncoderPlan
from sslmem_kit.devices import Team, resolve_device, use_device
from sslmem_kit.downstream.tasks import load_task
from sslmem_kit.encoders import Encoder, build_encoder, load_weights, save_weights
from sslmem_kit.errors import UserError
from sslmem_kit.evaluation import downstream_accuracy, layered, score_layers, score_samples, score_together, score_units
from sslmem_kit.feed import Feed
from sslmem_kit.objectives import Batch, Moment, draw_views
from sslmem_kit.study.folder import Study, write_json
from sslmem_kit.study.samples import StudySamples, load_samples
from sslmem_kit.study.spec import StudySpec
from sslmem_kit.together import Stacked, check_together, seconds_an_epoch, train_together
from sslmem_kit.train import begin_privacy, check_precision, epoch_batches, new_objective, train
from sslmem_kit.views import keys

Tell = Callable[..., None]


def versions() -> dict[str, str]:
    """Of what determines the numbers."""
    return {
        "sslmem_kit": sslmem_kit.__version__,
        "python": platform.python_version(),
        "torch": torch.__version__,
        "timm": timm.__version__,
        "numpy": np.__version__,
    }


def inspect(
    spec: StudySpec,
    device: str,
    threads: int,
    *,
    samples: StudySamples | None = None,
    calibrate: bool = False,
    devices: int = 1,
) -> dict[str, Any]:
    """Build a study's encoder and objective and tell what they are; with ``calibrate`` take a few steps and tell how fast, too.

    Returns
    -------
    ``device``, ``parameters`` of the encoder, ``objective_parameters``, ``stem``, ``representation`` (shape a sample), ``layers`` that are
    scored (units by name), ``views`` of a sample in a step, ``versions``; with ``calibrate``: ``flops`` of one encoder's training and
    scoring, ``train_seconds`` and ``score_seconds`` of one encoder, shared by ``devices``.

    Raises
    ------
    UserError
        Anything about the spec that only shows when the encoder is built.
    """
    torch.set_num_threads(threads)
    device = resolve_device(device)
    use_device(device)
    samples, plan, training = samples or load_samples(spec), spec.encoders[0], spec.training
    ids = samples.training(plan)
    size, steps_an_epoch = min(
        epoch_batches(training, len(samples.training(encoder)), ranks=devices) for encoder in spec.encoders[:2]
    )
    check_precision(training, device)
    if len(spec.encoders) > len(spec.pairs) and spec.design.together > 1:
        check_together(spec)
    objective = new_objective(spec, plan, samples, device)
    begin_privacy(training, objective, len(ids), size * training.accumulate, steps_an_epoch, ranks=devices)
    for number, task in enumerate(spec.downstream.tasks):  # what is missing is told, or fetched, before anything is trained
        try:
            load_task(task, samples.dataset.image_shape, seed=spec.seed)
        except UserError as error:
            raise UserError(f"downstream.tasks.{number}: {error}") from None
    encoder = objective.encoder
    with torch.inference_mode():
        output = encoder.eval()(torch.zeros(1, *_chw(samples), device=device))
    told = {
        "device": device,
        "parameters": sum(parameter.numel() for parameter in encoder.parameters()),
        "objective_parameters": sum(parameter.numel() for parameter in objective.parameters()),
        "stem": encoder.stem,
        "representation": list(output.shape[1:]),
        "layers": layered(spec, encoder).channels if spec.scoring.layers else {},
        "views": len(objective.draws(training.policy)),
        "versions": versions(),
    }
    if not calibrate:
        return told

    feed, size = _feed(samples.dataset, device), max(2, size // devices)
    steps = steps_an_epoch * training.accumulate * training.epochs

    draws = objective.draws(training.policy)
    objective.begin_step(Moment(steps_an_epoch * training.epochs - 1, steps_an_epoch, training.epochs))

    def step() -> None:
        images = next(feed.batches([ids[:size]]))
        slots = torch.arange(size, device=device)
        views = draw_views(draws, images, slots, first=0, seed=0)
        with autocast(torch.device(device).type, training.precision):
            loss = objective.train()(Batch(views, keys(0, slots, 0), torch.zeros_like(slots)))
        loss.backward()
        objective.zero_grad(set_to_none=True)

    def score() -> None:
        encoder.eval()
        score_samples(spec, encoder, ids[: spec.scoring.batch_size], feed)

    with FlopCounterMode(display=False) as counted:
        step()
    step_flops = counted.get_total_flops()
    with FlopCounterMode(display=False) as counted:
        score()
    scoring_batches = len(samples.scored) / min(spec.scoring.batch_size, len(ids))
    records = len(training.recorded_epochs) + (2 if spec.scoring.layers else 1)  # units take passes of their own
    train_seconds = _seconds(step, device) * steps
    others = [encoder for encoder in spec.encoders if encoder.design != "pair"]
    if others and spec.design.together > 1:
        kind = [encoder for encoder in others if encoder.design == others[-1].design][-spec.design.together :]
        told["together_seconds"] = seconds_an_epoch(spec, kind, samples, feed) * training.epochs
    return told | {
        "flops": step_flops * devices * steps + counted.get_total_flops() * scoring_batches * records,
        "train_seconds": train_seconds,
        "score_seconds": _seconds(score, device) * scoring_batches * records,
    }


def complete_encoder(
    path: Path,
    encoder_id: str,
    device: str,
    threads: int,
    *,
    tell: Tell,
    samples: StudySamples | None = None,
    team: Team | None = None,
) -> None:
    """Train, score and evaluate one encoder of a study, as far as that is still to be done.

    Sample blocks are shared out to the ranks of a team. ``tell`` hears ``("trained", id, epochs, loss, images a second)``, ``("warned", id,
    sentence)``, ``("scored", id, block)`` and ``("completed", id)``.
    """
    torch.set_num_threads(threads)
    use_device(device)
    study, team = Study(path), team or Team(device)
    spec = study.spec
    index = [plan.id for plan in spec.encoders].index(encoder_id)
    plan = spec.encoders[index]
    blocks = store.unscored_blocks(study.results_path, index)
    if not blocks and store.is_evaluated(study.results_path, index):
        return  # another run has done it meanwhile
    team.wait()  # all have seen the same state of the store before one of them changes it
    samples = samples or load_samples(spec)
    feed = _feed(samples.dataset, team.device)
    encoder, progress = _trained(study, plan, samples, feed, threads, tell, team)
    ids, size = samples.dataset.ids[samples.scored], spec.scoring.block
    for block in blocks[team.rank :: team.size]:
        _write_block(study, index, block, *score_layers(spec, encoder, ids[block * size : (block + 1) * size], feed))
        tell("scored", plan.id, block)
    team.wait()
    rows = _evaluated(study, index, encoder, progress, samples, feed, team)
    if team.first:
        store.write_evaluation(study.results_path, encoder=index, rows=rows)
        tell("completed", plan.id)
    team.wait()


def complete_group(
    path: Path, encoder_ids: Sequence[str], device: str, threads: int, *, tell: Tell, samples: StudySamples | None = None
) -> None:
    """As :func:`complete_encoder`, for encoders of one design that are trained, and scored, at once.

    ``tell`` hears of the group under the id of its first encoder.
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
    samples = samples or load_samples(spec)
    feed, plans = _feed(samples.dataset, device), [spec.encoders[index] for index in indices]
    trained = _trained_together(study, plans, samples, feed, threads, tell)
    stacked = Stacked([encoder for encoder, _ in trained])

    def represent(images: torch.Tensor) -> dict[str, torch.Tensor]:
        return dict(zip(encoder_ids, stacked(images, shared=True), strict=True))

    ids, size = samples.dataset.ids[samples.scored], spec.scoring.block
    for block in blocks:
        chosen = ids[block * size : (block + 1) * size]
        if spec.scoring.layers:  # hooks see one encoder at a time
            scored = [score_layers(spec, encoder, chosen, feed) for encoder, _ in trained]
        else:
            scored = [(values, None) for values in score_together(spec, represent, chosen, feed)]
        for index, (values, layers) in zip(indices, scored, strict=True):
            if block in todo[index]:
                _write_block(study, index, block, values, layers)
        tell("scored", name, block)
    for index, (encoder, progress) in zip(indices, trained, strict=True):
        if not store.is_evaluated(study.results_path, index):
            rows = _evaluated(study, index, encoder, progress, samples, feed, Team(device))
            store.write_evaluation(study.results_path, encoder=index, rows=rows)
    tell("completed", name)


def _write_block(study: Study, index: int, block: int, values: np.ndarray, layers: np.ndarray | None = None) -> None:
    if not np.isfinite(values).all() or (layers is not None and not np.isfinite(layers).all()):
        raise UserError(f"scoring: encoder {study.spec.encoders[index].id} gives representations that are not finite")
    store.write_alignment(study.results_path, encoder=index, block=block, values=values, layers=layers)


def _evaluated(
    study: Study, index: int, encoder: Encoder, progress: Progress, samples: StudySamples, feed: Feed, team: Team
) -> dict[str, np.ndarray]:
    """What the store holds of a scored encoder beside its alignment; probes, and records on the way, only of pairs of f and g."""
    spec, training = study.spec, study.spec.training
    if spec.encoders[index].design == "pair":
        linear = progress.history[-1]["probe_accuracy"]
        accuracy = downstream_accuracy(spec, encoder, samples, feed, team, linear=linear)
        return progress.rows(training.epochs, training.recorded_epochs) | {"downstream/accuracy": accuracy}
    progress.trajectory[training.epochs] = store.mean_alignment(study.results_path, encoder=index)
    return progress.rows(training.epochs, training.recorded_epochs)


def write_views(path: Path, kept: xr.Dataset, device: str, threads: int, *, samples: StudySamples | None = None) -> None:
    """Draw the scored views of the kept samples once more and add them to the store, small."""
    torch.set_num_threads(threads)
    study = Study(path)
    spec, samples = study.spec, samples or load_samples(study.spec)
    drawn = scored_images(
        _feed(samples.dataset, device),
        kept[store.KEPT].values,
        views=spec.scoring.views,
        policy=spec.scoring.policy,
        seed=spec.view_seed,
        batch_size=spec.scoring.batch_size,
    )
    details.write_views(study.results_path, kept, np.concatenate([details.shrink(images) for images in drawn]))


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
    """Ids of the nearest other samples among ``references`` under one encoder, and their distances, (kept, rank)."""
    torch.set_num_threads(threads)
    study = Study(path)
    spec, samples = study.spec, samples or load_samples(study.spec)
    feed = _feed(samples.dataset, device)
    encoder = _load_encoder(study, encoder_id, samples, device)
    features = pooled_features(encoder, feed, references, batch_size=spec.scoring.batch_size)
    found, distances = nearest(features, np.searchsorted(references, kept), count=details.NEIGHBOURS, device=device)
    return references[found], distances


def find_units(path: Path, encoder_id: str, device: str, threads: int, *, samples: StudySamples | None = None) -> xr.Dataset:
    """How selective the units of one encoder are for single samples, on ``unit``."""
    torch.set_num_threads(threads)
    study = Study(path)
    spec, samples = study.spec, samples or load_samples(study.spec)
    encoder = _load_encoder(study, encoder_id, samples, device)
    return score_units(spec, encoder, samples.dataset.ids[samples.scored], _feed(samples.dataset, device))


def _trained(
    study: Study, plan: EncoderPlan, samples: StudySamples, feed: Feed, threads: int, tell: Tell, team: Team
) -> tuple[Encoder, Progress]:
    """The encoder with its final weights, trained or loaded."""
    spec, folder = study.spec, study.encoder(plan.id)
    weights, checkpoint = folder / "weights.safetensors", folder / "resume" / "state.pt"
    if weights.exists() and checkpoint.exists():
        return _load_encoder(study, plan.id, samples, feed.device), load_progress(checkpoint)

    def pass_on(event: str, *details: Any) -> None:
        if team.first:
            tell(event, plan.id, *details)

    encoder, progress = train(spec, plan, samples, feed, folder, team=team, tell=pass_on)
    if team.first:
        _save_encoder(study, plan, samples, encoder, progress, threads, team)
    team.wait()
    return encoder, progress


def _trained_together(
    study: Study, plans: Sequence[EncoderPlan], samples: StudySamples, feed: Feed, threads: int, tell: Tell
) -> list[tuple[Encoder, Progress]]:
    """The encoders of a group with their final weights, all trained or all loaded."""
    folders = [study.encoder(plan.id) for plan in plans]
    finished = [(folder / "weights.safetensors").exists() and (folder / "resume" / "state.pt").exists() for folder in folders]
    if all(finished):
        return [
            (_load_encoder(study, plan.id, samples, feed.device), load_progress(folder / "resume" / "state.pt"))
            for plan, folder in zip(plans, folders, strict=True)
        ]

    def pass_on(event: str, *details: Any) -> None:
        tell(event, plans[0].id, *details)

    checkpoint = folders[0] / "resume" / "group.pt"
    trained = train_together(study.spec, plans, samples, feed, checkpoint, tell=pass_on)
    # None of the group is trained by itself: what is missing of it is written, the rest is there already.
    for plan, folder, there, (encoder, progress) in zip(plans, folders, finished, trained, strict=True):
        if not there:
            folder.mkdir(parents=True, exist_ok=True)
            write_history(folder / "history.csv", progress)
            _save_encoder(study, plan, samples, encoder, progress, threads, Team(feed.device))
    checkpoint.unlink(missing_ok=True)
    return trained


def _save_encoder(
    study: Study, plan: EncoderPlan, samples: StudySamples, encoder: Encoder, progress: Progress, threads: int, team: Team
) -> None:
    """Write what a finished training leaves: its configuration, then its weights."""
    spec, folder = study.spec, study.encoder(plan.id)
    with torch.inference_mode():
        shape = list(encoder(torch.zeros(1, *_chw(samples), device=team.device)).shape[1:])
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
            "device": team.device,
            "ranks": team.size,
            "epsilon": progress.epsilon,
            "threads": threads,
            "spec_hash": spec.hash,
            "versions": versions(),
        },
    )
    # The weights come last: where they are, everything before them is.
    save_weights(encoder, folder / "weights.safetensors")
    save_progress(folder / "resume" / "state.pt", progress)


def _load_encoder(study: Study, encoder_id: str, samples: StudySamples, device: str) -> Encoder:
    mean, std = samples.channel_statistics
    encoder = build_encoder(study.spec.encoder, samples.dataset.image_shape, mean=mean, std=std).to(device)
    load_weights(encoder, study.encoder(encoder_id) / "weights.safetensors", device=device)
    return encoder.eval()


def _chw(samples: StudySamples) -> tuple[int, int, int]:
    height, width, channels = samples.dataset.image_shape
    return channels, height, width


@lru_cache(maxsize=1)
def _feed(dataset: Dataset, device: str) -> Feed:
    """One feed a process: the images are sent to the device once, however many encoders are trained there."""
    return Feed(dataset, device)


def _seconds(function: Callable[[], None], device: str) -> float:
    """Median time of a call over about two seconds, after one to warm up."""
    function()
    times: list[float] = []
    while len(times) < 3 or sum(times) < 2:
        start = time.perf_counter()
        function()
        if device.startswith("cuda"):
            torch.cuda.synchronize()
        times.append(time.perf_counter() - start)
    return float(np.median(times))
