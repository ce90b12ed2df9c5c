"""Privacy in a report: what DP-SGD claims beside what an audit shows."""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Any

import numpy as np

from sslmem_kit.names import ENCODER
from sslmem_kit.statistics.privacy import audit_encoders
from sslmem_kit.statistics.privacy_audit import BOUNDS_BY
from sslmem_kit.store.comparisons import options_of, stored_comparisons
from sslmem_kit.study import StudyResults


def as_json(study: StudyResults) -> dict[str, Any]:
    """Mapping of :func:`sslmem_kit.statistics.privacy.audit_encoders`.

    Returns
    -------
    ``confidence``, ``delta``, ``signal``, ``unit``, ``largest`` unit, the bound that is ``chosen``, and ``encoders``: of each ``encoder``,
    ``claimed`` (what its training spent; None without DP-SGD), ``shown`` (the chosen lower bound), ``steinke``, ``f_dp`` and ``gaussian``,
    ``guesses``, ``right``, ``coins``, ``heads`` and ``accuracy`` of guessing all coins.
    """
    options = options_of(stored_comparisons(study.tree).get("privacy", study.results.drop_vars(study.results.data_vars)))
    given = {key: options[key] for key in ("delta", "confidence", "guesses") if key in options}
    found = audit_encoders(study.results, **given)
    chosen = found.attrs["chosen"]
    rows = []
    for name in found[ENCODER].values:
        one = found.sel({ENCODER: name})
        best = one.sel(by=chosen)
        rows.append(
            {
                "encoder": str(name),
                "claimed": _claimed(study, str(name)),
                "shown": best["epsilon"].item(),
                **{by: one["epsilon"].sel(by=by).item() for by in BOUNDS_BY},
                **{key: best[key].item() for key in ("guesses", "right", "coins", "heads", "accuracy")},
            }
        )
    facts = {key: found[key].values[0].item() for key in ("confidence", "delta")}
    return {**facts, **{key: found.attrs[key] for key in ("signal", "unit", "largest", "chosen")}, "encoders": rows}


def _claimed(study: StudyResults, encoder: str) -> float | None:
    """Return the epsilon that the training of an encoder spent; None where it is not known, or was not private."""
    path = study.encoder(encoder) / "config.json"
    return json.loads(path.read_text(encoding="utf-8")).get("epsilon") if path.is_file() else None


def as_text(found: Mapping[str, Any]) -> list[str]:
    """Lines for a person, the verdict first.

    Examples
    --------
    >>> row = {"encoder": "f-0", "claimed": 8.0, "shown": 0.4, "steinke": 0.4, "f_dp": 0.4, "gaussian": 0.9, "guesses": 100, "right": 70}
    >>> given = {"confidence": 0.95, "delta": 1e-5, "signal": "alignment", "unit": "sample", "largest": 1, "chosen": "f_dp"}
    >>> print("\\n".join(as_text({**given, "encoders": [{**row, "coins": 300, "accuracy": 0.55}]})))
    shown: epsilon above 0.40 of f-0, the most of 1 encoder (confidence 95 % of each, delta 1e-05); no claim is refuted
    encoder  claimed  shown  if Gaussian  right of guesses  coins  accuracy of all
    f-0         8.00   0.40         0.90         70 of 100    300            0.550
    each bound is of one encoder, f or g, by alignment; those who hold both, or several seeds, learn more
    """
    rows = found["encoders"]
    best = max(rows, key=lambda row: row["shown"])
    refuted = [row["encoder"] for row in rows if row["claimed"] is not None and row["shown"] > row["claimed"]]
    group = found["unit"] == "group" and found["largest"] > 1
    private = any(row["claimed"] is not None for row in rows)
    verdict = (
        f"the claims of {', '.join(refuted)} are refuted: noise, clipping or accounting is wrong, or this is one of the chance cases"
        if refuted and not group
        else "no claim is refuted"
        if private
        else "no privacy is claimed"
    )
    head = (
        f"epsilon above {best['shown']:.2f} of {best['encoder']}, the most"
        if best["shown"] > 0
        else "nothing, epsilon is 0 or above, the most"
    )
    count = f"{len(rows)} encoder{'s' * (len(rows) > 1)}"
    lines = [
        f"shown: {head} of {count} (confidence {100 * found['confidence']:.0f} % of each, delta {found['delta']:.0e}); {verdict}",
        f"{'encoder':7}  claimed  shown  if Gaussian  right of guesses  coins  accuracy of all",
    ]
    for row in rows:
        claimed = "-" if row["claimed"] is None or not np.isfinite(row["claimed"]) else f"{row['claimed']:.2f}"
        right = f"{row['right']:,} of {row['guesses']:,}"
        numbers = f"{row['shown']:5.2f}  {row['gaussian']:11.2f}  {right:>16}  {row['coins']:5,}  {row['accuracy']:15.3f}"
        lines.append(f"{row['encoder']:7}  {claimed:>7}  {numbers}")
    lines.append(f"each bound is of one encoder, f or g, by {found['signal']}; those who hold both, or several seeds, learn more")
    if group:
        lines.append(f"coins are of groups of up to {found['largest']} samples: epsilon is of a group, claims are of a sample")
    return lines
