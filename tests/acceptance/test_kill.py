"""A command that is killed at its n-th file operation and started again ends with the bytes of one that nobody disturbed."""

from __future__ import annotations

import json
import subprocess
import sys
from collections import Counter
from pathlib import Path

import pytest

from tests.support import ROOT

SAMPLE = {"run:moments": 480, "score:moments": 360, "run:alone": 900, "run:worker": 432, "render:main": 40}
EVERY = dict.fromkeys(("run:moments", "score:moments", "run:main", "run:worker", "render:main", "render:kernel"), 1)
"""Processes of commands, and at every which of their file operations they are killed."""


@pytest.mark.parametrize("chosen", [pytest.param(SAMPLE, id="some"), pytest.param(EVERY, id="every", marks=pytest.mark.slow)])
@pytest.mark.skipif(sys.platform == "win32", reason="there is no fork")
def test_killed_at_the_nth_file_operation(chosen: dict[str, int], tmp_path: Path) -> None:
    arguments = [f"{process}:{every}" for process, every in chosen.items()]
    done = subprocess.run(
        [sys.executable, "-m", "tests.support.kill_everywhere", str(tmp_path), *arguments], capture_output=True, text=True, cwd=ROOT
    )
    assert done.returncode == 0, done.stderr[-2000:]
    told = [json.loads(line) for line in done.stdout.splitlines() if line.startswith("{")]
    made = Counter(f"{one['command']}:{one['process']}" for one in told)
    of = {f"{one['command']}:{one['process']}": one["of"] for one in told}
    assert made == {process: len(range(1 + every // 2, of[process] + 1, every)) for process, every in chosen.items()}
    assert not [one for one in told if not one["struck"]]
    assert not [one for one in told if not one["completed"] or one["differ"] or one["left"]]
