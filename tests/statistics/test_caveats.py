"""What is known to be wrong with a study is said alike wherever its numbers are."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import zarr

from sslmem_kit import store
from sslmem_kit.cli import main
from sslmem_kit.errors import UserError
from sslmem_kit.explorer.comparison.comparison import _agree
from sslmem_kit.explorer.link_state import State
from sslmem_kit.explorer.notebook.monitor import Monitor
from sslmem_kit.explorer.page import Explorer
from sslmem_kit.explorer.session import Session
from sslmem_kit.explorer.study_cache import Library
from sslmem_kit.explorer.theme import DARK, LIGHT, variables
from sslmem_kit.explorer.threshold.threshold import Threshold
from sslmem_kit.figures import warn
from sslmem_kit.report.build import build_report
from sslmem_kit.report.export import export
from sslmem_kit.report.notebook_catalog import RANGES, available, check_parameters, parameters_of
from sslmem_kit.report.notebooks import render
from sslmem_kit.report.text import as_text
from sslmem_kit.statistics.caveats import caveats
from sslmem_kit.store import integrity
from sslmem_kit.study import Study
from tests.support.fake_study import make_study

COLLAPSED = "f-1: the representations have collapsed"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    made = make_study(tmp_path_factory.mktemp("caveats") / "tiny", samples=90, seeds=2, views=2)
    rows = {"trajectory/feature_std": np.full(3, 0.001)}
    store.write_evaluation(made.results_path, encoder=2, rows=rows)
    integrity.renew(made.results_path)
    store.finish(made.results_path)
    return Study(made.path)


def test_the_report_says_it_first(study: Study) -> None:
    report = build_report(study)
    assert [sentence[: len(COLLAPSED)] for sentence in report["warnings"]] == [COLLAPSED]
    assert as_text(report).index(COLLAPSED) < as_text(report).index("candidate")


def test_so_do_explorer_monitor_and_notebooks(study: Study) -> None:
    explorer = Explorer(Library([study.path]))
    assert COLLAPSED in explorer._note.object
    assert explorer._note.visible
    monitor = Monitor(study.path, 1.0)
    assert COLLAPSED in monitor._status.value
    monitor.close()
    assert COLLAPSED in warn(study).html
    for name, path in available().items():
        code = path.read_text(encoding="utf-8")
        shown_by_itself = name in ("explorer", "monitor")
        assert "warn(opened)" in code or shown_by_itself, f"{name} does not warn"
        assert "check_parameters(" in code, f"{name} does not check its parameters"


def test_so_do_exports(study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    wanted = caveats(study.tree)
    assert pd.read_parquet(export(study, tmp_path / "a.parquet")).attrs["warnings"] == wanted
    with xr.open_dataset(export(study, tmp_path / "a.nc"), engine="h5netcdf") as found:
        assert json.loads(found.attrs["warnings"]) == wanted
    capsys.readouterr()
    assert main(["export", str(study.path), "--to", str(tmp_path / "a.csv")]) == 0
    assert COLLAPSED in capsys.readouterr().err


def test_one_seed_and_encoders_that_do_not_belong_together_are_said(tmp_path: Path) -> None:
    one = make_study(tmp_path / "one", samples=60, seeds=1, views=2)
    assert any("one encoder of f or of g" in sentence for sentence in caveats(one.tree))
    two = make_study(tmp_path / "two", samples=60, seeds=2, views=2)
    assert not caveats(two.tree)
    apart = two.tree.copy()
    apart.dataset = apart.to_dataset().assign_coords(seed=("encoder", np.arange(4)))
    assert any("have a seed in common" in sentence for sentence in caveats(apart))


@pytest.mark.parametrize(
    ("tau", "interval", "said"),
    [
        (0.21, (0.1, 0.3), "agree"),
        (0.049, (0.01, 0.09), "are not seen to agree"),
        (0.2, (-0.01, 0.41), "are not seen to agree"),
        (-0.2, (-0.3, -0.1), "disagree"),
        (float("nan"), (float("nan"), float("nan")), "cannot be compared"),
    ],
)
def test_that_two_orders_agree_is_said_where_it_is_seen(tau: float, interval: tuple[float, float], said: str) -> None:
    ranks = xr.Dataset({"value": ("statistic", [tau]), "interval": (("statistic", "bound"), [interval])}, {"statistic": ["tau"]})
    assert _agree(ranks) == said


def test_the_line_under_the_threshold_follows_the_filters(study: Study) -> None:
    session = Session(Library([study.path]), State())
    threshold = Threshold(session)
    session.partition = ["candidate"]
    assert f"{len(session.above()):,} of the {len(session.shown):,} shown samples" in threshold.control.text
    session.partition = []
    session.classes = ["one"]
    assert f"{len(session.above()):,} of the {len(session.shown):,} shown samples" in threshold.control.text


@pytest.mark.parametrize("dark", [False, True])
def test_no_widget_takes_its_ground_or_ink_from_the_page_around_it(dark: bool) -> None:
    colours = DARK if dark else LIGHT
    styles = variables(dark)
    assert styles["--design-background-text-color"] == styles["--design-surface-text-color"] == colours["ink"]
    assert styles["--design-background-color"] == colours["paper"]


@pytest.mark.parametrize(
    ("name", "value"),
    [("bins", 0), ("gallery_count", -3), ("target", 2.0), ("count", 0), ("table_rows", -1), ("most_seeds", 1), ("bins", 10**9)],
)
def test_parameters_out_of_range_are_refused_before_a_kernel_starts(
    name: str, value: float, study: Study, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr("sslmem_kit.report.notebooks._run", lambda *_: pytest.fail("a kernel was started"))
    least = RANGES[name][0]
    with pytest.raises(UserError, match=rf"-p {name} \(in .*got {value}, a number from {least} to"):
        render(study.path, parameters={name: value})
    with pytest.raises(UserError, match=rf"^{name}: got"):
        check_parameters(**{name: value})
    check_parameters(**{name: least}, protocol="paper")


def test_every_parameter_that_is_a_number_has_a_range() -> None:
    numbers = {
        name for path in available().values() for name, value in parameters_of(path).items() if isinstance(value, int | float)
    }
    assert numbers == set(RANGES)
    for path in available().values():
        check_parameters(**parameters_of(path))


def test_the_page_of_an_earlier_rendering_goes_with_it(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    study.notebooks.mkdir(exist_ok=True)
    page = study.notebooks / "tab02_tests.html"
    page.write_text("protocol paper")
    render(study.path, ["tab02_tests"])
    assert not page.exists()
    text = (study.notebooks / "tab02_tests.ipynb").read_text(encoding="utf-8")
    assert COLLAPSED in text


@pytest.mark.parametrize("way", ["identical", "collapsed"])
def test_identical_and_collapsed_encoders_are_said_wherever_their_numbers_are(
    way: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also where nothing is recorded of their training, as in an audit."""
    made = make_study(tmp_path / way, samples=90, seeds=2, views=2)
    group = zarr.open_group(made.results_path, mode="r+", use_consolidated=False)
    values = group["alignment"][:]
    axis = made.results["alignment"].dims.index("encoder")
    same = np.repeat(np.take(values, [0], axis), values.shape[axis], axis)
    group["alignment"][:] = same if way == "identical" else np.full_like(values, 1e-7)
    integrity.renew(made.results_path)
    store.finish(made.results_path)
    study = Study(made.path)
    said = "all scores are equal, as those of identical or collapsed encoders are"
    cause = "f-0 and g-0, f-1 and g-1: their distances are the same" if way == "identical" else "all views look the same"
    for sentence in (said, cause):
        assert any(sentence in found for found in caveats(study.tree))
        assert sentence in as_text(build_report(study))
        assert any(sentence in found for found in build_report(study)["warnings"])
        assert sentence in Explorer(Library([study.path]))._note.object
        assert sentence in warn(study).html
    assert any(said in found for found in pd.read_parquet(export(study, tmp_path / "a.parquet")).attrs["warnings"])
    monitor = Monitor(study.path, 1.0)
    assert said in monitor._status.value
    monitor.close()
