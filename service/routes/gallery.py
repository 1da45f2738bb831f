"""The endpoints of the gallery: /gallery and /gallery/{id}."""

from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any, Final, TypeVar

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, FailFast, TypeAdapter

from mien.index.errors import QueryError, UnknownFaceError
from mien.index.gallery.filters import Comparison, Filter, parse_filter
from mien.index.gallery.store import GalleryStore
from mien.service.answers.gallery import Added, Deleted, GalleryPage, WholeFace
from mien.service.errors import MalformedBodyError, MissingFieldError
from mien.service.inference.gallery_additions import Addition, embed_additions
from mien.service.inference.lanes import cost_of_filter
from mien.service.inference.runtime import Runtime
from mien.service.routes import problems, uploads
from mien.service.routes.faces import check_faces
from mien.service.schemas.gallery import (
    AddingQuery,
    DeletionQuery,
    FaceChanges,
    ListingQuery,
    NewFace,
    NewFaces,
    NoParameters,
    addition,
    field_changes,
    gallery_face,
    gallery_statistics,
    listing_cursor,
    read_listing_cursor,
    whole_face,
)
from mien.service.schemas.retrieval import parse_filter_text

PROBLEMS: Final = problems.openapi_responses(400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503, 504, 507)

ITEMS: Final = "items"
"""The field of a form with the fields of its images: a JSON list, one object for each image."""

FACES_PER_UNIT: Final = 100
"""Faces that are written in one unit of work."""

_ITEMS: Final = TypeAdapter(Annotated[list[NewFace], FailFast()])
_NEW_FACES: Final = TypeAdapter(NewFaces)
_FACE_CHANGES: Final = TypeAdapter(FaceChanges)

Result = TypeVar("Result")

_FORM_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        uploads.IMAGE: {"type": "string", "format": "binary"},
        uploads.IMAGES: {"type": "array", "items": {"type": "string", "format": "binary"}},
        ITEMS: {"type": "string", "description": 'JSON: [{"id": "a", "label": "fear", ...}], one for each image.'},
    },
}


def gallery_router(runtime: Runtime) -> APIRouter:
    """The router of the endpoints."""
    router = APIRouter(tags=["gallery"], responses=PROBLEMS)
    _route_collection(router, runtime)
    _route_face(router, runtime)
    return router


def _route_collection(router: APIRouter, runtime: Runtime) -> None:
    @router.post(
        "/gallery",
        summary="Add faces",
        status_code=201,
        response_model=Added,
        responses={200: {"model": Added, "description": "All were there already"}},
        openapi_extra=uploads.openapi_body(_FORM_SCHEMA, "NewFaces"),
    )
    async def add(request: Request, query: Annotated[AddingQuery, Query()]) -> Response:
        """Adds faces: images in a form, or embeddings or images in JSON. All are added, or none.

        The same id with the same content again is a success; with other content it is a conflict, unless `replace`.
        The answer comes when the faces are on disk and searches find them.
        """
        loaded = runtime.loaded()
        gallery = loaded.engine.gallery
        gallery.check_writable()
        check_faces(query, runtime.settings.max_faces)
        additions = await _read_additions(request, runtime.settings.max_images)
        async with runtime.admit(max(1, sum(each.image is not None for each in additions))):
            faces = await embed_additions(
                loaded,
                additions,
                already_cropped=query.already_cropped,
                max_faces=query.max_faces,
                thumbnails=runtime.settings.gallery_thumbnails if query.thumbnails is None else query.thumbnails,
            )
        result = await _change(runtime, gallery, lambda: gallery.add(faces, replace=query.replace), len(faces))
        answer = Added(
            ids=[face.id for face in faces],
            added=len(result.added),
            replaced=len(result.replaced),
            unchanged=len(result.unchanged),
        )
        return _json(answer, HTTPStatus.CREATED if result.added or result.replaced else HTTPStatus.OK)

    @router.get("/gallery", summary="List the faces", response_model=GalleryPage)
    async def listing(query: Annotated[ListingQuery, Query()]) -> Response:
        """Lists faces by id, page by page; later pages show the gallery as it was for the first."""
        engine = runtime.loaded().engine
        gallery, names = engine.gallery, engine.bundle.sub_class_names
        snapshot, after = (None, None) if query.after is None else read_listing_cursor(query.after)
        condition = _read_filter(query.filter)

        def page() -> str:
            listed = gallery.listing(query.limit, after=after, condition=condition, snapshot=snapshot)
            last = listed.next_after
            answer = GalleryPage(
                count=gallery.count(condition),
                read_only=gallery.read_only,
                faces=[gallery_face(face, names) for face in listed.faces],
                next=None if last is None else listing_cursor(listed.snapshot, last),
                statistics=gallery_statistics(gallery.statistics()) if query.statistics else None,
            )
            return answer.model_dump_json()  # up to megabytes: not on the event loop

        content = await runtime.lanes.queries.run(page, 1 + query.statistics + cost_of_filter(condition, gallery))
        return Response(content, media_type=uploads.JSON)

    @router.delete("/gallery", summary="Delete all faces of a person", response_model=Deleted)
    async def delete_many(query: Annotated[DeletionQuery, Query()]) -> Response:
        """Deletes every face of a subject, or every face that passes a filter; it is no error if there is none."""
        gallery = runtime.loaded().engine.gallery
        if (query.subject is None) == (query.filter is None):
            raise QueryError("expected either 'subject' or 'filter': whose faces are deleted")
        condition = (
            Comparison(("subject",), "eq", query.subject) if query.subject is not None else _read_filter(query.filter)
        )
        assert condition is not None  # noqa: S101
        deleted = await _change(
            runtime, gallery, lambda: gallery.delete_where(condition), cost=1 + cost_of_filter(condition, gallery)
        )
        return _json(Deleted(deleted=deleted))


def _route_face(router: APIRouter, runtime: Runtime) -> None:
    @router.get("/gallery/{face_id:path}", summary="Show a face", response_model=WholeFace)
    async def get(face_id: str, _: Annotated[NoParameters, Query()]) -> Response:
        """Everything that is kept of a face."""
        engine = runtime.loaded().engine
        face = await runtime.lanes.queries.run(lambda: engine.gallery.get(face_id))
        return _json(whole_face(face, engine.bundle.sub_class_names))

    @router.patch(
        "/gallery/{face_id:path}",
        summary="Change the fields of a face",
        response_model=WholeFace,
        openapi_extra=uploads.openapi_body(None, "FaceChanges"),
    )
    async def change(request: Request, face_id: str, _: Annotated[NoParameters, Query()]) -> Response:
        """Changes label, subject, metadata or time; metadata is merged (RFC 7396)."""
        engine = runtime.loaded().engine
        changes = field_changes(await uploads.read_json(request, _FACE_CHANGES))
        face = await runtime.lanes.changes.run(lambda: engine.gallery.update(face_id, changes))
        return _json(whole_face(face, engine.bundle.sub_class_names))

    @router.delete("/gallery/{face_id:path}", summary="Delete a face", status_code=204, response_model=None)
    async def delete(face_id: str, _: Annotated[NoParameters, Query()]) -> Response:
        """Deletes a face."""
        gallery = runtime.loaded().engine.gallery
        if not await _change(runtime, gallery, lambda: gallery.delete([face_id])):
            raise UnknownFaceError(f"the gallery has no face with the id {face_id[:80]!r}")
        return Response(status_code=HTTPStatus.NO_CONTENT)


async def _read_additions(request: Request, max_images: int) -> list[Addition]:
    """Read the faces to add out of a form or a JSON body.

    Raises:
        FaceFieldError: a time cannot be read.
        RequestError: the body cannot be read, or is over a limit.
    """
    kind = uploads.content_type(request)
    if kind == uploads.FORM:
        images = await uploads.read_form(request, max_images)
        files = [file for file in images.files if isinstance(file, bytes)]
        items = await _parse_items(images.texts.get(ITEMS), len(files))
        return [addition(item, file) for item, file in zip(items, files, strict=True)]
    if kind != uploads.JSON:
        raise MissingFieldError(f"send faces as {uploads.JSON} or {uploads.FORM}, got {kind or 'no content type'}")
    body = await uploads.read_json(request, _NEW_FACES)
    uploads.check_count(sum(item.image is not None for item in body.items), max_images)
    return await uploads.in_parser(
        lambda: [addition(item, _decode_image(item, row)) for row, item in enumerate(body.items)], large=True
    )


async def _parse_items(text: str | None, count: int) -> list[NewFace]:
    """The fields of the images of a form."""
    if text is None:
        return [NewFace() for _ in range(count)]
    items = await uploads.parse_field(ITEMS, text, _ITEMS)
    if len(items) != count:
        raise MissingFieldError(
            f"the field '{ITEMS}' must have one object for each of {count} images, got {len(items)}"
        )
    if any(item.embedding is not None or item.image is not None for item in items):
        raise MissingFieldError("in a form, the images are files: 'embedding' and 'image' are for a JSON body")
    return items


def _decode_image(item: NewFace, row: int) -> bytes | None:
    if (item.image is None) == (item.embedding is None):
        raise MissingFieldError(f"items[{row}] must have either 'embedding' or 'image'")
    if item.image is None:
        return None
    try:
        return uploads.decode_base64(item.image)
    except ValueError:
        raise MalformedBodyError(f"items[{row}].image must be an image file in base64, got something else") from None


def _read_filter(text: str | None) -> Filter | None:
    return None if text is None else parse_filter(parse_filter_text(text))


async def _change(
    runtime: Runtime, gallery: GalleryStore, change: Callable[[], Result], faces: int = 1, cost: int = 0
) -> Result:
    """The result of a change to about so many ``faces``, which may cost more units of work than they do."""

    def change_and_count() -> tuple[Result, int]:
        return change(), gallery.count()

    result, count = await runtime.lanes.changes.run(change_and_count, 1 + faces // FACES_PER_UNIT + cost)
    runtime.metrics.gallery_faces.set(count)
    return result


def _json(answer: BaseModel, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(answer.model_dump_json(), status, media_type=uploads.JSON)
