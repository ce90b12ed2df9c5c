"""A server's life: it listens, answers until it is signalled to end, and gives memory back when people have left."""

from __future__ import annotations

import asyncio
import errno
import gc
import logging
import signal
import socket
from collections.abc import Callable, Iterable
from typing import Any

from tornado.ioloop import IOLoop, PeriodicCallback

from sslmem_kit.errors import UserError
from sslmem_kit.explorer.serving import app
from sslmem_kit.explorer.serving.access import Gate, Guard, checked_origins, checked_proxies, hosts, loopback, reachable, with_port
from sslmem_kit.explorer.serving.connections import Connections, most_connections, raise_limit
from sslmem_kit.explorer.serving.log import Lines
from sslmem_kit.explorer.serving.messages import MAX_MESSAGE


def serve(
    make_page: Callable[[], Any],
    guard: Guard,
    *,
    address: str = "127.0.0.1",
    port: int = 5006,
    origins: Iterable[str] = (),
    proxies: Iterable[str] = (),
    session_hours: float = 12,
    title: str = "explorer",
    on_ready: Callable[[str], Any] = lambda url: None,
) -> None:
    """Serve a page until Ctrl-C or SIGTERM.

    Parameters
    ----------
    make_page
        Makes the page of one tab; called for each.
    port
        0 takes any free one.
    origins
        Further names, ``HOST`` or ``HOST:PORT``, under which browsers reach this server.
    proxies
        Addresses or networks of proxies in front, whose ``X-Forwarded-For`` is believed.
    session_hours
        How long a sign-in holds.
    on_ready
        Called with the page's address once it can be reached.

    Raises
    ------
    UserError
        The address or port cannot be listened on, the guard's file cannot be used, or there is no guard where one is needed.
    """

    async def main() -> None:
        server = Server(make_page, guard, address=address, port=port, origins=origins, proxies=proxies,
                        session_hours=session_hours, title=title)  # fmt: skip
        await server.run(on_ready)

    asyncio.run(main())


class Server:
    """An application and the port it listens on. Does not answer before :meth:`run`."""

    def __init__(self, make_page: Callable[[], Any], guard: Guard, *, address: str = "127.0.0.1", port: int = 5006,
                 origins: Iterable[str] = (), proxies: Iterable[str] = (), session_hours: float = 12,
                 title: str = "explorer") -> None:  # fmt: skip
        if not address:
            raise UserError("--address: it is empty; give an address of this machine, or 0.0.0.0 for all of them")
        if guard.kind == "open" and not loopback(address):
            raise UserError(
                f"--address: {address} can be reached from other machines, so say who may look: --users FILE (made by "
                "`sslmem app-user add`), --oauth PROVIDER, or --behind-proxy HEADER"
            )
        further, gate = checked_origins(origins), Gate(guard, session_hours * 3600, checked_proxies(proxies))
        listening = _listen(address, port)
        port = listening.getsockname()[1]
        self.url = f"http://{with_port(reachable(address), port)}/"
        self.application = app.Application(make_page, gate, names=hosts(address, port) | further, port=port, title=title)
        self._listening = listening
        self._http = Connections(
            self.application, most=most_connections(raise_limit()), one_has_all=gate.many_come_from, max_buffer_size=2 * MAX_MESSAGE
        )
        self.application.asked = self._http.asked

    async def run(self, on_ready: Callable[[str], Any] = lambda url: None) -> None:
        """Answer until Ctrl-C or SIGTERM."""
        loop, ended, application = asyncio.get_running_loop(), asyncio.Event(), self.application
        for number in (signal.SIGINT, signal.SIGTERM):
            loop.add_signal_handler(number, ended.set)
        application.initialize(IOLoop.current())
        application.start()
        self._http.listen_on(self._listening)
        sweeping = PeriodicCallback(self._sweep, app.SWEEP_SECONDS * 1000)
        sweeping.start()
        gc.collect()
        gc.freeze()  # modules and caches stay, and need not be looked through whenever somebody leaves
        on_ready(self.url)
        await ended.wait()
        sweeping.stop()
        self._http.stop()
        for tab in list(application.sockets):
            tab.close(1001, "the server has ended")
        application.stop()
        await self._http.close_all_connections()

    def _sweep(self) -> None:
        self.application.sweep()
        self._http.sweep()
        for handler in logging.getLogger().handlers:
            if isinstance(handler, Lines):
                handler.turn()


def _listen(address: str, port: int) -> socket.socket:
    try:
        listening = socket.create_server((address, port), family=socket.AF_INET6 if ":" in address else socket.AF_INET, backlog=128)
    except OSError as error:
        if error.errno == errno.EADDRINUSE:
            raise UserError(f"--port: {port} is in use on {address}; choose another one, or 0 for any that is free") from None
        if error.errno == errno.EACCES:
            raise UserError(f"--port: {port} needs rights that you do not have; choose one above 1023, or 0") from None
        raise UserError(
            f"--address: {address!r} cannot be listened on ({error.strerror}); give an address of this machine"
        ) from None
    listening.setblocking(False)
    return listening
