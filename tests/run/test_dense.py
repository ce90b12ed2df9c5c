"""Dense tasks on a study: what is run, resumed, refused, collected and reported."""

from __future__ import annotations

import json
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml
from PIL import Image

from sslmem_kit.cli import main
from sslmem_kit.encoders.backbone import build_encoder
from sslmem_kit.encoders.weights import save_weights
from sslmem_kit.errors import UserError
from sslmem_kit.report.dense import as_json, as_text, dense_tasks
from sslmem_kit.run import dense
from sslmem_kit.run.dense import planned_runs, run_dense
from sslmem_kit.spec.dense import DenseSpec, load_dense
from sslmem_kit.spec.loading import parse_spec
from sslmem_kit.store.directory import create_or_resume
from sslmem_kit.store.files import write_json
from sslmem_kit.study import Study
from sslmem_kit.training.setup import encoder_seed
from tests.data.datasets.test_dense import MASK, ade20k, nyu, nyu_lists, put, replace, spoil  # noqa: F401 - fixtures

ENCODER = {"backbone": "resnet18", "stem": "stock", "options": {"layers": [1, 1, 1, 0], "channels": [8, 8, 12, 12]}}


def make(path: Path, seeds: int = 2) -> Study:
    """A study of encoders whose weights are made up."""
    spec = parse_spec(
        {
            "name": "tiny",
            "data": {"name": "digits"},
            "encoder": ENCODER,
            "training": {"seeds": seeds, "epochs": 2, "warmup_epochs": 1},
        },
        where="tiny",
    ).resolved(path)
    create_or_resume(path, spec)
    for number, plan in enumerate(spec.encoders):
        torch.manual_seed(100 + number)
        one = build_encoder(spec.encoder, (8, 8, 1), mean=(0.3,), std=(0.4,))
        folder = path / "encoders" / plan.id
        folder.mkdir(parents=True)
        save_weights(one, folder / "weights.safetensors")
        write_json(folder / "config.json", {"image_shape": [8, 8, 1], "mean": [0.3], "std": [0.4]})
    return Study(path)


def content(**options: Any) -> dict[str, Any]:
    return {
        "name": "one",
        "task": "depth",
        "data": {"name": "scenes", "image_size": 16, "train": 8, "test": 4},
        "decoder_channels": 16,
        "epochs": 1,
        "batch_size": 4,
        "optimizer": "adamw",
        "learning_rate": 1e-3,
        **options,
    }


def spec_of(**options: Any) -> DenseSpec:
    return DenseSpec.model_validate(content(**options))


@pytest.fixture
def counted(monkeypatch: pytest.MonkeyPatch) -> list[dict[str, Any]]:
    """Arguments of each fine-tuning, which is made up but for its form."""
    calls: list[dict[str, Any]] = []

    def fake(spec: DenseSpec, data: Any, encoder: Any, **options: Any) -> dict[str, Any]:
        calls.append({**options, "first": encoder.backbone.conv1.weight.detach().clone()})
        value = 1.0 + options["frozen"] + len(calls) / 100
        names = ("rmse", "delta_1", "delta_2", "delta_3")
        return {
            "measures": {name: {"value": value, "interval": [value - 0.1, value + 0.1]} for name in names},
            "constant": dict.fromkeys(names, 3.0),
            "loss": [1.0],
            "n_test": 4,
            "n_pixels": 1024,
            "parameters": 1,
            "seconds": 0.1,
            "details": {},
        }

    monkeypatch.setattr(dense, "fine_tune", fake)
    return calls


def test_what_is_run(tmp_path: Path, counted: list[dict[str, Any]]) -> None:
    """Trained encoders each, initial weights once a seed, those that the training started from; one stream of randomness a seed."""
    study = make(tmp_path / "study")
    spec = spec_of(starts=["trained", "trained_frozen", "random", "random_frozen"])
    runs = planned_runs(study, spec)
    ids = ["f-0", "g-0", "f-1", "g-1"]
    assert sorted(run.id for run in runs) == sorted(
        [f"{name}-{start}" for name in ids for start in ("trained", "trained_frozen")]
        + [f"{name}-{start}" for name in ("f-0", "f-1") for start in ("random", "random_frozen")]
    )
    results = run_dense(study, spec, device="cpu")
    assert [run["encoder"] for run in results["runs"]] == [run.plan.id for run in runs]
    seeds = {(run.plan.seed, call["seed"]) for run, call in zip(runs, counted, strict=True)}
    assert len(seeds) == 2
    by_run = {run.id: call for run, call in zip(runs, counted, strict=True)}
    assert all(call["frozen"] == name.endswith("frozen") for name, call in by_run.items())
    assert all(call["calibrate"] == ("random" in name) for name, call in by_run.items())
    plan = study.spec.encoders[0]
    torch.manual_seed(encoder_seed(study.spec, plan, "init"))
    initial = build_encoder(study.spec.encoder, (8, 8, 1)).backbone.conv1.weight
    assert torch.equal(by_run["f-0-random"]["first"], initial)
    assert not torch.equal(by_run["f-0-trained"]["first"], initial)
    assert not torch.equal(by_run["f-0-trained"]["first"], by_run["g-0-trained"]["first"])


def test_resumes_and_adds(tmp_path: Path, counted: list[dict[str, Any]], monkeypatch: pytest.MonkeyPatch) -> None:
    study, fake = make(tmp_path / "study"), dense.fine_tune

    def interrupted(*arguments: Any, **options: Any) -> dict[str, Any]:
        if len(counted) == 2:
            raise KeyboardInterrupt
        return fake(*arguments, **options)

    monkeypatch.setattr(dense, "fine_tune", interrupted)
    with pytest.raises(KeyboardInterrupt):
        run_dense(study, spec_of(), device="cpu")
    assert dense_tasks(study) == {}, "what is not complete is not reported"
    monkeypatch.setattr(dense, "fine_tune", fake)
    whole = run_dense(study, spec_of(), device="cpu")
    assert len(counted) == len(whole["runs"]) == 6
    assert run_dense(study, spec_of(), device="cpu")["runs"] == whole["runs"]
    assert len(counted) == 6
    run_dense(study, spec_of(starts=["trained", "random"]), device="cpu")
    assert len(counted) == 8
    written = yaml.safe_load((study.path / "dense" / "one" / "dense.yaml").read_text())
    assert written["starts"] == ["trained", "random"]
    # Other weights: f-0 alone is fine-tuned again, and until then the report says so.
    save_weights(
        build_encoder(study.spec.encoder, (8, 8, 1), mean=(0.3,), std=(0.4,)), study.encoder("f-0") / "weights.safetensors"
    )
    stale = "f-0 has other weights now than those that were fine-tuned: run the task again"
    assert stale in dense_tasks(study)["dense"]["one"]["warnings"]
    run_dense(study, spec_of(), device="cpu")
    assert len(counted) == 9
    assert stale not in dense_tasks(study)["dense"]["one"]["warnings"]
    (study.path / "dense" / "one" / "results.json").write_text("{}")
    with pytest.raises(UserError, match="these are no results of a dense task"):
        dense_tasks(study)


def test_another_task_of_the_same_name_is_refused(tmp_path: Path, counted: list[dict[str, Any]]) -> None:
    study = make(tmp_path / "study")
    run_dense(study, spec_of(), device="cpu")
    with pytest.raises(UserError, match="'one' has been started in this study with another spec"):
        run_dense(study, spec_of(epochs=2), device="cpu")
    state = study.path / "dense" / "one" / "started.json"
    state.write_text(state.read_text().replace('"fingerprint": "', '"fingerprint": "0'))
    with pytest.raises(UserError, match="'scenes' has changed since 'one' was started"):
        run_dense(study, spec_of(), device="cpu")


def test_the_command_and_the_report(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    """For real, on made-up results of a study: command, JSON, report; every number with its n and interval, and what was learned or not."""
    from tests.support.fake_study import make_study

    study = make_study(tmp_path / "study", samples=60, seeds=3, views=2)
    for plan in study.spec.encoders:
        folder = study.encoder(plan.id)
        folder.mkdir(parents=True, exist_ok=True)
        one = build_encoder(study.spec.encoder, (8, 8, 1), mean=(0.3,), std=(0.4,))
        save_weights(one, folder / "weights.safetensors")
        write_json(folder / "config.json", {"image_shape": [8, 8, 1], "mean": [0.3], "std": [0.4]})
    path = tmp_path / "task.yaml"
    path.write_text(yaml.safe_dump(content(encoders=["f-0", "f-1"], starts=["trained_frozen", "random_frozen"])))
    assert main(["dense", str(study.path), str(path), "--device", "cpu", "--json"]) == 0
    found = json.loads(capsys.readouterr().out)
    assert main(["report", str(study.path), "--json"]) == 0
    reported = json.loads(capsys.readouterr().out)["dense"]["one"]
    assert reported == found
    assert [(run["encoder"], run["arm"]) for run in found["runs"]] == [
        ("f-0", "f trained_frozen"), ("f-1", "f trained_frozen"), ("f-0", "random_frozen"), ("f-1", "random_frozen"),
    ]  # fmt: skip
    assert found["n_test"] == 4
    assert found["n_pixels"] == 4 * 256
    one = found["differences"][0]
    values = {run["arm"] + str(run["seed"]): run["measures"]["rmse"]["value"] for run in found["runs"]}
    by_seed = [values[f"f trained_frozen{seed}"] - values[f"random_frozen{seed}"] for seed in (0, 1)]
    assert one["contrast"] == "f trained_frozen - random_frozen"
    assert one["difference"] == pytest.approx(np.mean(by_seed))
    assert one["interval"][1] - one["difference"] == pytest.approx(12.7062 * np.std(by_seed, ddof=1) / np.sqrt(2), rel=1e-4)
    assert any("2 seeds: no conclusion" in sentence for sentence in found["warnings"])
    assert main(["report", str(study.path)]) == 0
    text = capsys.readouterr().out
    assert "one: depth of scenes by unet, 1 epochs on 8 images, tested on 4 (1,024 pixels)" in text
    assert "95 % over 2 seeds, paired" in text
    assert text.count("WARNING: 2 seeds") == 1


def test_what_has_not_learned_is_said() -> None:
    measures = {"mean_iou": {"value": 0.09}, "pixel_accuracy": {"value": 0.9}}
    run = {"encoder": "f-0", "family": "f", "start": "trained", "seed": 0, "measures": measures, "n_test": 3, "n_pixels": 10,
           "constant": {"mean_iou": 0.09, "pixel_accuracy": 0.9}}  # fmt: skip
    data = {"train": 3, "absent_from_test": ["2"], "pixels_left_out": 5}
    task = {"task": "segmentation", "data": {"name": "scenes"}, "decoder": None, "epochs": 1}
    found = as_json({"task": task, "data": data, "runs": [run]})
    assert len(found["warnings"]) == 4
    assert "f-0 trained is no better than the prediction that needs no image" in "\n".join(as_text({"one": found}))
    assert found["differences"] == []


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda spec: spec.update(task="segment"), "task: input should be 'segmentation' or 'depth'"),
        (lambda spec: spec["data"].update(name="scene"), "data.name 'scene' is not known: allowed are scenes, ade20k:PATH, nyu:PATH, did"),
        (lambda spec: spec["data"].update(name="ade20k:x"), "task is 'depth', data.name 'ade20k:x' has targets for segmentation only"),
        (lambda spec: spec["data"].update(name="nyu:nowhere"), "data.name: there is no folder"),
        (lambda spec: spec.update(encoders=["f-7"]), "encoders: the study has no encoder 'f-7' of f or g, it has f-0, g-0, f-1, g-1"),
        (lambda spec: spec.update(starts=[]), "starts: name at least one, each once"),
        (lambda spec: spec.update(warmup_epochs=3), "warmup_epochs is 3, it must be below epochs, which is 1"),
        (lambda spec: spec.update(decoders="unet"), "decoders: unknown field"),
        (lambda spec: spec.update(name="../x"), "name: use letters"),
        (lambda spec: spec["data"].update(train=2, image_size=8), "of 11 classes have no pixel in the train split") ,
    ],
)  # fmt: skip
def test_mistakes_end_with_one_sentence(
    change: Callable[[dict], object], message: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    study, spec = make(tmp_path / "study"), content()
    change(spec)
    if "11 classes" in message:
        spec["task"] = "segmentation"
    path = tmp_path / "task.yaml"
    path.write_text(yaml.safe_dump(spec))
    assert main(["dense", str(study.path), str(path), "--device", "cpu"]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert message in said


def test_missing_weights_and_extra(tmp_path: Path, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch) -> None:
    study = make(tmp_path / "study")
    (study.encoder("g-1") / "weights.safetensors").unlink()
    assert main(["dense", str(study.path), "scenes-depth"]) == 2
    assert "has no weights of g-1; complete it with sslmem run first" in capsys.readouterr().err
    from sslmem_kit import errors

    monkeypatch.setattr(errors, "find_spec", lambda name: None if name == "segmentation_models_pytorch" else True)
    assert main(["dense", str(study.path), "scenes-depth"]) == 2
    said = capsys.readouterr().err
    assert "this needs segmentation_models_pytorch, which is not installed: pip install 'sslmem_kit[dense]'" in said


def test_bundled_tasks() -> None:
    """The paper's schedule, where the paper gives one; paths that are seen from the working directory."""
    for name in ("ade20k", "nyu"):
        spec = load_dense(name)
        assert (spec.epochs, spec.batch_size, spec.optimizer, spec.learning_rate) == (100, 16, "sgd", 0.02)
        assert spec.data.path.parent == Path.cwd()
    assert (load_dense("ade20k").decoder_name, load_dense("nyu").decoder_name) == ("upernet", "unet")
    assert load_dense("nyu", data="nyu:/there").data.path == Path("/there")
    assert load_dense("scenes-depth", seed=4).seed == 4


def _rgba(path: Path) -> None:
    with Image.open(path) as image:
        stored = np.asarray(image)
    Image.fromarray(np.stack([stored] * 4, axis=2)).save(path)


def _channels(study: Study, count: int) -> None:
    for plan in study.spec.encoders:
        write_json(study.encoder(plan.id) / "config.json", {"image_shape": [8, 8, count], "mean": [0.3], "std": [0.4]})


BAD_MASKS: dict[str, tuple[Callable[[Path], object], str]] = {
    "another size": (
        lambda root: spoil(root / MASK, lambda mask: mask[:-3]),
        "the mask of images/training/ADE_train_00000001.jpg has another size than its image, 20x13 for 20x16",
    ),
    "a class beyond": (
        lambda root: spoil(root / MASK, lambda mask: np.where(mask == 3, 151, mask).astype(np.uint8)),
        "holds class 151, but ADE20K has 150 classes",
    ),
    "16 bits, classes beyond": (
        lambda root: spoil(root / MASK, lambda mask: mask.astype(np.uint16) * 256),
        "holds class 38400, but ADE20K has 150 classes",
    ),
    "RGBA": (lambda root: _rgba(root / MASK), "ADE_train_00000001.png is no mask, its shape is (16, 20, 4)"),
    "one bit": (lambda root: spoil(root / MASK, lambda mask: mask > 3), "ADE_train_00000001.png is no mask"),
    "classes that are absent": (
        lambda root: [
            spoil(path, lambda mask: np.where(mask == 7, 0, mask)) for path in (root / "annotations/training").glob("*.png")
        ],
        "1 of 150 classes have no pixel in the train split: 7",
    ),
    "no mask": (lambda root: (root / MASK).unlink(), "1 files of images/training have none of their name"),
}
BAD_DEPTHS: dict[str, tuple[Callable[[Path], object], str]] = {
    **{
        str(value): (lambda root, value=value: put(root, "depths", (1, 3, 2), value), f"in 1 of 192 pixels (such as {value:g})")
        for value in (0.0, np.inf, np.nan, -1.0)
    },
    "images of four channels": (lambda root: replace(root, "images", (5, 4, 16, 12)), "have the shape (5, 4, 16, 12)"),
    "another size": (lambda root: replace(root, "depths", (5, 16, 11)), "they differ in number or size"),
}


@pytest.mark.parametrize(("kind", "case"), [*(("ade20k", case) for case in BAD_MASKS), *(("nyu", case) for case in BAD_DEPTHS)])
def test_bad_targets_end_the_command_with_one_sentence(
    kind: str, case: str, tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]
) -> None:
    """Must be seen before anything is fine-tuned; nothing of the task is written."""
    root: Path = request.getfixturevalue(kind)
    damage, message = {"ade20k": BAD_MASKS, "nyu": BAD_DEPTHS}[kind][case]
    damage(root)
    study, path = make(tmp_path / "study"), tmp_path / "task.yaml"
    task = "segmentation" if kind == "ade20k" else "depth"
    path.write_text(
        yaml.safe_dump(content(task=task, data={"name": f"{kind}:{root}", "image_size": 16 if kind == "ade20k" else 12}))
    )
    assert main(["dense", str(study.path), str(path), "--device", "cpu"]) == 2
    said = capsys.readouterr().err.strip().splitlines()
    assert message in said[-1]
    assert "Traceback" not in "".join(said)
    assert not (study.path / "dense").exists()


@pytest.mark.parametrize("count", [2, 4])
def test_encoders_of_images_of_another_channel_count(count: int, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study, path = make(tmp_path / "study"), tmp_path / "task.yaml"
    _channels(study, count)
    path.write_text(yaml.safe_dump(content()))
    assert main(["dense", str(study.path), str(path), "--device", "cpu"]) == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert f"encoder: it takes images of {count} channels, those of 'scenes' have 1 (grey) or 3 (RGB)" in said


def test_a_depth_that_is_not_grey(tmp_path: Path, request: pytest.FixtureRequest, capsys: pytest.CaptureFixture[str]) -> None:
    root: Path = request.getfixturevalue("nyu_lists")
    _rgba(root / "nyu2_train" / "1_depth.png")
    study, path = make(tmp_path / "study"), tmp_path / "task.yaml"
    path.write_text(yaml.safe_dump(content(data={"name": f"nyu:{root}", "image_size": 12})))
    assert main(["dense", str(study.path), str(path), "--device", "cpu"]) == 2
    assert "the depth 1_depth.png is no grey PNG of 8 or 16 bits" in capsys.readouterr().err


def test_a_task_of_the_same_name_with_another_spec(
    tmp_path: Path, counted: list[dict[str, Any]], capsys: pytest.CaptureFixture[str]
) -> None:
    study, path = make(tmp_path / "study"), tmp_path / "task.yaml"
    run_dense(study, spec_of(), device="cpu")
    path.write_text(yaml.safe_dump(content(epochs=2)))
    assert main(["dense", str(study.path), str(path), "--device", "cpu"]) == 2
    assert "'one' has been started in this study with another spec" in capsys.readouterr().err
