"""What a shell offers when Tab is pressed: studies, specs, notebooks and names of options. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

from click import Context, Parameter
from click.shell_completion import CompletionItem

PROTOCOLS = ("paper", "released", "corrected")
ESTIMATORS = ("pairs", "subsets", "leave_one_out")

Complete = Callable[[Context, Parameter, str], list[Any]]


def words(*names: str) -> Complete:
    """Names of an option that begin with what is typed."""
    return lambda context, parameter, typed: _fitting(names, typed)


def studies(context: Context, parameter: Parameter, typed: str) -> list[Any]:
    """Studies in this folder, in ``papermill_runs/`` and below what is typed, by path or name; where there is none, folders."""
    from sslmem_kit.places import known_studies, studies_in

    known = known_studies()
    folder = typed[: typed.rfind("/") + 1]
    below = [f"{folder}{path.name}" for path in studies_in(Path(folder).expanduser())] if folder else []
    names = [] if folder else [Path(name).name for name in known]
    return _fitting(dict.fromkeys([*known, *names, *below]), typed) or [CompletionItem(typed, type="dir")]


def specs(context: Context, parameter: Parameter, typed: str) -> list[Any]:
    """Names that stand for a study's spec; where none fits, files."""
    from sslmem_kit.places import bundled_specs
    from sslmem_kit.study.presets import presets

    return _fitting([*bundled_specs(), *presets()], typed) or [CompletionItem(typed, type="file")]


def notebooks(context: Context, parameter: Parameter, typed: str) -> list[Any]:
    """Notebooks that were not named yet."""
    from sslmem_kit.places import notebooks_in

    given = context.params.get(parameter.name or "") or ()
    return _fitting([name for name in notebooks_in() if name not in given], typed)


def _fitting(names: Iterable[str], typed: str) -> list[Any]:
    return [name for name in names if name.startswith(typed)]
