"""The audit spec: encoders, and the data that they score, as a YAML mapping whose unknown keys are refused.

An encoder is a timm backbone with a checkpoint, a function of the user's that makes one, or one of a study. Data are images, as in a
study, or what a function of the user's returns; these need a ``view`` function too.
"""

from __future__ import annotations

import json
import re
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

from pydantic import ConfigDict, Field, ValidationError, field_validator, model_validator

from sslmem_kit.errors import UserError
from sslmem_kit.spec.data import DataSpec
from sslmem_kit.spec.encoder import BackboneSpec
from sslmem_kit.spec.messages import first_error
from sslmem_kit.spec.moved import HashedSpec
from sslmem_kit.spec.paths import absolute, expanded
from sslmem_kit.spec.policy import Policy
from sslmem_kit.spec.reading import read_yaml
from sslmem_kit.spec.scoring import ScoringSpec
from sslmem_kit.spec.section import Positive, Section, also_as
from sslmem_kit.spec.seeds import derive_seed

_FUNCTION = r"[A-Za-z_]\w*(\.[A-Za-z_]\w*)*:[A-Za-z_]\w*(\.[A-Za-z_]\w*)*"
_FOLDER_NAME = r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}"
_IMAGENET = {"mean": (0.485, 0.456, 0.406), "std": (0.229, 0.224, 0.225)}
_NORMALIZATIONS: dict[str, dict[str, Any]] = {
    "imagenet": _IMAGENET,
    "none": {"mean": (0.0,), "std": (1.0,)},
    "data": {"mean": None, "std": None},
}
ALL, NONE = "all", "none"
"""Values of ``trained_on`` beside a file: every sample, or none of them."""


class CodeSpec(Section):
    """A function of the user's. A spec may write ``module:function`` alone."""

    model_config = ConfigDict(json_schema_extra=also_as({"type": "string", "pattern": f"^{_FUNCTION}$"}))

    function: str
    """``module:function``; the module is looked for in ``folder``, then on the Python path."""
    arguments: dict[str, Any] = {}
    """Keyword arguments that the function is called with; none by default."""
    folder: str | None = None
    """Folder that modules are looked for in; null: the folder of the spec."""

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        return {"function": value} if isinstance(value, str) else value

    @field_validator("function")
    @classmethod
    def _names_a_function(cls, function: str) -> str:
        if not re.fullmatch(_FUNCTION, function):
            raise ValueError("module:function is needed, for instance mypackage.models:make_encoder")
        return function

    @field_validator("arguments")
    @classmethod
    def _arguments_are_json(cls, arguments: dict[str, Any]) -> dict[str, Any]:
        try:
            json.dumps(arguments, allow_nan=False)
        except (TypeError, ValueError):
            raise ValueError("values have to be text, finite numbers, true, false, null, lists or mappings") from None
        return arguments

    def resolved(self, base: Path) -> CodeSpec:
        """Return the function with its folder filled in."""
        return self.model_copy(update={"folder": str(base / expanded(self.folder or ""))})


class NormalizeSpec(Section):
    """Normalization of images in [0, 1] before the encoder, by channel; or a name: ``imagenet``, ``none``, or ``data`` for the data's own."""

    model_config = ConfigDict(json_schema_extra=also_as({"enum": [*_NORMALIZATIONS]}))

    mean: tuple[float, ...] | None
    """Mean that is subtracted, one number or one per channel, in units of the pixel range [0, 1]; null: that of the train split, as
    in studies."""
    std: tuple[Positive, ...] | None
    """Standard deviation that is divided by, as many numbers as ``mean``; null: that of the train split."""

    @model_validator(mode="before")
    @classmethod
    def _by_name(cls, value: Any) -> Any:
        if isinstance(value, str):
            if value not in _NORMALIZATIONS:
                raise ValueError(f"{', '.join(_NORMALIZATIONS)} or {{mean: [...], std: [...]}} is needed")
            return _NORMALIZATIONS[value]
        return value

    @model_validator(mode="after")
    def _as_many(self) -> NormalizeSpec:
        if (self.mean is None) != (self.std is None) or len(self.mean or ()) != len(self.std or ()):
            raise ValueError(f"mean has {len(self.mean or ())} numbers and std {len(self.std or ())}, as many of both are needed")
        return self


class StudyEncoderSpec(Section):
    """An encoder that a study has trained; what it was trained on is read from there."""

    path: str
    """Folder of the study."""
    encoder: str
    """Id of the encoder in that study, such as f-0."""


class AuditEncoderSpec(Section):
    """One encoder: exactly one of ``encoder``, ``factory`` and ``study`` says what it is."""

    id: str
    """Name of the encoder, and of its folder: letters, digits, '.', '_' and '-'."""
    family: Annotated[str, Field(pattern=r"^([fg]|[0-9]{1,6})$")] | None = None
    """f, g or the number of a subset; null: by ``trained_on``, encoders of the same training samples being a family."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] | None = None
    """Number of the pair: an f and a g of the same seed belong together; null: the encoder's position in the list, so that none
    do, or its seed in the study."""
    method: Annotated[str, Field(min_length=1, max_length=100)] | None = None
    """Method that the encoder was trained by, a word for tables; null: not known."""
    encoder: BackboneSpec | None = None
    """timm backbone that ``weights`` are loaded into."""
    factory: CodeSpec | None = None
    """Function that returns an ``nn.Module``, or any callable ``encode(batch) -> features`` of shape (sample, ...)."""
    study: StudyEncoderSpec | None = None
    """Encoder of a finished study."""
    weights: Annotated[str, Field(min_length=1)] | None = None
    """File of a state dict: .safetensors, or .pt, .pth, .bin, .ckpt, .pth.tar without code in it."""
    key: str | None = None
    """Entry of the file that holds the state dict, where several could; entries of entries behind dots."""
    prefix: str = ""
    """Prefix that is removed from the names in the file; names without it are left out."""
    drop_keys: tuple[str, ...] = ()
    """Prefixes of further names, without the prefix, that are left out: projection heads, decoders."""
    normalize: NormalizeSpec | None = None
    """Normalization of images in [0, 1] before the encoder; needed with ``encoder``; null: none, or that of the study."""
    trained_on: Annotated[str, Field(min_length=1)] | None = None
    """Samples that the encoder was trained on: a .csv, .txt, .npy or .npz file of sample ids (of a folder: or file names), ``all``
    or ``none``; null: not known, or read from the study."""

    @field_validator("id")
    @classmethod
    def _id_is_a_folder(cls, name: str) -> str:
        if not re.fullmatch(_FOLDER_NAME, name):
            raise ValueError("use letters, digits, '.', '_' and '-', starting with a letter or digit (it names a folder)")
        return name

    @model_validator(mode="after")
    def _is_one_thing(self) -> AuditEncoderSpec:
        given = [name for name in ("encoder", "factory", "study") if getattr(self, name) is not None]
        if len(given) != 1:
            raise ValueError(
                f"{self.id}: give one of encoder (a timm backbone), factory (module:function) and study, here are "
                f"{', '.join(given) or 'none'}"
            )
        kind = given[0]
        if kind == "encoder" and self.weights is None:
            raise ValueError(f"{self.id}: weights is missing, the file with the state dict of encoder.backbone")
        if kind == "encoder" and self.normalize is None:
            raise ValueError(
                f"{self.id}: normalize is missing, what it was trained with: {', '.join(_NORMALIZATIONS)} or {{mean, std}}"
            )
        of_file = [name for name in ("key", "prefix", "drop_keys") if getattr(self, name)]
        if self.weights is None and of_file:
            raise ValueError(f"{self.id}: {of_file[0]} is about weights, which is not given")
        own = [name for name in ("weights", "normalize", "method") if getattr(self, name) is not None]
        if kind == "study" and own:
            raise ValueError(f"{self.id}: {own[0]} is known of an encoder of a study, leave it out")
        return self

    def resolved(self, base: Path, place: int) -> AuditEncoderSpec:
        """Return the encoder with absolute paths; ``place`` is its position in the list."""
        update: dict[str, Any] = {}
        if self.seed is None and self.study is None:
            update["seed"] = place
        if self.factory:
            update["factory"] = self.factory.resolved(base)
        if self.study:
            update["study"] = self.study.model_copy(update={"path": _absolute(base, self.study.path)})
        if self.weights:
            update["weights"] = _absolute(base, self.weights)
        if self.trained_on and self.trained_on not in (ALL, NONE):
            update["trained_on"] = _absolute(base, self.trained_on)
        return self.model_copy(update=update)


class AuditSpec(HashedSpec):
    """One audit: its data, how views are made, and the encoders that are scored."""

    name: str
    """Name of the audit, and of its folder: letters, digits, '.', '_' and '-'."""
    description: str = ""
    """Purpose of the audit, in words; empty by default."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of the scored views (and of the test split, of data without one), as in a study."""
    data: DataSpec | None = None
    """Images, as in a study; null: data of another kind, which ``source`` gives."""
    source: CodeSpec | None = None
    """Function that returns ids, an array (sample, ...) and, if there are any, labels: data of any kind."""
    view: CodeSpec | None = None
    """Function ``view(batch, ids, view, seed) -> batch`` that makes views; null: images by ``scoring.policy``."""
    samples: Annotated[str, Field(min_length=1)] | None = None
    """File of the sample ids (of a folder: or file names) that are scored; null: every sample."""
    scoring: ScoringSpec = ScoringSpec()
    """Measurement of alignment."""
    compare_anyway: bool = False
    """True: encoders are compared that read samples differently (shape of the representation, backbone, stem, normalization ...);
    the difference is then stated with every number."""
    encoders: Annotated[tuple[AuditEncoderSpec, ...], Field(json_schema_extra={"minItems": 1})]
    """Encoders that are scored, at least one."""

    @field_validator("encoders", mode="before")
    @classmethod
    def _lists_encoders(cls, encoders: Any) -> Any:
        if not isinstance(encoders, list | tuple) or not encoders:
            raise ValueError("a list of encoders is needed, one mapping with an id each")
        return encoders

    @field_validator("name")
    @classmethod
    def _name_is_a_folder(cls, name: str) -> str:
        if not re.fullmatch(_FOLDER_NAME, name):
            raise ValueError("use letters, digits, '.', '_' and '-', starting with a letter or digit (it names a folder)")
        return name

    @model_validator(mode="after")
    def _has_data_and_views(self) -> AuditSpec:
        if (self.data is None) == (self.source is None):
            both = "both are" if self.data else "none is"
            raise ValueError(f"data names images, source a function that returns other data: give one of them, {both} given")
        if self.source and not self.view:
            raise ValueError("view is missing: a function view(batch, ids, view, seed) that makes the views of what source returns")
        if self.scoring.layers:
            raise ValueError("scoring.layers is measured of the encoders of studies alone, leave it out")
        if self.scoring.common_policy:
            raise ValueError("scoring.common_policy is for studies, leave it out: an audit scores all encoders by one policy")
        if self.view and self.scoring.policy:
            raise ValueError("scoring.policy and view both say how views are made, give one of them")
        for encoder in self.encoders if self.source else ():
            if encoder.factory is None or encoder.normalize is not None:
                what = "normalize" if encoder.factory else "encoder" if encoder.encoder else "study"
                raise ValueError(f"encoders: {encoder.id} has {what}, which is for images; with source give factory alone")
        return self

    @model_validator(mode="after")
    def _ids_differ(self) -> AuditSpec:
        ids = [encoder.id for encoder in self.encoders]
        twice = next((name for name in ids if ids.count(name) > 1), None)
        if twice:
            raise ValueError(f"encoders: the id {twice!r} is given twice, each encoder needs one of its own")
        families = [encoder.family for encoder in self.encoders]
        if None in families and any(families):
            without = next(encoder.id for encoder in self.encoders if encoder.family is None)
            raise ValueError(f"encoders: {without} has no family and others have, give it for all of them or for none")
        return self

    def resolved(self, base: Path) -> AuditSpec:
        """Return the spec with what depends on other fields filled in, and relative paths made absolute against ``base``."""
        policy = None if self.view else self.scoring.policy or Policy.model_validate("simclr")
        sections = {name: getattr(self, name).resolved(base) for name in ("data", "source", "view") if getattr(self, name)}
        encoders = tuple(encoder.resolved(base, place) for place, encoder in enumerate(self.encoders))
        update = {"encoders": encoders, "scoring": self.scoring.model_copy(update={"policy": policy}), **sections}
        if self.samples:
            update["samples"] = _absolute(base, self.samples)
        return self.model_copy(update=update)

    @property
    def _counting(self) -> dict[str, Any]:
        content = self.as_dict()
        if not self.compare_anyway:  # audits that are older than this field can be resumed
            del content["compare_anyway"]
        del content["scoring"]["common_policy"]  # which audits do not have
        if content["data"] and content["data"]["groups"] is None:  # as this one
            del content["data"]["groups"]
        return content

    @property
    def view_seed(self) -> int:
        """Seed of the scored views: that of a study with the same seed."""
        return derive_seed(self.seed, "scored views")


def _absolute(base: Path, path: str) -> str:
    return str((base / expanded(path)).resolve())


def is_audit(loaded: Mapping[str, Any]) -> bool:
    """Return whether a mapping is an audit spec rather than a study spec: these list no encoders."""
    return "encoders" in loaded


def parse_audit(loaded: Mapping[str, Any], *, where: str) -> AuditSpec:
    """Validate a mapping; a :class:`UserError` names the first thing that is wrong with it in one sentence."""
    try:
        return AuditSpec.model_validate(loaded)
    except ValidationError as error:
        raise UserError(f"{where}: {first_error(error, root=AuditSpec)}") from None


def load_audit(path: Path | str) -> AuditSpec:
    """Return the resolved spec in a YAML file.

    Raises
    ------
    UserError
        No such file, not YAML, or a field that is unknown or out of bounds.
    """
    path = absolute(path)
    if not path.is_file():
        what = "a folder" if path.is_dir() else "not there"
        raise UserError(f"--spec: {str(path)!r} is {what}, the YAML file of an audit is needed")
    loaded = read_yaml(path)
    if not is_audit(loaded) and "training" in loaded:
        raise UserError(f"--spec: {path} is the spec of a study, which `sslmem run` trains and scores; an audit lists its encoders")
    return parse_audit(loaded, where=str(path)).resolved(path.parent.resolve())
