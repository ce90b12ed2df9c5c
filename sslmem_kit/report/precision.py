"""What precision a planned study may expect, from a finished one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sslmem_kit.errors import UserError
from sslmem_kit.report.reliability import required_as_text
from sslmem_kit.spec.audit import AuditSpec
from sslmem_kit.spec.moved import without_places
from sslmem_kit.statistics.reliability import forecast

if TYPE_CHECKING:
    from sslmem_kit.spec.study import StudySpec
    from sslmem_kit.study import Study


def planned(study: Study, spec: StudySpec) -> dict[str, Any]:
    """:func:`forecast` of the seeds and views of a spec, from a finished study: with its ``study``, ``encoder_epochs`` of each way to reach the
    target, and ``differs``, the sections of the spec in which the two studies are not the same; ``elsewhere``, whether of the
    data that is the place alone.

    Raises
    ------
    UserError
        As there, and of an audit, whose encoders were trained elsewhere.
    """
    if isinstance(study.spec, AuditSpec):
        raise UserError(
            f"--precision-from: {study.path} is an audit, nothing is known of its training; give a study of `sslmem run`"
        )
    seeds, views = spec.training.seeds, spec.scoring.views
    told = forecast(study.results, seeds=seeds, views=views)
    for row in told["required"]:
        row["encoder_epochs"] = row["encoders"] and row["encoders"] * spec.training.epochs
    here, there = (_method(each) for each in (spec, study.spec))
    differs = [name for name in here if here[name] != there[name]]
    elsewhere = "data" in differs and without_places(here)["data"] == without_places(there)["data"]
    return {"study": str(study.path), **told, "differs": differs, "elsewhere": elsewhere}


def planned_as_text(told: dict[str, Any]) -> list[str]:
    """What :func:`planned` has found, for a person."""
    low, high = told["reliability"]["interval"]
    lines = [
        f"reliability {told['reliability']['value']:.2f} [{low:.2f}, {high:.2f}] with {told['seeds']} seeds and {told['views']} views, "
        f"as in {told['study']}, candidates and independents taken together",
        f"seeds for {told['target']:g}: {required_as_text(told['required'])}",
    ]
    others = [name for name in told["differs"] if name != "data" or not told["elsewhere"]]
    if told["elsewhere"]:
        lines.append("that study's data lie at another place: if they are others, its numbers may not hold for this one")
    if others:
        lines.append(f"that study has other {', '.join(others)}: its numbers may not hold for this one")
    return lines + told["unknown"]


_NO_MATTER = {
    "data": ("root", "download", "memory_limit_mb"),
    "training": ("seeds", "record_every", "checkpoint_seconds", "compile", "channels_last"),
    "scoring": ("views", "batch_size", "block", "layers"),
}
"""Fields that the parts of the error do not hang on: they change no numbers, or these by rounding alone, or are what is planned."""


def _method(spec: StudySpec) -> dict[str, Any]:
    """What of a spec the parts of the error hang on."""
    sections = spec.as_dict()
    return {
        name: {field: value for field, value in sections[name].items() if field not in _NO_MATTER.get(name, ())}
        for name in ("data", "partition", "encoder", "objective", "training", "scoring")
    }
