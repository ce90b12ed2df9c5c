"""The plan of a removal tree: its encoders and their cost, of the whole tree, before anything starts."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from sslmem_kit.data.samples import StudySamples, samples_to_plan
from sslmem_kit.errors import UserError
from sslmem_kit.events import OnEvent, ignore
from sslmem_kit.run.plan import plan as plan_study
from sslmem_kit.run.removal import chosen_by_scores
from sslmem_kit.run.removal_sets import candidates_of, check_orders, without
from sslmem_kit.run.resources import Scheduler
from sslmem_kit.spec.moved import content_hash
from sslmem_kit.spec.removal_cells import cells_of, counts_of, names_of_sets, rows
from sslmem_kit.spec.removal_tree import RemovalTreeSpec
from sslmem_kit.spec.study import StudySpec
from sslmem_kit.store.removal_tree import RemovalTree
from sslmem_kit.study import Study, open_study


def parent_spec(spec: RemovalTreeSpec) -> StudySpec:
    """Return the spec of the study whose scores choose.

    Raises
    ------
    UserError
        There is none, it is an audit of encoders that were trained elsewhere, or it treats samples while they are trained.
    """
    if not isinstance(spec.scores_of, str):
        return _untreated(spec.scores_of)
    try:
        study = open_study(spec.scores_of)
        if isinstance(study, Study):
            return _untreated(study.spec)
    except UserError as error:
        raise UserError(f"scores_of: {error}") from None
    raise UserError(f"scores_of: {spec.scores_of} is an audit of encoders from elsewhere, a study is needed")


def _untreated(study: StudySpec) -> StudySpec:
    if study.training.mitigation:
        raise UserError(
            f"scores_of: the study {study.name} has training.mitigation, and what f memorizes without some samples would be treated otherwise; "
            "take a study without it"
        )
    return study


def for_evaluation(spec: RemovalTreeSpec, parent: StudySpec) -> tuple[StudySpec, str]:
    """Return the study's spec with the tree's tasks, and a hash of tasks and probes."""
    tasks = parent.downstream.tasks if spec.tasks is None else spec.tasks
    own = parent.data.name
    if own in [task.name for task in tasks]:
        raise UserError(f"tasks: {own!r} is the study's own data, which is probed anyway; leave it out")
    downstream = parent.downstream.model_copy(update={"tasks": tasks})
    return parent.model_copy(update={"downstream": downstream}), content_hash(downstream.model_dump(mode="json"))


def checked_counts(spec: RemovalTreeSpec, samples: StudySamples) -> list[int]:
    """Return the amounts as counts: :func:`sslmem_kit.spec.removal_cells.counts_of`.

    Raises
    ------
    UserError
        As there, or a removal leaves too few samples for one step of training.
    """
    candidates = candidates_of(samples)
    counts = counts_of(spec, len(candidates))
    most = max(counts) if spec.action == "remove" else len(candidates) - min(counts)
    try:
        without(samples, candidates[:most]).batches(samples.spec.pairs[0])
    except UserError as error:
        raise UserError(f"amounts: {most:,} of {len(candidates):,} candidates removed, {error}") from None
    return counts


def plan_tree(
    spec: RemovalTreeSpec,
    *,
    scheduler: Scheduler = "local",
    workers: int | None = None,
    threads: int | None = None,
    device: str = "auto",
    devices: int = 1,
    out: Path | None = None,
    on_event: OnEvent = ignore,
) -> dict[str, Any]:
    """Return the encoders of a whole tree and their cost, by a calibration of a few seconds; nothing is written.

    Returns
    -------
    ``tree``; ``parent``: the plan of the study (:func:`sslmem_kit.run.plan.plan`) and whether it is ``finished``; ``action``, ``rows``,
    ``amounts`` and ``candidates``, ``draws``, ``seeds``, ``tasks``; ``cells`` of the table; ``encoders`` that are trained beside the
    study's, at most (sets of two orders may be equal), ``in_parent`` that are the study's own, ``trained`` of them that are there already;
    ``encoder_epochs``, ``disk_bytes`` and ``seconds`` of all that is still to be done, without the fitting of probes.
    """
    parent = parent_spec(spec)
    check_orders(spec, parent)
    with_tasks, _ = for_evaluation(spec, parent)
    counts = checked_counts(spec, samples_to_plan(parent, choose=chosen_by_scores))
    options: dict[str, Any] = {"scheduler": scheduler, "workers": workers, "threads": threads, "device": device, "devices": devices}
    facts = plan_study(with_tasks, on_event=on_event, **options)
    candidates = facts["samples"]["candidate"]
    sets = names_of_sets(spec, counts, candidates)
    finished = isinstance(spec.scores_of, str)
    family = facts["samples"]["shared"] + candidates
    own = min(spec.seeds, parent.training.seeds)
    removed = [gone for gone in sets.values() if gone for _ in range(spec.seeds)] + [0] * (spec.seeds - own)
    trained = 0 if out is None else sum(1 for _ in RemovalTree(out).path.glob("encoders/*/config.json"))
    left = max(0, 1 - trained / max(1, len(removed)))
    passes = len(parent.training.recorded_epochs) + (2 if parent.scoring.layers else 1) + (parent.second_policy is not None)
    image = facts["score_seconds"] / max(1, sum(facts["samples"].values()) * (parent.scoring.views + 1) * passes)
    probed = image * sum(facts["samples"].values()) * (1 + len(with_tasks.downstream.tasks))
    training = sum(facts["train_seconds"] * (family - gone) / family for gone in removed)
    seconds = ((training + probed * len(removed)) * left + probed * own) / facts["workers"]
    weights, state = 4 * facts["parameters"], 2 * 3 * 4 * facts["objective_parameters"] * facts["workers"]
    disk = {
        **({} if finished else {"parent": sum(facts["disk_bytes"].values())}),
        "weights": weights * len(removed),
        "checkpoints": state,
    }
    return {
        "tree": spec.name,
        "parent": {"finished": finished, **facts},
        "action": spec.action,
        "rows": [str(row) for row in rows(spec)],
        "amounts": counts,
        "candidates": candidates,
        "draws": spec.draws,
        "seeds": spec.seeds,
        "tasks": [parent.data.name, *(task.name for task in with_tasks.downstream.tasks)],
        "cells": len(cells_of(spec, counts, candidates)),
        "encoders": len(removed),
        "in_parent": own,
        "trained": trained,
        "encoder_epochs": parent.training.epochs * (len(removed) + (0 if finished else len(parent.encoders))),
        "disk_bytes": disk,
        "seconds": seconds + (0 if finished else facts["seconds"]),
    }


def as_text(facts: dict[str, Any]) -> list[str]:
    """Return a plan of a tree in lines."""
    parent, there = facts["parent"], facts["trained"]
    verb = "removed" if facts["action"] == "remove" else "kept"
    study = "is finished" if parent["finished"] else f"{len(parent['encoders'])} encoders, trained as part of the tree"
    trained = f", {there} of them there already" if there else ""
    disk = sum(facts["disk_bytes"].values()) / 1e6
    on = f"{parent['workers']} workers of {parent['threads']} threads ({parent['device']})"
    return [
        f"removal tree {facts['tree']}: {', '.join(facts['rows'])}; {verb} {', '.join(f'{count:,}' for count in facts['amounts'])} of "
        f"{facts['candidates']:,} candidates; {facts['draws']} random sets, {facts['seeds']} seeds; probed on {', '.join(facts['tasks'])}",
        f"study {parent['study']}: {study}",
        f"{facts['encoders']} encoders at most beside the study's own {facts['in_parent']}{trained}",
        f"{facts['encoder_epochs']:,} encoder-epochs in all, {disk:,.1f} MB of disk at most; still about {_hours(facts['seconds'])} on {on}, "
        "without fitting probes",
    ]


def _hours(seconds: float) -> str:
    return f"{seconds / 3600:.1f} hours" if seconds >= 3600 else f"{max(1, seconds / 60):.0f} minutes"
