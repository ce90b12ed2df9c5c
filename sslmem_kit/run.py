"""Running a study: from its spec to a complete results store, going on wherever an earlier run stopped.

This process plans, creates the store and keeps the books; encoders are trained and scored by worker processes, one encoder at a time
each, that share the machine's cores. It imports no torch.
"""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import time
from collections.abc import Iterator
from concurrent.futures import Future, ProcessPoolExecutor
from pathlib import Path
from typing import TYPE_CHECKING, Any, Literal

import numpy as np
import xarray as xr

from sslmem_kit import details, mending, store
from sslmem_kit.data.record import lines, read_before
from sslmem_kit.design import EncoderPlan
from sslmem_kit.errors import Failure, UserError
from sslmem_kit.machine import Share, cores, processor, share_cores
from sslmem_kit.metadata import root_is_whole
from sslmem_kit.names import FILE, PARTITION_CODE
from sslmem_kit.partition import RemovalSpec
from sslmem_kit.paths import absolute
from sslmem_kit.ranks import Ranks, launched
from sslmem_kit.ranks import start as start_ranks
from sslmem_kit.scheduling import InThisProcess, Listen, as_completed, call_worker, gpu_count, pool, result, silent
from sslmem_kit.streams import stream_seed
from sslmem_kit.study.folder import Study, check_directory, create_or_resume, places_changed, take_places
from sslmem_kit.study.samples import StudySamples, load_samples, samples_to_plan, without_download
from sslmem_kit.study.spec import StudySpec, load_spec

if TYPE_CHECKING:
    from sslmem_kit.devices import Team

Scheduler = Literal["local", "serial"]


def run(
    spec: StudySpec | Path | str,
    out: Path | str,
    *,
    scheduler: Scheduler = "local",
    workers: int | None = None,
    threads: int | None = None,
    device: str = "auto",
    devices: int = 1,
    listen: Listen = silent,
) -> Study:
    """Train, score and evaluate what a study still lacks.

    Parameters
    ----------
    spec
        The study, resolved; or what :func:`sslmem_kit.load_spec` takes, a name or the path of a YAML file.
    out
        The study directory: new, empty, or of the same spec.
    scheduler
        ``local``: several worker processes; ``serial``: one.
    workers
        Number of processes; by default as many as there are cores (GPUs with a GPU) or encoders, whichever is less.
    threads
        Of each process, on which the last bits of its numbers hang; by default those that the study was begun with, those that
        ``OMP_NUM_THREADS`` says, or an equal share of the cores. They are recorded.
    device
        ``auto``, ``cpu``, ``cuda``, ``cuda:1`` ...
    devices
        How many train each encoder together, one encoder after the other. Where ``torchrun`` or ``srun`` has started this process as one
        of several, these are the devices, whatever is said here.
    listen
        Hears of progress.

    Returns
    -------
    The complete study.

    Raises
    ------
    UserError
        Anything the user can mend. What was done stays; the next run goes on from there.
    sslmem_kit.scheduling.WorkerDied
        A worker was killed, most often for lack of memory.
    """
    started, out = time.monotonic(), absolute(out)
    if not isinstance(spec, StudySpec):
        spec = load_spec(spec)
    ranks = launched()
    heard = listen
    if ranks and ranks.rank:
        listen = silent
    if Study(out).results_path.exists() and mending.mend_spec(Study(out), spec):
        listen("warned", spec.name, "study.yaml was gone or damaged: it is made again")
    check_directory(out, spec)
    study = Study(out)
    share_cores(1, threads=threads, begun=mending.begun_threads(Study(out)))  # what contradicts is told of a finished study too
    if study.results_path.exists():
        if root_is_whole(study.results_path):
            _check_same_samples(study, spec)
        if mending.is_whole(study.results_path) and _is_complete(study):
            _tell(load_samples(spec), listen)
            listen("planned", [], spec.training.epochs, 0)
            study.sweep_files()
            if places_changed(study, spec) and not (ranks and ranks.rank):
                with study.lock():
                    take_places(study, spec)
            return study
    if ranks:
        share = share_cores(ranks.local_size, threads=threads, begun=mending.begun_threads(Study(out)))
        _run_as_rank(ranks, heard, spec, out, share, device, started)
        return study
    if devices > 1:
        if workers is not None and workers > 1:
            raise UserError(
                f"--workers: {workers} processes with --devices {devices} each are not supported, leave one of them out"
            )
        share = share_cores(devices, threads=threads, begun=mending.begun_threads(Study(out)))
        start_ranks(devices, share.threads, _run_as_rank, (spec, out, share, device, started), listen)
        return study
    share = _share_cores(spec, out, scheduler, workers, threads, device)
    workers, threads, _ = share
    with pool(workers, threads, listen, gpus=_gpus(device)) as executor:
        samples = load_samples(spec)
        facts = result(executor.submit(call_worker, "inspect", spec, device, threads, samples=_for_workers(spec, samples)))
        study = create_or_resume(out, spec)
        with study.lock():
            take_places(study, spec)
            if not study.results_path.exists():
                _create_store(study, samples, facts, threads)
            _tell(samples, listen, share)
            _mend(study, samples, executor, facts, threads, listen)
            try:
                _complete(study, samples, executor, facts["device"], threads, listen)
                _add_details(study, samples, executor, facts["device"], threads, listen)
            finally:
                _add_seconds(study, started)
            store.finish(study.results_path)
    return study


def _run_as_rank(ranks: Ranks, listen: Listen, spec: StudySpec, out: Path, share: Share, device: str, started: float) -> None:
    """One rank's part of a study: all train and score, the first keeps the books."""
    from sslmem_kit.devices import team

    meeting = team(device, ranks, listen)
    if ranks.rank:
        listen = silent
    here, study = InThisProcess(listen), Study(out)
    with meeting as shared, contextlib.ExitStack() as books:
        _begin_as_rank(shared, spec, out, share.threads, here, books)
        samples = load_samples(spec)
        _tell(samples, listen, share)
        try:
            todo = _todo(study)
            shared.wait()
            listen("planned", [plan.id for plan in todo], spec.training.epochs, _blocks(study, samples))
            options = {"samples": samples, "team": shared, "tell": True}
            for plan in todo:
                result(here.submit(call_worker, "complete_encoder", out, plan.id, shared.device, share.threads, **options))
            if shared.first:
                _add_details(study, samples, here, shared.device, share.threads, listen)
        finally:
            if shared.first:
                _add_seconds(study, started)
        if shared.first:
            store.finish(study.results_path)
        shared.wait()


def _begin_as_rank(
    shared: Team, spec: StudySpec, out: Path, threads: int, here: InThisProcess, books: contextlib.ExitStack
) -> None:
    """Load the data, which may have to be fetched, and begin or resume the study, by the first rank; all end where it cannot."""
    if len(set(shared.collect((str(out.resolve()), spec.hash_with_places)))) > 1:
        raise UserError(
            "the ranks that torchrun or srun has started were given different studies or folders; one study has them all"
        )
    error = None
    if shared.first:
        try:
            samples = load_samples(spec)
            options = {"samples": samples, "devices": shared.size}
            facts = result(here.submit(call_worker, "inspect", spec, shared.device, threads, **options))
            study = create_or_resume(out, spec)
            books.enter_context(study.lock())
            take_places(study, spec)
            if not study.results_path.exists():
                _create_store(study, samples, facts, threads)
            _mend(study, samples, here, facts, threads, silent)
        except (UserError, Failure, OSError) as raised:
            error = raised
    if any(shared.collect(error is not None)):
        raise error or SystemExit(2)  # the first says why


def _tell(samples: StudySamples, listen: Listen, share: Share | None = None) -> None:
    """Say what was read, and by how many threads it is worked on; not before, for what is refused is refused in one sentence."""
    for line in (*lines(samples.record), *([str(share)] if share else ())):
        listen("told", line)


def _is_complete(study: Study) -> bool:
    return store.is_finished(study.results_path) and not store.unlisted_details(study.results_path) and not _todo(study)


def _mend(
    study: Study,
    samples: StudySamples,
    executor: ProcessPoolExecutor | InThisProcess,
    facts: dict[str, Any],
    threads: int,
    listen: Listen,
) -> None:
    """Say what of an earlier run's results is damaged, and see that it is made again."""
    if mending.is_whole(study.results_path):
        return
    encoders = [plan.id for plan in study.spec.encoders]

    def create(path: Path) -> None:
        _create_store(study, samples, facts, threads, path=path)

    mended = mending.mend(study, create, encoders=encoders)
    for sentence in mended.told:
        listen("warned", study.spec.name, f"{sentence}: it is made again")
    for encoder in sorted(mended.retrain):
        listen("warned", encoder, "its weights are gone or damaged, it is trained again")
    shared = _for_workers(study.spec, samples)
    for encoder in sorted(mended.rewrite):
        try:
            result(executor.submit(call_worker, "write_files", study.path, encoder, facts["device"], threads, samples=shared))
        except UserError as error:
            listen("warned", encoder, f"{error}; it is trained again")
            mending.forget(study.encoder(encoder))
            store.take_back(study.results_path, encoder=encoders.index(encoder), block=None)


def _complete(
    study: Study, samples: StudySamples, executor: ProcessPoolExecutor, device: str, threads: int, listen: Listen
) -> None:
    lacking = {plan.id for plan in _todo(study)}
    # Whole groups as long as one of them lacks something: a run that goes on forms the same ones.
    todo = [plans for plans in samples.groups if any(plan.id in lacking for plan in plans)]
    listen("planned", [plans[0].id for plans in todo], study.spec.training.epochs, _blocks(study, samples))
    shared = _for_workers(study.spec, samples)
    tasks: dict[Future, str] = {}
    for plans in todo:
        function, name = ("complete_encoder", plans[0].id) if len(plans) == 1 else ("complete_group", [plan.id for plan in plans])
        tasks[executor.submit(call_worker, function, study.path, name, device, threads, samples=shared, tell=True)] = plans[0].id
    for _ in _results(tasks):
        pass


def _add_details(
    study: Study, samples: StudySamples, executor: ProcessPoolExecutor | InThisProcess, device: str, threads: int, listen: Listen
) -> None:
    """Add the groups for looking at samples that the store of a scored study still lacks."""
    path, spec = study.results_path, study.spec
    todo = details.unwritten(path)
    if not todo:
        return
    kept = details.written_kept(path)
    if kept is None:
        each = details.view_bytes(samples.dataset.image_shape, spec.scoring.views)
        # A study of its own: this one's tree is opened when its store is finished.
        kept = details.choose_kept(Study(study.path).scores(), bytes_each=each)
    ids, shared = kept[store.KEPT].values, _for_workers(spec, samples)
    scored = samples.dataset.ids[samples.scored]
    references = details.choose_references(scored, ids, seed=stream_seed(spec.seed, "neighbour references"))
    tasks: dict[Future, str] = {}
    if "views" in todo:
        task = executor.submit(call_worker, "write_views", study.path, kept, device, threads, samples=shared)
        tasks[task] = "views"
    if "neighbours" in todo:
        for encoder in spec.pairs:
            arguments = (study.path, encoder.id, ids, references, device, threads)
            tasks[executor.submit(call_worker, "find_neighbours", *arguments, samples=shared)] = encoder.id
    if store.UNITS in todo:
        for encoder in spec.pairs:
            arguments = (study.path, encoder.id, device, threads)
            tasks[executor.submit(call_worker, "find_units", *arguments, samples=shared)] = f"units of {encoder.id}"
    listen("detailed", 0, len(tasks))
    found = {}
    for name, answer in _results(tasks):
        found[name] = answer
        listen("detailed", len(found), len(tasks))
    if "neighbours" in todo:
        # Sought under pairs of f and g alone.
        none = [np.full_like(values, absent) for values, absent in zip(found[spec.pairs[0].id], (-1, np.nan), strict=True)]
        neighbour, distance = (
            np.stack(parts, axis=1) for parts in zip(*(found.get(e.id, none) for e in spec.encoders), strict=True)
        )
        details.write_neighbours(path, kept, neighbour, distance, references=len(references))
    if store.UNITS in todo:
        details.write_units(path, [found[f"units of {encoder.id}"] for encoder in spec.pairs], encoders=len(spec.encoders))


def _results(tasks: dict[Future, Any]) -> Iterator[tuple[Any, Any]]:
    """What each task was for and what it returned, as they are done; none is begun any more after an error."""
    try:
        for task in as_completed(tasks):
            yield tasks[task], result(task)
    except BaseException:
        for task in tasks:
            task.cancel()
        raise


def _for_workers(spec: StudySpec, samples: StudySamples) -> StudySamples | None:
    """The samples where loading them means to decode every file, or to score another study; else None: workers load small sets faster
    than they are sent."""
    return None if samples.dataset.in_memory and not isinstance(spec.partition.remove, RemovalSpec) else samples


def _blocks(study: Study, samples: StudySamples) -> int:
    return -(-len(samples.scored) // study.spec.scoring.block)


def _add_seconds(study: Study, started: float) -> None:
    """Add to the store's account what this run has taken."""
    seconds = store.attributes(study.results_path).get("seconds", 0.0) + time.monotonic() - started
    store.set_attributes(study.results_path, {"seconds": round(seconds, 3)})


def _todo(study: Study) -> list[EncoderPlan]:
    """The encoders that still lack something."""
    return [plan for plan, whole in zip(study.spec.encoders, store.complete(study.results_path), strict=True) if not whole]


def _check_same_samples(study: Study, spec: StudySpec) -> None:
    """Refuse data, wherever they lie now, that are not those that the study was begun with."""
    path, name = spec.data.path, spec.data.name
    if path is not None and not path.exists():
        raise UserError(
            f"data.name: {str(path)!r} is not there, and a run of {study.path} has to read the data (a complete study is reported, rendered "
            f"and served without them); where they have moved, name their place, --data {spec.data.kind}:PATH"
        )
    samples = load_samples(spec)
    begun = store.attributes(study.results_path)
    if begun.get("data_fingerprint") != samples.dataset.fingerprint:
        if study.spec.data.name != name:
            raise UserError(
                f"data.name: {name!r} holds other data than those that this study began with, which were at {study.spec.data.name!r}"
                f"{read_before(begun)}; name the place of the same data, or choose another --out"
            )
        raise UserError(
            f"data.name: {name!r} has changed since this study began{read_before(begun)}; restore it, or choose another --out"
        )
    if spec.partition.remove and not np.array_equal(store.sample_ids(study.results_path), samples.dataset.ids[samples.scored]):
        raise UserError(
            "partition.remove: it takes out other samples than when this study began; restore what it names, or choose another --out"
        )


def _create_store(study: Study, samples: StudySamples, facts: dict[str, Any], threads: int, *, path: Path | None = None) -> None:
    """Create the results store of a study that begins."""
    spec, dataset, path = study.spec, samples.dataset, path or study.results_path
    _check_space(study, samples, facts)
    ids = dataset.ids[samples.scored]
    codes = samples.codes[samples.scored]
    plans = spec.encoders
    named = {"method": spec.objective.method, "backbone": spec.encoder.backbone, "dataset": spec.data.name}
    store.create(
        path,
        samples=xr.Dataset(
            coords={
                "sample": ids,
                "label": ("sample", dataset.labels[samples.scored], {"class_names": list(dataset.class_names)}),
                "partition": ("sample", codes),
                **({} if dataset.files is None else {FILE: ("sample", dataset.files[samples.scored])}),
            }
        ),
        encoders=[{"encoder": plan.id, "family": plan.family, "seed": plan.seed, "design": plan.design, **named} for plan in plans],
        trained_on=samples.trained_on(plans),
        views=spec.scoring.views,
        policy=spec.scoring.policy.name,
        epochs=spec.training.epochs,
        recorded_epochs=spec.training.recorded_epochs,
        tasks=[spec.data.name, *(task.name for task in spec.downstream.tasks)],
        thumbnails=details.thumbnails(dataset, ids),
        original_shapes=dataset.original_shapes[samples.scored],
        block=spec.scoring.block,
        attrs={
            "name": spec.name,
            "spec": json.dumps(spec.as_dict()),
            "spec_hash": spec.hash,
            "data_fingerprint": dataset.fingerprint,
            "data": json.dumps(samples.record),
            "skipped_files": json.dumps(list(dataset.skipped)),
            "versions": json.dumps(facts["versions"]),
            "device": facts["device"],
            "threads": threads,
            "processor": processor(),
            "representation": json.dumps(facts["representation"]),
            "stem": facts["stem"],
        },
        layers=tuple(facts["layers"]),
    )


def required_bytes(spec: StudySpec, samples: StudySamples, facts: dict[str, Any], *, workers: int = 2) -> dict[str, int]:
    """Disk that a study takes, by part; uncompressed, so an upper bound."""
    n, encoders = len(samples.scored), len(spec.encoders)
    views, shape = spec.scoring.views, samples.dataset.image_shape
    candidates = int((samples.codes == PARTITION_CODE["candidate"]).sum())
    weights = 4 * facts["parameters"]
    return {
        "weights": encoders * weights,
        # Weights, two moments of the optimizer, and the old state until the new one is whole.
        "checkpoints": 2 * 3 * 4 * facts["objective_parameters"] * workers * max(map(len, samples.groups)),
        "alignment": 4 * n * encoders * (len(store.view_pairs(views)) + len(spec.training.recorded_epochs)),
        "thumbnails": n * details.view_bytes(shape, 0),
        "details": details.required_bytes(shape, views=views, encoders=encoders, candidates=candidates, samples=n),
        **(
            {"layers": 4 * n * encoders * len(facts["layers"]), "units": 24 * encoders * sum(facts["layers"].values())}
            if facts["layers"]
            else {}
        ),
    }


def _check_space(study: Study, samples: StudySamples, facts: dict[str, Any]) -> None:
    needed = sum(required_bytes(study.spec, samples, facts).values())
    free = shutil.disk_usage(study.path).free
    if needed > free:
        raise UserError(f"--out: the study needs up to {needed / 1e6:,.0f} MB on disk, {study.path} has {free / 1e6:,.0f} MB free")


def _share_cores(spec: StudySpec, out: Path, scheduler: Scheduler, workers: int | None, threads: int | None, device: str) -> Share:
    """Worker processes, and threads of each."""
    on_gpu = device.startswith("cuda") or (device == "auto" and gpu_count() > 0)
    if workers is None:
        workers = 1 if scheduler == "serial" else min(_gpus(device) if on_gpu else cores(), len(spec.encoders))
    elif workers < 1:
        raise UserError(f"--workers: at least 1 is needed, got {workers}")
    return share_cores(workers, threads=threads, begun=mending.begun_threads(Study(out)))


def _gpus(device: str) -> int:
    """GPUs that workers may be shared out to: all, or the one that is named."""
    return max(1, gpu_count()) if device in ("auto", "cuda") else 1


def plan(
    spec: StudySpec,
    *,
    device: str = "auto",
    devices: int = 1,
    workers: int | None = None,
    threads: int | None = None,
    scheduler: Scheduler = "local",
    listen: Listen = silent,
) -> dict[str, Any]:
    """What a study will train and what that will cost, from a calibration of a few seconds; nothing is downloaded or written.

    In place of published data that are not on this disk stands what is known of them. ``listen`` hears ("told", what is being done).

    Returns
    -------
    ``encoders`` (ids), ``samples`` by partition, ``image_shape``, ``classes``, ``data`` (what was read; ``read``: whether it was),
    ``tasks_not_read``, ``parameters``, ``representation``, ``stem``, ``device``, ``devices`` that share an encoder (as if without loss),
    ``workers``, ``threads`` of each,
    ``flops`` of all encoders, ``disk_bytes`` by part,
    ``train_seconds`` and ``score_seconds`` of one encoder (``together_seconds``: trained at once with others), and ``seconds`` of
    the whole study.
    """
    workers, threads, _ = _share_cores(spec, Path(os.devnull), scheduler, 1 if devices > 1 else workers, threads, device)
    with pool(1, threads, silent) as executor:
        listen("told", f"loading {spec.data.name}")
        samples = samples_to_plan(spec)
        listen("told", "building an encoder and timing its steps")
        spec = without_download(spec)
        arguments = {"samples": _for_workers(spec, samples), "calibrate": True, "devices": devices}
        facts = result(executor.submit(call_worker, "inspect", spec, device, threads, **arguments))
    names = store.PARTITIONS
    encoders = [encoder.id for encoder in spec.encoders]
    pairs, others = len(spec.pairs), len(encoders) - len(spec.pairs)
    each = facts["score_seconds"] + facts["train_seconds"]
    each_other = facts["score_seconds"] + facts.get("together_seconds", facts["train_seconds"])
    facts.pop("versions")
    return {
        "study": spec.name,
        "encoders": encoders,
        "samples": {name: int((samples.codes == code).sum()) for code, name in enumerate(names)},
        "image_shape": list(samples.dataset.image_shape),
        "classes": len(samples.dataset.class_names),
        "data": {"read": True, **samples.record},
        **facts,
        "flops": facts["flops"] * len(encoders),
        "devices": devices,
        "workers": workers,
        "threads": threads,
        "disk_bytes": required_bytes(spec, samples, facts, workers=workers),
        "seconds": each * -(-pairs // workers) + each_other * others / workers + 10,
    }
