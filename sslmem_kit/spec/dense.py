"""The spec of a dense task: segmentation or depth, fine-tuned from the encoders of a finished study."""

from __future__ import annotations

import re
from pathlib import Path
from typing import Annotated, Any, Literal

from pydantic import Field, ValidationError, field_validator, model_validator

from sslmem_kit.errors import UserError, near
from sslmem_kit.spec.messages import first_error
from sslmem_kit.spec.paths import absolute, expanded
from sslmem_kit.spec.policy import Policy
from sslmem_kit.spec.reading import read_yaml
from sslmem_kit.spec.section import Count, Positive, Section

DENSE_SETS = {"scenes": ("segmentation", "depth"), "ade20k": ("segmentation",), "nyu": ("depth",)}
"""Data sets of dense tasks, and the tasks that each has targets for; all but ``scenes`` are named with a path, ``ade20k:PATH``."""
Start = Literal["trained", "trained_frozen", "random", "random_frozen"]


class DenseDataSpec(Section):
    """Images with a class or a depth for every pixel."""

    name: str
    """``scenes`` (bundled: digits on textured grounds), ``ade20k:PATH`` (folder of the scene-parsing benchmark) or ``nyu:PATH`` (folder of
    NYU-Depth v2: ``nyu_depth_v2_labeled.mat`` with ``splits.mat``, or ``nyu2_train.csv`` with ``nyu2_test.csv``)."""
    image_size: Annotated[int, Field(ge=8, le=2048)] = 64
    """Side of the squares in pixels that images and targets are brought to: their central square, resized."""
    train: Annotated[int, Field(ge=2)] | None = None
    """Images of the train split that are used, evenly spaced; null: all, of ``scenes`` 480."""
    test: Annotated[int, Field(ge=2)] | None = None
    """Images of the test split that are used, evenly spaced; null: all, of ``scenes`` 160."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed by which ``scenes`` are rendered; other data ignore it."""
    invalid_depth: Literal["refuse", "leave_out"] = "refuse"
    """Treatment of pixels whose depth is zero, negative or not finite: ``refuse`` the data, or ``leave_out`` such pixels of loss and
    measures, and record how many there are."""
    memory_limit_mb: Annotated[int, Field(ge=0)] = 2048
    """Largest size in MiB of images and targets that are held in memory; larger data are decoded at every read."""

    @field_validator("name")
    @classmethod
    def _known(cls, name: str) -> str:
        kind, colon, path = name.partition(":")
        if name != "scenes" and not (kind in DENSE_SETS and kind != "scenes" and colon and path.strip()):
            raise UserError(f"data.name {name!r} is not known: allowed are scenes, ade20k:PATH, nyu:PATH{near(name, DENSE_SETS)}")
        return name

    @property
    def kind(self) -> str:
        """``scenes``, ``ade20k`` or ``nyu``."""
        return self.name.partition(":")[0]

    @property
    def path(self) -> Path:
        """The PATH of ``ade20k:PATH`` and ``nyu:PATH``, home folder expanded."""
        return expanded(self.name.partition(":")[2].strip())


class DenseSpec(Section):
    """Fine-tuning of encoders with a decoder, for a class or a depth at every pixel."""

    name: str
    """Name of the task, and of its folder in the study: letters, digits, '.', '_' and '-'."""
    description: str = ""
    """Purpose, in words; empty by default."""
    seed: Annotated[int, Field(ge=0, lt=2**31)] = 0
    """Seed of the decoder's initial weights, of batches and of augmentations, together with that of each encoder."""
    task: Literal["segmentation", "depth"]
    """What is predicted at every pixel: a class or a depth in metres."""
    data: DenseDataSpec
    """Images and targets."""
    encoders: tuple[str, ...] | None = None
    """Ids of the study's encoders; null: f and g of every seed."""
    starts: tuple[Start, ...] = ("trained", "random_frozen")
    """Weights that the encoder starts from, and whether it is fine-tuned or frozen: ``trained`` and ``random`` (the initial weights of the
    seed, once for f and g) are fine-tuned with the decoder, ``trained_frozen`` and ``random_frozen`` stay."""
    decoder: Literal["upernet", "unet"] | None = None
    """Decoder of segmentation-models-pytorch; null: UPerNet for segmentation, U-Net for depth, as in the paper."""
    decoder_channels: Annotated[int, Field(ge=8)] = 256
    """Width of UPerNet, or of the deepest block of the U-Net, whose further blocks have half of the one before, 16 at least."""
    epochs: Count = 100
    """Passes over the train split."""
    warmup_epochs: Annotated[int, Field(ge=0)] = 0
    """Epochs over which the learning rate rises linearly from zero; below ``epochs``."""
    batch_size: Annotated[int, Field(ge=4)] = 16
    """Samples in a mini-batch, at most."""
    optimizer: Literal["sgd", "adamw"] = "sgd"
    """Optimizer: SGD with momentum 0.9, or AdamW."""
    learning_rate: Positive = 0.02
    """Learning rate of encoder and decoder at the start of the polynomial schedule."""
    power: Positive = 0.9
    """Exponent of the schedule: learning_rate * (1 - step / steps) ** power."""
    weight_decay: Annotated[float, Field(ge=0)] = 5e-4
    """Weight decay of all parameters."""
    policy: Policy = Policy.model_validate("identity")
    """Policy by which training images are augmented; steps that move pixels move the target alike."""
    checkpoint_seconds: Positive = 60
    """Least number of seconds between two checkpoints."""

    @field_validator("name")
    @classmethod
    def _name_is_a_folder(cls, name: str) -> str:
        if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
            raise ValueError("use letters, digits, '.', '_' and '-', starting with a letter or digit (it names a folder)")
        return name

    @field_validator("starts", "encoders")
    @classmethod
    def _all_differ(cls, names: tuple[str, ...] | None) -> tuple[str, ...] | None:
        if names is not None and (not names or len(set(names)) < len(names)):
            raise ValueError("name at least one, each once")
        return names

    @model_validator(mode="after")
    def _data_have_the_target(self) -> DenseSpec:
        allowed = DENSE_SETS[self.data.kind]
        if self.task not in allowed:
            raise ValueError(f"task is {self.task!r}, data.name {self.data.name!r} has targets for {' and '.join(allowed)} only")
        return self

    @model_validator(mode="after")
    def _warmup_ends(self) -> DenseSpec:
        if self.warmup_epochs >= self.epochs and self.warmup_epochs > 0:
            raise ValueError(f"warmup_epochs is {self.warmup_epochs}, it must be below epochs, which is {self.epochs}")
        return self

    @property
    def decoder_name(self) -> str:
        """Name of the decoder."""
        return self.decoder or ("upernet" if self.task == "segmentation" else "unet")

    @property
    def metric(self) -> str:
        """Name of the measure that encoders are compared by first."""
        return "mean_iou" if self.task == "segmentation" else "rmse"


def bundled_dense() -> dict[str, Path]:
    """Return the names and paths of the dense tasks that ship with the package.

    Examples
    --------
    >>> list(bundled_dense())
    ['ade20k', 'nyu', 'scenes-depth', 'scenes-segmentation']
    """
    return {path.stem: path for path in sorted((Path(__file__).with_name("bundled") / "dense").glob("*.yaml"))}


def load_dense(spec: str | Path, *, seed: int | None = None, data: str | None = None) -> DenseSpec:
    """Return the dense task of a bundled name or a YAML file, with relative paths made absolute.

    Parameters
    ----------
    spec
        A name of :func:`bundled_dense`, or the path of a YAML file.
    seed
        Put in place of the spec's own ``seed``.
    data
        Put in place of the spec's own ``data.name``; a path in it is seen from the working directory.

    Raises
    ------
    UserError
        No such spec, not YAML, or a field that is unknown or out of bounds.

    Examples
    --------
    >>> load_dense("scenes-depth").decoder_name
    'unet'
    """
    bundled = bundled_dense()
    path = bundled.get(str(spec)) or expanded(spec)
    if not path.is_file():
        raise UserError(
            f"TASK: there is no file {str(spec)!r} and no bundled dense task of that name; bundled are {', '.join(bundled)}"
            f"{near(str(spec), bundled)}"
        )
    loaded: dict[str, Any] = {**read_yaml(path), **({} if seed is None else {"seed": seed})}
    base = Path() if str(spec) in bundled else path.parent
    if data is not None:
        loaded["data"] = {**(loaded["data"] if isinstance(loaded.get("data"), dict) else {}), "name": data}
        base = Path()
    try:
        found = DenseSpec.model_validate(loaded)
    except ValidationError as error:
        raise UserError(f"{spec}: {first_error(error, root=DenseSpec)}") from None
    if found.data.kind == "scenes":
        return found
    name = f"{found.data.kind}:{(absolute(base) / found.data.path).resolve()}"
    return found.model_copy(update={"data": found.data.model_copy(update={"name": name})})
