"""Places of studies, specs and notebooks; studies are found by path or by name, from the working directory and the folders above it.

Imports nothing heavy.
"""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator
from pathlib import Path

from sslmem_kit.errors import UserError, join_names, near
from sslmem_kit.names import RUNS
from sslmem_kit.spec.paths import absolute, expanded, packed

SPEC_FILE = "study.yaml"
"""File that makes a folder a study."""


PACKAGE = Path(__file__).parents[1]
"""Folder of the package."""
NOTEBOOKS = (PACKAGE / "_notebooks", PACKAGE.parent / "notebooks")
"""Folders that notebooks are looked for in: in an installed wheel, then in a checkout."""

SCHEMAS = (PACKAGE / "_schema", PACKAGE.parent / "docs" / "schema")
"""Folders that the JSON schemas of specs are looked for in, in the same order."""


def notebooks_in(folders: Iterable[Path] = NOTEBOOKS) -> dict[str, Path]:
    """Return the names and paths of the notebooks in the first folder that is there."""
    folder = next((folder for folder in folders if folder.is_dir()), None)
    return {path.stem: path for path in sorted(folder.glob("*.ipynb"))} if folder else {}


def bundled_specs() -> dict[str, Path]:
    """Return the names and paths of the specs that ship with the package."""
    return {path.stem: path for path in sorted((Path(__file__).with_name("bundled")).glob("*.yaml"))}


def find_study(path: Path | str) -> Path:
    """Return the folder of a study that is named by its path or, where it is in ``papermill_runs/``, by its name.

    A relative path is seen from the working directory, then from the folders above it: JupyterLab runs a notebook in the notebook's own
    folder, the examples name studies from the top of the repository. Where there is none, the path itself.
    """
    return find_folder(path, SPEC_FILE)


def find_folder(path: Path | str, file: str) -> Path:
    """Return the folder that holds a ``file``, found as :func:`find_study` finds that of a study."""
    path = expanded(path)
    if path.is_absolute():
        return path
    by_name = path.as_posix().replace("/", "-")  # the folder of paper/cifar10-... is paper-cifar10-...
    for folder in _upwards():
        for found in (folder / path, folder / RUNS / path, folder / RUNS / by_name):
            if _is_file(found / file):
                return path if folder == Path.cwd() and found == folder / path else found
    return path


_NO_NAME = ("-", "~")
"""First characters of what is an option, or a home folder, where a name is typed."""


def as_typed(folder: Path) -> str:
    """Return how one would name a study from the working directory: by its name where that finds it, else by its path.

    Examples
    --------
    >>> as_typed(Path("/elsewhere/mine"))
    '/elsewhere/mine'
    """
    folder = absolute(folder)
    shorter = [folder.name, below_here(folder)]
    found = (name for name in shorter if name[:1] not in ("", *_NO_NAME) and absolute(find_study(name)) == folder)
    return next(found, str(folder)) if _is_file(folder / SPEC_FILE) else below_here(folder)


def below_here(folder: Path) -> str:
    """Return a path as one would give it: from the working directory where it lies below that, else from the root.

    Examples
    --------
    >>> below_here(absolute("papermill_runs/digits")), below_here(Path("/elsewhere/mine"))
    ('papermill_runs/digits', '/elsewhere/mine')
    """
    folder, here = absolute(folder), absolute(".")
    relative = str(folder.relative_to(here)) if here in folder.parents else "-"
    return str(folder) if relative[0] in _NO_NAME else relative


def known_studies() -> list[str]:
    """Return the paths, as one would give them, of the studies in the working directory and in ``papermill_runs/`` here or above."""
    here = absolute(".")
    found = [path.name for path in studies_in(here)]
    for folder in _upwards():
        found += [os.path.relpath(path, here) for path in studies_in(folder / RUNS)]
    return sorted(dict.fromkeys(found))


def no_study(path: Path | str) -> UserError:
    """Return the error for a path at which there is no study: what it is, what there is, and what may have been meant."""
    path = expanded(path)
    message = packed(path) if path.is_file() else ""
    if message:
        return UserError(f"STUDY: {message}")
    if path.is_dir() and (path.absolute().parent / SPEC_FILE).is_file():
        return UserError(f"STUDY: {path} is not a study directory but inside of one, {path.absolute().parent}")
    known = known_studies()
    if (path / "removal.yaml").is_file():
        return UserError(
            f"STUDY: {path} is a removal tree, which `sslmem report` and `sslmem render` take; the study whose scores it rests on is the one "
            f"that its removal.yaml names, or {path / 'parent'}"
        )
    if (path / "frontier.yaml").is_file():
        return UserError(
            f"STUDY: {path} is a mitigation frontier, which `sslmem report` and `sslmem render` take; a study is needed"
        )
    if path.is_dir():
        what = f"{path} is not a study directory, it has no study.yaml"
    elif path.is_file():
        what = f"{path} is a file, a study directory is needed"
    else:
        what = f"there is no folder {str(path)!r}"
    names = {name: name for name in known} | {Path(name).name: name for name in known}
    hint = near(path.name, names) or near(str(path), names)
    return UserError(f"STUDY: {what}" + (f"; studies here are {join_names(known)}" if known else "") + hint)


def _upwards() -> Iterator[Path]:
    here = absolute(".")
    yield from (here, *here.parents)


def studies_in(folder: Path) -> list[Path]:
    """Return the studies right below a folder; none where it cannot be read."""
    try:
        with os.scandir(folder) as entries:
            return sorted(folder / entry.name for entry in entries if entry.is_dir() and _is_file(folder / entry.name / SPEC_FILE))
    except OSError:
        return []


def _is_file(path: Path) -> bool:
    try:
        return path.is_file()
    except OSError:  # a folder above that is not ours to look into
        return False
