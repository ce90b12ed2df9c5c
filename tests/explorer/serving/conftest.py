"""The servers, started once."""

from __future__ import annotations

import json
import os
import subprocess
import sys
import threading
from collections.abc import Iterator
from http.server import HTTPServer
from pathlib import Path

import pytest

from sslmem_kit.explorer.serving import add_user
from tests.support import ROOT
from tests.support.servers import OAUTH_SECRET, PASSWORD, SERVERS, Process, Provider, Served


@pytest.fixture(scope="session")
def provider() -> Iterator[dict[str, str]]:
    """What a server has to know of an OAuth provider on this machine."""
    with HTTPServer(("127.0.0.1", 0), Provider) as listening:
        threading.Thread(target=listening.serve_forever, daemon=True).start()
        url = f"http://127.0.0.1:{listening.server_port}"
        yield {f"PANEL_OAUTH_{what}_URL": f"{url}/{what.lower()}" for what in ("AUTHORIZE", "TOKEN", "USER", "LOGOUT")}
        listening.shutdown()


@pytest.fixture(scope="session")
def users(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("users") / "users.json"
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr("sslmem_kit.explorer.serving.credentials._COST", (2, 1, 1))
        for name in ("ann", "bob", "cat", "dan"):
            add_user(path, name, PASSWORD)
    return path


@pytest.fixture(scope="session")
def served(users: Path, provider: dict[str, str]) -> Iterator[Process]:
    environment = {
        **os.environ,
        "PYTHONPATH": str(ROOT),
        "PANEL_OAUTH_KEY": "oauth-key",
        "PANEL_OAUTH_SECRET": OAUTH_SECRET,
        **provider,
    }
    errors = users.parent / "stderr"
    with errors.open("w") as stderr:
        process = subprocess.Popen(
            [sys.executable, "-c", SERVERS, str(users)], stdout=subprocess.PIPE, stderr=stderr, text=True, env=environment
        )
        line = process.stdout.readline()
        assert line, errors.read_text()
        yield Process(process, {name: Served(**told) for name, told in json.loads(line).items()})
        process.kill()
        process.wait()
        process.stdout.close()
    logged = errors.read_text()
    assert OAUTH_SECRET not in logged
    assert PASSWORD not in logged
    assert max(map(len, logged.splitlines()), default=0) < 2000


@pytest.fixture(scope="session")
def servers(served: Process) -> dict[str, Served]:
    return served.servers
