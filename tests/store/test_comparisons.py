"""Comparisons in a store: written, read, replaced, found damaged, and columns of the scores."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from sslmem_kit import open_study, store
from sslmem_kit.errors import UserError
from sslmem_kit.report import comparisons as section
from sslmem_kit.report.export import score_table
from sslmem_kit.run.comparisons import add_scores
from sslmem_kit.run.repair import repair_results
from sslmem_kit.store import integrity
from sslmem_kit.store.comparisons import check_names, read_part, remove_comparison, scores_of, stored_comparisons, write_part
from sslmem_kit.store.files import remove
from sslmem_kit.store.metadata import read_documents
from tests.support.fake_study import make_study


def replicates(study, value: float, name: str = "other") -> xr.Dataset:
    count = study.tree.sizes["sample"]
    return xr.Dataset({name: (("sample", "seed"), value + np.tile([0.0, 1.0], (count, 1)))}, {"seed": [0, 1]})


@pytest.fixture
def study(tmp_path: Path):
    return make_study(tmp_path / "study", samples=120)


def test_a_comparison_is_a_column_of_scores_and_exports(study) -> None:
    before = study.scores()
    add_scores(study, "mine", replicates(study, 1.0), attrs={"options": "{}"})
    again = open_study(study.path)
    scores = again.scores()
    assert set(scores.data_vars) - set(before.data_vars) == {"other", "other_error"}
    assert (scores["other"] == 1.5).all()
    assert (scores["other_error"] == 0.5).all()
    assert "other" not in again.scores(encoders=["f-0", "g-0"])
    table = score_table(again)
    assert (table["other"] == 1.5).all()
    xr.testing.assert_identical(scores.drop_vars(["other", "other_error"]), before)


def test_it_is_replaced_and_removed_with_its_checksums(study) -> None:
    for value in (1.0, 2.0):
        add_scores(study, "mine", replicates(study, value), attrs={})
        assert not integrity.damages(study.results_path, read_documents(study.results_path), whole=True)
        assert (open_study(study.path).scores()["other"] == value + 0.5).all()
    add_scores(study, "second", replicates(study, 0.0, "third"), attrs={})
    remove_comparison(study.results_path, "mine")
    store.finish(study.results_path)
    tree = store.open_results(study.results_path)
    assert [*stored_comparisons(tree)] == ["second"]
    assert scores_of(stored_comparisons(tree)["second"]) == ["third"]
    assert not integrity.damages(study.results_path, read_documents(study.results_path), whole=True)


def test_damage_is_found_and_its_repair_removes_comparisons_alone(study) -> None:
    add_scores(study, "mine", replicates(study, 1.0), attrs={})
    add_scores(study, "theirs", replicates(study, 3.0, "third"), attrs={})
    chunk = next(
        path
        for path in (study.results_path / "comparisons" / "mine" / "other").rglob("*")
        if path.is_file() and path.name != "zarr.json"
    )
    content = bytearray(chunk.read_bytes())
    content[len(content) // 2] ^= 1
    chunk.write_bytes(content)
    with pytest.raises(UserError, match=r"what was written|checksum|damaged"):
        open_study(study.path).scores()
    with pytest.raises(UserError, match="sslmem run"):
        section.as_json(open_study(study.path))
    encoders = [str(name) for name in store.open_results(study.results_path)["encoder"].values]
    repairs = repair_results(study, lambda path: None, encoders=encoders)
    assert repairs.messages == ["comparisons/mine is damaged (unless the spec lists it, wait for `sslmem compare --with mine`)"]
    assert not repairs.retrain
    store.finish(study.results_path)
    scores = open_study(study.path).scores()
    assert "other" not in scores
    assert (scores["third"] == 3.5).all()
    assert not integrity.damages(study.results_path, read_documents(study.results_path), whole=True)


@pytest.mark.parametrize("lost", ["mine", "zarr.json"])
def test_a_part_of_the_comparisons_that_is_gone_costs_no_other(study, lost: str) -> None:
    add_scores(study, "mine", replicates(study, 1.0), attrs={})
    add_scores(study, "theirs", replicates(study, 3.0, "third"), attrs={})
    encoders = [str(name) for name in study.results["encoder"].values]
    remove(study.results_path / "comparisons" / lost)
    repair_results(study, lambda path: None, encoders=encoders)
    store.finish(study.results_path)
    scores = open_study(study.path).scores()
    assert ("other" in scores) == (lost != "mine")
    assert (scores["third"] == 3.5).all()
    assert not integrity.damages(study.results_path, read_documents(study.results_path), whole=True)


def test_a_name_that_is_taken_is_refused(study) -> None:
    add_scores(study, "mine", replicates(study, 1.0), attrs={})
    tree = store.open_results(study.results_path)
    check_names(tree, ["other"], "mine")
    for column in ("other", "sslmem", "q_value"):
        with pytest.raises(UserError, match=f"column {column!r} of yours is one of"):
            check_names(tree, [column], "yours")


def test_a_name_of_what_is_kept_beside_a_score_is_refused(study) -> None:
    add_scores(study, "mine", replicates(study, 1.0), attrs={})
    tree = store.open_results(study.results_path)
    for columns in (["x_error", "x"], ["x", "x_by_seed"], ["other_error"], ["seed"], ["encoder"]):
        with pytest.raises(UserError, match=r"rename one of them|another name"):
            check_names(tree, columns, "yours")


def test_a_part_is_that_of_its_key_alone(tmp_path: Path) -> None:
    path = tmp_path / "a" / "f-0.nc"
    part = xr.Dataset({"x": ("sample", [1.0, 2.0])}, {"sample": [3, 4]}, {"key": "k", "seconds": 1.5})
    assert read_part(path, "k") is None
    write_part(path, part)
    xr.testing.assert_identical(read_part(path, "k"), part)
    assert read_part(path, "another") is None
    path.write_bytes(path.read_bytes()[:100])
    assert read_part(path, "k") is None
