"""DINO against the authors' code and the paper's algorithm 1: loss with multi-crop, centre, schedules, teacher, crops."""

from __future__ import annotations

import numpy as np
import pytest
import torch
from torch import nn

from sslmem_kit.errors import UserError
from sslmem_kit.spec.objective import DINOSpec
from sslmem_kit.spec.policy import POLICIES, CropResize, Policy
from sslmem_kit.training.objectives import Batch, StepInfo
from sslmem_kit.training.objectives.dino import DINO, local_policy, teacher_momentum, teacher_temperature
from tests.support.small_objectives import BATCH, EPOCHS, STEPS_AN_EPOCH, make, make_batch, make_encoder, step_info, steps


def softmax(row: np.ndarray) -> np.ndarray:
    return np.exp(row - row.max()) / np.exp(row - row.max()).sum()


def cross_entropy(
    teacher: list[np.ndarray], student: list[np.ndarray], centre: np.ndarray, spec: DINOSpec, temperature: float
) -> float:
    """The authors' DINOLoss: every crop but the very same, averaged."""
    terms = []
    for index, said in enumerate(teacher):
        for crop, predicted in enumerate(student):
            if crop == index:
                continue
            of_samples = [
                -(softmax((t - centre) / temperature) * np.log(softmax(s / spec.student_temperature))).sum()
                for t, s in zip(said, predicted, strict=True)
            ]
            terms.append(np.mean(of_samples))
    return float(np.mean(terms))


def outputs(objective: DINO, batch: Batch) -> tuple[list[np.ndarray], list[np.ndarray]]:
    """What teacher and student say of their crops, pass by pass as the authors' MultiCropWrapper does it."""
    with torch.no_grad():
        large = torch.cat(batch.views[:2])
        teacher = objective.teacher_head(objective.teacher_encoder.pool(objective.teacher_encoder(large))).split(BATCH)
        student = objective.head(objective.encoder.pool(objective.encoder(large))).split(BATCH)
        small = torch.cat(batch.views[2:])
        student += objective.head(objective.encoder.pool(objective.encoder(small))).split(BATCH)
    return [part.double().numpy() for part in teacher], [part.double().numpy() for part in student]


@pytest.mark.parametrize("encoder", ["resnet", "vit"])
def test_losses_centres_and_teachers_of_some_steps(encoder: str) -> None:
    """Some steps: the loss of each by the loop above, with a centre and a teacher that are followed in float64 beside it."""
    objective = make(
        "dino", encoder, local_views=3, warmup_teacher_temperature=0.04, teacher_temperature=0.07, teacher_warmup_epochs=2,
        teacher_momentum=0.7, center_momentum=0.8,
    )  # fmt: skip
    spec = objective.spec
    assert spec.frozen_epochs == 0
    optimizer = torch.optim.SGD([parameter for parameter in objective.parameters() if parameter.requires_grad], lr=0.1)
    pairs = [(objective.encoder, objective.teacher_encoder), (objective.head, objective.teacher_head)]
    teachers = [value.double() for _, teacher in pairs for value in teacher.parameters()]
    centre = np.zeros(spec.output_dim)
    for step in range(0, 3 * STEPS_AN_EPOCH, 2):  # through all phases of the schedules
        objective.before_step(step_info(step))
        batch = make_batch(objective, seed=step)
        assert len(batch.views) == 5
        teacher, student = outputs(objective, batch)
        temperature = (0.04, 0.07)[min(step // STEPS_AN_EPOCH, 1)]
        loss, whole = objective.losses(batch)
        assert loss.item() == pytest.approx(cross_entropy(teacher, student, centre, spec, temperature), rel=1e-5, abs=1e-6)
        assert torch.equal(torch.cat(whole), objective.encoder(torch.cat(batch.views[:2])))
        centre = 0.8 * centre + 0.2 * np.mean(np.concatenate(teacher), axis=0)
        np.testing.assert_allclose(objective.state_dict()["criterion.center"].flatten(), centre, atol=1e-6)

        optimizer.zero_grad()
        loss.backward()
        objective.before_update(step_info(step))
        optimizer.step()
        objective.after_update(step_info(step))
        momentum = 1 - 0.3 * (np.cos(np.pi * step / (STEPS_AN_EPOCH * EPOCHS)) + 1) / 2
        students = [value.detach().double() for student, _ in pairs for value in student.parameters()]
        teachers = [momentum * old + (1 - momentum) * new for old, new in zip(teachers, students, strict=True)]
        held = [value for _, teacher in pairs for value in teacher.parameters()]
        for value, expected in zip(held, teachers, strict=True):
            torch.testing.assert_close(value.double(), expected, rtol=1e-5, atol=1e-6)
    assert any((new - old).abs().max() > 1e-3 for old, new in zip(teachers, students, strict=True)), "or all this says little"


def test_schedules_are_the_authors() -> None:
    """The schedules as main_dino.py and utils.cosine_scheduler build them, index by index."""
    for warmup in (0, 1, 2, 5):
        spec = DINOSpec(warmup_teacher_temperature=0.04, teacher_temperature=0.07, teacher_warmup_epochs=warmup)
        schedule = np.concatenate((np.linspace(0.04, 0.07, warmup), np.ones(8 - warmup) * 0.07))
        np.testing.assert_allclose([teacher_temperature(spec, epoch) for epoch in range(8)], schedule)
    base, final = 0.996, 1.0
    iters = np.arange(5 * 7)
    schedule = final + 0.5 * (base - final) * (1 + np.cos(np.pi * iters / len(iters)))
    spec = DINOSpec(teacher_momentum=base)
    np.testing.assert_allclose([teacher_momentum(spec, StepInfo(step, 7, 5)) for step in range(35)], schedule, rtol=1e-12)
    assert teacher_momentum(spec, StepInfo(35, 7, 5)) == 1


def test_the_temperature_follows_the_epoch() -> None:
    objective = make("dino", "resnet", warmup_teacher_temperature=0.02, teacher_temperature=0.08, teacher_warmup_epochs=3)
    seen = []
    for step in range(0, STEPS_AN_EPOCH * EPOCHS, STEPS_AN_EPOCH):
        objective.before_step(step_info(step))
        seen.append(objective.teacher_temperature)
    assert seen == pytest.approx([0.02, 0.05, 0.08, 0.08])


def test_the_teacher_starts_as_the_student_and_gets_no_gradient() -> None:
    objective = make("dino", "resnet")
    for student, teacher in ((objective.encoder, objective.teacher_encoder), (objective.head, objective.teacher_head)):
        states = student.state_dict(), teacher.state_dict()
        assert states[0].keys() == states[1].keys()
        assert all(torch.equal(states[0][name], states[1][name]) for name in states[0])
        assert not {value.data_ptr() for value in student.parameters()} & {value.data_ptr() for value in teacher.parameters()}
        assert not any(value.requires_grad for value in teacher.parameters())
    objective(make_batch(objective)).backward()
    objective.before_update(step_info(0))
    assert all(value.grad is None for value in objective.teacher_encoder.parameters())


def test_the_last_layer_is_frozen_at_first() -> None:
    objective = make("dino", "resnet", frozen_epochs=2)
    before = {name: value.clone() for name, value in objective.head.state_dict().items()}
    steps(objective, 2 * STEPS_AN_EPOCH)
    after = {name: value.clone() for name, value in objective.head.state_dict().items()}
    moved = {name for name in before if not torch.equal(before[name], after[name])}
    assert moved == {name for name in before if not name.startswith("last_layer")}
    objective(make_batch(objective)).backward()
    objective.before_update(step_info(2 * STEPS_AN_EPOCH))
    assert objective.head.last_layer.weight_v.grad is not None


def test_the_teacher_drops_nothing_out_and_keeps_batch_statistics() -> None:
    dropping = make("dino", make_encoder("vit", proj_drop_rate=0.5, drop_path_rate=0.5))
    images = torch.rand(4, 3, 32, 32)
    assert torch.equal(dropping.teacher_encoder(images), dropping.teacher_encoder(images))
    assert not torch.equal(dropping.encoder(images), dropping.encoder(images))

    objective = make("dino", "resnet")
    for mode in (True, False, True):
        objective.train(mode)
        norms = [module for module in objective.teacher_encoder.modules() if isinstance(module, nn.BatchNorm2d)]
        assert norms
        assert {module.training for module in norms} == {mode}
    assert torch.equal(objective.teacher_encoder(images), objective.encoder(images))


def test_heads_are_float32_in_half_precision(monkeypatch: pytest.MonkeyPatch) -> None:
    objective = make("dino", "resnet")
    given = []
    with monkeypatch.context() as patch, torch.autocast("cpu", torch.bfloat16):
        for head in (objective.head, objective.teacher_head):
            patch.setattr(head, "forward", lambda features, own=head.forward: given.append(own(features)) or given[-1])
        loss = objective(make_batch(objective))
    assert {logits.dtype for logits in given} == {torch.float32}
    assert len(given) == 3
    assert loss.isfinite()


def test_crops() -> None:
    objective = make("dino", "resnet", local_views=2, local_scale=(0.1, 0.3))
    policy = POLICIES["simclr"]
    large, also_large, small, also_small = objective.view_specs(policy)
    assert large == also_large == (policy, 1)
    assert small == also_small
    assert small.shrink == 2
    first, *rest = small.policy.steps
    assert first == CropResize(scale=(0.1, 0.3), ratio=policy.steps[0].ratio)
    assert tuple(rest) == policy.steps[1:]
    assert [tuple(view.shape) for view in make_batch(objective).views] == [(BATCH, 3, 32, 32)] * 2 + [(BATCH, 3, 16, 16)] * 2


def test_a_policy_without_a_crop_of_random_area_gets_one() -> None:
    policy = Policy.model_validate(["flip", "noise"])
    assert local_policy(policy, (0.1, 0.3)).steps == (CropResize(scale=(0.1, 0.3)), *policy.steps)


@pytest.mark.parametrize(
    ("encoder", "side", "wanted", "views"),
    [
        ("resnet", 32, None, 6),
        ("resnet", 16, None, 0),
        ("resnet", 16, 2, 2),
        ("resnet", 32, 0, 0),
        ("vit", 32, None, 6),
        ("vit", 32, 4, 4),
    ],
)
def test_how_many_small_crops(encoder: str, side: int, wanted: int | None, views: int) -> None:
    built = make_encoder(encoder, side=side)
    objective = make("dino", built, local_views=wanted)
    assert len(objective.view_specs(POLICIES["simclr"])) == 2 + views
    assert built.training
    assert objective(make_batch(objective, side=side)).isfinite()


def test_small_crops_that_the_encoder_does_not_take() -> None:
    fixed = make_encoder("vit", dynamic_img_size=False)
    assert make("dino", fixed).local_views == 0
    with pytest.raises(UserError, match=r"objective.local_views: 6 .* 16x16, .*encoder.options.dynamic_img_size: true"):
        make("dino", fixed, local_views=6)
    uneven = make_encoder("vit", patch_size=32)
    assert make("dino", uneven).local_views == 0


def test_the_order_of_the_scale_is_checked() -> None:
    with pytest.raises(ValueError, match=r"local_scale is \(0.4, 0.1\), the first number must not exceed the second"):
        DINOSpec(local_scale=(0.4, 0.1))
