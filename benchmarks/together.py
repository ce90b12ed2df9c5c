"""What an encoder of the bundled study `ground_truth` costs when many are trained at once, against one by one.

Two processes of one thread each, as `sslmem run` has on two cores, train whole encoders both ways in turn; the ratio is of seconds an
encoder, views, order and optimizer included, the median over rounds. That both ways give the same encoders is shown by their losses.

    python benchmarks/together.py [--json] [--rounds 3] [--epochs 10]
"""

from __future__ import annotations

import argparse
import json
import tempfile
import time
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np

from sslmem_kit.run.schedulers.pool import worker_environment
from sslmem_kit.spec import load_spec

DESIGNS = ("leave_one_out", "subset")


def measure(number: int, rounds: int, epochs: int) -> dict[str, dict[str, list[float]]]:
    """Seconds an encoder, one by one and at once, and the largest relative difference of their losses, by design."""
    import torch

    from sslmem_kit.data.loader import ImageLoader
    from sslmem_kit.data.samples import load_samples
    from sslmem_kit.training.loop import train
    from sslmem_kit.training.stacked import train_together

    torch.set_num_threads(1)
    spec = load_spec("ground_truth")
    shorter = {"epochs": epochs, "warmup_epochs": min(epochs, spec.training.warmup_epochs)}
    spec = spec.model_copy(update={"training": spec.training.model_copy(update=shorter)})
    samples = load_samples(spec)
    loader = ImageLoader(samples.dataset, "cpu")
    told: dict[str, dict[str, list[float]]] = {}
    for design in DESIGNS:
        plans = [plan for plan in spec.encoders if plan.design == design][: spec.design.together]
        told[design] = {"one_by_one": [], "together": [], "difference": []}
        for round_ in range(rounds + 1):
            with tempfile.TemporaryDirectory() as folder:
                started = time.perf_counter()
                trained = train_together(spec, plans, samples, loader, Path(folder) / "group.pt")
                together = (time.perf_counter() - started) / len(plans)
                chosen = [(number + 2 * round_ + i) % len(plans) for i in range(2)]
                started = time.perf_counter()
                alone = [train(spec, plans[i], samples, loader, Path(folder) / str(i))[1] for i in chosen]
                one_by_one = (time.perf_counter() - started) / len(chosen)
            if not round_:
                continue  # to warm up
            told[design]["together"].append(together)
            told[design]["one_by_one"].append(one_by_one)
            for i, progress in zip(chosen, alone, strict=True):
                pairs = zip(progress.history, trained[i][1].history, strict=True)
                told[design]["difference"].append(max(abs(a["loss"] / b["loss"] - 1) for a, b in pairs))
    return told


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--json", action="store_true")
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--epochs", type=int, default=10)
    options = parser.parse_args()
    with worker_environment(1), ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        parts = list(pool.map(measure, (0, 1), [options.rounds] * 2, [options.epochs] * 2))
    told = {}
    for design in DESIGNS:
        one, many, difference = (
            np.concatenate([part[design][name] for part in parts]) for name in ("one_by_one", "together", "difference")
        )
        told[design] = {
            "ratio": round(float(np.median(many / one)), 3),
            "one_by_one_seconds": round(float(np.median(one)), 3),
            "together_seconds": round(float(np.median(many)), 3),
            "largest_relative_difference_of_losses": float(difference.max()),
            "n": len(one),
        }
    spec = load_spec("ground_truth")
    told = {"encoders_at_once": spec.design.together, "epochs": options.epochs, "designs": told}
    print(json.dumps(told, indent=None if options.json else 2))


if __name__ == "__main__":
    main()
