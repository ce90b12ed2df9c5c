"""The report as text."""

from __future__ import annotations

from typing import Any

from sslmem_kit.data.record import as_line, printable
from sslmem_kit.names import MODE, ONE_MODEL
from sslmem_kit.report import estimators, layers, reliability
from sslmem_kit.report.audit import one_model_text
from sslmem_kit.store.provenance import BITS, in_words

CLAIM = {
    "C>S": "candidates above shared",
    "C>E": "candidates above extra",
    "S>I": "shared above independent",
    "E>I": "extra above independent",
    "C>0": "candidates above zero",
    "I<0": "independent below zero",
    "S!=0": "shared differ from zero",
    "E>0": "extra above zero",
}

LISTED = 20
"""Discoveries that the text names."""

PROBE = {"linear": "linear probe", "knn": "nearest neighbours"}


def as_text(report: dict[str, Any]) -> str:
    """The report for a person."""
    if report.get(MODE) == ONE_MODEL:
        return one_model_text(report)
    unit = "raw difference" if report["range"] is None else f"difference / range of the candidates, {report['range']:.4f}"
    lines = [
        f"study {report['study']}: {len(report['encoders'])} encoders, protocol {report['protocol']} (sslmem = {unit})",
        *as_line(report["data"]),
        *(f"WARNING: {sentence}" for sentence in report["warnings"]),
        "",
        f"{'partition':<12} {'n':>8} {'mean':>10} {'95 % interval':>23} {'sd':>9}",
    ]
    for name, mean in report["mean"].items():
        low, high = report["interval"][name]
        interval = f"[{_number(low)}, {_number(high)}]"
        lines.append(f"{name:<12} {report['n'][name]:>8,} {_number(mean):>10} {interval:>23} {_number(report['sd'][name]):>9}")
    lines += ["", f"{'alternative':<30} {'t':>8} {'p':>10} {'Cohen d':>9} {'n':>9}"]
    for test in report["tests"]:
        label = f"{test['alternative']:<5} {CLAIM[test['alternative']]}"
        p = "-" if test["p"] is None else f"{test['p']:.2g}"
        lines.append(f"{label:<30} {_number(test['t'], 2):>8} {p:>10} {_number(test['cohens_d'], 2):>9} {test['n']:>9,}")
    if "layers" in report:
        lines += ["", *layers.as_text(report)]
    if "discoveries" in report:
        lines += ["", *_discoveries_as_text(report["discoveries"])]
    if "estimators" in report:
        lines += ["", *estimators.as_text(report["estimators"])]
    for found in report.get("reliability", {}).values():
        lines += ["", *reliability.as_text(found)]
    lines.append("")
    for number, (task, probes) in enumerate(report["downstream"].items()):
        for probe, values in probes.items():
            accuracies = ", ".join(f"{name} {'-' if value is None else f'{value:.1%}'}" for name, value in values.items())
            lines.append(f"{PROBE[probe]}{f' on {task}' if number else ''}: {accuracies}")
    if report["seconds"]:
        lines.append(f"made in {report['seconds']:,.0f} s")
    lines.append(f"computed on {in_words(report['computed_on'])}; {BITS}")
    return "\n".join(lines)


def _discoveries_as_text(found: dict[str, Any]) -> list[str]:
    lines = [f"memorized at a false-discovery rate of {found['fdr']:.3g}, against {found['n_null']:,} shared and extra samples"]
    for name, side in (("candidate", ">="), ("independent", "<=")):
        row = found[name]
        if not row["n"] or not found["n_null"]:
            lines.append(f"{name:<12} nothing to test" if not row["n"] else f"{name:<12} no null to test against")
            continue
        threshold = f", sslmem {side} {row['threshold']:+.4g}" if row["memorized"] else ""
        low, high = row["not_memorized_interval"]
        about = f"; at most about {row['not_memorized']:.0%} [{low:.0%}, {high:.0%}] of all are not memorized"
        lines.append(f"{name:<12} {row['memorized']:,} of {row['n']:,} ({row['share']:.1%}){threshold}{about}")
        lines += _list_as_text(row)
        if row["fewest"] is None:
            lines.append(f"{'':<12} none is possible: that takes {row['null_for_any']:,} null samples at least")
        elif row["fewest"] > 1:
            needed = f"one alone needs {row['null_for_one']:,} null samples"
            lines.append(f"{'':<12} with this null the list has at least {row['fewest']:,} or none; {needed}")
    return lines


def _list_as_text(row: dict[str, Any]) -> list[str]:
    """Ids of the discoveries, with their files a line each; the first ones of a long list."""
    rest = len(row["samples"]) - LISTED
    more = [f"{'':<12} and {rest:,} more, which --json has"] if rest > 0 else []
    if "files" not in row:
        text = ", ".join(map(str, row["samples"][:LISTED]))
        return [f"{'':<12} samples {text}", *more] if text else []
    return [
        f"{'':<12} {id_:>9}  {printable(file)}" for id_, file in zip(row["samples"][:LISTED], row["files"], strict=False)
    ] + more


def _number(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else f"{value:+.{digits}f}"
