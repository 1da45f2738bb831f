"""Images to predictions in this process: one, or many, which every core reads and embeds a few at a time."""

from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from numbers import Integral
from typing import Any, Final, TypeVar, Unpack, get_args

import numpy as np
from numpy.typing import NDArray

from mien.index.errors import QueryError
from mien.index.gallery.store import EVERYTHING, SearchOptions
from mien.index.gallery.vectors.flat import search_single_threaded
from mien.model.container import usable_cores
from mien.model.embedder.embedder import BATCH_FACES
from mien.model.errors import ImageError
from mien.model.faces.pictures import Colour, Image, read_image
from mien.model.faces.reader import Face
from mien.service.answers.options import ClassificationOptions, FaceOptions, Faces, OnProgress, Prior
from mien.service.answers.progress import count_progress
from mien.service.inference.engine import Engine
from mien.service.inference.prediction import InferenceRequest, Prediction
from mien.service.inference.worker_pool import split
from mien.service.schemas.retrieval import without_image

BATCH_IMAGES: Final = 64
"""Images that are worked on at once; memory grows only with the answers."""

Result = TypeVar("Result")

Failure = ImageError | OSError
"""Why an image of several has no answer."""


@dataclass(frozen=True)
class Search:
    """What is searched for each face.

    Attributes:
        k: matches; None searches nothing.
        options: which faces of the gallery may match.
        photographs: as of ``InferenceRequest``.
        summary: as of ``InferenceRequest``.
    """

    k: int | None = None
    options: SearchOptions = EVERYTHING
    photographs: int = 0
    summary: int = 0


@dataclass(frozen=True)
class ReadOptions:
    """How images are read, and under which prior their faces are named; ``LocalClient.classify`` explains them.

    Raises:
        QueryError: one is out of range.
    """

    already_cropped: bool = False
    faces: Faces = "all"
    colour: Colour = "rgb"
    prior: Prior | None = None

    def __post_init__(self) -> None:
        max_faces_of(self.faces)
        check_prior(self.prior)


class ImageReader:
    """Reads images, and predicts their faces with an engine. Thread-safe."""

    def __init__(self, engine: Engine) -> None:
        """Predict with ``engine``."""
        self._engine = engine

    def predict(self, image: Image, search: Search, **options: Unpack[ClassificationOptions]) -> Prediction:
        """The prediction of an image's faces; options and errors as of ``LocalClient.classify``."""
        return self._engine.predict_one(self._request(image, search, ReadOptions(**options)))

    def predict_all(
        self,
        images: Iterable[Image],
        search: Search,
        *,
        batch: int = BATCH_IMAGES,
        progress: bool = False,
        on_progress: OnProgress | None = None,
        **options: Unpack[ClassificationOptions],
    ) -> Iterator[Prediction | Failure]:
        """The prediction of each image, or why there is none; options and errors as of ``LocalClient.classify``."""
        chosen = ReadOptions(**options)
        read = _or_failure(lambda image: self._request(image, search, chosen))
        on_gpu = self._engine.pipeline.embedder.is_on_gpu  # it needs large batches, while every core reads

        def work(part: Sequence[Image]) -> list[Any]:
            requests = list(map(read, part))
            return requests if on_gpu else self._predict(requests)

        for found in _in_threads(images, work, batch, progress, on_progress):
            yield from self._predict(found) if on_gpu else found

    def faces(self, image: Image, **options: Unpack[FaceOptions]) -> list[Face]:
        """The faces of an image; options and errors as of ``LocalClient.classify``."""
        return self._read_faces(image, ReadOptions(**options))[0]

    def faces_of_all(
        self,
        images: Iterable[Image],
        *,
        batch: int = BATCH_IMAGES,
        progress: bool = False,
        on_progress: OnProgress | None = None,
        **options: Unpack[FaceOptions],
    ) -> Iterator[list[Face] | Failure]:
        """The faces of each image, or why there are none; options and errors as of ``LocalClient.classify``."""
        chosen = ReadOptions(**options)
        read = _or_failure(lambda image: self._read_faces(image, chosen)[0])
        for found in _in_threads(images, lambda part: list(map(read, part)), batch, progress, on_progress):
            yield from found

    def _predict(self, requests: Sequence[InferenceRequest | Failure]) -> list[Prediction | Failure]:
        """A prediction for each request; failures stay in their places."""
        predictions = iter(self._engine.predict([each for each in requests if isinstance(each, InferenceRequest)]))
        return [next(predictions) if isinstance(each, InferenceRequest) else each for each in requests]

    def _request(self, image: Image, search: Search, options: ReadOptions) -> InferenceRequest:
        found, data = self._read_faces(image, options)
        if isinstance(data, bytes):
            search = replace(search, options=without_image(search.options, data))
        return InferenceRequest(faces=found, prior=options.prior, **vars(search))

    def _read_faces(self, image: Image, options: ReadOptions) -> tuple[list[Face], bytes | NDArray[np.uint8]]:
        """The faces of an image, and its file or pixels."""
        limits = self._engine.pipeline.limits
        data = read_image(image, options.colour, max_bytes=limits.max_bytes, max_pixels=limits.max_pixels)
        max_faces = max_faces_of(options.faces)
        return self._engine.read_faces(data, already_cropped=options.already_cropped, max_faces=max_faces), data


def _or_failure(read: Callable[[Image], Result]) -> Callable[[Image], Result | Failure]:
    """``read``, which returns the error of an image that cannot be used."""

    def read_or_fail(image: Image) -> Result | Failure:
        try:
            return read(image)
        except (ImageError, OSError) as error:
            return error

    return read_or_fail


def max_faces_of(faces: Faces) -> int | None:
    """How many faces of an image are answered, largest first; None answers all.

    Raises:
        QueryError: it is neither ``all``, nor ``largest``, nor a number from 1.
    """
    if faces == "all":
        return None
    count = 1 if faces == "largest" else faces
    check_count("faces", count, "'all', 'largest' or a number from 1")
    return int(count)


def check_count(name: str, count: object, expected: str = "a whole number from 1") -> None:
    """Check a number of images, faces or matches.

    Raises:
        QueryError: it is no whole number, or below 1.
    """
    if not isinstance(count, Integral) or isinstance(count, bool) or int(count) < 1:
        raise QueryError(f"{name} must be {expected}, got {count!r}")


def check_prior(prior: Prior | None) -> Prior | None:
    """The prior, if there is one of this name.

    Raises:
        QueryError: there is none.
    """
    if prior is not None and prior not in get_args(Prior):
        raise QueryError(f"prior must be one of {', '.join(get_args(Prior))}, got {prior!r}")
    return prior


def _in_threads(
    images: Iterable[Image],
    work: Callable[[Sequence[Image]], list[Result]],
    batch: int,
    progress: bool,  # noqa: FBT001
    on_progress: OnProgress | None,
) -> Iterator[list[Result]]:
    """What ``work`` returns for the images, ``batch`` of them at a time; each core works on a few of these at once."""
    check_count("batch", batch)
    waiting, cores = iter(images), usable_cores()
    with (
        ThreadPoolExecutor(cores, initializer=search_single_threaded) as threads,
        count_progress(images, on_progress, draw=progress) as advance,
    ):
        while part := list(islice(waiting, batch)):
            yield [each for found in threads.map(work, split(part, cores, BATCH_FACES)) for each in found]
            advance(len(part))
