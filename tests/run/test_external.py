"""A table of scores becomes columns of a study; names that cannot be, and other tables of one name, are refused."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pandas as pd
import pytest

from sslmem_kit.errors import UserError
from sslmem_kit.report.comparisons import as_json
from sslmem_kit.report.export import score_table
from sslmem_kit.run.external import add_table, name_and_path
from tests.support.fake_study import make_study


def test_a_table_becomes_a_column_of_the_scores(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study")
    ids = study.results["sample"].values[::2]
    pd.DataFrame({"sample": ids, "memorization": ids / 7}).to_csv(tmp_path / "feldman.csv", index=False)
    found = add_table(study, str(tmp_path / "feldman.csv")).scores()
    np.testing.assert_allclose(found["feldman"].sel(sample=ids).values, ids / 7)
    assert np.isnan(found["feldman"].values[1::2]).all()
    assert np.isnan(found["feldman_error"].values).all()  # one replicate
    assert found["feldman"].attrs["higher"] == "as in the file"
    assert score_table(study)["feldman"].notna().sum() == len(ids)
    report = as_json(study)["comparisons"]["feldman"]
    assert report["scores"]["feldman"]["n"] == len(ids)
    assert f"{len(ids)} of its {len(ids)} rows are samples of this study, by sample" in report["definition"]


def test_several_columns_have_names_of_their_own(tmp_path: Path) -> None:
    study = make_study(tmp_path / "study")
    ids = study.results["sample"].values
    pd.DataFrame({"sample": ids, "c-score": ids / 7, "other": -ids}).to_csv(tmp_path / "a b.csv", index=False)
    with pytest.raises(UserError, match=r"'a b' is no name of a comparison.*--with NAME="):
        add_table(study, str(tmp_path / "a b.csv"))
    found = add_table(study, f"theirs={tmp_path / 'a b.csv'}").scores()
    np.testing.assert_allclose(found["theirs_c_score"].values, ids / 7)
    np.testing.assert_allclose(found["theirs_other"].values, -ids)


def test_another_table_of_that_name_is_refused(tmp_path: Path) -> None:
    study, path = make_study(tmp_path / "study"), tmp_path / "theirs.csv"
    frame = pd.DataFrame({"sample": study.results["sample"].values, "score": np.arange(study.results.sizes["sample"])})
    frame.to_csv(path, index=False)
    messages: list[str] = []
    add_table(study, str(path))
    add_table(study, str(path), on_event=lambda event: messages.append(str(event)))
    assert "complete" in messages[0]
    frame.assign(score=-frame["score"]).to_csv(path, index=False)
    with pytest.raises(UserError, match="has another table 'theirs'; --again"):
        add_table(study, str(path))
    assert add_table(study, str(path), again=True).scores()["theirs"].values[5] == -5


def test_names_of_measured_comparisons_are_refused() -> None:
    with pytest.raises(UserError, match="'supervised' is a comparison that is measured"):
        name_and_path("supervised=scores.csv")
