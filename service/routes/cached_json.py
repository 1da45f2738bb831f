"""Answers that many requests get: serialised and compressed once, and made again when the gallery has changed."""

import hashlib
import threading
import time
import zlib
from collections.abc import Callable, Hashable
from typing import Final

from pydantic import BaseModel

MIN_AGE_S: Final = 2.0
"""A younger answer is not made again."""

MAX_CPU_SHARE: Final = 0.05
"""Making an answer again takes at most this share of a core: one that takes long is made rarely."""

_GZIP: Final = 31  # zlib's number for the largest window and the format of gzip


class CachedJson:
    """An answer as JSON.

    Attributes:
        plain: the bytes.
        compressed: the same bytes, with gzip.
        etag: its entity tag.
    """

    def __init__(self, answer: BaseModel) -> None:
        self.plain = answer.model_dump_json().encode()
        compressor = zlib.compressobj(6, zlib.DEFLATED, _GZIP)
        self.compressed = compressor.compress(self.plain) + compressor.flush()
        self.etag = f'"{hashlib.sha256(self.plain).hexdigest()[:16]}"'


class RefreshingCache:
    """Keeps one answer. Thread-safe: while one thread makes it again, others get the old one."""

    def __init__(
        self,
        make: Callable[[], CachedJson],
        version: Callable[[], Hashable],
        clock: Callable[[], float] = time.monotonic,
    ) -> None:
        """Keep what ``make`` makes.

        Args:
            make: the answer.
            version: of the data that it is made from; as long as it is equal, the answer is the same.
            clock: seconds.
        """
        self._make = make
        self._version = version
        self._clock = clock
        self._lock = threading.Lock()
        self._answer: CachedJson | None = None
        self._answer_version: Hashable = None
        self._fresh_until_s = 0.0

    def get(self) -> CachedJson:
        """The answer; it may be a little out of date."""
        answer = self._answer
        if answer is not None and self._clock() < self._fresh_until_s:
            return answer
        if not self._lock.acquire(blocking=answer is None):
            assert answer is not None  # noqa: S101
            return answer
        try:
            return self._refresh()
        finally:
            self._lock.release()

    def _refresh(self) -> CachedJson:
        answer, version, began = self._answer, self._version(), self._clock()
        if answer is not None and (began < self._fresh_until_s or version == self._answer_version):
            self._fresh_until_s = max(self._fresh_until_s, began + MIN_AGE_S)
            return answer
        answer = self._make()
        ended = self._clock()
        self._answer, self._answer_version = answer, version
        self._fresh_until_s = ended + max(MIN_AGE_S, (ended - began) / MAX_CPU_SHARE)
        return answer
