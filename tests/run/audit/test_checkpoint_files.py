"""Checkpoints as training scripts write them: each layout is read, a prefix that fits is named, other files are called what they are."""

from __future__ import annotations

import argparse
import dataclasses
import datetime
import enum
import gzip
import os
import pickle
import sys
import types
import zipfile
from collections import OrderedDict, defaultdict, deque
from pathlib import Path, PosixPath, PureWindowsPath
from typing import Any

import numpy as np
import pandas as pd
import pytest
import timm
import torch
from safetensors.torch import save_file
from torch import nn

from sslmem_kit.errors import UserError
from sslmem_kit.run.audit.state_dicts import fit, read_state_dict, select


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def named(prefix: str) -> OrderedDict[str, torch.Tensor]:
    return OrderedDict((prefix + name, tensor) for name, tensor in small().state_dict().items())


def omegaconf() -> Any:
    return pytest.importorskip("omegaconf").OmegaConf.create({"lr": 0.1, "layers": [1, 2], "name": "${lr}"})


class Kind(enum.Enum):
    A = 1


@dataclasses.dataclass(slots=True)
class Slots:
    x: int = 1


ARGUMENTS = argparse.Namespace(lr=0.1, output=PosixPath("runs/a"), device=torch.device("cpu"))
HEAD = {"head.weight": torch.ones(2, 4)}
OPTIMIZER = {"state": {0: {"step": torch.ones(1), "exp_avg": torch.ones(4, 3)}}, "param_groups": [{"lr": 0.1, "params": [0]}]}
BESIDE: dict[str, Any] = {
    "namespace": ARGUMENTS,
    "simple namespace": types.SimpleNamespace(lr=0.1),
    "path": PosixPath("runs/a"),
    "path of windows": PureWindowsPath("C:/runs"),
    "date": datetime.datetime(2024, 1, 1, tzinfo=datetime.UTC),
    "duration": datetime.timedelta(seconds=3),
    "numpy scalar": np.float64(0.3),
    "numpy array": np.arange(3),
    "numpy text": np.str_("a"),
    "defaultdict": defaultdict(list, {"loss": [0.1]}),
    "deque": deque([1, 2], maxlen=3),
    "set": {1, 2},
    "enumeration as a key": {Kind.A: 1},
    "slots": Slots(),
    "table": pd.DataFrame({"loss": [0.1]}),
    "generators": {"python": np.random.RandomState(0).get_state(), "numpy": np.random.default_rng(0)},
    "version": torch.__version__,
    "optimizer": torch.optim.SGD(small().parameters(), lr=0.1),
    "scheduler": torch.optim.lr_scheduler.StepLR(torch.optim.SGD(small().parameters(), lr=0.1), 3),
    "loss": nn.CrossEntropyLoss(),
    "numbers": {"epoch": 3, "best": 0.5, "generator": torch.get_rng_state()},
}


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("kind", [*BESIDE, "omegaconf", "class that is not installed"])
def test_what_scripts_put_beside_weights_is_passed_over(tmp_path, kind, legacy, monkeypatch) -> None:
    beside = omegaconf() if kind == "omegaconf" else BESIDE.get(kind)
    if kind == "class that is not installed":
        module = types.ModuleType("their_configs")
        exec("class Config(dict): pass\nclass Meter: pass", module.__dict__)
        monkeypatch.setitem(sys.modules, "their_configs", module)
        beside = [module.Config(a=1), module.Meter()]
        beside[0].note, beside[1].value = "x", 0.5
    path = tmp_path / "a.pth"
    torch.save({"config": beside, "model": named("")}, path, _use_new_zipfile_serialization=not legacy)
    monkeypatch.delitem(sys.modules, "their_configs", raising=False)
    if (kind, legacy) == ("loss", True):  # with the source of its class, which torch does not read
        with pytest.raises(UserError, match="is refused"):
            read_state_dict(path, key=None, field="w")
        return
    fit(small(), read_state_dict(path, key=None, field="w"), path=path, field="w")


LAYOUTS: dict[str, tuple[str, Any, str | None, str]] = {
    "MAE": ("mae.pth", {"model": named("") | HEAD, "optimizer": OPTIMIZER, "epoch": 399, "scaler": {"scale": 65536.0}, "args": ARGUMENTS},
            None, ""),
    "DINO": ("dino.pth", {"student": named("module.backbone."), "teacher": named("backbone."), "optimizer": OPTIMIZER, "epoch": 100,
                          "args": ARGUMENTS, "dino_loss": OrderedDict(center=torch.zeros(1, 8))}, "teacher", "backbone."),
    "timm": ("model_best.pth.tar", {"epoch": 3, "arch": "resnet18", "state_dict": named("") | HEAD, "optimizer": OPTIMIZER,
                                    "args": ARGUMENTS, "state_dict_ema": named(""), "metric": np.float64(71.0)}, "state_dict", ""),
    "Lightning": ("last.ckpt", {"epoch": 1, "pytorch-lightning_version": "2.0", "state_dict": named("model."), "loops": {},
                                "callbacks": {"ModelCheckpoint{}": {"best_model_score": torch.tensor(0.1), "best": Path("a.ckpt")}},
                                "optimizer_states": [OPTIMIZER], "hyper_parameters": {"lr": 0.1, "conf": ARGUMENTS}}, None, "model."),
    "DDP and compile": ("ddp.PT", {"model": named("module._orig_mod.")}, None, "module._orig_mod."),
    "VICReg": ("vicreg.pth", {"epoch": 3, "model": named("module.backbone.") | {"module.projector.0.weight": torch.ones(2, 4)},
                              "optimizer": OPTIMIZER}, None, "module.backbone."),
    "lightly": ("lightly.CKPT", {"state_dict": named("backbone.") | {"projection_head.layers.0.weight": torch.ones(2, 4)}}, None,
                "backbone."),
    "MoCo": ("moco.pth.tar", {"epoch": 200, "arch": "resnet50", "state_dict": named("module.encoder_q.") | {"module.queue": torch.ones(
        8, 2), "module.queue_ptr": torch.zeros(1, dtype=torch.long)}}, None, "module.encoder_q."),
    "nested": ("deep.PTH", {"state_dict": {"model": {"teacher": named("net."), "student": named("net.")}}}, "state_dict.model.teacher",
               "net."),
    "names with dots": ("dots.pt", {"ema.model": {"state": named("")}, "raw": named("")}, "ema.model.state", ""),
    "numbers beside tensors": ("flat.bin", named("encoder.") | {"epoch": 3, "arch": "vit", "args": None}, None, "encoder."),
}  # fmt: skip


@pytest.mark.parametrize("layout", LAYOUTS)
def test_official_layouts(tmp_path, layout) -> None:
    name, content, key, prefix = LAYOUTS[layout]
    torch.save(content, tmp_path / name)
    state = read_state_dict(tmp_path / name, key=key, field="w")
    heads = ["head."] if f"{prefix}head.weight" in state else []
    kept, _ = select(state, prefix=prefix, drop=heads, path=Path(name), field="w")
    module = small()
    nn.init.zeros_(module[0].weight)
    fit(module, kept, path=Path(name), field="w")
    torch.testing.assert_close(module[0].weight, small()[0].weight)
    if prefix:
        with pytest.raises(UserError, match=f"with prefix: {prefix} all names would fit"):
            fit(small(), state, path=Path(name), field="w")
        with pytest.raises(UserError, match=f"no name in .* starts with 'vit.'.*; with prefix: {prefix} all names would fit"):
            select(state, prefix="vit.", drop=[], path=Path(name), field="w", module=small())


@pytest.mark.parametrize(
    ("key", "message"),
    [
        (None, "holds several state dicts, say by key which: .*teacher"),
        ("model", "entry 'model' of .* holds several state dicts, say by key which: model.student, model.teacher"),
        ("epoch", "entry 'epoch' of .* is no state dict .* it is a int"),
        ("model.ema", "has no entry 'model.ema', it holds model, epoch"),
        ("model.teacher.0.weight", "is no state dict"),
    ],
)
def test_keys_that_do_not_say_which(tmp_path, key, message) -> None:
    path = tmp_path / "a.pt"
    torch.save({"model": {"student": named(""), "teacher": named("")}, "epoch": 3}, path)
    with pytest.raises(UserError, match=message):
        read_state_dict(path, key=key, field="w")


def test_the_outermost_entry_has_a_key(tmp_path) -> None:
    path = tmp_path / "a.pt"
    torch.save({**named(""), "extra": {"queue": torch.ones(3)}}, path)
    with pytest.raises(UserError, match=r"say by key which: \., extra"):
        read_state_dict(path, key=None, field="w")
    assert list(read_state_dict(path, key=".", field="w")) == list(named(""))


def test_two_prefixes_that_fit_are_both_named() -> None:
    with pytest.raises(UserError, match=r"with prefix: encoder_q\. or prefix: encoder_k\. all names would fit"):
        fit(small(), named("encoder_q.") | named("encoder_k."), path=Path("f"), field="w")


def test_a_wrapped_module_is_told() -> None:
    with pytest.raises(UserError, match=r"the encoder's names start with 'backbone\.' and those of the file do not"):
        fit(nn.ModuleDict({"backbone": small()}), named(""), path=Path("f"), field="w")


@pytest.mark.parametrize("pooled", [False, True])
def test_fc_norm_hints_at_how_a_transformer_pools(pooled) -> None:
    options = {"img_size": 16, "patch_size": 8, "embed_dim": 8, "depth": 1, "num_heads": 1, "num_classes": 0}
    theirs, ours = (
        timm.create_model("vit_tiny_patch16_224", pretrained=False, **options, **({"global_pool": "avg"} if avg else {}))
        for avg in (pooled, not pooled)
    )
    remedy = r"write encoder.options: \{global_pool: avg\}" if pooled else "write encoder.options without global_pool: avg"
    with pytest.raises(UserError, match=remedy):
        fit(ours, theirs.state_dict(), path=Path("f"), field="w")


def archive(path: Path) -> None:
    with zipfile.ZipFile(path, "w") as made:
        made.writestr("readme.txt", "hello")


def cut(path: Path) -> None:
    torch.save(named(""), path)
    path.write_bytes(path.read_bytes()[: path.stat().st_size // 2])


@pytest.mark.parametrize("suffix", [".pth", ".SAFETENSORS"])
@pytest.mark.parametrize(
    ("content", "message"),
    [
        (b"", "it is an empty file"),
        (bytes(4096), "nothing but zeros"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 5\n", "a Git LFS pointer .*git lfs pull"),
        (b"\n<!DOCTYPE html><html></html>", "a web page"),
        (b'{"error": "not found"}', "it is text"),
        (b"404: Not Found", "it is text .'404: Not Found'"),
        (gzip.compress(b"weights", mtime=0), "a gzip archive, unpack it"),
        (b"\x89HDF\r\n\x1a\n" + bytes(90), "an HDF5 file"),
        (archive, r"a ZIP archive of something else \(readme.txt\)"),
        (cut, "cut off, as by a download that did not finish"),
    ],
)
def test_other_files_are_called_what_they_are(tmp_path, suffix, content, message) -> None:
    path = tmp_path / f"a{suffix}"
    content(path) if callable(content) else path.write_bytes(content)
    with pytest.raises(UserError, match=message) as caught:
        read_state_dict(path, key=None, field="w")
    assert "\n" not in str(caught.value)


def test_the_content_says_how_a_file_is_read(tmp_path) -> None:
    save_file(dict(named("")), tmp_path / "a.pth")
    torch.save(named(""), tmp_path / "b.safetensors")
    for name in ("a.pth", "b.safetensors"):
        fit(small(), read_state_dict(tmp_path / name, key=None, field="w"), path=Path(name), field="w")


def test_a_whole_module_and_a_folder_and_a_later_protocol(tmp_path) -> None:
    torch.save(small(), tmp_path / "module.pt")
    with pytest.raises(UserError, match=r"holds a whole module \(torch.nn.modules.* save model.state_dict"):
        read_state_dict(tmp_path / "module.pt", key=None, field="w")
    torch.save(named(""), tmp_path / "late.pt", pickle_protocol=4)
    with pytest.raises(UserError, match="was saved with pickle's protocol 4"):
        read_state_dict(tmp_path / "late.pt", key=None, field="w")
    (tmp_path / "folder.pt").mkdir()
    with pytest.raises(UserError, match="is a folder"):
        read_state_dict(tmp_path / "folder.pt", key=None, field="w")


class Calls:
    """Unpickled by a careless reader, a function is called."""

    def __init__(self, function: Any, *arguments: Any, state: Any = None) -> None:
        self.parts = (function, arguments, *(() if state is None else (state,)))

    def __reduce__(self) -> Any:
        return self.parts


def planted(monkeypatch, sign: Path) -> types.ModuleType:
    """A module of another package, installed, whose classes do something wherever they can."""
    module = types.ModuleType("planted")
    exec(
        f"def mark(*a, **k): open({str(sign)!r}, 'w').close()\n"
        "class Hidden:\n"
        "    def __new__(cls, *a): mark(); return object.__new__(cls)\n"
        "    def __setstate__(self, state): mark()\n"
        "    def __setattr__(self, name, value): mark()\n",
        module.__dict__,
    )
    monkeypatch.setitem(sys.modules, "planted", module)
    return module


@pytest.mark.parametrize("legacy", [False, True], ids=["zip", "legacy"])
@pytest.mark.parametrize("kind", ["function", "class", "state", "through torch", "attribute"])
def test_nothing_of_another_package_runs(tmp_path, monkeypatch, kind, legacy) -> None:
    """Neither calls, nor states, nor attributes reach the class that a file names, though it is there to be imported."""
    sign = tmp_path / "it-ran"
    module = planted(monkeypatch, sign)
    hidden = object.__new__(module.Hidden)
    beside = {
        "function": Calls(module.mark, 1),
        "class": Calls(module.Hidden),
        "state": Calls(module.Hidden, state={"a": 1}),
        "through torch": Calls(torch._tensor._rebuild_from_type_v2, module.mark, module.Hidden, (), {"a": 1}),
        "attribute": hidden,
    }[kind]
    hidden.__dict__["__class__"] = "x"
    path = tmp_path / "a.pth"
    torch.save({"x": beside, "model": named("")}, path, _use_new_zipfile_serialization=not legacy)
    sign.unlink(missing_ok=True)
    fit(small(), read_state_dict(path, key=None, field="w"), path=path, field="w")
    assert not sign.exists()
    torch.load(path, weights_only=False) if kind != "through torch" else module.mark()
    assert sign.exists(), "the file would have run something"


@pytest.mark.parametrize(
    "function", [os.system, eval, exec, getattr, __import__, os.unlink, pickle.loads, sys.exit, zipfile.ZipFile]
)
def test_functions_of_python_are_refused(tmp_path, function) -> None:
    path = tmp_path / "a.pth"
    torch.save({"x": Calls(function, "touch it-ran"), "model": named("")}, path)
    with pytest.raises(UserError, match="is refused"):
        read_state_dict(path, key=None, field="w")


def test_a_class_that_is_listed_does_not_shadow_the_readers_methods(tmp_path) -> None:
    """Attributes that a file gives to an object beside the weights are of that object alone."""
    attributes = dict.fromkeys(("items", "keys", "get", "values", "__len__", "__iter__"), torch.nn.Parameter)
    content = Calls(
        OrderedDict, [("x", 3), ("model", Calls(OrderedDict, list(named("").items()), state=attributes))], state=attributes
    )
    path = tmp_path / "a.pth"
    torch.save(content, path)
    for key in (None, "model"):
        fit(small(), read_state_dict(path, key=key, field="w"), path=path, field="w")
