"""Encoders that are trained at once are those that are trained one by one, but for rounding."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from sslmem_kit import store
from sslmem_kit.data.loader import ImageLoader
from sslmem_kit.data.samples import load_samples
from sslmem_kit.errors import UserError
from sslmem_kit.events import Trained
from sslmem_kit.run.study import run_study
from sslmem_kit.spec.partition import PartitionSpec
from sslmem_kit.spec.study import StudySpec
from sslmem_kit.training import stacked
from sslmem_kit.training.loop import train
from sslmem_kit.training.stacked import TIMED_STEPS, StackedModules, check_stackable, seconds_per_epoch, train_together
from tests.data.test_folds import make_spec

MLP = {
    "backbone": "vit_tiny_patch16_224",
    "grid": 2,
    "options": {"embed_dim": 16, "depth": 1, "num_heads": 2, "class_token": False, "global_pool": "avg"},
}
CONV = {"backbone": "resnet18", "stem": "stock", "options": {"layers": [1, 1, 0, 0], "channels": [8, 8, 8, 8]}}
SIMCLR = {"method": "simclr", "hidden_dim": 16, "projection_dim": 8}


def small_spec(**changes: Any) -> StudySpec:
    loaded: dict[str, Any] = {"encoder": MLP, "objective": SIMCLR, **changes}
    training = {"seeds": 1, "epochs": 3, "warmup_epochs": 1, "batch_size": 16, "record_every": 0} | loaded.pop("training", {})
    design = {"together": 4, "subsets": {"repeats": 1}, "leave_one_out": {"samples": 2, "seeds": 1}} | loaded.pop("design", {})
    partition = {"shared": 64, "candidate": 20, "independent": 20, "extra": 10}
    return make_spec(design, **loaded, training=training, partition=partition)


def representations(encoder: torch.nn.Module, images: torch.Tensor) -> torch.Tensor:
    with torch.inference_mode():
        return torch.nn.functional.normalize(encoder(images).flatten(1), dim=1)


@pytest.mark.parametrize(
    "changes",
    [
        {},
        {"encoder": CONV},
        {"training": {"optimizer": "sgd", "learning_rate": 0.05, "coupled": False}},
        {"training": {"betas": [0.5, 0.6]}},
        {"objective": {"method": "vicreg", "hidden_dim": 16, "projection_dim": 8}},
        {"objective": {"method": "simsiam", "projection_dim": 8, "prediction_dim": 4}},
        {"objective": {"method": "supervised"}},
        {"objective": SIMCLR | {"regularizer": {"weight": 0.2, "start_epoch": 1}}},
    ],
    ids=["vit", "conv", "sgd uncoupled", "betas", "vicreg", "simsiam", "supervised", "regularized"],
)
def test_the_same_numbers_as_one_by_one(changes: dict[str, Any], tmp_path: Path) -> None:
    spec = small_spec(**changes | {"training": {"epochs": 2, **changes.get("training", {})}})
    samples = load_samples(spec)
    loader = ImageLoader(samples.dataset, "cpu")
    images = next(loader.batches([samples.dataset.ids[:40]]))
    for design in ("subset", "leave_one_out"):
        plans = [plan for plan in spec.encoders if plan.design == design]
        for plan, (encoder, progress) in zip(
            plans, train_together(spec, plans, samples, loader, tmp_path / "group.pt"), strict=True
        ):
            alone, expected = train(spec, plan, samples, loader, tmp_path / plan.id)
            rows = [[(row["epoch"], row["learning_rate"], row["loss"]) for row in one.history] for one in (progress, expected)]
            told, known = np.array(rows)
            np.testing.assert_array_equal(told[:, :2], known[:, :2])
            np.testing.assert_allclose(told[0, 2], known[0, 2], rtol=2e-5, atol=1e-5)
            np.testing.assert_allclose(told[:, 2], known[:, 2], rtol=2e-3, atol=1e-5)  # training amplifies rounding
            torch.testing.assert_close(representations(encoder, images), representations(alone, images), rtol=0, atol=1e-2)


@pytest.mark.parametrize(("batch", "steps"), [(8, 6), (24, 2)])
def test_a_plan_times_a_few_steps_of_an_epoch(batch: int, steps: int, monkeypatch: pytest.MonkeyPatch) -> None:
    """However many an epoch has; the time is that of all of them, here of a clock that a step takes one second of, and the views ten."""
    spec = small_spec(training={"batch_size": batch})
    plans = [plan for plan in spec.encoders if plan.design == "subset"]
    samples, clock = load_samples(spec), [0.0]
    call, views = StackedModules.__call__, stacked.make_training_views

    def step(self: StackedModules, *inputs: object, **options: bool) -> torch.Tensor:
        clock[0] += 1
        return call(self, *inputs, **options)

    def make(*arguments: Any, **options: Any) -> Any:
        clock[0] += 10 / len({plan.seed for plan in plans})
        return views(*arguments, **options)

    monkeypatch.setattr(StackedModules, "__call__", step)
    monkeypatch.setattr(stacked, "make_training_views", make)
    monkeypatch.setattr(stacked.time, "monotonic", lambda: clock[0])
    assert samples.batches(plans[0])[1] == steps
    assert seconds_per_epoch(spec, plans, samples, ImageLoader(samples.dataset, "cpu")) == pytest.approx((10 + steps) / len(plans))
    assert clock[0] == 1 + min(TIMED_STEPS, steps) + 3 * 10


def test_encoders_of_a_group_differ(tmp_path: Path) -> None:
    """Each has its own samples: a mistake that gave all the same would pass for agreement."""
    spec = small_spec()
    samples = load_samples(spec)
    loader = ImageLoader(samples.dataset, "cpu")
    images = next(loader.batches([samples.dataset.ids[:10]]))
    plans = [plan for plan in spec.encoders if plan.design != "pair" and plan.design == "leave_one_out"]
    outputs = [representations(encoder, images) for encoder, _ in train_together(spec, plans, samples, loader, tmp_path / "g.pt")]
    assert all((one - other).abs().max() > 1e-4 for i, one in enumerate(outputs) for other in outputs[:i])


def test_stacked_modules_compute_what_each_computes() -> None:
    modules = [torch.nn.Sequential(torch.nn.Linear(5, 4), torch.nn.BatchNorm1d(4)).eval() for _ in range(3)]
    inputs = torch.randn(3, 7, 5)
    expected = torch.stack([module(given) for module, given in zip(modules, inputs, strict=True)])
    torch.testing.assert_close(StackedModules(modules)(inputs), expected)
    torch.testing.assert_close(
        StackedModules(modules)(inputs[0], shared=True), torch.stack([module(inputs[0]) for module in modules])
    )


def test_going_on_from_a_checkpoint_ends_on_the_same_bits(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = small_spec(training={"epochs": 4, "checkpoint_seconds": 1e-9})
    samples = load_samples(spec)
    loader = ImageLoader(samples.dataset, "cpu")
    plans = [plan for plan in spec.encoders if plan.design == "leave_one_out"]
    whole = train_together(spec, plans, samples, loader, tmp_path / "whole.pt")

    def stop(event: Trained) -> None:
        if event.epochs >= 2:
            raise KeyboardInterrupt

    monkeypatch.setattr("sslmem_kit.training.stacked.EVENT_SECONDS", -1)
    with pytest.raises(KeyboardInterrupt):
        train_together(spec, plans, samples, loader, tmp_path / "part.pt", emit=stop)
    epochs = []
    gone_on = train_together(spec, plans, samples, loader, tmp_path / "part.pt", emit=lambda event: epochs.append(event.epochs))
    assert epochs == [3, 4]
    for (one, progress), (other, expected) in zip(gone_on, whole, strict=True):
        assert [row["loss"] for row in progress.history] == [row["loss"] for row in expected.history]
        for name, values in one.state_dict().items():
            assert torch.equal(values, other.state_dict()[name]), name


@pytest.mark.parametrize(
    ("changes", "telling"),
    [
        ({"training": {"clip_norm": 1.0}}, "training.clip_norm: 1.0 is not for encoders that are trained at once"),
        ({"training": {"optimizer": "lars"}}, "training.optimizer: 'lars'"),
        ({"training": {"accumulate": 2}}, "training.accumulate: 2"),
        ({"objective": {"method": "dino", "hidden_dim": 8, "bottleneck_dim": 8, "output_dim": 8}}, "objective.method: 'dino'"),
        ({"encoder": MLP | {"options": MLP["options"] | {"proj_drop_rate": 0.1}}}, "dropout"),
    ],
)
def test_what_cannot_be_trained_at_once_is_told(changes: dict[str, Any], telling: str, tmp_path: Path) -> None:
    spec = small_spec(**changes)
    samples = load_samples(spec)
    groups = [group for group in samples.groups if len(group) > 1]
    with pytest.raises(UserError, match=telling):
        check_stackable(spec, groups, samples, ImageLoader(samples.dataset, "cpu"))


def test_what_cannot_be_trained_at_once_is_told_before_the_pairs_are_trained(tmp_path: Path) -> None:
    for changes in ({"encoder": MLP | {"options": MLP["options"] | {"proj_drop_rate": 0.1}}}, {"training": {"clip_norm": 1.0}}):
        with pytest.raises(UserError):
            run_study(small_spec(**changes), tmp_path / "study", scheduler="serial", device="cpu")
        assert not (tmp_path / "study").exists()


def test_views_that_do_not_fit_are_told(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sslmem_kit.training.stacked.VIEWS_BYTES", 10_000)
    spec = small_spec()
    samples = load_samples(spec)
    groups = [group for group in samples.groups if len(group) > 1]
    with pytest.raises(UserError, match=r"design.together: the views of 2 encoders take 0 MB per epoch"):
        check_stackable(spec, groups, samples, ImageLoader(samples.dataset, "cpu"))


def test_an_encoder_that_lacks_nothing_trains_as_long_as_those_that_lack_a_sample(tmp_path: Path) -> None:
    """80 samples make 5 batches of 16, 79 make 4; and of 84 in one batch the others are 83."""
    for batch, steps in ((16, 4), (256, 1)):
        spec = small_spec(training={"batch_size": batch}).model_copy(
            update={"partition": PartitionSpec(shared=60, candidate=20, independent=20, extra=10)}
        )
        samples = load_samples(spec)
        plans = [plan for plan in spec.encoders if plan.design == "leave_one_out"]
        assert {samples.batches(plan)[1] for plan in plans} == {steps}
        assert tuple(plans) in samples.groups
        train_together(spec, plans, samples, ImageLoader(samples.dataset, "cpu"), tmp_path / "group.pt")


def test_a_loss_that_is_not_finite_names_the_encoder(tmp_path: Path) -> None:
    spec = small_spec(training={"optimizer": "sgd", "learning_rate": 1e30})
    samples = load_samples(spec)
    plans = [plan for plan in spec.encoders if plan.design == "subset"]
    with pytest.raises(UserError, match=r"the loss of subset0-1 is not finite in epoch"):
        train_together(spec, plans, samples, ImageLoader(samples.dataset, "cpu"), tmp_path / "group.pt")


def test_a_study_with_all_designs_is_whole_and_scored_alike(tmp_path: Path) -> None:
    """Trained and scored at once, the store holds what one-by-one training and scoring gives."""
    values = {}
    for together in (1, 4):
        study = run_study(small_spec(design={"together": together}), tmp_path / str(together), scheduler="serial", device="cpu")
        tree = study.tree
        assert not store.missing(tree)
        values[together] = tree["alignment"].values
        assert np.isfinite(values[together]).all()
        np.testing.assert_allclose(
            tree["trajectory/alignment"].values[..., -1], tree["alignment"].mean("augmentation").values, rtol=1e-5
        )
        accuracy = tree["downstream/accuracy"].sel(probe="linear").values.ravel()
        assert (np.isfinite(accuracy) == (tree["design"].values == "pair")).all()
        for plan in study.spec.encoders:
            assert (study.encoder(plan.id) / "weights.safetensors").exists()
            assert (study.encoder(plan.id) / "history.csv").read_text().count("\n") == 4
            assert not (study.encoder(plan.id) / "resume" / "group.pt").exists()
        scores = study.scores()
        assert scores.attrs["encoders"] == "f-0, g-0"
    np.testing.assert_allclose(values[1], values[4], atol=3e-3)
