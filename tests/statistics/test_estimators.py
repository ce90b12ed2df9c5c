"""Estimators against answers that are known: a made-up study whose every score is planted."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from sslmem_kit.errors import UserError
from sslmem_kit.names import PARTITION_CODE
from sslmem_kit.report.estimators import as_json, as_text
from sslmem_kit.scores import _example, family_contrast
from sslmem_kit.scores.estimators import estimate, seeds_of
from sslmem_kit.statistics.estimators import compare_estimators
from sslmem_kit.store import view_pairs

SHARED, CANDIDATES, INDEPENDENTS, EXTRA, PLACES = 60, 40, 40, 10, 40


def made_up(*, noise: float, seed_noise: float = 0.0, pairs: int = 4, cuts: int = 8, seeds: int = 6) -> xr.Dataset:
    """Alignment = level - memorized where trained on + noise of the encoder and the sample; ``memorized`` is known."""
    rng = np.random.default_rng(1)
    n = SHARED + CANDIDATES + INDEPENDENTS + EXTRA
    codes = np.repeat([0, 1, 2, 3], [SHARED, CANDIDATES, INDEPENDENTS, EXTRA])
    memorized = rng.gamma(2.0, 0.02, n)
    columns, rows = [], []
    for seed in range(pairs):
        for family, own in (("f", "candidate"), ("g", "independent")):
            columns.append(np.isin(codes, [0, PARTITION_CODE[own]]))
            rows.append((f"{family}-{seed}", family, seed, "pair"))
    for cut in range(cuts):
        half = np.zeros(n, bool)
        half[rng.permutation(n - EXTRA)[: (n - EXTRA) // 2]] = True
        for fold, column in enumerate((half, ~half & (codes != PARTITION_CODE["extra"]))):
            columns.append(column)
            rows.append((f"subset{2 * cut + fold}", str(2 * cut + fold), pairs + cut, "subset"))
    for seed in range(pairs + cuts, pairs + cuts + seeds):
        whole = np.isin(codes, [0, 1])
        columns.append(whole)
        rows.append((f"all-{seed}", "99", seed, "leave_one_out"))
        for place in range(PLACES):
            column = whole.copy()
            column[SHARED + place] = False
            columns.append(column)
            rows.append((f"without{place}-{seed}", str(100 + place), seed, "leave_one_out"))
    trained = np.stack(columns, axis=1)
    seeds_ = np.array([row[2] for row in rows])
    shared_noise = rng.normal(0, seed_noise, (seeds_.max() + 1, n))[seeds_].T
    values = 0.5 - memorized[:, None] * trained + shared_noise + rng.normal(0, noise, trained.shape)
    pairs_of_views = np.array(view_pairs(3))
    dataset = xr.Dataset(
        {
            "alignment": (
                ("sample", "augmentation", "encoder"),
                np.repeat(values[:, None], len(pairs_of_views), axis=1).astype(np.float32),
            ),
            "trained_on": (("sample", "encoder"), trained),
        },
        coords={
            "sample": np.arange(n) * 2,
            "partition": ("sample", codes),
            "view_a": ("augmentation", pairs_of_views[:, 0]),
            "view_b": ("augmentation", pairs_of_views[:, 1]),
            "encoder": [row[0] for row in rows],
            "family": ("encoder", [row[1] for row in rows]),
            "seed": ("encoder", seeds_),
            "design": ("encoder", [row[3] for row in rows]),
        },
    )
    dataset.attrs["memorized"] = memorized
    return dataset


@pytest.mark.parametrize(
    ("estimator", "scored"), [("pairs", slice(60, 100)), ("subsets", slice(0, 140)), ("leave_one_out", slice(60, 100))]
)
def test_without_noise_every_estimator_gives_what_was_planted(estimator: str, scored: slice) -> None:
    study = made_up(noise=0)
    scores = estimate(study, estimator)
    np.testing.assert_array_equal(scores["sample"], study["sample"][scored])
    np.testing.assert_allclose(scores["sslmem"], study.attrs["memorized"][scored], atol=1e-6)


def test_noise_that_encoders_of_a_seed_share_does_not_matter() -> None:
    study = made_up(noise=0, seed_noise=1.0)
    for estimator in ("pairs", "subsets", "leave_one_out"):
        scores = estimate(study, estimator)
        known = study.attrs["memorized"][np.searchsorted(study["sample"], scores["sample"])]
        np.testing.assert_allclose(scores["sslmem"], known, atol=1e-5)
        assert float(scores["standard_error_encoders"].max()) < 1e-5


def test_pairs_agree_with_family_contrast() -> None:
    study = made_up(noise=0.05)
    chosen = study.isel(encoder=np.flatnonzero(study["design"].values == "pair"))
    scores, expected = estimate(study, "pairs"), family_contrast(chosen["alignment"])
    for name in ("sslmem", "standard_error_encoders"):
        np.testing.assert_allclose(scores[name], expected[name].sel(sample=scores["sample"]), rtol=1e-4, atol=1e-7)


def test_seeds_choose_and_the_attrs_count() -> None:
    study = made_up(noise=0.05)
    scores = estimate(study, "subsets", seeds=[4, 5, 6])
    assert scores.attrs == {"estimator": "subsets", "protocol": "corrected", "encoders": 6, "seeds": 3}
    assert seeds_of(study, "subsets").tolist() == list(range(4, 12))


def test_comparison_knows_bias_error_and_ceiling() -> None:
    noise, seeds = 0.04, 6
    study = made_up(noise=noise, seeds=seeds, pairs=8)
    study["alignment"] = study["alignment"] + 0.03 * (study["family"] == "g")  # an offset that all samples of g have
    found = compare_estimators(study, epochs=10)
    expected = noise * np.sqrt((1 + 1 / PLACES) / seeds)
    assert found["truth_standard_error"] == pytest.approx(expected, rel=0.25)
    memorized = study.attrs["memorized"][60:100]
    assert found["truth_reliability"] == pytest.approx(memorized.var() / (memorized.var() + expected**2), abs=0.2)
    assert found["truth_encoder_epochs"] == 6 * 41 * 10
    assert found["seeds"].values.tolist() == [1, 2, 4, 8]
    rows = {(name, n): found.sel(estimator=name, seeds=n) for name in ("pairs", "subsets") for n in (1, 2, 4, 8)}
    assert rows["pairs", 2]["repetitions"] == 4
    assert rows["pairs", 8]["bias"] == pytest.approx(0.03, abs=0.012)
    assert rows["subsets", 8]["bias"] == pytest.approx(0, abs=0.012)
    assert rows["subsets", 8]["rmse"] == pytest.approx(noise * np.sqrt(2 / 8), rel=0.35)
    assert rows["subsets", 1]["rmse"] > rows["subsets", 8]["rmse"]
    assert rows["subsets", 8]["rank_correlation"] > rows["subsets", 1]["rank_correlation"]
    assert 0.85 <= rows["subsets", 8]["coverage"] <= 1 > rows["pairs", 8]["coverage"]
    assert np.isnan(rows["pairs", 1]["coverage"])
    for row in rows.values():
        for name in ("bias", "rmse", "rank_correlation"):
            low, high = row[f"{name}_interval"].values
            assert low <= row[name] <= high or name == "rmse"


def test_a_comparison_says_whether_whole_groups_are_left_out() -> None:
    results = _example.design()
    for groups, word in ((results["sample"].values, "leave-one-out"), (results["sample"].values // 2, "leave-one-group-out")):
        text = as_text(as_json(compare_estimators(results.assign_coords(group=("sample", groups)), epochs=10)))
        assert text[0].startswith(f"exact {word} of 5 samples")
        assert any("subsets cut whole groups too" in line for line in text) == (word == "leave-one-group-out")


def test_ranks_and_their_intervals_are_those_of_single_resamples() -> None:
    study = made_up(noise=0.05, pairs=2, cuts=1, seeds=2)
    compared, truth = compare_estimators(study, epochs=1), estimate(study, "leave_one_out")["sslmem"].values
    drawn = np.random.Generator(np.random.Philox(0)).integers(0, PLACES, (2000, PLACES))[:400]
    row = compared.sel(estimator="pairs", seeds=1)
    found = [estimate(study, "pairs", seeds=[seed])["sslmem"].values for seed in (0, 1)]
    assert row["rank_correlation"] == pytest.approx(np.mean([stats.spearmanr(each, truth).statistic for each in found]))
    resampled = [np.mean([stats.spearmanr(each[few], truth[few]).statistic for each in found]) for few in drawn]
    assert row["rank_correlation_interval"].values == pytest.approx(np.percentile(resampled, [2.5, 97.5]))


def test_the_truth_is_scored_on_other_views_than_the_estimators() -> None:
    """What a view does to a sample when it is left out, whatever the encoder, was in truth and estimate alike and counted as agreement."""
    study = made_up(noise=0.05, pairs=2, cuts=1, seeds=2)
    study["alignment"] = study["alignment"] * 0 + 0.5
    rng = np.random.default_rng(2)
    views = np.union1d(study["view_a"].values, study["view_b"].values)
    of_view = dict(zip(views.tolist(), rng.normal(0, 0.1, (len(views), study.sizes["sample"])), strict=True))
    of_view[0] *= 0  # the clean image is in both halves
    pair = np.stack([of_view[a] + of_view[b] for a, b in zip(study["view_a"].values, study["view_b"].values, strict=True)], axis=1)
    study["alignment"] = (
        study["alignment"] - xr.DataArray(pair, dims=("sample", "augmentation")) * study["trained_on"]
    )  # the views alone tell members from others
    found = compare_estimators(study, epochs=1, protocol="released")
    assert found.attrs["views"] == "others"
    assert abs(found["rank_correlation"].sel(estimator="pairs", seeds=2).item()) < 0.35
    together = study.isel(augmentation=np.flatnonzero(study["view_b"].values == 1))  # the clean image with one view
    same = compare_estimators(together, epochs=1, protocol="released")
    assert same.attrs["views"] == "the same"
    assert same["rank_correlation"].sel(estimator="pairs", seeds=2).item() > 0.99
    assert "share their views" in as_text(as_json(same))[1]


@pytest.mark.parametrize("few", [{"seeds": 1}, {"places": 4}, {"places": 1}])
def test_a_truth_of_which_nothing_is_known_is_refused(few: dict[str, int]) -> None:
    study = made_up(noise=0.05, seeds=few.get("seeds", 3))
    places = few.get("places", PLACES)
    study = study.isel(
        encoder=np.flatnonzero([int(name) < 100 + places if name.isdigit() else True for name in study["family"].values])
    )
    told = rf"at least 2 seeds and 5 samples; design.leave_one_out of this study has {few.get('seeds', 3)} and {places}"
    with pytest.raises(UserError, match=told):
        compare_estimators(study, epochs=1)


def test_scores_that_are_all_the_same_have_no_order_and_no_reliability() -> None:
    study = made_up(noise=0.0, pairs=2, cuts=0, seeds=2)
    study["alignment"] = study["alignment"] * 0
    found = compare_estimators(study, epochs=1)
    assert np.isnan(found["truth_reliability"])
    assert np.isnan(found["attenuation_limit"])
    row = found.sel(estimator="pairs", seeds=1)
    assert np.isnan([row["rank_correlation"], *row["rank_correlation_interval"], row["coverage"]]).all()
    assert row["rmse"] == 0
    lines = as_text(as_json(found))
    assert "reliability -;" in lines[0]
    assert "nan" not in "".join(lines)


def test_what_is_not_there_is_told() -> None:
    study = made_up(noise=0.01)
    only_pairs = study.isel(encoder=np.flatnonzero(study["design"].values == "pair"))
    with pytest.raises(UserError, match=r"estimator: 'leave_one_out' has no encoders in this study, which has those of pairs"):
        compare_estimators(only_pairs, epochs=1)
    with pytest.raises(UserError, match="estimator: there is none named 'loo', choose one of pairs, subsets, leave_one_out"):
        estimate(study, "loo")
    with pytest.raises(UserError, match=r"seeds: no encoder of 'pairs' has one of \[99\], there are 0"):
        estimate(study, "pairs", seeds=[99])
