"""What checksums cost: a store of 1.3 million samples is written, opened, read and checked with them and without.

python benchmarks/checksums.py [--samples 1281167] [--encoders 4] [--views 4] [--repeat 2]
"""

from __future__ import annotations

import argparse
import tempfile
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any
from unittest import mock

import numpy as np
import xarray as xr
from zarr.codecs import ZstdCodec

from sslmem_kit import store
from sslmem_kit.names import ALIGNMENT
from sslmem_kit.store import integrity
from sslmem_kit.store.metadata import read_documents

BLOCK = 4096


def write(path: Path, samples: int, encoders: int, views: int) -> None:
    """A scored store, by the writers that runs use."""
    rng = np.random.default_rng(0)
    coords = {
        "sample": np.arange(samples),
        "label": ("sample", np.arange(samples) % 1000, {"class_names": [str(number) for number in range(1000)]}),
        "partition": ("sample", (np.arange(samples) % 4).astype(np.int8)),
    }
    names = [{"encoder": f"{'fg'[i % 2]}-{i // 2}", "family": "fg"[i % 2], "seed": i // 2} for i in range(encoders)]
    store.create(
        path,
        samples=xr.Dataset(coords=coords),
        encoders=[{**row, "method": "simclr", "backbone": "resnet18", "dataset": "made up"} for row in names],
        trained_on=rng.random((samples, encoders)) < 0.5,
        views=views,
        policy="simclr",
        block=BLOCK,
        attrs={"mode": "pair"},
        thumbnails=None,
    )
    pairs = len(store.view_pairs(views))
    for encoder in range(encoders):
        for block, start in enumerate(range(0, samples, BLOCK)):
            values = rng.random((min(BLOCK, samples - start), pairs), dtype=np.float32)
            store.write_alignment(path, encoder=encoder, block=block, values=values)
    store.finish(path)


def seconds(work: Callable[[], Any]) -> float:
    """Of one call."""
    begun = time.perf_counter()
    work()
    return time.perf_counter() - begun


def measure(samples: int, encoders: int, views: int, *, checked: bool) -> dict[str, float]:
    """Seconds of each step, and megabytes; without checksums nothing is recorded and chunks are packed alone."""
    with tempfile.TemporaryDirectory() as folder, mock.patch.dict(store.CHECKED), mock.patch.object(integrity, "begin") as begin:
        if checked:
            begin.side_effect = START
        else:
            store.CHECKED["compressors"] = (ZstdCodec(level=0),)
        path = Path(folder, "results.zarr")
        row = {"write": seconds(lambda: write(path, samples, encoders, views))}
        row["open"] = seconds(lambda: store.open_results(path))
        tree = store.open_results(path)
        row["read"] = seconds(lambda: tree[ALIGNMENT].mean("augmentation").load())
        documents = read_documents(path)
        row["quick check"] = seconds(lambda: integrity.damages(path, documents, whole=False))
        row["whole check"] = seconds(lambda: integrity.damages(path, documents, whole=True))
        row["MB"] = sum(file.stat().st_size for file in path.rglob("*") if file.is_file()) / 1e6
        row["files"] = sum(file.is_file() for file in path.rglob("*"))
    return row


START = integrity.start


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0])
    parser.add_argument("--samples", type=int, default=1_281_167)
    parser.add_argument("--encoders", type=int, default=4)
    parser.add_argument("--views", type=int, default=4)
    parser.add_argument("--repeat", type=int, default=2)
    options = parser.parse_args()
    sizes = (options.samples, options.encoders, options.views)
    rows = {checked: [measure(*sizes, checked=checked) for _ in range(options.repeat)] for checked in (False, True)}
    print(f"{options.samples:,} samples, {options.encoders} encoders, {options.views} views; the lesser of {options.repeat}")
    print(f"{'':<12} {'without':>12} {'with':>12} {'ratio':>7}")
    for name in rows[True][0]:
        without, with_them = (min(row[name] for row in rows[checked]) for checked in (False, True))
        print(f"{name:<12} {without:>12,.3f} {with_them:>12,.3f} {with_them / without:>7.3f}")


if __name__ == "__main__":
    main()
