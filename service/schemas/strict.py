"""The base of requests: unknown fields are refused, so that a misspelt one is noticed."""

from pydantic import BaseModel, ConfigDict


class StrictModel(BaseModel):
    """A model that refuses unknown fields."""

    model_config = ConfigDict(extra="forbid")
