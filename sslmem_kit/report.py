"""A study's results in short: means, tests and probe accuracies, as a mapping and as text."""

from __future__ import annotations

import math
from typing import Any

from sslmem_kit import discovery, estimators, localization, reliability, statistics, store
from sslmem_kit.audit.membership import PAIR
from sslmem_kit.audit.reporting import one_model_report, one_model_text
from sslmem_kit.audit.scores import is_one_model, mode_of
from sslmem_kit.caveats import collapsed
from sslmem_kit.data.record import as_line, printable, stored_record
from sslmem_kit.errors import UserError
from sslmem_kit.machine import BITS, computed_on, in_words
from sslmem_kit.names import ALIGNMENT, ENCODER, MODE, ONE_MODEL
from sslmem_kit.scores import of_pairs
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


LISTED = 20
"""Discoveries that the text names."""

PROBE = {"linear": "linear probe", "knn": "nearest neighbours"}


def build_report(
    study: Study,
    *,
    protocol: str = "corrected",
    fdr: float | None = None,
    with_reliability: bool = False,
    with_estimators: bool = False,
) -> dict[str, Any]:
    """What ``sslmem report --json`` prints.

    Returns
    -------
    ``study``, ``protocol``; ``mean``, ``sd``, ``n`` and ``interval`` (95 %, bootstrap over samples) of ``sslmem`` by partition;
    ``range`` (of the candidates' differences; None where the protocol does not divide by it); ``tests`` (Tables 2 and 16; ``t`` is the
    paper's "effect size"); ``probe_accuracy`` (linear, on the study's own data) by encoder; ``downstream``, accuracies by task, probe and
    encoder; ``collapsed``, what of which encoder, in words; ``warnings``, of
    :func:`sslmem_kit.caveats.caveats`; ``data``, what was read (:func:`sslmem_kit.data.record.stored_record`);
    ``encoders`` (ids); ``seconds`` that the study took; ``computed_on``, of :func:`sslmem_kit.machine.computed_on`; of a study with
    layers :func:`sslmem_kit.localization.localized`; with ``fdr``
    ``discoveries``, of :func:`sslmem_kit.discovery.discoveries`; ``with_reliability`` a ``reliability`` of the candidates and of the
    independent samples, each of :func:`sslmem_kit.reliability.assess`; ``with_estimators`` what
    :func:`sslmem_kit.estimators.compare` tells. NaN is None. An audit says its ``mode`` and has no probes; of one
    model it has :func:`sslmem_kit.audit.reporting.one_model_report`.
    """
    if fdr is not None:
        discovery.check_rate(fdr)
    mode = mode_of(study.tree)
    if fdr is not None and mode not in (None, PAIR):
        raise UserError(f"--fdr: it compares candidates of f with samples that f and g agree on, this audit has the mode {mode!r}")
    if with_reliability and mode not in (None, PAIR):
        raise UserError(f"--reliability: it rests on seeds with an encoder of f and one of g, this audit has the mode {mode!r}")
    if with_estimators and mode:
        raise UserError("--estimators: it needs a study that was trained with design.leave_one_out, this is an audit")
    if is_one_model(study.tree):
        return _plain(one_model_report(study, protocol=protocol))
    with store.reading(study.results_path):
        return _plain(_report(study, protocol, fdr, with_reliability, with_estimators))


def _report(study: Study, protocol: str, fdr: float | None, with_reliability: bool, with_estimators: bool) -> dict[str, Any]:
    """The report of a study with scores, NaN where a number is not known."""
    mode, scores = mode_of(study.tree), study.scores(protocol)
    summary = statistics.partition_summary(scores)
    encoders = [str(name) for name in of_pairs(study.results)["encoder"].values]
    downstream = _downstream(study, encoders)
    for group, name in ((store.LAYERS, ALIGNMENT), (store.UNITS, "unit_mem")):
        if group in study.tree.children:
            stored = study.tree[group].to_dataset()[name].sel({ENCODER: encoders})
            store.check_whole(study.results_path, stored, what=f"{name} in /{group}")
    report = {
        "study": study.spec.name,
        **({MODE: mode} if mode else {}),
        "protocol": protocol,
        **{key: {name: row[key] for name, row in summary.items()} for key in ("mean", "sd", "n", "interval")},
        "range": scores.attrs.get("range"),
        "tests": statistics.partition_tests(scores),
        "probe_accuracy": next(iter(downstream.values()))["linear"] if downstream else {},
        "downstream": downstream,
        "collapsed": collapsed(study.tree),
        "warnings": study.caveats,
        "data": stored_record(study.tree.attrs, study.class_names),
        "encoders": encoders,
        "seconds": study.tree.attrs.get("seconds"),
        "computed_on": computed_on(study.tree.attrs),
        **localization.localized(study.tree),
    }
    if fdr is not None:
        report["discoveries"] = discovery.discoveries(scores, fdr)
    if with_reliability:  # of alignments that the scores rest on: these are whole
        report["reliability"] = {
            partition: reliability.assess(of_pairs(study.results), protocol=protocol, partition=partition)
            for partition in ("candidate", "independent")
            if report["n"].get(partition)
        }
    if with_estimators:
        store.check_whole(study.results_path, study.results[ALIGNMENT])
        report["estimators"] = estimators.compare(study.results, protocol=protocol, epochs=study.spec.training.epochs)
    return report


def _downstream(study: Study, encoders: list[str]) -> dict[str, dict[str, dict[str, float]]]:
    if "downstream" not in study.tree.children:
        return {}
    accuracy = study.tree["downstream/accuracy"].sel(encoder=encoders).load()
    return {
        str(task): {
            str(probe): dict(zip(encoders, accuracy.sel(task=task, probe=probe).values.tolist(), strict=True))
            for probe in accuracy["probe"].values
        }
        for task in accuracy["task"].values
    }


def _plain(value: Any) -> Any:
    """JSON has no NaN: None stands for it."""
    if isinstance(value, dict):
        return {key: _plain(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return [_plain(item) for item in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


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
        lines += ["", *localization.as_text(report)]
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
