"""Deja Vu memorization in a report: a verdict in words, numbers with intervals, nothing that is not known."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from sslmem_kit.names import PARTITION_CODE
from sslmem_kit.report.comparisons.dejavu import as_json, as_text, verdict
from sslmem_kit.report.comparisons.table4 import table4, table4_as_text
from sslmem_kit.report.tables import without_nan
from sslmem_kit.run.comparisons import add_scores
from sslmem_kit.scores.comparisons.dejavu import reduce
from sslmem_kit.study import Study
from tests.support.fake_study import make_study


def _with_dejavu(path: Path, *, memorized: float, seeds: int = 3) -> Study:
    """A study whose encoders name the class of a share of their own training images, and of a third of the others."""
    study = make_study(path, seeds=seeds)
    root, rng = study.results, np.random.default_rng(0)
    own = (
        root["trained_on"].values
        & np.isin(root["partition"].values, [PARTITION_CODE["candidate"], PARTITION_CODE["independent"]])[:, None]
    )
    shape = (*own.shape, 2, 2)
    names = (rng.uniform(size=shape) < np.where(own, 1 / 3 + memorized, 1 / 3)[..., None, None]).astype(np.float32)
    columns: dict[str, object] = dict.fromkeys(
        ("named", "consistency", "confidence"), (("sample", "encoder", "crop", "neighbours"), names)
    )
    for name in ("held_named", "held_consistency"):
        columns[name] = (("sample", "encoder"), names[:, :, 0, 0])
    for name in ("reference_named", "reference_probability"):
        columns[name] = (("sample", "encoder"), np.zeros(own.shape, np.float32))
    for name in ("held_named", "held_consistency", "reference_named", "reference_probability"):
        level = 1 / 3 if name.startswith("held") else 0
        columns[f"public_{name}"] = (
            ("public_sample", "encoder"),
            (rng.uniform(size=(100, own.shape[1])) < level).astype(np.float32),
        )
    coords = {name: root[name].values for name in ("sample", "encoder")}
    raw = xr.Dataset(
        columns, coords | {"crop": ["corner:0.3", "periphery:0.7"], "neighbours": [20, 5], "public_sample": np.arange(100)}
    )
    attrs = {"options": json.dumps({"name": "dejavu"}), "title": "Deja Vu", "source": "", "definition": ""}
    add_scores(study, "dejavu", reduce(raw, study.tree), raw=raw, attrs=attrs)
    return Study(path)


@pytest.mark.parametrize(
    ("memorized", "word"), [(0.6, "f names the class of what it was trained on oftener than g"), (0.0, "undecided")]
)
def test_the_verdict_comes_first(tmp_path: Path, memorized: float, word: str) -> None:
    found = without_nan(as_json(_with_dejavu(tmp_path / "study", memorized=memorized)))
    json.dumps(found, allow_nan=False)
    lines = as_text(found)
    assert lines[0].startswith(word)
    assert "corner:0.3 shown" in lines[0]
    assert found["effect"]["value"] == pytest.approx(memorized, abs=0.1)
    assert found["partitions"]["independent"]["net"] == pytest.approx(-memorized, abs=0.15)
    assert found["one_encoder"]["candidate"]["excess"] == pytest.approx(memorized, abs=0.12)
    assert len(found["sweep"]) == 4
    assert all(len(line) < 700 and "nan" not in line for line in lines)


def test_one_seed_says_what_it_can(tmp_path: Path) -> None:
    found = without_nan(as_json(_with_dejavu(tmp_path / "study", memorized=0.6, seeds=1)))
    assert found["partitions"]["candidate"]["interval_seeds"] == [None, None]
    assert as_text(found)[0].startswith("f names")


def test_a_row_of_table_4(tmp_path: Path) -> None:
    row = table4(_with_dejavu(tmp_path / "study", memorized=0.6))
    assert row["method"] == "simclr"
    assert row["dejavu"] == pytest.approx(0.6, abs=0.12)
    assert row["floor"] < row["dejavu"]
    assert row["accuracy"] == pytest.approx(0.85)
    assert row["seeds"] == 3
    assert len(table4_as_text([without_nan(row)])) == 2


def test_nothing_is_said_of_nothing() -> None:
    assert verdict({"value": None, "interval": [None, None]}) == "nothing to compare"
    assert "less often" in verdict({"value": -0.1, "interval": [-0.2, -0.05]})
