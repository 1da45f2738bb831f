"""The endpoint that takes a video: /classify/video."""

from typing import Annotated, Any, Final

from fastapi import APIRouter, Query, Request
from fastapi.responses import Response

from mien.model.errors import NoVideoDecoderError
from mien.model.video.decoder import can_decode_videos
from mien.service.answers.video import VideoEnd, VideoFrame, VideoTrack
from mien.service.errors import MissingFieldError
from mien.service.inference.admission import VIDEO_PATH
from mien.service.inference.runtime import Runtime
from mien.service.routes import problems, uploads
from mien.service.routes.faces import check_faces
from mien.service.schemas.video import VideoQuery
from mien.service.video.answer import NDJSON, answer_video

_LINES: Final[dict[int | str, dict[str, Any]]] = {
    200: {
        "description": "One JSON object per line: one for each sampled frame, as soon as it is ready; then one for "
        "each track; then the end, without which an answer is incomplete.",
        "content": {
            NDJSON: {
                "schema": {
                    "type": "string",
                    "description": "Each line is one of these: "
                    + ", ".join(f"#/components/schemas/{kind.__name__}" for kind in (VideoFrame, VideoTrack, VideoEnd)),
                }
            }
        },
    }
}

_FORM: Final[dict[str, Any]] = {
    "type": "object",
    "properties": {uploads.VIDEO: {"type": "string", "format": "binary", "description": "An MP4, WebM or GIF file."}},
    "required": [uploads.VIDEO],
}


def video_router(runtime: Runtime) -> APIRouter:
    """The router of the endpoint."""
    router = APIRouter(tags=["faces"])

    @router.post(
        VIDEO_PATH,
        summary="Follow the faces of a video, and name their emotions over time",
        response_class=Response,
        responses={**problems.openapi_responses(400, 401, 403, 408, 413, 415, 422, 429, 501, 503, 504), **_LINES},
        openapi_extra=uploads.openapi_body(_FORM),
    )
    async def classify_video(request: Request, query: Annotated[VideoQuery, Query()]) -> Response:
        """Answers about `fps` frames of each second of an MP4, WebM or GIF file, while it is decoded.

        A face that is followed from frame to frame keeps its `track`; a summary of each track comes at the end. A
        problem before the first frame has its own status; a later one is the `problem` of the last line.
        """
        if not can_decode_videos():
            raise NoVideoDecoderError("videos need the extra 'video' (PyAV), which is not installed here")
        loaded = runtime.loaded()
        check_faces(query, runtime.settings.max_faces)
        if uploads.content_type(request) != uploads.FORM:
            raise MissingFieldError(
                f"send the video as a file in the field '{uploads.VIDEO}' of a {uploads.FORM} body, "
                f"got {uploads.content_type(request) or 'no content type'}"
            )
        return await answer_video(runtime, loaded, await uploads.read_video(request), query)

    return router
