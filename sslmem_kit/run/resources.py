"""Cores, GPUs and disk space: available, needed by a study, and their share for each worker. Imports no torch."""

from __future__ import annotations

import os
import platform
import shutil
from pathlib import Path
from typing import Any, Literal, NamedTuple

from sslmem_kit import store
from sslmem_kit.data.datasets.image_files import cores
from sslmem_kit.data.samples import StudySamples
from sslmem_kit.errors import UserError
from sslmem_kit.names import PARTITION_CODE
from sslmem_kit.run import repair
from sslmem_kit.run.schedulers.pool import gpu_count
from sslmem_kit.spec.partition import RemovalSpec
from sslmem_kit.spec.study import StudySpec
from sslmem_kit.store import details
from sslmem_kit.store.provenance import BITS
from sslmem_kit.study import Study


class Share(NamedTuple):
    """Share of the cores that each worker gets."""

    workers: int
    threads: int
    """Threads of each worker."""
    reason: str
    """Source of the number of threads, in words."""

    def __str__(self) -> str:
        kinds = (f"{count} {name}{'s' * (count > 1)}" for count, name in ((self.workers, "worker"), (self.threads, "thread")))
        return f"{' of '.join(kinds)}{' each' * (self.workers > 1)} ({self.reason}); {BITS}"


def share_cores(workers: int, *, threads: int | None = None, recorded: int | None = None) -> Share:
    """Return the threads of each worker: as asked for, as the study was started with, by ``OMP_NUM_THREADS``, or an equal share of the cores.

    Parameters
    ----------
    workers
        Processes on this machine.
    threads
        Threads of each that the user asks for; None: no number is asked for.
    recorded
        Threads that the study was started with, on which its last bits depend; None where it is new.

    Raises
    ------
    UserError
        A number outside 1 to 1024 is asked for, or another one than the study was started with.
    """
    if threads is not None and (isinstance(threads, bool) or not isinstance(threads, int) or not 1 <= threads <= 1024):
        raise UserError(f"--threads: a number from 1 to 1024 is needed, got {threads!r}")
    if recorded and threads not in (None, recorded):
        raise UserError(
            f"--threads: this study was started with {recorded} of each worker, on which its last bits depend, got {threads}; "
            "leave it out, or choose another --out"
        )
    if threads:
        return Share(workers, threads, "by --threads")
    if recorded:
        return Share(workers, recorded, "with which this study was started")
    setting = os.environ.get("OMP_NUM_THREADS", "").split(",")[0].strip()
    # torchrun sets it to 1 for every rank, whatever cores there are.
    if setting.isdecimal() and 1 <= int(setting) <= 1024 and "TORCHELASTIC_RUN_ID" not in os.environ:
        return Share(workers, int(setting), f"by OMP_NUM_THREADS, of {cores()} cores")
    count = cores()
    return Share(workers, max(1, count // workers), f"{count} core{'s' * (count > 1)}, shared out")


def processor() -> str:
    """Return the processor's name."""
    try:
        lines = Path("/proc/cpuinfo").read_text(encoding="utf-8", errors="replace").splitlines()
    except OSError:
        return platform.processor() or platform.machine()
    named = (line.partition(":")[2].strip() for line in lines if line.startswith("model name"))
    return next(named, "") or platform.processor() or platform.machine()


WORKER = "sslmem_kit.run.worker"
"""Module of the functions that worker processes run; it imports torch."""

Scheduler = Literal["local", "serial"]


def _for_workers(spec: StudySpec, samples: StudySamples) -> StudySamples | None:
    """Return the samples where loading them means to decode every file, or to score another study; else None: workers load small sets
    faster than they are sent."""
    return None if samples.dataset.in_memory and not isinstance(spec.partition.remove, RemovalSpec) else samples


def required_bytes(spec: StudySpec, samples: StudySamples, facts: dict[str, Any], *, workers: int = 2) -> dict[str, int]:
    """Return the disk space that a study takes in bytes, by part; uncompressed, so an upper bound."""
    n, encoders = len(samples.scored), len(spec.encoders)
    views, shape = spec.scoring.views, samples.dataset.image_shape
    candidates = int((samples.codes == PARTITION_CODE["candidate"]).sum())
    weights = 4 * facts["parameters"]
    return {
        "weights": encoders * weights,
        # Weights, two moments of the optimizer, and the old state until the new one is whole.
        "checkpoints": 2 * 3 * 4 * facts["objective_parameters"] * workers * max(map(len, samples.groups)),
        "alignment": 4
        * n
        * encoders
        * (len(store.view_pairs(views)) * (2 if spec.second_policy else 1) + len(spec.training.recorded_epochs)),
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
    """Return the number of worker processes and the threads of each."""
    on_gpu = device.startswith("cuda") or (device == "auto" and gpu_count() > 0)
    if workers is None:
        workers = 1 if scheduler == "serial" else min(_gpus(device) if on_gpu else cores(), len(spec.encoders))
    elif workers < 1:
        raise UserError(f"--workers: at least 1 is needed, got {workers}")
    return share_cores(workers, threads=threads, recorded=repair.recorded_threads(Study(out)))


def _gpus(device: str) -> int:
    """Return the number of GPUs that workers may be distributed to: all, or the one that is named."""
    return max(1, gpu_count()) if device in ("auto", "cuda") else 1
