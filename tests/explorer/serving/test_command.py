"""`sslmem app`: what it refuses, tells and imports."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path
from types import ModuleType
from urllib.request import urlopen

import pytest

from sslmem_kit.cli import main
from tests.support import ROOT
from tests.support.browser import free_port
from tests.support.servers import Served


@pytest.fixture
def no_page(monkeypatch: pytest.MonkeyPatch) -> None:
    """The page itself is beside the point, and slow to import."""
    for name, attribute in [("page", "make_page"), ("study_cache", "Library"), ("session", "Session")]:
        module = ModuleType(f"sslmem_kit.explorer.{name}")
        setattr(module, attribute, lambda _: None)
        monkeypatch.setitem(sys.modules, module.__name__, module)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> str:
    from tests.support.fake_study import make_study

    return str(make_study(tmp_path_factory.mktemp("serving") / "tiny", samples=60, seeds=1, views=2).path)


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (["--address", "0.0.0.0"], "--users FILE"),
        (["--address", "::"], "--behind-proxy HEADER"),
        (["--address", "192.0.2.7"], "--oauth PROVIDER"),
        (["--address", ""], "--address"),
        (["--address", "192.0.2.7", "--behind-proxy", "X-User"], "an address of this machine"),
        (["--users", "nowhere.json"], "nowhere.json"),
        (["--origin", "*"], "--origin"),
        (["--origin", "https://a.example"], "--origin"),
        (["--origin", "a.example:b"], "--origin"),
        (["--origin", ""], "--origin"),
        (["--trust-proxy", "proxy.example"], "ADDRESS/BITS"),
        (["--port", "70000"], "70000"),
        (["--session-hours", "0"], "session-hours"),
    ],
)
@pytest.mark.usefixtures("no_page")
def test_what_cannot_be_served_ends_with_one_sentence(
    options: list[str], told: str, capsys: pytest.CaptureFixture, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["app", "study", *options]) == 2
    captured = capsys.readouterr()
    assert captured.out == ""
    assert told in captured.err
    assert len(captured.err.splitlines()) == 1


@pytest.mark.usefixtures("no_page")
def test_a_port_in_use_is_told(servers: dict[str, Served], capsys: pytest.CaptureFixture) -> None:
    assert main(["app", "study", "--port", str(servers["open"].port)]) == 2
    assert "--port" in capsys.readouterr().err


@pytest.mark.parametrize("ending", [signal.SIGINT, signal.SIGTERM])
def test_the_command_tells_its_address_first_ends_quietly_and_imports_no_torch(study: str, ending: signal.Signals) -> None:
    port = free_port()
    code = f"""
import sys
from sslmem_kit.cli import main
status = main(["app", {study!r}, "--port", "{port}"])
sys.exit("torch is imported" if "torch" in sys.modules else status)
"""
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(
        [sys.executable, "-c", code], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment
    )
    try:
        assert process.stdout.readline() == f"explorer: http://127.0.0.1:{port}/\n"
        assert Served(f"http://127.0.0.1:{port}/", "", "").ask().status == 200
        process.send_signal(ending)
        out, err = process.communicate(timeout=30)
        assert (process.returncode, out, err) == (0, "", "")
    finally:
        process.kill()
        process.communicate()


def test_listening_for_others_without_encryption_is_told(study: str, users: Path) -> None:
    """On a line of standard error, before the address."""
    command = [sys.executable, "-m", "sslmem_kit", "app", study, "--address", "0.0.0.0", "--port", "0", "--users", str(users)]
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    process = subprocess.Popen(command, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, env=environment)
    try:
        url = process.stdout.readline().removeprefix("explorer: ").strip()
        assert "0.0.0.0" not in url
        with urlopen(url) as answer:
            assert "sign in" in answer.read().decode()
        process.send_signal(signal.SIGTERM)
        out, err = process.communicate(timeout=30)
        assert (process.returncode, out, len(err.splitlines())) == (0, "", 1)
        assert "unencrypted" in err
    finally:
        process.kill()
        process.communicate()
