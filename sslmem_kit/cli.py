"""The command line ``sslmem``. Exit status: 0 done, 2 the user's mistake (one sentence), 1 anything else.

Heavy imports stay inside the commands, so that help and completion answer at once.
"""

from __future__ import annotations

import errno
import json
import os
import shlex
import shutil
import sys
import threading
import warnings
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from pathlib import Path
from typing import Any

import click

from sslmem_kit import completion, paths
from sslmem_kit.names import RUNS
from sslmem_kit.paths import expanded, give_home


class Place(click.Path):
    """A path; a shell leaves the ``~`` of ``--out=~/study`` as it is."""

    def __init__(self) -> None:
        super().__init__(path_type=Path)

    def convert(self, value: Any, param: click.Parameter | None, ctx: click.Context | None) -> Any:
        """The path, its home folder filled in."""
        return super().convert(expanded(value), param, ctx)


spec_argument = click.argument("spec", metavar="SPEC", shell_complete=completion.specs)
study_argument = click.argument("study", type=Place(), shell_complete=completion.studies)
out_option = click.option("--out", type=Place(), help="Study directory; by default papermill_runs/<name of the study>.")
protocol_option = click.option(
    "--protocol",
    default="corrected",
    show_default=True,
    help="paper, released or corrected.",
    shell_complete=completion.words(*completion.PROTOCOLS),
)
tensorboard_option = click.option(
    "--tensorboard", is_flag=True, help="Also write the training histories for TensorBoard, into encoders/<id>/tensorboard."
)
json_option = click.option("--json", "as_json", is_flag=True, help="Print JSON.")


def run_options(function: Callable) -> Callable:
    """The options of what trains encoders."""
    for option in (
        click.option("--scheduler", type=click.Choice(["local", "serial"]), default="local", show_default=True,
                     help="local: processes on this machine; serial: one process."),
        click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 ..."),
        click.option("--devices", type=click.IntRange(min=1), default=1, show_default=True,
                     help="Devices that train each encoder together: GPUs, or processes with --device cpu. "
                     "Under torchrun and srun: all of theirs."),
        click.option("--workers", type=click.IntRange(min=1),
                     help="Worker processes, each with an encoder of its own; by default one a core or GPU. Cores are shared out to "
                     "them, so it sets --threads too."),
        click.option("--threads", type=click.IntRange(min=1, max=1024),
                     help="Of each worker, on which the last bits of all numbers hang; by default those that the study was begun with, "
                     "OMP_NUM_THREADS, or an equal share of the cores."),
        click.option("--seed", type=click.IntRange(min=0), help="In place of the spec's seed: another partition, views and encoders."),
        click.option("--remove", type=Place(), metavar="FILE",
                     help="Take the samples that an .npz file lists (array sample) out of the partition; in place of partition.remove."),
        click.option("--data", metavar="NAME", help="In place of the spec's data.name: cifar10, folder:PATH, npz:PATH ..."),
    ):  # fmt: skip
        function = option(function)
    return function


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sslmem_kit")
def app() -> None:
    """Measure what self-supervised encoders memorize."""


@app.command(short_help="Run the bundled study: two minutes on 2 cores.")
@out_option
@run_options
@tensorboard_option
def demo(out: Path | None, **options: Any) -> None:
    """Run the bundled study `digits`: train, score, test and render; two minutes on 2 cores."""
    from sslmem_kit.report import as_text, build_report

    study = _run("digits", out, **options)
    click.echo("\n" + as_text(build_report(study)) + "\n")
    written = _render(study.path, (), (), jobs=2, html=True)
    page = next(path for path in written if path.name == "00_quickstart.html")
    click.echo(f"\nwritten: {study.path} (study.yaml, encoders/, results.zarr, figures/, notebooks/)")
    _open_next(study.path, "app", "report", page=page)


@app.command(short_help="Train, score and evaluate a study.")
@spec_argument
@out_option
@run_options
@tensorboard_option
def run(spec: str, out: Path | None, **options: Any) -> None:
    """Train, score and evaluate the study of SPEC, a name that `sslmem studies` lists or a YAML file.

    Run again after any interruption, it goes on where it stopped.
    """
    study = _run(spec, out, **options)
    click.echo(f"complete: {study.path}")
    _open_next(study.path, "report", "render", "app")


@app.command(short_help="Show what a study will train and what it costs.")
@spec_argument
@run_options
@click.option(
    "--precision-from",
    type=Place(),
    metavar="STUDY",
    shell_complete=completion.studies,
    help="A finished study of the same method: say how reliable the planned seeds and views will make the scores, "
    "and how many would be needed.",
)
@json_option
def plan(spec: str, seed: int | None, remove: Path | None, data: str | None, precision_from: Path | None, as_json: bool,
         **options: Any) -> None:  # fmt: skip
    """Show what SPEC will train, and its cost by a short calibration; nothing is written."""
    from sslmem_kit.run import plan as make_plan
    from sslmem_kit.study import load_spec

    loaded, precision = load_spec(spec, seed=seed, remove=remove, data=data), None
    if precision_from is not None:
        from sslmem_kit.reliability import planned
        from sslmem_kit.study import open_study

        precision = planned(open_study(precision_from), loaded)
    with _slow_ones_told() as listen:
        told = make_plan(loaded, listen=listen, **options) | ({"precision": precision} if precision else {})
    if as_json:
        click.echo(json.dumps(told, indent=2))
        return
    from sslmem_kit.data.record import lines

    disk = ", ".join(f"{name} {size / 1e6:.1f}" for name, size in told["disk_bytes"].items())
    for name, value in {
        "study": told["study"],
        "encoders": f"{len(told['encoders']):,}: {_few(told['encoders'])}",
        "parameters": f"{told['parameters']:,} an encoder, stem {told['stem']}",
        "representation": "x".join(map(str, told["representation"])),
        "views": f"{told['views']} of a sample in a training step",
        "samples": ", ".join(f"{name} {count:,}" for name, count in told["samples"].items()),
        "images": f"{'x'.join(map(str, told['image_shape']))}, {told['classes']} classes",
        "device": f"{told['device']}, {told['devices']} for an encoder, {told['workers']} workers of {told['threads']} threads",
        "compute": f"{told['flops'] / 1e12:,.2f} TFLOP",
        "disk": f"{sum(told['disk_bytes'].values()) / 1e6:,.1f} MB at most ({disk})",
        "time": f"about {_duration(told['seconds'])} ({_duration(told['train_seconds'])} to train and "
        f"{_duration(told['score_seconds'])} to score an encoder)",
    }.items():
        click.echo(f"{name:<16}{value}")
    for line in lines(told["data"]):
        click.echo(f"{'data':<16}{line}")
    if told["tasks_not_read"]:
        names = ", ".join(told["tasks_not_read"])
        click.echo(f"{'tasks':<16}not here and not read: {names}; a run downloads what data.download allows")
    if precision:
        from sslmem_kit.reliability import planned_as_text

        for line in planned_as_text(precision):
            click.echo(f"{'precision':<16}{line}")


@app.command(short_help="Score encoders that were trained elsewhere.")
@click.option("--spec", type=Place(), required=True, help="YAML file of the audit: data, encoders, scoring.")
@out_option
@click.option("--device", default="auto", show_default=True, help="auto, cpu, cuda, cuda:1 ...")
def score(spec: Path, out: Path | None, device: str) -> None:
    """Score encoders that were trained elsewhere: checkpoints, or functions of your own, on images or any other data.

    Run again after any interruption, it goes on where it stopped. Python functions that the spec names are run.
    """
    from sslmem_kit.audit.spec import load_audit
    from sslmem_kit.progress import shown

    loaded = load_audit(spec)
    from sslmem_kit.audit.membership import PAIR
    from sslmem_kit.audit.run import run_audit  # torch comes when the spec is in order
    from sslmem_kit.audit.scores import mode_of

    with shown() as listen:
        study = run_audit(loaded, out or Path(RUNS) / loaded.name, device=device, listen=listen)
    click.echo(f"complete: {study.path}")
    _open_next(study.path, "report", *(["app"] if mode_of(study.tree) == PAIR else []))


@app.command()
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
@json_option
def report(study: Path, protocol: str, fdr: float | None, reliability: bool, estimators: bool, as_json: bool) -> None:
    """Show scores by partition, tests and probe accuracies of a study."""
    from sslmem_kit.report import as_text, build_report
    from sslmem_kit.study import open_study

    built = build_report(open_study(study), protocol=protocol, fdr=fdr, with_reliability=reliability, with_estimators=estimators)
    click.echo(json.dumps(built, indent=2) if as_json else as_text(built))


@app.command(short_help="Execute notebooks on a study.")
@study_argument
@click.argument("notebook", nargs=-1, shell_complete=completion.notebooks)
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


@app.command()
@study_argument
def validate(study: Path) -> None:
    """Check a study directory: spec, results, weights."""
    from sslmem_kit.errors import UserError
    from sslmem_kit.integrity import NO_CHECKSUMS, is_recorded
    from sslmem_kit.study.folder import Study
    from sslmem_kit.validate import problems

    found = list(problems(study))
    if found:
        raise UserError("; ".join(found[:9]) + (f" (and {len(found) - 9} more problems)" if len(found) > 9 else ""))
    click.echo(f"{study}: complete and valid")
    if not is_recorded(Study(study).results_path):
        click.echo(f"WARNING: {NO_CHECKSUMS}")


@app.command(short_help="Write the scores of a study, one row a sample.")
@study_argument
@click.option("--to", type=Place(), required=True, help="File to write: .parquet, .csv or .nc.")
@protocol_option
@click.option(
    "--estimator",
    metavar="NAME",
    shell_complete=completion.words(*completion.ESTIMATORS),
    help="Of a study with a design: pairs, subsets (a score of every training sample) or leave_one_out; by default pairs, of all partitions.",
)
def export(study: Path, to: Path, protocol: str, estimator: str | None) -> None:
    """Write the scores of a study, one row a sample: score, errors, interval, p and q values (docs/precision.md)."""
    from sslmem_kit.export import export as write
    from sslmem_kit.study import open_study

    opened = open_study(study)
    click.echo(write(opened, to, protocol=protocol, estimator=estimator))
    for sentence in opened.caveats:
        click.echo(f"WARNING: {sentence}", err=True)


@app.command("app", short_help="Serve the explorer of one or more studies.")
@click.argument("studies", metavar="STUDY...", nargs=-1, required=True, type=Place(), shell_complete=completion.studies)
@click.option(
    "--address",
    default="127.0.0.1",
    show_default=True,
    help="Address to listen on. One that other machines reach needs --users, --oauth or --behind-proxy.",
)
@click.option("--port", type=click.IntRange(0, 65535), default=5006, show_default=True, help="0 takes any that is free.")
@click.option(
    "--users",
    type=Place(),
    help="Who may look: a file made by `sslmem app-user add`. Other than on this machine, put an https proxy in front.",
)
@click.option(
    "--oauth",
    metavar="PROVIDER",
    help="Who may look: accounts of github, google, azure ...; key and secret from PANEL_OAUTH_KEY and PANEL_OAUTH_SECRET.",
)
@click.option(
    "--allow-user", multiple=True, metavar="ACCOUNT", help="With --oauth: an account (name or e-mail) that may look; repeatable."
)
@click.option(
    "--behind-proxy",
    metavar="HEADER",
    help="Who may look: whom a proxy names in HEADER. The proxy must remove HEADER from what clients send, and nobody but "
    "the proxy may reach the port.",
)
@click.option(
    "--origin", multiple=True, metavar="HOST[:PORT]", help="A further name that browsers reach the explorer by; repeatable."
)
@click.option(
    "--trust-proxy",
    multiple=True,
    metavar="ADDRESS[/BITS]",
    help="A proxy in front whose X-Forwarded-For tells who asks, so that wrong passwords count for whoever sent them; repeatable.",
)
@click.option(
    "--session-hours",
    type=click.FloatRange(0, 720, min_open=True),
    default=12,
    show_default=True,
    help="How long a sign-in holds. A restart signs everybody out.",
)
@click.option("--open/--no-open", "show", default=False, help="Open a browser on it.")
def explore(studies: tuple[Path, ...], address: str, port: int, users: Path | None, oauth: str | None, allow_user: tuple[str, ...],
            behind_proxy: str | None, origin: tuple[str, ...], trust_proxy: tuple[str, ...], session_hours: float,
            show: bool) -> None:  # fmt: skip
    """Serve the explorer of one or more studies, read-only, until Ctrl-C; to this machine only unless told who may look.

    A proxy in front has to pass websockets; the name that browsers know it by is given with --origin, also where the explorer is a path
    below it, as with jupyter-server-proxy. With --oauth it needs a host name of its own.
    """
    give_home()
    from sslmem_kit.explorer.library import Library
    from sslmem_kit.explorer.page import make_page
    from sslmem_kit.explorer.session import Session
    from sslmem_kit.serving import Guard, serve
    from sslmem_kit.serving.credentials import doubts_about
    from sslmem_kit.serving.gate import loopback
    from sslmem_kit.serving.log import keep

    guard = Guard.chosen(users, oauth, allow_user, behind_proxy)
    library = Library(studies)
    Session(library)  # reads and keeps what the first visitor will ask for

    def ready(url: str) -> None:
        if not loopback(address):
            click.echo(
                "sslmem: passwords and pictures travel unencrypted to and from here; put a proxy with https in front", err=True
            )
        for doubt in doubts_about(users) if users else ():
            click.echo(f"sslmem: {doubt}", err=True)
        click.echo(f"explorer: {url}")
        keep()
        if show and click.launch(url) != 0:
            click.echo("sslmem: no browser could be opened; open the address above in one", err=True)

    serve(lambda: make_page(library), guard, address=address, port=port, origins=origin, proxies=trust_proxy,
          session_hours=session_hours, title="sslmem explorer", on_ready=ready)  # fmt: skip


@app.group("app-user", short_help="Keep the users that the explorer lets in.")
def app_user() -> None:
    """Keep the file of users that `sslmem app --users` lets in."""


name_argument = click.argument("name")
file_option = click.option("--file", type=Place(), required=True, help="Users file, for instance users.json.")


@app_user.command("add")
@name_argument
@file_option
@click.option("--password-stdin", is_flag=True, help="Read the password from standard input instead of asking for it twice.")
def app_user_add(name: str, file: Path, password_stdin: bool) -> None:
    """Add NAME, or give it a new password, which also signs it out."""
    from sslmem_kit.serving.credentials import add_user, check_name

    check_name(name)
    if password_stdin:
        password = sys.stdin.readline().rstrip("\r\n")
    else:
        password = click.prompt("Password", hide_input=True, confirmation_prompt=True)
    add_user(file, name, password)
    click.echo(f"{file}: {name} may look")


@app_user.command("remove")
@name_argument
@file_option
def app_user_remove(name: str, file: Path) -> None:
    """Remove NAME, which also signs it out."""
    from sslmem_kit.serving.credentials import remove_user

    remove_user(file, name)
    click.echo(f"{file}: {name} is removed")


@app_user.command("list")
@file_option
def app_user_list(file: Path) -> None:
    """List the users' names."""
    from sslmem_kit.serving.credentials import read_users

    for name in sorted(read_users(file)):
        click.echo(name)


@app.command(short_help="List the studies that come by name.")
@click.argument("pattern", required=False)
@click.option(
    "--show", metavar="NAME", shell_complete=completion.specs, help="Print the whole spec of one as YAML, to copy and edit."
)
@json_option
def studies(pattern: str | None, show: str | None, as_json: bool) -> None:
    """List the studies that come by name: what in the paper each serves, and what it costs.

    PATTERN is a part of a name or an artifact ("Table 9", mini/), or a pattern with * and ?.
    """
    from sslmem_kit.study.presets.listing import as_text, listed
    from sslmem_kit.study.spec import load_spec

    if show is not None:
        from sslmem_kit.study.folder import as_yaml

        click.echo(as_yaml(load_spec(show)), nl=False)
        return
    rows = listed(pattern)
    click.echo(json.dumps(rows, indent=2) if as_json else as_text(rows))


def _run(
    spec: str, out: Path | None, *, seed: int | None, remove: Path | None, data: str | None, tensorboard: bool, **options: Any
) -> Any:
    from sslmem_kit.progress import shown
    from sslmem_kit.ranks import launched
    from sslmem_kit.run import run as run_study
    from sslmem_kit.study import load_spec
    from sslmem_kit.tensorboard import logged

    loaded = load_spec(spec, seed=seed, remove=remove, data=data)
    path = out or Path(RUNS) / loaded.name
    with ExitStack() as stack:
        listen = stack.enter_context(shown())
        if tensorboard:
            listen = stack.enter_context(logged(path, listen))
        study = run_study(loaded, path, listen=listen, **options)
    ranks = launched()
    if ranks and ranks.rank:
        sys.exit(0)  # the first goes on to say what was done
    return study


def _open_next(study: Path, *commands: str, page: Path | None = None) -> None:
    """Say what to look at a study with, by commands that work as they are printed."""
    program = _program()
    click.echo("open next:")
    if page:
        click.echo(f"  {page}  in a browser")
        beside = Path(sys.argv[0]).with_name("jupyter")
        jupyter = "jupyter" if program == "sslmem" else shlex.quote(str(beside)) if beside.is_file() else None
        if jupyter and Path("notebooks", f"{page.stem}.ipynb").is_file():  # of a checkout; a wheel has no such folder
            click.echo(f"  {jupyter} lab notebooks/")
    for command in commands:
        click.echo(f"  {program} {command} {shlex.quote(str(study))}")


def _program() -> str:
    """How to start this command line from where one is."""
    started = Path(sys.argv[0])
    if started.name == "__main__.py":
        return shlex.join([sys.executable, "-m", "sslmem_kit"])
    found = shutil.which("sslmem")
    if started.stem != "sslmem" or (found and os.path.realpath(found) == os.path.realpath(started)):
        return "sslmem"
    return shlex.quote(sys.argv[0])


def _render(study: Path, names: tuple[str, ...], pairs: tuple[tuple[str, str], ...], **options: Any) -> list[Path]:
    from sslmem_kit.notebooks import parse_parameters
    from sslmem_kit.notebooks import render as render_notebooks

    def say(name: str, done: int, total: int) -> None:
        click.echo(f"rendered {name} ({done} of {total})", err=True)

    parameters = parse_parameters(pairs, names or None)
    return render_notebooks(study, names or None, parameters, progress=say, **options)


@contextmanager
def _slow_ones_told(after: float = 2.0) -> Iterator[Callable[..., None]]:
    """A listener that says on standard error what is being done, once it has taken some seconds."""
    said: list[str] = []

    def say() -> None:
        if said:
            click.echo(f"sslmem: {said[-1]} ...", err=True)

    timer = threading.Timer(after, say)
    timer.daemon = True

    def listen(kind: str, *told: Any) -> None:
        if kind == "told":
            said.append(str(told[0]))
            if timer.finished.is_set():
                say()

    timer.start()
    try:
        yield listen
    finally:
        timer.cancel()


def _few(names: list[str]) -> str:
    return ", ".join(names if len(names) <= 16 else [*names[:8], "...", *names[-4:]])


def _duration(seconds: float) -> str:
    if seconds < 120:
        return f"{seconds:.0f} s"
    return f"{seconds / 60:.0f} min" if seconds < 7200 else f"{seconds / 3600:.1f} h"


_DISK = {
    errno.ENOSPC: "there is no space left on the disk",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file grew too large",
}
_ACCESS = {errno.EACCES: "permission denied", errno.EPERM: "not permitted", errno.EROFS: "the file system is read-only"}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    from sslmem_kit.interruption import interruptible

    with interruptible() as came:
        status = _run_command(arguments, came)
    return status


def _run_command(arguments: list[str] | None, came: list[str]) -> int:
    """The exit status of a command; ``came`` is the signal that has ended it, if one has."""
    from sslmem_kit.errors import Failure, UserError

    try:
        app.main(arguments, prog_name="sslmem", standalone_mode=False)
        return 0
    except UserError as error:
        return _complain(error, 2)
    except Failure as error:
        # Of children that the same signal has reached first.
        return _complain(_interrupted(came) if came else error, 1)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 2
    except click.ClickException as error:
        return _complain(error.format_message(), 2)
    except (KeyboardInterrupt, click.Abort):
        return _complain(_interrupted(came), 1)
    except OSError as error:
        if came:  # the terminal is gone, and what was written to it with it
            return _complain(_interrupted(came), 1)
        told = paths.told(error)
        if told:
            return _complain(told, 2)
        reason = {**_DISK, **_ACCESS}.get(error.errno or 0)
        if reason is None:
            raise
        return _complain(f"{error.filename or 'writing'}: {reason}; what was done is kept, run the same command again to go on", 2)


def _interrupted(came: list[str]) -> str:
    return f"interrupted{''.join(f' by {name}' for name in came)}; run the same command again to go on where it stopped"


def _complain(error: object, status: int) -> int:
    with suppress(OSError):  # where the terminal is gone
        click.echo("sslmem: " + " ".join(str(error).split()), err=True)
    return status


def entry() -> None:
    """The console script."""
    wanted = {}
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        # Names of files, and what is printed of them, are in UTF-8, whatever the locale is.
        wanted["PYTHONUTF8"] = "1"
    if sys.argv[1:2] == ["app"] and sys.platform == "linux" and "PYTHONMALLOC" not in os.environ:
        # The C library's allocator: Python's own keeps most of what people took who have left.
        wanted["PYTHONMALLOC"] = "malloc"
    if wanted:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **wanted})  # begin again
    for stream in (sys.stdout, sys.stderr):
        if stream and "utf" not in stream.encoding:
            stream.reconfigure(errors="backslashreplace")
    paths.allow_files()
    # An interruption may leave some of zarr's behind: told of after the sentence on how to go on, they read like a fault.
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    sys.exit(main())
