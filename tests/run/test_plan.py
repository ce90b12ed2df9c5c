"""A plan of published data that are not on this disk: what is known of them, and nothing downloaded."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
import yaml

from sslmem_kit.cli import main
from sslmem_kit.data.datasets.builtin import BUILTIN
from sslmem_kit.data.datasets.known import KNOWN, stand_in
from sslmem_kit.data.samples import samples_to_plan
from sslmem_kit.errors import NotThere, UserError
from sslmem_kit.events import Message
from sslmem_kit.run.commands import _long_steps_shown
from sslmem_kit.spec.data import DataSpec
from sslmem_kit.spec.loading import load_spec, parse_spec
from sslmem_kit.spec.presets import presets
from tests.support.fake_study import workers_in_this_process

TINY = {"backbone": "resnet18", "stem": "small", "options": {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16]}}


def tiny(root: Path, **changes: Any) -> dict[str, Any]:
    return {
        "name": "mine",
        "data": {"name": "cifar10", "root": str(root)},
        "encoder": TINY,
        "partition": {"shared": 40_000, "candidate": 5_000, "independent": 5_000, "extra": 5_000},
        "training": {"seeds": 1, "epochs": 1, "warmup_epochs": 0, "batch_size": 16},
        "scoring": {"views": 1, "batch_size": 16},
        "downstream": {"tasks": [{"name": "svhn", "root": str(root)}]},
        **changes,
    }


def test_a_plan_needs_no_data_that_are_known(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    (tmp_path / "mine.yaml").write_text(yaml.safe_dump(tiny(tmp_path / "root")))
    with workers_in_this_process():
        assert main(["plan", str(tmp_path / "mine.yaml"), "--device", "cpu", "--json"]) == 0
        told = json.loads(capsys.readouterr().out)
        assert main(["plan", str(tmp_path / "mine.yaml"), "--device", "cpu"]) == 0
    assert told["data"]["read"] is False
    assert told["samples"] == {"shared": 40_000, "candidate": 5_000, "independent": 5_000, "extra": 5_000}
    assert (told["image_shape"], told["classes"], told["tasks_not_read"]) == ([32, 32, 3], 10, ["svhn"])
    assert told["flops"] > 0
    assert told["seconds"] > 0
    text = capsys.readouterr().out
    assert (
        "not here and not read; as it is known: 60,000 images of 32 x 32 pixels, RGB; 10 classes; train 50,000, test 10,000" in text
    )
    assert "not here and not read: svhn" in text
    assert not (tmp_path / "root").exists()


def test_what_is_known_is_of_every_set_that_is_downloaded() -> None:
    assert {*KNOWN} == {*BUILTIN} - {"digits", "digits_twins", "mnist5k", "mnist5k_textured"}
    for name, known in KNOWN.items():
        counted = BUILTIN[name].__doc__.replace(" (train and val)", "").split()
        assert (f"{known.train:,}", f"{known.test:,}") == (counted[0], counted[2]), name


def test_every_preset_can_be_planned_anywhere(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("HOME", str(tmp_path))
    chosen = [
        name for name in presets() if name.endswith("mae-vit-base") or (name.startswith("paper") and name.endswith("-halves"))
    ]
    assert len(chosen) > 4
    for name in [*chosen, "paper/stl10-mae-vit-tiny"]:
        samples = samples_to_plan(load_spec(name))
        assert samples.record["read"] is False
        assert len(samples.scored) > 10_000
    assert (samples.codes == 1).sum() == 5_000


def test_what_nobody_knows_is_refused(tmp_path: Path) -> None:
    spec = tiny(tmp_path, data={"name": f"folder:{tmp_path / 'imagenet'}"})
    with pytest.raises(NotThere, match="is not there"):  # a folder of one's own may hold anything
        samples_to_plan(parse_spec(spec, where="here"))
    with pytest.raises(UserError, match=r"data.image_size: 'food101' is not there"):
        stand_in(DataSpec(name="food101", max_image_size=500), "food101")
    assert stand_in(DataSpec(name="food101"), "food101").image_shape == (224, 224, 3)
    assert stand_in(DataSpec(name="mnist", image_size=16), "mnist").image_shape == (16, 16, 1)


def test_what_takes_long_is_said(capsys: pytest.CaptureFixture[str]) -> None:
    with _long_steps_shown(after=0.05) as on_event:
        on_event(Message("loading x"))
        time.sleep(0.5)
        on_event(Message("timing y"))
    with _long_steps_shown(after=30) as on_event:
        on_event(Message("loading z"))
    assert capsys.readouterr().err == "sslmem: loading x ...\nsslmem: timing y ...\n"
