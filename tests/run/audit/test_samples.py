"""Data that are no images, from a spec and in Python: the documented example, and what arrays and views may be."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from types import SimpleNamespace

import numpy as np
import pytest
import torch
from torch import nn

import sslmem_kit
from sslmem_kit.cli import main
from sslmem_kit.data import load
from sslmem_kit.errors import UserError
from sslmem_kit.explorer.gallery.detail import Detail
from sslmem_kit.explorer.session import Session
from sslmem_kit.explorer.study_cache import Library
from sslmem_kit.run.audit.alignment import Measure
from sslmem_kit.run.audit.samples import from_arrays, load_data
from sslmem_kit.scores.audit import alignment_table, subset_scores
from sslmem_kit.spec.data import DataSpec
from sslmem_kit.spec.scoring import ScoringSpec
from sslmem_kit.views.features import perturbed
from tests.support import ROOT

EXAMPLE = ROOT / "docs" / "examples" / "tabular"


def test_the_example_of_tables_from_end_to_end(tmp_path: Path, capsys) -> None:
    root = tmp_path / "tabular"
    shutil.copytree(EXAMPLE, root)
    done = subprocess.run([sys.executable, "tumours.py"], cwd=root, capture_output=True, text=True)
    assert done.returncode == 0, done.stderr
    out = tmp_path / "out"
    assert main(["score", "--spec", str(root / "audit.yaml"), "--out", str(out), "--device", "cpu"]) == 0
    capsys.readouterr()
    assert main(["report", str(out), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert report["n"] == {"shared": 300, "candidate": 100, "independent": 100, "extra": 69}
    tests = {test["alternative"]: test["p"] for test in report["tests"]}
    assert max(tests[name] for name in ("C>S", "C>E", "S>I", "E>I")) < 1e-3
    assert main(["validate", str(out)]) == 0
    study = sslmem_kit.open_study(out)
    assert "images" not in study.tree.children
    assert study.class_names == ("benign", "malignant")

    session = Session(Library([out]))
    session.sample = 0
    record = Detail(session).view.record
    assert (record["size"], record["picture"][:18]) == ("no image", "data:image/svg+xml")
    assert (record["views_note"], record["neighbours_note"]) == ("This study keeps none.",) * 2

    # In Python the same encoders give the same numbers.
    sys.path.insert(0, str(root))
    try:
        import tumours
    finally:
        sys.path.remove(str(root))
    from safetensors.torch import load_file

    encoders, seen = {}, {}
    for family in "fg":
        encoders[f"{family}-0"] = tumours.make_encoder()
        encoders[f"{family}-0"].load_state_dict(load_file(root / f"{family}-0.safetensors"))
        seen[f"{family}-0"] = np.loadtxt(root / f"{family}-0.csv", skiprows=1, dtype=int)
    ids, values, labels = tumours.load()
    results = sslmem_kit.score_encoders(encoders, values, view=perturbed, trained_on=seen, ids=ids, labels=labels, device="cpu")
    np.testing.assert_allclose(results["alignment"], study.results["alignment"], atol=1e-6)
    np.testing.assert_allclose(sslmem_kit.score(results)["sslmem"], study.scores()["sslmem"], atol=1e-6)


def linear(seed: int, inputs: int = 5) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Linear(inputs, 4)


VALUES = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)


def test_views_are_a_pure_function_of_sample_and_key() -> None:
    batch, ids = torch.from_numpy(VALUES), torch.arange(30) * 7
    views = perturbed(batch, ids, 2, 3)
    order = torch.randperm(30)
    assert torch.equal(perturbed(batch[order], ids[order], 2, 3), views[order])
    assert torch.equal(perturbed(batch, ids, 0, 3), batch)
    assert not torch.equal(perturbed(batch, ids, 1, 3), views)
    assert not torch.equal(perturbed(batch, ids, 2, 4), views)


def test_noise_and_dropout_are_what_they_are_called() -> None:
    zeros, ids = torch.zeros(4000, 25), torch.arange(4000)
    noise = perturbed(zeros, ids, 1, 0, sigma=0.5, dropout=0.0)
    assert noise.std() == pytest.approx(0.5, rel=0.02)
    assert noise.mean() == pytest.approx(0, abs=0.01)
    kept = perturbed(zeros + 1, ids, 1, 0, sigma=0.0, dropout=0.3)
    assert set(kept.unique().tolist()) == {0.0, 1.0}
    assert kept.mean() == pytest.approx(0.7, abs=0.01)


def test_scores_do_not_depend_on_batches_or_order() -> None:
    ids = np.arange(30) * 3
    encoders = {"f": linear(0), "g": linear(1)}
    seen = {"f": ids[:20], "g": ids[10:]}
    one = sslmem_kit.score_encoders(encoders, VALUES, view=perturbed, trained_on=seen, ids=ids, device="cpu")
    order = np.random.default_rng(1).permutation(30)
    other = sslmem_kit.score_encoders(
        encoders, VALUES[order], view=perturbed, trained_on=seen, ids=ids[order], batch_size=4, device="cpu"
    )
    assert other["sample"].values.tolist() == ids.tolist()
    np.testing.assert_allclose(one["alignment"], other["alignment"], atol=1e-6)
    assert (one["partition"] == other["partition"]).all()


def test_the_modes_in_python() -> None:
    encoders = {name: linear(place) for place, name in enumerate("abc")}
    options = {"view": perturbed, "device": "cpu"}
    ids = np.arange(30)
    subsets = sslmem_kit.score_encoders(encoders, VALUES, trained_on={"a": ids[:10], "b": ids[5:20], "c": ids[::2]}, **options)
    assert subsets.attrs["mode"] == "subset"
    assert np.isfinite(subset_scores(subsets)["sslmem"]).all()
    alone = sslmem_kit.score_encoders({"a": encoders["a"]}, VALUES, **options)
    assert alone.attrs["mode"] == "one model"
    table = alignment_table(alone)
    assert sorted(table["rank"].values[:, 0].tolist()) == list(range(1, 31))
    assert "sslmem" not in table


def test_images_in_python_are_those_of_a_study() -> None:
    data = load(DataSpec(name="digits"))
    torch.manual_seed(0)
    encoder = nn.Conv2d(1, 2, 3)
    results = sslmem_kit.score_encoders({"one": encoder}, data, policy=["crop", "noise"], views=1, device="cpu")
    assert results.sizes == {"sample": 1797, "augmentation": 1, "encoder": 1}
    assert results["label"].attrs["class_names"] == list(data.class_names)


def test_text_and_numpy_work_too() -> None:
    words = np.array(["a", "bb", "ccc", "dd"])

    def view(batch: np.ndarray, ids: torch.Tensor, number: int, seed: int) -> torch.Tensor:
        return torch.tensor([[len(word) + 0.1 * number * int(key), 1.0] for word, key in zip(batch, ids, strict=True)])

    results = sslmem_kit.score_encoders({"length": lambda batch: batch.numpy() * 2}, words, view=view, device="cpu")
    assert results["alignment"].values[0].max() == 0  # id 0: every view is the same
    assert (results["alignment"].values[1:] > 0).all()


def test_the_first_views_are_drawn_by_ids_on_the_device_of_the_batch() -> None:
    seen = []

    def view(batch: torch.Tensor, ids: torch.Tensor, view: int, seed: int) -> torch.Tensor:
        seen.append((batch.device.type, ids.device.type))
        raise KeyError

    with pytest.raises(UserError, match="has failed"):
        Measure(from_arrays((None, VALUES), field="data"), ScoringSpec(), view=view, seed=0, device="meta")
    assert seen == [("meta", "meta")]


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ({"view": None}, "view is missing"),
        ({"encoders": {}}, "encoders: none is given"),
        ({"data": np.array([{}, {}])}, r"data: the array is object of shape \(2,\)"),
        ({"data": VALUES[:1]}, "2 or more"),
        ({"ids": [1, 1, *range(28)]}, "30 different integers are needed"),
        ({"labels": [0.5] * 30}, "labels are float64"),
        ({"trained_on": {"f": [1]}}, "trained_on is missing 'g'"),
        ({"trained_on": {"f": [1], "g": [2], "h": [3]}}, "has 'h', which is no encoder"),
        ({"trained_on": {"f": [1], "g": [200]}}, r"trained_on\['g'\]: 1 of 1 ids are not samples"),
        ({"policy": "blur", "view": None, "data": "digits"}, "policy: got 'blur'"),
        ({"encoders": {"f": lambda batch: batch[0]}}, r"encoders\['f'\]: it returns the shape"),
        ({"encoders": {"f": lambda batch: None}}, r"encoders\['f'\]: it returns a NoneType"),
        ({"view": lambda batch, ids, view, seed: 1 / 0}, "has failed .ZeroDivisionError"),
        ({"view": lambda batch, ids, view, seed: batch[:, : 5 - view]}, r"view 1 has the shape \(2, 4\) on cpu, view 0 \(2, 5\)"),
        ({"encoders": {"f": lambda batch: batch[:, :0]}}, r"it returns the shape \(2, 0\) of 2 samples"),
        ({"encoders": {"f": lambda batch: batch if len(batch) < 3 else 1 / 0}}, r"fails on a batch of shape .*ZeroDivisionError"),
        ({"encoders": {"f": lambda batch: batch.repeat(1, len(batch))}}, r"of the shapes \(10,\) and \(5,\) of different batches"),
        ({"view": lambda batch, ids, view, seed: batch.sum()}, r"view: it returns the shape \(\) of 2 samples"),
        ({"view": lambda batch, ids, view, seed: batch[:, : 4 + len(batch) % 2]}, "it has to be a pure function"),
        ({"trained_on": {"f": [1], "g": [10**20]}}, r"trained_on\['g'\]: "),
        ({"views": 0}, "views: input should be greater than or equal to 1, got 0"),
        ({"data": VALUES.astype(int)}, "perturbed is for floating point"),
    ],
)
def test_wrong_arguments_are_told(arguments: dict, message: str) -> None:
    given = {"encoders": {"f": linear(0), "g": linear(1)}, "data": VALUES, "view": perturbed, "device": "cpu", **arguments}
    if isinstance(given["data"], str):
        given["data"] = load(DataSpec(name=given["data"]))
    with pytest.raises(UserError, match=message) as caught:
        sslmem_kit.score_encoders(given.pop("encoders"), given.pop("data"), **given)
    assert "\n" not in str(caught.value)


def test_groups_are_refused_by_audits() -> None:
    spec = SimpleNamespace(source=None, data=DataSpec(name="digits", groups="near_duplicates"), seed=0)
    with pytest.raises(UserError, match=r"data.groups: an audit takes every sample alone"):
        load_data(spec)
