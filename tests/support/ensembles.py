"""Results of pairs and random subsets by simulation, with a known effect of training on a sample."""

from __future__ import annotations

import numpy as np
import xarray as xr

from sslmem_kit.names import PARTITIONS


def ensembles(
    random: np.random.Generator,
    *,
    each: int = 100,
    pairs: int = 3,
    subsets: int = 4,
    effect: float | np.ndarray = 1.0,
    offset: float = 0.0,
    digits: int = 6,
) -> xr.Dataset:
    """Root of a results store: ``each`` samples of the four partitions, in units of the noise of one encoder.

    ``effect`` is what training on a sample takes from its alignment; ``offset`` the spread of what a training does to all samples;
    ``digits`` that are kept, for ties.
    """
    codes, samples = np.tile(np.arange(4), each), 4 * each
    effects = np.broadcast_to(effect, samples)
    inside, families, seeds, designs = [], [], [], []
    for seed in range(pairs):
        for family, own in (("f", 1), ("g", 2)):
            inside.append(np.isin(codes, [0, own]))
            families.append(family)
            seeds.append(seed)
            designs.append("pair")
    for seed in range(pairs, pairs + subsets):
        half = random.random(samples) < 0.5
        for fold in range(2):
            inside.append((half == fold) & (codes < 3))
            families.append(str(2 * (seed - pairs) + fold))
            seeds.append(seed)
            designs.append("subset")
    trained = np.stack(inside, axis=1)
    noise = random.normal(size=trained.shape) + random.normal(size=samples)[:, None] + offset * random.normal(size=trained.shape[1])
    alignment = (10 - effects[:, None] * trained + noise).round(digits)
    return xr.Dataset(
        {"alignment": (("sample", "augmentation", "encoder"), alignment[:, None]), "trained_on": (("sample", "encoder"), trained)},
        {
            "sample": np.arange(samples),
            "label": ("sample", np.arange(samples) // 4 % 2, {"class_names": ["cat", "dog"]}),
            "partition": ("sample", codes, {"flag_values": [0, 1, 2, 3], "flag_meanings": " ".join(PARTITIONS)}),
            "encoder": [f"{family}-{seed}" for family, seed in zip(families, seeds, strict=True)],
            "view_a": ("augmentation", [0]),
            "view_b": ("augmentation", [1]),
            "seed": ("encoder", seeds),
            "family": ("encoder", families),
            "design": ("encoder", designs),
        },
    )
