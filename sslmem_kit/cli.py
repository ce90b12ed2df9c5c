"""The command line ``sslmem``. Exit status: 0 done, 2 the user's mistake (one sentence), 1 anything else.

Heavy imports stay inside the commands, so that help and completion answer at once.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import warnings
from contextlib import suppress

import click

from sslmem_kit.arguments import complete_specs, json_option
from sslmem_kit.explorer.serving.commands import app_user, explore
from sslmem_kit.report.commands import export, notebooks, render, report, validate
from sslmem_kit.run.commands import compare, demo, dense, duplicates, plan, run, score
from sslmem_kit.spec import paths


@click.group(context_settings={"help_option_names": ["-h", "--help"]})
@click.version_option(package_name="sslmem_kit")
def app() -> None:
    """Measure what self-supervised encoders memorize."""


@app.command(short_help="List the studies that come by name.")
@click.argument("pattern", required=False)
@click.option(
    "--show", metavar="NAME", shell_complete=complete_specs, help="Print the whole spec of one as YAML, to copy and edit."
)
@click.option(
    "--schema",
    type=click.Choice(["study", "audit", "removal", "frontier"]),
    is_flag=False,
    flag_value="study",
    help="Print the JSON schema of a spec, for editors: of a study (the default), an audit or a removal tree.",
)
@json_option
def studies(pattern: str | None, show: str | None, schema: str | None, as_json: bool) -> None:
    """List the studies that come by name: what in the paper each serves, and what it costs.

    PATTERN is a part of a name or an artifact ("Table 9", mini/), or a pattern with * and ?.
    """
    from sslmem_kit.spec.presets.listing import as_text, listed

    if schema is not None:
        from sslmem_kit.spec.schema import as_json as schema_as_json

        click.echo(schema_as_json(schema), nl=False)
        return
    if show is not None:
        from sslmem_kit.spec.reading import write_yaml
        from sslmem_kit.spec.removal_tree import load_any
        from sslmem_kit.spec.schema import editor_line

        spec = load_any(show)
        click.echo(editor_line(spec) + write_yaml(spec.as_dict()), nl=False)
        return
    rows = listed(pattern)
    click.echo(json.dumps(rows, indent=2) if as_json else as_text(rows))


for command in (demo, run, plan, duplicates, dense, compare, score, report, render, validate, export, notebooks, explore, app_user):
    app.add_command(command)


_DISK = {
    errno.ENOSPC: "there is no space left on the disk",
    errno.EDQUOT: "the disk quota is used up",
    errno.EFBIG: "the file grew too large",
}
_ACCESS = {errno.EACCES: "permission denied", errno.EPERM: "not permitted", errno.EROFS: "the file system is read-only"}


def main(arguments: list[str] | None = None) -> int:
    """Run the command line and return its exit status."""
    from sslmem_kit.run.interruption import interruptible

    with interruptible() as came:
        status = _run_command(arguments, came)
    return status


def _run_command(arguments: list[str] | None, came: list[str]) -> int:
    """Return the exit status of a command; ``came`` holds the name of the signal that has ended it, if one has."""
    from sslmem_kit.errors import EXTRAS, Failure, UserError, missing_extra

    try:
        app.main(arguments, prog_name="sslmem", standalone_mode=False)
        return 0
    except UserError as error:
        return _complain(error, 2)
    except Failure as error:
        # A failure of children that the same signal has reached first.
        return _complain(_interrupted(came) if came else error, 1)
    except click.exceptions.NoArgsIsHelpError as error:
        click.echo(error.format_message())
        return 2
    except click.ClickException as error:
        return _complain(error.format_message(), 2)
    except (KeyboardInterrupt, click.Abort):
        return _complain(_interrupted(came), 1)
    except ModuleNotFoundError as error:
        if error.name not in EXTRAS:
            raise
        return _complain(missing_extra(error.name), 2)
    except OSError as error:
        if came:  # the terminal is gone, and what was written to it with it
            return _complain(_interrupted(came), 1)
        message = paths.remedy(error)
        if message:
            return _complain(message, 2)
        reason = {**_DISK, **_ACCESS}.get(error.errno or 0)
        if reason is None:
            raise
        return _complain(f"{error.filename or 'writing'}: {reason}; what was done is kept, run the same command again to resume", 2)


def _interrupted(came: list[str]) -> str:
    return f"interrupted{''.join(f' by {name}' for name in came)}; run the same command again to resume where it stopped"


def _complain(error: object, status: int) -> int:
    with suppress(OSError):  # where the terminal is gone
        click.echo("sslmem: " + " ".join(str(error).split()), err=True)
    return status


def entry() -> None:
    """Run the console script ``sslmem`` and exit with its status."""
    wanted = {}
    if sys.getfilesystemencoding() != "utf-8" and os.environ.get("PYTHONUTF8") != "1":
        # Names of files, and what is printed of them, are in UTF-8, whatever the locale is.
        wanted["PYTHONUTF8"] = "1"
    if sys.argv[1:2] == ["app"] and sys.platform == "linux" and "PYTHONMALLOC" not in os.environ:
        # The C library's allocator: Python's own keeps most of the memory of sessions that have ended.
        wanted["PYTHONMALLOC"] = "malloc"
    if wanted:
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, **wanted})  # start again
    for stream in (sys.stdout, sys.stderr):
        if stream and "utf" not in stream.encoding:
            stream.reconfigure(errors="backslashreplace")
    paths.allow_files()
    # An interruption may leave coroutines of zarr behind; warnings of them, after the message on how to resume, look like a fault.
    warnings.filterwarnings("ignore", "coroutine .* was never awaited", RuntimeWarning)
    sys.exit(main())
