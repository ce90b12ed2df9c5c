"""Process group of all ranks: this process's place in it, from the rendezvous to the end."""

from __future__ import annotations

import contextlib
import itertools
import os
from collections.abc import Iterator
from datetime import timedelta

import torch
import torch.distributed as dist

from sslmem_kit.errors import UserError
from sslmem_kit.events import OnEvent
from sslmem_kit.run.schedulers.ranks import RankInfo, RankLost, launched, set_environment
from sslmem_kit.run.schedulers.rendezvous import FIRST_LOST, meet
from sslmem_kit.training.distributed import DeviceGroup

PATIENCE = timedelta(minutes=60)
"""Time that a rank waits for the others: as long as the first may take to fit a probe."""

_met = itertools.count()
"""Number of groups that this process has joined: a port serves once, because torch's stores keep the entries of an earlier group."""


@contextlib.contextmanager
def process_group(device: str, ranks: RankInfo, on_event: OnEvent) -> Iterator[DeviceGroup]:
    """Yield this rank's place in the device group of all ranks, until the end of the block.

    Parameters
    ----------
    device
        ``cpu``, ``cuda`` or ``auto``.
    ranks
        This process's place.
    on_event
        Function that is called with a warning about ranks that do not come.

    Raises
    ------
    UserError
        There are fewer GPUs than ranks on this machine.
    RankLost
        Another rank has ended in the middle.
    Failure
        Not all ranks have come.
    """
    from accelerate import PartialState

    gpus = torch.cuda.device_count()
    if device.startswith("cuda:"):
        raise UserError(
            f"--device: {device!r} is one GPU, several devices share an encoder; use cuda, and CUDA_VISIBLE_DEVICES to choose"
        )
    on_cpu = device == "cpu" or (device == "auto" and not gpus)
    # A task of SLURM may see its own GPU alone.
    if not on_cpu and gpus < ranks.local_size and not (gpus == 1 and launched()):
        raise UserError(f"--devices: {ranks.local_size} are asked for on this machine, torch sees {gpus} GPUs")
    set_environment(ranks)
    earlier = next(_met)
    if earlier:  # entries of torch and its agents at the earlier group's port would be taken for this one's
        os.environ.update({"MASTER_PORT": str(int(os.environ["MASTER_PORT"]) + 1), "TORCHELASTIC_USE_AGENT_STORE": "False"})
    met = None if os.environ.get("TORCHELASTIC_USE_AGENT_STORE") == "True" else meet(ranks, on_event)  # torchrun's agents have met
    try:
        state = PartialState(cpu=on_cpu, timeout=PATIENCE)
    except dist.DistError:
        raise RankLost(FIRST_LOST) from None
    del met
    try:
        yield DeviceGroup("cpu" if on_cpu else str(state.device), state.process_index, state.num_processes)
    except RuntimeError as error:
        if "by peer" not in str(error):  # gloo's "Connection closed by peer", "Connection reset by peer"
            raise
        raise RankLost("another rank was lost; run the same command again to resume") from None
    finally:
        state.destroy_process_group()
        PartialState._reset_state()  # or the next device group of this process would take itself for a member of this one
