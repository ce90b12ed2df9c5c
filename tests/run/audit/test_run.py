"""Audits from the outside: `sslmem score` on checkpoints and data of one's own, and what reads its results."""

from __future__ import annotations

import json
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import load_file, save_file

from sslmem_kit import open_study, store
from sslmem_kit.cli import main
from sslmem_kit.encoders.backbone import build_encoder
from sslmem_kit.errors import UserError
from sslmem_kit.explorer.session import Session
from sslmem_kit.explorer.study_cache import Library
from sslmem_kit.report.validate import problems
from sslmem_kit.run.audit.user_code import call
from sslmem_kit.run.study import run_study
from sslmem_kit.scores import leave_out, mean_over_pairs
from sslmem_kit.scores.audit import alignment_table
from sslmem_kit.spec.audit import CodeSpec
from sslmem_kit.spec.encoder import BackboneSpec
from sslmem_kit.spec.loading import parse_spec
from sslmem_kit.statistics.caveats import caveats
from tests.support.fake_study import workers_in_this_process

TINY = {"backbone": "resnet18", "stem": "small", "options": {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16]}}
FILES = [f"{kind}/{number}.png" for kind in ("cat", "dog") for number in range(10)]
"""By sample id."""


@pytest.fixture(scope="module")
def checkpoints(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder with 20 photographs, checkpoints of tiny encoders and lists of who was trained on what."""
    root = tmp_path_factory.mktemp("audit")
    rng = np.random.default_rng(0)
    for name in FILES:
        (root / "photos" / name).parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)).save(root / "photos" / name)
    for number in range(3):
        torch.manual_seed(number)
        state = build_encoder(BackboneSpec(**TINY), (16, 16, 3)).backbone.state_dict()
        save_file(state, root / f"{number}.safetensors")
        wrapped = {f"module.backbone.{name}": tensor for name, tensor in state.items()}
        torch.save({"epoch": 3, "state_dict": wrapped | {"module.head.weight": torch.ones(2)}}, root / f"{number}.pt")
    (root / "f.csv").write_text("sample\n" + "\n".join(map(str, range(12))))
    (root / "g.csv").write_text("file\n" + "\n".join([*FILES[:8], *FILES[12:16]]))
    np.save(root / "h.npy", np.arange(4, 18))
    return root


def pair(**changes: Any) -> dict[str, Any]:
    """A spec of one f and one g."""
    encoders = [
        {"id": "f-0", "seed": 0, "encoder": TINY, "weights": "0.safetensors", "normalize": "imagenet", "trained_on": "f.csv"},
        {"id": "g-0", "seed": 0, "encoder": TINY, "weights": "1.pt", "prefix": "module.backbone.", "normalize": "imagenet",
         "trained_on": "g.csv"},
    ]  # fmt: skip
    scoring = {"views": 2, "block": 8, "batch_size": 6}
    return {"name": "mine", "data": {"name": "folder:photos"}, "scoring": scoring, "encoders": encoders, **changes}


def write(root: Path, spec: dict[str, Any], name: str = "audit.yaml") -> Path:
    path = root / name
    path.write_text(yaml.safe_dump(spec))
    return path


def score(spec: Path, out: Path, capsys: pytest.CaptureFixture[str]) -> tuple[int, str]:
    """Exit status and what was said on standard error."""
    capsys.readouterr()
    status = main(["score", "--spec", str(spec), "--out", str(out), "--device", "cpu"])
    return status, capsys.readouterr().err


@pytest.fixture(scope="module")
def scored(checkpoints: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("scored") / "mine"
    assert main(["score", "--spec", str(write(checkpoints, pair())), "--out", str(out), "--device", "cpu"]) == 0
    return out


def test_what_is_written(scored: Path, capsys) -> None:
    study = open_study(scored)
    results = study.results
    assert results.sizes == {"sample": 20, "augmentation": 3, "encoder": 2}
    assert set(study.tree.children) == {"images", "completeness", "views"}
    assert results.attrs["mode"] == "pair"
    assert results["family"].values.tolist() == ["f", "g"]
    assert results["partition"].values.tolist() == [0] * 8 + [1] * 4 + [2] * 4 + [3] * 4
    assert study.class_names == ("cat", "dog")
    config = json.loads((study.encoder("g-0") / "config.json").read_text())
    assert config["left_out"] == ["module.head.weight"]
    assert config["mean"] == pytest.approx([0.485, 0.456, 0.406])
    assert not list(scored.rglob("*.safetensors"))
    assert list(problems(scored)) == []


def test_encoders_that_do_not_belong_together_are_told_of_before_and_after(checkpoints: Path, tmp_path: Path, capsys) -> None:
    """Without ``seed``, as in the shortest of specs."""
    spec = pair()
    for encoder in spec["encoders"]:
        del encoder["seed"]
    few = "one encoder of f or of g: how much scores change with the training seed is not known"
    status, said = score(write(checkpoints, spec, "short.yaml"), tmp_path / "short", capsys)
    assert status == 0
    assert few in said
    spec["encoders"] += [{**encoder, "id": encoder["id"].replace("0", "1")} for encoder in spec["encoders"]]
    apart = "no f and g have a seed in common"
    status, said = score(write(checkpoints, spec, "long.yaml"), tmp_path / "long", capsys)
    assert status == 0
    assert apart in said
    for folder, sentence in (("short", few), ("long", apart)):
        for more in ((), ("--json",)):
            assert main(["report", str(tmp_path / folder), *more]) == 0
            assert sentence in " ".join(capsys.readouterr().out.split())
        assert main(["report", str(tmp_path / folder), "--reliability"]) == 0
        assert "an f and a g that were trained alike have the same `seed`" in capsys.readouterr().out
        status = main(["render", str(tmp_path / folder), "reliability"])
        assert status == 0, capsys.readouterr().err


def test_lists_that_are_the_same_are_told_before_anything_is_scored(checkpoints: Path, tmp_path: Path, capsys) -> None:
    spec = pair()
    spec["encoders"][1]["trained_on"] = spec["encoders"][0]["trained_on"]
    status, said = score(write(checkpoints, spec, "same.yaml"), tmp_path / "same", capsys)
    assert status == 0, said
    assert said.index("there are no memorization scores") < said.index("encoders to score")
    assert not any("copies" in caveat for caveat in caveats(open_study(tmp_path / "same").tree))


def test_an_encoder_that_is_counted_twice_is_told(checkpoints: Path, tmp_path: Path, capsys) -> None:
    spec = pair()
    spec["encoders"] += [{**encoder, "id": encoder["id"].replace("0", "1")} for encoder in spec["encoders"]]
    status, said = score(write(checkpoints, spec, "twice.yaml"), tmp_path / "twice", capsys)
    assert status == 0, said
    for sentence in ("f-0, f-1 have the same weights: they are one encoder, counted 2 times", "g-0, g-1 have the same weights",
                     "several encoders of f, or of g, have the same seed"):  # fmt: skip
        assert sentence in said
        assert any(sentence in caveat for caveat in caveats(open_study(tmp_path / "twice").tree))


def test_what_is_used_of_each_list_is_printed(checkpoints: Path, tmp_path: Path, capsys) -> None:
    """A column of True and False was passed over, and every row counted."""
    table = "file,trained_on\n" + "\n".join(f"{name},{number < 12}" for number, name in enumerate(FILES))
    (checkpoints / "table.csv").write_text(table)
    spec, out = pair(), tmp_path / "out"
    spec["encoders"][0]["trained_on"] = "table.csv"
    assert main(["score", "--spec", str(write(checkpoints, spec, "table.yaml")), "--out", str(out), "--device", "cpu"]) == 0
    said = "".join(capsys.readouterr())
    assert "f-0 was trained on table.csv: column file where trained_on is yes, 12 of 20 samples" in said
    assert "g-0 was trained on g.csv: column file, 12 of 20 samples" in said
    assert open_study(out).results["partition"].values.tolist() == [0] * 8 + [1] * 4 + [2] * 4 + [3] * 4


def test_alignment_is_what_the_definition_says(scored: Path, checkpoints: Path) -> None:
    """Distance of the normalized outputs of two views, by the plainest code."""
    from sslmem_kit.data import load
    from sslmem_kit.data.loader import to_float
    from sslmem_kit.spec.data import DataSpec
    from sslmem_kit.views import scored_view

    study = open_study(scored)
    encoder = build_encoder(BackboneSpec(**TINY), (16, 16, 3), mean=(0.485, 0.456, 0.406), std=(0.229, 0.224, 0.225)).eval()
    encoder.backbone.load_state_dict(load_file(checkpoints / "1.safetensors"))
    images = to_float(torch.from_numpy(load(DataSpec(name=f"folder:{checkpoints / 'photos'}")).read(np.arange(20))))
    seed, policy = study.spec.view_seed, study.spec.scoring.policy
    with torch.inference_mode():
        views = [
            encoder(scored_view(images, torch.arange(20), view=view, seed=seed, policy=policy)).flatten(1) for view in range(3)
        ]
    units = [view / view.norm(dim=1, keepdim=True) for view in views]
    expected = torch.stack([(units[a] - units[b]).norm(dim=1) for a, b in ((0, 1), (0, 2), (1, 2))], dim=1)
    np.testing.assert_allclose(study.results["alignment"].sel(encoder="g-0").values, expected.numpy(), atol=1e-5)


def test_what_reads_a_study_reads_it(scored: Path, tmp_path: Path, capsys) -> None:
    assert main(["report", str(scored), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["mode"], report["probe_accuracy"], report["downstream"]) == ("pair", {}, {})
    assert report["n"] == {"shared": 8, "candidate": 4, "independent": 4, "extra": 4}
    assert main(["report", str(scored)]) == 0
    assert main(["validate", str(scored)]) == 0
    assert main(["export", str(scored), "--to", str(tmp_path / "scores.csv")]) == 0
    frame = pd.read_csv(tmp_path / "scores.csv")
    assert frame["partition"].tolist()[::5] == ["shared", "shared", "candidate", "independent"]
    session = Session(Library([scored]))
    assert session.problem == ""
    assert len(session.scores["sslmem"]) == 20


def test_a_study_scored_again_has_its_own_scores(tmp_path: Path, capsys) -> None:
    """The oracle: an audit of a study's encoders, on its data with its seed, measures what the study has measured."""
    rng = np.random.default_rng(2)
    np.savez(tmp_path / "set.npz", images=rng.integers(0, 256, (60, 8, 8, 3), dtype=np.uint8), labels=np.arange(60) % 3)
    spec = {
        "name": "small",
        "seed": 5,
        "data": {"name": f"npz:{tmp_path / 'set.npz'}"},
        "partition": {"shared": 0.4, "candidate": 0.2, "independent": 0.2, "extra": 0.1},
        "encoder": TINY,
        "training": {"seeds": 1, "epochs": 1, "warmup_epochs": 0, "batch_size": 8, "record_every": 0},
        "scoring": {"views": 2},
    }
    with workers_in_this_process():
        study = run_study(parse_spec(spec, where="test").resolved(tmp_path), tmp_path / "study", device="cpu", workers=1)
    ids = [encoder.id for encoder in study.spec.encoders]
    audit = {
        "name": "again",
        "seed": 5,
        "data": spec["data"],
        "scoring": {"views": 2, "batch_size": 7, "block": 11},
        "encoders": [{"id": name, "study": {"path": "study", "encoder": name}} for name in ids],
    }
    # A copy of a study's weights as a stranger has them: with the normalization said by hand.
    config = json.loads((study.encoder("f-5") / "config.json").read_text())
    normalize = {"mean": config["mean"], "std": config["std"]}
    by_hand = {"id": "by-hand", "encoder": TINY, "weights": "study/encoders/f-5/weights.safetensors", "prefix": "backbone.",
               "normalize": normalize, "trained_on": "f.npy"}  # fmt: skip
    own = study.results["trained_on"].sel(encoder="f-5")
    np.save(tmp_path / "f.npy", own["sample"].values[own.values])
    audit["encoders"].append(by_hand)
    status, said = score(write(tmp_path, audit), tmp_path / "out", capsys)
    assert (status, "2 tensors of" in said and "(mean, std)" in said) == (0, True)
    mine, theirs = open_study(tmp_path / "out").results, study.results
    for name in [*ids, "by-hand"]:
        there = theirs["alignment"].sel(encoder="f-5" if name == "by-hand" else name)
        np.testing.assert_allclose(mine["alignment"].sel(encoder=name, sample=theirs["sample"]), there, atol=1e-5)
    for name in ("family", "seed", "method", "backbone"):
        assert mine[name].values[: len(ids)].tolist() == theirs[name].values.tolist()
    assert (mine["trained_on"].sel(sample=theirs["sample"], encoder=ids) == theirs["trained_on"]).all()
    kept = open_study(tmp_path / "out").scores(encoders=ids).sel(sample=theirs["sample"])
    np.testing.assert_allclose(kept["sslmem"], study.scores()["sslmem"], atol=1e-5)


def test_it_goes_on_where_it_stopped(scored: Path, checkpoints: Path, tmp_path: Path, capsys, monkeypatch) -> None:
    written: list[tuple[int, int]] = []
    write_alignment = store.write_alignment

    def interrupted(path: Path, *, encoder: int, block: int, values: np.ndarray) -> None:
        if len(written) == 4:
            raise KeyboardInterrupt
        written.append((encoder, block))
        write_alignment(path, encoder=encoder, block=block, values=values)

    spec, out = write(checkpoints, pair()), tmp_path / "out"
    monkeypatch.setattr(store, "write_alignment", interrupted)
    assert score(spec, out, capsys)[0] == 1
    assert main(["report", str(out)]) == 2
    assert "`sslmem score` on the same directory resumes" in capsys.readouterr().err
    assert "sslmem score" in Session(Library([out])).problem
    monkeypatch.setattr(
        store, "write_alignment", lambda *a, **k: (written.append((k["encoder"], k["block"])), write_alignment(*a, **k))
    )
    assert score(spec, out, capsys)[0] == 0
    assert written == [(encoder, block) for encoder in range(2) for block in range(3)]
    np.testing.assert_array_equal(open_study(out).results["alignment"], open_study(scored).results["alignment"])
    assert score(spec, out, capsys)[0] == 0
    assert len(written) == 6


def test_what_has_changed_is_refused(scored: Path, checkpoints: Path, tmp_path: Path, capsys) -> None:
    root = tmp_path / "copy"
    shutil.copytree(checkpoints, root)
    spec, out = write(root, pair()), tmp_path / "out"
    assert score(spec, out, capsys)[0] == 0

    def refused(message: str) -> None:
        status, said = score(spec, out, capsys)
        assert (status, message in said) == (2, True), said

    shutil.copy(root / "2.safetensors", root / "0.safetensors")
    refused("encoders.0 (f-0).weights: ")
    shutil.copy(checkpoints / "0.safetensors", root / "0.safetensors")
    (root / "f.csv").write_text("sample\n1\n2\n3")
    refused("the files list other samples than when this audit started")
    shutil.copy(checkpoints / "f.csv", root / "f.csv")
    shutil.copy(root / "photos/cat/1.png", root / "photos/cat/0.png")
    refused("data: it has changed since this audit started")
    shutil.copy(checkpoints / "photos/cat/0.png", root / "photos/cat/0.png")
    write(root, pair(seed=1))
    refused("holds a study of another spec, seed is 0 there and 1 here")


def test_numbered_subsets_are_scored_by_leave_out(checkpoints: Path, tmp_path: Path, capsys) -> None:
    third = {"id": "h-0", "encoder": TINY, "weights": "2.safetensors", "normalize": "imagenet", "trained_on": "h.npy"}
    spec = pair()
    spec["encoders"].append(third)
    assert score(write(checkpoints, spec, "subsets.yaml"), tmp_path / "out", capsys)[0] == 0
    study = open_study(tmp_path / "out")
    assert study.results["family"].values.tolist() == ["0", "1", "2"]
    scores = study.scores()
    expected = leave_out(study.results["alignment"], study.results["trained_on"]).dropna("sample", subset=["sslmem"])
    np.testing.assert_allclose(scores["sslmem"], expected["sslmem"])
    assert scores["sample"].values.tolist() == expected["sample"].values.tolist()
    assert main(["report", str(study.path), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert (report["mode"], list(report["n"])) == ("subset", ["candidate"])
    assert main(["validate", str(study.path)]) == 0
    assert main(["export", str(study.path), "--to", str(tmp_path / "scores.csv")]) == 0
    assert "numbered subsets" in Session(Library([study.path])).problem


@pytest.mark.parametrize("knows", [False, True])
def test_one_model_has_alignment_and_says_that_it_is_no_score(checkpoints: Path, tmp_path: Path, capsys, knows: bool) -> None:
    spec = pair(samples="h.npy")
    del spec["encoders"][1]
    if not knows:
        del spec["encoders"][0]["trained_on"]
    out = tmp_path / "out"
    assert score(write(checkpoints, spec, f"one-{knows}.yaml"), out, capsys)[0] == 0
    study = open_study(out)
    assert ("trained_on" in study.results, "partition" in study.results.coords) == (knows, knows)
    assert study.results["sample"].values.tolist() == list(range(4, 18))
    assert main(["report", str(out), "--json"]) == 0
    text = capsys.readouterr().out
    report = json.loads(text)
    assert report["mode"] == "one model"
    assert "not memorization scores" in report["note"]
    values = mean_over_pairs(study.results["alignment"]).values[:, 0]
    assert report["alignment"]["f-0"]["mean"] == pytest.approx(values.mean())
    assert main(["report", str(out)]) == 0
    assert "not memorization scores" in (plain := capsys.readouterr().out)
    assert "sslmem" not in (text + plain).replace("sslmem_kit", "")
    assert main(["export", str(out), "--to", str(tmp_path / "rank.csv")]) == 0
    frame = pd.read_csv(tmp_path / "rank.csv")
    assert list(frame) == ["sample", "file", "label", "class", *(["partition"] if knows else []), "protocol", "alignment", "rank"]
    np.testing.assert_array_equal(frame["rank"], np.argsort(np.argsort(values)) + 1)
    capsys.readouterr()
    for command in (["render", str(out)], ["report", str(out), "--fdr", "0.1"]):
        assert main(command) == 2
        assert "one model" in capsys.readouterr().err
    assert main(["validate", str(out)]) == 0
    assert "not memorization scores" in Session(Library([out])).problem


def test_several_models_without_lists_are_compared_by_rank(checkpoints: Path, tmp_path: Path, capsys) -> None:
    spec = pair()
    for encoder in spec["encoders"]:
        del encoder["trained_on"]
    assert score(write(checkpoints, spec, "unknown.yaml"), tmp_path / "out", capsys)[0] == 0
    table = alignment_table(open_study(tmp_path / "out").results)
    capsys.readouterr()
    assert main(["report", str(tmp_path / "out"), "--json"]) == 0
    agreement = json.loads(capsys.readouterr().out)["rank_agreement"]["f-0, g-0"]
    assert agreement == pytest.approx(np.corrcoef(table["rank"].values.T)[0, 1])
    assert main(["export", str(tmp_path / "out"), "--to", str(tmp_path / "both.nc")]) == 0
    assert main(["export", str(tmp_path / "out"), "--to", str(tmp_path / "both.csv")]) == 0
    assert list(pd.read_csv(tmp_path / "both.csv"))[-4:] == ["alignment_f-0", "alignment_g-0", "rank_f-0", "rank_g-0"]


MODELS = """
import torch
from torch import nn
with open("{sign}", "a") as sign: sign.write("x")
def module(width=4):
    torch.manual_seed(0)
    return nn.Sequential(nn.Flatten(), nn.Linear(16 * 16 * 3, width))
def unseeded(): return nn.Sequential(nn.Flatten(), nn.Linear(16 * 16 * 3, 4))
def plain(): return lambda images: images.mean(dim=(2, 3)).numpy()
def failing(): raise KeyError("left")
def nothing(): return 3
def flat(): return lambda images: images.mean(dim=(1, 2, 3))
def named(): return lambda images: {{"last_hidden_state": images}}
def breaking(): return lambda images: images @ torch.ones(3, 3)
def together(): return lambda images: images.flatten(1) if len(images) > 1 else images.missing
def few(): return lambda images: images.flatten(1) if len(images) < 3 else {{}}["left"]
def lost(): return lambda images: images.flatten(1) * float("nan")
def shifted(batch, ids, view, seed): return batch if view == 0 else batch * (1 - 0.01 * view) + ids[:, None, None, None] / 1e3
def chance(batch, ids, view, seed): return torch.rand_like(batch)
def short(batch, ids, view, seed): return batch[:1]
def cut(batch, ids, view, seed): return batch if view == 0 else batch[..., :4]
number = 3
"""


def with_models(root: Path, name: str) -> Path:
    """A folder with the photographs and a module of the user's; where ``sign`` is, it was imported."""
    root.mkdir()
    (root / "sign").touch()
    (root / f"{name}.py").write_text(MODELS.format(sign=root / "sign"))
    return root


def test_functions_of_the_user(checkpoints: Path, tmp_path: Path, capsys) -> None:
    root = with_models(tmp_path / "code", "my_models")
    spec = pair(data={"name": f"folder:{checkpoints / 'photos'}"}, view="my_models:shifted", compare_anyway=True)
    spec["encoders"] = [
        {
            "id": "f-0",
            "factory": {"function": "my_models:module", "arguments": {"width": 6}},
            "trained_on": str(checkpoints / "f.csv"),
        },
        {"id": "g-0", "factory": "my_models:plain", "trained_on": "none", "normalize": "data"},
    ]
    out = tmp_path / "out"
    assert score(write(root, spec), out, capsys)[0] == 0
    study = open_study(out)
    assert json.loads((study.encoder("f-0") / "config.json").read_text())["representation"] == [6]
    assert study.results["policy"].values.tolist() == ["my_models:shifted"] * 3
    assert study.results["partition"].values.tolist() == [1] * 12 + [3] * 8
    # Who opens the result runs none of it, in a process of its own and in this one.
    (root / "sign").write_text("")
    for command in ("report", "validate"):
        assert subprocess.run([sys.executable, "-m", "sslmem_kit", command, str(out)], capture_output=True).returncode == 0
    assert Session(Library([out])).problem == ""
    assert (root / "sign").read_text() == ""


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"factory": "no_such:thing"}, "encoders.0 (f-0).factory: there is no module 'no_such' in "),
        ({"factory": "bad_models:gone"}, "module 'bad_models' has no 'gone'"),
        ({"factory": "bad_models:number"}, "'bad_models:number' is a int, a function is needed"),
        ({"factory": "bad_models:failing"}, "bad_models:failing has failed (KeyError: 'left')"),
        ({"factory": {"function": "bad_models:module", "arguments": {"depth": 3}}}, "unexpected keyword argument 'depth'"),
        ({"factory": "bad_models:nothing"}, "returned a int, an nn.Module or a callable is needed"),
        ({"factory": "bad_models:flat"}, "it returns the shape (2,) of 2 samples, [sample, ...] is needed"),
        ({"factory": "bad_models:named"}, "returns several things by name (last_hidden_state), return one tensor"),
        ({"factory": "bad_models:breaking"}, "it fails on a batch of shape (2, 3, 16, 16)"),
        ({"factory": "bad_models:together"}, "encoders.0 (f-0): it fails on a batch of shape (1, 3, 16, 16) (AttributeError: "),
        ({"factory": "bad_models:few"}, "encoders.0 (f-0): it fails on a batch of shape (6, 3, 16, 16) (KeyError: 'left')"),
        ({"factory": "bad_models:lost"}, "it gives representations that are not finite, of 8 samples"),
        ({"factory": "bad_models:unseeded"}, "it has other weights each time that it is made"),
        ({"factory": "bad_models:plain", "weights": "0.safetensors"}, "returned no nn.Module that they could be loaded into"),
        (
            {"factory": "bad_models:module", "weights": "0.safetensors"},
            "does not fit the encoder: 2 tensors of the encoder are missing",
        ),
        ({"encoder": {**TINY, "stem": "stock"}}, "conv1.weight is [64, 3, 3, 3] there and [64, 3, 7, 7] in the encoder"),
        ({"encoder": {**TINY, "backbone": "resnet1"}}, "encoders.0 (f-0).encoder.backbone: timm has no model 'resnet1'"),
        ({"factory": "bad_models:module", "weights": ""}, "encoders.0.weights: string should have at least 1 character"),
        ({"trained_on": ""}, "encoders.0.trained_on: string should have at least 1 character"),
        ({"weights": "gone.pt"}, "encoders.0 (f-0).weights: there is no file"),
        ({"prefix": "vit."}, "encoders.0 (f-0).prefix: no name in"),
        ({"normalize": {"mean": [0, 0], "std": [1, 1]}}, "normalize: mean has 2 numbers, the images have 3 channels"),
        ({"trained_on": "gone.csv"}, "encoders.0 (f-0).trained_on: there is no file"),
        ({"trained_on": None}, "trained_on is missing of f-0, others have it"),
        ({"study": {"path": "gone", "encoder": "f-0"}}, "study.path: STUDY: there is no folder"),
        ({"foo": 1}, "encoders.0.foo: unknown field, the fields here are id, family"),
        ({"family": "h"}, "encoders.0.family"),
        ({"normalize": None}, "normalize is missing"),
    ],
)
def test_bad_encoders_are_told(checkpoints: Path, tmp_path: Path, capsys, changes: dict[str, Any], message: str) -> None:
    root = tmp_path / "bad"
    shutil.copytree(checkpoints, root)
    (root / "bad_models.py").write_text(MODELS.format(sign=root / "sign"))
    spec = pair(compare_anyway=True)
    first = spec["encoders"][0]
    if set(changes) & {"factory", "study"}:
        first = {"id": "f-0", **({} if "study" in changes else {"trained_on": "f.csv"})}
    spec["encoders"][0] = {name: value for name, value in {**first, **changes}.items() if value is not None}
    status, said = score(write(root, spec), tmp_path / "out", capsys)
    assert (status, message in said) == (2, True), said
    assert said.strip().splitlines()[-1].startswith("sslmem: ")


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"view": "bad_views:chance"}, "has to be a pure function of (sample, id, view, seed)"),
        ({"view": "bad_views:short"}, "view: it returns the shape (1, 3, 16, 16) of 2 samples"),
        ({"view": "bad_views:cut"}, "view: view 1 has the shape (2, 3, 16, 4) on cpu, view 0 (2, 3, 16, 16) on cpu"),
        ({"view": "bad_views:shifted", "scoring": {"policy": "simclr"}}, "scoring.policy and view both say how views are made"),
        ({"data": None}, "give one of them, none is given"),
        (
            {"data": None, "source": "bad_views:number", "view": "bad_views:chance"},
            "encoders: f-0 has encoder, which is for images",
        ),
        ({"data": {"name": "folder:gone"}}, "data.name 'folder:"),
        ({"samples": "gone.csv"}, "samples: there is no file"),
        ({"scoring": {"precision": "fp16"}}, "scoring.precision: 'fp16' is for GPUs"),
        ({"scoring": {"views": 0}}, "scoring.views"),
        ({"encoders": []}, "encoders: a list of encoders is needed"),
        ({"name": "a/b"}, "name: use letters"),
    ],
)
def test_bad_specs_are_told(checkpoints: Path, tmp_path: Path, capsys, changes: dict[str, Any], message: str) -> None:
    root = tmp_path / "bad"
    shutil.copytree(checkpoints, root)
    (root / "bad_views.py").write_text(MODELS.format(sign=root / "sign"))
    spec = {name: value for name, value in {**pair(), **changes}.items() if value is not None}
    status, said = score(write(root, spec), tmp_path / "out", capsys)
    assert (status, message in said) == (2, True), said
    assert not (tmp_path / "out").exists()


def test_modules_of_one_name_in_two_folders(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys, "path", [*sys.path])
    for name in "ab":
        (tmp_path / name).mkdir()
        (tmp_path / name / "alike.py").write_text("from alike_helper import NAME\ndef tell(): return NAME\n")
        (tmp_path / name / "alike_helper.py").write_text(f"NAME = {name!r}\n")
        (tmp_path / name / "csv.py").write_text("def tell(): pass\n")

    def spec(folder: str, function: str) -> CodeSpec:
        return CodeSpec(function=function, folder=str(tmp_path / folder))

    assert [call(spec(folder, "alike:tell"), field="source") for folder in "aba"] == ["a", "b", "a"]
    with pytest.raises(UserError, match=r"source: module 'csv' in .* because another of that name already is \(.*csv\.py\)"):
        call(spec("b", "csv:tell"), field="source")


def test_specs_that_are_none_are_told(tmp_path: Path, capsys) -> None:
    assert main(["score"]) == 2
    assert score(tmp_path / "gone.yaml", tmp_path / "out", capsys)[0] == 2
    (tmp_path / "study.yaml").write_text("name: a\ntraining: {}\n")
    status, said = score(tmp_path / "study.yaml", tmp_path / "out", capsys)
    assert (status, "is the spec of a study, which `sslmem run` trains" in said) == (2, True)


def test_a_malicious_checkpoint_is_refused_by_the_command(checkpoints: Path, tmp_path: Path, capsys) -> None:
    """Must-show 7, from the outside."""
    from tests.run.audit.test_state_dicts import zip_with_evil

    spec = pair()
    zip_with_evil(checkpoints / "evil.pt", tmp_path / "it-ran")
    spec["encoders"][0]["weights"] = "evil.pt"
    status, said = score(write(checkpoints, spec, "evil.yaml"), tmp_path / "out", capsys)
    assert (status, "encoders.0 (f-0).weights: " in said and "is refused" in said) == (2, True)
    assert len(said.strip().splitlines()) == 1
    assert not (tmp_path / "it-ran").exists()


def test_an_audit_needs_none_of_the_code_that_trains(scored: Path) -> None:
    """Opening its result imports neither torch nor the user's modules."""
    code = f"import sys; from sslmem_kit import open_study; open_study({str(scored)!r}).scores(); sys.exit('torch' in sys.modules)"
    assert subprocess.run([sys.executable, "-c", code]).returncode == 0
