"""Admission: how much the service works on at once. What would be more is refused with ``QueueFullError`` (503).

Load is refused in two steps. While a limit is reached, requests that would need it are refused before their body is
read, by ``mien.service.middleware.load_shedding``. Afterwards a request holds its images, its video or its stream until
it is answered (``Limit.hold``).
"""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from mien.service.errors import QueueFullError
from mien.service.settings import Settings

IMAGE_PATHS: Final = ("/classify", "/retrieve", "/embed", "/explain", "/portraits")
"""Paths whose requests are worked on by the worker pool."""

VIDEO_PATH: Final = "/classify/video"


class Limit:
    """A number of things, such as images, that may be held at once. Belongs to one event loop.

    Attributes:
        held: how many are.
    """

    def __init__(self, name: str, maximum: int) -> None:
        """Allow at most ``maximum`` of the things that ``name`` names, in the plural."""
        self.name = name
        self.maximum = maximum
        self.held = 0

    @property
    def is_full(self) -> bool:
        """Whether no more can be held."""
        return self.held >= self.maximum

    def refusal(self) -> QueueFullError:
        """The error of a request that comes while the limit is reached."""
        return QueueFullError(f"mien is busy: {self.maximum} {self.name} are being worked on already")

    def take(self, count: int) -> None:
        """Hold ``count`` more, until ``give_back``.

        Raises:
            QueueFullError: that would be more than the limit.
        """
        if self.held + count > self.maximum:
            raise QueueFullError(
                f"mien is busy: with {count} {self.name} more there would be more than {self.maximum} at once"
            )
        self.held += count

    def give_back(self, count: int) -> None:
        """Hold ``count`` less."""
        self.held -= count

    @contextmanager
    def hold(self, count: int) -> Iterator[None]:
        """Hold ``count`` more inside a ``with`` block.

        Raises:
            QueueFullError: that would be more than the limit.
        """
        self.take(count)
        try:
            yield
        finally:
            self.give_back(count)


class Admission:
    """The limits of a service.

    Attributes:
        images: that are worked on or wait.
        videos: that are worked on.
        streams: WebSockets that are open.
        body_bytes: of the bodies of all requests.
        by_path: the limits that a request to a path needs.
    """

    def __init__(self, settings: Settings) -> None:
        self.images = Limit("images", settings.queue_images)
        self.videos = Limit("videos", settings.queue_videos)
        self.streams = Limit("streams", settings.max_streams)
        self.body_bytes = Limit("bytes of request bodies", settings.queue_body_bytes)
        self.by_path = dict.fromkeys(IMAGE_PATHS, (self.images,)) | {VIDEO_PATH: (self.images, self.videos)}
