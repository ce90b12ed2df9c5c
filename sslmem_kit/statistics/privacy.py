"""Privacy audit of the encoders of a study whose candidates were chosen by coin (``partition.coin``).

The coin of a candidate fell heads for encoders of f, that of an independent for those of g. The signal of a sample is minus its alignment
under the audited encoder alone; with three seeds of random subsets it is LiRA's offline signal, whose references are trained on random cuts
of all samples, whatever the coins. Other encoders of pairs are no references: all of them are trained by the same coins. Of groups that share
a coin, the mean over members is the signal of one coin, and epsilon is that of a group.
"""

from __future__ import annotations

import json

import numpy as np
import xarray as xr

from sslmem_kit.errors import UserError
from sslmem_kit.names import ENCODER, FAMILIES, GROUP, PAIR, PARTITION_CODE, SAMPLE, SEED
from sslmem_kit.scores.comparisons.membership import attack, missing_subsets
from sslmem_kit.scores.comparisons.privacy import coin_problem
from sslmem_kit.scores.selection import designs
from sslmem_kit.statistics.privacy_audit import audit

DELTA = 1e-5
"""Delta of an audit of encoders that claim none."""


def audit_encoders(
    results: xr.Dataset, *, delta: float | None = None, confidence: float = 0.95, guesses: int | None = None
) -> xr.Dataset:
    """Lower bound on epsilon of each encoder of a pair.

    Parameters
    ----------
    results
        Root of a results store.
    delta
        None: that of ``training.privacy``, 1e-5 without it.
    confidence, guesses
        As in :func:`sslmem_kit.statistics.privacy_audit.audit`.

    Returns
    -------
    That of :func:`sslmem_kit.statistics.privacy_audit.audit` on ``encoder``, with ``family`` and ``seed``; the attrs ``signal``
    (``alignment`` or ``lira_offline``), ``unit`` (``sample`` or ``group``) and ``largest``, the number of samples of the largest unit.

    Raises
    ------
    UserError
        Candidates were not chosen by coin, or too few of them.

    Examples
    --------
    >>> from sslmem_kit.scores import _example
    >>> audit_encoders(_example.results())
    Traceback (most recent call last):
    ...
    sslmem_kit.errors.UserError: partition.coin: a split of fixed size is no independent coins, on which the bound rests; train a study with \
partition: {coin: true}
    """
    if problem := coin_problem(results):
        raise UserError(problem)
    spec = json.loads(results.attrs["spec"])
    trained_at: float = (spec["training"].get("privacy") or {}).get("delta", DELTA)
    delta = trained_at if delta is None else delta
    name = "alignment" if missing_subsets(results) else "lira_offline"
    signal = attack(results, name).transpose(ENCODER, SAMPLE).values
    codes, family = results["partition"].values, results["family"].values
    pool = np.flatnonzero(np.isin(codes, [PARTITION_CODE[side] for side in ("candidate", "independent")]))
    unit = results[GROUP].values[pool] if GROUP in results.coords else pool
    _, first, of_unit, sizes = np.unique(unit, return_index=True, return_inverse=True, return_counts=True)
    rows, positions = [], np.flatnonzero((designs(results) == PAIR) & np.isin(family, FAMILIES))
    for position in positions:
        heads = codes[pool[first]] == PARTITION_CODE["candidate" if family[position] == "f" else "independent"]
        mean = np.bincount(of_unit, signal[position, pool]) / sizes
        rows.append(audit(mean, heads, delta=delta, confidence=confidence, guesses=guesses))
    found = xr.concat(rows, ENCODER, combine_attrs="override")
    names = {key: (ENCODER, results[key].values[positions]) for key in ("family", SEED)}
    return found.assign_coords({ENCODER: results[ENCODER].values[positions], **names}).assign_attrs(
        signal=name, unit="group" if GROUP in results.coords else "sample", largest=int(sizes.max())
    )
