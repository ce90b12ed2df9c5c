"""Ranks that srun starts: who has not come is said, nobody waits without a word, and those that come late are waited for."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml
from test_devices import make_spec

from sslmem_kit import store
from sslmem_kit.study.folder import Study

START = """
import sys
from sslmem_kit import devices
from sslmem_kit.cli import main
devices.WORD_SECONDS, devices.MEETING_SECONDS = map(float, sys.argv[1:3])
sys.exit(main(sys.argv[3:]))
"""


@pytest.fixture
def port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return probe.getsockname()[1]


@pytest.fixture
def spec(tmp_path: Path) -> Path:
    values = make_spec("simclr", "resnet", epochs=1, warmup_epochs=0).model_dump(mode="json")
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(values))
    return tmp_path / "spec.yaml"


def task(rank: int, size: int, port: int, spec: Path, word: float = 0.2, patience: float = 2.0) -> subprocess.Popen:
    """One task of a step, as srun starts it on one machine."""
    of_the_step = {"SLURM_STEP_NUM_TASKS": size, "SLURM_STEP_TASKS_PER_NODE": size, "SLURM_PROCID": rank, "SLURM_LOCALID": rank}
    environment = {**os.environ, **{name: str(value) for name, value in of_the_step.items()}, "MASTER_PORT": str(port)}
    command = ["run", str(spec), "--out", str(spec.parent / "out"), "--device", "cpu", "--threads", "1"]
    return subprocess.Popen(
        [sys.executable, "-c", START, str(word), str(patience), *command],
        env=environment,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
    )


@pytest.mark.parametrize(("rank", "missed"), [(0, "ranks 1, 2, 3"), (2, "rank 0")])
def test_one_process_of_four_says_for_whom_it_waits(rank: int, missed: str, port: int, spec: Path) -> None:
    """It waited for an hour without a word."""
    process = task(rank, 4, port, spec)
    out, err = process.communicate(timeout=90)
    assert process.returncode == 1
    assert f"rank {rank} of 4: waits at 127.0.0.1:{port} for {missed}" in out + err
    *_, last = err.splitlines()
    assert last.startswith(f"sslmem: rank {rank} of 4 has waited")
    assert missed in last
    assert "SLURM_STEP_NUM_TASKS=1" in last
    assert "Traceback" not in err
    assert not (spec.parent / "out").exists()


def test_two_tasks_of_two_meet_though_one_comes_late(port: int, spec: Path) -> None:
    late_first = task(1, 2, port, spec, patience=60)
    time.sleep(4)
    first = task(0, 2, port, spec, patience=60)
    (out, err), (_, other) = first.communicate(timeout=120), late_first.communicate(timeout=120)
    assert (first.returncode, late_first.returncode) == (0, 0), err + other
    assert "complete" in out + err
    assert "rank 1 of 2: waits" in other
    assert store.missing(Study(spec.parent / "out").tree) == ""


def test_a_port_that_is_taken_is_named(port: int, spec: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("", port))
        taken.listen()
        process = task(0, 2, port, spec)
        _, err = process.communicate(timeout=90)
    assert process.returncode == 2
    assert err.splitlines()[-1].startswith(f"sslmem: MASTER_PORT: 127.0.0.1:{port} cannot be used (address already in use)")


def test_one_task_of_a_step_runs_alone(monkeypatch: pytest.MonkeyPatch) -> None:
    """A batch script that asks for four tasks and has not called srun, and what the sentence advises."""
    from sslmem_kit.ranks import launched

    assert launched({"SLURM_NTASKS": "4", "SLURM_PROCID": "0", "SLURM_LOCALID": "0", "SLURM_JOB_ID": "7"}) is None
    assert launched({"SLURM_STEP_NUM_TASKS": "1", "SLURM_NTASKS": "4", "SLURM_PROCID": "0"}) is None
