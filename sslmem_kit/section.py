"""The base of every section of a study spec: frozen, unknown keys refused, defaults validated."""

from pydantic import BaseModel, ConfigDict


class Section(BaseModel):
    """A frozen part of a study spec; a key that it does not know is refused."""

    model_config = ConfigDict(extra="forbid", frozen=True, validate_default=True, allow_inf_nan=False)
