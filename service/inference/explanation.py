"""Explanations: which parts of a face its emotion rests on, and what a face and a match have in common."""

from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np
from numpy.typing import NDArray

from mien.index.errors import QueryError, UnknownFaceError
from mien.index.gallery.face import GalleryFace
from mien.index.mixture.comparison import Comparison, compare_points
from mien.index.views.occlusion import Embed, Occlusion, closeness_map, emotion_map, occlude
from mien.model.errors import ImageError
from mien.model.faces.reader import Face
from mien.model.faces.thumbnail import crop_of_thumbnail
from mien.service.inference.engine import Engine
from mien.service.inference.worker_pool import Priority, WorkerPool


@dataclass(frozen=True)
class SharedTraits:
    """What a face or point and a match have in common.

    Attributes:
        emotions: (c,) names, in the order of the posteriors of ``comparison``.
        match: the face of the gallery.
        sub_class_names: the name of the sub-class of each of the two points; None where it has none.
        comparison: of the two points, the match second.
        heat: (rows, columns) float64, ``closeness_map`` of the face to the match; None without a crop of the face.
        match_crop: (side, side) uint8, the thumbnail of the match; None where the gallery keeps none.
        match_heat: (rows, columns) float64, ``closeness_map`` of the match to the face; None without ``match_crop``.
    """

    emotions: tuple[str, ...]
    match: GalleryFace
    sub_class_names: tuple[str | None, str | None]
    comparison: Comparison
    heat: NDArray[np.float64] | None
    match_crop: NDArray[np.uint8] | None
    match_heat: NDArray[np.float64] | None


@dataclass(frozen=True)
class FaceExplanation:
    """What the emotion of a face or point rests on.

    Attributes:
        emotion: that is explained.
        probability: of the emotion.
        crop: (side, side) uint8, the face; None for a point without one.
        heat: (rows, columns) float64, ``emotion_map`` of the face; None without ``crop``.
        shared: with a match; None without one.
    """

    emotion: str
    probability: float
    crop: NDArray[np.uint8] | None
    heat: NDArray[np.float64] | None
    shared: SharedTraits | None


@dataclass(frozen=True)
class _OccludedFace:
    """A crop (side, side) uint8, and how the network reads it with each place covered."""

    crop: NDArray[np.uint8]
    occlusion: Occlusion


def embed_on_every_core(engine: Engine, pool: WorkerPool) -> Embed:
    """What embeds crops for a job of the pool, together with the threads of the pool that are free."""
    embedder = engine.pipeline.embedder

    def embed(crops: NDArray[np.uint8]) -> NDArray[np.float32]:
        parts = [crops[start : start + embedder.batch_faces] for start in range(0, len(crops), embedder.batch_faces)]
        return np.concatenate(pool.share(Priority.VIEW, embedder.embed, parts))

    return embed


def explain_face(
    engine: Engine, embed: Embed, faces: Sequence[Face], *, face: int, emotion: str | None, match_id: str | None
) -> FaceExplanation:
    """Explain one face of an image.

    Args:
        engine: has the mixture and the gallery.
        embed: embeds the covered faces.
        faces: of the image, largest first.
        face: row of the face among them.
        emotion: to explain; None takes the nearest.
        match_id: a face of the gallery to compare with.

    Raises:
        QueryError: the image has fewer faces, or the emotion or the match is not known.
    """
    emotions = engine.bundle.mixture.emotions
    if emotion is not None and emotion not in emotions:
        raise QueryError(f"expected one of {', '.join(emotions)}, got {emotion!r}")
    match = None if match_id is None else _gallery_face(engine, match_id)
    if face >= len(faces):
        raise QueryError(f"the image has {len(faces)} faces, face must be below that, got {face}")
    crop = faces[face].crop
    occluded = _OccludedFace(crop, occlude(crop, embed))
    return _explain(engine, embed, occluded.occlusion.whole, occluded, match, emotion=emotion)


def explain_point(
    engine: Engine, embed: Embed, point: NDArray[np.float32], *, face_id: str | None, match_id: str
) -> FaceExplanation:
    """Explain what a point and a match have in common.

    Args:
        engine: has the mixture and the gallery.
        embed: embeds the covered faces.
        point: (d,) float32.
        face_id: the face of the gallery that the point is; its thumbnail is used, where one is kept.
        match_id: a face of the gallery to compare with.

    Raises:
        QueryError: one of the faces is not in the gallery.
    """
    match = _gallery_face(engine, match_id)
    occluded = None if face_id is None else _occlude_thumbnail(engine, embed, _gallery_face(engine, face_id))
    return _explain(engine, embed, point, occluded, match)


def _explain(
    engine: Engine,
    embed: Embed,
    point: NDArray[np.float32],
    occluded: _OccludedFace | None,
    match: GalleryFace | None,
    *,
    emotion: str | None = None,
) -> FaceExplanation:
    mixture = engine.bundle.mixture
    posterior = mixture.posterior(point[None], engine.prior)[0]
    column = int(posterior.argmax()) if emotion is None else mixture.emotions.index(emotion)
    return FaceExplanation(
        emotion=mixture.emotions[column],
        probability=float(posterior[column]),
        crop=None if occluded is None else occluded.crop,
        heat=None if occluded is None else emotion_map(occluded.occlusion, mixture, column, engine.prior),
        shared=None if match is None else _compare(engine, embed, point, occluded, match),
    )


def _compare(
    engine: Engine, embed: Embed, point: NDArray[np.float32], occluded: _OccludedFace | None, match: GalleryFace
) -> SharedTraits:
    occluded_match = _occlude_thumbnail(engine, embed, match)
    comparison = compare_points(engine.bundle.mixture, engine.bundle.sub_classes, point, match.embedding, engine.prior)
    of_query, of_match = (engine.bundle.sub_class_names.get(each or "") for each in comparison.sub_classes)
    return SharedTraits(
        emotions=engine.bundle.mixture.emotions,
        match=match,
        sub_class_names=(of_query, of_match),
        comparison=comparison,
        heat=None if occluded is None else closeness_map(occluded.occlusion, match.embedding),
        match_crop=None if occluded_match is None else occluded_match.crop,
        match_heat=None if occluded_match is None else closeness_map(occluded_match.occlusion, point),
    )


def _gallery_face(engine: Engine, face_id: str) -> GalleryFace:
    try:
        return engine.gallery.get(face_id)
    except UnknownFaceError as error:
        raise QueryError(str(error)) from None  # 422, not 404: the path exists


def _occlude_thumbnail(engine: Engine, embed: Embed, face: GalleryFace) -> _OccludedFace | None:
    """A face of the gallery, occluded; None where it has no thumbnail that the network can read."""
    if face.thumbnail is None:
        return None
    try:
        crop = crop_of_thumbnail(face.thumbnail, engine.pipeline.embedder.side_px)
    except ImageError:
        return None
    return _OccludedFace(crop, occlude(crop, embed))
