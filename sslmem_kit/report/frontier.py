"""Report on a mitigation frontier: the verdict, what each arm memorizes, its accuracies and cost, and differences with decisions."""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr

from sslmem_kit.report.tables import without_nan
from sslmem_kit.statistics.frontier import (
    ACCURACY,
    AGAINST,
    ARM,
    MEASURE,
    costs,
    frontier_differences,
    frontier_means,
    frontier_measures,
    frontier_verdict,
)
from sslmem_kit.statistics.overview import chance
from sslmem_kit.store.frontier import Frontier

OVER = "seeds (trainings), for these samples"
MEMBERSHIP = (
    "membership AUC is of alignment alone (members: candidates, others: independents); attacks of their own are not built yet"
)


def build(frontier: Frontier, *, probe: str = "linear") -> dict[str, Any]:
    """Return the report on a finished frontier, in JSON's types.

    Returns
    -------
    ``verdict`` (``sentence``, ``can``, ``cannot``); ``warnings``; ``arms``: a mapping for each, with ``name``, ``kind``, ``control``,
    ``images``, ``seconds``, ``needs_g``, ``epsilon`` of f (mean over seeds, None without DP-SGD) and ``measures`` (``mean``, ``interval``,
    ``n`` by name); ``differences``, a mapping for each comparison; ``over``; ``frontier``, ``method``, ``backbone``, ``margin``, ``probe``,
    ``n_test`` and ``samples`` of the partitions.
    """
    results = frontier.results
    measures = frontier_measures(results, probe=probe)
    means, differences, cost = frontier_means(measures), frontier_differences(measures), costs(results)
    arms = []
    for name in results[ARM].values.tolist():
        own, paid = means.sel({ARM: name}), cost.sel({ARM: name})
        epsilon = results["epsilon"].sel({ARM: name, "family": "f"}).values
        arms.append(
            {
                "name": name,
                "kind": str(own["kind"].item()),
                "control": str(own["control"].item()) or None,
                "images": int(paid["images"]),
                "seconds": float(paid["seconds"]),
                "needs_g": bool(paid["needs_g"]),
                "epsilon": float(epsilon.mean()) if np.isfinite(epsilon).all() else None,
                "measures": {
                    measure: {
                        "mean": own["mean"].sel({MEASURE: measure}).item(),
                        "interval": own["interval"].sel({MEASURE: measure}).values.tolist(),
                        "n": int(means["n"]),
                    }
                    for measure in means[MEASURE].values.tolist()
                },
            }
        )
    codes = results["partition"].values
    return without_nan(
        {
            "frontier": frontier.spec.name,
            "verdict": frontier_verdict(differences)._asdict(),
            "warnings": [*frontier.caveats, MEMBERSHIP],
            "arms": arms,
            "differences": _differences(differences),
            "over": OVER,
            **{name: results.attrs[name] for name in ("method", "backbone", "margin")},
            "probe": probe,
            "n_test": dict(zip(results["task"].values.tolist(), results["n_test"].values.tolist(), strict=True)),
            "samples": {
                name: int((codes == code).sum()) for code, name in enumerate(("shared", "candidate", "independent", "extra"))
            },
        }
    )


def _differences(found: xr.Dataset) -> list[dict[str, Any]]:
    rows = []
    for place in np.ndindex(tuple(found.sizes[dim] for dim in (AGAINST, ARM, MEASURE))):
        one = found.isel(dict(zip((AGAINST, ARM, MEASURE), place, strict=True)))
        if one["decision"].item():
            rows.append(
                {
                    **{name: str(one[name].item()) for name in (AGAINST, ARM, MEASURE, "decision")},
                    **{name: one[name].item() for name in ("difference", "p", "p_holm", "p_equivalence", "seeds_needed")},
                    "interval": one["interval"].values.tolist(),
                    "n": int(found["n"]),
                }
            )
    return rows


def as_text(found: dict[str, Any]) -> list[str]:
    """Return lines for a person, from :func:`build`."""
    names = list(found["arms"][0]["measures"])
    tests = ", ".join(f"{task} {count:,}" for task, count in found["n_test"].items())
    samples = ", ".join(f"{name} {count:,}" for name, count in found["samples"].items())
    lines = [
        found["verdict"]["sentence"],
        *(f"WARNING: {sentence}" for sentence in found["warnings"]),
        "",
        f"mitigation frontier {found['frontier']}: {found['method']}, {found['backbone']}; {samples}; test images: {tests}; "
        f"{found['probe']} probe",
        "",
        f"means over {found['arms'][0]['measures'][names[0]]['n']} {found['over']}, 95 %; memorization and effect in 1/1000, accuracies in %",
        f"{'arm':<26} {'treats':<10}"
        + "".join(f" {name.removeprefix(ACCURACY):>24}" for name in names)
        + f" {'images':>11} {'seconds':>8}",
    ]
    for arm in found["arms"]:
        cells = "".join(f" {_cell(name, arm['measures'][name]['mean'], arm['measures'][name]['interval']):>24}" for name in names)
        private = f"  epsilon {arm['epsilon']:.3g}" if arm["epsilon"] is not None else ""
        lines.append(
            f"{arm['name']:<26} {arm['kind']:<10}{cells} {arm['images']:>11,} {arm['seconds']:>8,.0f}{' with g' * arm['needs_g']}{private}"
        )
    for against, head in (("baseline", "less the untreated study"), ("random", "less its control, as many candidates at random")):
        rows = [row for row in found["differences"] if row[AGAINST] == against]
        if not rows:
            continue
        lines += ["", f"{head}, paired by seed; p by Holm over arms",
                  f"{'arm':<26} {'measure':<28} {'difference':>24} {'p (Holm)':>9} {'p (equal)':>9} {'seeds':>6}  decision"]  # fmt: skip
        for row in rows:
            p, equal = ("-" if row[name] is None else chance(row[name]) for name in ("p_holm", "p_equivalence"))
            seeds = "-" if row["seeds_needed"] is None else f"{row['seeds_needed']:,.0f}"
            value = _cell(row[MEASURE], row["difference"], row["interval"], signed=True)
            lines.append(f"{row[ARM]:<26} {row[MEASURE]:<28} {value:>24} {p:>9} {equal:>9} {seeds:>6}  {row['decision']}")
    lines += ["", "memorization: candidates less extra samples of g - f, g untreated; effect: (C-I)/2 of the arm's own pair; auc: by f alone",
              f"p (equal): of a difference of {100 * found['margin']:g} points or more",
              "seeds: that decide with a power of 80 %; -: more than 1,000, or unknown",
              "images: passed through an encoder in training, or to choose; where memorization chooses, those of g too", ""]  # fmt: skip
    verdict = found["verdict"]
    return (
        lines
        + [f"can say:    {sentence}" for sentence in verdict["can"]]
        + [f"cannot say: {sentence}" for sentence in verdict["cannot"]]
    )


def _cell(name: str, value: float, interval: list[float | None], *, signed: bool = False) -> str:
    scale, digits = (100, 1) if name.startswith(ACCURACY) else (1, 3) if name == "auc" else (1000, 1)
    sign = "+" if signed else ""
    ends = (
        "-"
        if None in interval
        else "[{}]".format(", ".join(f"{scale * end:{sign}.{digits}f}" for end in interval if end is not None))
    )
    return f"{scale * value:{sign}.{digits}f} {ends}"
