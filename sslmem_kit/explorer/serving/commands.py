"""The commands that serve the explorer: ``app`` and ``app-user``. Heavy imports stay inside."""

from __future__ import annotations

import sys
from pathlib import Path

import click

from sslmem_kit import arguments
from sslmem_kit.arguments import Place
from sslmem_kit.spec.paths import give_home


@click.command("app", short_help="Serve the explorer of one or more studies.")
@click.argument("studies", metavar="STUDY...", nargs=-1, required=True, type=Place(), shell_complete=arguments.complete_studies)
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
    help="A proxy in front whose X-Forwarded-For says who asks, so that wrong passwords count for whoever sent them; repeatable.",
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
    """Serve the explorer of one or more studies, read-only, until Ctrl-C; to this machine only unless an option says who may look.

    A proxy in front has to pass websockets; the name that browsers know it by is given with --origin, also where the explorer is a path
    below it, as with jupyter-server-proxy. With --oauth it needs a host name of its own.
    """
    give_home()
    from sslmem_kit.explorer.page import make_page
    from sslmem_kit.explorer.serving import Guard, serve
    from sslmem_kit.explorer.serving.access import loopback
    from sslmem_kit.explorer.serving.credentials import doubts_about
    from sslmem_kit.explorer.serving.log import keep
    from sslmem_kit.explorer.session import Session
    from sslmem_kit.explorer.study_cache import Library

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


@click.group("app-user", short_help="Keep the users that the explorer lets in.")
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
    from sslmem_kit.explorer.serving.credentials import add_user, check_name

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
    from sslmem_kit.explorer.serving.credentials import remove_user

    remove_user(file, name)
    click.echo(f"{file}: {name} is removed")


@app_user.command("list")
@file_option
def app_user_list(file: Path) -> None:
    """List the users' names."""
    from sslmem_kit.explorer.serving.credentials import read_users

    for name in sorted(read_users(file)):
        click.echo(name)
