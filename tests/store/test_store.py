"""The results store: its layout as others read it, writers that do not disturb each other, and what is missing being told."""

from __future__ import annotations

import errno
import json
import os
from concurrent.futures import ProcessPoolExecutor
from multiprocessing import get_context
from pathlib import Path

import numpy as np
import pytest
import xarray as xr
import zarr

from sslmem_kit import store
from sslmem_kit.errors import UserError
from sslmem_kit.store import integrity

N, VIEWS, EPOCHS, RECORDED, BLOCK = 11, 2, 5, (2, 4, 5), 4
IDS = np.arange(N) * 3 + 5
ENCODERS = ["f-0", "g-0", "f-1", "g-1"]
SEEN = np.random.default_rng(0).random((N, 4)) < 0.5


@pytest.fixture
def path(tmp_path: Path) -> Path:
    """An empty store."""
    rows = [
        {"encoder": name, "family": name[0], "seed": int(name[2:]), "method": "simclr", "backbone": "resnet18", "dataset": "größe"}
        for name in ENCODERS
    ]
    coords = {
        "sample": IDS,
        "label": ("sample", np.arange(N) % 2, {"class_names": ["Äpfel", "b"]}),
        "partition": ("sample", np.arange(N, dtype=np.int8) % 4),
    }
    store.create(
        tmp_path / "results.zarr",
        samples=xr.Dataset(coords=coords),
        encoders=rows,
        trained_on=SEEN,
        views=VIEWS,
        policy="crop+flip",
        epochs=EPOCHS,
        recorded_epochs=RECORDED,
        tasks={"digits": [str(digit) for digit in range(10)]},
        thumbnails=np.random.default_rng(1).integers(0, 256, (N, 4, 4, 3), dtype=np.uint8),
        block=BLOCK,
        attrs={"spec": json.dumps({"name": "x"}), "spec_hash": "abc", "versions": "{}", "device": "cpu"},
    )
    return tmp_path / "results.zarr"


def alignment(encoder: int) -> np.ndarray:
    """(sample, augmentation), another value everywhere."""
    return (0.001 * (encoder * 1000 + np.arange(N * 3).reshape(N, 3) + 1) % 2).astype(np.float32)


def rows(encoder: int) -> dict[str, np.ndarray]:
    shapes = {
        "training/loss": (EPOCHS,),
        "training/learning_rate": (EPOCHS,),
        "trajectory/alignment": (N, len(RECORDED)),
        "trajectory/probe_accuracy": (len(RECORDED),),
        "downstream/accuracy": (1, 3),
    }
    return {name: np.random.default_rng(encoder).random(shape).astype(np.float32) for name, shape in shapes.items()}


def fill(path: Path, encoder: int) -> None:
    """Everything of one encoder."""
    for block, start in enumerate(range(0, N, BLOCK)):
        store.write_alignment(path, encoder=encoder, block=block, values=alignment(encoder)[start : start + BLOCK])
    store.write_evaluation(path, encoder=encoder, rows=rows(encoder))


def assert_filled(tree: xr.DataTree) -> None:
    for encoder in range(4):
        np.testing.assert_array_equal(tree["alignment"][:, :, encoder], alignment(encoder))
        written = rows(encoder)
        for name in ("training/loss", "training/learning_rate", "trajectory/probe_accuracy", "downstream/accuracy"):
            np.testing.assert_array_equal(tree[name][encoder], written[name], err_msg=name)
        np.testing.assert_array_equal(tree["trajectory/alignment"][:, encoder], written["trajectory/alignment"])


def test_the_layout_of_the_contract(path: Path) -> None:
    for encoder in range(4):
        fill(path, encoder)
    store.finish(path)
    tree = xr.open_datatree(path, engine="zarr")
    layout = {
        "alignment": (("sample", "augmentation", "encoder"), "float32"),
        "trained_on": (("sample", "encoder"), "bool"),
        "sample": (("sample",), "int64"),
        "label": (("sample",), "int64"),
        "partition": (("sample",), "int8"),
        "view_a": (("augmentation",), "int64"),
        "view_b": (("augmentation",), "int64"),
        "seed": (("encoder",), "int64"),
        "images/thumbnail": (("sample", "y", "x", "channel"), "uint8"),
        "training/loss": (("encoder", "epoch"), "float32"),
        "trajectory/alignment": (("sample", "encoder", "epoch"), "float32"),
        "downstream/accuracy": (("encoder", "task", "probe"), "float32"),
    }
    assert {name: (tree[name].dims, str(tree[name].dtype)) for name in layout} == layout
    assert set(tree.coords) >= {
        "label",
        "partition",
        "view_a",
        "view_b",
        "policy",
        "encoder",
        "family",
        "seed",
        "method",
        "backbone",
        "dataset",
    }
    assert tree["partition"].attrs == {"flag_values": [0, 1, 2, 3], "flag_meanings": "shared candidate independent extra"}
    assert [*zip(tree["view_a"].values.tolist(), tree["view_b"].values.tolist(), strict=True)] == [(0, 1), (0, 2), (1, 2)]
    assert tree.attrs["schema_version"] == store.SCHEMA_VERSION == 1
    assert json.loads(tree.attrs["spec"]) == {"name": "x"}
    assert {"spec_hash", "versions", "device", "created"} <= set(tree.attrs)
    assert tree["training/epoch"].values.tolist() == [1, 2, 3, 4, 5]
    assert tree["trajectory/epoch"].values.tolist() == list(RECORDED)
    assert json.loads((path / "zarr.json").read_text())["zarr_format"] == 3
    np.testing.assert_array_equal(tree["trained_on"], SEEN)
    np.testing.assert_array_equal(tree["sample"], IDS)
    assert_filled(tree)


def test_text_comes_back_as_it_was_without_warnings(path: Path) -> None:
    for encoder in range(4):
        fill(path, encoder)
    store.finish(path)
    for root in (xr.open_datatree(path, engine="zarr").to_dataset(), xr.open_zarr(path), store.open_results(path).to_dataset()):
        assert root["encoder"].values.tolist() == ENCODERS
        assert root["family"].values.tolist() == ["f", "g"] * 2
        assert root["dataset"].values.tolist() == ["größe"] * 4
        assert root["policy"].values.tolist() == ["crop+flip"] * 3
        assert root["label"].attrs["class_names"] == ["Äpfel", "b"]
        assert root.sel(encoder="g-1")["alignment"].shape == (N, 3)
    assert zarr.open_group(path, mode="r")["encoder"][:].tolist() == ENCODERS


def test_what_is_missing_is_told_and_never_shown(path: Path) -> None:
    for encoder in (0, 2):
        fill(path, encoder)
    store.write_alignment(path, encoder=1, block=2, values=alignment(1)[8:])
    with pytest.raises(store.IncompleteStore, match=r"g-0 \(2 of 3 sample blocks\), g-1 \(3 of 3 sample blocks\).* of g-0, g-1"):
        store.open_results(path)
    tree = store.open_results(path, allow_incomplete=True)
    assert np.isnan(tree["alignment"][:8, :, 1]).all()
    np.testing.assert_array_equal(tree["alignment"][8:, :, 1], alignment(1)[8:])
    for encoder in (1, 3):
        fill(path, encoder)
    assert store.missing(store.open_results(path)) == ""


def test_a_writer_is_told_what_is_left_to_do(path: Path) -> None:
    assert store.unscored_blocks(path, 2) == [0, 1, 2]
    store.write_alignment(path, encoder=2, block=1, values=alignment(2)[4:8])
    assert store.unscored_blocks(path, 2) == [0, 2]
    assert store.unscored_blocks(path, 3) == [0, 1, 2]
    assert not store.is_evaluated(path, 2)
    store.write_evaluation(path, encoder=2, rows=rows(2))
    assert [store.is_evaluated(path, encoder) for encoder in range(4)] == [False, False, True, False]


def test_a_block_is_recorded_after_it_is_written(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def interrupt(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(zarr.Array, "__setitem__", interrupt)
    with pytest.raises(KeyboardInterrupt):
        store.write_alignment(path, encoder=0, block=0, values=alignment(0)[:BLOCK])
    assert store.unscored_blocks(path, 0) == [0, 1, 2]


def test_writers_of_different_encoders_at_once_lose_nothing(path: Path) -> None:
    with ProcessPoolExecutor(2, mp_context=get_context("spawn")) as pool:
        for task in [pool.submit(fill, path, encoder) for encoder in range(4)]:
            task.result()
    assert_filled(store.open_results(path))


def test_no_two_writers_share_a_chunk(path: Path) -> None:
    group = zarr.open_group(path, mode="r")
    for name in (
        "alignment",
        "training/loss",
        "trajectory/alignment",
        "trajectory/probe_accuracy",
        "downstream/accuracy",
        "downstream/confusion",
        "completeness/scored",
        "completeness/evaluated",
    ):
        array = group[name]
        axis = array.metadata.dimension_names.index("encoder")
        assert array.chunks[axis] == 1, name
    assert group["alignment"].chunks == (BLOCK, 3, 1)
    assert group["completeness/scored"].chunks == (1, 1)


def test_a_store_that_could_not_be_created_is_not_there(path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from zarr.storage import _local

    written, put = [], _local._put

    def full(*arguments: object, **options: object) -> object:
        written.append(arguments[0])
        if len(written) > 20:
            raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))
        return put(*arguments, **options)

    monkeypatch.setattr(_local, "_put", full)
    tree = store.open_results(path, allow_incomplete=True).load()
    again = path.with_name("again.zarr")
    with pytest.raises(OSError, match="No space"):
        store.create(
            again,
            samples=tree.to_dataset()[["sample", "label", "partition"]].drop_vars(
                set(tree.coords) - {"sample", "label", "partition"}, errors="ignore"
            ),
            encoders=[{"encoder": "f-0", "family": "f", "seed": 0, "method": "m", "backbone": "b", "dataset": "d"}],
            trained_on=SEEN[:, :1],
            views=1,
            policy="crop",
            epochs=1,
            recorded_epochs=(1,),
            tasks={"digits": [str(digit) for digit in range(10)]},
            thumbnails=np.zeros((N, 2, 2, 1), np.uint8),
            block=BLOCK,
            attrs={},
        )
    assert len(written) > 20
    assert [entry.name for entry in path.parent.iterdir()] == [path.name]


def test_metadata_is_consolidated_at_the_end_only(path: Path) -> None:
    def is_consolidated() -> bool:
        return "consolidated_metadata" in json.loads((path / "zarr.json").read_text())

    for encoder in range(4):
        fill(path, encoder)
    store.set_attributes(path, {"seconds": 3.5})
    assert not is_consolidated()
    assert store.open_results(path).attrs["seconds"] == 3.5
    store.finish(path)
    assert is_consolidated()
    assert store.open_results(path).attrs["seconds"] == 3.5
    store.set_attributes(path, {"seconds": 4.5})
    store.finish(path)
    assert xr.open_datatree(path, engine="zarr").attrs["seconds"] == 4.5


@pytest.mark.parametrize(
    ("value", "telling"), [(np.nan, "1 values that are not finite"), (2.5, "outside 0..2"), (-0.1, "outside 0..2")]
)
def test_values_that_cannot_be_are_found(path: Path, value: float, telling: str) -> None:
    for encoder in range(4):
        fill(path, encoder)
    assert list(store.data_problems(store.open_results(path))) == []
    zarr.open_group(path, mode="r+")["alignment"][3, 1, 2] = value
    integrity.renew(path)
    (problem,) = store.data_problems(store.open_results(path))
    assert telling in problem


@pytest.mark.parametrize(
    ("array", "telling"),
    [("trained_on", "no variable 'trained_on'"), ("family", "no variable 'family'"), ("training", "no group /training")],
)
def test_a_layout_that_departs_from_the_schema_is_told(path: Path, array: str, telling: str) -> None:
    del zarr.open_group(path, mode="r+")[array]
    integrity.renew(path)
    with pytest.raises(UserError, match=telling):
        store.open_results(path, allow_incomplete=True)


def test_all_pairs_of_views_in_order() -> None:
    assert store.view_pairs(1) == [(0, 1)]
    assert store.view_pairs(3) == [(0, 1), (0, 2), (0, 3), (1, 2), (1, 3), (2, 3)]
    assert len(store.view_pairs(10)) == 55


def test_what_is_missing_of_many_encoders_stays_one_short_sentence(path: Path) -> None:
    whole = store.open_results(path, allow_incomplete=True)
    many = whole["completeness"].to_dataset(inherit=False).isel(encoder=np.arange(400) % 4)
    tree = xr.DataTree.from_dict({"/": xr.Dataset(coords={"encoder": [f"f-{i}" for i in range(400)]}), "/completeness": many})
    told = store.missing(tree)
    assert "training history and probe are missing of f-0, f-1, f-2, f-3, f-4, f-5 and 394 more" in told
    assert "f-5 (3 of 3 sample blocks) and 394 more" in told
    assert len(told) < 400
