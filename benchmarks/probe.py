"""The linear probe against scikit-learn's: `python benchmarks/probe.py --json`.

Features are 2,048 random rectified ones of digits, shifted and noisy: strongly correlated, as an encoder's are. Both standardize, fit and
classify 10,000 test samples, one after the other in one process.

speedup              seconds of scikit-learn's ``StandardScaler`` and ``LogisticRegression`` (to its default tolerance) over ours.
accuracy_difference  ours less scikit-learn's, in points.
objective            what both minimize, mean loss and penalty in nats a sample, in float64; gradient: its steepest slope along a weight, by
                     which scikit-learn's tolerance is set.
equal                with --equal: scikit-learn again, to our gradient.
streamed             1,281,167 samples x 768 features of 1,000 classes read from a file: seconds, of all cores together too, and by how much
                     the peak of the process's memory grows, pages of the file not counted (above_start_mb) and counted (peak_mb).
"""

from __future__ import annotations

import argparse
import json
import resource
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


def objective(weight: np.ndarray, bias: np.ndarray, features: np.ndarray, labels: np.ndarray) -> dict[str, float]:
    """Objective of a classifier of standardized features, and the largest entry of its gradient."""
    value, slope = (weight**2).sum() / 2 / (C * len(labels)), weight / (C * len(labels))
    for start in range(0, len(labels), 4096):
        block, own = features[start : start + 4096].astype(np.float64), labels[start : start + 4096]
        scores = block @ weight.T + bias
        likely = np.exp(scores - scores.max(axis=1, keepdims=True))
        likely /= likely.sum(axis=1, keepdims=True)
        value -= np.log(likely[np.arange(len(own)), own]).sum() / len(labels)
        likely[np.arange(len(own)), own] -= 1
        slope += likely.T @ block / len(labels)
    return {"objective": float(value), "gradient": float(np.abs(slope).max())}


def against_scikit_learn(samples: int, width: int, tests: int, *, equal: bool) -> dict[str, Any]:
    """Seconds, accuracies and objectives of both."""
    from sklearn.linear_model import LogisticRegression
    from sklearn.pipeline import make_pipeline
    from sklearn.preprocessing import StandardScaler

    from sslmem_kit.measures.downstream.logistic import fit_logistic

    features, labels = made_features(samples + tests, width)
    training, test = (features[:samples], labels[:samples]), (features[samples:], labels[samples:])
    scaled = StandardScaler().fit(training[0]).transform(training[0])

    def theirs(**options: Any) -> dict[str, float]:
        begun = time.perf_counter()
        model = make_pipeline(StandardScaler(), LogisticRegression(C=C, **options)).fit(*training)
        accuracy = float(model.score(*test))
        seconds, (_, fitted) = time.perf_counter() - begun, model.named_steps.values()
        reached = objective(fitted.coef_.astype(np.float64), fitted.intercept_, scaled, training[1])
        return {"seconds": seconds, "accuracy": accuracy, "iterations": int(fitted.n_iter_[0]), **reached}

    fit_logistic(training[0][:100], training[1][:100], CLASSES, C=C)  # starts the threads
    begun = time.perf_counter()
    found = fit_logistic(*training, CLASSES, C=C)
    accuracy = float(np.mean(found.predict(test[0]) == test[1]))
    seconds = time.perf_counter() - begun
    scaler = StandardScaler().fit(training[0])
    weight = found.weight.double().numpy() * np.where(scaler.var_ > 0, scaler.scale_, 0)
    ours = objective(weight, found.bias.double().numpy() + found.weight.double().numpy() @ scaler.mean_, scaled, training[1])
    other = theirs(max_iter=1000)
    result = {
        "speedup": other["seconds"] / seconds,
        "accuracy_difference": 100 * (accuracy - other["accuracy"]),
        "ours": {"seconds": seconds, "accuracy": accuracy, **ours},
        "scikit_learn": other,
        "sizes": [samples, width],
    }
    if equal:
        result["equal"] = theirs(max_iter=10_000, tol=ours["gradient"])
    return result


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
        begun, used = time.perf_counter(), time.process_time()
        fitted = fit_logistic(features, labels, classes, C=C)
        seconds, used = time.perf_counter() - begun, time.process_time() - used
        ended.set()
        watcher.join()
        chosen = slice(0, min(samples, 50_000))
        accuracy = float(np.mean(fitted.predict(features[chosen]) == labels[chosen]))
        return {
            "seconds": seconds,
            "seconds_of_cores": used,
            "peak_mb": resource.getrusage(resource.RUSAGE_SELF).ru_maxrss * 1024 / 1e6,
            "above_start_mb": peak[0] - before,
            "features_mb": samples * width * 4 / 1e6,
            "training_accuracy": accuracy,
        }


def main() -> None:
    """Measure and print."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument(
        "--sizes", type=int, nargs=3, default=[50_000, 2_048, 10_000], help="training samples, features, test samples; 0: none"
    )
    parser.add_argument(
        "--streamed", type=int, nargs=3, default=[1_281_167, 768, 1_000], help="samples, features, classes; 0 samples: none"
    )
    parser.add_argument("--equal", action="store_true", help="scikit-learn to our gradient, too: minutes")
    parser.add_argument("--json", action="store_true", help="print JSON")
    options = parser.parse_args()
    result: dict[str, Any] = {}
    if options.sizes[0]:
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")
            result = against_scikit_learn(*options.sizes, equal=options.equal)
    if options.streamed[0]:
        result["streamed"] = streamed(*options.streamed)
    print(json.dumps(result, indent=2) if options.json else "\n".join(f"{name}: {value}" for name, value in result.items()))


if __name__ == "__main__":
    main()
