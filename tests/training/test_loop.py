"""Training: exact resume after SIGKILL, coupling, schedules, records, and what a run leaves behind."""

from __future__ import annotations

import csv
import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest
import torch
import yaml
from safetensors.torch import load_file

import sslmem_kit.training.loop as train_module
from sslmem_kit.data.loader import ImageLoader
from sslmem_kit.data.samples import load_samples
from sslmem_kit.errors import UserError
from sslmem_kit.events import Event, Trained, Warned
from sslmem_kit.measures.evaluation import record
from sslmem_kit.run.study import run_study
from sslmem_kit.spec.loading import parse_spec
from sslmem_kit.spec.study import StudySpec
from sslmem_kit.store import write
from sslmem_kit.study import Study, open_study
from sslmem_kit.training import checkpoints
from sslmem_kit.training.loop import train
from sslmem_kit.training.objectives import OBJECTIVES, Batch, StepInfo
from sslmem_kit.training.objectives.base import Losses
from sslmem_kit.training.objectives.simclr import SimCLR
from sslmem_kit.training.setup import new_objective

RESNET = {"backbone": "resnet18", "options": {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16]}}
METHODS = {
    "simclr": {
        "encoder": RESNET,
        "objective": {"method": "simclr", "hidden_dim": 16, "projection_dim": 8},
    },
    "mae": {
        # Dropout and stochastic depth draw from torch's generator: resume has to put it back too.
        "encoder": {
            "backbone": "vit_tiny_patch16_224",
            "grid": 4,
            "options": {"embed_dim": 24, "depth": 2, "num_heads": 2, "proj_drop_rate": 0.1, "drop_path_rate": 0.1},
        },
        "objective": {"method": "mae", "decoder_dim": 16, "decoder_depth": 1, "decoder_heads": 2},
    },
    "dino": {
        "encoder": RESNET,
        # The centre, the teacher, its temperature and its momentum all move while this trains.
        "objective": {
            "method": "dino",
            "hidden_dim": 16,
            "bottleneck_dim": 8,
            "output_dim": 32,
            "teacher_warmup_epochs": 3,
            "warmup_teacher_temperature": 0.02,
            "teacher_momentum": 0.9,
        },
    },
    "vicreg": {"encoder": RESNET, "objective": {"method": "vicreg", "hidden_dim": 16, "projection_dim": 16}},
    "simsiam": {"encoder": RESNET, "objective": {"method": "simsiam", "projection_dim": 16, "prediction_dim": 8}},
    "supervised": {"encoder": RESNET, "objective": {"method": "supervised", "regularizer": {"weight": 0.2, "start_epoch": 2}}},
}


def make_spec(method: str, **training: object) -> StudySpec:
    return parse_spec(
        {
            "name": "tiny",
            "data": {"name": "digits"},
            "partition": {"shared": 60, "candidate": 10, "independent": 10, "extra": 10},
            **METHODS[method],
            "training": {
                "seeds": 1,
                "epochs": 4,
                "warmup_epochs": 1,
                "batch_size": 16,
                "record_every": 2,
                "learning_rate": 0.01,
                **training,
            },
            "scoring": {"views": 2, "block": 40},
        },
        where="test",
    ).resolved(Path())


def trained(spec: StudySpec, folder: Path, family: str = "f") -> dict[str, torch.Tensor]:
    samples = load_samples(spec)
    plan = next(plan for plan in spec.encoders if plan.family == family)
    encoder, _ = train(spec, plan, samples, ImageLoader(samples.dataset, "cpu"), folder, record=record)
    return encoder.state_dict()


def history(folder: Path) -> list[str]:
    return (folder / "history.csv").read_text().splitlines()


def assert_same_bits(first: dict[str, torch.Tensor], second: dict[str, torch.Tensor]) -> None:
    assert first.keys() == second.keys()
    differing = [name for name in first if not torch.equal(first[name], second[name])]
    assert not differing


@pytest.mark.parametrize(
    ("method", "optimizer"),
    [*((method, "adamw") for method in METHODS), ("simclr", "sgd"), ("mae", "sgd"), ("simclr", "lars"), ("mae", "lars")],
)
def test_interrupted_in_the_middle_of_an_epoch_gives_the_same_bits(tmp_path: Path, method: str, optimizer: str) -> None:
    spec = make_spec(method, optimizer=optimizer, accumulate=2, batch_size=8, checkpoint_seconds=1e-9)
    (tmp_path / "whole").mkdir()
    whole = trained(spec, tmp_path / "whole")
    broken = tmp_path / "broken"
    broken.mkdir()

    class Stop(Exception):
        pass

    calls = 0
    original = torch.optim.Optimizer.zero_grad

    def stop_at_the_eleventh_step(self, *args, **kwargs):
        nonlocal calls
        calls += 1
        if calls == 11:
            raise Stop
        return original(self, *args, **kwargs)

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(torch.optim.Optimizer, "zero_grad", stop_at_the_eleventh_step)
        with pytest.raises(Stop):
            trained(spec, broken)
    torch.rand(5)  # what else happens in the process makes no difference
    assert_same_bits(trained(spec, broken), whole)
    columns = [[row[:3] + row[4:] for row in csv.reader(history(folder))] for folder in (tmp_path / "whole", broken)]
    assert columns[0] == columns[1], "the history differs in nothing but its clock"


def test_global_generator_is_left_alone(tmp_path: Path) -> None:
    state = torch.random.get_rng_state()
    trained(make_spec("simclr"), tmp_path)
    assert torch.equal(torch.random.get_rng_state(), state)


def test_coupled_families_begin_alike_and_uncoupled_do_not() -> None:
    for coupled in (True, False):
        spec = make_spec("simclr", coupled=coupled)
        samples = load_samples(spec)
        f, g = (new_objective(spec, plan, samples, "cpu").encoder.state_dict()["backbone.conv1.weight"] for plan in spec.encoders)
        assert torch.equal(f, g) is coupled


def test_families_of_equal_data_are_equal_when_coupled(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """With nothing but the own samples to tell them apart, f and g differ by those alone: give both the same and they are one."""
    spec = make_spec("simclr")
    samples = load_samples(spec)
    same = samples.slots(spec.encoders[0])
    monkeypatch.setattr(type(samples), "slots", lambda self, plan: same)
    for family in "fg":
        (tmp_path / family).mkdir()
    assert_same_bits(trained(spec, tmp_path / "f", "f"), trained(spec, tmp_path / "g", "g"))


def test_loss_falls_and_the_schedule_warms_up_and_decays(tmp_path: Path) -> None:
    policy = [{"op": "crop_resize", "scale": [0.8, 1.0]}]
    trained(make_spec("simclr", epochs=12, warmup_epochs=3, learning_rate=0.003, policy=policy), tmp_path)
    rows = list(csv.DictReader(history(tmp_path)))
    rates = [float(row["learning_rate"]) for row in rows]
    assert int(np.argmax(rates)) in (2, 3)
    assert max(rates) == pytest.approx(0.003, rel=0.05)
    assert rates[-1] < 0.05 * max(rates)
    losses = [float(row["loss"]) for row in rows]
    assert np.mean(losses[-3:]) < np.mean(losses[:3])
    assert [row["epoch"] for row in rows if row["probe_accuracy"]] == ["2", "4", "6", "8", "10", "12"]


def test_the_history_is_there_while_an_encoder_trains(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """After every epoch, but at most once in a while, and after the last in any case."""
    spec = make_spec("simclr", record_every=0)
    samples = load_samples(spec)

    def rows_seen(folder: Path) -> tuple[list[int], int]:
        folder.mkdir()
        seen, times = [], []
        original = checkpoints.write_history
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(checkpoints, "write_history", lambda *arguments: (times.append(1), original(*arguments)))
            loader = ImageLoader(samples.dataset, "cpu")

            def emit(event: Event) -> None:
                if isinstance(event, Trained) and event.epochs == int(event.epochs):
                    seen.append(len(history(folder)) - 1)

            train(spec, spec.encoders[0], samples, loader, folder, emit=emit)
        assert len(history(folder)) - 1 == 4
        return seen, len(times)

    monkeypatch.setattr(train_module, "EVENT_SECONDS", -1)
    assert rows_seen(tmp_path / "often") == ([1, 2, 3, 4], 4)
    monkeypatch.setattr(train_module, "EVENT_SECONDS", 1000)
    assert rows_seen(tmp_path / "rarely") == ([1, 1, 1, 4], 2)


def test_a_loss_that_is_not_finite_is_named(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"training: the loss of f-0 is not finite.*learning_rate"):
        trained(make_spec("simclr", learning_rate=1e30, warmup_epochs=0, optimizer="sgd"), tmp_path)


def test_weights_spoilt_by_the_last_step_of_an_epoch_are_named(tmp_path: Path) -> None:
    """The loss was finite, the update was not: that shows when the epoch is recorded, before anything is fitted to it."""
    spec = make_spec("simclr", learning_rate=1e25, warmup_epochs=0, optimizer="sgd", batch_size=64, record_every=1)
    with pytest.raises(UserError, match="training: the representations of f-0 are not finite in epoch 1"):
        trained(spec, tmp_path)


@pytest.mark.parametrize(("what", "said"), [("loss", "the loss of f-0 is"), ("weights", "the weights of f-0 are")])
def test_the_last_good_checkpoint_is_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, what: str, said: str) -> None:
    """What is not finite is never saved, neither a loss nor weights behind a loss that is; from the last good one it goes on."""
    spec = make_spec("simclr", checkpoint_seconds=1e-9)
    whole = trained(spec, tmp_path / "whole")
    steps = 0

    class Broken(SimCLR):
        def losses(self, batch: Batch) -> Losses:
            nonlocal steps
            steps += 1
            loss, outputs = super().losses(batch)
            return Losses(loss * (float("nan") if what == "loss" and steps == 7 else 1), outputs)

        def after_update(self, step_info: StepInfo) -> None:
            if what == "weights" and step_info.step == 6:
                torch.nn.init.constant_(self.head.layers[0].weight, float("nan"))

    with monkeypatch.context() as patch:
        patch.setitem(OBJECTIVES, "simclr", Broken)
        with pytest.raises(UserError, match=f"training: {said} not finite in epoch 2.*its last good checkpoint is kept"):
            trained(spec, tmp_path / "broken")
    progress = checkpoints.load_progress(tmp_path / "broken" / "resume" / "state.pt")
    assert (progress.epoch, progress.step) == (1, 2), "four steps an epoch: six were good"
    assert_same_bits(trained(spec, tmp_path / "broken"), whole)


def test_a_collapsed_run_says_so(tmp_path: Path) -> None:
    """Invariance alone: the loss is least where all embeddings are one. A healthy training warns of nothing."""
    warnings: dict[str, list[str]] = {}
    for name, weights in (("collapsed", {"invariance": 100.0, "variance": 0.0, "covariance": 0.0}), ("healthy", {})):
        spec = parse_spec(
            {
                **make_spec("vicreg", epochs=40, learning_rate=0.003, record_every=8).as_dict(),
                "objective": {**METHODS["vicreg"]["objective"], **weights},
            },
            where="test",
        )
        samples = load_samples(spec)
        told = warnings.setdefault(name, [])
        train(spec, spec.encoders[0], samples, ImageLoader(samples.dataset, "cpu"), tmp_path / name,
              record=record, emit=lambda event, told=told: told.append(event.text) if isinstance(event, Warned) else None)  # fmt: skip
    assert len(warnings["collapsed"]) == 1, "once, not at every record"
    assert "collapsed (standard deviation 0.0" in warnings["collapsed"][0]
    assert warnings["healthy"] == []
    rows = list(csv.DictReader(history(tmp_path / "healthy")))
    assert all(float(rows[7][name]) > 0 for name in ("feature_std", "effective_rank", "embedding_std"))


def test_too_few_samples_for_a_step_are_told_before_anything_begins(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"training.accumulate: 9 micro-batches of 16 need 144 samples, a family trains on 70"):
        run_study(make_spec("simclr", accumulate=9), tmp_path / "study", workers=1)
    assert not (tmp_path / "study").exists()


def command(spec_file: Path, out: Path) -> list[str]:
    return [sys.executable, "-m", "sslmem_kit", "run", str(spec_file), "--out", str(out), "--workers", "1"]


@pytest.mark.slow
def test_killed_at_any_moment_and_started_again(tmp_path: Path) -> None:
    """SIGKILL while training, then while the rest is done: weights, alignments and trajectory are those of one uninterrupted run."""
    spec = make_spec("simclr", epochs=30, checkpoint_seconds=0.05)
    whole = run_study(spec, tmp_path / "whole", workers=1)
    spec_file = tmp_path / "spec.yaml"
    spec_file.write_text(yaml.safe_dump(spec.as_dict()))
    out = tmp_path / "killed"
    first, second = (out / "encoders" / name for name in ("f-0", "g-0"))
    for reached in (first / "resume" / "state.pt", second / "resume" / "state.pt"):
        process = subprocess.Popen(
            command(spec_file, out), stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL, start_new_session=True
        )
        deadline = time.monotonic() + 120
        while not reached.exists() and time.monotonic() < deadline and process.poll() is None:
            time.sleep(0.02)
        os.kill(process.pid, signal.SIGKILL)  # the parent alone: its workers have to notice
        process.wait()
        assert reached.exists()
        with pytest.raises(UserError, match="incomplete"):
            _ = open_study(out).tree
    killed = run_study(spec, out, workers=1)
    for plan in spec.encoders:
        assert_same_bits(*(load_file(study.encoder(plan.id) / "weights.safetensors") for study in (whole, killed)))
    np.testing.assert_array_equal(killed.results["alignment"].values, whole.results["alignment"].values)
    np.testing.assert_array_equal(killed.tree["trajectory/alignment"].values, whole.tree["trajectory/alignment"].values)
    np.testing.assert_array_equal(killed.tree["training/loss"].values, whole.tree["training/loss"].values)

    interrupted_scoring(whole)


def test_ctrl_c_ends_with_one_line_and_a_hint(tmp_path: Path) -> None:
    spec_file = tmp_path / "spec.yaml"
    spec_file.write_text(yaml.safe_dump(make_spec("simclr", epochs=4000, checkpoint_seconds=0.05).as_dict()))
    reached = tmp_path / "study" / "encoders" / "f-0" / "resume" / "state.pt"
    process = subprocess.Popen(
        command(spec_file, tmp_path / "study"),
        stderr=subprocess.PIPE,
        text=True,
        start_new_session=True,
        # A shell that starts the tests in the background has them ignore SIGINT, and children inherit that.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    )
    deadline = time.monotonic() + 120
    while not reached.exists() and time.monotonic() < deadline and process.poll() is None:
        time.sleep(0.05)
    os.killpg(process.pid, signal.SIGINT)
    try:
        _, said = process.communicate(timeout=60)
    finally:
        process.kill()
    assert process.returncode == 1
    assert "Traceback" not in said
    assert said.splitlines()[-1] == "sslmem: interrupted; run the same command again to resume where it stopped"


def interrupted_scoring(study: Study) -> None:
    """Forget one scored block, as if the run had ended before it, spoil its values, and score again: the same bits."""
    before = study.results["alignment"].values
    group = write._open_for_writing(study.results_path)
    group["alignment"][40:80, :, 0] = np.nan
    group["completeness/scored"][0, 1] = False
    with pytest.raises(UserError, match="f-0"):
        _ = Study(study.path).tree
    again = run_study(study.spec, study.path, workers=1)
    np.testing.assert_array_equal(again.results["alignment"].values, before)


def test_what_a_study_directory_holds(tmp_path: Path) -> None:
    spec = make_spec("mae", seeds=1, epochs=2)
    study = run_study(spec, tmp_path / "study", workers=2)
    assert study.spec == spec
    for plan in spec.encoders:
        folder = study.encoder(plan.id)
        assert {path.name for path in folder.iterdir()} == {"weights.safetensors", "config.json", "history.csv", "resume"}
        config = json.loads((folder / "config.json").read_text())
        assert config["representation"] == [17, 24]
        assert config["family"] == plan.family
        assert config["samples"] == 70
        assert config["stem"] == "patch"
    assert study.results["alignment"].shape == (90, 3, 2)
    with pytest.raises(UserError, match=r"training.epochs is 2 there and 3 here"):
        run_study(make_spec("mae", seeds=1, epochs=3), tmp_path / "study", workers=1)
