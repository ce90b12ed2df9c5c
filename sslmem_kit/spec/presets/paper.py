"""The paper's rows as presets: what each table and figure varies, and the numbers that it reports.

Rows that several tables share are one preset that lists them all.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from sslmem_kit.spec.presets.preset import Preset, merge
from sslmem_kit.spec.presets.settings import COMMON_POLICY, PARTITIONS, sections

WEIGHTS = (0.05, 0.1, 0.2, 0.3, 0.4)
"""Lambdas of figure 4 beside 0; the figure's own are in no text."""

_MAE, _SIMCLR, _DINO = "mae-vit-tiny", "simclr-resnet50", "dino-resnet50"

# (SSLMem, accuracy) of Table 1, and what else the row serves.
_TABLE1: dict[str, tuple[float, float, tuple[str, ...]]] = {
    "cifar10-mae-vit-tiny": (
        0.307,
        67.40,
        ("Table 4", "Table 5", "Table 9b", "Table 2", "Table 16", "Table 13", "Figure 1", "Figure 2", "Figure 4", "Figure 9"),
    ),
    "cifar10-dino-vit-tiny": (0.334, 76.12, ("Table 4", "Table 13", "Figure 9")),
    "cifar10-dino-resnet50": (0.327, 75.39, ("Table 13", "Figure 9")),
    "cifar10-simclr-resnet50": (0.339, 77.12, ("Table 7", "Table 8", "Table 15", "Table 13", "Figure 9")),
    "svhn-mae-vit-tiny": (0.311, 68.52, ("Figure 4",)),
    "svhn-dino-vit-tiny": (0.356, 82.26, ()),
    "svhn-dino-resnet50": (0.350, 80.69, ()),
    "svhn-simclr-resnet50": (0.357, 82.30, ()),
    "stl10-mae-vit-tiny": (0.284, 62.11, ()),
    "stl10-dino-vit-tiny": (0.321, 73.88, ()),
    "stl10-dino-resnet50": (0.319, 73.02, ()),
    "stl10-simclr-resnet50": (0.321, 74.22, ()),
    "imagenet-mae-vit-base": (0.271, 60.43, ("Table 4", "Figure 5")),
    "imagenet-dino-vit-base": (0.309, 68.21, ("Table 4",)),
    "imagenet-dino-resnet50": (0.311, 68.44, ()),
    "imagenet-simclr-resnet50": (0.301, 66.12, ()),
}


def paper_presets() -> Iterator[Preset]:
    """Yield all of them, table by table."""
    for row, (sslmem, accuracy, others) in _TABLE1.items():
        method, encoder = row.split("-", 2)[1:]
        mini = f"mini/{method}-{encoder.split('-')[0].rstrip('50')}"
        yield _preset(row, ("Table 1", *others), "", mini=mini, sslmem=sslmem, accuracy=accuracy)
    for data, sslmem, accuracy in (("cifar10", 0.334, 76.46), ("imagenet", 0.311, 69.05)):
        note = "the paper names no encoder, this is Bardes et al.'s"
        yield _preset(f"{data}-vicreg-resnet50", ("Table 4",), note, mini="mini/vicreg-resnet", sslmem=sslmem, accuracy=accuracy)
    yield from _private()
    yield from _overlaps()
    yield from _augmentations()
    yield from _supervised()
    yield from _sizes()
    yield from _halves()
    for data in ("cifar10", "svhn"):
        yield from _regularized(data)


def _preset(
    row: str,
    artifacts: tuple[str, ...],
    note: str,
    changes: Mapping[str, Any] | None = None,
    *,
    suffix: str = "",
    mini: str,
    sslmem: float | None = None,
    accuracy: float | None = None,
) -> Preset:
    """Return a row such as cifar10-mae-vit-tiny, with what is different about it."""
    data, method, encoder = row.split("-", 2)
    what = f"{_SPELLED[method]} on {data}, {encoder}" + (f": {note}" if note else "")
    if {"Table 1", "Table 4", "Table 9a"} & set(artifacts):
        changes = merge(changes or {}, {"scoring": {"common_policy": COMMON_POLICY}})
    spec = merge(sections(data, method, encoder), changes or {})
    name = f"paper/{row}{'-' + suffix if suffix else ''}"
    return Preset(name, artifacts, what, spec, mini=mini, sslmem=sslmem, accuracy=accuracy)


_SPELLED = {"mae": "MAE", "simclr": "SimCLR", "dino": "DINO", "vicreg": "VICReg", "supervised": "Supervised"}


def _private() -> Iterator[Preset]:
    # Optimizer, clipping and delta are ViP's (Yu et al. 2023), as the paper says; the batch stays Table 6's.
    for epsilon, sslmem, accuracy in ((20, 0.182, 54.22), (8, 0.107, 33.66)):
        changes = {
            "training": {
                "epochs": 1000,
                "warmup_epochs": 100,
                # In one piece: gradients of single samples are taken in small parts anyway.
                "batch_size": 2048,
                "accumulate": 1,
                "learning_rate": 3.84e-4,
                "weight_decay": 0.005,
                "precision": "float32",
                "record_every": 200,
                "privacy": {"epsilon": epsilon, "delta": 1.1e-5, "clip_norm": 0.1},
            }
        }
        note = f"DP-SGD, epsilon {epsilon}, 1000 epochs; fresh weights, where ViP starts with weights from synthetic textures"
        yield _preset(f"cifar10-{_MAE}", ("Table 5",), note, changes, suffix=f"epsilon{epsilon}", mini=f"mini/mae-vit-epsilon{epsilon}",
                      sslmem=sslmem, accuracy=accuracy)  # fmt: skip


def _overlaps() -> Iterator[Preset]:
    for percent, sslmem, accuracy, note in (
        (70, 0.325, 77.95, "35k + 7.5k + 7.5k, since the paper's 35k + 10k + 10k are more than CIFAR10 has"),
        (85, 0.337, 76.84, "42.5k + 2.5k + 2.5k"),
    ):
        suffix = f"overlap{percent}"
        yield _preset(f"cifar10-{_SIMCLR}", ("Table 7",), note, {"partition": PARTITIONS[suffix]}, suffix=suffix,
                      mini=f"mini/simclr-resnet-{suffix}", sslmem=sslmem, accuracy=accuracy)  # fmt: skip


def _augmentations() -> Iterator[Preset]:
    for policy, sslmem in (("noise", 0.321), ("rotate90", 0.308), ("rotate270", 0.328), ("color_drop", 0.298)):
        suffix = f"measured-{policy.replace('_', '-')}"
        yield _preset(f"cifar10-{_SIMCLR}", ("Table 8",), f"scored with {policy}", {"scoring": {"policy": policy}}, suffix=suffix,
                      mini=f"mini/simclr-resnet-{suffix}", sslmem=sslmem, accuracy=77.12)  # fmt: skip
    for policy, sslmem, accuracy in (
        ("crop", 0.322, 74.51),
        ("crop_resize", 0.326, 75.22),
        ("noise", 0.319, 71.94),
        ("mask", 0.288, 63.71),
    ):
        suffix = f"trained-{policy.replace('_', '-')}"
        yield _preset(f"cifar10-{_SIMCLR}", ("Table 9a",), f"views by {policy} alone", {"training": {"policy": policy}}, suffix=suffix,
                      mini=f"mini/simclr-resnet-{suffix}", sslmem=sslmem, accuracy=accuracy)  # fmt: skip
    for percent, sslmem, accuracy in ((50, 0.283, 62.09), (80, 0.300, 65.06), (90, 0.249, 58.77)):
        suffix = f"mask{percent}"
        yield _preset(f"cifar10-{_MAE}", ("Table 9b",), f"{percent} % of the patches masked",
                      {"objective": {"mask_ratio": percent / 100}}, suffix=suffix, mini=f"mini/mae-vit-{suffix}", sslmem=sslmem,
                      accuracy=accuracy)  # fmt: skip


def _supervised() -> Iterator[Preset]:
    recipe = "100 epochs; batch, optimizer and views are the usual recipe, the paper names none"
    yield _preset("cifar10-supervised-resnet50", ("Table 11", "Table 12", "Table 13", "Figure 8", "Figure 9"), recipe,
                  suffix="100epochs", mini="mini/supervised-resnet-100epochs", sslmem=0.398, accuracy=90.10)  # fmt: skip
    yield _preset("cifar10-supervised-resnet50", ("Table 11", "Table 13", "Figure 9"), "10 epochs",
                  {"training": {"epochs": 10, "warmup_epochs": 1, "record_every": 2}}, suffix="10epochs",
                  mini="mini/supervised-resnet-10epochs", sslmem=0.327, accuracy=75.16)  # fmt: skip
    for epochs, sslmem, accuracy, more in (
        (100, 0.314, 69.12, ""),
        (300, 0.327, 75.39, " (the same numbers as Table 1's, which Table 6 trains for 600)"),
    ):
        changes = {"training": {"epochs": epochs, "warmup_epochs": epochs // 10, "record_every": epochs // 5}}
        yield _preset(f"cifar10-{_DINO}", ("Table 11",), f"{epochs} epochs{more}", changes, suffix=f"{epochs}epochs",
                      mini=f"mini/dino-resnet-{epochs}epochs", sslmem=sslmem, accuracy=accuracy)  # fmt: skip


def _sizes() -> Iterator[Preset]:
    for encoder, mini, sslmem, accuracy in (
        ("wide-resnet50-2", "mini/simclr-resnet-wide", 0.350, 81.23),
        ("resnet18", "mini/simclr-resnet-small", 0.315, 71.07),
    ):
        yield _preset(f"cifar10-simclr-{encoder}", ("Table 15",), "", mini=mini, sslmem=sslmem, accuracy=accuracy)


def _halves() -> Iterator[Preset]:
    """Yield the studies whose scores removal trees go by (:mod:`sslmem_kit.spec.presets.trees`): f and g on disjoint halves."""
    note, halves = "f and g on disjoint halves of the data", {"partition": PARTITIONS["halves"]}
    yield _preset(
        f"cifar10-{_SIMCLR}", ("Table 17",), note, halves, suffix="halves", mini="mini/simclr-resnet-halves", accuracy=63.3
    )
    for figure, data in (("Figure 3", "cifar10"), ("Figure 6", "stl10"), ("Figure 7", "cifar100")):
        yield _preset(f"{data}-{_MAE}", (figure,), note, halves, suffix="halves", mini="mini/mae-vit-halves")
    # Up to 20,000 most memorized samples are removed, of which Table 1's partition has 5,000; the paper names no other.
    yield _preset("imagenet-mae-vit-base", ("Table 3", "Table 10", "Table 14"), f"{note}, 50,000 each; the paper names no partition",
                  {"partition": {"shared": 0, "candidate": 50_000, "independent": 50_000, "extra": 5_000}}, suffix="halves",
                  mini="mini/mae-vit-halves", accuracy=68.21)  # fmt: skip


def _regularized(data: str) -> Iterator[Preset]:
    for weight in WEIGHTS:
        # Both terms over mini-batches of 256, as the text says; eight of them make up Table 6's batch.
        changes = {"training": {"batch_size": 256, "accumulate": 8}, "objective": {"regularizer": {"weight": weight}}}
        suffix = f"lambda{weight:.2f}"
        yield _preset(f"{data}-{_MAE}", ("Figure 4",), f"alignment regularizer, lambda {weight}", changes, suffix=suffix,
                      mini=f"mini/mae-vit-{suffix}")  # fmt: skip
