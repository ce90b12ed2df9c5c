"""Comparisons on a finished study: each encoder is measured as far as it has not been, then scores are reduced and added to the store.

What one encoder was measured is kept beside the store as soon as it is done, under a key of its weights, the data and the options: another run
measures what is missing. Imports no torch; workers of :mod:`sslmem_kit.run.comparison_worker` measure.
"""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr

from sslmem_kit import store
from sslmem_kit.errors import UserError, require
from sslmem_kit.events import Message, OnEvent, ignore
from sslmem_kit.names import ENCODER, PAIR, SAMPLE
from sslmem_kit.run.repair import WEIGHTS
from sslmem_kit.run.resources import _share_cores
from sslmem_kit.run.schedulers.pool import as_completed, call_worker, pool, result
from sslmem_kit.scores.comparisons import COMPARISONS
from sslmem_kit.scores.comparisons.base import Comparison, summarized
from sslmem_kit.scores.selection import designs
from sslmem_kit.spec.audit import AuditSpec
from sslmem_kit.spec.comparisons import ComparisonSpec
from sslmem_kit.spec.moved import content_hash
from sslmem_kit.spec.study import StudySpec
from sslmem_kit.store.comparisons import (
    check_names,
    options_of,
    part_path,
    read_part,
    stored_comparisons,
    write_comparison,
)
from sslmem_kit.store.dense import hash_of_file
from sslmem_kit.study import AuditStudy, Study, StudyResults, open_study

WORKER = "sslmem_kit.run.comparison_worker"

Hashes = Callable[[str], str]
"""Function from the id of an encoder to the hash of its weights."""


def compare(
    study: StudyResults,
    comparisons: Sequence[ComparisonSpec],
    *,
    device: str = "auto",
    workers: int | None = None,
    threads: int | None = None,
    again: bool = False,
    on_event: OnEvent = ignore,
) -> Study | AuditStudy:
    """Add comparisons to the results of a study, as far as they are missing.

    Parameters
    ----------
    study
        A finished study.
    comparisons
        Their options, of :mod:`sslmem_kit.spec.comparisons`.
    device, workers, threads
        As in :func:`sslmem_kit.run.study.run_study`.
    again
        Replace comparisons that were made with other options.
    on_event
        Function that is called with each event.

    Returns
    -------
    The study, opened again.

    Raises
    ------
    UserError
        A comparison that the study cannot have, or has with other options. All are checked before any is measured.
    """
    weights = cache(lambda encoder: hash_of_file(_weights(study, encoder)))  # once for all comparisons
    with study.lock():
        there = stored_comparisons(study.tree)
        todo = [each for each in comparisons if not _is_done(study, there.get(each.name), each, weights, again=again)]
        for each in comparisons if not todo else ():
            on_event(Message(f"{each.name}: complete"))
        for each in todo:
            _check(study, COMPARISONS[each.name])
        for each in todo:
            _compare(study, each, weights, device, workers, threads, on_event)
    return open_study(study.path)


def check_listed(spec: StudySpec) -> None:
    """Refuse comparisons that no study of a spec can have, before its encoders are trained.

    Raises
    ------
    UserError
        As the supervised score without a classifier, or the privacy audit without coins.
    """
    described = xr.DataTree(xr.Dataset(attrs={"spec": spec.model_dump_json()}))
    for comparison in (COMPARISONS[each.name] for each in spec.comparisons):
        if comparison.by_spec and (problem := comparison.problem(described)):
            name = comparison.name
            raise UserError(f"comparisons: {name} is not for this study: {problem}, or leave {name} out of comparisons")


def _is_done(study: StudyResults, there: xr.Dataset | None, options: ComparisonSpec, weights: Hashes, *, again: bool) -> bool:
    """Return whether a study has a comparison with these options."""
    if there is None:
        return False
    now = options.model_dump(mode="json")
    if options_of(there) == now:
        return not _is_stale(study, there, options, weights)
    if again:
        return False
    then = options_of(there)
    field = next((key for key in now if then.get(key) != now[key]), "name")
    raise UserError(
        f"comparisons: {study.path} has {options.name} with {field} {then.get(field)!r}, not {now[field]!r}; --again measures it anew in its "
        "place"
    )


def _is_stale(study: StudyResults, there: xr.Dataset, options: ComparisonSpec, weights: Hashes) -> bool:
    """Return whether what a comparison was made from is no longer what the study holds."""
    keys = json.loads(there.attrs.get("keys", "{}"))
    return any(_key(study, options, weights(encoder)) != key for encoder, key in keys.items() if _weights(study, encoder).is_file())


def _check(study: StudyResults, comparison: Comparison) -> None:
    problem = comparison.problem(study.tree)
    if problem:
        raise UserError(f"comparisons: {comparison.name} is not for this study: {problem}")
    check_names(study.tree, [*comparison.columns], comparison.name)
    if comparison.measured is None:
        return
    if isinstance(study.read_spec(), AuditSpec):
        raise UserError(
            f"comparisons: {comparison.name} measures encoders that `sslmem run` has trained, {study.path} is an audit; of an audit there are "
            f"{', '.join(name for name, other in COMPARISONS.items() if other.measured is None)}"
        )
    missing = [name for name in _measured(study, comparison) if not _weights(study, name).is_file()]
    if missing:
        raise UserError(f"STUDY: {study.path} has no weights of {missing[0]}; complete it with sslmem run first")


def _weights(study: StudyResults, encoder: str) -> Path:
    return study.encoder(encoder) / WEIGHTS


def _measured(study: StudyResults, comparison: Comparison) -> list[str]:
    """Return the ids of the encoders that a comparison measures."""
    root, design = study.results, designs(study.tree)
    names, family = root[ENCODER].values, root["family"].values
    chosen = {"f": (design == PAIR) & (family == "f"), "pairs": design == PAIR, "all": np.ones(len(names), bool)}
    return [] if comparison.measured is None else [str(name) for name in names[chosen[comparison.measured]]]


def _key(study: StudyResults, options: ComparisonSpec, weights: str) -> str:
    """Return what a measurement belongs to: the encoder's weights, by their hash, the data and the options."""
    content = {
        "weights": weights,
        "data": study.results.attrs.get("data_fingerprint"),
        "options": options.model_dump(mode="json"),
    }
    return content_hash(content)


def _compare(
    study: StudyResults,
    options: ComparisonSpec,
    weights: Hashes,
    device: str,
    workers: int | None,
    threads: int | None,
    on_event: OnEvent,
) -> None:
    comparison, name = COMPARISONS[options.name], options.name
    encoders = _measured(study, comparison)
    keys = {encoder: _key(study, options, weights(encoder)) for encoder in encoders}
    parts = {encoder: read_part(part_path(study.path, name, encoder), keys[encoder]) for encoder in encoders}
    todo = [encoder for encoder, part in parts.items() if part is None]
    if todo:
        require("torch", "timm")
        spec = Study(study.path).spec
        share = _share_cores(spec, study.path, "local", workers and min(workers, len(todo)), threads, device)
        on_event(Message(f"{name}: {len(todo)} of {len(encoders)} encoders to measure"))
        with pool(min(share.workers, len(todo)), share.threads, on_event, warm_up="sslmem_kit.run.worker:versions") as executor:
            tasks = {
                executor.submit(
                    call_worker, f"{WORKER}:measure_encoder", study.path, options, encoder, keys[encoder], device, share.threads
                ): encoder
                for encoder in todo
            }
            for count, task in enumerate(as_completed(tasks), start=1):
                result(task)
                on_event(Message(f"{name}: {tasks[task]} measured, {count} of {len(todo)}"))
        parts = {encoder: read_part(part_path(study.path, name, encoder), keys[encoder]) for encoder in encoders}
    raw = _joined(study, parts) if parts else None
    attrs = _attrs(comparison, options, parts, keys)
    add_scores(study, name, comparison.reduce(raw, study.tree), raw=raw, attrs=attrs, labels=comparison.columns)
    on_event(Message(f"{name}: added to {study.results_path}"))


def _joined(study: StudyResults, parts: Mapping[str, xr.Dataset | None]) -> xr.Dataset:
    """Return what was measured on all samples and encoders of the study, NaN where nothing was."""
    root = study.results
    there = {encoder: part.drop_attrs(deep=False) for encoder, part in parts.items() if part is not None}
    raw = xr.concat(
        [*there.values()], dim=xr.DataArray([*there], dims=ENCODER, name=ENCODER), join="exact", combine_attrs="override"
    )
    return raw.reindex({ENCODER: root[ENCODER].values.astype(object), SAMPLE: root[SAMPLE].values})


def _attrs(comparison: Comparison, options: ComparisonSpec, parts: Mapping[str, Any], keys: Mapping[str, str]) -> dict[str, Any]:
    seconds = {encoder: part.attrs.get("seconds") for encoder, part in parts.items()}
    more = next(({key: value for key, value in part.attrs.items() if key not in ("key", "seconds")} for part in parts.values()), {})
    return {
        **more,
        "options": json.dumps(options.model_dump(mode="json")),
        "title": comparison.title,
        "source": comparison.source,
        "definition": comparison.definition,
        "keys": json.dumps(dict(keys)),
        "seconds": json.dumps(seconds),
    }


def add_scores(
    study: StudyResults,
    name: str,
    replicates: xr.Dataset,
    *,
    raw: xr.Dataset | None = None,
    attrs: Mapping[str, Any],
    labels: Mapping[str, str] | None = None,
) -> None:
    """Write scores, by replicates (sample, seed), and what they were reduced from as a comparison of a study."""
    group = summarized(replicates, labels=labels).assign_attrs(replicates.attrs | dict(attrs))
    if raw is not None:
        group = group.merge(raw.drop_vars([SAMPLE, ENCODER]), combine_attrs="override")
    group = group.drop_vars([dim for dim in (SAMPLE, ENCODER) if dim in group.coords])  # of the root
    write_comparison(study.results_path, name, group)
    store.finish(study.results_path)
    study.__dict__.pop("tree", None)
