"""The study spec: complete when resolved, round-trips through YAML, its hash moves with every field."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import yaml
from pydantic import ValidationError

from sslmem_kit.errors import UserError
from sslmem_kit.spec import StudySpec, bundled_specs, load_spec
from sslmem_kit.spec.loading import parse_spec
from sslmem_kit.spec.messages import first_error
from sslmem_kit.store.directory import create_or_resume
from sslmem_kit.study import open_study

MINIMAL = {"name": "tiny", "data": {"name": "digits"}}
CHANGES = {
    "name": "other",
    "description": "why",
    "seed": 1,
    "data.name": "mnist",
    "data.groups": "near_duplicates",
    "data.plant": {"noisy": 5},
    "data.image_size": 16,
    "data.max_image_size": 100,
    "data.test_fraction": 0.3,
    "data.on_error": "skip",
    "data.root": "/data",
    "data.download": False,
    "data.memory_limit_mb": 10,
    "partition.shared": 0.7,
    "partition.candidate": 0.05,
    "partition.independent": 0.05,
    "partition.extra": 0.05,
    "partition.stratified": False,
    "partition.coin": True,
    "partition.remove": "/removed.npz",
    "encoder.backbone": "resnet34",
    "encoder.stem": "small",
    "encoder.grid": 4,
    "encoder.options": {"layers": [1, 1, 1, 1]},
    "objective.method": "mae",
    "objective.temperature": 0.1,
    "objective.hidden_dim": 64,
    "objective.projection_dim": 64,
    "objective.regularizer": {"weight": 0.1, "start_epoch": 5},
    "training.seeds": 2,
    "training.epochs": 99,
    "training.warmup_epochs": 9,
    "training.batch_size": 128,
    "training.accumulate": 2,
    "training.optimizer": "sgd",
    "training.learning_rate": 2e-3,
    "training.weight_decay": 0.0,
    "training.momentum": 0.8,
    "training.betas": [0.9, 0.95],
    "training.clip_norm": 1.0,
    "training.clip_by": "parameter",
    "training.compile": True,
    "training.channels_last": True,
    "training.policy": "crop",
    "training.coupled": False,
    "training.precision": "bf16",
    "training.record_every": 5,
    "training.mitigation": {"action": "drop"},
    "design.subsets": {"folds": 2, "repeats": 2},
    "design.leave_one_out": {"samples": 2, "seeds": 2},
    "design.together": 2,
    "training.checkpoint_seconds": 30,
    "scoring.views": 4,
    "scoring.policy": "crop",
    "scoring.common_policy": "noise",
    "scoring.batch_size": 128,
    "scoring.block": 1024,
    "scoring.precision": "bf16",
    "scoring.layers": "auto",
    "downstream.linear": {"method": "sgd"},
    "downstream.neighbours": 5,
    "downstream.tasks": [{"name": "mnist"}],
}
"""Another legal value of every field."""


SINGLE = ("encoder.options", "data.plant", "training.policy", "scoring.policy", "scoring.common_policy", "downstream.linear")
"""Mappings that are one value."""


def fields(spec: dict, above: str = "") -> set[str]:
    """Every field, down to what is a value: options and policies are."""
    names = set()
    for key, value in spec.items():
        name = f"{above}{key}"
        is_section = isinstance(value, dict) and name not in SINGLE
        names |= fields(value, f"{name}.") if is_section else {name}
    return names


def changed(field: str, value: object) -> StudySpec:
    spec = {**MINIMAL, "data": dict(MINIMAL["data"])}
    section, _, key = field.rpartition(".")
    if section == "objective" and key != "method":
        spec["objective"] = {"method": "simclr"}
    (spec.setdefault(section, {}) if section else spec)[key] = value
    if field == "training.clip_by":  # refused alone
        spec["training"]["clip_norm"] = 1.0
    return parse_spec(spec, where="test").resolved(Path("/"))


def test_the_study_directory_holds_every_default(tmp_path: Path):
    spec = parse_spec(MINIMAL, where="test").resolved(tmp_path)
    study = create_or_resume(tmp_path / "study", spec)
    written = yaml.safe_load(study.spec_path.read_text())
    # SimCLR refuses privacy, and comparisons change no training.
    assert fields(written) == set(CHANGES) | {"training.privacy", "comparisons"}
    assert written["scoring"]["policy"]["steps"][0]["scale"] == [0.08, 1.0]
    assert open_study(study.path).spec == spec
    assert load_spec(study.spec_path) == spec
    assert load_spec(study.spec_path).hash == spec.hash


@pytest.mark.parametrize("field", CHANGES)
def test_the_hash_changes_with_every_field(field: str):
    base = parse_spec(MINIMAL, where="test").resolved(Path("/")) if field != "training.clip_by" else changed(field, "all")
    other = changed(field, CHANGES[field])
    assert other.hash != base.hash
    assert parse_spec(other.as_dict(), where="test").hash == other.hash


def test_the_hash_is_that_of_what_is_resolved():
    written_out = {**MINIMAL, "training": {"policy": "simclr", "epochs": 100}, "partition": "paper"}
    assert parse_spec(written_out, where="a").hash == parse_spec(MINIMAL, where="b").hash
    assert len(parse_spec(MINIMAL, where="c").hash) == 16


@pytest.mark.parametrize("name", bundled_specs())
def test_bundled_specs_load_and_are_described(name: str):
    spec = load_spec(name)
    assert spec.name == name
    assert len(spec.description) > 20


def test_relative_data_paths_are_seen_from_the_spec(tmp_path: Path, monkeypatch: pytest.MonkeyPatch):
    (tmp_path / "specs").mkdir()
    path = tmp_path / "specs" / "mine.yaml"
    path.write_text("name: mine\ndata: {name: 'folder:../photos', root: cache}\n")
    monkeypatch.chdir("/")
    spec = load_spec(path)
    assert spec.data.name == f"folder:{tmp_path.resolve()}/photos"
    assert spec.data.root == f"{tmp_path.resolve()}/specs/cache"
    assert spec.resolved(Path("/elsewhere")) == spec


def test_the_scored_views_are_drawn_as_the_training_views_unless_told():
    assert changed("training.policy", "crop").scoring.policy.name == "crop"
    assert changed("scoring.policy", "crop").training.policy.name == "simclr"


def test_a_seed_of_the_command_line_takes_the_place_of_the_specs():
    spec = load_spec("digits", seed=7)
    assert spec.seed == 7
    assert [plan.id for plan in spec.encoders] == ["f-7", "g-7", "f-8", "g-8", "f-9", "g-9"]
    assert [plan.family for plan in spec.encoders] == ["f", "g"] * 3
    with pytest.raises(UserError, match=r"digits: seed: .* 2147483648, got 2147483648"):
        load_spec("digits", seed=2**31)


@pytest.mark.parametrize(
    ("every", "epochs", "recorded"),
    [(10, 35, (10, 20, 30, 35)), (10, 30, (10, 20, 30)), (0, 5, (5,)), (50, 5, (5,)), (1, 3, (1, 2, 3))],
)
def test_the_last_epoch_is_recorded(every: int, epochs: int, recorded: tuple[int, ...]):
    spec = parse_spec({**MINIMAL, "training": {"epochs": epochs, "warmup_epochs": 0, "record_every": every}}, where="test")
    assert spec.training.recorded_epochs == recorded


@pytest.mark.parametrize(
    ("mistake", "sentence"),
    [
        ({"trainign": {}}, "trainign: unknown field, the fields here are name, description, seed, data,"),
        ({"training": {"epochs": 0}}, "training.epochs: input should be greater than or equal to 1, got 0"),
        ({"training": {"epochs": True}}, "^training: epochs is True, a number is needed, not yes or no$"),
        ({"seed": False}, "^seed is False, a number is needed"),
        ({"encoder": {"grid": True}}, "^encoder: grid is True, a number is needed"),
        ({"training": {"epochs": 0, "seeds": 0}}, r"got 0 \(and 1 more\)$"),
        ({"objective": {"method": "simclr", "temperature": -1}}, "objective.temperature: .* greater than 0, got -1"),
        (
            {"objective": {"method": "mae", "x": 1}},
            "objective.x: unknown field, the fields here are regularizer, method, mask_ratio",
        ),
        ({"data": {}}, "data.name: field required"),
        ({"objective": {"temperature": 0.1}}, "objective.method: field required, allowed are 'simclr', 'mae', 'dino',"),
        ({"objective": {"method": "simclr", "temperature": 0}}, "objective.temperature: .* greater than 0, got 0"),
        ({"objective": {"method": "dino", "teacher_temperature": 0.0}}, "objective.teacher_temperature: .* greater than 0, got 0"),
        ({"training": {"batch_size": 1}}, "training.batch_size: .* greater than or equal to 2, got 1"),
        (
            {"objective": {"method": "vicreg"}, "training": {"warmup_epochs": 0}},
            "^training.warmup_epochs is 0, objective.method 'vicreg' diverges without warm-up: give at least 1$",
        ),
        ({"training": {"epochs": 5, "warmup_epochs": 5}}, "^training: warmup_epochs is 5, it must be below epochs, which is 5$"),
        (
            {"objective": {"method": "mae", "decoder_dim": 30}},
            "^objective: decoder_dim is 30, it must be a multiple of 4 and of decoder_heads, which is 4$",
        ),
        (
            {"objective": {"method": "mae", "regularizer": {"weight": 0.1, "start_epoch": 100}}},
            "^objective.regularizer.start_epoch is 100, it must be below training.epochs, which is 100$",
        ),
        (
            {"objective": {"method": "byol"}},
            "^objective.method: 'byol' is not known, allowed are 'simclr', 'mae', 'dino', 'vicreg', 'simsiam', 'supervised'$",
        ),
        (
            {"downstream": {"linear": {"method": "svm"}}},
            "^downstream.linear.method: 'svm' is not known, allowed are 'logistic', 'sgd'$",
        ),
        ({"encoder": {"options": {"depth": {1, 2}}}}, r"encoder.options: values have to be text, .*, got \{'depth': \{1, 2\}\}$"),
        (
            {"downstream": {"tasks": [{"name": "mnist", "image_size": 8}]}},
            r"^downstream.tasks.0.image_size is 8, .* of the study's$",
        ),
        ({"downstream": {"tasks": [{"name": "digits"}]}}, "downstream.tasks: 'digits' is the study's own data"),
        ({"seed": "x" * 200}, r"seed: .*, got '[x.]{79}$"),
    ],
)
def test_the_first_mistake_in_one_sentence(mistake: dict, sentence: str):
    with pytest.raises(ValidationError) as raised:
        StudySpec.model_validate({**MINIMAL, **mistake})
    assert re.search(sentence, first_error(raised.value)), first_error(raised.value)


def test_a_study_of_another_spec_is_refused_by_the_first_field_that_differs(tmp_path: Path):
    create_or_resume(tmp_path / "study", changed("training.seeds", 2))
    assert create_or_resume(tmp_path / "study", changed("training.seeds", 2)).spec.training.seeds == 2
    with pytest.raises(UserError, match=r"training\.seeds is 2 there and 3 here"):
        create_or_resume(tmp_path / "study", changed("seed", 0))
