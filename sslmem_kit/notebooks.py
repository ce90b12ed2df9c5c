"""Render notebooks of a study: a strict runner around papermill.

Papermill is lenient: a misspelt parameter only warns, a missing tag lets the defaults overwrite what was given, and tuples, paths
and numpy scalars arrive as strings. Here everything that can be known before a kernel starts is checked first. Each notebook runs
in a process of its own, with a kernel of the interpreter that runs this, whatever kernels are installed.
"""

from __future__ import annotations

import ast
import contextlib
import errno
import json
import math
import os
import secrets
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor, as_completed
from pathlib import Path
from typing import Any

from sslmem_kit._kernel_process import PID
from sslmem_kit.audit.membership import PAIR
from sslmem_kit.audit.scores import mode_of
from sslmem_kit.errors import Failure, UserError, near
from sslmem_kit.files import hold, remove, write_atomically
from sslmem_kit.paths import no_more_files
from sslmem_kit.places import NOTEBOOKS as FOLDERS
from sslmem_kit.places import find_study as find_study  # notebooks import it from here
from sslmem_kit.places import notebooks_in
from sslmem_kit.scores import PROTOCOLS
from sslmem_kit.study import Study, open_study

_PACKAGE = Path(__file__).parent
STUDY = "study"
"""The parameter that every notebook has, and that the runner sets."""
OUT = "out"
"""The parameter of notebooks that write figures: the folder; set by the runner too."""
OF_TRAINING = ("monitor",)
"""Notebooks that watch encoders being trained."""
CHOICES = {"protocol": tuple(PROTOCOLS)}
"""Legal values of parameters that have a fixed set of them."""
RANGES = {
    "bins": (1, 1000),
    "count": (1, 1000),
    "gallery_count": (1, 200),
    "table_rows": (1, 1000),
    "target": (0.01, 0.99),
    "most_seeds": (2, 1000),
}
"""Least and largest values of parameters that are numbers."""
_SCRATCH = "sslmem-render-"
"""What the names of temporary folders begin with."""
_OLD_SECONDS = 3600
"""Age from which such a folder is a leftover where nothing else tells."""


class NotebookError(Failure):
    """A cell of a notebook failed."""


def available() -> dict[str, Path]:
    """Names and paths of the notebooks that can be rendered."""
    return notebooks_in(FOLDERS)


def parameters_of(path: Path) -> dict[str, Any]:
    """Names and defaults in a notebook's ``parameters`` cell.

    Raises
    ------
    UserError
        There is no such cell, more than one, or something in it is not the assignment of a literal.
    """
    cells = json.loads(path.read_text(encoding="utf-8"))["cells"]
    tagged = [cell for cell in cells if cell["cell_type"] == "code" and "parameters" in cell["metadata"].get("tags", ())]
    if len(tagged) != 1:
        raise UserError(f"{path}: {len(tagged)} code cells are tagged `parameters`, a notebook that is rendered has exactly one")
    allowed = f"{path}: the `parameters` cell may hold assignments of literals only, one name each"
    defaults: dict[str, Any] = {}
    try:
        for statement in ast.parse("".join(tagged[0]["source"])).body:
            match statement:
                case ast.Assign(targets=[ast.Name(id=name)], value=value) if name not in defaults:
                    defaults[name] = ast.literal_eval(value)
                case _:
                    raise UserError(f"{allowed}, got `{ast.unparse(statement)}`")
    except (SyntaxError, ValueError) as error:
        raise UserError(f"{allowed} ({error})") from None
    if not isinstance(defaults.get(STUDY), str):
        raise UserError(f"{path}: the `parameters` cell has no text parameter `{STUDY}`, the path of the study that is rendered")
    for name, value in defaults.items():
        _check_literal(value, f"{path}: the default of {name}")
    return defaults


def parse_parameters(given: Iterable[tuple[str, str]], names: Sequence[str] | None = None) -> dict[str, Any]:
    """Parameters from the command line, where all values are text, for :func:`render`.

    A value is JSON (``3``, ``true``, ``[1, 2]``); where the default is text, anything that is not a quoted JSON string is taken as
    it stands.

    Raises
    ------
    UserError
        A parameter is given twice, exists in none of the notebooks, or its value is not JSON.
    """
    defaults = {name: value for own in _defaults(_chosen(names)).values() for name, value in own.items()}
    parsed: dict[str, Any] = {}
    for name, text in given:
        if name in parsed:
            raise UserError(f"-p {name}: given twice")
        _check_known(name, defaults)
        try:
            value = json.loads(text, parse_constant=_no_constant)
        except ValueError:
            if not isinstance(defaults[name], str):
                raise UserError(
                    f"-p {name}: {text!r} is not JSON, a value such as {json.dumps(defaults[name])} is needed"
                ) from None
            value = text
        parsed[name] = text if isinstance(defaults[name], str) and not isinstance(value, str) else value
    return parsed


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
        A study directory with complete results.
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
    """
    notebooks = _chosen(names)
    values = _checked_values(notebooks, parameters or {})
    if isinstance(jobs, bool) or not isinstance(jobs, int) or jobs < 1:
        raise UserError(f"--jobs: a number of processes from 1 on is needed, got {jobs!r}")
    study = open_study(study_path)
    left_out = _without(study)
    notebooks = {name: path for name, path in notebooks.items() if names or name not in left_out}
    place = Study(study.path if out is None else Path(out))
    try:
        place.notebooks.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"--out: {error.filename} is a file, a folder is needed") from None
    if not os.access(place.notebooks, os.W_OK | os.X_OK):
        raise OSError(errno.EACCES, os.strerror(errno.EACCES), str(place.notebooks))
    if out is None:
        study.sweep_files()
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


def _chosen(names: Sequence[str] | None) -> dict[str, Path]:
    every = available()
    if not every:
        raise UserError(f"NOTEBOOK: there are no notebooks, they are looked for in {' and '.join(map(str, FOLDERS))}")
    for name in names or ():
        if name not in every:
            raise UserError(f"NOTEBOOK: there is none named {name!r}, choose from {', '.join(every)}{near(name, every)}")
    return {name: every[name] for name in dict.fromkeys(names or every)}


def _without(study: Study) -> tuple[str, ...]:
    """Notebooks that do not apply to a study's results.

    Raises
    ------
    UserError
        None does.
    """
    mode = mode_of(study.tree)
    if mode not in (None, PAIR):
        raise UserError(
            f"STUDY: notebooks show scores of f against g, this audit has the mode {mode!r}; `sslmem report` tells what it holds"
        )
    return () if mode is None else OF_TRAINING


def _defaults(notebooks: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    return {name: parameters_of(path) for name, path in notebooks.items()}


def _checked_values(notebooks: Mapping[str, Path], parameters: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """What each notebook gets of the parameters."""
    defaults = _defaults(notebooks)
    known = {name: value for own in defaults.values() for name, value in own.items()}
    chosen: dict[str, dict[str, Any]] = {name: {} for name in notebooks}
    for name, value in parameters.items():
        _check_known(name, known)
        _check_literal(value, f"-p {name}")
        for notebook, own in defaults.items():
            if name in own:
                chosen[notebook][name] = _as_type_of(own[name], value, f"-p {name} (in {notebook})")
                _check_value(name, value, f"-p {name} (in {notebook})")
    return chosen


def check_parameters(**values: Any) -> None:
    """Refuse values of a notebook's parameters that are out of bounds, in a notebook that a person runs as in one that is rendered.

    Raises
    ------
    UserError
        Names the parameter, its value and what is allowed.

    Examples
    --------
    >>> check_parameters(bins=60, protocol="corrected")
    """
    for name, value in values.items():
        _check_value(name, value, name)


def _check_value(name: str, value: Any, what: str) -> None:
    if name in CHOICES and value not in CHOICES[name]:
        raise UserError(f"{what}: got {value!r}, choose one of {', '.join(CHOICES[name])}{near(str(value), CHOICES[name])}")
    if name in RANGES:
        least, largest = RANGES[name]
        if isinstance(value, bool) or not isinstance(value, int | float) or not least <= value <= largest:
            raise UserError(f"{what}: got {value!r}, a number from {least} to {largest:,} is needed")


def _check_known(name: str, known: Mapping[str, Any]) -> None:
    allowed = ", ".join(parameter for parameter in known if parameter not in (STUDY, OUT))
    if name == STUDY:
        raise UserError(f"-p {STUDY}: the study is given by its path as STUDY, parameters are {allowed}")
    if name == OUT:
        raise UserError(f"-p {OUT}: where notebooks and figures go is given by --out, parameters are {allowed}")
    if name not in known:
        raise UserError(f"-p {name}: no chosen notebook has this parameter, there are {allowed}{near(name, known)}")


def _check_literal(value: Any, what: str) -> None:
    """Refuse what papermill would turn into text, or into no literal."""
    if type(value) in (list, dict):
        for part in value.values() if isinstance(value, dict) else value:
            _check_literal(part, what)
        if isinstance(value, dict) and not all(type(key) is str for key in value):
            raise UserError(f"{what}: the keys of a mapping must be text, got {value!r}")
    elif type(value) not in (str, int, float, bool, type(None)) or (type(value) is float and not math.isfinite(value)):
        raise UserError(
            f"{what}: got {value!r} of type {type(value).__name__}, allowed are values of JSON (text, finite number, true, list)"
        )


def _as_type_of(default: Any, value: Any, what: str) -> Any:
    """The value, a whole number as float where the default is one; any other difference of types is refused."""
    if type(default) is float and type(value) is int:
        return float(value)
    if type(default) is not type(value):
        got, needed = type(value).__name__, type(default).__name__
        raise UserError(
            f"{what}: got {value!r} of type {got}, the default {default!r} is of type {needed} and so must the value be"
        )
    return value


def _no_constant(text: str) -> None:
    raise ValueError(f"{text} is not JSON")


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
            [sys.executable, "-P", "-m", "sslmem_kit._notebook_process", str(scratch / "order.json")],
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
    """Of the process and its kernel: this package, a kernel of this interpreter, none of the user's IPython start-up files."""
    # The kernel's working directory is another: what is relative is written out. Empty, it would mean that directory.
    given = [os.path.abspath(folder) for folder in os.environ.get("PYTHONPATH", "").split(os.pathsep) if folder]
    python_path = os.pathsep.join([str(_PACKAGE.parent), *given])
    kernel = scratch / "jupyter" / "kernels" / "python3"
    kernel.mkdir(parents=True)
    try:
        Path.home()
        homes = {}
    except RuntimeError:  # no HOME, and a user that no list of users knows: Jupyter needs one
        homes = {"HOME": str(scratch / "home")}
    command = [sys.executable, "-Xfrozen_modules=off", "-P", "-m", "sslmem_kit._kernel_process", "-f", "{connection_file}"]
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
