"""Report as text."""

from __future__ import annotations

from typing import Any

from sslmem_kit.data.record import as_line
from sslmem_kit.names import MODE, ONE_MODEL
from sslmem_kit.report import common, comparisons, dense, duplicates, estimators, fdr, groups, layers, order, probes, reliability
from sslmem_kit.report.audit import one_model_text
from sslmem_kit.statistics.effect import OVER, UNITS
from sslmem_kit.statistics.numbers import chance, number
from sslmem_kit.statistics.overview import CLAIM, as_sentence, headline
from sslmem_kit.store.provenance import BITS, in_words


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
    units = UNITS[report["unit"]]
    lines = [
        headline(report["study"], len(report["encoders"]), report["protocol"], report["ranges"]),
        *([as_sentence(report["verdict"]["sentence"])] if "verdict" in report else []),
        *as_line(report["data"]),
        *(f"WARNING: {sentence}" for sentence in report["warnings"]),
        *_effects(report.get("effect", {}), units),
        "",
        *_means(report, units),
        "",
        f"{f'over {units}, given these encoders':<38} {'t':>8} {'p':>9} {'Cohen d':>8} {'n':>9}",
    ]
    for test in report["tests"]:
        label = f"{test['alternative']:<5} {CLAIM[test['alternative']]}"
        numbers = f"{number(test['t'], 2):>8} {chance(test['p']):>9} {number(test['cohens_d'], 2):>8} {test['n']:>9,}"
        lines.append(f"{label:<38} {numbers}")
    if report["unit"] != "sample":
        lines.append("groups are those of data.groups; Cohen's d is of samples")
    lines += _said(report["verdict"]) if "verdict" in report else []
    if "order" in report and not report["order"]["caveat"]:  # which the verdict has
        lines += ["", *order.as_text(report["order"])]
    if "common" in report:
        lines += ["", *common.as_text(report["common"])]
    if "duplicates" in report:
        lines += ["", *duplicates.as_text(report["duplicates"])]
    if "group_influence" in report:
        lines += groups.as_text(report["group_influence"])
    if "layers" in report:
        lines += ["", *layers.as_text(report)]
    if "discoveries" in report:
        lines += ["", *fdr.as_text(report["discoveries"])]
    if "estimators" in report:
        lines += ["", *estimators.as_text(report["estimators"])]
    for found in report.get("reliability", {}).values():
        lines += ["", *reliability.as_text(found)]
    lines += ["", *probes.as_text(report)]
    if "dense" in report:
        lines += ["", *dense.as_text(report["dense"])]
    if "comparisons" in report:
        lines += ["", *comparisons.as_text(report)]
    if report["seconds"]:
        lines.append(f"made in {report['seconds']:,.0f} s")
    lines.append(f"computed on {in_words(report['computed_on'])}; {BITS}")
    return "\n".join(lines)


def _effects(effect: dict[str, Any], units: str) -> list[str]:
    """Lines on the effects of membership, without what their partitions do not allow."""
    lines = []
    for name, one in effect.items():
        if one["value"] is not None:
            over = f"{one['seeds']} {OVER['seeds']}" if one["over"] == "seeds" else OVER[one["over"]]
            ends = "[{}, {}]".format(*(number(end) for end in one["interval"]))
            lines.append(f"{f'{name:<7} {CLAIM[name]}':<38} {number(one['value']):>8} {ends:>19} {chance(one['p']):>8}  {over}")
    head = f"{'effect of membership':<38} {'value':>8} {'95 %':>19} {'p':>8}  p is over {units}, the interval over"
    return ["", head, *lines] if lines else []


def _means(report: dict[str, Any], units: str) -> list[str]:
    """Lines of the partitions' means, with their interval over trainings where there are several."""
    trainings: dict[str, Any] = report.get("over_seeds") or {"seeds": 0}
    several = trainings["seeds"] > 1
    over = f"{trainings['seeds']} trainings (seeds)" if several else f"{units}, given these encoders"
    lines = [f"{'partition':<12} {'n':>9} {'mean':>9} {'sd of samples':>13} {'sd of seeds':>11}  95 % over {over}"]
    for name, mean in report["mean"].items():
        ends = "[{}, {}]".format(*(number(end) for end in (trainings["interval"] if several else report["interval"])[name]))
        of_seeds = number(trainings["sd"][name]).lstrip("+") if several else "-"
        lines.append(
            f"{name:<12} {report['n'][name]:>9,} {number(mean):>9} {number(report['sd'][name]).lstrip('+'):>13} {of_seeds:>11}  {ends}"
        )
    return lines


def _said(verdict: dict[str, Any]) -> list[str]:
    """Lines on what can and cannot be said."""
    return [
        "",
        *(f"{mark} {sentence}" for mark, key in (("can say:   ", "can"), ("cannot say:", "cannot")) for sentence in verdict[key]),
    ]
