"""What supervised memorization says of a study: its size, its agreement with SSLMem (Table 12, Figure 8), and influence on test samples."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np
import xarray as xr

from sslmem_kit.errors import UserError
from sslmem_kit.names import ENCODER, SEED, SSLMEM, SUBSET, TRAINED_ON
from sslmem_kit.scores.comparisons.base import BY_SEED
from sslmem_kit.scores.selection import designs
from sslmem_kit.statistics.influence import influence
from sslmem_kit.statistics.numbers import chance, number
from sslmem_kit.statistics.supervised import agreement_on_candidates, supervised_effect
from sslmem_kit.store.comparisons import stored_comparisons
from sslmem_kit.study import StudyResults

NAME = "supervised"
LEVEL = 0.05
LISTED = 5
"""Pairs of samples of highest influence that are listed."""


def as_json(study: StudyResults) -> dict[str, Any]:
    """Return what a report holds of supervised memorization.

    Returns
    -------
    ``effects`` by column of pairs (``value``, ``interval``, ``p``, ``over``, ``seeds`` and the sizes, of
    :func:`sslmem_kit.statistics.supervised.supervised_effect`); ``agreement`` of SSLMem and the softmax difference over candidates, or why
    there is none; with encoders on random subsets ``influence`` on test samples.
    """
    group, codes = stored_comparisons(study.tree)[NAME].load(), study.tree.to_dataset()["partition"].values
    pairs = [name for name in ("supervised", "supervised_correct") if name in group]
    found: dict[str, Any] = {"effects": {name: _effect(group[f"{name}{BY_SEED}"], codes) for name in pairs}}
    if pairs:
        found["agreement"] = _agreement(study.scores()[SSLMEM].values, group["supervised"].values, codes)
    if "supervised_subsets" in group:
        found["influence"] = _influence(group, study.tree)
    return found


def _effect(by_seed: xr.DataArray, codes: np.ndarray) -> dict[str, Any]:
    kept = by_seed.isel(
        {SEED: np.flatnonzero(np.isfinite(by_seed.transpose(..., SEED).values).any(axis=0))}
    )  # else of subsets alone
    found = supervised_effect(kept, codes)
    return {
        str(name): dict(zip(column["partition"].values.tolist(), column.values.tolist(), strict=True))
        if "partition" in column.dims
        else column.values.tolist()
        for name, column in found.data_vars.items()
    }


def _agreement(sslmem: np.ndarray, supervised: np.ndarray, codes: np.ndarray) -> dict[str, Any]:
    try:
        found = agreement_on_candidates(sslmem, supervised, codes)
    except UserError as error:
        return {"problem": str(error)}
    columns = {"common": "common", "share": "share", "interval": "share_interval", "chance": "chance", "chance_band": "chance_band"}
    return {
        **{name: found["value"].sel(statistic=name).item() for name in ("tau", "rho")},
        **{f"{name}_interval": found["interval"].sel(statistic=name).values.tolist() for name in ("tau", "rho")},
        "p": found["p"].item(),
        "n": found["n"].item(),
        "overlap": [
            {"k": k, **{key: found[name].sel(k=k).values.tolist() for key, name in columns.items()}}
            for k in found["k"].values.tolist()
        ],
    }


def _influence(group: xr.Dataset, tree: xr.DataTree) -> dict[str, Any]:
    of_subsets = np.flatnonzero(designs(tree) == SUBSET)
    root = tree.to_dataset().isel({ENCODER: of_subsets})
    correct = group["test_correct"].isel({ENCODER: of_subsets}).assign_coords({SEED: (ENCODER, root[SEED].values)})
    found = influence(correct, root[TRAINED_ON])
    best = np.argsort(-found["influence"].values[:, 0], kind="stable")[:LISTED]
    return {
        **{name: found.attrs[name] for name in ("threshold", "encoders", "samples", "replicates", "errors")},
        "test_samples": found.sizes["test_sample"],
        "above": int(found["above"].sum()),
        "above_by_chance": float(found["above_by_chance"].sum()),
        "p": found["p"].item(),
        "highest": [
            {
                "test_sample": int(found["test_sample"].values[row]),
                "sample": int(found["influential"].values[row, 0]),
                "influence": float(found["influence"].values[row, 0]),
                "standard_error": float(found["standard_error"].values[row, 0]),
            }
            for row in best
        ],
    }


def as_text(found: Mapping[str, Any]) -> list[str]:
    """Return lines for a person, the verdict in words first.

    Examples
    --------
    >>> effect = {"value": 0.02, "interval": [0.01, 0.03], "p": 0.002, "over": "seeds", "seeds": 3, "n_candidates": 9, "n_independent": 9}
    >>> for line in as_text({"effects": {"supervised": effect}}):
    ...     print(line)
    labels are memorized: training on a sample raises the probability of its class
      supervised: (C-I)/2 +0.0200 [+0.0100, +0.0300] over 3 seeds, p 0.002; 9 candidates, 9 independent samples
    """
    lines = []
    for name, effect in found["effects"].items():
        value, (low, high) = effect["value"], effect["interval"]
        if name == "supervised":
            lines.append(_verdict(low, high))
        over = f"{effect['seeds']} seeds" if effect["over"] == "seeds" else "samples, given one pair of trainings"
        sizes = f"{effect['n_candidates']:,} candidates, {effect['n_independent']:,} independent samples"
        lines.append(
            f"  {name}: (C-I)/2 {number(value)} [{number(low)}, {number(high)}] over {over}, p {chance(effect['p'])}; {sizes}"
        )
    lines += _agreement_lines(found.get("agreement"))
    if there := found.get("influence"):
        pairs = f"{there['above']:,} pairs of {there['samples']:,} training and {there['test_samples']:,} test samples"
        by_chance = f"{there['above_by_chance']:,.0f} by chance, {there['encoders']} encoders"
        lines += [f"  {_more_than_chance(there)}", f"    influence above {there['threshold']}: {pairs}, {by_chance}"]
        for one in there["highest"][:1]:
            error = f"standard error {number(one['standard_error'], 2).lstrip('+')} {there['errors']}"
            pair = f"sample {one['sample']} on test sample {one['test_sample']}"
            lines.append(f"    highest: {number(one['influence'], 2)} of {pair} ({error}), p {chance(there['p'])} of any so high")
    return lines


def _verdict(low: float | None, high: float | None) -> str:
    if low is None or high is None:
        return "whether labels are memorized is not known: candidates or independent samples are too few"
    if low > 0:
        return "labels are memorized: training on a sample raises the probability of its class"
    if high < 0:
        return "training on a sample lowers the probability of its class, which memorization does not"
    return "undecided whether labels are memorized: the interval holds 0"


def _more_than_chance(found: Mapping[str, Any]) -> str:
    """Return whether single samples have an influence that chance does not make."""
    if found["p"] is not None and found["p"] <= LEVEL:
        return "training samples have an influence on test samples that chance does not make"
    return "no influence of a training sample on a test sample is higher than chance makes"


def _agreement_lines(found: Mapping[str, Any] | None) -> list[str]:
    if found is None:
        return []
    if "problem" in found:
        return [f"  agreement with SSLMem: {found['problem']}"]
    tau, (low, high), p = found["tau"], found["tau_interval"], chance(found["p"])
    interval = f"[{number(low, 2)}, {number(high, 2)}]"
    lines = [f"  agreement with SSLMem over {found['n']:,} candidates: Kendall's tau {number(tau, 2)} {interval}, p {p}"]
    for row in found["overlap"]:
        own, by_chance = (f"[{low:.0%}, {high:.0%}]" for low, high in (row["interval"], row["chance_band"]))
        lines.append(
            f"    of the {row['k']} highest {row['common']} in common, {row['share']:.0%} {own}; by chance {row['chance']:.0%} {by_chance}"
        )
    return lines
