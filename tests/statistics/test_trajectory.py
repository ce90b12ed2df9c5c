"""Memorization over training, against a slow transcription in numpy."""

import numpy as np
import pytest
import xarray as xr

from sslmem_kit.errors import UserError
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
