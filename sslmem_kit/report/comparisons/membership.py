"""Membership attacks in a report: how well members are found, and whether the memorized are the exposed."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from sslmem_kit.scores.comparisons.membership import missing_subsets
from sslmem_kit.statistics.membership import attacks, by_quantile
from sslmem_kit.statistics.roc import FPR
from sslmem_kit.study import StudyResults

BEST = (("rmia", "f and g"), ("rmia", "subset"), ("calibrated", "f"), ("alignment", "f and g"))
"""Attacks and targets by which a verdict is given, the first that there is."""


def as_json(study: StudyResults) -> dict[str, Any]:
    """Mapping of :func:`sslmem_kit.statistics.membership.attacks` and :func:`sslmem_kit.statistics.membership.by_quantile`.

    Returns
    -------
    ``attacks``: of each ``attack``, ``target``, ``others``, ``auc``, ``interval``, ``p``, ``n_members``, ``n_others``, ``n_encoders``,
    ``n_seeds`` and ``tpr``, a list of ``fpr``, ``tpr``, ``interval`` and ``needed`` non-members; ``quantiles``: of each attack a list of
    ``part``, ``auc``, ``interval``, ``n_members``, ``n_others`` and ``naive``; ``cut_by``; ``missing``, why there are no likelihood ratios.
    """
    results = study.results
    found, parts = attacks(results), by_quantile(results)
    keys = ("attack", "target", "others")
    rows = []
    for row in range(found.sizes["row"]):
        one = found.isel(row=row)
        rates = [
            {
                "fpr": float(rate),
                "tpr": one["tpr"].sel({FPR: rate}).item(),
                "interval": one["tpr_interval"].sel({FPR: rate}).values.tolist(),
                "needed": one["needed"].sel({FPR: rate}).item(),
            }
            for rate in one[FPR].values
        ]
        numbers = {key: one[key].item() for key in ("auc", "p", "n_members", "n_others", "n_encoders", "n_seeds")}
        rows.append(
            {**{key: str(one[key].item()) for key in keys}, **numbers, "interval": one["interval"].values.tolist(), "tpr": rates}
        )
    quantiles = []
    for row in range(parts.sizes["row"]):
        one = parts.isel(row=row)
        table = [
            {
                "part": int(part),
                **{key: one[key].sel(part=part).item() for key in ("auc", "naive", "n_members", "n_others")},
                "interval": one["interval"].sel(part=part).values.tolist(),
            }
            for part in one["part"].values
        ]
        quantiles.append({**{key: str(one[key].item()) for key in keys}, "parts": table})
    return {"attacks": rows, "quantiles": quantiles, "cut_by": parts.attrs["cut_by"], "missing": missing_subsets(results)}


def as_text(found: Mapping[str, Any]) -> list[str]:
    """Lines for a person, the verdict first.

    Examples
    --------
    >>> rate = {"fpr": 0.001, "tpr": None, "interval": [0.0, 0.1], "needed": 4380}
    >>> row = {"attack": "calibrated", "target": "f", "others": "independent", "auc": 0.61, "interval": [0.55, 0.67], "p": 0.001}
    >>> counts = {"n_members": 135, "n_others": 135, "n_encoders": 3, "n_seeds": 3}
    >>> given = {"attacks": [{**row, **counts, "tpr": [rate]}], "quantiles": [], "cut_by": "pair", "missing": "design.subsets: none"}
    >>> print("\\n".join(as_text(given)))
    members are found: calibrated, AUC 0.610 [0.550, 0.670] over 3 seeds, 135 members and 135 others
    attack        target   others          AUC                   n                TPR at 0.1 %
    calibrated    f        independent     0.610 [0.550, 0.670]  135 / 135        - [0.00, 0.10]
    TPR at 0.1 % needs 4,380 others to be shown above 0
    calibrated: g beside f, which is trained on the independents; by whom holds both
    no likelihood ratios: design.subsets: none
    """
    rows = found["attacks"]
    if not rows:
        return ["no attack is possible: there are too few members or others"]
    best = next((row for name, target in BEST for row in rows if (row["attack"], row["target"]) == (name, target)), rows[0])
    rates = [rate["fpr"] for rate in rows[0]["tpr"]]
    lines = [
        _verdict(best),
        f"{'attack':12}  {'target':7}  {'others':14}  {'AUC':20}  {'n':15}  "
        + "  ".join(f"{f'TPR at {100 * rate:g} %':18}" for rate in rates).rstrip(),
    ]
    for row in rows:
        shown = "  ".join(f"{_value(rate['tpr'], 2)} {_interval(rate['interval'], 2)}".ljust(18) for rate in row["tpr"])
        area = f"{_value(row['auc'])} {_interval(row['interval'])}"
        counts = f"{row['n_members']:,} / {row['n_others']:,}"
        lines.append(f"{row['attack']:12}  {row['target']:7}  {row['others']:14}  {area:20}  {counts:15}  {shown}".rstrip())
    for position, rate in enumerate(rates):
        needed, there = max(row["tpr"][position]["needed"] for row in rows), min(row["n_others"] for row in rows)
        if there < needed:
            lines.append(f"TPR at {100 * rate:g} % needs {needed:,} others to be shown above 0")
    names = {row["attack"] for row in rows}
    if "calibrated" in names:
        lines.append("calibrated: g beside f, which is trained on the independents; by whom holds both")
    if any(row["others"] == "extra" for row in rows):
        lines.append("extra is of the test split: another distribution is told apart from candidates without any memory")
    for one in found["quantiles"]:
        # Of subsets the circle can be shown: encoders of pairs have no part in a cut by subsets.
        wanted = ("rmia", "subset") if found["cut_by"] == "subset" else (best["attack"], best["target"])
        if (one["attack"], one["target"]) == wanted:
            lines += _quantiles(one, found["cut_by"])
    if found["missing"]:
        lines.append(f"no likelihood ratios: {found['missing']}")
    return lines


def _verdict(row: Mapping[str, Any]) -> str:
    low, high = row["interval"]
    if low is None or high is None:
        known = "whether members are found is not known"
    else:
        known = "members are found" if low > 0.5 else "members look like non-members" if high < 0.5 else "members are not found"
    seeds = f"over {row['n_seeds']} seed{'s' * (row['n_seeds'] > 1)}"
    return (
        f"{known}: {row['attack']}, AUC {_value(row['auc'])} {_interval(row['interval'])} {seeds}, {row['n_members']:,} members and "
        f"{row['n_others']:,} others"
    )


def _quantiles(one: Mapping[str, Any], cut_by: str) -> list[str]:
    parts = one["parts"]
    first, last = parts[0], parts[-1]
    if first["auc"] is None or last["auc"] is None:
        return ["by quantile of SSLMem: not known, one seed alone cannot cut quantiles that another is attacked in"]
    apart = last["interval"][0] > first["interval"][1]
    verdict = "the memorized are the exposed" if apart else "whether the memorized are the exposed is undecided"
    areas = " ".join(_value(part["auc"]) for part in parts)
    naive = " ".join(_value(part["naive"]) for part in parts)
    return [
        f"{verdict}: AUC from the least to the most memorized of {len(parts)} parts, cut by other seeds ({cut_by}): {areas}; "
        f"most {_interval(last['interval'])}",
        f"cut by the attacked encoders themselves it would be {naive}: a circle",
    ]


def _value(value: float | None, digits: int = 3) -> str:
    return "-" if value is None or value != value else f"{value:.{digits}f}"


def _interval(ends: list[float | None], digits: int = 3) -> str:
    return f"[{', '.join(_value(end, digits) for end in ends)}]"
