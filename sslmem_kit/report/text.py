"""Report as text."""

from __future__ import annotations

from typing import Any

from sslmem_kit.data.record import as_line
from sslmem_kit.names import MODE, ONE_MODEL
from sslmem_kit.report import estimators, fdr, layers, order, reliability
from sslmem_kit.report.audit import one_model_text
from sslmem_kit.statistics.overview import CLAIM, headline, number
from sslmem_kit.store.provenance import BITS, in_words

PROBE = {"linear": "linear probe", "knn": "nearest neighbours"}


def as_text(report: dict[str, Any]) -> str:
    """Text for a person, from :func:`sslmem_kit.report.build_report`.

    Examples
    --------
    >>> from sslmem_kit import open_study
    >>> from sslmem_kit.report import build_report
    >>> as_text(build_report(open_study("papermill_runs/digits"))).splitlines()[0]
    'study digits: 6 encoders, protocol corrected (sslmem = raw difference)'
    """
    if report.get(MODE) == ONE_MODEL:
        return one_model_text(report)
    lines = [
        headline(report["study"], len(report["encoders"]), report["protocol"], report["range"]),
        *as_line(report["data"]),
        *(f"WARNING: {sentence}" for sentence in report["warnings"]),
        "",
        f"{'partition':<12} {'n':>8} {'mean':>10} {'95 % interval':>23} {'sd':>9}",
    ]
    for name, mean in report["mean"].items():
        low, high = report["interval"][name]
        interval = f"[{number(low)}, {number(high)}]"
        lines.append(f"{name:<12} {report['n'][name]:>8,} {number(mean):>10} {interval:>23} {number(report['sd'][name]):>9}")
    lines += ["", f"{'alternative':<30} {'t':>8} {'p':>10} {'Cohen d':>9} {'n':>9}"]
    for test in report["tests"]:
        label = f"{test['alternative']:<5} {CLAIM[test['alternative']]}"
        p = "-" if test["p"] is None else f"{test['p']:.2g}"
        lines.append(f"{label:<30} {number(test['t'], 2):>8} {p:>10} {number(test['cohens_d'], 2):>9} {test['n']:>9,}")
    if "order" in report:
        lines += ["", *order.as_text(report["order"])]
    if "layers" in report:
        lines += ["", *layers.as_text(report)]
    if "discoveries" in report:
        lines += ["", *fdr.as_text(report["discoveries"])]
    if "estimators" in report:
        lines += ["", *estimators.as_text(report["estimators"])]
    for found in report.get("reliability", {}).values():
        lines += ["", *reliability.as_text(found)]
    lines.append("")
    for place, (task, probes) in enumerate(report["downstream"].items()):
        for probe, values in probes.items():
            accuracies = ", ".join(f"{name} {'-' if value is None else f'{value:.1%}'}" for name, value in values.items())
            lines.append(f"{PROBE[probe]}{f' on {task}' if place else ''}: {accuracies}")
    if report["seconds"]:
        lines.append(f"made in {report['seconds']:,.0f} s")
    lines.append(f"computed on {in_words(report['computed_on'])}; {BITS}")
    return "\n".join(lines)
