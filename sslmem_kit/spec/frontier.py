"""The spec of a mitigation frontier: an untreated study, and arms that train it otherwise so that it memorizes less.

Arms differ from the untreated study in objective and training alone: data, partition, encoder, seeds and what is measured are the same.
"""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, NamedTuple

from pydantic import Field, ValidationError, field_validator

from sslmem_kit.errors import UserError
from sslmem_kit.spec.loading import find_spec, parse_spec, with_changes
from sslmem_kit.spec.messages import first_error
from sslmem_kit.spec.moved import HashedSpec
from sslmem_kit.spec.presets.preset import merge
from sslmem_kit.spec.section import FolderName, Section
from sslmem_kit.spec.study import StudySpec

FRONTIER_FILE = "frontier.yaml"
"""File that makes a folder a mitigation frontier."""
BASELINE, CONTROL = "baseline", "random"
"""Name of the untreated study among the arms, and the end of the names of controls."""

Kind = Literal["untreated", "memorized", "random", "all"]
"""Samples that an arm treats: none, the most memorized candidates, as many at random, or all."""


class ArmSpec(Section):
    """What an arm does otherwise than the untreated study: fields of ``objective`` and ``training`` that replace its own."""

    name: FolderName
    """Name of the arm."""
    objective: dict[str, Any] = {}
    """Fields of ``objective``, such as ``regularizer``."""
    training: dict[str, Any] = {}
    """Fields of ``training``, such as ``mitigation``, ``privacy``, ``epochs`` or ``policy``; not ``seeds``."""


class Arm(NamedTuple):
    """An arm with its whole study."""

    name: str
    spec: StudySpec
    control: str
    """Name of the arm that treats as many samples at random; empty where there is none."""

    @property
    def kind(self) -> Kind:
        """Samples that the arm treats."""
        mitigation = self.spec.training.mitigation
        if mitigation:
            return "random" if mitigation.by == "random" else "memorized"
        return "untreated" if self.name == BASELINE else "all"


def _or_named(schema: dict[str, Any]) -> None:
    """Add, in the JSON schema, the name or the file of a study."""
    schema["anyOf"] = [{"type": "string"}, {"$ref": schema.pop("$ref")}]


class FrontierSpec(HashedSpec):
    """A mitigation frontier: memorization against accuracy of an untreated study and of arms that are trained otherwise."""

    name: FolderName
    """Name of the frontier, and of its folder: letters, digits, '.', '_' and '-'."""
    description: str = ""
    """Purpose of the frontier, in words; empty by default."""
    baseline: Annotated[StudySpec, Field(json_schema_extra=_or_named)]
    """Untreated study: a name, a YAML file or a whole spec. Its ``downstream.tasks`` are the data out of distribution."""
    arms: tuple[ArmSpec, ...]
    """Arms; each with ``training.mitigation`` by memorization has a control beside it that treats as many candidates at random."""
    controls: bool = True
    """False: no controls are added."""
    margin: Annotated[float, Field(gt=0, lt=1)] = 0.01
    """Largest difference in accuracy that counts as none, for the tests of equivalence; 0.01 is one point."""

    @field_validator("arms")
    @classmethod
    def _arms_have_names(cls, arms: tuple[ArmSpec, ...]) -> tuple[ArmSpec, ...]:
        if not arms:
            raise ValueError("at least one is needed")
        names = [arm.name for arm in arms]
        for place, arm in enumerate(arms):
            if arm.name in (BASELINE, *names[:place]):
                raise ValueError(f"the name {arm.name!r} is taken, every arm needs one of its own")
            if "seeds" in arm.training:
                raise ValueError(
                    f"arm {arm.name!r}: training.seeds are those of the baseline, with which it is paired; leave them out"
                )
            if not (arm.objective or arm.training):
                raise ValueError(f"arm {arm.name!r} does nothing otherwise than the baseline; give objective or training")
        return arms

    def all_arms(self) -> list[Arm]:
        """Return all arms, the untreated study first, each control after its arm.

        Raises
        ------
        UserError
            A field of an arm is unknown or out of bounds, or a control has the name of an arm.
        """
        found, names = [Arm(BASELINE, self.baseline, "")], {arm.name for arm in self.arms}
        for arm in self.arms:
            own = _changed(self.baseline, arm)
            mitigation = own.training.mitigation
            control = f"{arm.name}-{CONTROL}" if self.controls and mitigation and mitigation.by == "memorization" else ""
            if control in names:
                raise UserError(
                    f"arms: {control!r} is the name of the control of {arm.name!r}; give it another, or set controls to false"
                )
            found.append(Arm(arm.name, own, control))
            if control:
                change = {"mitigation": {**arm.training["mitigation"], "by": "random"}}
                found.append(Arm(control, _changed(self.baseline, arm, change), ""))
        return found


def _changed(baseline: StudySpec, arm: ArmSpec, more: Mapping[str, Any] | None = None) -> StudySpec:
    """Return the study of an arm; it is scored in the untreated study's views."""
    content = baseline.as_dict()
    sections = {"objective": arm.objective, "training": {**arm.training, **(more or {})}}
    for name, change in sections.items():
        # A policy is one value; merging the steps of two would be neither.
        content[name] = {**merge(content[name], {key: value for key, value in change.items() if key != "policy"}), **(
            {"policy": change["policy"]} if "policy" in change else {})}  # fmt: skip
    return parse_spec(content, where=f"arms: {arm.name}")


def is_frontier(loaded: Mapping[str, Any]) -> bool:
    """Return whether a mapping is the spec of a mitigation frontier: no other spec has ``arms``."""
    return "arms" in loaded


def parse_frontier(
    loaded: Mapping[str, Any], *, where: str, base: Path, seed: int | None = None, data: str | None = None
) -> FrontierSpec:
    """Validate a mapping; a :class:`UserError` names the first thing that is wrong with it in one sentence.

    Parameters
    ----------
    loaded, where
        The mapping, and how messages name it.
    base
        Folder that relative paths are seen from.
    seed, data
        Put in place of the untreated study's own.
    """
    baseline = loaded.get("baseline")
    if isinstance(baseline, str):
        path = base / baseline
        baseline, base = find_spec(str(path) if path.is_file() else baseline)
    if not isinstance(baseline, Mapping):
        raise UserError(f"{where}: baseline is {baseline!r}, a name, a file or the spec of a study is needed")
    study = parse_spec(with_changes(dict(baseline), seed=seed, data=data), where=f"{where}: baseline").resolved(base)
    if study.training.mitigation or study.design.subsets or study.design.leave_one_out:
        field = "training.mitigation" if study.training.mitigation else "design"
        raise UserError(f"{where}: baseline.{field} is given, the baseline is untreated pairs of encoders; leave it out")
    if not study.partition.extra:
        raise UserError(
            f"{where}: baseline.partition.extra is 0, memorization is measured against samples that no encoder saw; give some"
        )
    try:
        found = FrontierSpec.model_validate({**loaded, "baseline": study})
    except ValidationError as error:
        raise UserError(f"{where}: {first_error(error, root=FrontierSpec)}") from None
    found.all_arms()
    return found
