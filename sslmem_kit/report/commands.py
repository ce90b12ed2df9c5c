"""The commands on finished studies: ``report``, ``render``, ``validate`` and ``export``. Heavy imports stay inside."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import click

from sslmem_kit import arguments
from sslmem_kit.arguments import Place, json_option, protocol_option, study_argument


@click.command(short_help="Show what a study, a tree or a frontier has found.")
@study_argument
@protocol_option
@click.option(
    "--fdr",
    type=float,
    metavar="RATE",
    help="Also how many candidates and independents are memorized at this false-discovery rate, by the shared and extra samples; 0.05 ...",
)
@click.option(
    "--reliability",
    is_flag=True,
    help="Also how reliably the scores order the samples, and how many seeds and views would suffice.",
)
@click.option(
    "--estimators",
    is_flag=True,
    help="Also how pairs and random subsets compare with the exact leave-one-out that the study's design has.",
)
@click.option(
    "--compare", is_flag=True, help="Also what the other scores say that `sslmem compare` has measured, and how all agree."
)
@json_option
def report(
    study: Path, protocol: str | None, fdr: float | None, reliability: bool, estimators: bool, compare: bool, as_json: bool
) -> None:
    """Show what a study, a removal tree or a mitigation frontier has found.

    Of a study: scores by partition, tests and probe accuracies. Of a tree or a frontier: differences, and what they decide.
    """
    from sslmem_kit.report.build import build_report
    from sslmem_kit.report.text import as_text
    from sslmem_kit.store.frontier import find_frontier
    from sslmem_kit.store.removal_tree import find_tree
    from sslmem_kit.study import open_study

    kind = "a removal tree" if find_tree(study) else "a mitigation frontier" if find_frontier(study) else ""
    if kind:
        from sslmem_kit.errors import UserError

        for name, value in (("--protocol", protocol), ("--fdr", fdr), ("--reliability", reliability), ("--estimators", estimators),
                            ("--compare", compare)):  # fmt: skip
            if value:
                raise UserError(f"{name}: {study} is {kind}, which has no scores of its own; ask for it of a study")
        lines, found = _of_several(study)
        click.echo(json.dumps(found, indent=2) if as_json else "\n".join(lines))
        return
    built = build_report(
        open_study(study),
        protocol=protocol,
        fdr=fdr,
        with_reliability=reliability,
        with_estimators=estimators,
        with_comparisons=compare,
    )
    click.echo(json.dumps(built, indent=2) if as_json else as_text(built))


def _of_several(path: Path) -> tuple[list[str], dict[str, Any]]:
    """Return the report on a removal tree or a mitigation frontier, in lines and in JSON's types."""
    from sslmem_kit.report import frontier, removal
    from sslmem_kit.store.frontier import find_frontier, open_frontier
    from sslmem_kit.store.removal_tree import open_tree

    if find_frontier(path) is not None:
        found = frontier.build(open_frontier(path))
        return frontier.as_text(found), found
    found = removal.build(open_tree(path))
    return removal.as_text(found), found


@click.command(short_help="Execute notebooks on a study.")
@study_argument
@click.argument("notebook", nargs=-1, shell_complete=arguments.complete_notebooks)
@click.option("-p", "parameters", nargs=2, multiple=True, metavar="NAME VALUE", help="A notebook's parameter, the value as JSON.")
@click.option("--jobs", type=click.IntRange(min=1), default=1, show_default=True, help="Notebooks at a time.")
@click.option("--html", is_flag=True, help="Also write each notebook as a self-contained HTML page.")
@click.option(
    "--out",
    type=Place(),
    metavar="DIR",
    help="Write into DIR/notebooks and DIR/figures, not into the study, which may be on a read-only disk.",
)
def render(study: Path, notebook: tuple[str, ...], parameters: tuple[tuple[str, str], ...], jobs: int, html: bool,
           out: Path | None) -> None:  # fmt: skip
    """Execute notebooks on a study, all by default: into STUDY/notebooks, their figures into STUDY/figures."""
    for path in _render(study, notebook, parameters, jobs=jobs, html=html, out=out):
        click.echo(path)


@click.command()
@study_argument
def validate(study: Path) -> None:
    """Check a study directory: spec, results, weights."""
    from sslmem_kit.errors import UserError
    from sslmem_kit.report.validate import problems
    from sslmem_kit.store.file_record import is_recorded
    from sslmem_kit.store.integrity import NO_CHECKSUMS
    from sslmem_kit.study import Study

    found = list(problems(study))
    if found:
        raise UserError("; ".join(found[:9]) + (f" (and {len(found) - 9} more problems)" if len(found) > 9 else ""))
    click.echo(f"{study}: complete and valid")
    if not is_recorded(Study(study).results_path):
        click.echo(f"WARNING: {NO_CHECKSUMS}")


@click.command(short_help="Write the scores of a study, one row a sample.")
@study_argument
@click.option("--to", type=Place(), required=True, help="File to write: .parquet, .csv or .nc.")
@protocol_option
@click.option(
    "--estimator",
    metavar="NAME",
    shell_complete=arguments.complete_words(*arguments.ESTIMATORS),
    help="Of a study with a design: pairs, subsets or adjusted (every training sample), leave_one_out, or groups (left out whole, as "
    "subsets and leave_one_out do where data.groups keeps them); by default pairs, of all partitions.",
)
def export(study: Path, to: Path, protocol: str | None, estimator: str | None) -> None:
    """Write the scores of a study, one row a sample: score, errors, interval, p and q values (docs/precision.md)."""
    from sslmem_kit.report.export import export as write
    from sslmem_kit.study import open_study

    opened = open_study(study)
    said: list[str] = []
    warn = lambda sentence: said.append(f"WARNING: {sentence}")  # noqa: E731 - as short as it is read
    click.echo(write(opened, to, protocol=protocol, estimator=estimator, warn=warn, say=said.append))
    for sentence in said:
        click.echo(sentence, err=True)


def _render(study: Path, names: tuple[str, ...], pairs: tuple[tuple[str, str], ...], **options: Any) -> list[Path]:
    from sslmem_kit.report.notebook_catalog import parse_parameters
    from sslmem_kit.report.notebooks import render as render_notebooks

    def say(name: str, done: int, total: int) -> None:
        click.echo(f"rendered {name} ({done} of {total})", err=True)

    parameters = parse_parameters(pairs, names or None)
    return render_notebooks(study, names or None, parameters, progress=say, **options)


@click.command(short_help="List the notebooks, or copy them to work with.")
@click.option("--copy", "folder", type=Place(), metavar="DIR", help="Copy them into DIR, which is made; no file is overwritten.")
def notebooks(folder: Path | None) -> None:
    """List the notebooks that come with the toolkit, or copy them into a folder of your own, to open in JupyterLab and to edit."""
    from sslmem_kit.report.notebook_catalog import available, copy_notebooks

    if folder is None:
        for name, path in available().items():
            click.echo(f"{name:<20} {path}")
        return
    for path in copy_notebooks(folder):
        click.echo(path)
