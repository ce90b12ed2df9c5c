"""The section ``partition``: how many samples both families, one or none train on, and which are removed."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import BeforeValidator, ConfigDict, Discriminator, Field, Tag, model_validator

from sslmem_kit.errors import near
from sslmem_kit.names import RUNS
from sslmem_kit.spec.paths import absolute, expanded
from sslmem_kit.spec.section import Section, also_as


def _is_amount(value: Any) -> Any:
    counts = isinstance(value, int) and not isinstance(value, bool) and value >= 0
    if not counts and not (isinstance(value, float) and 0 <= value <= 1):
        raise ValueError("a count of samples (an integer from 0 on) or a fraction of the train split (0.0 to 1.0) is needed")
    return value


Amount = Annotated[
    int | float,
    BeforeValidator(_is_amount),
    Field(json_schema_extra={"anyOf": [{"type": "integer", "minimum": 0}, {"type": "number", "minimum": 0, "maximum": 1}]}),
]
"""A count (integer) or a fraction of the train split (with a decimal point)."""

NAMED: dict[str, dict[str, Any]] = {
    "paper": {"shared": 0.8, "candidate": 0.1, "independent": 0.1, "extra": 0.1},
    "overlap70": {"shared": 0.7, "candidate": 0.15, "independent": 0.15, "extra": 0.15},
    "overlap85": {"shared": 0.85, "candidate": 0.05, "independent": 0.05, "extra": 0.05},
    "halves": {"shared": 0, "candidate": 0.5, "independent": 0.5, "extra": 0.1},
}
"""Named sizes. The paper's overlap variant of 70 % (35k + 10k + 10k) asks for more than CIFAR10's 50k; here 15 % stand in for its 20 %."""


class RemovalSpec(Section):
    """Candidates that are removed by the scores that another study gave them (figures 3, 6 and 7, Table 17); amounts are of candidates."""

    study: str
    """Folder of a finished study, or the name of a preset: the folder where ``sslmem run`` puts it."""
    highest: Amount | None = None
    """Count or fraction of candidates with the highest scores that are removed."""
    random: Amount | None = None
    """Count or fraction of candidates, chosen at random, that are removed; a larger number holds the smaller one's samples."""
    keep_highest: Amount | None = None
    """Count or fraction of candidates with the highest scores that are kept; all other candidates are removed."""
    protocol: Literal["paper", "released", "corrected"] = "corrected"
    """Protocol of the scores."""

    @model_validator(mode="after")
    def _one_way(self) -> RemovalSpec:
        given = [way for way in REMOVAL_WAYS if getattr(self, way) is not None]
        if len(given) != 1:
            raise ValueError(f"give one of {', '.join(REMOVAL_WAYS)}, here are {', '.join(given) or 'none'}")
        return self

    @property
    def way(self) -> str:
        """The one of ``REMOVAL_WAYS`` that is given."""
        return next(way for way in REMOVAL_WAYS if getattr(self, way) is not None)

    def resolved(self, base: Path) -> RemovalSpec:
        """Return the spec with the study's absolute path; that of a preset, which is no path, is seen from the working directory."""
        name = self.study
        folder = absolute(RUNS) / name.replace("/", "-") if name.startswith(PRESET_PREFIXES) else base / expanded(name)
        return self.model_copy(update={"study": str(folder.resolve())})


REMOVAL_WAYS = ("highest", "random", "keep_highest")

PRESET_PREFIXES = ("paper/", "mini/")
"""Prefixes of the names of presets."""

REMOVAL_TAGS: dict[Any, type[Section]] = {"a file of samples": Section, "another study's scores": RemovalSpec}
"""The two forms of ``partition.remove``, as pydantic's errors call them."""

_FILE, _SCORES = REMOVAL_TAGS


class PartitionSpec(Section):
    """Sizes of the four partitions, each a count or a fraction of the train split; or one of the names in ``NAMED``."""

    model_config = ConfigDict(json_schema_extra=also_as({"enum": [*NAMED]}))

    shared: Amount = 0.8
    """Samples of the train split that both families train on: a count (integer) or a fraction (with a decimal point)."""
    candidate: Amount = 0.1
    """Samples of the train split that family f alone trains on, whose memorization is measured: a count or a fraction."""
    independent: Amount = 0.1
    """Samples of the train split that family g alone trains on: a count or a fraction of the train split."""
    extra: Amount = 0.1
    """Samples of the test split that no encoder trains on: a count, or a fraction of the train split."""
    stratified: bool = True
    """True: every partition holds the classes in the proportions of the data."""
    coin: bool = False
    """True: candidates and independents are asked for together, and an independent fair coin of each sample, or group, says which of both it
    is, so that their numbers are random. A privacy audit (``comparisons: [privacy]``) needs it: a split of fixed size is no coins."""
    remove: Annotated[
        Annotated[str, Tag(_FILE)] | Annotated[RemovalSpec, Tag(_SCORES)],
        Discriminator(lambda value: _SCORES if isinstance(value, dict | RemovalSpec) else _FILE),
    ] | None = None  # fmt: skip
    """Samples that are removed after the partition is made: no encoder trains on them, none scores them. An npz file whose array
    ``sample`` lists them, or how to choose candidates by another study's scores; null: none."""

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        if isinstance(value, str):
            if value not in NAMED:
                raise ValueError(f"there is no partition of that name, named ones are {', '.join(NAMED)}{near(value, NAMED)}")
            return NAMED[value]
        return value

    @model_validator(mode="after")
    def _coins_stay(self) -> PartitionSpec:
        if self.coin and self.remove is not None:
            raise ValueError(
                "remove takes samples out by something else than coin's coins, which an audit rests on: give one of both"
            )
        return self

    def resolved(self, base: Path) -> PartitionSpec:
        """Return the same spec with a relative path made absolute, seen from the folder ``base``."""
        if self.remove is None:
            return self
        if isinstance(self.remove, RemovalSpec):
            return self.model_copy(update={"remove": self.remove.resolved(base)})
        return self.model_copy(update={"remove": str((base / expanded(self.remove)).resolve())})
