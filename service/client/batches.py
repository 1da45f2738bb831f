"""Many images in few requests: each as large as the service takes, with progress.

The service limits the images and the bytes of a request, and does not tell the limits beforehand: a request that was
too large (413) is sent again in two halves, until one image alone is too large, whose error is returned in its place.
"""

import json
from collections.abc import Callable, Generator, Iterable, Iterator, Sized
from contextlib import AbstractContextManager, ExitStack, contextmanager
from dataclasses import dataclass
from functools import partial
from typing import Any, Final, Generic, TypedDict, TypeVar

import httpx

from mien.service.client.answers import Added, AnswerKind, ServiceError, read_answer, read_images
from mien.service.client.requests import Image, Request, bytes_of, parameters_of

BATCH_IMAGES: Final = 8
"""Images of a request: half of what a service takes by default, so that it always works on two requests."""

MAX_BATCH_BYTES: Final = 16 * 2**20
"""Bytes of the images of a request; a larger image travels alone."""

TOO_LARGE: Final = 413

OnProgress = Callable[[int, int | None], None]
"""Called with the number of images done and the total, None if it is not known."""


@dataclass(frozen=True)
class NewFace:
    """A face to add to a gallery: the largest of its image.

    Attributes:
        image: its bytes, or the path of its file.
        id: unique in the gallery; None makes one from the content.
        label: the emotion that its owner gave it.
        subject: the person.
        metadata: any JSON values.
    """

    image: Image
    id: str | None = None
    label: str | None = None
    subject: str | None = None
    metadata: dict[str, Any] | None = None

    def read(self) -> bytes:
        """The bytes of its image.

        Raises:
            OSError: its file cannot be read.
        """
        return bytes_of(self.image)

    def to_json(self) -> dict[str, Any]:
        """The face without its image, as the service takes it."""
        names = ("id", "label", "subject", "metadata")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


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


class BatchOptions(TypedDict, total=False):
    """The options of operations on many images; ``classify_all`` explains them."""

    already_cropped: bool
    batch: int
    progress: bool
    on_progress: OnProgress | None


Steps = Generator[Request | list[Result], httpx.Response, None]
"""An operation: yields requests, is sent their responses, and yields lists of results."""


@dataclass(frozen=True)
class Batches(Generic[Item, Result]):
    """An operation on many images.

    Attributes:
        batches: in their order; files are read as they are taken.
        steps: the operation on a batch.
        progress: a context around the work; gives the function to call with each result.
    """

    batches: Iterator[Batch[Item]]
    steps: Callable[[Batch[Item]], Steps[Result]]
    progress: AbstractContextManager[Callable[[Result], None]]


def image_batches(
    kind: type[AnswerKind],
    path: str,
    images: Iterable[Image],
    *,
    k: int | None = None,
    already_cropped: bool = False,
    batch: int = BATCH_IMAGES,
    progress: bool = False,
    on_progress: OnProgress | None = None,
) -> Batches[Image, AnswerKind | ServiceError]:
    """An operation whose requests go to an endpoint that answers about images."""
    parameters = parameters_of({"already_cropped": already_cropped, "k": k})

    def request(batch: Batch[Image]) -> Request:
        return Request(path, {"params": parameters, "files": [("images", file) for file in batch.files]})

    def steps(batch: Batch[Image]) -> Steps[AnswerKind | ServiceError]:
        return _steps(batch, request, partial(read_images, kind), in_place=True)

    return Batches(make_batches(images, bytes_of, batch), steps, _progress(images, on_progress, draw=progress))


def addition_batches(
    faces: Iterable[NewFace],
    *,
    replace: bool = False,
    already_cropped: bool = False,
    batch: int = BATCH_IMAGES,
    progress: bool = False,
    on_progress: OnProgress | None = None,
) -> Batches[NewFace, Added]:
    """The operation that adds faces to the gallery."""
    parameters = parameters_of({"already_cropped": already_cropped, "replace": replace})

    def request(batch: Batch[NewFace]) -> Request:
        items = json.dumps([face.to_json() for face in batch.items])
        files = [("images", file) for file in batch.files]
        return Request("/gallery", {"params": parameters, "files": files, "data": {"items": items}})

    def steps(batch: Batch[NewFace]) -> Steps[Added]:
        return _steps(batch, request, lambda response: [read_answer(Added, response)], in_place=False)

    return Batches(make_batches(faces, NewFace.read, batch), steps, _progress(faces, on_progress, draw=progress))


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


@contextmanager
def _progress(items: Iterable[Any], on_progress: OnProgress | None, *, draw: bool) -> Iterator[Callable[[Any], None]]:
    total = len(items) if isinstance(items, Sized) else None
    done = 0
    with ExitStack() as stack:
        bar = None
        if draw:
            from mien.service.commands.terminal import progress_bar  # rich is imported only for a bar

            bar = stack.enter_context(progress_bar())
            bar.add_task("images", total=total, note="")

        def advance(result: Any) -> None:
            nonlocal done
            done += len(result.ids) if isinstance(result, Added) else 1
            if bar is not None:
                bar.update(bar.task_ids[0], completed=done)
            if on_progress is not None:
                on_progress(done, total)

        yield advance
