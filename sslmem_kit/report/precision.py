"""Precision that a planned study may expect, from a finished one."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from sslmem_kit.errors import UserError
from sslmem_kit.report.reliability import required_as_text, required_rows, with_interval
from sslmem_kit.report.tables import plain
from sslmem_kit.spec.audit import AuditSpec
from sslmem_kit.spec.moved import without_places
from sslmem_kit.statistics import forecast

if TYPE_CHECKING:
    from sslmem_kit.spec.study import StudySpec
    from sslmem_kit.study import Study


def planned(study: Study, spec: StudySpec) -> dict[str, Any]:
    """Reliability to expect of the seeds and views of a spec, from a finished study: :func:`sslmem_kit.statistics.forecast`, as a mapping.

    Returns
    -------
    ``study`` (its path), ``seeds``, ``views``, ``reliability`` (value, interval), ``standard_error``, ``target``, ``required`` with
    ``encoder_epochs`` of each way to reach the target, ``unknown`` (sentences); ``differs``, the sections of the spec in which the two studies
    are not the same; ``elsewhere``, whether of the data that is the place alone.

    Raises
    ------
    UserError
        As there, or the study is an audit, whose encoders were trained elsewhere.

    Examples
    --------
    >>> from sslmem_kit import open_study
    >>> study = open_study("papermill_runs/digits")
    >>> found = planned(study, study.spec)
    >>> found["seeds"], found["views"], found["differs"]
    (3, 4, [])
    """
    if isinstance(study.spec, AuditSpec):
        raise UserError(
            f"--precision-from: {study.path} is an audit, nothing is known of its training; give a study of `sslmem run`"
        )
    seeds, views = spec.training.seeds, spec.scoring.views
    found = forecast(study.results, seeds=seeds, views=views)
    required = [
        {**row, "encoder_epochs": row["encoders"] and row["encoders"] * spec.training.epochs} for row in required_rows(found)
    ]
    here, there = (_method(each) for each in (spec, study.spec))
    differs = [name for name in here if here[name] != there[name]]
    elsewhere = "data" in differs and without_places(here)["data"] == without_places(there)["data"]
    return {
        "study": str(study.path),
        "seeds": seeds,
        "views": views,
        "reliability": with_interval(found, "reliability"),
        "standard_error": plain(found["standard_error"]),
        "target": found.attrs["target"],
        "required": required,
        "unknown": found.attrs["unknown"],
        "differs": differs,
        "elsewhere": elsewhere,
    }


def planned_as_text(found: dict[str, Any]) -> list[str]:
    """Lines for a person, from :func:`planned`.

    Examples
    --------
    >>> from sslmem_kit import open_study
    >>> study = open_study("papermill_runs/digits")
    >>> planned_as_text(planned(study, study.spec))[1].partition(":")[0]
    'seeds for 0.8'
    """
    low, high = found["reliability"]["interval"]
    lines = [
        f"reliability {found['reliability']['value']:.2f} [{low:.2f}, {high:.2f}] with {found['seeds']} seeds and {found['views']} views, "
        f"as in {found['study']}, candidates and independents taken together",
        f"seeds for {found['target']:g}: {required_as_text(found['required'])} (95 %, over samples)",
    ]
    others = [name for name in found["differs"] if name != "data" or not found["elsewhere"]]
    if found["elsewhere"]:
        lines.append("that study's data lie at another place: if they are others, its numbers may not hold for this one")
    if others:
        lines.append(f"that study differs in {', '.join(others)}: its numbers may not hold for this one")
    return lines + found["unknown"]


_NO_MATTER = {
    "data": ("root", "download", "memory_limit_mb"),
    "training": ("seeds", "record_every", "checkpoint_seconds", "compile", "channels_last"),
    "scoring": ("views", "batch_size", "block", "layers"),
}
"""Fields that the parts of the error do not depend on: they change no numbers, or these by rounding alone, or are what is planned."""


def _method(spec: StudySpec) -> dict[str, Any]:
    """Fields of a spec that the parts of the error depend on."""
    sections = spec.as_dict()
    return {
        name: {field: value for field, value in sections[name].items() if field not in _NO_MATTER.get(name, ())}
        for name in ("data", "partition", "encoder", "objective", "training", "scoring")
    }
