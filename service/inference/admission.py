"""Admission: how much the service works on at once. What would be more is refused with ``QueueFullError`` (503).

Load is refused in two steps. While a limit is reached, requests that would need it are refused before their body is
read, by ``mien.service.middleware.load_shedding``. Afterwards a request holds its images, its video, its stream or its
units of work until it is answered (``Limit.hold``). Of each limit one caller may hold a share, so that others come in.
"""

from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from typing import TYPE_CHECKING, Final

from mien.service.errors import QueueFullError

if TYPE_CHECKING:
    from mien.service.settings import Settings

CALLER: Final[ContextVar[str]] = ContextVar("caller", default="")
"""Whose request is being answered: the id of a key, or an address."""

LARGE_BODY_BYTES: Final = 2**20
"""What a body has beyond this counts as part of a large one."""

LARGE_BODIES_SHARE: Final = 0.75
"""Share of all bytes of bodies that parts of large ones may take: the rest is kept for small bodies."""

EXPLANATION_UNITS: Final = 8
"""Units of work that an explanation counts as: it takes 0.2 s of a core."""

IMAGE_PATHS: Final = ("/classify", "/retrieve", "/embed", "/explain")
"""Paths whose requests have images."""

QUERY_PATHS: Final = ("/thumbnail", "/thumbnails", "/map", "/atlas", "/info")
VIEW_PATHS: Final = ("/portrait", "/portraits")

VIDEO_PATH: Final = "/classify/video"


class Limit:
    """A number of things, such as images, that may be held at once. Belongs to one event loop.

    Attributes:
        held: how many are.
        per_caller: how many of them one caller may hold.
    """

    def __init__(self, name: str, maximum: int, share: float = 1.0, at_least: int = 1) -> None:
        """Allow at most ``maximum`` of the things that ``name`` names, in the plural.

        Args:
            name: of the things.
            maximum: of all callers.
            share: of the maximum that one caller may hold.
            at_least: one caller may hold so many whatever the share: the most that one request needs.
        """
        self.name = name
        self.maximum = maximum
        self.per_caller = min(maximum, max(at_least, int(share * maximum)))
        self._held_by: Counter[str] = Counter()
        self.held = 0

    @property
    def is_full(self) -> bool:
        """Whether the present caller can hold no more."""
        return self.held >= self.maximum or self._held_by[CALLER.get()] >= self.per_caller

    def refusal(self) -> QueueFullError:
        """The error of a request that comes while the limit is reached."""
        share = f", or {self.per_caller} of one caller" if self.per_caller < self.maximum else ""
        return QueueFullError(f"mien is busy: {self.maximum} {self.name} are being worked on already{share}")

    def take(self, count: int) -> None:
        """Hold ``count`` more for the present caller, until ``give_back``.

        Raises:
            QueueFullError: that would be more than the limit, or than the caller's share.
        """
        caller = CALLER.get()
        if self.held + count > self.maximum:
            raise QueueFullError(
                f"mien is busy: with {count} {self.name} more there would be more than {self.maximum} at once"
            )
        if self._held_by[caller] + count > self.per_caller:
            raise QueueFullError(
                f"mien is busy with your requests: with {count} {self.name} more there would be more than "
                f"{self.per_caller} of one caller at once"
            )
        self.held += count
        self._held_by[caller] += count

    def give_back(self, count: int, caller: str | None = None) -> None:
        """Hold ``count`` less for ``caller``; None is the present one."""
        caller = CALLER.get() if caller is None else caller
        self.held -= count
        self._held_by[caller] -= count
        if not self._held_by[caller]:
            del self._held_by[caller]

    @contextmanager
    def hold(self, count: int) -> Iterator[None]:
        """Hold ``count`` more inside a ``with`` block.

        Raises:
            QueueFullError: that would be more than the limit, or than the caller's share.
        """
        self.take(count)
        caller = CALLER.get()
        try:
            yield
        finally:
            self.give_back(count, caller)


class Admission:
    """The limits of a service.

    Attributes:
        images: that are worked on or wait.
        queries: units of work, of about 10 ms of a core, that read the gallery or wait.
        changes: units of work that write to the gallery or wait.
        views: units of work on portraits and explanations.
        lanes: these three, by their names.
        videos: that are worked on.
        streams: WebSockets that are open.
        body_bytes: of the bodies of all requests.
        large_body_bytes: those of them that are beyond ``LARGE_BODY_BYTES`` of a body.
        by_path: the limits that a request to a path needs.
    """

    def __init__(self, settings: "Settings") -> None:
        share = settings.caller_share
        self.images = Limit("images", settings.queue_images, share, settings.max_images)
        self.queries, self.changes, self.views = (
            Limit(f"units of work on {name}", settings.queue_work, share)
            for name in ("queries of the gallery", "changes of the gallery", "portraits and explanations")
        )
        self.lanes = {"queries": self.queries, "changes": self.changes, "views": self.views}
        self.videos = Limit("videos", settings.queue_videos, share)
        self.streams = Limit("streams", settings.max_streams, share)
        largest = max(settings.max_body_bytes, settings.video_body_bytes)
        of_large = max(largest, int(LARGE_BODIES_SHARE * settings.queue_body_bytes))
        self.body_bytes = Limit("bytes of request bodies", settings.queue_body_bytes, share, largest)
        self.large_body_bytes = Limit("bytes of large request bodies", of_large, share, largest)
        self.by_path = (
            dict.fromkeys(IMAGE_PATHS, (self.images,))
            | dict.fromkeys(QUERY_PATHS, (self.queries,))
            | dict.fromkeys(VIEW_PATHS, (self.views,))
            | {"/explain": (self.images, self.views), VIDEO_PATH: (self.images, self.videos)}
        )
