"""Do the paper's directions show on small data? `python benchmarks/directions.py OUT [--seeds 0 100] [--json]`.

For figure 4 and Tables 9b, 11 and 15 it runs the ``mini/...`` presets of their rows under OUT (again after an interruption, it resumes) and
compares rows: the score of a pair of encoders is the candidates' mean sslmem (protocol corrected) less that of the shared samples, which
takes off the offset that all samples of a pair have in common; the accuracy is the linear probe's, mean of f and g. Rows share seeds, so
differences are taken pair by pair; intervals are 95 % of Student's t over pairs. A direction is reproduced where the interval of the
difference lies on the paper's side of zero, contradicted on the other, else undecided.
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

from sslmem_kit.names import PARTITION_CODE
from sslmem_kit.run.progress import shown
from sslmem_kit.run.study import run_study
from sslmem_kit.spec import load_spec
from sslmem_kit.study import Study

CLAIMS: dict[str, list[tuple[str, str, str, int]]] = {
    "Figure 4, SimCLR": [
        ("mini/simclr-resnet", f"mini/simclr-resnet-lambda{weight:.2f}", what, -1)
        for weight in (0.1, 0.2, 0.4)
        for what in ("score", "accuracy")
    ],
    "Table 15": [
        (low, high, what, +1)
        for low, high in (
            ("mini/simclr-resnet-small", "mini/simclr-resnet"),
            ("mini/simclr-resnet", "mini/simclr-resnet-wide"),
            ("mini/simclr-resnet-small", "mini/simclr-resnet-wide"),
        )
        for what in ("score", "accuracy")
    ],
    "Table 11": [
        ("mini/supervised-resnet-10epochs", "mini/supervised-resnet-100epochs", "score", +1),
        ("mini/supervised-resnet-10epochs", "mini/supervised-resnet-100epochs", "accuracy", +1),
        ("mini/dino-resnet-100epochs", "mini/dino-resnet-300epochs", "score", +1),
        ("mini/dino-resnet-100epochs", "mini/dino-resnet-300epochs", "accuracy", +1),
        ("mini/dino-resnet-100epochs", "mini/supervised-resnet-100epochs", "score", +1),
        ("mini/dino-resnet-100epochs", "mini/supervised-resnet-100epochs", "accuracy", +1),
    ],
    "Table 9b": [
        ("mini/mae-vit-mask50", "mini/mae-vit", "score", +1),
        ("mini/mae-vit-mask50", "mini/mae-vit", "accuracy", +1),
        ("mini/mae-vit", "mini/mae-vit-mask80", "score", -1),
        ("mini/mae-vit", "mini/mae-vit-mask80", "accuracy", -1),
        ("mini/mae-vit-mask80", "mini/mae-vit-mask90", "score", -1),
        ("mini/mae-vit-mask80", "mini/mae-vit-mask90", "accuracy", -1),
    ],
    "Figure 4, MAE": [
        ("mini/mae-vit", f"mini/mae-vit-lambda{weight:.2f}", what, -1) for weight in (0.1, 0.4) for what in ("score", "accuracy")
    ],
}
"""For each artifact: two rows, what is compared, and the sign of second less first in the paper."""


def main() -> None:
    """Run and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder of the studies")
    parser.add_argument("--seeds", type=int, nargs="+", default=[0], help="each a partition and three pairs of encoders")
    parser.add_argument("--artifact", nargs="+", choices=CLAIMS, default=list(CLAIMS))
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    options = parser.parse_args()
    measured: dict[str, dict[str, np.ndarray]] = {}
    told: dict[str, Any] = {}
    for artifact in options.artifact:
        rows = list(dict.fromkeys(name for claim in CLAIMS[artifact] for name in claim[:2]))
        for name in rows:
            if name not in measured:
                parts = [_measure(run_preset(name, seed, options.out)) for seed in options.seeds]
                measured[name] = {what: np.concatenate([part[what] for part in parts]) for what in ("score", "accuracy")}
        told[artifact] = {
            "rows": {name: {what: mean_interval(values) for what, values in measured[name].items()} for name in rows},
            "claims": [_compare(measured, *claim) for claim in CLAIMS[artifact]],
        }
        if not options.json:
            _print(artifact, told[artifact])
    if options.json:
        print(json.dumps(told, indent=1))


def run_preset(name: str, seed: int, out: Path) -> Study:
    """The finished study of a preset under ``out``; one that was interrupted resumes."""
    spec = load_spec(name, seed=seed)
    print(f"{name}, seed {seed}", file=sys.stderr, flush=True)
    with shown() as on_event:
        return run_study(spec, out / f"{spec.name}-{seed}", on_event=on_event)


def _measure(study: Study) -> dict[str, np.ndarray]:
    """Score and accuracy of every pair, (pair,)."""
    accuracy = study.tree["downstream/accuracy"].isel(task=0).sel(probe="linear").values
    encoders = [str(name) for name in study.tree["encoder"].values]
    partition = study.tree["partition"].values
    scores, accuracies = [], []
    for seed in np.unique(study.tree["seed"].values):
        pair = [f"f-{seed}", f"g-{seed}"]
        difference = study.scores("corrected", encoders=pair)["difference"].values
        means = [difference[partition == PARTITION_CODE[part]].mean() for part in ("candidate", "shared")]
        scores.append(means[0] - means[1])
        accuracies.append(np.mean([accuracy[encoders.index(name)] for name in pair]))
    return {"score": np.array(scores), "accuracy": np.array(accuracies)}


def mean_interval(values: np.ndarray) -> dict[str, Any]:
    """Mean, 95 % interval of Student's t, and n."""
    mean, half = float(values.mean()), float(stats.t.ppf(0.975, len(values) - 1) * stats.sem(values))
    return {"mean": mean, "interval": [mean - half, mean + half], "n": len(values)}


def _compare(measured: dict[str, dict[str, np.ndarray]], first: str, second: str, what: str, sign: int) -> dict[str, Any]:
    difference = mean_interval(measured[second][what] - measured[first][what])
    low, high = sorted(sign * bound for bound in difference["interval"])
    verdict = "reproduced" if low > 0 else "contradicted" if high < 0 else "undecided"
    return {"first": first, "second": second, "what": what, "paper": "+" if sign > 0 else "-", **difference, "verdict": verdict}


def _print(artifact: str, told: dict[str, Any]) -> None:
    print(f"\n{artifact}")
    for name, row in told["rows"].items():
        cells = [
            f"{what} {value['mean']:.4f} [{value['interval'][0]:.4f}, {value['interval'][1]:.4f}]" for what, value in row.items()
        ]
        print(f"  {name:<36} {'  '.join(cells)}  n {row['score']['n']}")
    for claim in told["claims"]:
        low, high = claim["interval"]
        print(f"  {claim['what']:<9} {claim['first']} -> {claim['second']}: {claim['mean']:+.4f} [{low:+.4f}, {high:+.4f}], "
              f"paper {claim['paper']}: {claim['verdict']}", flush=True)  # fmt: skip


if __name__ == "__main__":
    main()
