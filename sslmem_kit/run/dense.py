"""Dense tasks on a finished study or removal tree: each of its encoders is fine-tuned with a decoder from each start, and results collected.

Everything is in ``STUDY/dense/<name of the task>/``: ``dense.yaml`` (the resolved spec), ``runs/<encoder>-<start>.json`` as soon as one is
done, and ``results.json`` with all of them. The study itself is not changed.
"""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any, NamedTuple

import torch

from sslmem_kit.data.datasets.dense import DenseDataset, load_dense_data
from sslmem_kit.encoders.backbone import Encoder, build_encoder
from sslmem_kit.encoders.device import resolve_device, use_device
from sslmem_kit.encoders.weights import load_weights
from sslmem_kit.errors import UserError, join_names, near, require
from sslmem_kit.events import Message, OnEvent, ignore
from sslmem_kit.measures.downstream.dense import fine_tune
from sslmem_kit.run.repair import WEIGHTS
from sslmem_kit.run.resources import processor
from sslmem_kit.run.versions import arithmetic, versions
from sslmem_kit.spec.dense import DenseSpec, load_dense
from sslmem_kit.spec.design import EncoderPlan
from sslmem_kit.spec.moved import content_hash
from sslmem_kit.spec.reading import read_json, write_yaml
from sslmem_kit.spec.seeds import derive_seed
from sslmem_kit.spec.study import StudySpec
from sslmem_kit.store.dense import RESULTS, dense_folder, hash_of_file
from sslmem_kit.store.files import write_atomically, write_json
from sslmem_kit.store.removal_tree import RemovalTree
from sslmem_kit.study import AuditStudy, Study
from sslmem_kit.training.setup import encoder_seed


class DenseRun(NamedTuple):
    """One fine-tuning: of an encoder, or of the initial weights of its seed, from a start."""

    plan: EncoderPlan
    start: str
    folder: str
    """The encoder's, in the study or the tree."""

    @property
    def id(self) -> str:
        """Name of its file."""
        return f"{self.plan.id}-{self.start}"


def planned_runs(study: Study | RemovalTree, spec: DenseSpec) -> list[DenseRun]:
    """Return the fine-tunings of a task: initial weights once a seed, for f and g share them or differ by chance alone.

    Of a tree, its encoders without what was removed, each once however many cells of the table it fills.

    Raises
    ------
    UserError
        An encoder that the study or the tree does not have.
    """
    folders = (
        _of_tree(study) if isinstance(study, RemovalTree) else {plan.id: (plan, f"encoders/{plan.id}") for plan in study.spec.pairs}
    )
    unknown = [name for name in spec.encoders or () if name not in folders]
    if unknown:
        whose, of = ("tree", "") if isinstance(study, RemovalTree) else ("study", " of f or g")
        raise UserError(
            f"encoders: the {whose} has no encoder {unknown[0]!r}{of}, it has {join_names([*folders])}{near(unknown[0], folders)}"
        )
    chosen = [own for name, own in folders.items() if spec.encoders is None or name in spec.encoders]
    firsts = {plan.seed: plan for plan, _ in reversed(chosen)}
    return [
        DenseRun(plan, start, folder)
        for start in spec.starts
        for plan, folder in chosen
        if start.startswith("trained") or firsts[plan.seed] is plan
    ]


def _of_tree(tree: RemovalTree) -> dict[str, tuple[EncoderPlan, str]]:
    """Return plan and folder of every encoder of a finished tree by name, those of its study first."""
    study, found = Study(tree.parent), {}
    if tree.results.attrs.get("study_hash", study.spec.hash) != study.spec.hash:
        raise UserError(f"STUDY: {study.path} is another study than the one that the tree in {tree.path} went by; restore it")
    plans = {plan.id: plan for plan in study.spec.pairs}
    for cell in dict.fromkeys(tree.results["encoder"].values.ravel().tolist()):
        if "/" in cell:  # of the study, by the name that its folder had then
            plan = plans[cell.partition("/")[2]]
            found[plan.id] = (plan, f"{os.path.relpath(study.path, tree.path)}/encoders/{plan.id}")
        elif cell:
            config = read_json(tree.encoder(cell) / "config.json")
            weights = tree.encoder(cell) / WEIGHTS
            if weights.is_file() and hash_of_file(weights) != config["weights_sha256"]:
                raise UserError(f"STUDY: {weights} is damaged; remove it, `sslmem run` of the tree trains it again")
            plan = EncoderPlan(**{name: config[name] for name in EncoderPlan.model_fields})
            found[plan.id] = (plan, f"encoders/{cell}")
    return found


def run_dense(
    study: Study | AuditStudy | RemovalTree,
    spec: DenseSpec | Path | str,
    *,
    device: str = "auto",
    threads: int | None = None,
    on_event: OnEvent = ignore,
) -> dict[str, Any]:
    """Fine-tune the encoders of a finished study or removal tree for a dense task, as far as results are missing.

    Parameters
    ----------
    study
        A study, or a tree, with trained encoders.
    spec
        The task, its paths absolute; or a name or path for :func:`sslmem_kit.spec.dense.load_dense`.
    device
        ``auto``, ``cpu``, ``cuda`` ...
    threads
        Threads, on which the last bits depend; by default torch's own number. They are recorded.
    on_event
        Function that is called with each event.

    Returns
    -------
    The content of ``results.json``: ``task`` (the spec), ``data`` (what was read), ``runs``, one a fine-tuning with ``encoder``, its
    ``folder``, ``family``, ``seed``, ``start`` and what :func:`sslmem_kit.measures.downstream.dense.fine_tune` returns.

    Raises
    ------
    UserError
        Anything the user can fix. Finished runs stay; the next call resumes from them.
    """
    require("torch", "timm", "segmentation_models_pytorch", "torchmetrics")
    if not isinstance(spec, DenseSpec):
        spec = load_dense(spec)
    if isinstance(study, AuditStudy):
        raise UserError(
            f"STUDY: {study.path} is an audit of encoders that were trained elsewhere; a dense task needs a study of sslmem run"
        )
    runs = planned_runs(study, spec)
    missing = list(dict.fromkeys(run.plan.id for run in runs if not _weights(study, run).is_file()))
    if missing:
        raise UserError(f"STUDY: {study.path} has no weights of {join_names(missing)}; complete it with sslmem run first")
    device = resolve_device(device)
    use_device(device)
    if threads is not None:
        torch.set_num_threads(threads)
    parent = Study(study.parent) if isinstance(study, RemovalTree) else study
    config = read_json(parent.encoder(parent.spec.pairs[0].id) / "config.json")
    shape = tuple(config["image_shape"])
    data = load_dense_data(spec.data, spec.task, channels=shape[2], held_out_seed=derive_seed(parent.spec.seed, "test side"))
    folder = dense_folder(study.path, spec.name)
    with study.lock():
        _create_or_resume(folder, spec, data)
        on_event(Message(f"{len(runs)} fine-tunings on {data.record['train']:,} images, tested on {data.record['test']:,}"))
        rows = [_result(study, parent.spec, spec, data, run, folder, config, device, on_event) for run in runs]
        results = {
            "task": spec.model_dump(mode="json"),
            "data": {"fingerprint": data.fingerprint, "image_shape": list(data.image_shape), **data.record},
            "runs": rows,
            "versions": versions(),
            "machine": f"{processor()}; {arithmetic(device)}",
            "threads": torch.get_num_threads(),
            "device": device,
        }
        write_json(folder / RESULTS, results)
    return results


def _weights(study: Study | RemovalTree, run: DenseRun) -> Path:
    return study.path / run.folder / WEIGHTS


def _create_or_resume(folder: Path, spec: DenseSpec, data: DenseDataset) -> None:
    """Make the folder of a task, or check that what is in it is of the same task and data."""
    (folder / "runs").mkdir(parents=True, exist_ok=True)
    started = folder / "started.json"
    now = {"hash": _hash(spec), "fingerprint": data.fingerprint}
    if started.is_file():
        then = read_json(started)
        if then.get("hash") != now["hash"]:
            raise UserError(
                f"name: {spec.name!r} has been started in this study with another spec, see {folder / 'dense.yaml'}; choose another name"
            )
        if then.get("fingerprint") != now["fingerprint"]:
            raise UserError(
                f"data.name: {spec.data.name!r} has changed since {spec.name!r} was started in this study; restore it, or choose another name"
            )
    # Encoders and starts may be others than before.
    write_atomically(folder / "dense.yaml", write_yaml(spec.model_dump(mode="json")).encode())
    write_json(started, now)


def _hash(spec: DenseSpec) -> str:
    """Return the hash of what determines the numbers of each run: not where data lie, nor which encoders and starts are run."""
    content = spec.model_dump(mode="json", exclude={"description", "encoders", "starts", "checkpoint_seconds"})
    return content_hash({**content, "data": {**content["data"], "name": spec.data.kind, "memory_limit_mb": None}})


def _result(
    study: Study | RemovalTree,
    of_training: StudySpec,
    spec: DenseSpec,
    data: DenseDataset,
    run: DenseRun,
    folder: Path,
    config: dict[str, Any],
    device: str,
    on_event: OnEvent,
) -> dict[str, Any]:
    """Return the result of a run, made now or by an earlier call with the same weights."""
    path, trained = folder / "runs" / f"{run.id}.json", run.start.startswith("trained")
    weights = hash_of_file(_weights(study, run)) if trained else None
    if path.is_file():
        done = read_json(path)
        if done.get("weights") == weights:
            return done
        on_event(Message(f"{run.id}: the encoder has other weights now, it is fine-tuned again"))
    frozen = run.start.endswith("frozen")
    # A checkpoint is of these weights: those of others are not found.
    checkpoint = folder / "runs" / f"{run.id}-{(weights or 'initial')[:12]}.pt"

    def on_epoch(epoch: int, loss: float) -> None:
        if epoch == spec.epochs or epoch % max(1, spec.epochs // 10) == 0:
            on_event(Message(f"{run.id}: epoch {epoch} of {spec.epochs}, loss {loss:.4f}"))

    found = fine_tune(
        spec,
        data,
        _encoder(of_training, run, config, _weights(study, run)),
        frozen=frozen,
        calibrate=not trained,
        seed=derive_seed(spec.seed, "dense", run.plan.seed),
        checkpoint=checkpoint,
        device=device,
        on_epoch=on_epoch,
    )
    family = run.plan.family if trained else None
    row = {"encoder": run.plan.id, "folder": run.folder, "family": family, "seed": run.plan.seed, "start": run.start}
    row |= {"weights": weights, **found}
    write_json(path, row)
    return row


def _encoder(spec: StudySpec, run: DenseRun, config: dict[str, Any], weights: Path) -> Encoder:
    """Return an encoder with its trained weights, or with the initial ones that its training started from."""
    with torch.random.fork_rng(devices=[]):
        torch.default_generator.manual_seed(encoder_seed(spec, run.plan, "init"))
        encoder = build_encoder(spec.encoder, tuple(config["image_shape"]), mean=tuple(config["mean"]), std=tuple(config["std"]))
    if run.start.startswith("trained"):
        load_weights(encoder, weights)
    return encoder
