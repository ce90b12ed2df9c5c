"""Deja Vu memorization as shares of samples: f names the class from a part without the object, and g, which was not trained on it, does not.

Samples are ``memorized`` (f names the class, g does not), ``misrepresented`` (g alone), ``correlated`` (both) or ``unassociated`` (neither).
The share of the memorized is the paper's score (Table 4). It has a floor: two encoders that saw neither differ in what they name too. ``net``,
memorized minus misrepresented, has none: f and g of the same distribution name as much. It is the difference of their accuracies, and on
independent samples, which g alone was trained on, it is negative.

References
----------
Meehan et al., NeurIPS 2023; Kokhlikyan et al., NeurIPS 2024; Agresti and Caffo, The American Statistician 54 (2000).
"""

from __future__ import annotations

import numpy as np
import xarray as xr

from sslmem_kit.names import BOUND, BOUNDS, PAIR, PARTITION, PARTITION_CODE, SEED
from sslmem_kit.scores.selection import designs
from sslmem_kit.statistics.confident import by_confidence
from sslmem_kit.statistics.paired_shares import half_difference, paired_shares, student_interval


def one_encoder(held: np.ndarray, reference: np.ndarray, public_held: np.ndarray, public_reference: np.ndarray) -> xr.Dataset:
    """Share of samples that an encoder names and a reference without encoder does not, above the same share of public samples.

    Parameters
    ----------
    held, reference
        1 where the encoder, or the reference, names the class of a sample of the study, else 0: (sample, encoder); rows with NaN are left out.
    public_held, public_reference
        The same of public samples, which no encoder saw: (public, encoder).

    Returns
    -------
    ``share`` and ``public_share``, means over encoders; ``excess``, their difference; its ``interval_samples`` (95 %, over samples of both
    sides, given these encoders) and ``interval_seeds``, on ``bound``; ``n``, ``n_public`` and ``encoders``.

    Notes
    -----
    The excess is memorization as far as samples of the study and public ones differ in nothing but membership: a test split of its own
    distribution moves it. The reference learned from the public samples, each without its own fold, and knows less of backgrounds than an
    encoder; what it misses is in both shares.

    Examples
    --------
    >>> one, zero = np.ones((40, 1)), np.zeros((40, 1))
    >>> one_encoder(one, zero, zero, zero)["excess"].item()
    1.0
    """
    sides = []
    for names, misses in ((held, reference), (public_held, public_reference)):
        known = np.isfinite(names).all(axis=1) & np.isfinite(misses).all(axis=1)
        sides.append((names[known] > 0) & ~(misses[known] > 0))
    (n, encoders), n_public = sides[0].shape, len(sides[1])
    unknown = np.full(2, np.nan)
    over_samples = over_seeds = unknown
    shares = [side.mean(axis=0) if len(side) else np.full(encoders, np.nan) for side in sides]
    excess = shares[0] - shares[1]
    if min(n, n_public) > 1:
        # One success and one failure more on each side, as Agresti and Caffo, and as variable as means over encoders are.
        parts = []
        for side in sides:
            values, more = side.mean(axis=1), len(side) + 2
            centre = (values.sum() + 1) / more
            parts.append((centre, ((values**2).sum() + 1) / more - centre**2, more))
        variance = sum(spread / more for _, spread, more in parts)
        over_samples = student_interval(parts[0][0] - parts[1][0], variance, min(n, n_public) - 1)
        if encoders > 1:
            over_seeds = student_interval(excess.mean(), excess.var(ddof=1) / encoders, encoders - 1)
    return xr.Dataset(
        {
            "share": shares[0].mean(),
            "public_share": shares[1].mean(),
            "excess": excess.mean(),
            "interval_samples": (BOUND, over_samples),
            "interval_seeds": (BOUND, over_seeds),
            "n": n,
            "n_public": n_public,
            "encoders": encoders,
        },
        {BOUND: list(BOUNDS)},
    )


def one_encoders(raw: xr.Dataset, chosen: np.ndarray) -> xr.Dataset:
    """Excess of what encoders of family f name of some samples, as :func:`one_encoder`.

    Parameters
    ----------
    raw
        As in :func:`summary`, with what was measured of single encoders.
    chosen
        Whether each sample is one of these, (sample,).
    """
    _, of_f, _ = paired_encoders(raw)
    columns = []
    for name, dim in (("held_named", "sample"), ("reference_named", "sample"), ("public_held_named", "public_sample"),
                      ("public_reference_named", "public_sample")):  # fmt: skip
        values = raw[name].transpose(dim, "encoder").values[:, of_f]
        columns.append(values[chosen] if dim == "sample" else values)
    return one_encoder(*columns)


def paired_encoders(raw: xr.Dataset) -> tuple[list[int], list[int], list[int]]:
    """Seeds that have an encoder of f and one of g, and the positions of these on ``encoder``.

    Parameters
    ----------
    raw
        With ``family`` and ``seed`` on ``encoder``, and ``design`` where there are encoders other than pairs.

    Examples
    --------
    >>> coords = {"family": ("encoder", ["f", "g", "f"]), "seed": ("encoder", [4, 4, 5])}
    >>> paired_encoders(xr.Dataset(coords=coords))
    ([4], [0], [1])
    """
    pair = designs(raw) == PAIR
    keys = list(zip(raw["family"].values.tolist(), raw["seed"].values.tolist(), strict=True))
    places = {key: place for place, key in enumerate(keys) if pair[place]}
    seeds = [seed for family, seed in places if family == "f" and ("g", seed) in places]
    return seeds, [places["f", seed] for seed in seeds], [places["g", seed] for seed in seeds]


def summary(raw: xr.Dataset, codes: np.ndarray) -> xr.Dataset:
    """Shares of every partition, for every crop and number of neighbours.

    Parameters
    ----------
    raw
        Group ``/dejavu`` of a store, with ``family`` and ``seed`` on ``encoder``: ``named`` and ``confidence`` on (sample, crop, neighbours,
        encoder).
    codes
        Partition code of each sample, (sample,).

    Returns
    -------
    On (``partition``, ``crop``, ``neighbours``) what :func:`paired_shares` returns, and with ``confident_`` before their names what
    :func:`by_confidence` does; on (``crop``, ``neighbours``) with ``effect_`` before their names what :func:`half_difference` does.
    """
    seeds, of_f, of_g = paired_encoders(raw)
    values = {name: raw[name].transpose("sample", "crop", "neighbours", "encoder").values for name in ("named", "confidence")}
    rows = []
    for crop in range(raw.sizes["crop"]):
        for count in range(raw.sizes["neighbours"]):
            f, g = (values["named"][:, crop, count, places] for places in (of_f, of_g))
            sure = {key: values["confidence"][:, crop, count, places] for key, places in (("f", of_f), ("g", of_g))}
            parts = []
            for code in PARTITION_CODE.values():
                chosen = codes == code
                confident = by_confidence({"f": f[chosen], "g": g[chosen]}, {key: part[chosen] for key, part in sure.items()})
                renamed = confident.rename({name: f"confident_{name}" for name in confident.data_vars})
                parts.append(xr.merge([paired_shares(f[chosen], g[chosen]), renamed]))
            table = xr.concat(parts, PARTITION)
            effect = half_difference(f, g, codes)
            rows.append(table.merge(effect.rename({name: f"effect_{name}" for name in effect.data_vars})))
    stacked = xr.concat(rows, "cell")
    product = {name: raw[name].values for name in ("crop", "neighbours")}
    cells = np.arange(len(rows)).reshape(raw.sizes["crop"], raw.sizes["neighbours"])
    unstacked = stacked.isel(cell=xr.DataArray(cells, dims=("crop", "neighbours")))
    return unstacked.assign_coords({PARTITION: list(PARTITION_CODE), SEED: seeds, **product})
