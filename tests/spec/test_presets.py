"""Presets: every row of the paper's tables is one, to Table 6's letter, with a small one beside it; what they cost; removal by scores."""

from __future__ import annotations

import json
import math
import os
import subprocess
import sys
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import yaml

from sslmem_kit import store
from sslmem_kit.cli import main
from sslmem_kit.data import samples as samples_module
from sslmem_kit.data.partition import UNUSED
from sslmem_kit.errors import UserError
from sslmem_kit.names import PARTITION_CODE
from sslmem_kit.run.removal import chosen_by_scores, study_samples
from sslmem_kit.spec.loading import load_spec, parse_spec
from sslmem_kit.spec.partition import RemovalSpec
from sslmem_kit.spec.places import bundled_specs
from sslmem_kit.spec.presets import Preset, frontier_presets, presets, tree_presets
from sslmem_kit.spec.presets.cost import TRAIN_SIZES, _counted, estimate, estimate_tree, key
from sslmem_kit.spec.presets.listing import listed
from sslmem_kit.spec.removal_tree import load_any
from sslmem_kit.spec.study import StudySpec
from sslmem_kit.study import open_study
from tests.support.fake_study import make_study
from tests.test_imports import ROOT, imported

PAPER = {name: preset for name, preset in presets().items() if name.startswith("paper/")}
MINI = {name: preset for name, preset in presets().items() if name.startswith("mini/")}

TABLE6 = """
                     MAE       SimCLR    DINO      VICReg    | MAE     SimCLR  DINO    VICReg
Epoch                300/600   300/600   300/600   300/600   | 45/90   45/90   45/90   45/90
Warm-up              30/60     30/60     30/60     30/60     | 5/10    5/10    5/10    5/10
Batch                2048      4096      1024      256       | 4096    4096    4096    4096
Optimizer            AdamW     LARS      AdamW     SGD       | LARS    LARS    LARS    LARS
Rate                 1.2e-3    4.8       2e-3      3e-3      | 1.6     4.8     1.6     1.6
"""
"""Transcribed from the paper: training | linear probing; ImageNet / others."""

ROWS: dict[str, list[tuple[float | None, float | None]]] = {
    "Table 1": [
        (0.307, 67.40), (0.311, 68.52), (0.284, 62.11), (0.271, 60.43),
        (0.334, 76.12), (0.356, 82.26), (0.321, 73.88), (0.309, 68.21),
        (0.327, 75.39), (0.350, 80.69), (0.319, 73.02), (0.311, 68.44),
        (0.339, 77.12), (0.357, 82.30), (0.321, 74.22), (0.301, 66.12),
    ],
    "Table 4": [(0.307, 67.40), (0.334, 76.12), (0.334, 76.46), (0.271, 60.43), (0.309, 68.21), (0.311, 69.05)],
    "Table 5": [(0.307, 67.40), (0.182, 54.22), (0.107, 33.66)],  # 69.40 without privacy, which is 67.40 in Table 1
    "Table 7": [(0.325, 77.95), (0.339, 77.12), (0.337, 76.84)],
    "Table 8": [(0.339, 77.12), (0.321, 77.12), (0.308, 77.12), (0.328, 77.12), (0.298, 77.12)],
    "Table 9a": [(0.322, 74.51), (0.326, 75.22), (0.319, 71.94), (0.288, 63.71)],
    "Table 9b": [(0.283, 62.09), (0.307, 67.40), (0.300, 65.06), (0.249, 58.77)],
    "Table 11": [(0.398, 90.10), (0.314, 69.12), (0.327, 75.39), (0.327, 75.16)],
    "Table 15": [(0.350, 81.23), (0.339, 77.12), (0.315, 71.07)],
    # The studies whose scores removal trees go by.
    "Table 17": [(None, 63.3)],
    "Table 14": [(None, 68.21)],
    **{figure: [(None, None)] for figure in ("Figure 3", "Figure 6", "Figure 7")},
}  # fmt: skip


def spec_of(name: str) -> StudySpec:
    return load_spec(name)


@pytest.mark.parametrize("artifact", ROWS)
def test_every_row_of_the_paper_has_a_preset_with_its_numbers(artifact: str) -> None:
    serving = [(preset.sslmem, preset.accuracy) for preset in PAPER.values() if artifact in preset.artifacts]
    assert Counter(serving) == Counter(ROWS[artifact])


def test_figure_4_has_rows_of_both_data_sets_and_lambda_0() -> None:
    serving = [spec_of(name) for name, preset in PAPER.items() if "Figure 4" in preset.artifacts]
    weights: dict[str, list[float]] = {"cifar10": [], "svhn": []}
    for spec in serving:
        weights[spec.data.name].append(spec.objective.regularizer.weight if spec.objective.regularizer else 0)
        if spec.objective.regularizer:
            assert spec.training.batch_size == 256  # section 4.4: both terms over mini-batches of 256
    assert sorted(weights["cifar10"]) == sorted(weights["svhn"])
    assert len(set(weights["svhn"])) == 6


def test_names_are_unique_and_folders() -> None:
    names = [spec_of(name).name for name in presets()]
    assert len(set(names)) == len(names) == len(PAPER) + len(MINI)
    assert spec_of("paper/cifar10-mae-vit-tiny").name == "paper-cifar10-mae-vit-tiny"
    assert not set(names) & set(bundled_specs())
    assert all(preset.description for preset in presets().values())


def cells(method: str) -> tuple[dict[str, str], dict[str, str]]:
    """A method's two columns of the transcription."""
    lines = [line.replace("|", " ").split() for line in TABLE6.strip().splitlines()]
    heads = [head.lower() for head in lines[0]]
    first = heads.index(method)
    second = heads.index(method, first + 1)
    return tuple({row[0]: row[1:][column] for row in lines[1:]} for column in (first, second))


@pytest.mark.parametrize("name", [name for name in PAPER if spec_of(name).objective.method != "supervised"])
def test_table_6_to_the_letter(name: str) -> None:
    spec = spec_of(name)
    training, probe = cells(spec.objective.method)
    other = "imagenet" not in spec.data.name
    if "Table 11" in PAPER[name].artifacts or spec.training.privacy:
        # These tables state their own lengths, ViP (Table 5) its own rate.
        lengths = {"Table 5": {1000}, "Table 11": {100, 300}}[PAPER[name].artifacts[0]]
        assert spec.training.epochs in lengths
        assert spec.training.warmup_epochs == spec.training.epochs // 10
    else:
        assert spec.training.epochs == int(training["Epoch"].split("/")[other])
        assert spec.training.warmup_epochs == int(training["Warm-up"].split("/")[other])
    assert spec.training.batch_size * spec.training.accumulate == int(training["Batch"])
    assert spec.training.accumulate == 1 or spec.objective.method == "mae"
    assert spec.training.optimizer == training["Optimizer"].lower()
    if not spec.training.privacy:
        assert spec.training.learning_rate == float(training["Rate"])
    linear = spec.downstream.linear
    assert (linear.method, linear.optimizer) == ("sgd", probe["Optimizer"].lower())
    assert linear.epochs == int(probe["Epoch"].split("/")[other])
    assert linear.warmup_epochs == int(probe["Warm-up"].split("/")[other])
    assert linear.batch_size == int(probe["Batch"])
    assert linear.learning_rate == float(probe["Rate"])


def test_seeds_views_and_partitions_are_the_papers() -> None:
    for name in PAPER:
        spec = spec_of(name)
        assert (spec.training.seeds, spec.scoring.views) == (3, 5)
        sizes = tuple(getattr(spec.partition, part) for part in ("shared", "candidate", "independent", "extra"))
        artifacts = PAPER[name].artifacts
        if name == "paper/imagenet-mae-vit-base-halves":
            assert sizes == (0, 50_000, 50_000, 5_000)  # the paper names none, and removes 20,000 by score
        elif "imagenet" in name:
            assert sizes == (85_000, 5_000, 5_000, 5_000)
        elif {"Figure 3", "Figure 6", "Figure 7", "Table 17"} & set(artifacts):
            assert sizes == (0, 25_000, 25_000, 5_000)
        elif "overlap" in name:
            assert sizes[0] in (35_000, 42_500)
            assert sum(sizes[:3]) <= 50_000
        else:
            assert sizes == (40_000, 5_000, 5_000, 5_000)


def test_trees_are_the_papers() -> None:
    trees = {name: load_any(name) for name in tree_presets()}
    counts = (500, 1_000, 2_000, 4_000, 8_000, 16_000)
    for data, tasks in (
        ("cifar10", ["cifar100", "stl10"]),
        ("stl10", ["cifar10", "cifar100", "stl10"]),
        ("cifar100", ["cifar10", "stl10"]),
    ):
        tree = trees[f"paper/{data}-removal"]
        assert (tree.remove, tree.amounts, [task.name for task in tree.tasks]) == (("highest", "random"), counts, tasks)
        assert tree.scores_of == spec_of(f"paper/{data}-mae-vit-tiny-halves")
    coreset, large = trees["paper/cifar10-coreset"], trees["paper/imagenet-removal"]
    assert (coreset.keep, coreset.amounts) == (("highest", "random"), (12_000, 16_000, 20_000, 22_000, 24_000))
    assert coreset.scores_of.objective.method == "simclr"
    assert (large.amounts, [task.name for task in large.tasks]) == ((10_000, 20_000), ["food101", "flowers102"])
    artifacts = {artifact for preset in tree_presets().values() for artifact in preset.artifacts}
    assert artifacts == {"Figure 3", "Figure 6", "Figure 7", "Table 3", "Table 10", "Table 14", "Table 17"}
    for name, preset in tree_presets().items():
        parent = trees[name].scores_of
        assert (parent.partition.shared, parent.training.seeds) == (0, 3)
        assert parent.data.name not in [task.name for task in trees[name].tasks]
        if name.startswith("paper/"):
            mini = trees[preset.mini]
            assert mini.action == trees[name].action
            assert {"highest", "random"} <= set(mini.ways)
            assert (mini.seeds, mini.draws, len(mini.orders), mini.scores_of.data.name) == (3, 3, 2, "mnist5k")
            assert mini.scores_of.design.subsets is not None
        assert set(preset.artifacts) <= {other for study in presets().values() for other in study.artifacts}


def test_rows_that_are_compared_share_a_yardstick() -> None:
    """Tables 1, 4 and 9a: each row under its own views, and all of a table under one policy beside."""
    for kind in (PAPER, MINI):
        for table in ("Table 1", "Table 4", "Table 9a"):
            specs = {name: spec_of(name) for name, preset in kind.items() if table in preset.artifacts}
            assert len(specs) >= 3
            assert len({spec.scoring.common_policy.model_dump_json() for spec in specs.values()}) == 1
            assert len({(spec.second_policy or spec.scoring.policy).steps for spec in specs.values()}) == 1
            assert len({json.dumps(spec.scoring.policy.model_dump(mode="json")) for spec in specs.values()}) > 1
    assert spec_of("paper/cifar10-simclr-resnet50").second_policy is None
    assert spec_of("paper/cifar10-mae-vit-tiny").second_policy.name == "simclr"


def traits(preset: Preset) -> dict[str, object]:
    """What a paper preset and its mini have to agree in."""
    spec = load_spec(preset.name)
    partition = spec.partition
    total = sum(getattr(partition, part) for part in ("shared", "candidate", "independent"))
    removal = partition.remove
    amount = removal and getattr(removal, removal.way)
    return {
        "method": spec.objective.method,
        "family": "vit" if "vit" in spec.encoder.backbone else "resnet",
        # ImageNet's 85k + 5k + 5k is the paper's partition of that data.
        "shared": 0.8 if "imagenet" in preset.name and "halves" not in preset.name else round(partition.shared / total, 1),
        "mask": getattr(spec.objective, "mask_ratio", None),
        "regularizer": spec.objective.regularizer,
        "private": spec.training.privacy and spec.training.privacy.epsilon,
        "removal": removal and (removal.way, round(amount / partition.candidate if isinstance(amount, int) else amount, 6)),
        "scored apart": spec.scoring.policy != spec.training.policy,
        "seeds": spec.training.seeds,
        "views": spec.scoring.views,
    }


@pytest.mark.parametrize("name", PAPER)
def test_a_mini_of_the_same_shape_stands_beside_each(name: str) -> None:
    mini = MINI[PAPER[name].mini]
    assert traits(PAPER[name]) == traits(mini)
    assert set(PAPER[name].artifacts) & set(mini.artifacts) or name.endswith("epochs")
    assert load_spec(mini.name).data.name == "digits"


def test_minis_vary_what_the_tables_vary() -> None:
    for artifact in ROWS:
        minis = {json.dumps(preset.sections, sort_keys=True) for preset in MINI.values() if artifact in preset.artifacts}
        used = {preset.mini for preset in PAPER.values() if artifact in preset.artifacts}
        assert len(used & set(MINI)) == len(used)
        assert len(minis) >= (4 if artifact in ("Table 1", "Table 11") else min(3, len(used)))
    sizes = [_counted()[key(spec_of(f"mini/simclr-resnet{suffix}"))]["parameters"] for suffix in ("-small", "", "-wide")]
    assert sizes == sorted(set(sizes))


def test_minis_can_be_drawn() -> None:
    for name, preset in MINI.items():
        samples = study_samples(spec_of(name))
        assert (samples.codes == PARTITION_CODE["candidate"]).sum() > 50, preset
        assert TRAIN_SIZES[samples.dataset.name] == int((~samples.dataset.is_test).sum())


def test_representations_and_sizes_are_the_papers() -> None:
    def counted(name: str) -> dict:
        return _counted()[key(spec_of(name))]

    for row in ("cifar10-mae-vit-tiny", "stl10-dino-vit-tiny"):
        assert counted(f"paper/{row}")["representation"] == [257, 192]
    for row in ("imagenet-mae-vit-base", "imagenet-dino-vit-base"):
        assert counted(f"paper/{row}")["representation"] == [197, 768]
    assert counted("paper/imagenet-simclr-resnet50")["representation"] == [2048, 7, 7]  # the paper's 49 x 2048
    assert counted("paper/cifar10-simclr-resnet50")["representation"] == [2048, 4, 4]  # at 32 pixels, which the paper leaves out
    for row, millions, features in (("wide-resnet50-2", 69, 2048), ("resnet50", 25, 2048), ("resnet18", 11, 512)):
        # Table 15 counts the ImageNet classifier that timm's models come with.
        parameters = counted(f"paper/cifar10-simclr-{row}")["parameters"] + 1000 * (features + 1)
        assert parameters / 1e6 == pytest.approx(millions, abs=1)


def test_every_study_has_a_cost() -> None:
    rows = {row["name"]: row for row in listed()}
    assert set(rows) == {*presets(), *bundled_specs(), *tree_presets(), *frontier_presets()}
    for name, row in rows.items():
        assert row["flops"] > 0, "run python benchmarks/preset_flops.py"
        assert (row["gpu_hours"] is None) == (not name.startswith("paper/"))
    assert rows["paper/cifar10-mae-vit-tiny"]["paper"] == {"sslmem": 0.307, "accuracy": 67.4}
    assert {key(spec_of(name)) for name, row in rows.items() if row["kind"] == "study"} == set(_counted())


def test_a_cost_by_hand() -> None:
    spec = spec_of("paper/cifar10-simclr-resnet50")
    counted = _counted()[key(spec)]
    cost = estimate(spec)
    assert cost.encoders == 6
    # 45,000 samples make 10 batches of 4096; scored by its own policy, which is the common one: 7 records of 55,000 samples with 6 views each.
    assert cost.train_flops == 6 * 600 * 10 * 4096 * counted["train_flops"]
    assert cost.score_flops == 6 * 7 * 55_000 * 6 * counted["forward_flops"]
    twice = spec_of("paper/cifar10-dino-resnet50")
    assert estimate(twice).score_flops == 6 * 8 * 55_000 * 6 * _counted()[key(twice)]["forward_flops"]
    tree = load_any("paper/cifar10-coreset")
    study = estimate(tree.scores_of)
    # 12,000, 16,000, 20,000, 22,000 and 24,000 samples: one set by scores and three at random of each, on three seeds.
    assert estimate_tree(tree).train_flops == study.train_flops + 12 * 600 * (2 + 3 + 4 + 5 + 5) * 4096 * counted["train_flops"]
    assert estimate_tree(tree).encoders == 6 + 5 * 12


COUNTED = (
    "mini/mae-vit",
    "mini/simclr-resnet-wide",
    "mini/dino-vit",
    "paper/cifar10-simclr-resnet18",
    "paper/cifar10-mae-vit-tiny",
)
"""One encoder of each kind and size of layers."""


@pytest.mark.parametrize("name", COUNTED)
def test_costs_are_what_torch_counts(name: str) -> None:
    from benchmarks.preset_flops import count

    counted, kept = count(spec_of(name)), _counted()[key(spec_of(name))]
    assert counted["representation"] == kept["representation"]
    for field in ("train_flops", "forward_flops", "parameters"):
        assert counted[field] == pytest.approx(kept[field], rel=0.01)


SHAPES = {key(spec_of(name)): name for name in reversed(PAPER)}
LARGE = {name for name in SHAPES.values() if "imagenet" in name}


@pytest.mark.parametrize("name", [pytest.param(n, marks=pytest.mark.slow if n in LARGE else ()) for n in SHAPES.values()])
def test_two_steps_of_every_shape(name: str) -> None:
    import torch

    from benchmarks.preset_flops import build, random_batch
    from sslmem_kit.training.objectives import StepInfo

    spec = spec_of(name)
    with torch.random.fork_rng():
        torch.manual_seed(0)
        objective = build(spec)
        batch = random_batch(spec, objective)
        weights = [weight for weight in objective.parameters() if weight.requires_grad]
        optimizer = torch.optim.SGD(weights, lr=1e-4)
        for step in range(2):
            step_info = StepInfo(step, 2, spec.training.epochs)
            objective.before_step(step_info)
            loss = objective(batch)
            optimizer.zero_grad()
            loss.backward()
            objective.before_update(step_info)
            optimizer.step()
            objective.after_update(StepInfo(step + 1, 2, spec.training.epochs))
            assert math.isfinite(float(loss.detach()))
    # What a first step could not reach behind weights of zero, a second one does.
    trained = [weight for weight in objective.encoder.parameters() if weight.requires_grad]
    assert sum(weight.grad is not None and bool(weight.grad.any()) for weight in trained) > 0.9 * len(trained)


# The command line


def test_studies_lists_filters_and_shows(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["studies"]) == 0
    everything = capsys.readouterr().out
    assert all(f"{name} " in everything for name in (*presets(), "digits", "digits-mae"))
    assert "GPU h" in everything
    for pattern, expected in {
        "Table 15": {*(name for name, preset in presets().items() if "Table 15" in preset.artifacts)},
        "table 15": {*(name for name, preset in presets().items() if "Table 15" in preset.artifacts)},
        "Table 1": {*(name for name, preset in presets().items() if "Table 1" in preset.artifacts)},
        "Table 9": {*(name for name, preset in presets().items() if {"Table 9a", "Table 9b"} & {*preset.artifacts})},
        "mini/*epsilon*": {"mini/mae-vit-epsilon20", "mini/mae-vit-epsilon8"},
        "overlap70": {"paper/cifar10-simclr-resnet50-overlap70", "mini/simclr-resnet-overlap70"},
    }.items():
        assert main(["studies", pattern, "--json"]) == 0
        assert {row["name"] for row in json.loads(capsys.readouterr().out)} == expected, pattern
    assert main(["studies", "Table 99"]) == 2
    assert "no study's name or artifact fits 'Table 99'" in capsys.readouterr().err
    for name in ("paper/imagenet-dino-vit-base", "paper/cifar10-removal", "mini/mnist-coreset", "mini/mae-vit-epsilon8", "digits"):
        assert main(["studies", "--show", name]) == 0
        path = tmp_path / "mine.yaml"
        path.write_text(capsys.readouterr().out)
        assert load_any(path).hash == load_any(name).hash
    assert main(["studies", "--show", "mini/mae-vot"]) == 2
    assert "near are mini/mae-vit" in capsys.readouterr().err


def test_listing_is_light() -> None:
    heavy = ("torch", "torchvision", "timm", "xarray", "zarr", "scipy", "pandas", "sklearn")
    assert imported("from sslmem_kit.cli import main; main(['studies'])", *heavy) == []
    code = "import time; from sslmem_kit.cli import main; main(['studies']); print(time.process_time())"
    environment = {**os.environ, "PYTHONPATH": str(ROOT), "OMP_NUM_THREADS": "1"}
    told = subprocess.run([sys.executable, "-c", code], env=environment, capture_output=True, text=True, check=True).stdout
    assert float(told.splitlines()[-1]) < 1.5


def test_other_data_in_one_word(tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "here").mkdir()
    (tmp_path / "spec.yaml").write_text("name: mine\ndata: {name: digits, image_size: 16}\n")
    monkeypatch.chdir(tmp_path / "here")
    spec = load_spec(tmp_path / "spec.yaml", data="folder:pictures")
    assert spec.data.name == f"folder:{tmp_path}/here/pictures"
    assert spec.data.image_size == 16
    assert load_spec("paper/imagenet-mae-vit-base").data.name == f"folder:{tmp_path}/here/imagenet"
    assert load_spec("paper/imagenet-mae-vit-base", data="folder:/data/in1k").data.name == "folder:/data/in1k"
    assert load_spec("mini/mae-vit", data="cifar10").data.name == "cifar10"
    assert main(["plan", "mini/mae-vit", "--data", "cifar11"]) == 2
    assert "'cifar11' is not known: allowed are digits" in capsys.readouterr().err


# Removal by another study's scores

MISTAKES = {
    "two ways": ({"study": "x", "highest": 3, "random": 3}, "give one of highest, random, keep_highest, here are highest, random"),
    "no way": ({"study": "x"}, "give one of highest, random, keep_highest, here are none"),
    "no study": ({"highest": 3}, "partition.remove.study: field required"),
    "a protocol": ({"study": "x", "highest": 3, "protocol": "best"}, "partition.remove.protocol: "),
    "an amount": ({"study": "x", "highest": 1.5}, "partition.remove.highest: a count of samples"),
    "a field": ({"study": "x", "lowest": 3}, "partition.remove.lowest: unknown field, the fields here are study, highest"),
    "a list": (["x"], "partition.remove: input should be a valid string, got ['x']"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_removal_that_cannot_be_read(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    given, telling = MISTAKES[case]
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump({"name": "mine", "data": {"name": "digits"}, "partition": {"remove": given}}))
    assert main(["plan", str(path)]) == 2
    said = capsys.readouterr().err
    assert telling in said, said


def test_where_the_scored_study_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "spec").mkdir()
    monkeypatch.chdir(tmp_path)
    for given, path in {
        "runs/full": tmp_path / "spec" / "runs" / "full",
        "/elsewhere/full": Path("/elsewhere/full"),
        "mini/mae-vit-halves": tmp_path / "papermill_runs" / "mini-mae-vit-halves",
    }.items():
        content = {"name": "mine", "data": {"name": "digits"}, "partition": {"remove": {"study": given, "highest": 3}}}
        (tmp_path / "spec" / "mine.yaml").write_text(yaml.safe_dump(content))
        spec = load_spec(tmp_path / "spec" / "mine.yaml")
        assert spec.partition.remove == RemovalSpec(study=str(path), highest=3)
        assert spec.resolved(Path("/anywhere")) == spec
        assert parse_spec(spec.as_dict(), where="test") == spec


@pytest.fixture(scope="module")
def scored(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_study(tmp_path_factory.mktemp("scored") / "full", views=2, effect=0.02).path


@pytest.fixture
def removing(scored: Path, monkeypatch: pytest.MonkeyPatch):
    """Samples of a study on digits that draws the made-up study's partition and removes by its scores."""
    results = open_study(scored).results
    codes = np.full(1797, UNUSED, np.int8)
    codes[results["sample"].values] = results["partition"].values
    monkeypatch.setattr(samples_module, "assign", lambda *_, **__: codes)
    samples_module._load.cache_clear()

    def load(*, study: Path = scored, seed: int = 0, **removal: object) -> set[int]:
        content = {"name": "less", "seed": seed, "data": {"name": "digits"}}
        content["partition"] = {"remove": {"study": str(study), **removal}}
        samples = study_samples(parse_spec(content, where="test").resolved(Path("/")))
        assert (samples.assigned == codes).all()
        return set(samples.dataset.ids[(samples.codes == UNUSED) & (codes != UNUSED)].tolist())

    yield load
    samples_module._load.cache_clear()


def candidates_by_score(path: Path, protocol: str = "corrected") -> list[int]:
    """Ids of the candidates, the most memorized first."""
    scores = open_study(path).scores(protocol)
    scores = scores.isel(sample=np.flatnonzero(scores["partition"] == PARTITION_CODE["candidate"]))
    return [i for _, i in sorted(zip(-scores["sslmem"].values, scores["sample"].values.tolist(), strict=True))]


def test_the_most_memorized_candidates_are_removed(scored: Path, removing) -> None:
    ranked = candidates_by_score(scored)
    assert removing(highest=3) == set(ranked[:3])
    assert removing(highest=0.5) == set(ranked[: round(len(ranked) / 2)])
    assert removing(keep_highest=5) == set(ranked[5:])
    by_paper = candidates_by_score(scored, "paper")
    assert set(by_paper[:3]) != set(ranked[:3]), "the test needs protocols that disagree"
    assert removing(highest=3, protocol="paper") == set(by_paper[:3])


def test_random_removal_follows_the_seed_and_is_nested(scored: Path, removing) -> None:
    few, more = removing(random=3), removing(random=8)
    assert len(few) == 3
    assert few < more < set(candidates_by_score(scored))
    assert removing(random=8, seed=1) != more
    assert removing(random=8) == more


def test_a_study_that_cannot_be_removed_by(scored: Path, removing, tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"nowhere is not there; run the study first, `sslmem run SPEC --out"):
        removing(study=tmp_path / "nowhere", highest=3)
    (tmp_path / "empty").mkdir()
    with pytest.raises(UserError, match=r"^partition\.remove\.study: .*empty: .* has no study.yaml"):
        removing(study=tmp_path / "empty", highest=3)
    unfinished = make_study(tmp_path / "unfinished", complete=False)
    with pytest.raises(UserError, match=r"^partition\.remove\.study: .*unfinished: "):
        removing(study=unfinished.path, highest=3)
    count = len(candidates_by_score(scored))
    for way in ("highest", "random", "keep_highest"):
        with pytest.raises(UserError, match=rf"partition\.remove\.{way}: 999 of the candidates of .* which has {count}"):
            removing(**{way: 999})
    with pytest.raises(UserError, match="all 20 candidate samples are listed"):
        removing(highest=1.0)
    others = make_study(tmp_path / "others", samples=300)
    with pytest.raises(
        UserError, match=r"of its \d+ candidates are none here; both studies need the same seed and partition sizes"
    ):
        removing(study=others.path, highest=3)
    store.set_attributes(others.results_path, {"data_fingerprint": "abc"})
    store.finish(others.results_path)
    with pytest.raises(UserError, match="scored other data than 'digits' with this seed"):
        removing(study=others.path, highest=3)


def test_ties_go_by_id(scored: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from sslmem_kit.run import removal

    dataset = study_samples(spec_of("mini/mae-vit")).dataset
    codes = np.full(len(dataset.ids), PARTITION_CODE["candidate"], np.int8)
    monkeypatch.setattr(removal, "_candidates", lambda *_: (np.array([2, 5, 9, 11]), np.array([1.0, 2.0, 1.0, 1.0])))
    chosen = chosen_by_scores(RemovalSpec(study=str(scored), highest=3), dataset, codes, seed=0)
    assert dataset.ids[chosen].tolist() == [5, 2, 9]
