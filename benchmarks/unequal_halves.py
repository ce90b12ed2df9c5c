"""False-discovery rates where shared and extra samples spread differently, and whether that is said: part of `benchmarks/calibration.py`.

Candidates that are not memorized score as shared samples do (normal, or Student's t with 5 degrees); of 500 candidates a share is
memorized, by about 3 standard deviations. ``realised`` is the mean false discovery proportion over studies, ``shared_only`` that of lists
against shared samples alone, ``warned`` the share of studies of which :func:`sslmem_kit.statistics.null_halves.warning` says that the
rate is not to be relied on, ``realised_unwarned`` the rate of the others, None where there are fewer than 20. A design holds where the
realised rate is at most the nominal one or nearly all studies are warned.
"""

from __future__ import annotations

from typing import Any

import numpy as np
import xarray as xr
from scipy import stats

from sslmem_kit.names import PARTITION_CODE
from sslmem_kit.statistics import wilson_interval
from sslmem_kit.statistics.fdr import NULL_WARNING, with_significance

DESIGNS = (
    (100, 5000, 0.8),
    (100, 5000, 1.0),
    (1000, 5000, 0.8),
    (1000, 5000, 0.9),
    (1000, 5000, 1.0),
    (1000, 1000, 0.8),
    (1000, 1000, 1.0),
    (1150, 144, 0.8),
    (1150, 144, 1.0),
    (1150, 144, 1.2),
    (1000, 5000, 1.2),
)
"""Numbers of shared and of extra samples, and sd of extra over sd of shared."""
CANDIDATES, MEMORIZED = 500, 0.1


def measure(studies: int, *, rates: tuple[float, ...] = (0.05, 0.1)) -> list[dict[str, Any]]:
    """Realised rates and shares of studies that are warned, by design and kind of noise."""
    return [
        {"shared": shared, "extra": extra, "spread": spread, "noise": noise, "studies": studies}
        | _of_design(shared, extra, spread, noise, studies=studies, rates=rates)
        for shared, extra, spread in DESIGNS
        for noise in ("normal", "t5")
    ]


def _of_design(shared: int, extra: int, spread: float, noise: str, *, studies: int, rates: tuple[float, ...]) -> dict[str, Any]:
    false = {(rate, name): np.full(studies, np.nan) for rate in rates for name in ("q_value", "q_value_shared")}
    warned = np.zeros(studies, bool)
    for seed in range(studies):
        rng = np.random.Generator(np.random.Philox([seed, shared, extra, round(100 * spread)]))
        draw = rng.standard_normal if noise == "normal" else lambda n, rng=rng: rng.standard_t(5, n) / np.sqrt(5 / 3)
        truly = np.arange(CANDIDATES) < MEMORIZED * CANDIDATES
        candidates = draw(CANDIDATES) + truly * rng.gamma(9, 1 / 3, CANDIDATES)
        values = np.concatenate([draw(shared), candidates, spread * draw(extra)])
        codes = np.repeat([PARTITION_CODE[name] for name in ("shared", "candidate", "extra")], [shared, CANDIDATES, extra])
        found = with_significance(xr.Dataset({"difference": ("sample", values)}, {"partition": ("sample", codes)}))
        warned[seed] = NULL_WARNING in found.attrs
        for (rate, name), shares in false.items():
            listed = found[name].values[codes == PARTITION_CODE["candidate"]] <= rate
            shares[seed] = (listed & ~truly).sum() / max(1, listed.sum())
    low, high = wilson_interval(warned.sum(), studies)
    result: dict[str, Any] = {"warned": {"share": warned.mean(), "interval": [float(low), float(high)]}}
    for rate in rates:
        pooled, alone = false[rate, "q_value"], false[rate, "q_value_shared"]
        unwarned = _mean(pooled[~warned]) if (~warned).sum() >= 20 else None
        result[str(rate)] = {"realised": _mean(pooled), "shared_only": _mean(alone), "realised_unwarned": unwarned}
    return result


def _mean(values: np.ndarray) -> dict[str, Any]:
    mean, reach = float(values.mean()), float(1.96 * stats.sem(values))
    return {"mean": mean, "interval": [mean - reach, mean + reach]}
