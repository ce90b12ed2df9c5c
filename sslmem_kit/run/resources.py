"""Cores, GPUs and disk space: what there is, what a study needs, and how it is shared out to workers. Imports no torch."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sslmem_kit import store
from sslmem_kit.data.datasets.images import cores
from sslmem_kit.data.samples import StudySamples
from sslmem_kit.errors import UserError
from sslmem_kit.names import PARTITION_CODE
from sslmem_kit.run import repair as mending
from sslmem_kit.run.schedulers.pool import gpu_count
from sslmem_kit.spec.partition import RemovalSpec
from sslmem_kit.spec.study import StudySpec
from sslmem_kit.store import details
from sslmem_kit.store.provenance import BITS
from sslmem_kit.study import Study


class Share(NamedTuple):
    """What each worker gets of the cores."""

    workers: int
    threads: int
    """Of each worker."""
    reason: str
    """Where the number of threads comes from, in words."""

    def __str__(self) -> str:
        kinds = (f"{count} {name}{'s' * (count > 1)}" for count, name in ((self.workers, "worker"), (self.threads, "thread")))
        return f"{' of '.join(kinds)}{' each' * (self.workers > 1)} ({self.reason}); {BITS}"


def share_cores(workers: int, *, threads: int | None = None, begun: int | None = None) -> Share:
    """Threads of each worker: as asked for, as the study was begun with, as ``OMP_NUM_THREADS`` says, or an equal share of the cores.

    Parameters
    ----------
    workers
        Processes on this machine.
    threads
        Of each, as the user asks for; None: nothing is asked for.
    begun
        With which the study was begun, on which its last bits hang; None where it is new.

    Raises
    ------
    UserError
        More threads than can be are asked for, or others than the study was begun with.
    """
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= 1024):
        raise UserError(f"--threads: a number from 1 to 1024 is needed, got {threads!r}")
    if begun and threads not in (None, begun):
        raise UserError(
            f"--threads: this study was begun with {begun} of each worker, on which its last bits hang, got {threads}; "
            "leave it out, or choose another --out"
        )
    if threads:
        return Share(workers, threads, "by --threads")
    if begun:
        return Share(workers, begun, "with which this study was begun")
    told = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    # torchrun sets it to 1 for every rank, whatever cores there are.
    if told.isdecimal() and 1 <= int(told) <= 1024 and "TORCHELASTIC_RUN_ID" not in os.environ:
        return Share(workers, int(told), f"by OMP_NUM_THREADS, of {cores()} cores")
    count = cores()
    return Share(workers, max(1, count // workers), f"{count} core{'s' * (count > 1)}, shared out")


def processor() -> str:
    """The processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


WORKER = "sslmem_kit.run.worker"
"""Module of what worker processes do; it imports torch."""

Scheduler = Literal["local", "serial"]


def _for_workers(spec: StudySpec, samples: StudySamples) -> StudySamples | None:
    """The samples where loading them means to decode every file, or to score another study; else None: workers load small sets faster
    than they are sent."""
    return None if samples.dataset.in_memory and not isinstance(spec.partition.remove, RemovalSpec) else samples


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
