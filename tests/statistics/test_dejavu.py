"""Shares by partition, crop and number of neighbours; of one encoder above public samples."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from sslmem_kit.statistics.dejavu import one_encoder, one_encoders, paired_encoders, summary
from sslmem_kit.statistics.paired_shares import half_difference, paired_shares


def raw(
    rng: np.random.Generator, *, n: int = 80, crops: tuple[str, ...] = ("corner:0.3", "periphery:0.7"), public: int = 50
) -> xr.Dataset:
    """What six encoders of pairs and one more were measured, at random."""
    family, seed = [*"fgfgfg", "all"], [0, 0, 1, 1, 2, 2, 9]
    shape = (n, len(crops), 2, 7)
    dims = ("sample", "crop", "neighbours", "encoder")
    columns: dict[str, object] = {name: (dims, rng.integers(0, 2, shape).astype(float)) for name in ("named", "consistency")}
    columns["confidence"] = (dims, rng.uniform(size=shape))
    for dim, size, prefix in (("sample", n, ""), ("public_sample", public, "public_")):
        for name in ("held_named", "reference_named", "held_consistency", "reference_probability"):
            columns[prefix + name] = ((dim, "encoder"), rng.integers(0, 2, (size, 7)).astype(float))
    coords = {"crop": list(crops), "neighbours": [20, 5], "family": ("encoder", family), "seed": ("encoder", seed)}
    return xr.Dataset(columns, coords | {"design": ("encoder", ["pair"] * 6 + ["subset"])})


def test_every_cell_is_of_its_partition() -> None:
    measured, codes = raw(np.random.default_rng(0)), np.arange(80) % 3
    found = summary(measured, codes)
    assert paired_encoders(measured) == ([0, 1, 2], [0, 2, 4], [1, 3, 5])
    f, g = (measured["named"].sel(crop="periphery:0.7", neighbours=5).values[:, places] for places in ([0, 2, 4], [1, 3, 5]))
    cell = found.sel(crop="periphery:0.7", neighbours=5, partition="candidate")
    own = paired_shares(f[codes == 1], g[codes == 1])
    for name in own.data_vars:
        np.testing.assert_array_equal(cell[name], own[name])
    assert cell["effect_value"] == half_difference(f, g, codes)["value"]
    assert found.sel(partition="extra")["n"].values.tolist() == [[0, 0], [0, 0]]
    assert found["confident_gap"].sel(partition="candidate", fraction=1.0).sel(
        crop="periphery:0.7", neighbours=5
    ).item() == pytest.approx(own["net"].item())


def test_one_encoder_is_compared_with_public_samples() -> None:
    measured, codes = raw(np.random.default_rng(1)), np.arange(80) % 3
    found = one_encoders(measured, codes == 1)
    f = [0, 2, 4]
    alone = measured["held_named"].values * (1 - measured["reference_named"].values)
    public = measured["public_held_named"].values * (1 - measured["public_reference_named"].values)
    assert found["share"].item() == pytest.approx(alone[codes == 1][:, f].mean())
    assert found["excess"].item() == pytest.approx(alone[codes == 1][:, f].mean() - public[:, f].mean())


@pytest.mark.parametrize(("n", "public", "share"), [(40, 30, 0.1), (300, 100, 0.02), (200, 1000, 0.5)])
def test_the_excess_covers_nothing_where_there_is_nothing(n: int, public: int, share: float) -> None:
    rng = np.random.default_rng(n)
    covered = 0
    for _ in range(300):
        parts = [(rng.uniform(size=(size, 1)) < share).astype(float) for size in (n, public)]
        low, high = one_encoder(parts[0], np.zeros((n, 1)), parts[1], np.zeros((public, 1)))["interval_samples"].values
        covered += low <= 0 <= high
    assert covered >= 0.93 * 300


def test_nothing_is_known_of_no_samples() -> None:
    found = one_encoder(np.empty((0, 1)), np.empty((0, 1)), np.ones((3, 1)), np.zeros((3, 1)))
    assert np.isnan(found["excess"])
    assert np.isnan(found["interval_samples"]).all()
