"""A sample of a folder can be found again: its file's name is in the store, in whatever leaves it, and in front of whoever looks."""

from __future__ import annotations

import io
import json
from pathlib import Path

import numpy as np
import pandas as pd
import pytest
import xarray as xr
import yaml
from PIL import Image

from sslmem_kit.cli import main
from sslmem_kit.data import load
from sslmem_kit.data.samples import _removed, load_samples
from sslmem_kit.errors import UserError
from sslmem_kit.explorer.downloads.files import csv_file, npz, npz_file
from sslmem_kit.explorer.gallery.detail import Detail
from sslmem_kit.explorer.gallery.gallery import Gallery
from sslmem_kit.explorer.scatter.plot_overlay import describe
from sslmem_kit.explorer.session import Session
from sslmem_kit.explorer.study_cache import Library
from sslmem_kit.report.build import build_report
from sslmem_kit.report.export import export, guarded
from sslmem_kit.report.text import as_text
from sslmem_kit.spec.data import DataSpec
from sslmem_kit.spec.loading import load_spec
from sslmem_kit.statistics.fdr import fdr_summary
from sslmem_kit.study import Study
from tests.support.fake_study import make_study

FORMULAS = ("=1+1", "+1", "-1", "@SUM(A1)", "\tx", "\rx")


def named(id_: int) -> str:
    return f"=cmd|{id_}.png" if id_ == 9 else f"clässe {id_ % 3}/bild {id_}.png"


@pytest.fixture(scope="module")
def study(tmp_path_factory: pytest.TempPathFactory) -> Study:
    return make_study(tmp_path_factory.mktemp("files") / "tiny", samples=150, seeds=2, views=3, effect=0.3, files=named)


def test_the_store_has_them_and_reads_them_only_when_asked(study: Study) -> None:
    file = study.results["file"]
    assert file.dims == ("sample",)
    assert file.chunks is not None
    assert [str(name) for name in file.values] == [named(id_) for id_ in study.results["sample"].values]
    ids = study.results["sample"].values
    np.testing.assert_array_equal(study.tree["images/height"].values, 100 + ids)
    np.testing.assert_array_equal(study.tree["images/width"].values, 200 + ids)


@pytest.mark.parametrize("protocol", ["paper", "corrected"])
@pytest.mark.parametrize("suffix", [".csv", ".parquet", ".nc"])
def test_every_export_has_them_beside_the_id(suffix: str, protocol: str, study: Study, tmp_path: Path) -> None:
    path = export(study, tmp_path / f"scores{suffix}", protocol=protocol)
    if suffix == ".nc":
        with xr.open_dataset(path, engine="h5netcdf") as found:
            ids, files = found["sample"].values, found["file"].values
    else:
        frame = pd.read_csv(path) if suffix == ".csv" else pd.read_parquet(path)
        assert list(frame)[:2] == ["sample", "file"]
        ids, files = frame["sample"].to_numpy(), frame["file"].to_numpy()
    wanted = [named(id_) for id_ in ids]
    if suffix == ".csv":
        wanted = ["'" + name if name.startswith("=") else name for name in wanted]
    assert [str(name) for name in files] == wanted


def test_data_without_files_have_no_such_column(tmp_path: Path) -> None:
    digits = make_study(tmp_path / "digits", samples=60, seeds=1, views=2)
    assert "file" not in digits.results.coords
    assert "file" not in pd.read_csv(export(digits, tmp_path / "scores.csv"))
    assert "file" not in fdr_summary(digits.scores()).coords


@pytest.mark.parametrize("text", FORMULAS)
def test_text_of_others_is_no_formula_and_numbers_stay_numbers(text: str) -> None:
    frame = guarded(pd.DataFrame({"sample": [1], "file": [text], "class": [text], "sslmem": [-0.5]}))
    assert frame["file"].tolist() == frame["class"].tolist() == ["'" + text]
    assert frame["sslmem"].tolist() == [-0.5]
    assert guarded(pd.DataFrame({"file": [f"a{text}"]}))["file"].tolist() == [f"a{text}"]


def test_discoveries_are_named_with_id_and_file(study: Study) -> None:
    report = build_report(study, fdr=0.2)
    scores = study.scores()
    for name, sign in (("candidate", 1), ("independent", -1)):
        row = report["discoveries"][name]
        assert row["memorized"] == len(row["samples"]) == len(row["files"]) > 0
        assert row["files"] == [named(id_) for id_ in row["samples"]]
        own = scores.isel(sample=np.flatnonzero(scores["q_value"].values <= 0.2))
        own = own.isel(sample=own["partition"].values == {"candidate": 1, "independent": 2}[name])
        assert set(row["samples"]) == set(own["sample"].values.tolist())
        ordered = sign * scores["sslmem"].sel(sample=row["samples"]).values
        assert (np.diff(ordered) <= 0).all()
    text = as_text(json.loads(json.dumps(report)))
    assert named(report["discoveries"]["candidate"]["samples"][0]) in text


def test_a_long_list_is_cut_in_the_text_alone(study: Study) -> None:
    report = build_report(study, fdr=0.2)
    row = report["discoveries"]["candidate"]
    row["samples"], row["files"] = list(range(50)), [f"{number}\n.png" for number in range(50)]
    text = as_text(report)
    assert "19\\n.png" in text
    assert "20\\n.png" not in text
    assert "and 30 more" in text


def test_the_explorer_shows_them_in_list_hover_detail_and_downloads(study: Study) -> None:
    session = Session(Library([study.path]))
    opened, some = session.opened, np.array([7, 2, 2, 40])
    assert [str(name) for name in opened.files(some)] == [named(id_) for id_ in opened.ids[some]]
    for item in Gallery(session).view.items:
        assert item["file"] == named(item["id"])
    assert ["file", named(int(opened.ids[4]))] in describe(session, 4)
    detail = Detail(session)
    session.sample = id_ = int(opened.ids[4])
    assert detail.view.record["file"] == named(id_)
    assert detail.view.record["size"] == f"pixels: {200 + id_} x {100 + id_} in its file, 8 x 8 here"
    frame = pd.read_csv(io.BytesIO(b"".join(csv_file(opened, session.scores, some))))
    assert frame["file"].tolist() == ["'" + name if (name := named(i))[0] == "=" else name for i in opened.ids[some]]
    with np.load(io.BytesIO(b"".join(npz_file(opened, session.scores, some))), allow_pickle=False) as arrays:
        assert arrays["file"].tolist() == [named(id_) for id_ in arrays["sample"]]


@pytest.fixture(scope="module")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder, rng = tmp_path_factory.mktemp("photos") / "photos", np.random.default_rng(0)
    for label in ("a", "b"):
        (folder / label).mkdir(parents=True)
        for number in range(12):
            shape = (8 + number, 10, 3)
            Image.fromarray(rng.integers(0, 255, shape, dtype=np.uint8)).save(folder / label / f"{number}.png")
    return folder


def test_a_split_whose_ids_and_files_contradict_each_other_is_refused(photos: Path, tmp_path: Path) -> None:
    dataset = load(DataSpec(name=f"folder:{photos}"))
    assert [str(name) for name in dataset.files[:3]] == ["a/0.png", "a/1.png", "a/10.png"]
    ids = dataset.ids[[1, 4, 13]]
    files = dataset.files[[1, 4, 13]].astype(object).astype(str)
    (tmp_path / "good.npz").write_bytes(npz({"sample": ids, "file": files}))
    np.testing.assert_array_equal(_removed(tmp_path / "good.npz", dataset), [1, 4, 13])
    (tmp_path / "bad.npz").write_bytes(npz({"sample": ids, "file": np.roll(files, 1)}))
    with pytest.raises(UserError, match=r"3 of 3 files are not those of the listed samples .*a/1.png"):
        _removed(tmp_path / "bad.npz", dataset)
    (tmp_path / "short.npz").write_bytes(npz({"sample": ids, "file": files[:2]}))
    with pytest.raises(UserError, match="the names of the 3 files are needed"):
        _removed(tmp_path / "short.npz", dataset)
    with pytest.raises(UserError, match="have none"):
        _removed(tmp_path / "good.npz", load(DataSpec(name="digits")))


def test_a_run_writes_the_name_and_the_size_of_every_scored_image(photos: Path, tmp_path: Path) -> None:
    spec = {
        "name": "photos",
        "data": {"name": f"folder:{photos}"},
        "partition": {"candidate": 4, "independent": 4, "shared": 8, "extra": 4},
        "encoder": {
            "backbone": "resnet10t",
            "stem": "small",
            "options": {"channels": [4, 4, 8, 8], "stem_width": 4, "stem_type": ""},
        },
        "training": {"epochs": 1, "warmup_epochs": 0, "seeds": 1, "batch_size": 8},
        "scoring": {"views": 2},
    }
    (tmp_path / "spec.yaml").write_text(yaml.safe_dump(spec))
    out = tmp_path / "out"
    assert main(["run", str(tmp_path / "spec.yaml"), "--out", str(out), "--scheduler", "serial"]) == 0
    assert main(["validate", str(out)]) == 0
    study, samples = Study(out), load_samples(load_spec(str(tmp_path / "spec.yaml")))
    scored = samples.dataset.ids[samples.scored]
    np.testing.assert_array_equal(study.results["sample"].values, scored)
    for id_, file, height, width in zip(
        scored, study.results["file"].values, study.tree["images/height"].values, study.tree["images/width"].values, strict=True
    ):
        with Image.open(photos / str(file)) as image:
            assert image.size == (width, height)
            wanted = samples.dataset.read([id_])[0]
        assert f"{'ab'[int(samples.dataset.labels[samples.dataset.positions([id_])][0])]}/" == str(file)[:2]
        np.testing.assert_array_equal(study.tree["images/thumbnail"].sel(sample=id_).values, wanted)
