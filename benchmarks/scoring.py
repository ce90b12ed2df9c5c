"""How fast samples are scored, and what the scores are worth: `python benchmarks/scoring.py --json`; on a GPU: `--device cuda --parts models`.

**Speed**, of a pair of encoders of 32x32 images that score by 5 views. Before anything is timed both are trained for some epochs on
enlarged digits, as studies train theirs, since of two untrained encoders the scores are noise and nothing can be said of their ranks.
The arms take turns in one process, started as a study's workers are, in one round forwards and in the next backwards:

ours      all of scoring, 12 forward passes a sample: images read, views drawn, forward passes, distances, a block of the store written.
bf16      the same with ``scoring.precision: bf16``.
bare      as many forward passes as ours, of one batch of noise, at the batch size that is the fastest one here.
released  the protocol as released: one sample after another, and for each of 5 views four passes of one image, of the clean image and of
          the view, under f and under g: 20 a sample. Plain torch modules in float32, so without this project's faster linear layers. Its
          views are given to it free of charge.

``vs_released`` is the median over rounds of the seconds a sample of released / ours, ``vs_released_bf16`` of released / bf16, and
``vs_bare_forward`` of bare / ours; intervals are the 95 % of a bootstrap over rounds. Scores of the released protocol are read from our
stores: those in float32 have to equal the released arm's (``largest_difference``), those in bf16 are told by Spearman's rank correlation
with float32 over the samples, the lower one of the released and the default protocol's.

**Signal-to-noise**, (mean over candidates - mean over shared) / standard deviation over shared, of pairs of the bundled study ``digits``,
averaged over the pairs. ``snr_vs_released`` is that of our default, coupled pairs scored by the protocol ``corrected``, / that of
uncoupled pairs of the same seeds, scored by the protocol ``released`` with its 5 views. Training costs both the same. Scoring a sample
with one pair takes released 20 forward passes, so ours may take 20, too, which is 9 views beside the clean image;
``snr_vs_released_5_views`` is the ratio with our default of 5, at 12 forward passes. Intervals: bootstrap over the pairs.
"""

from __future__ import annotations

import argparse
import json
import os
import subprocess
import sys
import tempfile
import time
from copy import deepcopy
from pathlib import Path
from typing import Any

import numpy as np

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from sslmem_kit.run.schedulers.pool import worker_environment
from sslmem_kit.spec.loading import load_spec, parse_spec
from sslmem_kit.spec.study import StudySpec

MODELS: dict[str, dict[str, Any]] = {
    "vit_tiny_p4": {"backbone": "vit_tiny_patch16_224", "options": {"patch_size": 4}},
    "resnet18": {"backbone": "resnet18", "stem": "small"},
}
BARS = {
    "vit_tiny_p4": {"vs_released": 2.7, "vs_released_bf16": 6, "vs_bare_forward": 0.93},
    "resnet18": {"vs_released": 4, "vs_released_bf16": 6, "vs_bare_forward": 0.93},
}
"""What the ratios should reach."""
SNR_BAR = 1.2
VIEWS, EQUAL_VIEWS = 5, 9
"""Of the released protocol; as many as take no more forward passes than that."""
BATCHES = (16, 32, 64, 128, 192, 256)
"""Batch sizes that bare forward passes are tried at."""
SIZES: dict[str, dict[str, int]] = {
    "cpu": {"samples": 128, "released_samples": 8, "trained": 256},
    "cuda": {"samples": 896, "released_samples": 8, "trained": 896},
}
"""Samples that are scored, samples of a turn of the released protocol, and samples of a family's training, by device."""
THREAD_SETTINGS = ("OMP_NUM_THREADS", "OPENBLAS_NUM_THREADS", "MKL_NUM_THREADS")


def study(model: str, folder: Path, *, trained: int, epochs: int) -> StudySpec:
    """A study of enlarged digits whose first two encoders are scored; half of ``trained`` samples are candidates of each family."""
    from sslmem_kit.data import load
    from sslmem_kit.spec.data import DataSpec

    digits = load(DataSpec(name="digits"), seed=0)
    images = digits.read(digits.ids[: 2 * trained]).repeat(4, axis=1).repeat(4, axis=2).repeat(3, axis=3)
    path = folder / "digits.npz"
    np.savez(path, images=images, labels=digits.labels[: len(images)])
    return parse_spec(
        {
            "name": model,
            "data": {"name": f"npz:{path}", "test_fraction": 0.0},
            "partition": {"shared": trained // 2, "candidate": trained // 2, "independent": trained // 2, "extra": 0},
            "encoder": MODELS[model],
            "objective": {"method": "simclr"},
            "training": {"epochs": epochs, "warmup_epochs": 0, "batch_size": 64, "record_every": 0, "policy": "simclr"},
            "scoring": {"views": VIEWS, "policy": "simclr"},
        },
        where=model,
    )


class Arms:
    """What takes turns; each returns its seconds a sample."""

    def __init__(self, spec: StudySpec, folder: Path, *, device: str, samples: int, released_samples: int) -> None:
        from sslmem_kit.data.loader import ImageLoader
        from sslmem_kit.data.samples import load_samples
        from sslmem_kit.training.loop import train

        self.spec, self.folder, self.device = spec, folder, device
        self.samples = load_samples(spec)
        self.loader = ImageLoader(self.samples.dataset, device)
        self.plans = spec.encoders[:2]
        self.pair = [train(spec, plan, self.samples, self.loader, folder / plan.id)[0].eval() for plan in self.plans]
        self.plain = [_plain(encoder) for encoder in self.pair]
        scored = self.samples.scored[self.samples.codes[self.samples.scored] > 0]  # candidates and independents: what scores are of
        self.positions = scored[np.linspace(0, len(scored) - 1, min(samples, len(scored))).astype(int)]
        self.ids = self.samples.dataset.ids[self.positions]
        self.stores = {precision: self._store(precision) for precision in ("float32", "bf16")}
        self.released_samples, self.released_scores = released_samples, np.full(len(self.ids), np.nan)
        self._next = 0
        self.best_batch = self._best_batch()

    def _store(self, precision: str) -> Path:
        import xarray as xr

        from sslmem_kit import store

        path, dataset = self.folder / f"{precision}.zarr", self.samples.dataset
        store.create(
            path,
            samples=xr.Dataset(
                coords={
                    "sample": self.ids,
                    "label": ("sample", dataset.labels[self.positions]),
                    "partition": ("sample", self.samples.codes[self.positions]),
                }
            ),
            encoders=[
                {"encoder": plan.id, "family": plan.family, "seed": plan.seed, "method": "", "backbone": "", "dataset": ""}
                for plan in self.plans
            ],
            trained_on=np.stack([np.isin(self.ids, self.samples.training(plan)) for plan in self.plans], axis=1),
            views=VIEWS,
            policy=self.spec.scoring.policy.name,
            block=len(self.ids),
            attrs={},
            thumbnails=None,
        )
        return path

    def ours(self, precision: str = "float32") -> float:
        """All of scoring."""
        from sslmem_kit import store
        from sslmem_kit.measures.evaluation import score_samples

        spec = self.spec.model_copy(update={"scoring": self.spec.scoring.model_copy(update={"precision": precision})})
        start = time.perf_counter()
        for index, encoder in enumerate(self.pair):
            values = score_samples(spec, encoder, self.ids, self.loader)
            store.write_alignment(self.stores[precision], encoder=index, block=0, values=values)
        return (time.perf_counter() - start) / len(self.ids)

    def bf16(self) -> float:
        """All of scoring, its forward passes in bf16."""
        return self.ours("bf16")

    def bare(self) -> float:
        """Forward passes alone."""
        passes = max(1, round(len(self.ids) * (VIEWS + 1) / self.best_batch))
        return _forward_seconds(self.pair, self._noise(self.best_batch), passes) * (VIEWS + 1)

    def released(self) -> float:
        """The next few samples by the protocol as released; their scores are kept."""
        import torch

        from sslmem_kit.views import make_views

        chosen = (self._next + np.arange(self.released_samples)) % len(self.ids)
        self._next = int(chosen[-1]) + 1
        images = next(self.loader.batches([self.ids[chosen]]))
        keys = torch.from_numpy(self.ids[chosen]).to(self.device)
        policy, seed = self.spec.scoring.policy, self.spec.view_seed
        views = [make_views(images, keys, view=view, seed=seed, policy=policy) for view in range(1, VIEWS + 1)]

        def representation(encoder: Any, images: Any) -> Any:
            return torch.nn.functional.normalize(encoder(images).flatten(1), dim=1)

        start = time.perf_counter()
        with torch.no_grad():
            for place, sample in enumerate(chosen):
                one, distances = slice(place, place + 1), np.empty((2, VIEWS))
                for number, view in enumerate(views):
                    for family, encoder in enumerate(self.plain):
                        clean, other = representation(encoder, images[one]), representation(encoder, view[one])
                        distances[family, number] = torch.linalg.vector_norm(clean - other)
                self.released_scores[sample] = distances[1].mean() - distances[0].mean()
        return (time.perf_counter() - start) / len(chosen)

    def scores(self, precision: str, protocol: str) -> np.ndarray:
        """Differences of mean alignment, of the samples as they are stored."""
        import xarray as xr

        from sslmem_kit.scores import family_contrast, select_protocol

        with xr.open_zarr(self.stores[precision], consolidated=False) as results:
            return family_contrast(select_protocol(results["alignment"].load(), protocol))["sslmem"].values

    def _best_batch(self) -> int:
        """The batch size at which forward passes take the least time: the best of three rounds of each."""
        most = len(self.ids) * (VIEWS + 1)
        batches = BATCHES if self.device == "cpu" else (256, 512, 1024, 2048, 4096)
        sizes = [size for size in batches if size <= most] or [most]
        seconds = {
            size: min(_forward_seconds(self.pair[:1], self._noise(size), max(1, min(most, batches[-1]) // size)) for _ in range(3))
            for size in sizes
        }
        return min(seconds, key=seconds.get)

    def _noise(self, size: int) -> Any:
        import torch

        height, width, channels = self.samples.dataset.image_shape
        return torch.rand(size, channels, height, width, generator=torch.Generator().manual_seed(0)).to(self.device)


def _plain(encoder: Any) -> Any:
    """The encoder with torch's own linear layers."""
    from torch import nn

    encoder = deepcopy(encoder)
    for layer in encoder.modules():
        if isinstance(layer, nn.Linear):
            layer.__class__ = nn.Linear
    return encoder


def _forward_seconds(encoders: list[Any], images: Any, passes: int) -> float:
    """Of one image under all encoders."""
    import torch

    with torch.inference_mode():
        start = time.perf_counter()
        for encoder in encoders:
            for _ in range(passes):
                encoder(images)
        if images.is_cuda:
            torch.cuda.synchronize()
        return (time.perf_counter() - start) / passes / len(images)


def measure(
    model: str,
    *,
    rounds: int,
    device: str = "cpu",
    samples: int | None = None,
    released_samples: int | None = None,
    trained: int | None = None,
    epochs: int = 6,
) -> dict:
    """All arms of a model, taking turns; numbers of samples by :data:`SIZES`."""
    from scipy import stats

    sizes = SIZES[device]

    with tempfile.TemporaryDirectory() as name:
        folder = Path(name)
        arms = Arms(
            study(model, folder, trained=trained or sizes["trained"], epochs=epochs),
            folder,
            device=device,
            samples=samples or sizes["samples"],
            released_samples=released_samples or sizes["released_samples"],
        )
        turns = {"bare": arms.bare, "ours": arms.ours, "bf16": arms.bf16, "released": arms.released}
        seconds: dict[str, list[float]] = {name: [] for name in turns}
        for turn in turns.values():  # to warm up
            turn()
        for number in range(rounds):
            for name in turns if number % 2 == 0 else reversed(turns):
                seconds[name].append(turns[name]())
        ours = {protocol: arms.scores("float32", protocol) for protocol in ("released", "corrected")}
        same_rank = [stats.spearmanr(values, arms.scores("bf16", protocol)).statistic for protocol, values in ours.items()]
    scored = ~np.isnan(arms.released_scores)
    difference = float(np.abs(arms.released_scores - ours["released"])[scored].max())
    if difference > 1e-5:
        raise SystemExit(f"{model}: scores of the released protocol differ from those of our stored pairs, by {difference:.2g}")
    times = {name: np.array(values) for name, values in seconds.items()}
    return {
        **_interval("vs_released", times["released"] / times["ours"]),
        **_interval("vs_released_bf16", times["released"] / times["bf16"]),
        **_interval("vs_bare_forward", times["bare"] / times["ours"]),
        "bf16_rank_correlation": round(float(min(same_rank)), 5),
        "largest_difference": difference,
        "milliseconds_a_sample": {name: round(1e3 * float(np.median(values)), 3) for name, values in times.items()},
        "n": len(arms.ids),
        "n_released": int(scored.sum()),
        "rounds": rounds,
        "forwards_a_sample": {"released": 4 * VIEWS, "ours": 2 * (VIEWS + 1)},
        "bare_batch_size": arms.best_batch,
        "device": device_name(device),
        "threads": len(os.sched_getaffinity(0)),
        "rounds_milliseconds_a_sample": {name: (1e3 * values).round(3).tolist() for name, values in times.items()},
    }


def device_name(device: str) -> str:
    """Name of the card, or ``cpu``."""
    import torch

    return torch.cuda.get_device_name() if device == "cuda" else device


def in_a_worker(model: str, rounds: int, device: str) -> dict[str, Any]:
    """:func:`measure` in a process that starts as a study's workers do."""
    with worker_environment(len(os.sched_getaffinity(0))):
        command = [sys.executable, __file__, "--model", model, "--rounds", str(rounds), "--device", device]
        done = subprocess.run(command, stdout=subprocess.PIPE, text=True)
    if done.returncode:
        raise SystemExit(f"the process for {model!r} failed; what it said stands above")
    return json.loads(done.stdout)


# --- signal-to-noise


def signal_to_noise(results: Any, protocol: str, views: int) -> np.ndarray:
    """Of each pair by itself, (seed,), from the first ``views`` views."""
    from sslmem_kit.names import PARTITION_CODE
    from sslmem_kit.scores import family_contrast, select_protocol

    alignment = select_protocol(results["alignment"].load(), protocol)
    alignment = alignment.isel(augmentation=np.flatnonzero(alignment["view_b"].values <= views))
    found = []
    for seed in np.unique(alignment["seed"]):
        scores = family_contrast(alignment.isel(encoder=np.flatnonzero(alignment["seed"].values == seed)))["sslmem"].values
        parts = {name: scores[alignment["partition"].values == PARTITION_CODE[name]] for name in ("candidate", "shared")}
        found.append((parts["candidate"].mean() - parts["shared"].mean()) / parts["shared"].std(ddof=1))
    return np.array(found)


def compare_protocols(pairs: int, *, spec: StudySpec | None = None, workers: int = 2) -> dict[str, Any]:
    """Train coupled and uncoupled pairs of a study and compare their signal-to-noise."""
    from sslmem_kit import run_study

    spec = spec or load_spec("digits")
    found = {}
    with tempfile.TemporaryDirectory() as folder:
        for coupled, views in ((True, EQUAL_VIEWS), (False, VIEWS)):
            changed = {"seeds": pairs, "coupled": coupled, "record_every": 0}
            arm = spec.model_copy(
                update={
                    "training": spec.training.model_copy(update=changed),
                    "scoring": spec.scoring.model_copy(update={"views": views}),
                }
            )
            results = run_study(arm, Path(folder) / str(coupled), workers=workers, device="cpu").results
            if coupled:
                found["ours"] = signal_to_noise(results, "corrected", EQUAL_VIEWS)
                found["ours_5_views"] = signal_to_noise(results, "corrected", VIEWS)
            else:
                found["released"] = signal_to_noise(results, "released", VIEWS)
    draws = np.random.default_rng(0).integers(0, pairs, (10_000, pairs))  # coupled and not have the same seeds: drawn together

    def against_released(name: str, key: str) -> dict[str, Any]:
        low, high = np.quantile(found[name][draws].mean(axis=1) / found["released"][draws].mean(axis=1), (0.025, 0.975))
        ratio = found[name].mean() / found["released"].mean()
        return {key: round(float(ratio), 3), f"{key}_interval": [round(float(low), 3), round(float(high), 3)]}

    return {
        **against_released("ours", "snr_vs_released"),
        "snr_vs_released_bar": SNR_BAR,
        **against_released("ours_5_views", "snr_vs_released_5_views"),
        "snr": {name: round(float(values.mean()), 4) for name, values in found.items()},
        "snr_of_pairs": {name: values.round(4).tolist() for name, values in found.items()},
        "snr_pairs": pairs,
        "snr_views": {"ours": EQUAL_VIEWS, "ours_5_views": VIEWS, "released": VIEWS},
        "snr_forwards_a_sample": {"ours": 2 * (EQUAL_VIEWS + 1), "ours_5_views": 2 * (VIEWS + 1), "released": 4 * VIEWS},
    }


def _interval(name: str, ratios: np.ndarray) -> dict[str, Any]:
    draws = np.median(np.random.default_rng(0).choice(ratios, (10_000, len(ratios))), axis=1)
    return {
        name: round(float(np.median(ratios)), 3),
        f"{name}_interval": [round(float(bound), 3) for bound in np.quantile(draws, (0.025, 0.975))],
    }


def main() -> None:
    """Measure, print."""
    parser = argparse.ArgumentParser(description="Speed of scoring, and the signal-to-noise of scores.")
    parser.add_argument("--json", action="store_true", help="print one JSON object and nothing else")
    parser.add_argument("--parts", default="models,snr", help="which parts to measure, with commas (models,snr)")
    parser.add_argument("--rounds", type=int, default=5, help="turns of each arm (5)")
    parser.add_argument("--pairs", type=int, default=6, help="pairs of encoders that are trained, of each kind (6)")
    parser.add_argument("--device", choices=SIZES, default="cpu", help="of the models' part (cpu)")
    parser.add_argument("--model", choices=MODELS, help=argparse.SUPPRESS)
    options = parser.parse_args()
    parts = options.parts.split(",")
    if set(parts) - {"models", "snr"}:
        parser.error(f"--parts: {options.parts!r} names others than models and snr")
    if options.model:
        print(json.dumps(measure(options.model, rounds=options.rounds, device=options.device)))
        return
    for name in THREAD_SETTINGS:  # all cores, whatever the shell says
        os.environ.pop(name, None)
    told: dict[str, Any] = {}
    if "models" in parts:
        told["models"] = {}
        for model in MODELS:
            told["models"][model] = found = in_a_worker(model, options.rounds, options.device)
            if not options.json:
                for name, bar in BARS[model].items():
                    low, high = found[f"{name}_interval"]
                    print(f"{model:12} {name:17} {found[name]:.3f} ({low:.3f} to {high:.3f}), wanted {bar}", flush=True)
                print(f"{model:12} bf16 ranks as float32: {found['bf16_rank_correlation']:.4f}, wanted 0.99", flush=True)
    if "snr" in parts:
        told |= compare_protocols(options.pairs)
        if not options.json:
            for name in ("snr_vs_released", "snr_vs_released_5_views"):
                low, high = told[f"{name}_interval"]
                print(f"{name:25} {told[name]:.3f} ({low:.3f} to {high:.3f}), wanted {SNR_BAR}")
            print(f"signal-to-noise {told['snr']}, forwards a sample {told['snr_forwards_a_sample']}")
    if options.json:
        print(json.dumps(told))


if __name__ == "__main__":
    main()
