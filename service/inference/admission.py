"""What may be in the house at once: images that are worked on or wait, and the bytes of the bodies that hold them."""

from collections.abc import Iterator
from contextlib import contextmanager

from mien.service.errors import QueueFullError


class Admission:
    """Counts something that requests hold, and refuses what would be too much. Belongs to one event loop.

    Attributes:
        held: how much there is now.
    """

    def __init__(self, what: str, limit: int) -> None:
        self.what = what
        self.limit = limit
        self.held = 0

    @property
    def is_full(self) -> bool:
        """Whether the limit is reached."""
        return self.held >= self.limit

    def refusal(self) -> QueueFullError:
        """What is said where the limit is reached."""
        return QueueFullError(f"mien is busy: {self.limit} {self.what} are being worked on already")

    def check(self) -> None:
        """Refuse early what would be refused anyway.

        Raises:
            QueueFullError: the limit is reached.
        """
        if self.is_full:
            raise self.refusal()

    def take(self, count: int) -> None:
        """Let ``count`` in; whoever took gives back.

        Raises:
            QueueFullError: with them there would be more than the limit.
        """
        if self.held + count > self.limit:
            raise QueueFullError(
                f"mien is busy: with {count} {self.what} more there would be more than {self.limit} at once"
            )
        self.held += count

    def give_back(self, count: int) -> None:
        """Let ``count`` out."""
        self.held -= count

    @contextmanager
    def holding(self, count: int) -> Iterator[None]:
        """Let ``count`` in for a while."""
        self.take(count)
        try:
            yield
        finally:
            self.give_back(count)
