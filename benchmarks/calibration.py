"""Whether a false-discovery rate holds: `python benchmarks/calibration.py [STUDY ...] --json`.

Simulated studies (``simulate``) have what is hard about real ones: few seeds, an offset of each training and of each class in it, noise of
seeds and samples with heavy tails that grows with the alignment, view noise, extra samples of another spread. Of their candidates and
independents a known share is memorized.

null       nothing is memorized. ``one_each``: Kolmogorov and Smirnov's test against uniform of one candidate's p-value a study, which are
           independent of each other. ``rejected``: share of studies whose candidates differ from their null by the two-sample test at 5 %.
fdr        by share that is memorized and nominal rate: mean false discovery proportion over studies with its 95 % interval, and the mean
           share of the memorized that is found (``power``). ``easy`` and ``hard``: a share of 0.3, most of them samples of low or of high
           alignment, so that the others are not quite like the null.
type_one, coverage, views_free
           tests, intervals and the number of views, over trainings: `coverage.py` beside this file.
fdr_unequal_halves
           rates where shared and extra samples spread differently, and the share of studies that are warned: `unequal_halves.py` beside this
           file.

In finished studies membership is made equal by relabelling: of the encoders of one family half are called f, half g, in every way there is.
No sample's membership differs between these, so that candidates and independents must look like the null: the share of p-values that are at
or below 5 and 1 %, of relabellings that the two-sample test rejects at 5 %, and of those with a discovery at a rate of 5 %. The relabellings
of a study share encoders and samples: ``studies`` counts what is independent. Under the true families ``extra_against_shared`` is the p of
Kolmogorov and Smirnov's test of the two parts of the null against each other, ``spread`` the ratio of their standard deviations, and
``found`` the discoveries at 10 % by the difference, and by the difference over its standard error and over the mean alignment instead.
"""

from __future__ import annotations

import argparse
import itertools
import json
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import xarray as xr
from scipy import stats

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from benchmarks import coverage, unequal_halves
from sslmem_kit import scores
from sslmem_kit.data.partition import trained_on
from sslmem_kit.names import ALIGNMENT, ENCODER, PARTITION_CODE, TRAINED_ON
from sslmem_kit.statistics import wilson_interval
from sslmem_kit.statistics.fdr import NULL, TESTED, with_significance
from sslmem_kit.study import open_study

STUDIES = 200
SHARES, RATES = (0.1, 0.3, 0.6), (0.05, 0.1, 0.2)
CANDIDATE, EXTRA = PARTITION_CODE["candidate"], PARTITION_CODE["extra"]


def simulate(
    seed: int,
    memorized: float,
    *,
    tilt: float = 0,
    samples: int = 1584,
    seeds: int = 3,
    views: int = 3,
    effect: float = 0.03,
) -> tuple[xr.Dataset, np.ndarray]:
    """Root of a made-up results store, and which of its samples are memorized.

    Parameters
    ----------
    seed
        Of the study.
    memorized
        Share of the candidates and of the independents that are, at most a half with a tilt.
    tilt
        From -1, the lower the alignment the likelier to be memorized, to 1, the higher the likelier.
    effect
        Mean of what training on a memorized sample takes off its alignment; the noise of a score is about 0.016.
    """
    rng = np.random.Generator(np.random.Philox(seed))
    codes = rng.permutation(np.repeat(np.arange(4), [samples * 8 // 11, *[samples // 11] * 3]))
    n, encoders = len(codes), 2 * seeds
    family = np.array(["f", "g"] * seeds)
    seen = trained_on(codes, list(family))
    classes = rng.integers(0, 10, n)
    hardness = rng.gamma(16, 0.3 / 16, n)
    spread = hardness * np.where(codes == EXTRA, 1.15, 1)
    own = 0.04 * rng.standard_t(5, (n, encoders)) + 0.05 * np.repeat(rng.standard_t(5, (n, seeds)), 2, axis=1)
    common = rng.normal(0, 0.008, encoders) + rng.normal(0, 0.006, (10, encoders))[classes]
    rank = (np.argsort(np.argsort(hardness)) + 0.5) / n
    remembered = rng.random(n) < memorized * (1 + tilt * (2 * rank - 1))
    remembered &= np.isin(codes, [PARTITION_CODE[name] for name in TESTED])
    lowered = np.where(remembered, rng.gamma(4, effect / 4, n), 0)[:, None] * seen
    pairs = np.array(list(itertools.combinations(range(views + 1), 2)))
    noise = 0.15 * rng.normal(size=(n, len(pairs), 1)) + 0.05 * rng.normal(size=(n, len(pairs), encoders))
    level = hardness[:, None] + spread[:, None] * own + common - lowered
    return xr.Dataset(
        {
            ALIGNMENT: (("sample", "augmentation", "encoder"), level[:, None] + spread[:, None, None] * noise),
            TRAINED_ON: (("sample", "encoder"), seen),
        },
        coords={
            "sample": np.arange(n),
            "partition": ("sample", codes),
            "label": ("sample", classes),
            "view_a": ("augmentation", pairs[:, 0]),
            "view_b": ("augmentation", pairs[:, 1]),
            "encoder": [f"{name}-{number // 2}" for number, name in enumerate(family)],
            "family": ("encoder", family),
            "seed": ("encoder", np.repeat(np.arange(seeds), 2)),
        },
    ), remembered


def measure_simulated(studies: int) -> dict[str, Any]:
    """Calibration under the global null, and realised rates with a share that is memorized."""
    one_each, rejected, any_found = [], 0, dict.fromkeys(RATES, 0)
    for seed in range(studies):
        found = _scored(simulate(seed, 0)[0])
        candidates = found["partition"].values == CANDIDATE
        one_each.append(found["p_value"].values[candidates][0])
        rejected += _differs(found, candidates)
        for rate in RATES:
            any_found[rate] += bool((found["q_value"].values[candidates] <= rate).any())
    ks = stats.kstest(one_each, "uniform")
    return {
        "studies": studies,
        "null": {
            "one_each": {"statistic": float(ks.statistic), "p": float(ks.pvalue), "n": studies},
            "rejected": _share(rejected, studies),
            "any_discovery": {str(rate): _share(count, studies) for rate, count in any_found.items()},
        },
        "fdr": {
            **{str(share): _rates(share, studies) for share in SHARES},
            **{name: _rates(0.3, studies, tilt=tilt) for name, tilt in (("easy", -1), ("hard", 1))},
        },
    }


def _rates(share: float, studies: int, *, tilt: float = 0) -> dict[str, Any]:
    false = {rate: [] for rate in RATES}
    power = {rate: [] for rate in RATES}
    for seed in range(studies):
        root, remembered = simulate(10_000 + seed, share, tilt=tilt)
        found = _scored(root)
        candidates = found["partition"].values == CANDIDATE
        q, truly = found["q_value"].values[candidates], remembered[candidates]
        for rate in RATES:
            listed = q <= rate
            false[rate].append((listed & ~truly).sum() / max(1, listed.sum()))
            power[rate].append((listed & truly).sum() / max(1, truly.sum()))
    result = {}
    for rate in RATES:
        mean, reach = np.mean(false[rate]), 1.96 * stats.sem(false[rate])
        result[str(rate)] = {"realised": mean, "interval": [mean - reach, mean + reach], "power": np.mean(power[rate])}
    return result


def measure_study(path: str) -> dict[str, Any]:
    """Calibration of a finished study, its encoders relabelled within each family."""
    study = open_study(path)
    root = study.results
    root = root[[ALIGNMENT, TRAINED_ON]].load()
    true = study.scores()
    codes, difference = true["partition"].values, true["difference"].values
    extra, shared = difference[codes == EXTRA], difference[codes == PARTITION_CODE["shared"]]
    at_05 = at_01 = tested = rejected = lists = listed = 0
    for part in _relabelled(root):
        found = _scored(part)
        for name in TESTED:
            members = codes == PARTITION_CODE[name]
            p = found["p_value"].values[members]
            at_05, at_01, tested = at_05 + (p <= 0.05).sum(), at_01 + (p <= 0.01).sum(), tested + len(p)
            rejected += _differs(found, members)
            listed += bool((found["q_value"].values[members] <= 0.05).any())
            lists += 1
    return {
        "encoders": root.sizes[ENCODER],
        "samples": int(np.isin(codes, [PARTITION_CODE[name] for name in TESTED]).sum()),
        "lists": lists,
        "at_5_percent": at_05 / tested,
        "at_1_percent": at_01 / tested,
        "rejected": rejected / lists,
        "any_discovery": listed / lists,
        "extra_against_shared": float(stats.ks_2samp(extra, shared).pvalue),
        "spread": float(extra.std(ddof=1) / shared.std(ddof=1)),
        "found": {
            "difference": _count(true),
            "over_error": _count(true, true["standard_error"]),
            "over_alignment": _count(true, (true["alignment_f"] + true["alignment_g"]) / 2),
        },
    }


def _count(true: xr.Dataset, divisor: Any = 1) -> int:
    """Discoveries at 10 %, candidates and independents together."""
    found = with_significance(true.assign(difference=true["difference"] / divisor))
    return int((found["q_value"] <= 0.1).sum())


def _relabelled(root: xr.Dataset) -> Iterator[xr.Dataset]:
    """The encoders of each family, half of them called f and half g, in every way."""
    family = root["family"].values.astype(object)
    for name in ("f", "g"):
        members = np.flatnonzero(family == name)
        for half in itertools.combinations(range(len(members)), len(members) // 2):
            labels = np.where(np.isin(np.arange(len(members)), half), "f", "g").astype(object)
            yield root.isel({ENCODER: members}).assign_coords(family=(ENCODER, labels))


def _scored(root: xr.Dataset) -> xr.Dataset:
    return with_significance(scores.score(root))


def _differs(found: xr.Dataset, members: np.ndarray) -> bool:
    """Whether the two-sample test tells some samples from the null at 5 %; it is exact for exchangeable samples."""
    null = np.isin(found["partition"].values, [PARTITION_CODE[name] for name in NULL])
    difference = found["difference"].values
    return bool(stats.ks_2samp(difference[members], difference[null]).pvalue <= 0.05)


def _share(count: int, n: int) -> dict[str, Any]:
    low, high = wilson_interval(count, n)
    return {"share": count / n, "interval": [float(low), float(high)]}


def _overall(studies: dict[str, dict[str, Any]]) -> dict[str, Any]:
    """Means over studies, with the interval of a mean of so many."""
    result = {"studies": len(studies)}
    for name in ("at_5_percent", "at_1_percent", "rejected", "any_discovery", "spread"):
        values = [row[name] for row in studies.values()]
        reach = stats.t(len(values) - 1).ppf(0.975) * stats.sem(values) if len(values) > 1 else np.nan
        result[name] = {"mean": np.mean(values), "interval": [np.mean(values) - reach, np.mean(values) + reach]}
    result["found"] = {name: sum(row["found"][name] for row in studies.values()) for name in next(iter(studies.values()))["found"]}
    return result


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("studies", nargs="*", metavar="STUDY", help="finished studies, to be relabelled")
    parser.add_argument("--simulated", type=int, default=STUDIES, help="simulated studies of each kind")
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    begun = time.monotonic()
    result: dict[str, Any] = {"simulated": measure_simulated(arguments.simulated)} if arguments.simulated else {}
    if arguments.simulated:
        result["fdr_unequal_halves"] = unequal_halves.measure(arguments.simulated)
        for measure in (coverage.type_one, coverage.coverage, coverage.views_free):
            result[measure.__name__] = measure(arguments.simulated)
    if arguments.studies:
        result["relabelled"] = {Path(path).name: measure_study(path) for path in arguments.studies}
        result["relabelled_overall"] = _overall(result["relabelled"])
    result["seconds"] = time.monotonic() - begun
    if arguments.json:
        print(json.dumps(result, indent=2, default=float))
        return
    for part, rows in result.items():
        print(part)
        for name, row in rows.items() if isinstance(rows, dict) else [("", rows)]:
            print(f"  {name}: {json.dumps(row, default=lambda value: round(float(value), 4))}")


if __name__ == "__main__":
    main()
