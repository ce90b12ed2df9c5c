"""Which score finds which planted samples: AUC of a score for planted candidates of a kind against clean ones.

AUC = P(planted > clean) + P(equal) / 2: .5 where a score does not see the kind, 1 where it ranks all of them above all clean samples, below
.5 where it ranks them lower. A score that is about labels alone cannot see what has its image replaced by another of its kind, and one that
uses no labels cannot see a wrong label: .5 there is right. Candidates whose image is that of a planted duplicate's original are not clean.
"""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import xarray as xr

from sslmem_kit.errors import UserError
from sslmem_kit.names import BOUND, BOUNDS, PARTITION, PARTITION_CODE, PLANTED, PLANTED_CODE, PLANTED_OF, SAMPLE, SEED
from sslmem_kit.statistics.roc import auc

UNSEEN = "duplicate_unseen"
"""Kind of duplicates whose original is in their own partition or in none of those that the other family saw: for the others that family saw a
twin, which hides what is memorized."""
SEEN_BY_BOTH = "duplicate_of_shared"
"""Kind of duplicates whose original both families saw."""
KINDS = ("duplicate", UNSEEN, SEEN_BY_BOTH, "mislabelled", "out_of_distribution", "noisy")


def planted_kinds(samples: xr.Dataset, *, partition: str = "candidate") -> xr.Dataset:
    """Return which samples of a partition are of each kind, and which are clean.

    Parameters
    ----------
    samples
        With coordinates ``planted``, ``planted_of`` and ``partition`` on ``sample``: the root of a store, or scores.
    partition
        Whose samples are kept.

    Returns
    -------
    ``member`` on (``kind``, ``sample``) and ``clean`` on ``sample``, bool, of that partition's samples.

    Raises
    ------
    UserError
        Nothing is planted in this study.

    Examples
    --------
    >>> coords = {"sample": [0, 1, 2, 3], "partition": ("sample", [1, 1, 1, 0]), "planted": ("sample", [0, 1, 4, 5])}
    >>> found = planted_kinds(xr.Dataset(coords=coords | {"planted_of": ("sample", [-1, 3, -1, -1])}))
    >>> found["member"].sel(kind=["duplicate_of_shared", "noisy"]).values.tolist(), found["clean"].values.tolist()
    ([[False, True, False], [False, False, True]], [True, False, False])
    """
    if PLANTED not in samples.coords:
        raise UserError(
            "planted: nothing is planted in this study; run one with data.plant, for instance {duplicates: 0.1, mislabelled: 0.1}"
        )
    ids, codes, kind = (samples[name].values for name in (SAMPLE, PARTITION, PLANTED))
    of = samples[PLANTED_OF].values
    place = np.minimum(np.searchsorted(ids, of), len(ids) - 1)
    original = np.where(ids[place] == of, codes[place], PARTITION_CODE["extra"])  # of a sample in no partition: nobody saw it
    other = PARTITION_CODE["independent" if partition == "candidate" else "candidate"]
    copies = kind == PLANTED_CODE["duplicate"]
    members = {
        "duplicate": copies,
        UNSEEN: copies & ~np.isin(original, [PARTITION_CODE["shared"], other]),
        SEEN_BY_BOTH: copies & (original == PARTITION_CODE["shared"]),
        **{name: kind == PLANTED_CODE[name] for name in ("mislabelled", "out_of_distribution", "noisy")},
    }
    here = codes == PARTITION_CODE[partition]
    return xr.Dataset(
        {
            "member": (("kind", SAMPLE), np.stack([members[name][here] for name in KINDS])),
            "clean": (SAMPLE, (kind == PLANTED_CODE["clean"])[here]),
        },
        {"kind": list(KINDS), SAMPLE: ids[here]},
    )


def planted_table(replicates: Mapping[str, xr.DataArray], samples: xr.Dataset, *, partition: str = "candidate") -> xr.Dataset:
    """AUC of each score for each planted kind.

    Parameters
    ----------
    replicates
        Each score's replicates on (``sample``, ``seed``), or on ``sample`` alone, higher = more memorized, NaN where a sample has none.
    samples, partition
        Of :func:`planted_kinds`.

    Returns
    -------
    On (``score``, ``kind``): ``auc`` of the score, the mean over seeds, its ``interval`` on ``bound`` (95 %, DeLong) and ``p`` (AUC = .5,
    two-sided), over samples given the encoders; ``auc_of_seed``, the mean of the AUC of single seeds, and its ``interval_of_seed`` over samples
    and seeds, NaN with one seed; ``n_planted`` and ``n_clean``. NaN with fewer than two samples of either. On ``score``: ``seeds``.

    References
    ----------
    DeLong, DeLong and Clarke-Pearson, Biometrics 44 (1988).

    Examples
    --------
    >>> coords = {"sample": range(40), "partition": ("sample", [1] * 40), "planted": ("sample", [4] * 10 + [0] * 30)}
    >>> samples = xr.Dataset(coords=coords | {"planted_of": ("sample", [-1] * 40)})
    >>> score = xr.DataArray(np.r_[np.arange(20, 30), np.arange(30)].astype(float), dims="sample", coords={"sample": range(40)})
    >>> found = planted_table({"sslmem": score}, samples).sel(score="sslmem", kind="noisy")
    >>> found["auc"].round(2).item(), found["interval"].round(2).values
    (0.83, array([0.67, 0.93]))
    """
    kinds = planted_kinds(samples, partition=partition)
    names = list(replicates)
    shape = (len(names), len(KINDS))
    values = {name: np.full(shape, np.nan) for name in ("auc", "p", "auc_of_seed")}
    ends = {name: np.full((*shape, 2), np.nan) for name in ("interval", "interval_of_seed")}
    counts = {name: np.zeros(shape, int) for name in ("n_planted", "n_clean")}
    seeds = []
    for i, array in enumerate(replicates.values()):
        array = array if SEED in array.dims else array.expand_dims(SEED)
        table = array.reindex({SAMPLE: kinds[SAMPLE].values}).transpose(SEED, SAMPLE).values.astype(float)
        table = table[np.isfinite(table).any(axis=1)]
        seeds.append(len(table))
        whole = np.isfinite(table).all(axis=0) & bool(len(table))
        clean = kinds["clean"].values & whole
        for j, member in enumerate(kinds["member"].values):
            own = member & whole
            counts["n_planted"][i, j], counts["n_clean"][i, j] = own.sum(), clean.sum()
            if min(own.sum(), clean.sum()) < 2:
                continue
            chosen = own | clean
            found = auc(table[:, chosen].mean(axis=0), own[chosen])
            values["auc"][i, j], values["p"][i, j], ends["interval"][i, j] = found["auc"], found["p"], found["interval"]
            if len(table) > 1:
                single = auc(table[:, chosen], np.broadcast_to(own[chosen], (len(table), chosen.sum())))
                values["auc_of_seed"][i, j], ends["interval_of_seed"][i, j] = single["auc"], single["interval"]
    both = ("score", "kind")
    return xr.Dataset(
        {
            **{name: (both, found) for name, found in (values | counts).items()},
            **{name: ((*both, BOUND), found) for name, found in ends.items()},
            "seeds": ("score", seeds),
        },
        {"score": names, "kind": list(KINDS), BOUND: list(BOUNDS)},
        {"partition": partition, "confidence": 0.95},
    )
