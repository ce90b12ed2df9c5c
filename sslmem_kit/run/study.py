"""Running a study: from its spec to a complete results store, resuming wherever an earlier run stopped.

This process plans, creates the store and writes results; encoders are trained and scored by worker processes, one encoder at a time
each, that share the machine's cores. It imports no torch.
"""

from __future__ import annotations

import contextlib
import json
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from sslmem_kit import store
from sslmem_kit.data.record import lines
from sslmem_kit.data.samples import StudySamples
from sslmem_kit.errors import Failure, UserError, require
from sslmem_kit.events import DetailsAdded, Message, OnEvent, Planned, Warned, ignore
from sslmem_kit.run import repair
from sslmem_kit.run.comparisons import check_listed, compare
from sslmem_kit.run.new_store import _create_store
from sslmem_kit.run.removal import study_samples
from sslmem_kit.run.resources import WORKER, Scheduler, Share, _for_workers, _gpus, _share_cores, share_cores
from sslmem_kit.run.same_samples import check_same_samples
from sslmem_kit.run.schedulers.pool import InThisProcess, as_completed, call_worker, pool, result
from sslmem_kit.run.schedulers.ranks import RankInfo, launched
from sslmem_kit.run.schedulers.ranks import start as start_ranks
from sslmem_kit.spec.design import EncoderPlan
from sslmem_kit.spec.loading import load_spec
from sslmem_kit.spec.paths import absolute
from sslmem_kit.spec.seeds import derive_seed
from sslmem_kit.spec.study import StudySpec
from sslmem_kit.store import details
from sslmem_kit.store.directory import check_directory, create_or_resume, places_changed, take_places
from sslmem_kit.store.metadata import root_is_whole
from sslmem_kit.store.provenance import is_plain_sgd, of_training
from sslmem_kit.study import Study

if TYPE_CHECKING:
    from sslmem_kit.training.distributed import DeviceGroup


def run_study(
    spec: StudySpec | Path | str,
    out: Path | str,
    *,
    scheduler: Scheduler = "local",
    workers: int | None = None,
    threads: int | None = None,
    device: str = "auto",
    devices: int = 1,
    on_event: OnEvent = ignore,
) -> Study:
    """Train, score and evaluate the encoders of a study, as far as results are missing.

    Parameters
    ----------
    spec
        The study's spec, resolved; or a name or the path of a YAML file for :func:`sslmem_kit.load_spec`.
    out
        The study directory: new, empty, or of the same spec.
    scheduler
        ``local``: several worker processes; ``serial``: one.
    workers
        Number of processes; by default as many as there are cores (GPUs with a GPU) or encoders, whichever is less.
    threads
        Threads of each process, on which the last bits of its numbers depend; by default those that the study was started with, those
        of ``OMP_NUM_THREADS``, or an equal share of the cores. They are recorded.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:1`` ...
    devices
        Number of devices that train each encoder together, one encoder after the other. Ignored where ``torchrun`` or ``srun`` has
        started this process as one of several, which are the devices then.
    on_event
        Function that is called with each event (:mod:`sslmem_kit.events`).

    Returns
    -------
    The complete study.

    Raises
    ------
    UserError
        Anything the user can fix. Finished results stay; the next run resumes from them.
    sslmem_kit.run.schedulers.pool.WorkerDied
        A worker was killed, most often because memory ran out.
    """
    require("torch", "timm", "lightly")
    out = absolute(out)
    if not isinstance(spec, StudySpec):
        spec = load_spec(spec)
    check_listed(spec)
    options = {"device": device, "workers": workers, "threads": threads, "on_event": on_event}
    study = _trained_and_scored(spec, out, scheduler=scheduler, devices=devices, **options)
    ranks = launched()
    if not spec.comparisons or (ranks and ranks.rank):
        return study
    return Study(compare(Study(out), spec.comparisons, **options).path)


def _trained_and_scored(
    spec: StudySpec,
    out: Path,
    *,
    scheduler: Scheduler,
    workers: int | None,
    threads: int | None,
    device: str,
    devices: int,
    on_event: OnEvent,
) -> Study:
    """Return the study, complete but for its comparisons."""
    started, ranks = time.monotonic(), launched()
    given = on_event
    if ranks and ranks.rank:
        on_event = ignore
    if Study(out).results_path.exists() and repair.repair_spec(Study(out), spec):
        on_event(Warned(spec.name, "study.yaml was gone or damaged: it is made again"))
    check_directory(out, spec)
    study = Study(out)
    share_cores(
        1, threads=threads, recorded=repair.recorded_threads(Study(out))
    )  # a contradiction is reported for a finished study too
    if study.results_path.exists():
        if root_is_whole(study.results_path):
            check_same_samples(study, spec)
        if repair.is_whole(study.results_path) and _is_complete(study):
            _report_data(study_samples(spec), on_event)
            on_event(Planned((), spec.training.epochs, 0))
            study.sweep_files()
            if places_changed(study, spec) and not (ranks and ranks.rank):
                with study.lock():
                    take_places(study, spec)
            return study
        if root_is_whole(study.results_path) and is_plain_sgd(store.attributes(study.results_path)) and _todo(study):
            raise UserError(
                "training.optimizer: this study was started by an earlier version, in which LARS was plain SGD where weight_decay is 0, and "
                "its encoders would not be trained alike; choose another --out"
            )
    if ranks:
        share = share_cores(ranks.local_size, threads=threads, recorded=repair.recorded_threads(Study(out)))
        _run_as_rank(ranks, given, spec, out, share, device, started)
        return study
    if devices > 1:
        if workers is not None and workers > 1:
            raise UserError(
                f"--workers: {workers} processes with --devices {devices} each are not supported, leave one of them out"
            )
        share = share_cores(devices, threads=threads, recorded=repair.recorded_threads(Study(out)))
        start_ranks(devices, share.threads, _run_as_rank, (spec, out, share, device, started), on_event)
        return study
    share = _share_cores(spec, out, scheduler, workers, threads, device)
    workers, threads, _ = share
    with pool(workers, threads, on_event, warm_up=f"{WORKER}:versions", gpus=_gpus(device)) as executor:
        samples = study_samples(spec)
        facts = result(
            executor.submit(call_worker, f"{WORKER}:calibrate", spec, device, threads, samples=_for_workers(spec, samples))
        )
        create_or_resume(out, spec)
        study = Study(out)
        with study.lock():
            take_places(study, spec)
            if not study.results_path.exists():
                _create_store(study, samples, facts, threads)
            _report_data(samples, on_event, share)
            _repair_results(study, samples, executor, facts, threads, on_event)
            try:
                _complete(study, samples, executor, facts["device"], threads, on_event)
                _add_details(study, samples, executor, facts["device"], threads, on_event)
            finally:
                _add_seconds(study, started)
            _finish(study)
    return study


def _run_as_rank(ranks: RankInfo, on_event: OnEvent, spec: StudySpec, out: Path, share: Share, device: str, started: float) -> None:
    """Run one rank's part of a study: all ranks train and score, the first writes results."""
    from sslmem_kit.run.schedulers.process_group import process_group

    meeting = process_group(device, ranks, on_event)
    if ranks.rank:
        on_event = ignore
    here, study = InThisProcess(on_event), Study(out)
    with meeting as shared, contextlib.ExitStack() as stack:
        _start_as_rank(shared, spec, out, share.threads, here, stack)
        samples = study_samples(spec)
        _report_data(samples, on_event, share)
        try:
            incomplete = {plan.id for plan in _todo(study)}
            todo = [plan for part in samples.parts for plans in part for plan in plans if plan.id in incomplete]
            shared.wait()
            on_event(Planned(tuple(plan.id for plan in todo), spec.training.epochs, _blocks(study, samples)))
            options = {"samples": samples, "device_group": shared, "emit": True}
            for plan in todo:
                result(
                    here.submit(call_worker, f"{WORKER}:complete_encoder", out, plan.id, shared.device, share.threads, **options)
                )
            if shared.first:
                _add_details(study, samples, here, shared.device, share.threads, on_event)
        finally:
            if shared.first:
                _add_seconds(study, started)
        if shared.first:
            _finish(study)
        shared.wait()


def _start_as_rank(
    shared: DeviceGroup, spec: StudySpec, out: Path, threads: int, here: InThisProcess, stack: contextlib.ExitStack
) -> None:
    """Load the data, which may have to be fetched, and start or resume the study, by the first rank; all end where it cannot."""
    if len(set(shared.collect((str(out.resolve()), spec.hash_with_places)))) > 1:
        raise UserError(
            "the ranks that torchrun or srun has started were given different studies or folders; one study has them all"
        )
    error = None
    if shared.first:
        try:
            samples = study_samples(spec)
            options = {"samples": samples, "devices": shared.size}
            facts = result(here.submit(call_worker, f"{WORKER}:calibrate", spec, shared.device, threads, **options))
            create_or_resume(out, spec)
            study = Study(out)
            stack.enter_context(study.lock())
            take_places(study, spec)
            if not study.results_path.exists():
                _create_store(study, samples, facts, threads)
            _repair_results(study, samples, here, facts, threads, ignore)
        except (UserError, Failure, OSError) as raised:
            error = raised
    if any(shared.collect(error is not None)):
        raise error or SystemExit(2)  # the first says why


def _report_data(samples: StudySamples, on_event: OnEvent, share: Share | None = None) -> None:
    """Report what was read, and how many threads are used; only after all checks, so that a refusal is a single message."""
    for line in (*lines(samples.record), *([str(share)] if share else ())):
        on_event(Message(line))


def _is_complete(study: Study) -> bool:
    return store.is_finished(study.results_path) and not store.unlisted_details(study.results_path) and not _todo(study)


def _repair_results(
    study: Study,
    samples: StudySamples,
    executor: ProcessPoolExecutor | InThisProcess,
    facts: dict[str, Any],
    threads: int,
    on_event: OnEvent,
) -> None:
    """Report damage to an earlier run's results, and have what is damaged made again."""
    if repair.is_whole(study.results_path):
        return
    encoders = [plan.id for plan in study.spec.encoders]

    def create(path: Path) -> None:
        _create_store(study, samples, facts, threads, path=path)

    repairs = repair.repair_results(study, create, encoders=encoders)
    for message in repairs.messages:
        on_event(Warned(study.spec.name, f"{message}: it is made again"))
    for encoder in sorted(repairs.retrain):
        on_event(Warned(encoder, "its weights are gone or damaged, it is trained again"))
    shared = _for_workers(study.spec, samples)
    for encoder in sorted(repairs.rewrite):
        try:
            result(
                executor.submit(call_worker, f"{WORKER}:write_files", study.path, encoder, facts["device"], threads, samples=shared)
            )
        except UserError as error:
            on_event(Warned(encoder, f"{error}; it is trained again"))
            repair.forget(study.encoder(encoder))
            store.take_back(study.results_path, encoder=encoders.index(encoder), block=None)


def _complete(
    study: Study, samples: StudySamples, executor: ProcessPoolExecutor, device: str, threads: int, on_event: OnEvent
) -> None:
    incomplete = {plan.id for plan in _todo(study)}
    # Whole groups as long as one of their encoders is incomplete: a run that resumes forms the same ones.
    parts = [[plans for plans in part if any(plan.id in incomplete for plan in plans)] for part in samples.parts]
    on_event(Planned(tuple(plans[0].id for part in parts for plans in part), study.spec.training.epochs, _blocks(study, samples)))
    shared = _for_workers(study.spec, samples)
    for part in parts:
        tasks: dict[Future, str] = {}
        for plans in part:
            function, name = (
                ("complete_encoder", plans[0].id) if len(plans) == 1 else ("complete_group", [plan.id for plan in plans])
            )
            tasks[
                executor.submit(call_worker, f"{WORKER}:{function}", study.path, name, device, threads, samples=shared, emit=True)
            ] = plans[0].id
        for _ in _results(tasks):
            pass


def _add_details(
    study: Study, samples: StudySamples, executor: ProcessPoolExecutor | InThisProcess, device: str, threads: int, on_event: OnEvent
) -> None:
    """Add the groups for looking at samples that are missing in the store of a scored study."""
    path, spec = study.results_path, study.spec
    todo = details.unwritten(path)
    if not todo:
        return
    if store.DUPLICATES in todo:
        on_event(Message(f"looking for near-duplicates among {len(samples.dataset):,} images"))
        scored = samples.scored
        details.write_duplicates(path, samples.twins, samples.dataset.ids, scored, samples.codes[scored])
    if set(todo) == {store.DUPLICATES}:
        return
    kept = details.written_kept(path)
    if kept is None:
        each = details.view_bytes(samples.dataset.image_shape, spec.scoring.views)
        # Another instance: the tree of this one is opened when its store is finished.
        kept = details.choose_kept(Study(study.path).scores(), bytes_each=each)
    ids, shared = kept[store.KEPT].values, _for_workers(spec, samples)
    scored = samples.dataset.ids[samples.scored]
    references = details.choose_references(scored, ids, seed=derive_seed(spec.seed, "neighbour references"))
    tasks: dict[Future, str] = {}
    if "views" in todo:
        task = executor.submit(call_worker, f"{WORKER}:write_views", study.path, kept, device, threads, samples=shared)
        tasks[task] = "views"
    if "neighbours" in todo:
        for encoder in spec.pairs:
            arguments = (study.path, encoder.id, ids, references, device, threads)
            tasks[executor.submit(call_worker, f"{WORKER}:find_neighbours", *arguments, samples=shared)] = encoder.id
    if store.UNITS in todo:
        for encoder in spec.pairs:
            arguments = (study.path, encoder.id, device, threads)
            tasks[executor.submit(call_worker, f"{WORKER}:find_units", *arguments, samples=shared)] = f"units of {encoder.id}"
    on_event(DetailsAdded(0, len(tasks)))
    found = {}
    for name, values in _results(tasks):
        found[name] = values
        on_event(DetailsAdded(len(found), len(tasks)))
    if "neighbours" in todo:
        # Computed for pairs of f and g only.
        none = [np.full_like(values, absent) for values, absent in zip(found[spec.pairs[0].id], (-1, np.nan), strict=True)]
        neighbour, distance = (
            np.stack(parts, axis=1) for parts in zip(*(found.get(e.id, none) for e in spec.encoders), strict=True)
        )
        details.write_neighbours(path, kept, neighbour, distance, references=len(references))
    if store.UNITS in todo:
        details.write_units(path, [found[f"units of {encoder.id}"] for encoder in spec.pairs], encoders=len(spec.encoders))


def _results(tasks: dict[Future, Any]) -> Iterator[tuple[Any, Any]]:
    """Yield the name of each task and its result, as they are done; no further task is started after an error."""
    try:
        for task in as_completed(tasks):
            yield tasks[task], result(task)
    except BaseException:
        for task in tasks:
            task.cancel()
        raise


def _blocks(study: Study, samples: StudySamples) -> int:
    return -(-len(samples.scored) // study.spec.scoring.block)


def _add_seconds(study: Study, started: float) -> None:
    """Add the duration of this run to the seconds that the store records."""
    seconds = store.attributes(study.results_path).get("seconds", 0.0) + time.monotonic() - started
    store.set_attributes(study.results_path, {"seconds": round(seconds, 3)})


def _finish(study: Study) -> None:
    """Record how the encoders were trained, and consolidate the store."""
    configs = {}
    for plan in study.spec.encoders:
        with contextlib.suppress(OSError, ValueError):
            configs[plan.id] = json.loads((study.encoder(plan.id) / "config.json").read_bytes())
    store.set_attributes(study.results_path, of_training(configs))
    store.finish(study.results_path)


def _todo(study: Study) -> list[EncoderPlan]:
    """Return the plans of the encoders whose results are not complete."""
    return [plan for plan, whole in zip(study.spec.encoders, store.complete(study.results_path), strict=True) if not whole]
