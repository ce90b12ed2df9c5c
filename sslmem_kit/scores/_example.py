"""A small store with fixed numbers, in memory: what the examples in docstrings are computed from.

40 samples, ten of each partition; three seeds with an encoder of f and one of g each; four random views. What an encoder was trained on is
0.1 to 0.3 closer in it, on top of differences between samples, views and encoders from a generator with a fixed seed.
"""

from __future__ import annotations

import itertools

import numpy as np
import xarray as xr

from sslmem_kit.names import PARTITIONS

SEEDS, VIEWS, EACH = 3, 4, 10
"""Pairs of encoders, random views, and samples of each partition."""


def _noise(number: int, *shape: int) -> np.ndarray:
    """Uniform numbers between -1 and 1, the same everywhere."""
    return np.random.Generator(np.random.Philox(number)).uniform(-1, 1, shape)


_MEMORIZED = 0.2 + 0.1 * _noise(0, 4 * EACH)


def results() -> xr.Dataset:
    """Root of a results store: ``alignment(sample, augmentation, encoder)``, ``trained_on(sample, encoder)`` and their coordinates.

    Examples
    --------
    >>> dict(results().sizes)
    {'sample': 40, 'augmentation': 10, 'encoder': 6}
    """
    pairs = np.array(list(itertools.combinations(range(VIEWS + 1), 2)))
    seed, family = np.repeat(np.arange(SEEDS), 2), np.tile(["f", "g"], SEEDS)
    partition = np.arange(4 * EACH) % 4
    trained = {0: ("f", "g"), 1: ("f",), 2: ("g",), 3: ()}
    seen = np.array([np.isin(family, trained[code]) for code in partition])
    alignment = (
        0.6
        + 0.1 * _noise(1, 4 * EACH, 1, 1)
        + 0.05 * _noise(2, 4 * EACH, len(pairs), 1)
        + 0.03 * _noise(3, 4 * EACH, 1, 2 * SEEDS)
        + 0.02 * _noise(4, 4 * EACH, len(pairs), 2 * SEEDS)
        - (_MEMORIZED[:, None] * seen)[:, None]
    )
    return xr.Dataset(
        {"alignment": (("sample", "augmentation", "encoder"), alignment), "trained_on": (("sample", "encoder"), seen)},
        {
            "sample": np.arange(4 * EACH),
            "label": ("sample", np.arange(4 * EACH) // 4 % 2, {"class_names": ["cat", "dog"]}),
            "partition": ("sample", partition, {"flag_values": [0, 1, 2, 3], "flag_meanings": " ".join(PARTITIONS)}),
            "view_a": ("augmentation", pairs[:, 0]),
            "view_b": ("augmentation", pairs[:, 1]),
            "encoder": [f"{name}-{number}" for name, number in zip(family, seed, strict=True)],
            "family": ("encoder", family),
            "seed": ("encoder", seed),
        },
    )


def design() -> xr.Dataset:
    """Root of a results store with encoders of two more designs: random subsets, and one without each of the first five candidates.

    Examples
    --------
    >>> sorted(set(design()["design"].values.tolist()))
    ['leave_one_out', 'pair', 'subset']
    """
    pairs = results()
    candidates = np.flatnonzero(pairs["partition"].values == 1)[:5]
    first = np.flatnonzero(np.isin(pairs["partition"].values, [0, 1]))
    columns = {}
    for seed in range(2):
        for fold in range(2):
            columns["subset", seed, str(fold)] = np.setdiff1d(first, first[fold::2])
        columns["leave_one_out", seed, "all"] = first
        for left in candidates:
            columns["leave_one_out", seed, str(left)] = np.setdiff1d(first, [left])
    seen = np.stack([np.isin(np.arange(pairs.sizes["sample"]), samples) for samples in columns.values()], axis=1)
    noise = 0.03 * _noise(5, len(seen), 1, seen.shape[1]) + 0.02 * _noise(6, len(seen), pairs.sizes["augmentation"], seen.shape[1])
    base = pairs["alignment"].isel(encoder=[-1]).where(~pairs["trained_on"].isel(encoder=[-1]), 0.6)
    more = xr.Dataset(
        {
            "alignment": (("sample", "augmentation", "encoder"), base.values + noise - (_MEMORIZED[:, None] * seen)[:, None]),
            "trained_on": (("sample", "encoder"), seen),
        },
        {
            "encoder": [f"{kind}-{seed}-{name}" for kind, seed, name in columns],
            "family": ("encoder", [name for *_, name in columns]),
            "seed": ("encoder", [seed for _, seed, _ in columns]),
            "design": ("encoder", [kind for kind, *_ in columns]),
        },
    )
    pairs = pairs.assign_coords(design=("encoder", ["pair"] * pairs.sizes["encoder"]))
    return xr.concat([pairs, more], "encoder", data_vars="minimal", coords="minimal", compat="override", join="override")


def tree() -> xr.DataTree:
    """Results store with ``/layers``, ``/units``, ``/training`` and ``/trajectory``, as :func:`sslmem_kit.store.open_results` gives them.

    Examples
    --------
    >>> sorted(tree().children)
    ['layers', 'training', 'trajectory', 'units']
    """
    root = results()
    samples, encoders = root.sizes["sample"], root.sizes["encoder"]
    mean, other = root["alignment"].mean("augmentation").values, 0.6 + 0.03 * _noise(8, samples, encoders)
    epochs, layers = np.array([2, 4]), ["stem", "block", "head"]
    own = np.where(root["family"].values == "f", 1, 2)[:, None]  # the partition that an encoder was trained on alone
    code = np.concatenate([np.tile([1, 2], (encoders, 3)), np.repeat(own, 6, axis=1)], axis=1)
    strongest = code + 4 * (np.arange(12) % EACH)
    dims = ("encoder", "unit")
    units = xr.Dataset(
        {
            "unit_mem": (dims, 0.5 + 0.3 * _noise(7, encoders, 12)),
            "standard_error": (dims, np.full((encoders, 12), 0.02)),
            "null": (dims, np.full((encoders, 12), -0.01)),
            "strongest": (dims, strongest),
        },
        {"layer": ("unit", np.repeat(layers[:2], 6)), "channel": ("unit", np.tile(np.arange(6), 2))},
        {"rule": "of an example"},
    )
    by_epoch = ("encoder", "epoch")
    trajectory = xr.Dataset(
        {
            "alignment": (("sample", "encoder", "epoch"), np.stack([0.5 + 0.5 * mean, mean], axis=2)),
            "probe_accuracy": (by_epoch, np.tile([0.7, 0.8], (encoders, 1))),
            **{name: (by_epoch, np.full((encoders, 2), value)) for name, value in _SPREAD.items()},
        },
        {"encoder": root["encoder"].values, "epoch": epochs},
    )
    loss = 2 / np.arange(1, 5) + 0.01 * np.arange(encoders)[:, None]
    return xr.DataTree.from_dict(
        {
            "/": root,
            "/layers": xr.Dataset(
                {"alignment": (("sample", "encoder", "layer"), np.stack([other, (mean + other) / 2, mean], axis=2))},
                {"layer": layers},
            ),
            "/units": units,
            "/training": xr.Dataset({"loss": (by_epoch, loss)}, {"encoder": root["encoder"].values, "epoch": np.arange(1, 5)}),
            "/trajectory": trajectory,
        }
    )


_SPREAD = {"feature_std": 0.8, "effective_rank": 20.0, "embedding_std": 0.9}
