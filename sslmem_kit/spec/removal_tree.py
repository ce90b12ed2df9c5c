"""The spec of a removal tree: a study whose scores choose samples, and encoders that are trained without them, or on them alone.

One spec stands for the study and all encoders that follow from it (figures 3, 6 and 7, Tables 3, 10, 14 and 17). Amounts are of the study's
candidates, which its family f is trained on.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, ValidationError, field_validator, model_validator

from sslmem_kit.errors import UserError
from sslmem_kit.spec.data import DataSpec
from sslmem_kit.spec.downstream import check_tasks
from sslmem_kit.spec.frontier import FrontierSpec, is_frontier, parse_frontier
from sslmem_kit.spec.loading import find_spec, is_name, load_spec, parse_spec, with_changes
from sslmem_kit.spec.messages import first_error
from sslmem_kit.spec.moved import ANYWHERE, HashedSpec
from sslmem_kit.spec.partition import Amount
from sslmem_kit.spec.paths import absolute, expanded
from sslmem_kit.spec.places import SPEC_FILE
from sslmem_kit.spec.section import Count, FolderName
from sslmem_kit.spec.study import StudySpec

TREE_FILE = "removal.yaml"
"""File that makes a folder a removal tree."""
PARENT = "parent"
"""Folder, in a tree, of the study that is trained as part of it."""

Way = Literal["highest", "lowest", "random"]
Order = Literal["pairs", "subsets", "adjusted", "shrunken"]
ORDERS: tuple[str, ...] = get_args(Order)
OF_PAIRS = ("pairs", "shrunken")
"""Orders by pairs of encoders; within the candidates shrunken scores have the order of the scores, so both choose the same samples."""


class RemovalTreeSpec(HashedSpec):
    """A removal tree: samples that are removed or kept by scores, and encoders that are trained on what is left."""

    name: FolderName
    """Name of the tree, and of its folder: letters, digits, '.', '_' and '-'."""
    description: str = ""
    """Purpose of the tree, in words; empty by default."""
    scores_of: str | StudySpec
    """Study whose scores choose: the folder of a finished one, or a name or a YAML file of one that is trained as part of the tree, or its
    whole spec. Its family f, with some samples missing, is what is trained, with its settings."""
    remove: tuple[Way, ...] | None = None
    """Ways to choose the candidates that are removed: any of ``highest``, ``lowest`` and ``random``; either this or ``keep``."""
    keep: tuple[Way, ...] | None = None
    """Ways to choose the candidates that are kept, all others being removed (coresets); either this or ``remove``."""
    amounts: tuple[Amount, ...]
    """Numbers of candidates that are removed, or kept: counts, or fractions of the candidates. None removed is always among them."""
    draws: Count = 3
    """Number of random sets of each amount; a larger one holds the smaller one's samples. Other ways have one set."""
    seeds: Count = 3
    """Number of trainings on each set, with the study's seed and those that follow it: the first are those of its own encoders."""
    orders: tuple[Order, ...] = ("pairs",)
    """Scores that ``highest`` and ``lowest`` go by: ``pairs`` of encoders, the study's encoders on random ``subsets``, ``adjusted`` (these,
    with what they share taken out as far as it does not repeat), ``shrunken`` (chooses as pairs do)."""
    tasks: tuple[DataSpec, ...] | None = None
    """Data sets whose probes are compared beside the study's own; null: ``downstream.tasks`` of the study."""
    margin: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """Largest difference in accuracy that counts as none, for the tests of equivalence; 0.01 is one point."""
    protocol: Literal["paper", "released", "corrected"] = "corrected"
    """Protocol of the scores."""

    @model_validator(mode="after")
    def _removes_or_keeps(self) -> RemovalTreeSpec:
        if (self.remove is None) == (self.keep is None):
            raise ValueError(f"give one of remove and keep, here are {'none' if self.remove is None else 'both'}")
        if self.action == "keep" and 0 in self.amounts:
            raise ValueError("amounts holds 0, at least 1 candidate has to be kept")
        return self

    @field_validator("remove", "keep", "orders", "amounts")
    @classmethod
    def _listed_once(cls, values: tuple[Any, ...] | None) -> tuple[Any, ...] | None:
        if values is not None and not values:
            raise ValueError("at least one is needed")
        listed = values or ()
        for place, value in enumerate(listed):
            if value in listed[:place]:
                raise ValueError(f"{value!r} is listed twice")
        return values

    @field_validator("tasks")
    @classmethod
    def _tasks_have_different_names(cls, tasks: tuple[DataSpec, ...] | None) -> tuple[DataSpec, ...] | None:
        check_tasks(tasks or (), field="tasks")
        return tasks

    @property
    def action(self) -> str:
        """``"remove"`` or ``"keep"``."""
        return "keep" if self.remove is None else "remove"

    @property
    def ways(self) -> tuple[Way, ...]:
        """Ways to choose, of either."""
        return self.remove or self.keep or ()

    @property
    def _counting(self) -> dict[str, Any]:
        parent = self.scores_of
        return {**self.as_dict(), "scores_of": ANYWHERE if isinstance(parent, str) else parent.hash}

    def parent_folder(self, out: Path) -> Path:
        """Return the folder of the study whose scores choose, of a tree in the folder ``out``."""
        return Path(self.scores_of) if isinstance(self.scores_of, str) else out / PARENT

    def resolved(self, base: Path) -> RemovalTreeSpec:
        """Return the spec with absolute paths, and the study that is trained as part of it in full."""
        parent = _study(self.scores_of, base) if isinstance(self.scores_of, str) else self.scores_of.resolved(base)
        tasks = None if self.tasks is None else tuple(task.resolved(base) for task in self.tasks)
        check_tasks(tasks or (), field="tasks")
        return self.model_copy(update={"scores_of": parent, "tasks": tasks})


def _study(name: str, base: Path) -> str | StudySpec:
    """Return the folder of a study that is there, absolute, or the spec of one that is trained as part of the tree.

    A name that ``sslmem studies`` lists always stands for a spec, whatever lies in a folder of that name.
    """
    path = base / expanded(name)
    if not is_name(name) and (path / SPEC_FILE).is_file():
        return str(path.resolve())
    try:
        return load_spec(name if is_name(name) or not path.is_file() else path)
    except UserError as error:
        raise UserError(f"scores_of: {error}; the folder of a finished study will do too") from None


def is_tree(loaded: Mapping[str, Any]) -> bool:
    """Return whether a mapping is the spec of a removal tree: no other spec has ``scores_of``."""
    return "scores_of" in loaded


def parse_tree(loaded: Mapping[str, Any], *, where: str) -> RemovalTreeSpec:
    """Validate a mapping; a :class:`UserError` names the first thing that is wrong with it in one sentence."""
    parent = loaded.get("scores_of")
    if isinstance(parent, Mapping):
        loaded = {**loaded, "scores_of": parse_spec(parent, where=f"{where}: scores_of")}
    elif not isinstance(parent, str):
        raise UserError(f"{where}: scores_of is {parent!r}, the folder of a study, a name or the spec of one is needed")
    try:
        return RemovalTreeSpec.model_validate(loaded)
    except ValidationError as error:
        raise UserError(f"{where}: {first_error(error, root=RemovalTreeSpec)}") from None


def load_any(
    spec: str | Path, *, seed: int | None = None, remove: Path | None = None, data: str | None = None
) -> StudySpec | RemovalTreeSpec | FrontierSpec:
    """Return the resolved spec of a study, a removal tree or a mitigation frontier, by a name or the path of a YAML file.

    Parameters
    ----------
    spec, seed, remove, data
        As :func:`sslmem_kit.load_spec`; of a tree or a frontier, ``seed`` and ``data`` are those of the study that is trained as part of it.

    Raises
    ------
    UserError
        As :func:`sslmem_kit.load_spec`; a change to a study that is finished, or ``remove`` for a tree.
    """
    loaded, base = find_spec(str(spec))
    if is_frontier(loaded):
        if remove is not None:
            raise UserError(f"--remove: {spec} is a mitigation frontier, whose arms remove nothing; leave it out")
        return parse_frontier(loaded, where=str(spec), base=base, seed=seed, data=data)
    if not is_tree(loaded):
        return load_spec(spec, seed=seed, remove=remove, data=data)
    if remove is not None:
        raise UserError(f"--remove: {spec} is a removal tree, whose fields remove and keep say what is removed")
    tree = parse_tree(loaded, where=str(spec)).resolved(base)
    if seed is None and data is None:
        return tree
    if isinstance(tree.scores_of, str):
        raise UserError(f"--{'data' if seed is None else 'seed'}: the study {tree.scores_of} of this tree is trained; leave it out")
    changed = with_changes(tree.scores_of.as_dict(), seed=seed, data=data)
    return tree.model_copy(update={"scores_of": parse_spec(changed, where=str(spec)).resolved(absolute("."))})
