"""The service's operations on images and points, each defined once: its parameters, its requests, how it is answered.

An operation is a generator of ``Steps``. ``Client`` and ``AsyncClient`` send its requests, and have a method for each
operation with its parameters and its documentation. ``gallery_operations`` and ``space_operations`` have the others.
"""

from collections.abc import Iterable
from typing import Any, Final, Unpack

from mien.model.faces.pictures import Colour, Image, Video, encode_image, read_video
from mien.service.answers.faces import Classification, Embedding, FoundMatch, PointRetrieval, Retrieval
from mien.service.answers.options import (
    ClassificationBatchOptions,
    Faces,
    Prior,
    Query,
    RetrievalBatchOptions,
    RetrievalOptions,
    retrieval_options,
    split_options,
)
from mien.service.answers.video import VideoEnd, VideoLine
from mien.service.client.batches import Batches, Steps, image_batches
from mien.service.client.requests import Request, parameters_of
from mien.service.client.responses import AnswerKind, ClientError, ServiceError, read_answer, read_video_line

PAGE: Final = 500
"""Faces of a page."""


def classify(
    image: Image,
    *,
    already_cropped: bool = False,
    faces: Faces = "all",
    colour: Colour = "rgb",
    prior: Prior | None = None,
) -> Steps[Classification]:
    """The faces of an image and their emotions.

    Args:
        image: the path of its file, its bytes, a file opened in binary mode, a Pillow image or a NumPy array:
            (h, w, 3), (h, w, 1) or (h, w), uint8 or float from 0 to 1. The last two travel without loss, as PNG.
        already_cropped: it is a face crop: nothing is detected.
        faces: which faces are answered: all, the largest, or the N largest.
        colour: order of the channels of an array, ``rgb`` or ``bgr`` (OpenCV).
        prior: weights of the emotions in the posterior; None leaves them to the service.

    Raises:
        ServiceError: the service refuses the image.
        ClientError: the service cannot be reached.
        ImageError: it cannot be sent: a web address, a closed file, an array of another dtype, shape or range.
        OSError: the file cannot be read.
        TypeError: it is no image.
    """
    return _ask(Classification, "/classify", image, colour, already_cropped=already_cropped, faces=faces, prior=prior)


def retrieve(
    image: Image,
    *,
    k: int = 10,
    already_cropped: bool = False,
    faces: Faces = "all",
    colour: Colour = "rgb",
    **options: Unpack[RetrievalOptions],
) -> Steps[Retrieval]:
    """The faces of an image, each with the k nearest expressions of the gallery.

    Args:
        image: and the other arguments: as of ``classify``.
        k: matches of each face.
        already_cropped: see ``classify``.
        faces: see ``classify``.
        colour: see ``classify``.
        **options: which faces of the gallery may match: ``filter``, ``one_per_subject``, ``exclude_subject`` (one or
            several), ``mask_copies``, ``max_distance``, ``after``; and what is answered beside them:
            ``photographs``, ``summary``; see docs/gallery.md. ``prior``: see ``classify``.

    Raises as ``classify`` does.
    """
    sent = {"already_cropped": already_cropped, "faces": faces, "k": k, **retrieval_options(**options)}
    return _ask(Retrieval, "/retrieve", image, colour, **sent)


def embed(
    image: Image,
    *,
    already_cropped: bool = False,
    faces: Faces = "all",
    colour: Colour = "rgb",
    prior: Prior | None = None,
) -> Steps[Embedding]:
    """The faces of an image and their points in the space; arguments and errors as of ``classify``."""
    return _ask(Embedding, "/embed", image, colour, already_cropped=already_cropped, faces=faces, prior=prior)


def _ask(kind: type[AnswerKind], path: str, image: Image, colour: Colour, **parameters: Any) -> Steps[AnswerKind]:
    files = {"image": encode_image(image, colour)}
    response = yield Request(path, {"params": parameters_of(parameters), "files": files})
    yield [read_answer(kind, response)]


def nearest(query: Query, *, k: int = 10, **options: Unpack[RetrievalOptions]) -> Steps[PointRetrieval]:
    """The k nearest expressions to a point without an image, with the options of ``retrieve``.

    Args:
        query: the point, such as ``{"emotion": "surprise"}``, ``{"id": "fer0012345"}``, ``{"embedding": [...]}``.
        k: matches.
        **options: which faces may match.

    Raises:
        ServiceError: the service refuses the query.
        ClientError: the service cannot be reached.
    """
    response = yield _query_request(query, k, options)
    yield [read_answer(PointRetrieval, response)]


def matches(query: Query, *, page: int = PAGE, **options: Unpack[RetrievalOptions]) -> Steps[FoundMatch]:
    """Every face of the gallery, nearest to a point first; pages are fetched when they are needed.

    Args:
        query: the point.
        page: faces of a request.
        **options: which faces may match, as of ``retrieve``.

    Raises:
        ServiceError: the service refuses the query.
        ClientError: the service cannot be reached.
    """
    while True:
        response = yield _query_request(query, page, options)
        answer = read_answer(PointRetrieval, response)
        yield answer.matches
        options["after"] = answer.next
        if len(answer.matches) < page or answer.next is None:
            return


def _query_request(query: Query, k: int, options: RetrievalOptions) -> Request:
    return Request("/retrieve", {"json": {"query": query, "k": k, **retrieval_options(**options)}})


def classify_all(
    images: Iterable[Image], **options: Unpack[ClassificationBatchOptions]
) -> Batches[Image, Classification | ServiceError]:
    """``classify`` for many images, several to a request; an image that is refused has its error in its place.

    Args:
        images: in the order of the answers; files are read when they are needed.
        **options: ``already_cropped``, ``faces``, ``colour``, ``prior``: see ``classify``. ``batch``: images of a
            request (8), fewer if the service takes no more. ``progress``: draw a progress bar on standard error.
            ``on_progress``: called with the number of images done and the total, None if it is not known.

    Raises:
        OSError: a file cannot be read.
        ClientError: the service cannot be reached.
        ImageError: an image cannot be sent: see ``classify``.
    """
    return image_batches(Classification, "/classify", images, {}, **options)


def retrieve_all(
    images: Iterable[Image], *, k: int = 10, **options: Unpack[RetrievalBatchOptions]
) -> Batches[Image, Retrieval | ServiceError]:
    """``retrieve`` for many images, with the options of ``classify_all`` and of ``retrieve``."""
    batch_options, retrieval = split_options(options)
    parameters = {"k": k, **retrieval_options(**retrieval)}
    return image_batches(Retrieval, "/retrieve", images, parameters, **batch_options)


def embed_all(
    images: Iterable[Image], **options: Unpack[ClassificationBatchOptions]
) -> Batches[Image, Embedding | ServiceError]:
    """``embed`` for many images, with the options of ``classify_all``."""
    return image_batches(Embedding, "/embed", images, {}, **options)


class VideoLines:
    """The operation on a video, whose answer is read line by line while the service works on it."""

    def __init__(self, video: Video, parameters: dict[str, Any]) -> None:
        self._video, self._parameters = video, parameters
        self._ended = False

    def request(self) -> Request:
        """The request; reads the file."""
        return Request("/classify/video", {"params": self._parameters, "files": {"video": read_video(self._video)}})

    def read(self, text: str) -> VideoLine:
        """A line of the answer."""
        line = read_video_line(text)
        self._ended = isinstance(line, VideoEnd)
        return line

    def check_end(self) -> None:
        """Raise an error if the last line was not that of the end."""
        if not self._ended:
            raise ClientError("the service's answer about the video stopped before its end")


def classify_video(
    video: Video, *, fps: float = 5.0, already_cropped: bool = False, faces: Faces = "all"
) -> VideoLines:
    """The faces of a video, frame by frame, while the service works on it.

    After the frames come the tracks, each a face over the whole video, and the end, which says whether the whole video
    was answered, and the problem if it was not.

    Args:
        video: the path of its file, its bytes, or a file opened in binary mode.
        fps: frames of a second that are answered.
        already_cropped: each frame is a face crop: nothing is detected.
        faces: which faces of each frame are answered: all, the largest, or the N largest.

    Raises:
        ServiceError: the service refuses the video.
        ClientError: the service cannot be reached, or its answer stops before the end.
        VideoError: it cannot be sent: a web address or a closed file.
        OSError: the file cannot be read.
    """
    return VideoLines(video, parameters_of({"already_cropped": already_cropped, "faces": faces, "fps": fps}))
