"""Stores from strangers: only what this package writes is opened, and nothing of one is read before its metadata have been."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from sslmem_kit.cli import main
from sslmem_kit.errors import UserError
from sslmem_kit.store import open_results
from sslmem_kit.store.metadata import memory_bytes, read_documents
from tests.support.fake_study import make_study

PICKLED = {
    "zarr_format": 2,
    "shape": [1],
    "chunks": [1],
    "dtype": "|O",
    "compressor": None,
    "fill_value": None,
    "order": "C",
    "filters": [{"id": "pickle"}],
    "node_type": "array",
}


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_study(tmp_path_factory.mktemp("strangers") / "tiny", samples=60, seeds=1, views=2).path


@pytest.fixture
def store(made: Path, tmp_path: Path) -> Path:
    """As a stranger sends it: without what would tell that it was changed."""
    path = Path(shutil.copytree(made, tmp_path / "tiny")) / "results.zarr"
    shutil.rmtree(path / "completeness/scored/checksums")
    edit(path, "", lambda root: root["attributes"].pop("sealed"))
    return path


def edit(path: Path, name: str, change: Callable[[dict], Any]) -> None:
    """Change a node's own document, not its copy in the consolidated metadata."""
    file = path / name / "zarr.json"
    document = json.loads(file.read_text())
    change(document)
    file.write_text(json.dumps(document))


def edit_both(path: Path, name: str, change: Callable[[dict], Any]) -> None:
    edit(path, name, change)
    edit(path, "", lambda root: change(root["consolidated_metadata"]["metadata"][name]))


def huge(document: dict) -> None:
    document["shape"][0] = memory_bytes()


def huge_chunks(document: dict) -> None:
    document["shape"][0] = memory_bytes()
    document["chunk_grid"]["configuration"]["chunk_shape"][0] = memory_bytes()


def shard_of_strangers(document: dict) -> None:
    document["codecs"][0]["configuration"]["codecs"] = [{"name": "numcodecs.pickle", "configuration": {}}]


def more(root: dict) -> None:
    copies = root["consolidated_metadata"]["metadata"]
    copies["more"] = copies["label"]


CASES: dict[str, tuple[Callable[[Path], None], str]] = {
    "pickles of format 2 beside the own arrays": (
        lambda path: edit(path, "", lambda root: root["consolidated_metadata"]["metadata"].update(extra=PICKLED)),
        "give extra the zarr_format 2",
    ),
    "pickles of format 2 in place of labels": (
        lambda path: edit(path, "", lambda root: root["consolidated_metadata"]["metadata"].update(label=PICKLED)),
        "give label the zarr_format 2",
    ),
    "an array of format 2": (lambda path: edit(path, "label", lambda own: own.update(zarr_format=2)), "zarr_format is 2"),
    "a store of format 2": (lambda path: edit(path, "", lambda own: own.update(zarr_format=2)), "zarr_format is 2"),
    "other arrays": (lambda path: edit(path, "", more), "more/zarr.json is missing"),
    "another fill value": (lambda path: edit(path, "label", lambda own: own.update(fill_value=2)), "label/zarr.json differs"),
    "another shape in the copies": (
        lambda path: edit(path, "", lambda root: huge(root["consolidated_metadata"]["metadata"]["alignment"])),
        "alignment/zarr.json differs",
    ),
    "a codec of numcodecs": (
        lambda path: edit_both(path, "label", lambda own: own.update(codecs=[{"name": "numcodecs.pickle"}])),
        "label: its data is made with the codec 'numcodecs.pickle'",
    ),
    "a codec within shards": (lambda path: edit_both(path, "images/thumbnail", shard_of_strangers), "the codec 'numcodecs.pickle'"),
    "another data type": (
        lambda path: edit_both(path, "label", lambda own: own.update(data_type="variable_length_bytes")),
        "its data_type is 'variable_length_bytes'",
    ),
    "labels that memory cannot hold": (lambda path: edit_both(path, "label", huge), "more than this machine's"),
    "a chunk that memory cannot hold": (lambda path: edit_both(path, "alignment", huge_chunks), "more than this machine's"),
    "more chunks than memory can list": (
        lambda path: edit_both(path, "alignment", lambda own: own["chunk_grid"]["configuration"].update(chunk_shape=[1, 1, 1]) or huge(own)),
        "more than this machine's",
    ),
    "a negative shape": (lambda path: edit_both(path, "label", lambda own: own.update(shape=[-1])), "do not fit"),
    "a shape of truths": (lambda path: edit_both(path, "label", lambda own: own.update(shape=[True])), "do not fit"),
    "a transformer of what is stored": (
        lambda path: edit_both(path, "label", lambda own: own.update(storage_transformers=[{"name": "x"}])),
        "no regular grid",
    ),
    "a list in place of metadata": (lambda path: (path / "label/zarr.json").write_text("[]") and None, "it is no mapping"),
    "deep nesting": (lambda path: (path / "label/zarr.json").write_text("[" * 100_000) and None, "metadata is damaged"),
    "attributes that are none": (lambda path: edit(path, "label", lambda own: own.update(attributes=3)), "attributes are no mapping"),
}  # fmt: skip


@pytest.mark.parametrize("case", CASES)
def test_what_this_package_does_not_write_is_refused(case: str, store: Path, capsys: pytest.CaptureFixture) -> None:
    assert len(read_documents(store)) > 30
    harm, told = CASES[case]
    harm(store)
    with pytest.raises(UserError) as refused:
        open_results(store)
    assert told in str(refused.value)
    for command in (["report"], ["validate"], ["export", "--to", str(store.parent / "s.csv")]):
        assert main([command[0], str(store.parent), *command[1:]]) == 2
        said = capsys.readouterr()
        assert told in said.err
        assert len(said.err.splitlines()) == 1
