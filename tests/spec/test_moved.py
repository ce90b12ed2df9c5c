"""Studies and audits that have moved, and those whose data, weights, lists and code have: known again by what they hold."""

from __future__ import annotations

import json
import shutil
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
import yaml
from PIL import Image

from sslmem_kit import store
from sslmem_kit.cli import main
from sslmem_kit.data import samples as samples_module
from sslmem_kit.errors import UserError
from sslmem_kit.run.study import run_study
from sslmem_kit.spec.audit import load_audit
from sslmem_kit.spec.loading import load_spec, parse_spec
from sslmem_kit.spec.study import StudySpec
from sslmem_kit.store import file_record, integrity
from sslmem_kit.store.directory import as_yaml, create_or_resume, is_of
from sslmem_kit.store.metadata import write_root
from sslmem_kit.study import Study, open_study
from tests.acceptance.test_damage import CODE, audit_of_vectors
from tests.run.audit.test_run import checkpoints, pair, score  # noqa: F401
from tests.run.test_removal import selection
from tests.support.fake_study import make_study, workers_in_this_process
from tests.training.test_loop import make_spec

SMALL = {
    "partition": {"shared": 16, "candidate": 4, "independent": 4, "extra": 0},
    "encoder": {"options": {"layers": [1, 1, 1, 1], "channels": [8, 8, 8, 8]}},
    "training": {"seeds": 1, "epochs": 2, "warmup_epochs": 1, "batch_size": 8, "record_every": 0},
    "scoring": {"views": 2, "block": 16},
}


@pytest.fixture(autouse=True)
def _fresh() -> Iterator[None]:
    """Data are read once a process; here they change."""
    samples_module._load.cache_clear()
    with workers_in_this_process():
        yield


def photographs(folder: Path, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    for number in range(32):
        path = folder / "ab"[number % 2] / f"{number}.png"
        path.parent.mkdir(parents=True, exist_ok=True)
        Image.fromarray(rng.integers(0, 256, (12, 12, 3), dtype=np.uint8)).save(path)
    return folder


def archive(folder: Path, seed: int = 0) -> Path:
    rng = np.random.default_rng(seed)
    folder.mkdir(parents=True)
    images = rng.integers(0, 256, (32, 12, 12), dtype=np.uint8)
    np.savez(folder / "data.npz", images=images, labels=np.arange(32) % 2)
    return folder / "data.npz"


MADE = {"folder": photographs, "npz": archive}


@pytest.fixture(scope="module", params=["folder", "npz"])
def begun(request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory) -> tuple[str, Path]:
    """The kind of the data, and a folder with them, a spec and its complete study."""
    root = tmp_path_factory.mktemp(request.param)
    MADE[request.param](root / "data")
    name = f"{request.param}:data{'/data.npz' * (request.param == 'npz')}"
    (root / "spec.yaml").write_text(yaml.safe_dump({"name": "moving", "data": {"name": name}, **SMALL}))
    with workers_in_this_process():
        assert main(["run", str(root / "spec.yaml"), "--out", str(root / "study"), "--device", "cpu"]) == 0
    return request.param, root


@pytest.fixture
def moved(begun: tuple[str, Path], tmp_path: Path) -> tuple[str, Path]:
    """A copy of it elsewhere, whose data are not where its spec says; the data are in ``there``."""
    kind, root = begun
    shutil.copytree(root, tmp_path / "root")
    shutil.move(tmp_path / "root" / "data", tmp_path / "root" / "there")
    if (root / "data").exists():
        shutil.move(root / "data", root / "gone")
    return kind, tmp_path / "root"


@pytest.fixture(autouse=True)
def _put_back(request: pytest.FixtureRequest) -> Iterator[None]:
    yield
    if "begun" in request.fixturenames:
        root = request.getfixturevalue("begun")[1]
        if (root / "gone").exists():
            shutil.move(root / "gone", root / "data")


def name_of(kind: str, folder: Path) -> str:
    return f"{kind}:{folder}{'/data.npz' * (kind == 'npz')}"


def told(capsys: pytest.CaptureFixture[str], *command: object) -> tuple[int, str]:
    samples_module._load.cache_clear()
    capsys.readouterr()
    status = main([str(word) for word in command])
    said = capsys.readouterr()
    return status, said.out + said.err


def run(capsys: pytest.CaptureFixture[str], spec: Path, out: Path, *more: object) -> tuple[int, str]:
    return told(capsys, "run", spec, "--out", out, "--device", "cpu", *more)


def scores(study: Path) -> bytes:
    return b"".join(path.read_bytes() for path in sorted((study / "results.zarr" / "alignment").rglob("c/*/*/*")))


def as_earlier(study: Path) -> None:
    """Record what an earlier version recorded as the hash."""
    path = study / "results.zarr"
    write_root(path, attributes={"spec_hash": open_study(study).spec.hash_with_places}, consolidated=True)
    integrity.renew(path)


def unfinish(study: Path) -> None:
    """Take back the scores and the evaluation of the second encoder, and its weights."""
    store.take_back(study / "results.zarr", encoder=1, block=0)
    file_record.forget(study / "results.zarr", "1", ["alignment/c/0/0/1"])


def test_a_study_without_its_data_is_read(moved, tmp_path: Path, capsys) -> None:
    kind, root = moved
    for command in (
        ("report", root / "study"),
        ("validate", root / "study"),
        ("export", root / "study", "--to", tmp_path / "scores.csv"),
    ):
        status, said = told(capsys, *command)
        assert status == 0, said
    status, said = run(capsys, root / "study" / "study.yaml", root / "study")
    assert status == 2
    assert "is not there, and a run of" in said
    assert f"--data {kind}:PATH" in said
    assert len(said.strip().splitlines()) == 1


@pytest.mark.parametrize("earlier", [False, True])
@pytest.mark.parametrize("how", ["data", "study.yaml", "spec"])
def test_moved_data_are_known_again(moved, capsys, how: str, earlier: bool) -> None:
    kind, root = moved
    study, place = root / "study", name_of(kind, root / "there")
    whole = scores(study)
    if earlier:
        as_earlier(study)
    unfinish(study)
    spec, more = root / "spec.yaml", ()
    if how == "data":
        more = ("--data", place)
    else:
        spec = study / "study.yaml" if how == "study.yaml" else spec
        content = yaml.safe_load(spec.read_text())
        content["data"]["name"] = place
        spec.write_text(yaml.safe_dump(content))
    status, said = run(capsys, spec, study, *more)
    assert status == 0, said
    assert "retrained" not in said
    assert scores(study) == whole
    assert open_study(study).spec.data.name == place
    status, said = told(capsys, "validate", study)
    assert status == 0, said
    assert told(capsys, "report", study)[0] == 0
    assert run(capsys, study / "study.yaml", study)[0] == 0


def test_a_complete_study_takes_the_new_place(moved, capsys) -> None:
    kind, root = moved
    place = name_of(kind, root / "there")
    status, said = run(capsys, root / "spec.yaml", root / "study", "--data", place)
    assert status == 0, said
    assert open_study(root / "study").spec.data.name == place


def test_a_place_that_is_edited_is_named_until_a_run_has_looked_there(moved, capsys) -> None:
    """Every other byte of the path is damage as long as nobody has seen that it leads to what was scored."""
    kind, root = moved
    spec = root / "study" / "study.yaml"
    content = spec.read_bytes()
    first = content.index(b"name:", content.index(b"data:"))
    for place in range(first, content.index(b"partition:"), 2):
        changed = bytearray(content)
        changed[place] ^= 1 << place % 7
        spec.write_bytes(changed)
        status, said = told(capsys, "validate", root / "study")
        assert status, changed[first : first + 200]
        assert "Traceback" not in said
    spec.write_bytes(content)
    assert told(capsys, "validate", root / "study")[0] == 0
    edited = yaml.safe_load(content)
    edited["data"]["name"] = name_of(kind, root / "there")
    spec.write_text(yaml.safe_dump(edited))
    status, said = told(capsys, "validate", root / "study")
    assert status == 2
    assert f"{spec}: is not as sslmem wrote it" in said
    assert "`sslmem run` compares" in said
    assert run(capsys, spec, root / "study")[0] == 0
    assert told(capsys, "validate", root / "study")[0] == 0


@pytest.mark.parametrize("how", ["data", "study.yaml"])
def test_other_data_are_refused(moved, tmp_path: Path, capsys, how: str) -> None:
    kind, root = moved
    study = root / "study"
    MADE[kind](tmp_path / "other", seed=1)
    place = name_of(kind, tmp_path / "other")
    before = (study / "study.yaml").read_text(), scores(study)
    spec, more = root / "spec.yaml", ("--data", place)
    if how == "study.yaml":
        spec, more = study / "study.yaml", ()
        content = yaml.safe_load(spec.read_text())
        content["data"]["name"] = place
        spec.write_text(yaml.safe_dump(content))
        before = spec.read_text(), before[1]
    status, said = run(capsys, spec, study, *more)
    assert status == 2
    assert ("holds other data than" if how == "data" else "has changed since this study started") in said
    assert "data.name" in said
    assert ((study / "study.yaml").read_text(), scores(study)) == before


def test_any_other_change_is_still_one_of_the_spec(moved, capsys) -> None:
    kind, root = moved
    path = root / "study" / "study.yaml"
    content = yaml.safe_load(path.read_text())
    content["data"] |= {"name": name_of(kind, root / "there"), "test_fraction": 0.25}
    path.write_text(yaml.safe_dump(content))
    status, said = told(capsys, "validate", root / "study")
    assert status != 0
    assert "of another spec than study.yaml" in said
    content["data"] |= {"name": "digits", "test_fraction": 0.2}
    path.write_text(yaml.safe_dump(content))
    assert told(capsys, "validate", root / "study")[0] != 0


def test_results_that_are_gone_leave_nothing_to_know_data_by(moved, capsys) -> None:
    kind, root = moved
    shutil.rmtree(root / "study" / "results.zarr")
    status, said = run(capsys, root / "spec.yaml", root / "study", "--data", name_of(kind, root / "there"))
    assert status == 2
    assert "holds a study of another spec, data.name is" in said


def test_a_study_that_holds_no_results_yet_takes_any_place(moved, capsys) -> None:
    kind, root = moved
    for name in ("results.zarr", "encoders"):
        shutil.rmtree(root / "study" / name)
    place = name_of(kind, root / "there")
    status, said = run(capsys, root / "spec.yaml", root / "study", "--data", place)
    assert status == 0, said
    assert open_study(root / "study").spec.data.name == place


def test_files_of_removed_samples_move(tmp_path: Path, capsys) -> None:
    ids = samples_module.load_samples(make_spec("simclr")).dataset.ids
    samples = samples_module.load_samples(make_spec("simclr", epochs=2, record_every=0))
    chosen = ids[samples.codes == 1][:3]
    content = make_spec("simclr", epochs=2, record_every=0).as_dict()
    spec, study = tmp_path / "spec.yaml", tmp_path / "study"

    def removing(path: Path) -> tuple[int, str]:
        content["partition"]["remove"] = str(path)
        spec.write_text(yaml.safe_dump(content))
        return run(capsys, spec, study)

    old = selection(tmp_path / "old.npz", chosen)
    assert removing(old)[0] == 0
    old.rename(tmp_path / "new.npz")
    assert removing(tmp_path / "new.npz")[0] == 0
    assert told(capsys, "validate", study)[0] == 0
    status, said = removing(selection(tmp_path / "other.npz", chosen[:2]))
    assert (status, "takes out other samples" in said) == (2, True), said


def test_folders_of_tasks_cannot_be_known_again(tmp_path: Path) -> None:
    one, two = (
        parse_spec(
            {"name": "a", "data": {"name": "digits"}, "downstream": {"tasks": [{"name": f"folder:{tmp_path / name}"}]}}, where="a"
        )
        for name in "ab"
    )
    assert one.hash != two.hash


def test_hashes_of_specs_without_paths_are_what_they_were() -> None:
    for spec in (load_spec("digits"), make_spec("simclr"), make_spec("mae")):
        assert spec.hash == spec.hash_with_places


def test_a_store_is_of_a_spec_by_what_it_recorded(tmp_path: Path) -> None:
    begun, here, other = (
        parse_spec({"name": "a", "seed": seed, "data": {"name": f"folder:{tmp_path / place}"}}, where="a")
        for seed, place in ((0, "old"), (0, "new"), (1, "new"))
    )
    earlier = {"spec_hash": begun.hash_with_places, "spec": json.dumps(begun.as_dict())}
    assert begun.hash_with_places != here.hash_with_places
    assert is_of(here, earlier)
    assert is_of(begun, earlier)
    assert not is_of(other, earlier)
    assert is_of(here, {"spec_hash": begun.hash})
    assert not is_of(here, {"spec_hash": begun.hash_with_places})
    assert not is_of(here, earlier | {"spec_hash": "0" * 16})
    assert not is_of(here, earlier | {"spec": "[1]"})


def test_a_moved_study_is_read_where_it_is(tmp_path: Path, capsys) -> None:
    study = make_study(tmp_path / "study")
    study.figures.mkdir()
    study.notebooks.mkdir()
    (study.path / ".lock").touch()
    shutil.move(study.path, tmp_path / "elsewhere")
    status, said = told(capsys, "report", tmp_path / "elsewhere")
    assert status == 0, said
    assert told(capsys, "export", tmp_path / "elsewhere", "--to", tmp_path / "scores.csv")[0] == 0
    assert not (tmp_path / "study").exists()


def everything_of_an_audit(root: Path, tmp_path: Path) -> Path:
    """A copy of checkpoints, data, lists and spec in another folder."""
    shutil.copytree(root, tmp_path)
    (tmp_path / "audit.yaml").write_text(yaml.safe_dump(pair()))
    return tmp_path


def test_an_audit_is_gone_on_with_where_everything_moved(checkpoints: Path, tmp_path: Path, capsys) -> None:  # noqa: F811
    here = everything_of_an_audit(checkpoints, tmp_path / "here")
    out = tmp_path / "out"
    assert score(here / "audit.yaml", out, capsys)[0] == 0
    whole = scores(out)
    as_earlier(out)
    here = here.rename(tmp_path / "there")
    assert told(capsys, "report", out)[0] == 0
    assert told(capsys, "validate", out)[0] == 0
    status, said = score(here / "audit.yaml", out, capsys)
    assert status == 0, said
    assert open_study(out).spec == load_audit(here / "audit.yaml")
    unfinish(out)
    status, said = score(here / "audit.yaml", out, capsys)
    assert status == 0, said
    assert scores(out) == whole
    assert told(capsys, "validate", out)[0] == 0


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"weights": "2.safetensors"}, "its weights have changed since this audit started"),
        ({"weights": "none.safetensors"}, "none.safetensors"),
        ({"trained_on": "h.npy"}, "list other samples than when this audit started"),
    ],
)
@pytest.mark.parametrize("inside", [False, True])
def test_other_weights_and_lists_are_refused(
    checkpoints: Path,  # noqa: F811
    tmp_path: Path,
    capsys,
    changes: dict,
    message: str,
    inside: bool,
) -> None:
    here, out = everything_of_an_audit(checkpoints, tmp_path / "here"), tmp_path / "out"
    assert score(here / "audit.yaml", out, capsys)[0] == 0
    spec = out / "study.yaml" if inside else here / "audit.yaml"
    content = yaml.safe_load(spec.read_text())
    content["encoders"][0] |= {name: str(here / value) for name, value in changes.items()}
    spec.write_text(yaml.safe_dump(content))
    status, said = score(spec, out, capsys)
    assert (status, message in said) == (2, True), said


def test_nothing_is_written_before_the_data_were_compared(moved, tmp_path: Path, capsys) -> None:
    """study.yaml is made again as the study was begun, not with a place where other data lie."""
    kind, root = moved
    study = root / "study"
    MADE[kind](tmp_path / "other", 9)
    for harm in (study.joinpath("study.yaml").unlink, lambda: study.joinpath("study.yaml").write_text("name: [")):
        begun = open_study(study).spec
        harm()
        status, said = run(capsys, root / "spec.yaml", study, "--data", name_of(kind, tmp_path / "other"))
        assert status == 2, said
        assert open_study(study).spec == begun
    (study / "study.yaml").unlink()
    (study / "study.yaml").mkdir()
    status, said = run(capsys, root / "spec.yaml", study, "--data", name_of(kind, root / "there"))
    assert (status, "a folder is in the place of a file of the study; move it away" in said) == (2, True), said


def test_two_specs_that_are_begun_at_once_in_one_folder(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Both found it empty; the one whose study.yaml the other has replaced ends before anything is computed."""
    mine, other = (make_spec("simclr", epochs=epochs) for epochs in (2, 3))

    def both(path: Path, spec: StudySpec) -> Study:
        create_or_resume(path, spec)
        study = Study(path)
        study.spec_path.write_text(as_yaml(other))
        return study

    monkeypatch.setattr("sslmem_kit.run.study.create_or_resume", both)
    with pytest.raises(UserError, match=r"holds a study of another spec, training.epochs is 3 there and 2 here"):
        run_study(mine, tmp_path / "out", workers=1)
    assert not (tmp_path / "out" / "results.zarr").exists()
    assert open_study(tmp_path / "out").spec == other


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (("", ""), ""),
        (("0.1 * (view", "0.2 * (view"), "view: it makes other views than when this audit started"),
        (("0.1 * (view > 0)", "(0.1 + 0.1 * (view == 2 and len(ids) > 1)) * (view > 0)"), "view: it makes other views than when"),
        (
            ("batch + 0.1", "(batch.flip(-1) if view == 2 else batch) + 0.1"),
            "view: it makes other views than when this audit started",
        ),
        (("default_rng(0).random", "default_rng(9).random"), "data: it has changed since this audit started"),
        (("_made(2)", "_made(3)"), "its weights have changed since this audit started"),
    ],
)
def test_code_that_has_moved_is_known_by_what_it_gives(tmp_path: Path, capsys, change: tuple[str, str], message: str) -> None:
    for place, code in (("old", CODE), ("new", CODE.replace(*change) if change[0] else CODE)):
        (tmp_path / place).mkdir()
        audit_of_vectors(tmp_path / place, "moved_mine", code)
    out = tmp_path / "out"
    assert score(tmp_path / "old" / "audit.yaml", out, capsys)[0] == 0
    whole = scores(out)
    unfinish(out)
    shutil.rmtree(tmp_path / "old")
    status, said = score(tmp_path / "new" / "audit.yaml", out, capsys)
    assert (status, message in said) == (2 if message else 0, True), said
    if not message:
        assert scores(out) == whole
        assert told(capsys, "validate", out)[0] == 0
