"""RankInfo that srun starts: who has not come is said, nobody waits without a word, and those that come late are waited for."""

from __future__ import annotations

import os
import socket
import subprocess
import sys
import time
from pathlib import Path

import pytest
import yaml

from sslmem_kit import store
from sslmem_kit.study import Study
from tests.training.test_distributed import make_spec

START = """
import sys
from sslmem_kit.run.schedulers import rendezvous
from sslmem_kit.cli import main
rendezvous.WORD_SECONDS, rendezvous.MEETING_SECONDS = map(float, sys.argv[1:3])
rendezvous.ANSWER_SECONDS = 2.0
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


def started(rank: int, size: int, port: object, arguments: list[str], **more: str) -> subprocess.Popen:
    """One task of a step, as srun starts it on one machine: Python with some arguments."""
    of_the_step = {"SLURM_STEP_NUM_TASKS": size, "SLURM_STEP_TASKS_PER_NODE": size, "SLURM_PROCID": rank, "SLURM_LOCALID": rank}
    environment = {**os.environ, **{name: str(value) for name, value in of_the_step.items()}, "MASTER_PORT": str(port), **more}
    return subprocess.Popen(
        [sys.executable, *arguments], env=environment, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
    )


def task(rank: int, size: int, port: object, spec: Path, word: float = 0.2, patience: float = 2.0, **more: str) -> subprocess.Popen:
    """One that runs a study."""
    command = ["run", str(spec), "--out", str(spec.parent / "out"), "--device", "cpu", "--threads", "1"]
    return started(rank, size, port, ["-c", START, str(word), str(patience), *command], **more)


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


@pytest.mark.parametrize(
    ("rank", "address", "message"),
    [
        (0, "", "127.0.0.1:{port} cannot be used (address already in use); set another"),
        (1, "127.0.0.1", "what answers at 127.0.0.1:{port} is not the first rank; set another port for all of them"),
    ],
)
def test_a_port_that_something_else_has_is_named(rank: int, address: str, message: str, port: int, spec: Path) -> None:
    with socket.socket() as silent:
        silent.bind((address, port))
        silent.listen()
        process = task(rank, 2, port, spec)
        _, err = process.communicate(timeout=90)
    assert process.returncode == 2
    assert err.splitlines()[-1] == f"sslmem: MASTER_PORT: {message.format(port=port)}"


@pytest.mark.parametrize(
    ("rank", "address", "port", "status", "message"),
    [
        (0, "no-such-host.invalid", "4711", 2, "MASTER_ADDR: no host 'no-such-host.invalid' is known here"),
        (0, "a..b", "4711", 2, "MASTER_ADDR: no host 'a..b' is known here"),
        (1, "a..b", "4711", 1, "for rank 0, for no host of that name is known here"),
        (0, "127.0.0.1", "abc", 2, "MASTER_PORT: got 'abc', a port is a number from 1 to 65535"),
        (1, "127.0.0.1", "99999", 2, "MASTER_PORT: got '99999'"),
        (0, "127.0.0.1", "0", 2, "MASTER_PORT: got '0'"),
    ],
)
def test_addresses_that_do_not_do(rank: int, address: str, port: str, status: int, message: str, spec: Path) -> None:
    process = task(rank, 2, port, spec, MASTER_ADDR=address)
    _, err = process.communicate(timeout=90)
    assert process.returncode == status, err
    assert message in err.splitlines()[-1]
    assert "Traceback" not in err


def test_ranks_that_were_told_different_sizes(port: int, spec: Path) -> None:
    first, other = task(0, 2, port, spec, patience=30), task(1, 3, port, spec, patience=30)
    (_, err), (_, said) = first.communicate(timeout=90), other.communicate(timeout=90)
    assert {first.returncode, other.returncode} <= {1, 2}
    assert "was started as one of" in err + said
    assert "Traceback" not in err + said


@pytest.mark.slow
def test_who_has_come_and_ended_meanwhile_is_missed(port: int, spec: Path) -> None:
    first = task(0, 3, port, spec, patience=8)
    killed = task(1, 3, port, spec, patience=60)
    time.sleep(8)
    killed.kill()
    killed.communicate()
    last = task(2, 3, port, spec, patience=60)
    (_, err), (_, said) = first.communicate(timeout=90), last.communicate(timeout=90)
    assert (first.returncode, last.returncode) == (1, 1), err + said
    assert "for rank 1;" in err.splitlines()[-1]
    assert said.splitlines()[-1] == "sslmem: the first rank has ended; run the same command again to resume"


TWICE = """
import sys
from sslmem_kit import run_study
for number in range(2):
    run_study(sys.argv[1], f"{sys.argv[2]}{number}", device="cpu", threads=1)
"""


@pytest.mark.parametrize("launcher", ["srun", pytest.param("torchrun", marks=pytest.mark.slow)])
def test_two_studies_in_one_script(launcher: str, port: int, spec: Path, tmp_path: Path) -> None:
    """The second group took what the first had left at the port for its own, and waited for ever."""
    script = tmp_path / "twice.py"
    script.write_text(TWICE)
    arguments = [str(script), str(spec), str(tmp_path / "made")]
    if launcher == "torchrun":
        command = [sys.executable, "-m", "torch.distributed.run", "--nproc-per-node", "2", "--master-port", str(port), *arguments]
        processes = [subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)]
    else:
        processes = [started(rank, 2, port, arguments) for rank in range(2)]
    try:
        said = [process.communicate(timeout=150)[1] for process in processes]
    finally:
        for process in processes:
            process.kill()
    assert [process.returncode for process in processes] == [0] * len(processes), said
    for number in range(2):
        assert store.missing(Study(tmp_path / f"made{number}").tree) == ""
