"""What was read is said by `run`, `score`, `plan` and `report`, and kept in the store."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image
from safetensors.torch import save_file

from sslmem_kit import open_study, store
from sslmem_kit.cli import main
from sslmem_kit.data.samples import load_samples
from sslmem_kit.encoders.backbone import build_encoder
from sslmem_kit.explorer.gallery.detail import Detail
from sslmem_kit.explorer.session import Session
from sslmem_kit.explorer.study_cache import Library
from sslmem_kit.spec.data import DataSpec
from sslmem_kit.spec.encoder import BackboneSpec
from sslmem_kit.spec.loading import parse_spec
from sslmem_kit.statistics.caveats import caveats
from tests.support.fake_study import workers_in_this_process

TINY = {"backbone": "resnet18", "stem": "small", "options": {"layers": [1, 1, 1, 1], "channels": [8, 8, 16, 16]}}
READ = (
    "35 images (23 PNG, 12 BMP) of 2 sizes from 70 x 72 to 76 x 72 pixels, cropped and resized to 70 x 70, RGB; 2 classes; "
    "Train 24, val 4, test 7 (val and test are held out)"
)
PASSED = (
    "passed over 2 that are no images: 1 .txt, 1 hidden or left by a system (Thumbs.db, Train/cat/notes.txt); "
    "left out 1: Train/cat/broken.png: "
)
COPIES = "exact copies: 2 samples with equal values, in 1 group"
BATCH = "training.batch_size is 1,024, but batches hold 16 samples"


@pytest.fixture(scope="module")
def place(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of images with three splits, a spec of a study and one of an audit."""
    root = tmp_path_factory.mktemp("said")
    number = 0
    for split, count in (("Train", 12), ("val", 2), ("test", 3)):
        for name in ("cat", "dog"):
            folder = root / "photos" / split / name
            folder.mkdir(parents=True)
            for place in range(count):
                pixels = np.random.default_rng(number).integers(0, 256, (72, 76 if place % 4 == 3 else 70, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{place}.{'bmp' if split == 'Train' and place % 2 else 'png'}")
                number += 1
    shutil.copy(root / "photos" / "Train" / "cat" / "0.png", root / "photos" / "test" / "cat" / "copy.png")
    (root / "photos" / "Train" / "cat" / "notes.txt").touch()
    (root / "photos" / "Train" / "cat" / "broken.png").write_bytes(b"\x89PNG")
    (root / "photos" / "Thumbs.db").touch()
    data = {"name": "folder:photos", "on_error": "skip", "image_size": 70}
    scoring = {"views": 1, "block": 16}
    study: dict[str, Any] = {
        "name": "mine",
        "data": data,
        "encoder": TINY,
        "partition": {"shared": 8, "candidate": 8, "independent": 8, "extra": 11},
        "training": {"seeds": 1, "epochs": 1, "warmup_epochs": 0, "batch_size": 1024},
        "scoring": scoring,
    }
    (root / "study.yaml").write_text(yaml.safe_dump(study))
    encoders = []
    for name, listed in (("f", [*range(12), *range(13, 17)]), ("g", [*range(8), *range(17, 25)])):
        save_file(build_encoder(BackboneSpec(**TINY), (70, 70, 3)).backbone.state_dict(), root / f"{name}.safetensors")
        (root / f"{name}.csv").write_text("sample\n" + "\n".join(map(str, listed)))
        encoders.append(
            {"id": f"{name}-0", "encoder": TINY, "weights": f"{name}.safetensors", "normalize": "none", "trained_on": f"{name}.csv"}
        )
    (root / "audit.yaml").write_text(yaml.safe_dump({"name": "audit", "data": data, "scoring": scoring, "encoders": encoders}))
    return root


def test_a_plan_says_what_was_read(place: Path, capsys: pytest.CaptureFixture[str]) -> None:
    with workers_in_this_process():
        assert main(["plan", str(place / "study.yaml")]) == 0
    told = capsys.readouterr().out
    assert [line for line in (READ, PASSED, COPIES, BATCH) if line not in told] == []


@pytest.mark.parametrize("command", ["run", "score"])
def test_what_was_read_is_said_and_kept(command: str, place: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    torch.manual_seed(0)
    out = tmp_path / "out"
    spec = [str(place / "study.yaml")] if command == "run" else ["--spec", str(place / "audit.yaml")]
    for _ in range(2):  # also where all is done
        with workers_in_this_process():
            assert main([command, *spec, "--out", str(out), "--device", "cpu"]) == 0
        said = capsys.readouterr()
        assert [line for line in (READ, PASSED, COPIES, *([BATCH] if command == "run" else [])) if line not in said.err] == []
    assert main(["report", str(out), "--json"]) == 0
    report = json.loads(capsys.readouterr().out)
    data = report["data"]
    assert data == json.loads(store.attributes(out / "results.zarr")["data"])
    assert data["images"] == 35
    assert data["sizes"] == {"smallest": [70, 72], "largest": [76, 72], "distinct": 2, "used": [70, 70, 3]}
    assert data["classes"] == 2
    assert data["splits"] == {"Train": 24, "val": 4, "test": 7}
    assert data["passed_over"]["by"] == {".txt": 1, "hidden or left by a system": 1}
    assert data["skipped"]["count"] == 1
    assert (data["copies"]["samples"], data["copies"]["test_in_train"]) == (2, 1)
    crossing = [sentence for sentence in report["warnings"] if "both sides of the partition" in sentence]
    assert len(crossing) == 1
    seen = {name: row for name, row in data["copies"]["across"].items() if name != "extra"}
    (name,) = seen  # 0.png, wherever it was drawn
    assert seen == {name: {"extra": 1}}
    assert f"1 extra also among {name}" in crossing[0]
    assert report["warnings"] == caveats(open_study(out).tree)
    assert (data.get("batch_size") == {"asked": 1024, "used": [16]}) == (command == "run")
    assert any(BATCH in sentence for sentence in report["warnings"]) == (command == "run")
    assert main(["report", str(out)]) == 0
    assert f"data: {READ}; {PASSED}" in capsys.readouterr().out
    session = Session(Library([out]))
    session.sample = 1
    assert Detail(session).view.record["size"].endswith("70 x 70 scored, 35 x 35 here")


def test_arrays_of_an_audit_are_counted_too(place: Path) -> None:
    from sslmem_kit.run.audit.samples import from_arrays

    values = np.random.default_rng(0).normal(size=(6, 3))
    values[4] = values[1]
    samples = from_arrays((None, values, np.array([0, 0, 1, 1, 1, 0])), field="here")
    record = samples.record(np.arange(6), np.array([0, 1, 2, 3, 0, 1], np.int8))
    assert (record["images"], record["samples"], record["shape"], record["classes"]) == (None, 6, [3], 2)
    assert record["copies"]["across"] == {"shared": {"candidate": 1}, "candidate": {"shared": 1}}
    assert record["copies"]["other_class"] == 2


def test_a_class_for_every_image_says_why(tmp_path: Path) -> None:
    np.savez(
        tmp_path / "set.npz", images=np.random.default_rng(0).integers(0, 256, (30, 6, 6), dtype=np.uint8), labels=np.arange(30)
    )
    spec = parse_spec({"name": "mine", "data": {"name": f"npz:{tmp_path / 'set.npz'}"}}, where="here")
    with pytest.raises(Exception, match=r"partition.extra: .* each of the 30 classes of 'npz:.*set\.npz' has one image"):
        load_samples(spec)
    assert load_samples(spec.model_copy(update={"data": DataSpec(name="digits")})).record["images"] == 1797
