"""The base of requests: unknown fields are refused, so that a misspelt one is noticed."""

from typing import Final

from pydantic import BaseModel, ConfigDict, Field

from mien.model.emotions import EmotionPrior

MAX_COUNT: Final = 1_000_000_000
"""Largest number of things that a request may name: what has thousands of digits is refused before it is used."""


class StrictModel(BaseModel):
    """A model that refuses unknown fields."""

    model_config = ConfigDict(extra="forbid")


class PriorOption(StrictModel):
    """The option of all requests whose answers have posteriors."""

    prior: EmotionPrior | None = Field(
        None,
        description="Weights of the emotions in the posterior: uniform, or data, their shares of the training faces; "
        "without it, MIEN_PRIOR.",
        examples=["uniform"],
    )
