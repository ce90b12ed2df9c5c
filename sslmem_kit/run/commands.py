"""The commands that make studies: ``demo``, ``run``, ``plan`` and ``score``. Heavy imports stay inside, so that help is fast."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import sys
import threading
from collections.abc import Iterator
from contextlib import ExitStack, contextmanager
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from sslmem_kit import arguments
from sslmem_kit.arguments import Place, json_option, out_option, run_options, spec_argument, study_argument, tensorboard_option
from sslmem_kit.errors import UserError, require
from sslmem_kit.events import Event, Message, OnEvent
from sslmem_kit.names import COMPARISONS, RUNS
from sslmem_kit.report.commands import _render
from sslmem_kit.spec.places import SPEC_FILE

if TYPE_CHECKING:
    from sslmem_kit.spec.frontier import FrontierSpec
    from sslmem_kit.spec.removal_tree import RemovalTreeSpec


@click.command(short_help="Run the bundled study: two minutes on 2 cores.")
@out_option
@run_options
@tensorboard_option
def demo(out: Path | None, **options: Any) -> None:
    """Run the bundled study `digits`: train, score, test and render; two minutes on 2 cores."""
    from sslmem_kit.report.build import build_report
    from sslmem_kit.report.text import as_text

    study = _run("digits", out, **options)
    click.echo("\n" + as_text(build_report(study)) + "\n")
    written = _render(study.path, (), (), jobs=2, html=True)
    page = next(path for path in written if path.name == "00_quickstart.html")
    click.echo(f"\nwritten: {study.path} (study.yaml, encoders/, results.zarr, figures/, notebooks/)")
    _open_next(study.path, "app", "report", page=page)


@click.command(short_help="Train, score and evaluate a study.")
@spec_argument
@out_option
@run_options
@tensorboard_option
def run(spec: str, out: Path | None, **options: Any) -> None:
    """Train, score and evaluate the study, removal tree or mitigation frontier of SPEC, a name that `sslmem studies` lists or a YAML file.

    Run again after any interruption, it resumes where it stopped.
    """
    study = _run(spec, out, **options)
    click.echo(f"complete: {study.path}")
    _open_next(study.path, "report", "render", *(["app"] if study.spec_path.name == SPEC_FILE else []))


@click.command(short_help="Show what a study will train and what it costs.")
@spec_argument
@run_options
@click.option(
    "--precision-from",
    type=Place(),
    metavar="STUDY",
    shell_complete=arguments.complete_studies,
    help="A finished study of the same method: say how reliable the planned seeds and views will make the scores, "
    "and how many would be needed.",
)
@json_option
def plan(spec: str, seed: int | None, remove: Path | None, data: str | None, precision_from: Path | None, as_json: bool,
         **options: Any) -> None:  # fmt: skip
    """Show what SPEC will train, and its cost by a short calibration; nothing is written."""
    from sslmem_kit.run.plan import plan as make_plan
    from sslmem_kit.spec.frontier import FrontierSpec
    from sslmem_kit.spec.removal_tree import RemovalTreeSpec, load_any

    loaded, precision = load_any(spec, seed=seed, remove=remove, data=data), None
    if isinstance(loaded, RemovalTreeSpec | FrontierSpec):
        _plan_tree(loaded, precision_from, as_json=as_json, **options)
        return
    if precision_from is not None:
        from sslmem_kit.report.precision import planned
        from sslmem_kit.study import open_study

        precision = planned(open_study(precision_from), loaded)
    with _long_steps_shown() as on_event:
        facts = make_plan(loaded, on_event=on_event, **options) | ({"precision": precision} if precision else {})
    if as_json:
        click.echo(json.dumps(facts, indent=2))
        return
    from sslmem_kit.data.record import lines

    disk = ", ".join(f"{name} {size / 1e6:.1f}" for name, size in facts["disk_bytes"].items())
    for name, value in {
        "study": facts["study"],
        "encoders": f"{len(facts['encoders']):,}: {_join_names(facts['encoders'])}",
        "parameters": f"{facts['parameters']:,} an encoder, stem {facts['stem']}",
        "representation": "x".join(map(str, facts["representation"])),
        "views": f"{facts['views']} of a sample in a training step",
        "samples": ", ".join(f"{name} {count:,}" for name, count in facts["samples"].items()),
        "images": f"{'x'.join(map(str, facts['image_shape']))}, {facts['classes']} classes",
        "device": f"{facts['device']}, {facts['devices']} for an encoder, {facts['workers']} workers of {facts['threads']} threads",
        "compute": f"{facts['flops'] / 1e12:,.2f} TFLOP",
        "disk": f"{sum(facts['disk_bytes'].values()) / 1e6:,.1f} MB at most ({disk})",
        "time": f"about {_duration(facts['seconds'])} ({_duration(facts['train_seconds'])} to train and "
        f"{_duration(facts['score_seconds'])} to score an encoder)",
    }.items():
        click.echo(f"{name:<16}{value}")
    for line in lines(facts["data"]):
        click.echo(f"{'data':<16}{line}")
    if "removal" in facts:
        click.echo(f"{'removal':<16}{facts['removal']['sentence']}")
    if facts["tasks_not_read"]:
        names = ", ".join(facts["tasks_not_read"])
        click.echo(f"{'tasks':<16}not here and not read: {names}; a run downloads what data.download allows")
    if precision:
        from sslmem_kit.report.precision import planned_as_text

        for line in planned_as_text(precision):
            click.echo(f"{'precision':<16}{line}")


def _plan_tree(tree: RemovalTreeSpec | FrontierSpec, precision_from: Path | None, *, as_json: bool, **options: Any) -> None:
    """Print the plan of a removal tree or a mitigation frontier."""
    from sslmem_kit.errors import UserError
    from sslmem_kit.run import frontier, removal_plan
    from sslmem_kit.spec.removal_tree import RemovalTreeSpec

    if precision_from is not None:
        raise UserError(
            "--precision-from: several studies' worth of encoders have no scores of their own to plan; give the spec of one study"
        )
    with _long_steps_shown() as on_event:
        if isinstance(tree, RemovalTreeSpec):
            facts, as_text = removal_plan.plan_tree(tree, on_event=on_event, **options), removal_plan.as_text
        else:
            facts, as_text = frontier.plan_frontier(tree, on_event=on_event, **options), frontier.as_text
    click.echo(json.dumps(facts, indent=2) if as_json else "\n".join(as_text(facts)))


@click.command(short_help="Look for near-duplicates before anything is trained.")
@spec_argument
@click.option("--data", metavar="NAME", help="In place of the spec's data.name: cifar10, folder:PATH, npz:PATH ...")
@click.option("--seed", type=click.IntRange(min=0), help="In place of the spec's seed: another partition.")
@click.option(
    "--to",
    type=Place(),
    metavar="FILE.csv",
    help="Write sample, file, partition, group and twins of each sample: data.groups reads it.",
)
@json_option
def duplicates(spec: str, data: str | None, seed: int | None, to: Path | None, as_json: bool) -> None:
    """Look for near-duplicates among the images of SPEC, and on which sides of its partition they stand; nothing is trained.

    FILE.csv can be corrected by hand and given back: `data: {groups: "csv:FILE.csv:group"}`.
    """
    from sslmem_kit.run.duplicates import as_text, look, write_table
    from sslmem_kit.spec import load_spec

    with _long_steps_shown() as on_event:
        found = look(load_spec(spec, seed=seed, data=data), on_event=on_event)
    if to is not None:
        write_table(found, to)
    click.echo(json.dumps(found.as_json(), indent=2) if as_json else "\n".join(as_text(found)))
    if to is not None:
        click.echo(f"written: {to}", err=as_json)


@click.command(short_help="Fine-tune a study's encoders for segmentation or depth.")
@study_argument
@click.argument("task", metavar="TASK", shell_complete=arguments.complete_dense)
@click.option("--data", metavar="NAME", help="In place of the task's data.name: scenes, ade20k:PATH, nyu:PATH.")
@click.option("--seed", type=click.IntRange(min=0), help="In place of the task's seed.")
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 ...")
@click.option(
    "--threads", type=click.IntRange(min=1, max=1024), help="On which the last bits of all numbers depend; by default torch's own."
)
@json_option
def dense(study: Path, task: str, data: str | None, seed: int | None, device: str, threads: int | None, as_json: bool) -> None:
    """Fine-tune the encoders of STUDY, and random ones beside them, with a decoder for TASK: a class or a depth at every pixel.

    STUDY may be a removal tree: what was removed is then compared by the task as it is by accuracies.

    TASK is a YAML file or one of scenes-segmentation, scenes-depth, ade20k and nyu. Run again after any interruption, it resumes.
    """
    from sslmem_kit.report import dense as section
    from sslmem_kit.run.progress import shown
    from sslmem_kit.spec.dense import load_dense
    from sslmem_kit.store.removal_tree import RemovalTree, find_tree
    from sslmem_kit.study import open_study

    loaded = load_dense(task, seed=seed, data=data)
    require("torch", "timm", "segmentation_models_pytorch", "torchmetrics")
    from sslmem_kit.run.dense import run_dense

    folder = find_tree(study)
    opened = open_study(study) if folder is None else RemovalTree(folder)
    with shown() as on_event:
        results = run_dense(opened, loaded, device=device, threads=threads, on_event=on_event)
    if isinstance(opened, RemovalTree):
        found = section.tasks_of_tree(opened)["dense"][loaded.name]
        lines = section.tree_as_text(loaded.name, found)
    else:
        found = section.as_json(results)
        lines = section.as_text({loaded.name: found})
    click.echo(json.dumps(found, indent=2) if as_json else "\n".join(lines))


@click.command(short_help="Measure other scores beside SSLMem on a study.")
@study_argument
@click.option(
    "--with",
    "names",
    metavar="NAME,...",
    help="Comparisons, by default those of the study's spec: " + ", ".join(COMPARISONS) + ".",
)
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 ...")
@click.option("--workers", type=click.IntRange(min=1), help="Worker processes; by default one per core or GPU.")
@click.option("--again", is_flag=True, help="Measure anew, in place of it, what the study has with other options.")
@json_option
def compare(study: Path, names: str | None, device: str, workers: int | None, again: bool, as_json: bool) -> None:
    """Measure other scores on the samples and encoders of STUDY, and add them to its results.

    They are columns of its scores and exports from then on, and `sslmem report --compare` says how they agree. Run again after any
    interruption, it resumes.
    """
    from sslmem_kit.report import comparisons as section
    from sslmem_kit.run.comparisons import compare as run_comparisons
    from sslmem_kit.run.progress import shown
    from sslmem_kit.spec.comparisons import by_names
    from sslmem_kit.study import open_study

    opened = open_study(study)
    listed = getattr(opened.spec, "comparisons", ())
    own = {comparison.name: comparison for comparison in listed}
    wanted = by_names(names.replace(" ", "").split(",")) if names else tuple(listed)
    if not wanted:
        raise UserError(f"--with: the study's spec lists no comparisons; known are {', '.join(COMPARISONS)}")
    with shown() as on_event:
        wanted = [own.get(comparison.name, comparison) for comparison in wanted]
        opened = run_comparisons(opened, wanted, device=device, workers=workers, again=again, on_event=on_event)
    found = section.as_json(opened, [comparison.name for comparison in wanted])
    click.echo(json.dumps(found, indent=2) if as_json else "\n".join(section.as_text(found)))


@click.command(short_help="Score encoders that were trained elsewhere.")
@click.option("--spec", type=Place(), required=True, help="YAML file of the audit: data, encoders, scoring.")
@out_option
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 ...")
def score(spec: Path, out: Path | None, device: str) -> None:
    """Score encoders that were trained elsewhere: checkpoints, or functions of your own, on images or any other data.

    Run again after any interruption, it resumes where it stopped. Python functions that the spec names are run.
    """
    from sslmem_kit.run.progress import shown
    from sslmem_kit.spec.audit import load_audit

    loaded = load_audit(spec)
    require("torch", "timm")
    from sslmem_kit.names import PAIR
    from sslmem_kit.run.audit.run import run_audit
    from sslmem_kit.scores.audit import mode_of

    with shown() as on_event:
        study = run_audit(loaded, out or Path(RUNS) / loaded.name, device=device, on_event=on_event)
    click.echo(f"complete: {study.path}")
    _open_next(study.path, "report", *(["app"] if mode_of(study.tree) == PAIR else []))


def _run(
    spec: str, out: Path | None, *, seed: int | None, remove: Path | None, data: str | None, tensorboard: bool, **options: Any
) -> Any:
    from sslmem_kit.run.progress import shown
    from sslmem_kit.run.progress.tensorboard import logged
    from sslmem_kit.run.schedulers.ranks import launched
    from sslmem_kit.run.study import run_study
    from sslmem_kit.spec.frontier import FrontierSpec
    from sslmem_kit.spec.removal_tree import RemovalTreeSpec, load_any

    loaded = load_any(spec, seed=seed, remove=remove, data=data)
    path = out or Path(RUNS) / loaded.name
    with ExitStack() as stack:
        on_event = stack.enter_context(shown())
        if tensorboard:
            on_event = stack.enter_context(logged(path, on_event))
        if isinstance(loaded, FrontierSpec):
            from sslmem_kit.run.frontier import run_frontier

            return run_frontier(loaded, path, on_event=on_event, **options)
        if isinstance(loaded, RemovalTreeSpec):
            from sslmem_kit.run.removal_tree import run_tree

            return run_tree(loaded, path, on_event=on_event, **options)
        study = run_study(loaded, path, on_event=on_event, **options)
    ranks = launched()
    if ranks and ranks.rank:
        sys.exit(0)  # the first rank continues and reports what was done
    return study


def _open_next(study: Path, *commands: str, page: Path | None = None) -> None:
    """Print commands that open a study, which work as they are printed."""
    program = _program()
    click.echo("open next:")
    if page:
        click.echo(f"  {page}  in a browser")
        beside = Path(sys.argv[0]).with_name("jupyter")
        jupyter = "jupyter" if program == "sslmem" else shlex.quote(str(beside)) if beside.is_file() else None
        if jupyter and Path("notebooks", f"{page.stem}.ipynb").is_file():  # of a checkout; a wheel has no such folder
            click.echo(f"  {jupyter} lab notebooks/")
        else:
            click.echo(f"  {program} notebooks --copy notebooks")
    for command in commands:
        click.echo(f"  {program} {command} {shlex.quote(str(study))}")


def _program() -> str:
    """Return the command that starts this command line from the current folder."""
    started = Path(sys.argv[0])
    if started.name == "__main__.py":
        return shlex.join([sys.executable, "-m", "sslmem_kit"])
    found = shutil.which("sslmem")
    if started.stem != "sslmem" or (found and os.path.realpath(found) == os.path.realpath(started)):
        return "sslmem"
    return shlex.quote(sys.argv[0])


@contextmanager
def _long_steps_shown(after: float = 2.0) -> Iterator[OnEvent]:
    """Yield a function for events that prints the current step to standard error, once the command has taken ``after`` seconds."""
    said: list[str] = []

    def say() -> None:
        if said:
            click.echo(f"sslmem: {said[-1]} ...", err=True)

    timer = threading.Timer(after, say)
    timer.daemon = True

    def on_event(event: Event) -> None:
        if isinstance(event, Message):
            said.append(event.text)
            if timer.finished.is_set():
                say()

    timer.start()
    try:
        yield on_event
    finally:
        timer.cancel()


def _join_names(names: list[str]) -> str:
    return ", ".join(names if len(names) <= 16 else [*names[:8], "...", *names[-4:]])


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"
