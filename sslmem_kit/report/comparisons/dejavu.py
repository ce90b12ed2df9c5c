"""Deja Vu memorization in a report: whether f names more than g, by how much, and the table of crops and numbers of neighbours."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sslmem_kit.names import PARTITION, PARTITION_CODE, PARTITIONS
from sslmem_kit.report.tables import plain
from sslmem_kit.statistics.dejavu import one_encoders, summary
from sslmem_kit.statistics.numbers import chance, number
from sslmem_kit.store.comparisons import stored_comparisons
from sslmem_kit.study import StudyResults

LIMITS = (
    "one encoder: the reference is a classifier of 8 x 8 thumbnails of the same part, fitted on public images; what it misses is in both "
    "shares, but train and test splits that differ in more than membership move the excess"
)
_OUTCOMES = ("memorized", "memorized_sd", "misrepresented", "misrepresented_sd", "correlated", "unassociated")
_NUMBERS = (*_OUTCOMES, "net", "interval", "interval_samples", "interval_seeds", "p_by_seed", "n", "seeds")


def as_json(study: StudyResults) -> dict[str, Any]:
    """Return what a study's ``/comparisons/dejavu`` says.

    Returns
    -------
    ``crop`` and ``neighbours`` that the score goes by; ``partitions``, of each that has samples what
    :func:`sslmem_kit.statistics.paired_shares.paired_shares` returns; ``effect``, half the difference of candidates and independent samples;
    ``confident``, of candidates by fraction ``accuracy_f``, ``accuracy_g``, ``gap`` and its intervals; ``sweep``, of candidates the shares of
    every crop and number; ``one_encoder`` by partition, and ``limits`` of it.
    """
    group, root = stored_comparisons(study.tree)["dejavu"].load(), study.tree.to_dataset()
    codes = root[PARTITION].values
    design = {"design": root["design"]} if "design" in root.coords else {}
    raw = group.assign_coords({name: root[name] for name in ("family", "seed") if name in root.coords} | design)
    table = summary(raw, codes)
    first = table.isel(crop=0, neighbours=0)
    there = [name for name in PARTITIONS if (codes == PARTITION_CODE[name]).any()]
    candidates = table.sel({PARTITION: "candidate"})
    confident = candidates.isel(crop=0, neighbours=0)
    return {
        "crop": str(table["crop"].values[0]),
        "neighbours": int(table["neighbours"].values[0]),
        "public": group.sizes["public_sample"],
        "partitions": {name: {key: plain(first[key].sel({PARTITION: name})) for key in _NUMBERS} for name in there},
        "effect": {key: plain(first[f"effect_{key}"]) for key in ("value", "interval", "interval_samples", "interval_seeds", "n")},
        "confident": [
            {"fraction": float(part), **{key: plain(confident[f"confident_{key}"].sel(fraction=part)) for key in _CONFIDENT}}
            for part in table["fraction"].values
        ],
        "sweep": [
            {"crop": str(crop), "neighbours": int(count), **{key: plain(cell[key]) for key in (*_OUTCOMES, "net", "interval")}}
            for crop in table["crop"].values
            for count in table["neighbours"].values
            for cell in [candidates.sel(crop=crop, neighbours=count)]
        ],
        "one_encoder": {
            name: {str(key): plain(value) for key, value in one_encoders(raw, codes == PARTITION_CODE[name]).data_vars.items()}
            for name in there
        },
        "limits": LIMITS,
    }


_CONFIDENT = ("accuracy_f", "accuracy_g", "gap", "interval_samples", "interval_seeds")


def as_text(found: Mapping[str, Any]) -> list[str]:
    """Return lines for a person, from the form without NaN of :func:`as_json`, the verdict first.

    Examples
    --------
    >>> verdict({"value": 0.02, "interval": [0.01, 0.03]})
    'f names the class of what it was trained on oftener than g'
    """
    shown = f"{found['neighbours']} neighbours among {found['public']:,} public images, {found['crop']} shown"
    lines = [f"{verdict(_decisive(found))}: {shown}"]
    if found["effect"]["value"] is not None:
        lines.append(
            f"(candidates - independent) / 2: {share(found['effect']['value'])} {interval(found['effect']['interval'])}, over samples and "
            "trainings; the offset of the trainings cancels"
        )
    lines.append(
        f"{'partition':<12} {'n':>7} {'f alone':>15} {'g alone':>15} {'both':>7} {'net, over samples and trainings':>36} {'p':>9}"
    )
    for name, row in found["partitions"].items():
        alone = [with_sd(row[key], row[f"{key}_sd"]) for key in ("memorized", "misrepresented")]
        net = f"{share(row['net'])} {interval(row['interval'])}"
        each = " ".join(chance(p) for p in row["p_by_seed"][:3])
        lines.append(f"{name:<12} {row['n']:>7,} {alone[0]:>15} {alone[1]:>15} {_percent(row['correlated']):>7} {net:>36} {each}")
    lines.append("f alone is the paper's score (Table 4): it has a floor, which g alone shows; p: McNemar's exact test, by seed")
    parts = [f"{row['fraction']:.0%} {share(row['gap'])} {interval(row['interval_samples'])}" for row in found["confident"]]
    lines.append(f"accuracy of f minus g on the candidates that each is surest of, over samples: {'; '.join(parts)}")
    if len(found["sweep"]) > 1:
        lines.append("net by crop and neighbours: " + "; ".join(_cell(row) for row in found["sweep"]))
    for name, row in found["one_encoder"].items():
        if row["excess"] is not None:
            lines.append(
                f"one encoder, {name}: f names and a reference without encoder does not {_percent(row['share'])}, of public images "
                f"{_percent(row['public_share'])}, excess {share(row['excess'])} {interval(row['interval_samples'])} over samples"
            )
    return [*lines, found["limits"]]


def _decisive(found: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the number that decides: without the offset of the trainings where there are independent samples."""
    if found["effect"]["value"] is not None:
        return found["effect"]
    candidates = found["partitions"].get("candidate", {})
    return {"value": candidates.get("net"), "interval": candidates.get("interval", [None, None])}


def verdict(effect: Mapping[str, Any]) -> str:
    """Return in words what an interval says.

    Examples
    --------
    >>> verdict({"value": 0.0, "interval": [-0.01, 0.01]})
    'undecided whether f names the class of what it was trained on oftener than g'
    """
    low, high = effect["interval"]
    if effect["value"] is None or low is None:
        return "nothing to compare"
    if low > 0:
        return "f names the class of what it was trained on oftener than g"
    if high < 0:
        return "f names the class of what it was trained on less often than g"
    return "undecided whether f names the class of what it was trained on oftener than g"


def _percent(value: float | None) -> str:
    return "-" if value is None else f"{value:.1%}"


def share(value: float | None) -> str:
    """Return a difference of shares in percent, with its sign.

    >>> share(0.0123)
    '+1.23%'
    """
    return "-" if value is None else f"{number(100 * value, 2)}%"


def with_sd(value: float | None, sd: float | None) -> str:
    """Return a share in percent with its standard deviation.

    >>> with_sd(0.3, 0.01)
    '30.0% (sd 1.0)'
    """
    return _percent(value) + ("" if sd is None else f" (sd {100 * sd:.1f})")


def interval(bounds: Sequence[float | None]) -> str:
    """Return the bounds of an interval in percent.

    >>> interval([0.01, None])
    '[+1.00, -]'
    """
    return f"[{', '.join(number(None if bound is None else 100 * bound, 2) for bound in bounds)}]"


def _cell(row: Mapping[str, Any]) -> str:
    return f"{row['crop']}, {row['neighbours']}: {share(row['net'])} {interval(row['interval'])}"
