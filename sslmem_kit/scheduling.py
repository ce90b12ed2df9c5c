"""Worker processes: how many there are to share, how they are started and ended, how they tell of progress. Imports no torch."""

from __future__ import annotations

import ctypes
import multiprocessing
import os
import queue
import signal
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import Future, ProcessPoolExecutor, wait
from concurrent.futures.process import BrokenProcessPool
from contextlib import contextmanager
from multiprocessing.connection import wait as wait_for_connection
from typing import Any

from sslmem_kit.errors import Failure

Listen = Callable[..., None]
"""Hears events: ("planned", encoders to do, epochs, blocks), ("trained", id, epoch, loss), ("scored", id, block), ("completed", id),
("detailed", done, total)."""

MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000", "MALLOC_TOP_PAD_": "1000000000"}
"""glibc keeps freed memory: without these a training step on the CPU spends up to half its time on page faults."""


class WorkerDied(Failure):
    """A worker process ended without an answer."""


def gpu_count() -> int:
    """Number of NVIDIA GPUs that the driver reports, without importing torch."""
    try:
        driver, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
        return count.value if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 else 0
    except OSError:
        return 0


@contextmanager
def pool(workers: int, threads: int, listen: Listen) -> Iterator[ProcessPoolExecutor]:
    """Worker processes whose events reach ``listen`` and that end with this process, however it ends."""
    context = multiprocessing.get_context("spawn")
    events = context.Queue()
    # Read when a worker starts: by the C library, and by what multiplies matrices outside torch, which would take every core.
    for name, value in {**MALLOC, "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}.items():
        os.environ.setdefault(name, value)
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker, initargs=(events,))
    finished = threading.Event()
    pump = threading.Thread(target=_pump, args=(events, listen, finished), daemon=True)
    pump.start()
    try:
        yield executor
    except BaseException:
        # Workers may be hours from the end of their encoder; its checkpoint is what counts. (shutdown forgets the processes.)
        processes = list(executor._processes.values())
        executor.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        raise
    finally:
        executor.shutdown()
        finished.set()
        pump.join()


def _pump(events: multiprocessing.Queue, listen: Listen, finished: threading.Event) -> None:
    while True:
        try:
            listen(*events.get(timeout=0.1))
        except queue.Empty:
            if finished.is_set():
                return


_events: multiprocessing.Queue | None = None


def _begin_worker(events: multiprocessing.Queue) -> None:
    """In a new worker: remember where to tell progress, and end when the parent has ended, were it by SIGKILL."""
    global _events
    _events = events
    signal.signal(signal.SIGINT, signal.SIG_IGN)  # Ctrl-C reaches every process of a terminal; the parent is the one to answer it
    parent = multiprocessing.parent_process()

    def end_with_parent() -> None:
        wait_for_connection([parent.sentinel])
        os._exit(1)

    threading.Thread(target=end_with_parent, daemon=True).start()


def call_worker(function: str, *args: Any, tell: bool = False, **kwargs: Any) -> Any:
    """In a worker: call a function of :mod:`sslmem_kit.worker`, which imports torch."""
    from sslmem_kit import worker

    if tell:
        kwargs["tell"] = lambda *event: _events.put(event)
    return getattr(worker, function)(*args, **kwargs)


def as_completed(tasks: dict[Future, Any]) -> Iterator[Future]:
    """Tasks, as each is done."""
    pending = set(tasks)
    while pending:
        done, pending = wait(pending, return_when="FIRST_COMPLETED")
        yield from done


def result(task: Future) -> Any:
    """What a task returned or raised; that its worker is gone is told as :class:`WorkerDied`."""
    try:
        return task.result()
    except BrokenProcessPool:
        raise WorkerDied(
            "a worker process was killed, most often for lack of memory; run the same command again to go on"
        ) from None
