"""Agreement of scores: tau and rho as SciPy has them, corrected correlations unbiased whatever noise is shared, intervals that cover."""

import numpy as np
import pytest
import scipy
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from sslmem_kit.errors import UserError
from sslmem_kit.statistics import reliability
from sslmem_kit.statistics.agreement import chance_band
from sslmem_kit.statistics.disattenuation import corrected_correlation, matched_seeds
from sslmem_kit.statistics.score_agreement import score_agreement
from sslmem_kit.statistics.score_overlap import score_overlap
from sslmem_kit.statistics.score_studies import match_studies
from sslmem_kit.statistics.seed_jackknife import seed_variance


def noisy(rng, *, n, seeds, each, rho, shared=0.0, common=0.0):
    """Replicates of two normal scores that correlate by rho, of reliability ``each`` a seed, with noise that correlates by ``shared``, of which
    the share ``common`` is of ten classes."""
    z = rng.normal(size=(n, 2))
    second = rho * z[:, 0] + np.sqrt(1 - rho**2) * z[:, 1]
    one = np.sqrt(1 - common) * rng.normal(size=(n, seeds)) + np.sqrt(common) * rng.normal(size=(10, seeds))[np.arange(n) % 10]
    other = shared * one + np.sqrt(1 - shared**2) * rng.normal(size=(n, seeds))
    sd = np.sqrt(1 / each - 1)
    return z[:, :1] + sd * one, second[:, None] + sd * other


def arrays(a, b, design=(None, None)):
    return {
        name: xr.DataArray(
            values,
            dims=("sample", "seed"),
            coords={"sample": np.arange(len(values)), "seed": np.arange(values.shape[1])},
            attrs={} if kind is None else {"design": kind},
        )
        for name, values, kind in zip("ab", (a, b), design, strict=True)
    }


def agreed(a, b, **options):
    return score_agreement(arrays(a, b), **options).sel(score="a", other="b")


def by_loops(a, b):
    """The definition, sum by sum."""

    def cov(x, y):
        return np.cov(x, y)[0, 1]

    apart = [cov(a[:, s], b[:, t]) for s in range(a.shape[1]) for t in range(b.shape[1]) if s != t]
    own = [np.mean([cov(x[:, s], x[:, t]) for s in range(x.shape[1]) for t in range(x.shape[1]) if s != t]) for x in (a, b)]
    true = np.sqrt(own[0] * own[1]) if min(own) > 0 else np.nan
    return np.mean(apart) / true, own[0] / a.mean(axis=1).var(ddof=1)


@settings(max_examples=25, deadline=None)
@given(st.integers(12, 80), st.integers(2, 5), st.integers(0, 2**31))
def test_the_kernel_is_its_definition(n, seeds, seed):
    a, b = noisy(np.random.default_rng(seed), n=n, seeds=seeds, each=0.6, rho=0.5, shared=0.5)
    found = corrected_correlation(a, b, (np.arange(seeds),) * 2)
    expected, reliable = by_loops(a, b)
    if np.isfinite(found.corrected):
        assert found.corrected == pytest.approx(expected)
    assert found.reliability_a == pytest.approx(reliable)
    # Cronbach's alpha, by its textbook formula.
    total = a.sum(axis=1).var(ddof=1)
    alpha = seeds / (seeds - 1) * (1 - a.var(axis=0, ddof=1).sum() / total)
    assert found.reliability_a == pytest.approx(alpha)
    assert found.observed == pytest.approx(np.corrcoef(a.mean(axis=1), b.mean(axis=1))[0, 1])


def test_weights_are_repeated_samples():
    rng = np.random.default_rng(0)
    a, b = noisy(rng, n=40, seeds=3, each=0.6, rho=0.5)
    weights = rng.multinomial(40, np.full(40, 1 / 40), size=5)
    shared = (np.arange(2), np.arange(1, 3))
    found = corrected_correlation(a, b, shared, weights)
    for row, w in enumerate(weights):
        again = corrected_correlation(np.repeat(a, w, axis=0), np.repeat(b, w, axis=0), shared)
        for name, value in vars(again).items():
            assert getattr(found, name)[row] == pytest.approx(value)


@settings(max_examples=25, deadline=None)
@given(st.integers(5, 60), st.integers(0, 2**31), st.booleans())
def test_tau_and_rho_are_scipys(n, seed, ties):
    rng = np.random.default_rng(seed)
    a, b = rng.normal(size=(2, n, 1))
    a, b = (np.round(a), np.round(b)) if ties else (a, b)
    if np.ptp(a) and np.ptp(b):
        found = agreed(a, b)
        kendall = scipy.stats.kendalltau(a[:, 0], b[:, 0])
        assert found["tau"].item() == pytest.approx(kendall.statistic)
        assert found["tau_p"].item() == pytest.approx(kendall.pvalue)
        assert found["rho"].item() == pytest.approx(scipy.stats.spearmanr(a[:, 0], b[:, 0]).statistic)
        assert np.isnan(found["corrected"])
        assert np.isnan(found["reliability"])


def test_table_13s_p_values_are_those_of_its_taus():
    rng = np.random.default_rng(0)
    a, b = noisy(rng, n=5000, seeds=1, each=1.0, rho=np.sin(np.pi / 2 * 0.235))
    found = agreed(a, b)
    assert found["tau"].item() == pytest.approx(0.235, abs=0.02)
    assert found["tau_p"].item() < 1e-100


@pytest.mark.parametrize(
    ("each", "rho", "shared", "seeds", "n"), [(0.1, 0, 0.9, 3, 1000), (0.3, 0.5, 0.5, 2, 500), (0.9, 0.5, 0.9, 10, 50)]
)
def test_trainings_that_differ_take_shared_noise_out(each, rho, shared, seeds, n):
    rng = np.random.default_rng(1)
    both = (np.arange(seeds),) * 2
    found = [corrected_correlation(*noisy(rng, n=n, seeds=seeds, each=each, rho=rho, shared=shared), both) for _ in range(150)]
    corrected = np.array([one.corrected for one in found])
    corrected = corrected[np.isfinite(corrected)]
    error = 1.2533 * corrected.std() / np.sqrt(len(corrected))
    assert np.median(corrected) == pytest.approx(rho, abs=4 * error)
    excess = shared * (1 / each - 1) / seeds  # what the plain formula adds
    assert np.median([one.plain for one in found]) == pytest.approx(rho + excess, rel=0.15)
    assert np.nanmedian([one.shared_noise for one in found]) == pytest.approx(shared, abs=0.1)


@pytest.mark.parametrize(
    ("each", "rho", "shared", "seeds", "n", "common"),
    [(0.3, 0.5, 0.9, 3, 200, 0.0), (0.5, 0.0, 0.5, 2, 200, 0.0), (0.3, 0.5, 0.5, 5, 300, 0.33)],
)
def test_intervals_cover(each, rho, shared, seeds, n, common, monkeypatch):
    monkeypatch.setattr(reliability, "RESAMPLES", 200)
    rng, covered, noise = np.random.default_rng(2), [], (1 / each - 1) / seeds
    truths = {
        "tau_interval": 2 / np.pi * np.arcsin((rho + shared * noise) / (1 + noise)),
        "corrected_interval": rho,
        "reliability_interval": 1 / (1 + noise),
    }
    for _ in range(60):
        found = agreed(*noisy(rng, n=n, seeds=seeds, each=each, rho=rho, shared=shared, common=common), scale="values")
        ends = {name: found[name].values for name in truths}
        covered.append([np.isnan(ends[name][0]) or ends[name][0] <= value <= ends[name][1] for name, value in truths.items()])
    shares = dict(zip(truths, np.mean(covered, axis=0), strict=True))
    assert min(shares.values()) >= 0.85, shares  # 95 % less three standard errors of 60 cases


def test_seeds_of_other_designs_are_other_trainings():
    rng = np.random.default_rng(0)
    a, b = noisy(rng, n=300, seeds=3, each=0.5, rho=0.5)
    apart = score_agreement(arrays(a, b, ("pair", "subset"))).sel(score="a", other="b")
    assert apart["shared_seeds"].item() == 0
    assert apart["plain"].item() == pytest.approx(apart["corrected"].item())
    assert np.isnan(apart["shared_noise"])
    assert score_agreement(arrays(a, b, ("pair", "pair"))).sel(score="a", other="b")["shared_seeds"].item() == 3


def test_samples_without_a_value_and_in_another_order_are_matched_by_id():
    rng = np.random.default_rng(0)
    a, b = noisy(rng, n=100, seeds=3, each=0.7, rho=0.8)
    whole = arrays(a, b)
    some = {"a": whole["a"].where(whole["a"]["sample"] < 80), "b": whole["b"].isel(sample=rng.permutation(100))}
    found, expected = score_agreement(some).sel(score="a", other="b"), agreed(a[:80], b[:80])
    assert found["n"].item() == 80
    for name in ("tau", "corrected", "ceiling"):
        assert found[name].item() == pytest.approx(expected[name].item())


def test_of_scores_that_may_be_noise_nothing_is_corrected():
    rng = np.random.default_rng(0)
    found = score_agreement(
        {**arrays(*rng.normal(size=(2, 200, 3))), "constant": xr.DataArray(np.ones((200, 3)), dims=("sample", "seed"))}
    )
    assert np.isnan(found["corrected"].sel(score="a", other="b"))
    assert np.isnan(found["tau"].sel(score="a", other="constant"))
    np.testing.assert_array_equal(found["tau"], found["tau"].T)
    assert not found["above_one"].any()
    with pytest.raises(UserError, match="1 score was given, at least two"):
        score_agreement({"a": xr.DataArray(np.ones(3), dims="sample")})


def test_an_estimate_above_one_is_flagged_and_its_interval_is_not():
    rng = np.random.default_rng(5)
    for _ in range(20):
        found = agreed(*noisy(rng, n=150, seeds=3, each=0.4, rho=1.0, shared=0.2))
        assert found["above_one"].item() == (found["corrected"].item() > 1)
        assert not found["corrected_interval"].max() > 1


def test_noise_of_single_samples_is_not_counted_twice_and_common_noise_is():
    rng = np.random.default_rng(0)

    def statistic(a, b, shared):
        return float(np.corrcoef(a.mean(axis=1), b.mean(axis=1))[0, 1])

    spread = {}
    for common in (0.0, 0.5):
        values = [noisy(rng, n=500, seeds=4, each=0.2, rho=0.5, shared=0.8, common=common) for _ in range(60)]
        shared = (np.arange(4),) * 2
        spread[common] = (
            np.mean([seed_variance(statistic, a, b, shared) for a, b in values]),
            np.var([statistic(a, b, shared) for a, b in values]),
        )
    assert spread[0.0][0] < 0.3 * spread[0.0][1]
    assert spread[0.5][0] > 0.3 * (spread[0.5][1] - spread[0.0][1])


@pytest.mark.parametrize(("n", "k"), [(40, 5), (100, 20), (1000, 50)])
def test_unrelated_orders_are_in_the_band(n, k):
    rng = np.random.default_rng(0)
    low, high = chance_band(n, np.array([k]))
    common = np.array([len(np.intersect1d(rng.choice(n, k, False), rng.choice(n, k, False))) for _ in range(2000)])
    assert ((common >= low) & (common <= high)).mean() >= 0.945
    assert common.mean() == pytest.approx(k * k / n, rel=0.1)


def test_overlap_is_of_samples_that_both_have():
    first = xr.DataArray(np.arange(50.0), dims="sample", coords={"sample": np.arange(50)})
    second = first.isel(sample=slice(None, None, -1)).where(first["sample"] >= 20)
    found = score_overlap({"a": first, "b": second}, (10, 40)).sel(score="a", other="b")
    assert found["n"].item() == 30
    assert found["share"].values[0] == 1
    assert np.isnan(found["share"].values[1])
    assert found["p"].values[0] == pytest.approx(1 / scipy.special.comb(30, 10))


def study(ids, codes, fingerprint="x"):
    values = np.random.default_rng(0).normal(size=(len(ids), 2))
    return xr.Dataset(
        {"sslmem": (("sample", "seed"), values)},
        {"sample": ids, "seed": [0, 1], "partition": ("sample", codes)},
        {"data_fingerprint": fingerprint} if fingerprint else {},
    )


def test_studies_of_the_same_samples_are_matched_and_others_refused():
    one, two = study([1, 2, 3, 4], [1, 1, 0, 1]), study([4, 2, 3], [1, 1, 0])
    found = match_studies({"simclr": one, "dino": two})
    assert found["dino"]["sample"].values.tolist() == [2, 4]
    assert not len(matched_seeds(found["simclr"]["seed"].values, found["dino"]["seed"].values)[0])
    refused = "numbers that do not compare are not put side by side"
    with pytest.raises(UserError, match=f"different data.*{refused}"):
        match_studies({"a": one, "b": study([1, 2], [1, 1], "y")})
    with pytest.raises(UserError, match=f"1 of 2 samples are in another partition in b.*{refused}"):
        match_studies({"a": one, "b": study([1, 2], [1, 2])})
    with pytest.raises(UserError, match="no data_fingerprint is known"):
        match_studies({"a": one, "b": study([1, 2], [1, 1], None)})
    with pytest.raises(UserError, match="no candidate sample in common"):
        match_studies({"a": one, "b": study([3], [0])})
