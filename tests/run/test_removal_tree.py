"""Removal trees: every encoder is trained once, amount 0 is the study's own, a killed tree ends as one that nobody disturbed."""

from __future__ import annotations

import json
import os
import random
import shutil
import signal
import subprocess
import sys
import time
from collections import Counter
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import numpy as np
import pytest
import xarray as xr
import yaml
from PIL import Image
from safetensors.numpy import load_file

from sslmem_kit.cli import main
from sslmem_kit.data import samples as samples_module
from sslmem_kit.data.identity import encoder_hash
from sslmem_kit.data.loader import image_loader
from sslmem_kit.data.samples import load_samples
from sslmem_kit.errors import UserError
from sslmem_kit.events import Event, Trained
from sslmem_kit.run.removal_sets import candidates_of, removed_ids, without
from sslmem_kit.run.removal_tree import run_tree
from sslmem_kit.scores.estimators import estimate
from sslmem_kit.spec.design import EncoderPlan
from sslmem_kit.spec.removal_cells import Row
from sslmem_kit.spec.removal_tree import RemovalTreeSpec, parse_tree
from sslmem_kit.store.removal_tree import open_tree
from sslmem_kit.study import Study
from sslmem_kit.training.loop import train
from tests.support import ROOT
from tests.support.fake_study import workers_in_this_process
from tests.training.test_loop import RESNET

PARENT = {
    "name": "tiny",
    "data": {"name": "digits"},
    "partition": {"shared": 0, "candidate": 40, "independent": 40, "extra": 10},
    "encoder": RESNET,
    "objective": {"method": "simclr", "hidden_dim": 16, "projection_dim": 8},
    "training": {"seeds": 2, "epochs": 2, "warmup_epochs": 0, "batch_size": 16, "record_every": 0, "checkpoint_seconds": 1e-9},
    "scoring": {"views": 2},
    "design": {"subsets": {"folds": 2, "repeats": 2}},
}
TREE: dict[str, Any] = {
    "name": "tiny-tree",
    "scores_of": PARENT,
    "remove": ["highest", "random"],
    "amounts": [10, 0.5],
    "draws": 2,
    "seeds": 2,
    "orders": ["pairs", "subsets", "shrunken"],
    "tasks": [{"name": "digits_twins"}],
}


def spec(**changes: Any) -> RemovalTreeSpec:
    return parse_tree({**TREE, **changes}, where="test").resolved(Path.cwd())


@pytest.fixture(autouse=True)
def _here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("OMP_NUM_THREADS", "1")
    samples_module._load.cache_clear()


class Log:
    """Epochs that were trained, by encoder."""

    def __init__(self) -> None:
        self.epochs: Counter[tuple[str, float]] = Counter()
        self.events: list[Event] = []

    def __call__(self, event: Event) -> None:
        self.events.append(event)
        if isinstance(event, Trained) and event.epochs == int(event.epochs):
            self.epochs[event.encoder, event.epochs] += 1

    @property
    def encoders(self) -> set[str]:
        return {encoder for encoder, _ in self.epochs}


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Log]:
    path, log = tmp_path_factory.mktemp("tree") / "tree", Log()
    with pytest.MonkeyPatch.context() as patch, workers_in_this_process():
        patch.setenv("OMP_NUM_THREADS", "1")
        run_tree(spec(), path, device="cpu", on_event=log)
    return path, log


def test_no_encoder_is_trained_twice_and_amount_0_is_the_studys_own(whole: tuple[Path, Log]) -> None:
    path, log = whole
    results = open_tree(path).results
    assert set(log.epochs.values()) == {1}
    # f, g of 2 seeds and one of each group of subsets; 2 amounts x 2 seeds x (2 orders + 2 draws), for shrunken is pairs.
    assert len([name for name in log.encoders if "-" in name and name[0] in "hr"]) == 2 * 2 * (2 + 2)
    assert len(list(path.glob("encoders/*/weights.safetensors"))) == 16
    assert set(results["encoder"].sel(amount=0, draw=0).values.ravel().tolist()) == {"parent/f-0", "parent/f-1"}
    by = results["encoder"].sel(amount=10, draw=0)
    assert by.sel(removed="highest by shrunken").values.tolist() == by.sel(removed="highest by pairs").values.tolist()
    study = Study(path / "parent")
    own = study.tree["downstream"]["accuracy"].sel(encoder="f-0", probe=results["probe"].values).values[0]
    np.testing.assert_allclose(results["accuracy"].sel(removed="random", amount=0, draw=0, seed=0, task="digits"), own)


def test_the_table(whole: tuple[Path, Log]) -> None:
    results = open_tree(whole[0]).results
    assert results["accuracy"].dims == ("removed", "amount", "draw", "seed", "task", "probe")
    assert dict(results.sizes) == {"removed": 4, "amount": 3, "draw": 2, "seed": 2, "task": 2, "probe": results.sizes["probe"]}
    assert results["removed"].values.tolist() == ["highest by pairs", "highest by subsets", "highest by shrunken", "random"]
    assert results["amount"].values.tolist() == [0, 10, 20]
    there = np.isfinite(results["accuracy"]).all(["task", "probe", "seed"])
    assert there.sel(removed="random").values.tolist() == [[True, False], [True, True], [True, True]]
    assert not there.sel(draw=1, removed=[name for name in results["removed"].values if name != "random"]).any()
    orders = json.loads(results.attrs["orders"])
    found = [(one["order"], one["estimator"], one["encoders"]) for one in orders]
    assert found == [
        ("pairs", "pairs", 4),
        ("subsets", "subsets", 4),
        ("shrunken", "pairs", 4),
    ]
    assert {"reliability", "interval", "seeds"} < set(orders[0])
    assert results["n_test"].sel(task="digits").item() == 359


def test_an_encoder_of_a_tree_is_one_that_is_trained_by_hand(whole: tuple[Path, Log], tmp_path: Path) -> None:
    """The chosen samples by the scores themselves, and the bits of a training that knows nothing of trees."""
    tree = open_tree(whole[0])
    study = Study(tree.parent)
    scores = estimate(study.results, "subsets")["sslmem"]
    candidates = study.results["sample"].values[study.results["partition"].values == 1]
    values = scores.sel(sample=candidates).values
    gone = candidates[np.lexsort((candidates, -values))][:10]
    samples = load_samples(study.spec)
    own = without(samples, gone)
    plan = EncoderPlan(id="mine", family="f", seed=1)
    kept = own.training(plan)
    assert len(kept) == 30
    assert not np.isin(gone, kept).any()
    identity = tree.results["encoder"].sel(removed="highest by subsets", amount=10, draw=0, seed=1).item()
    assert identity == encoder_hash(own, plan)
    encoder, _ = train(study.spec, plan, own, image_loader(samples.dataset, "cpu"), tmp_path / "mine")
    there = load_file(tree.encoder(identity) / "weights.safetensors")
    assert all(np.array_equal(there[name], value.numpy()) for name, value in encoder.state_dict().items())


def test_random_sets_are_nested_and_other_draws_other_sets(whole: tuple[Path, Log]) -> None:
    with np.load(whole[0] / "sets.npz") as kept:
        first, second = kept["draw_0"], kept["draw_1"]
    assert set(first) == set(second) == set(candidates_of(load_samples(spec().scores_of)))
    assert set(removed_ids(spec(), Row("random"), first, 10)) < set(removed_ids(spec(), Row("random"), first, 20))
    assert set(first[:10]) != set(second[:10])
    coreset = spec(remove=None, keep=["highest"])
    np.testing.assert_array_equal(np.sort(first[20:]), removed_ids(coreset, Row("highest", "pairs"), first, 20))
    np.testing.assert_array_equal(np.sort(first[-10:]), removed_ids(spec(), Row("lowest", "pairs"), first, 10))


def test_what_determines_an_encoder_is_in_its_hash() -> None:
    samples = load_samples(spec().scores_of)
    plan = EncoderPlan(id="f-0", family="f", seed=0)
    base = encoder_hash(samples, plan)
    parent = spec().scores_of

    def other(section: str, **changes: Any) -> str:
        changed = parent.model_copy(update={section: getattr(parent, section).model_copy(update=changes)})
        return encoder_hash(load_samples(changed), plan)

    differing = [
        encoder_hash(samples, plan.model_copy(update={"seed": 1})),
        encoder_hash(samples, plan.model_copy(update={"family": "g"})),
        encoder_hash(without(samples, candidates_of(samples)[:1]), plan),
        other("training", epochs=3),
        other("training", learning_rate=1e-4),
        other("objective", temperature=0.1),
        other("encoder", stem="stock"),
        other("partition", candidate=39),
    ]
    assert base not in differing
    assert len(set(differing)) == len(differing)
    same = [
        other("training", seeds=5),
        other("training", record_every=1),
        other("scoring", views=9),
        encoder_hash(samples, plan.model_copy(update={"id": "x"})),
    ]
    assert set(same) == {base}


def test_a_finished_tree_is_left_alone_and_grows(whole: tuple[Path, Log], tmp_path: Path) -> None:
    shutil.copytree(whole[0], tmp_path / "tree")
    path, log = tmp_path / "tree", Log()
    before = {file: file.stat().st_mtime_ns for file in path.rglob("*") if file.is_file()}
    with workers_in_this_process():
        run_tree(spec(), path, device="cpu", on_event=log)
        assert not log.epochs
        assert {file: file.stat().st_mtime_ns for file in path.rglob("*") if file.is_file() and file.name != ".lock"} == {
            file: at for file, at in before.items() if file.name != ".lock"
        }
        old = open_tree(path).results
        grown = run_tree(spec(draws=3, seeds=3, tasks=[]), path, device="cpu", on_event=log).results
    # Random sets of a third draw, two seeds each; everything of a third seed: all, 2 orders and 3 draws, 2 amounts.
    assert len(log.encoders) == 2 * 2 + 1 + 2 * (2 + 3)
    shared = {"draw": [0, 1], "seed": [0, 1], "task": ["digits"]}
    xr.testing.assert_equal(grown["accuracy"].sel(shared), old["accuracy"].sel(shared))


def test_a_damaged_encoder_is_trained_again(whole: tuple[Path, Log], tmp_path: Path) -> None:
    shutil.copytree(whole[0], tmp_path / "tree")
    path, log = tmp_path / "tree", Log()
    folder = next(path.glob("encoders/*/weights.safetensors")).parent
    name = json.loads((folder / "config.json").read_text())["id"]
    (folder / "weights.safetensors").write_bytes(b"damaged")
    (folder / "accuracy.json").write_text("{")
    shutil.rmtree(path / "results.zarr")
    with workers_in_this_process():
        results = run_tree(spec(), path, device="cpu", on_event=log).results
    assert log.encoders == {name}
    xr.testing.assert_identical(results["accuracy"], open_tree(whole[0]).results["accuracy"])


SCRIPT = """
import json, os, sys
from pathlib import Path
from sslmem_kit.events import Trained
from sslmem_kit.run.removal_tree import run_tree
from sslmem_kit.spec.removal_tree import load_any

def log(event):
    if isinstance(event, Trained) and event.epochs == int(event.epochs):
        with open("epochs.jsonl", "a") as file:
            file.write(json.dumps([event.encoder, event.epochs]) + "\\n")

run_tree(load_any("tree.yaml"), "tree", device="cpu", scheduler="serial", threads=1, on_event=log)
"""


@pytest.mark.parametrize("kills", [3, pytest.param(10, marks=pytest.mark.slow)])
@pytest.mark.skipif(sys.platform == "win32", reason="there is no SIGKILL")
def test_a_tree_that_is_killed_ends_as_one_that_is_not(kills: int, whole: tuple[Path, Log], tmp_path: Path) -> None:
    """Killed while encoders train: no epoch is trained twice, where each is checkpointed, and all numbers are equal.

    Three times while those of the tree do, ten times while those of the study do, too.
    """
    epochs = 32
    if kills < 10:
        shutil.copytree(whole[0] / "parent", tmp_path / "tree" / "parent")
        shutil.copy(whole[0] / "removal.yaml", tmp_path / "tree" / "removal.yaml")
    else:
        epochs += 2 * len(Study(whole[0] / "parent").spec.encoders)
    (tmp_path / "tree.yaml").write_text(yaml.safe_dump(TREE))
    environment = {**os.environ, "PYTHONPATH": str(ROOT)}
    log, rng = tmp_path / "epochs.jsonl", random.Random(kills)
    log.touch()

    def trained() -> int:
        return len(log.read_text().splitlines())

    def start() -> subprocess.Popen[bytes]:
        return subprocess.Popen(
            [sys.executable, "-c", SCRIPT], cwd=tmp_path, env=environment, start_new_session=True, stderr=subprocess.PIPE
        )

    done = 0
    for kill in range(kills):
        process, goal = start(), done + 1 + rng.randrange(max(1, (epochs - 2) // kills))
        while trained() < goal and process.poll() is None:
            time.sleep(0.01)
        assert process.poll() is None, f"kill {kill}: it ended first; {process.stderr.read()[-500:]!r}"
        time.sleep(rng.random() / 10)
        os.killpg(process.pid, signal.SIGKILL)
        process.communicate()
        done = trained()
    last = start()
    _, error = last.communicate(timeout=500)
    assert last.returncode == 0, error[-1000:]
    counts = Counter(log.read_text().splitlines())
    assert max(counts.values()) == 1
    # An epoch that was checkpointed but not reported before a kill is not in the log: at most one a kill.
    assert epochs - kills <= len(counts) <= epochs
    print(f"{kills} kills: {sum(counts.values())} epochs reported of {epochs}, none twice")
    expected, found = open_tree(whole[0]).results, open_tree(tmp_path / "tree").results
    xr.testing.assert_equal(found["accuracy"], expected["accuracy"])
    for weights in (whole[0] / "encoders").glob("*/weights.safetensors"):
        assert (tmp_path / "tree" / weights.relative_to(whole[0])).read_bytes() == weights.read_bytes()
    assert not list((tmp_path / "tree").rglob("*.partial"))


MISTAKES: dict[str, tuple[dict[str, Any], list[str]]] = {
    "more than there are": ({"amounts": [41]}, ["amounts: 41 are 41 of the 40 candidates", "ask for fewer"]),
    "all of them": ({"amounts": [1.0]}, ["amounts: 1.0 are 40 of the 40", "at least 1 has to stay"]),
    "too few left for a step": ({"amounts": [39]}, ["amounts: 39 of 40 candidates removed", "at least 2 have to stay"]),
    "none": ({"amounts": [0.001]}, ["amounts: 0.001 of 40 candidates is none"]),
    "the same twice": ({"amounts": [0.25, 10]}, ["amounts: 10 is the same number", "leave one out"]),
    "an order without encoders": (
        {"scores_of": {**PARENT, "design": {}}},
        ["orders: 'subsets' needs encoders on random subsets", "design.subsets"],
    ),
    "one seed to shrink by": (
        {"scores_of": {**PARENT, "training": {**PARENT["training"], "seeds": 1}}},
        ["orders: 'shrunken' needs several seeds"],
    ),
    "an unknown order": (
        {"orders": ["best"]},
        ["tree.yaml: orders.0: ", "'pairs', 'subsets', 'adjusted' or 'shrunken'", "got 'best'"],
    ),
    "no amount": ({"amounts": []}, ["tree.yaml: amounts: at least one is needed"]),
    "no way": ({"remove": None}, ["give one of remove and keep, here are none"]),
    "both ways": ({"keep": ["highest"]}, ["give one of remove and keep, here are both"]),
    "nothing kept": (
        {"remove": None, "keep": ["highest"], "amounts": [0]},
        ["amounts holds 0, at least 1 candidate has to be kept"],
    ),
    "an unknown field": ({"amount": [3]}, ["amount: unknown field", "did you mean 'amounts'?"]),
    "an unknown study": (
        {"scores_of": "nowhere"},
        ["scores_of: SPEC: there is no file 'nowhere'", "the folder of a finished study"],
    ),
    "no study": ({"scores_of": None}, ["tree.yaml: scores_of is None"]),
    "a field of the study": ({"scores_of": {**PARENT, "seed": -1}}, ["tree.yaml: scores_of: seed: ", "got -1"]),
    "its own data": ({"tasks": [{"name": "digits"}]}, ["tasks: 'digits' is the study's own data"]),
    "a task twice": ({"tasks": [{"name": "digits_twins"}] * 2}, ["tasks: 'digits_twins' is listed twice"]),
    "none, and nothing else": ({"amounts": [0]}, ["amounts: 0 alone leaves all 40 candidates", "ask for another"]),
    "all kept, and nothing else": (
        {"remove": None, "keep": ["highest"], "amounts": [1.0]},
        ["amounts: 1.0 alone leaves all 40 candidates"],
    ),
    "an amount below zero": ({"amounts": [-1]}, ["tree.yaml: amounts.0: ", "got -1"]),
    "an amount that is no number": ({"amounts": [float("nan")]}, ["tree.yaml: amounts.0: ", "got nan"]),
    "more than all of them": ({"amounts": [1.5]}, ["tree.yaml: amounts.0: ", "got 1.5"]),
    "no draws": ({"draws": 0}, ["tree.yaml: draws: ", "got 0"]),
    "no seeds": ({"seeds": 0}, ["tree.yaml: seeds: ", "got 0"]),
    "no order": ({"orders": []}, ["tree.yaml: orders: at least one is needed"]),
    "an order twice": ({"orders": ["pairs", "pairs"]}, ["tree.yaml: orders: 'pairs' is listed twice"]),
    "a way twice": ({"remove": ["random", "random"]}, ["tree.yaml: remove: 'random' is listed twice"]),
    "no margin": ({"margin": 0}, ["tree.yaml: margin: ", "got 0"]),
    "a task of four channels": ({"tasks": [{"name": "npz:four.npz"}]}, ["four.npz", "channels"]),
    "a task that is not there": ({"tasks": [{"name": "npz:none.npz"}]}, ["none.npz", "is not there"]),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_mistakes(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    changes, telling = MISTAKES[case]
    rng = np.random.default_rng(0)
    np.savez(tmp_path / "four.npz", images=rng.integers(0, 256, (20, 8, 8, 4), np.uint8), labels=np.arange(20) % 2)
    (tmp_path / "tree.yaml").write_text(
        yaml.safe_dump({key: value for key, value in {**TREE, **changes}.items() if value is not None or key == "scores_of"})
    )
    for command in (["run", "tree.yaml", "--out", "out"], ["plan", "tree.yaml"]):
        with workers_in_this_process():
            assert main([*command, "--device", "cpu"]) == 2
        said = capsys.readouterr().err.strip().splitlines()[-1]
        assert [part for part in telling if part not in said] == [], said
    assert not (tmp_path / "out" / "encoders").exists()


@pytest.mark.parametrize(
    ("train_labels", "test_labels", "telling"),
    [([0, 1], [2, 0], "are in one split only"), ([0], [0], "1 class in its train split")],
)
def test_a_task_whose_classes_are_absent(
    train_labels: list[int],
    test_labels: list[int],
    telling: str,
    tmp_path: Path,
    capsys: pytest.CaptureFixture[str],
    whole: tuple[Path, Log],
) -> None:
    for split, labels in (("train", train_labels), ("test", test_labels)):
        for label in labels:
            (tmp_path / "task" / split / str(label)).mkdir(parents=True)
            for number in range(3):
                Image.fromarray(np.full((8, 8), 20 * number, np.uint8)).save(
                    tmp_path / "task" / split / str(label) / f"{number}.png"
                )
    changes = {"scores_of": str(whole[0] / "parent"), "tasks": [{"name": "folder:task"}]}
    (tmp_path / "tree.yaml").write_text(yaml.safe_dump({**TREE, **changes}))
    with workers_in_this_process():
        assert main(["run", "tree.yaml", "--out", "out", "--device", "cpu"]) == 2
    said = capsys.readouterr().err
    assert "tasks" in said
    assert telling in said
    assert not list((tmp_path / "out").glob("encoders/*"))


def test_scores_of_other_data(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    def write(seed: int) -> None:
        rng = np.random.default_rng(seed)
        np.savez(tmp_path / "mine.npz", images=rng.integers(0, 256, (120, 8, 8), np.uint8), labels=np.arange(120) % 4)

    write(0)
    parent = {**PARENT, "data": {"name": "npz:mine.npz"}, "partition": {**PARENT["partition"], "extra": 5}}
    (tmp_path / "study.yaml").write_text(yaml.safe_dump(parent))
    (tmp_path / "tree.yaml").write_text(yaml.safe_dump({**TREE, "scores_of": "runs/full", "tasks": []}))
    with workers_in_this_process():
        assert main(["run", "tree.yaml", "--out", "out", "--device", "cpu"]) == 2
        assert "scores_of: SPEC: there is no file 'runs/full'" in capsys.readouterr().err
        assert main(["run", "study.yaml", "--out", "runs/full", "--device", "cpu"]) == 0
        samples_module._load.cache_clear()
        write(1)
        capsys.readouterr()
        assert main(["run", "tree.yaml", "--out", "out", "--device", "cpu"]) == 2
    assert "runs/full scored other data than" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_a_study_that_is_gone_or_another_one(whole: tuple[Path, Log], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """Of a finished tree and of one that has only started: nothing is trained, and nothing is taken for the result of another study."""
    shutil.copytree(whole[0] / "parent", tmp_path / "study")
    (tmp_path / "tree.yaml").write_text(
        yaml.safe_dump({**TREE, "scores_of": "study", "orders": ["pairs"], "draws": 1, "tasks": []})
    )
    command = ["run", "tree.yaml", "--out", "out", "--device", "cpu"]
    with workers_in_this_process():
        assert main(command) == 0
        (tmp_path / "study").rename(tmp_path / "kept")
        capsys.readouterr()
        assert main(command) == 2
        assert "scores_of: SPEC: there is no file 'study'" in capsys.readouterr().err
        other = {**PARENT, "seed": 5, "design": {}}
        (tmp_path / "other.yaml").write_text(yaml.safe_dump(other))
        assert main(["run", "other.yaml", "--out", "study", "--device", "cpu"]) == 0
        capsys.readouterr()
        for telling in ("is another study than the one that the tree in", "scores are not those that this tree started with"):
            assert main(command) == 2
            said = capsys.readouterr().err.strip().splitlines()[-1]
            assert telling in said or "data are not those" in said, said
            shutil.rmtree(tmp_path / "out" / "results.zarr", ignore_errors=True)
        shutil.rmtree(tmp_path / "study" / "results.zarr")
        assert main(command) == 2
        assert "scores_of: " in capsys.readouterr().err


def test_other_trees_and_folders_are_left_alone(
    whole: tuple[Path, Log], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    (tmp_path / "full").mkdir()
    (tmp_path / "full" / "file").touch()
    for out, changes, telling in (
        ("full", {}, "is not empty and holds no removal.yaml"),
        (str(whole[0]), {"name": "other"}, "holds another tree, name is 'tiny-tree' there"),
        (str(whole[0]), {"scores_of": {**PARENT, "seed": 3}}, "holds a tree of another study"),
    ):
        (tmp_path / "tree.yaml").write_text(yaml.safe_dump({**TREE, **changes}))
        assert main(["run", "tree.yaml", "--out", out, "--device", "cpu"]) == 2
        assert telling in capsys.readouterr().err


def test_commands_on_trees(whole: tuple[Path, Log], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "tree.yaml").write_text(yaml.safe_dump(TREE))
    with workers_in_this_process():
        assert main(["plan", "tree.yaml", "--device", "cpu", "--json"]) == 0
        facts = json.loads(capsys.readouterr().out)
        assert main(["plan", "tree.yaml", "--device", "cpu"]) == 0
    assert (facts["cells"], facts["encoders"], facts["in_parent"]) == (2 * (4 + 3 * 2 + 2 * 2), 16, 2)
    assert facts["encoder_epochs"] == 2 * (16 + 8)
    assert facts["seconds"] > facts["parent"]["seconds"]
    said = capsys.readouterr().out
    assert "16 encoders at most beside the study's own 2" in said
    assert main(["report", str(whole[0]), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report["verdict"]) == {"sentence", "can", "cannot"}
    assert {one["decision"] for one in report["overall"]} <= {"reproduced", "not reproduced", "undecided"}
    assert {"difference", "interval", "p_holm", "n", "over", "seeds_needed"} < set(report["differences"][0])
    assert next(one["same_as"] for one in report["orders"] if one["order"] == "shrunken") == "pairs"
    assert main(["report", str(whole[0])]) == 0
    text = capsys.readouterr().out
    assert text.startswith(report["verdict"]["sentence"])
    assert all(f"WARNING: {sentence}" in text for sentence in report["warnings"])
    reliable = {one["order"]: one["reliability"] for one in report["orders"] if one["estimator"] != "pairs"}
    assert {order for order in reliable if any(f"order {order}: reliability" in one for one in report["warnings"])} == {
        order for order, value in reliable.items() if value is None or value < 0.5
    }
    for command, telling in (
        (["report", str(whole[0]), "--fdr", "0.05"], "is a removal tree, which has no scores of its own"),
        (["validate", str(whole[0])], "removal tree"),
        (["export", str(whole[0]), "--to", "x.csv"], "removal tree"),
        (["plan", "tree.yaml", "--remove", "x.npz"], "removal tree, whose fields remove and keep"),
        (["duplicates", "tree.yaml"], "this is a removal tree"),
    ):
        assert main(command) == 2, command
        assert telling in capsys.readouterr().err


def test_faults_of_trainings_are_said_everywhere(
    whole: tuple[Path, Log], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Encoders of two machines, and with other threads: in the store, the report and its JSON."""
    shutil.copytree(whole[0], tmp_path / "tree")
    first, second = sorted((tmp_path / "tree").glob("encoders/*/config.json"))[:2]
    for path, change in ((first, {"machine": "another"}), (second, {"threads": 7})):
        path.write_text(json.dumps({**json.loads(path.read_text()), **change}))
    shutil.rmtree(tmp_path / "tree" / "results.zarr")
    with workers_in_this_process():
        caveats = run_tree(spec(), tmp_path / "tree", device="cpu").caveats
    assert any("2 kinds of processors" in sentence for sentence in caveats)
    assert any("with 1 and 7 threads" in sentence for sentence in caveats)
    assert main(["report", "tree", "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["warnings"] == caveats
    assert not any("kinds of processors" in sentence for sentence in open_tree(whole[0]).caveats)


def test_notebooks_of_a_tree_and_of_a_study(whole: tuple[Path, Log], tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["render", str(whole[0]), "fig02_insights"]) == 2
    assert "fig02_insights is on studies" in capsys.readouterr().err
    assert main(["render", str(whole[0] / "parent"), "fig03_removal"]) == 2
    assert "fig03_removal is on removal trees" in capsys.readouterr().err
    assert main(["render", str(whole[0]), "--out", str(tmp_path / "out")]) == 0
    written = capsys.readouterr().out.split()
    assert [Path(path).name for path in written] == ["fig03_removal.ipynb"]
    assert len(list((tmp_path / "out" / "figures").glob("fig03*.png"))) == 4


def test_an_unfinished_or_damaged_tree_is_named(
    whole: tuple[Path, Log], tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    shutil.copytree(whole[0], tmp_path / "tree")
    (next((tmp_path / "tree" / "results.zarr" / "accuracy" / "c").rglob("0"))).is_dir()
    chunk = next(path for path in (tmp_path / "tree" / "results.zarr" / "accuracy" / "c").rglob("*") if path.is_file())
    chunk.unlink()
    assert main(["report", "tree"]) == 2
    assert "accuracies are lost" in capsys.readouterr().err
    shutil.rmtree(tmp_path / "tree" / "results.zarr")
    assert main(["report", "tree"]) == 2
    assert "is not finished, `sslmem run" in capsys.readouterr().err


def test_what_is_refused_leaves_a_finished_tree_as_it_is(
    whole: tuple[Path, Log], tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Of a tree that cannot grow, and of one of another action; its spec was written before it was refused."""
    path = Path(shutil.copytree(whole[0], tmp_path / "copy"))
    before = (path / "removal.yaml").read_bytes()
    with pytest.raises(UserError, match="action is 'remove' there and 'keep' here"):
        run_tree(
            parse_tree({**{name: value for name, value in TREE.items() if name != "remove"}, "keep": ["highest"]}, where="x"), path
        )
    monkeypatch.setattr("sslmem_kit.run.removal_tree._complete", Mock(side_effect=UserError("a task of one class")))
    with pytest.raises(UserError, match="a task of one class"):
        run_tree(spec(draws=3), path, device="cpu", scheduler="serial")
    assert (path / "removal.yaml").read_bytes() == before
    assert main(["report", str(path)]) == 0


def test_results_that_are_not_what_was_written_are_named(
    whole: tuple[Path, Log], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """One number that was changed moved the verdict, and nothing said so."""
    path = Path(shutil.copytree(whole[0], tmp_path / "copy"))
    changed = open_tree(path).results.copy(deep=True)
    changed["accuracy"][dict.fromkeys(changed["accuracy"].dims, 0)] = 0.123
    with monkeypatch.context() as patch:
        patch.setattr("sslmem_kit.store.table.checksum", lambda _: changed.attrs["checksum"])
        open_tree(path).write_results(changed)
    with pytest.raises(UserError, match="it is not what was written; remove it"):
        _ = open_tree(path).results


def test_weights_that_are_gone_are_trained_again(whole: tuple[Path, Log], tmp_path: Path) -> None:
    """A finished tree's too, which dense tasks need; accuracies alone were looked at."""
    path = Path(shutil.copytree(whole[0], tmp_path / "copy"))
    (lost, *_) = sorted(path.glob("encoders/*/weights.safetensors"))
    before = lost.read_bytes()
    lost.unlink()
    with workers_in_this_process():
        run_tree(spec(), path, device="cpu")
    assert lost.read_bytes() == before
