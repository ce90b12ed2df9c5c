"""Running an audit: every encoder over every block of samples, resuming wherever an earlier run stopped.

This process does all of it, one encoder after the other: objects that the user's functions make need not be picklable.
"""

from __future__ import annotations

import json
import time
from collections.abc import Callable
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import numpy as np
import torch

from sslmem_kit import store
from sslmem_kit.data.membership import Membership, membership
from sslmem_kit.data.record import lines
from sslmem_kit.encoders.device import resolve_device, use_device
from sslmem_kit.errors import UserError, join_names
from sslmem_kit.events import Completed, DetailsAdded, Message, OnEvent, Planned, Scored, Warned, ignore
from sslmem_kit.names import COMPARED_ANYWAY, FAMILIES, ONE_MODEL, PAIR, TRAINED_ON
from sslmem_kit.run import repair
from sslmem_kit.run.audit.agreement import MODULES, check
from sslmem_kit.run.audit.alignment import Measure
from sslmem_kit.run.audit.encoders import Built, build, field_of, known_training, seen_by
from sslmem_kit.run.audit.new_store import create_store, write_views
from sslmem_kit.run.audit.samples import Samples, load_data
from sslmem_kit.run.audit.state_dicts import file_hash
from sslmem_kit.run.audit.user_code import with_arguments
from sslmem_kit.run.resources import share_cores
from sslmem_kit.run.versions import versions
from sslmem_kit.spec.audit import AuditEncoderSpec, AuditSpec
from sslmem_kit.spec.paths import absolute
from sslmem_kit.spec.reading import read_json
from sslmem_kit.statistics.caveats import of_seeds
from sslmem_kit.store import details, file_record
from sslmem_kit.store.directory import check_directory, create_or_resume, places_changed, take_places
from sslmem_kit.store.files import write_json
from sslmem_kit.store.metadata import root_is_whole
from sslmem_kit.study import AuditStudy

READ_AS = "read_as"
"""Entry of ``config.json`` that says how an encoder reads samples, except for its modules."""
VIEW_STATISTICS = "of_views"
"""Attribute that identifies a view function."""
LEFT_OUT = 4
"""Largest number of names of tensors left out that a warning lists."""


def run_audit(spec: AuditSpec, out: Path | str, *, device: str = "auto", on_event: OnEvent = ignore) -> AuditStudy:
    """Score the encoders of an audit, as far as scores are missing.

    Parameters
    ----------
    spec
        The audit's spec, resolved. User functions that it names are run.
    out
        The study directory: new, empty, or of the same spec.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:1`` ...
    on_event
        Function that is called with each event (:mod:`sslmem_kit.events`).

    Returns
    -------
    The complete study.

    Raises
    ------
    UserError
        Anything the user can fix; the weights or the data have changed since the audit started. Finished scores stay.
    """
    started = time.monotonic()
    out = absolute(out)
    if AuditStudy(out).results_path.exists() and repair.repair_spec(AuditStudy(out), spec):
        on_event(Warned(spec.name, "study.yaml was gone or damaged: it is made again"))
    check_directory(out, spec)
    device = resolve_device(device)
    use_device(device)
    threads = share_cores(1, recorded=repair.recorded_threads(AuditStudy(out))).threads
    torch.set_num_threads(threads)
    samples = load_data(spec)
    messages: list[str] = []
    scored = _scored(spec, samples, messages)
    members = _members(spec, samples, scored, messages)
    ids, path, record = samples.ids[scored], AuditStudy(out).results_path, samples.record(scored, members.codes)
    with ExitStack() as stack:
        if path.exists():
            _repair_results(
                AuditStudy(out),
                samples,
                lambda at: create_store(AuditStudy(out), samples, scored, members, record, device, threads, path=at),
                on_event,
            )
            _check_same(out, spec, samples, ids, members, device)
        todo = _todo(spec, path)
        if not todo and store.is_finished(path):
            _report_data(record, messages, on_event)
            on_event(Planned((), 0, 0))
            study = AuditStudy(out)
            study.sweep_files()
            if places_changed(study, spec):
                with study.lock():
                    take_places(study, spec)
            return study
        view = with_arguments(spec.view, field="view") if spec.view else None
        measure = Measure(samples, spec.scoring, view=view, seed=spec.view_seed, device=device)
        if path.exists():
            _check_view(path, measure)
        # Errors of an encoder are reported before the first is scored.
        facts = [_check_encoder(spec, place, samples, measure, device, on_event) for place in todo]
        compared_anyway = _check_agreement(spec, dict(zip(todo, facts, strict=True)), members, out)
        create_or_resume(out, spec)
        study = AuditStudy(out)
        stack.enter_context(study.lock())
        take_places(study, spec)
        if not path.exists():
            create_store(study, samples, scored, members, record, device, threads)
        if VIEW_STATISTICS not in store.attributes(path):
            store.set_attributes(path, {VIEW_STATISTICS: json.dumps(measure.view_statistics())})
        for message in compared_anyway:
            on_event(Warned(spec.name, message))
        if compared_anyway:
            store.set_attributes(path, {COMPARED_ANYWAY: json.dumps(compared_anyway)})
        for place, found in zip(todo, facts, strict=True):
            _record(study, place, found)
        _report_data(record, messages, on_event)
        for message in _seed_warnings(spec, members):
            on_event(Warned(spec.name, message))
        block = spec.scoring.block
        on_event(Planned(tuple(spec.encoders[place].id for place in todo), 0, -(-len(ids) // block)))
        try:
            for place, found in zip(todo, facts, strict=True):
                plan, field = spec.encoders[place], field_of(spec.encoders[place], place)
                built = build(plan, place, samples, device)
                if built.fingerprint != found["fingerprint"]:
                    raise UserError(f"{field}: it has other weights each time that it is made; seed it, or give weights")
                for number in store.unscored_blocks(path, place):
                    values = measure(built.encode, ids[number * block : (number + 1) * block], field=field)
                    store.write_alignment(path, encoder=place, block=number, values=values)
                    on_event(Scored(plan.id, number))
                on_event(Completed(plan.id))
            if samples.dataset and not spec.view and members.mode == PAIR and "views" in details.unwritten(path):
                on_event(DetailsAdded(0, 1))
                write_views(study, measure)
                on_event(DetailsAdded(1, 1))
        finally:
            seconds = store.attributes(path).get("seconds", 0.0) + time.monotonic() - started
            store.set_attributes(path, {"seconds": round(seconds, 3)})
        store.finish(path)
    return AuditStudy(out)


def _report_data(record: dict[str, Any], lists: list[str], on_event: OnEvent) -> None:
    """Report what was read, of the data and of the lists of samples."""
    for line in [*lines(record), *lists]:
        on_event(Message(line))


def _seed_warnings(spec: AuditSpec, members: Membership) -> list[str]:
    """Return the report's warnings about scores for which too few encoders, or encoders that are no pairs, are compared."""
    if members.mode == ONE_MODEL and members.trained_on is not None:
        return [
            "by the lists every encoder was trained on the same of these samples: there are no memorization scores, only alignment is reported"
        ]
    if members.mode != PAIR:
        return []
    seeds: dict[str, list[int]] = {family: [] for family in FAMILIES}
    for place, (plan, family) in enumerate(zip(spec.encoders, members.families, strict=True)):
        if family in seeds:
            seeds[family].append(known_training(plan, place)["seed"])
    return of_seeds(*seeds.values())


def _scored(spec: AuditSpec, samples: Samples, messages: list[str]) -> np.ndarray:
    """Return the positions of the samples that are scored."""
    if spec.samples is None:
        return np.arange(len(samples.ids))
    listed = samples.listed(spec.samples, field="samples", members=False)
    scored = listed.positions
    messages.append(f"scored is {Path(spec.samples).name}: {listed.how}")
    if len(scored) < 2:
        raise UserError(f"samples: {spec.samples} lists {len(scored)} of the data's samples, 2 or more are needed")
    return scored


def _members(spec: AuditSpec, samples: Samples, scored: np.ndarray, messages: list[str]) -> Membership:
    """Return which encoders were trained on which of the scored samples."""
    seen = [seen_by(plan, place, samples, messages=messages) for place, plan in enumerate(spec.encoders)]
    unknown = [plan.id for plan, column in zip(spec.encoders, seen, strict=True) if column is None]
    if unknown and len(unknown) < len(seen):
        raise UserError(
            f"encoders: trained_on is missing of {', '.join(unknown[:4])}, others have it; give it for every encoder (a file, all or none)"
        )
    trained_on = None if unknown else np.stack([column[scored] for column in seen], axis=1)
    return membership([plan.id for plan in spec.encoders], trained_on, [plan.family for plan in spec.encoders])


def _todo(spec: AuditSpec, path: Path) -> list[int]:
    """Return the places of the encoders whose scores are not complete."""
    places = range(len(spec.encoders))
    return [place for place in places if store.unscored_blocks(path, place)] if path.exists() else list(places)


def _check_encoder(
    spec: AuditSpec, place: int, samples: Samples, measure: Measure, device: str, on_event: OnEvent
) -> dict[str, Any]:
    """Build an encoder, check that it works, and return its properties."""
    plan, field = spec.encoders[place], field_of(spec.encoders[place], place)
    built: Built = build(plan, place, samples, device)
    if built.left_out:
        names = ", ".join(built.left_out[:LEFT_OUT]) + (" ..." if len(built.left_out) > LEFT_OUT else "")
        # Before the event of the plan, when the display knows no encoders yet.
        on_event(Warned(plan.id, f"{len(built.left_out)} tensors of {plan.weights} are left out ({names})"))
    output = measure.output_format(built.encode, field=field)
    facts = {"representation": output["representation"], "left_out": built.left_out, **built.facts}
    return {"fingerprint": built.fingerprint, **facts, READ_AS: built.read_as | output}


def _check_agreement(spec: AuditSpec, checked: dict[int, dict[str, Any]], members: Membership, out: Path) -> list[str]:
    """Return messages about differences in how encoders read samples, and about equal encoders; none where they are not compared.

    Parameters
    ----------
    checked
        Properties of encoders by place, from :func:`_check_encoder`; those of the others an earlier run has recorded.

    Raises
    ------
    UserError
        They differ, and the spec does not say ``compare_anyway``.
    """
    if members.mode == ONE_MODEL:
        return []
    read, weights = {}, {}
    for place, plan in enumerate(spec.encoders):
        config = AuditStudy(out).encoder(plan.id) / "config.json"
        known = checked[place] if place in checked else read_json(config) if config.exists() else {}
        read[plan.id] = known.get(READ_AS, {})
        if known.get("parameters"):
            weights.setdefault(known["fingerprint"], []).append(plan.id)
    equal = [
        f"{join_names(ids)} have the same weights: they are one encoder, counted {len(ids)} times, and scores and errors that rest on their "
        "difference mean nothing"
        for ids in weights.values()
        if len(ids) > 1
    ]
    return [*equal, *check(read, anyway=spec.compare_anyway, remedy="compare_anyway: true")]


def _record(study: AuditStudy, place: int, facts: dict[str, Any]) -> None:
    """Write an encoder's ``config.json``, or check that an existing one is of the same weights.

    Raises
    ------
    UserError
        An earlier run scored with other weights.
    """
    plan: AuditEncoderSpec = study.spec.encoders[place]
    path = study.encoder(plan.id) / "config.json"
    if path.exists():
        file_record.note(study.results_path, str(place), [_config_name(plan.id)])
        recorded = read_json(path)
        _check_fingerprint(plan, place, recorded, facts["fingerprint"])
        return
    path.parent.mkdir(parents=True, exist_ok=True)
    read_as = {name: value for name, value in facts[READ_AS].items() if name != MODULES}
    facts = {**facts, READ_AS: read_as}
    write_json(path, {**plan.model_dump(mode="json"), **facts, "spec_hash": study.spec.hash, "versions": versions()})
    file_record.note(study.results_path, str(place), [_config_name(plan.id)])


def _check_fingerprint(plan: AuditEncoderSpec, place: int, recorded: dict[str, Any], now: str) -> None:
    then = recorded.get("fingerprint")
    if then != now:
        raise UserError(
            f"{field_of(plan, place)}: its weights have changed since this audit started (sha256 {str(then)[:12]} then, {now[:12]} now); "
            "restore them, or choose another --out"
        )


def _config_name(encoder_id: str) -> str:
    return file_record.files_of(encoder_id)[0]


def _repair_results(study: AuditStudy, samples: Samples, create: Callable[[Path], None], on_event: OnEvent) -> None:
    """Report damage to an earlier run's results, and have what is damaged made again."""
    path = study.results_path
    if repair.is_whole(path):
        return
    if root_is_whole(path):
        _check_data(path, samples)
    encoders = [plan.id for plan in study.spec.encoders]
    with study.lock():
        repairs = repair.repair_results(study, create, encoders=encoders)
        for encoder in repairs.rewrite:  # the weights that it was scored with are not known any more
            (study.encoder(encoder) / "config.json").unlink(missing_ok=True)
            store.forget_encoder(path, encoders.index(encoder))
            store.give_back(path, encoder=encoders.index(encoder), block=None)
    for message in repairs.messages:
        on_event(Warned(study.spec.name, f"{message}: it is made again"))


def _check_data(path: Path, samples: Samples) -> None:
    if store.attributes(path).get("data_fingerprint") != samples.fingerprint:
        what = f" ({samples.dataset.name} holds other data)" if samples.dataset else ""
        raise UserError(f"data: it has changed since this audit started{what}; restore it, or choose another --out")


def _check_view(path: Path, measure: Measure) -> None:
    """Refuse to resume with other views than those that the first encoders were scored with."""
    recorded, now = json.loads(store.attributes(path).get(VIEW_STATISTICS, "[]")), measure.view_statistics()
    if recorded and not (
        len(recorded) == len(now)
        and np.allclose(recorded, now, rtol=1e-3, atol=1e-4 * (1 + np.nanmax(np.abs(recorded))), equal_nan=True)
    ):
        raise UserError("view: it makes other views than when this audit started; restore the function, or choose another --out")


def _check_same(out: Path, spec: AuditSpec, samples: Samples, ids: np.ndarray, members: Membership, device: str) -> None:
    """Refuse data, lists and encoders that differ from those of an earlier run's results."""
    study = AuditStudy(out)
    path = study.results_path
    _check_data(path, samples)
    tree = store.open_results(path, allow_incomplete=True)
    seen = tree[TRAINED_ON].values if TRAINED_ON in tree.variables else None
    same = (seen is None) == (members.trained_on is None) and (seen is None or np.array_equal(seen, members.trained_on))
    if not np.array_equal(store.sample_ids(path), ids) or not same:
        raise UserError(
            "samples, trained_on: the files list other samples than when this audit started; restore them, or choose another --out"
        )
    for place, plan in enumerate(spec.encoders):
        config = study.encoder(plan.id) / "config.json"
        recorded = read_json(config) if config.exists() else {}
        now = plan.model_dump(mode="json")
        if recorded and any(recorded.get(name) != now[name] for name in (("study",) if plan.study else ("weights", "factory"))):
            # The files lie elsewhere now.
            _check_fingerprint(plan, place, recorded, build(plan, place, samples, device).fingerprint)
            continue
        weights = Path(recorded.get("weights") or "")
        if weights.is_file() and file_hash(weights) != recorded.get("weights_sha256"):
            raise UserError(
                f"{field_of(plan, place)}.weights: {weights} has changed since this audit started; restore it, or choose another --out"
            )
