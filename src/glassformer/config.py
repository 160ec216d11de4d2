"""The base of every part's configuration: frozen, and a key that does not exist is an error."""

from pydantic import BaseModel, ConfigDict


class Config(BaseModel):
    """One part of a recipe. Each part defines its own subclass beside the code that it configures, and gives
    every field a default where one makes sense and a `description`, which `glassformer recipes NAME` prints."""

    model_config = ConfigDict(frozen=True, extra="forbid", validate_default=True, allow_inf_nan=False)
