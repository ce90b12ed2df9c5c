"""Kill a command at its n-th file operation, for every n, start it again, and compare with a run that nobody disturbed.

``python -m tests.support.kill_everywhere FOLDER COMMAND:PROCESS:K[:N] ...`` prints a JSON object a moment: n = N, N + K, N + 2 K ...
An audit hook counts what changes files (open for writing, rename, mkdir, remove ...) below the study's folder and the temporary one, in one
process of the command, and sends it SIGKILL before the n-th takes place. ``alone``: the command does all in one process. ``main``, ``worker``
and ``kernel``: in this one of its processes. ``moments``: as ``alone``, but nothing is killed: the folder is copied before the n-th, which is
what SIGKILL would have left, so that one run gives all n. Torch is imported once: each start is a fork.
"""

from __future__ import annotations

import argparse
import contextlib
import csv
import itertools
import json
import multiprocessing
import os
import re
import shutil
import signal
import sys
import tempfile
import threading
import time
import traceback
from collections.abc import Callable, Iterator
from functools import partial
from pathlib import Path

import dask
import torch

from sslmem_kit.report.validate import problems
from sslmem_kit.run import worker  # noqa: F401  (imported once, for all forks)
from sslmem_kit.run.audit import run as _  # noqa: F401
from sslmem_kit.run.schedulers import pool as scheduling
from sslmem_kit.store import file_record
from sslmem_kit.training import loop as train
from tests.support import ROOT

CHANGES = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink", "shutil.rmtree"}
TIMES = {"created", "seconds", "training_seconds", "sealed"}
"""What two runs differ in, by name: times, and the hash of a document with times in it."""
SECONDS = 240

SITE = """
import os
if os.environ.get("SSLMEM_KERNEL_PID") and "KILL_AT" in os.environ and "kernel_process" in " ".join(__import__("sys").orig_argv):
    from tests.support import kill_everywhere
    kill_everywhere.Strike.of_kernel()
"""


class Strike:
    """Counts the file operations of a process, and does something before some of them."""

    def __init__(self, before: Callable[[int], object], folders: list[Path], log: int, counts: bool = True) -> None:
        self.before, self.folders, self.log, self.counts = before, tuple(map(str, folders)), log, counts
        self.main, self.numbers, self.turn = os.getpid(), itertools.count(1), threading.RLock()
        sys.addaudithook(self)

    @classmethod
    def of_kernel(cls) -> None:
        """In a kernel, by what the environment says."""
        log = os.open(os.environ["KILL_LOG"], os.O_WRONLY | os.O_APPEND)
        cls(partial(kill, int(os.environ["KILL_AT"])), [Path(os.environ["KILL_FOLDER"])], log)

    def __call__(self, event: str, arguments: tuple) -> None:
        if event == "open":
            path, _, flags = arguments
            if not flags & (os.O_WRONLY | os.O_RDWR | os.O_CREAT | os.O_TRUNC):
                return
        elif event in CHANGES:
            path = arguments[0]
        else:
            return
        if not isinstance(path, str | os.PathLike) or not os.fspath(path).startswith(self.folders):
            return
        if (os.getpid() == self.main) != self.counts:
            return
        with self.turn:
            number = next(self.numbers)
            os.write(self.log, f"{number} {event} {os.path.basename(path)}\n".encode())
            self.before(number)


def kill(n: int, number: int) -> None:
    """End this process where the count has come to ``n``."""
    if number == n:
        os.kill(os.getpid(), signal.SIGKILL)


def copy(chosen: range, out: Path, number: int) -> None:
    """Keep what would be left if this process were killed now."""
    if number in chosen and out.exists():
        for _ in range(50):
            with contextlib.suppress(shutil.Error, FileNotFoundError):  # of what zarr's other threads had counted and not done yet
                shutil.copytree(out, moment(out, number))
                return
            shutil.rmtree(moment(out, number))
            time.sleep(0.01)
        raise RuntimeError(f"{out} does not come to rest")


def moment(out: Path, number: int) -> Path:
    """Where it is kept."""
    return out.with_name("moments") / str(number)


def forked(function: Callable[[], None]) -> int:
    """Call a function in a fork; its exit status, -9 if it was killed, when all that it has forked has ended too."""
    end, held = os.pipe()
    pid = os.fork()
    if not pid:
        try:
            os.close(end)
            function()
        except BaseException:
            traceback.print_exc()
            os._exit(1)
        os._exit(0)
    os.close(held)
    deadline, status = time.monotonic() + SECONDS, None
    while status is None:
        done, code = os.waitpid(pid, os.WNOHANG)
        if done:
            status = os.waitstatus_to_exitcode(code)
        elif time.monotonic() > deadline:
            os.kill(pid, signal.SIGKILL)
        time.sleep(0.005)
    os.read(end, 1)  # ends with the last of them
    os.close(end)
    return status


def command(name: str, home: Path, out: Path) -> list[str]:
    match name:
        case "run":
            return ["run", str(home / "study.yaml"), "--out", str(out), "--workers", "1", "--device", "cpu"]
        case "score":
            return ["score", "--spec", str(home / "audit.yaml"), "--out", str(out), "--device", "cpu"]
    return ["render", str(out), "made", "--html"]


def operations(log: Path) -> list[str]:
    """What :class:`Strike` has counted."""
    return [line.split(" ", 1)[1] for line in log.read_text().splitlines()]


def perform(
    name: str, home: Path, out: Path, process: str, *, n: int = 0, log: Path | None = None, chosen: range = range(0)
) -> int:
    """The command in a fork, killed before the n-th operation of one of its processes if ``n`` is not 0; ``chosen`` moments are kept."""

    def inside() -> None:
        from sslmem_kit import cli
        from sslmem_kit.report import notebook_catalog
        from tests.support.fake_study import workers_in_this_process

        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 1)
        errors = os.open(home / "errors.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(errors, 2)
        scratch = home / "tmp"
        scratch.mkdir(exist_ok=True)
        tempfile.tempdir = str(scratch)
        os.environ["TMPDIR"] = str(scratch)
        notebook_catalog.FOLDERS = (home / "own",)
        if log is not None:
            log.touch()
            if process == "kernel":
                os.environ.update(
                    KILL_AT=str(n), KILL_LOG=str(log), KILL_FOLDER=str(out),
                    PYTHONPATH=os.pathsep.join([str(home / "site"), str(ROOT), os.environ.get("PYTHONPATH", "")]),
                )  # fmt: skip
            else:
                before = partial(copy, chosen, out) if process == "moments" else partial(kill, n)
                Strike(before, [out, scratch], os.open(log, os.O_WRONLY | os.O_APPEND), counts=process != "worker")
        with workers_in_this_process() if process in ("alone", "moments") else contextlib.nullcontext():
            status = cli.main(command(name, home, out))
        if status:
            os._exit(status)

    return forked(inside)


def prepare(home: Path) -> None:
    """Specs, a study to audit and to render, and a notebook. All is done once in this process, so that forks find every module imported."""
    import nbformat
    import numpy as np
    import yaml

    from sslmem_kit import cli
    from tests.support.fake_study import workers_in_this_process

    home.mkdir(parents=True, exist_ok=True)
    small = {"backbone": "resnet18", "options": {"layers": [1, 1, 1, 1], "channels": [4, 4, 4, 4]}}
    numbers = np.random.default_rng(0)
    np.savez(home / "images.npz", images=numbers.integers(0, 256, (64, 8, 8), dtype=np.uint8), labels=np.arange(64) % 2)
    data = {"name": f"npz:{home / 'images.npz'}"}
    spec = {
        "name": "tiny", "data": data, "encoder": small,
        "partition": {"shared": 24, "candidate": 8, "independent": 8, "extra": 8},
        "training": {"seeds": 1, "epochs": 2, "warmup_epochs": 0, "batch_size": 16, "record_every": 1, "checkpoint_seconds": 1e-6},
        "scoring": {"views": 1, "block": 32},
    }  # fmt: skip
    (home / "study.yaml").write_text(yaml.safe_dump(spec))
    shutil.rmtree(home / "run", ignore_errors=True)
    with workers_in_this_process():
        assert cli.main(command("run", home, home / "run")) == 0
    encoders = [
        {"id": name, "encoder": {**small, "stem": "small"}, "weights": str(home / "run" / "encoders" / name / "weights.safetensors"),
         "prefix": "backbone.", "normalize": "data", "trained_on": str(home / f"{name}.txt")}
        for name in ("f-0", "g-0")
    ]  # fmt: skip
    (home / "f-0.txt").write_text("\n".join(map(str, range(20))))
    (home / "g-0.txt").write_text("\n".join(map(str, range(10, 30))))
    (home / "ids.txt").write_text("\n".join(map(str, range(40))))
    audit = {
        "name": "tiny",
        "data": data,
        "samples": str(home / "ids.txt"),
        "scoring": spec["scoring"],
        "encoders": encoders,
    }
    (home / "audit.yaml").write_text(yaml.safe_dump(audit))
    shutil.rmtree(home / "audit", ignore_errors=True)
    assert cli.main(command("score", home, home / "audit")) == 0
    for made in ("run", "audit"):
        assert not invalid(home / made)
    cells = [
        f'study = "{home}"',
        "from pathlib import Path\nfrom sslmem_kit.store.files import write_atomically\nfigures = Path(study) / 'figures'\n"
        "figures.mkdir(exist_ok=True)\nwrite_atomically(figures / 'a.png', b'picture')\nwrite_atomically(figures / 'a.html', b'page')",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source, id=f"cell{i}") for i, source in enumerate(cells)])
    notebook.cells[0].metadata["tags"] = ["parameters"]
    (home / "own").mkdir(exist_ok=True)
    nbformat.write(notebook, home / "own" / "made.ipynb")
    (home / "site").mkdir(exist_ok=True)
    (home / "site" / "sitecustomize.py").write_text(SITE)


def without_times(value: object) -> object:
    """Of a document or a checkpoint; a tensor is what can be compared."""
    match value:
        case dict():
            return {key: without_times(item) for key, item in value.items() if key not in TIMES}
        case list() | tuple():
            return [without_times(item) for item in value]
        case torch.Tensor():
            return str(value.dtype), tuple(value.shape), value.numpy().tobytes()
    return value


def content(path: Path, root: Path) -> object:
    """What has to be the same in two runs: all bytes, but for times."""
    if path.suffix == ".pt":
        return without_times(torch.load(path, weights_only=True))
    if path.suffix == ".json":
        return without_times(json.loads(path.read_bytes()))
    if path.name == "history.csv":
        rows = list(csv.DictReader(path.read_text().splitlines()))
        return without_times(rows)
    if path.parent.name == "checksums":
        return True  # of all its files at once: see `recorded`
    if path.suffix == ".ipynb":
        return [cell["source"] for cell in json.loads(path.read_text().replace(str(root), ""))["cells"]]
    if path.suffix == ".html":  # papermill gives the cell of parameters a new id
        return re.sub('"cell-id=[0-9a-f]{8}"', "", path.read_text().replace(str(root), ""))
    return path.read_bytes()


def recorded(store: Path) -> dict[str, object]:
    """What the record of a store says of every file; of those with times in them, that it knows them (`invalid` compares their digests)."""
    entries, damaged = file_record.read_record(store)
    return {name: entry if Path(name).suffix not in (".json", ".csv") else True for name, entry in entries.items()} | {
        "damaged": damaged
    }


def differences(one: Path, other: Path) -> list[str]:
    """Files that are not in both folders, or not of the same content."""
    there = [{path.relative_to(root) for path in root.rglob("*")} for root in (one, other)]
    found = [f"{path} is in one only" for path in sorted(there[0] ^ there[1])]
    for path in sorted(there[0] & there[1]):
        if not (one / path).is_dir() and content(one / path, one) != content(other / path, other):
            found.append(str(path))
    if recorded(one / "results.zarr") != recorded(other / "results.zarr"):
        found.append("the record")
    return found


def invalid(study: Path) -> list[str]:
    """What is wrong with a study by itself: digests are those of its own files, also of those with times in them."""
    return [str(problem) for problem in problems(study)]


def kills(name: str, process: str, home: Path, *, first: int, every: int) -> Iterator[dict]:
    """One kill after the other, and what became of each."""
    reference, out, log = home / f"{name}-undisturbed", home / f"{name}-out", home / "log.txt"

    def fresh(path: Path) -> None:
        log.unlink(missing_ok=True)
        shutil.rmtree(path, ignore_errors=True)
        if name == "render":
            shutil.copytree(home / "run", path)

    fresh(reference)
    if perform(name, home, reference, process, log=log):
        raise RuntimeError((home / "errors.txt").read_text())
    there = operations(log)
    chosen = range(first, len(there) + 1, every)
    if process == "moments":
        shutil.rmtree(moment(out, 0).parent, ignore_errors=True)
        fresh(out)
        assert perform(name, home, out, process, log=log, chosen=chosen) == 0
    for n in chosen:
        fresh(out)
        if process == "moments":
            struck = moment(out, n).exists() or n == 1  # before which there is no folder
            if moment(out, n).exists():
                moment(out, n).rename(out)
        else:
            struck = perform(name, home, out, process, n=n, log=log) != 0 and len(operations(log)) == n
        again = perform(name, home, out, process)
        said = (home / "errors.txt").read_text()[-400:] if again else ""
        differ = [] if again else [*differences(out, reference), *invalid(out)]
        left = [path.name for path in (home / "tmp").iterdir()]
        yield {"command": name, "process": process, "n": n, "of": len(there), "operation": there[n - 1],
               "struck": struck, "completed": again == 0, "differ": differ, "left": left, "said": said}  # fmt: skip
        if again or differ or left:
            shutil.copytree(out, home / f"{name}-{process}-{n}", dirs_exist_ok=True)


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("home", type=Path)
    parser.add_argument("chosen", nargs="+")
    given = parser.parse_args()
    home = given.home.resolve()

    if hasattr(os, "sched_setaffinity"):
        # One thread: OpenMP's others would not be there in a fork.
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[os.getpid() % len(os.sched_getaffinity(0))]})
    torch.set_num_threads(1)
    dask.config.set(scheduler="synchronous")  # the threads of its pool would not be there either
    os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))
    train.EVENT_SECONDS = 0
    fork = multiprocessing.get_context("fork")
    scheduling.Spawning = lambda: fork
    prepare(home)
    for chosen in given.chosen:
        name, process, every, *first = chosen.split(":")
        for one in kills(name, process, home, every=int(every), first=int(first[0]) if first else 1 + int(every) // 2):
            print(json.dumps(one), flush=True)


if __name__ == "__main__":
    main()
