"""Do the methods learn? `python benchmarks/learning.py OUT [--seed 0] [--json]`.

For each method's mini preset it runs the study under OUT (again after an interruption, it goes on) and compares every trained encoder with
the same encoder before training, by linear probing and by kNN on the test side. Differences are taken encoder by encoder; intervals are
95 % of Student's t over the seeds, of the mean of f and g, which begin from the same weights.
"""

from __future__ import annotations

import argparse
import json
import sys
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

from directions import mean_interval, run_preset

from sslmem_kit.spec import load_spec
from sslmem_kit.store import PROBES

ROWS = (
    "mini/simclr-resnet", "mini/vicreg-resnet", "mini/simsiam-resnet", "mini/dino-resnet", "mini/dino-vit", "mini/mae-vit",
    "mini/supervised-resnet-100epochs",
)  # fmt: skip


def main() -> None:
    """Run and compare."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("out", type=Path, help="folder of the studies")
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--json", action="store_true", help="print JSON alone")
    options = parser.parse_args()
    told = {name: measure(name, options.seed, options.out) for name in ROWS}
    if options.json:
        print(json.dumps(told, indent=1))
        return
    for name, row in told.items():
        for probe in PROBES:
            cell = row[probe]
            low, high = cell["interval"]
            print(f"{name:<34} {probe:<7} {cell['untrained']:.3f} -> {cell['trained']:.3f}  {cell['gain']:+.3f} [{low:+.3f}, {high:+.3f}]  "
                  f"n {cell['n']}")  # fmt: skip
        print(f"{'':<34} feature_std {row['feature_std']:.2f}, effective_rank {row['effective_rank']:.1f}")


def measure(name: str, seed: int, out: Path) -> dict[str, Any]:
    """Accuracies of a preset's encoders before and after training."""
    from sslmem_kit.data.loader import ImageLoader
    from sslmem_kit.data.samples import load_samples
    from sslmem_kit.measures.evaluation import downstream_accuracy, record
    from sslmem_kit.training.distributed import DeviceGroup
    from sslmem_kit.training.setup import new_objective

    spec = load_spec(name, seed=seed)
    study = run_preset(name, seed, out)
    samples, device_group = load_samples(spec), DeviceGroup("cpu")
    loader = ImageLoader(samples.dataset, "cpu")
    accuracy = study.tree["downstream/accuracy"].isel(task=0).to_series().unstack("probe")
    before, after = [], []
    for number in range(spec.seed, spec.seed + spec.training.seeds):
        pair = [plan for plan in spec.encoders if plan.seed == number]
        objective = new_objective(spec, pair[0], samples, "cpu").eval()
        linear = record(spec, objective, samples, loader, device_group).probe_accuracy
        before.append(downstream_accuracy(spec, objective.encoder, samples, loader, device_group, linear=linear)[0][0])
        after.append(np.mean([[accuracy.loc[plan.id, probe] for probe in PROBES] for plan in pair], axis=0))
    trajectory = study.tree["trajectory"].to_dataset().isel(epoch=-1)
    return {
        **{probe: _gain(np.array(before)[:, i], np.array(after)[:, i]) for i, probe in enumerate(PROBES)},
        **{name: float(trajectory[name].mean()) for name in ("feature_std", "effective_rank")},
    }


def _gain(before: np.ndarray, after: np.ndarray) -> dict[str, Any]:
    told = mean_interval(after - before)
    return {"untrained": float(before.mean()), "trained": float(after.mean()), "gain": told.pop("mean"), **told}


if __name__ == "__main__":
    main()
