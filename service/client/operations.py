"""The service's operations, each defined once: its parameters, its requests and how their answers are read.

An operation is a generator of ``Steps``. ``Client`` and ``AsyncClient`` send its requests, and have a method for each
operation with its parameters and its documentation.
"""

import json
from collections.abc import Iterable
from typing import Any, Final, Unpack

from mien.service.client.answers import (
    Added,
    AnswerKind,
    Classification,
    ClientError,
    Embedding,
    FoundMatch,
    GalleryFace,
    GalleryPage,
    PointRetrieval,
    Retrieval,
    ServiceError,
    VideoEnd,
    VideoLine,
    read_answer,
    read_video_line,
)
from mien.service.client.batches import Batches, BatchOptions, NewFace, Steps, addition_batches, image_batches
from mien.service.client.requests import Filter, Image, Query, Request, bytes_of, parameters_of

PAGE: Final = 500
"""Faces of a page."""


def classify(image: Image, *, already_cropped: bool = False) -> Steps[Classification]:
    """The faces of an image and their emotions.

    Args:
        image: its bytes, or the path of its file.
        already_cropped: it is a face crop: nothing is detected.

    Raises:
        ServiceError: the service refuses the image.
        ClientError: the service cannot be reached.
        OSError: the file cannot be read.
    """
    return _ask(Classification, "/classify", image, already_cropped=already_cropped)


def retrieve(image: Image, *, k: int = 10, already_cropped: bool = False) -> Steps[Retrieval]:
    """The faces of an image, each with the k nearest expressions of the gallery. Raises as ``classify`` does."""
    return _ask(Retrieval, "/retrieve", image, k=k, already_cropped=already_cropped)


def embed(image: Image, *, already_cropped: bool = False) -> Steps[Embedding]:
    """The faces of an image and their points in the space. Raises as ``classify`` does."""
    return _ask(Embedding, "/embed", image, already_cropped=already_cropped)


def _ask(kind: type[AnswerKind], path: str, image: Image, **parameters: int | bool) -> Steps[AnswerKind]:
    response = yield Request(path, {"params": parameters_of(parameters), "files": {"image": bytes_of(image)}})
    yield [read_answer(kind, response)]


def nearest(query: Query, *, k: int = 10, filter: Filter | None = None) -> Steps[PointRetrieval]:  # noqa: A002
    """The k nearest expressions to a point without a picture. Raises as ``classify`` does."""
    response = yield _query_request(query, k, filter)
    yield [read_answer(PointRetrieval, response)]


def matches(query: Query, *, filter: Filter | None = None, page: int = PAGE) -> Steps[FoundMatch]:  # noqa: A002
    """Every face of the gallery, nearest to a point first; pages are fetched when they are needed.

    Args:
        query: the point.
        filter: only faces that pass it.
        page: faces of a request.

    Raises:
        ServiceError: the service refuses the query.
        ClientError: the service cannot be reached.
    """
    after: str | None = None
    while True:
        response = yield _query_request(query, page, filter, after)
        answer = read_answer(PointRetrieval, response)
        yield answer.matches
        after = answer.next
        if len(answer.matches) < page or after is None:
            return


def _query_request(query: Query, k: int, condition: Filter | None, after: str | None = None) -> Request:
    body = {"query": query, "k": k, "filter": condition, "after": after}
    return Request("/retrieve", {"json": {name: value for name, value in body.items() if value is not None}})


def gallery(*, filter: Filter | None = None, page: int = PAGE) -> Steps[GalleryFace]:  # noqa: A002
    """Every face of the gallery by id, as they were at the start; arguments and errors as of ``matches``."""
    parameters: dict[str, Any] = {"limit": page, "statistics": "false"}
    if filter is not None:
        parameters["filter"] = json.dumps(filter)
    while True:
        response = yield Request("/gallery", {"params": parameters}, "GET")
        answer = read_answer(GalleryPage, response)
        yield answer.faces
        if answer.next is None:
            return
        parameters = {**parameters, "after": answer.next}


def classify_all(
    images: Iterable[Image], **options: Unpack[BatchOptions]
) -> Batches[Image, Classification | ServiceError]:
    """``classify`` for many images, several to a request; an image that is refused has its error in its place.

    Args:
        images: in the order of the answers; files are read when they are needed.
        **options: ``already_cropped``: each image is a face crop. ``batch``: images of a request (8), fewer if the
            service takes no more. ``progress``: draw a progress bar on standard error. ``on_progress``: called with
            the number of images done and the total, None if it is not known.

    Raises:
        OSError: a file cannot be read.
        ClientError: the service cannot be reached.
    """
    return image_batches(Classification, "/classify", images, **options)


def retrieve_all(
    images: Iterable[Image], *, k: int = 10, **options: Unpack[BatchOptions]
) -> Batches[Image, Retrieval | ServiceError]:
    """``retrieve`` for many images, with the options of ``classify_all``."""
    return image_batches(Retrieval, "/retrieve", images, k=k, **options)


def embed_all(images: Iterable[Image], **options: Unpack[BatchOptions]) -> Batches[Image, Embedding | ServiceError]:
    """``embed`` for many images, with the options of ``classify_all``."""
    return image_batches(Embedding, "/embed", images, **options)


def add(faces: Iterable[NewFace], *, replace: bool = False, **options: Unpack[BatchOptions]) -> Batches[NewFace, Added]:
    """Add faces to the gallery, several to a request; the faces of each answer are on the service's disk.

    Args:
        faces: in the order of the ids that are returned. Those of a request are added together or not at all.
        replace: replace faces that the gallery has with the same id and other content.
        **options: of ``classify_all``.

    Raises:
        ServiceError: the service refuses a request; the faces of the requests before it are kept.
        OSError: a file cannot be read.
        ClientError: the service cannot be reached.
    """
    return addition_batches(faces, replace=replace, **options)


class VideoLines:
    """The operation on a video, whose answer is read line by line while the service works on it."""

    def __init__(self, video: Image, parameters: dict[str, Any]) -> None:
        self._video, self._parameters = video, parameters
        self._ended = False

    def request(self) -> Request:
        """The request; reads the file."""
        return Request("/classify/video", {"params": self._parameters, "files": {"video": bytes_of(self._video)}})

    def read(self, text: str) -> VideoLine:
        """A line of the answer."""
        line = read_video_line(text)
        self._ended = isinstance(line, VideoEnd)
        return line

    def check_end(self) -> None:
        """Raise an error if the last line was not that of the end."""
        if not self._ended:
            raise ClientError("the service's answer about the video stopped before its end")


def classify_video(video: Image, *, fps: float = 5.0, already_cropped: bool = False) -> VideoLines:
    """The faces of a video, frame by frame, while the service works on it.

    After the frames come the tracks, each a face over the whole video, and the end, which says whether the whole video
    was answered, and the problem if it was not.

    Args:
        video: its bytes, or the path of its file.
        fps: frames of a second that are answered.
        already_cropped: each frame is a face crop: nothing is detected.

    Raises:
        ServiceError: the service refuses the video.
        ClientError: the service cannot be reached, or its answer stops before the end.
        OSError: the file cannot be read.
    """
    return VideoLines(video, parameters_of({"already_cropped": already_cropped, "fps": fps}))
