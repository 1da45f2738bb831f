"""The endpoint for the thumbnails of several faces: /thumbnails."""

import asyncio
import base64
from typing import Final

from fastapi import APIRouter
from fastapi.responses import Response

from mien.service.inference.runtime import Runtime
from mien.service.routes import problems, uploads
from mien.service.schemas.thumbnails import Thumbnails, ThumbnailsQuery

THUMBNAILS_PATH: Final = "/thumbnails"


def thumbnails_router(runtime: Runtime) -> APIRouter:
    """The router of the endpoint."""
    router = APIRouter(tags=["gallery"], responses=problems.openapi_responses(401, 403, 422, 429, 503))

    @router.post(THUMBNAILS_PATH, summary="Show several faces", response_model=Thumbnails)
    async def thumbnails(query: ThumbnailsQuery) -> Response:
        """The thumbnails of a page of matches, with one request."""
        gallery = runtime.loaded().engine.gallery

        def encode() -> Thumbnails:
            files = gallery.thumbnails(query.ids)
            return Thumbnails(thumbnails={face_id: base64.b64encode(file).decode() for face_id, file in files.items()})

        return Response((await asyncio.to_thread(encode)).model_dump_json(), media_type=uploads.JSON)

    return router
