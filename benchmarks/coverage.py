"""Whether printed tests and intervals hold over trainings, on simulated studies with a known truth; `benchmarks/calibration.py` prints it.

type_one    share of studies, nothing memorized, in which a printed test is below 5 %, by setting and alternative; ``(C-I)/2`` and ``C-S``
            are the tests of the effects, ``zero`` the paper's against zero, which is printed as containing the offset, and ``interval`` the
            share in which the effect's interval over trainings excludes zero.
coverage    share of printed 95 % intervals that hold the truth, by setting: of the effects, of the partitions' means, of the candidates'
            reliability, and of single samples by partition, with the share of studies that cover less than 80 % of theirs.
views_free  mean candidate score less its truth, with its standard error, by protocol and number of views.

The truth is that of the trainings that might have been drawn, for the samples and the partition of the study. Settings vary what a study may be
like: seeds, views, the offset of trainings (in units of the noise of a sample), how much candidates spread, coupling, and sizes.
"""

from __future__ import annotations

import itertools
from typing import Any

import numpy as np
import xarray as xr

from sslmem_kit import scores
from sslmem_kit.data.partition import trained_on
from sslmem_kit.names import ALIGNMENT, PARTITION_CODE, PARTITIONS, TRAINED_ON
from sslmem_kit.statistics import effects, partition_tests, rank_scores, seed_summary, wilson_interval

BETWEEN = 1.3
"""Distances of two random views, and what membership does to them, over those of the clean image and a view."""
NOISE = 0.016
"""About the noise of a sample's score with three seeds and five views; an offset of 1 is as large."""
SETTINGS: dict[str, dict[str, Any]] = {
    "as measured": {},
    "no offset": {"offset": 0},
    "offset twice the noise": {"offset": 2},
    "candidates spread 1.3": {"spread": 1.3},
    "2 seeds": {"seeds": 2},
    "10 seeds": {"seeds": 10},
    "3 views": {"views": 3},
    "10 views": {"views": 10},
    "uncoupled": {"coupled": False},
    "unpaired": {"paired": False, "coupled": False},
    "330 samples": {"samples": 330},
    "normal noise": {"tails": 200},
}
VIEWS = (1, 2, 3, 4, 5, 7, 10, 15, 20)


def study(
    seed: int,
    memorized: float,
    *,
    samples: int = 1584,
    seeds: int = 3,
    views: int = 5,
    offset: float = 0.5,
    spread: float = 1.0,
    coupled: bool = True,
    paired: bool = True,
    tails: int = 5,
    effect: float = 0.03,
) -> tuple[xr.Dataset, np.ndarray]:
    """Root of a made-up results store, and what membership does to the distance of the clean image and a view, (sample,).

    Parameters
    ----------
    seed
        Of the study.
    memorized
        Share of the candidates and of the independents that are.
    offset
        Of a difference of two trainings, in units of :data:`NOISE` with three seeds.
    spread
        Noise of candidates and independents over that of the others.
    coupled
        Whether what a training does to a sample has a part in common for f and g of a seed.
    paired
        Whether f and g have seeds in common.
    tails
        Degrees of freedom of the noise.
    effect
        Mean of what training on a memorized sample takes off its alignment.
    """
    rng = np.random.Generator(np.random.Philox(seed))
    codes = rng.permutation(np.repeat(np.arange(4), [samples * 8 // 11, *[samples // 11] * 3]))
    n, encoders = len(codes), 2 * seeds
    family = np.array(["f", "g"] * seeds)
    seen = trained_on(codes, list(family))
    differ = np.isin(codes, [PARTITION_CODE[name] for name in ("candidate", "independent")])
    hardness = rng.gamma(16, 0.3 / 16, n)
    scale = (hardness * np.where(differ, spread, 1))[:, None]
    noise = rng.standard_t(tails, (n, encoders)) / np.sqrt(tails / (tails - 2))
    own = 0.05 * noise + (0.06 * np.repeat(rng.normal(size=(n, seeds)), 2, axis=1) if coupled else 0)
    common = rng.normal(0, offset * NOISE * np.sqrt(3 / 2), encoders)
    taken = np.where(differ & (rng.random(n) < memorized), rng.gamma(4, effect / 4, n), 0)
    a, b = np.array(list(itertools.combinations(range(views + 1), 2))).T
    of_all, of_each = rng.normal(size=(n, views + 1, 1)), rng.normal(size=(n, views + 1, encoders))
    of_all[:, 0], of_each[:, 0] = 0, 0
    by_view = 0.15 * of_all + 0.08 * of_each
    between = a > 0
    beyond = 0.08 * rng.normal(size=(n, len(a), encoders)) * between[:, None]
    kind = np.where(between, BETWEEN, 1)[:, None]
    level = (hardness[:, None] + scale * own - taken[:, None] * seen)[:, None] * kind + common
    values = level + scale[..., None] * (by_view[:, a] + by_view[:, b] + beyond)
    numbers = np.repeat(np.arange(seeds), 2) if paired else np.arange(encoders)
    return xr.Dataset(
        {ALIGNMENT: (("sample", "augmentation", "encoder"), values), TRAINED_ON: (("sample", "encoder"), seen)},
        coords={
            "sample": np.arange(n),
            "partition": ("sample", codes),
            "label": ("sample", codes * 0),
            "view_a": ("augmentation", a),
            "view_b": ("augmentation", b),
            "encoder": [f"{name}-{number}" for name, number in zip(family, numbers, strict=True)],
            "family": ("encoder", family),
            "seed": ("encoder", numbers),
        },
    ), taken


def truth(taken: np.ndarray, codes: np.ndarray, protocol: str) -> np.ndarray:
    """True score of every sample under a protocol."""
    of_kinds = {"released": 1.0, "paper": BETWEEN, "corrected": 1 / 3 + 2 * BETWEEN / 3}[protocol]
    return of_kinds * taken * np.where(codes == PARTITION_CODE["independent"], -1, 1)


def type_one(studies: int) -> dict[str, Any]:
    """Shares of tests below 5 % where nothing is memorized."""
    result = {}
    for name, setting in SETTINGS.items():
        below: dict[str, list[bool]] = {}
        for seed in range(studies):
            found = scores.score(study(seed, 0, **setting)[0])
            tests, effect = partition_tests(found), effects(found)
            for alternative, p, zero in zip(tests["alternative"].values, tests["p"].values, tests["p_zero"].values, strict=True):
                below.setdefault(str(alternative), []).append(p <= 0.05)
                if np.isfinite(zero):
                    below.setdefault(f"{alternative} zero", []).append(zero <= 0.05)
            for one in effect["effect"].values:
                row = effect.sel(effect=one)
                below.setdefault(str(one), []).append(float(row["p"]) <= 0.05)
                low, high = row["interval"].values
                below.setdefault(f"{one} interval", []).append(bool(low > 0 or high < 0))
        result[name] = {key: _share(sum(values), len(values)) for key, values in below.items()}
    return result


def coverage(studies: int) -> dict[str, Any]:
    """Shares of printed intervals that hold the truth, a third of the candidates memorized."""
    result = {}
    for name, setting in SETTINGS.items():
        held: dict[str, list[float]] = {}
        for seed in range(studies):
            root, taken = study(50_000 + seed, 1 / 3, **setting)
            codes = root["partition"].values
            for protocol in scores.usable_protocols(root):
                found, true = scores.score(root, protocol=protocol), truth(taken, codes, protocol)
                inside = (found["low"].values <= true) & (true <= found["high"].values)
                for partition in PARTITIONS:
                    members = codes == PARTITION_CODE[partition]
                    held.setdefault(f"sample, {protocol}, {partition}", []).append(inside[members].mean())
            means = {
                partition: true[codes == PARTITION_CODE[partition]].mean() for partition in PARTITIONS
            }  # of corrected, the last
            trainings, effect = seed_summary(found), effects(found)
            expected = {"(C-I)/2": (means["candidate"] - means["independent"]) / 2, "C-S": means["candidate"] - means["shared"]}
            for one, value in expected.items():
                low, high = effect["interval"].sel(effect=one).values
                held.setdefault(one, []).append(low <= value <= high)
            if trainings["seeds"] > 1:
                for partition, value in means.items():
                    low, high = trainings["interval"].sel(partition=partition).values
                    held.setdefault(f"mean, {partition}", []).append(low <= value <= high)
            order = rank_scores(root)
            if np.isfinite(order["reliability"]):  # encoders that are no pairs have none
                held.setdefault("reliability", []).append(_holds_reliability(order, setting))
        result[name] = {
            key: {"mean": float(np.mean(values)), "low_studies": float(np.mean(np.array(values) < 0.8)), "studies": len(values)}
            if key.startswith("sample")
            else _share(int(sum(values)), len(values))
            for key, values in held.items()
        }
    return result


_TRUE_RELIABILITY: dict[str, float] = {}


def _holds_reliability(order: xr.Dataset, setting: dict[str, Any]) -> bool:
    """Whether the interval holds the share of true scores in the variance of candidates' scores, from 40 other studies."""
    key = repr(setting)
    if key not in _TRUE_RELIABILITY:
        within, total = [], []
        for seed in range(40):
            root, taken = study(90_000 + seed, 1 / 3, **setting)
            members = root["partition"].values == PARTITION_CODE["candidate"]
            within.append(truth(taken, root["partition"].values, "corrected")[members].var(ddof=1))
            total.append(scores.score(root)["difference"].values[members].var(ddof=1))
        _TRUE_RELIABILITY[key] = float(np.mean(within) / np.mean(total))
    low, high = order["reliability_interval"].values
    return bool(low <= _TRUE_RELIABILITY[key] <= high)


def views_free(studies: int) -> dict[str, Any]:
    """Mean candidate score less its truth, by protocol and number of views."""
    result: dict[str, Any] = {}
    for views in VIEWS:
        errors: dict[str, list[float]] = {}
        for seed in range(studies):
            root, taken = study(70_000 + seed, 1 / 3, views=views, samples=660, offset=0)
            members = root["partition"].values == PARTITION_CODE["candidate"]
            for protocol in scores.usable_protocols(root):
                found = scores.score(root, protocol=protocol)["difference"].values
                errors.setdefault(protocol, []).append((found - truth(taken, root["partition"].values, protocol))[members].mean())
        for protocol, values in errors.items():
            error = float(np.std(values, ddof=1) / np.sqrt(len(values)))
            row = {"less_truth": float(np.mean(values)), "standard_error": error, "studies": len(values)}
            result.setdefault(protocol, {})[str(views)] = row
    return result


def _share(count: int, n: int) -> dict[str, Any]:
    low, high = wilson_interval(count, n)
    return {"share": count / n, "interval": [float(low), float(high)], "studies": n}
