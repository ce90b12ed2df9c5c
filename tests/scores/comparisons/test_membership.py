"""Signals of membership: transcriptions of LiRA and RMIA, who is a reference of whom, and who is found."""

from __future__ import annotations

import numpy as np
import pytest
import xarray as xr
from scipy import stats

from sslmem_kit.errors import UserError
from sslmem_kit.scores import _example
from sslmem_kit.scores.comparisons.membership import (
    MEMBERSHIP,
    attack,
    deviations,
    likelihood_ratio,
    moments,
    reduce,
    references,
    relative_ratio,
    signals,
)
from sslmem_kit.scores.sslmem import by_seed, score
from tests.support.ensembles import ensembles


def of_lira(signal, among, inside, *, fix_variance, online):
    """Transcription of Carlini et al.'s generate_ours and generate_ours_offline, sample by sample (medians there, means here)."""
    ins = [row[kind] for row, kind in zip(among, inside, strict=True)]
    outs = [row[~kind] for row, kind in zip(among, inside, strict=True)]
    std_in = np.sqrt(np.mean([((part - part.mean()) ** 2).sum() for part in ins]) / (len(ins[0]) - 1))
    std_out = np.sqrt(np.mean([((part - part.mean()) ** 2).sum() for part in outs]) / (len(outs[0]) - 1))
    found = []
    for value, one, other in zip(signal, ins, outs, strict=True):
        if not fix_variance:
            std_in, std_out = one.std(ddof=1), other.std(ddof=1)
        p_in = stats.norm.logpdf(value, one.mean(), std_in)
        p_out = stats.norm.logpdf(value, other.mean(), std_out)
        found.append(p_in - p_out if online else stats.norm.cdf((value - other.mean()) / std_out))
    return np.array(found)


@pytest.mark.parametrize("each", [2, 5, 64, 70])
def test_likelihood_ratio_is_that_of_the_transcription(each):
    random = np.random.default_rng(each)
    among = random.normal(size=(30, 2 * each))
    inside = np.stack([random.permutation(2 * each) < each for _ in range(30)])
    signal = random.normal(size=30)
    given = {"fix_variance": each < 64}
    np.testing.assert_allclose(likelihood_ratio(signal, among, inside), of_lira(signal, among, inside, online=True, **given))
    offline = likelihood_ratio(signal, among, inside, online=False)
    np.testing.assert_allclose(stats.norm.cdf(offline), of_lira(signal, among, inside, online=False, **given))


def test_relative_ratio_is_that_of_the_definition():
    random = np.random.default_rng(0)
    among, signal = random.normal(size=(40, 6)), random.normal(size=40)
    inside = np.stack([random.permutation(6) < 3 for _ in range(40)])
    population = np.arange(40) >= 25
    scale = np.sqrt((moments(among, inside)[1][0] + moments(among, ~inside)[1][0]) / 2)
    expected = []
    for x in range(40):
        wins = 0
        for z in np.flatnonzero(population):
            of_x, of_z = (np.exp(signal[i] / scale) / np.mean(np.exp(among[i] / scale)) for i in (x, z))
            wins += of_x / of_z >= 1 - 1e-12
        expected.append(wins / population.sum())
    np.testing.assert_allclose(relative_ratio(signal, among, inside, population), expected)


def test_a_target_is_never_among_its_references_nor_its_complement():
    design = ensembles(np.random.default_rng(4), effect=2.0)
    seed, subset = design["seed"].values, design["design"].values == "subset"
    for target in np.flatnonzero(subset):
        found = references(seed, subset, target)
        assert target not in found
        assert not (seed[found] == seed[target]).any()
        assert subset[found].all()
        counts = design["trained_on"].values[:, found].sum(axis=1)
        in_some = design["trained_on"].values[:, subset].any(axis=1)
        assert len(np.unique(counts[in_some])) == 1  # they do not say what the target was trained on


def test_a_change_of_the_target_moves_its_own_signals_alone():
    design = ensembles(np.random.default_rng(4), effect=2.0)
    before = attack(design, "lira")
    changed = design.copy(deep=True)
    target = int(np.flatnonzero(design["design"].values == "subset")[0])
    random = np.random.default_rng(1)
    changed["alignment"].values[:, :, target] += random.normal(0, 0.1, design.sizes["sample"])[:, None]
    after = attack(changed, "lira")
    same_seed = design["seed"].values == design["seed"].values[target]
    others = same_seed & (design["design"].values == "subset")
    others[target] = False
    np.testing.assert_array_equal(before.values[:, others], after.values[:, others])
    assert not np.allclose(before.values[:, target], after.values[:, target], equal_nan=True)


def test_calibrated_is_sslmem_of_a_seed_and_its_mirror():
    results = _example.results()
    found = attack(results, "calibrated")
    differences = by_seed(score(results))
    own = found.isel(encoder=np.flatnonzero(results["family"].values == "f")).values
    centred = differences.values - differences.values.mean(axis=0)
    np.testing.assert_allclose(own, centred, atol=1e-7)
    np.testing.assert_allclose(found.values[:, 0::2], -found.values[:, 1::2])


def test_a_common_offset_of_a_training_changes_nothing():
    design = ensembles(np.random.default_rng(4), effect=2.0)
    moved = design.assign(alignment=design["alignment"] + xr.DataArray(np.arange(14) * 0.1, dims="encoder"))
    for name in ("alignment", "calibrated", "lira", "lira_offline", "rmia"):
        np.testing.assert_allclose(attack(design, name).values, attack(moved, name).values, atol=1e-8)


def test_members_are_found_by_every_attack():
    design = ensembles(np.random.default_rng(4), effect=2.0)
    inside = design["trained_on"].values
    for name in ("lira", "lira_offline", "rmia"):
        found = attack(design, name).values
        chosen = (design["design"].values == "subset")[None] & (design["partition"].values < 3)[:, None]
        known = chosen & np.isfinite(found)
        assert known.sum() == chosen.sum()
        assert found[known & inside].mean() > found[known & ~inside].mean()


def test_exposure_of_subsets_and_of_pairs():
    design = xr.DataTree(ensembles(np.random.default_rng(4), effect=2.0))
    found = reduce(None, design)["membership"]
    assert found.attrs["by"] == "lira_offline"
    assert found.sizes["seed"] == 4
    codes = design["partition"].values
    trained = codes < 3
    assert (found.values[trained].mean(axis=1) > 0).mean() > 0.9
    assert np.isnan(found.values[codes == 3]).all()  # in no encoder
    pairs = reduce(None, xr.DataTree(_example.results()))["membership"]
    assert (pairs.attrs["by"], pairs.sizes["seed"]) == ("calibrated", 3)


def test_deviations_are_a_discriminant_analysis_over_its_slope():
    from sklearn.discriminant_analysis import LinearDiscriminantAnalysis

    random = np.random.default_rng(2)
    signal, members = random.normal(size=80), np.arange(80) < 30
    signal[members] += 1
    fitted = LinearDiscriminantAnalysis(priors=[0.5, 0.5]).fit(signal[:, None], members)
    found, odds = deviations(signal, members, ~members), fitted.decision_function(signal[:, None])
    np.testing.assert_allclose(found / found.std(), odds / odds.std(), rtol=1e-6)
    within = np.concatenate([found[kind] - found[kind].mean() for kind in (members, ~members)])
    assert (within**2).sum() / 78 == pytest.approx(1)


def test_an_attack_worse_than_chance_does_not_turn_the_order_round():
    """Where f and g were trained on different numbers of samples candidates may look less trained on than independents: log-odds would."""
    random = np.random.default_rng(3)
    signal, members = random.normal(size=80), np.arange(80) < 40
    signal[members] -= 2
    assert stats.spearmanr(deviations(signal, members, ~members), signal)[0] == pytest.approx(1)


def test_expected_exposure_is_the_distance_and_0_of_null():
    """2,000 samples, 6 seeds of 2 subsets: an unbiased estimate of d'."""
    effect = np.where(np.arange(2000) < 1000, 1.5, 0.0)
    results = ensembles(np.random.default_rng(3), each=500, subsets=6, effect=effect)
    found = reduce(None, xr.DataTree(results))["membership"].mean("seed").values
    trained = results["partition"].values < 3
    for part, expected in ((found[:1000][trained[:1000]], 1.5), (found[1000:][trained[1000:]], 0.0)):
        error = part.std(ddof=1) / np.sqrt(len(part))
        assert abs(part.mean() - expected) < 4 * error + 0.05 * expected


def test_a_study_of_pairs_has_no_likelihood_ratios():
    with pytest.raises(UserError, match=r"design.subsets: .* this study has 0; add design"):
        attack(_example.results(), "rmia")
    assert MEMBERSHIP.problem(xr.DataTree(_example.results())) == ""
    only_f = _example.results().isel(encoder=[0, 2])
    assert "both families" in MEMBERSHIP.problem(xr.DataTree(only_f))


def test_signals_are_minus_alignment_off_their_mean():
    found = signals(_example.results())
    np.testing.assert_allclose(found.mean("sample"), 0, atol=1e-12)
