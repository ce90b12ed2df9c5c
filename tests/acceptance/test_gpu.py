"""The whole path on a GPU: what is trained and scored there is finite, repeatable, and what a CPU makes of the same weights."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
import yaml

from sslmem_kit.cli import main
from sslmem_kit.data.loader import ImageLoader
from sslmem_kit.data.samples import load_samples
from sslmem_kit.encoders.backbone import build_encoder
from sslmem_kit.encoders.weights import load_weights
from sslmem_kit.measures.evaluation import record, score_samples
from sslmem_kit.spec.study import StudySpec
from sslmem_kit.study import Study
from sslmem_kit.training.loop import train
from tests.run.audit.test_run import checkpoints as checkpoints
from tests.run.audit.test_run import pair, write
from tests.training.test_loop import METHODS, make_spec

pytestmark = pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a CUDA device")

HALF = {"bf16": {"precision": "bf16"}, "fp16": {"precision": "fp16"}, "channels_last": {"channels_last": True}}


def run(spec: StudySpec, folder: Path, *more: str) -> Study:
    """A study that was run on the GPU."""
    path = folder / "study.yaml"
    path.write_text(yaml.safe_dump(spec.as_dict()))
    assert main(["run", str(path), "--out", str(folder / "study"), "--device", "cuda", *more]) == 0
    return Study(folder / "study")


def scored_on_the_cpu(study: Study, plan: Any) -> tuple[np.ndarray, np.ndarray]:
    """Alignment as it is stored and as a CPU has it of the same weights, (sample, augmentation)."""
    samples = load_samples(study.spec)
    mean, std = samples.channel_statistics
    encoder = build_encoder(study.spec.encoder, samples.dataset.image_shape, mean=mean, std=std)
    load_weights(encoder, study.path / "encoders" / plan.id / "weights.safetensors")
    stored = study.results["alignment"].sel(encoder=plan.id)
    again = score_samples(study.spec, encoder.eval(), stored["sample"].values, ImageLoader(samples.dataset, "cpu"))
    return stored.transpose("sample", "augmentation").values, again


@pytest.mark.parametrize("method", METHODS)
def test_a_study_of_each_method(method: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    study = run(make_spec(method), tmp_path)
    assert study.tree.attrs["device"].startswith("cuda")
    for plan in study.spec.encoders:
        stored, again = scored_on_the_cpu(study, plan)
        np.testing.assert_allclose(stored, again, atol=2e-3)
        assert np.abs(stored - again).mean() < 2e-4, "float32 on both: no product in reduced precision"
    capsys.readouterr()
    assert main(["report", str(study.path), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["verdict"]


@pytest.mark.parametrize("settings", [*HALF.values(), {"compile": True}], ids=[*HALF, "compile"])
@pytest.mark.parametrize("method", ["simclr", "mae"])
def test_settings_for_gpus(method: str, settings: dict[str, Any], tmp_path: Path) -> None:
    study = run(make_spec(method, epochs=2, **settings), tmp_path)
    assert np.isfinite(study.results["alignment"].values).all()


def test_private_training(tmp_path: Path) -> None:
    spec = make_spec("mae", epochs=2, privacy={"epsilon": 20.0, "delta": 1e-3, "clip_norm": 1.0})
    assert np.isfinite(run(spec, tmp_path).results["alignment"].values).all()


def test_encoders_trained_together_and_two_workers_on_one_card(tmp_path: Path) -> None:
    spec = make_spec("simclr", seeds=2).as_dict()
    spec["design"] = {"subsets": {"folds": 2, "repeats": 2}, "together": 4}
    spec["training"]["record_every"] = 0
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(spec))
    assert main(["run", str(path), "--out", str(tmp_path / "out"), "--device", "cuda", "--workers", "2"]) == 0
    study = Study(tmp_path / "out")
    for plan in study.spec.encoders:
        stored, again = scored_on_the_cpu(study, plan)
        np.testing.assert_allclose(stored, again, atol=2e-3)


@pytest.mark.parametrize(
    "method", [method for method in METHODS if method != "mae"]
)  # gradients of attention differ from run to run
def test_interrupted_and_resumed_is_the_same_to_the_bit(method: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    spec = make_spec(method, checkpoint_seconds=1e-9)
    samples = load_samples(spec)
    loader = ImageLoader(samples.dataset, "cuda")

    def trained(name: str) -> dict[str, torch.Tensor]:
        encoder, _ = train(spec, spec.encoders[0], samples, loader, tmp_path / name, record=record)
        return encoder.state_dict()

    whole, again = trained("whole"), trained("again")

    class Stop(Exception):
        pass

    calls, original = 0, torch.optim.Optimizer.zero_grad

    def stop_at_the_eleventh_step(self: Any, *args: Any, **kwargs: Any) -> Any:
        nonlocal calls
        calls += 1
        if calls == 11:
            raise Stop
        return original(self, *args, **kwargs)

    with monkeypatch.context() as patch:
        patch.setattr(torch.optim.Optimizer, "zero_grad", stop_at_the_eleventh_step)
        with pytest.raises(Stop):
            trained("broken")
    broken = trained("broken")
    different = {
        what: [name for name in whole if not torch.equal(whole[name], other[name])]
        for what, other in {"again": again, "broken": broken}.items()
    }
    assert different == {"again": [], "broken": []}


def test_an_audit_is_what_the_cpu_has(checkpoints: Path, tmp_path: Path) -> None:
    for device in ("cpu", "cuda"):
        assert main(["score", "--spec", str(write(checkpoints, pair())), "--out", str(tmp_path / device), "--device", device]) == 0
    cpu, gpu = (Study(tmp_path / device).results["alignment"].values for device in ("cpu", "cuda"))
    np.testing.assert_allclose(cpu, gpu, atol=2e-3)


@pytest.mark.parametrize("task", ["scenes-segmentation", "scenes-depth"])
def test_dense_tasks(task: str, tmp_path: Path) -> None:
    from sslmem_kit.run.dense import run_dense
    from tests.run.test_dense import make, spec_of

    study = make(tmp_path / "study", seeds=1)
    data = {"name": "scenes", "image_size": 16, "train": 32, "test": 4}
    options = {"task": task.removeprefix("scenes-"), "data": data}
    done = run_dense(study, spec_of(**options), device="cuda")
    assert all(np.isfinite(row["loss"]).all() for row in done["runs"])


def test_more_devices_than_cards_are_refused(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    path = tmp_path / "spec.yaml"
    path.write_text(yaml.safe_dump(make_spec("simclr").as_dict()))
    asked = torch.cuda.device_count() + 1
    assert main(["run", str(path), "--out", str(tmp_path / "out"), "--device", "cuda", "--devices", str(asked)]) == 2
    assert f"torch sees {asked - 1} GPUs" in capsys.readouterr().err
    assert main(["run", str(path), "--out", str(tmp_path / "out"), "--device", f"cuda:{asked - 1}", "--workers", "1"]) == 2
    assert "torch cannot use" in capsys.readouterr().err
