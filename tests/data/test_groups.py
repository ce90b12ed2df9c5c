"""Groups: read from files, and whole in splits, partitions, folds and what encoders are trained without."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from sslmem_kit.data import load, stratified_test_split
from sslmem_kit.data.folds import folds
from sslmem_kit.data.groups import numbered, read_groups, sizes
from sslmem_kit.data.partition import assign
from sslmem_kit.data.samples import load_samples
from sslmem_kit.errors import UserError
from sslmem_kit.spec.data import DataSpec
from sslmem_kit.spec.loading import parse_spec
from sslmem_kit.spec.partition import PartitionSpec


def grouped(count: int, *, seed: int = 0) -> tuple[np.ndarray, np.ndarray]:
    """Labels, and groups of one to six members."""
    rng = np.random.default_rng(seed)
    return rng.integers(0, 4, count), numbered(rng.integers(0, count // 3, count))


def divided(groups: np.ndarray, sides: np.ndarray) -> int:
    """Number of groups with members on several sides."""
    pairs = np.unique(np.stack([groups, sides]), axis=1)
    return int((np.unique(pairs[0], return_counts=True)[1] > 1).sum())


@pytest.mark.parametrize("stratified", [True, False])
def test_partitions_keep_groups_whole_and_their_sizes(stratified: bool) -> None:
    labels, groups = grouped(600)
    is_test = numbered(groups) % 5 == 0
    spec = PartitionSpec(shared=0.5, candidate=0.2, independent=0.2, extra=60, stratified=stratified)
    codes = assign(labels, is_test, spec, seed=0, groups=groups)
    used = codes >= 0
    assert divided(groups[used], codes[used]) == 0
    train = int((~is_test).sum())
    assert [int((codes == code).sum()) for code in range(4)] == [round(0.5 * train), round(0.2 * train), round(0.2 * train), 60]
    other = assign(labels, is_test, spec, seed=1, groups=groups)
    assert (codes != other).any()


def test_without_groups_sides_would_divide_them() -> None:
    labels, groups = grouped(600)
    codes = assign(labels, np.zeros(600, bool), PartitionSpec(extra=0), seed=0)
    assert divided(groups, codes) > 20


@pytest.mark.parametrize("seed", range(3))
def test_samples_alone_are_cut_as_without_groups(seed: int) -> None:
    labels, _ = grouped(300, seed=seed)
    alone, ids, is_test = np.arange(300), np.arange(300) * 2, np.arange(300) % 4 == 3
    arguments = {"seed": seed}
    assert (assign(labels, is_test, PartitionSpec(), **arguments)
            == assign(labels, is_test, PartitionSpec(), **arguments, groups=alone)).all()  # fmt: skip
    assert (folds(labels, 4, stratified=True, seed=seed) == folds(labels, 4, stratified=True, seed=seed, groups=alone)).all()
    assert (stratified_test_split(ids, labels, 0.3, seed=seed)
            == stratified_test_split(ids, labels, 0.3, seed=seed, groups=alone)).all()  # fmt: skip


def test_folds_and_splits_keep_groups_whole() -> None:
    labels, groups = grouped(500)
    fold = folds(labels, 4, stratified=True, seed=0, groups=groups)
    assert divided(groups, fold) == 0
    assert np.ptp(np.bincount(fold)) <= sizes(groups).max()
    is_test = stratified_test_split(np.arange(500), labels, 0.3, seed=0, groups=groups)
    assert divided(groups, is_test) == 0
    assert 130 <= is_test.sum() <= 150


def test_held_out_members_of_trained_groups_are_in_no_partition() -> None:
    labels, groups = np.zeros(40, int), np.arange(40)
    groups[30:35] = 0
    codes = assign(
        labels, np.arange(40) >= 30, PartitionSpec(shared=10, candidate=10, independent=10, extra=5), seed=0, groups=groups
    )
    assert (codes[30:35] == -1).all()
    with pytest.raises(UserError, match=r"partition.extra: 6 samples of the test split are asked for, which has 5"):
        assign(labels, np.arange(40) >= 30, PartitionSpec(shared=10, candidate=10, independent=10, extra=6), seed=0, groups=groups)


def test_a_group_that_fits_nowhere_is_refused() -> None:
    with pytest.raises(UserError, match=r"partition.candidate: no group of data.groups has room in 2 samples"):
        assign(np.zeros(40, int), np.zeros(40, bool), PartitionSpec(shared=20, candidate=2, independent=2, extra=0), seed=0,
               groups=np.arange(40) // 10 * 10)  # fmt: skip


def spec_of(tmp_path: Path, groups: str, **more: object) -> DataSpec:
    return DataSpec.model_validate({"name": f"npz:{tmp_path}/images.npz", "groups": groups, **more})


@pytest.fixture
def images(tmp_path: Path) -> Path:
    rng = np.random.default_rng(0)
    arrays = {"images": rng.integers(0, 256, (60, 8, 8), dtype=np.uint8), "labels": np.arange(60) % 2}
    np.savez(tmp_path / "images.npz", **arrays)
    return tmp_path


def test_groups_of_a_table_and_of_an_archive(images: Path) -> None:
    names = np.where(np.arange(60) < 6, "p", "")
    names[6:9] = "q"
    rows = ["patient,sample", *(f"{name},{number}" for number, name in reversed(list(enumerate(names))))]
    (images / "patients.csv").write_text("\n".join(rows))
    np.savez(images / "groups.npz", whole=np.where(np.arange(60) < 6, 4, np.where(np.arange(60) < 9, 9, -1)))
    expected = np.arange(60)
    expected[:6], expected[6:9] = 0, 6
    for groups in (f"csv:{images}/patients.csv:patient", f"npz:{images}/groups.npz:whole"):
        dataset = load(spec_of(images, groups))
        assert dataset.groups.tolist() == expected.tolist()
        assert divided(dataset.groups, dataset.is_test) == 0
        assert dataset.record["groups"] == {"by": groups, "groups": 2, "samples": 9, "largest": 6, "test_in_train": 0}


@pytest.mark.parametrize(
    ("text", "name", "message"),
    [
        ("sample,patient\n1,a", "patient", "59 of 60 samples have no row, the first is sample '0'"),
        (
            "sample,patient\n" + "\n".join(f"{n},a" for n in range(60)) + "\n3,b",
            "patient",
            "sample '3' has more than one row, with diff",
        ),
        ("sample,patient,patient\n" + "\n".join(f"{n},a,b" for n in range(60)), "patient", "has more than one column 'patient'"),
        ("sample,patient\n" + "\n".join(f"{n},a" for n in range(59)) + "\n59", "patient", "line 61 has not as many cells"),
        ("sample,patient\n" + "\n".join(f"{n},a" for n in range(59)) + "\n59,a,b", "patient", "line 61 has not as many cells"),
        ("sample,patient\n" + "\n".join(f"{n},inf" for n in range(60)), "patient", "patient holds 'inf', which names no group"),
        ("sample,patient\n1,a", "patien", "has no column 'patien', it has sample, patient, did you mean 'patient'"),
        ("id,patient\n1,a", "patient", "has no column sample or file"),
        ("file,patient\nx.png,a", "patient", "it names files, the samples of .* have none"),
    ],
)
def test_tables_that_do_not_say_every_group_are_refused(images: Path, text: str, name: str, message: str) -> None:
    (images / "patients.csv").write_text(text)
    with pytest.raises(UserError, match=message):
        load(spec_of(images, f"csv:{images}/patients.csv:{name}"))


@pytest.mark.parametrize(
    ("arrays", "message"),
    [
        ({"g": np.zeros(59)}, "g has 59 values and the data 60 samples"),
        ({"g": np.zeros((60, 2))}, r"g has dtype float64 and shape \(60, 2\)"),
        ({"g": np.full(60, 0.5)}, "whole numbers or texts"),
        ({"g": np.where(np.arange(60) < 2, np.inf, 1)}, "g holds numbers beyond"),
        ({"g": np.full(60, 1e19)}, "g holds numbers beyond"),
        ({"g": np.array([b"\xff"] * 60)}, "g holds bytes that are no UTF-8 text"),
        ({"other": np.zeros(60)}, "has no array 'g', it holds other"),
        ({"g": np.zeros(60), "sample": np.arange(5)}, r"sample has dtype int64 and shape \(5,\)"),
    ],
)
def test_archives_that_do_not_say_every_group_are_refused(images: Path, arrays: dict[str, np.ndarray], message: str) -> None:
    np.savez(images / "groups.npz", **arrays)
    with pytest.raises(UserError, match=message):
        load(spec_of(images, f"npz:{images}/groups.npz:g"))


@pytest.mark.parametrize("missing", ["", "  ", "-1", "-1.0", "NaN", "nan", "None", "NA", "N/A", "null"])
def test_texts_of_missing_values_are_samples_alone(images: Path, missing: str) -> None:
    names = np.where(np.arange(60) < 4, "p", missing)
    (images / "p.csv").write_text("sample, patient\n" + "\n".join(f"{n},{name}" for n, name in enumerate(names)))
    np.savez(images / "p.npz", patient=names, encoded=names.astype("S"))
    expected = [0] * 4 + list(range(4, 60))
    for groups in (f"csv:{images}/p.csv:patient", f"npz:{images}/p.npz:patient", f"npz:{images}/p.npz:encoded"):
        assert load(spec_of(images, groups)).groups.tolist() == expected


def test_numbers_as_texts_are_the_same_group_and_rows_may_be_repeated(images: Path) -> None:
    names = ["1", "1.0", "1.", "01", "nancy", "nancy", *map(str, range(100, 154))]
    rows = [f"{n},{name}" for n, name in enumerate(names)]
    (images / "p.csv").write_text("\n".join(["sample,patient", *rows, rows[0], "1,1", "99,a", "99,b"]))
    assert load(spec_of(images, f"csv:{images}/p.csv:patient")).groups[:6].tolist() == [0, 0, 0, 3, 4, 4]


def test_files_name_samples_where_a_column_sample_has_other_names(tmp_path: Path) -> None:
    files, spec = ["a/1.png", "a/2.png", "b/3.png"], spec_of(tmp_path, f"csv:{tmp_path}/p.csv:patient")

    def groups(*rows: str, head: str = "sample,file,patient") -> list[int]:
        (tmp_path / "p.csv").write_text("\n".join([head, *rows]))
        return read_groups(spec, np.arange(3), files, total=3).tolist()

    assert groups("x,a/1.png,p", "y,a/2.png,q", "z,b/3.png,p") == [0, 1, 0]
    assert groups("1,a/1.png,p", "2,a/2.png,q", "3,b/3.png,p") == [0, 1, 0]
    with pytest.raises(UserError, match="columns sample and file name different samples"):
        groups("2,a/1.png,p", "1,a/2.png,q", "0,b/3.png,q")
    with pytest.raises(UserError, match=r"3 of 3 samples have no row, the first is file 'a/1.png'; the table has '1.png'"):
        groups("1.png,p", "2.png,q", "3.png,q", head="file,patient")


def test_few_groups_over_everything_are_what_is_wrong(images: Path) -> None:
    np.savez(images / "one.npz", g=np.arange(60) // 30)
    spec = parse_spec(
        {"name": "one", "data": {"name": f"npz:{images}/images.npz", "groups": f"npz:{images}/one.npz:g"},
         "partition": {"extra": 6}}, where="test",
    )  # fmt: skip
    with pytest.raises(
        UserError, match=r"partition.extra.*data.groups makes 2 groups, the largest of 30 of 60 samples.*smaller groups"
    ):
        load_samples(spec)


def test_a_wrong_word_is_refused_with_what_is_allowed() -> None:
    with pytest.raises(UserError, match=r"data.groups 'near_duplicate' is not known: allowed are near_duplicates, .*did you mean"):
        parse_spec({"name": "a", "data": {"name": "digits", "groups": "near_duplicate"}}, where="test")


def test_encoders_are_trained_without_whole_groups() -> None:
    spec = parse_spec(
        {
            "name": "grouped",
            "data": {"name": "digits_twins", "groups": "near_duplicates"},
            "partition": {"shared": 160, "candidate": 100, "independent": 100, "extra": 50},
            "training": {"seeds": 1, "batch_size": 16, "epochs": 1, "warmup_epochs": 0},
            "design": {"subsets": {"folds": 4, "repeats": 2}, "leave_one_out": {"samples": 8, "seeds": 1}},
        },
        where="test",
    )
    samples = load_samples(spec)
    data, scored = samples.dataset, samples.scored
    seen = samples.trained_on(spec.encoders)
    for plan, column in zip(spec.encoders, seen.T, strict=True):
        pool = np.isin(samples.codes[scored], [0, 1] if plan.design == "leave_one_out" or plan.family == "f" else [0, 1, 2])
        if plan.family != "g":
            assert divided(data.groups[scored][pool], column[pool]) == 0, plan.id
    assert max(map(len, samples.left_out)) > 1
    steps = {
        design: {samples.batches(plan) for plan in spec.encoders if plan.design == design} for design in ("subset", "leave_one_out")
    }
    assert {design: len(different) for design, different in steps.items()} == {"subset": 1, "leave_one_out": 1}


def test_a_spec_without_groups_is_the_one_that_it_was() -> None:
    one = parse_spec({"name": "a", "data": {"name": "digits"}}, where="test")
    assert "groups" not in one._counting["data"]
    moved = [
        parse_spec({"name": "a", "data": {"name": "digits", "groups": f"csv:{place}/a.csv:b"}}, where="t") for place in ("/x", "/y")
    ]
    assert moved[0].hash == moved[1].hash != one.hash
