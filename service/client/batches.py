"""Many images in few requests: each as large as the service takes, with progress.

The service limits the images and the bytes of a request, and does not tell the limits beforehand: a request that was
too large (413) is sent again in two halves, until one image alone is too large, whose error is returned in its place.
"""

import base64
import json
from collections.abc import Callable, Generator, Iterable, Iterator, Sequence
from contextlib import AbstractContextManager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Generic, TypeVar

import httpx

from mien.model.faces.pictures import Colour, Image, encode_image
from mien.service.answers.gallery import Added
from mien.service.answers.options import Faces, OnProgress, Prior
from mien.service.answers.progress import count_progress
from mien.service.client.requests import Request, parameters_of
from mien.service.client.responses import AnswerKind, ServiceError, read_answer, read_images

BATCH_IMAGES: Final = 8
"""Images of a request: half of what a service takes by default, so that it always works on two requests."""

MAX_BATCH_BYTES: Final = 16 * 2**20
"""Bytes of the images of a request; a larger image travels alone."""

TOO_LARGE: Final = 413


@dataclass(frozen=True)
class NewFace:
    """A face to add to a gallery: the largest of its image, or an embedding, of which exactly one is given.

    Attributes:
        image: as ``Client.classify`` takes it.
        id: unique in the gallery; None makes one from the content.
        label: the emotion that its owner gave it.
        subject: the person.
        metadata: any JSON values.
        time: when it was taken: seconds since 1970 or ISO 8601; None takes the present.
        embedding: as ``Client.embed`` answers it.

    Raises:
        ValueError: both or neither of image and embedding are given.
    """

    image: Image | None = None
    id: str | None = None
    label: str | None = None
    subject: str | None = None
    metadata: dict[str, Any] | None = None
    time: float | str | None = None
    embedding: Sequence[float] | None = None

    def __post_init__(self) -> None:
        if (self.image is None) == (self.embedding is None):
            got = "neither" if self.image is None else "both"
            raise ValueError(f"a new face must have either an image or an embedding, got {got}")

    def read(self, colour: Colour = "rgb") -> bytes:
        """The bytes of its image; empty for an embedding.

        Raises:
            ImageError: the image cannot be sent.
            OSError: its file cannot be read.
        """
        return b"" if self.image is None else encode_image(self.image, colour)

    def to_json(self) -> dict[str, Any]:
        """The face without its image, as the service takes it."""
        names = ("id", "label", "subject", "metadata", "time")
        fields = {name: getattr(self, name) for name in names if getattr(self, name) is not None}
        return fields if self.embedding is None else {**fields, "embedding": [float(each) for each in self.embedding]}


Item = TypeVar("Item")
Result = TypeVar("Result")


@dataclass(frozen=True)
class Batch(Generic[Item]):
    """The items of one request.

    Attributes:
        items: in their order.
        files: the bytes of each item's image.
    """

    items: tuple[Item, ...]
    files: tuple[bytes, ...]

    def halves(self) -> "tuple[Batch[Item], Batch[Item]]":
        """The batch as two."""
        middle = len(self.items) // 2
        return Batch(self.items[:middle], self.files[:middle]), Batch(self.items[middle:], self.files[middle:])


Steps = Generator[Request | list[Result], httpx.Response, None]
"""An operation: yields requests, is sent their responses, and yields lists of results."""


@dataclass(frozen=True)
class Batches(Generic[Item, Result]):
    """An operation on many images.

    Attributes:
        batches: in their order; files are read as they are taken.
        steps: the operation on a batch.
        progress: a context around the work; gives the function to call with the number of further items that are done.
    """

    batches: Iterator[Batch[Item]]
    steps: Callable[[Batch[Item]], Steps[Result]]
    progress: AbstractContextManager[Callable[[int], None]]


def image_batches(
    kind: type[AnswerKind],
    path: str,
    images: Iterable[Image],
    parameters: dict[str, Any],
    *,
    already_cropped: bool = False,
    faces: Faces = "all",
    colour: Colour = "rgb",
    prior: Prior | None = None,
    batch: int = BATCH_IMAGES,
    progress: bool = False,
    on_progress: OnProgress | None = None,
) -> Batches[Image, AnswerKind | ServiceError]:
    """An operation whose requests go to an endpoint that answers about images."""
    sent = parameters_of({"already_cropped": already_cropped, "faces": faces, "prior": prior, **parameters})

    def request(batch: Batch[Image]) -> Request:
        return Request(path, {"params": sent, "files": [("images", file) for file in batch.files]})

    def steps(batch: Batch[Image]) -> Steps[AnswerKind | ServiceError]:
        return _steps(batch, request, partial(read_images, kind), in_place=True)

    batches = make_batches(images, partial(encode_image, colour=colour), batch)
    return Batches(batches, steps, count_progress(images, on_progress, draw=progress))


def addition_batches(
    faces: Iterable[NewFace],
    *,
    replace: bool = False,
    already_cropped: bool = False,
    which: Faces = "largest",
    thumbnails: bool | None = None,
    colour: Colour = "rgb",
    batch: int = BATCH_IMAGES,
    progress: bool = False,
    on_progress: OnProgress | None = None,
) -> Batches[NewFace, Added]:
    """The operation that adds faces to the gallery."""
    parameters = parameters_of(
        {
            "already_cropped": already_cropped,
            "replace": replace,
            "faces": None if which == "largest" else which,
            "thumbnails": thumbnails,
        }
    )

    def request(batch: Batch[NewFace]) -> Request:
        items = [face.to_json() for face in batch.items]
        if any(face.embedding is not None for face in batch.items):  # only JSON takes embeddings
            for item, file in zip(items, batch.files, strict=True):
                if file:
                    item["image"] = base64.b64encode(file).decode()
            return Request("/gallery", {"params": parameters, "json": {"items": items}})
        files = [("images", file) for file in batch.files]
        return Request("/gallery", {"params": parameters, "files": files, "data": {"items": json.dumps(items)}})

    def steps(batch: Batch[NewFace]) -> Steps[Added]:
        return _steps(batch, request, lambda response: [read_answer(Added, response)], in_place=False)

    batches = make_batches(faces, partial(NewFace.read, colour=colour), batch)
    return Batches(batches, steps, count_progress(faces, on_progress, draw=progress))


def count_items(result: object) -> int:
    """How many items of a batch a result is about."""
    return len(result.ids) if isinstance(result, Added) else 1


def _steps(
    batch: Batch[Item],
    request: Callable[[Batch[Item]], Request],
    read: Callable[[httpx.Response], list[Any]],
    *,
    in_place: bool,
) -> Steps[Any]:
    """The operation on a batch; the error about a lone image is its result if it is to be ``in_place``."""
    try:
        response = yield request(batch)
    except ServiceError as error:
        if error.status == TOO_LARGE and len(batch.items) > 1:
            for half in batch.halves():
                yield from _steps(half, request, read, in_place=in_place)
        elif in_place and len(batch.items) == 1:
            yield [error]
        else:
            raise
    else:
        yield read(response)


def make_batches(items: Iterable[Item], read: Callable[[Item], bytes], max_items: int) -> Iterator[Batch[Item]]:
    """Items with their files, as many together as fit into a request; files are read as the batches are taken.

    Args:
        items: in their order.
        read: reads the file of an item.
        max_items: files of a batch.

    Raises:
        OSError: a file cannot be read.
        ValueError: ``max_items`` is less than 1.
    """
    if max_items < 1:
        raise ValueError(f"batch must be at least 1 image, got {max_items}")
    part: list[tuple[Item, bytes]] = []
    size = 0
    for item in items:
        data = read(item)
        if part and size + len(data) > MAX_BATCH_BYTES:
            yield Batch(*zip(*part, strict=True))
            part, size = [], 0
        part.append((item, data))
        size += len(data)
        if len(part) == max_items:
            yield Batch(*zip(*part, strict=True))
            part, size = [], 0
    if part:
        yield Batch(*zip(*part, strict=True))
