"""Exported scores are the scores, whatever the format."""

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
from sslmem_kit.names import PARTITIONS
from sslmem_kit.report import build_report
from sslmem_kit.report.export import export
from sslmem_kit.statistics.overview import as_sentence
from sslmem_kit.store import integrity
from sslmem_kit.study import Study
from tests.support.fake_study import CLASSES, make_study

SCORES = (
    "sslmem",
    "difference",
    "standard_error",
    "standard_error_views",
    "standard_error_encoders",
    "low",
    "high",
    "z",
    "quantile",
    "alignment_f",
)


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return make_study(tmp_path_factory.mktemp("export") / "tiny", samples=90, seeds=2, views=3)


@pytest.mark.parametrize("protocol", ["paper", "corrected"])
@pytest.mark.parametrize("suffix", [".csv", ".parquet"])
def test_a_table_reads_back(suffix: str, protocol: str, study: Study, tmp_path: Path) -> None:
    path = export(study, tmp_path / f"scores{suffix}", protocol=protocol)
    table = pd.read_csv(path, dtype={"class": str}) if suffix == ".csv" else pd.read_parquet(path)
    scores = study.scores(protocol)
    assert table.columns[:5].tolist() == ["sample", "label", "class", "partition", "protocol"]
    assert len(table) == scores.sizes["sample"]
    np.testing.assert_array_equal(table["sample"], scores["sample"])
    np.testing.assert_array_equal(table["label"], scores["label"])
    assert table["class"].tolist() == [CLASSES[label] for label in scores["label"].values]
    assert table["partition"].tolist() == [PARTITIONS[code] for code in scores["partition"].values]
    assert set(table["protocol"]) == {protocol}
    for name in SCORES:
        np.testing.assert_allclose(
            table[name], scores[name], rtol=1e-6 if scores[name].dtype == np.float32 else 1e-12, err_msg=name
        )


@pytest.mark.parametrize("protocol", ["paper", "corrected"])
def test_netcdf_reads_back(protocol: str, study: Study, tmp_path: Path) -> None:
    path = export(study, tmp_path / "scores.nc", protocol=protocol)
    scores = study.scores(protocol)
    with xr.open_dataset(path, engine="h5netcdf") as found:
        twins = ["twin_group", *(f"twins_{name}" for name in PARTITIONS)]
        xr.testing.assert_equal(found.load().drop_vars(twins), scores)
        assert not any(found[name].any() for name in twins[1:])
        assert found.attrs["protocol"] == protocol
        assert ("range" in found.attrs) == (protocol == "paper")
        assert found["partition"].attrs["flag_meanings"] == " ".join(PARTITIONS)
    assert scores["partition"].attrs["flag_values"] == [0, 1, 2, 3]


@pytest.mark.parametrize("protocol", ["paper", "corrected"])
def test_the_verdict_and_the_effect_of_the_report_go_with_the_scores(
    protocol: str, study: Study, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    report = build_report(study, protocol=protocol)
    carried = {name: report[name] for name in ("verdict", "effect")}
    assert carried["effect"]["C-S"]["interval"]
    with xr.open_dataset(export(study, tmp_path / "scores.nc", protocol=protocol), engine="h5netcdf") as found:
        assert {name: json.loads(found.attrs[name]) for name in carried} == carried
    frame = pd.read_parquet(export(study, tmp_path / "scores.parquet", protocol=protocol))
    assert {name: frame.attrs[name] for name in carried} == carried
    assert main(["export", str(study.path), "--to", str(tmp_path / "scores.csv"), "--protocol", protocol]) == 0
    assert as_sentence(report["verdict"]["sentence"]) in capsys.readouterr().err.splitlines()


def test_an_unknown_effect_is_null_and_no_nan(tmp_path: Path) -> None:
    study = make_study(tmp_path / "one", samples=90, seeds=1, views=3)
    group = zarr.open_group(study.results_path, mode="r+", use_consolidated=False)
    group["partition"][:] = np.where(group["partition"][:] == 2, 3, group["partition"][:])  # no independent samples
    integrity.renew(study.results_path)
    store.finish(study.results_path)
    with xr.open_dataset(export(Study(study.path), tmp_path / "scores.nc"), engine="h5netcdf") as found:
        assert json.loads(found.attrs["effect"])["(C-I)/2"]["value"] is None
        assert "NaN" not in found.attrs["effect"]


def test_nothing_else_is_left(study: Study, tmp_path: Path) -> None:
    for suffix in (".csv", ".parquet", ".nc"):
        export(study, tmp_path / f"scores{suffix}")
    assert sorted(path.name for path in tmp_path.iterdir()) == ["scores.csv", "scores.nc", "scores.parquet"]


def test_a_file_that_is_there_is_kept(study: Study, tmp_path: Path) -> None:
    (tmp_path / "scores.csv").write_text("mine")
    with pytest.raises(UserError, match="already there"):
        export(study, tmp_path / "scores.csv")
    assert (tmp_path / "scores.csv").read_text() == "mine"


def test_other_estimators_than_the_pairs(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study")
    assert main(["export", str(study.path), "--to", str(tmp_path / "scores.csv"), "--estimator", "pairs"]) == 0
    frame = pd.read_csv(tmp_path / "scores.csv")
    assert set(frame["partition"]) == {"candidate"}
    expected = study.scores()["difference"].to_series().loc[frame["sample"]]
    np.testing.assert_allclose(frame["sslmem"], expected, rtol=1e-5)
    assert main(["export", str(study.path), "--to", str(tmp_path / "more.csv"), "--estimator", "subsets"]) == 2
    assert not (tmp_path / "more.csv").exists()
