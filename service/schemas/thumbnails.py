"""Requests for thumbnails of faces of a gallery."""

from typing import Annotated, Final

from pydantic import Field

from mien.service.schemas.strict import StrictModel

MAX_THUMBNAILS: Final = 256
"""Thumbnails of one request."""


class ThumbnailQuery(StrictModel):
    """Parameters of the request for a thumbnail."""

    id: str = Field(max_length=1000, description="Of a face of the gallery.", examples=["darwin/plate-3/5"])


class ThumbnailsQuery(StrictModel):
    """The JSON body of a request for thumbnails."""

    ids: list[Annotated[str, Field(max_length=1000)]] = Field(
        max_length=MAX_THUMBNAILS, fail_fast=True, description="Faces of the gallery.", examples=[["holiday/0042"]]
    )
