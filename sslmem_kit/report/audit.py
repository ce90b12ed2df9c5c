"""The report of an audit of one model: how alignment is distributed, and plainly that these are no memorization scores."""

from __future__ import annotations

import itertools
from typing import Any

import xarray as xr

from sslmem_kit.data.record import as_line, stored_record
from sslmem_kit.names import ENCODER, MODE, ONE_MODEL
from sslmem_kit.report.tables import plain
from sslmem_kit.scores.audit import NOT_SCORES, alignment_summary, encoder_rank_correlations
from sslmem_kit.statistics.overview import as_sentence, one_model_headline
from sslmem_kit.store.provenance import BITS, computed_on, in_words
from sslmem_kit.study import AuditStudy, Study


def one_model_report(study: Study | AuditStudy, *, protocol: str) -> dict[str, Any]:
    """Mapping that ``sslmem report --json`` prints of an audit of one model.

    Returns
    -------
    ``study``, ``protocol``; ``mode`` and ``note``, what it is not; ``warnings``, of :func:`sslmem_kit.statistics.caveats.caveats`;
    ``data``, what was read (:func:`sslmem_kit.data.record.stored_record`);
    ``alignment`` of :func:`sslmem_kit.scores.audit.alignment_summary` by encoder;
    ``rank_agreement`` of each two encoders (Spearman); ``encoders`` (ids); ``seconds``; ``computed_on``, of
    :func:`sslmem_kit.store.provenance.computed_on`.

    Raises
    ------
    UserError
        An unknown protocol; results that are missing, cannot be read, or were lost after they had been recorded.

    Examples
    --------
    >>> from sslmem_kit import open_study
    >>> report = one_model_report(open_study("papermill_runs/digits"), protocol="corrected")
    >>> list(report["alignment"]), len(report["rank_agreement"])
    (['f-0', 'g-0', 'f-1', 'g-1', 'f-2', 'g-2'], 15)
    """
    table = study.alignments(protocol)
    return {
        "study": study.spec.name,
        "protocol": protocol,
        MODE: ONE_MODEL,
        "note": NOT_SCORES,
        "warnings": study.caveats,
        "data": stored_record(study.tree.attrs, study.class_names),
        "alignment": _alignment(alignment_summary(table)),
        "rank_agreement": _correlations(encoder_rank_correlations(table)),
        "encoders": [str(name) for name in table[ENCODER].values],
        "seconds": study.tree.attrs.get("seconds"),
        "computed_on": computed_on(study.tree.attrs),
    }


def _alignment(summary: xr.Dataset) -> dict[str, dict[str, Any]]:
    """Distribution of alignment by encoder."""
    keys = {"mean": "mean", "sd": "sd", "n": "n", "median": "median", "quantiles_5_95": "central_interval"}
    return {
        str(name): {key: plain(one[of]) for key, of in {**keys, "smallest": "smallest", "largest": "largest"}.items()}
        for name in summary[ENCODER].values
        for one in [summary.sel({ENCODER: name})]
    }


def _correlations(rho: xr.DataArray) -> dict[str, float]:
    """Rank correlation of each two encoders, under both their names."""
    names = rho[ENCODER].values.tolist()
    return {f"{one}, {other}": rho.sel({ENCODER: one, "other": other}).item() for one, other in itertools.combinations(names, 2)}


def one_model_text(report: dict[str, Any]) -> str:
    """Text for a person, from :func:`one_model_report`.

    Examples
    --------
    >>> from sslmem_kit import open_study
    >>> report = one_model_report(open_study("papermill_runs/digits"), protocol="corrected")
    >>> one_model_text(report).splitlines()[0]
    'audit digits: 6 encoders, protocol corrected, mode: one model'
    """
    lines = [
        one_model_headline(report["study"], len(report["encoders"]), report["protocol"]),
        as_sentence(report["note"]),
        *as_line(report["data"]),
        *(f"WARNING: {sentence}" for sentence in report["warnings"]),
        "",
        f"{'encoder':<20} {'n':>8} {'mean':>8} {'sd':>8} {'median':>8} {'5 % to 95 %':>18}",
    ]
    for name, row in report["alignment"].items():
        low, high = row["quantiles_5_95"]
        numbers = f"{row['mean']:>8.4f} {row['sd']:>8.4f} {row['median']:>8.4f} {f'{low:.4f} to {high:.4f}':>18}"
        lines.append(f"{name:<20} {row['n']:>8,} {numbers}")
    lines.append("")
    for name, row in report["alignment"].items():
        for which in ("smallest", "largest"):
            lines.append(f"{name}: {which} distances between views of samples {', '.join(map(str, row[which]))}")
    lines += [f"rank correlation of {pair}: {value:.3f}" for pair, value in report["rank_agreement"].items()]
    if report["seconds"]:
        lines.append(f"made in {report['seconds']:,.0f} s")
    lines.append(f"computed on {in_words(report['computed_on'])}; {BITS}")
    return "\n".join(lines)
