"""Pool of worker processes: start, end, and events that they send. Imports no torch."""

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
    """Process that does not run the caller's script once more: workers need nothing of it, so a script needs no main guard and may come
    from standard input."""

    @staticmethod
    def _Popen(process: Any) -> Any:
        caller = threading.get_ident()

        def without_main(name: str) -> dict[str, Any]:
            data = original(name)
            return {key: data[key] for key in data if caller != threading.get_ident() or not key.startswith("init_main")}

        with _STARTING:
            original = spawn.get_preparation_data
            spawn.get_preparation_data = without_main
            try:
                return SpawnProcess._Popen(process)
            finally:
                spawn.get_preparation_data = original


class Spawning(SpawnContext):
    """Context in which this package starts processes."""

    Process = _Process

    def __init__(self) -> None:
        super().__init__()
        if hasattr(signal, "SIGHUP"):
            # The tracker ignores Ctrl-C, but not that its terminal closes: Python would start another, which warns of unknown resources.
            before = signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGHUP})
            try:
                resource_tracker.ensure_running()
            finally:
                signal.pthread_sigmask(signal.SIG_SETMASK, before)


_STARTING = threading.Lock()


class WorkerDied(Failure):
    """A worker process ended without a result."""


_DIED = "a worker process was killed, most often because memory ran out; run the same command again to resume"


def gpu_count() -> int:
    """Return the number of NVIDIA GPUs that the driver reports, without importing torch."""
    try:
        driver, count = ctypes.CDLL("libcuda.so.1"), ctypes.c_int()
        return count.value if driver.cuInit(0) == 0 and driver.cuDeviceGetCount(ctypes.byref(count)) == 0 else 0
    except OSError:
        return 0


@contextmanager
def worker_environment(threads: int) -> Iterator[None]:
    """Set environment variables for processes that are started in the block: malloc's, and the threads of BLAS and OpenMP.

    Variables that the user has set stay.
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
    """Yield an executor of worker processes whose events are passed to ``on_event`` and that end with this process, however it ends.

    Each starts with a call of ``warm_up``, ``module:function``. Of several ``gpus``, worker i sees only the i-th, and again from the
    first where there are more workers.
    """
    context = Spawning()
    events, numbers = context.Queue(), context.Queue()
    for number in range(workers):
        numbers.put(number)
    executor = ProcessPoolExecutor(workers, mp_context=context, initializer=_start_worker, initargs=(events, numbers, gpus))
    finished, failed = threading.Event(), []
    pump = threading.Thread(target=_pump, args=(events, on_event, finished, failed), daemon=True)
    pump.start()
    try:
        with worker_environment(threads):
            for _ in range(workers):
                # Workers start, and import torch, while the caller loads its data.
                executor.submit(call_worker, warm_up)
        yield executor
    except BaseException as error:
        # Workers may be hours from the end of their encoder; its checkpoint is what counts. (shutdown forgets the processes.)
        processes = list((executor._processes or {}).values())
        executor.shutdown(wait=False, cancel_futures=True)
        for process in processes:
            process.terminate()
        if isinstance(error, BrokenProcessPool):  # a worker that ended before its first task
            raise WorkerDied(_DIED) from None
        raise
    finally:
        executor.shutdown()
        finished.set()
        pump.join()
    if failed:
        raise failed[0]


def _pump(events: multiprocessing.Queue, on_event: OnEvent, finished: threading.Event, failed: list[Exception]) -> None:
    """Pass events on until all is done. After a failure they are still read: a worker cannot end before its own are."""
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
"""Function that sends the events of this process, a worker, to the one that has started it."""


def _start_worker(events: multiprocessing.Queue, numbers: multiprocessing.Queue, gpus: int) -> None:
    """Initialize a worker: set where events go, choose a GPU, and end when the parent has ended, even by SIGKILL."""
    global _emit
    _emit = events.put
    if gpus > 1:
        visible = os.environ.get("CUDA_VISIBLE_DEVICES") or ",".join(str(gpu) for gpu in range(gpus))
        os.environ["CUDA_VISIBLE_DEVICES"] = visible.split(",")[numbers.get() % gpus]
    leave_to_parent()
    end_with_parent()


def leave_to_parent() -> None:
    """Ignore, in a child process, signals that reach every process of a terminal (Ctrl-C, its closing); the parent handles them."""
    for name in ("SIGINT", "SIGHUP"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), signal.SIG_IGN)


def end_with_parent() -> None:
    """End this child process as soon as its parent has ended."""
    parent = multiprocessing.parent_process()

    def watch() -> None:
        wait_for_connection([parent.sentinel])
        os._exit(1)

    threading.Thread(target=watch, daemon=True).start()


def call_worker(target: str, *args: Any, emit: bool = False, **kwargs: Any) -> Any:
    """Call a function, named ``module:function``, in a worker, so that torch is imported there and not by the process that submits the call."""
    module, _, function = target.partition(":")
    if emit:
        kwargs["emit"] = _emit
    return getattr(import_module(module), function)(*args, **kwargs)


class InThisProcess:
    """Executor like that of :func:`pool`, without processes: tasks run when they are submitted; ``on_event`` is called with their events."""

    def __init__(self, on_event: OnEvent) -> None:
        global _emit
        _emit = on_event

    def submit(self, function: Callable[..., Any], *args: Any, **kwargs: Any) -> Future:
        """Call the function and return a future of its result."""
        task: Future = Future()
        try:
            task.set_result(function(*args, **kwargs))
        except Exception as error:
            task.set_exception(error)
        return task


def as_completed(tasks: dict[Future, Any]) -> Iterator[Future]:
    """Yield tasks as they are done."""
    pending = set(tasks)
    while pending:
        done, pending = wait(pending, return_when="FIRST_COMPLETED")
        yield from done


def result(task: Future) -> Any:
    """Return the result of a task, or raise its error; :class:`WorkerDied` where its worker has ended."""
    try:
        return task.result()
    except BrokenProcessPool:
        raise WorkerDied(_DIED) from None
