"""The WebSocket for the frames of a camera: /stream."""

from typing import Final

from fastapi import APIRouter
from pydantic import ValidationError
from starlette.websockets import WebSocket

from mien.index.errors import QueryError
from mien.model.errors import first_fault
from mien.service.errors import RequestError
from mien.service.inference.runtime import Runtime
from mien.service.middleware.auth import IS_KEY_VALID
from mien.service.routes import problems
from mien.service.routes.faces import check_faces
from mien.service.schemas.video import StreamQuery
from mien.service.video.session import StreamSession

STREAM_PATH: Final = "/stream"

PROTOCOL: Final = "mien"
"""The subprotocol that is accepted where it is offered: a page offers it together with its key."""


def stream_router(runtime: Runtime) -> APIRouter:
    """The router of the endpoint."""
    router = APIRouter()

    @router.websocket(STREAM_PATH)
    async def stream(websocket: WebSocket) -> None:
        """Answers one frame after the other: next the newest that waits; older ones are dropped."""
        try:
            query = _query(websocket)
            check_faces(query, runtime.settings.max_faces)
            loaded = runtime.loaded()
            runtime.admission.streams.take(1)
        except (RequestError, QueryError) as error:
            await _refuse(websocket, error)
            return
        try:
            await websocket.accept(PROTOCOL if PROTOCOL in websocket.scope.get("subprotocols", []) else None)
            is_key_valid = websocket.scope.get(IS_KEY_VALID, lambda: True)
            await StreamSession(runtime, loaded, websocket, query, is_key_valid).run()
        finally:
            runtime.admission.streams.give_back(1)

    return router


def _query(websocket: WebSocket) -> StreamQuery:
    try:
        return StreamQuery.model_validate(dict(websocket.query_params))
    except ValidationError as error:
        raise QueryError(
            f"the parameters of a stream are already_cropped, faces and embeddings: {first_fault(error)}"
        ) from None


async def _refuse(websocket: WebSocket, error: Exception) -> None:
    """Answer with a problem where the server can; otherwise close."""
    if "websocket.http.response" in websocket.scope.get("extensions", {}):
        await websocket.send_denial_response(problems.response_to(error, websocket.scope))
    else:
        websocket.scope[problems.SCOPE_KEY] = problems.kind_of(problems.problem_of(error))
        await websocket.close(1008)
