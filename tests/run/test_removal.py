"""Samples taken out of the partition: nobody trains on them or scores them, everything else stays, and mistakes are told."""

from __future__ import annotations

import json
from collections.abc import Callable, Iterator
from contextlib import nullcontext
from pathlib import Path

import numpy as np
import pytest
import yaml
from safetensors.numpy import load_file

from sslmem_kit.cli import main
from sslmem_kit.data import samples as samples_module
from sslmem_kit.data.partition import UNUSED, take_out
from sslmem_kit.data.samples import StudySamples
from sslmem_kit.names import PARTITION_CODE
from sslmem_kit.report.export import score_table
from sslmem_kit.run.removal import study_samples, worth
from sslmem_kit.spec.design import EncoderPlan
from sslmem_kit.spec.loading import load_spec, parse_spec
from sslmem_kit.spec.partition import RemovalSpec
from sslmem_kit.spec.study import StudySpec
from sslmem_kit.statistics.extremes import cross_fitted, in_words
from sslmem_kit.statistics.variance_components import CrossedScores
from sslmem_kit.study import open_study
from tests.support.fake_study import give_to_design, make_study, workers_in_this_process
from tests.training.test_loop import make_spec

SPEC = make_spec("simclr", epochs=2, record_every=0)


@pytest.fixture(autouse=True)
def _fresh(request: pytest.FixtureRequest) -> Iterator[None]:
    """Data and removal files are read once a process; here files change."""
    samples_module._load.cache_clear()
    with nullcontext() if request.node.name == "test_end_to_end" else workers_in_this_process():
        yield


def plan(family: str) -> EncoderPlan:
    return EncoderPlan(id=f"{family}-0", family=family, seed=0)


def drawn() -> StudySamples:
    return study_samples(SPEC)


def ids_of(code: int) -> np.ndarray:
    samples = drawn()
    return samples.dataset.ids[samples.codes == code]


def selection(path: Path, ids: np.ndarray, **arrays: object) -> Path:
    """A file as the explorer exports it."""
    fields = {"data_fingerprint": drawn().dataset.fingerprint, "study": "tiny", "score": np.zeros(len(ids), np.float32)}
    np.savez(path, sample=ids, **{**fields, **arrays})
    return path


def removed(path: Path, **partition: object) -> StudySpec:
    content = SPEC.as_dict()
    content["partition"] |= {"remove": str(path), **partition}
    return parse_spec(content, where="test")


def write_spec(folder: Path, **changes: object) -> str:
    path = folder / "spec.yaml"
    path.write_text(yaml.safe_dump({**SPEC.as_dict(), **changes}))
    return str(path)


def test_what_is_listed_is_taken_out_and_all_else_stays(tmp_path: Path) -> None:
    gone = np.concatenate([ids_of(0)[:5], ids_of(1)[3:6], ids_of(3)[:2], ids_of(UNUSED)[:4]])
    with_all = drawn()
    left = study_samples(removed(selection(tmp_path / "s.npz", gone)))
    taken = np.isin(left.dataset.ids, gone)
    assert (left.codes[taken] == UNUSED).all()
    np.testing.assert_array_equal(left.codes[~taken], with_all.codes[~taken])
    for family, size in (("f", 70 - 5 - 3), ("g", 70 - 5)):
        assert len(left.training(plan(family))) == size
        assert not np.isin(left.training(plan(family)), gone).any()
        np.testing.assert_array_equal(left.training(plan(family)), [i for i in with_all.training(plan(family)) if i not in gone])
    assert not np.isin(left.dataset.ids[left.scored], gone).any()
    assert left.channel_statistics == with_all.channel_statistics


def test_every_sample_that_stays_keeps_its_slot(tmp_path: Path) -> None:
    """So that f and g still meet there, with the same views, though they have different numbers of samples."""
    gone = ids_of(1)[[0, 4, 7]]
    before = {family: drawn().slots(plan(family)) for family in "fg"}
    left = study_samples(removed(selection(tmp_path / "s.npz", gone)))
    f, g = left.slots(plan("f")), left.slots(plan("g"))
    np.testing.assert_array_equal(g, before["g"])
    np.testing.assert_array_equal(f, np.where(np.isin(before["f"], gone), -1, before["f"]))
    assert (f == -1).sum() == 3
    labels = dict(zip(left.dataset.ids.tolist(), left.dataset.labels.tolist(), strict=True))
    pairs = [(labels[a], labels[b]) for a, b in zip(f[60:], g[60:], strict=True) if a >= 0]
    full = [(labels[a], labels[b]) for a, b in zip(before["f"][60:], before["g"][60:], strict=True) if a not in gone]
    assert pairs == full


def run(arguments: list[str], out: Path) -> int:
    return main(["run", *arguments, "--out", str(out), "--workers", "2"])


def test_end_to_end(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    gone = np.concatenate([ids_of(1)[:3], ids_of(0)[:2]])
    file = selection(tmp_path / "selection.npz", gone)
    out, command = tmp_path / "less", [write_spec(tmp_path), "--remove", str(file)]
    assert run(command, out) == 0
    study = open_study(out)
    assert study.spec.partition.remove == str(file.resolve())
    assert not np.isin(study.results["sample"].values, gone).any()
    assert study.results.sizes["sample"] == 85
    assert np.bincount(study.results["partition"].values).tolist() == [58, 7, 10, 10]
    config = {name: json.loads((out / "encoders" / name / "config.json").read_text()) for name in ("f-0", "g-0")}
    assert {name: entry["samples"] for name, entry in config.items()} == {"f-0": 65, "g-0": 68}
    assert np.isfinite(study.scores()["difference"]).all()
    assert json.loads(study.results.attrs["data"])["removed"] == {"shared": 2, "candidate": 3}
    assert "taken out by partition.remove: 2 shared, 3 candidate" in capsys.readouterr().err
    for after in (["validate", str(out)], ["report", str(out)]):
        assert main(after) == 0

    # Again: complete. The file's order and what else it holds make no difference, other ids do.
    assert run(command, out) == 0
    selection(file, np.concatenate([gone[::-1], gone[:1]]), study="other")
    samples_module._load.cache_clear()
    assert run(command, out) == 0
    selection(file, gone[:-1])
    samples_module._load.cache_clear()
    capsys.readouterr()
    assert run(command, out) == 2
    assert "partition.remove: " in (said := capsys.readouterr().err)
    assert "takes out other samples than when this study started" in said
    assert run([command[0]], out) == 2
    assert "partition.remove is " in capsys.readouterr().err


def test_removing_what_nobody_uses_beside_one_extra_sample_changes_no_weight(tmp_path: Path) -> None:
    """Training depends on what is trained on alone."""
    spec, file = write_spec(tmp_path), selection(tmp_path / "s.npz", np.append(ids_of(UNUSED)[:10], ids_of(3)[0]))
    assert run([spec], tmp_path / "all") == 0
    assert run([spec, "--remove", str(file)], tmp_path / "less") == 0
    for name in ("f-0", "g-0"):
        first, second = (load_file(tmp_path / study / "encoders" / name / "weights.safetensors") for study in ("all", "less"))
        assert first.keys() == second.keys()
        assert all((first[key] == second[key]).all() for key in first)
    both = [open_study(tmp_path / name).results["alignment"] for name in ("all", "less")]
    np.testing.assert_array_equal(both[0].sel(sample=both[1]["sample"]), both[1])


def test_a_named_partition_and_a_path_of_the_working_directory(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "here").mkdir()
    monkeypatch.chdir(tmp_path / "here")
    spec = load_spec("digits", remove=Path("s.npz"))
    assert spec.partition.remove == str(tmp_path / "here" / "s.npz")
    assert spec.partition.model_copy(update={"remove": None}) == load_spec("digits").partition
    candidates = study_samples(load_spec("digits"))
    ids = candidates.dataset.ids[candidates.codes == 1][:10]
    np.savez("s.npz", sample=ids)
    assert int((study_samples(spec).codes == 1).sum()) == 134


def test_a_relative_path_in_a_spec_is_seen_from_the_spec(tmp_path: Path) -> None:
    (tmp_path / "mine.yaml").write_text("name: mine\ndata: {name: digits}\npartition: {remove: lists/a.npz}\n")
    spec = load_spec(tmp_path / "mine.yaml")
    assert spec.partition.remove == str(tmp_path / "lists" / "a.npz")
    assert spec.resolved(Path("/elsewhere")) == spec


def test_plan_counts_what_is_left(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    file = selection(tmp_path / "s.npz", ids_of(1)[:4])
    assert main(["plan", write_spec(tmp_path), "--remove", str(file), "--json"]) == 0
    assert json.loads(capsys.readouterr().out)["samples"] == {"shared": 60, "candidate": 6, "independent": 10, "extra": 10}


@pytest.mark.parametrize("way", ["highest", "keep_highest"])
def test_what_is_removed_is_worth_what_other_seeds_give(tmp_path: Path, way: str) -> None:
    study = make_study(tmp_path / "scored", effect=0.02)
    found = worth(RemovalSpec.model_validate({"study": str(study.path), way: 5}))
    expected = cross_fitted(CrossedScores.of(study.results), 5).sel(end="highest")
    assert (found["count"], found["of"], found["by"], found["seeds"]) == (5, 20, "sslmem", 3)
    assert (found["mean"], found["cross_fitted"]) == (expected["naive"].item(), expected["cross_fitted"].item())
    assert abs(found["mean"] - found["cross_fitted"]) > 0.001
    assert found["sentence"].endswith(in_words(expected))
    assert ("stay" in found["sentence"]) == (way == "keep_highest")
    at_random = worth(RemovalSpec(study=str(study.path), random=0.5))
    scores = study.scores()
    mean = scores["difference"].values[scores["partition"].values == PARTITION_CODE["candidate"]].mean()
    assert (at_random["count"], at_random["mean"]) == (10, pytest.approx(mean))


def test_removal_by_subsets_is_worth_what_the_pairs_give(tmp_path: Path) -> None:
    study = make_study(tmp_path / "scored", seeds=4)
    give_to_design(study, "subset", seeds=[2, 3])
    found = worth(RemovalSpec(study=str(study.path), highest=3))
    table = score_table(study)
    chosen = table[table["partition"] == "candidate"].nlargest(3, "rank_score")
    assert found["by"] == "rank_score"
    assert (found["mean"], found["pairs"]) == pytest.approx((chosen["rank_score"].mean(), chosen["difference"].mean()))
    assert f"by pairs, which did not choose them, {found['pairs']:+.4f}" in found["sentence"]


def test_plan_says_what_a_removal_by_scores_takes_out(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    study = make_study(tmp_path / "scored")
    monkeypatch.setattr("sslmem_kit.run.plan.chosen_by_scores", lambda spec, dataset, codes, seed: np.flatnonzero(codes == 1)[:4])
    spec = write_spec(tmp_path, partition=SPEC.as_dict()["partition"] | {"remove": {"study": str(study.path), "highest": 4}})
    assert main(["plan", spec]) == 0
    (line,) = [line for line in capsys.readouterr().out.splitlines() if line.startswith("removal")]
    assert line.split(maxsplit=1)[1] == worth(RemovalSpec(study=str(study.path), highest=4))["sentence"]


def test_specs_without_a_removal_keep_their_hash() -> None:
    """Studies that were begun before the field was there go on: these are the hashes they hold."""
    assert load_spec("digits").partition.remove is None
    content = SPEC.as_dict()
    del content["partition"]["remove"]
    old = parse_spec(content, where="old")
    assert old == SPEC
    assert old.hash == SPEC.hash
    assert parse_spec({"name": "tiny", "data": {"name": "digits"}}, where="old").resolved(Path("/")).hash == "72fb7756e9040f8a"


MISTAKES: dict[str, tuple[Callable[[Path], object], str]] = {
    "no file": (lambda path: None, "is not there, an npz file"),
    "a folder": (lambda path: path.mkdir(), "is not a file, an npz file"),
    "text": (lambda path: path.write_text("1, 2, 3"), "is not an npz archive"),
    "cut": (
        lambda path: path.write_bytes(selection(path, np.arange(9)).read_bytes()[:-30]),
        "is not an npz archive, or it is cut short",
    ),
    "no sample": (lambda path: np.savez(path, ids=np.arange(3)), "has no array sample, it holds ids"),
    "numbers with a point": (
        lambda path: np.savez(path, sample=np.arange(3.0)),
        "sample has dtype float64 and shape (3,), integer",
    ),
    "a table": (lambda path: np.savez(path, sample=np.ones((2, 2), int)), "sample has dtype int64 and shape (2, 2), integer"),
    "objects": (lambda path: np.savez(path, sample=np.array([1, "a"], object)), "cannot be read (Object arrays"),
    "unknown ids": (lambda path: selection(path, np.array([3, 99999])), "1 of 2 are not samples of 'digits' (99999)"),
    "negative ids": (lambda path: selection(path, np.array([-1])), "1 of 1 are not samples of 'digits' (-1)"),
    "other data": (lambda path: selection(path, np.arange(3), data_fingerprint="abc"), "made from other data than 'digits'"),
    "nothing listed": (lambda path: selection(path, np.array([], int)), "none of the 0 listed samples is in a partition"),
    "nothing used": (lambda path: selection(path, ids_of(UNUSED)[:5]), "none of the 5 listed samples is in a partition"),
    "no candidate left": (lambda path: selection(path, ids_of(1)), "all 10 candidate samples are listed, at least 1"),
    "no independent left": (lambda path: selection(path, ids_of(2)), "all 10 independent samples are listed, at least 1"),
}


@pytest.mark.parametrize("case", MISTAKES)
def test_a_file_that_cannot_be_used(case: str, tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    write, telling = MISTAKES[case]
    file = tmp_path / "list.npz"
    write(file)
    assert run([write_spec(tmp_path), "--remove", str(file)], tmp_path / "out") == 2
    said = capsys.readouterr().err.strip().splitlines()[-1]
    assert "partition.remove" in said
    assert telling in said, said
    assert "Traceback" not in said
    assert not (tmp_path / "out").exists()


def test_a_family_needs_two_samples() -> None:
    codes = np.array([0, 1, 1, 2, 2, 3])
    with pytest.raises(ValueError, match="family f would train on 1 sample"):
        take_out(codes, np.array([0, 1]))
    np.testing.assert_array_equal(take_out(codes, np.array([1, 4])), [0, UNUSED, 1, 2, UNUSED, 3])
    assert codes.tolist() == [0, 1, 1, 2, 2, 3]


def test_too_few_for_a_step_are_told_before_anything_begins(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    training = {**SPEC.as_dict()["training"], "batch_size": 35, "accumulate": 2}
    file = selection(tmp_path / "s.npz", ids_of(1)[:1])
    assert run([write_spec(tmp_path, training=training), "--remove", str(file)], tmp_path / "out") == 2
    assert "training.accumulate: 2 micro-batches of 35 need 70 samples, a family trains on 69" in capsys.readouterr().err
    assert not (tmp_path / "out").exists()


def test_the_field_is_part_of_the_spec(tmp_path: Path, capsys: pytest.CaptureFixture[str]) -> None:
    partition = {**SPEC.as_dict()["partition"], "remove": 5}
    assert run([write_spec(tmp_path, partition=partition)], tmp_path / "out") == 2
    assert "partition.remove: input should be a valid string, got 5" in capsys.readouterr().err
