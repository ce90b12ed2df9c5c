"""Worker processes: how many there are to share, how they are started and ended, how they report progress. Imports no torch."""

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
from importlib import import_module
from multiprocessing import resource_tracker, spawn
from multiprocessing.connection import wait as wait_for_connection
from multiprocessing.context import SpawnContext, SpawnProcess
from typing import Any

from sslmem_kit.errors import Failure
from sslmem_kit.events import OnEvent, ignore

MALLOC = {"MALLOC_MMAP_MAX_": "0", "MALLOC_TRIM_THRESHOLD_": "100000000000", "MALLOC_TOP_PAD_": "1000000000"}
"""glibc keeps freed memory: without these a training step on the CPU spends up to half its time on page faults."""


class _Process(SpawnProcess):
    """A new interpreter that does not run the caller's script once more: workers need nothing of it, so that a script needs no main guard
    and may come from standard input."""

    @staticmethod
    def _Popen(process: Any) -> Any:
        caller = threading.get_ident()

        def without_main(name: str) -> dict[str, Any]:
            told = whole(name)
            return {key: told[key] for key in told if caller != threading.get_ident() or not key.startswith("init_main")}

        with _STARTING:
            whole = spawn.get_preparation_data
            spawn.get_preparation_data = without_main
            try:
                return SpawnProcess._Popen(process)
            finally:
                spawn.get_preparation_data = whole


class Spawning(SpawnContext):
    """How this package starts processes."""

    Process = _Process

    def __init__(self) -> None:
        super().__init__()
        if hasattr(signal, "SIGHUP"):
            # The tracker ignores Ctrl-C, but not that its terminal closes: Python would start another, which knows of nothing and says so.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
            try:
                resource_tracker.ensure_running()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)


_STARTING = threading.Lock()


class WorkerDied(Failure):
    """A worker process ended without an answer."""


_DIED = "a worker process was killed, most often for lack of memory; run the same command again to go on"


def gpu_count() -> int:
    """Number of NVIDIA GPUs that the driver reports, without importing torch."""
    try:
        driver, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
        return count.value if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 else 0
    except OSError:
        return 0


@contextmanager
def worker_environment(threads: int) -> Iterator[None]:
    """Around the start of processes: what is read when they begin, by the C library and by what multiplies matrices outside torch.

    What the user has set himself stays.
    """
    wanted = {**MALLOC, "OMP_NUM_THREADS": str(threads), "OPENBLAS_NUM_THREADS": str(threads)}
    added = {name: value for name, value in wanted.items() if name not in os.environ}
    os.environ.update(added)
    try:
        yield
    finally:
        for name in added:
            os.environ.pop(name, None)


@contextmanager
def pool(workers: int, threads: int, on_event: OnEvent, *, warm_up: str, gpus: int = 1) -> Iterator[ProcessPoolExecutor]:
    """Worker processes whose events reach ``on_event`` and that end with this process, however it ends.

    Each begins with a call of ``warm_up``, ``module:function``. Of several ``gpus``, worker i sees the i-th alone, and again from the
    first where there are more workers.
    """
    context = Spawning()
    events, numbers = context.Queue(), context.Queue()
    for number in range(workers):
        numbers.put(number)
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_begin_worker, initargs=(events, numbers, gpus))
    finished, failed = threading.Event(), []
    pump = threading.Thread(target=_pump, args=(events, on_event, finished, failed), daemon=True)
    pump.start()
    try:
        with worker_environment(threads):
            for _ in range(workers):
                # They come up, and import torch, while the caller loads its data.
                executor.submit(call_worker, warm_up)
        yield executor
    except BaseException as error:
        # Workers may be hours from the end of their encoder; its checkpoint is what counts. (shutdown forgets the processes.)
        processes = list((executor._processes or {}).values())
        executor.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        if isinstance(error, BrokenProcessPool):  # of a worker that was gone before it was given something to do
            raise WorkerDied(_DIED) from None
        raise
    finally:
        executor.shutdown()
        finished.set()
        pump.join()
    if failed:
        raise failed[0]


def _pump(events: multiprocessing.Queue, on_event: OnEvent, finished: threading.Event, failed: list[Exception]) -> None:
    """Pass events on until all is done. After a failure they are still taken: a worker cannot end before its own are."""
    while True:
        try:
            event = events.get(timeout=0.1)
        except queue.Empty:
            if finished.is_set():
                return
            continue
        try:
            if not failed:
                on_event(event)
        except Exception as error:
            failed.append(error)


_emit: OnEvent = ignore
"""Sends the events of this process, a worker, to the one that has started it."""


def _begin_worker(events: multiprocessing.Queue, numbers: multiprocessing.Queue, gpus: int) -> None:
    """In a new worker: remember where events go, take a GPU, and end when the parent has ended, were it by SIGKILL."""
    global _emit
    _emit = events.put
    if gpus > 1:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(str(gpu) for gpu in range(gpus))
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[numbers.get() % gpus]
    leave_to_parent()
    end_with_parent()


def leave_to_parent() -> None:
    """In a child process: ignore what reaches every process of a terminal, Ctrl-C and its closing; the parent is the one to answer."""
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def end_with_parent() -> None:
    """In a child process: end as soon as the parent has ended."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        wait_for_connection([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def call_worker(target: str, *args: Any, emit: bool = False, **kwargs: Any) -> Any:
    """In a worker: call a function, named ``module:function``; so what imports torch is imported there and not by who submits the call."""
    module, _, function = target.partition(":")
    if emit:
        kwargs["emit"] = _emit
    return getattr(import_module(module), function)(*args, **kwargs)


class InThisProcess:
    """What :func:`pool` gives, without processes: a task is done when it is submitted; ``on_event`` is given its events."""

    def __init__(self, on_event: OnEvent) -> None:
        global _emit
        _emit = on_event

    def submit(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Future:
        """The future of a call that has been made."""
        task: Future = Future()
        try:
            task.set_result(function(*args, **kwargs))
        except Exception as error:
            task.set_exception(error)
        return task


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
        raise WorkerDied(_DIED) from None
