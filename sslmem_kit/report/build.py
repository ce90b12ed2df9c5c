"""A study's results in short: means, tests and probe accuracies, as a mapping and as text."""

from __future__ import annotations

from typing import Any

import xarray as xr

from sslmem_kit import statistics, store
from sslmem_kit.data.record import stored_record
from sslmem_kit.errors import UserError
from sslmem_kit.names import ALIGNMENT, ENCODER, MODE, PAIR, PARTITION
from sslmem_kit.report import common, comparisons, dense, duplicates, estimators, groups, layers, order, probes, reliability
from sslmem_kit.report import fdr as discoveries
from sslmem_kit.report.audit import one_model_report
from sslmem_kit.report.tables import by_coordinate, rows_of_tests, without_nan
from sslmem_kit.scores import default_protocol, of_pairs, of_scores
from sslmem_kit.scores.audit import is_one_model, mode_of
from sslmem_kit.scores.contrast import BY_ENCODER
from sslmem_kit.statistics.caveats import collapsed, meaningless
from sslmem_kit.statistics.duplicates import twin_summary
from sslmem_kit.statistics.fdr import check_rate
from sslmem_kit.statistics.verdict import conclude
from sslmem_kit.store.provenance import computed_on
from sslmem_kit.study import AuditStudy, Study


def build_report(
    study: Study | AuditStudy,
    *,
    protocol: str | None = None,
    fdr: float | None = None,
    with_reliability: bool = False,
    with_estimators: bool = False,
    with_comparisons: bool = False,
) -> dict[str, Any]:
    """Mapping that ``sslmem report --json`` prints.

    Parameters
    ----------
    study
        A study or an audit with complete results.
    protocol
        ``paper``, ``released`` or ``corrected``; None: ``corrected``, or ``released`` where there is one random view.
    fdr
        False-discovery rate at which memorized samples are listed, between 0 and 1; None: none are.
    with_reliability, with_estimators, with_comparisons
        Whether these sections are in it.

    Returns
    -------
    ``study``, ``protocol``; ``verdict``, a sentence and what can and cannot be said (:func:`sslmem_kit.statistics.verdict`); ``effect``
    of membership, by name (:func:`sslmem_kit.statistics.effects`); ``order``, of :func:`sslmem_kit.report.order.as_json`;
    ``over_seeds``, means of partitions over trainings (:func:`sslmem_kit.statistics.seed_summary`; None where encoders are no pairs);
    ``mean``, ``sd``, ``n`` and ``interval`` (95 %, over samples) of ``sslmem`` by partition; ``range`` (of the candidates' differences;
    None where the protocol does not divide by it); ``ranges``, one a repetition; ``tests`` (Tables 2 and 16, the latter against the
    null, with the paper's against ``zero``; ``t`` is the paper's "effect size"), whose ``unit``, and that of intervals over samples, is
    ``sample`` or ``group``; of probes :func:`sslmem_kit.report.probes.accuracies`; ``common``, of
    :func:`sslmem_kit.report.common.common_policy`; ``dense``, of
    :func:`sslmem_kit.report.dense.dense_tasks`, where a dense task was run; ``collapsed``, a sentence by the encoder that has; ``warnings``, of
    :func:`sslmem_kit.statistics.caveats.caveats`; ``data``, what was read (:func:`sslmem_kit.data.record.stored_record`); ``encoders``
    (ids); ``seconds`` that the study took; ``computed_on``, of :func:`sslmem_kit.store.provenance.computed_on`; of a study with layers
    :func:`sslmem_kit.report.layers.localized`; ``duplicates``, of :func:`sslmem_kit.statistics.duplicates.twin_summary` (None where
    nobody looked), and with subset encoders and groups ``group_influence``; with ``fdr`` ``discoveries``, of
    :func:`sslmem_kit.statistics.fdr.fdr_summary`; ``with_reliability`` a ``reliability`` of the candidates and of the independent
    samples, each of :func:`sslmem_kit.statistics.reliability.assess`; ``with_estimators`` the comparison of
    :func:`sslmem_kit.statistics.estimators.compare_estimators`; ``with_comparisons`` those of
    :func:`sslmem_kit.report.comparisons.as_json`. NaN is None. An audit has its ``mode`` and no probes; of one model the
    report is :func:`sslmem_kit.report.audit.one_model_report`.

    Raises
    ------
    UserError
        An unknown protocol, a rate that is none, a section that the study's encoders do not allow, or results that cannot be read.

    Examples
    --------
    >>> from sslmem_kit import open_study
    >>> report = build_report(open_study("papermill_runs/digits"), fdr=0.05)
    >>> report["protocol"], len(report["encoders"]), [test["alternative"] for test in report["tests"]][:4]
    ('corrected', 6, ['C>S', 'C>E', 'S>I', 'E>I'])
    >>> report["discoveries"]["fdr"]
    0.05
    """
    if fdr is not None:
        check_rate(fdr)
    protocol = protocol or default_protocol(study.results)
    mode = mode_of(study.tree)
    if fdr is not None and mode not in (None, PAIR):
        raise UserError(f"--fdr: it compares candidates of f with samples that f and g agree on, this audit has the mode {mode!r}")
    if with_reliability and mode not in (None, PAIR):
        raise UserError(f"--reliability: it rests on seeds with an encoder of f and one of g, this audit has the mode {mode!r}")
    if with_estimators and mode:
        raise UserError("--estimators: it needs a study that was trained with design.leave_one_out, this is an audit")
    more = comparisons.as_json(study) if with_comparisons else {}
    if is_one_model(study.tree):
        return without_nan(one_model_report(study, protocol=protocol) | more)
    with store.reading(study.results_path):
        return without_nan(_report(study, protocol, fdr, with_reliability, with_estimators) | more)


def _report(
    study: Study | AuditStudy, protocol: str, fdr: float | None, with_reliability: bool, with_estimators: bool
) -> dict[str, Any]:
    """The report of a study with scores, NaN where a number is not known."""
    mode, scores = mode_of(study.tree), study.scores(protocol)
    summary, tests = statistics.partition_summary(scores), statistics.partition_tests(scores)
    encoders = [str(name) for name in of_scores(study.results)["encoder"].values]
    for group, name in ((store.LAYERS, ALIGNMENT), (store.UNITS, "unit_mem")):
        if group in study.tree.children and not (group == store.UNITS and study.spec.scoring.views == 1):  # NaN with one view
            stored = study.tree[group].to_dataset()[name].sel({ENCODER: encoders})
            store.check_whole(study.results_path, stored, what=f"{name} in /{group}")
    report = {
        "study": study.spec.name,
        **({MODE: mode} if mode else {}),
        "protocol": protocol,
        **_of_families(study, scores, protocol),
        **{key: by_coordinate(summary[key], PARTITION) for key in ("mean", "sd", "n", "interval")},
        "range": scores.attrs.get("range"),
        "ranges": scores.attrs.get("ranges"),
        "tests": rows_of_tests(tests),
        "unit": tests.attrs["unit"],
        **probes.accuracies(study, encoders),
        "collapsed": collapsed(study.tree),
        "warnings": study.caveats,
        "data": stored_record(study.tree.attrs, study.class_names),
        **_duplicates(study, scores),
        "encoders": encoders,
        "seconds": study.tree.attrs.get("seconds"),
        "computed_on": computed_on(study.tree.attrs),
        **layers.localized(study.tree),
        **common.common_policy(study, protocol),
        **dense.dense_tasks(study),
    }
    if fdr is not None:
        report["discoveries"] = discoveries.as_json(statistics.fdr_summary(scores, fdr))
    if with_reliability:  # of alignments that the scores rest on: these are whole
        report["reliability"] = {
            partition: reliability.as_json(statistics.assess(of_pairs(study.results), protocol=protocol, partition=partition))
            for partition in ("candidate", "independent")
            if report["n"].get(partition)
        }
    if with_estimators:
        store.check_whole(study.results_path, study.results[ALIGNMENT])
        assert isinstance(study, Study)  # an audit has been refused
        compared = statistics.compare_estimators(study.results, protocol=protocol, epochs=study.spec.training.epochs)
        report["estimators"] = estimators.as_json(compared)
    return report


def _duplicates(study: Study | AuditStudy, scores: Any) -> dict[str, Any]:
    """Near-duplicates, and what leaving out whole groups does; an audit has none of them."""
    if mode_of(study.tree):
        return {}
    found = {"duplicates": duplicates.as_json(twin_summary(study.tree, scores))}
    influence = groups.as_json(study.results, protocol=scores.attrs["protocol"])
    return found | ({"group_influence": influence} if influence else {})


def _of_families(study: Study | AuditStudy, scores: xr.Dataset, protocol: str) -> dict[str, Any]:
    """Verdict, effect, order and means over seeds of scores of f against g; none of other scores."""
    if BY_ENCODER not in scores:
        return {}
    ranked = statistics.rank_scores(study.results, protocol=protocol)
    trainings = statistics.seed_summary(scores)
    over_seeds = {key: by_coordinate(trainings[key], PARTITION) for key in ("mean", "sd", "interval")}
    return {
        **conclude(scores, ranked, meaningless=meaningless(study.tree)),
        "order": order.as_json(ranked),
        "over_seeds": {"seeds": int(trainings["seeds"]), **over_seeds} if trainings["seeds"] else None,
    }
