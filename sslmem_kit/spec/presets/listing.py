"""Rows of ``sslmem studies``: every study that a name stands for, what it is for and what it costs."""

from __future__ import annotations

import re
from fnmatch import fnmatchcase
from typing import Any

from sslmem_kit.errors import UserError
from sslmem_kit.spec.frontier import FrontierSpec
from sslmem_kit.spec.places import bundled_specs
from sslmem_kit.spec.presets import Preset, all_presets
from sslmem_kit.spec.presets.cost import CPU_RATE, GPU_RATE, SMALL_RATE, estimate, estimate_frontier, estimate_tree, gpu_rate
from sslmem_kit.spec.removal_tree import RemovalTreeSpec, load_any
from sslmem_kit.spec.study import StudySpec

_UNITS = ((1e18, "EFLOP"), (1e15, "PFLOP"), (1e12, "TFLOP"))


def listed(pattern: str | None = None) -> list[dict[str, Any]]:
    """Return one mapping per study, in plain JSON types.

    Parameters
    ----------
    pattern
        Part of a name or of an artifact ("Table 9"), or a pattern of whole ones with ``*`` and ``?``; None: all.

    Raises
    ------
    UserError
        Nothing fits.
    """
    chosen = {name: all_presets().get(name) for name in (*bundled_specs(), *all_presets())}
    if pattern is not None:
        chosen = {name: preset for name, preset in chosen.items() if _fits(pattern, name, preset)}
    if not chosen:
        raise UserError(f"PATTERN: no study's name or artifact fits {pattern!r}; `sslmem studies` lists all")
    return [_row(name, preset, load_any(name)) for name, preset in chosen.items()]


def as_text(rows: list[dict[str, Any]]) -> str:
    """Return one line per study as text: name, cost, artifacts; where it is for none, its description."""
    width = max(len(row["name"]) for row in rows)
    lines = [f"{row['name']:<{width}}  {_cost(row):<26}  {', '.join(row['artifacts']) or row['description']}" for row in rows]
    gpu = f"{GPU_RATE / 1e12:.0f} TFLOP/s, ViT-tiny {SMALL_RATE / 1e12:.0f} (one H100 in bf16)"
    rates = f"hours at {gpu}, minutes at {CPU_RATE / 1e9:.0f} GFLOP/s (two cores)"
    return "\n".join([*lines, f"\nestimated: {rates}; `sslmem plan NAME` measures, `sslmem studies --show NAME` prints the spec"])


def _fits(pattern: str, name: str, preset: Preset | None) -> bool:
    artifacts, wanted = preset.artifacts if preset else (), pattern.lower()
    if any(sign in wanted for sign in "*?["):
        return any(fnmatchcase(word.lower(), wanted) for word in (name, *artifacts))
    # "Table 9" finds Table 9a and 9b; "Table 1" does not find Table 11.
    whole = re.compile(re.escape(wanted) + (r"(?!\d)" if wanted[-1:].isdigit() else ""))
    return wanted in name.lower() or any(whole.search(artifact.lower()) for artifact in artifacts)


def _row(name: str, preset: Preset | None, spec: StudySpec | RemovalTreeSpec | FrontierSpec) -> dict[str, Any]:
    if isinstance(spec, RemovalTreeSpec):
        kind, cost, study = "removal", estimate_tree(spec), spec.scores_of
    elif isinstance(spec, FrontierSpec):
        kind, cost, study = "frontier", estimate_frontier(spec), spec.baseline
    else:
        kind, cost, study = "study", estimate(spec), spec
    rate = gpu_rate(study.encoder.backbone) if isinstance(study, StudySpec) and name.startswith("paper/") else None
    return {
        "name": name,
        "artifacts": list(preset.artifacts) if preset else [],
        "description": spec.description,
        "mini": preset.mini if preset else None,
        "paper": {"sslmem": preset.sslmem, "accuracy": preset.accuracy} if preset else None,
        "kind": kind,
        "encoders": len(spec.encoders) if isinstance(spec, StudySpec) else cost and cost.encoders,
        "flops": cost and cost.flops,
        "gpu_hours": round(cost.flops / rate / 3600, 2) if cost and rate else None,
        "cpu_minutes": round(cost.flops / CPU_RATE / 60, 1) if cost and not rate else None,
    }


def _cost(row: dict[str, Any]) -> str:
    if row["flops"] is None:
        return "cost not known"
    unit, name = next((pair for pair in _UNITS if row["flops"] >= pair[0]), _UNITS[-1])
    amount = f"{row['flops'] / unit:.3g} {name}"
    time = f"{row['gpu_hours']:.3g} GPU h" if row["cpu_minutes"] is None else f"{row['cpu_minutes']:.2g} min"
    return f"{amount}, {time}"
