"""RankInfo: two processes that share every batch train what one process trains; one that is killed ends the run, which then goes on."""

from __future__ import annotations

import os
import signal
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.numpy import load_file
from torch import nn

from sslmem_kit import store
from sslmem_kit.data.loader import ImageLoader
from sslmem_kit.data.samples import load_samples
from sslmem_kit.errors import UserError
from sslmem_kit.events import Completed, Event, OnEvent, Scored, Trained
from sslmem_kit.run.schedulers.pool import WorkerDied
from sslmem_kit.run.schedulers.process_group import process_group
from sslmem_kit.run.schedulers.ranks import RankInfo, launched, set_environment, start
from sslmem_kit.run.study import run_study
from sslmem_kit.spec.loading import parse_spec
from sslmem_kit.spec.study import StudySpec
from sslmem_kit.training.distributed import DeviceGroup, share_batch_norm
from sslmem_kit.training.loop import train

RESNET = {"backbone": "resnet18", "stem": "stock", "options": {"layers": [1, 1, 0, 0], "channels": [8, 16, 16, 16]}}
VIT = {
    "backbone": "vit_tiny_patch16_224",
    "grid": 4,
    "options": {"embed_dim": 24, "depth": 2, "num_heads": 3, "dynamic_img_size": True},
}
OBJECTIVES = {
    "simclr": {"hidden_dim": 32, "projection_dim": 16},
    "mae": {"decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2},
    "dino": {"hidden_dim": 32, "bottleneck_dim": 16, "output_dim": 64, "frozen_epochs": 1},
    "vicreg": {"hidden_dim": 32, "projection_dim": 32},
    "simsiam": {"projection_dim": 32, "prediction_dim": 16},
    "supervised": {},
}
CASES = [(method, "vit" if method == "mae" else "resnet") for method in OBJECTIVES] + [("dino", "vit"), ("simclr", "regularized")]


def make_spec(method: str, encoder: str, **training: object) -> StudySpec:
    regularizer = {"regularizer": {"weight": 0.3, "start_epoch": 1}} if encoder == "regularized" else {}
    return parse_spec(
        {
            "name": "ranks",
            "data": {"name": "digits"},
            "partition": {"shared": 64, "candidate": 16, "independent": 16, "extra": 16},
            "encoder": VIT if encoder == "vit" else RESNET,
            "objective": {"method": method, **OBJECTIVES[method], **regularizer},
            "training": {
                "seeds": 1, "epochs": 3, "warmup_epochs": 1, "batch_size": 32, "optimizer": "sgd", "learning_rate": 0.05,
                "policy": ["crop_resize", "noise"], "record_every": 0, **training,
            },
            "scoring": {"views": 2, "block": 50},
        },
        where="test",
    ).resolved(Path("."))  # fmt: skip


def train_cases(shared: DeviceGroup, out: Path) -> None:
    torch.set_num_threads(1)
    for method, encoder in CASES:
        spec = make_spec(method, encoder)
        samples = load_samples(spec)
        folder = out / f"{method}-{encoder}"
        trained, progress = train(spec, spec.encoders[0], samples, ImageLoader(samples.dataset, "cpu"), folder, device_group=shared)
        if shared.first:
            loss = [row["loss"] for row in progress.history]
            np.savez(folder / "end.npz", loss=loss, **{name: value.numpy() for name, value in trained.state_dict().items()})


def train_cases_as_rank(ranks: RankInfo, emit: OnEvent, out: Path) -> None:
    with process_group("cpu", ranks, emit) as shared:
        train_cases(shared, out)


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """Every case, trained by one process and by two."""
    one, two = tmp_path_factory.mktemp("one"), tmp_path_factory.mktemp("two")
    train_cases(DeviceGroup("cpu"), one)
    start(2, 1, train_cases_as_rank, (two,), lambda *event: None)
    return one, two


@pytest.mark.parametrize(("method", "encoder"), CASES)
def test_two_ranks_train_what_one_process_trains(trained: tuple[Path, Path], method: str, encoder: str) -> None:
    alone, shared = (dict(np.load(out / f"{method}-{encoder}" / "end.npz")) for out in trained)
    assert alone.keys() == shared.keys()
    np.testing.assert_allclose(shared.pop("loss"), alone.pop("loss"), rtol=2e-5)
    for name, value in alone.items():
        np.testing.assert_allclose(shared[name], value, rtol=1e-3, atol=1e-4, err_msg=name)


def test_a_study_by_two_ranks_is_complete(tmp_path: Path) -> None:
    spec = make_spec("simclr", "resnet", epochs=2)
    events: list[Event] = []
    study = run_study(spec, tmp_path / "two", device="cpu", devices=2, on_event=events.append)
    alone = run_study(spec, tmp_path / "one", device="cpu", scheduler="serial")
    assert store.missing(study.tree) == ""
    assert store.is_finished(study.results_path)
    np.testing.assert_allclose(study.results["alignment"], alone.results["alignment"], atol=2e-3)
    assert [event.encoder for event in events if isinstance(event, Completed)] == ["f-0", "g-0"]
    scored = [(event.encoder, event.block) for event in events if isinstance(event, Scored)]
    assert scored == [("f-0", 0), ("f-0", 2), ("g-0", 0), ("g-0", 2)], "the first rank tells of its own blocks"


@pytest.mark.slow
def test_a_killed_rank_ends_the_run_which_then_resumes(tmp_path: Path) -> None:
    spec = make_spec("dino", "resnet", epochs=8, checkpoint_seconds=0.01)
    whole = run_study(spec, tmp_path / "whole", device="cpu", devices=2)
    killed = []

    def kill(event: Event) -> None:
        if isinstance(event, Trained) and event.epochs >= 3 and not killed:
            children = [int(pid) for pid in Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()]
            ranks = [pid for pid in children if b"spawn_main" in Path(f"/proc/{pid}/cmdline").read_bytes()]
            killed.append(max(ranks))
            os.kill(max(ranks), signal.SIGKILL)

    with pytest.raises(WorkerDied, match=r"rank \d of 2 was killed \(SIGKILL\).*run the same command again"):
        run_study(spec, tmp_path / "killed", device="cpu", devices=2, on_event=kill)
    epochs: list[float] = []
    again = run_study(
        spec,
        tmp_path / "killed",
        device="cpu",
        devices=2,
        on_event=lambda event: epochs.append(event.epochs) if isinstance(event, Trained) else None,
    )
    assert epochs[0] > 1, "the run went on from its checkpoint, not from the beginning"
    for encoder in ("f-0", "g-0"):
        first, second = (load_file(study.encoder(encoder) / "weights.safetensors") for study in (whole, again))
        assert all(np.array_equal(first[name], second[name]) for name in first)


def test_the_users_mistake_is_told_by_the_rank_that_finds_it(tmp_path: Path) -> None:
    spec = make_spec("simclr", "resnet", batch_size=33)
    with pytest.raises(UserError, match=r"training.batch_size: 33 has to be a multiple of the 2 devices"):
        run_study(spec, tmp_path / "out", device="cpu", devices=2)


def test_batch_norm_of_one_rank_is_torchs(tmp_path: Path) -> None:
    start(1, 1, _compare_batch_norm, (), lambda *event: None)


def _compare_batch_norm(ranks: RankInfo, emit: OnEvent) -> None:
    with process_group("cpu", ranks._replace(size=1), emit):
        for norm, shape in ((nn.BatchNorm1d(5), (7, 5)), (nn.BatchNorm2d(3, momentum=None), (4, 3, 6, 6))):
            values = torch.randn(shape, generator=torch.Generator().manual_seed(0), requires_grad=True)
            holder = nn.Sequential(norm)
            expected = norm(values)
            (gradient,) = torch.autograd.grad(expected.sin().sum(), values)
            fresh = nn.Sequential(type(norm)(norm.num_features, momentum=norm.momentum))
            share_batch_norm(fresh, on_cpu=True)
            got = fresh(values)
            (own,) = torch.autograd.grad(got.sin().sum(), values)
            torch.testing.assert_close(got, expected)
            torch.testing.assert_close(own, gradient)
            torch.testing.assert_close(dict(fresh[0].state_dict()), dict(holder[0].state_dict()))
            torch.testing.assert_close(fresh.eval()(values), holder.eval()(values))


@pytest.mark.parametrize(
    ("environment", "expected"),
    [
        ({}, None),
        ({"WORLD_SIZE": "1", "RANK": "0"}, None),
        ({"WORLD_SIZE": "4", "RANK": "3", "LOCAL_RANK": "1", "LOCAL_WORLD_SIZE": "2"}, RankInfo(3, 1, 4, 2)),
        ({"SLURM_NTASKS": "8", "SLURM_PROCID": "0"}, None),  # a batch script that has not called srun
        ({"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_JOB_ID": "7"}, None),
        ({"SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}, None),  # as the meeting's sentence advises
        (
            {"SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "5", "SLURM_LOCALID": "1", "SLURM_STEP_TASKS_PER_NODE": "4(x2)"},
            RankInfo(5, 1, 8, 4),
        ),
    ],
)
def test_who_started_the_ranks(environment: dict[str, str], expected: RankInfo | None) -> None:
    assert launched(environment) == expected


def test_slurms_variables_become_those_of_torch() -> None:
    environment = {"SLURM_STEP_NODELIST": "node7,node9", "SLURM_JOB_ID": "40001"}
    set_environment(RankInfo(5, 1, 8, 4), environment)
    assert environment["MASTER_ADDR"] == "node7"
    assert environment["MASTER_PORT"] == "25001"
    assert [environment[name] for name in ("RANK", "LOCAL_RANK", "WORLD_SIZE", "LOCAL_WORLD_SIZE")] == ["5", "1", "8", "4"]


def test_what_another_launcher_left_behind_does_not_count() -> None:
    environment = {"RANK": "0", "WORLD_SIZE": "1", "MASTER_ADDR": "10.0.0.7", "MASTER_PORT": "99"}
    set_environment(RankInfo(1, 1, 2, 2), environment)
    assert (environment["RANK"], environment["WORLD_SIZE"]) == ("1", "2")
    assert (environment["MASTER_ADDR"], environment["MASTER_PORT"]) == ("10.0.0.7", "99")


def test_broken_variables_are_named() -> None:
    with pytest.raises(UserError, match="SLURM_LOCALID"):
        launched({"SLURM_STEP_NUM_TASKS": "8", "SLURM_PROCID": "5"})
