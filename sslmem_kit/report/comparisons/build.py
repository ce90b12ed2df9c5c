"""The section of comparisons in a report: definition and source of each, its scores, and what it says of the study."""

from __future__ import annotations

import json
from collections.abc import Callable, Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from sslmem_kit.errors import UserError
from sslmem_kit.names import PARTITION_CODE, SEED
from sslmem_kit.report.comparisons import agreement, dejavu, gradients, membership, planted, privacy, supervised
from sslmem_kit.report.tables import without_nan
from sslmem_kit.scores.audit import is_one_model
from sslmem_kit.scores.comparisons.base import BY_SEED
from sslmem_kit.statistics.numbers import number
from sslmem_kit.store.comparisons import options_of, scores_of, stored_comparisons
from sslmem_kit.store.read import reading
from sslmem_kit.study import StudyResults


class SectionOf(NamedTuple):
    """What one comparison adds to the report."""

    as_json: Callable[[StudyResults], dict[str, Any]]
    as_text: Callable[[Mapping[str, Any]], list[str]]


SECTIONS: dict[str, SectionOf] = {
    "dejavu": SectionOf(dejavu.as_json, dejavu.as_text),
    "gradients": SectionOf(gradients.as_json, gradients.as_text),
    "membership": SectionOf(membership.as_json, membership.as_text),
    "privacy": SectionOf(privacy.as_json, privacy.as_text),
    "supervised": SectionOf(supervised.as_json, supervised.as_text),
}
"""Sections of comparisons that say more than their scores, by name."""


def as_json(study: StudyResults, names: Sequence[str] | None = None) -> dict[str, Any]:
    """Return ``comparisons`` of a report, by name.

    Returns
    -------
    Of each ``title``, ``definition``, ``source``, ``options``, ``seconds`` of all encoders together, ``scores`` (by column ``n`` samples,
    ``seeds``, ``mean`` over candidates and its standard error over seeds), and ``found``, what the comparison's own section says;
    beside them ``agreement``, of :func:`sslmem_kit.report.comparisons.agreement.as_json`, and with ``data.plant`` ``planted``.

    Raises
    ------
    UserError
        The study has no comparison.

    Examples
    --------
    >>> from sslmem_kit import open_study
    >>> as_json(open_study("papermill_runs/digits"), [])
    {'comparisons': {}}
    """
    there = stored_comparisons(study.tree)
    if names is None and not there:
        raise UserError(f"--compare: {study.path} has no comparisons; `sslmem compare {study.path} --with NAME,...` measures them")
    chosen = {name: there[name] for name in (there if names is None else names)}
    with reading(study.results_path):
        found: dict[str, Any] = {"comparisons": {name: _one(study, name, group) for name, group in chosen.items()}}
        if chosen and not is_one_model(study.tree):
            found["agreement"] = agreement.as_json(study)
        if chosen and (of_planted := planted.as_json(study)) is not None:
            found["planted"] = of_planted
    return without_nan(found)


def _one(study: StudyResults, name: str, group: xr.Dataset) -> dict[str, Any]:
    seconds = [value for value in json.loads(group.attrs.get("seconds", "{}")).values() if value is not None]
    return {
        **{key: group.attrs.get(key, "") for key in ("title", "definition", "source")},
        "options": options_of(group),
        "seconds": sum(seconds) if seconds else None,
        "scores": {column: _score(study, group, column) for column in scores_of(group)},
        **({"found": SECTIONS[name].as_json(study)} if name in SECTIONS else {}),
    }


def _score(study: StudyResults, group: xr.Dataset, column: str) -> dict[str, Any]:
    """Return the size of a score, and its mean over candidates with the standard error over seeds."""
    codes = study.tree["partition"].values if "partition" in study.tree.coords else np.zeros(group.sizes["sample"], int)
    values, each = group[column].values, group[f"{column}{BY_SEED}"].transpose("sample", SEED).values
    chosen = (codes == PARTITION_CODE["candidate"]) & np.isfinite(values)
    means = each[chosen].mean(axis=0) if chosen.any() else np.empty(0)
    means = means[np.isfinite(means)]
    return {
        "label": group[column].attrs.get("long_name", column),
        "n": int(np.isfinite(values).sum()),
        "candidates": int(chosen.sum()),
        "seeds": len(means),
        "mean": float(values[chosen].mean()) if chosen.any() else np.nan,
        "standard_error": float(means.std(ddof=1) / np.sqrt(len(means))) if len(means) > 1 else np.nan,
    }


def as_text(found: Mapping[str, Any]) -> list[str]:
    """Return lines for a person, from :func:`as_json`.

    Examples
    --------
    >>> as_text({"comparisons": {}})
    []
    """
    lines: list[str] = []
    for name, one in found["comparisons"].items():
        lines += ["", f"{one['title'] or name}: {one['definition']}", f"  source: {one['source']}"]
        lines += [f"  {line}" for line in (SECTIONS[name].as_text(one["found"]) if name in SECTIONS else ())]
        for column, score in one["scores"].items():
            error = (
                ""
                if score["standard_error"] is None
                else f", standard error over {score['seeds']} seeds {number(score['standard_error']).lstrip('+')}"
            )
            lines.append(
                f"  {column}: {score['n']:,} samples, mean of {score['candidates']:,} candidates {number(score['mean'])}{error}"
            )
    if "agreement" in found:
        lines += ["", *agreement.as_text(found["agreement"])]
    if "planted" in found:
        lines += ["", *planted.as_text(found["planted"])]
    return lines[1:]
