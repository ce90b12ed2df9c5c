"""Rendezvous of ranks before torch's process group is made: missing ranks are reported, and no rank waits for ever."""

from __future__ import annotations

import os
import socket
import threading
import time
from collections.abc import Callable
from datetime import timedelta
from typing import Any

import torch.distributed as dist

from sslmem_kit.errors import Failure, UserError, short
from sslmem_kit.events import OnEvent, Warned
from sslmem_kit.run.schedulers.ranks import RankInfo, RankLost

MEETING_SECONDS = 600.0
"""Time that a rank waits at the start for others that have not come: as long as machines of one job may start apart."""

WORD_SECONDS = 10.0
"""Time after which it reports the ranks that it waits for."""

ANSWER_SECONDS = 20.0
"""Time that the first rank may take to answer another that has reached it."""

FIRST_LOST = "the first rank has ended; run the same command again to resume"


def meet(ranks: RankInfo, on_event: OnEvent) -> dist.TCPStore:
    """Wait until every rank has come; after ``WORD_SECONDS`` report those that have not.

    torch's own rendezvous waits for its whole timeout without a message, and more tasks than run this command (``srun -n 4 --pty bash``) are
    easily started.

    Parameters
    ----------
    ranks
        This process's place; ``MASTER_ADDR`` and ``MASTER_PORT`` are the address of the first.
    on_event
        Function that is called with a warning about the ranks that this one waits for.

    Returns
    -------
    torch.distributed.TCPStore
        Held until torch's process group has its own: where the first rank answers.

    Raises
    ------
    UserError
        The address or port does not do, something else answers there, or ranks were started with different numbers of ranks.
    Failure
        Some have not come for ``MEETING_SECONDS``.
    """
    host, port = os.environ["MASTER_ADDR"], os.environ["MASTER_PORT"]
    if not (port.isascii() and port.isdigit() and 0 < int(port) < 2**16):
        raise UserError(f"MASTER_PORT: got {short(port)}, a port is a number from 1 to 65535")
    place = f"{host}:{port}"

    def first_answers() -> str:
        try:
            with socket.create_connection((host, int(port)), timeout=1):
                return ""
        except (socket.gaierror, UnicodeError):
            return "rank 0, for no host of that name is known here"
        except OSError:
            return "rank 0"

    def missing(step: str) -> str:
        numbers = [str(rank) for rank in range(ranks.size) if not store.check([f"{step}/{rank}"])]
        return f"rank{'s' * (len(numbers) > 1)} {', '.join(numbers)}" if numbers else ""

    def wait(absent: Callable[[], str]) -> None:
        started, warned = time.monotonic(), False
        while who := absent():
            waited = time.monotonic() - started
            if waited > MEETING_SECONDS:
                raise Failure(
                    f"rank {ranks.rank} of {ranks.size} has waited {waited / 60:.0f} min at {place} for {who}; start this command in every "
                    "task of torchrun or srun, or in one alone with WORLD_SIZE=1 (under SLURM: SLURM_STEP_NUM_TASKS=1) before it"
                )
            if waited > WORD_SECONDS and not warned:
                warned = True
                on_event(
                    Warned(
                        f"rank {ranks.rank} of {ranks.size}", f"waits at {place} for {who}, {MEETING_SECONDS / 60:.0f} min at most"
                    )
                )
            time.sleep(0.05)

    if ranks.rank:
        wait(first_answers)
    else:
        try:
            socket.getaddrinfo(host, int(port))
        except (OSError, UnicodeError):
            raise UserError(f"MASTER_ADDR: no host {short(host)} is known here; give the name or address of this machine") from None
    try:
        store = _store_at(host, int(port), is_first=not ranks.rank)
    except (dist.DistError, TimeoutError) as error:
        if ranks.rank:
            raise UserError(
                f"MASTER_PORT: what answers at {place} is not the first rank; set another port for all of them"
            ) from None
        raise UserError(f"MASTER_PORT: {place} cannot be used ({str(error).split(', message: ')[-1]}); set another") from None
    try:
        # Twice: a rank that has come and ended since, while the others were waited for, does not come again.
        for step in ("size", "here"):
            store.set(f"{step}/{ranks.rank}", str(ranks.size))
            if ranks.rank:
                wait(lambda: "" if store.check(["size/0"]) else "rank 0")
                _check_size(ranks, 0, store)
                wait(lambda step=step: "" if store.check([f"{step}/all"]) else "the others")
            else:
                wait(lambda step=step: missing(step))
                for rank in range(ranks.size):
                    _check_size(ranks, rank, store)
                store.set(f"{step}/all", "")
    except dist.DistError:
        raise RankLost(FIRST_LOST) from None
    return store


def _store_at(host: str, port: int, *, is_first: bool) -> dist.TCPStore:
    """Return the store that the first rank serves. In a thread, because torch would wait for a silent server for ever, and ignore signals."""
    made: list[Any] = []

    def make() -> None:
        try:
            # Several of one process share a server: torch's process group will use this one.
            patience = timedelta(seconds=ANSWER_SECONDS)
            made.append(dist.TCPStore(host, port, is_master=is_first, wait_for_workers=False, multi_tenant=True, timeout=patience))
        except Exception as error:
            made.append(error)

    thread = threading.Thread(target=make, daemon=True)
    thread.start()
    thread.join(3 * ANSWER_SECONDS)  # torch tries again
    if not made:
        raise TimeoutError("it does not answer")
    if isinstance(made[0], Exception):
        raise made[0]
    return made[0]


def _check_size(ranks: RankInfo, other: int, store: dist.TCPStore) -> None:
    size = int(store.get(f"size/{other}"))
    if size != ranks.size:
        raise UserError(
            f"rank {ranks.rank} was started as one of {ranks.size}, rank {other} as one of {size}; start all of them by one torchrun or srun"
        )
