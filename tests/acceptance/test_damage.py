"""Damage to a whole study: nothing passes as valid or changes a number, and a run makes again just what was lost, to the same bits."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from sslmem_kit.cli import main
from sslmem_kit.errors import UserError
from sslmem_kit.events import Event, Message, Planned, Scored, Trained, Warned
from sslmem_kit.report.validate import problems
from sslmem_kit.run.audit.run import run_audit
from sslmem_kit.run.study import run_study
from sslmem_kit.spec.audit import AuditSpec, load_audit
from sslmem_kit.statistics.caveats import caveats
from sslmem_kit.store.metadata import RECORD, read_documents
from sslmem_kit.study import Study
from tests.support.damage import cases, flipped, numbers, swap, sweep, table
from tests.support.fake_study import make_study, without_checksums, workers_in_this_process
from tests.training.test_loop import make_spec


@pytest.fixture(scope="module", autouse=True)
def _quick() -> Iterator[None]:
    with workers_in_this_process():
        yield


@pytest.fixture(scope="module")
def whole(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A trained study of 90 samples, one pair of encoders."""
    return run_study(make_spec("simclr", epochs=2), tmp_path_factory.mktemp("damage") / "tiny", workers=1).path


@pytest.fixture
def study(whole: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(whole, tmp_path / "tiny"))


def flip(*files: Path) -> None:
    for file in files:
        content = file.read_bytes()
        file.write_bytes(flipped(content, len(content) // 2, 2))


def cut(*files: Path) -> None:
    for file in files:
        file.write_bytes(file.read_bytes()[: file.stat().st_size // 2])


def lose(*files: Path) -> None:
    for file in files:
        file.unlink()


def put_folder(*files: Path) -> None:
    for file in files:
        file.unlink()
        (file / "inside").mkdir(parents=True)


MENDED = [
    (put_folder, ["alignment/c/0/0/0"], "alignment of f-0, block 0", [("scored", "f-0", 0)]),
    (put_folder, ["partition/c/0"], "partition, block 0", []),
    (put_folder, ["completeness/scored/c/1/2"], "completeness/scored of g-0", []),
    (put_folder, ["completeness/evaluated/c/0"], "completeness/evaluated of f-0", []),
    (put_folder, ["images/thumbnail/c/0/0/0/0"], "images/thumbnail, block 0", []),
    (put_folder, ["training/loss/c/0/0"], "training/loss of f-0", []),
    (put_folder, ["views/thumbnail/c/0/0/0/0/0"], "views is damaged", []),
    (lose, ["alignment/c/0/0/0"], "alignment of f-0, block 0 (samples 0 to 39 of its 90), is missing", [("scored", "f-0", 0)]),
    (
        flip,
        ["alignment/c/2/0/1"],
        "alignment of g-0, block 2 (samples 80 to 89 of its 90), is not what was",
        [("scored", "g-0", 2)],
    ),
    (
        swap,
        ["alignment/c/0/0/0", "alignment/c/0/0/1"],
        "alignment of f-0, block 0 (samples 0 to 39 of its 90), is not the one",
        [("scored", "f-0", 0), ("scored", "g-0", 0)],
    ),
    (lose, ["partition/c/0"], "partition, block 0 (samples 0 to 89 of its 90), is missing", []),
    (lose, ["label/c/0"], "label, block 0 (samples 0 to 89 of its 90), is missing", []),
    (flip, ["sample/c/0"], "sample, block 0", []),
    (flip, ["images/thumbnail/c/0/0/0/0"], "images/thumbnail, block 0", []),
    (flip, ["zarr.json"], "zarr.json is damaged", []),
    (cut, ["zarr.json"], "zarr.json is damaged", []),
    (lose, ["alignment/zarr.json"], "alignment/zarr.json", []),
    (lose, ["completeness/zarr.json"], "completeness/zarr.json", []),
    (flip, ["completeness/evaluated/c/1"], "completeness/evaluated of g-0", []),
    (lose, ["views/thumbnail/c/0/0/0/0/0"], "views is damaged", []),
    (flip, ["neighbours/distance/c/0/0/0"], "neighbours is damaged", []),
    (lose, ["training/loss/c/0/0"], "training/loss of f-0 is missing", []),
    (
        flip,
        ["../encoders/f-0/weights.safetensors"],
        "f-0/weights.safetensors is not what",
        [("trained", "f-0", 1), ("trained", "f-0", 2)],
    ),
    (
        lose,
        ["../encoders/g-0/weights.safetensors"],
        "g-0/weights.safetensors is missing",
        [("trained", "g-0", 1), ("trained", "g-0", 2)],
    ),
    (
        swap,
        ["../encoders/f-0/weights.safetensors", "../encoders/g-0/weights.safetensors"],
        "f-0/weights.safetensors is not what",
        [("trained", name, epoch) for name in ("f-0", "g-0") for epoch in (1, 2)],
    ),
    (cut, ["../encoders/f-0/config.json"], "encoders/f-0/config.json", []),
    (lose, ["../encoders/f-0/history.csv"], "encoders/f-0/history.csv is missing", []),
    (cut, ["../study.yaml"], "study.yaml was gone or damaged", []),
    (flip, ["completeness/scored/checksums/store"], "the record of checksums is damaged", []),
    (lose, ["completeness/scored/checksums/0"], "the record of checksums is damaged", []),
    (lose, ["completeness/scored/checksums/store"], "the record of checksums is damaged", []),
]


def work_of(events: list[Event]) -> list[tuple[str, str, float]]:
    """Epochs that were trained and blocks that were scored, in order."""
    trained = {
        index: ("trained", e.encoder, e.epochs) for index, e in enumerate(events) if isinstance(e, Trained) and e.epochs % 1 == 0
    }
    scored = {index: ("scored", e.encoder, e.block) for index, e in enumerate(events) if isinstance(e, Scored)}
    return [work for _, work in sorted((trained | scored).items())]


@pytest.mark.parametrize(("harm", "files", "told", "done"), MENDED, ids=lambda value: str(getattr(value, "__name__", value))[:60])
def test_a_run_makes_again_what_is_damaged_and_no_more(
    harm: Callable, files: list[str], told: str, done: list[tuple], whole: Path, study: Path
) -> None:
    harm(*((study / "results.zarr" / name).resolve() for name in files))
    events: list[Event] = []
    run_study(make_spec("simclr", epochs=2), study, workers=1, on_event=events.append)
    assert any(told in event.text for event in events if isinstance(event, Warned)), events
    assert work_of(events) == done
    assert list(problems(study)) == []
    assert set(read_documents(study / "results.zarr")) == set(read_documents(whole / "results.zarr"))
    report, exported = numbers(study)
    before, exported_before = numbers(whole)
    assert {**json.loads(report), "seconds": None} == {**json.loads(before), "seconds": None}
    assert exported == exported_before
    for encoder in ("f-0", "g-0"):
        name = f"encoders/{encoder}/weights.safetensors"
        assert (study / name).read_bytes() == (whole / name).read_bytes()


def test_a_chunk_whose_bits_have_flipped_is_told_with_the_remedy(study: Path, capsys) -> None:
    flip(study / "results.zarr" / "label" / "c" / "0")
    for command in (["report", str(study)], ["export", str(study), "--to", str(study.parent / "a.csv")]):
        assert main(command) == 2
        said = capsys.readouterr().err
        assert "`sslmem validate` names it" in said
        assert "`sslmem run`" in said
        assert "metadata" not in said
        assert "checksum" not in said


@pytest.mark.parametrize("name", ["weights.safetensors", "config.json", "history.csv"])
def test_a_folder_in_the_place_of_an_encoders_file_is_somebodys(name: str, study: Path) -> None:
    file = study / "encoders" / "g-0" / name
    put_folder(file)
    assert any(name in problem for problem in problems(study))
    with pytest.raises(UserError, match=f"{file}: a folder is in the place of a file of the study; move it away"):
        run_study(make_spec("simclr", epochs=2), study, workers=1)
    assert (file / "inside").is_dir()


def test_a_run_never_scores_with_weights_that_were_not_trained(whole: Path, study: Path) -> None:
    """Nor where it was interrupted between training and scoring."""
    results = study / "results.zarr"
    lose(
        *(results / f"alignment/c/{block}/0/0" for block in range(3)), *(results / f"completeness/scored/c/0/{b}" for b in range(3))
    )
    swap(study / "encoders/f-0/weights.safetensors", study / "encoders/g-0/weights.safetensors")
    run_study(make_spec("simclr", epochs=2), study, workers=1)
    assert numbers(study)[1] == numbers(whole)[1]
    assert list(problems(study)) == []


def test_a_whole_study_is_left_as_it_is(study: Path) -> None:
    before = {file: file.stat().st_mtime_ns for file in study.rglob("*")}
    events: list[Event] = []
    run_study(make_spec("simclr", epochs=2), study, workers=1, on_event=events.append)
    assert [event for event in events if not isinstance(event, Message)] == [Planned((), 2, 0)]
    assert {file: file.stat().st_mtime_ns for file in study.rglob("*") if file.name != ".lock"} == {
        file: time for file, time in before.items() if file.name != ".lock"
    }


@pytest.fixture(scope="module")
def audited(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, AuditSpec]:
    """An audit of vectors, whose encoders functions make: two blocks of samples, one of f and one of g."""
    folder = tmp_path_factory.mktemp("audit")
    loaded = load_audit(audit_of_vectors(folder, "damaged_mine"))
    return run_audit(loaded, folder / "mine", device="cpu").path, loaded


CODE = """
import numpy as np, torch

def source():
    return np.arange(20), np.random.default_rng(0).random((20, 4)).astype("float32")

def view(batch, ids, view, seed):
    noise = np.stack([np.random.default_rng([seed, view, int(i)]).normal(size=4) for i in ids]).astype("float32")
    return batch + 0.1 * (view > 0) * torch.as_tensor(noise)

def _made(seed):
    torch.manual_seed(seed)
    return torch.nn.Linear(4, 3).eval()

def f():
    return _made(1)

def g():
    return _made(2)
"""


def audit_of_vectors(folder: Path, module: str, code: str = CODE) -> Path:
    """The spec of an audit, beside its code and lists."""
    (folder / f"{module}.py").write_text(code)
    (folder / "f.csv").write_text("sample\n" + "\n".join(map(str, range(12))))
    (folder / "g.csv").write_text("sample\n" + "\n".join(map(str, [*range(8), *range(12, 16)])))
    spec = {
        "name": "mine",
        "source": f"{module}:source",
        "view": f"{module}:view",
        "scoring": {"views": 2, "block": 16},
        "encoders": [
            {"id": f"{family}-0", "seed": 0, "factory": f"{module}:{family}", "trained_on": f"{family}.csv"} for family in "fg"
        ],
    }
    (folder / "audit.yaml").write_text(json.dumps(spec))
    return folder / "audit.yaml"


AUDIT_MENDED = [
    (lose, "results.zarr/alignment/c/1/0/0", "alignment of f-0, block 1 (samples 16 to 19", [("scored", "f-0", 1)]),
    (flip, "results.zarr/alignment/c/0/0/1", "alignment of g-0, block 0", [("scored", "g-0", 0)]),
    (lose, "results.zarr/partition/c/0", "partition, block 0", []),
    (lose, "results.zarr/trained_on/c/0/0", "trained_on, block 0", []),
    (cut, "results.zarr/zarr.json", "zarr.json is damaged", []),
    (lose, "results.zarr/completeness/evaluated/c/0", "", []),
    (cut, "encoders/f-0/config.json", "encoders/f-0/config.json", [("scored", "f-0", 0), ("scored", "f-0", 1)]),
    (cut, "study.yaml", "study.yaml was gone or damaged", []),
]


@pytest.mark.parametrize(
    ("harm", "file", "told", "done"), AUDIT_MENDED, ids=lambda value: str(getattr(value, "__name__", value))[:40]
)
def test_an_audit_is_made_whole_likewise(
    harm: Callable, file: str, told: str, done: list[tuple], audited: tuple[Path, AuditSpec], tmp_path: Path
) -> None:
    whole, spec = audited
    study = Path(shutil.copytree(whole, tmp_path / "mine"))
    harm(study / file)
    assert main(["validate", str(study)]) == 2
    events: list[Event] = []
    run_audit(spec, study, device="cpu", on_event=events.append)
    assert not told or any(told in event.text for event in events if isinstance(event, Warned)), events
    assert [work for work in work_of(events) if work[0] == "scored"] == done
    assert list(problems(study)) == []
    assert numbers(study)[1] == numbers(whole)[1]


def check(study: Path, every: int) -> None:
    counts, wrong = sweep(study, every=every)
    print(table(counts))
    assert [(case.kind, str(case.file), *outcome) for case, outcome in wrong] == []
    assert list(problems(study)) == [], "the sweep leaves a study as it was"


def test_a_sample_of_all_damage_is_named(study: Path) -> None:
    assert len([*cases(study)]) > 500
    check(study, every=29)


@pytest.mark.slow
def test_all_damage_is_named(study: Path) -> None:
    check(study, every=1)


def test_old_stores_open_and_say_that_they_carry_no_checksums(study: Path) -> None:
    results = study / "results.zarr"
    expected = numbers(study)
    without_checksums(study)
    assert numbers(study) == expected
    assert list(problems(study)) == []
    assert any("carry no checksums" in sentence for sentence in caveats(Study(study).tree))
    lose(results / "alignment/c/1/0/1")
    assert any("alignment of g-0, block 1" in problem and "is missing" in problem for problem in problems(study))
    run_study(make_spec("simclr", epochs=2), study, workers=1)
    assert numbers(study)[1] == expected[1]


def test_a_record_that_cannot_be_read_is_named(tmp_path: Path) -> None:
    made = make_study(tmp_path / "fake", samples=60)
    record = min((made.results_path / RECORD).iterdir())
    record.unlink()
    record.mkdir()
    assert any(f"{RECORD}/{record.name} cannot be read" in problem for problem in problems(made.path))
