"""Connections that say nothing, or little, or are too many; and pages that are asked for all at once."""

from __future__ import annotations

import asyncio
import contextlib
import resource
import signal
import socket
import statistics
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from sslmem_kit.errors import UserError
from sslmem_kit.explorer.serving import brake
from sslmem_kit.explorer.serving.access import checked_origins, checked_proxies, client_of, hosts, network_of, plain_host, with_port
from sslmem_kit.explorer.serving.connections import most_connections
from sslmem_kit.explorer.serving.turns import Turns
from tests.support import ROOT
from tests.support.servers import OWN_NAME, Served

SMALL = """
import asyncio, json, resource, sys, time
import panel as pn
from sslmem_kit.explorer.serving import connections, server as servers
from sslmem_kit.explorer.serving.access import Guard
from sslmem_kit.explorer.serving.log import keep

connections.REQUEST_SECONDS = 2
servers.raise_limit = lambda: 256
if "--lie" in sys.argv:  # as if there were more descriptors than there are
    servers.most_connections = lambda descriptors: 10_000
resource.setrlimit(resource.RLIMIT_NOFILE, (256, 256))

def page():
    time.sleep(0.3)
    return pn.pane.Str("The page")

async def main():
    server = servers.Server(page, Guard(), port=0)
    keep()
    await server.run(lambda url: print(url, flush=True))

asyncio.run(main())
"""


@contextlib.contextmanager
def small(tmp_path: Path, *options: str) -> Iterator[tuple[Served, subprocess.Popen, Path]]:
    """A server with 256 descriptors; at its end that it ends when told, and its log."""
    errors = tmp_path / "stderr"
    with errors.open("w") as stderr:
        command = [sys.executable, "-c", SMALL, *options]
        process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=stderr, text=True, cwd=ROOT)
    try:
        url = process.stdout.readline().strip()
        assert url, errors.read_text()
        yield Served(url, "", ""), process, errors
        process.send_signal(signal.SIGTERM)
        assert process.wait(20) == 0
    finally:
        process.kill()
        process.wait()
        process.stdout.close()


def half_open(server: Served, count: int, sent: bytes, source: str = "127.0.0.1") -> list[socket.socket]:
    opened = []
    for _ in range(count):
        with contextlib.suppress(OSError):
            one = socket.create_connection(("127.0.0.1", server.port), timeout=5, source_address=(source, 0))
            opened.append(one)
            one.sendall(sent)
    return opened


@pytest.mark.parametrize("lie", [(), ("--lie",)])
@pytest.mark.parametrize("sent", [b"", b"GET / HTTP/1.1\r\nHost: x\r\n"])
def test_half_open_connections_keep_nobody_out_and_fill_no_log(tmp_path: Path, sent: bytes, lie: tuple[str, ...]) -> None:
    """Without bounds: a minute without answers, 887,580 tracebacks, 516 MB of log."""
    with small(tmp_path, *lie) as (server, process, errors):
        opened = half_open(server, 300, sent)
        began, times = time.monotonic(), []
        used = _cpu(process.pid)
        while time.monotonic() - began < 4:
            asked = time.monotonic()
            assert server.ask("/favicon.ico").status == 200
            times.append(time.monotonic() - asked)
            time.sleep(0.2)
        # With no descriptor left, the first answer waits in the system's queue until half-open connections time out, after REQUEST_SECONDS.
        assert max(times) < (4 if lie else 2)
        assert statistics.median(times) < 0.5
        assert _cpu(process.pid) - used < 2, "nothing is to be done but to wait"
        for one in opened:
            one.close()
        assert errors.stat().st_size < 10_000


def _cpu(pid: int) -> float:
    fields = Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()
    return (int(fields[11]) + int(fields[12])) / 100


def test_one_letter_a_second_does_not_keep_a_connection(tmp_path: Path) -> None:
    with small(tmp_path) as (server, _, _):
        for start in (
            b"GET / HTTP/1.1\r\nHost: ",
            f"POST /login HTTP/1.1\r\nHost: 127.0.0.1:{server.port}\r\nContent-Length: 500\r\n\r\n".encode(),
        ):
            (one,) = half_open(server, 1, start)
            began = time.monotonic()
            with contextlib.suppress(OSError):
                while time.monotonic() - began < 10:
                    one.sendall(b"x")
                    time.sleep(0.3)
            assert time.monotonic() - began < 6
            one.close()


def test_an_address_has_at_most_half_of_the_places(tmp_path: Path) -> None:
    with small(tmp_path) as (server, process, _):
        places = most_connections(256)
        before = len(list(Path(f"/proc/{process.pid}/fd").iterdir()))
        opened = half_open(server, places, b"", "127.0.0.2")
        assert server.ask("/favicon.ico").status == 200
        assert len(list(Path(f"/proc/{process.pid}/fd").iterdir())) - before <= places // 2 + 2
        for one in opened:
            one.close()


@pytest.mark.slow
def test_a_flood_of_pages_is_answered_in_turn_or_sent_away(tmp_path: Path) -> None:
    async def flood(server: Served) -> list[int]:
        return await asyncio.gather(*(asyncio.to_thread(lambda: server.ask().status) for _ in range(40)))

    with small(tmp_path) as (server, _, _):
        asyncio.run(_with_threads(40, flood(server)))
        statuses = asyncio.run(_with_threads(40, flood(server)))
        assert {200, 503} == set(statuses)
        assert int(server.ask("/nothing").status) == 404


async def _with_threads(count: int, work: Any) -> Any:
    from concurrent.futures import ThreadPoolExecutor

    asyncio.get_running_loop().set_default_executor(ThreadPoolExecutor(count))
    return await work


def test_connections_leave_descriptors_for_files() -> None:
    assert [most_connections(count) for count in (16, 64, 256, 1024, 65_536)] == [8, 32, 160, 928, 1000]
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    assert soft <= hard


def test_people_take_turns_however_many_places_one_has() -> None:
    async def serve() -> tuple[list[str], bool, bool]:
        turns, served = Turns(most=12, most_of_one=8, at_once=99), []

        async def take(who: str) -> None:
            async with turns.turn(who):
                served.append(who)

        waiting = [asyncio.create_task(take(who)) for who in ["ann"] * 6 + ["bob"] * 2]
        await asyncio.sleep(0)
        gone = asyncio.create_task(take("cat"))
        await asyncio.sleep(0)
        gone.cancel()
        full = [asyncio.create_task(take("ann")) for _ in range(3)]
        await asyncio.sleep(0)
        told = turns.full("ann"), turns.full("bob")
        await asyncio.gather(*waiting, *full)
        return served, *told

    served, ann, bob = asyncio.run(serve())
    assert served == ["ann", "ann", "bob", "ann", "bob", "ann", "ann", "ann", "ann", "ann", "ann"]
    assert (ann, bob) == (True, False)


def test_who_has_had_many_turns_waits_and_holds_nobody_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("sslmem_kit.explorer.serving.turns.LOOK_SECONDS", 0.02)
    monkeypatch.setattr("sslmem_kit.explorer.serving.turns.REST_SECONDS", 0.0)

    async def serve() -> tuple[list[str], float]:
        turns, served, began = Turns(most=12, most_of_one=8, at_once=2, per_second=0.5), [], time.monotonic()

        async def take(who: str) -> None:
            async with turns.turn(who):
                served.append(who)

        many = [asyncio.create_task(take("eve")) for _ in range(4)]
        await asyncio.sleep(0.2)
        assert served == ["eve"] * 2
        many[2].cancel()
        await take("ann")
        assert served == ["eve"] * 2 + ["ann"]
        assert not turns.full("eve")
        await asyncio.gather(*many, return_exceptions=True)
        turns.forget(set())
        return served, time.monotonic() - began

    served, seconds = asyncio.run(serve())
    assert served == ["eve", "eve", "ann", "eve"]
    assert seconds > 0.4


def test_who_is_gone_when_the_turn_comes_has_none() -> None:
    """A page that is asked for again and again, as by a key that is held, would use up what its person may have."""

    async def serve() -> tuple[list[str], int]:
        turns, served, left = Turns(most=12, most_of_one=8, at_once=2, per_second=0.001), [], set()

        async def take(name: str) -> None:
            async with turns.turn("ann", lambda: name in left) as mine:
                served.append(name if mine else f"not {name}")

        waiting = [asyncio.create_task(take(name)) for name in "abcd"]
        await asyncio.sleep(0)
        left |= {"b", "c"}
        async with asyncio.timeout(5):
            await asyncio.gather(*waiting)
            await take("b")
        return served, turns.waiting()

    assert asyncio.run(serve()) == (["a", "not b", "not c", "d", "not b"], 0)


def test_a_newcomer_has_a_place_though_others_fill_the_queue() -> None:
    async def serve() -> list[bool]:
        turns = Turns(most=4, most_of_one=2, at_once=0, per_second=0.001)
        waiting = [asyncio.create_task(turns.turn(who).__aenter__()) for who in "aabb"]
        await asyncio.sleep(0)
        full = [turns.full(who) for who in "abc"]
        waiting += [asyncio.create_task(turns.turn(str(number)).__aenter__()) for number in range(12)]
        await asyncio.sleep(0)
        full.append(turns.full("c"))
        for task in waiting:
            task.cancel()
        await asyncio.gather(*waiting, return_exceptions=True)
        return [*full, turns.full("a")]

    assert asyncio.run(serve()) == [True, True, False, True, False]


def test_a_turn_that_fails_passes_on() -> None:
    async def serve() -> bool:
        turns = Turns(most=4, most_of_one=4)
        with contextlib.suppress(ZeroDivisionError):
            async with turns.turn("ann"):
                raise ZeroDivisionError
        async with asyncio.timeout(5), turns.turn("bob"):
            return True

    assert asyncio.run(serve())


@pytest.mark.parametrize(
    ("host", "plain"),
    [
        ("LocalHost:5006", "localhost:5006"),
        ("a.example.:5006", "a.example:5006"),
        ("a.example.", "a.example"),
        ("a.example:443", "a.example"),
        ("a.example:80", "a.example"),
        ("[::1]:5006", "[::1]:5006"),
        ("[FE80::1%25eth0]:5006", "[fe80::1]:5006"),
        ("::1", ""),
        ("a b", ""),
        ("a/b:1", ""),
        ("a@b:1", ""),
        ("", ""),
    ],
)
def test_names_are_compared_as_they_are_meant(host: str, plain: str) -> None:
    assert plain_host(host) == plain


def test_names_in_other_alphabets_are_compared_as_browsers_send_them() -> None:
    assert checked_origins(["bücher.example:5006", "A.Example:443"]) == {"xn--bcher-kva.example:5006", "a.example"}
    with pytest.raises(UserError, match="--origin"):
        checked_origins([".." + "ü" * 80])


def test_a_zone_of_an_address_is_no_part_of_its_name() -> None:
    assert with_port("fe80::1%eth0", 5006) == "[fe80::1]:5006"
    assert hosts("fe80::1%eth0", 5006) == {"[fe80::1]:5006"}


def test_a_name_that_is_refused_is_told_with_the_remedy(servers: dict[str, Served]) -> None:
    server = servers["open"]
    assert server.ask(Host="other.example:1234").text.endswith("start it with --origin other.example:1234\n")
    for host in ("<b>x", "a b", '"', "x" * 300, "é"):
        answer = server.ask(Host=host)
        assert answer.status in (400, 403)
        assert host not in answer.text
    assert server.ask(Host=f"{OWN_NAME}.:443").status == 200


def test_an_address_of_this_machine_is_a_name_of_a_server_that_listens_there(servers: dict[str, Served]) -> None:
    """No other site can make its name point at a number."""
    server = servers["open"]
    assert server.ask("/nothing", Host=f"127.0.0.1:{server.port}").status == 404
    assert server.ask("/nothing", Host=f"192.0.2.1:{server.port}").status == 403


TRUSTED = checked_proxies(["10.0.0.0/8", "::1", "127.0.0.1"])


@pytest.mark.parametrize(
    ("peer", "forwarded", "client"),
    [
        ("192.0.2.7", "198.51.100.1", "192.0.2.7"),
        ("127.0.0.1", "", "127.0.0.1"),
        ("127.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", "203.0.113.9, 198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", "203.0.113.9, 198.51.100.1, 10.1.2.3", "198.51.100.1"),
        ("::1", "2001:db8:1:2:3:4:5:6", "2001:db8:1:2::/64"),
        ("::ffff:127.0.0.1", "198.51.100.1", "198.51.100.1"),
        ("127.0.0.1", "made up", "127.0.0.1"),
        ("127.0.0.1", "," * 100_000, "127.0.0.1"),
    ],
)
def test_who_asks_is_read_from_the_end_that_proxies_wrote(peer: str, forwarded: str, client: str) -> None:
    assert client_of(peer, forwarded, TRUSTED) == client
    assert client_of(peer, forwarded, ()) == network_of(peer)


@pytest.mark.parametrize("proxy", ["", "proxy.example", "10.0.0.0/99", "10.0.0.0/8/8"])
def test_a_proxy_is_an_address(proxy: str) -> None:
    with pytest.raises(UserError, match="--trust-proxy"):
        checked_proxies([proxy])


def test_failures_of_one_do_not_delay_another(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []

    async def sleep(seconds: float) -> None:
        slept.append(seconds)

    monkeypatch.setattr(brake.asyncio, "sleep", sleep)

    async def attempts() -> None:
        one = brake.Brake()
        for _ in range(15):
            async with one.attempt("ann", "198.51.100.1"):
                pass
        assert slept[:5] == [0] * 5
        assert all(delay <= brake.LONGEST_DELAY for delay in slept)
        assert slept[-1] > 29
        slept.clear()
        for name, place in (("ann", "198.51.100.2"), ("bob", "198.51.100.1"), ("ann", "browser 1")):
            async with one.attempt(name, place):
                pass
        assert slept == [0, 0, 0]

    asyncio.run(attempts())


def test_an_address_with_two_question_marks_is_read(servers: dict[str, Served]) -> None:
    assert servers["open"].ask("/?a=1?b=2").status == 200
