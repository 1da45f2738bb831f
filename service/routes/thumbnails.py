"""The endpoints for thumbnails: /thumbnail and /thumbnails."""

import base64
import hashlib
from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response
from pydantic import TypeAdapter

from mien.index.errors import UnknownFaceError
from mien.service.answers.gallery import Thumbnails
from mien.service.inference.runtime import Runtime
from mien.service.routes import problems, uploads
from mien.service.schemas.thumbnails import ThumbnailQuery, ThumbnailsQuery

THUMBNAILS_PATH: Final = "/thumbnails"

_PICTURE: Final[dict[int | str, dict[str, Any]]] = {
    200: {"content": {"image/webp": {}, "image/png": {}}, "description": "A square picture, mostly in colour."}
}
_THUMBNAILS: Final = TypeAdapter(ThumbnailsQuery)
_PNG: Final = b"\x89PNG"


def thumbnails_router(runtime: Runtime) -> APIRouter:
    """The router of the endpoints."""
    router = APIRouter(tags=["gallery"], responses=problems.openapi_responses(401, 403, 404, 422, 429, 503))

    @router.get("/thumbnail", summary="Show a face", response_class=Response, responses=_PICTURE)
    async def thumbnail(request: Request, query: Annotated[ThumbnailQuery, Query()]) -> Response:
        """The thumbnail of a face, which a browser may keep; 404 if the gallery has none of such a face."""
        gallery = runtime.loaded().engine.gallery
        found = await runtime.lanes.queries.run(lambda: gallery.thumbnails([query.id]))
        if query.id not in found:
            raise UnknownFaceError(f"the gallery keeps no thumbnail of a face with the id {query.id[:80]!r}")
        file = found[query.id]
        etag = f'"{hashlib.sha256(file).hexdigest()[:32]}"'
        headers = {"ETag": etag, "Cache-Control": "private, max-age=300"}
        if request.headers.get("if-none-match") == etag:
            return Response(status_code=304, headers=headers)
        return Response(file, media_type="image/png" if file.startswith(_PNG) else "image/webp", headers=headers)

    @router.post(
        THUMBNAILS_PATH,
        summary="Show several faces",
        response_model=Thumbnails,
        responses=problems.openapi_responses(400, 408, 413),
        openapi_extra=uploads.openapi_body(None, "ThumbnailsQuery"),
    )
    async def thumbnails(request: Request) -> Response:
        """The thumbnails of a page of matches, with one request."""
        query = await uploads.read_json(request, _THUMBNAILS)
        gallery = runtime.loaded().engine.gallery

        def encode() -> str:
            files = gallery.thumbnails(query.ids)
            encoded = {face_id: base64.b64encode(file).decode() for face_id, file in files.items()}
            return Thumbnails(thumbnails=encoded).model_dump_json()

        return Response(await runtime.lanes.queries.run(encode), media_type=uploads.JSON)

    return router
