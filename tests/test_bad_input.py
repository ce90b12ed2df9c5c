"""Bad input through the command line: exit status 2, one sentence that names what is wrong, nothing made and nothing changed."""

from __future__ import annotations

import errno
import hashlib
import json
import os
import shutil
import stat
import subprocess
from collections.abc import Callable, Iterator
from concurrent.futures import Future
from contextlib import contextmanager
from pathlib import Path

import numpy as np
import pytest
import yaml
from fake_study import make_study
from PIL import Image

from sslmem_kit import store
from sslmem_kit.cli import main
from sslmem_kit.study.spec import bundled_specs

HEAD = "name: tiny\ndata: {name: digits}\n"
FACTS = {
    "parameters": 10,
    "objective_parameters": 10,
    "device": "cpu",
    "versions": {},
    "representation": [1],
    "stem": "small",
}
"""What a worker tells about a study."""


def content(folder: Path) -> dict[str, str]:
    """Hash of every file, and kind of everything else, below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest() if path.is_file() else str(stat.S_IFMT(path.lstat().st_mode))
        for path in sorted(folder.rglob("*"))
    }


@pytest.fixture
def here(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """An empty working directory."""
    work = tmp_path / "work"
    work.mkdir()
    monkeypatch.chdir(work)
    return work


@pytest.fixture
def refused(here: Path, capfd: pytest.CaptureFixture) -> Callable[..., str]:
    """Runs the command line on something it has to refuse; answers with its sentence."""

    def refuse(*arguments: object) -> str:
        before = content(here)
        status = main([str(argument) for argument in arguments])
        said = capfd.readouterr()
        assert status == 2, said.err
        assert said.out == ""
        assert said.err.startswith("sslmem: ")
        assert said.err.count("\n") == 1 and said.err.endswith("\n"), said.err
        assert "Traceback" not in said.err
        assert content(here) == before
        return said.err.removeprefix("sslmem: ").strip()

    return refuse


@pytest.fixture
def no_worker(monkeypatch: pytest.MonkeyPatch) -> None:
    """Workers, which import torch, are replaced by one that tells made-up facts and does nothing."""

    class Executor:
        def submit(self, *call: object, **options: object) -> Future:
            future: Future = Future()
            future.set_result(dict(FACTS))
            return future

    @contextmanager
    def pool(workers: int, listen: object) -> Iterator[Executor]:
        yield Executor()

    monkeypatch.setattr("sslmem_kit.run.pool", pool)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_study(tmp_path_factory.mktemp("whole") / "tiny", samples=60, seeds=1, views=2).path


@pytest.fixture
def study(whole: Path, here: Path) -> Path:
    """A complete study in the working directory, for a test to damage."""
    shutil.copytree(whole, here / "tiny")
    return Path("tiny")


SPECS = {
    "unknown section": ("trainig: {epochs: 3}", ["trainig", "unknown field", "training"]),
    "unknown field": ("training: {epoch: 3}", ["training.epoch", "unknown field", "epochs", "learning_rate"]),
    "unknown field of a method": ("objective: {method: mae, temperature: 1}", ["objective.temperature", "mask_ratio"]),
    "wrong type": ("training: {epochs: many}", ["training.epochs", "integer", "'many'"]),
    "a list for a section": ("training: [1, 2]", ["training", "[1, 2]"]),
    "no epochs": ("training: {epochs: 0}", ["training.epochs", "greater than or equal to 1", "got 0"]),
    "half an epoch": ("training: {epochs: 1.5}", ["training.epochs", "integer", "1.5"]),
    "no seeds": ("training: {seeds: 0}", ["training.seeds", "greater than or equal to 1", "got 0"]),
    "negative learning rate": ("training: {learning_rate: -0.1}", ["training.learning_rate", "greater than 0", "-0.1"]),
    "NaN": ("training: {learning_rate: .nan}", ["training.learning_rate", "finite", "nan"]),
    "infinity": ("training: {weight_decay: .inf}", ["training.weight_decay", "finite", "inf"]),
    "NaN where a mapping is free": ("encoder: {options: {drop_rate: .nan}}", ["encoder.options", "finite", "nan"]),
    "endless warm-up": ("training: {epochs: 10, warmup_epochs: 10}", ["warmup_epochs", "below epochs", "10"]),
    "unknown optimizer": ("training: {optimizer: adam}", ["training.optimizer", "'adamw', 'sgd' or 'lars'", "'adam'"]),
    "unknown precision": ("training: {precision: fp8}", ["training.precision", "'float32' or 'bf16'", "'fp8'"]),
    "unknown policy": ("training: {policy: simclrr}", ["training.policy", "'simclrr'", "rotate90", "identity"]),
    "unknown op": ("training: {policy: [{op: blur}]}", ["training.policy", "blur", "crop_resize", "color_jitter"]),
    "option of an op out of bounds": ("training: {policy: [{op: flip, p: 2}]}", ["training.policy", "flip.p", "less than or equal to 1", "got 2"]),
    "unknown method": ("objective: {method: byol}", ["objective", "'byol'", "'simclr'", "'mae'"]),
    "no method": ("objective: {temperature: 1}", ["objective", "method"]),
    "unknown partition": ("partition: overlap", ["partition", "'overlap'", "paper", "overlap70", "halves"]),
    "no temperature": ("objective: {method: simclr, temperature: 0}", ["objective.temperature", "greater than 0", "got 0"]),
    "a batch of one": ("training: {batch_size: 1}", ["training.batch_size", "greater than or equal to 2", "got 1"]),
    "a name with a slash": ("name: a/b", ["name", "'a/b'", "letters, digits"]),
    "a name that leads out": ("name: ..", ["name", "'..'"]),
    "a name that YAML takes for a number": ("name: 2024", ["name", "string", "2024"]),
    "negative seed": ("seed: -1", ["seed", "greater than or equal to 0", "-1"]),
    "a fraction above 1": ("partition: {shared: 1.2}", ["partition.shared", "less than or equal to 1", "1.2"]),
    "a negative count": ("partition: {candidate: -3}", ["partition.candidate", "greater than or equal to 0", "-3"]),
    "no views": ("scoring: {views: 0}", ["scoring.views", "greater than or equal to 1", "got 0"]),
    "unknown stem": ("encoder: {stem: tiny}", ["encoder.stem", "'auto', 'small', 'medium' or 'stock'", "'tiny'"]),
    "unknown data": ("data: {name: cifar11}", ["data.name", "'cifar11'", "cifar10", "folder:PATH", "npz:PATH"]),
    "a path kind without path": ("data: {name: 'folder:'}", ["data.name", "'folder:'", "folder:PATH"]),
    "all data held out": ("data: {name: digits, test_fraction: 1.0}", ["data.test_fraction", "less than 1", "1.0"]),
    "a field given twice": ("training: {epochs: 3, epochs: 4}", ["epochs", "twice", "line 3"]),
}


@pytest.mark.parametrize("case", SPECS)
def test_a_field_of_the_spec(case: str, here: Path, refused: Callable[..., str]) -> None:
    text, telling = SPECS[case]
    (here / "spec.yaml").write_text(text if text.startswith("name:") and "data" in text else HEAD.replace(f"{text.split(':')[0]}:", "description:") + text)
    sentence = refused("run", "spec.yaml", "--out", "out")
    assert sentence.startswith("spec.yaml: ") or sentence.startswith("data.")
    assert [part for part in telling if part not in sentence] == [], sentence
