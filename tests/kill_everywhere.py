"""Kill a command at its n-th file operation, for every n, start it again, and compare with a run that nobody disturbed.

``python tests/kill_everywhere.py FOLDER [run] [score] [render] [--kills K]`` prints a JSON object a kill: for every n, or K of them a process.
An audit hook counts what changes files (open for writing, rename, mkdir, remove ...) below the study's folder and the temporary one, in one
process of the command (``main``, ``worker`` or ``kernel``), and sends it SIGKILL before the n-th takes place. Torch is imported once: each
run is a fork.
"""

from __future__ import annotations

import argparse
import itertools
import json
import multiprocessing
import os
import shutil
import signal
import sys
import tempfile
import time
import traceback
from collections.abc import Callable, Iterator
from pathlib import Path

CHANGES = {"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.truncate", "os.link", "os.symlink", "shutil.rmtree"}
TIMES = {"created", "seconds", "training_seconds", "sealed"}
"""What two runs differ in, by name: times, and the hash of a document with times in it."""
PROCESSES = {"run": ("main", "worker"), "score": ("main",), "render": ("main", "kernel")}
SECONDS = 240

SITE = """
import os
if os.environ.get("SSLMEM_KERNEL_PID") and "KILL_AT" in os.environ and "_kernel_process" in " ".join(__import__("sys").orig_argv):
    import kill_everywhere
    kill_everywhere.Strike.of_kernel()
"""


class Strike:
    """Counts the file operations of a process, and ends it before the n-th."""

    def __init__(self, n: int, folders: list[Path], log: int, counts: bool = True) -> None:
        self.n, self.folders, self.log, self.counts = n, tuple(map(str, folders)), log, counts
        self.main, self.numbers = os.getpid(), itertools.count(1)  # threads take turns at it
        sys.addaudithook(self)

    @classmethod
    def of_kernel(cls) -> None:
        """In a kernel, by what the environment says."""
        log = os.open(os.environ["KILL_LOG"], os.O_WRONLY | os.O_APPEND)
        cls(int(os.environ["KILL_AT"]), [Path(os.environ["KILL_FOLDER"])], log)

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
        number = next(self.numbers)
        os.write(self.log, f"{event} {os.path.basename(path)}\n".encode())
        if number == self.n:
            os.kill(os.getpid(), signal.SIGKILL)


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


def perform(name: str, home: Path, out: Path, *, process: str = "main", n: int = 0, log: Path | None = None) -> int:
    """The command in a fork, killed before the n-th operation of one of its processes if ``n`` is not 0."""

    def inside() -> None:
        from sslmem_kit import cli, notebooks

        devnull = os.open(os.devnull, os.O_WRONLY)
        os.dup2(devnull, 1)
        errors = os.open(home / "errors.txt", os.O_WRONLY | os.O_CREAT | os.O_TRUNC)
        os.dup2(errors, 2)
        scratch = home / "tmp"
        scratch.mkdir(exist_ok=True)
        tempfile.tempdir = str(scratch)
        os.environ["TMPDIR"] = str(scratch)
        notebooks.FOLDERS = (home / "own",)
        if log is not None:
            log.touch()
            if process == "kernel":
                os.environ.update(
                    KILL_AT=str(n), KILL_LOG=str(log), KILL_FOLDER=str(out),
                    PYTHONPATH=os.pathsep.join([str(home / "site"), str(Path(__file__).parent), os.environ.get("PYTHONPATH", "")]),
                )  # fmt: skip
            else:
                Strike(n, [out, scratch], os.open(log, os.O_WRONLY | os.O_APPEND), counts=process == "main")
        status = cli.main(command(name, home, out))
        if status:
            os._exit(status)

    return forked(inside)


def prepare(home: Path) -> None:
    """Specs, a study to audit and to render, and a notebook. All is done once in this process, so that forks find every module imported."""
    import nbformat
    import yaml
    from fake_study import workers_in_this_process

    from sslmem_kit import cli

    home.mkdir(parents=True, exist_ok=True)
    small = {"backbone": "resnet18", "options": {"layers": [1, 1, 1, 1], "channels": [4, 4, 4, 4]}}
    spec = {
        "name": "tiny", "data": {"name": "digits"}, "encoder": small,
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
        "data": {"name": "digits"},
        "samples": str(home / "ids.txt"),
        "scoring": spec["scoring"],
        "encoders": encoders,
    }
    (home / "audit.yaml").write_text(yaml.safe_dump(audit))
    shutil.rmtree(home / "audit", ignore_errors=True)
    assert cli.main(command("score", home, home / "audit")) == 0
    for made in ("run", "audit"):
        check(home / made, home / made)
    cells = [
        f'study = "{home}"',
        "from pathlib import Path\nfrom sslmem_kit.files import write_atomically\nfigures = Path(study) / 'figures'\n"
        "figures.mkdir(exist_ok=True)\nwrite_atomically(figures / 'a.png', b'picture')\nwrite_atomically(figures / 'a.html', b'page')",
    ]
    notebook = nbformat.v4.new_notebook(cells=[nbformat.v4.new_code_cell(source, id=f"cell{i}") for i, source in enumerate(cells)])
    notebook.cells[0].metadata["tags"] = ["parameters"]
    (home / "own").mkdir(exist_ok=True)
    nbformat.write(notebook, home / "own" / "made.ipynb")
    (home / "site").mkdir(exist_ok=True)
    (home / "site" / "sitecustomize.py").write_text(SITE)


def without_times(value: object) -> object:
    if isinstance(value, dict):
        return {key: without_times(item) for key, item in value.items() if key not in TIMES}
    return [without_times(item) for item in value] if isinstance(value, list) else value


def content(path: Path, root: Path) -> object:
    """What has to be the same in two runs: all bytes, but for times."""
    if path.suffix == ".json":
        return without_times(json.loads(path.read_bytes()))
    if path.name == "history.csv":
        return [
            ",".join(cell for place, cell in enumerate(line.split(",")) if place != 3) for line in path.read_text().splitlines()
        ]
    if path.name == "state.pt" or path.parent.name == "checksums":
        return True  # seconds are among the records of the one, hashes of files with seconds among those of the other: `check` looks at them
    if path.suffix == ".ipynb":
        return [cell["source"] for cell in json.loads(path.read_text().replace(str(root), ""))["cells"]]
    if path.suffix == ".html" and path.parent.name == "notebooks":
        return True
    return path.read_bytes()


def differences(one: Path, other: Path) -> list[str]:
    """Files that are not in both folders, or not of the same content."""
    there = [{path.relative_to(root) for path in root.rglob("*") if path.is_file()} for root in (one, other)]
    found = [f"{path} is in one only" for path in sorted(there[0] ^ there[1])]
    return found + [str(path) for path in sorted(there[0] & there[1]) if content(one / path, one) != content(other / path, other)]


def check(out: Path, reference: Path) -> None:
    """See that a study is valid, and its report that of another one."""
    from sslmem_kit.report import build_report
    from sslmem_kit.study import open_study
    from sslmem_kit.validate import problems

    assert not list(problems(out))
    one, other = (json.loads(json.dumps(build_report(open_study(path)))) for path in (out, reference))
    for told in (one, other):
        told.pop("path", None)
    assert without_times(one) == without_times(other)


def kills(name: str, home: Path, *, most: int) -> Iterator[dict]:
    """One kill after the other, and what became of each."""
    reference, out, log = home / f"{name}-undisturbed", home / f"{name}-out", home / "log.txt"

    def fresh(path: Path) -> None:
        shutil.rmtree(path, ignore_errors=True)
        if name == "render":
            shutil.copytree(home / "run", path)

    fresh(reference)
    if perform(name, home, reference):
        raise RuntimeError((home / "errors.txt").read_text())
    for process in PROCESSES[name]:
        fresh(out)
        log.unlink(missing_ok=True)
        if perform(name, home, out, process=process, log=log):
            raise RuntimeError((home / "errors.txt").read_text())
        operations = log.read_text().splitlines()
        every = max(1, len(operations) // most) if most else 1
        for n in range(1 + every // 2, len(operations) + 1, every):
            fresh(out)
            log.unlink(missing_ok=True)
            struck = perform(name, home, out, process=process, n=n, log=log)
            reached = len(log.read_text().splitlines())
            again = perform(name, home, out)
            said = (home / "errors.txt").read_text()[-400:] if again else ""
            differ = [] if again else differences(out, reference)
            if not again and name != "render" and forked(lambda: check(out, reference)):
                differ.append("report or validation")
            left = [path.name for path in (home / "tmp").iterdir()]
            yield {"command": name, "process": process, "n": n, "of": len(operations), "operation": operations[n - 1],
                   "killed": reached >= n, "status": struck, "completed": again == 0, "differ": differ, "left": left,
                   "said": said}  # fmt: skip


def main() -> None:
    parser = argparse.ArgumentParser()
    parser.add_argument("home", type=Path)
    parser.add_argument("names", nargs="*", default=list(PROCESSES))
    parser.add_argument("--kills", type=int, default=0)
    given = parser.parse_args()
    home = given.home.resolve()

    if hasattr(os, "sched_setaffinity"):
        # One thread: OpenMP's others would not be there in a fork.
        os.sched_setaffinity(0, {sorted(os.sched_getaffinity(0))[os.getpid() % len(os.sched_getaffinity(0))]})
    import dask
    import torch

    torch.set_num_threads(1)
    dask.config.set(scheduler="synchronous")  # the threads of its pool would not be there either
    os.register_at_fork(after_in_child=lambda: signal.signal(signal.SIGTERM, signal.SIG_DFL))
    from sslmem_kit import scheduling, train, worker  # noqa: F401  (once, for all forks)
    from sslmem_kit.audit import run as audit  # noqa: F401

    train.TELL_SECONDS = 0
    fork = multiprocessing.get_context("fork")
    scheduling.Spawning = lambda: fork
    prepare(home)
    for name in given.names:
        for told in kills(name, home, most=given.kills):
            print(json.dumps(told), flush=True)


if __name__ == "__main__":
    main()
