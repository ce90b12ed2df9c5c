"""Lists of training samples, and what follows from them for families, partitions and modes."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from sslmem_kit.audit.membership import membership, read_ids
from sslmem_kit.errors import UserError
from sslmem_kit.names import PARTITIONS
from sslmem_kit.partition import trained_on


def columns(*rows: str) -> np.ndarray:
    """(sample, encoder) of a text of x and . for each encoder."""
    return np.array([[mark == "x" for mark in row] for row in rows]).T


def names(codes: np.ndarray) -> list[str]:
    return [PARTITIONS[code] for code in codes]


def test_two_sets_are_f_and_g() -> None:
    told = membership(["a", "b", "c"], columns("xx..", "x.x.", "xx.."), [None] * 3)
    assert (told.families, told.designs, told.mode) == (("f", "g", "f"), ("pair",) * 3, "pair")
    assert names(told.codes) == ["shared", "candidate", "independent", "extra"]


def test_families_may_be_said() -> None:
    told = membership(["a", "b"], columns("xx..", "x.x."), ["g", "f"])
    assert names(told.codes) == ["shared", "independent", "candidate", "extra"]
    with pytest.raises(UserError, match=r"a and b are of family 'f' but were trained on different samples \(2 differ\)"):
        membership(["a", "b"], columns("xx..", "x.x."), ["f", "f"])


def test_more_sets_are_numbered_subsets() -> None:
    told = membership(["a", "b", "c"], columns("xxx..", "xx.x.", "x..xx"), [None] * 3)
    assert (told.families, told.designs, told.mode) == (("0", "1", "2"), ("subset",) * 3, "subset")
    assert names(told.codes) == ["shared", "candidate", "candidate", "candidate", "candidate"]


@pytest.mark.parametrize(
    ("seen", "families", "expected"),
    [
        (columns("xx.."), [None], ("f",)),
        (columns("xx..", "xx.."), [None, None], ("f", "f")),
        (columns("xx..", "xx.."), ["f", "g"], ("f", "g")),
        (columns("....", "...."), [None, None], ("f", "f")),
        (None, [None, None], ("0", "0")),
        (None, ["f", "g"], ("f", "g")),
    ],
)
def test_without_a_sample_on_both_sides_it_is_one_model(seen, families, expected) -> None:
    told = membership(["a", "b"], seen, families)
    assert (told.mode, told.families) == ("one model", expected)
    assert (told.codes is None) == (seen is None)


@given(st.lists(st.tuples(st.booleans(), st.booleans()), min_size=1, max_size=30))
def test_codes_of_a_pair_say_who_saw_what(rows: list[tuple[bool, bool]]) -> None:
    seen = np.array(rows)
    told = membership(["f", "g"], seen, ["f", "g"])
    assert (trained_on(told.codes, ["f", "g"]) == seen).all()


def positions(ids: np.ndarray) -> np.ndarray:
    """The data have the ids 0, 10, ... 90."""
    strange = ids[(ids % 10 != 0) | (ids > 90)]
    if len(strange):
        raise UserError(f"{len(strange)} are no samples")
    return ids // 10


FILES = {f"cat/{number}.png": 10 * number for number in range(10)}


def read(path, content: str | np.ndarray, files=None) -> list[int]:
    if isinstance(content, np.ndarray):
        np.save(path, content)
    else:
        path.write_text(content)
    return read_ids(path, where="trained_on", positions=positions, files=files).tolist()


@pytest.mark.parametrize(
    ("name", "content"),
    [
        ("ids.csv", "sample,label\n20,cat\n0,dog\n20,cat\n"),
        ("ids.csv", "label,id\ncat,20\ndog,0\n"),
        ("ids.csv", "20\n0\n\n"),
        ("ids.csv", "\ufeffsample\n20\n0\n"),
        ("ids.txt", "20\n0\n"),
        ("ids.csv", "file\ncat/2.png\ncat/0.png\n"),
        ("ids.txt", "cat/2.png\ncat/0.png\n"),
        ("ids.npy", np.array([20, 0])),
    ],
)
def test_lists_of_samples(tmp_path, name, content) -> None:
    assert read(tmp_path / name, content, files=lambda: FILES) == [0, 2]


def test_a_split(tmp_path) -> None:
    np.savez(tmp_path / "ids.npz", sample=np.array([20, 0]), other=np.zeros(3))
    assert read_ids(tmp_path / "ids.npz", where="w", positions=positions, files=None).tolist() == [0, 2]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("ids.json", "[]", r"suffix has to be one of \.csv, \.txt, \.npy, \.npz"),
        ("ids.csv", "a,b\n1,2\n", "has the columns a, b, one of them has to be called sample or id or file"),
        ("ids.csv", "a,sample\n1,20\n2\n", "row 3 has no column 'sample'"),
        ("ids.csv", "sample\n20\nseven\n", r"1 of 2|2 of 2.*integer sample ids are needed"),
        ("ids.csv", "sample\n20\n15\n", "1 are no samples"),
        ("ids.csv", f"sample\n20\n{10**20}\n", f"lists {10**20}, sample ids are integers of at most 64 bits"),
        ("ids.npy", np.array([0.5]), "holds float64 of shape"),
        ("ids.npy", np.zeros((2, 2), int), r"holds int64 of shape \(2, 2\)"),
    ],
)
def test_bad_lists_are_told(tmp_path, name, content, message) -> None:
    with pytest.raises(UserError, match=f"trained_on: .*({message})") as caught:
        read(tmp_path / name, content)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="there is no file"):
        read_ids(tmp_path / "gone.csv", where="w", positions=positions, files=None)


def test_an_unknown_file_name_is_told(tmp_path) -> None:
    with pytest.raises(
        UserError, match=r"1 of 2 entries .*\('dog/1.png'\), names of its image files, such as class/name.png, are needed"
    ):
        read(tmp_path / "ids.csv", "file\ncat/2.png\ndog/1.png\n", files=lambda: FILES)


def test_a_list_of_nothing_is_no_list(tmp_path: Path) -> None:
    (tmp_path / "ids.csv").write_text("")
    np.save(tmp_path / "ids.npy", np.empty(0, np.int64))
    (tmp_path / "headed.csv").write_text("sample\n")
    for name in ("ids.csv", "headed.csv", "ids.npy"):
        with pytest.raises(UserError, match=r"trained_on: .* lists no samples"):
            read_ids(tmp_path / name, where="trained_on", positions=lambda ids: ids, files=None)
