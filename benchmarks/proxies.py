"""Which cheap score orders samples as leaving them out does: `python benchmarks/proxies.py STUDY=REFERENCE ... [--json]`.

``STUDY`` is a study of pairs with comparisons, ``REFERENCE`` what its candidates are known by: ``shipped:0`` or ``shipped:1``, exact
leave-one-out of 31 and 23 seeds (`tests/support/truth.npz`), or the path of a study with ``design.subsets`` of the same data and seed, whose
``adjusted`` scores are taken. A row is a score:

one, all      Spearman's correlation with the reference over candidates: mean over single seeds, and of the mean over all seeds. Intervals:
              95 %, Fisher's z with the standard deviation of a bootstrap over samples and, apart from them, over the score's seeds.
ceiling       what a perfect score would reach: root of the reference's reliability (over its seeds, on its own views).
of_ceiling    ``all`` over the ceiling.
reliability   of the mean over all seeds: share of its variance over samples that other seeds repeat (Spearman-Brown of the mean correlation
              between seeds).
cost          encoder-epochs of one seed; an epoch of n samples counts n / 100. What is measured after training is not in it: ``seconds``.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np
from scipy import stats

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from sslmem_kit import open_study
from sslmem_kit.names import SSLMEM
from sslmem_kit.statistics import study_replicates
from sslmem_kit.statistics.order import rank_scores
from sslmem_kit.store.comparisons import scores_of, stored_comparisons
from sslmem_kit.study import Study

SHIPPED = Path(__file__).resolve().parents[1] / "tests" / "support" / "truth.npz"
RESAMPLES = 1000
OF_ONE = ("gradients", "curvature", "typicality", "learning", "alignment_only")
"""Comparisons that need one encoder alone."""


def reference(name: str) -> tuple[np.ndarray, np.ndarray, float]:
    """Ids of samples, their reference scores, and the share of its variance that is not error over seeds."""
    if name.startswith("shipped:"):
        kept, number = np.load(SHIPPED), name.partition(":")[2]
        ids, values, errors = (kept[f"{key}_{number}"] for key in ("sample", "mean_both", "error_both"))
        return ids, values, float(1 - (errors**2).mean() / values.var(ddof=1))
    found = rank_scores(open_study(name).results)
    candidates = found["partition"].values == 1
    known = candidates & np.isfinite(found[SSLMEM].values)
    return found["sample"].values[known], found[SSLMEM].values[known], float(found["reliability"])


def compared(each: np.ndarray, known: np.ndarray, rng: np.random.Generator) -> dict[str, Any]:
    """Correlations of a score, (sample, seed), with the reference, (sample,)."""
    n, seeds = each.shape
    one = float(np.mean([stats.spearmanr(each[:, seed], known)[0] for seed in range(seeds)]))
    together = float(stats.spearmanr(each.mean(1), known)[0])
    resampled = np.empty((RESAMPLES, 2))
    for number in range(RESAMPLES):
        samples, chosen = rng.integers(0, n, n), rng.integers(0, seeds, seeds)
        table, values = each[samples], known[samples]
        by_seed = [stats.spearmanr(table[:, seed], values)[0] for seed in chosen[:1]]
        resampled[number] = np.nanmean(by_seed), stats.spearmanr(table[:, chosen].mean(1), values)[0]
    between = np.corrcoef(stats.rankdata(each, axis=0).T) if seeds > 1 else np.full((1, 1), np.nan)
    mean_r = float(between[~np.eye(seeds, dtype=bool)].mean()) if seeds > 1 else np.nan
    return {
        "n": n,
        "seeds": seeds,
        "one": one,
        "all": together,
        "one_interval": interval(one, resampled[:, 0]),
        "all_interval": interval(together, resampled[:, 1]),
        "reliability": seeds * mean_r / (1 + (seeds - 1) * mean_r) if seeds > 1 else np.nan,
    }


def interval(value: float, resampled: np.ndarray) -> list[float]:
    """95 % by Fisher's z with the bootstrap's standard deviation."""
    reach = 1.96 * np.nanstd(np.arctanh(np.clip(resampled, -0.999, 0.999)))
    return [float(np.tanh(np.arctanh(value) + sign * reach)) for sign in (-1, 1)]


def table(path: str, name: str) -> dict[str, Any]:
    """All rows of one study."""
    study, (ids, known, reliability) = open_study(path), reference(name)
    assert isinstance(study, Study)
    spec, rng, rows = study.spec, np.random.default_rng(0), []
    sizes = {family: int(study.results["trained_on"].sel(encoder=f"{family}-{spec.seed}").sum()) for family in "fg"}
    seconds = {key: json.loads(group.attrs.get("seconds", "{}")) for key, group in stored_comparisons(study.tree).items()}
    of = {column: key for key, group in stored_comparisons(study.tree).items() for column in scores_of(group)}
    for column, values in study_replicates(study.scores(), study.tree).items():
        if "seed" not in values.dims:
            continue
        each = values.sel(sample=ids).values
        each = each[:, np.isfinite(each).all(0)]
        if not each.size:
            continue
        # What a score needs: f alone, or f and g.
        alone = column != SSLMEM and of[column] in OF_ONE
        taken = [value for value in seconds.get(of.get(column, ""), {}).values() if value]
        rows.append(
            {
                "score": column,
                "cost": spec.training.epochs * (sizes["f"] + (0 if alone else sizes["g"])) / 100,
                "seconds": float(np.mean(taken)) if taken else 0.0,
                **compared(each, known, rng),
            }
        )
    ceiling = float(np.sqrt(max(reliability, 0)))
    for row in rows:
        row["of_ceiling"] = row["all"] / ceiling
    return {"study": path, "reference": name, "n": len(ids), "reliability": reliability, "ceiling": ceiling, "rows": rows}


def main() -> None:
    """Compare and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("pairs", nargs="+", metavar="STUDY=REFERENCE")
    parser.add_argument("--json", action="store_true")
    options = parser.parse_args()
    found = {pair: table(*pair.split("=", 1)) for pair in options.pairs}
    if options.json:
        print(json.dumps(found, indent=1))
        return
    for part in found.values():
        print(f"{part['study']} against {part['reference']}: n {part['n']}, ceiling {part['ceiling']:.2f}")
        for row in sorted(part["rows"], key=lambda row: -abs(row["all"])):
            ends = [f"[{low:+.2f}, {high:+.2f}]" for low, high in (row["one_interval"], row["all_interval"])]
            print(
                f"  {row['score']:<24} cost {row['cost']:>6,.0f} {row['seconds']:6.1f} s  one {row['one']:+.2f} {ends[0]}  "
                f"{row['seeds']} seeds {row['all']:+.2f} {ends[1]}  of ceiling {row['of_ceiling']:+.2f}  "
                f"reliability {row['reliability']:.2f}"
            )


if __name__ == "__main__":
    main()
