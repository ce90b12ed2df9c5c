"""Report on a removal tree: the verdict, differences in accuracy with intervals and decisions, and what the orders rest on."""

from __future__ import annotations

import json
from typing import Any

import numpy as np
import xarray as xr

from sslmem_kit.report import dense
from sslmem_kit.report.differences import differences_as_json, plain, table
from sslmem_kit.statistics.removal import (
    ALL,
    AMOUNT,
    PROBE,
    REMOVED,
    TASK,
    removal_curves,
    removal_differences,
    removal_verdict,
)
from sslmem_kit.store.removal_tree import RemovalTree

_ATTRS = ("study", "method", "backbone", "protocol", "action", "baseline", "candidates", "margin", "encoders")


def build(tree: RemovalTree) -> dict[str, Any]:
    """Return the report on a finished tree, in JSON's types.

    Returns
    -------
    ``verdict`` (``sentence``, ``can``, ``cannot``); ``warnings``; ``overall`` (over amounts) and ``differences``, a mapping for each
    contrast, amount, task and probe; ``accuracy``, one for each row of the table, amount, task and probe, with ``interval``; ``orders`` with
    their reliability, and ``same_as``, an order before that chooses the same samples; ``overlaps`` of them; ``tree``, ``study``,
    ``action``, ``margin``, ``n_test`` by task.
    """
    results = tree.results
    attrs, orders = results.attrs, json.loads(results.attrs["orders"])
    overall, each = removal_differences(results, over_amounts=True), removal_differences(results)
    verdict = removal_verdict(overall, tree.spec.orders)
    curves = removal_curves(results)
    return {
        "tree": attrs["name"],
        "verdict": verdict._asdict(),
        "warnings": tree.caveats,
        **{
            name: attrs[name]
            for name in ("study", "method", "backbone", "protocol", "action", "baseline", "candidates", "margin", "encoders")
        },
        "n_test": dict(zip(results[TASK].values.tolist(), results["n_test"].values.tolist(), strict=True)),
        "overall": differences_as_json(overall.expand_dims(AMOUNT)),
        "differences": differences_as_json(each),
        "accuracy": _accuracies(curves),
        "orders": [plain(order) | {"same_as": _same_as(results, order["order"])} for order in orders],
        "overlaps": json.loads(attrs["overlaps"]),
        **dense.tasks_of_tree(tree),
    }


def _same_as(results: xr.Dataset, order: str) -> str | None:
    """Return an order before that has the same encoders; None where there is none."""
    encoder, own = results["encoder"], results["order"].values == order
    for other in dict.fromkeys(results["order"].values.tolist()):
        if other == order:
            return None
        if other and np.array_equal(encoder.values[results["order"].values == other], encoder.values[own]):
            return str(other)
    return None


def _accuracies(curves: xr.Dataset) -> list[dict[str, Any]]:
    dims = (REMOVED, AMOUNT, TASK, PROBE)
    return [
        {
            **{name: plain(one[name].item()) for name in (*dims, "accuracy", "n")},
            "interval": plain(one["interval"].values.tolist()),
            "over": "seeds and random sets",
        }
        for place in np.ndindex(tuple(curves.sizes[dim] for dim in dims))
        for one in [curves.isel(dict(zip(dims, place, strict=True)))]
    ]


def as_text(found: dict[str, Any]) -> list[str]:
    """Return lines for a person, from :func:`build`."""
    verdict, keeps = found["verdict"], found["action"] == "keep"
    tests = ", ".join(f"{task} {count:,}" for task, count in found["n_test"].items())
    lines = [
        verdict["sentence"],
        *(f"WARNING: {sentence}" for sentence in found["warnings"]),
        "",
        f"removal tree {found['tree']}: study {found['study']} ({found['method']}, {found['backbone']}), {found['candidates']:,} candidates, "
        f"{found['encoders']} encoders; test images: {tests}",
    ]
    same = {order["order"] for order in found["orders"] if order["same_as"]}
    for order in found["orders"]:
        known = "unknown"
        if order["reliability"] is not None:
            known = f"{order['reliability']:.2f} [{', '.join('-' if end is None else f'{end:.2f}' for end in order['interval'])}]"
        like = f"; chooses the same samples as {order['same_as']}" if order["same_as"] else ""
        by = f"{order['encoders']} encoders ({order['estimator']})"
        lines.append(f"order {order['order']}: {by}, reliability {known} over candidates{like}")
    for one in found["overlaps"]:
        if not same & set(one["orders"]):
            share, by_chance = 100 * one["share"], 100 * one["amount"] / found["candidates"]
            both = " and ".join(one["orders"])
            lines.append(f"of the {one['amount']:,} most memorized, {both} share {share:.0f} % ({by_chance:.0f} % by chance)")
    head = "kept" if keeps else "removed"
    for order in dict.fromkeys(one["order"] for one in found["overall"] if one["order"] not in same):
        for second in dict.fromkeys(one["second"] for one in found["overall"] if one["order"] == order):
            rows = [
                one
                for part in ("overall", "differences")
                for one in found[part]
                if (one["order"], one["second"]) == (order, second)
            ]
            against = "all samples" if second == ALL else second
            lines += [
                "",
                f"{rows[0]['first']} against {against}, points of accuracy; claim: {rows[0]['claim']}; 95 % of each by itself, over "
                f"{rows[0]['over']}",
            ]
            lines += table(rows, head)
    lines += ["", f"p (equal): of a difference of {100 * found['margin']:g} points or more, by two one-sided tests; Holm over tasks",
              "seeds: with as many random sets, that decide with a power of 80 %; -: more than 1,000, or unknown"]  # fmt: skip
    lines += [
        "",
        f"{head:>10} {'which':<22} {'task':<22} {'probe':<8} {'accuracy':>9} {'95 %':>18} {'n':>4}  over seeds and random sets",
    ]
    for one in found["accuracy"]:
        ends = "-" if None in one["interval"] else "[{:.2f}, {:.2f}]".format(*(100 * end for end in one["interval"]))
        lines.append(
            f"{one[AMOUNT]:>10,} {one[REMOVED]:<22} {one[TASK]:<22} {one[PROBE]:<8} {100 * one['accuracy']:>9.2f} {ends:>18} {one['n']:>4}"
        )
    for name, task in found.get("dense", {}).items():
        lines += ["", *dense.tree_as_text(name, task)]
    lines.append("")
    lines += [f"can say:    {sentence}" for sentence in verdict["can"]] + [
        f"cannot say: {sentence}" for sentence in verdict["cannot"]
    ]
    return lines
