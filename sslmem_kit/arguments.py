"""Arguments and options of the command line, and the completions that a shell offers. Imports nothing heavy."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from pathlib import Path
from typing import Any

import click
from click import Context, Parameter
from click.shell_completion import CompletionItem

from sslmem_kit.spec.paths import expanded

PROTOCOLS = ("paper", "released", "corrected")
ESTIMATORS = ("pairs", "subsets", "adjusted", "leave_one_out", "groups")

Complete = Callable[[Context, Parameter, str], list[Any]]


def complete_words(*names: str) -> Complete:
    """Return the completion of an option: those of ``names`` that start with what is typed."""
    return lambda context, parameter, typed: _fitting(names, typed)


def complete_studies(context: Context, parameter: Parameter, typed: str) -> list[Any]:
    """Return studies in this folder, in ``papermill_runs/`` and below what is typed, by path or name; where there is none, folders."""
    from sslmem_kit.spec.places import known_studies, studies_in

    known = known_studies()
    folder = typed[: typed.rfind("/") + 1]
    below = [f"{folder}{path.name}" for path in studies_in(Path(folder).expanduser())] if folder else []
    names = [] if folder else [Path(name).name for name in known]
    return _fitting(dict.fromkeys([*known, *names, *below]), typed) or [CompletionItem(typed, type="dir")]


def complete_specs(context: Context, parameter: Parameter, typed: str) -> list[Any]:
    """Return names of bundled specs and presets; where none fits, files."""
    from sslmem_kit.spec.places import bundled_specs
    from sslmem_kit.spec.presets import all_presets

    return _fitting([*bundled_specs(), *all_presets()], typed) or [CompletionItem(typed, type="file")]


def complete_dense(context: Context, parameter: Parameter, typed: str) -> list[Any]:
    """Return names of bundled dense tasks; where none fits, files."""
    from sslmem_kit.spec.dense import bundled_dense

    return _fitting(bundled_dense(), typed) or [CompletionItem(typed, type="file")]


def complete_notebooks(context: Context, parameter: Parameter, typed: str) -> list[Any]:
    """Return notebooks that were not named yet."""
    from sslmem_kit.spec.places import notebooks_in

    given = context.params.get(parameter.name or "") or ()
    return _fitting([name for name in notebooks_in() if name not in given], typed)


def _fitting(names: Iterable[str], typed: str) -> list[Any]:
    return [name for name in names if name.startswith(typed)]


class Place(click.Path):
    """A path; a shell leaves the ``~`` of ``--out=~/study`` as it is."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """Return the path with ``~`` expanded."""
        return super().convert(expanded(value), param, ctx)


spec_argument = click.argument("spec", metavar="SPEC", shell_complete=complete_specs)

study_argument = click.argument("study", type=Place(), shell_complete=complete_studies)

out_option = click.option("--out", type=Place(), help="Study directory; by default papermill_runs/<name of the study>.")

protocol_option = click.option(
    "--protocol",
    help="paper, released or corrected; by default corrected, or released where there is one random view.",
    shell_complete=complete_words(*PROTOCOLS),
)

tensorboard_option = click.option(
    "--tensorboard", is_flag=True, help="Also write the training histories for TensorBoard, into encoders/<id>/tensorboard."
)

json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def run_options(function: Callable) -> Callable:
    """Add the options of commands that train encoders."""
    for option in (
        click.option("--scheduler", type=click.Choice(["local", "serial"]), default="local", show_default=True,
                     help="local: processes on this machine; serial: one process."),
        click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 ..."),
        click.option("--devices", type=click.IntRange(min=1), default=1, show_default=True,
                     help="Devices that train each encoder together: GPUs, or processes with --device cpu. "
                     "Under torchrun and srun: all of theirs."),
        click.option("--workers", type=click.IntRange(min=1),
                     help="Worker processes, each with an encoder of its own; by default one per core or GPU. Cores are shared out to "
                     "them, so it sets --threads too."),
        click.option("--threads", type=click.IntRange(min=1, max=1024),
                     help="Of each worker, on which the last bits of all numbers depend; by default those that the study was started with, "
                     "OMP_NUM_THREADS, or an equal share of the cores."),
        click.option("--seed", type=click.IntRange(min=0), help="In place of the spec's seed: another partition, views and encoders."),
        click.option("--remove", type=Place(), metavar="FILE",
                     help="Take the samples that an .npz file lists (array sample) out of the partition; in place of partition.remove."),
        click.option("--data", metavar="NAME", help="In place of the spec's data.name: cifar10, folder:PATH, npz:PATH ..."),
    ):  # fmt: skip
        function = option(function)
    return function
