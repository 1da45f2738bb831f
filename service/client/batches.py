"""Many images over few requests: each as large as the service takes, and progress for who waits.

The service bounds the images and the bytes of a request, and does not tell beforehand: a request that was too large
(413) is sent again in two halves, until an image alone is too large, which is answered in its place.
"""

import json
from collections.abc import Callable, Iterable, Iterator, Sized
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Any, Final, Generic, TypeVar

import httpx

from mien.service.client.answers import ClientError, ServiceError
from mien.service.client.requests import Image, Kind, Parameters, Request, bytes_of, image_parameters, refusal

BATCH_IMAGES: Final = 8
"""Most images of a request: half of what a service takes unless it is set otherwise, so that two are always busy."""

BATCH_BYTES: Final = 16 * 2**20
"""Most bytes of the images of a request; a larger one travels alone."""

TOO_LARGE: Final = 413

OnProgress = Callable[[int, int | None], None]
"""Called with how many images are done, and of how many, where that is known."""

Tell = Callable[[int], None]
"""Is told how many more images are done."""


@dataclass(frozen=True)
class NewFace:
    """A face to add to a gallery: the largest of its image.

    Attributes:
        image: its bytes, or the path of its file.
        id: unique in the gallery; without it, made of the content.
        label: the emotion it shows, as its owner says.
        subject: the person.
        metadata: anything, JSON values.
    """

    image: Image
    id: str | None = None
    label: str | None = None
    subject: str | None = None
    metadata: dict[str, Any] | None = None

    def file(self) -> bytes:
        """The bytes of its image.

        Raises:
            OSError: its file cannot be read.
        """
        return bytes_of(self.image)

    def said(self) -> dict[str, Any]:
        """What is said of it, as the service takes it."""
        names = ("id", "label", "subject", "metadata")
        return {name: getattr(self, name) for name in names if getattr(self, name) is not None}


Item = TypeVar("Item")


@dataclass(frozen=True)
class Batch(Generic[Item]):
    """What goes into one request.

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


def batches(items: Iterable[Item], file: Callable[[Item], bytes], most: int) -> Iterator[Batch[Item]]:
    """Items with their files, as many together as go into a request; read as they are asked for.

    Args:
        items: in their order.
        file: reads the file of one.
        most: files of a batch.

    Raises:
        OSError: a file cannot be read.
        ValueError: a batch is to have less than one image.
    """
    if most < 1:
        raise ValueError(f"a request should have at least 1 image, got {most}")
    held: list[tuple[Item, bytes]] = []
    size = 0
    for item in items:
        data = file(item)
        if held and size + len(data) > BATCH_BYTES:
            yield Batch(*zip(*held, strict=True))
            held, size = [], 0
        held.append((item, data))
        size += len(data)
        if len(held) == most:
            yield Batch(*zip(*held, strict=True))
            held, size = [], 0
    if held:
        yield Batch(*zip(*held, strict=True))


def images_request(path: str, batch: Batch[Any], parameters: Parameters) -> Request:
    """A question about several pictures, each answered on its own."""
    return Request(path, {"params": parameters, "files": [("images", file) for file in batch.files]})


def addition_request(batch: Batch[NewFace], *, already_cropped: bool, replace: bool) -> Request:
    """An addition of faces to the gallery."""
    parameters = image_parameters(already_cropped=already_cropped, replace=replace)
    said = json.dumps([face.said() for face in batch.items])
    files = [("images", file) for file in batch.files]
    return Request("/gallery", {"params": parameters, "files": files, "data": {"items": said}})


def is_too_large(error: ServiceError, batch: Batch[Any]) -> bool:
    """Whether a batch is to be sent again as two."""
    return error.status == TOO_LARGE and len(batch.items) > 1


def read_images(kind: type[Kind], response: httpx.Response) -> list[Kind | ServiceError]:
    """The answers for several pictures, or the problem in its place.

    Raises:
        ClientError: they are none of this service.
    """
    try:
        each = json.loads(response.content)["images"]
        return [
            refusal(int(answer["problem"]["status"]), answer["problem"])
            if "problem" in answer
            else kind.model_validate(answer)
            for answer in each
        ]
    except (ValueError, KeyError, TypeError) as error:
        raise ClientError(f"{response.url} answered something else than images: {error}") from None


@contextmanager
def progress_of(items: Iterable[Any], *, progress: bool, on_progress: OnProgress | None) -> Iterator[Tell]:
    """What is to be told how many more items are done.

    Args:
        items: as they were given; their number is known where they have one.
        progress: draw a bar on standard error.
        on_progress: called as well.
    """
    total = len(items) if isinstance(items, Sized) else None
    done = 0
    with ExitStack() as stack:
        bar = None
        if progress:
            from mien.service.commands.terminal import progress_bar  # a program without a terminal needs none

            bar = stack.enter_context(progress_bar())
            bar.add_task("images", total=total, note="")

        def tell(more: int) -> None:
            nonlocal done
            done += more
            if bar is not None:
                bar.update(bar.task_ids[0], completed=done)
            if on_progress is not None:
                on_progress(done, total)

        yield tell
