"""Running a mitigation frontier: all encoders of all arms, each once, and one table of what was measured of them.

This process plans and collects; encoders are trained and measured by worker processes. It imports no torch. An encoder is known by its
hash (:mod:`sslmem_kit.data.identity`): g of the untreated study is that of all arms which treat f alone.
"""

from __future__ import annotations

import contextlib
import json
import zipfile
from concurrent.futures import FIRST_COMPLETED, Future, wait
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sslmem_kit.data.identity import encoder_hash
from sslmem_kit.data.samples import StudySamples, samples_to_plan
from sslmem_kit.errors import UserError, require
from sslmem_kit.events import Message, OnEvent, Planned, ignore
from sslmem_kit.names import FAMILIES, PARTITION_CODE
from sslmem_kit.run.plan import plan as plan_study
from sslmem_kit.run.removal import study_samples
from sslmem_kit.run.resources import WORKER, Scheduler, _for_workers, _gpus, _share_cores
from sslmem_kit.run.schedulers.pool import call_worker, pool, result
from sslmem_kit.spec.design import EncoderPlan
from sslmem_kit.spec.frontier import Arm, FrontierSpec
from sslmem_kit.spec.moved import content_hash
from sslmem_kit.spec.paths import absolute
from sslmem_kit.spec.study import StudySpec
from sslmem_kit.store.frontier import Frontier, check_frontier_folder
from sslmem_kit.store.provenance import of_training, training_caveats

FRONTIER_WORKER = "sslmem_kit.run.frontier_worker"
"""Module of the functions that worker processes run; it imports torch."""
MEASURED = "measured.npz"


@dataclass
class ArmEncoder:
    """An encoder of a frontier, of one arm or of several."""

    spec: StudySpec
    plan: EncoderPlan
    identity: str
    partner: str = ""
    """Hash of g that f is scored against while it trains; empty where it is not."""
    epochs: set[int] = field(default_factory=set)
    """Numbers of finished epochs after which g is scored for f."""
    arms: list[str] = field(default_factory=list)


def encoders_of(spec: FrontierSpec, samples: StudySamples) -> dict[tuple[str, str, int], ArmEncoder]:
    """Return the encoders of a frontier by arm, family and seed; those that are equal are one object."""
    by_hash: dict[str, ArmEncoder] = {}
    found = {}
    for arm in spec.all_arms():
        own = replace(samples, spec=arm.spec)
        hashes = {(plan.family, plan.seed): encoder_hash(own, plan) for plan in arm.spec.pairs}
        mitigation = arm.spec.training.mitigation
        for plan in arm.spec.pairs:
            identity = hashes[plan.family, plan.seed]
            name = EncoderPlan(id=f"{arm.name}-{plan.id}", family=plan.family, seed=plan.seed)
            one = by_hash.setdefault(identity, ArmEncoder(arm.spec, name, identity))
            one.arms.append(arm.name)
            if mitigation and mitigation.by == "memorization":
                if plan.family == "g":
                    one.epochs |= set(mitigation.choice_epochs(arm.spec.training.epochs))
                else:
                    one.partner = hashes["g", plan.seed]
            found[arm.name, plan.family, plan.seed] = one
    return found


def evaluation_of(spec: StudySpec) -> str:
    """Return the hash of how encoders are measured."""
    return content_hash(
        {name: getattr(spec, name).model_dump(mode="json") for name in ("scoring", "downstream")} | {"seed": spec.seed}
    )


def run_frontier(
    spec: FrontierSpec,
    out: Path | str,
    *,
    scheduler: Scheduler = "local",
    workers: int | None = None,
    threads: int | None = None,
    device: str = "auto",
    devices: int = 1,
    on_event: OnEvent = ignore,
) -> Frontier:
    """Train and measure the encoders of all arms, as far as they are missing, and write one table.

    Parameters
    ----------
    spec
        The frontier, resolved (:func:`sslmem_kit.spec.removal_tree.load_any`).
    out
        Its folder: new, empty, or of the same frontier, to which arms may be added.
    scheduler, workers, threads, device, on_event
        As of :func:`sslmem_kit.run_study`.
    devices
        1: several devices cannot share an encoder whose samples are chosen while it trains.

    Raises
    ------
    UserError
        Anything the user can fix. Finished encoders stay; the next run resumes from them.
    """
    require("torch", "timm", "lightly")
    if devices > 1:
        raise UserError(f"--devices: {devices} cannot share the encoders of a mitigation frontier, use 1")
    out = absolute(out)
    check_frontier_folder(out, spec)
    samples, frontier = study_samples(spec.baseline), Frontier(out)
    if not (samples.codes == PARTITION_CODE["extra"]).any():
        raise UserError("baseline.partition.extra: there are no samples that no encoder saw; give some")
    out.mkdir(parents=True, exist_ok=True)
    with frontier.lock():
        if not frontier.spec_path.is_file():  # one that grows keeps what it has until that is done
            frontier.write_spec(spec)
        found, evaluation = encoders_of(spec, samples), evaluation_of(spec.baseline)
        each = {one.identity: one for one in found.values()}
        todo = [one for one in each.values() if not _is_complete(frontier.encoder(one.identity), one, evaluation)]
        on_event(
            Message(f"{len(each) - len(todo)} of {len(each)} encoders of {len(spec.all_arms())} arms are trained and measured")
        )
        on_event(Planned(tuple(one.plan.id for one in todo), spec.baseline.training.epochs, 0))
        if todo:
            options: dict[str, Any] = {"scheduler": scheduler, "workers": workers, "threads": threads, "device": device}
            _complete(frontier, spec, samples, each, todo, evaluation, on_event, **options)
        collected = collect(frontier, spec, samples, found, evaluation)
        frontier.write_spec(spec)
        frontier.write_results(collected)
    return Frontier(out)


def _complete(
    frontier: Frontier,
    spec: FrontierSpec,
    samples: StudySamples,
    each: dict[str, ArmEncoder],
    todo: list[ArmEncoder],
    evaluation: str,
    on_event: OnEvent,
    *,
    scheduler: Scheduler,
    workers: int | None,
    threads: int | None,
    device: str,
) -> None:
    """Have encoders trained and measured; one that is scored against g on the way begins when g is done."""
    share = _share_cores(spec.baseline, frontier.path, scheduler, workers, threads, device)
    shared = _for_workers(spec.baseline, samples)
    with pool(share.workers, share.threads, on_event, warm_up=f"{WORKER}:versions", gpus=_gpus(device)) as executor:
        facts = {}
        for arm in spec.all_arms():  # each is seen to be possible before anything is trained
            own = None if shared is None else replace(shared, spec=arm.spec)
            try:
                facts = result(executor.submit(call_worker, f"{WORKER}:calibrate", arm.spec, device, share.threads, samples=own))
            except UserError as error:
                raise UserError(f"arms: {arm.name}: {error}") from None
        waiting = [*todo]
        running: dict[Future, ArmEncoder] = {}
        try:
            while waiting or running:
                missing = {one.identity for one in (*waiting, *running.values())}
                for one in [one for one in waiting if one.partner not in missing]:
                    waiting.remove(one)
                    partner = frontier.encoder(one.partner) if one.partner else None
                    arguments = (
                        one.spec,
                        one.plan,
                        one.identity,
                        sorted(one.epochs),
                        frontier.encoder(one.identity),
                        partner,
                        evaluation,
                    )
                    own = None if shared is None else replace(shared, spec=one.spec)
                    options = {"samples": own, "emit": True}
                    task = executor.submit(
                        call_worker,
                        f"{FRONTIER_WORKER}:complete_arm_encoder",
                        *arguments,
                        facts["device"],
                        share.threads,
                        **options,
                    )
                    running[task] = one
                for task in wait(running, return_when=FIRST_COMPLETED).done:
                    del running[task]
                    result(task)
        except BaseException:
            for task in running:
                task.cancel()
            raise


def _is_complete(folder: Path, one: ArmEncoder, evaluation: str) -> bool:
    """Return whether an encoder is measured, and of g whether what f needs was kept."""
    kept = all((folder / "mitigation" / f"{epoch}.npz").is_file() for epoch in one.epochs)
    return kept and read_measured(folder / MEASURED, evaluation) is not None


def images_seen(arm: Arm, samples: StudySamples) -> tuple[list[int], list[int]]:
    """Return the images that f and g of an arm are trained on, an image once for each epoch, and those that are scored to choose samples."""
    own, training, mitigation = replace(samples, spec=arm.spec), arm.spec.training, arm.spec.training.mitigation
    trained = []
    for plan in arm.spec.pairs[:2]:
        batch, steps = own.batches(plan)
        trained.append(batch * training.accumulate * steps * training.epochs)
    scored = 0
    if mitigation and mitigation.by == "memorization":
        candidates = int((samples.codes == PARTITION_CODE["candidate"]).sum())
        scored = len(mitigation.choice_epochs(training.epochs)) * candidates * (arm.spec.scoring.views + 1)
    return trained, [scored, scored]


def read_measured(path: Path, evaluation: str) -> dict[str, np.ndarray] | None:
    """Return what was measured of an encoder; None where it is to be measured, or otherwise."""
    try:
        with np.load(path, allow_pickle=False) as archive:
            found = {name: archive[name] for name in archive.files}
        return found if str(found["evaluation"]) == evaluation else None
    except (zipfile.BadZipFile, OSError, EOFError, ValueError, KeyError):
        return None


def collect(
    frontier: Frontier, spec: FrontierSpec, samples: StudySamples, found: dict[tuple[str, str, int], ArmEncoder], evaluation: str
) -> xr.Dataset:
    """Return the table of all encoders, of what their folders hold."""
    arms, seeds = spec.all_arms(), sorted({seed for _, _, seed in found})
    read = {one.identity: read_measured(frontier.encoder(one.identity) / MEASURED, evaluation) for one in found.values()}
    measured = {identity: one for identity, one in read.items() if one is not None}
    if len(measured) < len(read):
        raise UserError(f"{frontier.path}: measurements of encoders are missing; run the same command again")
    dims = ("arm", "family", "seed")

    def table(name: str) -> np.ndarray:
        return np.array(
            [[[measured[found[arm.name, family, seed].identity][name] for seed in seeds] for family in FAMILIES] for arm in arms]
        )

    first = measured[found[arms[0].name, "f", seeds[0]].identity]
    configs = {}
    for one in found.values():
        with contextlib.suppress(OSError, ValueError):
            configs[one.plan.id] = json.loads((frontier.encoder(one.identity) / "config.json").read_bytes())
    own = training_caveats({**of_training(configs), "spec": json.dumps(spec.baseline.as_dict())})
    return xr.Dataset(
        {
            "alignment": ((*dims, "sample"), table("alignment")),
            "accuracy": ((*dims, "task", "probe"), table("accuracy")),
            **{name: (dims, table(name)) for name in ("seconds", "epsilon")},
            "images_trained": (dims[:2], [images_seen(arm, samples)[0] for arm in arms]),
            "images_scored": (dims[:2], [images_seen(arm, samples)[1] for arm in arms]),
            "encoder": (
                dims,
                [[[found[arm.name, family, seed].identity for seed in seeds] for family in FAMILIES] for arm in arms],
            ),
        },
        {
            "arm": [arm.name for arm in arms],
            "kind": ("arm", [arm.kind for arm in arms]),
            "control": ("arm", [arm.control for arm in arms]),
            "action": ("arm", [arm.spec.training.mitigation.action if arm.spec.training.mitigation else "" for arm in arms]),
            "family": list(FAMILIES),
            "seed": seeds,
            "sample": samples.dataset.ids[samples.scored],
            "partition": ("sample", samples.codes[samples.scored]),
            "task": [spec.baseline.data.name, *(task.name for task in spec.baseline.downstream.tasks)],
            "n_test": ("task", first["n_test"]),
            "probe": first["probes"].tolist(),
        },
        {
            "name": spec.name,
            "spec": json.dumps(spec.as_dict()),
            "spec_hash": spec.hash,
            "margin": spec.margin,
            "method": spec.baseline.objective.method,
            "backbone": spec.baseline.encoder.backbone,
            "data_fingerprint": samples.dataset.fingerprint,
            "caveats": json.dumps([*own, *(["one seed: no interval and no test over trainings"] if len(seeds) < 2 else [])]),
        },
    )


def plan_frontier(
    spec: FrontierSpec, *, out: Path | None = None, devices: int = 1, on_event: OnEvent = ignore, **options: Any
) -> dict[str, Any]:
    """Return the encoders of a frontier and their cost, by a calibration of a few seconds of each arm; nothing is written.

    Returns
    -------
    ``frontier``, ``arms`` (``name``, ``kind``, ``encoders`` that are trained for it alone, ``train_seconds`` of one), ``encoders``,
    ``encoder_epochs``, ``tasks``, ``seconds`` of all, without the fitting of probes, ``workers``, ``threads`` and ``device``.
    """
    samples = samples_to_plan(spec.baseline)
    found = encoders_of(spec, samples)
    seen: set[str] = set()
    rows, total, epochs, facts = [], 0.0, 0, {}
    for arm in spec.all_arms():
        facts = plan_study(arm.spec, on_event=on_event, **options)
        new = {one.identity for (name, _, _), one in found.items() if name == arm.name} - seen
        seen |= new
        total += len(new) * (facts["train_seconds"] + facts["score_seconds"] / len(arm.spec.training.recorded_epochs))
        epochs += len(new) * arm.spec.training.epochs
        rows.append({"name": arm.name, "kind": arm.kind, "encoders": len(new), "train_seconds": facts["train_seconds"]})
    return {
        "frontier": spec.name,
        "arms": rows,
        "encoders": len(seen),
        "encoder_epochs": epochs,
        "tasks": [spec.baseline.data.name, *(task.name for task in spec.baseline.downstream.tasks)],
        "seconds": total / facts["workers"],
        **{name: facts[name] for name in ("workers", "threads", "device")},
    }


def as_text(facts: dict[str, Any]) -> list[str]:
    """Return a plan of a frontier in lines."""
    lines = [
        f"mitigation frontier {facts['frontier']}: {len(facts['arms'])} arms, {facts['encoders']} encoders, "
        f"{facts['encoder_epochs']:,} encoder-epochs; probed on {', '.join(facts['tasks'])}",
        f"about {max(1, facts['seconds'] / 60):.0f} minutes on {facts['workers']} workers of {facts['threads']} threads ({facts['device']}), "
        "without fitting probes",
    ]
    return lines + [f"  {row['name']:<24} treats {row['kind']:<10} {row['encoders']} encoders of its own" for row in facts["arms"]]
