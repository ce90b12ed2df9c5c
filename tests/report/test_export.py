"""Exported scores are the scores, whatever the format."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr

from sslmem_kit.cli import main
from sslmem_kit.errors import UserError
from sslmem_kit.names import PARTITIONS
from sslmem_kit.report.export import export
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
