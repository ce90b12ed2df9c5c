"""The notebooks that can be rendered, their parameters, and what is checked of these before a kernel starts."""

from __future__ import annotations

import ast
import json
import math
import shutil
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

from sslmem_kit.errors import UserError, join_names, near
from sslmem_kit.names import PAIR
from sslmem_kit.scores import PROTOCOLS
from sslmem_kit.scores.audit import mode_of
from sslmem_kit.spec.places import NOTEBOOKS as FOLDERS
from sslmem_kit.spec.places import find_study as find_study
from sslmem_kit.spec.places import notebooks_in
from sslmem_kit.store import PROBES
from sslmem_kit.store.frontier import Frontier
from sslmem_kit.store.removal_tree import RemovalTree
from sslmem_kit.study import Study

STUDY = "study"
"""The parameter that every notebook has, and that the runner sets."""

OUT = "out"
"""The parameter of notebooks that write figures: the folder; set by the runner too."""

OF_TRAINING = ("fig04_regularizer", "monitor")
"""Notebooks on how encoders are trained, which audits do not know."""

OF_TREES, OF_FRONTIERS = ("fig03_removal",), ("frontier",)
"""Notebooks on removal trees, and on mitigation frontiers; all others are on studies."""

CHOICES = {"protocol": tuple(PROTOCOLS), "probe": PROBES}
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


def available() -> dict[str, Path]:
    """Names and paths of the notebooks that can be rendered.

    Examples
    --------
    >>> "00_quickstart" in available()
    True
    """
    return notebooks_in(FOLDERS)


def copy_notebooks(folder: Path) -> list[Path]:
    """Copy all notebooks into a folder, which is made where it is not there; the paths of the copies.

    Raises
    ------
    UserError
        A file of one of the names is there already, or the folder cannot be made.

    Examples
    --------
    >>> import tempfile
    >>> with tempfile.TemporaryDirectory() as folder:
    ...     copy_notebooks(Path(folder))[0].name
    '00_quickstart.ipynb'
    """
    own = available()
    there = [path.name for path in own.values() if (folder / path.name).exists()]
    if there:
        raise UserError(f"--copy: {folder} has {join_names(there)} already; choose another folder")
    try:
        folder.mkdir(parents=True, exist_ok=True)
    except (FileExistsError, NotADirectoryError) as error:
        raise UserError(f"--copy: {error.filename} is a file, a folder is needed") from None
    return [Path(shutil.copyfile(path, folder / path.name)) for path in own.values()]


def parameters_of(path: Path) -> dict[str, Any]:
    """Names and defaults in a notebook's ``parameters`` cell.

    Raises
    ------
    UserError
        There is no such cell, more than one, or something in it is not the assignment of a literal.

    Examples
    --------
    >>> parameters_of(available()["tab02_tests"])["protocol"]
    'corrected'
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

    Examples
    --------
    >>> parse_parameters([("bins", "30"), ("protocol", "paper")])
    {'bins': 30, 'protocol': 'paper'}
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


def _chosen(names: Sequence[str] | None) -> dict[str, Path]:
    every = available()
    if not every:
        raise UserError(f"NOTEBOOK: there are no notebooks, they are looked for in {' and '.join(map(str, FOLDERS))}")
    for name in names or ():
        if name not in every:
            raise UserError(f"NOTEBOOK: there is none named {name!r}, choose from {', '.join(every)}{near(name, every)}")
    return {name: every[name] for name in dict.fromkeys(names or every)}


def _without(study: Study | RemovalTree | Frontier, names: Sequence[str] | None) -> tuple[str, ...]:
    """Notebooks that do not apply to the results of a study, a removal tree or a mitigation frontier.

    Raises
    ------
    UserError
        None does, or one of ``names`` does not.
    """
    kinds: dict[str, tuple[str, ...]] = {"removal trees": OF_TREES, "mitigation frontiers": OF_FRONTIERS}
    kinds["studies"] = tuple(name for name in available() if not any(name in own for own in kinds.values()))
    here = (
        "removal trees" if isinstance(study, RemovalTree) else "mitigation frontiers" if isinstance(study, Frontier) else "studies"
    )
    of_others = tuple(name for name in available() if name not in kinds[here])
    for name in names or ():
        if name in of_others:
            kind = next(kind for kind, own in kinds.items() if name in own)
            raise UserError(f"NOTEBOOK: {name} is on {kind}, {study.path} is one of the {here}")
    if isinstance(study, RemovalTree | Frontier):
        _ = study.results  # refused unless it is finished
        return of_others
    mode = mode_of(study.tree)
    if mode not in (None, PAIR):
        raise UserError(
            f"STUDY: notebooks show scores of f against g, this audit has the mode {mode!r}; `sslmem report` says what it holds"
        )
    return of_others if mode is None else (*of_others, *OF_TRAINING)


def _defaults(notebooks: Mapping[str, Path]) -> dict[str, dict[str, Any]]:
    return {name: parameters_of(path) for name, path in notebooks.items()}


def _checked_values(notebooks: Mapping[str, Path], parameters: Mapping[str, Any]) -> dict[str, dict[str, Any]]:
    """Parameters of each notebook, of those that are given."""
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
