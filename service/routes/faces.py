"""The endpoints that take images or points: /classify, /retrieve and /embed.

A request is parsed into ``ImageQuery`` objects or a ``PointQuery``, predicted (``mien.service.inference.queue``), and
its predictions are turned into the answer (``mien.service.schemas.faces``).
"""

import inspect
from collections.abc import Callable, Coroutine, Sequence
from dataclasses import replace
from functools import lru_cache
from typing import Annotated, Any, Final, get_args, get_origin

from fastapi import APIRouter, Query, Request
from fastapi.exceptions import RequestValidationError
from fastapi.responses import Response
from fastapi.routing import APIRoute
from pydantic import BaseModel, TypeAdapter, ValidationError
from starlette.datastructures import QueryParams

from mien.index.errors import QueryError
from mien.index.gallery.store import GalleryStore, SearchOptions
from mien.model.errors import ImageError
from mien.service.answers.faces import (
    Classification,
    Classifications,
    Embedding,
    Embeddings,
    PointRetrieval,
    ProblemImage,
    Retrieval,
    Retrievals,
)
from mien.service.errors import RequestError
from mien.service.inference.lanes import cost_of_filter
from mien.service.inference.prediction import ImageQuery, InferenceRequest, Prediction
from mien.service.inference.queue import LoadedEngine
from mien.service.inference.runtime import Runtime
from mien.service.inference.worker_pool import Priority
from mien.service.routes import problems, uploads
from mien.service.routes.connected import while_connected
from mien.service.schemas.faces import (
    ClassificationQuery,
    FaceQuery,
    RetrievalQuery,
    classification,
    embedding,
    point_retrieval,
    retrieval,
)
from mien.service.schemas.queries import JsonImages, PointQuery, RetrievalBody, point_of
from mien.service.schemas.retrieval import parse_filter_text, search_options, without_image

PROBLEMS: Final = problems.openapi_responses(400, 401, 403, 408, 413, 415, 422, 429, 503, 504)

MAX_INLINE_MATCHES: Final = 100
"""Matches, or faces without matches, of an answer that is serialised on the event loop: it takes 1 to 2 ms."""

_RETRIEVAL_BODY: Final[TypeAdapter[JsonImages | PointQuery]] = TypeAdapter(RetrievalBody)

MAX_QUERIES: Final = 64
"""Query strings whose validated models are kept: clients send the same ones again and again."""

MAX_QUERY_BYTES: Final = 256
"""Longer query strings are not kept."""

Presenter = Callable[[Prediction], BaseModel]
"""Turns the prediction of one image or point into its answer."""


class QueryModelRoute(APIRoute):
    """A route of an endpoint whose parameters are the request and one model, ``query``, of the query string.

    FastAPI writes its OpenAPI description, but does not handle its requests: it would resolve each field of the model
    at each request, which takes a tenth of the time of a small answer. Here pydantic validates the query string as a
    whole.
    """

    def get_route_handler(self) -> Callable[[Request], Coroutine[Any, Any, Response]]:
        """The endpoint, called with the validated query string."""
        endpoint: Callable[[Request, BaseModel], Coroutine[Any, Any, Response]] = self.endpoint
        model: type[BaseModel] = get_args(inspect.signature(endpoint).parameters["query"].annotation)[0]
        lists = frozenset(name for name, each in model.model_fields.items() if get_origin(each.annotation) is list)

        def validate(query_string: bytes) -> BaseModel:
            sent = QueryParams(query_string)
            try:
                return model.model_validate(
                    {name: sent.getlist(name) if name in lists else sent[name] for name in sent}
                )
            except ValidationError as error:
                faults = [{**each, "loc": ("query", *each["loc"])} for each in error.errors()]
                raise RequestValidationError(faults) from None

        validate_again = lru_cache(MAX_QUERIES)(validate)

        async def handle(request: Request) -> Response:
            query_string: bytes = request.scope["query_string"]
            known = len(query_string) <= MAX_QUERY_BYTES
            return await endpoint(request, validate_again(query_string) if known else validate(query_string))

        return handle


def faces_router(runtime: Runtime) -> APIRouter:
    """The router of the endpoints."""
    router = APIRouter(tags=["faces"], route_class=QueryModelRoute)

    @router.post(
        "/classify",
        summary="Name the emotion of each face",
        response_model=Classification | Classifications,
        responses=PROBLEMS,
        openapi_extra=uploads.openapi_images("JsonImages"),
    )
    async def classify(request: Request, query: Annotated[ClassificationQuery, Query()]) -> Response:
        """Finds the faces of an image and names the emotion of each, largest face first.

        Several images, sent as `images`, are answered each on its own.
        """
        return await _answer_request(runtime, request, query, classification)

    @router.post(
        "/retrieve",
        summary="Find the gallery's nearest expressions",
        response_model=Retrieval | Retrievals | PointRetrieval,
        responses=PROBLEMS,
        openapi_extra=uploads.openapi_images("JsonImages", "PointQuery"),
    )
    async def retrieve(request: Request, query: Annotated[RetrievalQuery, Query()]) -> Response:
        """Finds the faces of an image and, for each, the k faces of the gallery with the most similar expression.

        In place of images, a JSON body may have a `query`: an embedding, the id of a face of the gallery, an emotion, a
        sub-class, or a weighted mix of these.
        """
        return await _answer_request(runtime, request, query, retrieval)

    @router.post(
        "/embed",
        summary="Give each face's point in the embedding space",
        response_model=Embedding | Embeddings,
        responses=PROBLEMS,
        openapi_extra=uploads.openapi_images("JsonImages"),
    )
    async def embed(request: Request, query: Annotated[ClassificationQuery, Query()]) -> Response:
        """Finds the faces of an image and embeds them. Distances are Euclidean, and hold within one bundle."""
        return await _answer_request(runtime, request, query, embedding)

    return router


async def _answer_request(runtime: Runtime, request: Request, parameters: FaceQuery, present: Presenter) -> Response:
    """Answer about each image of a request, or about its point.

    Raises:
        QueryError: a parameter is out of range, or the body does not take it.
        RequestError: the request cannot be read or admitted.
        ImageError: its only image cannot be used.
    """
    loaded = runtime.loaded()
    query = _image_query(runtime, loaded, parameters)
    body = await _read_body(request, parameters, runtime.settings.max_images)
    await _prepare_search(runtime, loaded.engine.gallery, query.options)
    if isinstance(body, PointQuery):
        return await _answer_point(runtime, loaded, body)
    queries = [file if isinstance(file, RequestError) else _with_file(query, file) for file in body.files]
    async with runtime.admit(len(queries)):
        predicting = loaded.predict_all([each for each in queries if isinstance(each, ImageQuery)])
        predictions = iter(await (predicting if parameters.already_cropped else while_connected(request, predicting)))
        found = [each if isinstance(each, RequestError) else next(predictions) for each in queries]
        if not body.several and isinstance(found[0], Exception):
            raise found[0]
        answers = await _to_json(runtime, found, present)
    content = b'{"images":[' + b",".join(answers) + b"]}" if body.several else answers[0]
    return Response(content, media_type=uploads.JSON)


def _image_query(runtime: Runtime, loaded: LoadedEngine, parameters: FaceQuery) -> ImageQuery:
    """The query about each image of a request, without its file.

    Raises:
        QueryError: a parameter is out of range.
    """
    check_faces(parameters, runtime.settings.max_faces)
    query = ImageQuery(already_cropped=parameters.already_cropped, max_faces=parameters.max_faces)
    if isinstance(parameters, ClassificationQuery):
        query = replace(query, prior=parameters.prior)
    if not isinstance(parameters, RetrievalQuery):
        return query
    loaded.engine.check_retrieval(parameters.k, parameters.photographs, parameters.summary)
    options = search_options(parameters, parse_filter_text(parameters.filter))
    return replace(
        query, k=parameters.k, options=options, photographs=parameters.photographs, summary=parameters.summary
    )


async def _prepare_search(runtime: Runtime, gallery: GalleryStore, options: SearchOptions) -> None:
    """Let the gallery read the fields of a filter, before the search is in a batch with those of others."""
    if options.filter is not None:
        await runtime.lanes.queries.run(lambda: gallery.prepare(options), 1 + cost_of_filter(options.filter, gallery))


def _with_file(query: ImageQuery, file: bytes) -> ImageQuery:
    return replace(query, file=file, options=without_image(query.options, file))


async def _read_body(request: Request, parameters: FaceQuery, max_images: int) -> uploads.Images | PointQuery:
    if not isinstance(parameters, RetrievalQuery) or uploads.content_type(request) != uploads.JSON:
        return await uploads.read_images(request, max_images)
    body = await uploads.read_json(request, _RETRIEVAL_BODY)
    if isinstance(body, JsonImages):
        return await uploads.decode_images(body, max_images)
    uploads.check_no_parameters(parameters)
    return body


async def _answer_point(runtime: Runtime, loaded: LoadedEngine, query: PointQuery) -> Response:
    """Answer about a point: the gallery's nearest expressions."""
    engine = loaded.engine
    engine.check_retrieval(query.k, query.photographs, query.summary)
    options = search_options(query, query.filter)
    point = await runtime.lanes.queries.run(lambda: point_of(query.query, engine.bundle, engine.gallery))
    await _prepare_search(runtime, engine.gallery, options)
    request = InferenceRequest(
        points=point[None],
        k=query.k,
        options=options,
        prior=query.prior,
        photographs=query.photographs,
        summary=query.summary,
    )
    async with runtime.admit(1):
        (answer,) = await _to_json(runtime, [await loaded.predict(request)], point_retrieval)
    return Response(answer, media_type=uploads.JSON)


async def _to_json(
    runtime: Runtime, found: Sequence[Prediction | ImageError | RequestError], present: Presenter
) -> list[bytes]:
    """The answer about each image, or its problem, as JSON; many faces or matches are serialised in the pool."""

    def serialise() -> list[bytes]:
        return [
            _serialise(present(each)) if isinstance(each, Prediction) else _problem(runtime, each) for each in found
        ]

    if sum(_count(each) for each in found if isinstance(each, Prediction)) <= MAX_INLINE_MATCHES:
        return serialise()
    return await runtime.pool.run(Priority.ANSWER, serialise)


def _serialise(answer: BaseModel) -> bytes:
    return answer.__pydantic_serializer__.to_json(answer)


def _problem(runtime: Runtime, error: ImageError | RequestError) -> bytes:
    """The problem of one image of several."""
    problem = problems.problem_of(error)
    runtime.metrics.rejections.labels(problems.kind_of(problem)).inc()
    return _serialise(ProblemImage(problem=problem))


def _count(prediction: Prediction) -> int:
    """The matches of a prediction, or its faces without matches."""
    return max(len(prediction), sum(len(near.matches) + len(near.photographs or ()) for near in prediction.found))


def check_faces(query: FaceQuery, max_faces: int) -> None:
    """Check the number of faces of an image that a request wants answered.

    Raises:
        QueryError: it is more than ``max_faces``.
    """
    if query.max_faces is not None and query.max_faces > max_faces:
        raise QueryError(f"faces must be all, largest, or from 1 to {max_faces}, got {query.max_faces}")
