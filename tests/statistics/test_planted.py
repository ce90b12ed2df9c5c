"""Tables of planted kinds: AUC as scikit-learn's, .5 for permuted kinds, duplicates apart by where their originals are."""

import numpy as np
import pytest
import xarray as xr
from sklearn.metrics import roc_auc_score

from sslmem_kit.errors import UserError
from sslmem_kit.names import PARTITION_CODE, PLANTED_CODE
from sslmem_kit.statistics.planted import KINDS, planted_kinds, planted_table


def made_up(rng, n=400):
    """Candidates, some planted, with partitions of the originals of duplicates."""
    codes = rng.permutation(np.repeat([0, 1, 2], [n // 4, n // 2, n // 4]))
    planted = rng.choice(5, n, p=[0.6, 0.1, 0.1, 0.1, 0.1])
    of = np.full(n, -1)
    copies = np.flatnonzero(planted == 1)
    originals = rng.permutation(np.flatnonzero(planted == 0))[: len(copies)]
    of[copies], planted[originals] = originals, PLANTED_CODE["original"]
    return xr.Dataset(
        coords={
            "sample": np.arange(n),
            "partition": ("sample", codes),
            "planted": ("sample", planted),
            "planted_of": ("sample", of),
        }
    )


def test_the_auc_is_scikit_learns_for_each_kind():
    rng = np.random.default_rng(0)
    samples = made_up(rng)
    values = rng.normal(size=(400, 3)) + (samples["planted"].values == PLANTED_CODE["noisy"])[:, None]
    score = xr.DataArray(values, dims=("sample", "seed"), coords={"sample": samples["sample"].values})
    found = planted_table({"a": score}, samples)
    candidate = samples["partition"].values == PARTITION_CODE["candidate"]
    for kind in ("mislabelled", "out_of_distribution", "noisy", "duplicate"):
        chosen = candidate & np.isin(samples["planted"].values, [0, PLANTED_CODE[kind]])
        truth = samples["planted"].values[chosen] > 0
        one = found.sel(score="a", kind=kind)
        assert one["auc"].item() == pytest.approx(roc_auc_score(truth, values.mean(axis=1)[chosen]))
        assert one["auc_of_seed"].item() == pytest.approx(np.mean([roc_auc_score(truth, each[chosen]) for each in values.T]))
        assert one["n_planted"].item() == truth.sum()
    assert found["interval"].sel(score="a", kind="noisy", bound="low") > 0.6
    assert found["auc_of_seed"].sel(score="a", kind="noisy") < found["auc"].sel(score="a", kind="noisy")


def test_of_permuted_kinds_half_is_covered():
    rng, covered = np.random.default_rng(1), []
    for _ in range(200):
        samples = made_up(rng, 200)
        score = xr.DataArray(rng.standard_t(3, size=(200, 3)), dims=("sample", "seed"), coords={"sample": samples["sample"].values})
        found = planted_table({"a": score}, samples).sel(score="a", kind=["mislabelled", "noisy"])
        covered.append(
            [found[name].values[:, 0].tolist() + found[name].values[:, 1].tolist() for name in ("interval", "interval_of_seed")]
        )
    ends = np.array(covered).reshape(200, 2, 2, 2)  # case, which interval, end, kind
    inside = (ends[:, :, 0] <= 0.5) & (ends[:, :, 1] >= 0.5)
    assert (inside.mean(axis=(0, 2)) >= 0.95).all(), inside.mean(axis=(0, 2))


def test_duplicates_are_apart_by_who_saw_their_originals():
    samples = made_up(np.random.default_rng(2))
    found = planted_kinds(samples)
    of = samples["planted_of"].sel(sample=found["sample"]).values
    where = samples["partition"].values[np.maximum(of, 0)]
    copies = found["member"].sel(kind="duplicate").values
    assert (found["member"].sel(kind="duplicate_of_shared").values == copies & (where == 0)).all()
    assert (found["member"].sel(kind="duplicate_unseen").values == copies & (where == 1)).all()
    assert not (found["member"].any("kind") & found["clean"]).any()


def test_what_is_missing_is_nan_and_a_study_without_plants_is_refused():
    samples = made_up(np.random.default_rng(3))
    score = xr.DataArray(np.full(400, np.nan), dims="sample", coords={"sample": samples["sample"].values})
    found = planted_table({"a": score}, samples)
    assert np.isnan(found["auc"]).all()
    assert found["n_clean"].max() == 0
    assert found.sizes["kind"] == len(KINDS)
    with pytest.raises(UserError, match=r"nothing is planted in this study; run one with data.plant"):
        planted_table({"a": score}, samples.drop_vars(["planted", "planted_of"]))
