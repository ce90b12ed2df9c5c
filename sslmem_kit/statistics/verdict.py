"""Verdict on a study's scores: one sentence, and what can and cannot be said."""

from __future__ import annotations

from typing import Any, NamedTuple

import numpy as np
import xarray as xr

from sslmem_kit.names import BOUND
from sslmem_kit.statistics.effect import EFFECT, OVER, UNITS, by_name, effects
from sslmem_kit.statistics.numbers import number
from sslmem_kit.statistics.order import order_caveat
from sslmem_kit.statistics.precision import TARGET

LEVEL = 0.05
"""p-value below which encoders are said to have memorized."""
MAIN = "(C-I)/2"
"""Effect that the verdict is on, or the next where it is not known."""


class Verdict(NamedTuple):
    """A sentence, then what can and what cannot be said, a sentence each."""

    sentence: str
    can: list[str]
    cannot: list[str]


def verdict(found: xr.Dataset, order: xr.Dataset | None = None, *, meaningless: str | None = None) -> Verdict:
    """Verdict on the effects of membership and the order of samples.

    Parameters
    ----------
    found
        Of :func:`sslmem_kit.statistics.effect.effects`.
    order
        Of :func:`sslmem_kit.statistics.order.rank_scores`; None where it is not known.
    meaningless
        Why the scores mean nothing (:func:`sslmem_kit.statistics.caveats.meaningless`), so that nothing can be said; None where they do.

    Examples
    --------
    >>> from sslmem_kit.scores import _example, score
    >>> from sslmem_kit.statistics import effects
    >>> verdict(effects(score(_example.results()))).sentence.partition(" (p")[0]
    'memorized: training on a sample lowers its alignment by 0.1873, over 3 trainings between +0.1766 and +0.1980'
    """
    known = [name for name in found[EFFECT].values if np.isfinite(found["value"].sel({EFFECT: name}))]
    if meaningless or not known:
        return Verdict(f"no verdict: {meaningless or 'no two partitions can be compared'}", [], ["anything about memorization"])
    one = found.sel({EFFECT: known[0]})
    value, (low, high), p = float(one["value"]), one["interval"].transpose(BOUND).values, float(one["p"])
    over, count = str(one["over"].item()), int(one["seeds"])
    single, trainings = over == "samples", f"{count} trainings" if over == "seeds" else "trainings"
    units = UNITS[str(one["unit"].item())]
    interval = "" if np.isnan(low) else f", over {units if single else trainings} between {number(low)} and {number(high)}"
    chance = f" (p = {p:.1g} over {units}, given these encoders)"
    of_range = " of the candidates' range" if found.attrs.get("protocol", "corrected") not in ("corrected", "") else ""
    effect = (
        f"training on a sample {'lowers' if value >= 0 else 'raises'} its alignment by {number(abs(value)).lstrip('+')}{of_range}"
    )
    if np.isnan(p):
        return Verdict(
            f"no verdict: {effect}{interval}, and whether that is chance cannot be tested: a partition has fewer than 2 {units}, or "
            "all its scores are equal",
            [],
            ["whether these encoders memorized their candidates"],
        )
    if p > 1 - LEVEL / 2:
        sentence = (
            f"the other way round: {effect}{interval}{chance}; are f and g confused, or do g's encoders lack more than membership?"
        )
    elif not p < LEVEL:
        sentence = f"no memorization found: {effect}{interval}{chance}"
    elif single:
        sentence = f"memorized by these encoders: {effect}{interval}{chance}; of one training, others are not known"
    elif low > 0:
        sentence = f"memorized: {effect}{interval}{chance}"
    else:
        sentence = f"memorized by these encoders{chance}, which others may not: {effect}{interval}"
    can = [f"whether these encoders memorized their candidates, by {known[0]}, and by how much on average"]
    cannot = []
    if single:
        cannot.append("how another training would come out: one seed says nothing of it")
    else:
        can.append(f"how other {OVER[over].partition(' (')[0]} would come out, for these samples")
    told = _of_order(order)
    (can if told.startswith("the order of single samples, ") else cannot).append(told)
    cannot.append("that a score or a mean is memorization because it is not zero: both contain the offset of the trainings")
    cannot.append("that one study memorizes more than another with other views, another protocol or another range")
    return Verdict(sentence, can, cannot)


def conclude(scores: xr.Dataset, order: xr.Dataset | None = None, *, meaningless: str | None = None) -> dict[str, Any]:
    """Verdict on scores and the effects that it rests on, as the report's JSON, exports and the explorer carry them.

    Parameters
    ----------
    scores
        Of :func:`sslmem_kit.scores.score`, with ``alignment_by_encoder``.
    order, meaningless
        As in :func:`verdict`.

    Returns
    -------
    ``verdict``, a mapping of ``sentence``, ``can`` and ``cannot``, and ``effect``, of :func:`sslmem_kit.statistics.effect.by_name`.

    Examples
    --------
    >>> from sslmem_kit.scores import _example, score
    >>> found = conclude(score(_example.results()))
    >>> found["verdict"]["sentence"].partition(":")[0], list(found["effect"])
    ('memorized', ['(C-I)/2', 'C-S'])
    """
    found = effects(scores)
    return {"verdict": verdict(found, order, meaningless=meaningless)._asdict(), "effect": by_name(found)}


def _of_order(order: xr.Dataset | None) -> str:
    """Sentence on the order of single samples."""
    if order is None:
        return "which sample is memorized more than another: the reliability of their order is not known"
    if caveat := order_caveat(order):
        return f"which single sample is memorized more than another: {caveat}"
    value, (low, high) = float(order["reliability"]), order["reliability_interval"].values
    words = f"reliability {value:.2f} [{low:.2f}, {high:.2f}] by {order.attrs['encoders']} encoders"
    if low >= TARGET:
        return f"the order of single samples, {words}"
    return f"which single sample is memorized more than another: {words}"
