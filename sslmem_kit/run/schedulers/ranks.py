"""Ranks: the processes that train an encoder together, one per device, and how they are started. Imports no torch.

Ranks are started in one of three ways: by ``sslmem run --devices N`` on this machine, by ``torchrun``, or by ``srun`` of SLURM. In each of
them every rank runs the same function; the first writes results. Several machines have to share the study directory.
"""

from __future__ import annotations

import contextlib
import os
import queue
import signal
import socket
import subprocess
import time
import traceback
from collections.abc import Callable, Mapping
from multiprocessing.connection import wait
from typing import Any, NamedTuple

from sslmem_kit.errors import Failure, UserError
from sslmem_kit.events import OnEvent
from sslmem_kit.run.schedulers.pool import Spawning, WorkerDied, end_with_parent, leave_to_parent, worker_environment

LAST_WORDS_SECONDS = 2.0
"""Time in which errors of other ranks are still received after one has failed: another may report that it was the user's mistake."""


class RankLost(WorkerDied):
    """A rank lost the connection to another."""


class RankInfo(NamedTuple):
    """This process's place among the ranks."""

    rank: int
    local_rank: int
    size: int
    local_size: int
    """Number of ranks on this machine."""


def launched(environment: Mapping[str, str] = os.environ) -> RankInfo | None:
    """Return this process's rank where ``torchrun`` or ``srun`` has started several; None where it was started alone."""
    try:
        if int(environment.get("WORLD_SIZE", 1)) > 1 and "RANK" in environment:
            size = int(environment["WORLD_SIZE"])
            return RankInfo(
                int(environment["RANK"]),
                int(environment.get("LOCAL_RANK", 0)),
                size,
                int(environment.get("LOCAL_WORLD_SIZE", size)),
            )
        if int(environment.get("SLURM_STEP_NUM_TASKS", 1)) > 1 and "SLURM_PROCID" in environment:
            local = environment.get("SLURM_STEP_TASKS_PER_NODE", environment["SLURM_STEP_NUM_TASKS"])
            return RankInfo(
                int(environment["SLURM_PROCID"]),
                int(environment["SLURM_LOCALID"]),
                int(environment["SLURM_STEP_NUM_TASKS"]),
                int(local.split("(")[0].split(",")[0]),  # "4(x2)" or "4,3": so many on each machine
            )
    except (KeyError, ValueError) as error:
        raise UserError(
            f"the variables that torchrun or srun sets are not whole ({error}); start all ranks by one of them"
        ) from None
    return None


def set_environment(ranks: RankInfo, environment: Any = os.environ) -> None:
    """Set the variables by which torch's process group finds its members; an address and port that the launcher has set stay."""
    places = {"RANK": ranks.rank, "LOCAL_RANK": ranks.local_rank, "WORLD_SIZE": ranks.size, "LOCAL_WORLD_SIZE": ranks.local_size}
    environment.update({name: str(value) for name, value in places.items()})
    if "MASTER_ADDR" not in environment:
        environment["MASTER_ADDR"] = _first_host(environment.get("SLURM_STEP_NODELIST", ""))
    if "MASTER_PORT" not in environment:
        # Any port that all ranks agree on: jobs that share a machine have different numbers.
        environment["MASTER_PORT"] = str(15000 + int(environment.get("SLURM_JOB_ID", 0)) % 15000)


def _first_host(nodes: str) -> str:
    if not nodes:
        return "127.0.0.1"
    if "[" not in nodes:
        return nodes.split(",")[0]
    try:
        shown = subprocess.run(["scontrol", "show", "hostnames", nodes], capture_output=True, text=True, check=True)
    except (OSError, subprocess.CalledProcessError) as error:
        raise UserError(f"scontrol cannot list the hosts of {nodes!r} ({error}); set MASTER_ADDR to the first of them") from None
    return shown.stdout.split()[0]


def start(count: int, threads: int, function: Callable[..., None], arguments: tuple[Any, ...], on_event: OnEvent) -> None:
    """Run ``function(ranks, emit, *arguments)`` in ``count`` processes on this machine until all have ended.

    Parameters
    ----------
    count, threads
        Processes, and threads of each.
    function
        Function of a module; it and ``arguments`` are pickled.
    on_event
        Function that is called with the events of the ranks.

    Raises
    ------
    UserError, Failure
        The error that a rank raised; the others are ended.
    WorkerDied
        A rank was killed.
    """
    context = Spawning()
    events = context.Queue()
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    processes = [
        context.Process(target=_rank_main, args=(RankInfo(i, i, count, count), port, events, function, arguments))
        for i in range(count)
    ]
    with worker_environment(threads):
        for process in processes:
            process.start()
    try:
        _wait(processes, events, on_event)
    finally:
        for process in processes:
            process.terminate()
        for process in processes:
            process.join(5)
            if process.is_alive():
                process.kill()


def _wait(processes: list[Any], events: Any, on_event: OnEvent) -> None:
    failures: list[Exception] = []

    def receive() -> None:
        with contextlib.suppress(queue.Empty):
            while True:
                event = events.get(timeout=0.05)
                if isinstance(event, Exception):
                    failures.append(event)
                else:
                    on_event(event)

    while any(process.is_alive() for process in processes) and not any(process.exitcode for process in processes):
        wait([process.sentinel for process in processes if process.is_alive()], timeout=0.1)
        receive()
    receive()
    if not any(process.exitcode for process in processes):
        return

    def explained() -> list[Exception]:
        return [failure for failure in failures if isinstance(failure, UserError | Failure) and not isinstance(failure, RankLost)]

    # One has failed; the others fail when they lose it. A rank that was killed by a signal was the first, unless one has reported why.
    for number, process in enumerate(processes):
        if (process.exitcode or 0) < 0 and not explained():
            name = signal.Signals(-process.exitcode).name
            reason = ", most often because memory ran out" if name == "SIGKILL" else ""
            raise WorkerDied(f"rank {number} of {len(processes)} was killed ({name}){reason}; run the same command again to resume")
    end = time.monotonic() + LAST_WORDS_SECONDS
    while time.monotonic() < end and not explained():
        receive()
    failures = explained() or sorted(failures, key=lambda failure: isinstance(failure, RankLost))
    raise failures[0] if failures else WorkerDied("a rank ended without a word; run the same command again to resume")


def _rank_main(ranks: RankInfo, port: int, events: Any, function: Callable[..., None], arguments: tuple[Any, ...]) -> None:
    leave_to_parent()
    end_with_parent()
    os.environ.update({"MASTER_ADDR": "127.0.0.1", "MASTER_PORT": str(port)})
    try:
        function(ranks, events.put, *arguments)
    except Exception as error:
        known = isinstance(error, UserError | Failure)
        events.put(error if known else RuntimeError(f"in rank {ranks.rank}:\n{traceback.format_exc()}"))
        events.close()
        events.join_thread()
        os._exit(1)
