"""Bad input through the command line: exit status 2, one sentence that names what is wrong, nothing made and nothing changed."""

from __future__ import annotations

import errno
import hashlib
import itertools
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
from PIL import Image

from sslmem_kit import store
from sslmem_kit.cli import main
from sslmem_kit.spec.places import bundled_specs
from tests.support.fake_study import make_study, without_checksums

FACTS = {
    "arithmetic": {},
    "parameters": 10,
    "objective_parameters": 10,
    "layers": {},
    "device": "cpu",
    "versions": {},
    "representation": [1],
    "stem": "small",
    "tasks": {"digits": list("0123456789")},
}
"""What a worker tells about a study."""


def content(folder: Path) -> dict[str, str]:
    """Hash of every file, and kind of everything else, below a folder."""
    return {
        str(path.relative_to(folder)): hashlib.sha256(path.read_bytes()).hexdigest()
        if path.is_file()
        else str(stat.S_IFMT(path.lstat().st_mode))
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
        assert said.err.count("\n") == 1, said.err
        assert said.err.endswith("\n")
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
    def pool(workers: int, threads: int, on_event: object, **_: object) -> Iterator[Executor]:
        yield Executor()

    monkeypatch.setattr("sslmem_kit.run.study.pool", pool)


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_study(tmp_path_factory.mktemp("whole") / "tiny", samples=60, seeds=1, views=2).path


@pytest.fixture
def study(whole: Path, here: Path) -> Path:
    """A complete study in the working directory, for a test to damage."""
    shutil.copytree(whole, here / "tiny")
    return Path("tiny")


SPECS = {
    "unknown section": ("trainig: {epochs: 3}", ["trainig", "unknown field", "did you mean 'training'?"]),
    "unknown field": ("training: {epoch: 3}", ["training.epoch", "unknown field", "learning_rate", "did you mean 'epochs'?"]),
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
    "unknown precision": ("training: {precision: fp8}", ["training.precision", "'float32', 'bf16' or 'fp16'", "'fp8'"]),
    "unknown policy": ("training: {policy: simclrr}", ["training.policy", "'simclrr'", "rotate90", "identity"]),
    "unknown op": ("training: {policy: [{op: blur}]}", ["training.policy", "blur", "crop_resize", "color_jitter"]),
    "option of an op out of bounds": (
        "training: {policy: [{op: flip, p: 2}]}",
        ["training.policy", "flip.p", "less than or equal to 1", "got 2"],
    ),
    "unknown method": ("objective: {method: byol}", ["objective", "'byol'", "'simclr'", "'mae'"]),
    "no method": ("objective: {temperature: 1}", ["objective", "method"]),
    "unknown partition": ("partition: overlap", ["partition", "'overlap'", "paper", "overlap70", "halves"]),
    "no temperature": ("objective: {method: simclr, temperature: 0}", ["objective.temperature", "greater than 0", "got 0"]),
    "a batch of one": ("training: {batch_size: 1}", ["training.batch_size", "greater than or equal to 2", "got 1"]),
    "decoder heads that do not divide": (
        "objective: {method: mae, decoder_dim: 36, decoder_heads: 5}",
        ["objective", "decoder_dim is 36", "decoder_heads, which is 5"],
    ),
    "a name with a slash": ("name: a/b", ["name", "'a/b'", "letters, digits"]),
    "a name that leads out": ("name: ..", ["name", "'..'"]),
    "a name that YAML takes for a number": ("name: 2024", ["name", "string", "2024"]),
    "negative seed": ("seed: -1", ["seed", "greater than or equal to 0", "-1"]),
    "a fraction above 1": ("partition: {shared: 1.2}", ["partition.shared: a count", "0.0 to 1.0", "got 1.2"]),
    "a negative count": ("partition: {candidate: -3}", ["partition.candidate: a count", "from 0 on", "got -3"]),
    "no views": ("scoring: {views: 0}", ["scoring.views", "greater than or equal to 1", "got 0"]),
    "unknown stem": ("encoder: {stem: tiny}", ["encoder.stem", "'auto', 'small', 'medium' or 'stock'", "'tiny'"]),
    "unknown data": ("data: {name: cifar11}", ["data.name", "'cifar11'", "cifar10", "folder:PATH", "npz:PATH"]),
    "a path kind without path": ("data: {name: 'folder:'}", ["data.name", "'folder:'", "folder:PATH"]),
    "all data held out": ("data: {name: digits, test_fraction: 1.0}", ["data.test_fraction", "less than 1", "1.0"]),
    "a key that is no text": ("encoder: {options: {3: 4}}", ["encoder.options", "string", "3"]),
    "a date for an option": ("encoder: {options: {depth: !!timestamp 2026-01-01}}", ["encoder.options", "finite numbers", "2026"]),
    "a field given twice": ("training: {epochs: 3, epochs: 4}", ["epochs", "twice", "line 3"]),
}


@pytest.mark.parametrize("case", SPECS)
def test_a_field_of_the_spec(case: str, here: Path, no_worker: None, refused: Callable[..., str]) -> None:
    text, telling = SPECS[case]
    section = text.split(":")[0]
    (here / "spec.yaml").write_text("\n".join({"name": "name: tiny", "data": "data: {name: digits}", section: text}.values()))
    sentence = refused("run", "spec.yaml", "--out", "out")
    assert [part for part in ["spec.yaml: ", *telling] if part not in sentence] == [], sentence


FILES: dict[str, tuple[bytes | None, list[str]]] = {
    "not YAML": (b"name: [1\n", ["not valid YAML", "line 2"]),
    "a tab in YAML": (b"name: tiny\n\tdata: 3\n", ["not valid YAML", "line 2"]),
    "YAML that would run code": (b"name: !!python/object/apply:os.getcwd []\n", ["not valid YAML", "python/object"]),
    "a list": (b"- name\n- data\n", ["mapping of fields", "list"]),
    "an empty file": (b"", ["mapping of fields", "empty"]),
    "a binary file": (bytes(range(256)), ["not a text file"]),
    "a null byte": (b"name: ti\0ny\n", ["not valid YAML"]),
    "no data": (b"name: tiny\n", ["data", "required"]),
    "missing": (None, ["no file 'spec.yaml'", "digits"]),
}


@pytest.mark.parametrize("command", ["run", "plan"])
@pytest.mark.parametrize("case", FILES)
def test_the_file_of_the_spec(case: str, command: str, here: Path, no_worker: None, refused: Callable[..., str]) -> None:
    written, telling = FILES[case]
    if written is not None:
        (here / "spec.yaml").write_bytes(written)
    sentence = refused(command, "spec.yaml")
    assert [part for part in ["spec.yaml", *telling] if part not in sentence] == [], sentence


def test_a_folder_for_a_spec(here: Path, refused: Callable[..., str]) -> None:
    (here / "specs").mkdir()
    assert "'specs' is a folder" in refused("run", "specs")


IMAGES, LABELS = np.zeros((6, 8, 8, 3), np.uint8), np.array([0, 1] * 3)
ARRAYS = {
    "float images": ({"images": IMAGES / 255, "labels": LABELS}, ["images", "float64", "uint8"]),
    "NaN images": ({"images": np.full((6, 8, 8), np.nan, np.float32), "labels": LABELS}, ["images", "NaN", "uint8"]),
    "flat images": ({"images": IMAGES.reshape(6, -1), "labels": LABELS}, ["images", "(6, 192)", "height"]),
    "channels first": ({"images": IMAGES.transpose(0, 3, 1, 2), "labels": LABELS}, ["images", "channels", "moveaxis"]),
    "other lengths": ({"images": IMAGES, "labels": LABELS[:4]}, ["labels", "(4,)", "6 images"]),
    "a key missing": ({"images": IMAGES, "y": LABELS}, ["labels", "images, y"]),
    "pickled objects": ({"images": IMAGES, "labels": np.array([{}] * 6)}, ["labels", "pickle"]),
    "one sample": ({"images": IMAGES[:1], "labels": LABELS[:1]}, ["1 image", "at least 2"]),
    "NaN labels": ({"images": IMAGES, "labels": np.full(6, np.nan)}, ["labels", "float64"]),
    "a class without sample": ({"images": IMAGES, "labels": LABELS, "class_names": np.array(["a", "b", "c"])}, ["classes", "c"]),
}


def data_spec(here: Path, name: str, **sections: object) -> None:
    (here / "spec.yaml").write_text(yaml.safe_dump({"name": "tiny", "data": {"name": name}, **sections}))


@pytest.mark.parametrize("case", ARRAYS)
def test_an_npz(case: str, here: Path, no_worker: None, refused: Callable[..., str]) -> None:
    arrays, telling = ARRAYS[case]
    np.savez(here / "set.npz", **arrays)
    data_spec(here, "npz:set.npz")
    sentence = refused("run", "spec.yaml", "--out", "out")
    assert [part for part in ["data.name 'npz:", "set.npz", *telling] if part not in sentence] == [], sentence


@pytest.mark.parametrize(("kept", "telling"), [(None, "not there"), (0.0, "cut short"), (0.5, "cut short")])
def test_an_npz_that_is_not_there_or_truncated(
    kept: float | None, telling: str, here: Path, no_worker: None, refused: Callable[..., str]
) -> None:
    if kept is not None:
        np.savez(here / "set.npz", images=IMAGES, labels=LABELS)
        os.truncate(here / "set.npz", int(kept * (here / "set.npz").stat().st_size))
    data_spec(here, "npz:set.npz")
    sentence = refused("run", "spec.yaml", "--out", "out")
    assert "set.npz" in sentence
    assert telling in sentence


def image_folder(here: Path, *files: str) -> None:
    for number, name in enumerate(files):
        path = here / "photos" / name
        path.parent.mkdir(parents=True, exist_ok=True)
        if path.suffix:
            Image.fromarray(np.random.default_rng(number).integers(0, 256, (8, 8, 3), dtype=np.uint8)).save(path)
        else:
            path.mkdir()


FOLDERS = {
    "no folder": ([], ["photos", "not there"]),
    "no image": (["a/", "b/"], ["photos", "hold no image"]),
    "no class": (["one.png", "two.png"], ["photos", "no sub-folder"]),
    "an empty class": (["a/1.png", "a/2.png", "b/empty"], ["b", "hold no image"]),
    "one sample": (["a/1.png"], ["1 image", "at least 2"]),
    "a class in one split only": (["train/a/1.png", "train/b/1.png", "test/a/1.png"], ["b", "one split only"]),
}


@pytest.mark.parametrize("case", FOLDERS)
def test_a_folder_of_images(case: str, here: Path, no_worker: None, refused: Callable[..., str]) -> None:
    files, telling = FOLDERS[case]
    image_folder(here, *files)
    data_spec(here, "folder:photos")
    sentence = refused("run", "spec.yaml", "--out", "out")
    assert [part for part in ["data.name 'folder:", *telling] if part not in sentence] == [], sentence


@pytest.mark.parametrize("damage", ["truncated", "corrupt", "text"])
def test_a_broken_image(damage: str, here: Path, no_worker: None, refused: Callable[..., str]) -> None:
    image_folder(here, *(f"{label}/{number}.png" for label in "ab" for number in range(4)))
    victim = here / "photos" / "b" / "2.png"
    whole = victim.read_bytes()
    victim.write_bytes({"truncated": whole[:120], "corrupt": whole[:60] + bytes(40) + whole[100:], "text": b"no image"}[damage])
    data_spec(here, "folder:photos")
    sentence = refused("run", "spec.yaml", "--out", "out")
    assert "b/2.png" in sentence
    assert "data.on_error" in sentence


PARTITIONS = {
    "more than there are": ({"shared": 5000}, ["shared 5000", "train split"]),
    "fractions that add up to more than 1": ({"shared": 0.9, "candidate": 0.2}, ["shared", "candidate", "train split"]),
    "more extra than held out": ({"extra": 5000}, ["partition.extra", "5000", "test split"]),
    "no candidates": ({"candidate": 0}, ["partition.candidate", "at least 1", "got 0"]),
    "a fraction too small for one": ({"independent": 0.0001}, ["partition.independent", "at least 1", "got 0"]),
}


@pytest.mark.parametrize("case", PARTITIONS)
def test_a_partition_that_the_data_cannot_fill(case: str, here: Path, no_worker: None, refused: Callable[..., str]) -> None:
    partition, telling = PARTITIONS[case]
    data_spec(here, "digits", partition=partition)
    sentence = refused("run", "spec.yaml", "--out", "out")
    assert [part for part in telling if part not in sentence] == [], sentence


def test_an_out_that_is_a_file(here: Path, no_worker: None, refused: Callable[..., str]) -> None:
    (here / "out").write_text("mine")
    assert f"--out: {here / 'out'} is a file" in refused("run", "digits", "--out", "out")
    assert "--out" in refused("run", "digits", "--out", "out/below")


def test_an_out_that_holds_something_else(here: Path, study: Path, no_worker: None, refused: Callable[..., str]) -> None:
    (here / "letters").mkdir()
    (here / "letters" / "dear.txt").write_text("Dear")
    assert f"--out: {here / 'letters'} is not empty" in refused("run", "digits", "--out", "letters")
    sentence = refused("run", "digits", "--out", "tiny")
    assert f"--out: {here / 'tiny'} holds a study of another spec, name is 'tiny' there and 'digits' here" in sentence
    (here / "demo").mkdir()
    shutil.copy(bundled_specs()["digits"], here / "demo" / "study.yaml")
    assert "seed" in refused("run", "digits", "--out", "demo", "--seed", "3")


@pytest.mark.parametrize("code", [errno.EACCES, errno.EROFS])
def test_an_out_that_cannot_be_written(
    code: int, here: Path, no_worker: None, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    def mkdir(self: Path, *_: object, **__: object) -> None:
        raise OSError(code, os.strerror(code), str(self))

    monkeypatch.setattr(Path, "mkdir", mkdir)  # root may write anywhere
    sentence = refused("run", "digits", "--out", "out")
    assert "out: " in sentence
    assert {errno.EACCES: "permission denied", errno.EROFS: "read-only"}[code] in sentence


OPTIONS = {
    "no workers": (["run", "digits", "--workers", "0"], ["--workers", "0", "x>=1"]),
    "negative seed": (["run", "digits", "--seed", "-1"], ["--seed", "-1", "x>=0"]),
    "unknown scheduler": (["run", "digits", "--scheduler", "slurm"], ["--scheduler", "'slurm'", "'local', 'serial'"]),
    "unknown command": (["trian"], ["No such command", "'trian'"]),
    "unknown option": (["run", "digits", "--wrokers", "2"], ["No such option", "--wrokers", "--workers"]),
    "an option without value": (["run", "digits", "--out"], ["--out", "requires an argument"]),
    "no argument": (["run"], ["SPEC"]),
    "one argument too many": (["report", "one", "two"], ["unexpected extra argument", "two"]),
    "no study": (["report", "nowhere"], ["STUDY", "'nowhere'"]),
    "no study to render": (["render", "nowhere"], ["STUDY", "'nowhere'"]),
    "no study to validate": (["validate", "nowhere"], ["STUDY", "'nowhere'"]),
    "no study to export": (["export", "nowhere", "--to", "s.csv"], ["STUDY", "'nowhere'"]),
    "no format": (["export", "nowhere"], ["--to"]),
}


@pytest.mark.parametrize("case", OPTIONS)
def test_an_argument(case: str, refused: Callable[..., str]) -> None:
    arguments, telling = OPTIONS[case]
    sentence = refused(*arguments)
    assert [part for part in telling if part not in sentence] == [], sentence


WITH_STUDY = {
    "unknown protocol": (["report", "tiny", "--protocol", "best"], ["protocol", "'best'", "paper, released, corrected"]),
    "unknown protocol of an export": (["export", "tiny", "--to", "s.csv", "--protocol", "best"], ["protocol", "'best'", "paper"]),
    "unknown notebook": (["render", "tiny", "fig99"], ["'fig99'", "fig02_insights", "00_quickstart"]),
    "unknown parameter": (["render", "tiny", "fig02_insights", "-p", "protocoll", "paper"], ["protocoll", "protocol"]),
    "unknown value of a parameter": (["render", "tiny", "-p", "protocol", "best"], ["protocol", "'best'", "paper"]),
    "a value that is not JSON": (
        ["render", "tiny", "00_quickstart", "-p", "gallery_count", "many"],
        ["-p gallery_count", "'many'", "JSON"],
    ),
    "NaN for a parameter": (
        ["render", "tiny", "00_quickstart", "-p", "gallery_count", "NaN"],
        ["-p gallery_count", "'NaN'", "JSON"],
    ),
    "no jobs": (["render", "tiny", "--jobs", "0"], ["--jobs", "0", "x>=1"]),
    "unknown format": (["export", "tiny", "--to", "scores.xlsx"], ["--to", "scores.xlsx", ".csv, .parquet, .nc"]),
    "no suffix": (["export", "tiny", "--to", "scores"], ["--to", "'scores'", ".csv"]),
    "a folder that is not there": (["export", "tiny", "--to", "no/scores.csv"], ["--to", "no folder 'no'"]),
    "a file that is there": (["export", "tiny", "--to", "tiny/study.csv"], ["--to", "tiny/study.csv", "already there"]),
    "no encoder folders": (["validate", "tiny"], ["encoders/f-0/weights.safetensors is missing"]),
}


@pytest.mark.parametrize("case", WITH_STUDY)
def test_an_argument_with_a_study(case: str, study: Path, refused: Callable[..., str]) -> None:
    (study / "study.csv").write_text("mine")
    arguments, telling = WITH_STUDY[case]
    sentence = refused(*arguments)
    assert [part for part in telling if part not in sentence] == [], sentence


def edit_root(study: Path, **attributes: object) -> None:
    store.set_attributes(study / "results.zarr", attributes)
    store.finish(study / "results.zarr")


def cut(path: Path) -> None:
    os.truncate(path, path.stat().st_size // 2)


def lose_scores(study: Path) -> None:
    (study / "results.zarr" / "completeness" / "scored" / "c" / "0" / "0").unlink()


DAMAGES: dict[str, tuple[Callable[[Path], object], list[str]]] = {
    "study.yaml missing": (lambda study: (study / "study.yaml").unlink(), ["STUDY", "no study.yaml"]),
    "study.yaml cut": (lambda study: os.truncate(study / "study.yaml", 30), ["tiny/study.yaml"]),
    "study.yaml edited": (
        lambda study: (study / "study.yaml").write_text("name: tiny\ndata: 3\n"),
        ["tiny/study.yaml", "data", "got 3"],
    ),
    "store missing": (lambda study: shutil.rmtree(study / "results.zarr"), ["tiny/results.zarr", "no results store"]),
    "zarr.json missing": (lambda study: (study / "results.zarr" / "zarr.json").unlink(), ["tiny/results.zarr", "zarr.json"]),
    "zarr.json cut": (lambda study: cut(study / "results.zarr" / "zarr.json"), ["tiny/results.zarr", "metadata is damaged"]),
    "zarr.json empty": (
        lambda study: (study / "results.zarr" / "zarr.json").write_text("{}"),
        ["tiny/results.zarr", "zarr_format is None"],
    ),
    "another schema": (lambda study: edit_root(study, schema_version=7), ["tiny/results.zarr", "schema_version is 7", "reads 1"]),
    "incomplete": (lose_scores, ["tiny/results.zarr", "incomplete", "f-0 (1 of 1 sample blocks)"]),
    "a chunk cut": (
        lambda study: cut(study / "results.zarr" / "alignment" / "c" / "0" / "0" / "1"),
        ["tiny/results.zarr", "alignment of g-0, block 0", "bytes"],
    ),
    "a chunk lost": (
        lambda study: (study / "results.zarr" / "alignment" / "c" / "0" / "0" / "1").unlink(),
        ["tiny/results.zarr", "alignment of g-0, block 0", "is missing"],
    ),
    "labels cut": (lambda study: cut(study / "results.zarr" / "label" / "c" / "0"), ["tiny/results.zarr", "label, block 0"]),
}
COMMANDS = {
    "report": ["report", "tiny"],
    "validate": ["validate", "tiny"],
    "export": ["export", "tiny", "--to", "s.nc"],
    "render": ["render", "tiny"],
}


LAZY = {("a chunk cut", "render"), ("a chunk lost", "render")}
"""Rendering opens a store lazily: there it is the notebook's cell that meets the chunk."""


@pytest.mark.parametrize(("damage", "command"), [case for case in itertools.product(DAMAGES, COMMANDS) if case not in LAZY])
def test_a_damaged_study(damage: str, command: str, study: Path, refused: Callable[..., str]) -> None:
    harm, telling = DAMAGES[damage]
    harm(study)
    sentence = refused(*COMMANDS[command])
    assert [part for part in telling if part not in sentence] == [], sentence


def test_a_store_of_another_spec(study: Path, refused: Callable[..., str]) -> None:
    edit_root(study, spec_hash="0123456789abcdef")
    assert "the results are of another spec than study.yaml (hash 0123456789abcdef" in refused("validate", "tiny")


def test_a_store_of_other_encoders(study: Path, refused: Callable[..., str]) -> None:
    written = (study / "study.yaml").read_text()
    (study / "study.yaml").write_text(written.replace("  seeds: 1\n", "  seeds: 400\n", 1))
    sentence = refused("validate", "tiny")
    assert "after the first 2 the encoders are none, study.yaml has f-1, g-1, f-2, g-2, f-3, g-3 and 792 more" in sentence


def test_weights_that_are_cut(study: Path, refused: Callable[..., str]) -> None:
    folder = study / "encoders" / "f-0"
    folder.mkdir(parents=True)
    header = json.dumps({"a": {"dtype": "F32", "shape": [4], "data_offsets": [0, 16]}}).encode()
    (folder / "weights.safetensors").write_bytes(len(header).to_bytes(8, "little") + header + bytes(8))
    assert "f-0/weights.safetensors has no checksum" in refused("validate", "tiny")
    without_checksums(study)
    assert "f-0/weights.safetensors is truncated" in refused("validate", "tiny")


@pytest.mark.parametrize("target", ["study.yaml", "results.zarr"])
def test_a_full_disk_while_a_study_is_begun(
    target: str, here: Path, no_worker: None, capfd: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(*(("os.fsync", full) if target == "study.yaml" else ("zarr.storage._local._put", full)))
    assert main(["run", "digits", "--out", "out"]) == 2
    said = capfd.readouterr().err
    assert said.startswith("sslmem: ")
    assert said.count("\n") == 1
    assert "no space left" in said
    assert [path.name for path in Path("out").iterdir() if path.name != ".lock"] == (
        [] if target == "study.yaml" else ["study.yaml"]
    )


@pytest.fixture
def small_disk(tmp_path: Path) -> Iterator[Path]:
    """A file system of 64 kB."""
    disk = tmp_path / "disk"
    disk.mkdir()
    mounted = subprocess.run(["mount", "-t", "tmpfs", "-o", "size=64k", "tmpfs", str(disk)], capture_output=True, check=False)
    if mounted.returncode:
        pytest.skip("mounting a file system needs root")
    yield disk
    subprocess.run(["umount", "-l", str(disk)], check=True)


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".nc"])
def test_a_full_disk_while_scores_are_exported(
    suffix: str, study: Path, small_disk: Path, refused: Callable[..., str], monkeypatch: pytest.MonkeyPatch
) -> None:
    (small_disk / "other").write_bytes(bytes(61_440))
    sentence = refused("export", "tiny", "--to", small_disk / f"scores{suffix}")
    assert "no space left" in sentence
    assert [path.name for path in small_disk.iterdir()] == ["other"]


def test_a_study_that_does_not_fit_the_disk(small_disk: Path, no_worker: None, refused: Callable[..., str]) -> None:
    sentence = refused("run", "digits", "--out", small_disk / "out")
    assert "--out: the study needs up to" in sentence
    assert "MB free" in sentence


def test_a_block_that_does_not_fit_the_disk_is_not_recorded(study: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = study / "results.zarr"
    lose_scores(study)

    def full(*_: object, **__: object) -> None:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr("sslmem_kit.store.write.write_atomically", full)
    with pytest.raises(OSError, match="No space"):
        store.write_alignment(path, encoder=0, block=0, values=np.zeros((56, 3), np.float32))
    assert store.unscored_blocks(path, 0) == [0]


def test_a_device_that_is_not_there(here: Path, refused: Callable[..., str]) -> None:
    """The one case with a real worker process."""
    assert "--device: torch cannot use 'gpu'" in refused("run", "digits", "--out", "out", "--device", "gpu", "--workers", "1")


ENCODERS = {
    "unknown backbone": ({"backbone": "resnet19"}, {}, ["encoder.backbone", "'resnet19'", "resnet18"]),
    "unknown option": ({"options": {"widht": 3}}, {}, ["encoder", "'resnet18'", "widht"]),
    "stages that are missing": ({"options": {"layers": [1, 1]}}, {}, ["encoder", "layers"]),
    "text for numbers": ({"options": {"layers": "many"}}, {}, ["encoder", "layers", "many"]),
    "no heads": ({"backbone": "vit_tiny_patch16_224", "options": {"num_heads": 0}}, {}, ["encoder", "num_heads"]),
    "a patch larger than the image": (
        {"backbone": "vit_tiny_patch16_224", "options": {"patch_size": 64}},
        {},
        ["encoder", "patch_size"],
    ),
    "heads that do not divide": ({"backbone": "vit_tiny_patch16_224", "options": {"embed_dim": 65}}, {}, ["encoder", "embed_dim"]),
    "a small stem for a ViT": (
        {"backbone": "vit_tiny_patch16_224", "stem": "small", "options": {"patch_size": 4}},
        {},
        ["encoder.stem", "'small'"],
    ),
    "mae with a ResNet": ({}, {"method": "mae"}, ["objective.method", "'mae'", "ViT"]),
}


@pytest.mark.parametrize("case", ENCODERS)
def test_an_encoder(case: str) -> None:
    from sslmem_kit.encoders.backbone import build_encoder
    from sslmem_kit.errors import UserError
    from sslmem_kit.spec.study import StudySpec
    from sslmem_kit.training.objectives import build_objective

    encoder, objective, telling = ENCODERS[case]
    spec = StudySpec(name="tiny", data={"name": "digits"}, encoder=encoder, **({"objective": objective} if objective else {}))
    with pytest.raises(UserError) as raised:
        build_objective(build_encoder(spec.encoder, (8, 8, 1)), spec.objective, classes=10)
    assert [part for part in telling if part not in str(raised.value)] == [], str(raised.value)


def test_names_that_are_nearly_right_are_answered_with_the_right_ones(study: Path, here: Path, refused: Callable[..., str]) -> None:
    assert "did you mean 'corrected'?" in refused("report", study, "--protocol", "correctd")
    assert "did you mean 'tiny'?" in refused("report", "tinny")
    assert "did you mean '00_quickstart'?" in refused("render", study, "00_quickstrat")
    assert "did you mean 'protocol'?" in refused("render", study, "-p", "protocl", "paper")
    assert "did you mean 'cifar10' or 'cifar100'?" in refused("plan", "digits", "--data", "cifar-10")
    assert "did you mean 'subsets'?" in refused("export", study, "--to", "a.csv", "--estimator", "subset")
    for wrong, meant in {
        "partition: overlap07": "overlap70",
        "training: {policy: smclr}": "simclr",
        "training: {policy: [{op: crop_resiz}]}": "crop_resize",
        "training: {optimizer: adam}": "adamw",
        "objective: {method: simclrr}": "simclr",
        "encoder: {backbone: resnet_18}": "resnet18",
    }.items():
        (here / "wrong.yaml").write_text(f"name: a\ndata: {{name: digits}}\n{wrong}\n")
        said = refused("run", "wrong.yaml")
        assert f"did you mean '{meant}'" in said or f"near are {meant}" in said, said
    (here / "audit.yaml").write_text("name: a\ndata: {name: digits}\nencoders: [{id: f-0}]\n")
    assert "`sslmem score --spec audit.yaml`" in refused("run", "audit.yaml")
