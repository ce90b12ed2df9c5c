"""The base of every section of a study spec: frozen, unknown keys refused, defaults validated, yes and no taken for no numbers."""

import re
from collections.abc import Callable
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic import AfterValidator, BaseModel, ConfigDict, Field, model_validator

Count = Annotated[int, Field(ge=1)]
Positive = Annotated[float, Field(gt=0)]
Share = Annotated[float, Field(gt=0, lt=1)]


def _names_a_folder(name: str) -> str:
    if not re.fullmatch(r"[A-Za-z0-9][A-Za-z0-9._-]{0,99}", name):
        raise ValueError("use letters, digits, '.', '_' and '-', starting with a letter or digit (it names a folder)")
    return name


FolderName = Annotated[str, AfterValidator(_names_a_folder)]
"""Name of a study, and of its folder."""


def also_as(*forms: dict[str, Any]) -> Callable[[dict[str, Any]], None]:
    """Return what adds, in the JSON schema of a section, the short forms that it may be written in: ``json_schema_extra`` of its config."""

    def extend(schema: dict[str, Any]) -> None:
        whole = {key: schema.pop(key) for key in [*schema] if key not in ("title", "description")}
        schema["anyOf"] = [*forms, whole]

    return extend


class Section(BaseModel):
    """A frozen part of a study spec; a key that it does not know is refused."""

    model_config = ConfigDict(
        extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False, use_attribute_docstrings=True
    )

    @model_validator(mode="before")
    @classmethod
    def _yes_and_no_are_no_numbers(cls, values: Any) -> Any:
        for name, value in values.items() if isinstance(values, dict) else ():
            if isinstance(value, bool) and name in cls.model_fields:  # YAML reads yes and on so, and pydantic would make 1 of it
                kinds = _kinds(cls.model_fields[name].annotation)
                if kinds & {int, float} and bool not in kinds:
                    raise ValueError(f"{name} is {value}, a number is needed, not yes or no")
        return values


def _kinds(annotation: Any) -> set[Any]:
    """Return the types that an annotation allows."""
    if get_origin(annotation) is Annotated:
        return _kinds(get_args(annotation)[0])
    if get_origin(annotation) in (Union, UnionType):
        return {kind for argument in get_args(annotation) for kind in _kinds(argument)}
    return {annotation}
