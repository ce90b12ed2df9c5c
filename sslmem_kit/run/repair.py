"""Repair of damaged results: find all damage, report it, and have only that computed again.

Results of workers (scores, evaluations, weights) are marked as not done, so that the run computes them as if they had never been
started. Contents that follow from the spec and the data (ids, labels, partition, thumbnails, metadata) are copied from a new store that is
created beside the damaged one. Groups for looking at samples are removed and made again.
"""

from __future__ import annotations

import contextlib
import json
import shutil
from collections.abc import Callable, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from sslmem_kit import store
from sslmem_kit.errors import UserError
from sslmem_kit.spec.audit import AuditSpec
from sslmem_kit.spec.study import StudySpec
from sslmem_kit.store import file_record, integrity
from sslmem_kit.store.comparisons import remove_comparison, write_group
from sslmem_kit.store.directory import StudyFolder, as_yaml, is_of, started_as
from sslmem_kit.store.file_record import ADDED, COMPLETENESS, STORE, Damage
from sslmem_kit.store.files import remove, write_atomically
from sslmem_kit.store.metadata import DOCUMENT, read_documents, root_is_whole, write_root

WEIGHTS = "weights.safetensors"


@dataclass
class Repairs:
    """Damage that was found, and work left for workers beside the results that are no longer recorded as done."""

    messages: list[str] = field(default_factory=list)
    retrain: set[str] = field(default_factory=set)
    """Encoders whose weights are missing or damaged; their files are removed."""
    rewrite: set[str] = field(default_factory=set)
    """Encoders with whole weights whose configuration or history is damaged."""


def repair_spec(study: StudyFolder, spec: StudySpec | AuditSpec) -> bool:
    """Write ``study.yaml`` again, as the study was started, where it is missing or damaged and the results are of this spec.

    Returns
    -------
    True where it was written.

    Raises
    ------
    UserError
        A folder is in its place.
    """
    if study.spec_path.is_dir():
        raise _folder_in_the_way(study.spec_path)
    try:
        if study.spec_path.exists() and study.spec.hash == spec.hash:
            return False
    except UserError:
        pass
    finally:
        study.__dict__.pop("spec", None)
    if not root_is_whole(study.results_path):
        return False
    attributes = store.attributes(study.results_path)
    if not is_of(spec, attributes):
        return False
    # Not the places of `spec`: it is not checked yet that they hold the same data.
    write_atomically(study.spec_path, as_yaml(started_as(attributes) or spec).encode())
    file_record.note(study.results_path, STORE, [file_record.SPEC])
    return True


def recorded_threads(study: StudyFolder) -> int | None:
    """Return the threads that a study was started with, also where its metadata are damaged; None where it is new or they are unknown."""
    if not study.results_path.exists():
        return None
    if root_is_whole(study.results_path):
        return store.attributes(study.results_path).get("threads")
    for config in sorted(study.path.glob("encoders/*/config.json")):
        with contextlib.suppress(OSError, ValueError, KeyError, TypeError):
            return int(json.loads(config.read_bytes())["threads"])
    return None


def is_whole(path: Path) -> bool:
    """Return whether every file of a results store, and of its encoders, is as it was written, by reading all of them."""
    try:
        return not integrity.damages(path, read_documents(path), whole=True)
    except UserError:
        return False


def repair_results(study: StudyFolder, create: Callable[[Path], None], *, encoders: Sequence[str]) -> Repairs:
    """Restore a damaged results store so that the next steps of a run compute again what is damaged, and no more.

    Parameters
    ----------
    study
        Study whose lock is held.
    create
        Function that creates the study's store, empty, at a path.
    encoders
        Encoder ids, in the order of the store.
    """
    path, repairs = study.results_path, Repairs()
    again = path.with_name(f"{path.name}.again")
    remove(again)
    try:
        _repair_documents(path, again, create, repairs)
        documents = read_documents(path)
        found = integrity.damages(path, documents, whole=True)
        if any(damage.how == "has no checksum" or damage.name.startswith(integrity.RECORD) for damage in found):
            repairs.messages.append("the record of checksums is damaged")
            integrity.restore_record(path)
            found = integrity.damages(path, documents, whole=True)
        _clear_folders(path, found)
        added = [damage for damage in found if damage.name.split("/")[0] in ADDED]
        repairs.messages += integrity.describe([damage for damage in found if damage not in added], documents, encoders)
        groups = sorted({_group_of(damage.name) for damage in added})
        repairs.messages += [f"{group} is damaged{_again(group)}" for group in groups]
        if found:
            write_root(path, attributes={}, consolidated=False)
        for group in groups:
            _remove_group(path, group)
        static = [damage.name for damage in found if _is_static(damage)]
        _copy(path, again, create, static)
        taken = {}
        for damage in found:
            place = integrity.place(damage)
            if place:
                taken.setdefault(place, []).append(damage.name)
        for (encoder, block), names in taken.items():
            store.take_back(path, encoder=encoder, block=block)
            file_record.forget(path, str(encoder), [name for name in names if not name.startswith(COMPLETENESS)])
        _give_back(path, documents)
    finally:
        remove(again)
    for damage in found:
        if damage.encoder:
            (repairs.retrain if damage.name.endswith(WEIGHTS) else repairs.rewrite).add(damage.encoder)
    repairs.rewrite -= repairs.retrain
    for encoder in repairs.retrain & set(encoders):
        store.take_back(path, encoder=list(encoders).index(encoder), block=None)
        forget(study.encoder(encoder))
    return repairs


def _group_of(name: str) -> str:
    """Return the group that a file was added to a store with; a comparison is one by itself, other comparisons stay.

    Examples
    --------
    >>> _group_of("views/image/c/0"), _group_of("comparisons/mine/score/c/0"), _group_of("comparisons/zarr.json")
    ('views', 'comparisons/mine', 'comparisons/zarr.json')
    """
    return "/".join(name.split("/")[: 2 if name.startswith(f"{store.COMPARISONS}/") else 1])


def _again(group: str) -> str:
    """Return what a message says of a comparison that is removed: a run measures those of its spec alone."""
    name = group.removeprefix(f"{store.COMPARISONS}/")
    return "" if name in (group, DOCUMENT) else f" (unless the spec lists it, wait for `sslmem compare --with {name}`)"


def _remove_group(path: Path, group: str) -> None:
    """Remove a group that was added to a store: it is made again, a comparison from what is kept of it beside the store."""
    if group == f"{store.COMPARISONS}/{DOCUMENT}":
        remove(path / group)
        write_group(path)
    elif group.startswith(f"{store.COMPARISONS}/"):
        remove_comparison(path, group.split("/")[1])
    else:
        shutil.rmtree(path / group, ignore_errors=True)


def _clear_folders(path: Path, found: Sequence[Damage]) -> None:
    """Remove folders that stand in a file's place in the store, which nothing overwrites; raise an error for those outside it."""
    for file in (file_record.file_of(path, damage.name) for damage in found):
        if file.is_dir() and not file.is_symlink():
            if not file.is_relative_to(path):
                raise _folder_in_the_way(file)
            remove(file)


def _folder_in_the_way(file: Path) -> UserError:
    return UserError(f"{file}: a folder is in the place of a file of the study; move it away")


def forget(folder: Path) -> None:
    """Remove an encoder's weights and checkpoint: it is trained again."""
    remove(folder / WEIGHTS)
    for name in ("resume", "checkpoints"):
        shutil.rmtree(folder / name, ignore_errors=True)


def _repair_documents(path: Path, again: Path, create: Callable[[Path], None], repairs: Repairs) -> None:
    """Restore metadata, without which nothing else can be read."""
    entries, _ = file_record.read_record(path)
    documents = {name: entry for name, entry in entries.items() if name.endswith(f"/{DOCUMENT}") and not name.startswith("../")}
    broken = [name for name, entry in documents.items() if file_record.how_wholly(path / name, entry)]
    if broken or not root_is_whole(path):
        repairs.messages += [
            f"{name} is damaged{_again(_group_of(name))}" for name in (broken if root_is_whole(path) else [DOCUMENT, *broken])
        ]
        for group in {_group_of(name) for name in broken if name.split("/")[0] in ADDED}:
            _remove_group(path, group)
        _copy(path, again, create, [name for name in broken if name.split("/")[0] not in ADDED])
        if not root_is_whole(path):
            _copy(path, again, create, [DOCUMENT])
        write_root(path, attributes={}, consolidated=False)


def _copy(path: Path, again: Path, create: Callable[[Path], None], names: Sequence[str]) -> None:
    """Copy files of a store from a newly created one, and record them."""
    if names and not again.exists():
        create(again)
    for name in names:
        (path / name).parent.mkdir(parents=True, exist_ok=True)
        remove(path / name)  # it may be a folder, or a link to somewhere else
        if (again / name).is_file():
            shutil.copyfile(again / name, path / name)
    file_record.note(path, STORE, [name for name in names if name != DOCUMENT])


def _is_static(damage: Damage) -> bool:
    """Return whether a file of the store follows from the spec and the data."""
    inside = not damage.encoder and damage.array not in COMPLETENESS and not damage.name.startswith(integrity.RECORD)
    return inside and integrity.place(damage) is None and damage.name.split("/")[0] not in ADDED


def _give_back(path: Path, documents: dict) -> None:
    """Record results as done again that are whole and were recorded as written, where only the mark was lost."""
    if not file_record.is_recorded(path):
        return
    entries, _ = file_record.read_record(path)
    scored, evaluated, _ = integrity.completeness(path)
    groups = [name for name in ("layers", "common") if f"{name}/alignment" in documents]

    def whole(names: Sequence[str]) -> bool:
        return bool(names) and all(name in entries and not file_record.how_wholly(path / name, entries[name]) for name in names)

    for encoder in range(len(scored)):
        for block in range(scored.shape[1]):
            names = file_record.block_names(encoder, block, groups=groups)
            if not scored[encoder, block] and whole(names) and entries[names[0]].size >= 0:
                store.give_back(path, encoder=encoder, block=block)
        rows = [*file_record.rows_of(documents, encoder)]
        if not evaluated[encoder] and (whole(rows) or not rows):
            store.give_back(path, encoder=encoder, block=None)
