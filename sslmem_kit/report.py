"""A study's results in short: means, tests and probe accuracies, as a mapping and as text."""

from __future__ import annotations

import math
from typing import Any

from sslmem_kit import statistics
from sslmem_kit.downstream.spread import collapse
from sslmem_kit.study.folder import Study

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


PROBE = {"linear": "linear probe", "knn": "nearest neighbours"}


def build_report(study: Study, *, protocol: str = "corrected") -> dict[str, Any]:
    """What ``sslmem report --json`` prints.

    Returns
    -------
    ``study``, ``protocol``; ``mean``, ``sd``, ``n`` and ``interval`` (95 %, bootstrap over samples) of ``sslmem`` by partition;
    ``range`` (of the candidates' differences; None where the protocol does not divide by it); ``tests`` (Tables 2 and 16; ``t`` is the
    paper's "effect size"); ``probe_accuracy`` (linear, on the study's own data) by encoder; ``downstream``, accuracies by task, probe and
    encoder; ``collapsed``, what of which encoder, in words; ``encoders`` (ids); ``seconds`` that the study took. NaN is None.
    """
    scores = study.scores(protocol)
    summary = statistics.partition_summary(scores)
    encoders = [str(name) for name in study.tree["encoder"].values]
    downstream = _downstream(study, encoders)
    report = {
        "study": study.spec.name,
        "protocol": protocol,
        **{key: {name: row[key] for name, row in summary.items()} for key in ("mean", "sd", "n", "interval")},
        "range": scores.attrs.get("range"),
        "tests": statistics.partition_tests(scores),
        "probe_accuracy": next(iter(downstream.values()))["linear"],
        "downstream": downstream,
        "collapsed": _collapsed(study, encoders),
        "encoders": encoders,
        "seconds": study.tree.attrs.get("seconds"),
    }
    return _plain(report)


def _downstream(study: Study, encoders: list[str]) -> dict[str, dict[str, dict[str, float]]]:
    accuracy = study.tree["downstream/accuracy"].load()
    return {
        str(task): {
            str(probe): dict(zip(encoders, accuracy.sel(task=task, probe=probe).values.tolist(), strict=True))
            for probe in accuracy["probe"].values
        }
        for task in accuracy["task"].values
    }


def _collapsed(study: Study, encoders: list[str]) -> dict[str, str]:
    """Encoders of which something has collapsed; stores of version 0.1 do not know."""
    last = study.tree["trajectory"].to_dataset().isel(epoch=-1)
    names = ("feature_std", "effective_rank", "embedding_std")
    if any(name not in last for name in names):
        return {}
    sentences = {encoder: collapse(*(float(last[name][number]) for name in names)) for number, encoder in enumerate(encoders)}
    return {encoder: sentence for encoder, sentence in sentences.items() if sentence}


def _plain(value: Any) -> Any:
    """JSON has no NaN: None stands for it."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


def as_text(report: dict[str, Any]) -> str:
    """The report for a person."""
    unit = "raw difference" if report["range"] is None else f"difference / range of the candidates, {report['range']:.4f}"
    lines = [
        f"study {report['study']}: {len(report['encoders'])} encoders, protocol {report['protocol']} (sslmem = {unit})",
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
    lines.append("")
    for number, (task, probes) in enumerate(report["downstream"].items()):
        for probe, values in probes.items():
            accuracies = ", ".join(f"{name} {'-' if value is None else f'{value:.1%}'}" for name, value in values.items())
            lines.append(f"{PROBE[probe]}{f' on {task}' if number else ''}: {accuracies}")
    lines += [f"{encoder}: {sentence}" for encoder, sentence in report["collapsed"].items()]
    if report["seconds"]:
        lines.append(f"made in {report['seconds']:,.0f} s")
    return "\n".join(lines)


def _number(value: float | None, digits: int = 4) -> str:
    return "-" if value is None else f"{value:+.{digits}f}"
