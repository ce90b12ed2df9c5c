"""Checkpoints of others: read without running anything, names and shapes fitted or told, never loaded in part."""

from __future__ import annotations

import io
import pickle
import tarfile
import zipfile
from collections import OrderedDict
from pathlib import Path

import numpy as np
import pytest
import timm
import torch
import torchvision
from safetensors.torch import save_file
from torch import nn

from sslmem_kit.errors import UserError
from sslmem_kit.run.audit.lists import read_list
from sslmem_kit.run.audit.state_dicts import fit, module_hash, read_state_dict, select


class Evil:
    """Unpickled by a careless reader, it makes a file."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)

    def __reduce__(self):
        return (open, (self.path, "w"))


def small() -> nn.Module:
    torch.manual_seed(0)
    return nn.Sequential(nn.Linear(3, 4), nn.BatchNorm1d(4))


def legacy_tar(path: Path, sign: Path) -> None:
    """The format of torch before 0.1.10: a tar of pickles."""
    content = pickle.dumps(Evil(sign))
    with tarfile.open(path, "w") as archive:
        for name in ("sys_info", "pickle", "storages", "tensors"):
            entry = tarfile.TarInfo(name)
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))


def zip_with_evil(path: Path, sign: Path) -> None:
    """The format of today, with code in its pickle."""
    torch.save({"state_dict": Evil(sign)}, path)


def old_pickle(path: Path, sign: Path) -> None:
    torch.save({"state_dict": small().state_dict(), "extra": Evil(sign)}, path, _use_new_zipfile_serialization=False)


def bare_pickle(path: Path, sign: Path) -> None:
    path.write_bytes(pickle.dumps(Evil(sign)))


def torchscript(path: Path, sign: Path) -> None:
    with zipfile.ZipFile(path, "w") as archive:
        archive.writestr("model/constants.pkl", pickle.dumps(()))
        archive.writestr("model/data.pkl", pickle.dumps(Evil(sign)))
        archive.writestr("model/code/__torch__.py", "")
        archive.writestr("model/version", "3\n")


@pytest.mark.parametrize("suffix", [".pt", ".pth", ".bin", ".ckpt", ".safetensors"])
@pytest.mark.parametrize("write", [zip_with_evil, old_pickle, bare_pickle, legacy_tar, torchscript])
def test_code_in_a_checkpoint_is_refused_and_does_not_run(tmp_path, write, suffix) -> None:
    path, sign = tmp_path / f"evil{suffix}", tmp_path / "it-ran"
    write(path, sign)
    with pytest.raises(UserError, match=r"encoders\.0\.weights: .*(refused|no checkpoint|not a safetensors file)") as caught:
        read_state_dict(path, key=None, field="encoders.0.weights")
    assert not sign.exists()
    assert "\n" not in str(caught.value)


def test_the_malicious_pickle_would_have_run(tmp_path) -> None:
    """The test above can fail: read carelessly, the same file does make its file."""
    path, sign = tmp_path / "evil.pt", tmp_path / "it-ran"
    zip_with_evil(path, sign)
    torch.load(path, weights_only=False)["state_dict"].close()
    assert sign.exists()


@pytest.mark.parametrize("suffix", [".npy", ".npz"])
def test_pickled_ids_are_refused_and_do_not_run(tmp_path, suffix) -> None:
    path, sign = tmp_path / f"ids{suffix}", tmp_path / "it-ran"
    values = np.array([Evil(sign)], object)
    np.save(path, values) if suffix == ".npy" else np.savez(path, sample=values)
    with pytest.raises(UserError, match="only pickle could read it"):
        read_list(path, field="trained_on", positions=lambda ids: ids, files=None, order=np.arange(9))
    path.write_bytes(pickle.dumps(Evil(sign)))
    with pytest.raises(UserError, match="refused or damaged"):
        read_list(path, field="trained_on", positions=lambda ids: ids, files=None, order=np.arange(9))
    assert not sign.exists()


@pytest.mark.parametrize("suffix", [".safetensors", ".pt"])
@pytest.mark.parametrize("content", [b"", b"\x00" * 40, b"not a checkpoint at all", None])
def test_a_damaged_file_is_told(tmp_path, suffix, content) -> None:
    path = tmp_path / f"broken{suffix}"
    if content is None:
        state = small().state_dict()
        save_file(state, path) if suffix == ".safetensors" else torch.save(state, path)
        path.write_bytes(path.read_bytes()[:-30])
    else:
        path.write_bytes(content)
    with pytest.raises(UserError, match=r"w: .*(damaged|refused)"):
        read_state_dict(path, key=None, field="w")


def test_nested_state_dicts(tmp_path) -> None:
    path, state = tmp_path / "nested.pth", small().state_dict()
    torch.save({"epoch": 3, "model": state, "optimizer": {"lr": 0.1}}, path)
    assert list(read_state_dict(path, key=None, field="w")) == list(state)
    torch.save({"student": state, "teacher": OrderedDict(state)}, path)
    assert list(read_state_dict(path, key="teacher", field="w")) == list(state)
    with pytest.raises(UserError, match="several state dicts, say by key which: student, teacher"):
        read_state_dict(path, key=None, field="w")
    with pytest.raises(UserError, match="has no entry 'ema', it holds student, teacher"):
        read_state_dict(path, key="ema", field="w")
    torch.save({"epoch": 3}, path)
    with pytest.raises(UserError, match=r"no state dict .*but epoch"):
        read_state_dict(path, key=None, field="w")
    with pytest.raises(UserError, match=r"has to be one of \.safetensors"):
        read_state_dict(tmp_path / "x.h5", key=None, field="w")
    with pytest.raises(UserError, match="there is no file"):
        read_state_dict(tmp_path / "x.pt", key=None, field="w")


def test_prefix_and_drop_keys() -> None:
    state = {f"module.encoder.{name}": tensor for name, tensor in small().state_dict().items()}
    state |= {"module.head.weight": torch.zeros(1), "module.encoder.mlp.0": torch.zeros(1)}
    kept, left_out = select(state, prefix="module.encoder.", drop=["mlp."], path=Path("f"), field="w")
    fit(small(), kept, path=Path("f"), field="w")
    assert left_out == ["module.head.weight", "module.encoder.mlp.0"]
    with pytest.raises(UserError, match=r"w\.prefix: no name in f starts with 'vit\.'"):
        select(state, prefix="vit.", drop=[], path=Path("f"), field="w")
    with pytest.raises(UserError, match=r"w\.drop_keys: no name"):
        select(state, prefix="", drop=["decoder"], path=Path("f"), field="w")


def test_nothing_is_loaded_in_part() -> None:
    module = small()
    before = module_hash(module)
    state = small().state_dict()
    wrong = {name: tensor + 1 for name, tensor in state.items() if name != "0.bias"}
    wrong |= {"0.weight": torch.ones(5, 3), "extra": torch.ones(1)}
    with pytest.raises(UserError) as caught:
        fit(module, wrong, path=Path("f.pt"), field="w")
    told = str(caught.value)
    assert "1 tensors of the encoder are missing there (0.bias)" in told
    assert "1 are not the encoder's (extra)" in told
    assert "0.weight is [5, 3] there and [4, 3] in the encoder" in told
    assert module_hash(module) == before
    state.pop("1.num_batches_tracked")  # a counter that older files lack
    fit(module, {name: tensor + 1 for name, tensor in state.items()}, path=Path("f.pt"), field="w")
    assert module_hash(module) != before


def test_torchvision_resnets_fit_those_of_timm() -> None:
    """Names and numbers: both give the same features for the same weights."""
    theirs = torchvision.models.resnet18(weights=None).eval()
    ours = timm.create_model("resnet18", pretrained=False, num_classes=0).eval()
    state = {name: tensor for name, tensor in theirs.state_dict().items() if not name.startswith("fc.")}
    fit(ours, state, path=Path("f.pt"), field="w")
    images = torch.rand(2, 3, 64, 64)
    theirs.fc = nn.Identity()
    with torch.inference_mode():
        torch.testing.assert_close(ours(images), theirs(images))


@pytest.mark.parametrize(("kernel", "stem"), [(7, "stock"), (3, "small or medium")])
def test_the_stem_of_a_first_convolution_is_named(kernel: int, stem: str) -> None:
    class Net(nn.Module):
        def __init__(self, side: int) -> None:
            super().__init__()
            self.conv1 = nn.Conv2d(3, 4, side, bias=False)

    with pytest.raises(UserError, match=f"a first convolution of {kernel}x{kernel} is that of encoder.stem: {stem}$"):
        fit(Net(10 - kernel), Net(kernel).state_dict(), path=Path("f.pth"), field="encoders.0 (f-0).weights")
