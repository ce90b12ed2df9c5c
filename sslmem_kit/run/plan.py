"""The plan of a study: the encoders that it will train and their cost."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

from sslmem_kit.data.samples import samples_to_plan, without_download
from sslmem_kit.errors import require
from sslmem_kit.events import Message, OnEvent, ignore
from sslmem_kit.names import PARTITIONS
from sslmem_kit.report.tables import without_nan
from sslmem_kit.run.removal import chosen_by_scores, worth
from sslmem_kit.run.resources import WORKER, Scheduler, _for_workers, _share_cores, required_bytes
from sslmem_kit.run.schedulers.pool import call_worker, pool, result
from sslmem_kit.spec.partition import RemovalSpec
from sslmem_kit.spec.study import StudySpec


def plan(
    spec: StudySpec,
    *,
    device: str = "auto",
    devices: int = 1,
    workers: int | None = None,
    threads: int | None = None,
    scheduler: Scheduler = "local",
    on_event: OnEvent = ignore,
) -> dict[str, Any]:
    """Return what a study will train and what that will cost, from a calibration of a few seconds; nothing is downloaded or written.

    Published data that are missing on this disk are replaced by what is known of them. ``on_event`` is given a message for each step.

    Returns
    -------
    ``encoders`` (ids), ``samples`` by partition, ``image_shape``, ``classes``, ``data`` (what was read; ``read``: whether it was),
    ``removal``, of :func:`sslmem_kit.run.removal.worth`, where another study's scores choose it, ``tasks_not_read``, ``parameters``,
    ``representation``, ``stem``, ``device``, ``devices`` that share an encoder (as if without loss), ``workers``, ``threads`` of each,
    ``flops`` of all encoders, ``disk_bytes`` by part,
    ``train_seconds`` and ``score_seconds`` of one encoder (``together_seconds``: trained at once with others), and ``seconds`` of
    the whole study.
    """
    require("torch", "timm", "lightly")
    workers, threads, _ = _share_cores(spec, Path(os.devnull), scheduler, 1 if devices > 1 else workers, threads, device)
    with pool(1, threads, ignore, warm_up=f"{WORKER}:versions") as executor:
        on_event(Message(f"loading {spec.data.name}"))
        samples = samples_to_plan(spec, choose=chosen_by_scores)
        on_event(Message("building an encoder and timing its steps"))
        spec = without_download(spec)
        arguments = {"samples": _for_workers(spec, samples), "timed": True, "devices": devices}
        facts = result(executor.submit(call_worker, f"{WORKER}:calibrate", spec, device, threads, **arguments))
    encoders = [encoder.id for encoder in spec.encoders]
    removal, known = spec.partition.remove, samples.record.get("read", True)
    pairs, others = len(spec.pairs), len(encoders) - len(spec.pairs)
    each = facts["score_seconds"] + facts["train_seconds"]
    each_other = facts["score_seconds"] + facts.get("together_seconds", facts["train_seconds"])
    facts.pop("versions")
    facts.pop("arithmetic")
    return {
        "study": spec.name,
        "encoders": encoders,
        "samples": {name: int((samples.codes == code).sum()) for code, name in enumerate(PARTITIONS)},
        "image_shape": list(samples.dataset.image_shape),
        "classes": len(samples.dataset.class_names),
        "data": {"read": True, **samples.record},
        **facts,
        "flops": facts["flops"] * len(encoders),
        "devices": devices,
        "workers": workers,
        "threads": threads,
        **({"removal": without_nan(worth(removal))} if known and isinstance(removal, RemovalSpec) else {}),
        "disk_bytes": required_bytes(spec, samples, facts, workers=workers),
        "seconds": each * -(-pairs // workers) + each_other * others / workers + 10,
    }
