"""The Python client: the service from a program, with typed answers.

    from mien.service.client.client import Client

    with Client("http://127.0.0.1:8000") as client:
        for face in client.retrieve("photo.jpg", k=5).faces:
            print(face.emotion, [match.id for match in face.matches])

``AsyncClient`` has the same methods to await. Both send a request again, after a growing pause, where the service says
that it is too busy (503), or that one asks too fast (429), or where it cannot be reached.
"""

import time
from collections.abc import Iterable, Iterator
from contextlib import AbstractContextManager, closing
from types import TracebackType
from typing import Self

import httpx

from mien.service.client import requests
from mien.service.client.answers import (
    Added,
    Answer,
    Classification,
    ClientError,
    EmbeddedFace,
    Embedding,
    Face,
    FoundMatch,
    GalleryFace,
    MatchedFace,
    PointRetrieval,
    Retrieval,
    ServiceError,
    TrackedFace,
    VideoEnd,
    VideoFrame,
    VideoTrack,
)
from mien.service.client.async_client import AsyncClient
from mien.service.client.batches import (
    BATCH_IMAGES,
    Batch,
    NewFace,
    OnProgress,
    Tell,
    addition_request,
    batches,
    images_request,
    is_too_large,
    progress_of,
    read_images,
)
from mien.service.client.requests import (
    DEFAULT_RETRIES,
    PAGE,
    Filter,
    GalleryPages,
    Image,
    Kind,
    MatchPages,
    Parameters,
    Query,
    Request,
    Retries,
    VideoLine,
    bytes_of,
    image_parameters,
)

__all__ = [
    "Added",
    "Answer",
    "AsyncClient",
    "Classification",
    "Client",
    "ClientError",
    "EmbeddedFace",
    "Embedding",
    "Face",
    "Filter",
    "FoundMatch",
    "GalleryFace",
    "Image",
    "MatchedFace",
    "NewFace",
    "PointRetrieval",
    "Query",
    "Retries",
    "Retrieval",
    "ServiceError",
    "TrackedFace",
    "VideoEnd",
    "VideoFrame",
    "VideoTrack",
]


class Client:
    """The service, asked one thing after the other. Thread-safe."""

    def __init__(
        self,
        url: str = "http://127.0.0.1:8000",
        *,
        key: str | None = None,
        timeout_s: float = 60.0,
        retries: Retries = DEFAULT_RETRIES,
    ) -> None:
        """Ask the service at ``url``.

        Args:
            url: where it listens.
            key: an API key, where it wants one.
            timeout_s: longest time of one answer.
            retries: when a request is sent again.
        """
        self._http = httpx.Client(base_url=url, headers=requests.headers(key), timeout=timeout_s)
        self._retries = retries

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, where: TracebackType | None
    ) -> None:
        self.close()

    def close(self) -> None:
        """Close the connections."""
        self._http.close()

    def classify(self, image: Image, *, already_cropped: bool = False) -> Classification:
        """The emotion of each face of an image.

        Raises:
            ServiceError: the service refuses the image.
            ClientError: the service cannot be reached.
        """
        parameters = image_parameters(already_cropped=already_cropped)
        request = requests.image_request("/classify", image, parameters)
        return requests.read(Classification, self._send(request))

    def retrieve(self, image: Image, *, k: int = 10, already_cropped: bool = False) -> Retrieval:
        """The k nearest expressions for each face of an image. Raises as ``classify`` does."""
        parameters = image_parameters(already_cropped=already_cropped, k=k)
        request = requests.image_request("/retrieve", image, parameters)
        return requests.read(Retrieval, self._send(request))

    def embed(self, image: Image, *, already_cropped: bool = False) -> Embedding:
        """The point of each face of an image. Raises as ``classify`` does."""
        parameters = image_parameters(already_cropped=already_cropped)
        request = requests.image_request("/embed", image, parameters)
        return requests.read(Embedding, self._send(request))

    def classify_video(self, video: Image, *, fps: float = 5.0, already_cropped: bool = False) -> Iterator[VideoLine]:
        """The faces of a video over time: each frame as soon as it is done, then each track, then the end.

        Args:
            video: the bytes of an MP4, WebM or GIF file, or its path.
            fps: frames of each second that are looked at.
            already_cropped: each frame is a face crop.

        Raises:
            ServiceError: the service refuses the video. What goes wrong after the first line stands in the last.
            OSError: its file cannot be read.
            ClientError: the service cannot be reached, or breaks its answer off.
        """
        request = requests.video_request(video, image_parameters(already_cropped=already_cropped), fps)
        ended = False
        with closing(self._send(request, stream=True)) as response:
            try:
                for line in response.iter_lines():
                    answer = requests.video_line(line)
                    ended = isinstance(answer, VideoEnd)
                    yield answer
            except httpx.TransportError:
                raise ClientError(requests.CUT_OFF) from None
        if not ended:
            raise ClientError(requests.CUT_OFF)

    def nearest(self, query: Query, *, k: int = 10, filter: Filter | None = None) -> PointRetrieval:  # noqa: A002
        """The k nearest expressions to a point without a picture. Raises as ``classify`` does."""
        return requests.read(PointRetrieval, self._send(requests.query_request(query, k, filter)))

    def matches(self, query: Query, *, filter: Filter | None = None, page: int = PAGE) -> Iterator[FoundMatch]:  # noqa: A002
        """Every face of the gallery, nearest to a point first; pages are fetched as they are needed.

        Args:
            query: the point.
            filter: only faces that pass it.
            page: faces of a request.

        Raises:
            ServiceError: the service refuses the query.
            ClientError: the service cannot be reached.
        """
        pages = MatchPages(query, filter, page)
        while (request := pages.request()) is not None:
            yield from pages.read(self._send(request))

    def gallery(self, *, filter: Filter | None = None, page: int = PAGE) -> Iterator[GalleryFace]:  # noqa: A002
        """Every face of the gallery by id, as they were at the start; arguments and errors as of ``matches``."""
        pages = GalleryPages(filter, page)
        while (request := pages.request()) is not None:
            yield from pages.read(self._send(request))

    def classify_all(
        self,
        images: Iterable[Image],
        *,
        already_cropped: bool = False,
        batch: int = BATCH_IMAGES,
        progress: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Iterator[Classification | ServiceError]:
        """``classify`` for many images, several to a request; what the service refuses comes as the error in its place.

        Args:
            images: in the order of the answers; files are read as they are needed.
            already_cropped: each is a face crop.
            batch: most images of a request; fewer where the service takes no more.
            progress: draw a progress bar on standard error.
            on_progress: called with how many are done, and of how many, where that is known.

        Raises:
            OSError: a file cannot be read.
            ClientError: the service cannot be reached.
        """
        parameters = image_parameters(already_cropped=already_cropped)
        telling = progress_of(images, progress=progress, on_progress=on_progress)
        return self._all(Classification, "/classify", batches(images, bytes_of, batch), parameters, telling)

    def retrieve_all(
        self,
        images: Iterable[Image],
        *,
        k: int = 10,
        already_cropped: bool = False,
        batch: int = BATCH_IMAGES,
        progress: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Iterator[Retrieval | ServiceError]:
        """``retrieve`` for many images, as ``classify_all``."""
        parameters = image_parameters(already_cropped=already_cropped, k=k)
        telling = progress_of(images, progress=progress, on_progress=on_progress)
        return self._all(Retrieval, "/retrieve", batches(images, bytes_of, batch), parameters, telling)

    def embed_all(
        self,
        images: Iterable[Image],
        *,
        already_cropped: bool = False,
        batch: int = BATCH_IMAGES,
        progress: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Iterator[Embedding | ServiceError]:
        """``embed`` for many images, as ``classify_all``."""
        parameters = image_parameters(already_cropped=already_cropped)
        telling = progress_of(images, progress=progress, on_progress=on_progress)
        return self._all(Embedding, "/embed", batches(images, bytes_of, batch), parameters, telling)

    def add(
        self,
        faces: Iterable[NewFace],
        *,
        replace: bool = False,
        already_cropped: bool = False,
        batch: int = BATCH_IMAGES,
        progress: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Iterator[Added]:
        """Add faces to the gallery, several to a request; each answer is of faces that are kept for good.

        Args:
            faces: in the order of the ids that come back.
            replace: a face whose id is there with other content takes its place.
            already_cropped: each image is a face crop.
            batch: most images of a request; fewer where the service takes no more. Those of a request are added
                together or not at all.
            progress: draw a progress bar on standard error.
            on_progress: called with how many are done, and of how many, where that is known.

        Raises:
            ServiceError: the service refuses a request; the faces of those before it are kept.
            OSError: a file cannot be read.
            ClientError: the service cannot be reached.
        """
        with progress_of(faces, progress=progress, on_progress=on_progress) as tell:
            for part in batches(faces, NewFace.file, batch):
                for answer in self._add(part, replace=replace, already_cropped=already_cropped):
                    tell(len(answer.ids))
                    yield answer

    def _all(
        self,
        kind: type[Kind],
        path: str,
        parts: Iterator[Batch[Image]],
        parameters: Parameters,
        telling: AbstractContextManager[Tell],
    ) -> Iterator[Kind | ServiceError]:
        with telling as tell:
            for part in parts:
                for answer in self._ask(kind, path, part, parameters):
                    tell(1)
                    yield answer

    def _ask(
        self, kind: type[Kind], path: str, part: Batch[Image], parameters: Parameters
    ) -> list[Kind | ServiceError]:
        try:
            return read_images(kind, self._send(images_request(path, part, parameters)))
        except ServiceError as error:
            if is_too_large(error, part):
                return [answer for half in part.halves() for answer in self._ask(kind, path, half, parameters)]
            if len(part.items) > 1:
                raise
            return [error]

    def _add(self, part: Batch[NewFace], *, replace: bool, already_cropped: bool) -> Iterator[Added]:
        try:
            request = addition_request(part, already_cropped=already_cropped, replace=replace)
            answer = requests.read(Added, self._send(request))
        except ServiceError as error:
            if not is_too_large(error, part):
                raise
            for half in part.halves():
                yield from self._add(half, replace=replace, already_cropped=already_cropped)
        else:
            yield answer

    def _send(self, request: Request, *, stream: bool = False) -> httpx.Response:
        attempt = 0
        while True:
            attempt += 1
            response, failure = None, None
            try:
                built = self._http.build_request(request.method, request.path, **request.options)
                response = self._http.send(built, stream=stream)
                if stream and not response.is_success:
                    response.read()
                    response.close()
            except httpx.TransportError as error:
                failure = error
            if response is not None and response.is_success:
                return response
            pause_s = self._retries.pause_s(attempt, response)
            if pause_s is None:
                raise requests.failed(response, failure, self._http.base_url)
            time.sleep(pause_s)
