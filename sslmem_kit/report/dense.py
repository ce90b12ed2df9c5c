"""Dense tasks of a study in a report: each arm's measures, differences over seeds, and what limits them."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import numpy as np

from sslmem_kit.report.differences import differences_as_json, table
from sslmem_kit.statistics.dense import arm, caveats_of_runs, compare_starts, dense_table, measures_by_seed
from sslmem_kit.statistics.removal import AMOUNT, PROBE, TASK, removal_differences
from sslmem_kit.store.dense import changed_weights, read_dense
from sslmem_kit.store.removal_tree import RemovalTree
from sslmem_kit.study import AuditStudy, Study

LABELS = {"mean_iou": "mean IoU", "pixel_accuracy": "pixel accuracy", "rmse": "RMSE (m)"} | {
    f"delta_{power}": f"delta < 1.25^{power}" for power in (1, 2, 3)
}


def dense_tasks(study: Study | AuditStudy) -> dict[str, Any]:
    """Return ``dense`` of a report, by task; nothing where none was run.

    Each has ``task``, ``data``, ``decoder``, ``epochs``, ``n_train``, ``n_test`` images, ``n_pixels``; ``arms``, by arm the ``mean`` over
    seeds, ``sd`` and number of ``seeds`` of each measure; ``runs``, the measures of each with intervals over test images; ``constant``, the
    prediction that needs no image; ``differences``, of :func:`sslmem_kit.statistics.dense.compare_starts`; and ``warnings``.

    Examples
    --------
    >>> from sslmem_kit import open_study
    >>> dense_tasks(open_study("papermill_runs/digits"))
    {}
    """
    found = {
        name: as_json(results, changed=changed_weights(study.path, results)) for name, results in read_dense(study.path).items()
    }
    return {"dense": found} if found else {}


def as_json(results: dict[str, Any], *, changed: Sequence[str] = ()) -> dict[str, Any]:
    """Return one task of ``dense``, from its results; ``changed`` encoders have other weights now than were fine-tuned."""
    task, runs = results["task"], results["runs"]
    compared = compare_starts(runs)
    return {
        "task": task["task"],
        "data": task["data"]["name"],
        "decoder": task["decoder"] or {"segmentation": "upernet", "depth": "unet"}[task["task"]],
        "epochs": task["epochs"],
        "n_train": results["data"]["train"],
        "n_test": runs[0]["n_test"],
        "n_pixels": runs[0]["n_pixels"],
        "arms": {
            name: {
                metric: {"mean": float(column.mean()), "sd": _known(column.std(ddof=1)), "seeds": len(column)}
                for metric, column in values.items()
            }
            for name, values in measures_by_seed(runs).items()
        },
        "runs": [{"encoder": run["encoder"], "arm": arm(run), "seed": run["seed"], "measures": run["measures"]} for run in runs],
        "constant": runs[0]["constant"],
        "differences": [
            {
                "contrast": str(contrast),
                "metric": str(metric),
                "difference": _known(one["difference"]),
                "interval": [_known(end) for end in one["interval"].values],
                "p": _known(one["p"]),
                "p_holm": _known(one["p_holm"]),
                "seeds": int(one["seeds"]),
            }
            for contrast in compared["contrast"].values
            for metric in compared["metric"].values
            for one in [compared.sel(contrast=contrast, metric=metric)]
        ],
        "warnings": [
            *(f"{name} has other weights now than those that were fine-tuned: run the task again" for name in changed),
            *caveats_of_runs(results),
        ],
    }


def tasks_of_tree(tree: RemovalTree) -> dict[str, Any]:
    """Return ``dense`` of a removal tree's report, by task; nothing where none was run.

    Each has ``task``, ``data``, ``decoder``, ``epochs``, ``n_train``, ``n_test``, ``overall`` (over amounts) and ``differences``, of
    :func:`sslmem_kit.statistics.removal_differences` by measure (of RMSE the negative), ``missing`` (cells of the table whose encoder was not
    fine-tuned) and ``warnings``.
    """
    found = {}
    for name, results in read_dense(tree.path).items():
        whole, table = as_json(results, changed=changed_weights(tree.path, results)), dense_table(tree.results, results)
        there = tree.results["accuracy"].notnull().any(dim=[TASK, PROBE])
        missing = int((there & table["accuracy"].isnull().all(dim=[TASK, PROBE])).sum())
        found[name] = {
            **{field: whole[field] for field in ("task", "data", "decoder", "epochs", "n_train", "n_test")},
            "action": tree.results.attrs["action"],
            "overall": differences_as_json(removal_differences(table, over_amounts=True).expand_dims(AMOUNT)),
            "differences": differences_as_json(removal_differences(table)),
            "missing": missing,
            "warnings": [
                *whole["warnings"],
                *([f"{missing} cells of the table have no encoder that was fine-tuned: run the task again"] if missing else []),
            ],
        }
    return {"dense": found} if found else {}


def as_text(dense: dict[str, Any]) -> list[str]:
    """Return lines for a person, from :func:`dense_tasks`."""
    lines = []
    for name, task in dense.items():
        lines.append(
            f"{name}: {task['task']} of {task['data']} by {task['decoder']}, {task['epochs']} epochs on {task['n_train']:,} images, "
            f"tested on {task['n_test']:,} ({task['n_pixels']:,} pixels)"
        )
        lines += [f"WARNING: {sentence}" for sentence in task["warnings"]]
        for metric, without in task["constant"].items():
            means = ", ".join(
                f"{one} {measures[metric]['mean']:.4g} (sd {_number(measures[metric]['sd'])}, {measures[metric]['seeds']} seeds)"
                for one, measures in task["arms"].items()
            )
            lines.append(f"  {LABELS[metric]}: {means}; without an image {without:.4g}")
        for one in task["differences"]:
            low, high = one["interval"]
            lines.append(
                f"  {LABELS[one['metric']]}, {one['contrast']}: {_number(one['difference'])} [{_number(low)}, {_number(high)}], "
                f"p {_number(one['p'])}, Holm {_number(one['p_holm'])}; 95 % over {one['seeds']} seeds, paired"
            )
    return lines


def tree_as_text(name: str, task: dict[str, Any]) -> list[str]:
    """Return lines for a person on one task of :func:`tasks_of_tree`."""
    lines = [
        f"dense task {name}: {task['task']} of {task['data']} by {task['decoder']}, {task['epochs']} epochs on {task['n_train']:,} images, "
        f"tested on {task['n_test']:,}; of RMSE (m) the negative, so that the claims of accuracy hold for it",
        *(f"WARNING: {sentence}" for sentence in task["warnings"]),
    ]
    for contrast in dict.fromkeys(one["contrast"] for one in task["overall"]):
        rows = [one for part in ("overall", "differences") for one in task[part] if one["contrast"] == contrast]
        lines.append(f"{contrast}; claim: {rows[0]['claim']}; 95 % of each by itself, over {rows[0]['over']}")
        lines += table(rows, "kept" if task["action"] == "keep" else "removed", scale=1)
    return lines


def _known(value: Any) -> float | None:
    """Return a number, None in place of NaN."""
    return float(value) if np.isfinite(value) else None


def _number(value: float | None) -> str:
    return "-" if value is None or not np.isfinite(value) else f"{value:.2g}" if abs(value) < 0.01 else f"{value:.3f}"
