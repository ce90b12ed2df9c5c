"""Figure 3: every line has intervals, and one that has none is not plotted."""

from __future__ import annotations

import warnings
from pathlib import Path

import holoviews as hv
import numpy as np
import pytest

from sslmem_kit.figures import fig03, save_figure
from sslmem_kit.statistics import removal_curves, removal_differences
from tests.statistics.test_removal import table


@pytest.mark.parametrize("keeps", [False, True])
def test_lines_stand_at_the_numbers_and_have_their_intervals(keeps: bool) -> None:
    results = table({"highest": -0.02}, keeps=keeps).assign_attrs(name="mine", candidates=25)
    results.attrs |= {"action": "keep" if keeps else "remove", "baseline": 25 if keeps else 0, "margin": 0.01}
    curves = removal_curves(results)
    figure = fig03.plot(curves, "task0")
    lines, bars = (figure.traverse(lambda part: part, [kind]) for kind in (hv.Curve, hv.ErrorBars))
    assert [line.label for line in lines] == ["highest by pairs", "lowest by pairs", "random"]
    assert len(bars) == len(lines)
    one = curves.sel(removed="random", task="task0", probe="linear")
    np.testing.assert_allclose(lines[2].dimension_values("accuracy"), 100 * one["accuracy"])
    np.testing.assert_allclose(bars[2].dimension_values("below"), 100 * (one["accuracy"] - one["interval"].sel(bound="low")))
    below = fig03.differences(removal_differences(results), "task1")
    assert len(below.traverse(lambda part: part, [hv.Scatter])) == len(below.traverse(lambda part: part, [hv.ErrorBars]))


def test_nothing_is_plotted_without_an_interval() -> None:
    results = table({}, seeds=1).assign_attrs(name="mine", candidates=25)
    with pytest.raises(ValueError, match="has an interval over seeds, and none is plotted without"):
        fig03.plot(removal_curves(results), "task0")
    with pytest.raises(ValueError, match="none is plotted without"):
        fig03.differences(removal_differences(results), "task0")


def test_both_render(tmp_path: Path) -> None:
    results = table({"highest": -0.02}).assign_attrs(name="mine", candidates=2000)
    with warnings.catch_warnings():
        warnings.simplefilter("error")
        for name, figure in (
            ("curve", fig03.plot(removal_curves(results), "task0")),
            ("differences", fig03.differences(removal_differences(results), "task0")),
        ):
            assert all(path.stat().st_size > 1000 for path in save_figure(figure, tmp_path, name))
