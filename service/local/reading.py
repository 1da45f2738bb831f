"""Images to predictions in this process: one, or many, which every core reads and embeds a few at a time."""

import os
from collections.abc import Callable, Iterable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from itertools import islice
from numbers import Integral
from typing import Final, TypeVar, get_args

import numpy as np
from numpy.typing import NDArray

from mien.index.errors import QueryError
from mien.index.gallery.store import EVERYTHING, SearchOptions
from mien.index.gallery.vectors.flat import search_single_threaded
from mien.model.embedder.embedder import BATCH_FACES
from mien.model.errors import ImageError
from mien.model.faces.pictures import Colour, Image, read_image
from mien.model.faces.reader import Face
from mien.service.answers.options import Faces, OnProgress, Prior
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


class ImageReader:
    """Reads images, and predicts their faces with an engine. Thread-safe."""

    def __init__(self, engine: Engine) -> None:
        """Predict with ``engine``."""
        self._engine = engine

    def predict(
        self,
        image: Image,
        search: Search,
        *,
        already_cropped: bool = False,
        faces: Faces = "all",
        colour: Colour = "rgb",
        prior: Prior | None = None,
    ) -> Prediction:
        """The prediction of an image's faces; options and errors as of ``LocalClient.classify``."""
        request = self._request(image, search, colour, max_faces_of(faces), prior, already_cropped=already_cropped)
        return self._engine.predict_one(request)

    def predict_all(
        self,
        images: Iterable[Image],
        search: Search,
        *,
        already_cropped: bool = False,
        faces: Faces = "all",
        colour: Colour = "rgb",
        prior: Prior | None = None,
        batch: int = BATCH_IMAGES,
        progress: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Iterator[Prediction | Failure]:
        """The prediction of each image, or why there is none; options and errors as of ``LocalClient.classify``."""
        max_faces = max_faces_of(faces)

        def read(image: Image) -> InferenceRequest | Failure:
            try:
                return self._request(image, search, colour, max_faces, prior, already_cropped=already_cropped)
            except (ImageError, OSError) as error:
                return error

        if self._engine.pipeline.embedder.is_on_gpu:  # it needs large batches, while every core reads
            for requests in _in_threads(images, lambda part: list(map(read, part)), batch, progress, on_progress):
                yield from self._predict(requests)
        else:
            predict = lambda part: self._predict(list(map(read, part)))  # noqa: E731
            for found in _in_threads(images, predict, batch, progress, on_progress):
                yield from found

    def _predict(self, requests: Sequence[InferenceRequest | Failure]) -> list[Prediction | Failure]:
        """A prediction for each request; failures stay in their places."""
        predictions = iter(self._engine.predict([each for each in requests if isinstance(each, InferenceRequest)]))
        return [next(predictions) if isinstance(each, InferenceRequest) else each for each in requests]

    def faces(
        self, image: Image, *, already_cropped: bool = False, faces: Faces = "all", colour: Colour = "rgb"
    ) -> list[Face]:
        """The faces of an image; options and errors as of ``LocalClient.classify``."""
        data = self._read(image, colour)
        return self._engine.read_faces(data, already_cropped=already_cropped, max_faces=max_faces_of(faces))

    def faces_of_all(
        self,
        images: Iterable[Image],
        *,
        already_cropped: bool = False,
        faces: Faces = "all",
        colour: Colour = "rgb",
        batch: int = BATCH_IMAGES,
        progress: bool = False,
        on_progress: OnProgress | None = None,
    ) -> Iterator[list[Face] | Failure]:
        """The faces of each image, or why there are none; options and errors as of ``LocalClient.classify``."""

        def read(image: Image) -> list[Face] | Failure:
            try:
                return self.faces(image, already_cropped=already_cropped, faces=faces, colour=colour)
            except (ImageError, OSError) as error:
                return error

        for found in _in_threads(images, lambda part: list(map(read, part)), batch, progress, on_progress):
            yield from found

    def _request(
        self,
        image: Image,
        search: Search,
        colour: Colour,
        max_faces: int | None,
        prior: Prior | None,
        *,
        already_cropped: bool,
    ) -> InferenceRequest:
        check_prior(prior)
        data = self._read(image, colour)
        found = self._engine.read_faces(data, already_cropped=already_cropped, max_faces=max_faces)
        if isinstance(data, bytes):
            search = replace(search, options=without_image(search.options, data))
        return InferenceRequest(faces=found, prior=prior, **vars(search))

    def _read(self, image: Image, colour: Colour) -> bytes | NDArray[np.uint8]:
        limits = self._engine.pipeline.limits
        return read_image(image, colour, max_bytes=limits.max_bytes, max_pixels=limits.max_pixels)


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
    waiting, cores = iter(images), os.cpu_count() or 1
    with (
        ThreadPoolExecutor(cores, initializer=search_single_threaded) as threads,
        count_progress(images, on_progress, draw=progress) as advance,
    ):
        while part := list(islice(waiting, batch)):
            yield [each for found in threads.map(work, split(part, cores, BATCH_FACES)) for each in found]
            advance(len(part))
