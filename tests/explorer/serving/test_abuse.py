"""A served app under a client that breaks every rule: for ten minutes with `SSLMEM_ABUSE_SECONDS=600`."""

from __future__ import annotations

import os
from pathlib import Path

from tests.support.abuse import measure
from tests.support.fake_study import make_study

SECONDS = float(os.environ.get("SSLMEM_ABUSE_SECONDS", "10"))


def test_a_client_that_breaks_every_rule_harms_nobody_else(tmp_path: Path) -> None:
    told = measure(make_study(tmp_path / "study", samples=500, seeds=1).path, SECONDS)
    log = told.pop("log")
    assert told["exit_status"] == 0
    assert told["peak_mb"] - told["before_mb"] < 250, told
    assert told["log_bytes"] < 60_000 * (1 + SECONDS / 60), told
    assert told["n"] > 0
    # On a machine that does nothing else a slowdown of 1 to 2 is left: the abuser's own work.
    assert told["median_s"] < max(1.0, 0.5 * told["slowdown"][1]), told
    assert told["sign_in_afterwards_s"] < 5 * max(1.0, told["slowdown"][1]), told
    assert "correct horse" not in log
    assert max(map(len, log.splitlines()), default=0) < 1000
