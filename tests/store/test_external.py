"""Tables of others' scores: right rows to right samples, whatever the order; one sentence for what cannot be read."""

from __future__ import annotations

import io
import os
import pickle
from pathlib import Path
from typing import Any

import numpy as np
import pandas as pd
import pytest
import xarray as xr
from hypothesis import given, settings
from hypothesis import strategies as st

from sslmem_kit.errors import UserError
from sslmem_kit.scores import _example
from sslmem_kit.store.external import external_scores
from sslmem_kit.store.pickled_text import read_text


def study(*, files: bool = False, offset: int = 100) -> xr.Dataset:
    """Results of 40 samples with the ids 100, 101, ... in an order of their own, and the names of their files."""
    results = _example.results()
    order = np.random.Generator(np.random.Philox(1)).permutation(results.sizes["sample"])
    results = results.isel(sample=order).assign_coords(sample=order + offset)
    return results.assign_coords(file=("sample", [f"train/n{i % 4}/n{i % 4}_{i}.JPEG" for i in order])) if files else results


def table(results: xr.Dataset, rows: int = 40) -> pd.DataFrame:
    """Scores of some samples in the order of their ids: three times the id."""
    ids = np.sort(results["sample"].values)[:rows]
    return pd.DataFrame({"sample": ids, "score": 3.0 * ids})


def write(frame: pd.DataFrame, path: Path) -> Path:
    """Write a frame in the format of a suffix."""
    if path.suffix == ".npz":
        named = frame.rename(columns={"file": "files"})
        np.savez(path, **{name: np.asarray(named[name].tolist()) for name in named.columns})
    elif path.suffix == ".parquet":
        frame.to_parquet(path, index=False)
    else:
        frame.to_csv(path, index=False, sep="\t" if path.suffix == ".tsv" else ",")
    return path


@pytest.mark.parametrize("suffix", [".csv", ".tsv", ".parquet", ".npz"])
def test_scores_come_to_their_samples_by_id(tmp_path: Path, suffix: str) -> None:
    results = study()
    found = external_scores(write(table(results), tmp_path / f"theirs{suffix}"), results)
    np.testing.assert_array_equal(found["score"].values, 3.0 * results["sample"].values)
    np.testing.assert_array_equal(found["sample"].values, results["sample"].values)
    assert (found.attrs["matched"], found.attrs["without"], found.attrs["others"], found.attrs["matched_by"]) == (
        40,
        0,
        0,
        "sample",
    )
    assert found.attrs["source"] == f"theirs{suffix}"
    assert len(found.attrs["sha256"]) == 64


@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".npz"])
@pytest.mark.parametrize("last", [False, True])
def test_scores_come_to_their_samples_by_file(tmp_path: Path, suffix: str, last: bool) -> None:
    results = study(files=True)
    names = [name.rsplit("/", 1)[-1] if last else name for name in results["file"].values[::-1].tolist()]
    frame = pd.DataFrame({"file": names, "score": np.arange(40.0)})
    found = external_scores(write(frame, tmp_path / f"theirs{suffix}"), results)
    np.testing.assert_array_equal(found["score"].values, np.arange(40.0)[::-1])
    assert found.attrs["matched_by"] == ("name of the file" if last else "file")


@settings(max_examples=25, deadline=None)
@given(seed=st.integers(0, 2**32 - 1), kept=st.integers(1, 40), more=st.integers(0, 1))
def test_order_and_number_of_rows_do_not_matter(tmp_path_factory: pytest.TempPathFactory, seed: int, kept: int, more: int) -> None:
    results, rng = study(), np.random.Generator(np.random.Philox(seed))
    frame = table(results).sample(kept, random_state=rng.integers(2**31))
    others = pd.DataFrame({"sample": 10_000 + np.arange(kept * more), "score": 0.5})
    path = tmp_path_factory.mktemp("tables") / "theirs.csv"
    frame = pd.concat([frame, others]).sample(frac=1, random_state=1)
    if len(frame) > 1 and frame["score"].nunique() == 1:
        return
    found = external_scores(write(frame, path), results)["score"]
    ids = frame["sample"][frame["sample"] < 10_000].to_numpy()
    assert found.attrs["higher"] == "as in the file"
    assert np.isfinite(found.values).sum() == kept
    np.testing.assert_array_equal(found.sel(sample=ids).values, 3.0 * ids)


def test_published_scores_of_cifar100_are_read(tmp_path: Path) -> None:
    """Arrays as Feldman and Zhang publish them: in the order of the train split, matrices of influence beside them."""
    results = study(offset=0)
    labels, path = np.zeros(60, int), tmp_path / "cifar100_infl_matrix.npz"
    labels[results["sample"].values] = 7 + results["label"].values  # classes may be numbered otherwise
    memorization = np.random.Generator(np.random.Philox(3)).random(60).astype(np.float32)
    np.savez(path, tr_mem=memorization, tr_labels=labels, tt_labels=np.zeros(9), infl_matrix_class0=np.ones((5, 4)))
    found = external_scores(path, results)
    assert list(found.data_vars) == ["memorization"]
    np.testing.assert_allclose(found["memorization"].values, memorization[results["sample"].values])
    np.savez(path, tr_mem=memorization, tr_labels=labels[::-1], tt_labels=np.zeros(9))
    with pytest.raises(UserError, match=r"its labels are those of this study for .* other data or another order"):
        external_scores(path, results)


def test_published_scores_of_imagenet_are_read_without_unpickling(tmp_path: Path) -> None:
    """Names of files stand there as an array of Python objects."""
    results = study(files=True)
    names = [name.rsplit("/", 1)[-1].encode() for name in results["file"].values.tolist()]
    path = tmp_path / "imagenet_index.npz"
    memorization = np.arange(40, dtype=np.float32)
    np.savez(path, tr_filenames=np.array(names, object), tr_mem=memorization, tr_labels=results["label"].values)
    np.testing.assert_array_equal(external_scores(path, results)["memorization"].values, memorization)


class _Harmful:
    def __init__(self, path: Path) -> None:
        self.path = path

    def __reduce__(self) -> tuple[Any, ...]:
        return os.mkdir, (str(self.path),)


def test_a_pickle_that_runs_code_is_refused_and_runs_none(tmp_path: Path) -> None:
    target, path = tmp_path / "made", tmp_path / "theirs.npz"
    array = np.array([_Harmful(target), "b"], object)
    np.savez(path, files=array, score=np.arange(2.0))
    with pytest.raises(UserError, match=r"array 'files' is a pickle that is not read.*mkdir"):
        external_scores(path, study(files=True))
    assert not target.exists()


@pytest.mark.parametrize("protocol", [0, 2, 3, 5])
def test_text_is_read_from_pickles_of_any_age(protocol: int) -> None:
    names = [b"n1/a.JPEG", "n2/\u00e9.png"]
    assert read_text(io.BytesIO(pickle.dumps(np.array(names, object), protocol))).tolist() == ["n1/a.JPEG", "n2/\u00e9.png"]
    for other in (np.array([1, "b"], object), ["a"], np.arange(3)):
        with pytest.raises(ValueError, match="a pickle"):
            read_text(io.BytesIO(pickle.dumps(other, protocol)))


@pytest.mark.parametrize(
    ("change", "message"),
    [
        (lambda frame: frame.drop(columns="sample"), r"no column sample \(ids\) or file"),
        (lambda frame: frame.drop(columns="score"), "no column of scores"),
        (lambda frame: frame.assign(score=0.5), "no column of scores, that is of numbers that differ"),
        (lambda frame: frame.assign(score="high"), "no column of scores"),
        (
            lambda frame: frame.assign(score=frame["score"].where(frame.index != 4)),
            "'score' holds 1 entries of 40 that are no finite .* row 5",
        ),
        (lambda frame: frame.assign(score=frame["score"].where(frame.index > 1, np.inf)), "holds 2 entries"),
        (
            lambda frame: frame.assign(sample=frame["sample"] + 30),
            "10 of 40 rows are samples of this study, the first that is none is 140",
        ),
        (lambda frame: pd.concat([frame, frame.iloc[:3]]), "it lists 3 samples more than once, the first is 100"),
        (lambda frame: frame.assign(sample=frame["sample"] + 0.5), "holds .*100.5.* integer sample ids are needed"),
        (lambda frame: frame.iloc[:0], "it has no rows"),
        (lambda frame: frame.rename(columns={"sample": "file"}), "the samples of this study have none; give a column sample"),
        (lambda frame: frame.assign(id=frame["sample"]), "two columns 'sample'"),
    ],
)
def test_bad_tables_are_refused_in_one_sentence(tmp_path: Path, change: Any, message: str) -> None:
    results = study()
    path = write(change(table(results)), tmp_path / "theirs.csv")
    with pytest.raises(UserError, match=message) as raised:
        external_scores(path, results)
    assert str(raised.value).startswith("--with: ")
    assert "\n" not in str(raised.value)


def test_sample_and_file_of_a_row_have_to_agree(tmp_path: Path) -> None:
    results = study(files=True)
    frame = table(results).assign(file=results["file"].sel(sample=np.sort(results["sample"].values)).values)
    assert external_scores(write(frame, tmp_path / "same.csv"), results).attrs["matched"] == 40
    frame.loc[[3, 4], "file"] = frame["file"].to_numpy()[[4, 3]]
    with pytest.raises(UserError, match="sample and file are of different samples in 2 rows of 40, the first is row 4"):
        external_scores(write(frame, tmp_path / "other.csv"), results)


def test_a_name_of_several_files_is_ambiguous(tmp_path: Path) -> None:
    results = study(files=True)
    results = results.assign_coords(file=("sample", [f"{i}/0.png" for i in range(40)]))
    with pytest.raises(UserError, match=r"several images of this study are called '0\.png'"):
        external_scores(write(pd.DataFrame({"file": ["0.png"], "score": [1.0]}), tmp_path / "theirs.csv"), results)


@pytest.mark.parametrize(
    ("name", "content"), [("a.npz", b"no zip"), ("a.parquet", b"PAR1"), ("a.csv", b"\xff\xfe\x00"), ("a.npz", b"")]
)
def test_damaged_files_are_refused(tmp_path: Path, name: str, content: bytes) -> None:
    (tmp_path / name).write_bytes(content)
    with pytest.raises(UserError, match="--with: "):
        external_scores(tmp_path / name, study())


def test_other_files_are_refused(tmp_path: Path) -> None:
    with pytest.raises(UserError, match=r"'a.json' is no table of scores .*\.npz, \.csv, \.tsv, \.parquet"):
        external_scores(tmp_path / "a.json", study())
    with pytest.raises(UserError, match="there is no file"):
        external_scores(tmp_path / "a.csv", study())


def test_chosen_columns_alone_are_read(tmp_path: Path) -> None:
    results = study()
    path = write(table(results).assign(other=np.arange(40.0)), tmp_path / "theirs.csv")
    assert list(external_scores(path, results).data_vars) == ["score", "other"]
    assert list(external_scores(path, results, columns=["other"]).data_vars) == ["other"]
    with pytest.raises(UserError, match="no column of scores 'othr', there are score, other, did you mean 'other'"):
        external_scores(path, results, columns=["othr"])


def test_arrays_of_other_lengths_are_refused(tmp_path: Path) -> None:
    np.savez(tmp_path / "a.npz", sample=np.arange(4), score=np.arange(3.0))
    with pytest.raises(UserError, match="array 'score' has 3 entries, 'sample' has 4"):
        external_scores(tmp_path / "a.npz", study())
    np.savez(tmp_path / "b.npz", memorization=np.arange(4.0), influence=np.ones((2, 4)))
    with pytest.raises(UserError, match=r"no column sample \(ids\) or file \(names of images\), it holds memorization"):
        external_scores(tmp_path / "b.npz", study())
