"""JSON schemas of specs: every field is described, what the parser takes is valid, and the kept files are current."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path
from typing import Any

import jsonschema
import pydantic
import pytest
import yaml

from sslmem_kit.cli import main
from sslmem_kit.errors import UserError
from sslmem_kit.names import FAMILIES
from sslmem_kit.run.frontier import evaluation_of
from sslmem_kit.spec import load_spec
from sslmem_kit.spec.audit import AuditSpec, parse_audit
from sslmem_kit.spec.frontier import FrontierSpec
from sslmem_kit.spec.loading import parse_spec
from sslmem_kit.spec.places import SCHEMAS, bundled_specs
from sslmem_kit.spec.presets import presets
from sslmem_kit.spec.reading import read_yaml
from sslmem_kit.spec.removal_tree import load_any
from sslmem_kit.spec.schema import KINDS, as_json, editor_line, schema
from sslmem_kit.spec.study import StudySpec
from sslmem_kit.store.directory import create_or_resume
from tests.support import ROOT

LOCK = (ROOT / "requirements.lock").read_text(encoding="utf-8")

DIGITS = {"name": "s", "data": {"name": "digits"}}
ENCODER = {"id": "a", "encoder": {"backbone": "resnet18"}, "weights": "a.pth", "normalize": "imagenet", "trained_on": "all"}
AUDIT = {"name": "a", "data": {"name": "digits"}, "encoders": [ENCODER]}

SHORT_FORMS = {
    "a policy by name": {"training": {"policy": "crop"}},
    "a composition": {"scoring": {"policy": ["crop", {"op": "noise"}]}},
    "ops with options": {"training": {"policy": ["flip", {"op": "crop_resize", "scale": [0.5, 1]}]}},
    "a policy in full": {"training": {"policy": {"name": "mine", "steps": [{"op": "flip"}, {"op": "mask", "ratio": 0.5}]}}},
    "a partition by name": {"partition": "overlap70"},
    "counts and fractions": {"partition": {"shared": 100, "candidate": 0.1, "independent": 0.1, "extra": 0}},
    "a file of what is removed": {"partition": {"remove": "removed.npz"}},
    "candidates to remove": {"partition": {"remove": {"study": "mini/x", "keep_highest": 0.5}}},
    "layers by name": {"scoring": {"layers": ["layer1", "layer2"]}},
    "all layers": {"scoring": {"layers": "all"}},
    "a method alone": {"objective": {"method": "mae"}},
    "small crops": {"objective": {"method": "dino", "local_scale": [0.1, 0.3], "local_views": 2}},
    "another probe": {"downstream": {"linear": {"method": "sgd"}, "tasks": [{"name": "npz:other.npz"}]}},
    "designs": {"design": {"subsets": {"repeats": 2}, "leave_one_out": {"samples": 3, "seeds": 1}}},
    "a private training": {"objective": {"method": "mae"}, "training": {"privacy": {"epsilon": 8}}},
}
SHORT_FORMS_OF_AUDITS = {
    "functions by name": {
        "data": None,
        "source": "mine:data",
        "view": "mine:view",
        "encoders": [{"id": "f", "factory": "mine:encoder"}],
    },
    "a function with arguments": {"encoders": [{"id": "f", "factory": {"function": "mine:encoder", "arguments": {"depth": 3}}}]},
    "a normalization in numbers": {"encoders": [{**ENCODER, "normalize": {"mean": [0.5], "std": [0.2]}}]},
    "an encoder of a study": {"encoders": [{"id": "f", "study": {"path": "../digits", "encoder": "f-0"}}]},
    "families": {"encoders": [{**ENCODER, "id": family, "family": family, "seed": 0} for family in FAMILIES]},
}
WRONG = {
    "an unknown field": {"trainning": {}},
    "an unknown field of a section": {"training": {"epoch": 3}},
    "an unknown policy": {"training": {"policy": "krop"}},
    "an unknown op": {"training": {"policy": ["crop", {"op": "blur"}]}},
    "an empty composition": {"training": {"policy": []}},
    "an unknown partition": {"partition": "thirds"},
    "a fraction above one": {"partition": {"shared": 1.5}},
    "a negative count": {"partition": {"shared": -1}},
    "no method": {"objective": {"temperature": 0.2}},
    "an option of another method": {"objective": {"method": "mae", "temperature": 0.2}},
    "unknown data": {"data": {"name": "digitz"}},
    "a folder without a path": {"data": {"name": "folder:"}},
    "yes for a number": {"training": {"seeds": True}},
    "a share of one": {"objective": {"method": "simclr", "regularizer": {"weight": 1}}},
}


@pytest.fixture(params=KINDS)
def kind(request: pytest.FixtureRequest) -> str:
    return request.param


def valid(spec: dict[str, Any], kind: str = "study") -> bool:
    return jsonschema.Draft7Validator(schema(kind)).is_valid(spec)


def fields(part: Any, where: str = "") -> Iterator[tuple[str, dict[str, Any]]]:
    """Every field in a schema, by its place."""
    if isinstance(part, dict):
        for name, field in part.get("properties", {}).items() if "type" in part else ():
            yield f"{where}/{name}", field
    for key, child in part.items() if isinstance(part, dict) else enumerate(part) if isinstance(part, list) else ():
        yield from fields(child, f"{where}/{key}")


def test_every_field_has_a_description(kind: str) -> None:
    found = dict(fields(schema(kind)))
    assert len(found) > {"study": 140, "audit": 70, "removal": 150, "frontier": 150}[kind]
    assert [where for where, field in found.items() if not field.get("description")] == []


def test_descriptions_have_no_markup_of_sphinx(kind: str) -> None:
    assert [where for where, field in fields(schema(kind)) if "``" in field["description"] or ":`" in field["description"]] == []


def test_it_is_a_schema(kind: str) -> None:
    jsonschema.Draft7Validator.check_schema(schema(kind))
    assert "prefixItems" not in as_json(kind)
    assert "discriminator" not in as_json(kind)


@pytest.mark.skipif(
    f"pydantic=={pydantic.VERSION}\n" not in LOCK, reason="another pydantic than the locked one writes schemas otherwise"
)
def test_the_kept_files_are_current(kind: str) -> None:
    """``python -m sslmem_kit.spec.schema docs/schema`` writes them."""
    assert (ROOT / "docs" / "schema" / f"{kind}.json").read_text(encoding="utf-8") == as_json(kind)


@pytest.mark.parametrize("name", bundled_specs())
def test_bundled_specs_are_valid(name: str) -> None:
    assert valid(read_yaml(bundled_specs()[name]))
    assert valid(load_spec(name).as_dict())


def test_presets_are_valid() -> None:
    validator = jsonschema.Draft7Validator(schema("study"))
    names = [*presets()]
    assert len(names) > 50
    assert [name for name in names if not validator.is_valid(presets()[name].spec)] == []
    assert [name for name in names if not validator.is_valid(load_spec(name).as_dict())] == []


@pytest.mark.parametrize("form", SHORT_FORMS)
def test_short_forms_are_valid(form: str, tmp_path: Path) -> None:
    spec = DIGITS | SHORT_FORMS[form]
    resolved = parse_spec(spec, where="spec").resolved(tmp_path)
    assert valid(spec)
    assert valid(resolved.as_dict())


@pytest.mark.parametrize("form", SHORT_FORMS_OF_AUDITS)
def test_short_forms_of_audits_are_valid(form: str, tmp_path: Path) -> None:
    spec = AUDIT | SHORT_FORMS_OF_AUDITS[form]
    resolved = parse_audit(spec, where="spec").resolved(tmp_path)
    assert valid(spec, "audit")
    assert valid(resolved.as_dict(), "audit")


@pytest.mark.parametrize("form", WRONG)
def test_what_is_refused_is_underlined(form: str) -> None:
    spec = DIGITS | WRONG[form]
    with pytest.raises(UserError):
        parse_spec(spec, where="spec")
    assert not valid(spec)


def test_no_encoders_are_underlined() -> None:
    with pytest.raises(UserError):
        parse_audit(AUDIT | {"encoders": []}, where="spec")
    assert not valid(AUDIT | {"encoders": []}, "audit")


def test_specs_that_are_printed_name_their_schema(tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    """And study.yaml names none: it would be a place on the machine that wrote it."""
    assert main(["studies", "--show", "digits"]) == 0
    first, _, rest = capsys.readouterr().out.partition("\n")
    assert first == f"# yaml-language-server: $schema={(ROOT / 'docs' / 'schema' / 'study.json').as_uri()}"
    assert yaml.safe_load(rest) == load_spec("digits").as_dict()
    assert editor_line(parse_audit(AUDIT, where="spec").resolved(tmp_path)).endswith("/audit.json\n")
    assert create_or_resume(tmp_path / "study", load_spec("digits")).spec_path.read_text(encoding="utf-8") == rest


def test_where_no_schema_is_installed_there_is_no_line(tmp_path: Path) -> None:
    assert editor_line(load_spec("digits"), [tmp_path]) == ""
    (tmp_path / "a b").mkdir()
    (tmp_path / "a b" / "study.json").write_text("{}")
    assert "a%20b/study.json\n" in editor_line(load_spec("digits"), [tmp_path, tmp_path / "a b"])


def test_schemas_are_looked_for_in_a_wheel_first() -> None:
    assert [folder.name for folder in SCHEMAS] == ["_schema", "schema"]


@pytest.mark.parametrize(("arguments", "kind"), [([], "study"), (["study"], "study"), (["audit"], "audit")])
def test_the_command_line_prints_them(arguments: list[str], kind: str, capsys: pytest.CaptureFixture[str]) -> None:
    assert main(["studies", "--schema", *arguments]) == 0
    assert capsys.readouterr().out == as_json(kind)


def test_hashes_are_those_of_earlier_versions() -> None:
    """Recorded before fields had descriptions."""
    assert {name: load_spec(name).hash for name in bundled_specs()} == {
        "digits": "00aab7b9b0031ace",
        "digits-mae": "152b81cacddcc9dc",
        "ground_truth": "a0457a7e57e6c1e6",
        "twins": "88da3537db41a3ca",
        "twins-apart": "c4692ae2b5b13a50",
    }
    assert StudySpec.model_validate(DIGITS).hash == "0b3f65c09c04e57c"
    assert AuditSpec.model_validate(AUDIT).hash == "afc451191876520b"


def test_so_are_those_of_trees_frontiers_and_how_their_encoders_are_measured() -> None:
    """A frontier holds a whole study: a field that came to studies, at its default, kept frontiers from being resumed."""
    frontier, tree = load_any("mini/mnist-mitigation"), load_any("mini/mnist-removal")
    assert isinstance(frontier, FrontierSpec)
    assert (frontier.hash, tree.hash) == ("b87133e91121f74f", "12fe3e5d06d7f8fa")
    assert evaluation_of(frontier.baseline) == "44f87fca82f6c6b6"


def test_comparisons_never_count_and_later_fields_count_beside_their_defaults() -> None:
    plain = StudySpec.model_validate(DIGITS)
    assert StudySpec.model_validate({**DIGITS, "comparisons": ["learning"]}).hash == plain.hash
    for changed in ({"partition": {"coin": True}}, {"data": {**DIGITS["data"], "plant": {"noisy": 5}}}):
        assert StudySpec.model_validate({**DIGITS, **changed}).hash != plain.hash
