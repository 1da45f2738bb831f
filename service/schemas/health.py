"""Answers about the service itself."""

from typing import Literal

from pydantic import BaseModel, Field


class Reloaded(BaseModel):
    """What is served after a reload."""

    status: Literal["reloaded", "reloading"] = Field(
        description="reloading: each of several processes does so on its own.", examples=["reloaded"]
    )
    faces: int = Field(description="Faces in the gallery of the process that answers.", examples=[28385])


class Health(BaseModel):
    """Whether the service works."""

    status: str = Field(examples=["ready"])
