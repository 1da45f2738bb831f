"""Requests for portraits."""

from typing import Final

from pydantic import Field

from mien.index.errors import QueryError
from mien.service.schemas.queries import EmbeddingQuery, EmotionQuery, FaceIdQuery, Query, SubClassQuery
from mien.service.schemas.strict import StrictModel

MAX_PORTRAITS: Final = 256
"""Portraits of one request."""


class PortraitQuery(StrictModel):
    """Which point is painted: exactly one of the first four."""

    id: str | None = Field(None, max_length=1000, description="A face of the gallery.", examples=["fer0012345"])
    emotion: str | None = Field(None, max_length=100, description="The centroid of an emotion.", examples=["surprise"])
    sub_class: str | None = Field(None, max_length=100, description="The centroid of a sub-class.")
    embedding: str | None = Field(None, max_length=8192, description="The numbers of a point, with commas between.")
    side_px: int = Field(192, ge=16, le=480, description="Height and width of the picture.")

    def point(self) -> Query:
        """The point, as the other endpoints take it.

        Raises:
            QueryError: none or several are given, or the embedding is no list of finite numbers.
        """
        given = [name for name in ("id", "emotion", "sub_class", "embedding") if getattr(self, name) is not None]
        if len(given) != 1:
            got = ", ".join(given) or "none"
            raise QueryError(f"expected one of id, emotion, sub_class and embedding, got {got}")
        if self.id is not None:
            return FaceIdQuery(id=self.id)
        if self.emotion is not None:
            return EmotionQuery(emotion=self.emotion)
        if self.sub_class is not None:
            return SubClassQuery(sub_class=self.sub_class)
        try:
            return EmbeddingQuery(embedding=[float(number) for number in (self.embedding or "").split(",")])
        except ValueError:
            raise QueryError("embedding must be finite numbers with commas between") from None


class PortraitsQuery(StrictModel):
    """The JSON body of a request for several portraits."""

    queries: list[Query] = Field(
        min_length=1, max_length=MAX_PORTRAITS, fail_fast=True, description="What is painted, in order."
    )
