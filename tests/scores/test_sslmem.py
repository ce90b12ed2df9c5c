"""Scores against loops over samples, encoders and pairs of views, and what must not change them."""

from __future__ import annotations

import itertools
import tracemalloc
from pathlib import Path

import dask.array
import numpy as np
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy import stats

from sslmem_kit.errors import UserError
from sslmem_kit.scores import contrast, default_protocol, family_contrast, leave_out, normalize_range, score, select_protocol
from tests.support.fake_study import make_study

CANDIDATE = 1
sizes = st.fixed_dictionaries(
    {"samples": st.integers(4, 9), "views": st.integers(2, 4), "seeds": st.integers(1, 3), "seed": st.integers(0, 99)}
)
quick = settings(deadline=None, max_examples=15)


def made(*, samples: int = 12, views: int = 4, seeds: int = 3, seed: int = 0) -> xr.Dataset:
    """Root of a results store with random alignments."""
    rng = np.random.default_rng(seed)
    pairs = np.array(list(itertools.combinations(range(views + 1), 2)))
    family = np.array(["f", "g"] * seeds)
    codes = np.arange(samples) % 4
    seen = np.array([[code == 0 or code == {"f": 1, "g": 2}[name] for name in family] for code in codes])
    return xr.Dataset(
        {
            "alignment": (("sample", "augmentation", "encoder"), rng.gamma(2, 0.3, (samples, len(pairs), 2 * seeds))),
            "trained_on": (("sample", "encoder"), seen),
        },
        coords={
            "sample": np.arange(samples) * 7,
            "partition": ("sample", codes),
            "label": ("sample", codes % 2),
            "view_a": ("augmentation", pairs[:, 0]),
            "view_b": ("augmentation", pairs[:, 1]),
            "encoder": [f"{name}-{number // 2}" for number, name in enumerate(family)],
            "family": ("encoder", family),
            "seed": ("encoder", np.repeat(np.arange(seeds), 2)),
        },
    )


def over_pairs(alignment: xr.DataArray) -> xr.DataArray:
    """Mean over pairs of views by hand: a third of the clean image with each view, two thirds of views with each other."""
    clean = (alignment["view_a"] == 0) | (alignment["view_b"] == 0)
    kinds = [alignment.isel(augmentation=np.flatnonzero(kind)) for kind in (clean, ~clean)]
    if not all(kind.sizes["augmentation"] for kind in kinds):
        return alignment.mean("augmentation")
    return kinds[0].mean("augmentation") / 3 + 2 * kinds[1].mean("augmentation") / 3


def by_loop(alignment: xr.DataArray, out: np.ndarray) -> np.ndarray:
    """Mean where ``out`` minus mean where not: (sample, augmentation, encoder), (sample, encoder) -> (sample,)."""
    result = []
    for values, is_out in zip(over_pairs(alignment).transpose("sample", "encoder").values, out, strict=True):
        means = {True: [], False: []}
        for encoder, side in enumerate(is_out):
            means[bool(side)].append(values[encoder])
        result.append(
            sum(means[True]) / len(means[True]) - sum(means[False]) / len(means[False]) if all(means.values()) else np.nan
        )
    return np.array(result)


def plainly(root: xr.Dataset, protocol: str) -> xr.Dataset:
    """The scores by labelled arithmetic on the whole array at once: slow, and the oracle of the blockwise computation."""
    alignment = select_protocol(root["alignment"], protocol).load().astype(np.float64)
    of_g, of_f = (alignment.isel(encoder=np.flatnonzero(alignment["family"] == family)) for family in ("g", "f"))
    result = {"alignment_g": over_pairs(of_g).mean("encoder"), "alignment_f": over_pairs(of_f).mean("encoder")}
    difference = result["difference"] = result["alignment_g"] - result["alignment_f"]
    contrast = of_g.mean("encoder") - of_f.mean("encoder")
    a, b = contrast["view_a"], contrast["view_b"]
    views = sorted({*a.values.tolist(), *b.values.tolist()} - {0})
    without = [over_pairs(contrast.where((a != view) & (b != view), drop=True)) for view in views]
    without = xr.concat(without, "left_out", coords="minimal", compat="override")
    k = len(views)
    result["standard_error_views"] = np.sqrt((k - 1) / k * ((without - without.mean("left_out")) ** 2).sum("left_out"))
    by_seed = [over_pairs(side).swap_dims(encoder="seed").drop_vars("encoder").sortby("seed") for side in (of_g, of_f)]
    spread = (by_seed[0] - by_seed[1]).std("seed", ddof=1)
    result["standard_error_encoders"] = spread / np.sqrt(by_seed[0].sizes["seed"])
    null = difference.values[(root["trained_on"].all("encoder") | ~root["trained_on"].any("encoder")).values]
    result["z"] = (difference - null.mean()) / null.std(ddof=1)
    result["quantile"] = difference.copy(data=[(null <= value).mean() for value in difference.values])
    return xr.Dataset(result)


@pytest.mark.parametrize("protocol", ["paper", "released", "corrected"])
@pytest.mark.parametrize("lazy", [False, True])
def test_block_by_block_is_as_plainly(protocol, lazy, monkeypatch):
    root = made(samples=50, views=4, seeds=3, seed=1)
    root["alignment"] = root["alignment"].astype(np.float32)
    expected = plainly(root, protocol)
    if lazy:  # chunks that are neither the blocks nor what is read at once
        root = root.chunk(sample=13, encoder=1)
    monkeypatch.setattr(contrast, "BLOCK", 7)
    monkeypatch.setattr(contrast, "READ_BYTES", 2 * 7 * 10 * 6 * 4)
    found = score(root.transpose("encoder", "sample", "augmentation"), protocol=protocol)
    for name in expected.data_vars:
        assert expected[name].notnull().all()
        np.testing.assert_allclose(found[name], expected[name], rtol=1e-9, atol=1e-12, err_msg=name)


def test_alignments_are_never_in_memory_all_at_once(monkeypatch):
    samples, pairs, encoders = 16_384, list(itertools.combinations(range(11), 2)), 4
    alignment = xr.DataArray(
        dask.array.zeros((samples, len(pairs), encoders), dtype=np.float32, chunks=(1024, -1, 1)),
        dims=("sample", "augmentation", "encoder"),
        coords={
            "view_a": ("augmentation", [a for a, _ in pairs]),
            "view_b": ("augmentation", [b for _, b in pairs]),
            "family": ("encoder", ["f", "g"] * 2),
            "seed": ("encoder", [0, 0, 1, 1]),
        },
    )
    monkeypatch.setattr(contrast, "BLOCK", 1024)
    monkeypatch.setattr(contrast, "READ_BYTES", alignment.nbytes // 16)
    family_contrast(alignment[:1024])
    tracemalloc.start()
    try:
        result = family_contrast(alignment)
        peak = tracemalloc.get_traced_memory()[1]
    finally:
        tracemalloc.stop()
    assert peak - result.nbytes < alignment.nbytes / 2


def test_only_the_named_encoders_count():
    root = made(seeds=3)
    found = score(root, encoders=["g-2", "f-0", "f-2", "g-0"])
    xr.testing.assert_identical(found, score(root.isel(encoder=[0, 1, 4, 5])))
    assert found.attrs["encoders"] == "f-0, g-0, f-2, g-2"
    assert found["n_f"].values.tolist() == [2] * 12
    assert np.abs(found["difference"] - score(root)["difference"]).max() > 1e-3


@pytest.mark.parametrize(
    ("encoders", "told"),
    [
        (["f-0", "g-9"], r"encoders: .*'g-9'.*f-0, g-0, f-1, g-1, f-2, g-2"),
        (["f-0", "f-1"], "2 encoders of f and 0 of g"),
        ([], "0 encoders of f and 0 of g"),
    ],
)
def test_encoders_that_cannot_be_scored_are_told(encoders, told):
    with pytest.raises(UserError, match=told):
        score(made(), encoders=encoders)


def test_a_study_scores_what_its_store_holds(tmp_path: Path):
    study = make_study(tmp_path / "study")
    for arguments in ({"protocol": "paper"}, {"encoders": ["f-1", "g-1"]}):
        expected = score(study.results, **arguments)
        found = study.scores(**arguments)[list(expected.data_vars)]
        found.attrs = {name: value for name, value in found.attrs.items() if not name.startswith("reliability_")}  # of shrunken
        xr.testing.assert_identical(found, expected)


def test_a_lost_chunk_of_one_encoder_among_several_is_told(tmp_path: Path):
    study = make_study(tmp_path / "study")
    (study.results_path / "alignment" / "c" / "1" / "0" / "2").unlink()
    with pytest.raises(UserError, match=r"alignment of f-1, block 1 \(samples 64 to 127 of its \d+\), is missing"):
        study.scores()


def test_family_contrast_is_g_minus_f():
    root = made()
    found = family_contrast(root["alignment"])
    out = np.broadcast_to(root["family"].values == "g", (12, 6))
    np.testing.assert_allclose(found["sslmem"], by_loop(root["alignment"], out), rtol=1e-12)
    assert found["n_f"].values.tolist() == found["n_g"].values.tolist() == [3] * 12
    assert int(found["n_augmentations"]) == 10


def test_leave_out_follows_trained_on():
    root = made()
    seen = xr.DataArray(
        np.random.default_rng(1).random((12, 6)) < 0.5, dims=("sample", "encoder"), coords={"encoder": root["encoder"]}
    )
    seen[0], seen[1] = True, False
    found = leave_out(root["alignment"], seen)
    np.testing.assert_allclose(found["sslmem"], by_loop(root["alignment"], ~seen.values), rtol=1e-12)
    assert np.isnan(found["sslmem"].values).tolist() == [True, True] + [False] * 10
    assert found["n_in"].values.tolist() == seen.values.sum(axis=1).tolist()
    assert (found["n_in"] + found["n_out"] == 6).all()


def test_leave_out_refuses_another_study_s_trained_on():
    root = made()
    with pytest.raises(ValueError, match="sample"):
        leave_out(root["alignment"], root["trained_on"].isel(sample=slice(None, None, -1)))


def test_leave_out_of_candidates_is_their_family_contrast():
    root = made()
    contrast, left = (
        family_contrast(root["alignment"])["sslmem"].values,
        leave_out(root["alignment"], root["trained_on"])["sslmem"].values,
    )
    codes = root["partition"].values
    np.testing.assert_allclose(left[codes == 1], contrast[codes == 1])
    np.testing.assert_allclose(left[codes == 2], -contrast[codes == 2])
    assert np.isnan(left[(codes == 0) | (codes == 3)]).all()


def test_protocols_select_pairs():
    alignment = made(views=3)["alignment"]
    pairs = {
        protocol: [*zip(chosen["view_a"].values.tolist(), chosen["view_b"].values.tolist(), strict=True)]
        for protocol in ("paper", "released", "corrected")
        for chosen in [select_protocol(alignment, protocol)]
    }
    assert pairs["released"] == [(0, 1), (0, 2), (0, 3)]
    assert pairs["paper"] == [(1, 2), (1, 3), (2, 3)]
    assert sorted(pairs["corrected"]) == sorted(pairs["paper"] + pairs["released"])


def test_an_unknown_protocol_and_too_few_views_are_told():
    with pytest.raises(UserError, match=r"'best'.*paper, released, corrected"):
        select_protocol(made()["alignment"], "best")
    for protocol in ("paper", "corrected"):
        with pytest.raises(UserError, match=r"views.*choose `released`"):
            select_protocol(made(views=1)["alignment"], protocol)
    assert default_protocol(made(views=1)) == "released"
    assert default_protocol(made(views=2)) == "corrected"


@pytest.mark.parametrize("protocol", ["paper", "released", "corrected"])
def test_the_error_over_views_leaves_out_one_view_at_a_time(protocol):
    alignment = select_protocol(made(views=4)["alignment"], protocol)
    found = family_contrast(alignment)["standard_error_views"].values
    a, b, is_g = alignment["view_a"].values, alignment["view_b"].values, alignment["family"].values == "g"
    for sample in range(alignment.sizes["sample"]):
        without = []
        for view in (1, 2, 3, 4):
            rest = [pair for pair in range(len(a)) if view not in (a[pair], b[pair])]
            values = over_pairs(alignment.isel(augmentation=rest)).values[sample]
            without.append(values[is_g].mean() - values[~is_g].mean())
        expected = np.sqrt(3 / 4 * sum((value - np.mean(without)) ** 2 for value in without))
        np.testing.assert_allclose(found[sample], expected, rtol=1e-9)


def test_the_error_over_encoders_is_paired_by_seed():
    alignment = made(seeds=3)["alignment"]
    means = over_pairs(alignment).values
    differences = means[:, 1::2] - means[:, ::2]
    found = family_contrast(alignment)
    np.testing.assert_allclose(found["standard_error_encoders"], stats.sem(differences, axis=1))


def test_the_whole_error_is_more_than_that_over_encoders_and_less_than_both_parts_together():
    found = family_contrast(made(seeds=3)["alignment"])  # too few samples for their variances to be moved towards each other
    encoders, views = found["standard_error_encoders"], found["standard_error_views"]
    assert (found["standard_error"] >= encoders).all()
    assert (found["standard_error"] < np.hypot(encoders, views)).all()
    np.testing.assert_allclose(found["high"] - found["sslmem"], found["sslmem"] - found["low"])
    assert (found["high"] - found["low"] > 2 * 1.95 * found["standard_error"]).all()


@pytest.mark.parametrize("design", [["pair"] * 4 + ["subset"] * 2, ["pair"] * 6])
def test_scores_rest_on_the_pairs_where_there_are_other_encoders_too(design):
    root = made(seeds=3)
    found = score(root.assign_coords(design=("encoder", design)))
    xr.testing.assert_identical(found, score(root.isel(encoder=[i for i, name in enumerate(design) if name == "pair"])))
    named = score(root.assign_coords(design=("encoder", design)), encoders=["f-2", "g-2"])
    xr.testing.assert_identical(named, score(root, encoders=["f-2", "g-2"]))


def test_without_pairs_the_error_over_encoders_is_of_two_independent_means():
    alignment = made(seeds=3)["alignment"]
    alone = alignment.assign_coords(seed=("encoder", np.arange(6)))
    means = over_pairs(alignment).values
    expected = np.sqrt(means[:, ::2].var(axis=1, ddof=1) / 3 + means[:, 1::2].var(axis=1, ddof=1) / 3)
    np.testing.assert_allclose(family_contrast(alone)["standard_error_encoders"], expected)
    trained = xr.DataArray(np.broadcast_to(alignment["family"].values == "f", (12, 6)), dims=("sample", "encoder"))
    np.testing.assert_allclose(leave_out(alone, trained)["standard_error_encoders"], expected)


def test_subsets_of_one_seed_are_compared_with_each_other():
    root = made(samples=30, seeds=8)  # four seeds of four encoders, each trained on all but one of four folds
    folds = np.random.default_rng(3).integers(0, 4, (30, 4))
    seen = (folds[:, :, None] != np.arange(4)).reshape(30, 16)
    seen[0] = True
    alignment = root["alignment"].assign_coords(seed=("encoder", np.repeat(np.arange(4), 4)))
    mixed = np.random.default_rng(4).permutation(16)
    found = leave_out(
        alignment[..., mixed], xr.DataArray(seen[:, mixed], dims=("sample", "encoder"), coords={"encoder": root["encoder"][mixed]})
    )
    means = over_pairs(alignment).values.reshape(30, 4, 4)
    for sample in range(1, 30):
        differences = [
            means[sample, number, fold] - np.delete(means[sample, number], fold).mean() for number, fold in enumerate(folds[sample])
        ]
        assert found["sslmem"].values[sample] == pytest.approx(np.mean(differences))
        assert found["standard_error_encoders"].values[sample] == pytest.approx(stats.sem(differences))
    assert np.isnan(found["standard_error_encoders"].values[0])


def test_seeds_with_unequal_numbers_of_both_kinds_are_independent():
    root = made(samples=8, seeds=4)
    seed = np.array([0, 0, 0, 0, 1, 1, 1, 1])
    seen = np.array([[1, 1, 1, 0, 1, 1, 0, 0]] * 8, bool)
    alignment, seen = root["alignment"], xr.DataArray(seen, dims=("sample", "encoder"), coords={"encoder": root["encoder"]})
    together, apart = (leave_out(alignment.assign_coords(seed=("encoder", s)), seen) for s in (seed, np.arange(8)))
    xr.testing.assert_identical(together, apart)


def test_one_pair_of_encoders_has_no_error_over_encoders():
    found = family_contrast(made(seeds=1)["alignment"])
    assert np.isnan(found["standard_error_encoders"]).all()
    assert np.isnan(found["standard_error"]).all()
    assert np.isfinite(found["standard_error_views"]).all()


def test_one_family_alone_has_no_score():
    root = made()
    with pytest.raises(UserError, match="3 encoders of f and 0 of g"):
        family_contrast(root["alignment"].isel(encoder=[0, 2, 4]))


@pytest.mark.parametrize("protocol", ["paper", "released"])
def test_each_repetition_is_divided_by_its_own_range_of_the_candidates(protocol):
    root = made()
    found, candidates = score(root, protocol=protocol), root["partition"].values == CANDIDATE
    alone = [score(root, protocol=protocol, encoders=[f"f-{seed}", f"g-{seed}"]) for seed in range(3)]
    np.testing.assert_allclose(found["sslmem"], np.mean([one["sslmem"].values for one in alone], axis=0))
    for one, width in zip(alone, found.attrs["ranges"], strict=True):
        assert one.attrs["range"] == pytest.approx(width) == pytest.approx(np.ptp(one["difference"].values[candidates]))
        assert np.ptp(one["sslmem"].values[candidates]) == pytest.approx(1)
    assert found.attrs["range"] == pytest.approx(stats.hmean(found.attrs["ranges"]))
    assert (found.attrs["pairs"], found.attrs["n_range"]) == (3, candidates.sum())
    assert found.attrs["range_over"] == "candidate"
    assert found.attrs["protocol"] == protocol
    assert np.ptp(alone[0]["difference"].values) > found.attrs["ranges"][0], "or the test could not tell the partitions apart"


def test_normalized_scores_do_not_grow_with_the_number_of_pairs():
    means = {}
    for seeds in (1, 3, 10, 30):
        rng = np.random.default_rng(0)
        root = made(samples=2000, seeds=seeds, seed=1)
        seen = root["trained_on"].values
        root["alignment"] = root["alignment"] * 0.1 + rng.normal(size=(2000, 1, 2 * seeds)) - 2 * seen[:, None]
        found = score(root, protocol="paper")
        means[seeds] = float(found["sslmem"].values[root["partition"].values == CANDIDATE].mean())
    assert max(means.values()) < 1.3 * min(means.values()), means  # pooled before they were divided: 4 times with 30 pairs


def test_encoders_that_form_no_repetitions_are_one():
    root = made()
    alone = score(root.assign_coords(seed=("encoder", np.arange(6))), protocol="paper")
    candidates = root["partition"].values == CANDIDATE
    assert np.ptp(alone["sslmem"].values[candidates]) == pytest.approx(1)
    assert alone.attrs["pairs"] == 0


def test_a_sample_without_a_score_is_no_part_of_the_null():
    root = made()
    whole = score(root)
    lost = int(np.flatnonzero(root["partition"].values == 0)[0])
    root["alignment"].values[lost] = np.nan
    with pytest.warns(UserWarning, match=r"^1 of 12 samples have no score"):
        scores = score(root)
    others = np.arange(root.sizes["sample"]) != lost
    assert np.isnan(scores[["z", "quantile"]].isel(sample=lost).to_array()).all()
    assert np.isfinite(scores[["z", "quantile"]].isel(sample=others).to_array()).all()
    assert scores.attrs["n_null"] == whole.attrs["n_null"] - 1


def test_no_samples_have_no_range():
    with pytest.raises(UserError, match="range normalization: none of the 0 samples"):
        score(made().isel(sample=[]), protocol="paper")


def test_corrected_is_the_difference_itself():
    found = score(made(), protocol="corrected")
    np.testing.assert_array_equal(found["sslmem"], found["difference"])
    assert "range" not in found.attrs
    assert found.attrs["protocol"] == "corrected"


def test_a_range_of_equal_scores_is_refused():
    scores = xr.DataArray(np.ones(3), dims="sample")
    with pytest.raises(UserError, match="the 3 scores"):
        normalize_range(scores, scores > 0)


def test_z_and_quantile_are_against_what_both_families_or_neither_saw():
    root = made(samples=40)
    found = score(root)
    difference, codes = found["difference"].values, root["partition"].values
    null = difference[(codes == 0) | (codes == 3)]
    assert found.attrs["n_null"] == len(null) == 20
    np.testing.assert_allclose(found["z"], (difference - null.mean()) / null.std(ddof=1))
    np.testing.assert_allclose(found["quantile"], [(null <= value).mean() for value in difference])


def test_alignment_by_family():
    root = made()
    found, values = score(root), over_pairs(root["alignment"]).values
    np.testing.assert_allclose(found["alignment_f"], values[:, ::2].mean(axis=1))
    np.testing.assert_allclose(found["alignment_g"], values[:, 1::2].mean(axis=1))


@given(sizes)
@quick
def test_swapping_families_flips_the_sign(size):
    alignment = made(**size)["alignment"]
    swapped = alignment.assign_coords(family=("encoder", np.where(alignment["family"] == "f", "g", "f")))
    one, other = family_contrast(alignment), family_contrast(swapped)
    np.testing.assert_allclose(one["sslmem"], -other["sslmem"])
    np.testing.assert_allclose(one["standard_error_views"], other["standard_error_views"])
    np.testing.assert_allclose(one["standard_error_encoders"], other["standard_error_encoders"])


@given(sizes, st.sampled_from(["sample", "encoder", "augmentation"]))
@quick
def test_an_order_of_the_axes_means_nothing(size, dim):
    root = made(**size)
    shuffled = root.isel({dim: np.random.default_rng(0).permutation(root.sizes[dim])})
    one, other = score(root), score(shuffled).sortby("sample")
    for name in ("sslmem", "standard_error_views", "standard_error_encoders", "z", "quantile", "alignment_f", "low"):
        np.testing.assert_allclose(one[name], other[name], atol=1e-12, err_msg=name)


@given(sizes)
@quick
def test_what_all_encoders_share_cancels(size):
    alignment = made(**size)["alignment"]
    shared = xr.DataArray(np.random.default_rng(0).normal(size=alignment.sizes["sample"]), dims="sample")
    one, other = family_contrast(alignment), family_contrast(alignment + shared)
    for name in ("sslmem", "standard_error_views", "standard_error_encoders"):
        np.testing.assert_allclose(one[name], other[name], atol=1e-12)


@given(sizes)
@quick
def test_encoders_that_are_there_twice_change_no_mean(size):
    root = made(**size)
    twice = xr.concat([root, root], "encoder", data_vars="minimal", coords="minimal", join="override", compat="override")
    np.testing.assert_allclose(
        family_contrast(root["alignment"])["sslmem"], family_contrast(twice["alignment"])["sslmem"], atol=1e-12
    )
    one, other = (leave_out(part["alignment"], part["trained_on"]) for part in (root, twice))
    np.testing.assert_allclose(one["sslmem"], other["sslmem"], atol=1e-12)
    np.testing.assert_array_equal(2 * one["n_in"], other["n_in"])


@given(sizes, st.floats(0.1, 10))
@quick
def test_scores_scale_with_the_distances_and_the_normalized_ones_do_not(size, factor):
    root = made(**size)
    scaled = root.assign(alignment=root["alignment"] * factor)
    one, other = score(root), score(scaled)
    np.testing.assert_allclose(one["sslmem"] * factor, other["sslmem"], atol=1e-9)
    np.testing.assert_allclose(one["z"], other["z"], atol=1e-9)
    if size["samples"] >= 6:  # two candidates
        np.testing.assert_allclose(
            score(root, protocol="released")["sslmem"], score(scaled, protocol="released")["sslmem"], atol=1e-9
        )


def test_of_three_encoders_of_f_and_two_of_g_the_two_whole_seeds_count():
    root = made(seeds=3)
    found = score(root.isel(encoder=[0, 1, 2, 3, 4]))
    xr.testing.assert_identical(found, score(root.isel(encoder=[0, 1, 2, 3])))
    alone = root.isel(encoder=[0, 1, 2]).assign_coords(seed=("encoder", [0, 0, 1]))  # one whole seed: all count
    assert score(alone)["n_f"].values.tolist() == [2] * 12
