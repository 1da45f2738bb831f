"""Answers about the service: what is served, its limits, and whether it works."""

from typing import Literal

from pydantic import Field

from mien.service.answers.base import Answer
from mien.service.answers.rounded import Rounded


class ServedGallery(Answer):
    """The gallery that is searched."""

    faces: int = Field(examples=[28385])
    read_only: bool = Field(description="Whether it is the gallery that ships.", examples=[False])
    keeps_thumbnails: bool = Field(description="Whether a face that is added keeps a small image.", examples=[True])


class TypicalDistance(Answer):
    """How far apart two faces are, by the mixture: the scale on which to read a distance."""

    same_emotion: Rounded = Field(description="Two faces of one emotion, in embedding units.", examples=[1.35])
    other_emotion: Rounded = Field(description="Two faces of different emotions.", examples=[3.4])


class Limits(Answer):
    """What a request may have."""

    images: int = Field(description="Images of one request: MIEN_MAX_IMAGES.", examples=[16])
    body_bytes: int = Field(description="Of a body: MIEN_MAX_BODY_BYTES.", examples=[22020096])
    faces: int = Field(description="Faces of an image that are answered: MIEN_MAX_FACES.", examples=[50])
    k: int = Field(description="Matches of a query: MIEN_MAX_K.", examples=[1000])


class Info(Answer):
    """What is served."""

    gallery: ServedGallery
    emotions: list[str] = Field(examples=[["neutral", "happiness"]])
    sub_classes: dict[str, str] = Field(
        description="Their names in words by id, or the id; empty where the bundle has none.",
        examples=[{"happiness/2": "happiness/closed smile"}],
    )
    typical_distance: TypicalDistance
    limits: Limits


class Health(Answer):
    """Whether the service works."""

    status: str = Field(examples=["ready"])


class Reloaded(Answer):
    """The result of a reload."""

    status: Literal["reloaded", "reloading"] = Field(
        description="reloading: there are several processes, and each one reloads.", examples=["reloaded"]
    )
    faces: int = Field(description="Faces in the gallery of the process that answers.", examples=[28385])
