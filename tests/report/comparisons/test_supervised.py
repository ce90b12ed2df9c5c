"""The section of supervised memorization: verdicts in words, what is unknown as a dash, influence beside chance."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import xarray as xr

from sslmem_kit.report.comparisons.supervised import _influence, as_text


def effect(low: float | None, high: float | None) -> dict[str, Any]:
    """An effect with an interval."""
    return {"supervised": {"value": 0.1, "interval": [low, high], "p": None, "over": "samples", "seeds": 1, "n_candidates": 9,
                           "n_independent": 8}}  # fmt: skip


@pytest.mark.parametrize(
    ("low", "high", "words"),
    [
        (0.05, 0.2, "labels are memorized"),
        (-0.1, 0.2, "undecided"),
        (-0.2, -0.1, "lowers the probability"),
        (None, None, "not known"),
    ],
)
def test_the_verdict_follows_the_interval(low: float | None, high: float | None, words: str) -> None:
    lines = as_text({"effects": effect(low, high), "agreement": {"problem": "candidates: 3 have both scores"}})
    assert words in lines[0]
    assert "p -; 9 candidates, 8 independent samples" in lines[1]
    assert lines[2] == "  agreement with SSLMem: candidates: 3 have both scores"


@pytest.mark.parametrize("planted", [True, False])
def test_influence_is_said_beside_chance(planted: bool) -> None:
    rng = np.random.Generator(np.random.Philox(0))
    cuts = np.stack([rng.permutation(np.arange(60) % 2) for _ in range(20)])
    trained = (cuts[:, None] != np.arange(2)[:, None]).transpose(2, 0, 1).reshape(60, 40)
    correct = (rng.random((40, 20)) < 0.8) + 0.0
    if planted:
        correct[:, 3] = trained[7]
    root = xr.Dataset(
        {"trained_on": (("sample", "encoder"), trained)},
        {
            "sample": np.arange(60),
            "encoder": [f"s-{place}" for place in range(40)],
            "design": ("encoder", ["subset"] * 40),
            "seed": ("encoder", np.repeat(np.arange(20), 2)),
        },
    )
    group = xr.Dataset({"test_correct": (("encoder", "test_sample"), correct)}, {"test_sample": 100 + np.arange(20)})
    found = _influence(group, xr.DataTree(root))
    lines = as_text({"effects": {}, "influence": found})
    if planted:
        assert found["highest"][0] == {"test_sample": 103, "sample": 7, "influence": 1.0, "standard_error": 0.0}
        assert "that chance does not make" in lines[0]
        assert (
            lines[2].strip()
            == "highest: +1.00 of sample 7 on test sample 103 (standard error 0.00 over seeds), p 0.05 of any so high"
        )
    else:
        assert found["above"] == pytest.approx(found["above_by_chance"], rel=0.2)
        assert lines[0] == "  no influence of a training sample on a test sample is higher than chance makes"
