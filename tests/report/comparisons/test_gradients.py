"""A report says of which loss gradients are."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
import xarray as xr

from sslmem_kit import open_study
from sslmem_kit.report.comparisons import as_json, as_text
from sslmem_kit.run.comparisons import add_scores
from tests.support.fake_study import make_study


@pytest.mark.parametrize(
    ("loss", "said"), [("training", "at 2 states of its training"), ("alignment", "kept no states of its objective")]
)
def test_the_loss_is_said(tmp_path: Path, loss: str, said: str) -> None:
    study = make_study(tmp_path / "study", samples=120)
    count, encoders = study.tree.sizes["sample"], study.tree.sizes["encoder"]
    norm = xr.DataArray(np.ones((count, encoders, 2)), dims=("sample", "encoder", "checkpoint"), coords={"checkpoint": [3, 6]})
    raw = xr.Dataset({"norm": norm}, {"sample": study.tree["sample"].values, "encoder": study.tree["encoder"].values})
    scores = xr.Dataset({"gradient_norm": (("sample", "seed"), np.ones((count, 2)))}, {"seed": [0, 1]})
    add_scores(study, "gradients", scores, raw=raw, attrs={"loss": loss})
    found = as_json(open_study(study.path), ["gradients"])
    assert found["comparisons"]["gradients"]["found"] == {"loss": loss, "states": 2}
    assert said in "\n".join(as_text(found))
