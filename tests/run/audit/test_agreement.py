"""Encoders that are compared have to read samples alike: what differs is refused, or reported with every number."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torch import nn

import sslmem_kit
from sslmem_kit import open_study
from sslmem_kit.cli import main
from sslmem_kit.encoders.backbone import build_encoder
from sslmem_kit.errors import UserError
from sslmem_kit.run.audit.agreement import differences, structure
from sslmem_kit.run.audit.encoders import _as_trained
from sslmem_kit.run.study import run_study
from sslmem_kit.spec.audit import parse_audit
from sslmem_kit.spec.encoder import BackboneSpec
from sslmem_kit.spec.loading import parse_spec
from sslmem_kit.statistics.caveats import caveats
from sslmem_kit.views.features import perturbed
from tests.run.audit.test_run import TINY, checkpoints, pair, score, write  # noqa: F401 (a fixture)
from tests.support.fake_study import workers_in_this_process

MODELS = """
import timm, torch
from torch import nn
class Net(nn.Module):
    def __init__(self, stride=1, pooled=True, half=False):
        super().__init__()
        self.conv = nn.Conv2d(3, 4, 3, stride=stride)
        self.pooled, self.half_ = pooled, half
    def forward(self, images):
        maps = self.conv(images)
        out = maps.mean(dim=(2, 3)) if self.pooled else maps
        return out.double() if self.half_ else out
def make(**arguments):
    torch.manual_seed(0)
    return Net(**arguments)
def other(**arguments):
    return make(**arguments)
def plain(): return lambda images: images.mean(dim=(2, 3))
"""


def changed(change: dict[str, Any], **spec: Any) -> dict[str, Any]:
    """A pair of which g is another; None takes a field away."""
    audit = pair(**spec)
    second = {**audit["encoders"][1], **change}
    audit["encoders"][1] = {name: value for name, value in second.items() if value is not None}
    return audit


def factories(f: dict[str, Any], g: dict[str, Any], function: str = "read_models:make") -> dict[str, Any]:
    """A pair of functions of the user's, by their arguments and further fields."""
    audit, f, g = pair(), dict(f), dict(g)
    audit["encoders"] = [
        {"id": f"{family}-0", "seed": 0, "trained_on": f"{family}.csv", **fields,
         "factory": {"function": name, "arguments": arguments}}
        for family, name, arguments, fields in (
            ("f", "read_models:make", f.pop("arguments", {}), f), ("g", function, g.pop("arguments", {}), g),
        )
    ]  # fmt: skip
    return audit


@pytest.fixture
def root(checkpoints: Path, tmp_path: Path) -> Path:  # noqa: F811
    folder = tmp_path / "own"
    shutil.copytree(checkpoints, folder)
    (folder / "read_models.py").write_text(MODELS)
    medium = {**TINY, "stem": "medium"}
    torch.manual_seed(1)
    save_file(build_encoder(BackboneSpec(**medium), (16, 16, 3)).backbone.state_dict(), folder / "medium.safetensors")
    return folder


PLAIN = {"weights": "1.safetensors", "prefix": None}
DIFFERENT = {
    "normalize": (changed({"normalize": "none"}), "std: [0.229, 0.224, 0.225]} of f-0 and {mean: [0"),
    "stem": (changed({"encoder": {**TINY, "stem": "medium"}}), "encoder.stem is small of f-0 and medium of g-0"),
    "backbone": (changed({**PLAIN, "encoder": {**TINY, "backbone": "resnet34"}}), "encoder.backbone is resnet18 of f-0 and resnet34 of g-0"),
    "options": (
        changed({"encoder": {**TINY, "options": {**TINY["options"], "drop_path_rate": 0.1}}}),
        "drop_path_rate: 0.1, layers: [1, 1, 1, 1]} of g-0",
    ),
    "pooling": (factories({}, {"arguments": {"pooled": False}}), "representation is [4] of f-0 and [4, 14, 14] of g-0"),
    "precision": (factories({}, {"arguments": {"half": True}}), "precision is float32 of f-0 and float64 of g-0"),
    "stride": (factories({}, {"arguments": {"stride": 2}}, "read_models:other"), "stride=(1, 1)) (layer 0) of f-0 and Conv2d("),
    "factory's normalize": (factories({}, {"normalize": "imagenet"}), "normalize is {mean: [0, 0, 0], std: [1, 1, 1]} of f-0"),
    "callable": (factories({"arguments": {"pooled": False}}, {}, "read_models:plain"), "representation is [4, 14, 14] of f-0 and [3]"),
    "encoder and factory": (changed({"encoder": None, "weights": None, "prefix": None, "factory": "read_models:make"}), "representation is"),
}  # fmt: skip


@pytest.mark.parametrize("kind", DIFFERENT)
def test_encoders_that_read_differently_are_refused(root: Path, tmp_path: Path, capsys, kind: str) -> None:
    spec, message = DIFFERENT[kind]
    status, said = score(write(root, spec), tmp_path / "out", capsys)
    assert (status, message in said, "compare_anyway: true" in said) == (2, True, True), said
    assert len(said.strip().splitlines()) <= 2
    assert not (tmp_path / "out").exists()


@pytest.mark.parametrize(
    "spec",
    [
        factories({}, {}, "read_models:other"),
        factories({"normalize": "none"}, {}),
        changed({"normalize": {"mean": [0.485, 0.456, 0.406], "std": [0.229, 0.224, 0.225]}}),
        changed({"encoder": {**TINY, "backbone": "resnet18.a1_in1k"}}),
    ],
    ids=["functions", "none is none", "numbers", "tag"],
)
def test_encoders_that_read_alike_are_compared(root: Path, tmp_path: Path, capsys, spec) -> None:
    status, said = score(write(root, spec), tmp_path / "out", capsys)
    assert status == 0, said
    assert not [sentence for sentence in caveats(open_study(tmp_path / "out").tree) if "compared although" in sentence]


def test_compared_anyway_is_told_with_every_number(root: Path, tmp_path: Path, capsys) -> None:
    spec, out = changed({"normalize": "none"}, compare_anyway=True), tmp_path / "out"
    assert score(write(root, spec), out, capsys)[0] == 0
    (sentence,) = (said for said in caveats(open_study(out).tree) if "compared although" in said)
    assert sentence.startswith("encoders are compared although they read samples differently: normalize is {mean: [0.485")
    assert main(["report", str(out), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["warnings"].count(sentence) == 1
    assert main(["report", str(out)]) == 0
    assert f"WARNING: {sentence}" in capsys.readouterr().out
    assert main(["validate", str(out)]) == 0
    assert score(write(root, spec), out, capsys)[0] == 0
    assert score(write(root, changed({"normalize": "none"})), out, capsys)[0] == 2


def test_one_model_is_compared_with_none(root: Path, tmp_path: Path, capsys) -> None:
    """RankInfo of encoders of any kind go together: nothing is a difference of their alignments."""
    spec = changed({"normalize": "none", "trained_on": None})
    del spec["encoders"][0]["trained_on"]
    assert score(write(root, spec), tmp_path / "out", capsys)[0] == 0


def test_what_an_older_audit_was_begun_with_has_its_hash(checkpoints: Path) -> None:  # noqa: F811
    spec = parse_audit(pair(), where="a").resolved(Path("/"))
    assert spec.hash != spec.model_copy(update={"compare_anyway": True}).hash
    older = {name: value for name, value in spec.as_dict().items() if name != "compare_anyway"}
    assert parse_audit(older, where="a").hash == spec.hash
    assert parse_audit(older, where="a").hash_with_places == spec.hash_with_places == HASH


HASH = "13fa4fe84a896475"
"""As version 0.1 gave it."""


@pytest.mark.parametrize(("weights", "shown"), [("1.safetensors", "is 3x3, that of small (stride 1) and of medium (stride 2)")])
def test_a_stem_is_asked_for(root: Path, tmp_path: Path, capsys, weights: str, shown: str) -> None:
    """`auto` took stride 2 for CIFAR's stride 1, and the shapes fitted."""
    for stem in ({"stem": "auto"}, {}):
        encoder = {name: value for name, value in TINY.items() if name != "stem"} | stem
        status, said = score(write(root, changed({**PLAIN, "encoder": encoder})), tmp_path / "out", capsys)
        assert (status, f"encoders.1 (g-0).encoder.stem is missing: conv1 of {root / weights} {shown}" in said) == (2, True), said


def test_a_stock_stem_is_asked_for_too(root: Path, tmp_path: Path, capsys) -> None:
    stock = {"backbone": "resnet18", "options": TINY["options"]}
    state = build_encoder(BackboneSpec(**stock, stem="stock"), (16, 16, 3)).backbone.state_dict()
    save_file(state, root / "stock.safetensors")
    deep = {"backbone": "resnet18d", "options": TINY["options"]}
    save_file(build_encoder(BackboneSpec(**deep, stem="stock"), (16, 16, 3)).backbone.state_dict(), root / "deep.safetensors")
    for name, encoder in (("stock", stock), ("deep", deep)):
        change = {"weights": f"{name}.safetensors", "prefix": None, "encoder": encoder}
        status, said = score(write(root, changed(change)), tmp_path / "out", capsys)
        assert (status, "write stem: stock" in said) == (2, True), said


def test_patches_that_contradict_the_file_are_refused(root: Path, tmp_path: Path, capsys) -> None:
    vit = {"backbone": "vit_tiny_patch16_224", "options": {"embed_dim": 8, "depth": 1, "num_heads": 1}}
    trained = BackboneSpec(**{**vit, "options": {**vit["options"], "patch_size": 4}})
    save_file(build_encoder(trained, (16, 16, 3)).backbone.state_dict(), root / "vit.safetensors")
    change = {"weights": "vit.safetensors", "prefix": None, "encoder": {**vit, "grid": 2}}
    status, said = score(write(root, changed(change)), tmp_path / "out", capsys)
    assert (status, "patch_embed.proj.weight is [8, 3, 4, 4] there and [8, 3, 8, 8] in the encoder" in said) == (2, True), said


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A study of images of 16 pixels, whose encoders have `auto`'s small stem."""
    root = tmp_path_factory.mktemp("trained")
    rng = np.random.default_rng(2)
    np.savez(root / "set.npz", images=rng.integers(0, 256, (40, 16, 16, 3), dtype=np.uint8), labels=np.arange(40) % 2)
    spec = {
        "name": "small",
        "data": {"name": f"npz:{root / 'set.npz'}"},
        "partition": {"shared": 0.4, "candidate": 0.2, "independent": 0.2, "extra": 0.1},
        "encoder": {**TINY, "stem": "auto"},
        "training": {"seeds": 1, "epochs": 1, "warmup_epochs": 0, "batch_size": 8, "record_every": 0},
        "scoring": {"views": 1},
    }
    with workers_in_this_process():
        return run_study(parse_spec(spec, where="test").resolved(root), root / "study", device="cpu", workers=1).path


def of_study(study: Path, **data: Any) -> dict[str, Any]:
    lists = {"f-0": "f.csv", "g-0": "g.csv"}
    encoders = [{"id": name, "study": {"path": str(study), "encoder": name}, "trained_on": lists[name]} for name in lists]
    return pair(data={"name": "folder:photos", **data}, encoders=encoders)


def test_an_encoder_of_a_study_keeps_its_stem(study: Path, root: Path, tmp_path: Path, capsys) -> None:
    """`auto` takes another stem for images of another size: that of a study was chosen when it was trained."""
    assert score(write(root, of_study(study, image_size=20)), tmp_path / "out", capsys)[0] == 0
    config = json.loads((tmp_path / "out" / "encoders" / "f-0" / "config.json").read_text())
    assert (config["stem"], config["representation"]) == ("small", [16, 3, 3])


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"normalize": "imagenet"}, "and {mean: [0.485, 0.456, 0.406]"),
        ({"encoder": {**TINY, "stem": "medium"}}, "encoder.stem is small of f-0 and medium of g-0"),
    ],
)
def test_a_study_against_a_checkpoint(study: Path, root: Path, tmp_path: Path, capsys, change, message: str) -> None:
    trained = json.loads((study / "encoders" / "g-0" / "config.json").read_text())
    spec = of_study(study)
    alike = {"id": "g-0", "seed": 0, "encoder": TINY, "weights": str(study / "encoders" / "g-0" / "weights.safetensors"),
             "prefix": "backbone.", "normalize": {"mean": trained["mean"], "std": trained["std"]}, "trained_on": "g.csv"}  # fmt: skip
    spec["encoders"][1] = alike
    assert score(write(root, spec), tmp_path / "alike", capsys)[0] == 0
    spec["encoders"][1] = {**alike, **change}
    status, said = score(write(root, spec), tmp_path / "out", capsys)
    assert (status, message in said) == (2, True), said


VALUES = np.random.default_rng(0).normal(size=(12, 5)).astype(np.float32)


def test_in_python(tmp_path: Path) -> None:
    encoders = {"f": nn.Linear(5, 4), "g": nn.Linear(5, 3)}
    options = {"view": perturbed, "trained_on": {"f": range(6), "g": range(3, 9)}, "views": 1, "device": "cpu"}
    with pytest.raises(UserError, match=r"representation is \[4\] of f and \[3\] of g \(and 1 more\).*write compare_anyway=True"):
        sslmem_kit.score_encoders(encoders, VALUES, **options)
    results = sslmem_kit.score_encoders(encoders, VALUES, **options, compare_anyway=True)
    assert len(json.loads(results.attrs["compared_anyway"])) == 2
    results.to_netcdf(tmp_path / "a.nc")
    alike = sslmem_kit.score_encoders({"f": nn.Linear(5, 4), "g": nn.Linear(5, 4)}, VALUES, **options)
    assert "compared_anyway" not in alike.attrs


def test_wrappers_and_subclasses_are_no_difference() -> None:
    class Own(nn.Linear):
        pass

    assert structure(nn.Sequential(nn.Linear(3, 4))) == structure(nn.ModuleDict({"a": Own(3, 4)}))
    assert structure(nn.Conv2d(3, 4, 3)) != structure(nn.Conv2d(3, 4, 3, padding=1))


@pytest.mark.parametrize(
    ("one", "other"),
    [
        (nn.AdaptiveAvgPool2d(1), nn.AdaptiveMaxPool2d(1)),
        (nn.ReLU(), nn.Tanh()),
        (nn.LeakyReLU(0.1), nn.LeakyReLU(0.3)),
        (nn.GELU(), nn.GELU(approximate="tanh")),
        (nn.Upsample(scale_factor=2), nn.Upsample(scale_factor=4)),
    ],
    ids=lambda layer: type(layer).__name__,
)
def test_layers_without_weights_count(one: nn.Module, other: nn.Module) -> None:
    """They leave the shape of a representation as it is, and change its values."""
    first, second = (structure(nn.Sequential(nn.Conv2d(1, 4, 3), layer)) for layer in (one, other))
    assert first != second


def test_what_does_nothing_when_scored_does_not_count() -> None:
    """Dropout, reshaping, empty containers, and writing in place."""
    plain = nn.Sequential(nn.Conv2d(1, 4, 3), nn.ReLU())
    more = nn.Sequential(nn.Conv2d(1, 4, 3), nn.Sequential(), nn.ReLU(inplace=True), nn.Dropout(0.1), nn.Identity(), nn.Flatten())
    assert structure(plain) == structure(more)
    assert differences({"a": {"x": 1.0}, "b": {}, "c": {"x": 1}, "d": {"x": 2}}) == ["x is 1 of a and 2 of d"]


def test_patches_of_a_studys_encoder_are_those_it_was_trained_with(study: Path, tmp_path: Path) -> None:
    """`grid` counts patches along the side of the images there, not of those that are scored."""
    copy = tmp_path / "study"
    shutil.copytree(study, copy)
    config = copy / "encoders" / "f-0" / "config.json"
    config.write_text(json.dumps(json.loads(config.read_text()) | {"stem": "patch", "image_shape": [32, 32, 3]}))
    told = open_study(copy)
    vit = BackboneSpec(backbone="vit_tiny_patch16_224", grid=8)
    told.__dict__["spec"] = told.spec.model_copy(update={"encoder": vit})
    spec = _as_trained(told, "f-0")["spec"]
    assert (spec.grid, spec.options, spec.stem) == (None, {"patch_size": 4}, "auto")
