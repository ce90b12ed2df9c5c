"""Segmentation and depth: measures against plain transcriptions, the joint of encoder and decoder, and training that resumes."""

from __future__ import annotations

import copy
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sslmem_kit.data.datasets.dense import DenseDataset, load_dense_data
from sslmem_kit.encoders.backbone import Encoder, build_encoder
from sslmem_kit.errors import UserError
from sslmem_kit.measures.downstream import dense
from sslmem_kit.measures.downstream.dense import fine_tune, poly_rate
from sslmem_kit.measures.downstream.dense_model import DenseModel, Pyramid
from sslmem_kit.measures.downstream.depth import Depth
from sslmem_kit.measures.downstream.segmentation import Segmentation
from sslmem_kit.spec.dense import DenseSpec
from sslmem_kit.spec.encoder import BackboneSpec

RESNET = BackboneSpec(backbone="resnet18", stem="stock", options={"layers": [1, 1, 1, 0], "channels": [8, 12, 16, 20]})
VIT = BackboneSpec(
    backbone="vit_tiny_patch16_224", options={"patch_size": 4, "embed_dim": 24, "depth": 5, "num_heads": 2, "class_token": True}
)


def encoder(spec: BackboneSpec = RESNET, side: int = 8) -> Encoder:
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        return build_encoder(spec, (side, side, 1), mean=(0.3,), std=(0.4,))


def spec_of(task: str, **options: Any) -> DenseSpec:
    data = {"name": "scenes", "image_size": 32, "train": 24, "test": 10}
    return DenseSpec.model_validate(
        {
            "name": "one",
            "task": task,
            "data": data,
            "decoder_channels": 16,
            "epochs": 3,
            "batch_size": 8,
            "optimizer": "adamw",
            "learning_rate": 2e-3,
            "policy": [{"op": "crop_resize", "scale": [0.5, 1.0]}],
            "checkpoint_seconds": 1e-9,
            **options,
        }
    )


def data_of(spec: DenseSpec) -> DenseDataset:
    return load_dense_data(spec.data, spec.task, channels=1)


def test_segmentation_as_a_plain_transcription() -> None:
    """With pixels of no class, a class that no pixel has and nobody predicts, and one that is only predicted."""
    rng = np.random.default_rng(0)
    classes, n = 7, 9
    targets = rng.integers(0, classes - 2, (n, 13, 11)).astype(np.uint8)
    predicted = np.where(rng.random(targets.shape) < 0.6, targets, rng.integers(0, classes - 1, targets.shape)).astype(np.int64)
    targets[rng.random(targets.shape) < 0.1] = 255
    task = Segmentation(tuple("abcdefg"), [1 / classes] * classes)
    counts = np.concatenate(
        [task.count(torch.from_numpy(predicted[rows]), torch.from_numpy(targets[rows])) for rows in (slice(0, 4), slice(4, n))]
    )
    found = task.measure(counts.sum(axis=0))

    known = targets != 255
    ious = []
    for label in range(classes):
        true, said = known & (targets == label), known & (predicted == label)
        if true.any():
            ious.append((true & said).sum() / (true | said).sum())
    assert len(ious) == 5
    assert abs(found["mean_iou"] - np.mean(ious)) < 1e-6
    assert abs(found["pixel_accuracy"] - (predicted == targets)[known].mean()) < 1e-6
    assert task.pixels(counts) == known.sum()
    by_class = task.details(counts)["iou"]
    assert np.allclose([by_class[name] for name in "abcde"], ious)
    assert by_class["f"] is by_class["g"] is None


def test_depth_as_a_plain_transcription() -> None:
    rng = np.random.default_rng(1)
    targets = rng.uniform(0.5, 10, (9, 13, 11)).astype(np.float32)
    predicted = (targets * np.exp(rng.normal(0, 0.3, targets.shape))).astype(np.float32)
    targets[rng.random(targets.shape) < 0.1] = 0
    targets[3] = 0  # an image without any depth
    task = Depth(5.0)
    counts = np.concatenate(
        [task.count(torch.from_numpy(predicted[rows]), torch.from_numpy(targets[rows])) for rows in (slice(0, 4), slice(4, 9))]
    )
    found = task.measure(counts.sum(axis=0))

    known = targets > 0
    said, true = predicted[known].astype(float), targets[known].astype(float)
    assert abs(found["rmse"] - np.sqrt(np.mean((said - true) ** 2))) < 1e-6
    for power in (1, 2, 3):
        assert abs(found[f"delta_{power}"] - np.mean(np.maximum(said / true, true / said) < 1.25**power)) < 1e-6
    assert task.pixels(counts) == known.sum()


def test_losses_leave_out_what_has_no_target() -> None:
    outputs = torch.randn(2, 3, 4, 4, requires_grad=True)
    targets = torch.randint(0, 3, (2, 4, 4)).to(torch.uint8)
    targets[0] = 255
    Segmentation(("a", "b", "c"), [0.4, 0.3, 0.3]).loss(outputs, targets).backward()
    assert (outputs.grad[0] == 0).all()
    assert (outputs.grad[1] != 0).all()
    outputs = torch.randn(2, 1, 4, 4, requires_grad=True)
    depths = torch.rand(2, 4, 4) + 1
    depths[0] = 0
    Depth(2.0).loss(outputs, depths).backward()
    assert (outputs.grad[0] == 0).all()
    assert (outputs.grad[1] != 0).all()
    assert torch.allclose(Depth(2.0).predict(torch.zeros(1, 1, 2, 2)), torch.full((1, 2, 2), 2.0))


def test_stages_of_a_resnet_stand_from_fine_to_coarse() -> None:
    """The maps are what the stem and the stages return, in this order; the empty last stage adds none."""
    one = encoder().eval()
    seen: dict[str, torch.Tensor] = {}
    backbone = one.backbone
    for name in ("act1", "layer1", "layer2", "layer3"):
        getattr(backbone, name).register_forward_hook(lambda module, inputs, output, name=name: seen.__setitem__(name, output))
    images = torch.rand(2, 1, 32, 32)
    pyramid = Pyramid(one, 32, 1)
    with torch.no_grad():
        maps = pyramid(images)
    assert [maps_.shape[2:] for maps_ in maps] == [(16, 16), (8, 8), (4, 4), (2, 2)]
    assert pyramid.channels == [maps_.shape[1] for maps_ in maps]
    for found, name in zip(maps, ("act1", "layer1", "layer2", "layer3"), strict=True):
        assert torch.equal(found, seen[name]), name


def test_blocks_of_a_vit_stand_from_fine_to_coarse() -> None:
    """Evenly spaced blocks, the last among them, on inputs of another size than the encoder was built for."""
    pyramid = Pyramid(encoder(VIT).eval(), 32, 1)
    assert pyramid.chosen == [1, 2, 3, 4]
    with torch.no_grad():
        assert [one.shape[-1] for one in pyramid(torch.rand(2, 1, 32, 32))] == [32, 16, 8, 4]
    with pytest.raises(UserError, match=r"data.image_size: 30 is no multiple of the backbone's patches of 4 pixels"):
        Pyramid(encoder(VIT).eval(), 30, 1)


@pytest.mark.parametrize("backbone", [RESNET, VIT])
@pytest.mark.parametrize("decoder", ["upernet", "unet"])
def test_every_map_counts(backbone: BackboneSpec, decoder: str) -> None:
    """Each parameter of encoder and decoder that leads to the maps has a gradient, the coarsest map among them."""
    model = DenseModel(encoder(backbone), decoder, width=16, side=32, channels=1, outputs=3)
    output = model(torch.rand(4, 1, 32, 32))
    assert output.shape == (4, 3, 32, 32)
    output.square().mean().backward()
    without = {name for name, parameter in model.named_parameters() if parameter.requires_grad and parameter.grad is None}
    assert {name.split(".")[0] for name in without} <= {"pyramid"}  # such as a ViT's last norm, whose output is not among the maps
    assert all("norm" in name or "cls" in name for name in without), without


def test_frozen_encoders_stay(tmp_path: Path) -> None:
    spec = spec_of("depth")
    for frozen in (True, False):
        one = encoder()
        before = copy.deepcopy(one.state_dict())
        fine_tune(spec, data_of(spec), one, frozen=frozen, seed=1, checkpoint=tmp_path / "state.pt")
        same = [torch.equal(value, before[name]) for name, value in one.state_dict().items()]
        assert all(same) == frozen


def test_calibration_takes_statistics_of_the_train_split(tmp_path: Path) -> None:
    spec = spec_of("depth", epochs=1)
    data, one = data_of(spec), encoder()
    fine_tune(spec, data, one, frozen=True, calibrate=True, seed=1, checkpoint=tmp_path / "state.pt")
    images = torch.from_numpy(data.read(np.flatnonzero(~data.is_test))[0]).permute(0, 3, 1, 2).float() / 255
    with torch.no_grad():
        first = one.backbone.conv1(one.normalize(images))
    assert torch.allclose(one.backbone.bn1.running_mean, first.mean(dim=(0, 2, 3)), atol=1e-5)
    assert one.backbone.bn1.momentum == 0.1


@pytest.mark.parametrize("task", ["segmentation", "depth"])
def test_an_interrupted_training_ends_alike(task: str, tmp_path: Path) -> None:
    """To the last bit, wherever it was interrupted; and twice the same without."""
    spec = spec_of(task)
    data = data_of(spec)

    class Stop(Exception):
        pass

    def result(name: str, stops: tuple[int, ...] = ()) -> dict[str, Any]:
        left = list(stops)

        def on_epoch(epoch: int, loss: float) -> None:
            if left and epoch == left[0]:
                left.pop(0)
                raise Stop

        while True:
            try:
                found = fine_tune(
                    spec, data, encoder(), frozen=False, seed=3, checkpoint=tmp_path / f"{name}.pt", on_epoch=on_epoch
                )
            except Stop:
                continue
            return {key: value for key, value in found.items() if key != "seconds"}

    whole = result("whole")
    assert result("again") == whole
    assert result("stopped", (2, 3)) == whole
    assert list(tmp_path.iterdir()) == []
    assert len(whole["loss"]) == 3


def test_a_resumed_training_does_not_start_anew(tmp_path: Path) -> None:
    spec = spec_of("depth")
    data, path, epochs = data_of(spec), tmp_path / "state.pt", []

    def stop(epoch: int, loss: float) -> None:
        if epoch == 3:
            raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        fine_tune(spec, data, encoder(), frozen=False, seed=3, checkpoint=path, on_epoch=stop)
    fine_tune(spec, data, encoder(), frozen=False, seed=3, checkpoint=path, on_epoch=lambda epoch, loss: epochs.append(epoch))
    assert epochs == [3]


def test_a_checkpoint_of_another_model_is_refused(tmp_path: Path) -> None:
    path = tmp_path / "state.pt"
    torch.save({"model": {}, "optimizer": {}, "losses": [], "seconds": 0.0}, path)
    spec = spec_of("depth")
    with pytest.raises(UserError, match="it is of another training"):
        fine_tune(spec, data_of(spec), encoder(), frozen=False, seed=3, checkpoint=path)
    path.write_bytes(b"damaged")
    with pytest.raises(UserError, match="the checkpoint is damaged"):
        fine_tune(spec, data_of(spec), encoder(), frozen=False, seed=3, checkpoint=path)


def test_divergence_names_the_field(tmp_path: Path) -> None:
    spec = spec_of("depth", optimizer="sgd", learning_rate=1e12)
    with pytest.raises(UserError, match=r"learning_rate: the training diverged at 1000000000000.0"):
        fine_tune(spec, data_of(spec), encoder(), frozen=False, seed=3, checkpoint=tmp_path / "state.pt")


def test_the_schedule_is_that_of_the_paper() -> None:
    spec = DenseSpec.model_validate({"name": "one", "task": "depth", "data": {"name": "scenes"}})
    assert (spec.epochs, spec.batch_size, spec.optimizer, spec.learning_rate) == (100, 16, "sgd", 0.02)
    rates = [poly_rate(spec, step, 7) for step in range(700)]
    assert np.allclose(rates, [0.02 * (1 - step / 700) ** 0.9 for step in range(700)])
    warm = spec.model_copy(update={"warmup_epochs": 2})
    assert poly_rate(warm, 0, 7) == pytest.approx(0.02 / 15)
    assert poly_rate(warm, 14, 7) == poly_rate(spec, 14, 7)


def test_intervals_hold_the_measures(tmp_path: Path) -> None:
    task = Depth(2.0)
    rng = np.random.default_rng(0)
    counts = np.stack([rng.gamma(2, 50, 400), *rng.uniform(0, 100, (3, 400)), np.full(400, 100.0)], axis=1)
    low, high = dense._intervals(task, counts, seed=0)["rmse"]
    squares = counts[:, 0] / 100
    expected = 1.96 * squares.std(ddof=1) / 20 / (2 * np.sqrt(squares.mean()))  # by the delta method
    assert (high - low) / 2 == pytest.approx(expected, rel=0.1)
    assert low < np.sqrt(squares.mean()) < high
