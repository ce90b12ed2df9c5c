"""Studies side by side, as JSON and as a table: Table 11 and its like."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

import xarray as xr

from sslmem_kit.report.tables import without_nan
from sslmem_kit.statistics.numbers import chance, number
from sslmem_kit.statistics.side_by_side import ACCURACY, PAIR_OF_STUDIES, SCORE, STUDY, studies_side_by_side
from sslmem_kit.study import Study

_MEASURES = {SCORE: "SSLMem", ACCURACY: "accuracy"}


def as_json(studies: Sequence[Study], *, protocol: str = "paper", probe: str = "linear") -> dict[str, Any]:
    """Return the rows of a table of studies, and the differences of each pair.

    They are those of :func:`sslmem_kit.statistics.side_by_side.studies_side_by_side`.

    Raises
    ------
    UserError
        Studies that do not compare.
    """
    found = studies_side_by_side([study.tree for study in studies], protocol=protocol, probe=probe)
    return without_nan({**found.attrs, "studies": _rows(found, STUDY), "differences": _rows(found, PAIR_OF_STUDIES)})


def _rows(found: xr.Dataset, dim: str) -> list[dict[str, Any]]:
    columns = [name for name in found.variables if found[name].dims[:1] == (dim,)]
    return [{str(name): found[name].isel({dim: place}).values.tolist() for name in columns} for place in range(found.sizes[dim])]


def as_text(found: Mapping[str, Any]) -> list[str]:
    """Return lines for a person, from :func:`as_json`: what is decided in words, then the table.

    Examples
    --------
    >>> row = {"study": "a", "method": "dino", "epochs": 9, "seeds": 3, "sslmem": 0.3, "sslmem_sd": 0.01, "sslmem_interval": [0.27, 0.33],
    ...        "accuracy": 0.8, "accuracy_sd": 0.02, "accuracy_interval": [0.75, 0.85]}
    >>> as_text({"studies": [row], "differences": [], "protocol": "paper", "views": 5, "policy": "crop", "n_candidates": 20})[-1]
    'a  dino          9 epochs  SSLMem +0.300 (sd 0.010) [+0.270, +0.330]  accuracy 80.0% (sd 2.0) [75.0, 85.0]  3 seeds'
    """
    lines = [
        f"{_MEASURES[measure]}: {row['first']} {_words(row[f'{measure}_is'])} {row['second']} ({number(row[f'{measure}_difference'], 3)}, p "
        f"{chance(row[f'{measure}_p_holm'])} after Holm)"
        for measure in _MEASURES
        for row in found["differences"]
    ]
    views = f"{found['views']} views by {found['policy']}"
    lines.append(f"protocol {found['protocol']}, {views}, {found['n_candidates']:,} candidates; 95 % over seeds, for these samples")
    width = max(len(row["study"]) for row in found["studies"])
    for row in found["studies"]:
        low, high = (number(end, 3) for end in row["sslmem_interval"])
        least, most = (_percent(end) for end in row["accuracy_interval"])
        score = f"{number(row['sslmem'], 3)} (sd {number(row['sslmem_sd'], 3).lstrip('+')}) [{low}, {high}]"
        accuracy = f"{_percent(row['accuracy'])}% (sd {_percent(row['accuracy_sd'])}) [{least}, {most}]"
        head = f"{row['study']:<{width}}  {row['method']:<10} {row['epochs']:>4} epochs"
        lines.append(f"{head}  SSLMem {score}  accuracy {accuracy}  {row['seeds']} seeds")
    return lines


def _words(decision: str) -> str:
    return {"higher": "is above", "lower": "is below"}.get(decision, "is not decided against")


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{100 * value:.1f}"
