"""Validation of a study directory: spec, results and weights, and that they belong together."""

from __future__ import annotations

import json
import struct
from collections.abc import Iterator
from itertools import takewhile
from pathlib import Path

import numpy as np
import xarray as xr

from sslmem_kit import store
from sslmem_kit.data.membership import membership
from sslmem_kit.data.partition import trained_on
from sslmem_kit.errors import UserError, join_names
from sslmem_kit.names import MODE
from sslmem_kit.scores import of_pairs
from sslmem_kit.spec.audit import AuditSpec
from sslmem_kit.store import details, integrity
from sslmem_kit.store.directory import is_of
from sslmem_kit.store.metadata import read_documents
from sslmem_kit.study import Study, open_study


def problems(path: Path | str) -> Iterator[str]:
    """Sentences on what is wrong with a study directory, one a thing; reads every result, runs no code of the study's.

    Raises
    ------
    UserError
        There is no study, or its results cannot be opened.

    Examples
    --------
    >>> next(problems("papermill_runs/digits")).rpartition("/")[2]
    'config.json is missing'
    """
    study = open_study(path)
    documents = read_documents(study.results_path)
    expected = [plan.id for plan in study.spec.encoders]
    found = integrity.damages(study.results_path, documents, whole=True)
    yield from (f"{study.results_path}: {sentence}" for sentence in integrity.describe(found, documents, expected))
    try:
        tree = store.open_results(study.results_path, allow_incomplete=True, allow_damage=True)
    except UserError:
        if found:
            return  # reported above
        raise
    absent = store.missing(tree)
    if absent and not found:
        yield f"{study.results_path}: the study is incomplete, {absent}"
    if not is_of(study.spec, tree.attrs):
        yield f"{study.results_path}: the results are of another spec than study.yaml (hash {tree.attrs.get('spec_hash')}, {study.spec.hash})"
    elif integrity.is_edited(study.results_path):
        yield (
            f"{study.spec_path}: is not as sslmem wrote it: a place in it, or how it is written, was edited or damaged; `{study.command}` "
            "compares what lies there with what was scored, and records it"
        )
    encoders = [str(name) for name in tree["encoder"].values]
    if encoders != expected:
        same = len([*takewhile(lambda names: names[0] == names[1], zip(encoders, expected, strict=False))])
        there, wanted = (join_names(names[same:]) or "none" for names in (encoders, expected))
        yield f"{study.results_path}: after the first {same} the encoders are {there}, study.yaml has {wanted}"
    if found:
        return  # damaged values are not checked further
    if not absent:
        yield from (f"{study.results_path}: {problem}" for problem in (*store.data_problems(tree), *details.problems(tree)))
    if isinstance(study.spec, AuditSpec):
        yield from _audit_problems(study, tree)
    elif not absent:
        pairs = of_pairs(tree.to_dataset())
        families = [str(name) for name in pairs["family"].values]
        if (pairs["trained_on"].values != trained_on(pairs["partition"].values, families)).any():
            yield f"{study.results_path}: trained_on contradicts partition and family"
        if not np.isfinite(tree["training/loss"].values).all():
            yield f"{study.results_path}: the training loss holds values that are not finite, of encoders recorded as evaluated"
        for name in expected:
            yield from _weight_problems(study, name)


def _audit_problems(study: Study, tree: xr.DataTree) -> Iterator[str]:
    """Problems of an audit, whose mode and partition follow from who was trained on what; weights stay where their owner keeps them."""
    ids, families = ([str(name) for name in tree[name].values] for name in ("encoder", "family"))
    seen = np.asarray(tree["trained_on"]) if "trained_on" in tree.variables else None
    try:
        found = membership(ids, seen, families)
    except UserError as error:
        yield f"{study.results_path}: {error}"
        return
    if found.mode != tree.attrs[MODE]:
        yield f"{study.results_path}: its mode is {tree.attrs[MODE]!r}, who was trained on what makes it {found.mode!r}"
    if found.codes is not None and not np.array_equal(tree["partition"], found.codes):
        yield f"{study.results_path}: partition contradicts trained_on and family"
    for name in ids:
        if not (study.encoder(name) / "config.json").is_file():
            yield f"{study.encoder(name) / 'config.json'} is missing"


def _weight_problems(study: Study, encoder_id: str) -> Iterator[str]:
    folder = study.encoder(encoder_id)
    for name in ("config.json", "history.csv"):
        if not (folder / name).is_file():
            yield f"{folder / name} is missing"
    weights = folder / "weights.safetensors"
    try:
        # The header of a safetensors file says how long the file has to be: no torch is needed to see that it is whole.
        with open(weights, "rb") as handle:
            length = struct.unpack("<Q", handle.read(8))[0]
            header = json.loads(handle.read(length))
        end = max(entry["data_offsets"][1] for name, entry in header.items() if name != "__metadata__")
        if weights.stat().st_size != 8 + length + end:
            yield f"{weights} is truncated: {weights.stat().st_size} bytes, its header says {8 + length + end}"
    except FileNotFoundError:
        yield f"{weights} is missing"
    except (ValueError, struct.error, KeyError, OverflowError, MemoryError, UserError) as error:
        yield f"{weights} is damaged ({' '.join(str(error).split())[:100]})"
