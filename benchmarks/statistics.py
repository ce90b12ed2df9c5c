"""Time and memory of the statistics of a large study: `python benchmarks/statistics.py --json`.

A made-up study of 1,281,167 samples, 15 augmentations (5 views and the clean image) and 6 encoders is written once into ``--data``. Then
one process of its own opens it and computes, as `sslmem report --fdr 0.05` does, scores with standard errors, z, quantiles in the null,
p- and q-values (`Study.scores`), tests and means by partition, quantiles by partition, shares above thresholds and discoveries.

seconds    from the opening of the store to the last number, the median of ``--rounds``; ``with_start``: with the start of Python.
peak_mb    the largest resident set of that process, in MB (1e6 bytes).
"""

from __future__ import annotations

import argparse
import importlib.util
import json
import subprocess
import sys
import sysconfig
import tempfile
import time
from collections.abc import Iterable
from pathlib import Path
from typing import Any

import numpy as np

if __name__ == "statistics":
    # Whoever imports this name, from a script in this folder, means Python's own module.
    _own = importlib.util.spec_from_file_location(__name__, Path(sysconfig.get_path("stdlib")) / "statistics.py")
    sys.modules[__name__] = importlib.util.module_from_spec(_own)
    _own.loader.exec_module(sys.modules[__name__])

ROOT = Path(__file__).resolve().parents[1]
VIEWS, SEEDS = 5, 3
PARTS = ("open", "scores", "tests", "quantiles", "discoveries")

_COMPUTE = """
import json, resource, sys, time
import numpy as np
from sslmem_kit import open_study, statistics
from sslmem_kit.statistics.fdr import fdr_summary

times = [time.monotonic()]
study = open_study(sys.argv[1])
sizes = dict(study.results.sizes)
times.append(time.monotonic())
scores = study.scores()
times.append(time.monotonic())
tests, summary = statistics.partition_tests(scores), statistics.partition_summary(scores)
times.append(time.monotonic())
levels, thresholds = np.linspace(0, 1, 101), np.linspace(-0.2, 0.2, 41)
quantiles = {name: np.quantile(values, levels) for name, values in statistics.by_partition(scores).items()}
shares = {name: statistics.share_above(values, thresholds) for name, values in statistics.by_partition(scores).items()}
times.append(time.monotonic())
found = fdr_summary(scores, 0.05)
times.append(time.monotonic())
print(json.dumps({
    "times": times,
    "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
    "sizes": sizes,
    "candidate": {"mean": summary["mean"].sel(partition="candidate").item(), "median": quantiles["candidate"][50],
                  "t": tests["t"].sel(alternative="C>S").item(), "above_zero": shares["candidate"][20],
                  "memorized": found["memorized"].sel(partition="candidate").item()},
}))
"""


def measure(study: Path) -> dict[str, Any]:
    """One round, in a process of its own."""
    begun = time.monotonic()
    command = [sys.executable, "-c", _COMPUTE, str(study.resolve())]
    done = subprocess.run(command, cwd=ROOT, check=True, stdout=subprocess.PIPE, text=True)
    told = json.loads(done.stdout)
    times = told.pop("times")
    parts = {name: after - before for name, before, after in zip(PARTS, times, times[1:], strict=False)}
    return told | {"seconds": times[-1] - times[0], "with_start": time.monotonic() - begun, "parts": parts}


def median(values: Iterable[float]) -> float:
    """Rounded to hundredths."""
    return round(float(np.median(list(values))), 2)


def main() -> None:
    """Measure and print."""
    sys.path.append(str(ROOT))
    from large_study import IMAGENET, make_large_study

    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--data", type=Path, default=Path(tempfile.gettempdir()) / "sslmem_kit_statistics", help="where the study goes"
    )
    parser.add_argument("--samples", type=int, default=IMAGENET)
    parser.add_argument("--rounds", type=int, default=3)
    parser.add_argument("--json", action="store_true", help="print JSON")
    arguments = parser.parse_args()
    path = arguments.data / f"{arguments.samples}"
    path.parent.mkdir(parents=True, exist_ok=True)
    study = make_large_study(path, arguments.samples, SEEDS, views=VIEWS)
    rounds = [measure(study.path) for _ in range(arguments.rounds)]
    result = {
        "seconds": median(row["seconds"] for row in rounds),
        "with_start": median(row["with_start"] for row in rounds),
        "peak_mb": round(max(row["peak_mb"] for row in rounds)),
        "parts": {name: median(row["parts"][name] for row in rounds) for name in PARTS},
        "sizes": rounds[0]["sizes"],
        "candidate": rounds[0]["candidate"],
        "rounds": [round(row["seconds"], 2) for row in rounds],
    }
    if arguments.json:
        print(json.dumps(result, indent=2))
        return
    for name, value in result.items():
        print(f"{name:<12}{value}")


if __name__ == "__main__":
    main()
