"""The endpoints that take images or points: /classify, /retrieve and /embed."""

import asyncio
import hashlib
from collections.abc import Callable
from dataclasses import dataclass, replace
from typing import Annotated, Final

import numpy as np
from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel

from mien.index.errors import QueryError
from mien.index.gallery.store import EVERYTHING, SearchOptions
from mien.model.errors import ImageError
from mien.model.faces.reader import Face
from mien.service.errors import MissingFieldError, RequestError
from mien.service.inference.engine import Ask, Engine, Placed
from mien.service.inference.runtime import Runtime, Serving
from mien.service.inference.worker_pool import Order
from mien.service.routes import problems, uploads
from mien.service.routes.direct import DirectRoute
from mien.service.schemas.faces import (
    Classification,
    Classifications,
    Embedding,
    Embeddings,
    FaceQuery,
    PointRetrieval,
    ProblemImage,
    Retrieval,
    RetrievalQuery,
    Retrievals,
)
from mien.service.schemas.queries import PointQuery, point_of
from mien.service.schemas.retrieval import parse_filter_text, search_options

PROBLEMS: Final = problems.documented(400, 401, 403, 408, 413, 415, 422, 429, 503, 504)

LARGE: Final = 100
"""Matches, or faces without matches, of which an answer is put into words in less than a millisecond."""

Put = Callable[[Engine, list[Face], Placed], BaseModel]
"""How an engine puts the answer for the faces of an image into words."""


def faces_router(runtime: Runtime) -> APIRouter:
    """The endpoints, over what runs."""
    router = APIRouter(tags=["faces"], route_class=DirectRoute)

    @router.post(
        "/classify",
        summary="Name the emotion of each face",
        response_model=Classification | Classifications,
        responses=PROBLEMS,
        openapi_extra=uploads.request_body("JsonImages"),
    )
    async def classify(request: Request, query: Annotated[FaceQuery, Query()]) -> Response:
        """Finds the faces of an image and names the emotion of each, largest face first.

        Several images, sent as `images`, are answered each on its own.
        """
        return await answer_images(runtime, request, query, None, Engine.classified)

    @router.post(
        "/retrieve",
        summary="Find the gallery's nearest expressions",
        response_model=Retrieval | Retrievals | PointRetrieval,
        responses=PROBLEMS,
        openapi_extra=uploads.request_body("JsonImages", "PointQuery"),
    )
    async def retrieve(request: Request, query: Annotated[RetrievalQuery, Query()]) -> Response:
        """Finds the faces of an image and, for each, the k faces of the gallery with the most similar expression.

        In place of images, a JSON body may have a `query`: an embedding, the id of a face of the gallery, an emotion, a
        sub-class, or a weighted mix of these.
        """
        runtime.engine.check_k(query.k)
        if uploads.content_type(request) == uploads.JSON:
            runtime.images.check()
            body = await uploads.read_body(request)
            if asks_for_point(body):
                return await answer_point(runtime, body)
        return await answer_images(runtime, request, query, query.k, Engine.retrieved)

    @router.post(
        "/embed",
        summary="Give each face's point in the embedding space",
        response_model=Embedding | Embeddings,
        responses=PROBLEMS,
        openapi_extra=uploads.request_body("JsonImages"),
    )
    async def embed(request: Request, query: Annotated[FaceQuery, Query()]) -> Response:
        """Finds the faces of an image and embeds them. Distances are Euclidean, and hold within one bundle."""
        return await answer_images(runtime, request, query, None, Engine.embedded)

    return router


def asks_for_point(body: bytes) -> bool:
    """Whether a JSON body has a query in place of images: its first key says so, or one of the two it may have."""
    return b'"query"' in body[:64] or (len(body) < 2**20 and b'"query"' in body and b'"image' not in body)


@dataclass(frozen=True)
class _Question:
    """What is to be answered about each image of a request, and from what."""

    serving: Serving
    query: FaceQuery
    k: int | None
    put: Put
    options: SearchOptions = EVERYTHING


async def answer_point(runtime: Runtime, body: bytes) -> Response:
    """Search the gallery for the nearest expressions to a point."""
    serving = runtime.serving()
    query = uploads.parse_json(PointQuery, body)
    serving.engine.check_k(query.k)
    point = point_of(query.query, serving.engine.bundle, serving.engine.owned)
    options = search_options(query, query.filter)
    with runtime.images.holding(1):
        async with runtime.deadline():
            placed = await runtime.place(serving, Ask(points=point[None], k=query.k, options=options))
            written = await _written(runtime, query.k, lambda: serving.engine.retrieved_at(placed))
    return Response(written, media_type=uploads.JSON)


async def answer_images(runtime: Runtime, request: Request, query: FaceQuery, k: int | None, put: Put) -> Response:
    """Read a request's images, and answer each of them.

    Raises:
        RequestError: the request cannot be read or let in.
        ImageError: its only image cannot be used.
    """
    options = EVERYTHING
    if isinstance(query, RetrievalQuery):
        options = search_options(query, parse_filter_text(query.filter))
    question = _Question(runtime.serving(), query, k, put, options)
    check_faces(query, runtime.settings.max_faces)
    runtime.images.check()  # before its body is read: what is refused costs little
    images = await _read_images(runtime, request)
    with runtime.images.holding(len(images.each)):
        async with runtime.deadline():
            if not images.many:
                return Response(await _answer(runtime, question, images.each[0]), media_type=uploads.JSON)
            answers = await asyncio.gather(*(_answer_or_problem(runtime, question, image) for image in images.each))
    return Response(b'{"images":[' + b",".join(answers) + b"]}", media_type=uploads.JSON)


async def _answer_or_problem(runtime: Runtime, question: _Question, image: bytes | RequestError) -> bytes:
    try:
        return await _answer(runtime, question, image)
    except (ImageError, RequestError) as error:
        problem = problems.problem_of(error)
        runtime.metrics.rejections.labels(problems.kind_of(problem)).inc()
        return ProblemImage(problem=problem).model_dump_json().encode()


async def _answer(runtime: Runtime, question: _Question, image: bytes | RequestError) -> bytes:
    """The answer for one image, as JSON."""
    if isinstance(image, RequestError):
        raise image
    serving, query, k, put = question.serving, question.query, question.k, question.put
    options = question.options
    if options.copies_within is not None:
        options = replace(options, exclude_content=frozenset({hashlib.sha256(image).hexdigest()}))
    if query.already_cropped:
        placed = await runtime.place(serving, Ask(file=image, k=k, options=options))
        faces = list(placed.faces)
    else:
        with serving.batches.expect():
            faces = await runtime.find(serving, image, already_cropped=False, most_faces=query.most_faces)
        if options.after is not None and len(faces) != 1:
            raise QueryError(f"a next page is of one face: expected faces=largest, got {len(faces)} faces")
        placed = await runtime.place(serving, Ask(np.stack([face.crop for face in faces]), k=k, options=options))
    return await _written(runtime, len(faces) * (k or 1), lambda: put(serving.engine, faces, placed))


async def _written(runtime: Runtime, size: int, answer: Callable[[], BaseModel]) -> bytes:
    """An answer as JSON; one with many faces and matches is put into words off the event loop."""

    def write() -> bytes:
        words = answer()
        return words.__pydantic_serializer__.to_json(words)

    return write() if size <= LARGE else await runtime.cores.run(Order.ANSWER, write)


async def _read_images(runtime: Runtime, request: Request) -> uploads.Images:
    kind, max_images = uploads.content_type(request), runtime.settings.max_images
    if kind == uploads.FORM:
        return await uploads.read_form(request, max_images)
    if kind == uploads.JSON:
        body = await uploads.read_body(request)
        return await asyncio.to_thread(uploads.images_of_json, body, max_images)
    raise MissingFieldError(
        f"send the image as a file in the field '{uploads.FIELD}' of a {uploads.FORM} body, or as base64 in JSON, "
        f"got {kind or 'no content type'}"
    )


def check_faces(query: FaceQuery, max_faces: int) -> None:
    """Refuse to answer about more faces than are looked at.

    Raises:
        QueryError: that is what is asked for.
    """
    if query.most_faces is not None and query.most_faces > max_faces:
        raise QueryError(f"faces should be all, largest, or from 1 to {max_faces}, got {query.most_faces}")
