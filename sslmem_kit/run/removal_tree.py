"""Running a removal tree: the study whose scores choose, all encoders that follow from it, and one table of their accuracies.

This process plans and collects; encoders are trained and probed by worker processes. It imports no torch. An encoder is known by its hash
(:mod:`sslmem_kit.data.identity`): one that is in the study or in the tree already is not trained again.
"""

from __future__ import annotations

import contextlib
import json
from concurrent.futures import Future
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sslmem_kit import store
from sslmem_kit.data.samples import StudySamples
from sslmem_kit.errors import UserError, require
from sslmem_kit.events import Message, OnEvent, Planned, ignore
from sslmem_kit.run.removal import study_samples
from sslmem_kit.run.removal_plan import as_text, checked_counts, for_evaluation, parent_spec, plan_tree
from sslmem_kit.run.removal_sets import (
    Child,
    candidates_of,
    check_orders,
    children,
    draws_of,
    keep_sets,
    orders_of,
    overlaps,
    read_accuracy,
)
from sslmem_kit.run.repair import WEIGHTS
from sslmem_kit.run.resources import WORKER, Scheduler, _for_workers, _gpus, _share_cores
from sslmem_kit.run.schedulers.pool import as_completed, call_worker, pool, result
from sslmem_kit.run.study import run_study
from sslmem_kit.spec.paths import absolute
from sslmem_kit.spec.removal_cells import baseline_of, rows
from sslmem_kit.spec.removal_tree import RemovalTreeSpec
from sslmem_kit.spec.study import StudySpec
from sslmem_kit.statistics.order import order_caveat, rank_scores
from sslmem_kit.statistics.removal import RELIABLE
from sslmem_kit.store.provenance import of_training, training_caveats
from sslmem_kit.store.removal_tree import DIMS, SETS, RemovalTree, check_tree_folder
from sslmem_kit.study import Study

REMOVAL_WORKER = "sslmem_kit.run.removal_worker"
"""Module of the functions that worker processes run; it imports torch."""
ACCURACY = "accuracy.json"


def run_tree(
    spec: RemovalTreeSpec,
    out: Path | str,
    *,
    scheduler: Scheduler = "local",
    workers: int | None = None,
    threads: int | None = None,
    device: str = "auto",
    devices: int = 1,
    on_event: OnEvent = ignore,
) -> RemovalTree:
    """Train and probe the encoders of a removal tree, as far as they are missing, and collect their accuracies.

    Parameters
    ----------
    spec
        The tree's spec, resolved.
    out
        The tree's directory: new, empty, or of a tree of the same study, which may have had fewer amounts, draws, seeds, orders or tasks.
    scheduler, workers, threads, device, on_event
        As of :func:`sslmem_kit.run_study`.
    devices
        More than one trains each encoder of the study on several devices; those of the tree take one.

    Returns
    -------
    The complete tree.

    Raises
    ------
    UserError
        Anything the user can fix. Finished encoders stay; the next run resumes.
    """
    require("torch", "timm", "lightly")
    out = absolute(out)
    check_tree_folder(out, spec)
    options: dict[str, Any] = {"scheduler": scheduler, "workers": workers, "threads": threads, "device": device}
    parent = parent_spec(spec)
    check_orders(spec, parent)
    samples = study_samples(parent)
    candidates = candidates_of(samples)
    counts = checked_counts(spec, samples)
    study = None
    if isinstance(spec.scores_of, str):
        study = finished_study(spec, samples)
    tree = RemovalTree(out)
    out.mkdir(parents=True, exist_ok=True)
    with tree.lock():
        if _is_complete(tree, spec):
            _check_study(tree, parent)
            on_event(Planned((), parent.training.epochs, 0))
            return tree
        if not tree.spec_path.is_file() or tree.spec != spec:  # a run that resumes has shown it
            for line in as_text(plan_tree(spec, on_event=on_event, out=out, **options)):
                on_event(Message(line))
        if not tree.spec_path.is_file():  # one that grows keeps what it has until that is done
            tree.write_spec(spec)
        if study is None:
            study = run_study(parent, spec.parent_folder(out), devices=devices, on_event=on_event, **options)
        with_tasks, evaluation = for_evaluation(spec, parent)
        orders, facts = orders_of(spec, study, candidates)
        draws = draws_of(spec, parent, candidates)
        keep_sets(tree.path / SETS, samples.dataset.fingerprint, orders, draws)
        found = children(spec, samples, orders, draws)
        _complete(tree, study, with_tasks, evaluation, found, samples, on_event, **options)
        collected = collect(
            tree, spec, study, with_tasks, evaluation, found, counts, len(candidates), facts, overlaps(spec, orders, counts)
        )
        tree.write_spec(spec)
        tree.write_results(collected)
    return RemovalTree(out)


def finished_study(spec: RemovalTreeSpec, samples: StudySamples) -> Study:
    """Return the study that a tree names, once it was seen to be finished and to have scored these data.

    Raises
    ------
    UserError
        It is not, or has not.
    """
    study = Study(Path(str(spec.scores_of)))
    try:
        recorded = str(study.tree.attrs.get("data_fingerprint"))
    except UserError as error:
        raise UserError(f"scores_of: {error}") from None
    if recorded != samples.dataset.fingerprint:
        raise UserError(
            f"scores_of: {study.path} scored other data than {samples.dataset.name!r} holds now (data_fingerprint {recorded[:12]} there, "
            f"{samples.dataset.fingerprint[:12]} here); restore the data, or run the study anew"
        )
    return study


def _is_complete(tree: RemovalTree, spec: RemovalTreeSpec) -> bool:
    try:
        if not (tree.spec_path.is_file() and tree.spec == spec):
            return False
        cells = {str(cell) for cell in tree.results["encoder"].values.ravel() if cell and "/" not in str(cell)}
        return all((tree.encoder(cell) / WEIGHTS).is_file() for cell in cells)
    except UserError:
        return False


def _check_study(tree: RemovalTree, parent: StudySpec) -> None:
    """Refuse a tree that went by another study than the one that lies now where ``scores_of`` says; older trees recorded none."""
    recorded = tree.results.attrs.get("study_hash", parent.hash)
    if recorded != parent.hash:
        raise UserError(
            f"scores_of: {tree.spec.scores_of} is another study than the one that the tree in {tree.path} went by (spec_hash "
            f"{parent.hash} now, {recorded} then); restore it, or choose another --out"
        )


def _complete(
    tree: RemovalTree,
    study: Study,
    spec: StudySpec,
    evaluation: str,
    found: list[Child],
    samples: StudySamples,
    on_event: OnEvent,
    *,
    scheduler: Scheduler,
    workers: int | None,
    threads: int | None,
    device: str,
) -> None:
    """Have the encoders trained and probed whose accuracies are missing."""
    todo = [
        child
        for child in found
        if read_accuracy(tree.encoder(child.identity) / ACCURACY, evaluation) is None
        or not (child.in_parent or (tree.encoder(child.identity) / WEIGHTS).is_file())
    ]
    on_event(Message(f"{len(found) - len(todo)} of {len(found)} encoders of the tree are trained and probed"))
    on_event(Planned(tuple(child.plan.id for child in todo), spec.training.epochs, 0))
    if not todo:
        return
    share = _share_cores(spec, study.path, scheduler, workers, threads, device)
    shared = _for_workers(spec, samples)
    with pool(share.workers, share.threads, on_event, warm_up=f"{WORKER}:versions", gpus=_gpus(device)) as executor:
        result(executor.submit(call_worker, f"{REMOVAL_WORKER}:check_tasks", spec, samples=shared))
        used = result(executor.submit(call_worker, f"{WORKER}:calibrate", spec, device, share.threads, samples=shared))["device"]
        tasks: dict[Future, str] = {}
        for child in todo:
            weights = study.encoder(child.plan.id) / WEIGHTS if child.in_parent else None
            arguments = (spec, child, tree.encoder(child.identity), weights, evaluation, used, share.threads)
            tasks[executor.submit(call_worker, f"{REMOVAL_WORKER}:complete_child", *arguments, samples=shared, emit=True)] = (
                child.plan.id
            )
        try:
            for task in as_completed(tasks):
                result(task)
        except BaseException:
            for task in tasks:
                task.cancel()
            raise


def collect(
    tree: RemovalTree,
    own: RemovalTreeSpec,
    study: Study,
    spec: StudySpec,
    evaluation: str,
    found: list[Child],
    counts: list[int],
    candidates: int,
    orders: list[dict[str, Any]],
    shared: list[dict[str, Any]],
) -> xr.Dataset:
    """Return the table of all accuracies, of the tree's own ``accuracy.json`` files, with what its orders rest on."""
    names = [spec.data.name, *(task.name for task in spec.downstream.tasks)]
    measured = {child.identity: read_accuracy(tree.encoder(child.identity) / ACCURACY, evaluation) for child in found}
    first = next(iter(measured.values()))
    if first is None or any(one is None for one in measured.values()):
        raise UserError(f"{tree.path}: accuracies of encoders are missing; run the same command again")
    probes = first["probes"]
    shape = (len(rows(own)), len(counts), own.draws, own.seeds)
    accuracy = np.full((*shape, len(names), len(probes)), np.nan, np.float64)
    encoder = np.full(shape, "", object)
    for child in found:
        one = measured[child.identity]
        for cell in child.cells:
            accuracy[cell] = one["accuracy"] if one else np.nan
            encoder[cell] = f"{study.path.name}/{child.plan.id}" if child.in_parent else child.identity
    return xr.Dataset(
        {"accuracy": (DIMS, accuracy), "encoder": (DIMS[:4], encoder), "n_test": ("task", np.array(first["n_test"], np.int64))},
        {
            "removed": [str(row) for row in rows(own)],
            "way": ("removed", [row.way for row in rows(own)]),
            "order": ("removed", [row.order for row in rows(own)]),
            "amount": counts,
            "draw": np.arange(own.draws),
            "seed": spec.seed + np.arange(own.seeds),
            "task": names,
            "probe": probes,
        },
        {
            "name": own.name,
            "spec": json.dumps(own.as_dict()),
            "spec_hash": own.hash,
            "action": own.action,
            "baseline": baseline_of(own, candidates),
            "candidates": candidates,
            "margin": own.margin,
            "study": spec.name,
            "study_hash": study.spec.hash,
            "method": spec.objective.method,
            "backbone": spec.encoder.backbone,
            "data_fingerprint": str(store.attributes(study.results_path)["data_fingerprint"]),
            "protocol": own.protocol,
            "orders": json.dumps(orders),
            "overlaps": json.dumps(shared),
            "encoders": len(found),
            "in_parent": sum(child.in_parent for child in found),
            "caveats": json.dumps(_caveats(tree, own, study, found, orders)),
        },
    )


def _caveats(tree: RemovalTree, spec: RemovalTreeSpec, study: Study, found: list[Child], orders: list[dict[str, Any]]) -> list[str]:
    """Return what limits a tree's conclusions: faults of the study, how encoders were trained, unreliable orders, too few seeds."""
    sentences = [f"study {study.spec.name}: {sentence}" for sentence in study.caveats]
    configs = {}
    for child in found:
        folder = study.encoder(child.plan.id) if child.in_parent else tree.encoder(child.identity)
        with contextlib.suppress(OSError, ValueError):
            configs[child.plan.id] = json.loads((folder / "config.json").read_bytes())
    own = training_caveats({**of_training(configs), "spec": json.dumps(study.spec.as_dict())})
    sentences += [f"encoders of the tree: {sentence}" for sentence in own]
    threads = {str(config.get("threads")) for config in configs.values()}
    if len(threads) > 1:
        sentences.append(f"encoders were trained with {' and '.join(sorted(threads))} threads, on which their last bits depend")
    for fact in orders:
        if fact["estimator"] == "pairs":
            sentence = order_caveat(rank_scores(study.results, protocol=spec.protocol, estimator="pairs"))
            sentences += [f"order {fact['order']}: {sentence}"] if sentence else []
        elif not fact["reliability"] >= RELIABLE:
            known = f"{fact['reliability']:.2f} [{', '.join(f'{end:.2f}' for end in fact['interval'])}]".replace("nan", "unknown")
            sentences.append(
                f"order {fact['order']}: reliability {known}: most of what tells its samples apart is, or may be, chance, so that it may "
                "choose as a random draw does; more encoders in the study's design make it better"
            )
    if spec.seeds < 2:
        sentences.append("one seed: no interval and no test over trainings")
    if "random" in spec.ways and spec.draws < 2:
        sentences.append("one random set of each amount: intervals do not hold for other random sets")
    return sentences
