"""Table 4 of the paper: SSLMem beside Deja Vu memorization, method by method, with the floor of the latter and its net share."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from sslmem_kit.names import PARTITION
from sslmem_kit.report.comparisons.dejavu import as_json, interval, share, with_sd
from sslmem_kit.report.tables import plain
from sslmem_kit.statistics.effect import seed_summary
from sslmem_kit.statistics.numbers import number
from sslmem_kit.study import Study


def table4(study: Study) -> dict[str, Any]:
    """Return a row of the paper's Table 4: a method's SSLMem, Deja Vu share and accuracy, with what the share lacks there.

    Parameters
    ----------
    study
        A study with the comparison ``dejavu``.

    Returns
    -------
    ``method``, ``data``; ``sslmem`` and ``accuracy`` (linear probe of f), means over seeds, with ``_sd`` over them; ``dejavu``, the share of
    the candidates that f alone names, and ``floor``, that g alone does, with their ``_sd``; ``net`` and ``effect`` with their intervals over
    samples and trainings; ``n`` candidates and ``seeds``.
    """
    found = as_json(study)
    candidates = found["partitions"]["candidate"]
    scores = seed_summary(study.scores()).sel({PARTITION: "candidate"})
    downstream, root = study.tree["downstream"].to_dataset(), study.tree.to_dataset()
    of_f = root["encoder"].values[root["family"].values == "f"]
    accuracy = downstream["accuracy"].sel(encoder=of_f, probe="linear").isel(task=0).values
    return {
        "method": study.spec.objective.method,
        "data": study.spec.data.name,
        "sslmem": plain(scores["mean"]),
        "sslmem_sd": plain(scores["sd"]),
        "dejavu": candidates["memorized"],
        "dejavu_sd": candidates["memorized_sd"],
        "floor": candidates["misrepresented"],
        "floor_sd": candidates["misrepresented_sd"],
        "net": candidates["net"],
        "net_interval": candidates["interval"],
        "effect": found["effect"]["value"],
        "effect_interval": found["effect"]["interval"],
        "accuracy": float(accuracy.mean()),
        "accuracy_sd": float(accuracy.std(ddof=1)) if len(accuracy) > 1 else float("nan"),
        "n": candidates["n"],
        "seeds": candidates["seeds"],
    }


def table4_as_text(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Return the lines of Table 4, from rows of :func:`table4` without NaN.

    Examples
    --------
    >>> row = {"method": "mae", "data": "mnist5k", "net": 0.05, "net_interval": [0.01, 0.09], "effect": 0.04, "effect_interval": [0.01, 0.07]}
    >>> row |= {"sslmem": 0.02, "sslmem_sd": 0.01, "dejavu": 0.3, "dejavu_sd": 0.01, "floor": 0.25, "floor_sd": None}
    >>> for line in table4_as_text([row | {"accuracy": 0.9, "accuracy_sd": None}]):
    ...     print(line)
    method   data              SSLMem       f alone (sd)   g alone (sd)   net share              (C - I) / 2            accuracy
    mae      mnist5k           +0.0200      30.0% (sd 1.0) 25.0%          +5.00% [+1.00, +9.00]  +4.00% [+1.00, +7.00]  90.0%
    """
    layout = "{:<8} {:<17} {:<12} {:<14} {:<14} {:<22} {:<22} {}"
    lines = [layout.format("method", "data", "SSLMem", "f alone (sd)", "g alone (sd)", "net share", "(C - I) / 2", "accuracy")]
    for row in rows:
        shares = [with_sd(row[key], row[f"{key}_sd"]) for key in ("dejavu", "floor", "accuracy")]
        nets = [f"{share(row[key])} {interval(row[f'{key}_interval'])}" for key in ("net", "effect")]
        lines.append(layout.format(row["method"], row["data"], number(row["sslmem"]), *shares[:2], *nets, shares[2]))
    return lines
