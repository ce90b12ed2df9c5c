"""The machine: its cores, how they are shared out to workers, and what of it the last bits of a training hang on. Imports no torch.

A sum over threads is added up in an order that depends on their number, and training carries such a difference on: two trainings that
are equal in everything but the threads are as far apart, in the end, as two that differ in the noise of one step.
"""

from __future__ import annotations

import json
import os
import platform
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NamedTuple

from sslmem_kit.errors import UserError

BITS = "equal numbers, to the last bit, need equal threads, processor and torch"


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


def cores() -> int:
    """Cores that this process may use."""
    return len(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else os.cpu_count() or 1


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


def computed_on(attrs: Mapping[str, Any]) -> dict[str, Any]:
    """What the last bits of a store's numbers hang on: ``device``, ``processor``, ``threads`` and ``torch``; None what an older store does
    not know.

    Parameters
    ----------
    attrs
        Of the root of a results store.
    """
    try:
        versions = json.loads(attrs.get("versions", "{}"))
    except (TypeError, ValueError):
        versions = {}
    torch = versions.get("torch") if isinstance(versions, dict) else None
    return {**{name: attrs.get(name) for name in ("device", "processor", "threads")}, "torch": torch}


def in_words(told: Mapping[str, Any]) -> str:
    """What :func:`computed_on` tells, as a phrase: ``cpu (AMD EPYC), 1 thread a training, torch 2.14.0``."""
    place = f"{told['device']}" + (f" ({told['processor']})" if told["processor"] else "")
    threads = told["threads"]
    parts = [
        place,
        f"{threads} thread{'s' * (threads != 1)} a training" if threads else "",
        told["torch"] and f"torch {told['torch']}",
    ]
    return ", ".join(part for part in parts if part)


def difference(left: Mapping[str, Any], right: Mapping[str, Any]) -> str:
    """In which of :func:`computed_on` two studies are known to differ, as a sentence; empty where in none."""
    names = [name for name in left if None not in (left[name], right[name]) and left[name] != right[name]]
    if not names:
        return ""
    parts = [f"{name} {left[name]} on the left and {right[name]} on the right" for name in names]
    return f"Computed with {', '.join(parts)}: on their own these move single scores."
