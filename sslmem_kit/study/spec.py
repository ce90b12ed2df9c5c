"""The study spec: everything that determines a study's numbers, as a YAML mapping whose unknown keys are refused.

A spec that a person writes may leave out whatever has a default; :func:`load_spec` resolves it, and ``study.yaml`` in the study
directory holds the resolved form, in which nothing is left to a default.
"""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Mapping
from importlib import resources
from pathlib import Path
from typing import Annotated, Any, Literal

import yaml
from pydantic import Field, ValidationError, field_validator, model_validator

from sslmem_kit.data.spec import DataSpec
from sslmem_kit.errors import UserError
from sslmem_kit.names import FAMILIES
from sslmem_kit.partition import PartitionSpec
from sslmem_kit.policies import Policy
from sslmem_kit.section import Section
from sslmem_kit.streams import stream_seed

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, lt=1)]
Precision = Literal["float32", "bf16"]


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


class SimCLRSpec(Section):
    """Chen et al. 2020: NT-Xent over two views of each sample."""

    method: Literal["simclr"] = "simclr"
    temperature: Positive = 0.5
    hidden_dim: Count = 512
    projection_dim: Count = 128


class MAESpec(Section):
    """He et al. 2022: reconstruct the masked patches of one view."""

    method: Literal["mae"] = "mae"
    mask_ratio: Share = 0.75
    decoder_dim: Count = 128
    decoder_depth: Count = 2
    decoder_heads: Count = 4
    normalize_pixels: bool = True

    @model_validator(mode="after")
    def _heads_divide(self) -> MAESpec:
        if self.decoder_dim % self.decoder_heads or self.decoder_dim % 4:
            raise ValueError(
                f"decoder_dim is {self.decoder_dim}, it must be a multiple of 4 and of decoder_heads, which is {self.decoder_heads}"
            )
        return self


ObjectiveSpec = Annotated[SimCLRSpec | MAESpec, Field(discriminator="method")]


class TrainingSpec(Section):
    """How each encoder is trained. ``seeds`` pairs of encoders, one f and one g each."""

    seeds: Count = 3
    epochs: Count = 100
    warmup_epochs: Annotated[int, Field(ge=0)] = 10
    batch_size: Annotated[int, Field(ge=2)] = 256
    accumulate: Count = 1
    """Micro-batches whose gradients are added up before one optimizer step; a contrastive loss sees one micro-batch at a time."""
    optimizer: Literal["adamw", "sgd", "lars"] = "adamw"
    learning_rate: Positive = 1e-3
    weight_decay: Annotated[float, Field(ge=0)] = 1e-4
    momentum: Annotated[float, Field(ge=0, lt=1)] = 0.9
    policy: Policy = Policy.model_validate("simclr")
    coupled: bool = True
    """f and g of one seed share initial weights, batch order and view noise, candidate i standing where independent i stands."""
    precision: Precision = "float32"
    record_every: Annotated[int, Field(ge=0)] = 10
    """Epochs between records of mean alignment and probe accuracy (figure 2b); 0: only after the last epoch."""
    checkpoint_seconds: Positive = 60

    @model_validator(mode="after")
    def _warmup_ends(self) -> TrainingSpec:
        if self.warmup_epochs >= self.epochs and self.warmup_epochs > 0:
            raise ValueError(f"warmup_epochs is {self.warmup_epochs}, it must be below epochs, which is {self.epochs}")
        return self

    @property
    def recorded_epochs(self) -> tuple[int, ...]:
        """Numbers of finished epochs after which records are made; the last epoch is always among them."""
        every = range(self.record_every, self.epochs, self.record_every) if self.record_every else ()
        return (*every, self.epochs)


class ScoringSpec(Section):
    """How alignment is measured: ``views`` random views beside the clean image, all pairs among them."""

    views: Annotated[int, Field(ge=1, le=100)] = 5
    policy: Policy | None = None
    """None: the training policy."""
    batch_size: Count = 256
    block: Count = 4096
    """Samples in one unit of work, and in one chunk of the store."""
    precision: Precision = "float32"


class StudySpec(Section):
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

    @field_validator("name")
    @classmethod
    def _name_is_a_folder(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
            raise ValueError("use letters, digits, '.', '_' and '-', beginning with a letter or digit (it names a folder)")
        return name

    def resolved(self, base: Path) -> StudySpec:
        """The spec with what depends on other fields filled in, and relative paths made absolute against ``base``."""
        scoring = self.scoring.model_copy(update={"policy": self.scoring.policy or self.training.policy})
        return self.model_copy(
            update={"data": self.data.resolved(base), "partition": self.partition.resolved(base), "scoring": scoring}
        )

    def as_dict(self) -> dict[str, Any]:
        """Plain JSON types, every field present."""
        return self.model_dump(mode="json")

    @property
    def hash(self) -> str:
        """sha256 of the canonical JSON, 16 hex digits."""
        content = self.as_dict()
        if self.partition.remove is None:
            # The field is younger than studies that are to be gone on with: where nothing is removed it does not count.
            del content["partition"]["remove"]
        return hashlib.sha256(json.dumps(content, sort_keys=True).encode()).hexdigest()[:16]

    @property
    def view_seed(self) -> int:
        """Of the scored views; the same for every encoder."""
        return stream_seed(self.seed, "scored views")

    @property
    def encoders(self) -> tuple[EncoderPlan, ...]:
        """What will be trained: for each seed an f and a g."""
        seeds = range(self.seed, self.seed + self.training.seeds)
        return tuple(EncoderPlan(id=f"{family}-{seed}", family=family, seed=seed) for seed in seeds for family in FAMILIES)


class EncoderPlan(Section):
    """One encoder of a study: its readable id, its family and its seed."""

    id: str
    family: str
    seed: int


def bundled_specs() -> dict[str, Path]:
    """Names and paths of the specs that ship with the package."""
    folder = Path(str(resources.files("sslmem_kit") / "specs"))
    return {path.stem: path for path in sorted(folder.glob("*.yaml"))}


def load_spec(spec: str | Path, *, seed: int | None = None, remove: Path | None = None) -> StudySpec:
    """The resolved spec of a bundled name or a YAML file.

    Parameters
    ----------
    spec
        A name that ``sslmem studies`` lists, or the path of a YAML file.
    seed
        Put in place of the spec's own ``seed``.
    remove
        Put in place of the spec's own ``partition.remove``; seen from the working directory.

    Raises
    ------
    UserError
        No such spec, not YAML, or a field that is unknown or out of bounds.
    """
    bundled = bundled_specs()
    path = bundled.get(str(spec), Path(spec))
    if path.is_dir():
        allowed = f"a YAML file is needed (of a study: its study.yaml) or one of {', '.join(bundled)}"
        raise UserError(f"SPEC: {str(spec)!r} is a folder, {allowed}")
    if not path.is_file():
        raise UserError(f"SPEC: there is no file {str(spec)!r} and no bundled study of that name; bundled are {', '.join(bundled)}")
    loaded = read_yaml(path)
    if seed is not None:
        loaded["seed"] = seed
    resolved = parse_spec(loaded, where=str(spec)).resolved(path.parent.resolve())
    if remove is None:
        return resolved
    partition = resolved.partition.model_copy(update={"remove": str(remove)}).resolved(Path.cwd())
    return resolved.model_copy(update={"partition": partition})


def parse_spec(loaded: Mapping[str, Any], *, where: str) -> StudySpec:
    """Validate a mapping; the first thing that is wrong with it is told in one sentence."""
    try:
        return StudySpec.model_validate(loaded)
    except ValidationError as error:
        raise UserError(f"{where}: {first_error(error)}") from None


class _Loader(yaml.SafeLoader):
    """Refuses a key that stands twice in a mapping, of which YAML would silently keep the last."""

    def construct_mapping(self, node: yaml.MappingNode, deep: bool = False) -> dict[Any, Any]:
        seen: set[str] = set()
        for key in (key for key, _ in node.value if isinstance(key, yaml.ScalarNode)):
            if key.value in seen:
                raise yaml.constructor.ConstructorError(problem=f"{key.value!r} is given twice", problem_mark=key.start_mark)
            seen.add(key.value)
        return super().construct_mapping(node, deep)


def read_yaml(path: Path) -> dict[str, Any]:
    """The mapping in a YAML file."""
    try:
        loaded = yaml.load(path.read_text(encoding="utf-8"), Loader=_Loader)
    except yaml.YAMLError as error:
        mark = getattr(error, "problem_mark", None)
        line = f" at line {mark.line + 1}" if mark else ""
        raise UserError(f"{path}: this is not valid YAML{line} ({getattr(error, 'problem', None) or 'cannot be parsed'})") from None
    except UnicodeDecodeError:
        raise UserError(f"{path}: this is not a text file in UTF-8, a study spec is YAML") from None
    except OSError as error:
        raise UserError(f"{path}: cannot be read ({error.strerror})") from None
    if not isinstance(loaded, dict):
        got = "an empty file" if loaded is None else type(loaded).__name__
        raise UserError(f"{path}: a study spec is a mapping of fields, got {got}")
    return loaded


def first_error(error: ValidationError) -> str:
    """One sentence out of pydantic's report: the field, what is wrong, the value that was got."""
    errors = error.errors(include_url=False)
    # A wrong type of section (a list where a mapping is due) is more telling than the fields then missing below it.
    first = min(errors, key=lambda item: len(item["loc"]))
    field = ".".join(str(part) for part in first["loc"] if part not in ("simclr", "mae") or first["type"] == "union_tag_invalid")
    message = first["msg"].removeprefix("Value error, ")
    message = message[:1].lower() + message[1:] if not message[:2].isupper() else message
    if first["type"] == "extra_forbidden":
        parent = _section_at(first["loc"][:-1])
        message = "unknown field" + (f", the fields here are {', '.join(parent)}" if parent else "")
    elif first["type"] != "missing":
        message += f", got {_short(first['input'])}"
    more = f" (and {len(errors) - 1} more)" if len(errors) > 1 else ""
    return f"{field or 'spec'}: {message}{more}"


def _section_at(location: tuple[int | str, ...]) -> tuple[str, ...]:
    """Field names of the section at a location of the spec, () where they cannot be told."""
    section: Any = StudySpec
    for part in location:
        if part in ("simclr", "mae"):
            section = {"simclr": SimCLRSpec, "mae": MAESpec}[part]
            continue
        field = getattr(section, "model_fields", {}).get(part)
        section = field.annotation if field else None
    return tuple(getattr(section, "model_fields", ()))


def _short(value: object) -> str:
    text = repr(value)
    return text if len(text) <= 80 else text[:77] + "..."
