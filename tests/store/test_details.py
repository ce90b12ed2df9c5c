"""What a store holds for looking at samples: against the data, the views and brute force; whole or not there; old studies upgraded."""

from __future__ import annotations

import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import torch
import xarray as xr
import zarr

from sslmem_kit import store
from sslmem_kit.cli import main
from sslmem_kit.data.loader import ImageLoader, to_float
from sslmem_kit.data.samples import load_samples
from sslmem_kit.measures.alignment import scored_images
from sslmem_kit.measures.features import nearest, pooled_features
from sslmem_kit.report.validate import problems
from sslmem_kit.run.study import run_study
from sslmem_kit.run.worker import _load_encoder
from sslmem_kit.spec.policy import POLICIES
from sslmem_kit.store import details, integrity
from sslmem_kit.study import Study, open_study
from sslmem_kit.views import scored_view
from tests.support.fake_study import make_study, workers_in_this_process
from tests.training.test_loop import make_spec


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with workers_in_this_process():
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Study:
    """A trained study of 90 samples, one pair of encoders, two random views."""
    return run_study(make_spec("simclr", epochs=2), tmp_path_factory.mktemp("details") / "tiny", workers=2)


@pytest.fixture
def study(whole: Study, tmp_path: Path) -> Study:
    shutil.copytree(whole.path, tmp_path / "tiny")
    return Study(tmp_path / "tiny")


def forget(study: Study, *groups: str) -> None:
    """Take groups away, as if the study were of an earlier version, or its run had ended before them."""
    for name in groups:
        shutil.rmtree(study.results_path / name)
    store.set_attributes(study.results_path, {"seconds": 1.0})
    store.finish(study.results_path)
    integrity.renew(study.results_path)


def assert_same_details(first: Study, second: Study) -> None:
    for name in store.DETAILS:
        xr.testing.assert_identical(Study(first.path).tree[name].to_dataset(), Study(second.path).tree[name].to_dataset())


def scores(difference: list[float], codes: list[int]) -> xr.Dataset:
    n = len(codes)
    return xr.Dataset(
        {"difference": ("sample", np.array(difference)), "partition": ("sample", np.array(codes))},
        coords={"sample": np.arange(n) * 2 + 1},
    )


def test_the_views_are_those_that_were_scored(whole: Study) -> None:
    """Recomputed one sample and one view at a time."""
    spec, dataset = whole.spec, load_samples(whole.spec).dataset
    group = whole.tree["views"]
    assert group["thumbnail"].dims == ("kept", "view", "y", "x", "channel")
    assert group["thumbnail"].dtype == np.uint8
    assert group["view"].values.tolist() == [0, 1, 2]
    kept = group["kept"].values
    for row, sample in zip(group["thumbnail"].values, kept, strict=True):
        image = to_float(torch.from_numpy(dataset.read([sample])))
        for view, stored in enumerate(row):
            drawn = scored_view(image, torch.tensor([sample]), view=view, seed=spec.view_seed, policy=spec.scoring.policy)
            np.testing.assert_array_equal(stored, np.rint(drawn[0].numpy().transpose(1, 2, 0) * 255).astype(np.uint8))
    np.testing.assert_array_equal(group["thumbnail"].sel(view=0), whole.tree["images/thumbnail"].sel(sample=kept))


def test_large_views_are_shrunk_as_thumbnails_are() -> None:
    rng = np.random.default_rng(0)
    images = rng.integers(0, 256, (4, 3, 130, 150, 3), dtype=np.uint8)
    small = details.shrink(images)
    assert small.shape == (4, 3, 43, 50, 3)
    np.testing.assert_array_equal(small[2, 1, 5, 7], np.rint(images[2, 1, 15:18, 21:24].mean(axis=(0, 1))))
    assert details.view_bytes((130, 150, 3), 2) == small[0].size


def test_views_do_not_depend_on_the_batch() -> None:
    samples = load_samples(make_spec("simclr"))
    loader, ids = ImageLoader(samples.dataset, "cpu"), samples.dataset.ids[:23]
    options = {"views": 3, "policy": POLICIES["simclr"], "seed": 5}
    one, all_at_once = (np.concatenate(list(scored_images(loader, ids, batch_size=size, **options))) for size in (4, 23))
    np.testing.assert_array_equal(one, all_at_once)


def test_neighbours_are_those_of_brute_force(whole: Study) -> None:
    spec, samples = whole.spec, load_samples(whole.spec)
    group = whole.tree["neighbours"]
    ids, kept = whole.results["sample"].values, group["kept"].values
    assert group["neighbour"].dims == group["distance"].dims == ("kept", "encoder", "rank")
    assert group["neighbour"].attrs["references"] == "sample"
    assert group.attrs["n_reference"] == len(ids) == 90
    assert group["rank"].values.tolist() == [1, 2, 3, 4, 5, 6, 7, 8]
    for plan in spec.encoders:
        features = pooled_features(
            _load_encoder(whole, plan.id, samples, "cpu"), ImageLoader(samples.dataset, "cpu"), ids, batch_size=256
        ).astype(np.float64)
        features /= np.linalg.norm(features, axis=1, keepdims=True)
        distances = np.linalg.norm(features[:, None] - features[None], axis=2)
        np.fill_diagonal(distances, np.inf)
        mine = distances[np.searchsorted(ids, kept)]
        stored = group.sel(encoder=plan.id)
        np.testing.assert_allclose(stored["distance"].values, np.sort(mine, axis=1)[:, :8], atol=2e-6)
        found = np.take_along_axis(mine, np.searchsorted(ids, stored["neighbour"].values), axis=1)
        np.testing.assert_allclose(found, stored["distance"].values, atol=2e-6)


def test_nearest_by_hand() -> None:
    angles = np.deg2rad([0, 10, 10, 25, 90, 180])
    features = np.stack([np.cos(angles), np.sin(angles)], axis=1).astype(np.float32) * np.array(
        [[1], [2], [4], [1], [5], [1]], np.float32
    )
    found, distance = nearest(features, np.array([0, 4]), count=8, device="cpu")
    assert found.tolist() == [[1, 2, 3, 4, 5], [3, 1, 2, 0, 5]]
    np.testing.assert_allclose(distance[0], 2 * np.sin(np.deg2rad([5, 5, 12.5, 45, 90])), atol=1e-6)


def test_nearly_equal_samples_are_told_apart() -> None:
    """In float32 the inner products of these are all 1."""
    features = np.stack([np.ones(6), np.arange(6) * 1e-4], axis=1).astype(np.float32)
    found, distance = nearest(features, np.array([0]), count=3, device="cpu")
    assert found.tolist() == [[1, 2, 3]]
    np.testing.assert_allclose(distance[0], [1e-4, 2e-4, 3e-4], rtol=1e-2)


def test_candidates_and_both_ends_of_every_partition_are_kept() -> None:
    rng = np.random.default_rng(0)
    codes = np.repeat([0, 1, 2, 3], [500, 300, 200, 20])
    difference = rng.normal(size=len(codes))
    table = scores(difference, codes)
    kept = details.choose_kept(table, bytes_each=1)
    chosen = table.sel(sample=kept["kept"].values)
    for code, size in enumerate([128, 300, 128, 20]):
        assert int((chosen["partition"] == code).sum()) == size
    ends = np.sort(chosen["difference"].values[chosen["partition"].values == 0])
    ordered = np.sort(difference[codes == 0])
    np.testing.assert_array_equal(ends, np.concatenate([ordered[:64], ordered[-64:]]))
    assert (np.diff(kept["kept"].values) > 0).all()
    assert kept.attrs == {"kept_rule": details.RULE, "n_gave_way": 0}


def test_candidates_give_way_nearest_to_the_null_first(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(details, "EXTREMES", 1)
    monkeypatch.setattr(details, "VIEWS_BYTES", 80)
    #            shared: null mean 1   candidates                      independents
    difference = [1.0, 0.5, 1.5, 1.0, 9.0, 1.1, -3.0, 3.5, 1.0, -1.0, 5.0, 2.0, 0.0]
    codes = [0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 2, 2, 2]
    kept = details.choose_kept(scores(difference, codes), bytes_each=10)
    # Extremes: 1, 2 / 4, 6 / 10, 12; room for two more candidates: those at 3.5 and -1.0.
    assert ((kept["kept"].values - 1) // 2).tolist() == [1, 2, 4, 6, 7, 9, 10, 12]
    assert kept.attrs["n_gave_way"] == 2
    fewer = details.choose_kept(scores(difference, codes), bytes_each=20)
    assert ((fewer["kept"].values - 1) // 2).tolist() == [4, 6, 10, 12], "extremes alone are too many: the farthest of them"


def test_without_null_samples_zero_stands_for_their_mean() -> None:
    kept = details.choose_kept(scores([0.1, 0.2, -0.3], [1, 1, 2]), bytes_each=1)
    assert kept["kept"].values.tolist() == [1, 3, 5]


def test_references_are_bounded_and_hold_the_kept(monkeypatch: pytest.MonkeyPatch) -> None:
    ids, kept = np.arange(100) * 3, np.array([3, 30, 33])
    np.testing.assert_array_equal(details.choose_references(ids, kept, seed=1), ids)
    monkeypatch.setattr(details, "REFERENCES", 20)
    drawn = details.choose_references(ids, kept, seed=1)
    assert len(drawn) == len(set(drawn.tolist())) == 20
    assert set(kept) <= set(drawn) <= set(ids)
    assert (np.diff(drawn) > 0).all()
    np.testing.assert_array_equal(drawn, details.choose_references(ids, kept, seed=1))
    assert not np.array_equal(drawn, details.choose_references(ids, kept, seed=2))
    monkeypatch.setattr(details, "REFERENCES", 2)
    np.testing.assert_array_equal(details.choose_references(ids, kept, seed=1), kept)


def test_an_old_study_is_upgraded_without_training(study: Study, whole: Study, capsys: pytest.CaptureFixture[str]) -> None:
    forget(study, "views", "neighbours")
    assert list(problems(study.path)) == []
    assert set(Study(study.path).tree.children) == {"images", "training", "trajectory", "downstream", "completeness", "duplicates"}
    stored = {path: path.stat().st_mtime_ns for path in study.path.rglob("encoders/**/*")}
    assert main(["run", str(study.spec_path), "--out", str(study.path), "--workers", "2"]) == 0
    assert "views and neighbours, 0 of 3" in capsys.readouterr().err
    assert {path: path.stat().st_mtime_ns for path in study.path.rglob("encoders/**/*")} == stored
    assert_same_details(study, whole)
    assert list(problems(study.path)) == []
    # Once more has nothing to do: no worker is started.
    assert main(["run", str(study.spec_path), "--out", str(study.path)]) == 0
    assert "views and neighbours" not in capsys.readouterr().err


@pytest.mark.parametrize("lost", store.DETAILS)
def test_a_run_that_ended_between_the_groups_goes_on_from_there(lost: str, study: Study, whole: Study) -> None:
    forget(study, lost)
    other = next(name for name in store.DETAILS if name != lost)
    before = (study.results_path / other / "zarr.json").stat().st_mtime_ns
    (study.path / f"results.zarr.{lost}.partial").mkdir()
    run_study(study.spec, study.path, workers=2)
    assert (study.results_path / other / "zarr.json").stat().st_mtime_ns == before
    assert {path.name for path in study.path.iterdir()} == {"study.yaml", "encoders", "results.zarr", ".lock"}
    assert_same_details(study, whole)


def test_a_run_that_ended_before_the_last_write_is_finished(study: Study, whole: Study) -> None:
    """Both groups are moved in, but the metadata that readers go by is of an earlier version's store."""
    held = study.path / "held"
    held.mkdir()
    for name in store.DETAILS:
        shutil.copytree(study.results_path / name, held / name)
    forget(study, *store.DETAILS)
    for name in store.DETAILS:
        (held / name).rename(study.results_path / name)
    assert not set(store.DETAILS) & set(Study(study.path).tree.children)
    run_study(study.spec, study.path, workers=2)
    assert_same_details(study, whole)


def test_a_group_that_could_not_be_written_is_not_there(study: Study, monkeypatch: pytest.MonkeyPatch) -> None:
    forget(study, "neighbours")
    kept = details.written_kept(study.results_path)

    def full(*_: object, **__: object) -> None:
        raise OSError(28, "No space left on device")

    monkeypatch.setattr("sslmem_kit.store.files.os.replace", full)
    with pytest.raises(OSError, match="No space"):
        details.write_neighbours(study.results_path, kept, np.zeros((90, 2, 1)), np.zeros((90, 2, 1)), references=90)
    assert details.unwritten(study.results_path) == ["neighbours"]
    assert not list(study.path.glob("*.partial"))


def test_lost_weights_are_named_and_trained_again(study: Study, capsys: pytest.CaptureFixture[str]) -> None:
    forget(study, "neighbours")
    (study.path / "encoders" / "g-0" / "weights.safetensors").unlink()
    assert main(["run", str(study.spec_path), "--out", str(study.path), "--workers", "2"]) == 0
    assert "encoders/g-0/weights.safetensors is missing: it is made again" in capsys.readouterr().err
    assert list(problems(study.path)) == []


def spoil(study: Study, name: str, value: int | float) -> None:
    group, _, variable = name.partition("/")
    zarr.open_group(study.results_path / group, mode="r+")[variable][2] = value


@pytest.mark.parametrize(
    ("name", "value", "telling"),
    [
        ("views/kept", 1, "/views: kept is not an ascending list"),
        ("neighbours/kept", 10**6, "/neighbours: kept is not an ascending list"),
        ("neighbours/neighbour", 1, "no other samples of this study"),
        ("neighbours/distance", 2.5, "outside 0..2"),
        ("neighbours/distance", np.nan, "outside 0..2"),
    ],
)
def test_values_that_cannot_be_are_found(tmp_path: Path, name: str, value: float, telling: str) -> None:
    study = make_study(tmp_path / "fake", samples=60, seeds=1, views=2)
    assert list(details.problems(study.tree)) == []
    spoil(study, name, value)
    found = list(details.problems(Study(study.path).tree))
    assert any(telling in problem for problem in found), found


def test_a_chunk_that_is_cut_is_found(tmp_path: Path) -> None:
    study = make_study(tmp_path / "fake", samples=60, seeds=1, views=2)
    chunk = next(path for path in (study.results_path / "views" / "thumbnail" / "c").rglob("*") if path.is_file())
    chunk.write_bytes(chunk.read_bytes()[:20])
    assert any("/views: a chunk cannot be read" in problem for problem in details.problems(Study(study.path).tree))


def test_views_of_another_study_do_not_fit(tmp_path: Path) -> None:
    study, other = (
        make_study(tmp_path / name, samples=60, seeds=seeds, views=views) for name, seeds, views in (("a", 1, 2), ("b", 1, 3))
    )
    for name in store.DETAILS:
        shutil.rmtree(study.results_path / name)
        shutil.copytree(other.results_path / name, study.results_path / name)
    store.set_attributes(study.results_path, {"seconds": 1.0})
    assert any("thumbnail has the shape" in problem for problem in details.problems(Study(study.path).tree))


def test_a_group_of_another_layout_is_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = make_study(tmp_path / "fake", samples=60, seeds=1, views=2)
    shutil.rmtree(study.results_path / "views" / "thumbnail")
    store.set_attributes(study.results_path, {"seconds": 1.0})
    assert main(["report", str(study.path)]) == 2
    assert "group /views has 'thumbnail' with dimensions None, the schema has ('kept', 'view', 'y', 'x'" in capsys.readouterr().err


def test_one_samples_views_are_few_chunks(whole: Study) -> None:
    group = zarr.open_group(whole.results_path, mode="r")
    n = len(whole.tree["views/kept"])
    assert group["views/thumbnail"].chunks == (min(64, n), 3, 8, 8, 1)
    assert open_study(whole.path).tree["views/thumbnail"].sel(kept=whole.tree["views/kept"].values[3]).shape == (3, 8, 8, 1)


def test_space_is_reckoned_above_what_is_taken(whole: Study) -> None:
    reckoned = details.required_bytes((8, 8, 1), views=2, encoders=2, candidates=10, samples=90)
    taken = sum(whole.tree[name].nbytes for name in ("views/thumbnail", "neighbours/neighbour", "neighbours/distance"))
    assert taken <= reckoned < 2 * taken
