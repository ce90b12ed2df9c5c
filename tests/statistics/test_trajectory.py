"""Memorization over training, against a slow transcription in numpy."""

import numpy as np
import pytest
import xarray as xr

from sslmem_kit.errors import UserError
from sslmem_kit.scores import by_seed
from sslmem_kit.statistics import effects
from sslmem_kit.statistics.trajectory import memorization_over_training
from sslmem_kit.store import open_results
from tests.support.fake_study import give_to_design, make_study, without_checksums


@pytest.fixture(scope="module")
def studies(tmp_path_factory):
    folder = tmp_path_factory.mktemp("trajectory")
    return {seeds: make_study(folder / f"seeds{seeds}", samples=180, seeds=seeds) for seeds in (1, 3)}


def noisy(study):
    """The study's tree with alignments that differ from epoch to epoch, and with the order of the encoders turned round."""
    tree = open_results(study.results_path)
    rng = np.random.default_rng(5)
    alignment = tree["trajectory/alignment"].load()
    tree["trajectory/alignment"] = alignment + rng.normal(0, 0.05, alignment.shape)
    return tree.isel(encoder=slice(None, None, -1))


@pytest.mark.parametrize("seeds", [1, 3])
def test_equals_a_slow_transcription(studies, seeds):
    tree = noisy(studies[seeds])
    result = memorization_over_training(tree)
    alignment, family, seed = tree["trajectory/alignment"], list(tree["family"].values), list(tree["seed"].values)
    alignment = alignment.transpose("sample", "encoder", "epoch").values.astype(float)
    candidates = [i for i, code in enumerate(tree["partition"].values) if code == 1]
    for e in range(alignment.shape[2]):
        score = np.array(
            [
                np.mean([row[k, e] for k in range(len(family)) if family[k] == "g"])
                - np.mean([row[k, e] for k in range(len(family)) if family[k] == "f"])
                for row in alignment
            ]
        )
        np.testing.assert_allclose(result["sslmem"].isel(epoch=e), score, atol=1e-12)
        best = sorted(candidates, key=lambda i: -score[i])[: max(1, round(len(candidates) / 10))]
        for name, chosen in (("mean", candidates), ("top_mean", best)):
            assert float(result[name][e]) == pytest.approx(score[chosen].mean())
            per_seed = [
                np.mean([alignment[i, _at(family, seed, "g", s), e] - alignment[i, _at(family, seed, "f", s), e] for i in chosen])
                for s in range(seeds)
            ]
            units = per_seed if seeds > 1 else score[chosen]
            expected = np.std(units, ddof=1) / np.sqrt(len(units)) if len(units) > 1 else np.nan
            assert float(result[f"{name}_se"][e]) == pytest.approx(expected, nan_ok=True)
    assert result.attrs["standard_error_over"] == ("seeds" if seeds > 1 else "candidates")


def _at(family, seed, wanted_family, wanted_seed):
    return next(k for k in range(len(family)) if family[k] == wanted_family and seed[k] == wanted_seed)


def test_loss_and_probe_accuracy_are_means_over_encoders_at_their_epochs(studies):
    study = studies[3]
    result = memorization_over_training(study.tree)
    loss = study.tree["training/loss"].load()
    assert result["training_epoch"].values.tolist() == [1, 2, 3, 4, 5, 6]
    assert result["epoch"].values.tolist() == [2, 4, 6]
    np.testing.assert_allclose(result["loss_every_epoch"], loss.values.mean(axis=0), rtol=1e-6)
    np.testing.assert_allclose(result["loss"], loss.values.mean(axis=0)[[1, 3, 5]], rtol=1e-6)
    np.testing.assert_allclose(result["loss_sd"], loss.values.std(axis=0, ddof=1)[[1, 3, 5]], rtol=1e-5)
    np.testing.assert_allclose(result["probe_accuracy"], 0.9 - 0.3 / np.array([2, 4, 6]), rtol=1e-6)


def test_an_audit_has_no_training_to_look_at(studies):
    tree = studies[1].tree
    without = xr.DataTree.from_dict({"/": tree.to_dataset()})
    with pytest.raises(UserError, match="this is an audit, whose encoders were trained elsewhere"):
        memorization_over_training(without)


def test_a_store_without_candidates_is_refused(studies):
    tree = noisy(studies[1])
    shared = tree["partition"].values != 1
    with pytest.raises(UserError, match="no candidates"):
        memorization_over_training(tree.isel(sample=shared))


def test_only_pairs_count_and_nothing_else_is_read(tmp_path):
    study = make_study(tmp_path / "designs", samples=90, seeds=4)
    expected = memorization_over_training(open_results(study.results_path).isel(encoder=slice(4)))
    give_to_design(study, "leave_one_out", seeds=[2, 3])
    for encoder in range(4, 8):
        (study.results_path / "trajectory" / "alignment" / "c" / "0" / str(encoder) / "0").write_bytes(b"damaged")
    without_checksums(study.path)  # with them it would not be opened
    found = memorization_over_training(open_results(study.results_path))
    xr.testing.assert_identical(found, expected)
    assert found.attrs["n_encoders"] == 4


def pure_noise(study, seeds: int, draw: int) -> xr.DataTree:
    """The study's tree with alignments of noise alone, and an offset of every encoder."""
    tree = open_results(study.results_path)
    rng = np.random.default_rng(draw)
    alignment = tree["trajectory/alignment"].load()
    offset = rng.normal(0, 0.03, (1, alignment.sizes["encoder"], 1))
    tree["trajectory/alignment"] = alignment.copy(data=(0.5 + offset + rng.normal(0, 0.05, alignment.shape)).astype(np.float32))
    return tree


@pytest.mark.parametrize("seeds", [2, 3, 4])
def test_where_nothing_is_memorized_the_top_tenth_by_halves_has_mean_zero_and_the_naive_one_has_not(seeds, tmp_path):
    """In simulated studies, an epoch each: the mean over studies, and the share of 95 % intervals that hold zero."""
    study = make_study(tmp_path / "noise", samples=600, seeds=seeds)
    found = [memorization_over_training(pure_noise(study, seeds, draw)) for draw in range(25)]
    values = {name: np.concatenate([one[name].values for one in found]) for name in ("effect", "top_effect", "top_effect_naive")}
    ends = np.concatenate([one["top_effect_interval"].values for one in found])
    error = np.std(values["top_effect"]) / np.sqrt(len(values["top_effect"]))
    assert abs(values["top_effect"].mean()) < 4 * error
    assert np.mean((ends[:, 0] <= 0) & (ends[:, 1] >= 0)) > 0.92
    assert values["top_effect_naive"].mean() > 10 * error
    assert (values["top_effect_naive"] > 0).all()
    assert np.std(values["effect"]) < 0.2 * 0.03  # without the offsets


def test_the_effect_is_that_of_the_report_and_of_the_top_tenth_that_of_its_samples(studies):
    """The last epoch of a study whose scores are known: planted effects, and the truth of the samples that halves choose."""
    study = studies[3]
    found = memorization_over_training(study.tree).isel(epoch=-1)
    report = effects(study.scores()).sel(effect="(C-I)/2")
    assert float(found["effect"]) == pytest.approx(float(report["value"]), rel=1e-3)
    np.testing.assert_allclose(found["effect_interval"], report["interval"], rtol=0.02)
    assert found.attrs["missing"] == ""
    assert found.attrs["seeds"] == 3
    assert float(found["effect"]) < float(found["top_effect"]) < float(found["top_effect_naive"])
    # The made-up trajectory is a mean over pairs of views without weights, which scores have.
    differences = by_seed(study.scores()).values
    codes = study.results["partition"].values
    own = differences[codes == 1] - (differences[codes == 1].mean(axis=0) + differences[codes == 2].mean(axis=0)) / 2
    ways = [((0,), (1, 2)), ((1,), (2, 0)), ((2,), (0, 1))]
    ways += [(measure, choose) for choose, measure in ways]
    by = {seed: [] for seed in range(3)}
    for choose, measure in ways:
        best = np.argsort(-own[:, choose].mean(axis=1))[: found.attrs["n_top"]]
        for seed in measure:
            by[seed].append(own[best, seed].mean())
    assert float(found["top_effect"]) == pytest.approx(np.mean([np.mean(values) for values in by.values()]), rel=0.01)


def test_what_is_missing_is_a_sentence(studies):
    one = memorization_over_training(studies[1].tree)
    assert "set training.seeds to 2 or more" in one.attrs["missing"]
    assert np.isnan(one[["effect", "top_effect", "top_effect_naive"]].to_array()).all()
    tree = noisy(studies[3])
    last = {name: group.to_dataset() for name, group in tree.children.items()} | {"/": tree.to_dataset()}
    last["trajectory"] = last["trajectory"].isel(epoch=[-1])
    names = [name for name in last["trajectory"].coords if name not in ("epoch", "encoder", "sample")]
    last["trajectory"] = last["trajectory"].drop_vars(names)
    assert "set training.record_every" in memorization_over_training(xr.DataTree.from_dict(last)).attrs["missing"]
    without = memorization_over_training(tree.isel(sample=tree["partition"].values != 2))
    assert "no independent samples" in without.attrs["missing"]
