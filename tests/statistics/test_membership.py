"""Attacks: nothing is found where nothing is memorized, all where all is; quantiles that do not go in circles."""

from __future__ import annotations

import numpy as np
import pytest
from sklearn.metrics import roc_auc_score

from sslmem_kit.scores import _example
from sslmem_kit.statistics.membership import attacks, by_quantile, games, played
from sslmem_kit.statistics.roc import auc
from tests.support.ensembles import ensembles


def table(found, name="auc"):
    keys = zip(*(found[key].values.tolist() for key in ("attack", "target", "others")), strict=True)
    return dict(zip(keys, found[name].values, strict=True))


@pytest.mark.parametrize(
    ("each", "pairs", "subsets", "offset", "digits"),
    [(20, 1, 0, 0.0, 6), (60, 3, 0, 3.0, 6), (135, 2, 0, 0.0, 0), (40, 3, 3, 1.0, 1), (30, 1, 4, 5.0, 6)],
)
def test_auc_of_null_pairs_is_one_half_within_its_interval(each, pairs, subsets, offset, digits):
    """200 cases of each setting: n, seeds, ties, an offset of each training that is common to all samples."""
    random, covered, cases = np.random.default_rng(each), {}, 200
    for _ in range(cases):
        results = ensembles(random, each=each, pairs=pairs, subsets=subsets, effect=0.0, offset=offset, digits=digits)
        for name, game, values in played(results):
            low, high = auc(values, game.member, seed=results["seed"].values[game.encoders])["interval"].values
            key = (name, game.target, game.others)
            covered[key] = covered.get(key, 0) + (low <= 0.5 <= high)
    assert len(covered) == (6 if not subsets else 19)
    # 95 % less two standard errors of 200 cases for a single row; all rows together at least 95 %
    assert min(covered.values()) / cases >= 0.92, covered
    assert sum(covered.values()) / cases / len(covered) >= 0.945, covered


def test_a_lookup_is_found_by_every_attack():
    """An encoder whose views of a training sample are all one: alignment 0 there, whatever it is elsewhere."""
    found = attacks(ensembles(np.random.default_rng(1), each=100, effect=50.0, subsets=4))
    for (name, *game), (low, _) in table(found, "interval").items():
        assert low > 0.9, (name, game)
    assert (found["tpr"].sel(fpr=0.01) > 0.99).all()


def test_references_find_more_than_alignment_alone():
    """Samples differ by as much as encoders do: what is memorized is seen better beside a reference."""
    found = table(attacks(ensembles(np.random.default_rng(2), each=500, effect=1.0, subsets=6)))
    assert found["alignment", "f", "independent"] < found["lira", "f", "independent"] < found["calibrated", "f", "independent"]
    assert found["alignment", "subset", "out"] < found["lira", "subset", "out"]


def test_rows_are_those_of_scikit_learn():
    results = ensembles(np.random.default_rng(3), each=80, subsets=3)
    found = table(attacks(results))
    codes, trained = results["partition"].values, results["trained_on"].values
    alignment = -results["alignment"].values[:, 0]
    own = np.isin(codes, [1, 2])
    expected = np.mean([roc_auc_score(codes[own] == 1, alignment[own, e]) for e in (0, 2, 4)])
    assert found["alignment", "f", "independent"] == pytest.approx(expected)
    inside = codes < 3
    expected = np.mean([roc_auc_score(trained[inside, e], alignment[inside, e]) for e in range(6, 12)])
    assert found["alignment", "subset", "out"] == pytest.approx(expected)


def test_quantiles_that_other_seeds_cut_show_nothing_of_noise_and_the_naive_ones_do():
    random, inside, naive = np.random.default_rng(4), [], []
    for subsets in (0, 4):
        for _ in range(12):
            found = by_quantile(ensembles(random, each=100, pairs=3, subsets=subsets, effect=0.0), quantiles=5)
            assert found.attrs["cut_by"] == ("subset" if subsets else "pair")
            low, high = np.moveaxis(found["interval"].values, found["interval"].dims.index("bound"), 0)
            inside.append(((low <= 0.5) & (high >= 0.5)).ravel())
            rows = (
                (found["attack"] == "calibrated")
                if not subsets
                else (found["attack"] == "alignment") & (found["target"] == "subset")
            )
            naive.append(found["naive"].values[rows.values][0])
    assert np.concatenate(inside).mean() > 0.93
    assert np.mean(naive, axis=0)[-1] > 0.6
    assert np.mean(naive, axis=0)[0] < 0.4


def test_the_memorized_are_the_exposed_where_they_are():
    effect = np.where(np.arange(4000) % 8 < 4, 0.0, 3.0)
    for subsets in (0, 5):
        found = by_quantile(ensembles(np.random.default_rng(5), each=1000, effect=effect, subsets=subsets), quantiles=4)
        for row in range(found.sizes["row"]):
            one = found.isel(row=row)
            assert one["auc"].values[-1] > one["auc"].values[0] + 0.15
            assert one["interval"].values[-1][0] > 0.6


def test_few_samples_or_one_seed_have_no_quantiles():
    assert by_quantile(_example.results()).sizes["row"] == 0
    one = by_quantile(ensembles(np.random.default_rng(6), each=100, pairs=1, subsets=0))
    assert np.isnan(one["auc"]).all()
    assert [(game.target, game.others) for game in games(_example.results())] == [
        ("f", "independent"), ("g", "candidate"), ("f", "extra"), ("f and g", "not trained on"),
    ]  # fmt: skip
