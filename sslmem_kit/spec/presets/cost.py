"""Cost of a study, without torch: FLOPs of a sample from ``costs.json``, times how often samples are seen.

``python benchmarks/preset_flops.py`` counts them anew after presets have changed.
"""

from __future__ import annotations

import hashlib
import json
from dataclasses import dataclass
from functools import cache
from pathlib import Path
from typing import Any

from sslmem_kit.spec.frontier import FrontierSpec
from sslmem_kit.spec.partition import PartitionSpec, RemovalSpec
from sslmem_kit.spec.removal_cells import counts_of, names_of_sets
from sslmem_kit.spec.removal_tree import RemovalTreeSpec
from sslmem_kit.spec.study import StudySpec

COSTS = Path(__file__).with_name("costs.json")

GPU_RATE, SMALL_RATE = 9e13, 4e13
"""FLOP/s that the hours of ``paper/`` presets are computed with: what an H100 was measured to sustain in bf16 with a ResNet-50, and what with
a ViT-tiny, whose layers are too small to fill it (``docs/training.md``)."""
CPU_RATE = 4e10
"""FLOP/s that the minutes of all others are computed with: two cores with small networks in float32."""

TRAIN_SIZES = {"digits": 1438, "mnist5k": 4000}
"""Samples of the train split, for partitions that are given as fractions."""
IMAGES = {"cifar10": (32, 3), "cifar100": (32, 3), "svhn": (32, 3), "digits": (8, 1), "digits_twins": (8, 1),
          "mnist5k": (28, 1)}  # fmt: skip
"""Side in pixels and channels of built-in data."""


@dataclass(frozen=True)
class Cost:
    """FLOPs of a study, from the first training to the last score; without probes and figures, which are small beside them."""

    encoders: int
    train_flops: float
    score_flops: float

    @property
    def flops(self) -> float:
        """Training and scoring together."""
        return self.train_flops + self.score_flops


def gpu_rate(backbone: str) -> float:
    """Return the FLOP/s that a GPU is taken to sustain with a backbone."""
    return SMALL_RATE if backbone.startswith("vit_tiny") else GPU_RATE


def image_shape(spec: StudySpec) -> tuple[int, int, int]:
    """Return (height, width, channels) of a preset's images."""
    side, channels = IMAGES.get(spec.data.name, (spec.data.image_size, 3))
    return side, side, channels


def key(spec: StudySpec) -> str:
    """Return the key of the FLOPs of a sample: what they depend on, readable in its first words."""
    encoder, objective = (getattr(spec, section).model_dump(mode="json") for section in ("encoder", "objective"))
    # Temperatures and weights cost nothing.
    objective = {
        name: value for name, value in objective.items() if isinstance(value, int | str) or name in ("mask_ratio", "local_views")
    }
    objective["regularized"] = spec.objective.regularizer is not None
    shape = image_shape(spec)
    content = json.dumps([encoder, objective, shape], sort_keys=True)
    return f"{spec.encoder.backbone} {spec.objective.method} {shape[0]} {hashlib.sha256(content.encode()).hexdigest()[:12]}"


def estimate(spec: StudySpec) -> Cost | None:
    """Return the cost of a preset's study; None where ``costs.json`` does not know its encoder."""
    counted = _counted().get(key(spec))
    if counted is None:
        return None
    training, partition, design = spec.training, spec.partition, spec.design
    sizes = _sizes(partition, TRAIN_SIZES.get(spec.data.name, 0))
    removed = _removed(partition, sizes["candidate"])
    f, g = (sizes["shared"] + sizes[own] - gone for own, gone in (("candidate", removed), ("independent", 0)))
    groups = [(training.seeds, f), (training.seeds, g)]  # how many encoders see how many samples
    if design.subsets:
        pool = f + sizes["independent"]
        groups.append((design.subsets.repeats * design.subsets.folds, pool - pool // design.subsets.folds))
    if design.leave_one_out:
        groups.append((design.leave_one_out.seeds * (1 + design.leave_one_out.samples), f - 1))
    seen = 0
    for count, samples in groups:
        batch = min(training.batch_size, samples) * training.accumulate
        seen += count * (samples // batch * batch * training.epochs)
    images = (sum(sizes.values()) - removed) * (spec.scoring.views + 1)
    encoders = len(spec.encoders)
    scorings = 2 if spec.second_policy else 1
    passes = images * (2 * training.seeds * len(training.recorded_epochs) + encoders * scorings)
    return Cost(
        encoders=encoders,
        train_flops=seen * counted["train_flops"],
        score_flops=passes * counted["forward_flops"],
    )


def estimate_tree(tree: RemovalTreeSpec) -> Cost | None:
    """Return the cost of a removal tree and its study, every set counted once, as :func:`estimate`."""
    parent = tree.scores_of
    whole = estimate(parent) if isinstance(parent, StudySpec) else None
    if whole is None or not isinstance(parent, StudySpec):
        return None
    sizes = _sizes(parent.partition, TRAIN_SIZES.get(parent.data.name, 0))
    counts, training = counts_of(tree, sizes["candidate"]), parent.training
    own = min(tree.seeds, training.seeds)
    gone = [
        count
        for count in names_of_sets(tree, counts, sizes["candidate"]).values()
        for _ in range(tree.seeds - (0 if count else own))
    ]
    seen = 0
    for count in gone:
        samples = sizes["shared"] + sizes["candidate"] - count
        batch = min(training.batch_size, samples) * training.accumulate
        seen += samples // batch * batch * training.epochs
    return Cost(whole.encoders + len(gone), whole.train_flops + seen * _counted()[key(parent)]["train_flops"], whole.score_flops)


def estimate_frontier(frontier: FrontierSpec) -> Cost | None:
    """Return the cost of a mitigation frontier, as :func:`estimate`: of arms that treat f alone, f alone is trained.

    What choosing samples on the way and a regularizer cost is small beside it, and left out.
    """
    baseline = frontier.baseline
    whole = estimate(baseline)
    if whole is None:
        return None
    shares = [
        (0.5 if arm.kind in ("memorized", "random") else 1) * arm.spec.training.epochs / baseline.training.epochs
        for arm in frontier.all_arms()
    ]
    encoders = sum(baseline.training.seeds * (1 if arm.kind in ("memorized", "random") else 2) for arm in frontier.all_arms())
    return Cost(encoders, whole.train_flops * sum(shares), whole.score_flops * encoders / whole.encoders)


def _sizes(partition: PartitionSpec, total: int) -> dict[str, int]:
    amounts = {name: getattr(partition, name) for name in ("shared", "candidate", "independent", "extra")}
    return {name: amount if isinstance(amount, int) else round(amount * total) for name, amount in amounts.items()}


def _removed(partition: PartitionSpec, candidates: int) -> int:
    removal = partition.remove
    if not isinstance(removal, RemovalSpec):
        return 0
    amount = getattr(removal, removal.way)
    count = amount if isinstance(amount, int) else round(amount * candidates)
    return candidates - count if removal.way == "keep_highest" else count


@cache
def _counted() -> dict[str, dict[str, Any]]:
    return json.loads(COSTS.read_text()) if COSTS.exists() else {}
