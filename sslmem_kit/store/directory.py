"""The study directory (``study.yaml``, ``encoders/<id>/``, ``results.zarr``, ``figures/``, ``notebooks/``) and the lock of who writes there."""

from __future__ import annotations

import contextlib
import json
import os
from collections.abc import Iterator, Mapping
from functools import cached_property
from pathlib import Path
from typing import Any

from sslmem_kit.errors import UserError
from sslmem_kit.spec.audit import AuditSpec, is_audit, parse_audit
from sslmem_kit.spec.loading import parse_spec
from sslmem_kit.spec.moved import without_places
from sslmem_kit.spec.places import SPEC_FILE
from sslmem_kit.spec.reading import read_yaml, write_yaml
from sslmem_kit.spec.study import StudySpec
from sslmem_kit.store import file_record, integrity
from sslmem_kit.store.files import hold, is_leftover, remove, sweep, write_atomically
from sslmem_kit.store.folder import ResultsFolder
from sslmem_kit.store.metadata import root_is_whole

LOCK = ".lock"


class StudyBusy(UserError):
    """Another process writes to the study."""


class StudyFolder(ResultsFolder):
    """A study on disk: where its files are, its spec, and the lock of who writes. Opening one runs no code of its author's."""

    SPEC_FILE = SPEC_FILE

    def read_spec(self) -> StudySpec | AuditSpec:
        """Return the resolved spec: that of a study, or of an audit of encoders that were trained elsewhere."""
        loaded = read_yaml(self.spec_path)
        return (parse_audit if is_audit(loaded) else parse_spec)(loaded, where=str(self.spec_path))

    @cached_property
    def spec(self) -> StudySpec | AuditSpec:
        """The resolved spec, read once."""
        return self.read_spec()

    @property
    def command(self) -> str:
        """Command that makes this study, and resumes it."""
        return "sslmem score" if isinstance(self.spec, AuditSpec) else "sslmem run"

    @contextlib.contextmanager
    def lock(self) -> Iterator[None]:
        """Hold the study for one writer, having removed what killed ones left.

        Raises
        ------
        StudyBusy
            Another writer holds it.
        """
        with contextlib.ExitStack() as stack:
            try:
                stack.enter_context(hold(self.path / LOCK))
            except BlockingIOError as error:
                hint = f" ({error.strerror})" if LOCK in str(error.strerror) else ""
                raise StudyBusy(
                    f"{self.path}: another `{self.command}` is at work on this study, wait for it or stop it{hint}"
                ) from None
            self._sweep()
            yield

    def _sweep(self) -> None:
        """Remove what killed writers have left. Under the lock, for folders and zarr's own temporary files do not say who writes them."""
        for leftover in (*self.path.glob("results.zarr*.partial"), *self.results_path.rglob("*.partial")):
            remove(leftover)
        self.sweep_files()

    def sweep_files(self) -> None:
        """Remove files that killed processes were writing, those of rendering and drawing among them; nothing that is being written."""
        encoders = self.path / "encoders"
        for folder in (self.path, self.figures, self.notebooks, *encoders.glob("*"), *encoders.glob("*/resume")):
            sweep(folder)


def check_directory(path: Path, spec: StudySpec | AuditSpec) -> None:
    """Refuse a directory that cannot take a study of this spec, before anything is computed.

    Raises
    ------
    UserError
        The directory holds something else, or a study of another spec.
    """
    study = StudyFolder(path)
    there = next(folder for folder in (path, *path.parents) if folder.exists())
    if not there.is_dir():
        raise UserError(f"--out: {there} is a file, a folder is needed")
    if not os.access(there, os.W_OK | os.X_OK):
        raise UserError(f"--out: {there} cannot be written to; choose a folder that can")
    if study.spec_path.exists():
        known = is_recorded(study)
        there, here = (without_places(own.as_dict()) if known else own.as_dict() for own in (study.spec, spec))
        difference = _first_difference(there, here)
        if difference:
            field, there, here = difference
            hint = ""
            if field == "partition.remove":  # a place was left out to compare, and is to be seen
                there, here = (own.partition.remove and str(own.partition.remove) for own in (study.spec, spec))
                hint = " (--remove gives it)"
            if field == "downstream.tasks":
                hint = " (that moved ones hold the same is not known: have them, or a link to them, where they were)"
            raise UserError(
                f"--out: {path} holds a study of another spec, {field} is {there!r} there and {here!r} here{hint}; choose another directory"
            )
    elif path.is_dir() and not all(_is_own(entry) for entry in path.iterdir()):
        raise UserError(f"--out: {path} is not empty and holds no study.yaml; choose a new or an empty directory")


def is_recorded(study: StudyFolder) -> bool:
    """Return whether a study holds nothing yet that other data could contradict, or a record to compare them with."""
    if study.results_path.exists():
        return root_is_whole(study.results_path)
    return not any((study.path / "encoders").glob("*"))


def is_of(spec: StudySpec | AuditSpec, attributes: Mapping[str, Any]) -> bool:
    """Return whether results, by their attributes, are of a spec, wherever its data and weights lie now."""
    recorded = attributes.get("spec_hash")
    if recorded in (spec.hash, spec.hash_with_places):
        return True
    started = started_as(attributes)
    return started is not None and started.hash_with_places == recorded and started.hash == spec.hash


def started_as(attributes: Mapping[str, Any]) -> StudySpec | AuditSpec | None:
    """Return the spec that results were started with, by their attributes; None where it cannot be read."""
    with contextlib.suppress(UserError, ValueError, TypeError, AttributeError, KeyError):
        loaded = json.loads(attributes["spec"])
        return (parse_audit if is_audit(loaded) else parse_spec)(loaded, where="spec")
    return None


def take_places(study: StudyFolder, spec: StudySpec | AuditSpec) -> None:
    """Write where things lie now into ``study.yaml``, and record it. The lock is held, and they were seen to hold what they held.

    Raises
    ------
    UserError
        Meanwhile, before the lock was held, another process has started a study of another spec there.
    """
    check_directory(study.path, spec)
    if study.spec.as_dict() != spec.as_dict():
        write_atomically(study.spec_path, as_yaml(spec).encode())
        study.__dict__.pop("spec", None)
    if study.results_path.exists() and integrity.is_edited(study.results_path):
        file_record.note(study.results_path, file_record.STORE, [file_record.SPEC])


def places_changed(study: StudyFolder, spec: StudySpec | AuditSpec) -> bool:
    """Return whether there is something for :func:`take_places` to do in a study with results."""
    return study.spec != spec or integrity.is_edited(study.results_path)


def _is_own(entry: Path) -> bool:
    """Return whether an entry is of those that a run leaves that is killed before there is a study."""
    return entry.name in (LOCK, f"{LOCK}.pid") or (entry.name.startswith("study.yaml.") and is_leftover(entry))


def create_or_resume(path: Path, spec: StudySpec | AuditSpec) -> StudyFolder:
    """Return the study directory of a spec: made where there is none, resumed where the same spec made it, else refused."""
    check_directory(path, spec)
    study = StudyFolder(path)
    if not study.spec_path.exists():
        path.mkdir(parents=True, exist_ok=True)
        write_atomically(study.spec_path, as_yaml(spec).encode())
    return study


def as_yaml(spec: StudySpec | AuditSpec) -> str:
    """Return the spec as a ``study.yaml`` holds it: every field, in the order of the sections."""
    return write_yaml(spec.as_dict())


def _first_difference(there: Any, here: Any, field: str = "") -> tuple[str, Any, Any] | None:
    """Return the first field in which two resolved specs differ, with both values."""
    if isinstance(there, dict) and isinstance(here, dict):
        for key in (*there, *(key for key in here if key not in there)):
            found = _first_difference(there.get(key), here.get(key), f"{field}.{key}".lstrip("."))
            if found:
                return found
        return None
    return None if there == here else (field, there, here)
