"""The study spec: everything that determines a study's numbers, as a YAML mapping whose unknown keys are refused.

A spec that a person writes may leave out whatever has a default; :func:`load_spec` resolves it, and ``study.yaml`` in the study
directory holds the resolved form, in which nothing is left to a default.
"""

from __future__ import annotations

import difflib
import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any, Literal, get_args

from pydantic import Field, ValidationError, field_validator, model_validator

from sslmem_kit.data.spec import DataSpec
from sslmem_kit.design import DesignSpec, EncoderPlan, plans
from sslmem_kit.errors import UserError, near, short
from sslmem_kit.moved import HashedSpec
from sslmem_kit.partition import REMOVAL_TAGS, PartitionSpec
from sslmem_kit.paths import absolute, expanded
from sslmem_kit.places import bundled_specs as bundled_specs
from sslmem_kit.policies import Policy
from sslmem_kit.reading import read_yaml
from sslmem_kit.section import Count, Section
from sslmem_kit.streams import stream_seed
from sslmem_kit.study.downstream import DownstreamSpec, LogisticProbeSpec, SGDProbeSpec
from sslmem_kit.study.objectives import METHODS, ObjectiveSpec, SimCLRSpec
from sslmem_kit.study.training import Precision, TrainingSpec

PRIVATE_METHODS = ("mae", "supervised")
"""Methods whose loss of a batch is the mean of the losses of its samples alone, so that ``training.privacy`` can hold."""


class EncoderSpec(Section):
    """A timm backbone. ``img_size`` and ``in_chans`` follow from the data unless ``options`` give them."""

    backbone: str = "resnet18"
    stem: Literal["auto", "small", "medium", "stock"] = "auto"
    """ResNets only. small: 3x3 stride 1, no pooling; medium: 3x3 stride 2, no pooling; stock: timm's own; auto: by image side."""
    grid: Count | None = None
    """Backbones that cut images into patches: about this many patches along a side. The patch size is the divisor of the image's side
    that comes nearest, so that one spec fits images of any size; None: ``patch_size`` in the options, or timm's own."""
    options: dict[str, Any] = {}
    """Passed to ``timm.create_model``: patch_size, embed_dim, depth, layers, channels, ..."""

    @field_validator("options")
    @classmethod
    def _options_are_json(cls, options: dict[str, Any]) -> dict[str, Any]:
        try:
            json.dumps(options, allow_nan=False)
        except (TypeError, ValueError):
            raise ValueError("values have to be text, finite numbers, true, false, null, lists or mappings") from None
        return options

    @model_validator(mode="after")
    def _one_patch_size(self) -> EncoderSpec:
        if self.grid is not None and "patch_size" in self.options:
            raise ValueError("grid and options.patch_size both say how large a patch is, give one of them")
        return self


class ScoringSpec(Section):
    """How alignment is measured: ``views`` random views beside the clean image, all pairs among them."""

    views: Annotated[int, Field(ge=1, le=100)] = 5
    policy: Policy | None = None
    """None: the training policy."""
    batch_size: Count = 256
    block: Count = 4096
    """Samples in one unit of work, and in one chunk of the store."""
    precision: Precision = "float32"
    layers: Literal["auto", "all"] | list[str] = []
    """Layers whose alignment is measured too, and whose units' selectivity: ``auto`` (stem, each stage or block, whole output), ``all``
    (every module that can be one: many, for small encoders), or names of modules of the backbone. None by default."""

    @field_validator("layers", mode="before")
    @classmethod
    def _layers_are_named(cls, layers: Any) -> Any:
        named = isinstance(layers, list | tuple) and all(isinstance(name, str) for name in layers)
        if layers not in ("auto", "all") and not named:
            raise ValueError("allowed are 'auto', 'all' and a list of names of modules")
        if named and len(set(layers)) < len(layers):
            raise ValueError("a module is named twice")
        return layers if isinstance(layers, str) else list(layers)


class StudySpec(HashedSpec):
    """One study: its data, partition, encoders and scoring."""

    name: str
    description: str = ""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Of the partition and the scored views; the pairs of encoders have the seeds seed, seed + 1, ..."""
    data: DataSpec
    partition: PartitionSpec = PartitionSpec()
    encoder: EncoderSpec = EncoderSpec()
    objective: ObjectiveSpec = SimCLRSpec()
    training: TrainingSpec = TrainingSpec()
    scoring: ScoringSpec = ScoringSpec()
    downstream: DownstreamSpec = DownstreamSpec()
    design: DesignSpec = DesignSpec()

    @model_validator(mode="after")
    def _vicreg_warms_up(self) -> StudySpec:
        if self.objective.method == "vicreg" and not self.training.warmup_epochs:
            raise ValueError("training.warmup_epochs is 0, objective.method 'vicreg' diverges without warm-up: give at least 1")
        return self

    @model_validator(mode="after")
    def _regularizer_begins(self) -> StudySpec:
        regularizer, epochs = self.objective.regularizer, self.training.epochs
        if regularizer and regularizer.start_epoch >= epochs:
            raise ValueError(
                f"objective.regularizer.start_epoch is {regularizer.start_epoch}, it must be below training.epochs, which is {epochs}"
            )
        return self

    @model_validator(mode="after")
    def _tasks_are_others(self) -> StudySpec:
        if self.data.name in [task.name for task in self.downstream.tasks]:
            raise ValueError(f"downstream.tasks: {self.data.name!r} is the study's own data, which is probed anyway; name others")
        return self

    @model_validator(mode="after")
    def _private_loss_is_of_samples(self) -> StudySpec:
        if self.training.privacy and self.objective.method not in PRIVATE_METHODS:
            raise ValueError(
                f"training.privacy needs a loss that each sample has alone, objective.method {self.objective.method!r} compares samples "
                f"or encoders; allowed are {', '.join(PRIVATE_METHODS)}"
            )
        return self

    @field_validator("name")
    @classmethod
    def _name_is_a_folder(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
            raise ValueError("use letters, digits, '.', '_' and '-', beginning with a letter or digit (it names a folder)")
        return name

    def resolved(self, base: Path) -> StudySpec:
        """The spec with what depends on other fields filled in, and relative paths made absolute against ``base``."""
        scoring = self.scoring.model_copy(update={"policy": self.scoring.policy or self.training.policy})
        sections = {name: getattr(self, name).resolved(base) for name in ("data", "partition", "downstream")}
        return self.model_copy(update={**sections, "scoring": scoring})

    @property
    def _counting(self) -> dict[str, Any]:
        content = self.as_dict()
        for (section, field), default in _YOUNGER.items():
            # Studies that were begun before a field existed are to be gone on with: at its default it does not count.
            if content[section].get(field) == default:
                content[section].pop(field, None)
        return {name: section for name, section in content.items() if section != {}}

    @property
    def view_seed(self) -> int:
        """Of the scored views; the same for every encoder."""
        return stream_seed(self.seed, "scored views")

    @property
    def encoders(self) -> tuple[EncoderPlan, ...]:
        """What will be trained: for each seed an f and a g, then what the design asks for beside them."""
        return tuple(plans(self.design, seed=self.seed, pairs=self.training.seeds))

    @property
    def pairs(self) -> tuple[EncoderPlan, ...]:
        """The encoders of the families f and g."""
        return tuple(plan for plan in self.encoders if plan.design == "pair")


_YOUNGER: dict[tuple[str, str], Any] = {
    ("partition", "remove"): None,
    ("objective", "regularizer"): None,
    ("scoring", "layers"): [],
    **{
        ("training", field): TrainingSpec.model_fields[field].default
        for field in ("clip_norm", "compile", "channels_last", "privacy")
    },
    **{("downstream", field): value for field, value in DownstreamSpec().model_dump(mode="json").items()},
    **{("design", field): value for field, value in DesignSpec().model_dump(mode="json").items()},
}
"""Fields that are younger than studies of version 0.1, with their defaults."""


def load_spec(spec: str | Path, *, seed: int | None = None, remove: Path | str | None = None, data: str | None = None) -> StudySpec:
    """The resolved spec of a bundled name, a preset's name or a YAML file.

    Parameters
    ----------
    spec
        A name that ``sslmem studies`` lists, or the path of a YAML file.
    seed
        Put in place of the spec's own ``seed``.
    remove
        Put in place of the spec's own ``partition.remove``; seen from the working directory.
    data
        Put in place of the spec's own ``data.name``; a path in it is seen from the working directory.

    Raises
    ------
    UserError
        No such spec, not YAML, or a field that is unknown or out of bounds.
    """
    loaded, base = _find(str(spec))
    if seed is not None:
        loaded["seed"] = seed
    if data is not None:
        kind, colon, path = data.partition(":")
        name = f"{kind}:{absolute(path)}" if colon and path else data
        loaded["data"] = {**(loaded["data"] if isinstance(loaded.get("data"), dict) else {}), "name": name}
    resolved = parse_spec(loaded, where=str(spec)).resolved(base)
    if remove is None:
        return resolved
    partition = resolved.partition.model_copy(update={"remove": str(remove)}).resolved(absolute("."))
    return resolved.model_copy(update={"partition": partition})


def _find(spec: str) -> tuple[dict[str, Any], Path]:
    """What a spec's name or path stands for, and the folder that its relative paths are seen from."""
    from sslmem_kit.study.presets import presets

    bundled = bundled_specs()
    if spec in presets():
        return presets()[spec].spec, absolute(".")
    names = f"{', '.join(bundled)} and what `sslmem studies` lists"
    path = bundled.get(spec) or expanded(spec)
    if path.is_dir():
        raise UserError(f"SPEC: {spec!r} is a folder, a YAML file is needed (of a study: its study.yaml) or one of {names}")
    if not path.is_file():
        close = difflib.get_close_matches(spec, presets(), n=3)
        more = f"; near are {', '.join(close)}" if close else ""
        raise UserError(f"SPEC: there is no file {spec!r} and no bundled study of that name; bundled are {names}{more}")
    return read_yaml(path), absolute(path.parent).resolve()


def parse_spec(loaded: Mapping[str, Any], *, where: str) -> StudySpec:
    """Validate a mapping; the first thing that is wrong with it is told in one sentence."""
    if isinstance(loaded.get("encoders"), list) and "training" not in loaded:
        raise UserError(f"{where}: this lists encoders that were trained elsewhere, which `sslmem score --spec {where}` scores")
    try:
        return StudySpec.model_validate(loaded)
    except ValidationError as error:
        raise UserError(f"{where}: {first_error(error)}") from None


_TAGS: dict[Any, type[Section]] = {**METHODS, **REMOVAL_TAGS, "logistic": LogisticProbeSpec, "sgd": SGDProbeSpec}
"""What pydantic puts into the location of an error to say which kind of a section was tried."""


_KINDS = {"objective": tuple(METHODS), "linear": ("logistic", "sgd")}
"""Sections of several kinds, and these."""


def first_error(error: ValidationError, *, root: type[Section] = StudySpec) -> str:
    """One sentence out of pydantic's report on a ``root``: the field, what is wrong, the value that was got."""
    errors = error.errors(include_url=False)
    # A wrong type of section (a list where a mapping is due) is more telling than the fields then missing below it, and a field that is not
    # known than the one it was meant for.
    first = min(errors, key=lambda item: (len(item["loc"]), item["type"] == "missing"))
    field = ".".join(str(part) for part in first["loc"] if part not in _TAGS or first["type"] == "union_tag_invalid")
    message = first["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:] if not message[:2].isupper() else message
    if first["type"] == "union_tag_invalid":
        key = first["ctx"]["discriminator"].strip("'")
        tag, allowed = first["ctx"]["tag"], first["ctx"]["expected_tags"]
        field, message = f"{field}.{key}", f"{tag!r} is not known, allowed are {allowed}{near(str(tag), _quoted(allowed))}"
    elif first["type"] == "union_tag_not_found":
        key, kinds = first["ctx"]["discriminator"].strip("'"), _KINDS.get(str(first["loc"][-1]), ())
        field, message = f"{field}.{key}", f"field required, allowed are {', '.join(repr(kind) for kind in kinds)}"
    elif first["type"] == "extra_forbidden":
        parent = _section_at(first["loc"][:-1], root)
        message = "unknown field" + (f", the fields here are {', '.join(parent)}" if parent else "")
        message += near(str(first["loc"][-1]), parent)
    elif first["type"] == "value_error" and field and message.startswith(field):
        field = ""  # it names the field, and says what was got
    elif first["type"] == "value_error" and isinstance(first["input"], dict) and _section_at(first["loc"], root):
        pass  # a validator of a whole section, whose message names the fields and their values
    elif first["type"] != "missing":
        message += f", got {short(first['input'])}"
        if first["type"] == "literal_error" and isinstance(first["input"], str):
            message += near(first["input"], _quoted(first["ctx"]["expected"]))
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return (f"{field}: " if field else "") + message + more


def _quoted(allowed: str) -> list[str]:
    """The names in pydantic's list of what is allowed."""
    return re.findall(r"'([^']+)'", allowed)


def _section_at(location: tuple[int | str, ...], root: type[Section]) -> tuple[str, ...]:
    """Field names of the section at a location below ``root``, () where they cannot be told."""
    section: Any = root
    for part in location:
        if part in _TAGS:
            section = _TAGS[part]
        elif isinstance(part, int):  # an element of a list
            section = next(iter(get_args(section)), None)
        else:
            field = getattr(_one_section(section), "model_fields", {}).get(part)
            section = field.annotation if field else None
    return tuple(getattr(_one_section(section), "model_fields", ()))


def _one_section(annotation: Any) -> Any:
    """What a field holds where it may be left out: ``Section | None`` is that section."""
    kinds = [kind for kind in get_args(annotation) if kind is not type(None)]
    return kinds[0] if len(kinds) == 1 else annotation
