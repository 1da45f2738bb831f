"""The endpoints of the gallery: /gallery and /gallery/{id}."""

import asyncio
import base64
import json
from collections.abc import Callable
from http import HTTPStatus
from typing import Annotated, Any, Final, TypeVar

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import BaseModel, TypeAdapter

from mien.index.errors import FaceFieldError, QueryError, UnknownFaceError
from mien.index.gallery.face import GalleryFace
from mien.index.gallery.filters import Comparison, Filter, parse_filter
from mien.index.gallery.store import GalleryStore
from mien.service.inference.gallery_additions import ITEMS, read_additions, time_of, to_faces
from mien.service.inference.runtime import Runtime
from mien.service.routes import problems, uploads
from mien.service.schemas.gallery import (
    AddedFaces,
    AddingQuery,
    Deleted,
    DeletionQuery,
    FaceChanges,
    FaceOfGallery,
    FaceQuery,
    GalleryPage,
    ListingQuery,
    WholeFace,
    face_words,
    statistics_words,
)
from mien.service.schemas.retrieval import parse_filter_text

PROBLEMS: Final = problems.openapi_responses(400, 401, 403, 404, 408, 409, 413, 415, 422, 429, 503, 504, 507)

_FORM_SCHEMA: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {
        "image": {"type": "string", "format": "binary"},
        "images": {"type": "array", "items": {"type": "string", "format": "binary"}},
        ITEMS: {"type": "string", "description": 'JSON: [{"id": "a", "label": "fear", ...}], one for each image.'},
    },
}
_FACE_CHANGES: Final = TypeAdapter(FaceChanges)

Answer = TypeVar("Answer")


def gallery_router(runtime: Runtime) -> APIRouter:
    """The endpoints, over what runs."""
    router = APIRouter(tags=["gallery"], responses=PROBLEMS)
    _serve_many(router, runtime)
    _serve_one(router, runtime)
    return router


def _serve_many(router: APIRouter, runtime: Runtime) -> None:
    @router.post(
        "/gallery",
        summary="Add faces",
        status_code=201,
        response_model=AddedFaces,
        responses={200: {"model": AddedFaces, "description": "All were there already"}},
        openapi_extra=uploads.openapi_body(_FORM_SCHEMA, "NewFaces"),
    )
    async def add(request: Request, query: Annotated[AddingQuery, Query()]) -> Response:
        """Adds faces: images in a form, or embeddings or images in JSON. All are added, or none.

        The same id with the same content again is a success; with other content it is a conflict, unless `replace`.
        Answered once the faces are on disk and are found.
        """
        loaded = runtime.loaded()
        loaded.engine.gallery.check_writable()
        sent = await read_additions(runtime, request)
        async with runtime.admit(max(1, sum(image is not None for _, image in sent))):
            faces = await to_faces(runtime, loaded, sent, already_cropped=query.already_cropped)
        done = await _in_thread(lambda: loaded.engine.gallery.add(faces, replace=query.replace))
        _note(runtime, loaded.engine.gallery)
        words = AddedFaces(
            ids=[face.id for face in faces],
            added=len(done.added),
            replaced=len(done.replaced),
            unchanged=len(done.unchanged),
        )
        status = HTTPStatus.CREATED if done.added or done.replaced else HTTPStatus.OK
        return _answered(words, status)

    @router.get("/gallery", summary="List the faces", response_model=GalleryPage)
    async def listing(query: Annotated[ListingQuery, Query()]) -> Response:
        """Lists faces by id, page by page; pages go on with what was there when the first was asked for."""
        store = runtime.loaded().engine.gallery
        snapshot, after = _read_after(query.after)
        condition = _filter_of(query.filter)

        def page() -> GalleryPage:
            listed = store.listing(query.limit, after=after, condition=condition, snapshot=snapshot)
            following = None if listed.next_after is None else _after(listed.snapshot, listed.next_after)
            return GalleryPage(
                count=store.count(condition),
                read_only=store.read_only,
                faces=[FaceOfGallery(**face_words(face)) for face in listed.faces],
                next=following,
                statistics=statistics_words(store.statistics()) if query.statistics else None,
            )

        return _answered(await _in_thread(page))

    @router.delete("/gallery", summary="Delete everything of a person", response_model=Deleted)
    async def delete_many(query: Annotated[DeletionQuery, Query()]) -> Response:
        """Deletes every face of a subject, or every face that passes a filter; that there is none is no error."""
        store = runtime.loaded().engine.gallery
        if (query.subject is None) == (query.filter is None):
            raise QueryError("say whose faces to delete: expected either 'subject' or 'filter'")
        condition = (
            Comparison(("subject",), "eq", query.subject) if query.subject is not None else _filter_of(query.filter)
        )
        assert condition is not None  # noqa: S101
        deleted = await _in_thread(lambda: store.delete_where(condition))
        _note(runtime, store)
        return _answered(Deleted(deleted=deleted))


def _serve_one(router: APIRouter, runtime: Runtime) -> None:
    @router.get("/gallery/{face_id:path}", summary="Show a face", response_model=WholeFace)
    async def get(face_id: str, _: Annotated[FaceQuery, Query()]) -> Response:
        """Everything that is kept of a face."""
        store = runtime.loaded().engine.gallery
        face = await _in_thread(lambda: store.get(face_id))
        return _answered(_whole(face))

    @router.patch(
        "/gallery/{face_id:path}",
        summary="Change what is said of a face",
        response_model=WholeFace,
        openapi_extra=uploads.openapi_body(None, "FaceChanges"),
    )
    async def change(request: Request, face_id: str, _: Annotated[FaceQuery, Query()]) -> Response:
        """Changes label, subject, metadata or time; metadata is merged (RFC 7396)."""
        store = runtime.loaded().engine.gallery
        sent = await uploads.read_json(request, _FACE_CHANGES)
        changes = {name: getattr(sent, name) for name in sent.model_fields_set}
        if changes.get("metadata", {}) is None:
            raise FaceFieldError("metadata can be changed, not taken away: expected an object, got null")
        if changes.get("time") is not None:
            changes["time"] = time_of(changes["time"])
        face = await _in_thread(lambda: store.update(face_id, changes))
        return _answered(_whole(face))

    @router.delete("/gallery/{face_id:path}", summary="Delete a face", status_code=204, response_model=None)
    async def delete(face_id: str, _: Annotated[FaceQuery, Query()]) -> Response:
        """Deletes a face."""
        store = runtime.loaded().engine.gallery
        if not await _in_thread(lambda: store.delete([face_id])):
            raise UnknownFaceError(f"the gallery has no face with the id {face_id[:80]!r}")
        _note(runtime, store)
        return Response(status_code=HTTPStatus.NO_CONTENT)


def _filter_of(text: str | None) -> Filter | None:
    return None if text is None else parse_filter(parse_filter_text(text))


def _after(snapshot: int, face_id: str) -> str:
    return base64.urlsafe_b64encode(json.dumps([snapshot, face_id]).encode()).decode().rstrip("=")


def _read_after(text: str | None) -> tuple[int | None, str | None]:
    if text is None:
        return None, None
    try:
        snapshot, face_id = json.loads(base64.urlsafe_b64decode(text + "=" * (-len(text) % 4)))
        if isinstance(snapshot, int) and 0 <= snapshot < 2**63 and isinstance(face_id, str):
            return snapshot, face_id
    except (ValueError, TypeError, RecursionError):
        pass
    raise QueryError("'after' should be the 'next' of the page before, as it was answered")


def _whole(face: GalleryFace) -> WholeFace:
    thumbnail = None if face.thumbnail is None else base64.b64encode(face.thumbnail).decode()
    return WholeFace(**face_words(face), embedding=face.embedding.tolist(), thumbnail=thumbnail)


def _note(runtime: Runtime, store: GalleryStore) -> None:
    runtime.metrics.gallery_faces.set(store.count())


async def _in_thread(task: Callable[[], Answer]) -> Answer:
    """Run what waits for a disk or a server off the event loop."""
    return await asyncio.to_thread(task)


def _answered(words: BaseModel, status: HTTPStatus = HTTPStatus.OK) -> Response:
    return Response(words.model_dump_json(), status, media_type=uploads.JSON)
