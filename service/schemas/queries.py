"""Queries without a picture: a point of the embedding space, named in one of five ways."""

from __future__ import annotations

from typing import Annotated, Any, Final

import numpy as np
from numpy.typing import NDArray
from pydantic import BaseModel, ConfigDict, Discriminator, Field, Tag

from mien.index.bundle.bundle import Bundle
from mien.index.errors import QueryError, UnknownFaceError
from mien.index.gallery.gallery import Gallery
from mien.index.gallery.store import GalleryStore
from mien.service.schemas.retrieval import RetrievalOptions

MOST_PARTS: Final = 16
"""Parts of one mix."""

MOST_POINTS: Final = 64
"""Points that a mix of mixes may come down to."""


class _Strict(BaseModel):
    model_config = ConfigDict(extra="forbid")


class EmbeddingQuery(_Strict):
    """A point itself, as POST /embed answers it."""

    embedding: list[Annotated[float, Field(allow_inf_nan=False, ge=-1e6, le=1e6)]] = Field(
        max_length=4096, examples=[[0.12, -1.4, 0.7]]
    )


class FaceIdQuery(_Strict):
    """A face of the gallery; its own first match is itself."""

    id: str = Field(max_length=1000, examples=["fer0012345"])


class EmotionQuery(_Strict):
    """The centroid of an emotion."""

    emotion: str = Field(max_length=100, examples=["surprise"])


class SubClassQuery(_Strict):
    """The centroid of a sub-class, where the bundle has them."""

    sub_class: str = Field(max_length=100, examples=["happiness/2"])


class MixPart(_Strict):
    """A part of a mix."""

    weight: float = Field(gt=0, le=1e6, allow_inf_nan=False, examples=[0.5])
    query: Query


class MixQuery(_Strict):
    """A point between others: their mean, weighted by what each has of the sum of all weights."""

    mix: list[MixPart] = Field(min_length=1, max_length=MOST_PARTS)


def _named(query: object) -> str:
    """The key that says which kind of query it is, so that what is wrong with it is told of that kind alone."""
    keys = query if isinstance(query, dict) else getattr(query, "model_fields_set", ())
    return next((kind for kind in ("embedding", "id", "emotion", "sub_class", "mix") if kind in keys), "")


Query = Annotated[
    Annotated[EmbeddingQuery, Tag("embedding")]
    | Annotated[FaceIdQuery, Tag("id")]
    | Annotated[EmotionQuery, Tag("emotion")]
    | Annotated[SubClassQuery, Tag("sub_class")]
    | Annotated[MixQuery, Tag("mix")],
    Discriminator(
        _named,
        custom_error_type="query_kind",
        custom_error_message="expected one of 'embedding', 'id', 'emotion', 'sub_class', 'mix'",
    ),
]


class PointQuery(RetrievalOptions):
    """The JSON body of a retrieval by a point."""

    query: Query
    k: int = Field(10, ge=1, description="How many matches; at most MIEN_MAX_K.", examples=[10])
    filter: dict[str, Any] | None = Field(
        None, description="Which faces may match: a filter.", examples=[{"emotion": "fear"}]
    )


def point_of(query: Query, bundle: Bundle, owned: GalleryStore | None = None) -> NDArray[np.float32]:
    """The point that a query names.

    Args:
        query: as it came.
        bundle: whose space it is.
        owned: where ids are looked up; None takes the bundle's gallery.

    Returns:
        (d,) float32.

    Raises:
        QueryError: it has other dimensions than the bundle, or names something that the bundle does not have.
    """
    left = [MOST_POINTS]
    return _point(query, bundle, owned, left).astype(np.float32)


def _point(query: Query, bundle: Bundle, owned: GalleryStore | None, left: list[int]) -> NDArray[np.float64]:
    left[0] -= 1
    if left[0] < 0:
        raise QueryError(f"a mix may come down to {MOST_POINTS} points, this one has more")
    mixture, gallery = bundle.mixture, bundle.gallery
    match query:
        case EmbeddingQuery():
            dimensions = mixture.centroids.shape[1]
            if len(query.embedding) != dimensions:
                raise QueryError(f"expected an embedding of {dimensions} numbers, got {len(query.embedding)}")
            return np.array(query.embedding)
        case FaceIdQuery():
            return _embedding(query.id, gallery if owned is None else owned)
        case EmotionQuery():
            if query.emotion not in mixture.emotions:
                raise QueryError(f"expected one of {', '.join(mixture.emotions)}, got {query.emotion!r}")
            return np.asarray(mixture.centroids[mixture.emotions.index(query.emotion)])
        case SubClassQuery():
            return _sub_class(query.sub_class, bundle)
        case MixQuery():
            weights = np.array([part.weight for part in query.mix])
            points = np.stack([_point(part.query, bundle, owned, left) for part in query.mix])
            mixed: NDArray[np.float64] = weights @ points / weights.sum()
            return mixed


def _embedding(face_id: str, gallery: Gallery | GalleryStore) -> NDArray[np.float64]:
    if isinstance(gallery, Gallery):
        return gallery.embedding(face_id).astype(np.float64)
    try:
        return gallery.get(face_id).embedding.astype(np.float64)
    except UnknownFaceError as error:
        raise QueryError(str(error)) from None  # the query is wrong, not the address


def _sub_class(name: str, bundle: Bundle) -> NDArray[np.float64]:
    sub_classes = bundle.subclasses
    if sub_classes is None:
        raise QueryError(f"the bundle that is served has no sub-classes, so none called {name!r}")
    found = next((each for each in sub_classes.each if each.id == name), None)
    if found is None:
        names = ", ".join(each.id for each in sub_classes.each[:8])
        raise QueryError(f"the bundle has no sub-class {name!r}; it has {names}, ...")
    return np.asarray(found.centroid, dtype=np.float64)
