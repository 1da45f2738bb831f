"""JSON bodies of requests: images in base64, or a point of the embedding space, given in one of five ways."""

from __future__ import annotations

from typing import Annotated, Any, Final, Self

import numpy as np
from numpy.typing import NDArray
from pydantic import Discriminator, Field, Tag, model_validator

from mien.index.bundle.bundle import Bundle
from mien.index.errors import QueryError, UnknownFaceError
from mien.index.gallery.store import GalleryStore
from mien.service.schemas.retrieval import RetrievalOptions
from mien.service.schemas.strict import MAX_COUNT, PriorOption, StrictModel

MAX_PARTS: Final = 16
"""Parts of one mix."""

MAX_POINTS: Final = 64
"""Points of a mix, those of mixes in it included."""


class EmbeddingQuery(StrictModel):
    """A point itself, as POST /embed answers it."""

    embedding: list[Annotated[float, Field(allow_inf_nan=False, ge=-1e6, le=1e6)]] = Field(
        max_length=4096, fail_fast=True, examples=[[0.12, -1.4, 0.7]]
    )


class FaceIdQuery(StrictModel):
    """A face of the gallery; its first match is the face itself."""

    id: str = Field(max_length=1000, examples=["fer0012345"])


class EmotionQuery(StrictModel):
    """The centroid of an emotion."""

    emotion: str = Field(max_length=100, examples=["surprise"])


class SubClassQuery(StrictModel):
    """The centroid of a sub-class, where the bundle has them."""

    sub_class: str = Field(max_length=100, examples=["happiness/2"])


class MixPart(StrictModel):
    """A part of a mix."""

    weight: float = Field(gt=0, le=1e6, allow_inf_nan=False, examples=[0.5])
    query: Query


class MixQuery(StrictModel):
    """The weighted mean of other points; the weights are divided by their sum."""

    mix: list[MixPart] = Field(min_length=1, max_length=MAX_PARTS, fail_fast=True)


def _query_kind(query: object) -> str:
    """The key that tells the kind of a query: error messages are about this kind only."""
    keys = query if isinstance(query, dict) else getattr(query, "model_fields_set", ())
    return next((kind for kind in ("embedding", "id", "emotion", "sub_class", "mix") if kind in keys), "")


Query = Annotated[
    Annotated[EmbeddingQuery, Tag("embedding")]
    | Annotated[FaceIdQuery, Tag("id")]
    | Annotated[EmotionQuery, Tag("emotion")]
    | Annotated[SubClassQuery, Tag("sub_class")]
    | Annotated[MixQuery, Tag("mix")],
    Discriminator(
        _query_kind,
        custom_error_type="query_kind",
        custom_error_message="expected one of 'embedding', 'id', 'emotion', 'sub_class', 'mix'",
    ),
]


class PointQuery(PriorOption, RetrievalOptions):
    """The JSON body of a retrieval by a point."""

    query: Query
    k: int = Field(10, ge=1, le=MAX_COUNT, description="How many matches; at most MIEN_MAX_K.", examples=[10])
    filter: dict[str, Any] | None = Field(
        None, description="Which faces may match: a filter.", examples=[{"emotion": "fear"}]
    )


class JsonImages(StrictModel):
    """Images in JSON: base64 of the files, with or without ``data:image/...;base64,`` in front."""

    image: str | None = Field(None, description="One image.", examples=["/9j/4AAQSkZJRgABAQ..."])
    images: list[str] | None = Field(
        None, min_length=1, max_length=10_000, fail_fast=True, description="Several images, each answered on its own."
    )

    @model_validator(mode="after")
    def _either_or(self) -> Self:
        if (self.image is None) == (self.images is None):
            raise ValueError("expected either 'image' or 'images'")
        return self


def _body_kind(body: object) -> str:
    keys = body if isinstance(body, dict) else getattr(body, "model_fields_set", ())
    return "point" if "query" in keys else "images"


RetrievalBody = Annotated[
    Annotated[JsonImages, Tag("images")] | Annotated[PointQuery, Tag("point")], Discriminator(_body_kind)
]
"""The JSON body of a retrieval: it is about a point if it has a ``query``."""


def count_points(query: Query) -> int:
    """How many points a query comes down to: of a mix, those of its parts."""
    return sum(count_points(part.query) for part in query.mix) if isinstance(query, MixQuery) else 1


def point_of(query: Query, bundle: Bundle, gallery: GalleryStore) -> NDArray[np.float32]:
    """The point of a query.

    Args:
        query: of a request.
        bundle: has the emotions and sub-classes.
        gallery: has the faces.

    Returns:
        (d,) float32.

    Raises:
        QueryError: it has other dimensions than the bundle, or names something that does not exist.
    """
    left = [MAX_POINTS]
    return _point(query, bundle, gallery, left).astype(np.float32)


def _point(query: Query, bundle: Bundle, gallery: GalleryStore, left: list[int]) -> NDArray[np.float64]:
    left[0] -= 1
    if left[0] < 0:
        raise QueryError(f"a mix may come down to {MAX_POINTS} points, this one has more")
    mixture = bundle.mixture
    match query:
        case EmbeddingQuery():
            dimensions = mixture.centroids.shape[1]
            if len(query.embedding) != dimensions:
                raise QueryError(f"expected an embedding of {dimensions} numbers, got {len(query.embedding)}")
            return np.array(query.embedding)
        case FaceIdQuery():
            try:
                return gallery.get(query.id).embedding.astype(np.float64)
            except UnknownFaceError as error:
                raise QueryError(str(error)) from None  # 422, not 404: the path exists
        case EmotionQuery():
            if query.emotion not in mixture.emotions:
                raise QueryError(f"expected one of {', '.join(mixture.emotions)}, got {query.emotion!r}")
            return np.asarray(mixture.centroids[mixture.emotions.index(query.emotion)])
        case SubClassQuery():
            return _sub_class_centroid(query.sub_class, bundle)
        case MixQuery():
            weights = np.array([part.weight for part in query.mix])
            points = np.stack([_point(part.query, bundle, gallery, left) for part in query.mix])
            mean: NDArray[np.float64] = weights @ points / weights.sum()
            return mean


def _sub_class_centroid(name: str, bundle: Bundle) -> NDArray[np.float64]:
    sub_classes = bundle.sub_classes
    if sub_classes is None:
        raise QueryError(f"the bundle that is served has no sub-classes, so none called {name!r}")
    found = next((each for each in sub_classes.each if each.id == name), None)
    if found is None:
        names = ", ".join(each.id for each in sub_classes.each[:8])
        raise QueryError(f"the bundle has no sub-class {name!r}; it has {names}, ...")
    return np.asarray(found.centroid, dtype=np.float64)
