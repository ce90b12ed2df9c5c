"""What a worker process does for a study: inspect its spec, calibrate, take one encoder from its seed to its scores, add details.

Everything here needs torch and runs in processes of :mod:`sslmem_kit.run`. Each step is skipped where an earlier run has done it.
"""

from __future__ import annotations

import platform
import time
from collections.abc import Callable
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
from sslmem_kit.checkpoints import Progress, drop_weights, load_progress
from sslmem_kit.data import Dataset
from sslmem_kit.devices import Team, resolve_device, use_device
from sslmem_kit.downstream.tasks import load_task
from sslmem_kit.encoders import Encoder, build_encoder, load_weights, save_weights
from sslmem_kit.errors import UserError
from sslmem_kit.evaluation import downstream_accuracy, score_samples
from sslmem_kit.feed import Feed
from sslmem_kit.objectives import Batch, Moment, draw_views
from sslmem_kit.study.folder import Study, write_json
from sslmem_kit.study.samples import StudySamples, load_samples
from sslmem_kit.study.spec import EncoderPlan, StudySpec
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
    ``device``, ``parameters`` of the encoder, ``objective_parameters``, ``stem``, ``representation`` (shape a sample), ``views`` of a sample
    in a step, ``versions``; with ``calibrate``: ``flops`` of one encoder's training and scoring, ``train_seconds`` and ``score_seconds`` of
    one encoder, shared by ``devices``.

    Raises
    ------
    UserError
        Anything about the spec that only shows when the encoder is built.
    """
    torch.set_num_threads(threads)
    device = resolve_device(device)
    use_device(device)
    samples, plan, training = samples or load_samples(spec), spec.encoders[0], spec.training
    ids = samples.training(plan.family)
    size, steps_an_epoch = min(
        epoch_batches(training, len(samples.training(encoder.family)), ranks=devices) for encoder in spec.encoders[:2]
    )
    check_precision(training, device)
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
    records = len(training.recorded_epochs) + 1
    return told | {
        "flops": step_flops * devices * steps + counted.get_total_flops() * scoring_batches * records,
        "train_seconds": _seconds(step, device) * steps,
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
        values = score_samples(spec, encoder, ids[block * size : (block + 1) * size], feed)
        if not np.isfinite(values).all():
            raise UserError(f"scoring: encoder {plan.id} gives representations that are not finite")
        store.write_alignment(study.results_path, encoder=index, block=block, values=values)
        tell("scored", plan.id, block)
    accuracy = downstream_accuracy(spec, encoder, samples, feed, team, linear=progress.history[-1]["probe_accuracy"])
    if team.first:
        rows = progress.rows(spec.training.epochs, spec.training.recorded_epochs) | {"downstream/accuracy": accuracy}
        store.write_evaluation(study.results_path, encoder=index, rows=rows)
        tell("completed", plan.id)
    team.wait()


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
            "samples": len(samples.training(plan.family)),
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
    drop_weights(folder / "resume" / "state.pt")


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
