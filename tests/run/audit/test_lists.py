"""Lists of samples: what of them is used, and what is refused because it can be read in two ways."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import torch

import sslmem_kit
from sslmem_kit.errors import UserError
from sslmem_kit.run.audit.lists import Listed, read_list
from sslmem_kit.views.features import perturbed


def positions(ids: np.ndarray) -> np.ndarray:
    """The data have the ids 0, 10, ... 90."""
    strange = ids[(ids % 10 != 0) | (ids > 90)]
    if len(strange):
        raise UserError(f"{len(strange)} are no samples")
    return ids // 10


FILES = {f"cat/{number}.png": 10 * number for number in range(10)}


def listed(path: Path, content: str | np.ndarray | dict[str, np.ndarray], files: Any = None, *, members: bool = True) -> Listed:
    if isinstance(content, np.ndarray):
        with open(path, "wb") as handle:
            np.save(handle, content)
    elif isinstance(content, dict):
        with open(path, "wb") as handle:
            np.savez(handle, **content)
    else:
        path.write_bytes(content.encode())
    return read_list(path, field="trained_on", positions=positions, files=files, order=np.arange(10), members=members)


def read(path: Path, content: Any, files: Any = None) -> list[int]:
    return listed(path, content, files).positions.tolist()


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
        ("IDS.NPY", np.array([20, 0])),
        ("ids.npy", np.array([20.0, 0.0])),
        ("ids.npy", np.array(["cat/2.png", "cat/0.png"])),
        ("ids.npy", np.isin(np.arange(10), [0, 2])),
        ("ids.npz", {"trained_on": np.isin(np.arange(10), [0, 2])}),
        ("ids.npz", {"sample": np.arange(0, 100, 10), "trained_on": np.isin(np.arange(10), [0, 2])}),
        ("ids.npz", {"sample": np.array([20, 0]), "score": np.array([0.5, 0.1]), "study": np.array("a")}),
        ("IDS.CSV", "sample\r\n20\r\n\r\n0\r\n"),
        ("ids.csv", "sample\n20.0\n0.0\n"),
        ("ids.csv", " Sample ; label\n20;cat\n0; dog\n"),
        ("ids.tsv", "sample\tlabel\n20\ta,b\n0\tdog\n"),
        ("ids.csv", "sample\tlabel\n20\tcat\n0\tdog\n"),
        ("ids.csv", ",sample,label\n0,20,cat\n1,0,dog\n"),
        ("ids.csv", "Unnamed: 0,sample\n0,20\n1,0\n"),
        ("ids.csv", 'file,label\n"cat/2.png",a\n"cat/0.png",b\n'),
        ("ids.csv", '"cat/2.png"\n"cat/0.png"\n'),
        ("ids.csv", "id,file\n20,cat/2.png\n0,cat/0.png\n"),
        ("ids.csv", "sample,label\n20,1\n0,0\n"),
        ("ids.csv", "sample,class\n20,yes\n0,no\n"),
        ("ids.csv", "sample,trained_on\n0,True\n10,False\n20,True\n"),
        ("ids.csv", "sample,trainedOn\n0,1\n10,0\n20,1\n"),
        ("ids.csv", "sample,Member\n0,1\n10,0\n20,1\n"),
        ("ids.csv", "sample,in train\n0,yes\n10,no\n20,Yes\n"),
        ("ids.csv", "sample,is-train\n0,1.0\n10,0.0\n20,1.0\n"),
        ("ids.csv", "file;split\ncat/0.png;train\ncat/1.png;test\ncat/2.png;TRAIN\n"),
        ("ids.csv", "sample,split,seen\n0,train,1\n10,val,0\n20,train,1\n"),
        ("ids.csv", "sample,trained_on_f\n0,1\n10,0\n20,1\n"),
        ("ids.csv", "sample,train_loss\n0,0.5\n20,1.5\n"),
    ],
)
def test_lists_of_samples(tmp_path, name, content) -> None:
    assert read(tmp_path / name, content, files=lambda: FILES) == [0, 2]


def test_a_split(tmp_path) -> None:
    assert read(tmp_path / "ids.npz", {"sample": np.array([20, 0]), "other": np.zeros(3)}) == [0, 2]


@pytest.mark.parametrize(
    ("name", "content", "message"),
    [
        ("ids.json", "[]", r"suffix has to be one of \.csv, \.tsv, \.txt, \.npy, \.npz"),
        ("ids.csv", "a,b\n1,2\n", "has the columns a, b, one of them has to be called sample or id or file"),
        ("ids.csv", "a,sample\n1,20\n2\n", "row 3 has no column 'sample'"),
        ("ids.csv", "sample\n20\nseven\n", r"1 of 2|2 of 2.*integer sample ids are needed"),
        ("ids.csv", "sample\n20\n15\n", "1 are no samples"),
        ("ids.csv", f"sample\n20\n{10**20}\n", f"lists {10**20}, sample ids are integers of at most 64 bits"),
        ("ids.parquet", "PAR1", "write the table as .csv"),
        ("ids.csv", "sample,trained_on\n0,True\n20,\n", "column 'trained_on' says who was trained on, and holds '' in row 3"),
        ("ids.csv", "sample,trained_on\n0,maybe\n", "holds 'maybe' in row 2; True, False, 1, 0"),
        ("ids.csv", "sample,split\n0,0\n20,1\n", "holds '0' in row 2; train, test, val are understood"),
        ("ids.csv", "sample,split\n0,train\n20,pool\n", "holds 'pool' in row 3"),
        ("ids.csv", "sample,partition\n0,shared\n20,candidate\n", "column 'partition' says .* holds 'shared' in row 2"),
        ("ids.csv", "sample,trained_on,member\n0,1,1\n20,1,0\n", "columns 'trained_on' and 'member' both say .* differ in row 3"),
        (
            "ids.csv",
            "sample,trained_on_f,trained_on_g\n0,1,1\n20,1,0\n",
            "'trained_on_f' and 'trained_on_g' both say .* differ in row 3",
        ),
        ("ids.csv", "sample,unseen\n0,1\n20,0\n", "column 'unseen' could say who was not trained on"),
        ("ids.csv", "sample,is_test\n0,False\n20,True\n", "column 'is_test' could say who was not trained on"),
        ("ids.csv", "sample,model_a\n0,True\n20,False\n", "column 'model_a' of false and true could say who was trained on"),
        ("ids.csv", "trained_on\nTrue\nFalse\n", "trained_on says who was trained on, but it has the columns trained_on"),
        ("ids.csv", "sample,trained_on\n0,0\n20,0\n", "column 'trained_on' says no in every row"),
        ("ids.csv", "sample,trained_on\n0,1\n0,0\n", "says yes and no of sample 0"),
        ("ids.csv", "sample,id\n0,0\n20,30\n", r"columns 'sample' and 'id' are of different samples in row 3 \(20 and 30\)"),
        ("ids.csv", "sample,label\n0,a\n,b\n", "entry 2 of 2 in column 'sample' is empty"),
        ("ids.csv", 'sample\n0\n""\n', "entry 2 of 2 in column 'sample' is empty"),
        ("ids.csv", "sample,label\n0,a,b\n", "row 2 has 3 columns, the heading 2"),
        ("ids.csv", "sample,sample\n0,10\n", "two columns 'sample'"),
        ("ids.csv", "sample;label,name\n0;a,b\n", "its first line has commas and semicolons"),
        ("ids.csv", ",0\n0,20\n1,0\n", "one of them has to be called sample or id or file"),
        ("ids.csv", "sample\n20\n0.5\n", "entries are not samples of the data"),
        ("ids.csv", "sample\n20\n1e1\n", "entries are not samples of the data"),
        ("ids.csv", "0\n1\n1\n0\n1\n", "5 times 0 and 1 could be sample ids or a mask"),
        ("ids.npy", np.array([0, 1] * 5), "10 times 0 and 1 could be sample ids or a mask"),
        ("ids.npy", np.array([True] * 9), r"a mask of shape \(9,\) is given, the data has 10 samples"),
        ("ids.npy", np.array([0.0, np.nan]), "of which some are missing"),
        ("ids.npz", {"sample": np.array([0, 20]), "is_test": np.array([True, False])}, "'is_test' could say who was not"),
        ("ids.npz", {"a": np.arange(3), "b": np.arange(3)}, "it has no array sample, it holds a, b"),
        (
            "ids.npz",
            {"sample": np.array([0, 20]), "member": np.ones(10, bool)},
            r"array 'member' .* has shape \(10,\), the samples",
        ),
        ("ids.csv", "sample,include\n0,1\n10,0\n", "column 'include' of 0 and 1 could say who was trained on"),
        ("ids.csv", "sample,mask\n0,1\n10,0\n", "column 'mask' of 0 and 1 could say who was trained on"),
        ("ids.csv", "sample,times_seen\n0,3\n10,0\n", "column 'times_seen' of 0 and 3 could say who was trained on"),
        ("ids.npy", np.array([0.5]), "holds float64 of shape"),
        ("ids.npy", np.zeros((2, 2), int), r"holds int64 of shape \(2, 2\)"),
    ],
)
def test_bad_lists_are_told(tmp_path, name, content, message) -> None:
    with pytest.raises(UserError, match=f"trained_on: .*({message})") as caught:
        read(tmp_path / name, content)
    assert "\n" not in str(caught.value)
    with pytest.raises(UserError, match="there is no file"):
        read_list(tmp_path / "gone.csv", field="w", positions=positions, files=None, order=np.arange(10))


def test_an_unknown_file_name_is_told(tmp_path) -> None:
    with pytest.raises(
        UserError, match=r"1 of 2 entries .*\('dog/1.png'\), names of its image files, such as cat/0.png, are needed"
    ):
        read(tmp_path / "ids.csv", "file\ncat/2.png\ndog/1.png\n", files=lambda: FILES)


def test_a_list_of_nothing_is_no_list(tmp_path: Path) -> None:
    (tmp_path / "ids.csv").write_text("")
    np.save(tmp_path / "ids.npy", np.empty(0, np.int64))
    (tmp_path / "headed.csv").write_text("sample\n")
    for name in ("ids.csv", "headed.csv", "ids.npy"):
        with pytest.raises(UserError, match=r"trained_on: .* lists no samples"):
            read_list(tmp_path / name, field="trained_on", positions=lambda ids: ids, files=None, order=np.arange(10))


def test_what_was_used_is_told(tmp_path: Path) -> None:
    table = "sample,trained_on\n0,True\n10,False\n20,True\n0,True\n"
    assert (
        listed(tmp_path / "a.csv", table).how
        == "column sample where trained_on is yes, 2 of 10 samples (1 more entries repeat some)"
    )
    assert listed(tmp_path / "a.npy", np.isin(np.arange(10), [0, 2])).how == "a mask, 2 of 10 samples"
    both = "id,file\n20,cat/2.png\n0,cat/0.png\n"
    assert listed(tmp_path / "b.csv", both, lambda: FILES).how == "columns id and file, 2 of 10 samples"


def test_a_list_of_what_is_scored_has_no_memberships(tmp_path: Path) -> None:
    with pytest.raises(UserError, match="column 'split' looks as if it chose among the rows"):
        listed(tmp_path / "a.csv", "sample,split\n0,train\n10,test\n", members=False)
    assert listed(tmp_path / "a.csv", "sample,partition\n0,shared\n10,extra\n", members=False).positions.tolist() == [0, 1]


VALUES = np.random.default_rng(0).normal(size=(30, 5)).astype(np.float32)
MASK = np.arange(30) < 12


def seen(value: Any, ids: Any = None) -> list[int]:
    """Ids of the samples that a value in ``trained_on`` means, of 30."""
    torch.manual_seed(0)
    encoders = {"f": torch.nn.Linear(5, 4), "g": torch.nn.Linear(5, 4)}
    options = {"view": perturbed, "views": 1, "device": "cpu", "ids": ids}
    results = sslmem_kit.score_encoders(encoders, VALUES, trained_on={"f": value, "g": []}, **options)
    column = results["trained_on"].sel(encoder="f")
    return column["sample"].values[column.values].tolist()


@pytest.mark.parametrize(
    "value",
    [
        MASK,
        MASK.tolist(),
        tuple(MASK.tolist()),
        torch.from_numpy(MASK),
        pd.Series(MASK),
        pd.array(MASK, dtype="boolean"),
        np.arange(12),
        np.arange(12.0),
        np.arange(12, dtype=np.uint8),
        list(range(12)),
        range(12),
        set(range(12)),
        frozenset(range(12)),
        (number for number in range(12)),
        torch.arange(12),
        pd.Series(range(12), index=range(40, 52)),
        pd.array(range(12), dtype="Int64"),
        [*range(12), 3, 3],
    ],
)
def test_masks_and_ids_in_python(value: Any) -> None:
    assert seen(value) == list(range(12))


def test_a_mask_is_in_the_order_of_the_data() -> None:
    ids = np.random.default_rng(1).permutation(30) * 3
    assert seen(MASK, ids) == sorted(ids[:12].tolist())


@pytest.mark.parametrize(
    ("value", "message"),
    [
        (MASK[:12], r"trained_on\['f'\]: a mask of shape \(12,\) is given, the data has 30 samples"),
        ([True, False], r"a mask of shape \(2,\)"),
        ({True, False}, r"a mask of shape \(2,\)"),
        (MASK.astype(int), "30 times 0 and 1 could be sample ids or a mask"),
        (MASK.astype(float), "30 times 0 and 1 could be sample ids or a mask"),
        (np.stack([MASK, MASK]), r"a mask of shape \(2, 30\)"),
        ([0.5, 1.0], r"it holds float64 of shape \(2,\)"),
        ([1.0, np.nan], "of which some are missing"),
        ([True, 3, 4], "True and False stand beside numbers"),
        (pd.Series(MASK)[::-1], "a mask with an index of its own"),
        (pd.array([True, None] * 15, dtype="boolean"), "it holds object"),
        ("all", "got a str, sample ids or a mask are needed"),
        ({"a": 1}, "got a dict"),
        (None, "it holds object"),
        (3, r"of shape \(\)"),
        ([[1, 2]], r"of shape \(1, 2\)"),
        ([-1], "1 of 1 ids are not samples"),
    ],
)
def test_what_could_be_read_in_two_ways_is_refused(value: Any, message: str) -> None:
    with pytest.raises(UserError, match=message):
        seen(value)
