"""Answers about the service itself."""

from typing import Literal

from pydantic import BaseModel, Field


class Reloaded(BaseModel):
    """The result of a reload."""

    status: Literal["reloaded", "reloading"] = Field(
        description="reloading: there are several processes, and each one reloads.", examples=["reloaded"]
    )
    faces: int = Field(description="Faces in the gallery of the process that answers.", examples=[28385])


class Health(BaseModel):
    """Whether the service works."""

    status: str = Field(examples=["ready"])
