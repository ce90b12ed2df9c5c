"""MAE against the paper's text, one sample and one patch at a time; masks follow the keys."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor

from sslmem_kit.errors import UserError
from sslmem_kit.training.objectives import Batch, Objective
from sslmem_kit.views import CounterRNG
from tests.support.small_objectives import BATCH, SIDE, make, make_batch, make_encoder

PATCH = 8
GRID = SIDE // PATCH


def reconstruction_error(objective: Objective, image: Tensor, key: Tensor, *, ratio: float, normalize: bool) -> float:
    """Mean squared error of the masked patches of one image, [channel, y, x], in float64."""
    vit, decoder = objective.encoder.backbone, objective.decoder
    patches = [image[:, y : y + PATCH, x : x + PATCH] for y in range(0, SIDE, PATCH) for x in range(0, SIDE, PATCH)]
    order = sorted(range(len(patches)), key=CounterRNG(key[None]).uniform(len(patches))[0].tolist().__getitem__)
    masked, visible = order[: round(ratio * len(patches))], order[round(ratio * len(patches)) :]

    tokens = [vit.cls_token[0, 0] + vit.pos_embed[0, 0]]
    for position in visible:
        projected = torch.einsum("fcyx,cyx->f", vit.patch_embed.proj.weight, patches[position]) + vit.patch_embed.proj.bias
        tokens.append(projected + vit.pos_embed[0, 1 + position])
    encoded = objective.embed(vit.norm(vit.blocks(torch.stack(tokens)[None])))[0]

    full = [encoded[0]]
    for position in range(len(patches)):
        full.append(encoded[1 + visible.index(position)] if position in visible else decoder.mask_token[0, 0])
    decoded = decoder.norm(decoder.blocks((torch.stack(full) + decoder.pos_embed[0])[None]))[0]

    error = 0.0
    for position in masked:
        # Pixels in the order row, column, channel.
        target = patches[position].permute(1, 2, 0).flatten()
        if normalize:
            target = (target - target.mean()) / (target.var() + 1e-6).sqrt()
        error += float(((objective.head(decoded[1 + position]) - target) ** 2).mean()) / len(masked)
    return error


@pytest.mark.parametrize(("ratio", "normalize"), [(0.75, True), (0.5, False)])
@pytest.mark.parametrize("dynamic", [True, False])
@torch.no_grad()
def test_loss_is_the_papers(ratio: float, normalize: bool, dynamic: bool) -> None:
    torch.manual_seed(0)
    encoder = make_encoder("vit", dynamic_img_size=dynamic)
    objective = make("mae", encoder, mask_ratio=ratio, normalize_pixels=normalize).double()
    batch = make_batch(objective)
    batch = Batch(tuple(view.double() for view in batch.views), batch.keys, batch.labels)
    images = encoder.normalize(batch.views[0])
    errors = [
        reconstruction_error(objective, image, key, ratio=ratio, normalize=normalize)
        for image, key in zip(images, batch.keys, strict=True)
    ]
    assert objective(batch).item() == pytest.approx(sum(errors) / BATCH, rel=1e-10)


def visible_patches(objective: Objective, batch: Batch, monkeypatch: pytest.MonkeyPatch) -> list[set[int]]:
    """Which patches the encoder was given of each sample."""
    kept = []
    original = objective.masked_vit.encode
    with monkeypatch.context() as patch:
        patch.setattr(
            objective.masked_vit, "encode", lambda images, idx_keep: kept.append(idx_keep) or original(images, idx_keep=idx_keep)
        )
        objective.losses(batch)
    return [set(row.tolist()) for row in kept[0]]


def test_masks_follow_the_keys(monkeypatch: pytest.MonkeyPatch) -> None:
    """Coupled encoders mask alike, whatever they have learned and whichever image stands in the slot."""
    first, second = make("mae", "vit"), make("mae", "vit", seed=1)
    one, other = make_batch(first), make_batch(second, seed=1)
    masks = visible_patches(first, one, monkeypatch)
    assert all(len(mask) == 1 + GRID**2 // 4 and 0 in mask for mask in masks), "the class token and a quarter of the patches"
    assert len(set(map(frozenset, masks))) > 1
    assert visible_patches(second, Batch(other.views, one.keys, other.labels), monkeypatch) == masks
    assert visible_patches(first, Batch(one.views, other.keys, one.labels), monkeypatch) != masks
    swapped = visible_patches(first, Batch(one.views, one.keys.flip(0), one.labels), monkeypatch)
    assert swapped == masks[::-1]


def test_wants_a_vit_of_some_patches() -> None:
    with pytest.raises(UserError, match=r"objective.method: 'mae' masks patches and needs a plain ViT"):
        make("mae", "resnet")
    with pytest.raises(UserError, match=r"encoder.options.patch_size: 'mae' needs at least 4 patches, these images have 1"):
        make("mae", make_encoder("vit", patch_size=32))
    with pytest.raises(UserError, match=r"encoder.options.patch_size: .* has to divide the images' side, 32; it is 5;"):
        make("mae", make_encoder("vit", patch_size=5, dynamic_img_size=False))
