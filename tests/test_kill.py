"""A command that is killed at its n-th file operation and started again ends with the bytes of one that nobody disturbed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest


@pytest.mark.parametrize("kills", [pytest.param(2, id="a few"), pytest.param(0, id="every", marks=pytest.mark.slow)])
@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_killed_at_the_nth_file_operation(kills: int, tmp_path: Path) -> None:
    script = Path(__file__).with_name("kill_everywhere.py")
    done = subprocess.run([sys.executable, str(script), str(tmp_path), "--kills", str(kills)], capture_output=True, text=True)
    assert done.returncode == 0, done.stderr[-2000:]
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    processes = {("run", "main"), ("run", "worker"), ("score", "main"), ("render", "main"), ("render", "kernel")}
    assert {(one["command"], one["process"]) for one in told} == processes
    assert all(one["killed"] and one["status"] for one in told), Counter(one["status"] for one in told)
    assert not [one for one in told if not one["completed"] or one["differ"] or one["left"]]
    if not kills:
        assert Counter(one["command"] for one in told) == Counter({one["command"]: 0 for one in told} | total(told))


def total(told: list[dict]) -> dict[str, int]:
    """Operations of each command."""
    counts: dict[str, int] = {}
    for command, of in {(one["command"], one["process"]): one["of"] for one in told}.items():
        counts[command[0]] = counts.get(command[0], 0) + of
    return counts
