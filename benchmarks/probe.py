"""The linear probe against scikit-learn's: `python benchmarks/probe.py --json`.

Features are 2,048 random rectified ones of digits, shifted and noisy: strongly correlated, as an encoder's are. Both standardize, fit and
classify 10,000 test samples, one after the other in one process.

speedup              seconds of scikit-learn's ``StandardScaler`` and ``LogisticRegression`` (to its default tolerance) over ours.
accuracy_difference  ours less scikit-learn's, in points.
streamed             1,281,167 samples x 768 features of 1,000 classes read from a file: seconds, and by how much the peak of the process's
                     memory grows, pages of the file not counted.
"""

from __future__ import annotations

import argparse
import json
import sys
import tempfile
import threading
import time
import warnings
from pathlib import Path
from typing import Any

import numpy as np

sys.path.insert(0, str(Path(__file__).resolve().parents[1]))

CLASSES, C = 10, 0.1


def made_features(samples: int, width: int, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Features of shifted and noisy digits, (sample, feature), and their classes."""
    from sklearn.datasets import load_digits

    digits, rng = load_digits(), np.random.default_rng(seed)
    chosen = rng.integers(0, len(digits.target), samples)
    first, second = (
        rng.standard_normal((100, 512)).astype(np.float32) / 10,
        rng.standard_normal((512, width)).astype(np.float32) / 22,
    )
    features = np.empty((samples, width), np.float32)
    for start in range(0, samples, 4096):
        part = chosen[start : start + 4096]
        images = np.pad(digits.images[part] / 16, ((0, 0), (1, 1), (1, 1)))
        images = np.stack([np.roll(image, tuple(rng.integers(-1, 2, 2)), (0, 1)) for image in images])
        pixels = (images + rng.normal(0, 0.35, images.shape)).reshape(len(part), -1).astype(np.float32)
        features[start : start + 4096] = np.maximum(np.maximum(pixels @ first, 0) @ second, 0)
    return features, digits.target[chosen]


def against_scikit_learn(samples: int, width: int, tests: int) -> dict[str, Any]:
    """Seconds and accuracies of both."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from sslmem_kit.measures.downstream.logistic import fit_logistic

    features, labels = made_features(samples + tests, width)
    training, test = (features[:samples], labels[:samples]), (features[samples:], labels[samples:])
    begun = time.perf_counter()
    ours = float(np.mean(fit_logistic(*training, CLASSES, C=C).predict(test[0]) == test[1]))
    seconds = time.perf_counter() - begun
    begun = time.perf_counter()
    model = make_pipeline(StandardScaler(), LogisticRegression(C=C, max_iter=1000)).fit(*training)
    theirs = float(model.score(*test))
    other = time.perf_counter() - begun
    return {
        "speedup": other / seconds,
        "accuracy_difference": 100 * (ours - theirs),
        "seconds": seconds,
        "scikit_learn_seconds": other,
        "accuracy": ours,
        "scikit_learn_accuracy": theirs,
        "scikit_learn_iterations": int(model[-1].n_iter_[0]),
        "sizes": [samples, width],
    }


def anonymous_mb() -> float:
    """Memory of this process that is of no file, in MB."""
    for line in Path("/proc/self/status").read_text().splitlines():
        if line.startswith("RssAnon:"):
            return int(line.split()[1]) * 1024 / 1e6
    return float("nan")


def streamed(samples: int, width: int, classes: int) -> dict[str, Any]:
    """Seconds and memory of a fit from a file."""
    from sslmem_kit.measures.downstream.logistic import fit_logistic

    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "features.npy"
        rng = np.random.default_rng(1)
        labels = rng.integers(0, classes, samples)
        centres, mixing = (
            rng.standard_normal((classes, 64)).astype(np.float32),
            rng.standard_normal((64, width)).astype(np.float32) / 8,
        )
        stored = np.lib.format.open_memmap(path, "w+", np.float32, (samples, width))
        for start in range(0, samples, 16_384):
            part = labels[start : start + 16_384]
            hidden = centres[part] + 1.2 * rng.standard_normal((len(part), 64), np.float32)
            stored[start : start + len(part)] = np.maximum(hidden @ mixing, 0)
        stored.flush()
        del stored
        features = np.load(path, mmap_mode="r")
        before, peak, ended = anonymous_mb(), [0.0], threading.Event()

        def watch() -> None:
            while not ended.wait(0.05):
                peak[0] = max(peak[0], anonymous_mb())

        watcher = threading.Thread(target=watch)
        watcher.start()
        begun = time.perf_counter()
        fitted = fit_logistic(features, labels, classes, C=C)
        seconds = time.perf_counter() - begun
        ended.set()
        watcher.join()
        chosen = slice(0, min(samples, 50_000))
        accuracy = float(np.mean(fitted.predict(features[chosen]) == labels[chosen]))
        return {
            "seconds": seconds,
            "above_start_mb": peak[0] - before,
            "features_mb": samples * width * 4 / 1e6,
            "training_accuracy": accuracy,
        }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sizes", type=int, nargs=3, default=[50_000, 2_048, 10_000], help="training samples, features, test samples"
    )
    parser.add_argument(
        "--streamed", type=int, nargs=3, default=[1_281_167, 768, 1_000], help="samples, features, classes; 0 samples: none"
    )
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        result = against_scikit_learn(*options.sizes)
    if options.streamed[0]:
        result["streamed"] = streamed(*options.streamed)
    print(json.dumps(result, indent=2) if options.json else "\n".join(f"{name}: {value}" for name, value in result.items()))


if __name__ == "__main__":
    main()
