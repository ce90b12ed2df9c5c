"""Replicates of Deja Vu scores: signs by partition, the first crop and number, public samples that have no answer."""

from __future__ import annotations

import numpy as np
import xarray as xr

from sslmem_kit.scores import _example
from sslmem_kit.scores.comparisons.base import summarized
from sslmem_kit.scores.comparisons.dejavu import reduce


def _measured(tree: xr.DataTree) -> xr.Dataset:
    """Consistency that is .5 higher for what an encoder was trained on, in the first cell alone; of f .1 higher for all."""
    seen = tree["trained_on"].drop_vars(["label", "partition"]).astype(float)
    of_f = xr.where(tree["family"] == "f", 0.1, 0.0)
    first = xr.DataArray(
        [[1.0, 0.0], [0.0, 0.0]], {"crop": ["corner:0.5", "corner:0.3"], "neighbours": [20, 5]}, ("crop", "neighbours")
    )
    public = xr.zeros_like(seen.rename(sample="public_sample"))
    public[0] = np.nan
    return xr.Dataset(
        {
            "consistency": (0.2 + of_f + 0.5 * seen) * first,
            "held_consistency": 0.3 + 0.5 * seen,
            "reference_probability": 0 * seen + 0.1,
            "public_held_consistency": public + 0.25,
            "public_reference_probability": public + 0.1,
        }
    )


def test_candidates_score_high_and_independents_low() -> None:
    tree = xr.DataTree(_example.results())
    found = reduce(_measured(tree), tree)
    codes = tree["partition"].values
    for code, value in enumerate((0.1, 0.6, -0.4, 0.1)):
        np.testing.assert_allclose(found["dejavu"].values[codes == code], value)
    assert found["dejavu"].dims == ("sample", "seed")
    np.testing.assert_allclose(found["dejavu_one"].values[codes == 1], 0.7 - 0.15)
    np.testing.assert_allclose(found["dejavu_one"].values[codes == 3], 0.2 - 0.15)


def test_a_sample_without_an_answer_has_no_score() -> None:
    tree = xr.DataTree(_example.results())
    raw = _measured(tree)
    for name in ("consistency", "held_consistency"):
        raw[name].loc[{"sample": raw["sample"][3]}] = np.nan
    scores = summarized(reduce(raw, tree))
    for name in ("dejavu", "dejavu_one"):
        np.testing.assert_array_equal(np.isnan(scores[name]), np.arange(40) == 3)
