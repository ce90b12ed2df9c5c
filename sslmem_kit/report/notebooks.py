"""Render notebooks of a study: a strict runner around papermill.

Papermill is lenient: a misspelt parameter only warns, a missing tag lets the defaults overwrite what was given, and tuples, paths
and numpy scalars arrive as strings. Here everything that can be known before a kernel starts is checked first. Each notebook runs
in a process of its own, with a kernel of the interpreter that runs this, whatever kernels are installed.
"""

from __future__ import annotations

import contextlib
import errno
import json
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from sslmem_kit.errors import Failure, UserError, require
from sslmem_kit.report.kernel_process import PID
from sslmem_kit.report.notebook_catalog import OUT, STUDY, _checked_values, _chosen, _without, parameters_of
from sslmem_kit.spec.paths import no_more_files
from sslmem_kit.spec.places import PACKAGE
from sslmem_kit.store.files import hold, remove, write_atomically
from sslmem_kit.store.frontier import find_frontier, open_frontier
from sslmem_kit.store.removal_tree import find_tree, open_tree
from sslmem_kit.study import Study, open_study

_SCRATCH = "sslmem-render-"
"""Prefix of the names of temporary folders."""
_OLD_SECONDS = 3600
"""Age from which such a folder is a leftover where nothing else shows it."""


class NotebookError(Failure):
    """A cell of a notebook failed."""


def render(
    study_path: Path | str,
    names: Sequence[str] | None = None,
    parameters: Mapping[str, Any] | None = None,
    jobs: int = 1,
    html: bool = False,
    progress: Callable[[str, int, int], None] | None = None,
    out: Path | str | None = None,
) -> list[Path]:
    """Execute notebooks on a study.

    Parameters
    ----------
    study_path
        A study directory with complete results, or a removal tree's.
    names
        Of :func:`available` notebooks; None: all of them.
    parameters
        Values by name, of JSON types and of the type of the default; each goes to the notebooks that have it.
    jobs
        Notebooks that run at the same time, one process and one kernel each.
    html
        Write a page beside each notebook, that needs no network.
    progress
        Called with the name of a notebook that is done, the number done and the number of all.
    out
        Folder whose ``notebooks`` and ``figures`` are written to in place of the study's, which may then be on a read-only disk.

    Returns
    -------
    Paths ``<study>/notebooks/NAME.ipynb``, each followed by its ``NAME.html`` where asked for; where it is not, a page of an earlier
    rendering is removed. Figures go to ``<study>/figures/``.

    Raises
    ------
    UserError
        Anything wrong with what was given, before anything runs.
    NotebookError
        A cell failed. What an earlier run wrote stays; the notebook with the failure in it is ``NAME.failed.ipynb``.

    Examples
    --------
    >>> render("papermill_runs/digits", ["fig02"])  # doctest: +ELLIPSIS
    Traceback (most recent call last):
    sslmem_kit.errors.UserError: NOTEBOOK: there is none named 'fig02', choose from 00_quickstart, explorer, ...
    >>> render("papermill_runs/digits", ["tab02_tests"], {"protocol": "paper"})  # doctest: +SKIP
    [PosixPath('papermill_runs/digits/notebooks/tab02_tests.ipynb')]
    """
    require("papermill", "nbconvert", "ipykernel")
    notebooks = _chosen(names)
    values = _checked_values(notebooks, parameters or {})
    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
        raise UserError(f"--jobs: a number of processes from 1 on is needed, got {jobs!r}")
    tree, frontier = find_tree(study_path), find_frontier(study_path)
    study = open_tree(tree) if tree else open_frontier(frontier) if frontier else open_study(study_path)
    left_out = _without(study, names)
    notebooks = {name: path for name, path in notebooks.items() if names or name not in left_out}
    place = Study(study.path if out is None else Path(out))
    try:
        place.notebooks.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"--out: {error.filename} is a file, a folder is needed") from None
    if not os.access(place.notebooks, os.W_OK | os.X_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(place.notebooks))
    if out is None:
        place.sweep_files()
    written: dict[str, list[Path]] = {}
    failures: dict[str, str] = {}
    _sweep_scratch()
    # Its notebooks' processes, and their kernels, end when this end of the pipe is closed: by an interruption, or by the end of this process.
    ends, held = os.pipe()
    with ThreadPoolExecutor(jobs) as pool:
        tasks = {}
        for name, path in notebooks.items():
            own = {**values[name], STUDY: str(study.path.resolve())}
            if out is not None and OUT in parameters_of(path):
                own[OUT] = str(place.figures)
            tasks[pool.submit(_run, name, path, own, place.notebooks, html, ends)] = name
        try:
            for done, task in enumerate(as_completed(tasks), 1):
                try:
                    written[tasks[task]] = task.result()
                except NotebookError as error:
                    failures[tasks[task]] = str(error)
                if progress:
                    progress(tasks[task], done, len(tasks))
        except BaseException:
            pool.shutdown(wait=False, cancel_futures=True)
            raise
        finally:
            os.close(held)
            os.close(ends)
    if failures:
        raise NotebookError("; ".join(failures[name] for name in notebooks if name in failures))
    return [path for name in notebooks for path in written[name]]


@contextlib.contextmanager
def _scratch_folder() -> Iterator[Path]:
    """A temporary folder that is in use for as long as the file ``NAME.lock`` beside it, which is older and stays longer, is locked."""
    with contextlib.ExitStack() as stack:
        while True:
            scratch = Path(tempfile.gettempdir(), f"{_SCRATCH}{secrets.token_hex(8)}")
            with contextlib.suppress(BlockingIOError):  # swept at this moment
                stack.enter_context(hold(scratch.with_suffix(".lock")))
                break
        try:
            scratch.mkdir(mode=0o700)
            yield scratch
        finally:
            remove(scratch)
            remove(scratch.with_suffix(".lock"))


def _sweep_scratch() -> None:
    """Remove the temporary folders of renderings that were killed."""
    for path in Path(tempfile.gettempdir()).glob(f"{_SCRATCH}*"):
        with contextlib.suppress(OSError, UserError):  # somebody else's, or in use
            if path.suffix == ".lock":
                with hold(path):
                    remove(path.with_suffix(""))
                    remove(path)
            elif not path.with_suffix(".lock").exists() and time.time() - path.stat().st_mtime > _OLD_SECONDS:
                remove(path)  # of an earlier version


def _run(name: str, path: Path, parameters: dict[str, Any], folder: Path, html: bool, ends: int) -> list[Path]:
    """Execute one notebook in a process of its own, which ends when the pipe ``ends`` does, and move what it made into place."""
    with _scratch_folder() as scratch:
        # An empty working directory: a study's own folder could hold modules that a kernel would then import.
        (scratch / "work").mkdir()
        order = {
            "name": name,
            "notebook": str(path),
            "parameters": parameters,
            "scratch": str(scratch),
            "html": html,
            "final": str(folder),
        }
        (scratch / "order.json").write_text(json.dumps(order), encoding="utf-8")
        process = subprocess.run(
            [sys.executable, "-P", "-m", "sslmem_kit.report.notebook_process", str(scratch / "order.json")],
            env=_environment(scratch),
            stdin=ends,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            encoding="utf-8",
            errors="replace",
        )
        failed, outcome = folder / f"{name}.failed.ipynb", scratch / "failure.txt"
        if process.returncode or outcome.exists():
            if (scratch / f"{name}.ipynb").exists():
                write_atomically(failed, (scratch / f"{name}.ipynb").read_bytes())
            if "Too many open files" in process.stdout:
                raise NotebookError(f"notebook {name}: {no_more_files()}")
            said = process.stdout.strip().splitlines() if process.returncode > 0 else []  # nothing, if it was killed
            last = said[-1] if said else f"exit status {process.returncode}"
            raise NotebookError(
                outcome.read_text(encoding="utf-8") if outcome.exists() else f"notebook {name}: could not be executed, {last}"
            )
        paths = [folder / f"{name}.{ending}" for ending in (("ipynb", "html") if html else ("ipynb",))]
        for final in paths:
            write_atomically(final, (scratch / final.name).read_bytes())
        failed.unlink(missing_ok=True)
        if not html:  # a page of an earlier rendering, whose parameters may have been others
            (folder / f"{name}.html").unlink(missing_ok=True)
        return paths


def _environment(scratch: Path) -> dict[str, str]:
    """Environment of the process and its kernel: this package, a kernel of this interpreter, none of the user's IPython start-up files."""
    # The kernel's working directory is another: what is relative is written out. Empty, it would mean that directory.
    given = [os.path.abspath(folder) for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    python_path = os.pathsep.join([str(PACKAGE.parent), *given])
    kernel = scratch / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    try:
        Path.home()
        homes = {}
    except RuntimeError:  # no HOME, and a user that no list of users knows: Jupyter needs one
        homes = {"HOME": str(scratch / "home")}
    command = [sys.executable, "-Xfrozen_modules=off", "-P", "-m", "sslmem_kit.report.kernel_process", "-f", "{connection_file}"]
    (kernel / "kernel.json").write_text(
        json.dumps({"argv": command, "display_name": "Python 3 (ipykernel)", "language": "python"}), encoding="utf-8"
    )
    return {
        **os.environ,
        "PYTHONPATH": python_path,
        **homes,
        # Searched before all other places, so that this kernel is found under the usual name, which the executed notebook keeps. The
        # places that were there stay: in layered environments the templates of pages are found by them alone.
        "JUPYTER_PATH": os.pathsep.join([str(scratch / "jupyter"), *filter(None, [os.environ.get("JUPYTER_PATH")])]),
        "JUPYTER_PLATFORM_DIRS": "1",
        "IPYTHONDIR": str(scratch / "ipython"),
        PID: str(scratch / "kernel.pid"),
        "PYTHONUTF8": "1",
        "PYTHONIOENCODING": "utf-8",
        "PYDEVD_DISABLE_FILE_VALIDATION": "1",
        "MPLBACKEND": "agg",
    }
