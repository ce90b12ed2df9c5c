"""What a store holds by sample is offered, whatever its name."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr

from sslmem_kit import store
from sslmem_kit.explorer.session import Session
from sslmem_kit.explorer.study_cache import Library
from sslmem_kit.names import PARTITION_CODE
from tests.support.fake_study import make_study


@pytest.fixture(scope="module")
def session(tmp_path_factory: pytest.TempPathFactory) -> Session:
    study = make_study(tmp_path_factory.mktemp("quantities") / "study")
    n, encoders = study.results.sizes["sample"], study.results.sizes["encoder"]
    rng = np.random.default_rng(1)
    groups = {
        "later": xr.Dataset(
            {"feldman": ("sample", rng.normal(size=n)), "nearest": ("sample", np.arange(n), {"references": "sample"})}
        ),
        "layers": xr.Dataset({"alignment": (("sample", "encoder", "layer"), rng.random((n, encoders, 3)))}).assign_coords(
            layer=[0, 4, 9]
        ),
    }
    for name, group in groups.items():
        group.to_zarr(study.results_path, group=name, mode="w", zarr_format=3, consolidated=False)
    store.finish(study.results_path)
    return Session(Library([study.path]))


def test_groups_of_later_versions_are_offered(session: Session) -> None:
    keys = set(session.quantities)
    assert {"later/feldman", "layers/alignment:g-f@layer=4", "layers/alignment:f@layer=9", "sslmem", "z"} <= keys
    assert not {key for key in keys if "nearest" in key or "thumbnail" in key or "trained_on" in key}
    labels = [quantity.label for quantity in session.quantities.values()]
    assert len(set(labels)) == len(labels)


def test_values_against_plain_numpy(session: Session) -> None:
    layers = session.opened.tree["layers/alignment"].values[:, :, 1]
    family = session.opened.tree["family"].values.astype(object)
    expected = layers[:, family == "g"].mean(axis=1) - layers[:, family == "f"].mean(axis=1)
    assert session.column("layers/alignment:g-f@layer=4") == pytest.approx(expected, abs=1e-6)
    session.seed = [1]
    one = layers[:, (family == "g") & (session.opened.tree["seed"].values == 1)][:, 0]
    assert session.column("layers/alignment:g@layer=4") == pytest.approx(one, abs=1e-6)
    session.seed = []
    assert session.column("later/feldman").tolist() == session.opened.tree["later/feldman"].values.astype("f4").tolist()


def test_the_false_discovery_rate_is_a_quantity_and_a_threshold(session: Session) -> None:
    assert {"p_value", "q_value"} <= set(session.quantities)
    codes, rates = session.opened.partitions, session.column("q_value")
    assert np.isfinite(rates[(codes == PARTITION_CODE["candidate"]) | (codes == PARTITION_CODE["independent"])]).all()
    assert np.isnan(rates[(codes == PARTITION_CODE["shared"]) | (codes == PARTITION_CODE["extra"])]).all()
    session.param.update(threshold_by="fdr", threshold=0.25)
    # Independents have low rates at low scores: they must not lower the limit.
    listed = (rates <= 0.25) & (codes == PARTITION_CODE["candidate"])
    assert session.limit == pytest.approx(session.scores["sslmem"].values[listed].min(), rel=1e-6)
    session.threshold = -1.0
    assert session.limit == float("inf")
