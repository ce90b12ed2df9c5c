"""Image and target move together: a target that is a function of the image stays one."""

from __future__ import annotations

import pytest
import torch

from sslmem_kit.spec.policy import Policy
from sslmem_kit.views import make_views
from sslmem_kit.views.dense import make_dense_views

IDS = torch.arange(40)


def policy(*steps: dict) -> Policy:
    return Policy.model_validate(list(steps))


@pytest.mark.parametrize("step", [{"op": "flip", "p": 0.5}, {"op": "crop", "padding": 0.25}])
def test_what_moves_whole_pixels_keeps_a_function_of_the_image(step: dict) -> None:
    """Oracle: the target is the image, whose outside is 0, as the fill is."""
    images = torch.rand(40, 1, 12, 12, generator=torch.Generator().manual_seed(0))
    moved, targets = make_dense_views(images, images[:, 0].clone(), IDS, view=3, seed=1, policy=policy(step), fill=0)
    assert torch.equal(moved[:, 0], targets)
    assert not torch.equal(moved, images)


@pytest.mark.parametrize("step", [{"op": "crop_resize", "scale": [0.2, 0.9]}, {"op": "rotate", "degrees": 80}])
def test_what_interpolates_keeps_it_to_the_nearest_pixel(step: dict) -> None:
    """A ramp, of which bilinear values and nearest ones differ by half a pixel at most, in both directions."""
    side = 24
    ramp = (torch.arange(side) + 0.5) / side
    for image in (ramp.expand(side, side), ramp[:, None].expand(side, side), (ramp + ramp[:, None]) / 2):
        images = image.expand(40, 1, side, side).contiguous()
        moved, targets = make_dense_views(images, images[:, 0].clone(), IDS, view=0, seed=2, policy=policy(step), fill=-1)
        # An image is darkened where zeros from outside are mixed in; there its target is the fill or an edge.
        inside = make_views(torch.ones_like(images), IDS, view=0, seed=2, policy=policy(step))[:, 0] > 1 - 1e-6
        assert (moved[:, 0] - targets)[inside].abs().max() <= 0.5 / side + 1e-5
        assert (targets[inside] > 0).all()
        assert not torch.equal(moved, images)


def test_no_class_and_no_depth_is_mixed() -> None:
    mask = (torch.rand(40, 20, 20, generator=torch.Generator().manual_seed(1)) * 5).to(torch.uint8)
    steps = ({"op": "crop_resize"}, {"op": "rotate", "degrees": 45}, {"op": "flip"})
    _, targets = make_dense_views(torch.rand(40, 3, 20, 20), mask, IDS, view=0, seed=0, policy=policy(*steps), fill=255)
    assert targets.dtype == torch.uint8
    assert set(targets.unique().tolist()) == {0, 1, 2, 3, 4, 255}


def test_images_are_the_views_that_encoders_see() -> None:
    images = torch.rand(40, 3, 16, 16, generator=torch.Generator().manual_seed(3))
    simclr = Policy.model_validate("simclr")
    moved, _ = make_dense_views(images, images[:, 0], IDS, view=5, seed=9, policy=simclr, fill=0)
    assert torch.equal(moved, make_views(images, IDS, view=5, seed=9, policy=simclr))


@pytest.mark.parametrize("op", ["color_jitter", "noise", "mask"])
def test_what_changes_colours_leaves_targets(op: str) -> None:
    images = torch.rand(40, 3, 16, 16)
    moved, targets = make_dense_views(images, images[:, 0], IDS, view=0, seed=0, policy=policy({"op": op}), fill=0)
    assert torch.equal(targets, images[:, 0])
    assert not torch.equal(moved, images)


def test_a_view_does_not_depend_on_its_batch() -> None:
    images = torch.rand(40, 1, 16, 16)
    options = {"view": 0, "seed": 0, "policy": policy({"op": "crop_resize"}), "fill": 0}
    whole = make_dense_views(images, images[:, 0], IDS, **options)[1]
    assert torch.equal(make_dense_views(images[7:9], images[7:9, 0], IDS[7:9], **options)[1], whole[7:9])
